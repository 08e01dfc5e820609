//! TOA: an option of TCP that tells a server behind full NAT who the client is, as LVS-FNAT and DPVS have it.
//!
//! ```text
//! | 254 | length | client's port | client's address |     in network order; 8 bytes for IPv4, 20 for IPv6
//! ```
//!
//! A kernel module at the server reads it from the segment that completes the handshake. Anyone can write such an
//! option: where it is trusted, what clients send of it has to be taken out, as [`insert`] and [`blank_timestamps`]
//! do with the segments that a server looks at.

use thiserror::Error;

use super::rewrite::{Endpoint, v4_bits};
use super::tcp::{FIXED, Header, OPTIONS, flag, kind, options};
use crate::engine::buffer::{NoRoom, Offload, Packet, Segment, put, word};
use crate::engine::checksum::{Change, Sum};
use crate::engine::packet::{Fragment, View};
use crate::virtual_service::Family;

/// Kind of the option, in both families.
pub const KIND: u8 = 254;

/// Why a segment goes to the server without the client's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotTold {
    #[error("no whole segment of TCP")]
    NoSegment,
    #[error("the header is full of options")]
    HeaderFull,
    #[error("the packet would be longer than the way takes")]
    TooLong,
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
}

/// Bytes that the option takes for a client of this family.
pub const fn length(family: Family) -> usize {
    match family {
        Family::V4 => 8,
        Family::V6 => 20,
    }
}

/// Whether the client's segment is one of those that carry the option: from the end of the handshake until the client
/// has seen more of the server than its SYN, whose sequence number was `initial`.
pub fn is_due(packet: &[u8], view: &View, initial: u32) -> bool {
    Header::read(packet, view).is_some_and(|header| {
        header.flags & (flag::SYN | flag::RST | flag::ACK) == flag::ACK
            && header.acknowledgement == initial.wrapping_add(1)
    })
}

/// Puts the option before all others, and changes `view` with the packet. Padding and options of this kind from the
/// client are left out; so are selective acknowledgements, which TCP can do without, if the header gets too long
/// otherwise. Packets that are to be segmented get smaller segments where need be.
///
/// # Errors
/// There is no room for it. The packet is as it was, and may go on without.
pub fn insert(packet: &mut Packet<'_>, view: &mut View, client: Endpoint, mtu: usize) -> Result<(), NotTold> {
    let header = Header::read(packet.bytes(), view)
        .filter(|_| view.fragment == Fragment::Whole)
        .ok_or(NotTold::NoSegment)?;
    let old = packet.bytes().get(header.options()).ok_or(NotTold::NoSegment)?;
    let new = Options::with_client(old, client).ok_or(NotTold::HeaderFull)?;
    let (options, growth) = (header.options(), new.length.saturating_sub(old.len()));
    let before = Sum::of(old).plus(offset_word(packet.bytes(), &header));
    let segment = fitting(packet, view, growth, mtu)?;
    let end = (view.end + new.length).saturating_sub(options.len());
    let length = match view.family {
        Family::V4 => u16::try_from(end),
        Family::V6 => u16::try_from(end.saturating_sub(40)),
    };
    let length = length.map_err(|_| NotTold::TooLong)?;

    packet.truncate(view.end);
    if new.length < options.len() {
        packet.shrink_at(options.start, options.len() - new.length);
    } else {
        packet.grow_at(options.start, growth)?;
    }
    packet.set_offload(Offload { segment, ..packet.offload() });
    if let Some(place) = packet.bytes_mut().get_mut(options.start..options.start + new.length) {
        place.copy_from_slice(new.bytes());
    }
    if let Some(offset) = packet.bytes_mut().get_mut(header.at + 12) {
        *offset = ((FIXED + new.length) << 2) as u8 | *offset & 0xf;
    }
    let after = Sum::of(new.bytes()).plus(offset_word(packet.bytes(), &header));
    let transport_lengths = [view.end, end].map(|end| length_word(end - view.transport));
    let pseudo_header = Change::of(transport_lengths[0], transport_lengths[1]);
    update_checksum(packet, &header, pseudo_header, Change::of(before, after));
    write_length(packet.bytes_mut(), view.family, length);
    view.end = end;
    Ok(())
}

/// Overwrites timestamps, and what pretends to be one of our options, in a client's SYN.
pub fn blank_timestamps(packet: &mut Packet<'_>, view: &View) {
    edit_options(packet, view, flag::SYN, |kind, option| {
        if matches!(kind, kind::TIMESTAMPS | KIND) {
            option.fill(kind::NO_OPERATION);
        }
    });
}

