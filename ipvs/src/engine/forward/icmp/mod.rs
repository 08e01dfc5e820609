//! Errors of ICMP and ICMPv6: those about packets of connections, translated as the packets are, and our own.
//!
//! An error quotes the packet that it is about. [`Quote::read`] finds it; its addresses and ports, turned round, are
//! those of a packet that goes the error's way. [`translate()`] then does to it what masquerading and full NAT do.
//! Behind direct routing and tunnels the error goes as any packet does. What a router says of our own tunnels is read
//! by [`Tunnelled::read`].

mod answer;
mod quote;
mod translate;
mod tunnelled;

pub(super) use answer::is_unicast;
pub use answer::{Silence, answer};
pub use quote::{NoQuote, Quote};
pub use translate::{rewrite_error, translate};
pub use tunnelled::{Carrier, NotTunnelled, Tunnelled};

use crate::engine::packet::{Fragment, View, protocol};
use crate::virtual_service::Family;

/// Type, code, checksum, and four bytes that the type has a meaning for.
const HEADER: usize = 8;

/// What a sender is told: types and codes of both families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    HostUnreachable,
    PortUnreachable,
    /// By policy.
    Prohibited,
    /// Fragmentation needed, packet too big.
    TooBig {
        /// What would have gone through, in bytes.
        mtu: usize,
    },
    /// The TTL or hop limit came to its end.
    TimeExceeded,
}

/// An ICMP header but for its checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Message {
    kind: u8,
    code: u8,
    rest: u32,
}

mod v4 {
    pub(super) const UNREACHABLE: u8 = 3;
    pub(super) const SOURCE_QUENCH: u8 = 4;
    pub(super) const TIME_EXCEEDED: u8 = 11;
    /// Codes of "unreachable" (RFC 792, RFC 1122, RFC 1812).
    pub(super) const HOST: u8 = 1;
    pub(super) const PORT: u8 = 3;
    pub(super) const FRAGMENTATION_NEEDED: u8 = 4;
    pub(super) const PROHIBITED: u8 = 13;
}

mod v6 {
    pub(super) const UNREACHABLE: u8 = 1;
    pub(super) const TOO_BIG: u8 = 2;
    pub(super) const TIME_EXCEEDED: u8 = 3;
    pub(super) const REDIRECT: u8 = 137;
    /// From here on messages are no errors (RFC 4443, 2.1).
    pub(super) const INFORMATIONAL: u8 = 128;
    /// Codes of "unreachable" (RFC 4443, 3.1).
    pub(super) const PROHIBITED: u8 = 1;
    pub(super) const ADDRESS: u8 = 3;
    pub(super) const PORT: u8 = 4;
}

impl Error {
    fn message(self, family: Family) -> Message {
        let (kind, code, rest) = match (family, self) {
            (Family::V4, Self::HostUnreachable) => (v4::UNREACHABLE, v4::HOST, 0),
            (Family::V4, Self::PortUnreachable) => (v4::UNREACHABLE, v4::PORT, 0),
            (Family::V4, Self::Prohibited) => (v4::UNREACHABLE, v4::PROHIBITED, 0),
            // RFC 1191, section 4.
            (Family::V4, Self::TooBig { mtu }) => {
                (v4::UNREACHABLE, v4::FRAGMENTATION_NEEDED, u16::try_from(mtu).unwrap_or(u16::MAX).into())
            }
            (Family::V4, Self::TimeExceeded) => (v4::TIME_EXCEEDED, 0, 0),
            (Family::V6, Self::HostUnreachable) => (v6::UNREACHABLE, v6::ADDRESS, 0),
            (Family::V6, Self::PortUnreachable) => (v6::UNREACHABLE, v6::PORT, 0),
            (Family::V6, Self::Prohibited) => (v6::UNREACHABLE, v6::PROHIBITED, 0),
            (Family::V6, Self::TooBig { mtu }) => (v6::TOO_BIG, 0, u32::try_from(mtu).unwrap_or(u32::MAX)),
            (Family::V6, Self::TimeExceeded) => (v6::TIME_EXCEEDED, 0, 0),
        };
        Message { kind, code, rest }
    }
}

impl Message {
    /// What it says in the other family too. `None`: nothing (RFC 6633 on source quench, RFC 7915, 4.2 and 5.2 on the
    /// rest).
    const fn error(self, family: Family) -> Option<Error> {
        Some(match (family, self.kind, self.code) {
            (Family::V4, v4::UNREACHABLE, v4::PORT) | (Family::V6, v6::UNREACHABLE, v6::PORT) => {
                Error::PortUnreachable
            }
            (Family::V4, v4::UNREACHABLE, v4::FRAGMENTATION_NEEDED) => {
                Error::TooBig { mtu: (self.rest & 0xffff) as usize }
            }
            (Family::V6, v6::TOO_BIG, _) => Error::TooBig { mtu: self.rest as usize },
            (Family::V4, v4::UNREACHABLE, 9 | 10 | v4::PROHIBITED)
            | (Family::V6, v6::UNREACHABLE, v6::PROHIBITED) => Error::Prohibited,
            (Family::V4, v4::UNREACHABLE, _) | (Family::V6, v6::UNREACHABLE, _) => Error::HostUnreachable,
            (Family::V4, v4::TIME_EXCEEDED, _) | (Family::V6, v6::TIME_EXCEEDED, _) => Error::TimeExceeded,
            _ => return None,
        })
    }
}

/// Whether it is an error about a packet of a connection, by its type: those that IPVS looks at.
pub(super) fn is_error(packet: &[u8], view: &View) -> bool {
    if view.fragment == Fragment::Later {
        return false;
    }
    match (view.family, view.protocol, view.payload(packet).first()) {
        (Family::V4, protocol::ICMP, Some(kind)) => {
            matches!(*kind, v4::UNREACHABLE | v4::SOURCE_QUENCH | v4::TIME_EXCEEDED)
        }
        (Family::V6, protocol::ICMPV6, Some(kind)) => *kind < v6::INFORMATIONAL,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
