//! Packets of all kinds, right ones and others.

use std::net::IpAddr;

use buoy_ipvs::Family;
use buoy_ipvs::engine::address::Address;
use buoy_ipvs::engine::checksum::Sum;
use buoy_ipvs::engine::forward::Endpoint;
use buoy_ipvs::engine::packet::{View, protocol};

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const ACK: u8 = 0x10;

pub(crate) fn address(text: &str) -> Address {
    text.parse::<IpAddr>().expect("an address").into()
}

pub(crate) fn end(text: &str, port: u16) -> Endpoint {
    Endpoint { address: address(text), port }
}

/// What a packet is made of.
#[derive(Clone, Debug)]
pub(crate) struct Build {
    pub(crate) source: Endpoint,
    pub(crate) destination: Endpoint,
    pub(crate) protocol: u8,
    pub(crate) flags: u8,
    pub(crate) ttl: u8,
    pub(crate) identification: u16,
    /// The field of IPv4: flags and offset in eights. With an offset the payload is all there is.
    pub(crate) fragment: u16,
    /// Of IPv4, padded already.
    pub(crate) ip_options: Vec<u8>,
    /// Headers of IPv6 before the transport, eight bytes each: their numbers.
    pub(crate) extensions: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    /// What is added to the checksums of the IPv4 header and of the transport.
    pub(crate) wrong_by: [u16; 2],
}

impl Build {
    pub(crate) const fn new(protocol: u8, source: Endpoint, destination: Endpoint) -> Self {
        Self {
            source,
            destination,
            protocol,
            flags: ACK,
            ttl: 64,
            identification: 0x1234,
            fragment: 0,
            ip_options: Vec::new(),
            extensions: Vec::new(),
            payload: Vec::new(),
            wrong_by: [0; 2],
        }
    }

    pub(crate) fn tcp(source: Endpoint, destination: Endpoint, flags: u8) -> Self {
        Self { flags, ..Self::new(protocol::TCP, source, destination) }
    }

    pub(crate) fn udp(source: Endpoint, destination: Endpoint) -> Self {
        Self::new(protocol::UDP, source, destination)
    }

    pub(crate) fn with(self, payload: &[u8]) -> Self {
        Self { payload: payload.to_vec(), ..self }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let transport = if self.fragment & 0x1fff == 0 { self.transport() } else { self.payload.clone() };
        match self.source.address.family() {
            Family::V4 => self.v4_around(&transport),
            Family::V6 => self.v6_around(&transport),
        }
    }

    fn transport(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(20 + self.payload.len());
        if matches!(self.protocol, protocol::TCP | protocol::UDP | protocol::SCTP) {
            bytes.extend(self.source.port.to_be_bytes());
            bytes.extend(self.destination.port.to_be_bytes());
        }
        let place = match self.protocol {
            protocol::TCP => {
                bytes.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, self.flags, 0xff, 0xff, 0, 0, 0, 0]);
                16
            }
            protocol::UDP => {
                bytes.extend((8 + self.payload.len() as u16).to_be_bytes());
                bytes.extend([0; 2]);
                6
            }
            protocol::SCTP => {
                bytes.extend([0; 8]);
                bytes.extend(&self.payload);
                return bytes;
            }
            protocol::ICMP | protocol::ICMPV6 => 2,
            _ => return self.payload.clone(),
        };
        bytes.extend(&self.payload);
        let pseudo_header = match self.protocol {
            protocol::ICMP => Sum::default(),
            number => {
                Sum::of_pseudo_header(self.source.address, self.destination.address, number, bytes.len())
            }
        };
        let sum = Sum::of(&bytes).plus(pseudo_header).checksum().wrapping_add(self.wrong_by[1]);
        if let Some(field) = bytes.get_mut(place..place + 2) {
            field.copy_from_slice(&sum.to_be_bytes());
        }
        bytes
    }

    fn v4_around(&self, transport: &[u8]) -> Vec<u8> {
        let header = 20 + self.ip_options.len();
        let mut bytes = Vec::with_capacity(header + transport.len());
        bytes.extend([0x40 | (header / 4) as u8, 0]);
        bytes.extend(((header + transport.len()) as u16).to_be_bytes());
        bytes.extend(self.identification.to_be_bytes());
        bytes.extend(self.fragment.to_be_bytes());
        bytes.extend([self.ttl, self.protocol, 0, 0]);
        bytes.extend((self.source.address.bits() as u32).to_be_bytes());
        bytes.extend((self.destination.address.bits() as u32).to_be_bytes());
        bytes.extend(&self.ip_options);
        let sum = Sum::of(&bytes).checksum().wrapping_add(self.wrong_by[0]);
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        bytes.extend(transport);
        bytes
    }

    fn v6_around(&self, transport: &[u8]) -> Vec<u8> {
        let mut inner = Vec::new();
        let following = self.extensions.iter().skip(1).chain([&self.protocol]);
        for next in following.take(self.extensions.len()) {
            inner.extend([*next, 0, 1, 4, 0, 0, 0, 0]);
        }
        inner.extend(transport);
        let mut bytes = vec![0x60, 0, 0, 0];
        bytes.extend((inner.len() as u16).to_be_bytes());
        bytes.extend([self.extensions.first().copied().unwrap_or(self.protocol), self.ttl]);
        bytes.extend(self.source.address.bits().to_be_bytes());
        bytes.extend(self.destination.address.bits().to_be_bytes());
        bytes.extend(inner);
        bytes
    }
}

/// An error about a packet, as a router or a host says it: type, code, and what stands in the last four bytes.
pub(crate) fn error(from: Address, to: Address, [kind, code]: [u8; 2], about: &[u8]) -> Build {
    let number = match from.family() {
        Family::V4 => protocol::ICMP,
        Family::V6 => protocol::ICMPV6,
    };
    let quoted = &about[..about.len().min(500)];
    let payload = [&[kind, code, 0, 0, 0, 0, 0, 0][..], quoted].concat();
    Build::new(number, Endpoint { address: from, port: 0 }, Endpoint { address: to, port: 0 }).with(&payload)
}

/// Whether the checksums of a packet are right: of its IPv4 header, and of TCP and UDP.
pub(crate) fn is_intact(packet: &[u8]) -> bool {
    let Ok(view) = View::read(packet) else { return false };
    let payload = view.payload(packet);
    let pseudo = Sum::of_pseudo_header(view.source, view.destination, view.protocol, payload.len());
    let header = view.family == Family::V6 || Sum::of(&packet[..view.transport]).checksum() == 0;
    if view.protocol == protocol::SCTP {
        return header;
    }
    header && Sum::of(payload).plus(pseudo).checksum() == 0
}
