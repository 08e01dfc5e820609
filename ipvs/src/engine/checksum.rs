//! The Internet checksum (RFC 1071), and what it becomes when a part of its data changes (RFC 1624).

use super::address::Address;
use crate::virtual_service::Family;

/// The ones' complement sum of 16-bit words in network order, not yet complemented. Sums of parts of even length add up
/// to the sum of the whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    /// An odd last byte counts as if a zero followed.
    pub fn of(data: &[u8]) -> Self {
        let mut words = data.chunks_exact(8);
        let mut sum = 0_u64;
        for word in words.by_ref() {
            let mut eight = [0; 8];
            eight.copy_from_slice(word);
            let (added, carry) = sum.overflowing_add(u64::from_be_bytes(eight));
            // A carry out of 64 bits counts one: 2^64 is 1 modulo 2^16 - 1.
            sum = added + u64::from(carry);
        }
        let mut rest = [0; 8];
        let left = words.remainder();
        if let Some(start) = rest.get_mut(..left.len()) {
            start.copy_from_slice(left);
        }
        Self(sum).plus(Self(u64::from_be_bytes(rest)))
    }

    pub fn of_word(word: u16) -> Self {
        Self(word.into())
    }

    /// Of the addresses as they stand in the header of their family.
    pub fn of_address(address: Address) -> Self {
        match address.family() {
            Family::V4 => Self(address.bits() as u64 & 0xffff_ffff),
            Family::V6 => Self((address.bits() >> 64) as u64).plus(Self(address.bits() as u64)),
        }
    }

    /// Of the pseudo-header that TCP, UDP and `ICMPv6` are summed with (RFC 9293, 3.1; RFC 8200, 8.1).
    pub fn of_pseudo_header(source: Address, destination: Address, protocol: u8, length: usize) -> Self {
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        Self::of_address(source)
            .plus(Self::of_address(destination))
            .plus(Self(length))
            .plus(Self(protocol.into()))
    }

    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        let (sum, carry) = self.0.overflowing_add(other.0);
        Self(sum + carry as u64)
    }

    /// Takes away what was part of it.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        self.plus(Self(!other.0))
    }

    /// In 16 bits.
    pub const fn folded(self) -> u16 {
        let sum = (self.0.wrapping_add(self.0.rotate_left(32)) >> 32) as u32;
        let sum = sum.wrapping_add(sum.rotate_left(16)) >> 16;
        sum as u16
    }

    /// What stands in a header over data of this sum.
    pub const fn checksum(self) -> u16 {
        !self.folded()
    }
}

/// A change of summed data: what it took away and what it put there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change(Sum);

impl Change {
    pub const fn of(before: Sum, after: Sum) -> Self {
        Self(after.minus(before))
    }

    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0.plus(other.0))
    }

    /// The checksum after the change of one that stood there before (RFC 1624, equation 3). A wrong one stays wrong.
    pub const fn apply(self, checksum: u16) -> u16 {
        !Sum(!checksum as u64).plus(self.0).folded()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As RFC 1071 says it, word by word.
    fn slowly(data: &[u8]) -> u16 {
        let mut sum = 0_u32;
        for pair in data.chunks(2) {
            let low = pair.get(1).copied().unwrap_or(0);
            sum += u32::from(u16::from_be_bytes([pair[0], low]));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !u16::try_from(sum).unwrap()
    }

    /// Both of those that ones' complement has.
    fn is_zero(sum: u16) -> bool {
        matches!(sum, 0 | 0xffff)
    }

    #[test]
    fn example_of_rfc_1071() {
        let data = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::of(&data).folded(), 0xddf2);
    }

    #[test]
    fn example_of_rfc_1624() {
        // Section 4: m = 0x5555 becomes m' = 0x3285, HC = 0xdd2f; equation 3 gives 0x0000, not 0xffff.
        let change = Change::of(Sum::of_word(0x5555), Sum::of_word(0x3285));
        assert_eq!(change.apply(0xdd2f), 0x0000);
    }

    proptest! {
        #[test]
        fn sums_are_those_of_the_words(data in prop::collection::vec(any::<u8>(), 0..200)) {
            let (sum, slowly) = (Sum::of(&data).checksum(), slowly(&data));
            prop_assert!(sum == slowly || is_zero(sum) && is_zero(slowly), "{sum:x} {slowly:x}");
        }

        #[test]
        fn a_change_gives_what_summing_anew_gives(
            mut data in prop::collection::vec(any::<u8>(), 2..100),
            at in any::<prop::sample::Index>(),
            new in any::<u16>(),
        ) {
            let at = at.index(data.len() / 2) * 2;
            let before = slowly(&data);
            let old = u16::from_be_bytes([data[at], data[at + 1]]);
            data[at..at + 2].copy_from_slice(&new.to_be_bytes());
            let changed = Change::of(Sum::of_word(old), Sum::of_word(new)).apply(before);
            let anew = slowly(&data);
            prop_assert!(changed == anew || is_zero(changed) && is_zero(anew), "{changed:x} {anew:x}");
        }
    }
}
