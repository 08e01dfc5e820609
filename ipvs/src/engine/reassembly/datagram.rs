//! A datagram that waits for the rest of its fragments.

use super::part::{Part, told_length};
use super::refused::Refused;
use super::{DATAGRAM, FRAGMENT, Whole};
use crate::engine::checksum::Sum;
use crate::engine::packet::{Fragment, Malformed, View};
use crate::virtual_service::Family;

#[derive(Debug)]
pub(super) enum Datagram {
    Waiting(Waiting),
    /// Dropped, and with it whatever comes of it until its time is over: else what is left of an overlap could still
    /// become a packet (RFC 5722).
    Spoilt,
}

#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// By their offsets; no two have a byte in common.
    pieces: Vec<Piece>,
    /// Of the first fragment, as the whole datagram has it.
    header: Option<Box<[u8]>>,
    /// Bytes of data that are here, of those that there are if the last fragment is.
    collected: usize,
    end: Option<usize>,
    codepoints: Codepoints,
    longest: usize,
    dont_fragment: bool,
    cost: usize,
}

#[derive(Debug)]
struct Piece {
    offset: usize,
    data: Box<[u8]>,
}

impl Piece {
    fn end(&self) -> usize {
        self.offset + self.data.len()
    }
}

/// Where a part belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    At(usize),
    /// The same part is there already.
    Taken,
}

impl Datagram {
    /// Bytes of memory, about.
    pub(super) const fn cost(&self) -> usize {
        match self {
            Self::Waiting(waiting) => DATAGRAM + waiting.cost,
            Self::Spoilt => DATAGRAM,
        }
    }

    pub(super) fn place(&self, part: &Part<'_>, most: usize) -> Result<Place, Refused> {
        match self {
            Self::Waiting(waiting) => waiting.place(part, most),
            Self::Spoilt => Err(Refused::Spoilt),
        }
    }
}

impl Waiting {
    fn place(&self, part: &Part<'_>, most: usize) -> Result<Place, Refused> {
        let agrees = match self.end {
            Some(end) if part.more => part.end() < end,
            Some(end) => part.end() == end,
            None => part.more || self.pieces.last().is_none_or(|last| last.end() < part.end()),
        };
        if !agrees {
            return Err(Refused::TwoEnds);
        }
        let at = self.pieces.partition_point(|piece| piece.offset < part.offset);
        let before = at.checked_sub(1).and_then(|before| self.pieces.get(before));
        let behind = self.pieces.get(at);
        if behind.is_some_and(|piece| piece.offset == part.offset && *piece.data == *part.data) {
            return Ok(Place::Taken);
        }
        let overlaps = before.is_some_and(|piece| piece.end() > part.offset)
            || behind.is_some_and(|piece| piece.offset < part.end());
        if overlaps {
            return Err(Refused::Overlap);
        }
        if self.pieces.len() >= most {
            return Err(Refused::TooManyFragments);
        }
        Ok(Place::At(at))
    }

    /// Keeps a part whose place is `at`.
    pub(super) fn insert(&mut self, at: usize, part: &Part<'_>) {
        let piece = Piece { offset: part.offset, data: part.data.into() };
        self.pieces.insert(at.min(self.pieces.len()), piece);
        if part.offset == 0 {
            self.header = Some(part.whole_header());
        }
        if !part.more {
            self.end = Some(part.end());
        }
        self.collected += part.data.len();
        self.codepoints.add(part.class);
        self.longest = self.longest.max(part.length);
        self.dont_fragment |= part.dont_fragment;
        self.cost += FRAGMENT + part.kept();
    }

    /// Nothing overlaps, so as many bytes as there are to be are all of them.
    pub(super) fn is_whole(&self) -> bool {
        self.end == Some(self.collected)
    }

    pub(super) fn assemble(self, family: Family, headroom: usize) -> Result<Whole, Refused> {
        let congestion = self.codepoints.congestion()?;
        let header = self.header.ok_or(Malformed::Truncated)?;
        let length = told_length(family, header.len(), self.collected)?;
        let mut buffer = Vec::with_capacity(headroom + header.len() + self.collected);
        buffer.resize(headroom, 0);
        buffer.extend_from_slice(&header);
        for piece in &self.pieces {
            buffer.extend_from_slice(&piece.data);
        }
        let packet = buffer.get_mut(headroom..).unwrap_or_default();
        match family {
            Family::V4 => finish_v4(packet, header.len(), length, congestion)?,
            Family::V6 => finish_v6(packet, length, congestion)?,
        }
        let view = View::read(packet)?;
        if view.fragment != Fragment::Whole {
            return Err(Refused::Nested);
        }
        let Self { longest, dont_fragment, .. } = self;
        Ok(Whole { buffer, start: headroom, view, longest, dont_fragment })
    }
}

fn finish_v4(packet: &mut [u8], header: usize, length: u16, congestion: Congestion) -> Result<(), Malformed> {
    let header = packet.get_mut(..header).ok_or(Malformed::Truncated)?;
    let fixed = header.first_chunk_mut::<20>().ok_or(Malformed::Truncated)?;
    fixed[1] |= congestion.class();
    [fixed[2], fixed[3]] = length.to_be_bytes();
    // It is whole, and its checksum is to be made.
    [fixed[6], fixed[7], fixed[10], fixed[11]] = [0; 4];
    let checksum = Sum::of(header).checksum();
    let fixed = header.first_chunk_mut::<20>().ok_or(Malformed::Truncated)?;
    [fixed[10], fixed[11]] = checksum.to_be_bytes();
    Ok(())
}

fn finish_v6(packet: &mut [u8], length: u16, congestion: Congestion) -> Result<(), Malformed> {
    let fixed = packet.first_chunk_mut::<40>().ok_or(Malformed::Truncated)?;
    // The traffic class has the version before it.
    fixed[1] |= congestion.class() << 4;
    [fixed[4], fixed[5]] = length.to_be_bytes();
    Ok(())
}

/// ECN codepoints of fragments.
#[derive(Clone, Copy, Debug, Default)]
struct Codepoints {
    not_capable: bool,
    capable: bool,
    congestion: bool,
}

/// What routers have told of congestion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Congestion {
    None,
    Experienced,
}

impl Congestion {
    /// What it sets in the type of service or traffic class.
    const fn class(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Experienced => 3,
        }
    }
}

impl Codepoints {
    fn add(&mut self, class: u8) {
        match class & 3 {
            0 => self.not_capable = true,
            3 => self.congestion = true,
            _ => self.capable = true,
        }
    }

    /// One mark marks the datagram. As in Linux, capable and not capable never make one.
    const fn congestion(self) -> Result<Congestion, Refused> {
        match self {
            Self { not_capable: true, capable: false, congestion: false } => Ok(Congestion::None),
            Self { not_capable: true, .. } => Err(Refused::EcnMix),
            Self { congestion: true, .. } => Ok(Congestion::Experienced),
            Self { congestion: false, .. } => Ok(Congestion::None),
        }
    }
}
