//! Cutting a packet of many segments apart, where what comes behind takes single ones only: tunnels, and devices
//! without that offload.

use thiserror::Error;

use super::header::write_checksum;
use super::tcp::{Header, flag};
use crate::engine::buffer::{Checksum, HEADROOM, Offload, Packet, SegmentKind, put, word};
use crate::engine::checksum::Sum;
use crate::engine::packet::{Fragment, View, protocol};
use crate::virtual_service::Family;

/// Why a packet cannot be cut apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Inseparable {
    #[error("it is but one")]
    Single,
    /// [`fragment`](super::fragment) is for it.
    #[error("it is one datagram, to be cut into fragments")]
    Fragments,
    /// Whoever made it says that it is many, and its headers say otherwise.
    #[error("no packet of many segments")]
    Contradiction,
}

/// Hands out the segments in their order, each with [`HEADROOM`] and with what is read of it. Their checksums are
/// partial, for whoever needs them otherwise to complete, save those of UDP without any. `scratch` is where they are
/// made.
///
/// # Errors
/// It cannot be cut apart, and nothing has been handed out.
pub fn cut(
    packet: &Packet<'_>,
    view: &View,
    scratch: &mut Vec<u8>,
    mut emit: impl FnMut(Packet<'_>, &View),
) -> Result<(), Inseparable> {
    let plan = Plan::of(packet, view)?;
    let (headers, payload) = packet
        .bytes()
        .get(..view.end)
        .and_then(|bytes| bytes.split_at_checked(plan.headers))
        .ok_or(Inseparable::Contradiction)?;
    let count = payload.len().div_ceil(plan.size).max(1);
    for number in 0..count {
        let from = number * plan.size;
        let data = payload.get(from..payload.len().min(from + plan.size)).unwrap_or_default();
        let end = headers.len() + data.len();
        scratch.clear();
        scratch.resize(HEADROOM, 0);
        scratch.extend_from_slice(headers);
        scratch.extend_from_slice(data);
        let offload = Offload { checksum: plan.checksum(view), segment: None };
        let mut segment =
            Packet::new(scratch, HEADROOM, HEADROOM + end, offload).ok_or(Inseparable::Contradiction)?;
        let place = Place { number, from, is_last: number + 1 == count };
        plan.write(segment.bytes_mut(), view, &place).ok_or(Inseparable::Contradiction)?;
        emit(segment, &View { end, ..*view });
    }
    Ok(())
}

/// What segments have in common.
struct Plan {
    /// What each of them repeats, in bytes.
    headers: usize,
    /// Of payload. Not 0.
    size: usize,
    /// Of TCP; for UDP nothing but lengths differs.
    tcp: Option<Header>,
    has_checksum: bool,
}

/// Which segment it is.
struct Place {
    number: usize,
    /// Bytes of payload before it.
    from: usize,
    is_last: bool,
}

impl Plan {
    fn of(packet: &Packet<'_>, view: &View) -> Result<Self, Inseparable> {
        let segment = packet.offload().segment.ok_or(Inseparable::Single)?;
        let bytes = packet.bytes();
        let size = usize::from(segment.size);
        let is_right = match segment.kind {
            SegmentKind::TcpV4 => (Family::V4, protocol::TCP) == (view.family, view.protocol),
            SegmentKind::TcpV6 => (Family::V6, protocol::TCP) == (view.family, view.protocol),
            SegmentKind::UdpL4 => view.protocol == protocol::UDP,
            SegmentKind::UdpFragmentation => return Err(Inseparable::Fragments),
        };
        if !is_right || size == 0 || view.fragment != Fragment::Whole {
            return Err(Inseparable::Contradiction);
        }
        if view.protocol == protocol::TCP {
            let header = Header::read(bytes, view).ok_or(Inseparable::Contradiction)?;
            let headers = header.options().end;
            return Ok(Self { headers, size, tcp: Some(header), has_checksum: true });
        }
        let checksum = word(bytes, view.transport + 6).ok_or(Inseparable::Contradiction)?;
        let has_checksum = checksum != 0 || packet.offload().checksum != Checksum::Complete;
        Ok(Self { headers: view.transport + 8, size, tcp: None, has_checksum })
    }

    const fn checksum_offset(&self) -> usize {
        if self.tcp.is_some() { 16 } else { 6 }
    }

    const fn checksum(&self, view: &View) -> Checksum {
        if self.has_checksum {
            Checksum::Partial { start: view.transport, offset: self.checksum_offset() }
        } else {
            Checksum::Complete
        }
    }

    /// Writes what differs into the headers of a segment.
    fn write(&self, segment: &mut [u8], view: &View, place: &Place) -> Option<()> {
        let transport_length = segment.len().checked_sub(view.transport)?;
        match view.family {
            Family::V4 => {
                let length = u16::try_from(segment.len()).ok()?;
                // As many numbers as the sender has left for it, and it counts round.
                let number = u16::try_from(place.number & 0xffff).ok()?;
                let identification = word(segment, 4)?.wrapping_add(number);
                put(segment, 2, length.to_be_bytes())?;
                put(segment, 4, identification.to_be_bytes())?;
                write_checksum(segment, view.transport)?;
            }
            Family::V6 => {
                put(segment, 4, u16::try_from(segment.len().checked_sub(40)?).ok()?.to_be_bytes())?;
            }
        }
        if let Some(header) = &self.tcp {
            let sequence = header.sequence.wrapping_add(u32::try_from(place.from).ok()?);
            let mut flags = header.flags;
            if !place.is_last {
                flags &= !(flag::FIN | flag::PSH);
            }
            if place.number > 0 {
                flags &= !flag::CWR;
            }
            put(segment, header.at + 4, sequence.to_be_bytes())?;
            put(segment, header.at + 13, [flags])?;
        } else {
            put(segment, view.transport + 4, u16::try_from(transport_length).ok()?.to_be_bytes())?;
        }
        if self.has_checksum {
            let pseudo_header =
                Sum::of_pseudo_header(view.source, view.destination, view.protocol, transport_length);
            put(segment, view.transport + self.checksum_offset(), pseudo_header.folded().to_be_bytes())?;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests;
