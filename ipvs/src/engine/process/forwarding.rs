//! What the method of a connection makes of its packets, and where they go.

use super::schedule::method;
use super::{Discard, Engine, Path, Route, Routes, Verdict};
use crate::engine::address::Address;
use crate::engine::buffer::Packet;
use crate::engine::connections::{Connection, ConnectionIndex};
use crate::engine::forward::fullnat::Toa;
use crate::engine::forward::tunnel::Encapsulation;
use crate::engine::forward::{
    Endpoint, Outcome, Rewrite, Undeliverable, direct, fullnat, icmp, masquerade, toa,
};
use crate::engine::packet::View;
use crate::engine::scheduler::ServerIndex;
use crate::engine::services::{LocalPort, Target};
use crate::real_server::{Forwarding, Tunnel};
use crate::sync::{self, Ends, Method};

/// Segments behind a client's SYN that tell a server who it is: that which completes the handshake, and those after it,
/// should it be lost.
const TELLING: std::ops::RangeInclusive<u32> = 1..=3;

impl Engine {
    /// To the server of a connection.
    pub(super) fn forward(
        &mut self,
        connection: ConnectionIndex,
        packet: &mut Packet<'_>,
        view: &View,
        routes: &mut impl Routes,
    ) -> Verdict {
        let Some(entry) = self.connections.get(connection) else { return Verdict::Pass };
        let way = Way::of(entry, self.remaining_tunnel_of(entry.server_index()));
        self.send(&way, Some(connection), packet, view, routes)
    }

    /// To the server of a connection that ends with this packet.
    pub(super) fn single(
        &mut self,
        connection: &Connection,
        packet: &mut Packet<'_>,
        view: &View,
        routes: &mut impl Routes,
    ) -> Verdict {
        if let Some(server) = connection.server_index() {
            self.services.count_in(server, super::length(view));
        }
        let way = Way::of(connection, self.remaining_tunnel_of(connection.server_index()));
        let verdict = self.send(&way, None, packet, view, routes);
        if let Some(local) = way.local {
            let target =
                Target { protocol: view.protocol, address: way.server.address, port: way.server.port };
            self.services.release_local(&target, LocalPort { address: local.address, port: local.port });
        }
        verdict
    }

    fn send(
        &mut self,
        way: &Way,
        connection: Option<ConnectionIndex>,
        packet: &mut Packet<'_>,
        view: &View,
        routes: &mut impl Routes,
    ) -> Verdict {
        let to = match way.method {
            Method::Local => return Verdict::Deliver { connection },
            // As the client wanted.
            Method::Bypass => view.destination,
            _ => way.server.address,
        };
        let path = match routes.route(to) {
            Route::Via(path) => path,
            Route::Local => return Self::deliver(way, connection, packet, view),
            Route::Unreachable => {
                let error = icmp::Error::HostUnreachable;
                return self.answer(packet, view, error, view.destination, Discard::NoRoute);
            }
        };
        match self.transform(way, packet, view, &path) {
            Ok(outcome) => Verdict::Forward { to, outcome, connection },
            Err(why) => self.undeliverable(why, packet, view, view.destination),
        }
    }

    /// The server is this host.
    fn deliver(
        way: &Way,
        connection: Option<ConnectionIndex>,
        packet: &mut Packet<'_>,
        view: &View,
    ) -> Verdict {
        if way.method == Method::Masquerade {
            let rewrite = Rewrite { source: way.local, destination: Some(way.server) };
            if let Err(why) = rewrite.apply(packet, view) {
                return Verdict::Drop(why.into());
            }
        }
        Verdict::Deliver { connection }
    }

    fn transform(
        &mut self,
        way: &Way,
        packet: &mut Packet<'_>,
        view: &View,
        path: &Path,
    ) -> Result<Outcome, Undeliverable> {
        match (way.method, way.local, way.tunnel) {
            (Method::Masquerade, None, _) => masquerade::to_server(packet, view, way.server, path),
            (Method::Masquerade, Some(local), _) => {
                let mut view = *view;
                if self.settings.toa == Toa::On && TELLING.contains(&way.packets) && !way.begins {
                    // Where there is no room the server does without.
                    let _untold = toa::insert(packet, &mut view, way.client, path.mtu);
                }
                fullnat::to_server(packet, &view, local, way.server, path)
            }
            (Method::Tunnel, _, Some(tunnel)) => {
                let encapsulation = Encapsulation {
                    tunnel,
                    server: way.server.address,
                    path: *path,
                    pmtu: self.settings.pmtu,
                };
                encapsulation.apply(packet, view, self.next_identification())
            }
            // Another director has told of it, and nobody here knows the tunnel.
            (Method::Tunnel, _, None) | (Method::Unassigned, ..) => Err(Undeliverable::Family),
            (Method::Direct | Method::Bypass | Method::Local, ..) => direct::to_server(packet, view, path),
        }
    }

