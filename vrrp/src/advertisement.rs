//! The VRRP advertisement: a view that checks a received message once, and the frame that we send.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |Version|  Type |  Virtual Rtr  |   Priority    |  Addr Count   |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! | v2: Auth Type | v2: Adver Int |           Checksum            |
//! | v3: 0 | Max Advertise Interval|                               |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |               addresses, 4 or 16 bytes each                   |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |               v2: 8 bytes of authentication data              |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

mod frame;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use thiserror::Error;

use crate::checksum::Sum;
use crate::identity::{Family, Priority, Version, Vrid};
use crate::packet::PROTOCOL_VRRP;

pub use frame::{AdvertisementFrame, Unencodable};

/// The IPv4 group of VRRP (RFC 9568 §5.1.1.2).
pub const MULTICAST_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
/// The IPv6 group of VRRP (RFC 9568 §5.1.2.2).
pub const MULTICAST_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);

const KIND_ADVERTISEMENT: u8 = 1;
pub(crate) const HEADER_LEN: usize = 8;
const V2_AUTHENTICATION_LEN: usize = 8;
/// The `auth_hmac` extension of keepalived 2.4.
const HMAC_TRAILER_LEN: usize = 28;
/// Ethernet pads a payload to this many bytes, four less for each VLAN tag.
const ETHERNET_MIN_PAYLOAD: usize = 46;

/// A received advertisement whose layout has been checked; nothing here can fail any more.
///
/// Whether it is right for a virtual router (checksum, TTL, authentication, interval) is not decided here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdvertisementView<'a> {
    /// The message without padding.
    message: &'a [u8],
    addresses: &'a [u8],
    family: Family,
    version: Version,
    vrid: Vrid,
    priority: Priority,
    count: u8,
    interval: Duration,
    authentication: Option<(AuthenticationType, &'a [u8; V2_AUTHENTICATION_LEN])>,
}

/// The `Auth Type` of VRRPv2 (RFC 2338 §5.3.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthenticationType {
    None,
    Password,
    AuthenticationHeader,
    Other(u8),
}

impl AuthenticationType {
    pub const fn number(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Password => 1,
            Self::AuthenticationHeader => 2,
            Self::Other(n) => n,
        }
    }
}

impl From<u8> for AuthenticationType {
    fn from(number: u8) -> Self {
        match number {
            0 => Self::None,
            1 => Self::Password,
            2 => Self::AuthenticationHeader,
            n => Self::Other(n),
        }
    }
}

/// Which way of computing the checksum fits a received advertisement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChecksumSeen {
    /// As the RFC of its version and family demands.
    Right,
    /// v3 over IPv4, made over the message alone (`v3_checksum_as_v2`).
    WithoutPseudoHeader,
    /// v3 over unicast IPv4 with the multicast group as destination, as old keepalived releases did.
    OldUnicast,
    Wrong,
}

/// Why bytes are not an advertisement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Malformed {
    #[error("{have} bytes, an advertisement has at least {need}")]
    Truncated { have: usize, need: usize },
    /// Neither 2 nor 3, or 2 over IPv6.
    #[error("VRRP version {0}")]
    Version(u8),
    #[error("VRRP message type {0}")]
    Kind(u8),
    #[error("virtual router identifier 0")]
    VridZero,
    /// No master can advertise without pause; learning this interval would never let a timer rest.
    #[error("advertisement interval 0")]
    IntervalZero,
    #[error("{have} bytes, its address count makes {expected}")]
    Length { have: usize, expected: usize },
    /// Signed by keepalived's `auth_hmac`, which cannot be verified here.
    #[error("signed by auth_hmac with key {key_id}")]
    HmacTrailer { key_id: u8 },
}

