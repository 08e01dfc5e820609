//! Services and servers, and what becomes of them.

use super::*;

impl Author {
    pub(super) fn service(&mut self) -> VirtualService {
        let (family, protocol) = (self.family(), self.protocol());
        let persistent = self.chance(35);
        let id = if self.chance(15) {
            ServiceId::FwMark { family, mark: FwMark::new(MARK).unwrap() }
        } else {
            let host = self.one(&SERVICE_HOSTS);
            let address = Place { network: Network::Services, host, family }.address(0);
            let port = if persistent && self.chance(25) { 0 } else { self.one(&[80, 80, 8080]) };
            ServiceId::Address { protocol, address, port }
        };
        self.settings(id, persistent)
    }

    pub(super) fn settings(&mut self, id: ServiceId, persistent: bool) -> VirtualService {
        let schedulers: Vec<_> =
            Scheduler::of_kernel().filter(|scheduler| *scheduler != Scheduler::Twos).collect();
        let prefixes = match id.family() {
            Family::V4 => [32, 24, 28],
            Family::V6 => [128, 112, 124],
        };
        let timeout = if self.waits { 5..=5 } else { 50..=300 };
        let timeout = Duration::from_secs(self.rng.u64(timeout));
        let prefix_len = self.one(&prefixes);
        let takes_datagrams =
            !matches!(id, ServiceId::Address { protocol: Protocol::Tcp | Protocol::Sctp, .. });
        VirtualService {
            flags: SchedulerFlags { flag_1: self.chance(40), flag_2: self.chance(40), flag_3: false },
            persistence: persistent.then_some(Persistence { timeout, prefix_len, engine: None }),
            one_packet: takes_datagrams && self.chance(20),
            scheduler: (!self.chance(2)).then(|| self.one(&schedulers)),
            ..VirtualService::new(id, Scheduler::Rr)
        }
    }

    pub(super) fn add_server(&mut self, place: usize) -> Option<Step> {
        let service = self.services[place].service.id;
        let mut server = self.server(service.family());
        let known = &mut self.services[place];
        if let Some(before) = known.servers.iter().find(|other| other.id == server.id) {
            server.forwarding = before.forwarding;
        }
        if known.held.contains(&server.id) {
            return None;
        }
        known.held.push(server.id);
        known.servers.retain(|other| other.id != server.id);
        known.servers.push(server);
        Some(Step::Change(Change::AddServer(service, server)))
    }

    fn server(&mut self, family: Family) -> RealServer {
        let (network, host) = match self.rng.u8(0..100) {
            0..84 => (Network::Servers, self.one(&SERVER_HOSTS)),
            84..93 => (Network::NarrowServers, self.one(&SERVER_HOSTS[..2])),
            93..96 => (Network::Nowhere, SERVER_HOSTS[0]),
            _ => (Network::Services, LOCAL_SERVER),
        };
        let forwarding = match self.rng.u8(0..100) {
            _ if network == Network::Services => self.one(&[Forwarding::Direct, Forwarding::Local]),
            0..50 => Forwarding::Masquerade,
            50..70 => Forwarding::Direct,
            _ => Forwarding::Tunnel(self.tunnel()),
        };
        let crosses = matches!(forwarding, Forwarding::Tunnel(_)) && self.chance(25);
        let family = match family {
            Family::V4 if crosses => Family::V6,
            Family::V6 if crosses => Family::V4,
            family => family,
        };
        let id = RealServerId {
            address: Place { network, host, family }.address(0),
            port: self.one(&[80, 80, 8080, 0]),
        };
        self.settings_of_server(id, forwarding)
    }

    fn settings_of_server(&mut self, id: RealServerId, forwarding: Forwarding) -> RealServer {
        let upper_threshold = if self.chance(15) { self.rng.u32(1..=3) } else { 0 };
        let lower_threshold = self.rng.u32(0..=upper_threshold);
        let weight = Weight::clamped(self.one(&[0, 1, 1, 1, 2, 2, 3, 5]));
        RealServer { upper_threshold, lower_threshold, ..RealServer::new(id, forwarding, weight) }
    }

    fn tunnel(&mut self) -> Tunnel {
        let sums = [TunnelChecksum::None, TunnelChecksum::Full];
        match self.rng.u8(0..4) {
            0 => Tunnel::Gre { checksum: self.one(&sums) },
            1 => Tunnel::Gue {
                port: TUNNEL_PORT,
                checksum: self.one(&[TunnelChecksum::None, TunnelChecksum::Full, TunnelChecksum::Remote]),
            },
            _ => Tunnel::Ipip,
        }
    }

    pub(super) fn change(&mut self) -> Option<Change> {
        let place = self.rng.usize(0..self.services.len());
        let id = self.services[place].service.id;
        let server = self.any_server(place);
        match self.rng.u8(0..100) {
            0..12 => {
                let persistent = self.services[place].service.persistence.is_some();
                let persistent = if self.chance(20) { !persistent } else { persistent };
                Some(Change::EditService(self.settings(id, persistent)))
            }
            12..16 => {
                self.services[place].held.clear();
                Some(Change::RemoveService(id))
            }
            16..20 => Some(Change::AddService(self.services[place].service.clone())),
            20..40 => {
                let server = server?;
                self.services[place].held.retain(|held| *held != server.id);
                Some(Change::RemoveServer(id, server.id))
            }
            40..60 => {
                let server = server?;
                self.services[place].held.push(server.id);
                Some(Change::AddServer(id, server))
            }
            60..90 => {
                let server = server?;
                let crosses = Family::of(server.id.address) != id.family();
                let forwarding = match self.rng.u8(0..100) {
                    _ if server.forwarding == Forwarding::Direct => server.forwarding,
                    0..15 if !crosses && place_of(server.id.address).network != Network::Services => {
                        Forwarding::Masquerade
                    }
                    15..30 => Forwarding::Tunnel(self.tunnel()),
                    _ => server.forwarding,
                };
                let edited = self.settings_of_server(server.id, forwarding);
                let known = &mut self.services[place].servers;
                known.retain(|other| other.id != edited.id);
                known.push(edited);
                Some(Change::EditServer(id, edited))
            }
            _ => match self.add_server(place)? {
                Step::Change(change) => Some(change),
                _ => None,
            },
        }
    }

    pub(super) fn any_server(&mut self, place: usize) -> Option<RealServer> {
        let servers = self.services[place].servers.len();
        (servers > 0).then(|| self.services[place].servers[self.rng.usize(0..servers)])
    }
}
