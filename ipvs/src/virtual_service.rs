use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::refusal::Reason;
use crate::scheduler::{Scheduler, SchedulerFlags};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    #[serde(rename = "IPv4")]
    V4,
    #[serde(rename = "IPv6")]
    V6,
}

impl Family {
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// Length of an address in bits.
    pub const fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// Transport protocols that IPVS balances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    /// The IP protocol number.
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }

    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            6 => Some(Self::Tcp),
            17 => Some(Self::Udp),
            132 => Some(Self::Sctp),
            _ => None,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        })
    }
}

/// A mark that the firewall has put on packets. Zero marks nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FwMark(NonZeroU32);

impl FwMark {
    pub const fn new(mark: u32) -> Option<Self> {
        match NonZeroU32::new(mark) {
            Some(mark) => Some(Self(mark)),
            None => None,
        }
    }

    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

/// What makes a virtual service the one it is: what clients address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceId {
    /// Port 0 takes every port. Without persistence the kernel accepts such a service, but no connection to it.
    Address { protocol: Protocol, address: IpAddr, port: u16 },
    /// Mark 1 of IPv4 and mark 1 of IPv6 are two services.
    FwMark { family: Family, mark: FwMark },
}

impl ServiceId {
    pub const fn family(&self) -> Family {
        match self {
            Self::Address { address, .. } => Family::of(*address),
            Self::FwMark { family, .. } => *family,
        }
    }
}

/// As `ipvsadm -Ln` writes it: `TCP 10.0.0.1:80`, `UDP [2001:db8::1]:53`, `FWM 7 IPv6`.
impl fmt::Display for ServiceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { protocol, address: IpAddr::V4(address), port } => {
                write!(f, "{protocol} {address}:{port}")
            }
            Self::Address { protocol, address: IpAddr::V6(address), port } => {
                write!(f, "{protocol} [{address}]:{port}")
            }
            Self::FwMark { family: Family::V4, mark } => write!(f, "FWM {}", mark.get()),
            Self::FwMark { family: Family::V6, mark } => write!(f, "FWM {} IPv6", mark.get()),
        }
    }
}

/// One virtual service without its real servers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtualService {
    pub id: ServiceId,
    /// `None` accepts no new connection (ipvsadm's scheduler `none`).
    pub scheduler: Option<Scheduler>,
    pub flags: SchedulerFlags,
    pub persistence: Option<Persistence>,
    /// Every datagram is scheduled by itself and leaves no connection behind (UDP only).
    pub one_packet: bool,
    /// For servers by [`Forwarding::FullNat`](crate::Forwarding::FullNat).
    #[serde(default, skip_serializing_if = "LocalAddresses::is_empty")]
    pub local_addresses: LocalAddresses,
}

impl VirtualService {
    /// A service without persistence and flags.
    pub const fn new(id: ServiceId, scheduler: Scheduler) -> Self {
        Self {
            id,
            scheduler: Some(scheduler),
            flags: SchedulerFlags::NONE,
            persistence: None,
            one_packet: false,
            local_addresses: LocalAddresses::NONE,
        }
    }
}

impl VirtualService {
    /// Why no plane can have such a service. The kernel would take some of it for something else without a word.
    pub(crate) fn objection(&self) -> Option<Reason> {
        let persistence = self.persistence.as_ref()?;
        let family = self.id.family();
        let least = match family {
            Family::V4 => 0,
            Family::V6 => 1,
        };
        let timeout = persistence.timeout;
        if timeout.is_zero() || timeout > Persistence::MAX_TIMEOUT || timeout.subsec_nanos() != 0 {
            Some(Reason::PersistenceTimeout)
        } else if (least..=family.bits()).contains(&persistence.prefix_len) {
            None
        } else {
            Some(Reason::PersistencePrefix { family, len: persistence.prefix_len })
        }
    }
}

/// Connections of one client (or client network) go to one real server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Persistence {
    /// How long a client is remembered after its last connection; whole seconds from 1 to
    /// [`Persistence::MAX_TIMEOUT`].
    pub timeout: Duration,
    /// Clients that agree in so many leading bits of their address are taken for one; 32 or 128 keeps all apart.
    /// IPv6 takes at least 1.
    pub prefix_len: u8,
    /// Looks into the payload for what keeps clients apart.
    pub engine: Option<PersistenceEngine>,
}

