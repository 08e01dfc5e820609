//! Scripts out of a seed.

use std::net::IpAddr;
use std::time::Duration;

use buoy_ipvs::engine::forward::tunnel::PathMtuDiscovery;
use buoy_ipvs::engine::packet::protocol;
use buoy_ipvs::engine::process::{Orphans, Quiescent, Reuse};
use buoy_ipvs::{
    Change, Family, Forwarding, FwMark, Persistence, Protocol, RealServer, RealServerId, Scheduler,
    SchedulerFlags, ServiceId, Timeouts, Tunnel, TunnelChecksum, VirtualService, Weight,
};
use fastrand::Rng;

use crate::house::MARK;
use crate::packet::{ACK, Carrier, End, Error, FIN, Packet, RST, SYN, Sum};
use crate::place::{CLIENT_HOSTS, LOCAL_SERVER, Network, Place, SERVER_HOSTS, SERVICE_HOSTS};
use crate::script::{Script, Setting, Step};

/// What a script is to be like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    pub(crate) secure: bool,
    /// Time passes in it, and timeouts are short.
    pub(crate) waits: bool,
}

impl Wish {
    /// That of a seed: a few of each kind.
    pub(crate) const fn of(seed: u64) -> Self {
        Self { secure: seed % 8 == 7, waits: seed.is_multiple_of(16) }
    }
}

/// The script of a seed.
pub(crate) fn script(seed: u64, wish: Wish) -> Script {
    let mut author =
        Author { rng: Rng::with_seed(seed), waits: wish.waits, services: Vec::new(), clients: Vec::new() };
    Script { secure: wish.secure, steps: author.steps() }
}

struct Author {
    rng: Rng,
    waits: bool,
    services: Vec<Known>,
    /// Clients that have sent something.
    clients: Vec<End>,
}

/// A service, and the servers that it has or had.
struct Known {
    service: VirtualService,
    servers: Vec<RealServer>,
    /// That it has now.
    held: Vec<RealServerId>,
}

const TUNNEL_PORT: u16 = 6080;

impl Author {
    fn steps(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        for setting in [
            Setting::Orphans(Orphans::Expire),
            Setting::Quiescent(Quiescent::Expire),
            Setting::Reuse(Reuse::Never),
            Setting::Reuse(Reuse::HalfEnded),
            Setting::SloppyTcp(true),
            Setting::SloppySctp(true),
            Setting::Pmtu(PathMtuDiscovery::Off),
        ] {
            if self.chance(12) {
                steps.push(Step::Set(setting));
            }
        }
        if self.waits {
            // Times are such that no two ends come together: which is first makes a difference where one controls the other.
            let mut time = || Some(Duration::from_secs(self.rng.u64(1..=2)));
            steps.push(Step::Timeouts(Timeouts { tcp: time(), tcp_fin: time(), udp: time() }));
        }
        for _ in 0..self.rng.usize(1..=2) {
            let service = self.service();
            if self.services.iter().any(|known| known.service.id == service.id) {
                continue;
            }
            steps.push(Step::Change(Change::AddService(service.clone())));
            self.services.push(Known { service, servers: Vec::new(), held: Vec::new() });
            for _ in 0..self.rng.usize(1..=4) {
                let place = self.services.len() - 1;
                steps.extend(self.add_server(place));
            }
        }
        for _ in 0..self.rng.usize(6..=14) {
            match self.rng.u8(0..100) {
                0..6 => steps.extend(self.crowd()),
                6..16 => steps.extend(self.conversation()),
                _ => steps.extend(self.step()),
            }
        }
        steps
    }

    /// Many clients of a service at once, so that its servers take turns and come to their limits.
    fn crowd(&mut self) -> Vec<Step> {
        let place = self.rng.usize(0..self.services.len());
        let (destination, protocol, marked) = self.target(place);
        let says = if protocol == protocol::SCTP { 1 } else { SYN };
        let client = self.client(destination.place.family).place;
        let count = self.rng.u16(3..=12);
        let source = |number| End { place: client, port: 4000 + number };
        let packets = (0..count).map(|number| plain(source(number), destination, protocol, says, marked));
        packets.map(Step::Packet).collect()
    }

