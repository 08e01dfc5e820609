//! Packets of clients and servers, and errors about them.

use super::*;

impl Author {
    /// Many clients of a service at once, so that its servers take turns and come to their limits.
    pub(super) fn crowd(&mut self) -> Vec<Step> {
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
    pub(super) fn conversation(&mut self) -> Vec<Step> {
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

    pub(super) fn client_packet(&mut self) -> Packet {
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
        let shape = match self.rng.u8(0..100) {
            // With such options this kernel looks for what TCP and SCTP say in the wrong place.
            0..5 if v4 || protocol == protocol::UDP => Shape::IpOptions,
            5..12 if protocol == protocol::TCP => Shape::TcpOptions,
            // The kernel drops what is cut off, of no service too, as a host does by itself; but hosts answer to SCTP,
            // which they do not know.
            12..16 if protocol != protocol::SCTP => Shape::Cut(self.rng.u8(0..20)),
            _ => Shape::Plain,
        };
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
                // The kernel sums what there is of a datagram that states more, which makes it no better.
                5..15 if v4 && protocol == protocol::UDP && shape == Shape::Plain => Sum::Absent,
                _ => Sum::Right,
            },
            payload: if self.chance(15) { self.rng.u16(1180..=1428) } else { self.rng.u16(0..=60) },
            marked,
            shape,
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

    pub(super) fn server_packet(&mut self) -> Option<Packet> {
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

    pub(super) fn error(&mut self) -> Option<Error> {
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
            (1, Forwarding::Direct) => ((client, service), router(Network::Servers, SERVER_HOSTS[3]), None),
            (1, _) => ((client, end), end.place, None),
            _ => ((client, end), router(Network::Servers, SERVER_HOSTS[3]), None),
        };
        let says = if protocol == protocol::SCTP { 0 } else { ACK };
        let about = Packet {
            sum: Sum::Right,
            shape: Shape::Plain,
            ..self.packet(about.0, about.1, protocol, says, false)
        };
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
        shape: Shape::Plain,
    }
}
