use std::sync::Arc;
use std::time::Duration;

use buoy_ipvs::{Family, Forwarding, FwMark, RealServer, RealServerId, ServiceId, VirtualService, Weight};
use serde::Serialize;

/// One `virtual_server`: what clients address (several addresses for a group), and the real servers behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Service {
    /// As in logs: `TCP 10.0.0.1:80`, `FWM 7`, or the name of the group with its protocol.
    pub name: Arc<str>,
    pub members: Vec<VirtualService>,
    pub servers: Vec<Server>,
    /// Weight of healthy servers that has to be there (1).
    pub quorum: u32,
    /// The quorum is gained at `quorum + hysteresis` and lost below `quorum - hysteresis`.
    pub hysteresis: u32,
    pub sorry: Option<Sorry>,
    /// With fewer healthy servers than so many percent the last good set stays in service; 0 never doubts the checks.
    pub panic_threshold: u8,
    /// How long a server that is removed by a reload keeps its connections; `None` until they end.
    pub drain_deadline: Option<Duration>,
}

/// One `real_server`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Server {
    pub id: RealServerId,
    pub forwarding: Forwarding,
    pub weight: Weight,
    pub upper_threshold: u32,
    pub lower_threshold: u32,
    /// Keep it with weight 0 while it is down, instead of deleting it.
    pub inhibit_on_failure: bool,
    /// It counts as down until its checks say otherwise.
    pub alpha: bool,
    /// Of its checks by way of the service, if it has any (see [`super::detour`]).
    pub mark: Option<FwMark>,
}

/// Where clients go when the quorum is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Sorry {
    pub id: RealServerId,
    pub forwarding: Forwarding,
    /// Keep it with weight 0 while it is not needed.
    pub inhibit: bool,
}

impl Server {
    /// This server behind one address of the service.
    pub fn behind(&self, service: &ServiceId, weight: Weight) -> RealServer {
        RealServer {
            id: RealServerId { port: port_behind(service, self.id.port, self.forwarding), ..self.id },
            forwarding: self.forwarding,
            weight,
            upper_threshold: self.upper_threshold,
            lower_threshold: self.lower_threshold,
        }
    }
}

impl Sorry {
    pub fn behind(&self, service: &ServiceId, weight: Weight) -> RealServer {
        let port = port_behind(service, self.id.port, self.forwarding);
        RealServer::new(RealServerId { port, ..self.id }, self.forwarding, weight)
    }

    pub fn fits(&self, family: Family) -> bool {
        self.behind_any().fits(family)
    }

    fn behind_any(&self) -> RealServer {
        RealServer::new(self.id, self.forwarding, Weight::ONE)
    }
}

/// Only NAT rewrites ports: with the other methods packets arrive at the port that the client addressed.
fn port_behind(service: &ServiceId, port: u16, forwarding: Forwarding) -> u16 {
    match (service, forwarding) {
        (ServiceId::Address { port: addressed, .. }, Forwarding::Masquerade | Forwarding::FullNat)
            if port == 0 =>
        {
            *addressed
        }
        (_, Forwarding::Masquerade | Forwarding::FullNat) => port,
        (ServiceId::Address { port: addressed, .. }, _) => *addressed,
        (ServiceId::FwMark { .. }, _) => 0,
    }
}

#[cfg(test)]
mod tests {
    use buoy_ipvs::{FwMark, Protocol, Tunnel};

    use super::*;

    #[test]
    fn both_kinds_of_nat_change_ports_and_no_other_method_does() {
        let web = ServiceId::Address { protocol: Protocol::Tcp, address: [10, 0, 0, 1].into(), port: 80 };
        let mark = ServiceId::FwMark { family: Family::V4, mark: FwMark::new(5).expect("not 0") };
        for (forwarding, [kept, changed, by_mark]) in [
            (Forwarding::Masquerade, [80, 8080, 8080]),
            (Forwarding::FullNat, [80, 8080, 8080]),
            (Forwarding::Direct, [80, 80, 0]),
            (Forwarding::Tunnel(Tunnel::Ipip), [80, 80, 0]),
        ] {
            assert_eq!(port_behind(&web, 0, forwarding), kept, "{forwarding:?}");
            assert_eq!(port_behind(&web, 8080, forwarding), changed, "{forwarding:?}");
            assert_eq!(port_behind(&mark, 8080, forwarding), by_mark, "{forwarding:?}");
        }
    }
}
