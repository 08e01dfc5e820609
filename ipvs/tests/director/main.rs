//! The engine balances connections of real hosts, by each tier of packet I/O.
//!
//! Every test has network namespaces of its own, which are gone with the last descriptor of them, however it ends. They
//! need root and say so when they have to be skipped.

#[expect(dead_code, reason = "other tests look for interfaces")]
#[path = "../tc/host.rs"]
mod host;
mod lan;
mod pair;
mod scenes;
