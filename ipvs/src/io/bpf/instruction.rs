//! Instructions of eBPF as values (RFC 9669), how they are encoded and how they read.

use std::borrow::Cow;
use std::fmt;

/// Ten registers, and the frame pointer, which cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Register {
    /// What a helper or the program returns.
    R0,
    /// R1 to R5 are the arguments of a helper, and lost with its call.
    R1,
    R2,
    R3,
    R4,
    R5,
    /// R6 to R9 survive calls.
    R6,
    R7,
    R8,
    R9,
    /// The end of 512 bytes of stack.
    Frame,
}

/// How much of memory an instruction reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Size {
    Word = 0x00,
    Half = 0x08,
    Byte = 0x10,
    Double = 0x18,
}

/// Arithmetic on 64 bits: the destination and the operand give the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Operation {
    Add = 0x00,
    Subtract = 0x10,
    Multiply = 0x20,
    /// By zero gives zero.
    Divide = 0x30,
    Or = 0x40,
    And = 0x50,
    ShiftLeft = 0x60,
    ShiftRight = 0x70,
    /// By zero leaves the destination.
    Modulo = 0x90,
    ExclusiveOr = 0xa0,
    Move = 0xb0,
}

/// What a jump depends on; numbers have 64 bits and no sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Condition {
    Equal = 0x10,
    Greater = 0x20,
    GreaterOrEqual = 0x30,
    /// Both have a bit that is one.
    AnyBit = 0x40,
    NotEqual = 0x50,
    Less = 0xa0,
    LessOrEqual = 0xb0,
}

/// The second operand: a register, or a number whose sign is extended to 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    Register(Register),
    Immediate(i32),
}

impl From<Register> for Operand {
    fn from(register: Register) -> Self {
        Self::Register(register)
    }
}

impl From<i32> for Operand {
    fn from(number: i32) -> Self {
        Self::Immediate(number)
    }
}

/// A place in a program.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Label(Cow<'static, str>);

impl From<&'static str> for Label {
    fn from(name: &'static str) -> Self {
        Self(name.into())
    }
}

