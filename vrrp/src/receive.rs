//! From a received packet to an advertisement that the election may use, or to the reason why not.
//!
//! Whether bytes are an advertisement is [`crate::AdvertisementView`]'s to say; here they are held against one
//! virtual router: right sender, right hop limit, right version, authentication, interval and checksum. The order
//! of the checks is keepalived's.

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use serde::Serialize;
use thiserror::Error;

use crate::advertisement::{AdvertisementView, AuthenticationType, ChecksumSeen, Malformed};
use crate::authentication_header::{AUTHENTICATION_HEADER_LEN, AuthenticationKey, Unauthenticated};
use crate::identity::{Family, Priority, Version, Vrid};
use crate::packet::PROTOCOL_AH;
use crate::settings::{Authentication, ChecksumForm, OldUnicastChecksum, RouterSettings, Transport, Unicast};
use crate::socket::Received;
use crate::virtual_router::Heard;

/// The virtual router that a packet is addressed to, before anything else is known about it.
pub fn vrid_of(packet: &Received<'_>) -> Option<Vrid> {
    let (pdu, _) = unverified_pdu(packet);
    pdu.get(1).copied().and_then(Vrid::new)
}

fn has_authentication_header(packet: &Received<'_>) -> bool {
    packet.ipv4.is_some_and(|view| view.protocol() == PROTOCOL_AH)
}

/// The advertisement, unverified, and the bytes of the packet ahead of it.
fn unverified_pdu<'a>(packet: &Received<'a>) -> (&'a [u8], usize) {
    if has_authentication_header(packet) {
        let pdu = packet.pdu.get(AUTHENTICATION_HEADER_LEN..).unwrap_or_default();
        (pdu, packet.carrier_len + AUTHENTICATION_HEADER_LEN)
    } else {
        (packet.pdu, packet.carrier_len)
    }
}

/// Why a packet is not used. What a peer does wrong, with its data.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Discard {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("no virtual router {0} here")]
    UnknownVrid(Vrid),
    #[error("our own packet came back")]
    OwnPacket,
    #[error("TTL {0}, it has to be 255: the packet was routed")]
    TtlNot255(u8),
    #[error("TTL {ttl} is outside {min}..={max}, the bounds of this peer")]
    TtlOutOfBounds { ttl: u8, min: u8, max: u8 },
    #[error("sender is no unicast peer of ours")]
    UnknownPeer,
    #[error("version {theirs}, ours is {ours}")]
    VersionMismatch { ours: Version, theirs: Version },
    #[error("authentication header, but we use none")]
    UnexpectedAuthenticationHeader,
    #[error("no authentication header, but we demand one")]
    MissingAuthenticationHeader,
    #[error(transparent)]
    Unauthenticated(#[from] Unauthenticated),
    #[error("authentication header with sequence number {sequence}, {last} was seen before")]
    Replay { sequence: u32, last: u32 },
    #[error("authentication type {0} is not known")]
    UnknownAuthenticationType(u8),
    #[error("authentication type {theirs}, ours is {ours}")]
    AuthenticationTypeMismatch { ours: u8, theirs: u8 },
    #[error("wrong password")]
    WrongPassword,
    #[error("advertisement interval {theirs:?}, ours is {ours:?}")]
    IntervalMismatch { ours: Duration, theirs: Duration },
    #[error("wrong checksum")]
    WrongChecksum,
    #[error("sent to {0}, which is not where we listen")]
    WrongDestination(IpAddr),
    #[error("an address owner ignores advertisements")]
    OwnerIgnores,
}

/// The kind of a [`Discard`] or remark, for counting and for warning once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Reason {
    Malformed,
    Version,
    UnknownVrid,
    OwnPacket,
    Ttl,
    UnknownPeer,
    AuthenticationType,
    Authentication,
    Interval,
    Checksum,
    Destination,
    OwnerIgnores,
    /// Not a discard: the peer lists other addresses.
    AddressList,
    /// Not a discard: a v3 peer advertises another interval, which is learnt.
    LearntInterval,
}

