//! Masquerading (NAT): the server sees itself addressed, the client sees the service answer.

use super::rewrite::{Destination, Source, apply};
use super::{Endpoint, Outcome, Path, Undeliverable, come_back, leave};
use crate::engine::buffer::Packet;
use crate::engine::packet::View;

/// To a server that is another host. To one on the director, [`Rewrite::apply`](super::Rewrite::apply) is all: no
/// router has been passed.
///
/// # Errors
/// The packet does not go on. Unless its TTL is the reason it has gone down by one.
pub fn to_server(
    packet: &mut Packet<'_>,
    view: &View,
    server: Endpoint,
    path: &Path,
) -> Result<Outcome, Undeliverable> {
    let outcome = leave(packet, view, path.mtu)?;
    apply(&Destination(&server), packet, view)?;
    Ok(outcome)
}

/// Back to the client.
///
/// # Errors
/// The packet does not go on. If it is the TTL or the length, it is as it was.
pub fn to_client(
    packet: &mut Packet<'_>,
    view: &View,
    service: Endpoint,
    path: &Path,
) -> Result<Outcome, Undeliverable> {
    let outcome = come_back(packet, view, path.mtu)?;
    apply(&Source(&service), packet, view)?;
    Ok(outcome)
}

#[cfg(test)]
mod tests;
