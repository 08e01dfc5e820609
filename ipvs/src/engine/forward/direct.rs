//! Direct routing: the packet goes to the server's link-layer address, and still says whom the client addressed. So do
//! packets that bypass IPVS.

use super::{Outcome, Path, Undeliverable, leave};
use crate::engine::buffer::Packet;
use crate::engine::packet::View;

/// To the server, errors of ICMP from the client's side included.
///
/// # Errors
/// The packet does not go on. Unless its TTL is the reason it has gone down by one.
pub fn to_server(packet: &mut Packet<'_>, view: &View, path: &Path) -> Result<Outcome, Undeliverable> {
    leave(packet, view, path.mtu)
}

#[cfg(test)]
mod tests;