impl From<String> for Label {
    fn from(name: String) -> Self {
        Self(name.into())
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Functions of the kernel that a program may call. The numbers are those of `linux/bpf.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Helper {
    MapLookup = 1,
    L4ChecksumReplace = 11,
    Redirect = 23,
    SkbPullData = 39,
    ChecksumUpdate = 40,
    /// The monotonic clock as of the last timer tick, in nanoseconds. Since Linux 5.11.
    CoarseTime = 160,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instruction {
    Arithmetic {
        operation: Operation,
        destination: Register,
        operand: Operand,
    },
    Load {
        size: Size,
        destination: Register,
        base: Register,
        offset: i16,
    },
    Store {
        size: Size,
        base: Register,
        offset: i16,
        operand: Operand,
    },
    /// Adds 64 bits to memory, undivided.
    AtomicAdd {
        base: Register,
        offset: i16,
        source: Register,
    },
    Jump {
        to: Label,
    },
    JumpIf {
        condition: Condition,
        left: Register,
        right: Operand,
        to: Label,
    },
    Call(Helper),
    Exit,
    /// Puts 64 bits into a register; takes the room of two.
    LoadNumber {
        destination: Register,
        number: u64,
    },
    /// The map of that name, as helpers want it; takes the room of two.
    LoadMap {
        destination: Register,
        map: &'static str,
    },
    /// A pointer to the value of an array map of one element; takes the room of two.
    LoadMapValue {
        destination: Register,
        map: &'static str,
    },
}

/// One instruction as the kernel reads it, or a half of one that takes the room of two.
pub type Slot = [u8; 8];

/// Classes and modes of opcodes (RFC 9669, 3 to 5).
mod opcode {
    pub(super) const LD_IMM_DW: u8 = 0x18;
    pub(super) const LDX_MEM: u8 = 0x61;
    pub(super) const ST_MEM: u8 = 0x62;
    pub(super) const STX_MEM: u8 = 0x63;
    pub(super) const STX_ATOMIC_DW: u8 = 0xdb;
    pub(super) const JMP: u8 = 0x05;
    pub(super) const ALU64: u8 = 0x07;
    pub(super) const CALL: u8 = 0x85;
    pub(super) const EXIT: u8 = 0x95;
    /// The operand is a register.
    pub(super) const X: u8 = 0x08;
}

/// What stands in the source register of a wide load: what its number means.
mod pseudo {
    pub(super) const NUMBER: u8 = 0;
    pub(super) const MAP_FD: u8 = 1;
    pub(super) const MAP_VALUE: u8 = 2;
}

impl Instruction {
    /// How many slots it takes.
    pub(super) const fn slots(&self) -> usize {
        match self {
            Self::LoadNumber { .. } | Self::LoadMap { .. } | Self::LoadMapValue { .. } => 2,
            _ => 1,
        }
    }

    /// Where it jumps to.
    pub(super) const fn target(&self) -> Option<&Label> {
        match self {
            Self::Jump { to } | Self::JumpIf { to, .. } => Some(to),
            _ => None,
        }
    }

    /// Which map it needs.
    pub(super) const fn map(&self) -> Option<&'static str> {
        match self {
            Self::LoadMap { map, .. } | Self::LoadMapValue { map, .. } => Some(map),
            _ => None,
        }
    }

    /// Appends its slots. `jump` is how many slots lie between this one and its target, `map` the descriptor of its
    /// map.
    pub(super) fn encode(&self, jump: i16, map: i32, code: &mut Vec<Slot>) {
        use opcode::*;
        match self {
            Self::Arithmetic { operation, destination, operand } => {
                code.push(with_operand(ALU64 | *operation as u8, *destination, 0, *operand));
            }
            Self::Load { size, destination, base, offset } => {
                code.push(slot(LDX_MEM | *size as u8, *destination as u8, *base as u8, *offset, 0));
            }
            Self::Store { size, base, offset, operand: Operand::Register(source) } => {
                code.push(slot(STX_MEM | *size as u8, *base as u8, *source as u8, *offset, 0));
            }
            Self::Store { size, base, offset, operand: Operand::Immediate(number) } => {
                code.push(slot(ST_MEM | *size as u8, *base as u8, 0, *offset, *number));
            }
            Self::AtomicAdd { base, offset, source } => {
                code.push(slot(STX_ATOMIC_DW, *base as u8, *source as u8, *offset, 0));
            }
            Self::Jump { .. } => code.push(slot(JMP, 0, 0, jump, 0)),
            Self::JumpIf { condition, left, right, .. } => {
                code.push(with_operand(JMP | *condition as u8, *left, jump, *right));
            }
            Self::Call(helper) => code.push(slot(CALL, 0, 0, 0, *helper as i32)),
            Self::Exit => code.push(slot(EXIT, 0, 0, 0, 0)),
            Self::LoadNumber { destination, number } => {
                let [a, b, c, d, e, f, g, h] = number.to_le_bytes();
                let (low, high) = (i32::from_le_bytes([a, b, c, d]), i32::from_le_bytes([e, f, g, h]));
                code.extend(wide(*destination, pseudo::NUMBER, low, high));
            }
            Self::LoadMap { destination, .. } => code.extend(wide(*destination, pseudo::MAP_FD, map, 0)),
            Self::LoadMapValue { destination, .. } => {
                code.extend(wide(*destination, pseudo::MAP_VALUE, map, 0));
            }
        }
    }
}

fn with_operand(code: u8, destination: Register, offset: i16, operand: Operand) -> Slot {
    match operand {
        Operand::Register(source) => slot(code | opcode::X, destination as u8, source as u8, offset, 0),
        Operand::Immediate(number) => slot(code, destination as u8, 0, offset, number),
    }
}

fn wide(destination: Register, meaning: u8, low: i32, high: i32) -> [Slot; 2] {
    [slot(opcode::LD_IMM_DW, destination as u8, meaning, 0, low), slot(0, 0, 0, 0, high)]
}

/// `struct bpf_insn`, in the byte order of the machine.
fn slot(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Slot {
    // Two bit fields of four bits, whose order follows that of bytes.
    let registers =
        if cfg!(target_endian = "little") { destination | source << 4 } else { destination << 4 | source };
    let ([a, b], [c, d, e, f]) = (offset.to_ne_bytes(), immediate.to_ne_bytes());
    [code, registers, a, b, c, d, e, f]
}

impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frame => f.write_str("fp"),
            register => write!(f, "r{}", *register as u8),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Byte => "u8",
            Self::Half => "u16",
            Self::Word => "u32",
            Self::Double => "u64",
        })
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Add => "+=",
            Self::Subtract => "-=",
            Self::Multiply => "*=",
            Self::Divide => "/=",
            Self::Or => "|=",
            Self::And => "&=",
            Self::ShiftLeft => "<<=",
            Self::ShiftRight => ">>=",
            Self::Modulo => "%=",
            Self::ExclusiveOr => "^=",
            Self::Move => "=",
        })
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Equal => "==",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::AnyBit => "&",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
        })
    }
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Register(register) => register.fmt(f),
            Self::Immediate(number) => number.fmt(f),
        }
    }
}

/// Memory as the kernel's verifier writes it.
struct Memory(Size, Register, i16);

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(size, base, offset) = self;
        write!(f, "*({size} *)({base} {offset:+})")
    }
}

impl fmt::Display for Instruction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Arithmetic { operation, destination, operand } => {
                write!(f, "{destination} {operation} {operand}")
            }
            Self::Load { size, destination, base, offset } => {
                write!(f, "{destination} = {}", Memory(*size, *base, *offset))
            }
            Self::Store { size, base, offset, operand } => {
                write!(f, "{} = {operand}", Memory(*size, *base, *offset))
            }
            Self::AtomicAdd { base, offset, source } => {
                write!(f, "lock {} += {source}", Memory(Size::Double, *base, *offset))
            }
            Self::Jump { to } => write!(f, "goto {to}"),
            Self::JumpIf { condition, left, right, to } => {
                write!(f, "if {left} {condition} {right} goto {to}")
            }
            Self::Call(helper) => write!(f, "call {helper:?}"),
            Self::Exit => f.write_str("exit"),
            Self::LoadNumber { destination, number } => write!(f, "{destination} = {number:#x} ll"),
            Self::LoadMap { destination, map } => write!(f, "{destination} = map[{map}]"),
            Self::LoadMapValue { destination, map } => write!(f, "{destination} = &map[{map}][0]"),
        }
    }
}
