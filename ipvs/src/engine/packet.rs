//! What the engine reads of a packet: once, and never past its end.

use thiserror::Error;

use super::address::Address;
use crate::virtual_service::Family;

/// IP protocol numbers (IANA).
pub mod protocol {
    pub const ICMP: u8 = 1;
    pub const IPIP: u8 = 4;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const IPV6: u8 = 41;
    pub const GRE: u8 = 47;
    pub const ICMPV6: u8 = 58;
    pub const SCTP: u8 = 132;
}

/// Headers of one IP packet. Every offset in it lies within the bytes that it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    pub family: Family,
    pub source: Address,
    pub destination: Address,
    /// Of what stands at `transport`: behind extension headers, if there are any.
    pub protocol: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// DSCP and ECN (type of service, traffic class).
    pub class: u8,
    pub fragment: Fragment,
    /// IPv4's "don't fragment"; IPv6 always is so.
    pub dont_fragment: bool,
    /// Where the transport header begins.
    pub transport: usize,
    /// Where the packet ends: what lies behind that is padding of the link.
    pub end: usize,
    /// Of TCP, UDP and SCTP, in the first fragment.
    pub ports: Option<Ports>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    pub source: u16,
    pub destination: u16,
}

/// A part of a packet that is whole elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// The packet is whole.
    Whole,
    First,
    /// It has no transport header.
    Later,
}

/// Bytes that are no IP packet. The kernel's stack drops such packets, and counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Malformed {
    #[error("cut off in a header")]
    Truncated,
    #[error("IP version {0}")]
    Version(u8),
    #[error("an IPv4 header of {0} bytes")]
    HeaderLength(usize),
    /// More than there is, or less than the header.
    #[error("a total length of {0} bytes")]
    TotalLength(usize),
    /// IPv6 with an address of IPv4 in it (RFC 4291, 2.5.5.2), which no host sends.
    #[error("an IPv4 address mapped into IPv6")]
    Mapped,
    #[error("more IPv6 extension headers than anybody needs")]
    TooManyExtensions,
}

/// Extension headers that are looked through for the transport header. RFC 8200 has six, each once.
const EXTENSIONS: usize = 8;

impl View {
    /// Reads the headers of a packet that begins at the first byte.
    ///
    /// # Errors
    /// No IP packet. Transport headers that are cut off leave `ports` empty.
    pub fn read(packet: &[u8]) -> Result<Self, Malformed> {
        match packet.first().ok_or(Malformed::Truncated)? >> 4 {
            4 => Self::read_v4(packet),
            6 => Self::read_v6(packet),
            version => Err(Malformed::Version(version)),
        }
    }

    fn read_v4(packet: &[u8]) -> Result<Self, Malformed> {
        let header = packet.first_chunk::<20>().ok_or(Malformed::Truncated)?;
        let transport = usize::from(header[0] & 0xf) * 4;
        let end = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if transport < header.len() {
            return Err(Malformed::HeaderLength(transport));
        }
        if end > packet.len() || end < transport {
            return Err(Malformed::TotalLength(end));
        }
        let fragment = u16::from_be_bytes([header[6], header[7]]);
        let (more, offset) = (fragment & 0x2000 != 0, fragment & 0x1fff);
        let [.., a, b, c, d, e, f, g, h] = *header;
        let view = Self {
            family: Family::V4,
            source: Address::v4(u32::from_be_bytes([a, b, c, d])),
            destination: Address::v4(u32::from_be_bytes([e, f, g, h])),
            protocol: header[9],
            ttl: header[8],
            class: header[1],
            fragment: match (offset, more) {
                (0, false) => Fragment::Whole,
                (0, true) => Fragment::First,
                _ => Fragment::Later,
            },
            dont_fragment: fragment & 0x4000 != 0,
            transport,
            end,
            ports: None,
        };
        Ok(view.with_ports(packet))
    }

