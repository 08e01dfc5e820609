//! The host side against a real kernel: every test has a network namespace of its own, made of veth pairs. They
//! need root (CAP_NET_ADMIN) and say so when they have to be skipped.

mod addresses;
mod bench;
mod leftovers;
mod options;
mod settings;
mod strays;
mod vmac;
