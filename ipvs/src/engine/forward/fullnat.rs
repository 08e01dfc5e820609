//! Full NAT: both ends are rewritten, so that servers anywhere answer to the director.
//!
//! The server sees an address of the director as its client; who the client is, [`toa`] may tell it. Its
//! sequence numbers are those of the client: what LVS-FNAT adds to them against old connections of a server that waits
//! in TIME_WAIT (`seq adjust`) is left out, as local ports are taken in turn and come back late.

use super::rewrite::{Both, apply};
use super::{Endpoint, Outcome, Path, Undeliverable, come_back, leave, toa};
use crate::engine::buffer::Packet;
use crate::engine::packet::View;

/// Whether servers are told of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toa {
    Off,
    /// So segments from servers have to leave room for it.
    On,
}

/// To the server, as if from `local`. A SYN loses its timestamp option: clients with different clocks come from one
/// address there, and the server would take the slower one's segments for old ones (RFC 7323, 5).
///
/// # Errors
/// The packet does not go on. Unless its TTL is the reason it has gone down by one.
pub fn to_server(
    packet: &mut Packet<'_>,
    view: &View,
    local: Endpoint,
    server: Endpoint,
    path: &Path,
) -> Result<Outcome, Undeliverable> {
    let outcome = leave(packet, view, path.mtu)?;
    toa::blank_timestamps(packet, view);
    apply(&Both { source: &local, destination: &server }, packet, view)?;
    Ok(outcome)
}

/// Back to the client. A SYN offers less than the server does, if its segments need room for the client's address.
///
/// # Errors
/// The packet does not go on. If it is the TTL or the length, it is as it was.
pub fn to_client(
    packet: &mut Packet<'_>,
    view: &View,
    service: Endpoint,
    client: Endpoint,
    toa: Toa,
    path: &Path,
) -> Result<Outcome, Undeliverable> {
    let outcome = come_back(packet, view, path.mtu)?;
    if toa == Toa::On {
        toa::lower_mss(packet, view);
    }
    apply(&Both { source: &service, destination: &client }, packet, view)?;
    Ok(outcome)
}

#[cfg(test)]
mod tests;
