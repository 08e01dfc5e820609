//! How connections begin: which service a packet is for, which of its servers takes it, and who comes back to whom.

use super::transport::Event;
use super::{Discard, Engine, Moment, Quiescent, Route, Routes, Verdict};
use crate::engine::address::Address;
use crate::engine::buffer::Packet;
use crate::engine::checksum::Sum;
use crate::engine::connections::{Connection, ConnectionIndex, TemplateKey};
use crate::engine::forward::icmp;
use crate::engine::packet::{Ports, View};
use crate::engine::scheduler::{Counted, Request, ServerIndex};
use crate::engine::services::ServiceIndex;
use crate::engine::state::{SctpEvent, TcpEvent};
use crate::real_server::Forwarding;
use crate::sync::{Endpoint, Ends, Method};
use crate::virtual_service::{Family, FwMark, Protocol, ServiceId};

/// Data connections of active FTP, which IPVS never takes for new ones.
const FTP_DATA: u16 = 20;
/// Its templates are for all ports, as its data connections are to come to the same server.
const FTP: u16 = 21;

/// What a new connection is made of.
struct Chosen {
    server: ServerIndex,
    template: Option<ConnectionIndex>,
}

impl Engine {
    /// A packet that belongs to no connection.
    pub(super) fn first(
        &mut self,
        packet: &mut Packet<'_>,
        view: &View,
        mark: Option<FwMark>,
        routes: &mut impl Routes,
        moment: Moment,
    ) -> Verdict {
        let event = Event::of(packet.bytes(), view);
        let (Some(ports), Some(protocol)) = (view.ports, Protocol::from_number(view.protocol)) else {
            return Verdict::Pass;
        };
        if !self.may_begin(event) || ports.source == FTP_DATA {
            return Verdict::Pass;
        }
        let service = self.services.find(view.protocol, view.destination, ports.destination, mark);
        let Some(service) = service else { return Verdict::Pass };
        if !would_be_taken(packet.bytes(), view) {
            return Verdict::Pass;
        }
        // Of a director that does not have the address now, it is a packet that strayed.
        if routes.route(view.destination) != Route::Local {
            return Verdict::Pass;
        }
        if event == Event::Truncated {
            return Verdict::Drop(Discard::Truncated);
        }
        let Some(chosen) = self.choose(service, protocol, view, ports, moment) else {
            // A service is an address of this host.
            let error = icmp::Error::PortUnreachable;
            return self.answer(packet, view, error, view.destination, Discard::NoServer);
        };
        if packet.offload().segment.is_some() && self.tunnels_to(chosen.server) {
            return Verdict::Segment;
        }
        match self.connect(&chosen, service, protocol, view, ports, mark, moment) {
            Ok(Made::Kept(connection)) => self.request(connection, event, packet, view, routes, moment),
            Ok(Made::OfOnePacket(connection)) => self.single(&connection, packet, view, routes),
            Err(why) => Verdict::Drop(why),
        }
    }

    /// Whether a connection can begin with such a packet.
    const fn may_begin(&self, event: Event) -> bool {
        match event {
            Event::Tcp(TcpEvent::Syn) | Event::Sctp(SctpEvent::Init) | Event::Datagram => true,
            Event::Tcp(TcpEvent::Rst) | Event::Sctp(SctpEvent::Abort) => false,
            // Of a service it is not for the host either.
            Event::Truncated => true,
            Event::Tcp(_) => self.settings.sloppy_tcp,
            Event::Sctp(_) => self.settings.sloppy_sctp,
        }
    }

    /// The server that a new connection gets, and the template that its client has come by.
    fn choose(
        &mut self,
        service: ServiceIndex,
        protocol: Protocol,
        view: &View,
        ports: Ports,
        moment: Moment,
    ) -> Option<Chosen> {
        let request =
            Request { source: view.source, source_port: ports.source, destination: view.destination };
        let Some(key) = self.template_key(service, protocol, view) else {
            let server = self.services.pick(service, &request, moment.now)?;
            return Some(Chosen { server, template: None });
        };
        if let Some(template) = self.connections.find_template(&key) {
            if let Some(server) = self.server_of_template(template) {
                return Some(Chosen { server, template: Some(template) });
            }
            self.connections.abandon_template(template);
        }
        let server = self.services.pick(service, &request, moment.now)?;
        Some(Chosen { server, template: self.remember(service, &key, server, moment) })
    }

    /// By which a client of a persistent service comes back.
    fn template_key(&self, service: ServiceIndex, protocol: Protocol, view: &View) -> Option<TemplateKey> {
        let settings = self.services.service(service)?;
        let prefix_len = settings.persistence.as_ref()?.prefix_len;
        Some(match settings.id {
            ServiceId::FwMark { mark, .. } => TemplateKey::of_mark(mark, view.source, prefix_len),
            ServiceId::Address { port, .. } => {
                let service = Endpoint::new(view.destination, if port == FTP { 0 } else { port });
                TemplateKey::of_service(protocol, service, view.source, prefix_len)
            }
        })
    }