/// Makes the segments that a server offers to receive, in its SYN, shorter by the option.
pub fn lower_mss(packet: &mut Packet<'_>, view: &View) {
    let length = u16::try_from(length(view.family)).unwrap_or_default();
    edit_options(packet, view, flag::SYN | flag::ACK, |kind, option| {
        if let (kind::MSS, [_, _, mss @ ..]) = (kind, option)
            && let Some(mss) = mss.first_chunk_mut()
        {
            *mss = u16::from_be_bytes(*mss).saturating_sub(length).to_be_bytes();
        }
    });
}

/// Hands out the options of a segment that has all these flags and no RST. They keep their lengths.
fn edit_options(packet: &mut Packet<'_>, view: &View, flags: u8, edit: impl Fn(u8, &mut [u8])) {
    let Some(header) = Header::read(packet.bytes(), view) else { return };
    if header.flags & (flags | flag::RST) != flags {
        return;
    }
    let Some(region) = packet.bytes_mut().get_mut(header.options()) else { return };
    let before = Sum::of(region);
    let mut places = [const { (kind::END, 0..0) }; OPTIONS / 2];
    for (place, found) in places.iter_mut().zip(options(region)) {
        *place = found;
    }
    for (kind, place) in places {
        if let Some(option) = region.get_mut(place) {
            edit(kind, option);
        }
    }
    let change = Change::of(before, Sum::of(region));
    update_checksum(packet, &header, Change::default(), change);
}

/// Options of a segment, padded to what the header can count.
struct Options {
    bytes: [u8; OPTIONS],
    length: usize,
}

impl Options {
    /// `None`: too many.
    fn with_client(old: &[u8], client: Endpoint) -> Option<Self> {
        let without = |left_out: &[u8]| {
            let mut new = Self { bytes: [0; OPTIONS], length: 0 };
            new.push_client(client)?;
            let kept = options(old).filter(|(kind, _)| *kind != KIND && !left_out.contains(kind));
            for (_, place) in kept {
                new.push(old.get(place)?)?;
            }
            while !new.length.is_multiple_of(4) {
                new.push(&[kind::NO_OPERATION])?;
            }
            Some(new)
        };
        without(&[]).or_else(|| without(&[kind::SACK]))
    }

    fn push_client(&mut self, client: Endpoint) -> Option<()> {
        let family = client.address.family();
        self.push(&[KIND, u8::try_from(length(family)).ok()?])?;
        self.push(&client.port.to_be_bytes())?;
        match family {
            Family::V4 => self.push(&v4_bits(client.address).to_be_bytes()),
            Family::V6 => self.push(&client.address.bits().to_be_bytes()),
        }
    }

    fn push(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.length + bytes.len();
        self.bytes.get_mut(self.length..end)?.copy_from_slice(bytes);
        self.length = end;
        Some(())
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// How the packet is to be segmented when its header has grown.
fn fitting(packet: &Packet<'_>, view: &View, growth: usize, mtu: usize) -> Result<Option<Segment>, NotTold> {
    let segment = packet.offload().segment;
    if growth == 0 || packet.wire_length(view) + growth <= mtu {
        return Ok(segment);
    }
    let segment = segment.ok_or(NotTold::TooLong)?;
    let size = usize::from(segment.size).saturating_sub(growth);
    match u16::try_from(size) {
        Ok(size) if size > 0 => Ok(Some(Segment { size, ..segment })),
        _ => Err(NotTold::TooLong),
    }
}

/// Of the header, the word with its length and the flags.
fn offset_word(bytes: &[u8], header: &Header) -> Sum {
    Sum::of_word(word(bytes, header.at + 12).unwrap_or_default())
}

fn length_word(length: usize) -> Sum {
    Sum::of_word(u16::try_from(length).unwrap_or(u16::MAX))
}

fn update_checksum(packet: &mut Packet<'_>, header: &Header, pseudo_header: Change, segment: Change) {
    let place = header.at + 16;
    let Some(before) = word(packet.bytes(), place) else { return };
    let after = if packet.is_partial_at(place) {
        !pseudo_header.apply(!before)
    } else {
        pseudo_header.and(segment).apply(before)
    };
    // Where it was read from there is room for it.
    put(packet.bytes_mut(), place, after.to_be_bytes()).unwrap_or_default();
}

fn write_length(bytes: &mut [u8], family: Family, length: u16) {
    let place = match family {
        Family::V4 => 2,
        Family::V6 => 4,
    };
    let Some(before) = word(bytes, place) else { return };
    put(bytes, place, length.to_be_bytes()).unwrap_or_default();
    if family == Family::V4
        && let Some(checksum) = word(bytes, 10)
    {
        let change = Change::of(Sum::of_word(before), Sum::of_word(length));
        put(bytes, 10, change.apply(checksum).to_be_bytes()).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests;