impl Reason {
    pub const COUNT: usize = 14;

    pub const ALL: [Self; Self::COUNT] = [
        Self::Malformed,
        Self::Version,
        Self::UnknownVrid,
        Self::OwnPacket,
        Self::Ttl,
        Self::UnknownPeer,
        Self::AuthenticationType,
        Self::Authentication,
        Self::Interval,
        Self::Checksum,
        Self::Destination,
        Self::OwnerIgnores,
        Self::AddressList,
        Self::LearntInterval,
    ];

    /// Name in statistics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Version => "version",
            Self::UnknownVrid => "unknown_vrid",
            Self::OwnPacket => "own_packet",
            Self::Ttl => "ttl",
            Self::UnknownPeer => "unknown_peer",
            Self::AuthenticationType => "authentication_type",
            Self::Authentication => "authentication",
            Self::Interval => "interval",
            Self::Checksum => "checksum",
            Self::Destination => "destination",
            Self::OwnerIgnores => "owner_ignores",
            Self::AddressList => "address_list",
            Self::LearntInterval => "learnt_interval",
        }
    }
}

impl Discard {
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Malformed(Malformed::Version(_)) | Self::VersionMismatch { .. } => Reason::Version,
            Self::Malformed(_) => Reason::Malformed,
            Self::UnknownVrid(_) => Reason::UnknownVrid,
            Self::OwnPacket => Reason::OwnPacket,
            Self::TtlNot255(_) | Self::TtlOutOfBounds { .. } => Reason::Ttl,
            Self::UnknownPeer => Reason::UnknownPeer,
            Self::UnexpectedAuthenticationHeader
            | Self::MissingAuthenticationHeader
            | Self::UnknownAuthenticationType(_)
            | Self::AuthenticationTypeMismatch { .. } => Reason::AuthenticationType,
            Self::Unauthenticated(_) | Self::Replay { .. } | Self::WrongPassword => Reason::Authentication,
            Self::IntervalMismatch { .. } => Reason::Interval,
            Self::WrongChecksum => Reason::Checksum,
            Self::WrongDestination(_) => Reason::Destination,
            Self::OwnerIgnores => Reason::OwnerIgnores,
        }
    }
}

/// An advertisement for the election, with what is odd about it all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    pub heard: Heard,
    /// The sender made its checksum as old keepalived releases do: answer likewise.
    pub old_unicast_checksum: bool,
    /// The sender lists other addresses than we do.
    pub other_addresses: bool,
    /// v3: the sender's interval is not ours.
    pub other_interval: bool,
}

/// The receiving side of one virtual router: its counters, and what has been complained about already.
#[derive(Clone, Debug)]
pub struct Receiver {
    key: Option<AuthenticationKey>,
    /// Last accepted sender and its sequence number (authentication header).
    sequence: Option<(IpAddr, u32)>,
    counters: [u64; Reason::COUNT],
    complaints: Vec<Complaints>,
}

/// When each reason was last seen with one sender.
#[derive(Clone, Copy, Debug)]
struct Complaints {
    /// `None` stands for everybody beyond the first [`SENDERS`].
    sender: Option<IpAddr>,
    seen: [Option<Instant>; Reason::COUNT],
}

/// Senders that are complained about separately. Source addresses can be forged, the log must not grow with them.
const SENDERS: usize = 8;
/// What comes back after so long is news again.
const EPISODE: Duration = Duration::from_secs(600);

impl Receiver {
    pub fn new(settings: &RouterSettings) -> Self {
        let key = match &settings.authentication {
            Authentication::AuthenticationHeader(password) => Some(AuthenticationKey::new(password)),
            Authentication::None | Authentication::Password(_) => None,
        };
        Self { key, sequence: None, counters: [0; Reason::COUNT], complaints: Vec::new() }
    }

    /// New settings for the same router; the counters stay.
    pub fn update(&mut self, settings: &RouterSettings) {
        self.key = Self::new(settings).key;
        self.complaints.clear();
    }

