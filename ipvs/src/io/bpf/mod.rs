//! eBPF: programs written in Rust.

mod assembler;
mod instruction;

pub use assembler::{Assembler, AssemblyError, Code};
pub use instruction::{Condition, Helper, Instruction, Label, Operand, Operation, Register, Size, Slot};
