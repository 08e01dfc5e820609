//! Two drivers, each in a namespace of its own, joined by a cable.

mod endpoint;
mod failover;
#[path = "../fixture/mod.rs"]
mod fixture;
mod malformed;
#[expect(dead_code, reason = "the tests of the wire use more of it")]
#[path = "../wire/namespace.rs"]
mod namespace;
mod node;
#[path = "../wire/settings.rs"]
mod settings;
