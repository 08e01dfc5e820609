use super::Undeliverable;
use super::crc32c::crc32c;
use crate::engine::address::Address;
use crate::engine::buffer::{Packet, non_zero, put, word};
use crate::engine::checksum::{Change, Sum};
use crate::engine::packet::{Fragment, View, protocol};
use crate::virtual_service::Family;

/// One end of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    pub address: Address,
    pub port: u16,
}

/// What becomes of the ends that a packet names. They are of the packet's family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rewrite {
    pub source: Option<Endpoint>,
    pub destination: Option<Endpoint>,
}

impl Rewrite {
    /// Writes addresses and ports, and keeps checksums what they were: right ones right, wrong ones wrong, partial
    /// ones partial. A packet of UDP without a checksum gets the right one. One of SCTP gets the right one with
    /// another port, and keeps what it had with another address, which it does not cover.
    ///
    /// Of fragments the first one gets addresses and ports, later ones get addresses. Packets of other protocols than
    /// TCP, UDP, SCTP and `ICMPv6` get addresses, and nothing else.
    ///
    /// # Errors
    /// `Truncated`, `SctpFragment`, `Family`; nothing is written then.
    pub fn apply(&self, packet: &mut Packet<'_>, view: &View) -> Result<(), Undeliverable> {
        apply(self, packet, view)
    }

    /// What is said of packets that go the other way.
    pub(super) const fn reversed(&self) -> Self {
        Self { source: self.destination, destination: self.source }
    }
}

/// Which ends are rewritten, of one type for each answer: what is done to every packet asks no more than it has to.
pub(super) trait Ends {
    fn source(&self) -> Option<&Endpoint>;
    fn destination(&self) -> Option<&Endpoint>;
}

/// The source alone.
pub(super) struct Source<'e>(pub(super) &'e Endpoint);

/// The destination alone.
pub(super) struct Destination<'e>(pub(super) &'e Endpoint);

/// Both of them.
pub(super) struct Both<'e> {
    pub(super) source: &'e Endpoint,
    pub(super) destination: &'e Endpoint,
}

impl Ends for Rewrite {
    fn source(&self) -> Option<&Endpoint> {
        self.source.as_ref()
    }

    fn destination(&self) -> Option<&Endpoint> {
        self.destination.as_ref()
    }
}

impl Ends for Source<'_> {
    fn source(&self) -> Option<&Endpoint> {
        Some(self.0)
    }

    fn destination(&self) -> Option<&Endpoint> {
        None
    }
}

impl Ends for Destination<'_> {
    fn source(&self) -> Option<&Endpoint> {
        None
    }

    fn destination(&self) -> Option<&Endpoint> {
        Some(self.0)
    }
}

impl Ends for Both<'_> {
    fn source(&self) -> Option<&Endpoint> {
        Some(self.source)
    }

    fn destination(&self) -> Option<&Endpoint> {
        Some(self.destination)
    }
}

/// What a header of TCP has at least.
const TCP: usize = 20;

/// As [`Rewrite::apply`].
pub(super) fn apply(ends: &impl Ends, packet: &mut Packet<'_>, view: &View) -> Result<(), Undeliverable> {
    check_family(ends, view)?;
    let field = match (view.fragment, view.protocol) {
        (Fragment::Later, _) => return apply_to_addresses(ends, packet, view),
        (_, protocol::TCP) => 16,
        (_, protocol::UDP) => 6,
        (_, protocol::SCTP) => return apply_to_sctp(ends, packet, view),
        (_, protocol::ICMPV6) if view.family == Family::V6 => 2,
        _ => return apply_to_addresses(ends, packet, view),
    };
    if view.protocol == protocol::TCP && view.end < view.transport + TCP {
        return Err(Undeliverable::Truncated);
    }
    let place = view.transport + field;
    let partial = packet.is_partial_at(place);
    // What lies behind the packet is not its checksum.
    let bytes = packet.bytes_mut().get_mut(..view.end).ok_or(Undeliverable::Truncated)?;
    let before = word(bytes, place).ok_or(Undeliverable::Truncated)?;
    let addresses = write_addresses(ends, bytes, view)?;
    let ports = write_ports(ends, bytes, view)?;
    let after = if partial {
        // In its place stands the sum of the pseudo-header, which knows no ports, and is not complemented.
        !addresses.apply(!before)
    } else if view.protocol != protocol::UDP {
        addresses.and(ports).apply(before)
    } else if before != 0 {
        non_zero(addresses.and(ports).apply(before))
    } else {
        return sum_udp(ends, packet, view);
    };
    put(bytes, place, after.to_be_bytes()).ok_or(Undeliverable::Truncated)
}

fn apply_to_addresses(ends: &impl Ends, packet: &mut Packet<'_>, view: &View) -> Result<(), Undeliverable> {
    write_addresses(ends, packet.bytes_mut(), view).map(drop)
}

