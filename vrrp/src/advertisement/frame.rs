use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use thiserror::Error;

use super::{AuthenticationType, HEADER_LEN, KIND_ADVERTISEMENT, MULTICAST_V4, address_len, trailer_len};
use crate::authentication_header::{self, AUTHENTICATION_HEADER_LEN, AuthenticationKey};
use crate::checksum::Sum;
use crate::identity::{Family, Priority, Version};
use crate::packet::{Outgoing, PROTOCOL_AH, PROTOCOL_VRRP};
use crate::settings::{Authentication, ChecksumForm, OldUnicastChecksum, RouterSettings, Transport};

const IPV4_HEADER_LEN: usize = 20;
const IPV6_HEADER_LEN: usize = 40;
/// DSCP CS6, Internetwork Control.
const TRAFFIC_CLASS: u8 = 0xc0;
const MULTICAST_HOPS: u8 = 255;
const PRIORITY_AT: usize = 2;
const CHECKSUM_AT: usize = 6;

/// A whole IP packet with one router's advertisement, made once for a source and a destination and patched
/// from then on: sending allocates nothing.
///
/// It is meant for a socket with `IP_HDRINCL` or `IPV6_HDRINCL`. The kernel fills in the IPv4 checksum, and
/// the identification where that is zero.
#[derive(Clone, Debug)]
pub struct AdvertisementFrame {
    packet: Vec<u8>,
    message_at: usize,
    source: IpAddr,
    destination: IpAddr,
    checksum: Checksum,
    /// Over the message with priority and checksum as zero, and over the pseudo header if there is one.
    sum: Sum,
    signer: Option<Signer>,
}

/// What the checksum covers besides the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Checksum {
    Message,
    PseudoHeader,
    OldUnicast,
}

#[derive(Clone, Debug)]
struct Signer {
    key: AuthenticationKey,
    sequence: u32,
}

/// Why settings cannot be put on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unencodable {
    #[error("VRRP version 2 does not exist over IPv6")]
    Version2OverIpv6,
    #[error("{address} is not an {family} address")]
    Family { address: IpAddr, family: Family },
    #[error("{0} addresses, an advertisement lists at most 255")]
    TooManyAddresses(usize),
}

impl AdvertisementFrame {
    /// An advertisement of `settings` with its base priority. Intervals beyond the range of the version
    /// saturate.
    pub fn new(settings: &RouterSettings, source: IpAddr, destination: IpAddr) -> Result<Self, Unencodable> {
        let message = message(settings)?;
        let signer = match (&settings.authentication, settings.version) {
            (Authentication::AuthenticationHeader(password), Version::V2) => {
                Some(Signer { key: AuthenticationKey::new(password), sequence: 0 })
            }
            _ => None,
        };
        let hops = match &settings.transport {
            Transport::Multicast { .. } => MULTICAST_HOPS,
            Transport::Unicast(unicast) => unicast.ttl,
        };
        let mut packet = match (source, destination, settings.family) {
            (IpAddr::V4(s), IpAddr::V4(d), Family::V4) => ipv4(s, d, hops, message.len(), signer.is_some()),
            (IpAddr::V6(s), IpAddr::V6(d), Family::V6) => ipv6(s, d, hops, message.len()),
            _ => {
                let family = settings.family;
                let address = if Family::of(source) == family { destination } else { source };
                return Err(Unencodable::Family { address, family });
            }
        };
        let message_at = packet.len();
        packet.extend(message);
        let checksum = match (settings.version, settings.family) {
            (Version::V2, _) => Checksum::Message,
            (Version::V3, Family::V6) => Checksum::PseudoHeader,
            (Version::V3, Family::V4) => ipv4_checksum(settings),
        };
        let sum = Sum::default();
        let mut frame = Self { packet, message_at, source, destination, checksum, sum, signer };
        frame.sum = frame.sum_without_priority();
        frame.set_priority(settings.priority);
        Ok(frame)
    }

    pub fn destination(&self) -> IpAddr {
        self.destination
    }

    pub fn source(&self) -> IpAddr {
        self.source
    }

    pub fn priority(&self) -> Priority {
        Priority::new(self.packet[self.message_at + PRIORITY_AT])
    }

    /// Patches priority and checksum.
    pub fn set_priority(&mut self, priority: Priority) {
        let checksum = self.sum.word(u16::from(priority.get()) << 8).checksum();
        let message = &mut self.packet[self.message_at..];
        message[PRIORITY_AT] = priority.get();
        message[CHECKSUM_AT..HEADER_LEN].copy_from_slice(&checksum.to_be_bytes());
    }

    /// Goes over to the checksum that old keepalived releases make and check for unicast: an old peer was
    /// heard. Without effect on anything but version 3 over unicast IPv4.
    pub fn use_old_unicast_checksum(&mut self) {
        if self.checksum == Checksum::PseudoHeader && self.destination.is_ipv4() {
            self.checksum = Checksum::OldUnicast;
            let priority = self.priority();
            self.sum = self.sum_without_priority();
            self.set_priority(priority);
        }
    }

    /// Sequence number of the last authentication header; `None` without such a header.
    pub fn sequence(&self) -> Option<u32> {
        self.signer.as_ref().map(|s| s.sequence)
    }

    /// Continues or starts a sequence. Receivers refuse numbers that do not grow, and remember the last one
    /// across our restart (observed: keepalived then becomes a second master). Seconds of the wall clock are
    /// a good start, as version 2 sends about one packet a second.
    pub fn set_sequence(&mut self, sequence: u32) {
        if let Some(signer) = &mut self.signer {
            signer.sequence = sequence;
        }
    }

