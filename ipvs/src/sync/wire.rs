//! Numbers of the protocol under the kernel's names, and its bytes.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::Version;
use super::record::{Endpoint, Ends, SequenceShift, Tuple};

pub(super) const HEADER_V0: usize = 4;
pub(super) const HEADER_V1: usize = 8;
/// `SYNC_PROTO_VER`
pub(super) const VERSION_1: u8 = 1;
/// `SIMPLE_CONN_SIZE`: a record of version 0.
pub(super) const RECORD_V0: usize = 24;
/// The fixed part of the shorter record of version 1, that of IPv4.
pub(super) const RECORD_V1: usize = 36;
/// `ip_vs_sync_conn_options`: two triples.
pub(super) const SEQUENCES: usize = 24;

/// `SVER_SHIFT`: above it is the version of a record, below it the size.
pub(super) const VERSION_SHIFT: u32 = 12;
pub(super) const SIZE_MASK: u16 = 0xfff;

/// `STYPE_F_INET6`
pub(super) const TYPE_IPV6: u8 = 1;

/// `IP_VS_CONN_F_*`: those that a backup takes, and the two it looks at besides.
pub(super) mod flag {
    pub(in super::super) const FWD_MASK: u32 = 0x0007;
    pub(in super::super) const SYNC: u32 = 0x0020;
    pub(in super::super) const NOOUTPUT: u32 = 0x0080;
    pub(in super::super) const INACTIVE: u32 = 0x0100;
    pub(in super::super) const OUT_SEQ: u32 = 0x0200;
    pub(in super::super) const IN_SEQ: u32 = 0x0400;
    pub(in super::super) const NO_CPORT: u32 = 0x0800;
    pub(in super::super) const TEMPLATE: u32 = 0x1000;
    pub(in super::super) const ONE_PACKET: u32 = 0x2000;
}

/// `IPVS_OPT_*`
pub(super) mod option {
    pub(in super::super) const SEQ_DATA: u8 = 1;
    pub(in super::super) const PE_DATA: u8 = 2;
    pub(in super::super) const PE_NAME: u8 = 3;
    /// `IPVS_OPT_F_PARAM`: whoever does not know the option may skip it.
    pub(in super::super) const IGNORABLE: u8 = 0x40;
    /// Of Buoy, always with [`IGNORABLE`].
    pub(in super::super) const LOCAL_ENDPOINT: u8 = 5;
}

/// `IP_VS_PENAME_MAXLEN`
pub(super) const ENGINE_NAME_MAX: usize = 16;
/// The only persistence engine that there is.
pub(super) const ENGINE_SIP: &[u8] = b"sip";

pub(super) const fn header_len(version: Version) -> usize {
    match version {
        Version::V0 => HEADER_V0,
        Version::V1 => HEADER_V1,
    }
}

/// An address as records of its family have it.
pub(super) trait WireAddress: Copy {
    /// Length of the fixed part of a record of this family.
    const RECORD: usize;
    const TYPE: u8;

    fn take(bytes: &mut Cursor<'_>) -> Option<Self>;
    fn put(self, bytes: &mut Vec<u8>);
    fn tuple(ends: Ends<Self>) -> Tuple;
}

impl WireAddress for Ipv4Addr {
    const RECORD: usize = RECORD_V1;
    const TYPE: u8 = 0;

    fn take(bytes: &mut Cursor<'_>) -> Option<Self> {
        bytes.take().map(u32::from_be_bytes).map(Self::from_bits)
    }

    fn put(self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.octets());
    }

    fn tuple(ends: Ends<Self>) -> Tuple {
        Tuple::V4(ends)
    }
}

impl WireAddress for Ipv6Addr {
    const RECORD: usize = 72;
    const TYPE: u8 = TYPE_IPV6;

    fn take(bytes: &mut Cursor<'_>) -> Option<Self> {
        bytes.take().map(u128::from_be_bytes).map(Self::from_bits)
    }

    fn put(self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.octets());
    }

    fn tuple(ends: Ends<Self>) -> Tuple {
        Tuple::V6(ends)
    }
}

/// From the data of [`option::LOCAL_ENDPOINT`], if that is what it is.
pub(super) fn take_local<A: WireAddress>(data: &[u8]) -> Option<Endpoint<A>> {
    let mut bytes = Cursor(data);
    let port = bytes.u16()?;
    let endpoint = Endpoint { address: A::take(&mut bytes)?, port };
    bytes.0.is_empty().then_some(endpoint)
}

/// Sequence numbers of both directions. Version 0 has them in the sender's byte order, which is taken for ours as the
/// kernel does.
pub(super) fn take_sequences(
    data: &[u8; SEQUENCES],
    number: fn([u8; 4]) -> u32,
) -> Option<[SequenceShift; 2]> {
    let mut bytes = Cursor(data);
    let mut next = || bytes.take().map(number);
    let mut shift = || Some(SequenceShift { init: next()?, delta: next()?, previous_delta: next()? });
    Some([shift()?, shift()?])
}

pub(super) fn put_sequences(shifts: [SequenceShift; 2], number: fn(u32) -> [u8; 4], bytes: &mut Vec<u8>) {
    for SequenceShift { init, delta, previous_delta } in shifts {
        for value in [init, delta, previous_delta] {
            bytes.extend_from_slice(&number(value));
        }
    }
}

/// What is left to read.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl Cursor<'_> {
    pub(super) fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }
}