impl<'a> AdvertisementView<'a> {
    /// Checks `pdu`, the bytes behind the IP header (and behind the authentication header, if there is one).
    ///
    /// `carrier_len` is what the IP packet holds ahead of them (20 for IPv4 without options, 44 with an
    /// authentication header, 40 for IPv6): padding is recognised by the length of the whole packet.
    pub fn parse(pdu: &'a [u8], family: Family, carrier_len: usize) -> Result<Self, Malformed> {
        let have = pdu.len();
        let (header, rest) =
            pdu.split_first_chunk::<HEADER_LEN>().ok_or(Malformed::Truncated { have, need: HEADER_LEN })?;
        let &[version_kind, vrid, priority, count, auth_type, interval, _, _] = header;
        let version = match (version_kind >> 4, family) {
            (2, Family::V4) => Version::V2,
            (3, _) => Version::V3,
            (other, _) => return Err(Malformed::Version(other)),
        };
        if version_kind & 0x0f != KIND_ADVERTISEMENT {
            return Err(Malformed::Kind(version_kind & 0x0f));
        }
        let vrid = Vrid::new(vrid).ok_or(Malformed::VridZero)?;
        let addresses_len = usize::from(count) * address_len(family);
        let expected = HEADER_LEN + addresses_len + trailer_len(version);
        check_length(rest, have, expected, carrier_len)?;

        let short = Malformed::Truncated { have, need: expected };
        let message = pdu.get(..expected).ok_or(short)?;
        let (addresses, behind) = rest.split_at_checked(addresses_len).ok_or(short)?;
        let (interval, authentication) = match version {
            Version::V2 => {
                let data = behind.first_chunk().ok_or(short)?;
                (Duration::from_secs(interval.into()), Some((auth_type.into(), data)))
            }
            Version::V3 => {
                let centiseconds = u16::from_be_bytes([auth_type & 0x0f, interval]);
                (Duration::from_millis(u64::from(centiseconds) * 10), None)
            }
        };
        if interval.is_zero() {
            return Err(Malformed::IntervalZero);
        }
        let priority = Priority::new(priority);
        Ok(Self { message, addresses, family, version, vrid, priority, count, interval, authentication })
    }

    /// The message without padding, its checksum included.
    pub fn message(&self) -> &'a [u8] {
        self.message
    }

    pub fn version(&self) -> Version {
        self.version
    }

    pub fn family(&self) -> Family {
        self.family
    }

    pub fn vrid(&self) -> Vrid {
        self.vrid
    }

    pub fn priority(&self) -> Priority {
        self.priority
    }

    /// Number of addresses listed.
    pub fn count(&self) -> u8 {
        self.count
    }

    /// The sender's interval between advertisements; never zero.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// The addresses in the order of the message.
    pub fn addresses(&self) -> impl ExactSizeIterator<Item = IpAddr> + use<'a> {
        let family = self.family;
        self.addresses.chunks_exact(address_len(family)).map(move |bytes| address(family, bytes))
    }

    /// Type and data of VRRPv2 authentication; `None` for version 3, which has none.
    pub fn authentication(&self) -> Option<(AuthenticationType, &'a [u8; V2_AUTHENTICATION_LEN])> {
        self.authentication
    }

    /// Finds out how the checksum was made. `source` and `destination` are those of the IP packet.
    pub fn checksum(&self, source: IpAddr, destination: IpAddr) -> ChecksumSeen {
        let message = Sum::default().bytes(self.message);
        let with = |destination| {
            message.pseudo_header(source, destination, PROTOCOL_VRRP, self.message.len()).is_valid()
        };
        match (self.version, self.family) {
            (Version::V2, _) if message.is_valid() => ChecksumSeen::Right,
            (Version::V3, _) if with(destination) => ChecksumSeen::Right,
            (Version::V3, Family::V4) if message.is_valid() => ChecksumSeen::WithoutPseudoHeader,
            (Version::V3, Family::V4) if !destination.is_multicast() && with(MULTICAST_V4.into()) => {
                ChecksumSeen::OldUnicast
            }
            (Version::V2 | Version::V3, _) => ChecksumSeen::Wrong,
        }
    }
}

/// Accepts the exact length and Ethernet padding; names what is wrong with any other.
fn check_length(rest: &[u8], have: usize, expected: usize, carrier_len: usize) -> Result<(), Malformed> {
    if have < expected {
        return Err(Malformed::Truncated { have, need: expected });
    }
    if have == expected {
        return Ok(());
    }
    let missing = ETHERNET_MIN_PAYLOAD.checked_sub(carrier_len.saturating_add(have));
    if missing.is_some_and(|missing| missing.is_multiple_of(4)) {
        return Ok(());
    }
    match rest.get(expected - HEADER_LEN..) {
        Some(&[1, key_id, ..]) if have - expected == HMAC_TRAILER_LEN => {
            Err(Malformed::HmacTrailer { key_id })
        }
        _ => Err(Malformed::Length { have, expected }),
    }
}

const fn address_len(family: Family) -> usize {
    match family {
        Family::V4 => 4,
        Family::V6 => 16,
    }
}

const fn trailer_len(version: Version) -> usize {
    match version {
        Version::V2 => V2_AUTHENTICATION_LEN,
        Version::V3 => 0,
    }
}

fn address(family: Family, bytes: &[u8]) -> IpAddr {
    let exact = "the chunks are cut to the length of an address of this family";
    match family {
        Family::V4 => IpAddr::from(<[u8; 4]>::try_from(bytes).expect(exact)),
        Family::V6 => IpAddr::from(<[u8; 16]>::try_from(bytes).expect(exact)),
    }
}