    /// The packets of a whole connection, as far as the answers are of the right server.
    fn conversation(&mut self) -> Vec<Step> {
        let place = self.rng.usize(0..self.services.len());
        let (service, protocol, marked) = self.target(place);
        let Some((_, server)) = self.server_end(place) else { return Vec::new() };
        let client = self.client(service.place.family);
        if server.place.family != client.place.family || server.place.network == Network::Services {
            return Vec::new();
        }
        let words: &[(bool, u8)] = match protocol {
            protocol::SCTP => {
                &[(true, 1), (false, 2), (true, 10), (false, 11), (true, 7), (false, 8), (true, 14)]
            }
            _ if self.chance(50) => {
                &[(true, SYN), (false, SYN | ACK), (true, ACK), (true, FIN | ACK), (false, FIN | ACK)]
            }
            _ => &[
                (true, SYN),
                (false, SYN | ACK),
                (true, ACK),
                (false, FIN | ACK),
                (true, FIN | ACK),
                (true, ACK),
            ],
        };
        let said = self.rng.usize(2..=words.len());
        let packets = words[..said].iter().map(|(by_client, says)| match by_client {
            true => plain(client, service, protocol, *says, marked),
            false => plain(server, client, protocol, *says, false),
        });
        packets.map(Step::Packet).collect()
    }

    fn step(&mut self) -> Option<Step> {
        let choice = self.rng.u8(0..100);
        Some(match choice {
            0..10 if self.waits => Step::Wait(Duration::from_millis(self.one(&[1400, 2400]))),
            0..60 => Step::Packet(self.client_packet()),
            60..76 => Step::Packet(self.server_packet()?),
            76..85 => Step::Error(self.error()?),
            85..97 => Step::Change(self.change()?),
            _ => Step::Set(self.setting()),
        })
    }

