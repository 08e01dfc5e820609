//! VRRP: versions 2 (RFC 3768) and 3 (RFC 9568), IPv4 and IPv6.
//!
//! RFC 9568 calls the master the Active Router; here it is the master, as in keepalived and in every
//! operator's mouth.

mod action;
mod advertisement;
mod announce_pacer;
mod authentication_header;
mod checksum;
mod clock;
pub mod driver;
mod election;
mod gratuitous_arp;
mod identity;
mod packet;
mod receive;
mod settings;
mod socket;
mod sync_group;
mod timing;
mod tracking;
mod transition;
mod virtual_router;

pub use action::{Action, ContentionSign, RouterId};
pub use advertisement::{
    AdvertisementFrame, AdvertisementView, AuthenticationType, ChecksumSeen, MULTICAST_V4, MULTICAST_V6,
    Malformed, Unencodable,
};
pub use announce_pacer::{AnnouncePacer, Announcement, Gaps, Lane};
pub use authentication_header::{
    AUTHENTICATION_HEADER_LEN, Authenticated, AuthenticationKey, Unauthenticated,
};
pub use clock::Clock;
pub use election::Election;
pub use gratuitous_arp::{
    Claim, Forwarding, GRATUITOUS_ARP_LEN, UNSOLICITED_NA_LEN, gratuitous_arp, unsolicited_na,
};
pub use identity::{Family, Priority, Version, Vrid};
pub use packet::{Ipv4Malformed, Ipv4View, Outgoing, PROTOCOL_AH, PROTOCOL_VRRP};
pub use pnet::util::MacAddr;
pub use receive::{Accepted, Discard, Reason, Receiver, vrid_of};
pub use settings::{
    Authentication, ChecksumForm, GarpSchedule, GroupSettings, OldUnicastChecksum, Preempt, RouterSettings,
    StartState, Transport, Unicast, UnicastPeer,
};
pub use socket::{
    AnnounceSocket, Carrier, Drain, Interface, Listen, ReceiveBatch, ReceiveSocket, Received, SendSocket,
    SocketError, Step,
};
pub use sync_group::SyncGroup;
pub use timing::{master_down, skew};
pub use tracking::{Effect, Observation, Reading, Target, Tracker};
pub use transition::{Burden, Cause, FaultCause, PriorityCause, State, Subject, Transition};
pub use virtual_router::{Heard, KnownMaster, Statistics, VirtualRouter};
