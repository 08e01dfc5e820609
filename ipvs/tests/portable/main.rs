//! Packets in and out without eBPF: rules of nftables, the TAP and the sender in a real kernel.
//!
//! Every test has network namespaces of its own, which are gone with the last descriptor of them, however it ends. They
//! need root (CAP_NET_ADMIN), that of a user namespace for all but the comparison with tc, and say so when they have to be
//! skipped.

#[path = "../tc/bench.rs"]
#[expect(dead_code, reason = "the programs of tc are only compared with")]
mod bench;
#[path = "../tc/host.rs"]
mod host;
#[path = "../tc/packet.rs"]
#[expect(dead_code, reason = "not every test reads all of a packet")]
mod packet;

mod frames;
mod lifetime;
mod same_as_tc;
mod support;
mod traffic;
mod user_namespace;
