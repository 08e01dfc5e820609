//! The kernel forwards what the flows say, and nothing else: programs, maps and the TAP in a real kernel.
//!
//! Every test has network namespaces of its own, which are gone with the last descriptor of them, however it ends. They
//! need root (CAP_NET_ADMIN, CAP_BPF) and say so when they have to be skipped.

mod bench;
mod hooks;
mod host;
mod packet;
mod traffic;
mod wires;
