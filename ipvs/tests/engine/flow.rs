//! A client and its server, who talk through the engine.

use buoy_ipvs::engine::forward::Endpoint;
use buoy_ipvs::engine::packet::{View, protocol};
use buoy_ipvs::engine::process::Verdict;
use buoy_ipvs::sync::Method;

use crate::packets::{ACK, Build, SYN, is_intact};
use crate::site::{Fate, Out, Site};

/// One that was forwarded, and how its server has it.
#[derive(Clone, Debug)]
pub(crate) struct Flow {
    pub(crate) protocol: u8,
    pub(crate) client: Endpoint,
    pub(crate) service: Endpoint,
    pub(crate) server: Endpoint,
    /// Whom the server answers, where its answers pass.
    pub(crate) answers: Option<Endpoint>,
}

impl Flow {
    /// The first packet of a client; `None` if it went nowhere.
    pub(crate) fn begin(site: &mut Site, protocol: u8, client: Endpoint, service: Endpoint) -> Option<Self> {
        let build = Build { flags: SYN, ..Build::new(protocol, client, service) };
        let out = site.send(&build);
        Self::from_out(site, protocol, client, service, &out)
    }

    /// What a client's packet that has come out says of its connection.
    pub(crate) fn from_out(
        site: &Site,
        protocol: u8,
        client: Endpoint,
        service: Endpoint,
        out: &Out,
    ) -> Option<Self> {
        let Fate::Of(Verdict::Forward { to, connection, .. }) = out.fate else { return None };
        let entry = connection.and_then(|connection| site.engine.connection(connection));
        let view = out.view();
        let by_method = |method| entry.is_some_and(|entry| entry.method() == method);
        let masqueraded = entry.is_none() || by_method(Method::Masquerade);
        let (server_port, answers) = match view.ports.filter(|_| masqueraded) {
            Some(ports) => {
                let seen = Endpoint { address: view.source, port: ports.source };
                (ports.destination, Some(seen))
            }
            None => (service.port, None),
        };
        let server = Endpoint { address: to, port: server_port };
        Some(Self { protocol, client, service, server, answers })
    }

    /// A flow whose handshake is complete.
    pub(crate) fn establish(site: &mut Site, client: Endpoint, service: Endpoint) -> Self {
        let flow = Self::begin(site, protocol::TCP, client, service).expect("a server");
        flow.answer(site, SYN | ACK);
        flow.ask(site, ACK);
        flow
    }

    pub(crate) fn ask(&self, site: &mut Site, flags: u8) -> Out {
        let build = Build { flags, ..Build::new(self.protocol, self.client, self.service) };
        site.send(&build.with(b"request"))
    }

    /// What the server says, if that passes here.
    pub(crate) fn answer(&self, site: &mut Site, flags: u8) -> Option<Out> {
        let build = Build { flags, ..Build::new(self.protocol, self.server, self.answers?) };
        Some(site.send(&build.with(b"answer!")))
    }

    /// Whether this is what the server gets of a packet of this client.
    pub(crate) fn reaches_server(&self, out: &Out) -> bool {
        let Some(to) = out.to().filter(|to| *to == self.server.address) else { return false };
        let Some(seen) = self.answers else { return true };
        let view = out.view();
        ends(&view) == Some((seen, self.server)) && view.destination == to && is_intact(&out.bytes)
    }

    /// Whether this is what the client gets: an answer of the service.
    pub(crate) fn reaches_client(&self, out: &Out) -> bool {
        out.to() == Some(self.client.address)
            && ends(&out.view()) == Some((self.service, self.client))
            && is_intact(&out.bytes)
    }

    /// Both speak, and hear each other.
    pub(crate) fn carries_on(&self, site: &mut Site) -> bool {
        let request = self.ask(site, ACK);
        let answer = self.answer(site, ACK);
        self.reaches_server(&request) && answer.is_none_or(|answer| self.reaches_client(&answer))
    }
}

fn ends(view: &View) -> Option<(Endpoint, Endpoint)> {
    let ports = view.ports?;
    let source = Endpoint { address: view.source, port: ports.source };
    Some((source, Endpoint { address: view.destination, port: ports.destination }))
}
