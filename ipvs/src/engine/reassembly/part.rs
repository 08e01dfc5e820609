//! What one fragment says of the datagram that it is a part of.

use super::refused::Refused;
use crate::engine::address::Address;
use crate::engine::checksum::Sum;
use crate::engine::packet::{Fragment, FragmentHeader, Malformed, View};
use crate::virtual_service::Family;

const FIXED_V6: usize = 40;

/// Which fragments belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) source: Address,
    pub(super) destination: Address,
    pub(super) identification: u32,
    /// 0 for IPv6, where each fragment may name what is next as it likes (RFC 8200, 4.5).
    pub(super) protocol: u8,
}

impl Key {
    pub(super) const fn family(&self) -> Family {
        self.source.family()
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'p> {
    pub(super) key: Key,
    /// What is before the data, and before the fragment header of IPv6.
    header: &'p [u8],
    /// The "next header" that is to be another when the fragment header is gone, and which.
    next: Option<(usize, u8)>,
    /// Where the data belong, in bytes; a multiple of eight.
    pub(super) offset: usize,
    /// Whether this is not the last one.
    pub(super) more: bool,
    /// Never empty, and a multiple of eight bytes if more follow.
    pub(super) data: &'p [u8],
    pub(super) length: usize,
    pub(super) class: u8,
    pub(super) dont_fragment: bool,
}

impl<'p> Part<'p> {
    pub(super) fn read(packet: &'p [u8], view: &View) -> Result<Self, Refused> {
        if view.fragment == Fragment::Whole {
            return Err(Refused::NotAFragment);
        }
        let packet = packet.get(..view.end).ok_or(Malformed::Truncated)?;
        let part = match view.family {
            Family::V4 => Self::read_v4(packet, view)?,
            Family::V6 => Self::read_v6(packet, view)?,
        };
        if part.data.is_empty() {
            return Err(Refused::Empty);
        }
        if part.more && !part.data.len().is_multiple_of(8) {
            return Err(Refused::Misaligned { length: part.data.len() });
        }
        told_length(part.key.family(), part.header.len(), part.end())?;
        Ok(part)
    }

    fn read_v4(packet: &'p [u8], view: &View) -> Result<Self, Refused> {
        let (header, data) = packet.split_at_checked(view.transport).ok_or(Malformed::Truncated)?;
        let fixed = header.first_chunk::<20>().ok_or(Malformed::Truncated)?;
        // The result gets a new checksum, which must not make good what a wire has spoilt.
        if Sum::of(header).checksum() != 0 {
            return Err(Refused::HeaderChecksum);
        }
        let fragment = u16::from_be_bytes([fixed[6], fixed[7]]);
        Ok(Self {
            key: Key {
                source: view.source,
                destination: view.destination,
                identification: u16::from_be_bytes([fixed[4], fixed[5]]).into(),
                protocol: view.protocol,
            },
            header,
            next: None,
            offset: usize::from(fragment & 0x1fff) * 8,
            more: fragment & 0x2000 != 0,
            data,
            length: view.end,
            class: view.class,
            dont_fragment: view.dont_fragment,
        })
    }

    fn read_v6(packet: &'p [u8], view: &View) -> Result<Self, Refused> {
        let found = FragmentHeader::find(packet, view)?.ok_or(Refused::NotAFragment)?;
        let (header, rest) = packet.split_at_checked(found.at).ok_or(Malformed::Truncated)?;
        let (&[next, _, high, low, a, b, c, d], data) =
            rest.split_first_chunk().ok_or(Malformed::Truncated)?;
        let fragment = u16::from_be_bytes([high, low]);
        Ok(Self {
            key: Key {
                source: view.source,
                destination: view.destination,
                identification: u32::from_be_bytes([a, b, c, d]),
                protocol: 0,
            },
            header,
            next: Some((found.named_at, next)),
            // In eights, above three bits of which the lowest says that more follow.
            offset: usize::from(fragment & !7),
            more: fragment & 1 != 0,
            data,
            length: view.end,
            class: view.class,
            dont_fragment: view.dont_fragment,
        })
    }

    /// Where the next one begins.
    pub(super) const fn end(&self) -> usize {
        self.offset + self.data.len()
    }

    /// The header that the datagram gets if this is its first part; its lengths are to be set.
    pub(super) fn whole_header(&self) -> Box<[u8]> {
        let mut header: Box<[u8]> = self.header.into();
        if let Some((at, next)) = self.next
            && let Some(named) = header.get_mut(at)
        {
            *named = next;
        }
        header
    }

    /// Bytes that are kept of it.
    pub(super) const fn kept(&self) -> usize {
        self.data.len() + if self.offset == 0 { self.header.len() } else { 0 }
    }
}

/// What a header tells of the length of a packet of so many bytes of headers and data.
pub(super) fn told_length(family: Family, header: usize, data: usize) -> Result<u16, Refused> {
    let length = match family {
        Family::V4 => header + data,
        Family::V6 => (header + data).saturating_sub(FIXED_V6),
    };
    u16::try_from(length).map_err(|_| Refused::TooLong { length })
}
