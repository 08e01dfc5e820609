//! Packets as scripts have them: of symbols, and then of bytes.

use std::fmt;
use std::net::IpAddr;

use buoy_ipvs::Family;
use buoy_ipvs::engine::address::Address;
use buoy_ipvs::engine::checksum::Sum as Checksum;
use buoy_ipvs::engine::packet::protocol;

use crate::place::{Place, network_of};

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const ACK: u8 = 0x10;

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) place: Place,
    pub(crate) port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sum {
    Right,
    Wrong,
    /// Of UDP.
    Absent,
}

/// A packet of TCP, UDP or SCTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) source: End,
    pub(crate) destination: End,
    pub(crate) protocol: u8,
    /// Flags of TCP, or the type of SCTP's first chunk.
    pub(crate) says: u8,
    pub(crate) ttl: u8,
    pub(crate) class: u8,
    pub(crate) dont_fragment: bool,
    pub(crate) sum: Sum,
    /// Bytes of payload.
    pub(crate) payload: u16,
    /// It comes with the firewall's mark.
    pub(crate) marked: bool,
    pub(crate) shape: Shape,
}

/// What is unusual about the headers of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Plain,
    /// IPv4 options that say nothing, or such destination options of IPv6.
    IpOptions,
    /// A maximum segment size.
    TcpOptions,
    /// What follows the IP header ends after so many bytes.
    Cut(u8),
}

/// An error of ICMP about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Error {
    pub(crate) from: Place,
    pub(crate) about: Packet,
    /// The tunnel in which the packet was when it met with it.
    pub(crate) tunnel: Option<Carrier>,
    pub(crate) kind: u8,
    pub(crate) code: u8,
    /// What stands behind the checksum: an MTU.
    pub(crate) rest: u32,
    /// Bytes of the packet that are quoted, or all.
    pub(crate) quoted: Option<u16>,
    pub(crate) sum: Sum,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carrier {
    Ipip(Place),
    /// With a checksum, which is wrong.
    Gre(Place),
    Gue(Place, u16),
}

impl Packet {
    pub(crate) const fn family(&self) -> Family {
        self.source.place.family
    }

    /// The packet, from the IP header on.
    pub(crate) fn bytes(&self, slot: u8) -> Vec<u8> {
        let (source, destination) = (self.source.place.address(slot), self.destination.place.address(slot));
        let mut transport = self.transport(source, destination);
        if let Shape::Cut(length) = self.shape {
            transport.truncate(length.into());
        }
        let header = Header {
            source,
            destination,
            protocol: self.protocol,
            ttl: self.ttl,
            class: self.class,
            dont_fragment: self.dont_fragment,
            options: self.shape == Shape::IpOptions,
        };
        header.before(&transport)
    }

    fn transport(&self, source: IpAddr, destination: IpAddr) -> Vec<u8> {
        let mut bytes = [self.source.port.to_be_bytes(), self.destination.port.to_be_bytes()].concat();
        let payload = (0..self.payload).map(|place| place.to_be_bytes()[1]);
        let place = match self.protocol {
            protocol::TCP => {
                let options: &[u8] = if self.shape == Shape::TcpOptions { &[2, 4, 5, 0xb4] } else { &[] };
                let length = if options.is_empty() { 0x50 } else { 0x60 };
                bytes.extend([0, 0, 3, 0xe8, 0, 0, 7, 0xd0, length, self.says, 0x20, 0, 0, 0, 0, 0]);
                bytes.extend(options);
                16
            }
            protocol::UDP => {
                bytes.extend((8 + self.payload).to_be_bytes());
                bytes.extend([0, 0]);
                6
            }
            _ => {
                let length = (4 + self.payload).to_be_bytes();
                bytes.extend([0, 0, 0, 7, 0, 0, 0, 0, self.says, 0, length[0], length[1]]);
                bytes.extend(payload);
                let sum = crc32c(&bytes) ^ u32::from(self.sum != Sum::Right);
                bytes[8..12].copy_from_slice(&sum.to_le_bytes());
                return bytes;
            }
        };
        bytes.extend(payload);
        let pseudo = Checksum::of_pseudo_header(
            Address::from(source),
            Address::from(destination),
            self.protocol,
            bytes.len(),
        );
        let right = pseudo.plus(Checksum::of(&bytes)).checksum();
        let right = if self.protocol == protocol::UDP && right == 0 { 0xffff } else { right };
        let sum = match self.sum {
            Sum::Right => right,
            Sum::Wrong => right ^ 0x0101,
            Sum::Absent => 0,
        };
        bytes[place..place + 2].copy_from_slice(&sum.to_be_bytes());
        bytes
    }
}

