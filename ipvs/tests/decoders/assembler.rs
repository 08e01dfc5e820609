//! Any program in eBPF: it is assembled, or what is wrong with it is said. All of its jumps lead to its instructions.

use buoy_ipvs::io::bpf::{
    Assembler, AssemblyError, Condition, Helper, Instruction, Operand, Operation, Register, Size,
};

const MAPS: [(&str, i32); 1] = [("flows", 7)];

/// Eight bytes each are an instruction or a label.
pub(crate) fn check(bytes: &[u8]) {
    let mut program = Assembler::default();
    let mut labels = 0;
    for chunk in bytes.chunks_exact(8) {
        let &[kind, ..] = chunk else { continue };
        match instruction(chunk) {
            Some(instruction) => program.push(instruction),
            None => {
                labels += 1;
                program.label(name(kind))
            }
        };
    }
    let listing = program.to_string();
    assert_eq!(listing.lines().count(), bytes.len() / 8);
    match program.assemble(&MAPS) {
        Ok(code) => {
            let slots = code.slots();
            assert!(slots.len() >= bytes.len() / 8 - labels);
            for (place, slot) in slots.iter().enumerate().filter(|(place, _)| !is_second(slots, *place)) {
                // `BPF_JMP` but for calls and exits.
                if slot[0] & 7 == 5 && slot[0] & 0xf0 != 0x80 && slot[0] & 0xf0 != 0x90 {
                    let offset = i16::from_ne_bytes([slot[2], slot[3]]);
                    let target = place.checked_add_signed(isize::from(offset) + 1);
                    assert!(target.is_some_and(|target| target < slots.len()), "{listing}");
                }
            }
        }
        Err(AssemblyError::Empty) => assert_eq!(bytes.len() / 8, labels),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Whether it is the second half of an instruction that takes the room of two.
fn is_second(slots: &[[u8; 8]], place: usize) -> bool {
    const WIDE: u8 = 0x18;
    place > 0 && slots[place - 1][0] == WIDE
}

fn name(byte: u8) -> String {
    format!("label {}", byte / 16 % 8)
}

/// `None`: a label.
fn instruction(chunk: &[u8]) -> Option<Instruction> {
    let &[kind, a, b, c, d, e, f, g] = chunk else { return None };
    let (left, right) = (register(a), register(b));
    let offset = i16::from_le_bytes([c, d]);
    let number = i32::from_le_bytes([d, e, f, g]);
    let operand = if b < 128 { Operand::from(right) } else { Operand::from(number) };
    Some(match kind % 16 {
        0..3 => Instruction::Arithmetic { operation: operation(c), destination: left, operand },
        3 => Instruction::Load { size: size(e), destination: left, base: right, offset },
        4 => Instruction::Store { size: size(e), base: left, offset, operand },
        5 => Instruction::AtomicAdd { base: left, offset, source: right },
        6 | 7 => Instruction::Jump { to: name(kind).into() },
        8..11 => Instruction::JumpIf { condition: condition(c), left, right: operand, to: name(kind).into() },
        11 => Instruction::Call(Helper::MapLookup),
        12 => Instruction::Exit,
        13 => Instruction::LoadNumber { destination: left, number: u64::from(number.unsigned_abs()) << 16 },
        14 => Instruction::LoadMap { destination: left, map: if b < 250 { "flows" } else { "others" } },
        _ => return None,
    })
}

fn register(byte: u8) -> Register {
    use Register::*;
    *[R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, Frame].iter().cycle().nth(byte.into()).unwrap_or(&R0)
}

fn size(byte: u8) -> Size {
    match byte % 4 {
        0 => Size::Byte,
        1 => Size::Half,
        2 => Size::Word,
        _ => Size::Double,
    }
}

fn operation(byte: u8) -> Operation {
    use Operation::*;
    let all = [Add, Subtract, Multiply, Divide, Or, And, ShiftLeft, ShiftRight, Modulo, ExclusiveOr, Move];
    *all.iter().cycle().nth(byte.into()).unwrap_or(&Move)
}

fn condition(byte: u8) -> Condition {
    use Condition::*;
    let all = [Equal, Greater, GreaterOrEqual, AnyBit, NotEqual, Less, LessOrEqual];
    *all.iter().cycle().nth(byte.into()).unwrap_or(&Equal)
}
