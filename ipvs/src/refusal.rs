use std::net::IpAddr;

use serde::{Serialize, Serializer};
use thiserror::Error;

use crate::plane::SyncRole;
use crate::scheduler::Scheduler;
use crate::virtual_service::{Family, Persistence, PersistenceEngine};

/// One change that the plane would not make.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize)]
#[error("cannot {what}: {reason}")]
pub struct Refusal {
    /// Place in the list of changes.
    pub index: usize,
    /// The change in words.
    pub what: String,
    pub reason: Reason,
}

/// Why a plane would not do what it was told, with what to do about it where that is known. Serialized as its words.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Reason {
    #[error("it is there already")]
    Exists,
    #[error("there is no such virtual service")]
    NoService,
    #[error("the virtual service has no such real server")]
    NoServer,
    #[error("no scheduler `{0}` in this kernel: module ip_vs_{0} is missing")]
    NoScheduler(Scheduler),
    #[error(
        "only Buoy's own engine has scheduler `{0}`: use `{instead}`, or have the engine forward",
        instead = .0.nearest_in_kernel()
    )]
    EngineOnly(Scheduler),
    #[error(
        "only Buoy's own engine has the forwarding method `fullnat`: use `masquerade`, or have the engine forward"
    )]
    FullNat,
    #[error(
        "only Buoy's own engine has local addresses, for the forwarding method `fullnat`: leave them out, or have the \
         engine forward"
    )]
    LocalAddresses,
    #[error("no persistence engine `{name}` in this kernel: module ip_vs_pe_{name} is missing", name = .0.name())]
    NoEngine(PersistenceEngine),
    #[error(
        "Buoy's own engine has no persistence engine `{name}`: leave it out, or have the kernel forward",
        name = .0.name()
    )]
    KernelOnly(PersistenceEngine),
    /// The kernel does not say which of the two.
    #[error(
        "no scheduler `{0}` or no persistence engine `{engine}` in this kernel: module ip_vs_{0} or \
         ip_vs_pe_{engine} is missing",
        engine = .1.name()
    )]
    NoSchedulerOrEngine(Scheduler, PersistenceEngine),
    #[error(
        "this kernel balances no {0}: enable it (ipv6.disable=0, CONFIG_IP_VS_IPV6) or remove the service"
    )]
    NoFamily(Family),
    #[error("the persistence timeout has to be whole seconds from 1 to {}", Persistence::MAX_TIMEOUT.as_secs())]
    PersistenceTimeout,
    #[error("a persistence prefix of {len} bits is none of {family}")]
    PersistencePrefix { family: Family, len: u8 },
    #[error("the lower threshold {lower} is above the upper threshold {upper}")]
    Thresholds { lower: u32, upper: u32 },
    #[error("the upper threshold {0} is above {max}", max = i32::MAX)]
    UpperThreshold(u32),
    #[error(
        "only a tunnel reaches a real server of the other address family: use the forwarding method `tunnel`"
    )]
    MixedFamily,
    #[error(
        "connection sync and real servers of the other address family exclude each other: give up one of them"
    )]
    SyncWithMixedFamily,
    #[error("{0} is not the address of a host that packets can be sent to")]
    NotUnicast(IpAddr),
    #[error("a GUE tunnel needs a port other than 0")]
    NoTunnelPort,
    #[error("GRE knows no remote checksum offload: use a full checksum or none")]
    RemoteChecksumOfGre,
    #[error("scheduler mh has fewer places than the service has real servers")]
    TooManyServers,
    #[error("a timeout has to be whole seconds, at least 1, that fit 31 bits of the kernel's clock ticks")]
    Timeout,
    #[error("a {0} daemon runs already: stop it first")]
    SyncRuns(SyncRole),
    #[error("no {0} daemon runs")]
    NoSync(SyncRole),
    #[error("there is no interface `{0}`")]
    NoInterface(String),
    #[error("{0} is not a multicast group")]
    NotMulticast(IpAddr),
    #[error(
        "interface {0} cannot send to the multicast group: it needs to be up, with an address of that family"
    )]
    NoWayToGroup(String),
    /// An interface name that no interface can have.
    #[error("`{0}` cannot be the name of an interface: 1 to 15 bytes without NUL")]
    InterfaceName(String),
    /// The plane's own words.
    #[error("{0}")]
    Other(String),
}

impl Reason {
    /// Whether the plane does not hold what the change supposed. Another [snapshot](crate::Plane::snapshot) tells what
    /// it does hold.
    pub const fn is_drift(&self) -> bool {
        matches!(self, Self::Exists | Self::NoService | Self::NoServer | Self::SyncRuns(_) | Self::NoSync(_))
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
