//! Packets for tests, and what is right about them, told by other code than what is tested.

use std::net::IpAddr;

use proptest::prelude::*;

use super::{Endpoint, Path};
use crate::engine::address::Address;
use crate::engine::buffer::{Checksum, HEADROOM, Offload, Packet};
use crate::engine::packet::{View, protocol};
use crate::virtual_service::Family;

pub(in crate::engine) fn address(text: &str) -> Address {
    text.parse::<IpAddr>().unwrap().into()
}

pub(in crate::engine) fn end(text: &str, port: u16) -> Endpoint {
    Endpoint { address: address(text), port }
}

pub(in crate::engine) fn path(source: &str, mtu: usize) -> Path {
    Path { mtu, source: address(source) }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Sum {
    Right,
    /// By that much, which is not 0.
    Wrong(u16),
    /// In UDP.
    Absent,
    Partial,
}

/// What a packet is made of.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Build {
    pub(in crate::engine) source: Endpoint,
    pub(in crate::engine) destination: Endpoint,
    pub(in crate::engine) protocol: u8,
    pub(in crate::engine) ttl: u8,
    pub(in crate::engine) class: u8,
    pub(in crate::engine) dont_fragment: bool,
    pub(in crate::engine) identification: u16,
    /// Offset in eights, and whether more follow; of IPv6 in an extension header, if not 0 and false.
    pub(in crate::engine) fragment: (u16, bool),
    /// Of IPv4, padded already.
    pub(in crate::engine) ip_options: Vec<u8>,
    /// Destination options of IPv6: how many headers, and of how many bytes each.
    pub(in crate::engine) extensions: Vec<u8>,
    /// Of TCP.
    pub(in crate::engine) flags: u8,
    pub(in crate::engine) sequence: u32,
    pub(in crate::engine) acknowledgement: u32,
    /// Of TCP, padded already.
    pub(in crate::engine) options: Vec<u8>,
    pub(in crate::engine) payload: Vec<u8>,
    pub(in crate::engine) sum: Sum,
}

impl Build {
    /// From a client to a service, or the other way.
    pub(in crate::engine) fn new(protocol: u8, source: Endpoint, destination: Endpoint) -> Self {
        Self {
            source,
            destination,
            protocol,
            ttl: 64,
            class: 0,
            dont_fragment: true,
            identification: 0x1234,
            fragment: (0, false),
            ip_options: Vec::new(),
            extensions: Vec::new(),
            flags: 0x10,
            sequence: 1000,
            acknowledgement: 2000,
            options: Vec::new(),
            payload: b"payload".to_vec(),
            sum: Sum::Right,
        }
    }

    pub(in crate::engine) fn tcp() -> Self {
        Self::new(protocol::TCP, end("10.1.0.9", 3001), end("10.9.0.1", 80))
    }

    pub(in crate::engine) fn udp() -> Self {
        Self::new(protocol::UDP, end("10.1.0.9", 3001), end("10.9.0.1", 53))
    }

    pub(in crate::engine) fn v6(self) -> Self {
        Self {
            source: end("2001:db8:1::9", self.source.port),
            destination: end("2001:db8:9::1", self.destination.port),
            ..self
        }
    }

    pub(in crate::engine) fn family(&self) -> Family {
        self.source.address.family()
    }

    pub(in crate::engine) fn bytes(&self) -> Vec<u8> {
        let transport = if self.fragment.0 > 0 { self.payload.clone() } else { self.transport() };
        match self.family() {
            Family::V4 => self.v4_around(&transport),
            Family::V6 => self.v6_around(&transport),
        }
    }

    pub(in crate::engine) fn offload(&self) -> Offload {
        let (start, offset) = match self.protocol {
            protocol::TCP => (self.transport_at(), 16),
            protocol::UDP => (self.transport_at(), 6),
            _ => return Offload::default(),
        };
        match self.sum {
            Sum::Partial => Offload { checksum: Checksum::Partial { start, offset }, segment: None },
            _ => Offload::default(),
        }
    }

