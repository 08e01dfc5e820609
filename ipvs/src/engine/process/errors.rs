//! Errors of ICMP about packets of connections.
//!
//! Where the kernel is easier to deceive, this is not the same: an error of ICMPv6 from a client with a wrong checksum goes
//! nowhere, while the kernel translates it and makes the checksum right; and what is said of a tunnel counts only if
//! packets of that connection are in such a tunnel to that server, while the kernel takes any tunnel that it knows.

use super::forwarding::end;
use super::{Discard, Engine, Moment, Route, Routes, Verdict};
use crate::engine::buffer::Packet;
use crate::engine::connections::{Found, PacketKey};
use crate::engine::forward::icmp::{self, Carrier, Quote, Tunnelled};
use crate::engine::forward::{Outcome, Rewrite};
use crate::engine::packet::View;
use crate::engine::state::Direction;
use crate::real_server::Tunnel;
use crate::sync::Method;

impl Engine {
    /// An error goes the way of the packets that it is not about: to the sender of the one that it quotes.
    pub(super) fn error(
        &mut self,
        packet: &mut Packet<'_>,
        view: &View,
        routes: &mut impl Routes,
        moment: Moment,
    ) -> Verdict {
        let Ok(quote) = Quote::read(packet, view) else { return Verdict::Pass };
        let key = PacketKey::of(&quote.view).map(|key| key.reversed());
        match key.and_then(|key| self.connections.lookup(key)) {
            Some(found) => self.known_error(found, packet, view, &quote, routes, moment),
            None => self.tunnel_error(packet, view, &quote, routes),
        }
    }

    fn known_error(
        &mut self,
        Found { connection, direction }: Found,
        packet: &mut Packet<'_>,
        view: &View,
        quote: &Quote,
        routes: &mut impl Routes,
        moment: Moment,
    ) -> Verdict {
        let Some(entry) = self.connections.get(connection) else { return Verdict::Pass };
        let to_client = direction == Direction::Output;
        let half = entry.method() != Method::Masquerade;
        let passes = half && to_client;
        if !passes && !Quote::is_intact(packet, view) {
            return Verdict::Drop(Discard::BadError);
        }
        if let Some(server) = entry.server_index() {
            if to_client {
                self.services.count_out(server, super::length(view));
            } else {
                self.services.count_in(server, super::length(view));
            }
        }
        if passes {
            return Verdict::Pass;
        }
        if half {
            // It goes as any packet of the client does.
            if packet.offload().segment.is_some() {
                return Verdict::Segment;
            }
            let verdict = self.forward(connection, packet, view, routes);
            self.count_packet(connection, moment);
            return verdict;
        }
        let (client, service) = (end(entry.client()), end(entry.service()));
        let (server, local) = (end(entry.server()), entry.local().map(end));
        let (rewrite, to) = if to_client {
            let destination = local.map(|_| client);
            (Rewrite { source: Some(service), destination }, client.address)
        } else {
            (Rewrite { source: local, destination: Some(server) }, server.address)
        };
        let path = match routes.route(to) {
            Route::Via(path) => path,
            Route::Local | Route::Unreachable => return Verdict::Drop(Discard::NoRoute),
        };
        match icmp::translate(packet, view, quote, &rewrite, &path) {
            Ok(outcome) => Verdict::Forward { to, outcome, connection: Some(connection) },
            Err(why) => Verdict::Drop(why.into()),
        }
    }

    /// What a router says of one of our own tunnels concerns whoever sent the packet inside.
    fn tunnel_error(
        &mut self,
        packet: &mut Packet<'_>,
        view: &View,
        quote: &Quote,
        routes: &mut impl Routes,
    ) -> Verdict {
        let Ok(tunnelled) = Tunnelled::read(packet, quote) else { return Verdict::Pass };
        let key = PacketKey::of(&tunnelled.view);
        let Some(Found { connection, direction: Direction::Input | Direction::InputOnly }) =
            key.and_then(|key| self.connections.lookup(key))
        else {
            return Verdict::Pass;
        };
        let Some(entry) = self.connections.get(connection) else { return Verdict::Pass };
        let available = entry.server_index().filter(|server| self.services.is_available(*server));
        let by_it = match (self.tunnel_of(available), tunnelled.carrier) {
            (Some(Tunnel::Ipip), Carrier::Ipip) | (Some(Tunnel::Gre { .. }), Carrier::Gre) => true,
            (Some(Tunnel::Gue { port, .. }), Carrier::Gue { port: quoted }) => port == quoted,
            _ => false,
        };
        if entry.method() != Method::Tunnel || entry.server().address != tunnelled.server || !by_it {
            return Verdict::Pass;
        }
        if !Quote::is_intact(packet, view) {
            return Verdict::Drop(Discard::BadError);
        }
        if let Some(icmp::Error::TooBig { mtu }) = quote.error() {
            routes.lower_mtu(tunnelled.server, mtu);
        }
        let mtu = match (routes.route(tunnelled.server), quote.error()) {
            (Route::Via(path), _) => path.mtu,
            (_, Some(icmp::Error::TooBig { mtu })) => mtu,
            _ => 0,
        };
        let client = tunnelled.view.source;
        let server = entry.server_index();
        let identification = self.next_identification();
        match tunnelled.relay(packet, mtu, identification) {
            Ok(()) => {
                if let Some(server) = server {
                    self.services.count_out(server, super::length(&tunnelled.view));
                }
                Verdict::Forward { to: client, outcome: Outcome::Whole, connection: Some(connection) }
            }
            Err(_silence) => Verdict::Drop(Discard::TooBig),
        }
    }
}
