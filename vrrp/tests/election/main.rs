//! The election by its public interface: every cell of its transition table, single rules, arbitrary operations.

mod bench;
#[path = "../fixture/mod.rs"]
mod fixture;
mod fuzzed;
mod operations;
mod rules;
mod table;
