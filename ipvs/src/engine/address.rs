//! Addresses of both families in one number.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::virtual_service::Family;

/// An IP address as the tables of the engine hold it. IPv4 is mapped into IPv6 (RFC 4291, 2.5.5.2), as no packet on a
/// wire has it, so that both families live in one table and never meet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(u128);

/// `::ffff:0:0/96`
const MAPPED: u128 = 0xffff_0000_0000;

impl Address {
    /// Of no host: `::`.
    pub const UNSPECIFIED: Self = Self(0);

    pub const fn v4(address: u32) -> Self {
        // No loss: a wider number. `From` is not const.
        Self(MAPPED | address as u128)
    }

    pub const fn v6(address: u128) -> Self {
        Self(address)
    }

    pub const fn bits(self) -> u128 {
        self.0
    }

    pub const fn family(self) -> Family {
        if self.0 >> 32 == MAPPED >> 32 { Family::V4 } else { Family::V6 }
    }

    /// The number that IPVS hashes: the address, or the four words of IPv6 folded into one.
    #[expect(clippy::cast_possible_truncation, reason = "one word is cut out of four")]
    pub const fn folded(self) -> u32 {
        match self.family() {
            Family::V4 => self.0 as u32,
            Family::V6 => {
                (self.0 >> 96) as u32 ^ (self.0 >> 64) as u32 ^ (self.0 >> 32) as u32 ^ self.0 as u32
            }
        }
    }
}

impl From<Ipv4Addr> for Address {
    fn from(address: Ipv4Addr) -> Self {
        Self::v4(address.to_bits())
    }
}

impl From<Ipv6Addr> for Address {
    fn from(address: Ipv6Addr) -> Self {
        Self::v6(address.to_bits())
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => address.into(),
        }
    }
}

impl From<Address> for IpAddr {
    fn from(address: Address) -> Self {
        Ipv6Addr::from_bits(address.0).to_canonical()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        IpAddr::from(*self).fmt(f)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        Address::from(text.parse::<IpAddr>().unwrap())
    }

    #[test]
    fn both_families_come_back_as_they_went_in() {
        for (text, family) in [
            ("192.0.2.1", Family::V4),
            ("0.0.0.0", Family::V4),
            ("255.255.255.255", Family::V4),
            ("2001:db8::1", Family::V6),
            ("::", Family::V6),
            ("::1", Family::V6),
        ] {
            assert_eq!(address(text).to_string(), text);
            assert_eq!(address(text).family(), family, "{text}");
        }
    }

    #[test]
    fn folding_is_that_of_ipvs() {
        assert_eq!(address("192.0.2.1").folded(), 0xc000_0201);
        assert_eq!(address("2001:db8::1").folded(), 0x2001_0db9);
    }
}
