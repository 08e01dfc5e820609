use std::ops::Range;

use crate::engine::buffer::get;
use crate::engine::packet::{Fragment, View, protocol};

/// The header of a segment of TCP (RFC 9293, 3.1), all of which is there, in a packet or in its first fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Where it begins.
    pub(super) at: usize,
    /// From 20 to 60 bytes, with options.
    pub(super) length: usize,
    pub(super) sequence: u32,
    pub(super) acknowledgement: u32,
    pub(super) flags: u8,
}

/// The header without options.
pub(super) const FIXED: usize = 20;
/// What options may take.
pub(super) const OPTIONS: usize = 40;

pub(super) mod flag {
    pub(in super::super) const FIN: u8 = 0x01;
    pub(in super::super) const SYN: u8 = 0x02;
    pub(in super::super) const RST: u8 = 0x04;
    pub(in super::super) const PSH: u8 = 0x08;
    pub(in super::super) const ACK: u8 = 0x10;
    pub(in super::super) const CWR: u8 = 0x80;
}

/// Kinds of options (IANA).
pub(super) mod kind {
    pub(in super::super) const END: u8 = 0;
    pub(in super::super) const NO_OPERATION: u8 = 1;
    pub(in super::super) const MSS: u8 = 2;
    pub(in super::super) const SACK: u8 = 5;
    pub(in super::super) const TIMESTAMPS: u8 = 8;
}

impl Header {
    pub(super) fn read(bytes: &[u8], view: &View) -> Option<Self> {
        if view.protocol != protocol::TCP || view.fragment == Fragment::Later {
            return None;
        }
        let at = view.transport;
        let [_, _, _, _, s, e, q, n, a, c, k, d, offset, flags] = get(bytes, at)?;
        let length = usize::from(offset >> 4) * 4;
        (length >= FIXED && at + length <= view.end).then_some(Self {
            at,
            length,
            sequence: u32::from_be_bytes([s, e, q, n]),
            acknowledgement: u32::from_be_bytes([a, c, k, d]),
            flags,
        })
    }

    pub(super) const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Where the options are.
    pub(super) const fn options(&self) -> Range<usize> {
        self.at + FIXED..self.at + self.length
    }
}

/// Kinds and places of options, up to the last one that is well-formed. Those of one byte are passed over.
pub(super) fn options(bytes: &[u8]) -> impl Iterator<Item = (u8, Range<usize>)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            match *bytes.get(at)? {
                kind::END => return None,
                kind::NO_OPERATION => at += 1,
                kind => {
                    let length = usize::from(*bytes.get(at + 1)?);
                    let option = at..at + length;
                    if length < 2 || option.end > bytes.len() {
                        return None;
                    }
                    at = option.end;
                    return Some((kind, option));
                }
            }
        }
    })
}