    pub(in crate::engine) fn transport_at(&self) -> usize {
        match self.family() {
            Family::V4 => 20 + self.ip_options.len(),
            Family::V6 => {
                let fragment = if self.fragment == (0, false) { 0 } else { 8 };
                40 + fragment + self.extensions.iter().map(|length| usize::from(*length)).sum::<usize>()
            }
        }
    }

    fn transport(&self) -> Vec<u8> {
        let mut bytes = [self.source.port.to_be_bytes(), self.destination.port.to_be_bytes()].concat();
        let place = match self.protocol {
            protocol::TCP => {
                bytes.extend(self.sequence.to_be_bytes());
                bytes.extend(self.acknowledgement.to_be_bytes());
                bytes.extend([(20 + self.options.len() as u8) << 2, self.flags, 0xff, 0xff, 0, 0, 0, 0]);
                bytes.extend(&self.options);
                16
            }
            protocol::UDP => {
                bytes.extend((8 + self.payload.len() as u16).to_be_bytes());
                bytes.extend([0; 2]);
                6
            }
            protocol::SCTP => {
                bytes.extend([0, 0, 0, 7, 0, 0, 0, 0]);
                bytes.extend(&self.payload);
                let sum = slow_crc32c(&bytes) ^ if let Sum::Wrong(by) = self.sum { by.into() } else { 0 };
                bytes[8..12].copy_from_slice(&sum.to_le_bytes());
                return bytes;
            }
            _ => return self.payload.clone(),
        };
        bytes.extend(&self.payload);
        let pseudo = pseudo_header(self.source.address, self.destination.address, self.protocol, bytes.len());
        let sum = match self.sum {
            Sum::Absent => 0,
            Sum::Partial => slow_sum(&[&pseudo]),
            Sum::Right => right(self.protocol, !slow_sum(&[&pseudo, &bytes])),
            Sum::Wrong(by) => {
                let wrong = right(self.protocol, !slow_sum(&[&pseudo, &bytes])).wrapping_add(by);
                // Neither of the zeros, which stand for each other.
                if matches!(wrong, 0 | 0xffff) { wrong.wrapping_sub(2) } else { wrong }
            }
        };
        bytes[place..place + 2].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    fn v4_around(&self, transport: &[u8]) -> Vec<u8> {
        let length = 20 + self.ip_options.len();
        let (offset, more) = self.fragment;
        let fragment = offset | u16::from(more) << 13 | u16::from(self.dont_fragment) << 14;
        let mut bytes = vec![0x40 | (length / 4) as u8, self.class];
        bytes.extend(((length + transport.len()) as u16).to_be_bytes());
        bytes.extend(self.identification.to_be_bytes());
        bytes.extend(fragment.to_be_bytes());
        bytes.extend([self.ttl, self.protocol, 0, 0]);
        bytes.extend(octets(self.source.address));
        bytes.extend(octets(self.destination.address));
        bytes.extend(&self.ip_options);
        let sum = !slow_sum(&[&bytes]);
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        bytes.extend(transport);
        bytes
    }

    fn v6_around(&self, transport: &[u8]) -> Vec<u8> {
        let mut inner = transport.to_vec();
        let mut next = self.protocol;
        if self.fragment != (0, false) {
            let [high, low] = (self.fragment.0 << 3 | u16::from(self.fragment.1)).to_be_bytes();
            inner.splice(..0, [next, 0, high, low, 0, 0, 0x12, 0x34]);
            next = 44;
        }
        for length in &self.extensions {
            let mut extension = vec![0; usize::from(*length)];
            extension[..4].copy_from_slice(&[next, length / 8 - 1, 1, length - 4]);
            inner.splice(..0, extension);
            next = 60;
        }
        let mut bytes = vec![0x60 | self.class >> 4, self.class << 4 | 0x5, 0x67, 0x89];
        bytes.extend((inner.len() as u16).to_be_bytes());
        bytes.extend([next, self.ttl]);
        bytes.extend(octets(self.source.address));
        bytes.extend(octets(self.destination.address));
        bytes.extend(inner);
        bytes
    }
}

fn right(protocol: u8, sum: u16) -> u16 {
    if protocol == protocol::UDP && sum == 0 { 0xffff } else { sum }
}

pub(in crate::engine) fn octets(address: Address) -> Vec<u8> {
    match IpAddr::from(address) {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

pub(in crate::engine) fn pseudo_header(
    source: Address,
    destination: Address,
    protocol: u8,
    length: usize,
) -> Vec<u8> {
    let mut bytes = [octets(source), octets(destination)].concat();
    bytes.extend((length as u32).to_be_bytes());
    bytes.extend([0, 0, 0, protocol]);
    bytes
}

/// RFC 1071, word by word, over parts of even length but for the last.
pub(in crate::engine) fn slow_sum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u32;
    for pair in parts.iter().flat_map(|part| part.chunks(2)) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

fn slow_crc32c(data: &[u8]) -> u32 {
    let bit = |sum: u32, _| if sum & 1 == 0 { sum >> 1 } else { sum >> 1 ^ 0x82f6_3b78 };
    !data.iter().fold(!0, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), bit))
}

/// Whether the checksums of a packet are right: of the IPv4 header, and of the transport.
pub(in crate::engine) fn checksums(packet: &[u8]) -> (bool, bool) {
    let (header, mut next, mut at, source, destination) = if packet[0] >> 4 == 4 {
        let length = usize::from(packet[0] & 0xf) * 4;
        let of = |at: usize| Address::v4(u32::from_be_bytes(packet[at..at + 4].try_into().unwrap()));
        (slow_sum(&[&packet[..length]]) == 0xffff, packet[9], length, of(12), of(16))
    } else {
        let of = |at: usize| Address::v6(u128::from_be_bytes(packet[at..at + 16].try_into().unwrap()));
        (true, packet[6], 40, of(8), of(24))
    };
    while packet[0] >> 4 == 6 && matches!(next, 60 | 44) {
        let length = if next == 44 { 8 } else { usize::from(packet[at + 1]) * 8 + 8 };
        next = packet[at];
        at += length;
    }
    let transport = &packet[at..];
    let is_right = match next {
        protocol::TCP | protocol::UDP | protocol::ICMPV6 => {
            let pseudo = pseudo_header(source, destination, next, transport.len());
            slow_sum(&[&pseudo, transport]) == 0xffff && !(next == protocol::UDP && transport[6..8] == [0, 0])
        }
        protocol::ICMP => slow_sum(&[transport]) == 0xffff,
        protocol::SCTP => {
            let zeroed = [&transport[..8], &[0; 4], &transport[12..]].concat();
            transport[8..12] == slow_crc32c(&zeroed).to_le_bytes()
        }
        _ => true,
    };
    (header, is_right)
}

/// A packet after something has been done to it.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::engine) struct After<T> {
    pub(in crate::engine) outcome: T,
    pub(in crate::engine) bytes: Vec<u8>,
    pub(in crate::engine) offload: Offload,
}