/// Gives a datagram without a checksum one, unless not all of it is here, or it is several.
#[cold]
fn sum_udp(ends: &impl Ends, packet: &mut Packet<'_>, view: &View) -> Result<(), Undeliverable> {
    if view.fragment != Fragment::Whole || packet.offload().segment.is_some() {
        return Ok(());
    }
    let datagram = view.payload(packet.bytes());
    // What states more than there is has no right checksum.
    let Some(datagram) = word(datagram, 4).and_then(|length| datagram.get(..length.into())) else {
        return Ok(());
    };
    let source = ends.source().map_or(view.source, |end| end.address);
    let destination = ends.destination().map_or(view.destination, |end| end.address);
    let pseudo_header = Sum::of_pseudo_header(source, destination, protocol::UDP, datagram.len());
    let checksum = non_zero(Sum::of(datagram).plus(pseudo_header).checksum());
    put(packet.bytes_mut(), view.transport + 6, checksum.to_be_bytes()).ok_or(Undeliverable::Truncated)
}

#[cold]
fn apply_to_sctp(ends: &impl Ends, packet: &mut Packet<'_>, view: &View) -> Result<(), Undeliverable> {
    let place = view.transport + 8;
    if place + 4 > view.end {
        return Err(Undeliverable::Truncated);
    }
    let ports = view.ports.ok_or(Undeliverable::Truncated)?;
    let kept = ends.source().is_none_or(|end| end.port == ports.source)
        && ends.destination().is_none_or(|end| end.port == ports.destination);
    if kept {
        return apply_to_addresses(ends, packet, view);
    }
    if view.fragment != Fragment::Whole {
        return Err(Undeliverable::SctpFragment);
    }
    let partial = packet.is_partial_at(place);
    let bytes = packet.bytes_mut();
    write_addresses(ends, bytes, view)?;
    write_ports(ends, bytes, view)?;
    if !partial {
        put(bytes, place, [0; 4]).ok_or(Undeliverable::Truncated)?;
        let checksum = crc32c(view.payload(bytes));
        // RFC 9260, appendix A: its bytes go out in the order of the bits of a reflected CRC.
        put(bytes, place, checksum.to_le_bytes()).ok_or(Undeliverable::Truncated)?;
    }
    Ok(())
}

pub(super) fn check_family(ends: &impl Ends, view: &View) -> Result<(), Undeliverable> {
    let fits = |end: Option<&Endpoint>| end.is_none_or(|end| end.address.family() == view.family);
    if fits(ends.source()) && fits(ends.destination()) { Ok(()) } else { Err(Undeliverable::Family) }
}

/// Writes addresses, and what they make of the header checksum of IPv4. Returns their change alone.
#[inline]
pub(super) fn write_addresses(
    ends: &impl Ends,
    bytes: &mut [u8],
    view: &View,
) -> Result<Change, Undeliverable> {
    let mut change = Change::default();
    match view.family {
        Family::V4 => {
            let header = bytes.first_chunk_mut::<20>().ok_or(Undeliverable::Truncated)?;
            if let Some(end) = ends.source() {
                change = change.and(end.instead_of(view.source));
                header[12..16].copy_from_slice(&v4_bits(end.address).to_be_bytes());
            }
            if let Some(end) = ends.destination() {
                change = change.and(end.instead_of(view.destination));
                header[16..20].copy_from_slice(&v4_bits(end.address).to_be_bytes());
            }
            let checksum = change.apply(u16::from_be_bytes([header[10], header[11]]));
            header[10..12].copy_from_slice(&checksum.to_be_bytes());
        }
        Family::V6 => {
            let header = bytes.first_chunk_mut::<40>().ok_or(Undeliverable::Truncated)?;
            if let Some(end) = ends.source() {
                change = change.and(end.instead_of(view.source));
                header[8..24].copy_from_slice(&end.address.bits().to_be_bytes());
            }
            if let Some(end) = ends.destination() {
                change = change.and(end.instead_of(view.destination));
                header[24..40].copy_from_slice(&end.address.bits().to_be_bytes());
            }
        }
    }
    Ok(change)
}

/// Writes ports where there are any, and returns their change.
#[inline]
pub(super) fn write_ports(ends: &impl Ends, bytes: &mut [u8], view: &View) -> Result<Change, Undeliverable> {
    let Some(ports) = view.ports else { return Ok(Change::default()) };
    let place = bytes.get_mut(view.transport..).and_then(|transport| transport.first_chunk_mut::<4>());
    let place = place.ok_or(Undeliverable::Truncated)?;
    let mut change = Change::default();
    if let Some(end) = ends.source() {
        place[..2].copy_from_slice(&end.port.to_be_bytes());
        change = change.and(Change::of(Sum::of_word(ports.source), Sum::of_word(end.port)));
    }
    if let Some(end) = ends.destination() {
        place[2..].copy_from_slice(&end.port.to_be_bytes());
        change = change.and(Change::of(Sum::of_word(ports.destination), Sum::of_word(end.port)));
    }
    Ok(change)
}

impl Endpoint {
    fn instead_of(&self, before: Address) -> Change {
        Change::of(Sum::of_address(before), Sum::of_address(self.address))
    }
}

/// An address that is known to be one of IPv4.
#[expect(clippy::cast_possible_truncation, reason = "what is cut off says that it is one of IPv4")]
pub(super) const fn v4_bits(address: Address) -> u32 {
    address.bits() as u32
}

#[cfg(test)]
mod tests;
