//! Frames: made, and read.

use std::net::SocketAddr;

use buoy_ipvs::Family;
use buoy_ipvs::engine::address::Address;
use buoy_ipvs::engine::checksum::Sum;
use buoy_ipvs::engine::packet::{View, protocol};
use buoy_ipvs::io::flow::FlowKey;

pub(crate) const SYN: u8 = 0x02;
pub(crate) const FIN: u8 = 0x01;
pub(crate) const RST: u8 = 0x04;
pub(crate) const ACK: u8 = 0x10;

const TAP: [u8; 6] = [2, 3, 0, 0, 0, 0];
const SENDER: [u8; 6] = [2, 9, 9, 9, 9, 9];

/// A packet of TCP or UDP, to be changed at will before it is made.
#[derive(Clone)]
pub(crate) struct Packet {
    pub(crate) to: [u8; 6],
    pub(crate) vlans: Vec<u16>,
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    pub(crate) protocol: u8,
    pub(crate) flags: u8,
    pub(crate) ttl: u8,
    /// Flags and offset of IPv4.
    pub(crate) fragment: u16,
    /// Options of IPv4.
    pub(crate) options: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    pub(crate) checksum: Checksum,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checksum {
    Made,
    /// That of the pseudo-header alone.
    Partial,
    None,
}

pub(crate) fn packet(protocol: u8, source: &str, destination: &str) -> Packet {
    Packet {
        to: TAP,
        vlans: Vec::new(),
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
        protocol,
        flags: ACK,
        ttl: 64,
        fragment: 0x4000,
        options: Vec::new(),
        payload: b"some bytes of payload".to_vec(),
        checksum: Checksum::Made,
    }
}

pub(crate) fn tcp(source: &str, destination: &str) -> Packet {
    packet(protocol::TCP, source, destination)
}

pub(crate) fn udp(source: &str, destination: &str) -> Packet {
    packet(protocol::UDP, source, destination)
}

impl Packet {
    pub(crate) fn key(&self) -> FlowKey {
        FlowKey {
            source: self.source.ip().into(),
            destination: self.destination.ip().into(),
            source_port: self.source.port(),
            destination_port: self.destination.port(),
            protocol: self.protocol,
        }
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// What is counted of it.
    pub(crate) fn length(&self) -> usize {
        self.frame().len() - 14 - 4 * self.vlans.len()
    }

    pub(crate) fn frame(&self) -> Vec<u8> {
        let mut frame = [self.to, SENDER].concat();
        for vlan in &self.vlans {
            frame.extend([0x81, 0x00]);
            frame.extend(vlan.to_be_bytes());
        }
        let transport = self.transport();
        let header = if self.source.is_ipv4() { self.v4(&transport) } else { self.v6(&transport) };
        frame.extend(if self.source.is_ipv4() { [0x08, 0x00] } else { [0x86, 0xdd] });
        frame.extend(header);
        frame.extend(transport);
        frame
    }

    fn transport(&self) -> Vec<u8> {
        let mut bytes = [self.source.port().to_be_bytes(), self.destination.port().to_be_bytes()].concat();
        let place = if self.protocol == protocol::TCP {
            bytes.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, self.flags, 0x20, 0, 0, 0, 0, 0]);
            16
        } else {
            let length = u16::try_from(8 + self.payload.len()).unwrap_or(0);
            bytes.extend(length.to_be_bytes());
            bytes.extend([0, 0]);
            6
        };
        bytes.extend(&self.payload);
        let (source, destination) = (self.source.ip().into(), self.destination.ip().into());
        let pseudo = Sum::of_pseudo_header(source, destination, self.protocol, bytes.len());
        let sum = match self.checksum {
            Checksum::Made => pseudo.plus(Sum::of(&bytes)).checksum(),
            Checksum::Partial => pseudo.folded(),
            Checksum::None => 0,
        };
        bytes[place..place + 2].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    fn v4(&self, transport: &[u8]) -> Vec<u8> {
        let words = 5 + self.options.len() / 4;
        let length = u16::try_from(words * 4 + transport.len()).unwrap();
        let mut header = vec![0x40 | u8::try_from(words).unwrap(), 0];
        header.extend(length.to_be_bytes());
        header.extend([0x12, 0x34]);
        header.extend(self.fragment.to_be_bytes());
        header.extend([self.ttl, self.protocol, 0, 0]);
        for address in [self.source, self.destination] {
            let SocketAddr::V4(address) = address else { panic!("one family") };
            header.extend(address.ip().octets());
        }
        header.extend(&self.options);
        let sum = Sum::of(&header).checksum();
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        header
    }

    fn v6(&self, transport: &[u8]) -> Vec<u8> {
        let length = u16::try_from(transport.len()).unwrap();
        let mut header = vec![0x60, 0, 0, 0];
        header.extend(length.to_be_bytes());
        header.extend([self.protocol, self.ttl]);
        for address in [self.source, self.destination] {
            let SocketAddr::V6(address) = address else { panic!("one family") };
            header.extend(address.ip().octets());
        }
        header
    }
}

/// A frame that was read.
pub(crate) struct Read {
    pub(crate) to: [u8; 6],
    pub(crate) from: [u8; 6],
    pub(crate) vlan: Option<u16>,
    pub(crate) view: View,
    /// The sums of its header and of its transport, when what they are part of is summed up.
    pub(crate) sums_are_right: bool,
}

pub(crate) fn read(frame: &[u8]) -> Read {
    let tagged = frame[12..14] == [0x81, 0x00];
    let vlan = tagged.then(|| u16::from_be_bytes([frame[14], frame[15]]));
    let packet = &frame[if tagged { 18 } else { 14 }..];
    let view = View::read(packet).unwrap();
    Read {
        to: frame[..6].try_into().unwrap(),
        from: frame[6..12].try_into().unwrap(),
        vlan,
        view,
        sums_are_right: header_is_right(packet, &view) && transport_is_right(packet, &view),
    }
}

fn header_is_right(packet: &[u8], view: &View) -> bool {
    view.family == Family::V6 || Sum::of(&packet[..view.transport]).checksum() == 0
}

fn transport_is_right(packet: &[u8], view: &View) -> bool {
    let payload = view.payload(packet);
    if view.protocol == protocol::UDP && payload[6..8] == [0, 0] {
        return true;
    }
    pseudo_header(view, payload.len()).plus(Sum::of(payload)).checksum() == 0
}

/// The sum that stands in place of one that is not made yet.
pub(crate) fn pseudo_header(view: &View, length: usize) -> Sum {
    Sum::of_pseudo_header(view.source, view.destination, view.protocol, length)
}

impl Read {
    pub(crate) fn key(&self) -> FlowKey {
        let ports = self.view.ports.unwrap();
        let (source, destination): (Address, Address) = (self.view.source, self.view.destination);
        FlowKey {
            source,
            destination,
            source_port: ports.source,
            destination_port: ports.destination,
            protocol: self.view.protocol,
        }
    }
}
