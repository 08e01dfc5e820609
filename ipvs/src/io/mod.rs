//! Packets in and out.
//!
//! This module is the only one of the crate with `unsafe` in it: calls of the kernel that no safe crate offers.

pub mod bpf;