    /// How often each reason occurred.
    pub fn counters(&self) -> &[u64; Reason::COUNT] {
        &self.counters
    }

    pub fn clear_counters(&mut self) {
        self.counters = [0; Reason::COUNT];
    }

    /// Counts a reason. `true` the first time for this sender since the state changed or since it has been gone for
    /// a while: then it is worth a line.
    pub fn complain(&mut self, sender: IpAddr, reason: Reason, now: Instant) -> bool {
        if let Some(counter) = self.counters.get_mut(reason as usize) {
            *counter += 1;
        }
        let seen = self.complaints_of(sender).and_then(|complaints| complaints.get_mut(reason as usize));
        let before = seen.and_then(|seen| seen.replace(now));
        before.is_none_or(|before| now.saturating_duration_since(before) > EPISODE)
    }

    fn complaints_of(&mut self, sender: IpAddr) -> Option<&mut [Option<Instant>; Reason::COUNT]> {
        let of = |complaints: &[Complaints], sender| complaints.iter().position(|c| c.sender == sender);
        let at = of(&self.complaints, Some(sender)).unwrap_or_else(|| {
            let sender = (self.complaints.len() < SENDERS).then_some(sender);
            of(&self.complaints, sender).unwrap_or_else(|| {
                self.complaints.push(Complaints { sender, seen: [None; Reason::COUNT] });
                self.complaints.len() - 1
            })
        });
        self.complaints.get_mut(at).map(|complaints| &mut complaints.seen)
    }

    /// The router changed state: old complaints may be news again, and a peer that restarted may count anew.
    pub fn state_changed(&mut self) {
        self.complaints.clear();
        self.sequence = None;
    }

    /// Holds a packet against the router. `source` is the address we send from, `known_master` the sender whose
    /// address list need not be compared again under `skip_check_adv_addr`.
    pub fn accept(
        &mut self,
        settings: &RouterSettings,
        source: Option<IpAddr>,
        known_master: Option<IpAddr>,
        packet: &Received<'_>,
    ) -> Result<Accepted, Discard> {
        let from = packet.source;
        if source == Some(from) {
            return Err(Discard::OwnPacket);
        }
        let (pdu, carrier_len) = self.authenticated_pdu(packet)?;
        let view = AdvertisementView::parse(pdu, Family::of(packet.source), carrier_len)?;
        check_ttl(settings, packet)?;
        if view.version() != settings.version {
            return Err(Discard::VersionMismatch { ours: settings.version, theirs: view.version() });
        }
        check_authentication(settings, &view)?;
        if view.version() == Version::V2 && view.interval() != settings.advert_interval {
            let (ours, theirs) = (settings.advert_interval, view.interval());
            return Err(Discard::IntervalMismatch { ours, theirs });
        }
        let old_unicast_checksum = check_checksum(settings, &view, packet)?;
        check_destination(settings, packet)?;
        if settings.priority == Priority::OWNER && (settings.owner_ignore_adverts || settings.strict) {
            return Err(Discard::OwnerIgnores);
        }
        let compare = !(settings.skip_check_adv_addr && known_master == Some(from));
        Ok(Accepted {
            heard: Heard { from, priority: view.priority(), interval: view.interval() },
            old_unicast_checksum,
            other_addresses: compare && !same_addresses(settings, &view),
            other_interval: view.interval() != settings.advert_interval,
        })
    }

    fn authenticated_pdu<'a>(&mut self, packet: &Received<'a>) -> Result<(&'a [u8], usize), Discard> {
        match (&self.key, packet.ipv4) {
            (Some(key), Some(view)) if has_authentication_header(packet) => {
                let authenticated = key.verify(&view)?;
                let (from, sequence) = (packet.source, authenticated.sequence);
                if let Some((sender, last)) = self.sequence
                    && sender == from
                    && sequence <= last
                {
                    return Err(Discard::Replay { sequence, last });
                }
                self.sequence = Some((from, sequence));
                Ok((authenticated.pdu, authenticated.carrier_len))
            }
            (Some(_), _) => Err(Discard::MissingAuthenticationHeader),
            (None, _) if has_authentication_header(packet) => Err(Discard::UnexpectedAuthenticationHeader),
            (None, _) => Ok(unverified_pdu(packet)),
        }
    }
}

