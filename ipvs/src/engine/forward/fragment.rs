//! Cutting a packet into fragments, for a way that does not take it whole.

use thiserror::Error;

use super::header::write_checksum;
use crate::engine::buffer::{OutsidePacket, Packet, SegmentKind, put, word};
use crate::engine::packet::View;
use crate::virtual_service::Family;

/// Why a packet cannot be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Uncuttable {
    /// Its segments may need no cutting.
    #[error("to be segmented first")]
    Unsegmented,
    #[error(transparent)]
    Checksum(#[from] OutsidePacket),
    #[error("a way of {mtu} bytes, which has no room for anything")]
    Narrow { mtu: usize },
    /// Only packets are cut that the director has made, and those of IPv4.
    #[error("an IPv6 packet with headers that each fragment would need")]
    Extensions,
    #[error("the packet is not what was read of it")]
    Truncated,
}

/// Hands out fragments of at most `mtu` bytes, in their order. A checksum that is not made yet is made before. Of
/// IPv4, options that are not for every fragment are blanked in all but the first (RFC 791, 3.1), and fragments of
/// fragments follow on; for IPv6 `identification` is the fragments' own. `scratch` is where they are made.
///
/// # Errors
/// It cannot be cut, and nothing has been handed out.
pub fn cut(
    packet: &mut Packet<'_>,
    view: &View,
    mtu: usize,
    identification: u32,
    scratch: &mut Vec<u8>,
    emit: impl FnMut(&[u8]),
) -> Result<(), Uncuttable> {
    if packet.offload().segment.is_some_and(|segment| segment.kind != SegmentKind::UdpFragmentation) {
        return Err(Uncuttable::Unsegmented);
    }
    packet.complete_checksum()?;
    let bytes = packet.bytes().get(..view.end).ok_or(Uncuttable::Truncated)?;
    match view.family {
        Family::V4 => cut_v4(bytes, view.transport, mtu, scratch, emit),
        Family::V6 => cut_v6(bytes, mtu, identification, scratch, emit),
    }
}

fn cut_v4(
    bytes: &[u8],
    header: usize,
    mtu: usize,
    scratch: &mut Vec<u8>,
    mut emit: impl FnMut(&[u8]),
) -> Result<(), Uncuttable> {
    let (header, data) = bytes.split_at_checked(header).ok_or(Uncuttable::Truncated)?;
    let whole = word(header, 6).ok_or(Uncuttable::Truncated)?;
    let (more, begin) = (whole & MORE_V4 != 0, usize::from(whole & 0x1fff) * 8);
    for piece in Piece::all(data, mtu, header.len())? {
        scratch.clear();
        scratch.extend_from_slice(header);
        if piece.offset > 0 {
            scratch.get_mut(20..).map(blank_options);
        }
        let length = u16::try_from(header.len() + piece.data.len()).map_err(|_| Uncuttable::Truncated)?;
        let offset = u16::try_from((begin + piece.offset) / 8).map_err(|_| Uncuttable::Truncated)?;
        let fragment = offset | if more || !piece.is_last { MORE_V4 } else { 0 };
        put(scratch, 2, length.to_be_bytes()).ok_or(Uncuttable::Truncated)?;
        put(scratch, 6, fragment.to_be_bytes()).ok_or(Uncuttable::Truncated)?;
        write_checksum(scratch, header.len()).ok_or(Uncuttable::Truncated)?;
        scratch.extend_from_slice(piece.data);
        emit(scratch);
    }
    Ok(())
}

fn cut_v6(
    bytes: &[u8],
    mtu: usize,
    identification: u32,
    scratch: &mut Vec<u8>,
    mut emit: impl FnMut(&[u8]),
) -> Result<(), Uncuttable> {
    const HEADER: usize = 40 + 8;
    let (header, data) = bytes.split_at_checked(40).ok_or(Uncuttable::Truncated)?;
    let next = *header.get(6).ok_or(Uncuttable::Truncated)?;
    if EXTENSIONS.contains(&next) {
        return Err(Uncuttable::Extensions);
    }
    for piece in Piece::all(data, mtu, HEADER)? {
        scratch.clear();
        scratch.extend_from_slice(header);
        let length = u16::try_from(8 + piece.data.len()).map_err(|_| Uncuttable::Truncated)?;
        put(scratch, 4, length.to_be_bytes()).ok_or(Uncuttable::Truncated)?;
        put(scratch, 6, [FRAGMENT]).ok_or(Uncuttable::Truncated)?;
        // The offset counts eights, above three bits that say whether more follow.
        let offset = u16::try_from(piece.offset).map_err(|_| Uncuttable::Truncated)?;
        let [high, low] = (offset | u16::from(!piece.is_last)).to_be_bytes();
        let [a, b, c, d] = identification.to_be_bytes();
        scratch.extend_from_slice(&[next, 0, high, low, a, b, c, d]);
        scratch.extend_from_slice(piece.data);
        emit(scratch);
    }
    Ok(())
}

const MORE_V4: u16 = 0x2000;
const FRAGMENT: u8 = 44;
/// Hop-by-hop, routing, fragment.
const EXTENSIONS: [u8; 3] = [0, 43, FRAGMENT];

/// What one fragment has of the data.
struct Piece<'d> {
    /// A multiple of eight.
    offset: usize,
    data: &'d [u8],
    is_last: bool,
}

impl<'d> Piece<'d> {
    fn all(data: &'d [u8], mtu: usize, header: usize) -> Result<impl Iterator<Item = Self>, Uncuttable> {
        let room = mtu.saturating_sub(header);
        if room < 8 {
            return Err(Uncuttable::Narrow { mtu });
        }
        let mut offset = 0;
        Ok(std::iter::from_fn(move || {
            let rest = data.get(offset..).filter(|rest| !rest.is_empty())?;
            let is_last = rest.len() <= room;
            let size = if is_last { rest.len() } else { room & !7 };
            let piece = Self { offset, data: rest.get(..size)?, is_last };
            offset += size;
            Some(piece)
        }))
    }
}

/// Overwrites options of IPv4 that are for the first fragment alone.
fn blank_options(options: &mut [u8]) {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const COPIED: u8 = 0x80;
    let mut at = 0;
    while let Some(&kind) = options.get(at) {
        let length = match kind {
            END => return,
            NO_OPERATION => 1,
            _ => options.get(at + 1).copied().map_or(0, usize::from),
        };
        if length == 0 || length == 1 && kind != NO_OPERATION {
            return;
        }
        if kind & COPIED == 0
            && let Some(option) = options.get_mut(at..at + length)
        {
            option.fill(NO_OPERATION);
        }
        at += length;
    }
}

#[cfg(test)]
mod tests;