impl Error {
    pub(crate) fn bytes(&self, slot: u8) -> Vec<u8> {
        let mut quoted = self.about.bytes(slot);
        let mut to = self.about.source.place.address(slot);
        if let Some(carrier) = self.tunnel {
            to = Place::tunnel(carrier.server().family).address(slot);
            quoted = carrier.around(&quoted, self.about.family(), slot);
        }
        quoted.truncate(self.quoted.map_or(usize::MAX, usize::from));
        let from = self.from.address(slot);
        let protocol = if to.is_ipv4() { protocol::ICMP } else { protocol::ICMPV6 };
        let mut message = vec![self.kind, self.code, 0, 0];
        message.extend(self.rest.to_be_bytes());
        message.extend(quoted);
        let pseudo = match to {
            IpAddr::V4(_) => Checksum::default(),
            IpAddr::V6(_) => Checksum::of_pseudo_header(from.into(), to.into(), protocol, message.len()),
        };
        let sum = pseudo.plus(Checksum::of(&message)).checksum() ^ u16::from(self.sum != Sum::Right);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        Header {
            source: from,
            destination: to,
            protocol,
            ttl: 64,
            class: 0,
            dont_fragment: false,
            options: false,
        }
        .before(&message)
    }
}

impl Carrier {
    const fn server(self) -> Place {
        match self {
            Self::Ipip(server) | Self::Gre(server) | Self::Gue(server, _) => server,
        }
    }

    fn around(self, packet: &[u8], family: Family, slot: u8) -> Vec<u8> {
        let (number, kind) = match family {
            Family::V4 => (protocol::IPIP, [8, 0]),
            Family::V6 => (protocol::IPV6, [0x86, 0xdd]),
        };
        let (protocol, mut inner) = match self {
            Self::Ipip(_) => (number, Vec::new()),
            Self::Gre(_) => (protocol::GRE, [&[0x80, 0][..], &kind, &[0; 4]].concat()),
            Self::Gue(_, port) => {
                let length = u16::try_from(12 + packet.len()).unwrap();
                let ports = [50_000_u16.to_be_bytes(), port.to_be_bytes(), length.to_be_bytes()].concat();
                (protocol::UDP, [&ports[..], &[0, 0, 0, number, 0, 0]].concat())
            }
        };
        inner.extend(packet);
        Header {
            source: Place::tunnel(self.server().family).address(slot),
            destination: self.server().address(slot),
            protocol,
            ttl: 63,
            class: 0,
            dont_fragment: true,
            options: false,
        }
        .before(&inner)
    }
}

struct Header {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    ttl: u8,
    class: u8,
    dont_fragment: bool,
    /// Eight bytes of them.
    options: bool,
}

