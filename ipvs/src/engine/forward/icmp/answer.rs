use super::{Error, HEADER, Message, v6};
use crate::engine::address::Address;
use crate::engine::buffer::{NoRoom, Offload, Packet, put};
use crate::engine::checksum::Sum;
use crate::engine::forward::header::Header;
use crate::engine::packet::{Fragment, View, protocol};
use crate::virtual_service::Family;

/// Why nobody is told (RFC 1122, 3.2.2; RFC 4443, 2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Silence {
    #[error("a fragment that is not the first")]
    LaterFragment,
    /// Errors about errors would never end.
    #[error("the packet is an error itself, or may be one")]
    AboutAnError,
    /// To many, or from no host.
    #[error("its addresses are not those of one host each")]
    NotUnicast,
    /// What is too long for a tunnel may be cut.
    #[error("the packet may be cut")]
    MayBeCut,
    /// Only of errors about tunnels.
    #[error("nothing that the client could do something about")]
    Meaningless,
    /// A mistake of the caller.
    #[error("the addresses are of different families")]
    Family,
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
}

/// As many bytes as an error has at most: those that every host takes (RFC 1812, 4.3.2.3), and every link (RFC 4443,
/// 2.4).
const LONGEST_V4: usize = 576;
const LONGEST_V6: usize = 1280;
/// Of errors, as of everything that the director sends itself.
const TTL: u8 = 64;
/// Precedence of what keeps the network going (RFC 1812, 4.3.2.5).
const INTERNETWORK_CONTROL: u8 = 0xc0;

/// Makes of a packet the error that its sender gets from `source`, which is the service for what goes to it, and the
/// director's own address for what comes back. `identification` is the next one of IPv4. How often anybody is answered
/// is for the caller to limit.
///
/// # Errors
/// There is no answer. The packet is as it was.
pub fn answer(
    packet: &mut Packet<'_>,
    view: &View,
    error: Error,
    source: Address,
    identification: u16,
) -> Result<(), Silence> {
    check(packet.bytes(), view)?;
    if source.family() != view.family {
        return Err(Silence::Family);
    }
    packet.truncate(view.end);
    report(packet, view, error.message(view.family), source, identification)
}

/// Whether this packet may be answered.
pub(super) fn check(packet: &[u8], view: &View) -> Result<(), Silence> {
    if view.fragment == Fragment::Later {
        return Err(Silence::LaterFragment);
    }
    if may_be_error(packet, view) {
        return Err(Silence::AboutAnError);
    }
    if is_unicast(view.source) && is_unicast(view.destination) { Ok(()) } else { Err(Silence::NotUnicast) }
}

/// Quotes the packet to its sender.
pub(super) fn report(
    packet: &mut Packet<'_>,
    view: &View,
    message: Message,
    source: Address,
    identification: u16,
) -> Result<(), Silence> {
    let (protocol, longest) = match view.family {
        Family::V4 => (protocol::ICMP, LONGEST_V4),
        Family::V6 => (protocol::ICMPV6, LONGEST_V6),
    };
    let overhead = Header::length_in(view.family) + HEADER;
    if packet.headroom() < overhead {
        return Err(NoRoom.into());
    }
    packet.truncate(longest - overhead);
    packet.set_offload(Offload::default());
    let bytes = packet.grow_front(HEADER)?;
    put(bytes, 0, [message.kind, message.code, 0, 0]).ok_or(NoRoom)?;
    put(bytes, 4, message.rest.to_be_bytes()).ok_or(NoRoom)?;
    let header = Header {
        source,
        destination: view.source,
        protocol,
        ttl: TTL,
        class: match view.family {
            Family::V4 => INTERNETWORK_CONTROL | view.class & 0x1e,
            Family::V6 => 0,
        },
        dont_fragment: false,
        identification,
        payload: packet.len(),
    };
    let pseudo_header = match view.family {
        Family::V4 => Sum::default(),
        Family::V6 => header.pseudo_header(),
    };
    let checksum = Sum::of(packet.bytes()).plus(pseudo_header).checksum();
    put(packet.bytes_mut(), 2, checksum.to_be_bytes()).ok_or(NoRoom)?;
    header.write(packet.grow_front(header.length())?)?;
    Ok(())
}

/// What is not known not to be one counts as one.
fn may_be_error(packet: &[u8], view: &View) -> bool {
    let kind = view.payload(packet).first();
    match (view.family, view.protocol) {
        (Family::V4, protocol::ICMP) => {
            // Echo, routers, timestamps, information, masks.
            !matches!(kind, Some(0 | 8..=10 | 13..=18))
        }
        (Family::V6, protocol::ICMPV6) => {
            kind.is_none_or(|kind| *kind < v6::INFORMATIONAL || *kind == v6::REDIRECT)
        }
        _ => false,
    }
}

/// The address of one host, and not of a host to itself.
pub(in crate::engine::forward) const fn is_unicast(address: Address) -> bool {
    match address.family() {
        Family::V4 => matches!(address.bits() >> 24 & 0xff, 1..=126 | 128..=223),
        Family::V6 => address.bits() > 1 && address.bits() >> 120 != 0xff,
    }
}