impl Persistence {
    /// The kernel counts in 32 bits of clock ticks, of which there are up to 1000 in a second, and wraps.
    pub const MAX_TIMEOUT: Duration = Duration::from_secs(u32::MAX as u64 / 1000);
}

/// A persistence engine by the kernel's name for it (`sip` is the only one in the kernel's own tree).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PersistenceEngine(Arc<str>);

impl PersistenceEngine {
    /// The longest name that the kernel takes, in bytes.
    pub const MAX_LEN: usize = 16;

    /// `None` for a name that is empty, too long for the kernel, or has a NUL in it.
    pub fn new(name: &str) -> Option<Self> {
        let fits = !name.is_empty() && name.len() <= Self::MAX_LEN && !name.contains('\0');
        fits.then(|| Self(name.into()))
    }

    pub fn name(&self) -> &str {
        &self.0
    }
}

/// Addresses of the director that stand for clients towards servers by full NAT, in the order in which they take turns;
/// each once. A server is reached from those of its own family.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<IpAddr>", into = "Vec<IpAddr>")]
pub struct LocalAddresses(Option<Arc<[IpAddr]>>);

impl LocalAddresses {
    pub const NONE: Self = Self(None);

    pub const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub fn as_slice(&self) -> &[IpAddr] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl FromIterator<IpAddr> for LocalAddresses {
    fn from_iter<I: IntoIterator<Item = IpAddr>>(addresses: I) -> Self {
        let mut known = BTreeSet::new();
        let each_once: Vec<_> = addresses.into_iter().filter(|address| known.insert(*address)).collect();
        Self((!each_once.is_empty()).then(|| each_once.into()))
    }
}

impl From<Vec<IpAddr>> for LocalAddresses {
    fn from(addresses: Vec<IpAddr>) -> Self {
        addresses.into_iter().collect()
    }
}

impl From<LocalAddresses> for Vec<IpAddr> {
    fn from(addresses: LocalAddresses) -> Self {
        addresses.as_slice().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_written_as_ipvsadm_writes_them() {
        let service = |protocol, address: &str, port| ServiceId::Address {
            protocol,
            address: address.parse().expect("an address"),
            port,
        };
        assert_eq!(service(Protocol::Tcp, "10.0.0.1", 80).to_string(), "TCP 10.0.0.1:80");
        assert_eq!(service(Protocol::Sctp, "2001:db8::1", 0).to_string(), "SCTP [2001:db8::1]:0");
        let mark = FwMark::new(7).expect("not zero");
        assert_eq!(ServiceId::FwMark { family: Family::V4, mark }.to_string(), "FWM 7");
        assert_eq!(ServiceId::FwMark { family: Family::V6, mark }.to_string(), "FWM 7 IPv6");
    }

    #[test]
    fn local_addresses_keep_their_order_and_are_there_once() {
        let addresses: Vec<IpAddr> = ["10.0.0.9", "2001:db8::9", "10.0.0.8", "10.0.0.9"]
            .map(|address| address.parse().expect("an address"))
            .into();
        let local: LocalAddresses = addresses.iter().copied().collect();
        assert_eq!(local.as_slice(), &addresses[..3]);
        assert_eq!(LocalAddresses::from_iter([]), LocalAddresses::NONE);
        assert!(LocalAddresses::NONE.is_empty() && !local.is_empty());
    }

    #[test]
    fn what_the_kernel_could_not_take_cannot_be_made() {
        assert_eq!(FwMark::new(0), None);
        assert_eq!(PersistenceEngine::new(""), None);
        assert_eq!(PersistenceEngine::new("seventeen-letters"), None);
        assert_eq!(PersistenceEngine::new("s\0p"), None);
        assert_eq!(
            PersistenceEngine::new("sip").map(|engine| engine.name().to_owned()),
            Some("sip".to_owned())
        );
    }
}