fn check_ttl(settings: &RouterSettings, packet: &Received<'_>) -> Result<(), Discard> {
    let (from, ttl) = (packet.source, packet.hop_limit);
    match &settings.transport {
        // RFC 9568 §5.1.1.3: a packet with another TTL has passed a router.
        Transport::Multicast { .. } if ttl != 255 => Err(Discard::TtlNot255(ttl)),
        Transport::Multicast { .. } => Ok(()),
        Transport::Unicast(Unicast { check_source: false, .. }) => Ok(()),
        Transport::Unicast(unicast) => {
            let peer = unicast.peers.iter().find(|p| p.address == from).ok_or(Discard::UnknownPeer)?;
            if (peer.min_ttl..=peer.max_ttl).contains(&ttl) {
                Ok(())
            } else {
                Err(Discard::TtlOutOfBounds { ttl, min: peer.min_ttl, max: peer.max_ttl })
            }
        }
    }
}

fn check_authentication(settings: &RouterSettings, view: &AdvertisementView<'_>) -> Result<(), Discard> {
    let Some((theirs, data)) = view.authentication() else { return Ok(()) };
    let ours = match &settings.authentication {
        Authentication::None => AuthenticationType::None,
        Authentication::Password(_) => AuthenticationType::Password,
        Authentication::AuthenticationHeader(_) => AuthenticationType::AuthenticationHeader,
    };
    if let AuthenticationType::Other(number) = theirs {
        return Err(Discard::UnknownAuthenticationType(number));
    }
    if theirs != ours {
        return Err(Discard::AuthenticationTypeMismatch { ours: ours.number(), theirs: theirs.number() });
    }
    match &settings.authentication {
        Authentication::Password(password) if !equal_in_constant_time(password, data) => {
            Err(Discard::WrongPassword)
        }
        Authentication::None | Authentication::Password(_) | Authentication::AuthenticationHeader(_) => {
            Ok(())
        }
    }
}

fn equal_in_constant_time(a: &[u8; 8], b: &[u8; 8]) -> bool {
    a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

/// Whether the sender uses the checksum of old keepalived releases.
fn check_checksum(
    settings: &RouterSettings,
    view: &AdvertisementView<'_>,
    packet: &Received<'_>,
) -> Result<bool, Discard> {
    let anything_goes = settings.checksum == ChecksumForm::AsV2
        && settings.version == Version::V3
        && settings.family == Family::V4;
    match view.checksum(packet.source, packet.destination) {
        ChecksumSeen::Right => Ok(false),
        _ if anything_goes => Ok(false),
        ChecksumSeen::OldUnicast if settings.old_unicast_checksum != OldUnicastChecksum::Never => Ok(true),
        ChecksumSeen::OldUnicast | ChecksumSeen::WithoutPseudoHeader | ChecksumSeen::Wrong => {
            Err(Discard::WrongChecksum)
        }
    }
}

fn check_destination(settings: &RouterSettings, packet: &Received<'_>) -> Result<(), Discard> {
    let to = packet.destination;
    let right = match &settings.transport {
        Transport::Multicast { group } => to == *group,
        Transport::Unicast(_) => !to.is_multicast(),
    };
    if right { Ok(()) } else { Err(Discard::WrongDestination(to)) }
}

/// The lists have to hold the same addresses; their order is free.
fn same_addresses(settings: &RouterSettings, view: &AdvertisementView<'_>) -> bool {
    let ours = &settings.advertised;
    if view.addresses().len() != ours.len() {
        return false;
    }
    // In order is the rule, and costs nothing.
    view.addresses().eq(ours.iter().copied()) || view.addresses().all(|a| ours.contains(&a))
}
