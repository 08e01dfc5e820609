//! Tunnels: the packet goes to the server inside of another one, as it is but for its TTL.
//!
//! ```text
//! ipip  | IP (4 or 41) | packet
//! gre   | IP (47) | flags, protocol | checksum, 0, if any | packet
//! gue   | IP (17) | UDP | length, protocol, flags | remote checksum, if any | packet
//! ```
//!
//! Neither the payload is read nor a checksum completed: one that the packet lacks stays so, and one that the tunnel
//! adds is either made from what is known of the packet's (local checksum offload) or left partial as well. Packets of
//! many segments have to be cut first, as virtio-net has no words for what is in a tunnel.

use super::header::Header;
use super::{Outcome, Path, Undeliverable, check_source, check_ttl, decrement_ttl, fit};
use crate::engine::address::Address;
use crate::engine::buffer::{Checksum, NoRoom, Offload, Packet, non_zero, put, word};
use crate::engine::checksum::Sum;
use crate::engine::packet::{Fragment, View, protocol};
use crate::real_server::{Tunnel, TunnelChecksum};
use crate::virtual_service::Family;

/// How packets get to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encapsulation {
    pub tunnel: Tunnel,
    pub server: Address,
    /// To the server, with what goes before the packet. Its source is of the server's family.
    pub path: Path,
    pub pmtu: PathMtuDiscovery,
}

/// Whether senders hear of tunnels (`net.ipv4.vs.pmtu_disc`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PathMtuDiscovery {
    /// What must not be cut inside is not cut outside, and answered when it is too long.
    #[default]
    On,
    /// IPv4 is cut outside when it is too long.
    Off,
}

const UDP: usize = 8;
const GUE: usize = 4;
/// Flags, and where the checksum begins and belongs.
const REMOTE_CHECKSUM: usize = 8;
const GRE: usize = 4;
const GRE_CHECKSUM: usize = 4;
/// What every IPv4 link takes (RFC 791, 3.2), and every IPv6 link (RFC 8200, 5).
const LEAST_V4: usize = 68;
const LEAST_V6: usize = 1280;
/// Source ports of GUE: `net.ipv4.ip_local_port_range` as it is by default.
const PORTS: std::ops::Range<u64> = 32_768..60_999;

impl Encapsulation {
    /// Bytes that go before a packet with such a checksum.
    pub const fn overhead(&self, checksum: Checksum) -> usize {
        let tunnel = match self.tunnel {
            Tunnel::Ipip => 0,
            Tunnel::Gre { checksum: TunnelChecksum::None } => GRE,
            Tunnel::Gre { .. } => GRE + GRE_CHECKSUM,
            Tunnel::Gue { checksum: added, .. } => UDP + GUE + remote_length(added, checksum),
        };
        Header::length_in(self.server.family()) + tunnel
    }

    /// Encapsulates a packet, an error of ICMP from the client's side included. `identification` is the next one of
    /// IPv4 for this server; not every packet takes it.
    ///
    /// # Errors
    /// The packet does not go on. It is as it was, save that the TTL of one that is too long has gone down by one.
    pub fn apply(
        &self,
        packet: &mut Packet<'_>,
        view: &View,
        identification: u16,
    ) -> Result<Outcome, Undeliverable> {
        check_source(view)?;
        check_ttl(view)?;
        let overhead = self.overhead(packet.offload().checksum);
        let outcome = self.fit(packet, view, overhead);
        if outcome.is_ok() {
            self.check(packet, view, overhead)?;
        }
        decrement_ttl(packet, view)?;
        let outcome = outcome?;
        packet.truncate(view.end);
        let protocol = match self.tunnel {
            Tunnel::Ipip => number(view.family),
            Tunnel::Gre { checksum } => {
                put_gre(packet, view, checksum)?;
                protocol::GRE
            }
            Tunnel::Gue { port, checksum } => {
                self.put_gue(packet, view, port, checksum)?;
                protocol::UDP
            }
        };
        let mut header = self.header(protocol, packet.len());
        header.ttl = view.ttl.saturating_sub(1);
        header.class = outer_class(view.class);
        header.dont_fragment = view.family == Family::V4 && self.forbids_cutting(view);
        if !header.dont_fragment || outcome != Outcome::Whole {
            header.identification = identification;
        }
        header.write(packet.grow_front(header.length())?)?;
        Ok(outcome)
    }

    fn fit(&self, packet: &Packet<'_>, view: &View, overhead: usize) -> Result<Outcome, Undeliverable> {
        let mtu = self.path.mtu.saturating_sub(overhead);
        let least = match self.server.family() {
            Family::V4 => LEAST_V4,
            Family::V6 => LEAST_V6,
        };
        if mtu < least {
            return Err(Undeliverable::NarrowTunnel { mtu });
        }
        Ok(match fit(packet, view, mtu, self.forbids_cutting(view))? {
            Outcome::Whole => Outcome::Whole,
            Outcome::Fragments { .. } => Outcome::Fragments { mtu: self.path.mtu },
        })
    }

    /// That nothing will fail half way.
    fn check(&self, packet: &Packet<'_>, view: &View, overhead: usize) -> Result<(), Undeliverable> {
        if self.path.source.family() != self.server.family() {
            return Err(Undeliverable::Family);
        }
        if packet.offload().segment.is_some() {
            return Err(Undeliverable::Unsegmented);
        }
        if packet.headroom() < overhead || view.end + overhead > usize::from(u16::MAX) {
            return Err(NoRoom.into());
        }
        Ok(())
    }

    fn forbids_cutting(&self, view: &View) -> bool {
        view.dont_fragment && self.pmtu == PathMtuDiscovery::On
    }

