//! What connections and packets ask of services and servers.

use super::local_ports::{LocalPort, LocalPorts, NoLocalPort, Target};
use super::meter::Counts;
use super::{ServiceIndex, Services, position};
use crate::engine::address::Address;
use crate::engine::scheduler::{Counted, Server, ServerIndex};
use crate::real_server::{RealServer, RealServerId};

/// Which port is meant where a service has a server on the port of a connection and one that keeps every port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortFirst {
    /// That of the connection.
    Own,
    /// None: of connections with a mark that are not masqueraded.
    Every,
}

impl Services {
    /// The network that the templates of a client of this service are for; `None` without persistence.
    pub fn client_network(&self, service: ServiceIndex, client: Address) -> Option<Address> {
        let persistence = self.service(service)?.persistence.as_ref()?;
        let host_bits = client.family().bits().saturating_sub(persistence.prefix_len);
        let network = u128::MAX.checked_shl(host_bits.into()).unwrap_or(0);
        // What maps IPv4 into IPv6 is above the host's bits.
        Some(Address::v6(client.bits() & network))
    }

    /// Servers of a service, the newest first.
    pub fn servers(&self, service: ServiceIndex) -> impl Iterator<Item = ServerIndex> {
        self.place(service).map(|service| service.servers()).unwrap_or_default().iter().copied()
    }

    /// The server of a connection that another director tells of, by where the connection ends.
    pub fn find_server(
        &self,
        service: ServiceIndex,
        address: Address,
        port: u16,
        first: PortFirst,
    ) -> Option<ServerIndex> {
        let service = self.place(service)?;
        let on = |port| service.server(&RealServerId { address: address.into(), port });
        match first {
            PortFirst::Own => on(port).or_else(|| on(0)),
            PortFirst::Every => on(0).or_else(|| on(port)),
        }
    }

    /// Its settings; the last ones if it was removed.
    pub fn settings(&self, server: ServerIndex) -> Option<&RealServer> {
        self.servers.get(server).map(|place| &place.settings)
    }

    /// As schedulers see it.
    pub fn seen(&self, server: ServerIndex) -> Option<&Server> {
        self.servers.get(server)?;
        self.servers.seen().get(usize::try_from(server.get()).ok()?)
    }

    /// The service that it is in; `None` if it was removed.
    pub fn service_of(&self, server: ServerIndex) -> Option<ServiceIndex> {
        self.servers.get(server)?.service
    }

    /// Whether packets of its connections are forwarded: it was not removed from its service.
    pub fn is_available(&self, server: ServerIndex) -> bool {
        self.service_of(server).is_some()
    }

    /// A connection or template of this server begins. The server keeps its place until it is unbound.
    pub fn bind(&mut self, server: ServerIndex, counted: Counted) {
        self.servers.bind(server, counted);
    }

    /// A connection or template of this server ends.
    pub fn unbind(&mut self, server: ServerIndex, counted: Counted) {
        self.servers.unbind(server, counted);
    }

    /// A connection counts otherwise from now on.
    pub fn recount(&mut self, server: ServerIndex, from: Counted, to: Counted) {
        self.servers.recount(server, from, to);
    }

    /// A connection was scheduled. One that another director tells of is not counted.
    pub fn count_connection(&mut self, server: ServerIndex) {
        self.count(server, Counts::connection);
    }

    /// A packet from a client, of so many bytes from its IP header on.
    pub fn count_in(&mut self, server: ServerIndex, bytes: u32) {
        self.count_in_many(server, 1, bytes.into());
    }

    /// A packet to a client.
    pub fn count_out(&mut self, server: ServerIndex, bytes: u32) {
        self.count_out_many(server, 1, bytes.into());
    }

    /// Packets from clients that were forwarded elsewhere, and all their bytes.
    pub fn count_in_many(&mut self, server: ServerIndex, packets: u64, bytes: u64) {
        self.count(server, |counts| counts.incoming(packets, bytes));
    }

    /// Packets to clients that were forwarded elsewhere, and all their bytes.
    pub fn count_out_many(&mut self, server: ServerIndex, packets: u64, bytes: u64) {
        self.count(server, |counts| counts.outgoing(packets, bytes));
    }

    /// At the server, its service and in total; nowhere if the server was removed.
    fn count(&mut self, server: ServerIndex, add: impl Fn(&mut Counts)) {
        let Some(place) = self.servers.get_mut(server) else { return };
        let Some(service) = place.service else { return };
        add(&mut place.meter.counts);
        if let Some(Some(service)) = self.places.get_mut(position(service)) {
            add(&mut service.meter.counts);
        }
        add(&mut self.totals.counts);
    }

    /// Active and inactive connections and templates of each server, of those that were removed too.
    pub(in crate::engine) fn counted(&self) -> impl Iterator<Item = (ServerIndex, [u32; 3])> {
        self.servers.counted()
    }

    /// Lends a local port for a new connection by full NAT to this port of a server. It is to be given back with
    /// [`release_local`](Self::release_local).
    ///
    /// # Errors
    /// The service has no local addresses, or no port is free. A server that was removed gets none either.
    pub fn take_local(
        &mut self,
        server: ServerIndex,
        protocol: u8,
        port: u16,
    ) -> Result<LocalPort, NoLocalPort> {
        let Self { servers, places, local_ports, .. } = self;
        let place = servers.get(server).ok_or(NoLocalPort::NoAddress)?;
        let service = place.service.and_then(|service| places.get_mut(position(service))?.as_mut());
        let local = &mut service.ok_or(NoLocalPort::NoAddress)?.local;
        let target = Target { protocol, address: place.settings.id.address.into(), port };
        local_ports.take(&target, &local.addresses, &mut local.turn)
    }

    /// Lends a connection the local port that another director has lent it, from the same pool as
    /// [`take_local`](Self::take_local). `false` if it is not to be had.
    pub fn claim_local(&mut self, target: &Target, local: LocalPort) -> bool {
        self.local_ports.claim(target, local)
    }

    /// Gives a local port back, when the connection has ended. `false` if it was not lent for such a connection.
    pub fn release_local(&mut self, target: &Target, local: LocalPort) -> bool {
        self.local_ports.release(target, local)
    }

    pub const fn local_ports(&self) -> &LocalPorts {
        &self.local_ports
    }
}
