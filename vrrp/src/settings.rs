//! What a virtual router has to know to take part in an election. All values are resolved: defaults
//! applied, global settings folded in, units converted. The daemon's `config` builds these.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::identity::{Family, Priority, Version, Vrid};

/// One virtual router (a `vrrp_instance` in keepalived's words).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RouterSettings {
    /// Name in reports. Not part of the identity on the wire.
    pub name: Arc<str>,
    pub vrid: Vrid,
    pub family: Family,
    pub version: Version,
    /// Base priority, before trackers.
    pub priority: Priority,
    /// `state MASTER` or `BACKUP`: a hint for the first wait, see [`StartState`].
    pub start: StartState,
    /// Interval between our advertisements while master. v2: whole seconds; v3: 10 ms steps up to
    /// 40.95 s.
    pub advert_interval: Duration,
    pub preempt: Preempt,
    /// Missed advertisements before a master is declared dead (3; 1..=100).
    pub down_timer_adverts: u8,
    /// Addresses listed in the advertisement, in order.
    pub advertised: Vec<IpAddr>,
    pub transport: Transport,
    pub authentication: Authentication,
    /// How the checksum of v3 over IPv4 is made and checked.
    pub checksum: ChecksumForm,
    /// Compatibility with the wrong v3 unicast checksum of old keepalived releases.
    pub old_unicast_checksum: OldUnicastChecksum,
    /// RFC rules without keepalived's liberties (`strict_mode`).
    pub strict: bool,
    /// Skip comparing the advertised address list when the sender is the known master.
    pub skip_check_adv_addr: bool,
    /// As master, do not answer an advertisement of lower priority.
    pub lower_prio_no_advert: bool,
    /// As master, send one last advertisement before yielding to a higher priority.
    pub higher_prio_send_advert: bool,
    /// An owner ignores every advertisement.
    pub owner_ignore_adverts: bool,
    /// With `nopreempt`: a master whose own advertisement is so late that a peer of this priority must have
    /// taken over steps down.
    pub timer_expired_backup: Option<Priority>,
    pub garp: GarpSchedule,
    /// Kernel lifetime of the virtual addresses; `None` installs them for ever (`vip_lease 0`).
    pub vip_lease: Option<Duration>,
    /// Keep the addresses until a successor has announced them or a bound has passed, at an orderly stop and when a
    /// higher priority takes over.
    pub make_before_break: bool,
    /// The address that is announced last: a successor whose claim to it is heard has announced them all. `None`
    /// where claims cannot tell a successor: on a virtual MAC interface its frames look like ours.
    pub last_announced: Option<IpAddr>,
}

/// What `state` asks for at start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum StartState {
    Master,
    Backup,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Preempt {
    /// A higher priority takes over from a living lower one.
    Yes,
    /// `nopreempt`.
    No,
    /// `preempt_delay`: a lower priority master is tolerated for so long.
    After(Duration),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Transport {
    Multicast { group: IpAddr },
    Unicast(Unicast),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unicast {
    pub peers: Vec<UnicastPeer>,
    /// TTL or hop limit of what we send (255).
    pub ttl: u8,
    /// Drop advertisements whose sender is not a peer, or whose TTL is outside the peer's bounds.
    pub check_source: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct UnicastPeer {
    pub address: IpAddr,
    /// Accepted TTL bounds, inclusive (0..=255 when not configured).
    pub min_ttl: u8,
    pub max_ttl: u8,
}

/// VRRPv2 authentication (RFC 2338 §5.3.6; removed by RFC 3768, still in wide use).
#[derive(Clone, PartialEq, Eq, Serialize)]
pub enum Authentication {
    None,
    /// Type 1: up to 8 bytes in clear, zero padded.
    Password(#[serde(skip)] [u8; 8]),
    /// Type 2: IPsec AH with HMAC-MD5-96; the key is the password.
    AuthenticationHeader(#[serde(skip)] [u8; 8]),
}

impl std::fmt::Debug for Authentication {
    /// Names the kind and keeps the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Password(_) => "Password(..)",
            Self::AuthenticationHeader(_) => "AuthenticationHeader(..)",
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum ChecksumForm {
    /// With the pseudo header (RFC 9568 §5.2.8).
    PseudoHeader,
    /// VRRP message alone (`v3_checksum_as_v2`); any checksum is accepted on receipt.
    AsV2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum OldUnicastChecksum {
    /// Switch over when an old peer is heard.
    Automatic,
    Always,
    Never,
}

/// When and how often addresses are announced by gratuitous ARP or unsolicited NA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct GarpSchedule {
    /// Frames per address in the burst at the change to master and in the second burst (5).
    pub repeat: u32,
    /// Time to the second burst; zero for none (5 s).
    pub delay: Duration,
    /// Period of the refresh while master; zero for none (0).
    pub refresh: Duration,
    /// Frames per address in a refresh (1).
    pub refresh_repeat: u32,
    /// Frames per address after hearing a lower priority master; zero for none.
    pub lower_prio_repeat: u32,
    /// Time to the second burst after hearing a lower priority master.
    pub lower_prio_delay: Duration,
}

/// Virtual routers that change state together (`vrrp_sync_group`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupSettings {
    pub name: Arc<str>,
    /// Names of the members, in configured order.
    pub members: Vec<Arc<str>>,
    /// Weighted trackers keep their effect on members (`sync_group_tracking_weight`).
    pub tracking_weight: bool,
}
