use super::quote::Quote;
use crate::engine::buffer::{Packet, put, word};
use crate::engine::checksum::{Change, Sum};
use crate::engine::forward::header::write_checksum;
use crate::engine::forward::rewrite::{check_family, write_addresses, write_ports};
use crate::engine::forward::{Outcome, Path, Rewrite, Undeliverable, leave};
use crate::engine::packet::View;
use crate::virtual_service::Family;

/// Does to an error what `rewrite` does to the packets that go its way, so that it comes from where they do, whichever
/// router it is of; and to the packet that it quotes the reverse, so that the receiver knows it.
///
/// # Errors
/// It does not go on, and nobody is told. ICMPv6 errors are not cut, those of IPv4 are, whatever they say.
pub fn translate(
    packet: &mut Packet<'_>,
    view: &View,
    quote: &Quote,
    rewrite: &Rewrite,
    path: &Path,
) -> Result<Outcome, Undeliverable> {
    let outcome = leave(packet, view, path.mtu)?;
    rewrite_error(packet, view, quote, rewrite)?;
    Ok(outcome)
}

/// As [`translate()`], to or from the director itself: no router has been passed.
///
/// The checksums of the error and of a quoted IPv4 header are right then. That of the quoted packet's transport is
/// left as it is: IPVS leaves it so, and nobody can check it.
///
/// # Errors
/// `Truncated`, `Family`: not what was read of it.
pub fn rewrite_error(
    packet: &mut Packet<'_>,
    view: &View,
    quote: &Quote,
    rewrite: &Rewrite,
) -> Result<(), Undeliverable> {
    let quoted_rewrite = rewrite.reversed();
    check_family(rewrite, view)?;
    check_family(&quoted_rewrite, &quote.view)?;
    let place = view.transport + 2;
    let partial = packet.is_partial_at(place);
    let bytes = packet.bytes_mut();
    let addresses = write_addresses(rewrite, bytes, view)?;
    let pseudo_header = match view.family {
        Family::V4 => Change::default(),
        Family::V6 => addresses,
    };
    let quoted = bytes.get_mut(quote.at..).ok_or(Undeliverable::Truncated)?;
    let change = rewrite_quoted(quoted, &quote.view, &quoted_rewrite)?;
    let before = word(bytes, place).ok_or(Undeliverable::Truncated)?;
    let after = if partial { !pseudo_header.apply(!before) } else { pseudo_header.and(change).apply(before) };
    put(bytes, place, after.to_be_bytes()).ok_or(Undeliverable::Truncated)
}

/// Returns the change of all that it writes.
fn rewrite_quoted(quoted: &mut [u8], view: &View, rewrite: &Rewrite) -> Result<Change, Undeliverable> {
    let before = word(quoted, 10).unwrap_or_default();
    let addresses = write_addresses(rewrite, quoted, view)?;
    let change = addresses.and(write_ports(rewrite, quoted, view)?);
    if view.family == Family::V6 {
        return Ok(change);
    }
    write_checksum(quoted, view.transport).ok_or(Undeliverable::Truncated)?;
    let after = word(quoted, 10).unwrap_or_default();
    Ok(change.and(Change::of(Sum::of_word(before), Sum::of_word(after))))
}
