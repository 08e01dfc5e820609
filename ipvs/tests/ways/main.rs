//! Ways are what the kernel does: routes, rules, neighbours and links of a real one.
//!
//! Every test has network namespaces of its own, which are gone with the last descriptor of them, however it ends. They
//! need root (CAP_NET_ADMIN) and say so when they have to be skipped.

mod director;
#[path = "../tc/host.rs"]
mod host;
mod neighbours;
mod routes;
