//! From frames of the TAP to packets of the engine, and back.

use crate::engine::buffer::{Checksum, Offload, Packet, Segment, SegmentKind};
use crate::engine::packet::{View, protocol};
use crate::io::tap::Departure;
use crate::io::virtio::Header;
use crate::virtual_service::Family;

const ETHERNET: usize = 14;
const VLAN: usize = 4;
const VLAN_TAG: [u8; 2] = [0x81, 0x00];
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];

/// What stands between the link-layer addresses and the packet: nothing, or the tag of a VLAN, which the packet keeps
/// wherever it goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Link {
    vlan: Option<[u8; 2]>,
}

impl Link {
    /// `None`: it is no frame of IP.
    pub(super) fn of(frame: &[u8]) -> Option<Self> {
        let [kind @ .., a, b, c, d] = *frame.get(ETHERNET - 2..)?.first_chunk::<6>()?;
        match kind {
            VLAN_TAG => [IPV4, IPV6].contains(&[c, d]).then_some(Self { vlan: Some([a, b]) }),
            kind => [IPV4, IPV6].contains(&kind).then_some(Self { vlan: None }),
        }
    }

    pub(super) const fn length(self) -> usize {
        match self.vlan {
            None => ETHERNET,
            Some(_) => ETHERNET + VLAN,
        }
    }

    /// Puts itself before a packet of that family, with a tag for the TAP in place of the addresses.
    ///
    /// # Errors
    /// There is no room.
    pub(super) fn put(
        self,
        packet: &mut Packet<'_>,
        family: Family,
        departure: Departure,
    ) -> Result<(), crate::engine::buffer::NoRoom> {
        let place = packet.grow_front(self.length())?;
        self.write(place, family, departure);
        Ok(())
    }

    /// As [`put`](Self::put), for a packet that has no room in front of it.
    pub(super) fn around(self, packet: &[u8], family: Family, departure: Departure) -> Vec<u8> {
        let mut frame = vec![0; self.length()];
        self.write(&mut frame, family, departure);
        frame.extend(packet);
        frame
    }

    fn write(self, place: &mut [u8], family: Family, departure: Departure) {
        departure.put(place);
        let kind = match family {
            Family::V4 => IPV4,
            Family::V6 => IPV6,
        };
        let rest = match self.vlan {
            None => vec_of(kind, None),
            Some(tag) => vec_of(VLAN_TAG, Some((tag, kind))),
        };
        for (place, byte) in place.iter_mut().skip(ETHERNET - 2).zip(rest) {
            *place = byte;
        }
    }
}

fn vec_of(kind: [u8; 2], tag: Option<([u8; 2], [u8; 2])>) -> impl Iterator<Item = u8> {
    let tagged = tag.into_iter().flat_map(|(tag, kind)| [tag, kind]).flatten();
    kind.into_iter().chain(tagged)
}

/// What a frame says of itself, in offsets of the packet that begins `link` bytes behind.
pub(super) fn offload(header: &Header, link: usize) -> Offload {
    let checksum = header.partial_checksum().and_then(|partial| {
        let start = partial.start.checked_sub(link)?;
        Some(Checksum::Partial { start, offset: partial.place - partial.start })
    });
    let kind = match header.gso_type & !Header::GSO_ECN {
        Header::GSO_TCP_V4 => Some(SegmentKind::TcpV4),
        Header::GSO_TCP_V6 => Some(SegmentKind::TcpV6),
        Header::GSO_UDP_L4 => Some(SegmentKind::UdpL4),
        Header::GSO_UDP => Some(SegmentKind::UdpFragmentation),
        _ => None,
    };
    let ecn = header.gso_type & Header::GSO_ECN != 0;
    Offload {
        checksum: checksum.unwrap_or_default(),
        segment: kind.map(|kind| Segment { kind, size: header.segment_size, ecn }),
    }
}

/// The reverse, for a frame whose packet has `view` and begins `link` bytes into it. `offload` is of the frame.
pub(super) fn header(offload: Offload, view: &View, link: usize, payload: &[u8]) -> Header {
    let mut header = Header::default();
    let number = |number: usize| u16::try_from(number).unwrap_or(u16::MAX);
    if let Checksum::Partial { start, offset } = offload.checksum {
        header.flags = Header::NEEDS_CHECKSUM;
        header.checksum_start = number(start);
        header.checksum_offset = number(offset);
    }
    if let Some(segment) = offload.segment {
        let kind = match segment.kind {
            SegmentKind::TcpV4 => Header::GSO_TCP_V4,
            SegmentKind::TcpV6 => Header::GSO_TCP_V6,
            SegmentKind::UdpL4 => Header::GSO_UDP_L4,
            SegmentKind::UdpFragmentation => Header::GSO_UDP,
        };
        header.gso_type = kind | if segment.ecn { Header::GSO_ECN } else { 0 };
        header.segment_size = segment.size;
        let transport = match view.protocol {
            protocol::TCP => payload.get(12).map_or(20, |offset| usize::from(offset >> 4) * 4),
            _ => 8,
        };
        header.header_length = number(link + view.transport + transport);
    }
    header
}
