//! Programs in eBPF, written in Rust: instructions, and labels to jump to before it is known where they are.

use std::collections::BTreeMap;
use std::fmt;

use thiserror::Error;

use super::instruction::{Condition, Helper, Instruction, Label, Operand, Operation, Register, Size, Slot};

/// What the kernel takes of a program (`BPF_COMPLEXITY_LIMIT_INSNS`), and more than any of ours needs.
const MAX_SLOTS: usize = 1_000_000;

/// A program in the making. [`Self::assemble`] makes it what the kernel loads; its `Display` is a listing.
///
/// ```
/// use buoy_ipvs::io::bpf::{Assembler, Condition, Register, Size};
///
/// let mut program = Assembler::default();
/// program
///     .load(Size::Word, Register::R2, Register::R1, 0)
///     .set(Register::R0, 0)
///     .jump_if(Condition::Less, Register::R2, 64, "done")
///     .set(Register::R0, 2)
///     .label("done")
///     .exit();
/// assert_eq!(program.assemble(&[]).unwrap().slots().len(), 5);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assembler {
    lines: Vec<Line>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Line {
    Label(Label),
    Instruction(Instruction),
}

/// A program that makes no sense. That it also does no harm is for the kernel to find out.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AssemblyError {
    #[error("the label {0} stands at two places")]
    DuplicateLabel(Label),
    #[error("a jump to the label {0}, which stands nowhere")]
    UnknownLabel(Label),
    #[error("nothing stands behind the label {0}")]
    NothingBehind(Label),
    /// Offsets of jumps have 16 bits and a sign.
    #[error("a jump to the label {0}, which is {1} instructions away")]
    TooFar(Label, i64),
    #[error("no map is called {0}")]
    UnknownMap(&'static str),
    #[error("a program of {0} instructions")]
    TooLong(usize),
    #[error("a program without instructions")]
    Empty,
}

/// What the kernel loads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code(Vec<Slot>);

impl Code {
    /// At least one.
    pub fn slots(&self) -> &[Slot] {
        &self.0
    }
}

impl Assembler {
    pub fn push(&mut self, instruction: Instruction) -> &mut Self {
        self.lines.push(Line::Instruction(instruction));
        self
    }

    /// What comes next can be jumped to under that name.
    pub fn label(&mut self, name: impl Into<Label>) -> &mut Self {
        self.lines.push(Line::Label(name.into()));
        self
    }

    /// `destination` becomes `operand`.
    pub fn set(&mut self, destination: Register, operand: impl Into<Operand>) -> &mut Self {
        self.arithmetic(Operation::Move, destination, operand)
    }

    pub fn add(&mut self, destination: Register, operand: impl Into<Operand>) -> &mut Self {
        self.arithmetic(Operation::Add, destination, operand)
    }

    pub fn arithmetic(
        &mut self,
        operation: Operation,
        destination: Register,
        operand: impl Into<Operand>,
    ) -> &mut Self {
        self.push(Instruction::Arithmetic { operation, destination, operand: operand.into() })
    }

    pub fn load(&mut self, size: Size, destination: Register, base: Register, offset: i16) -> &mut Self {
        self.push(Instruction::Load { size, destination, base, offset })
    }

    pub fn store(
        &mut self,
        size: Size,
        base: Register,
        offset: i16,
        operand: impl Into<Operand>,
    ) -> &mut Self {
        self.push(Instruction::Store { size, base, offset, operand: operand.into() })
    }

    pub fn atomic_add(&mut self, base: Register, offset: i16, source: Register) -> &mut Self {
        self.push(Instruction::AtomicAdd { base, offset, source })
    }

    pub fn jump(&mut self, to: impl Into<Label>) -> &mut Self {
        self.push(Instruction::Jump { to: to.into() })
    }

    pub fn jump_if(
        &mut self,
        condition: Condition,
        left: Register,
        right: impl Into<Operand>,
        to: impl Into<Label>,
    ) -> &mut Self {
        self.push(Instruction::JumpIf { condition, left, right: right.into(), to: to.into() })
    }

    pub fn call(&mut self, helper: Helper) -> &mut Self {
        self.push(Instruction::Call(helper))
    }

    pub fn exit(&mut self) -> &mut Self {
        self.push(Instruction::Exit)
    }

    /// Looks up what stands in the stack at `key`; `R0` points to the value or is zero.
    pub fn lookup(&mut self, map: &'static str, key: i16) -> &mut Self {
        self.push(Instruction::LoadMap { destination: Register::R1, map })
            .set(Register::R2, Register::Frame)
            .add(Register::R2, i32::from(key))
            .call(Helper::MapLookup)
    }

    /// Resolves labels, and maps by their name and descriptor.
    ///
    /// # Errors
    /// Labels, maps or jumps that cannot be resolved.
    pub fn assemble(&self, maps: &[(&str, i32)]) -> Result<Code, AssemblyError> {
        let places = self.places()?;
        let mut code = Vec::new();
        for instruction in self.instructions() {
            let jump = match instruction.target() {
                Some(label) => distance(label, &places, code.len())?,
                None => 0,
            };
            let map = match instruction.map() {
                Some(name) => {
                    let map = maps.iter().find(|(known, _)| *known == name);
                    map.ok_or(AssemblyError::UnknownMap(name))?.1
                }
                None => 0,
            };
            instruction.encode(jump, map, &mut code);
        }
        match code.len() {
            0 => Err(AssemblyError::Empty),
            1..=MAX_SLOTS => Ok(Code(code)),
            slots => Err(AssemblyError::TooLong(slots)),
        }
    }

    fn instructions(&self) -> impl Iterator<Item = &Instruction> {
        self.lines.iter().filter_map(|line| match line {
            Line::Instruction(instruction) => Some(instruction),
            Line::Label(_) => None,
        })
    }

    /// Slots that labels stand before.
    fn places(&self) -> Result<BTreeMap<&Label, usize>, AssemblyError> {
        let mut places = BTreeMap::new();
        let mut slot = 0;
        for line in &self.lines {
            match line {
                Line::Instruction(instruction) => slot += instruction.slots(),
                Line::Label(label) => {
                    if places.insert(label, slot).is_some() {
                        return Err(AssemblyError::DuplicateLabel(label.clone()));
                    }
                }
            }
        }
        match places.iter().find(|(_, place)| **place == slot) {
            Some((label, _)) => Err(AssemblyError::NothingBehind((*label).clone())),
            None => Ok(places),
        }
    }
}

/// Slots between a jump that stands at `from` and its target: zero if it is the next.
fn distance(label: &Label, places: &BTreeMap<&Label, usize>, from: usize) -> Result<i16, AssemblyError> {
    let place = *places.get(label).ok_or_else(|| AssemblyError::UnknownLabel(label.clone()))?;
    // Numbers of instructions in memory are far from the limits of 64 bits.
    let distance = place as i64 - from as i64 - 1;
    i16::try_from(distance).map_err(|_| AssemblyError::TooFar(label.clone(), distance))
}

/// A listing: a line for each instruction behind the number of its slot, labels between them.
impl fmt::Display for Assembler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut slot = 0;
        for line in &self.lines {
            match line {
                Line::Label(label) => writeln!(f, "{label}:")?,
                Line::Instruction(instruction) => {
                    writeln!(f, "{slot:6}: {instruction}")?;
                    slot += instruction.slots();
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
