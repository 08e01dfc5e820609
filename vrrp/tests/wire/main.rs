//! Packets on the wire and through the sockets, by the public interface of the crate.

mod advertisement_frame;
mod costs;
mod decoders;
#[path = "../fixture/mod.rs"]
mod fixture;
mod golden;
mod judges;
mod namespace;
mod settings;
mod sockets;
