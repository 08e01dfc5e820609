mod books;
mod errors;
mod life;
mod methods;
mod persistence;
mod takeover;
mod told;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::*;
use crate::engine::buffer::HEADROOM;
use crate::engine::connections::Connection;
use crate::engine::forward::testing::{Build, address, end, path};
use crate::engine::packet::protocol::{TCP, UDP};
use crate::real_server::{Forwarding, RealServer, RealServerId, Weight};
use crate::scheduler::Scheduler;
use crate::table::Change;
use crate::virtual_service::{Protocol, ServiceId, VirtualService};

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// Addresses of this host and ways that are narrower than usual. Everything else is reached by 1500 bytes.
#[derive(Debug, Default)]
struct Host {
    local: Vec<Address>,
    unreachable: Vec<Address>,
    mtus: BTreeMap<Address, usize>,
}

impl Routes for Host {
    fn route(&mut self, to: Address) -> Route {
        if self.local.contains(&to) {
            return Route::Local;
        }
        if self.unreachable.contains(&to) {
            return Route::Unreachable;
        }
        let source = match to.family() {
            crate::virtual_service::Family::V4 => "10.2.0.1",
            crate::virtual_service::Family::V6 => "2001:db8:2::1",
        };
        Route::Via(path(source, self.mtus.get(&to).copied().unwrap_or(1500)))
    }

    fn lower_mtu(&mut self, to: Address, mtu: usize) {
        self.mtus.insert(to, mtu);
    }
}

/// An engine with its time.
struct Site {
    engine: Engine,
    host: Host,
    now: Instant,
}

/// A packet as it comes out, and what it comes to.
#[derive(Debug)]
struct Out {
    verdict: Verdict,
    bytes: Vec<u8>,
}

impl Out {
    fn view(&self) -> View {
        View::read(&self.bytes).expect("a packet")
    }

    /// `source:port > destination:port to next hop`, as it leaves.
    fn way(&self) -> String {
        let view = self.view();
        let to = match self.verdict {
            Verdict::Forward { to, .. } | Verdict::Answer { to, .. } => to.to_string(),
            Verdict::Deliver { .. } => "host".to_owned(),
            other => return format!("{other:?}"),
        };
        match view.ports {
            Some(ports) => format!(
                "{}:{} > {}:{} to {to}",
                view.source, ports.source, view.destination, ports.destination
            ),
            None => format!("{} > {} to {to}", view.source, view.destination),
        }
    }
}

impl Site {
    fn new() -> Self {
        Self::with(Settings::default())
    }

    fn with(settings: Settings) -> Self {
        let now = Instant::now();
        let engine = Engine::new(settings, Limits { connections: 1000 }, 7, now);
        let local = ["10.9.0.1", "2001:db8:9::1", "10.2.0.1"].map(address).to_vec();
        Self { engine, host: Host { local, ..Host::default() }, now }
    }

    fn apply(&mut self, change: Change) {
        self.engine.apply(&change, self.now).expect("a change that can be made");
    }

    fn service(&mut self, service: &VirtualService, servers: &[(&str, u16, Forwarding)]) {
        self.apply(Change::AddService(service.clone()));
        for (address, port, forwarding) in servers {
            self.server(&service.id, address, *port, *forwarding, 1);
        }
    }

    fn server(&mut self, service: &ServiceId, address: &str, port: u16, forwarding: Forwarding, weight: i64) {
        self.apply(Change::AddServer(*service, server(address, port, forwarding, weight)));
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = Some(self.engine.poll_timeout()).filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.engine.handle_timeout(self.now);
        }
        self.now = end;
    }

    fn send(&mut self, build: &Build) -> Out {
        self.send_marked(build, None)
    }

    fn send_marked(&mut self, build: &Build, mark: Option<FwMark>) -> Out {
        let bytes = build.bytes();
        let mut buffer = vec![0; HEADROOM];
        buffer.extend(&bytes);
        let end = buffer.len();
        let mut packet = Packet::new(&mut buffer, HEADROOM, end, build.offload()).expect("a packet");
        let read = self.engine.read(&bytes).expect("a packet");
        let moment = self.engine.moment(self.now);
        let verdict = self.engine.process(&mut packet, &read, mark, &mut self.host, moment);
        Out { verdict, bytes: packet.bytes().to_vec() }
    }

    /// The only connection that there is.
    fn connection(&self) -> &Connection {
        let mut all = self.engine.connections.iter().filter(|(_, entry)| !entry.is_template());
        let only = all.next().expect("a connection").1;
        assert_eq!(all.count(), 0, "but one connection");
        only
    }

    fn counters(&self, service: &ServiceId, server: &str, port: u16) -> crate::Counters {
        let server = RealServerId { address: ip(server), port };
        self.engine.statistics().servers[&(*service, server)]
    }
}

/// Has a packet processed that is none of a [`Build`].
fn handle(site: &mut Site, bytes: &[u8]) -> Out {
    let mut buffer = vec![0; HEADROOM];
    buffer.extend(bytes);
    let end = buffer.len();
    let mut packet = Packet::new(&mut buffer, HEADROOM, end, Default::default()).expect("a packet");
    let read = site.engine.read(bytes).expect("a packet");
    let moment = site.engine.moment(site.now);
    let verdict = site.engine.process(&mut packet, &read, None, &mut site.host, moment);
    Out { verdict, bytes: packet.bytes().to_vec() }
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn server(address: &str, port: u16, forwarding: Forwarding, weight: i64) -> RealServer {
    RealServer::new(RealServerId { address: ip(address), port }, forwarding, Weight::clamped(weight))
}

fn id(protocol: Protocol, address: &str, port: u16) -> ServiceId {
    ServiceId::Address { protocol, address: ip(address), port }
}

fn web() -> VirtualService {
    VirtualService::new(id(Protocol::Tcp, "10.9.0.1", 80), Scheduler::Rr)
}

fn dns() -> VirtualService {
    VirtualService::new(id(Protocol::Udp, "10.9.0.1", 53), Scheduler::Rr)
}

/// A segment from a port of a client to the service.
fn tcp(port: u16, flags: u8) -> Build {
    Build { flags, ..Build::new(TCP, end("10.1.0.9", port), end("10.9.0.1", 80)) }
}

/// A segment from a server to where it believes its client.
fn back(server: &str, to: (&str, u16), flags: u8) -> Build {
    Build { flags, ..Build::new(TCP, end(server, 8080), end(to.0, to.1)) }
}

fn udp(port: u16) -> Build {
    Build::new(UDP, end("10.1.0.9", port), end("10.9.0.1", 53))
}
