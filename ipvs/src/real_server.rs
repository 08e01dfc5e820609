use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::refusal::Reason;
use crate::virtual_service::Family;

/// What makes a real server the one it is within its service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RealServerId {
    pub address: IpAddr,
    /// 0 keeps the port that the client addressed.
    pub port: u16,
}

impl fmt::Display for RealServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            IpAddr::V4(address) => write!(f, "{address}:{}", self.port),
            IpAddr::V6(address) => write!(f, "[{address}]:{}", self.port),
        }
    }
}

/// One real server of a virtual service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RealServer {
    pub id: RealServerId,
    pub forwarding: Forwarding,
    pub weight: Weight,
    /// From so many connections on the server gets no new ones; 0 for no limit.
    pub upper_threshold: u32,
    /// Below so many connections it gets new ones again, at most the upper threshold; 0 for three quarters of it.
    pub lower_threshold: u32,
}

impl RealServer {
    /// A server without thresholds.
    pub const fn new(id: RealServerId, forwarding: Forwarding, weight: Weight) -> Self {
        Self { id, forwarding, weight, upper_threshold: 0, lower_threshold: 0 }
    }

    /// Whether the forwarding method reaches this server from a service of `family`: only tunnels cross families.
    pub fn fits(&self, family: Family) -> bool {
        Family::of(self.id.address) == family || matches!(self.forwarding, Forwarding::Tunnel(_))
    }
}

impl RealServer {
    /// Why no plane can have such a server in a service of `family`. Some of it the kernel would take for something
    /// else without a word, some of it older kernels do.
    pub(crate) fn objection(&self, family: Family) -> Option<Reason> {
        if self.lower_threshold > self.upper_threshold {
            return Some(Reason::Thresholds { lower: self.lower_threshold, upper: self.upper_threshold });
        }
        if self.upper_threshold > i32::MAX.unsigned_abs() {
            return Some(Reason::UpperThreshold(self.upper_threshold));
        }
        match self.forwarding {
            Forwarding::Tunnel(Tunnel::Gue { port: 0, .. }) => Some(Reason::NoTunnelPort),
            Forwarding::Tunnel(Tunnel::Gre { checksum: TunnelChecksum::Remote }) => {
                Some(Reason::RemoteChecksumOfGre)
            }
            _ if !self.fits(family) => Some(Reason::MixedFamily),
            _ => None,
        }
    }
}

/// A share of new connections, relative to the other servers. Zero gets none and keeps those it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Weight(u32);

impl Weight {
    pub const ZERO: Self = Self(0);
    pub const ONE: Self = Self(1);
    /// The kernel keeps weights as signed numbers.
    pub const MAX: Self = Self(i32::MAX as u32);

    /// The nearest weight there is.
    pub fn clamped(weight: i64) -> Self {
        Self(u32::try_from(weight.max(0)).unwrap_or(u32::MAX).min(Self::MAX.0))
    }

    pub const fn get(self) -> u32 {
        self.0
    }

    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How packets get to a real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Forwarding {
    /// NAT: the destination is rewritten, and answers come back through the director.
    Masquerade,
    /// Direct routing: only the MAC address changes, and answers go straight to the client.
    Direct,
    /// Encapsulated; answers go straight to the client.
    Tunnel(Tunnel),
    /// The director itself. Packets go there by any method when the address is its own.
    Local,
    /// Past IPVS to the original destination (transparent caches).
    Bypass,
    /// NAT of both ends: the server sees one of the service's [`LocalAddresses`](crate::LocalAddresses) as the client,
    /// and answers come back from wherever it is. Of Buoy's own engine.
    #[serde(rename = "fullnat")]
    FullNat,
}

impl Forwarding {
    /// Whether what the server answers passes the director.
    pub(crate) const fn sees_answers(self) -> bool {
        matches!(self, Self::Masquerade | Self::FullNat)
    }

    /// The word of `ipvsadm -Ln`; that of LVS-FNAT's for what only it and the engine have.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Masquerade => "Masq",
            Self::Direct => "Route",
            Self::Tunnel(_) => "Tunnel",
            Self::Local => "Local",
            Self::Bypass => "Bypass",
            Self::FullNat => "FullNat",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tunnel {
    Ipip,
    /// Generic UDP encapsulation to this port, which is not 0. As GRE since Linux 5.3; older kernels make it IPIP.
    Gue {
        port: u16,
        checksum: TunnelChecksum,
    },
    Gre {
        checksum: TunnelChecksum,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TunnelChecksum {
    None,
    Full,
    /// Remote checksum offload (GUE only).
    Remote,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_stay_within_what_the_kernel_keeps() {
        for (given, kept) in
            [(-1, 0), (0, 0), (7, 7), (i64::from(i32::MAX) + 1, i32::MAX as u32), (i64::MAX, i32::MAX as u32)]
        {
            assert_eq!(Weight::clamped(given).get(), kept, "{given}");
        }
    }

    #[test]
    fn only_tunnels_reach_a_server_of_the_other_family() {
        let id = RealServerId { address: "2001:db8::1".parse().expect("an address"), port: 80 };
        let through = |forwarding| RealServer::new(id, forwarding, Weight::ONE);
        assert!(through(Forwarding::Masquerade).fits(Family::V6));
        assert!(!through(Forwarding::Masquerade).fits(Family::V4));
        assert!(!through(Forwarding::Direct).fits(Family::V4));
        assert!(through(Forwarding::Tunnel(Tunnel::Ipip)).fits(Family::V4));
    }
}
