//! eBPF: programs written in Rust, loaded, fed through maps and attached to interfaces, by bpf(2) alone.
//!
//! Descriptors own what they stand for: a map, a program or an attachment is gone with the last one, unless it is pinned
//! in a file system of type `bpf`.

mod assembler;
mod clsact;
mod instruction;
mod link;
mod map;
mod program;
mod syscall;

pub use assembler::{Assembler, AssemblyError, Code};
pub use instruction::{Condition, Helper, Instruction, Label, Operand, Operation, Register, Size, Slot};
pub use link::{AttachError, Attachment, Hook};
pub use map::{Map, MapError, MapKind, Walk};
pub use program::{LoadError, Program};
