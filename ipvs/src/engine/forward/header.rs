use super::rewrite::v4_bits;
use crate::engine::address::Address;
use crate::engine::buffer::{NoRoom, put};
use crate::engine::checksum::Sum;
use crate::virtual_service::Family;

/// An IP header that is put before a packet. Its family is that of its addresses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) source: Address,
    pub(super) destination: Address,
    pub(super) protocol: u8,
    pub(super) ttl: u8,
    /// DSCP and ECN.
    pub(super) class: u8,
    /// Of IPv4, as is the identification.
    pub(super) dont_fragment: bool,
    pub(super) identification: u16,
    /// What follows it.
    pub(super) payload: usize,
}

impl Header {
    pub(super) const fn length_in(family: Family) -> usize {
        match family {
            Family::V4 => 20,
            Family::V6 => 40,
        }
    }

    pub(super) const fn length(&self) -> usize {
        Self::length_in(self.destination.family())
    }

    /// Of the payload, for checksums of TCP, UDP and ICMPv6.
    pub(super) fn pseudo_header(&self) -> Sum {
        Sum::of_pseudo_header(self.source, self.destination, self.protocol, self.payload)
    }

    /// Writes it to the first bytes.
    pub(super) fn write(&self, bytes: &mut [u8]) -> Result<(), NoRoom> {
        match self.destination.family() {
            Family::V4 => self.write_v4(bytes),
            Family::V6 => self.write_v6(bytes),
        }
    }

    fn write_v4(&self, bytes: &mut [u8]) -> Result<(), NoRoom> {
        let total = u16::try_from(self.payload + 20).map_err(|_| NoRoom)?;
        let flags = if self.dont_fragment { 0x40 } else { 0 };
        let words = [
            u16::from_be_bytes([0x45, self.class]),
            total,
            self.identification,
            u16::from_be_bytes([flags, 0]),
            u16::from_be_bytes([self.ttl, self.protocol]),
        ];
        // Summed before they are bytes, which the processor could not read together so soon after it wrote them.
        let addresses = Sum::of_address(self.source).plus(Sum::of_address(self.destination));
        let checksum = words.iter().fold(addresses, |sum, word| sum.plus(Sum::of_word(*word))).checksum();
        let [[a, b], [c, d], [e, f], [g, h], [i, j]] = words.map(u16::to_be_bytes);
        let [k, l] = checksum.to_be_bytes();
        put(bytes, 0, [a, b, c, d, e, f, g, h, i, j, k, l]).ok_or(NoRoom)?;
        put(bytes, 12, v4_bits(self.source).to_be_bytes()).ok_or(NoRoom)?;
        put(bytes, 16, v4_bits(self.destination).to_be_bytes()).ok_or(NoRoom)
    }

    fn write_v6(&self, bytes: &mut [u8]) -> Result<(), NoRoom> {
        let [a, b] = u16::try_from(self.payload).map_err(|_| NoRoom)?.to_be_bytes();
        let start = [0x60 | self.class >> 4, self.class << 4, 0, 0, a, b, self.protocol, self.ttl];
        put(bytes, 0, start).ok_or(NoRoom)?;
        put(bytes, 8, self.source.bits().to_be_bytes()).ok_or(NoRoom)?;
        put(bytes, 24, self.destination.bits().to_be_bytes()).ok_or(NoRoom)
    }
}

/// Makes the checksum of an IPv4 header of so many bytes anew.
pub(super) fn write_checksum(bytes: &mut [u8], length: usize) -> Option<()> {
    put(bytes, 10, [0; 2])?;
    let checksum = Sum::of(bytes.get(..length)?).checksum();
    put(bytes, 10, checksum.to_be_bytes())
}
