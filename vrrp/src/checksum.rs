//! The Internet checksum (RFC 1071) and the pseudo headers that VRRP and ICMPv6 put under it.

use std::net::IpAddr;

/// A running one's-complement sum. Sixteen bit aligned pieces may be added in any order.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sum(u64);

impl Sum {
    /// Adds `bytes`; an odd last byte counts as the high half of a word, so only the last piece may be odd.
    #[must_use]
    pub(crate) fn bytes(self, bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<2>();
        let sum: u64 = words.iter().map(|w| u64::from(u16::from_be_bytes(*w))).sum();
        let odd = rest.first().map_or(0, |b| u64::from(*b) << 8);
        Self(self.0 + sum + odd)
    }

    #[must_use]
    pub(crate) fn word(self, word: u16) -> Self {
        Self(self.0 + u64::from(word))
    }

    /// Source, destination, length and next header of the carrying packet: RFC 9568 §5.2.8 for IPv4,
    /// RFC 8200 §8.1 for IPv6. Both sum to the same words, zero padding apart.
    #[must_use]
    pub(crate) fn pseudo_header(self, source: IpAddr, destination: IpAddr, protocol: u8, len: usize) -> Self {
        let len = u64::try_from(len).unwrap_or(u64::MAX >> 32);
        let sum = self.address(source).address(destination).word(u16::from(protocol));
        Self(sum.0 + (len >> 16) + (len & 0xffff))
    }

    fn address(self, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(a) => self.bytes(&a.octets()),
            IpAddr::V6(a) => self.bytes(&a.octets()),
        }
    }

    /// The value that goes into a checksum field.
    pub(crate) fn checksum(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        !u16::try_from(sum).unwrap_or(u16::MAX)
    }

    /// Whether data that includes its checksum field sums up.
    pub(crate) fn is_valid(self) -> bool {
        self.checksum() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn example_of_rfc_1071_sums_to_ddf2() {
        let sum = Sum::default().bytes(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum.checksum(), !0xddf2);
    }

    #[test]
    fn odd_byte_counts_as_the_high_half_of_a_word() {
        let odd = Sum::default().bytes(&[1, 2, 3]);
        assert_eq!(odd.checksum(), Sum::default().bytes(&[1, 2, 3, 0]).checksum());
    }

    #[test]
    fn data_with_its_own_checksum_is_valid() {
        let checksum = Sum::default().bytes(&[0x45, 0xc0, 0xff, 0xff]).word(0).checksum();
        assert!(Sum::default().bytes(&[0x45, 0xc0, 0xff, 0xff]).word(checksum).is_valid());
        assert!(!Sum::default().bytes(&[0x45, 0xc0, 0xff, 0xfe]).word(checksum).is_valid());
    }

    #[test]
    fn length_beyond_sixteen_bits_enters_the_pseudo_header_whole() {
        let any = IpAddr::from([0u8; 16]);
        let long = Sum::default().pseudo_header(any, any, 0, 0x1_0002);
        assert_eq!(long.checksum(), !3);
    }
}