impl Header {
    fn before(&self, payload: &[u8]) -> Vec<u8> {
        let length = payload.len();
        let mut bytes = match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let options: &[u8] = if self.options { &[1, 1, 1, 1, 1, 1, 1, 0] } else { &[] };
                let header = 20 + options.len();
                let mut bytes = vec![if self.options { 0x47 } else { 0x45 }, self.class];
                bytes.extend(u16::try_from(header + length).unwrap().to_be_bytes());
                let flags = u8::from(self.dont_fragment) << 6;
                bytes.extend([0x12, 0x34, flags, 0, self.ttl, self.protocol, 0, 0]);
                bytes.extend(source.octets());
                bytes.extend(destination.octets());
                bytes.extend(options);
                let sum = Checksum::of(&bytes).checksum();
                bytes[10..12].copy_from_slice(&sum.to_be_bytes());
                bytes
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                const DESTINATION_OPTIONS: u8 = 60;
                let padding = [self.protocol, 0, 1, 4, 0, 0, 0, 0];
                let (next, options): (_, &[u8]) =
                    if self.options { (DESTINATION_OPTIONS, &padding) } else { (self.protocol, &[]) };
                let mut bytes = vec![0x60 | self.class >> 4, self.class << 4 | 0x5, 0x67, 0x89];
                bytes.extend(u16::try_from(options.len() + length).unwrap().to_be_bytes());
                bytes.extend([next, self.ttl]);
                bytes.extend(source.octets());
                bytes.extend(destination.octets());
                bytes.extend(options);
                bytes
            }
            (source, destination) => panic!("a packet from {source} to {destination}"),
        };
        bytes.extend(payload);
        bytes
    }
}

/// Bit by bit.
fn crc32c(data: &[u8]) -> u32 {
    let bit = |sum: u32, _| if sum & 1 == 0 { sum >> 1 } else { sum >> 1 ^ 0x82f6_3b78 };
    !data.iter().fold(!0, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), bit))
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address(0).fmt(f)
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place.family {
            Family::V4 => write!(f, "{}:{}", self.place, self.port),
            Family::V6 => write!(f, "[{}]:{}", self.place, self.port),
        }
    }
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, destination, ttl, payload, .. } = self;
        match self.protocol {
            protocol::TCP => {
                let flags = [(SYN, 'S'), (FIN, 'F'), (RST, 'R'), (ACK, 'A')];
                let said = flags.iter().filter(|(flag, _)| self.says & flag != 0);
                let said: String = said.map(|(_, letter)| letter).collect();
                write!(f, "TCP {source} > {destination} [{said}]")?;
            }
            protocol::UDP => write!(f, "UDP {source} > {destination}")?,
            _ => write!(f, "SCTP {source} > {destination} chunk {}", self.says)?,
        }
        write!(f, " {payload} bytes, ttl {ttl}, class {:#x}", self.class)?;
        if self.dont_fragment && self.family() == Family::V4 {
            write!(f, ", DF")?;
        }
        if self.sum != Sum::Right {
            write!(f, ", checksum {:?}", self.sum)?;
        }
        if self.shape != Shape::Plain {
            write!(f, ", {:?}", self.shape)?;
        }
        if self.marked {
            write!(f, ", marked")?;
        }
        Ok(())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, about, kind, code, rest, .. } = self;
        write!(f, "ICMP {kind}/{code} ({rest}) from {from} about {{{about}}}")?;
        if let Some(carrier) = &self.tunnel {
            write!(f, " in {carrier:?}")?;
        }
        if let Some(quoted) = self.quoted {
            write!(f, ", {quoted} bytes of it")?;
        }
        if self.sum != Sum::Right {
            write!(f, ", checksum {:?}", self.sum)?;
        }
        Ok(())
    }
}

/// A packet, as people read it.
pub(crate) fn described(bytes: &[u8]) -> String {
    let hex: String = bytes.iter().take(96).map(|byte| format!("{byte:02x}")).collect();
    match buoy_ipvs::engine::packet::View::read(bytes) {
        Ok(view) => {
            let ports = view.ports.map_or((0, 0), |ports| (ports.source, ports.destination));
            let network = network_of(view.destination.into());
            format!(
                "{}:{} > {}:{} ({network:?}) protocol {} ttl {} of {} bytes: {hex}",
                view.source, ports.0, view.destination, ports.1, view.protocol, view.ttl, view.end
            )
        }
        Err(error) => format!("{error}: {hex}"),
    }
}
