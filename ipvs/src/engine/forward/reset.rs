//! What TCP answers to a segment that belongs to no connection: for a server that is gone.

use thiserror::Error;

use super::header::Header;
use super::icmp::is_unicast;
use super::is_valid;
use super::tcp::{self, FIXED, flag};
use crate::engine::buffer::{Checksum, NoRoom, Offload, Packet, put};
use crate::engine::checksum::Sum;
use crate::engine::packet::{Fragment, View, protocol};

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NoReset {
    #[error("no whole segment of TCP")]
    NoSegment,
    /// Resets are not answered (RFC 9293, 3.10.7.1).
    #[error("a reset itself")]
    Reset,
    #[error("a wrong checksum")]
    BadChecksum,
    #[error("its addresses are not those of one host each")]
    NotUnicast,
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
}

const TTL: u8 = 64;

/// Makes of a segment the reset that its sender gets, from whom it was sent to (RFC 9293, 3.10.7.1).
///
/// # Errors
/// There is no answer. The packet is as it was.
pub fn answer(packet: &mut Packet<'_>, view: &View) -> Result<(), NoReset> {
    let header = tcp::Header::read(packet.bytes(), view)
        .filter(|_| view.fragment == Fragment::Whole)
        .ok_or(NoReset::NoSegment)?;
    if header.has(flag::RST) {
        return Err(NoReset::Reset);
    }
    if !is_unicast(view.source) || !is_unicast(view.destination) {
        return Err(NoReset::NotUnicast);
    }
    if packet.offload().checksum == Checksum::Complete && !is_valid(packet.bytes(), view) {
        return Err(NoReset::BadChecksum);
    }
    let ports = view.ports.ok_or(NoReset::NoSegment)?;
    let (sequence, acknowledgement, flags) = if header.has(flag::ACK) {
        (header.acknowledgement, 0, flag::RST)
    } else {
        (0, after(&header, view), flag::RST | flag::ACK)
    };

    let reply = Header {
        source: view.destination,
        destination: view.source,
        protocol: protocol::TCP,
        ttl: TTL,
        class: 0,
        dont_fragment: true,
        identification: 0,
        payload: FIXED,
    };
    let mut segment = [0; FIXED];
    // There is room for all of it.
    put(&mut segment, 0, ports.destination.to_be_bytes()).ok_or(NoRoom)?;
    put(&mut segment, 2, ports.source.to_be_bytes()).ok_or(NoRoom)?;
    put(&mut segment, 4, u32::to_be_bytes(sequence)).ok_or(NoRoom)?;
    put(&mut segment, 8, u32::to_be_bytes(acknowledgement)).ok_or(NoRoom)?;
    put(&mut segment, 12, [(FIXED << 2) as u8, flags]).ok_or(NoRoom)?;
    let checksum = Sum::of(&segment).plus(reply.pseudo_header()).checksum();
    put(&mut segment, 16, checksum.to_be_bytes()).ok_or(NoRoom)?;

    packet.truncate(reply.length() + FIXED);
    packet.set_offload(Offload::default());
    put(packet.bytes_mut(), reply.length(), segment).ok_or(NoRoom)?;
    reply.write(packet.bytes_mut())?;
    Ok(())
}

/// The sequence number that follows the segment: SYN and FIN take one each.
fn after(header: &tcp::Header, view: &View) -> u32 {
    let data = view.end.saturating_sub(header.options().end);
    let length = u32::try_from(data).unwrap_or_default()
        + u32::from(header.has(flag::SYN))
        + u32::from(header.has(flag::FIN));
    header.sequence.wrapping_add(length)
}

#[cfg(test)]
mod tests;
