//! Just enough decoding to tell what a captured frame is. It is deliberately independent of the decoder in
//! the vrrp crate, which the captures are there to check.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mac(pub [u8; 6]);

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// What a kept frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    Advertisement(Advertisement),
    Announcement(Announcement),
    /// ARP or neighbour discovery that announces nothing, or a malformed VRRP packet.
    Other,
}

/// A VRRP advertisement (RFC 3768 §5.1, RFC 9568 §5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertisement {
    pub source_mac: Mac,
    pub source: IpAddr,
    pub destination: IpAddr,
    /// Inside an authentication header (RFC 4302).
    pub authenticated: bool,
    pub version: u8,
    pub vrid: u8,
    /// Zero when the master resigns.
    pub priority: u8,
    pub addresses: u8,
    /// Between two advertisements of the sender.
    pub interval: Duration,
}

impl Advertisement {
    /// How long a backup that would send this very advertisement waits beyond three intervals, or after its
    /// master has resigned (RFC 3768 §6.1, RFC 9568 §6.1).
    pub fn skew(&self) -> Duration {
        let unit = match self.version {
            2 => Duration::from_secs(1),
            _ => self.interval,
        };
        unit * (256 - u32::from(self.priority)) / 256
    }
}

/// A gratuitous ARP or an unsolicited neighbour advertisement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    pub address: IpAddr,
    /// The MAC address that the neighbours are told.
    pub mac: Mac,
}

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV6: u16 = 0x86dd;

const PROTOCOL_AH: u8 = 51;
const PROTOCOL_ICMPV6: u8 = 58;
const PROTOCOL_VRRP: u8 = 112;

/// `None` for frames that are not kept.
pub(super) fn decode(frame: &[u8]) -> Option<Message> {
    let source_mac = Mac(*frame.get(6..)?.first_chunk()?);
    let ethertype = u16::from_be_bytes(*frame.get(12..)?.first_chunk()?);
    let packet = frame.get(14..)?;
    match ethertype {
        ETHERTYPE_ARP => Some(gratuitous_arp(packet).map_or(Message::Other, Message::Announcement)),
        ETHERTYPE_IPV4 => ipv4(packet, source_mac),
        ETHERTYPE_IPV6 => ipv6(packet, source_mac),
        _ => None,
    }
}

/// RFC 826; announcing when sender and target protocol address are the same (RFC 5227 §3).
fn gratuitous_arp(packet: &[u8]) -> Option<Announcement> {
    let mac = Mac(*packet.get(8..)?.first_chunk()?);
    let sender = ipv4_address(packet, 14)?;
    (sender == ipv4_address(packet, 24)?).then_some(Announcement { address: sender, mac })
}

fn ipv4(packet: &[u8], source_mac: Mac) -> Option<Message> {
    let header_length = usize::from(packet.first()? & 0x0f) * 4;
    let (protocol, payload) = (*packet.get(9)?, packet.get(header_length..)?);
    let ends = || Some((ipv4_address(packet, 12)?, ipv4_address(packet, 16)?));
    match protocol {
        PROTOCOL_VRRP => Some(vrrp(payload, source_mac, ends(), false)),
        // Its length field counts words beyond the first two (RFC 4302 §2.2).
        PROTOCOL_AH if payload.first() == Some(&PROTOCOL_VRRP) => {
            let header_length = (usize::from(*payload.get(1)?) + 2) * 4;
            Some(vrrp(payload.get(header_length..)?, source_mac, ends(), true))
        }
        _ => None,
    }
}

fn ipv6(packet: &[u8], source_mac: Mac) -> Option<Message> {
    let (next_header, payload) = (*packet.get(6)?, packet.get(40..)?);
    let ends = || Some((ipv6_address(packet, 8)?, ipv6_address(packet, 24)?));
    match (next_header, payload.first()) {
        (PROTOCOL_VRRP, _) => Some(vrrp(payload, source_mac, ends(), false)),
        (PROTOCOL_ICMPV6, Some(136)) => {
            Some(unsolicited_advertisement(payload).map_or(Message::Other, Message::Announcement))
        }
        (PROTOCOL_ICMPV6, Some(135)) => Some(Message::Other),
        _ => None,
    }
}

/// RFC 4861 §4.4; the target link-layer address is option 2.
fn unsolicited_advertisement(payload: &[u8]) -> Option<Announcement> {
    const SOLICITED: u8 = 0x40;
    const TARGET_LINK_LAYER_ADDRESS: u8 = 2;
    if payload.get(4)? & SOLICITED != 0 {
        return None;
    }
    let address = ipv6_address(payload, 8)?;
    let mut options = payload.get(24..)?;
    while let [kind, words, ..] = *options {
        if kind == TARGET_LINK_LAYER_ADDRESS {
            return Some(Announcement { address, mac: Mac(*options.get(2..)?.first_chunk()?) });
        }
        // RFC 4861 §4.6: an option of length zero is malformed.
        options = options.get(usize::from(words).max(1) * 8..)?;
    }
    None
}

fn vrrp(payload: &[u8], source_mac: Mac, ends: Option<(IpAddr, IpAddr)>, authenticated: bool) -> Message {
    let (Some((source, destination)), [version_and_type, vrid, priority, addresses, high, low, ..]) =
        (ends, payload)
    else {
        return Message::Other;
    };
    let version = version_and_type >> 4;
    let interval = match version {
        2 => Duration::from_secs((*low).into()),
        _ => Duration::from_millis(10) * (u32::from(high & 0x0f) << 8 | u32::from(*low)),
    };
    Message::Advertisement(Advertisement {
        source_mac,
        source,
        destination,
        authenticated,
        version,
        vrid: *vrid,
        priority: *priority,
        addresses: *addresses,
        interval,
    })
}

fn ipv4_address(packet: &[u8], offset: usize) -> Option<IpAddr> {
    Some(Ipv4Addr::from(*packet.get(offset..)?.first_chunk::<4>()?).into())
}

fn ipv6_address(packet: &[u8], offset: usize) -> Option<IpAddr> {
    Some(Ipv6Addr::from(*packet.get(offset..)?.first_chunk::<16>()?).into())
}