    fn read_v6(packet: &[u8]) -> Result<Self, Malformed> {
        let header = packet.first_chunk::<40>().ok_or(Malformed::Truncated)?;
        let payload = usize::from(u16::from_be_bytes([header[4], header[5]]));
        let end = header.len() + payload;
        if end > packet.len() {
            return Err(Malformed::TotalLength(end));
        }
        let address = |at: usize| {
            let bytes = header.get(at..).and_then(|rest| rest.first_chunk::<16>());
            Address::v6(u128::from_be_bytes(bytes.copied().unwrap_or_default()))
        };
        let (source, destination) = (address(8), address(24));
        if [source, destination].iter().any(|address| address.family() == Family::V4) {
            return Err(Malformed::Mapped);
        }
        let extensions = Extensions::read(packet, header[NEXT_HEADER], header.len(), end)?;
        let view = Self {
            family: Family::V6,
            source,
            destination,
            protocol: extensions.protocol,
            ttl: header[7],
            class: header[0] << 4 | header[1] >> 4,
            fragment: extensions.fragment,
            dont_fragment: true,
            transport: extensions.transport,
            end,
            ports: None,
        };
        Ok(view.with_ports(packet))
    }

    fn with_ports(mut self, packet: &[u8]) -> Self {
        let has_ports = matches!(self.protocol, protocol::TCP | protocol::UDP | protocol::SCTP);
        if has_ports && self.fragment != Fragment::Later {
            let transport = packet.get(self.transport..self.end).and_then(|rest| rest.first_chunk::<4>());
            self.ports = transport.map(|&[a, b, c, d]| Ports {
                source: u16::from_be_bytes([a, b]),
                destination: u16::from_be_bytes([c, d]),
            });
        }
        self
    }

    /// The transport header and what follows it.
    pub fn payload<'p>(&self, packet: &'p [u8]) -> &'p [u8] {
        packet.get(self.transport..self.end).unwrap_or_default()
    }
}

/// What stands between the header of IPv6 and that of the transport (RFC 8200, 4).
struct Extensions {
    protocol: u8,
    transport: usize,
    fragment: Fragment,
    fragment_header: Option<FragmentHeader>,
}

/// Where a fragment of IPv6 says that it is one (RFC 8200, 4.5), in bytes from the first one of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FragmentHeader {
    /// Where its eight bytes begin.
    pub(super) at: usize,
    /// The "next header" of what is before it.
    pub(super) named_at: usize,
}

impl FragmentHeader {
    /// `None` if the packet is whole; the one of an atomic fragment (RFC 6946) is none.
    ///
    /// # Errors
    /// As [`View::read`].
    pub(super) fn find(packet: &[u8], view: &View) -> Result<Option<Self>, Malformed> {
        let header = packet.first_chunk::<40>().ok_or(Malformed::Truncated)?;
        Ok(Extensions::read(packet, header[NEXT_HEADER], header.len(), view.end)?.fragment_header)
    }
}

/// Where the header of IPv6 says what is next; in extension headers it is the first byte.
const NEXT_HEADER: usize = 6;

impl Extensions {
    fn read(packet: &[u8], first: u8, at: usize, end: usize) -> Result<Self, Malformed> {
        const HOP_BY_HOP: u8 = 0;
        const ROUTING: u8 = 43;
        const FRAGMENT: u8 = 44;
        const AUTHENTICATION: u8 = 51;
        const DESTINATION: u8 = 60;
        let mut found =
            Self { protocol: first, transport: at, fragment: Fragment::Whole, fragment_header: None };
        let mut named_at = NEXT_HEADER;
        for _ in 0..EXTENSIONS {
            let known =
                matches!(found.protocol, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION);
            // A fragment of a fragment is the outer one's: only that says whether the packet is all here.
            let nested = found.protocol == FRAGMENT && found.fragment != Fragment::Whole;
            if !known || nested || found.fragment == Fragment::Later {
                return Ok(found);
            }
            let rest = packet.get(found.transport..end).unwrap_or_default();
            let &[next, length, high, low, ..] = rest.first_chunk::<8>().ok_or(Malformed::Truncated)?;
            let length = match found.protocol {
                FRAGMENT => {
                    let fragment = u16::from_be_bytes([high, low]);
                    found.fragment = match (fragment >> 3, fragment & 1) {
                        // RFC 6946: an atomic fragment is a whole packet.
                        (0, 0) => Fragment::Whole,
                        (0, _) => Fragment::First,
                        _ => Fragment::Later,
                    };
                    if found.fragment != Fragment::Whole {
                        found.fragment_header = Some(FragmentHeader { at: found.transport, named_at });
                    }
                    8
                }
                AUTHENTICATION => (usize::from(length) + 2) * 4,
                _ => (usize::from(length) + 1) * 8,
            };
            if length > rest.len() {
                return Err(Malformed::Truncated);
            }
            found.protocol = next;
            named_at = found.transport;
            found.transport += length;
        }
        Err(Malformed::TooManyExtensions)
    }
}

#[cfg(test)]
mod tests;
