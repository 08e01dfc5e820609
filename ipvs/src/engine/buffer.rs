//! A packet in memory: with room for the headers that forwarding puts before it, and what is still to be done to it.

use thiserror::Error;

use super::checksum::Sum;
use super::packet::View;

/// The room in front of a packet that is enough for everything the engine does to one: the longest tunnel (IPv6, UDP,
/// GUE with remote checksum offload) takes 60 bytes. Nothing needs room behind.
pub const HEADROOM: usize = 64;

/// One IP packet in a buffer.
///
/// ```text
/// | headroom | IP header ...                      | not the packet's |
/// 0        start                                 end               len
/// ```
#[derive(Debug)]
pub struct Packet<'a> {
    buffer: &'a mut [u8],
    start: usize,
    end: usize,
    offload: Offload,
}

/// What somebody else does to a packet before it is on a wire: what virtio-net knows of it, in offsets from the first
/// byte of the IP header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    pub checksum: Checksum,
    /// The packet is several, not cut apart yet.
    pub segment: Option<Segment>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    /// All of them are made, be they right or wrong.
    #[default]
    Complete,
    /// One is not: what is summed begins at `start` and goes to the end of the packet, and the result belongs `offset`
    /// bytes behind `start`, where now the sum of the pseudo-header is.
    Partial { start: usize, offset: usize },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub kind: SegmentKind,
    /// Bytes of payload that each of them has; the last one may have less.
    pub size: u16,
    /// Only the first one says that the congestion window was reduced (CWR).
    pub ecn: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentKind {
    TcpV4,
    TcpV6,
    /// Datagrams of their own.
    UdpL4,
    /// IP fragments of one datagram.
    UdpFragmentation,
}

/// The buffer has no room for what is to be put before the packet, or the packet would be longer than IP has numbers
/// for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("no room for more headers")]
pub struct NoRoom;

/// A checksum that is not made yet has its place outside the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the partial checksum lies outside the packet")]
pub struct OutsidePacket;

impl<'a> Packet<'a> {
    /// What pads a frame behind its packet is better left out: a checksum that is not made yet would sum it.
    ///
    /// `None`: `start` to `end` is no part of the buffer.
    pub const fn new(buffer: &'a mut [u8], start: usize, end: usize, offload: Offload) -> Option<Self> {
        if start <= end && end <= buffer.len() { Some(Self { buffer, start, end, offload }) } else { None }
    }

    pub fn bytes(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.buffer.get_mut(self.start..self.end).unwrap_or_default()
    }

    pub const fn len(&self) -> usize {
        self.end - self.start
    }

    pub const fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Bytes in front of the packet that headers may take.
    pub const fn headroom(&self) -> usize {
        self.start
    }

    pub const fn offload(&self) -> Offload {
        self.offload
    }

    pub const fn set_offload(&mut self, offload: Offload) {
        self.offload = offload;
    }

    /// Whether the checksum at `place` is the one that is not made yet.
    pub fn is_partial_at(&self, place: usize) -> bool {
        match &self.offload.checksum {
            Checksum::Complete => false,
            Checksum::Partial { start, offset } => start.checked_add(*offset) == Some(place),
        }
    }

    /// How long it is on the wire: the longest of its segments, if it is to be cut into some. `view` is of this
    /// packet.
    pub fn wire_length(&self, view: &View) -> usize {
        let Some(segment) = self.offload.segment else { return view.end };
        let headers = match segment.kind {
            SegmentKind::TcpV4 | SegmentKind::TcpV6 => {
                let offset = self.bytes().get(view.transport.saturating_add(12)).copied().unwrap_or_default();
                view.transport + usize::from(offset >> 4) * 4
            }
            SegmentKind::UdpL4 => view.transport + 8,
            SegmentKind::UdpFragmentation => view.transport,
        };
        view.end.min(headers + usize::from(segment.size))
    }

    /// Makes room for `count` bytes in front, which are 0 then.
    ///
    /// # Errors
    /// There is less headroom.
    pub fn grow_front(&mut self, count: usize) -> Result<&mut [u8], NoRoom> {
        self.grow_at(0, count)
    }

    /// Makes room for `count` bytes at `offset`, which are 0 then. What is before them moves into the headroom.
    ///
    /// # Errors
    /// There is less headroom, or `offset` is behind the packet.
    pub fn grow_at(&mut self, offset: usize, count: usize) -> Result<&mut [u8], NoRoom> {
        let start = self.start.checked_sub(count).ok_or(NoRoom)?;
        if offset > self.len() {
            return Err(NoRoom);
        }
        self.buffer.copy_within(self.start..self.start + offset, start);
        self.start = start;
        if let Checksum::Partial { start, offset: to_place } = &mut self.offload.checksum {
            if *start >= offset {
                *start += count;
            } else if *start + *to_place >= offset {
                *to_place += count;
            }
        }
        let gap = self.bytes_mut().get_mut(offset..offset + count).ok_or(NoRoom)?;
        gap.fill(0);
        Ok(gap)
    }

    /// Takes away `count` bytes at `offset`; what is before them moves up. Takes less if there is less.
    pub fn shrink_at(&mut self, offset: usize, count: usize) {
        let offset = offset.min(self.len());
        let count = count.min(self.len() - offset);
        self.buffer.copy_within(self.start..self.start + offset, self.start + count);
        self.start += count;
        if let Checksum::Partial { start, offset: to_place } = self.offload.checksum {
            let moved = |place: usize| if place < offset { Some(place) } else { place.checked_sub(count) };
            let places = moved(start).zip(moved(start.saturating_add(to_place)));
            self.offload.checksum = match places {
                Some((start, place)) if place >= start => Checksum::Partial { start, offset: place - start },
                // It went with the bytes.
                _ => Checksum::Complete,
            };
        }
    }

    /// Cuts it off behind `length` bytes, if it has more.
    pub const fn truncate(&mut self, length: usize) {
        if length < self.len() {
            self.end = self.start + length;
        }
    }

    /// Makes the checksum that is not made yet.
    ///
    /// # Errors
    /// It lies outside the packet.
    pub fn complete_checksum(&mut self) -> Result<(), OutsidePacket> {
        let Checksum::Partial { start, offset } = self.offload.checksum else { return Ok(()) };
        let summed = self.bytes().get(start..).ok_or(OutsidePacket)?;
        // UDP has 0 for none; for the others the two zeros of ones' complement are one.
        let checksum = non_zero(Sum::of(summed).checksum());
        let place = start.saturating_add(offset);
        put(self.bytes_mut(), place, checksum.to_be_bytes()).ok_or(OutsidePacket)?;
        self.offload.checksum = Checksum::Complete;
        Ok(())
    }
}

/// The other zero of ones' complement instead of 0, which in UDP stands for no checksum.
pub(super) const fn non_zero(checksum: u16) -> u16 {
    if checksum == 0 { 0xffff } else { checksum }
}

/// The bytes at `at`, if there are so many.
pub(super) fn get<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// The number of 16 bits at `at`, in network order.
pub(super) fn word(bytes: &[u8], at: usize) -> Option<u16> {
    get(bytes, at).map(u16::from_be_bytes)
}

/// Writes at `at`, if there is room.
pub(super) fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) -> Option<()> {
    *bytes.get_mut(at..)?.first_chunk_mut()? = value;
    Some(())
}

#[cfg(test)]
mod tests;
