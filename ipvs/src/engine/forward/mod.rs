//! What is done to a packet that is forwarded, and what is answered where it is not.
//!
//! One file for each forwarding method of LVS. Functions of a packet, of what was read of it (a [`View`] of the same
//! bytes) and of plain values; which connection it belongs to is known by then. A packet goes to its server by
//! [`masquerade`], [`direct`], a [`tunnel`] or [`fullnat`]; to a server on the director itself it goes as it is, or
//! just rewritten ([`Rewrite::apply`]). Errors of ICMP go by [`icmp`].
//!
//! What comes out follows Linux's IPVS, down to ECN and identifications, but for what follows:
//! - Packets are not reassembled. Fragments are forwarded one by one, each translated as far as it goes: a first
//!   fragment without a UDP checksum gets none, one of SCTP cannot get another port.
//! - Checksums that a tunnel adds are left to whoever sends the packet, as those of the packet are
//!   ([`buffer`](super::buffer)); on the wire they are the same.
//! - Packets that are to be segmented count for the MTU as long as their segments are, in IPv4 too.
//! - Errors about our own tunnels are understood in all four pairs of families, and GRE without a checksum too.

mod crc32c;
pub mod direct;
pub mod fragment;
pub mod fullnat;
mod header;
pub mod icmp;
pub mod masquerade;
pub mod reset;
mod rewrite;
pub mod segment;
mod tcp;
pub mod toa;
pub mod tunnel;

pub use rewrite::{Endpoint, Rewrite};
use thiserror::Error;

use super::address::Address;
use super::buffer::{NoRoom, Packet};
use super::checksum::Sum;
use super::packet::{View, protocol};
use crate::virtual_service::Family;

/// The way to where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// The longest packet that it takes, in bytes; what is known of routers on the way included.
    pub mtu: usize,
    /// The director's own address on it.
    pub source: Address,
}

/// The packet is ready to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it is.
    Whole,
    /// It is longer than the way takes, and may be cut ([`fragment`]; a packet of many segments into those first).
    Fragments { mtu: usize },
}

/// Why a packet does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Undeliverable {
    #[error("its TTL or hop limit ends here")]
    TimeExceeded,
    /// The sender asked that it not be cut, as IPv6 always does.
    #[error("longer than the {mtu} bytes that the way takes")]
    TooBig { mtu: usize },
    /// No answer to it is allowed.
    #[error("an ICMPv6 error longer than the way takes")]
    ErrorTooBig,
    /// Less than IP works with: 68 bytes of IPv4, 1280 of IPv6. IPVS says nothing to anyone.
    #[error("the tunnel leaves but {mtu} bytes")]
    NarrowTunnel { mtu: usize },
    /// From `127.0.0.0/8` or `::1`, which are on no wire.
    #[error("from a loopback address")]
    Loopback,
    /// Of fragments, those are so that were made to hide something.
    #[error("cut off in the transport header")]
    Truncated,
    /// Its checksum is over all fragments.
    #[error("a fragment of SCTP, whose port cannot be changed")]
    SctpFragment,
    /// A mistake of the caller.
    #[error("the addresses are of different families")]
    Family,
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// Tunnels take single packets: it is to be cut first ([`segment`]). Nothing has been done to it.
    #[error("to be segmented first")]
    Unsegmented,
}

impl Undeliverable {
    /// What its sender is told, if anything.
    pub const fn answer(self) -> Option<icmp::Error> {
        match self {
            Self::TimeExceeded => Some(icmp::Error::TimeExceeded),
            Self::TooBig { mtu } => Some(icmp::Error::TooBig { mtu }),
            _ => None,
        }
    }
}

/// On the way to a server: the TTL goes down first, so that an answer that it is too long quotes it so.
fn leave(packet: &mut Packet<'_>, view: &View, mtu: usize) -> Result<Outcome, Undeliverable> {
    check_source(view)?;
    check_ttl(view)?;
    let fit = fit(packet, view, mtu, view.dont_fragment);
    decrement_ttl(packet, view)?;
    fit
}

/// On the way back to the client, where the kernel forwards as any router does: an answer that it is too long quotes
/// it as it came.
fn come_back(packet: &mut Packet<'_>, view: &View, mtu: usize) -> Result<Outcome, Undeliverable> {
    check_ttl(view)?;
    let outcome = fit(packet, view, mtu, view.dont_fragment)?;
    decrement_ttl(packet, view)?;
    Ok(outcome)
}

const fn check_source(view: &View) -> Result<(), Undeliverable> {
    let loopback = match view.family {
        Family::V4 => view.source.bits() >> 24 & 0xff == 127,
        Family::V6 => view.source.bits() == 1,
    };
    if loopback { Err(Undeliverable::Loopback) } else { Ok(()) }
}

const fn check_ttl(view: &View) -> Result<(), Undeliverable> {
    if view.ttl <= 1 { Err(Undeliverable::TimeExceeded) } else { Ok(()) }
}

/// Whether a packet fits a way of so many bytes.
fn fit(packet: &Packet<'_>, view: &View, mtu: usize, dont_fragment: bool) -> Result<Outcome, Undeliverable> {
    if packet.wire_length(view) <= mtu {
        return Ok(Outcome::Whole);
    }
    match (view.family, icmp::is_error(packet.bytes(), view)) {
        (Family::V4, true) => Ok(Outcome::Fragments { mtu }),
        (Family::V4, false) if !dont_fragment => Ok(Outcome::Fragments { mtu }),
        (Family::V6, true) => Err(Undeliverable::ErrorTooBig),
        _ => Err(Undeliverable::TooBig { mtu }),
    }
}

/// What was read of it says what it is.
fn decrement_ttl(packet: &mut Packet<'_>, view: &View) -> Result<(), Undeliverable> {
    let bytes = packet.bytes_mut();
    let ttl = view.ttl.saturating_sub(1);
    match view.family {
        Family::V4 => {
            let header = bytes.first_chunk_mut::<20>().ok_or(Undeliverable::Truncated)?;
            header[8] = ttl;
            // What the TTL lost the checksum gains (RFC 1141), save that it is never 0xffff (RFC 1624, 3).
            let gained = u32::from(view.ttl - ttl) << 8;
            let checksum = u32::from(u16::from_be_bytes([header[10], header[11]])) + gained;
            let checksum = (checksum + u32::from(checksum >= 0xffff)) as u16;
            header[10..12].copy_from_slice(&checksum.to_be_bytes());
        }
        Family::V6 => *bytes.get_mut(7).ok_or(Undeliverable::Truncated)? = ttl,
    }
    Ok(())
}

/// Whether the checksum of TCP, UDP, ICMP or ICMPv6 is right, in a packet that is whole.
fn is_valid(packet: &[u8], view: &View) -> bool {
    let payload = view.payload(packet);
    let pseudo_header = match view.protocol {
        protocol::ICMP => Sum::default(),
        protocol => Sum::of_pseudo_header(view.source, view.destination, protocol, payload.len()),
    };
    Sum::of(payload).plus(pseudo_header).checksum() == 0
}

#[cfg(test)]
pub(in crate::engine) mod testing;