    /// To the client of a connection.
    pub(super) fn forward_back(
        &mut self,
        connection: ConnectionIndex,
        packet: &mut Packet<'_>,
        view: &View,
        routes: &mut impl Routes,
    ) -> Verdict {
        let Some(entry) = self.connections.get(connection) else { return Verdict::Pass };
        // Answers of other methods have the service's address already, and go as any packet of this host does.
        if entry.method() != Method::Masquerade {
            return Verdict::Pass;
        }
        let (service, client) = (end(entry.service()), end(entry.client()));
        let translated = entry.local().is_some();
        let path = match routes.route(client.address) {
            Route::Via(path) => path,
            Route::Local => {
                let rewrite = Rewrite { source: Some(service), destination: translated.then_some(client) };
                return match rewrite.apply(packet, view) {
                    Ok(()) => Verdict::Deliver { connection: Some(connection) },
                    Err(why) => Verdict::Drop(why.into()),
                };
            }
            Route::Unreachable => return Verdict::Drop(Discard::NoRoute),
        };
        let done = if translated {
            fullnat::to_client(packet, view, service, client, self.settings.toa, &path)
        } else {
            masquerade::to_client(packet, view, service, &path)
        };
        match done {
            Ok(outcome) => Verdict::Forward { to: client.address, outcome, connection: Some(connection) },
            Err(why) => match routes.route(view.source) {
                // Servers hear of it from whom they have for a router.
                Route::Via(back) => self.undeliverable(why, packet, view, back.source),
                Route::Local | Route::Unreachable => Verdict::Drop(why.into()),
            },
        }
    }

    /// Answers what may be answered, from an address of this host.
    pub(super) fn undeliverable(
        &mut self,
        why: Undeliverable,
        packet: &mut Packet<'_>,
        view: &View,
        from: Address,
    ) -> Verdict {
        match why {
            Undeliverable::Unsegmented => Verdict::Segment,
            _ => match why.answer() {
                Some(error) => self.answer(packet, view, error, from, why.into()),
                None => Verdict::Drop(why.into()),
            },
        }
    }

    pub(super) fn tunnel_of(&self, server: Option<ServerIndex>) -> Option<Tunnel> {
        match self.services.settings(server?)?.forwarding {
            Forwarding::Tunnel(tunnel) => Some(tunnel),
            _ => None,
        }
    }

    /// By which connections go that began when their server was in a tunnel. Without one now it has the simplest.
    fn remaining_tunnel_of(&self, server: Option<ServerIndex>) -> Option<Tunnel> {
        self.tunnel_of(server).or_else(|| server.map(|_| Tunnel::Ipip))
    }

    pub(super) fn tunnels_to(&self, server: ServerIndex) -> bool {
        let settings = self.services.settings(server);
        settings.is_some_and(|server| method(server.forwarding) == Method::Tunnel)
    }

    pub(super) fn is_tunnelled(&self, connection: ConnectionIndex) -> bool {
        self.connections.get(connection).is_some_and(|entry| entry.method() == Method::Tunnel)
    }

    pub(super) fn release_local(&mut self, ends: &Ends<Address>, protocol: u8) {
        let Some(local) = ends.local else { return };
        let target = Target { protocol, address: ends.server.address, port: ends.server.port };
        self.services.release_local(&target, LocalPort { address: local.address, port: local.port });
    }
}

/// All that a connection says of where its packets go.
pub(super) struct Way {
    method: Method,
    pub(super) server: Endpoint,
    client: Endpoint,
    pub(super) local: Option<Endpoint>,
    tunnel: Option<Tunnel>,
    packets: u32,
    begins: bool,
}

impl Way {
    fn of(connection: &Connection, tunnel: Option<Tunnel>) -> Self {
        use crate::engine::state::TcpState;
        use crate::sync::ConnectionState;
        Self {
            method: connection.method(),
            server: end(connection.server()),
            client: end(connection.client()),
            local: connection.local().map(end),
            tunnel,
            packets: connection.packets(),
            begins: connection.state() == Some(ConnectionState::Tcp(TcpState::SynReceived)),
        }
    }
}

pub(super) const fn end(end: sync::Endpoint<Address>) -> Endpoint {
    Endpoint { address: end.address, port: end.port }
}