    fn header(&self, protocol: u8, payload: usize) -> Header {
        Header {
            source: self.path.source,
            destination: self.server,
            protocol,
            ttl: 0,
            class: 0,
            dont_fragment: false,
            identification: 0,
            payload,
        }
    }

    fn put_gue(
        &self,
        packet: &mut Packet<'_>,
        view: &View,
        port: u16,
        checksum: TunnelChecksum,
    ) -> Result<(), Undeliverable> {
        let inner = packet.offload().checksum;
        let remote = remote_length(checksum, inner);
        let bytes = packet.grow_front(UDP + GUE + remote)?;
        let [from, by] = source_port(view).to_be_bytes();
        let [to, at] = port.to_be_bytes();
        // The optional words of the header are counted, and follow its flags.
        let words = u8::try_from(remote / 4).unwrap_or_default();
        let flags = u8::from(remote > 0);
        put(bytes, 0, [from, by, to, at, 0, 0, 0, 0, words, number(view.family), 0, flags]).ok_or(NoRoom)?;
        if let (Checksum::Partial { start, offset }, 1..) = (inner, remote) {
            let places = [start, start.saturating_add(offset)].map(u16::try_from);
            let [Ok(start), Ok(place)] = places else { return Err(Undeliverable::Truncated) };
            put(bytes, UDP + GUE, [0x80, 0, 0, 0]).ok_or(NoRoom)?;
            put(bytes, UDP + GUE + 4, start.to_be_bytes()).ok_or(NoRoom)?;
            put(bytes, UDP + GUE + 6, place.to_be_bytes()).ok_or(NoRoom)?;
            // From here on it is the server's.
            packet.set_offload(Offload::default());
        }
        let length = u16::try_from(packet.len()).map_err(|_| NoRoom)?;
        put(packet.bytes_mut(), 4, length.to_be_bytes()).ok_or(NoRoom)?;
        if checksum == TunnelChecksum::None {
            return Ok(());
        }
        put_checksum(packet, 6, self.header(protocol::UDP, packet.len()).pseudo_header())
    }
}

const fn remote_length(added: TunnelChecksum, of_packet: Checksum) -> usize {
    match (added, of_packet) {
        (TunnelChecksum::Remote, Checksum::Partial { .. }) => REMOTE_CHECKSUM,
        _ => 0,
    }
}

fn put_gre(packet: &mut Packet<'_>, view: &View, checksum: TunnelChecksum) -> Result<(), Undeliverable> {
    let [high, low] = match view.family {
        Family::V4 => 0x0800_u16,
        Family::V6 => 0x86dd,
    }
    .to_be_bytes();
    if checksum == TunnelChecksum::None {
        return Ok(put(packet.grow_front(GRE)?, 0, [0, 0, high, low]).ok_or(NoRoom)?);
    }
    let bytes = packet.grow_front(GRE + GRE_CHECKSUM)?;
    put(bytes, 0, [0x80, 0, high, low]).ok_or(NoRoom)?;
    put_checksum(packet, GRE, Sum::default())
}

/// Adds a checksum of the whole packet at `place`. It is left partial, unless the packet has one that is: then that
/// one stays so, and what it will be is known, for the sum of what it sums, itself included, takes away the
/// pseudo-header's.
fn put_checksum(packet: &mut Packet<'_>, place: usize, pseudo_header: Sum) -> Result<(), Undeliverable> {
    if let Checksum::Partial { start, offset } = packet.offload().checksum
        && (start % 2 != 0 || offset % 2 != 0)
    {
        // Its words are not those of the whole packet.
        packet.complete_checksum().map_err(|_| Undeliverable::Truncated)?;
    }
    let offload = packet.offload();
    let checksum = match offload.checksum {
        Checksum::Complete => {
            let checksum = Checksum::Partial { start: 0, offset: place };
            packet.set_offload(Offload { checksum, ..offload });
            pseudo_header.folded()
        }
        Checksum::Partial { start, offset } => {
            let before = packet.bytes().get(..start).map(Sum::of);
            let inner = word(packet.bytes(), start.saturating_add(offset));
            let (before, inner) = before.zip(inner).ok_or(Undeliverable::Truncated)?;
            non_zero(before.plus(Sum::of_word(!inner)).plus(pseudo_header).checksum())
        }
    };
    Ok(put(packet.bytes_mut(), place, checksum.to_be_bytes()).ok_or(NoRoom)?)
}

/// The IP protocol that a packet is in another one.
const fn number(family: Family) -> u8 {
    match family {
        Family::V4 => protocol::IPIP,
        Family::V6 => protocol::IPV6,
    }
}

/// Congestion that the packet has met is not said again outside (RFC 3168, 9.1.1).
const fn outer_class(class: u8) -> u8 {
    if class & 0b11 == 0b11 { class & !0b01 } else { class }
}

/// The same for all packets of a flow, so that routers and receive queues keep them in order. Fragments go by their
/// addresses.
fn source_port(view: &View) -> u16 {
    let ports = view.ports.filter(|_| view.fragment == Fragment::Whole);
    let ports = ports.map_or(0, |ports| u64::from(ports.source) << 16 | u64::from(ports.destination));
    let addresses = u64::from(view.source.folded()) << 32 | u64::from(view.destination.folded());
    // The finalizer of SplitMix64.
    let mut hash = addresses ^ (ports << 8 | u64::from(view.protocol)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash = (hash ^ hash >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ hash >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    let port = PORTS.start + (hash >> 32) * (PORTS.end - PORTS.start) / (1 << 32);
    u16::try_from(port).unwrap_or_default()
}

#[cfg(test)]
mod tests;