    /// With so many percent.
    fn chance(&mut self, percent: u8) -> bool {
        self.rng.u8(0..100) < percent
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.rng.usize(0..of.len())]
    }

    fn setting(&mut self) -> Setting {
        let all = [
            Setting::Quiescent(Quiescent::Keep),
            Setting::Quiescent(Quiescent::Expire),
            Setting::Reuse(Reuse::Never),
            Setting::Reuse(Reuse::Ended),
            Setting::Reuse(Reuse::HalfEnded),
            Setting::SloppyTcp(true),
            Setting::SloppyTcp(false),
        ];
        self.one(&all)
    }

    fn family(&mut self) -> Family {
        if self.chance(60) { Family::V4 } else { Family::V6 }
    }

    fn protocol(&mut self) -> Protocol {
        self.one(&[Protocol::Tcp, Protocol::Tcp, Protocol::Tcp, Protocol::Udp, Protocol::Udp, Protocol::Sctp])
    }

    fn service(&mut self) -> VirtualService {
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

    fn settings(&mut self, id: ServiceId, persistent: bool) -> VirtualService {
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
            ..VirtualService::new(id, self.one(&schedulers))
        }
    }

    fn add_server(&mut self, place: usize) -> Option<Step> {
        let service = self.services[place].service.id;
        let server = self.server(service.family());
        let known = &mut self.services[place];
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

    fn change(&mut self) -> Option<Change> {
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
                Some(Change::EditServer(id, self.settings_of_server(server.id, server.forwarding)))
            }
            _ => match self.add_server(place)? {
                Step::Change(change) => Some(change),
                _ => None,
            },
        }
    }

    fn any_server(&mut self, place: usize) -> Option<RealServer> {
        let servers = self.services[place].servers.len();
        (servers > 0).then(|| self.services[place].servers[self.rng.usize(0..servers)])
    }

    /// A client, usually one that has been there before.
    fn client(&mut self, family: Family) -> End {
        let known: Vec<_> = self.clients.iter().copied().filter(|end| end.place.family == family).collect();
        if !known.is_empty() && self.chance(65) {
            return self.one(&known);
        }
        let client = self.new_client(family);
        self.clients.push(client);
        client
    }

    fn new_client(&mut self, family: Family) -> End {
        let (network, host) = match self.rng.u8(0..10) {
            0 => (Network::NarrowClients, CLIENT_HOSTS[0]),
            _ => (Network::Clients, self.one(&CLIENT_HOSTS)),
        };
        let port = if self.chance(2) { 20 } else { self.rng.u16(3001..=3003) };
        End { place: Place { network, host, family }, port }
    }

    /// What clients address of a service, by which protocol, and whether the firewall marks it.
    fn target(&mut self, place: usize) -> (End, u8, bool) {
        let id = self.services[place].service.id;
        let family = id.family();
        match id {
            ServiceId::Address { protocol, address, port } => {
                let port = if port == 0 || self.chance(4) { self.one(&[80, 443]) } else { port };
                let end = End { place: place_of(address), port };
                (end, protocol.number(), self.chance(3))
            }
            ServiceId::FwMark { .. } => {
                let host = self.one(&SERVICE_HOSTS);
                let end = End {
                    place: Place { network: Network::Services, host, family },
                    port: self.one(&[80, 443]),
                };
                (end, self.protocol().number(), self.chance(90))
            }
        }
    }

    fn client_packet(&mut self) -> Packet {
        let place = self.rng.usize(0..self.services.len());
        let (destination, protocol, marked) = self.target(place);
        let source = self.client(destination.place.family);
        let says = match protocol {
            protocol::SCTP => self.one(&[1, 1, 1, 1, 10, 10, 0, 3, 7, 8, 14, 6, 2, 11, 9, 200]),
            _ => self.one(&[
                SYN,
                SYN,
                SYN,
                SYN,
                ACK,
                ACK,
                ACK,
                FIN | ACK,
                FIN,
                RST,
                RST | ACK,
                SYN | ACK,
                SYN | FIN,
                0,
            ]),
        };
        self.packet(source, destination, protocol, says, marked)
    }

    fn packet(&mut self, source: End, destination: End, protocol: u8, says: u8, marked: bool) -> Packet {
        let v4 = source.place.family == Family::V4;
        Packet {
            source,
            destination,
            protocol,
            says,
            ttl: if self.chance(8) { self.one(&[1, 2, 255]) } else { 64 },
            class: if self.chance(15) { self.rng.u8(..) } else { 0 },
            dont_fragment: self.chance(70),
            sum: match self.rng.u8(0..100) {
                0..5 => Sum::Wrong,
                5..15 if v4 && protocol == protocol::UDP => Sum::Absent,
                _ => Sum::Right,
            },
            payload: if self.chance(15) { self.rng.u16(1180..=1428) } else { self.rng.u16(0..=60) },
            marked,
        }
    }

    fn server_end(&mut self, place: usize) -> Option<(RealServer, End)> {
        let server = self.any_server(place)?;
        let port = match (server.id.port, self.services[place].service.id) {
            (0, ServiceId::Address { port: port @ 1.., .. }) => port,
            (0, _) => self.one(&[80, 443]),
            (port, _) => port,
        };
        Some((server, End { place: place_of(server.id.address), port }))
    }

    fn server_packet(&mut self) -> Option<Packet> {
        let place = self.rng.usize(0..self.services.len());
        let (server, source) = self.server_end(place)?;
        if matches!(source.place.network, Network::Services | Network::Nowhere) {
            return None;
        }
        let protocol = self.target(place).1;
        let destination = self.client(Family::of(server.id.address));
        let says = match protocol {
            protocol::SCTP => self.one(&[2, 2, 11, 11, 0, 3, 7, 8, 14, 6, 1, 10, 9]),
            _ => self.one(&[
                SYN | ACK,
                SYN | ACK,
                SYN | ACK,
                ACK,
                ACK,
                FIN | ACK,
                FIN | ACK,
                RST,
                RST | ACK,
                SYN,
                0,
            ]),
        };
        Some(self.packet(source, destination, protocol, says, false))
    }

    fn error(&mut self) -> Option<Error> {
        let place = self.rng.usize(0..self.services.len());
        let (service, protocol, _) = self.target(place);
        let family = service.place.family;
        let client = self.client(family);
        let (server, end) = self.server_end(place)?;
        if end.place.network == Network::Services {
            return None;
        }
        let router = |network, host| Place { network, host, family };
        let (about, from, tunnel) = match (self.rng.u8(0..3), server.forwarding) {
            (0, _) => ((service, client), client.place, None),
            // The kernel knows its own tunnels of IPv4 in IPv4 only, and GRE by its checksum.
            (_, Forwarding::Tunnel(Tunnel::Gre { checksum: TunnelChecksum::None })) => return None,
            // Of several tunnels to one server it knows the last, and takes any connection of the client for one of it.
            (_, Forwarding::Tunnel(_)) if self.services.iter().any(|known| known.servers.len() > 1) => {
                return None;
            }
            (_, Forwarding::Tunnel(_)) if family == Family::V6 || end.place.family == Family::V6 => {
                return None;
            }
            (_, Forwarding::Tunnel(tunnel)) => {
                let carrier = match tunnel {
                    Tunnel::Ipip => Carrier::Ipip(end.place),
                    Tunnel::Gre { .. } => Carrier::Gre(end.place),
                    Tunnel::Gue { port, .. } => Carrier::Gue(end.place, port),
                };
                ((client, service), Place { network: Network::Servers, ..end.place }, Some(carrier))
            }
            _ if end.place.family != family => return None,
            (1, _) => ((client, end), end.place, None),
            _ => ((client, end), router(Network::Servers, SERVER_HOSTS[3]), None),
        };
        let says = if protocol == protocol::SCTP { 0 } else { ACK };
        let about = Packet { sum: Sum::Right, ..self.packet(about.0, about.1, protocol, says, false) };
        let outer = tunnel.map_or(family, |_| end.place.family);
        let (kind, code, rest) = match outer {
            // That a tunnel takes less this kernel says with numbers that are too high: it knows of routes before, and does
            // not count all headers.
            Family::V4 if tunnel.is_some() => self.one(&[(3, 1, 0), (3, 3, 0), (11, 0, 0), (4, 0, 0)]),
            Family::V4 => {
                self.one(&[(3, 1, 0), (3, 3, 0), (3, 4, 1000), (3, 4, 1400), (11, 0, 0), (4, 0, 0)])
            }
            Family::V6 => self.one(&[(1, 4, 0), (1, 3, 0), (2, 0, 1300), (3, 0, 0)]),
        };
        let quoted = match outer {
            Family::V4 if tunnel.is_none() && self.chance(50) => Some(28),
            _ => Some(500),
        };
        let from_client = from.network != Network::Servers && from.network != Network::NarrowServers;
        // The kernel does not look at those of ICMPv6 from clients.
        let sum =
            if self.chance(6) && !(from_client && outer == Family::V6) { Sum::Wrong } else { Sum::Right };
        Some(Error { from, about, tunnel, kind, code, rest, quoted, sum })
    }
}

/// A packet with nothing special about it.
const fn plain(source: End, destination: End, protocol: u8, says: u8, marked: bool) -> Packet {
    Packet {
        source,
        destination,
        protocol,
        says,
        ttl: 64,
        class: 0,
        dont_fragment: true,
        sum: Sum::Right,
        payload: 8,
        marked,
    }
}

/// Of an address of slot 0.
fn place_of(address: IpAddr) -> Place {
    let host = match address {
        IpAddr::V4(address) => address.octets()[3],
        IpAddr::V6(address) => address.octets()[15],
    };
    Place { network: crate::place::network_of(address).unwrap(), host, family: Family::of(address) }
}