    /// The IP packet to send now, after [`AdvertisementFrame::advance`].
    pub fn next_packet(&mut self) -> Outgoing<'_> {
        self.advance();
        self.packet()
    }

    /// The IP packet as it stands.
    pub fn packet(&self) -> Outgoing<'_> {
        Outgoing { packet: &self.packet, destination: self.destination }
    }

    /// Readies the frame for sending once more: with an authentication header the sequence advances.
    pub fn advance(&mut self) {
        if let Some(signer) = &mut self.signer {
            signer.sequence = signer.sequence.wrapping_add(1);
            // Zero would have the kernel choose an identification, which the digest covers.
            let [_, _, high, low] = signer.sequence.to_be_bytes();
            let identification = u16::from_be_bytes([high, low]).max(1);
            self.packet[4..6].copy_from_slice(&identification.to_be_bytes());
            signer.key.sign(&mut self.packet, IPV4_HEADER_LEN, signer.sequence);
        }
    }

    fn sum_without_priority(&self) -> Sum {
        let message = &self.packet[self.message_at..];
        let sum = Sum::default()
            .bytes(&message[..PRIORITY_AT])
            .word(u16::from(message[PRIORITY_AT + 1]))
            .bytes(&message[PRIORITY_AT + 2..CHECKSUM_AT])
            .bytes(&message[HEADER_LEN..]);
        let with = |destination| sum.pseudo_header(self.source, destination, PROTOCOL_VRRP, message.len());
        match self.checksum {
            Checksum::Message => sum,
            Checksum::PseudoHeader => with(self.destination),
            Checksum::OldUnicast => with(MULTICAST_V4.into()),
        }
    }
}

fn ipv4_checksum(settings: &RouterSettings) -> Checksum {
    match (settings.checksum, &settings.transport, settings.old_unicast_checksum) {
        (ChecksumForm::AsV2, ..) => Checksum::Message,
        (_, Transport::Unicast(_), OldUnicastChecksum::Always) => Checksum::OldUnicast,
        _ => Checksum::PseudoHeader,
    }
}

fn message(settings: &RouterSettings) -> Result<Vec<u8>, Unencodable> {
    let RouterSettings { version, family, .. } = *settings;
    if (version, family) == (Version::V2, Family::V6) {
        return Err(Unencodable::Version2OverIpv6);
    }
    let listed = settings.advertised.len();
    let count = u8::try_from(listed).map_err(|_| Unencodable::TooManyAddresses(listed))?;
    let (auth_type, auth_data) = match settings.authentication {
        Authentication::None => (AuthenticationType::None, [0; 8]),
        Authentication::Password(password) => (AuthenticationType::Password, password),
        Authentication::AuthenticationHeader(_) => (AuthenticationType::AuthenticationHeader, [0; 8]),
    };
    let [fifth, sixth] = match version {
        Version::V2 => [auth_type.number(), seconds(settings.advert_interval)],
        Version::V3 => centiseconds(settings.advert_interval).to_be_bytes(),
    };
    let len = HEADER_LEN + listed * address_len(family) + trailer_len(version);
    let mut message = Vec::with_capacity(len);
    message.extend([version.number() << 4 | KIND_ADVERTISEMENT, settings.vrid.get()]);
    message.extend([settings.priority.get(), count, fifth, sixth, 0, 0]);
    for &address in &settings.advertised {
        match (address, family) {
            (IpAddr::V4(a), Family::V4) => message.extend(a.octets()),
            (IpAddr::V6(a), Family::V6) => message.extend(a.octets()),
            _ => return Err(Unencodable::Family { address, family }),
        }
    }
    if version == Version::V2 {
        message.extend(auth_data);
    }
    Ok(message)
}

/// 1..=255
fn seconds(interval: Duration) -> u8 {
    u8::try_from(interval.as_secs()).unwrap_or(u8::MAX).max(1)
}

/// 1..=4095, the 12 bits of RFC 9568 §5.2.7.
fn centiseconds(interval: Duration) -> u16 {
    u16::try_from(interval.as_millis() / 10).unwrap_or(u16::MAX).clamp(1, 0x0fff)
}

fn ipv4(source: Ipv4Addr, destination: Ipv4Addr, ttl: u8, message_len: usize, signed: bool) -> Vec<u8> {
    let (protocol, ah_len) =
        if signed { (PROTOCOL_AH, AUTHENTICATION_HEADER_LEN) } else { (PROTOCOL_VRRP, 0) };
    let total = IPV4_HEADER_LEN + ah_len + message_len;
    let [high, low] = u16::try_from(total).expect("255 IPv4 addresses make 1,080 bytes").to_be_bytes();
    let mut packet = Vec::with_capacity(total);
    packet.extend([0x45, TRAFFIC_CLASS, high, low, 0, 0, 0, 0, ttl, protocol, 0, 0]);
    packet.extend(source.octets());
    packet.extend(destination.octets());
    if signed {
        packet.extend(authentication_header::write_header(source.octets()));
    }
    packet
}

fn ipv6(source: Ipv6Addr, destination: Ipv6Addr, hop_limit: u8, message_len: usize) -> Vec<u8> {
    let [high, low] = u16::try_from(message_len).expect("255 IPv6 addresses make 4,088 bytes").to_be_bytes();
    let mut packet = Vec::with_capacity(IPV6_HEADER_LEN + message_len);
    packet.extend([0x60 | TRAFFIC_CLASS >> 4, TRAFFIC_CLASS << 4, 0, 0, high, low, PROTOCOL_VRRP, hop_limit]);
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet
}
