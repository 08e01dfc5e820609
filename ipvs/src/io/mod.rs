//! Packets in and out: how the engine gets at those that need a decision, and has the kernel forward the rest.
//!
//! *tc and TAP*: a program in eBPF on the ingress of each interface ([`tc`]) rewrites packets of known [`flow`]s and
//! sends them to their [`next_hop`], with segmentation offload and half-made checksums as they came. What needs a
//! decision (see [`selector`]) goes to a [`tap`] device. The engine writes down the flow, and writes the same packet back
//! to the TAP, where the same program forwards it. Everything else passes as if nobody had looked.
//!
//! *Portable*: where the kernel takes no programs ([`portable`]), rules of nftables bring the same packets to the same
//! TAP, and the engine sends each of them itself. [`support`] finds out which of both can be.
//!
//! *Sync*: the daemons that tell other directors of the engine's connections, and hear of theirs ([`sync`]).
//!
//! [`bpf`] writes programs, loads them, and keeps maps: without a compiler, a library in C or ELF files. This module is
//! the only one of the crate with `unsafe` in it: calls of the kernel that no safe crate offers.

pub mod bpf;
pub mod director;
pub mod flow;
mod layout;
pub mod next_hop;
pub mod portable;
pub mod selector;
pub mod support;
pub mod sync;
pub mod tap;
pub mod tc;
pub mod virtio;
pub mod ways;