impl<T> After<T> {
    /// As it is on a wire.
    pub(in crate::engine) fn on_wire(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        let end = bytes.len();
        let mut packet = Packet::new(&mut bytes, 0, end, self.offload).unwrap();
        packet.complete_checksum().unwrap();
        bytes
    }
}

pub(in crate::engine) fn after<T>(
    bytes: &[u8],
    offload: Offload,
    what: impl FnOnce(&mut Packet<'_>, &View) -> T,
) -> After<T> {
    let view = View::read(bytes).unwrap();
    let mut buffer = vec![0xee; HEADROOM];
    buffer.extend(bytes);
    let end = buffer.len();
    let mut packet = Packet::new(&mut buffer, HEADROOM, end, offload).unwrap();
    let outcome = what(&mut packet, &view);
    After { outcome, bytes: packet.bytes().to_vec(), offload: packet.offload() }
}

/// Bytes in hexadecimal, white space aside.
pub(in crate::engine) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap()).collect()
}

fn any_end(family: Family) -> BoxedStrategy<Endpoint> {
    match family {
        Family::V4 => (0x0a00_0000..0x0aff_ffff_u32, any::<u16>())
            .prop_map(|(address, port)| Endpoint { address: Address::v4(address), port })
            .boxed(),
        Family::V6 => (any::<u64>(), any::<u16>())
            .prop_map(|(address, port)| Endpoint {
                address: Address::v6(0x2001_0db8_u128 << 96 | u128::from(address)),
                port,
            })
            .boxed(),
    }
}