    /// `None` where it takes no more connections.
    fn server_of_template(&self, template: ConnectionIndex) -> Option<ServerIndex> {
        let server = self.connections.get(template)?.server_index()?;
        if !self.services.is_available(server) {
            return None;
        }
        let weightless = self.services.seen(server).is_none_or(|server| server.weight() == 0);
        (self.settings.quiescent == Quiescent::Keep || !weightless).then_some(server)
    }

    /// Makes a template. Without room for it the connection is made all the same: this once, the client is not remembered.
    fn remember(
        &mut self,
        service: ServiceIndex,
        key: &TemplateKey,
        server: ServerIndex,
        moment: Moment,
    ) -> Option<ConnectionIndex> {
        let settings = self.services.service(service)?;
        let timeout = settings.persistence.as_ref()?.timeout;
        let on_one_port = matches!(settings.id, ServiceId::Address { port, .. } if port != 0 && port != FTP);
        let real = self.services.settings(server)?;
        let port = if on_one_port { real.id.port } else { 0 };
        let end = Endpoint::new(Address::from(real.id.address), port);
        let template = Connection::template(key, end, method(real.forwarding), timeout).with_server(server);
        self.make_room(moment);
        let made = self.connections.insert(template, None, moment.tick).ok()?;
        self.services.bind(server, Counted::Template);
        Some(made)
    }

    /// Makes the connection, or says why there is none.
    #[expect(clippy::too_many_arguments, reason = "all that a packet and its service say")]
    fn connect(
        &mut self,
        chosen: &Chosen,
        service: ServiceIndex,
        protocol: Protocol,
        view: &View,
        ports: Ports,
        mark: Option<FwMark>,
        moment: Moment,
    ) -> Result<Made, Discard> {
        let server = chosen.server;
        let settings = self.services.service(service).ok_or(Discard::NoServer)?;
        let of_one_packet = settings.one_packet && protocol == Protocol::Udp;
        // Clients of a persistent service of many ports have them all on the same server.
        let on_its_port = settings.persistence.is_none()
            || matches!(settings.id, ServiceId::Address { port, .. } if port == ports.destination);
        let real = *self.services.settings(server).ok_or(Discard::NoServer)?;
        let port = if real.id.port != 0 && on_its_port { real.id.port } else { ports.destination };
        let local = match real.forwarding {
            Forwarding::FullNat => {
                let local = self.services.take_local(server, view.protocol, port);
                let local = local.map_err(|_none| Discard::NoLocalPort)?;
                Some(Endpoint::new(local.address, local.port))
            }
            _ => None,
        };
        let ends = Ends {
            client: Endpoint::new(view.source, ports.source),
            service: Endpoint::new(view.destination, ports.destination),
            server: Endpoint::new(real.id.address.into(), port),
            local,
        };
        let connection =
            Connection::new(protocol, &ends, method(real.forwarding)).with_server(server).with_mark(mark);
        if of_one_packet {
            self.services.count_connection(server);
            return Ok(Made::OfOnePacket(Box::new(connection.of_one_packet())));
        }
        self.make_room(moment);
        let counted = connection.counted();
        // That may have taken the template, which is worth less than any connection.
        let template = chosen.template.filter(|template| self.connections.get(*template).is_some());
        match self.connections.insert(connection, template, moment.tick) {
            Ok(made) => {
                self.services.bind(server, counted);
                self.services.count_connection(server);
                Ok(Made::Kept(made))
            }
            Err(_full) => {
                self.release_local(&ends, view.protocol);
                Err(Discard::TableFull)
            }
        }
    }

    fn make_room(&mut self, moment: Moment) {
        if let Some(ended) = self.connections.relieve(moment.tick) {
            self.settle(ended);
        }
    }
}

/// Whether the stack of this host would take such a packet for one: in the kernel, IPVS sees no others. A header that was
/// damaged on the way could name any service, and nobody speaks to himself through a director (LAND).
fn would_be_taken(packet: &[u8], view: &View) -> bool {
    let is_intact = match view.family {
        Family::V4 => Sum::of(packet.get(..view.transport).unwrap_or_default()).checksum() == 0,
        Family::V6 => true,
    };
    is_intact && view.source != view.destination
}

/// A connection that was made.
enum Made {
    Kept(ConnectionIndex),
    /// It ends with its packet.
    OfOnePacket(Box<Connection>),
}

/// As the sync protocol has it: full NAT is masquerading, with a local end.
pub(super) const fn method(forwarding: Forwarding) -> Method {
    match forwarding {
        Forwarding::Masquerade | Forwarding::FullNat => Method::Masquerade,
        Forwarding::Direct => Method::Direct,
        Forwarding::Tunnel(_) => Method::Tunnel,
        Forwarding::Local => Method::Local,
        Forwarding::Bypass => Method::Bypass,
    }
}