pub(in crate::engine) fn any_ends(family: Family) -> impl Strategy<Value = [Endpoint; 4]> {
    [any_end(family), any_end(family), any_end(family), any_end(family)]
}

fn any_options() -> impl Strategy<Value = Vec<u8>> {
    let option = prop_oneof![
        Just(vec![1]),
        any::<u16>().prop_map(|mss| [&[2, 4][..], &mss.to_be_bytes()].concat()),
        any::<[u8; 8]>().prop_map(|stamps| [&[8, 10][..], &stamps].concat()),
        any::<[u8; 8]>().prop_map(|sack| [&[5, 10][..], &sack].concat()),
        any::<[u8; 6]>().prop_map(|toa| [&[254, 8][..], &toa].concat()),
        any::<[u8; 3]>().prop_map(|odd| [&[19, 5][..], &odd].concat()),
    ];
    prop::collection::vec(option, 0..5).prop_map(|options| {
        let mut bytes = options.concat();
        bytes.truncate(40);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    })
}

/// Packets of all kinds that a service may see, whole ones.
pub(in crate::engine) fn any_packet() -> impl Strategy<Value = Build> {
    let family = prop::sample::select(vec![Family::V4, Family::V6]);
    let protocol = prop::sample::select(vec![protocol::TCP, protocol::UDP, protocol::SCTP, 50]);
    let sum = prop_oneof![
        4 => Just(Sum::Right),
        1 => (1..0xffff_u16).prop_map(Sum::Wrong),
        1 => Just(Sum::Absent),
        1 => Just(Sum::Partial)
    ];
    family.prop_flat_map(move |family| {
        let header = (any::<u8>(), 2..=255_u8, any::<bool>(), any::<u16>(), 0..4_usize);
        let extensions = prop::collection::vec(prop::sample::select(vec![8_u8, 16, 24]), 0..4);
        let segment = (any::<u8>(), any::<u32>(), any::<u32>(), any_options());
        let payload = prop::collection::vec(any::<u8>(), 0..100);
        (any_ends(family), protocol.clone(), sum.clone(), header, extensions, segment, payload).prop_map(
            move |([source, destination, ..], protocol, sum, header, extensions, segment, payload)| {
                let sum = match (sum, protocol) {
                    (Sum::Absent, protocol::UDP) | (Sum::Partial, protocol::TCP | protocol::UDP) => sum,
                    (Sum::Absent | Sum::Partial, _) => Sum::Right,
                    _ => sum,
                };
                let (class, ttl, dont_fragment, identification, options) = header;
                let (flags, sequence, acknowledgement, tcp_options) = segment;
                Build {
                    class,
                    ttl,
                    dont_fragment,
                    identification,
                    fragment: (0, false),
                    ip_options: if family == Family::V4 {
                        [148, 4, 0, 0].repeat(options)
                    } else {
                        Vec::new()
                    },
                    extensions: if family == Family::V6 { extensions } else { Vec::new() },
                    flags,
                    sequence,
                    acknowledgement,
                    options: tcp_options,
                    payload,
                    sum,
                    ..Build::new(protocol, source, destination)
                }
            },
        )
    })
}

/// Whatever somebody may say of a packet.
pub(in crate::engine) fn any_offload() -> impl Strategy<Value = Offload> {
    use crate::engine::buffer::{Segment, SegmentKind};
    let checksum = prop_oneof![
        Just(Checksum::Complete),
        (0..130_usize, 0..40_usize).prop_map(|(start, offset)| Checksum::Partial { start, offset }),
    ];
    let segment = (
        prop::sample::select(vec![
            SegmentKind::TcpV4,
            SegmentKind::TcpV6,
            SegmentKind::UdpL4,
            SegmentKind::UdpFragmentation,
        ]),
        0..60_u16,
        any::<bool>(),
    )
        .prop_map(|(kind, size, ecn)| Segment { kind, size, ecn });
    (checksum, prop::option::of(segment)).prop_map(|(checksum, segment)| Offload { checksum, segment })
}
