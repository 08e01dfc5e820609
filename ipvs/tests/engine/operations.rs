//! Any bytes, read as changes, packets and time for an engine: whatever comes in whatever order, what it promises to
//! connections holds, and in the end nothing is left.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use buoy_ipvs::engine::address::Address;
use buoy_ipvs::engine::connections::{ConnectionIndex, Limits};
use buoy_ipvs::engine::forward::Endpoint;
use buoy_ipvs::engine::forward::fullnat::Toa;
use buoy_ipvs::engine::packet::protocol;
use buoy_ipvs::engine::process::{Engine, Orphans, Quiescent, Reuse, Settings, Verdict};
use buoy_ipvs::engine::reassembly;
use buoy_ipvs::engine::state::{Direction, TcpTable};
use buoy_ipvs::sync::SendRules;
use buoy_ipvs::{
    Change, Forwarding, Persistence, Protocol, RealServer, Scheduler, SchedulerFlags, ServiceId, Timeouts,
    Tunnel, TunnelChecksum, VirtualService, Weight,
};

use crate::flow::Flow;
use crate::packets::{ACK, Build, FIN, RST, SYN, end, error};
use crate::site::{Fate, Site, id, ip, own, server};

/// So few that they have to make room for each other.
const CONNECTIONS: u32 = 48;
const FRAGMENTS: reassembly::Limits = reassembly::Limits { bytes: 20_000, datagrams: 8, fragments: 8 };
/// The longest that anything lasts here: what [`TIMEOUTS`] sets, and then a template.
const QUIET: Duration = Duration::from_secs(2 * 1000 + 400);
const TIMEOUTS: [u64; 4] = [1, 20, 900, 1000];
const TIMES: [u64; 8] = [1, 50, 900, 9_000, 59_000, 61_000, 121_000, 901_000];
/// A connection may end a tick before its time, since time is counted in those.
const TICK: Duration = Duration::from_millis(100);

/// Plays `data` to its end, and then lets time pass.
pub(crate) fn check(data: &[u8]) {
    let mut bytes = Arguments(data.iter());
    let mut machine = Machine::new();
    let mut count = 0;
    while let Some(operation) = bytes.0.next() {
        machine.operate(*operation, &mut bytes);
        count += 1;
        if count % 16 == 0 {
            machine.check();
        }
    }
    machine.check();
    machine.end();
}

/// Zeros for ever when the data ends.
struct Arguments<'a>(std::slice::Iter<'a, u8>);

impl Arguments<'_> {
    fn byte(&mut self) -> u8 {
        self.0.next().copied().unwrap_or(0)
    }

    fn index(&mut self, below: usize) -> usize {
        usize::from(self.byte()).checked_rem(below).unwrap_or(0)
    }

    fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.index(of.len())]
    }
}

/// What holds of a connection until it ends: its packets go to its server, and its server's to its client.
#[derive(Debug)]
struct Promise {
    flow: Flow,
    connection: ConnectionIndex,
    until: Instant,
    /// Entries that had to make room before.
    evicted: u64,
}

struct Machine {
    site: Site,
    backup: Engine,
    services: [(VirtualService, Vec<RealServer>); 8],
    promises: BTreeMap<(Client, usize), Promise>,
}

/// An endpoint, in an order.
type Client = (Address, u16);

fn services() -> [(VirtualService, Vec<RealServer>); 8] {
    let new =
        |protocol, address, port, scheduler| VirtualService::new(id(protocol, address, port), scheduler);
    let (tcp, udp, sctp) = (Protocol::Tcp, Protocol::Udp, Protocol::Sctp);
    let persistence = Some(Persistence { timeout: Duration::from_secs(300), prefix_len: 24, engine: None });
    let gue = Tunnel::Gue { port: 6080, checksum: TunnelChecksum::Full };
    let pair = |network: &str, port, forwarding| {
        vec![
            server(&format!("{network}1"), port, forwarding, 1),
            server(&format!("{network}2"), port, forwarding, 2),
        ]
    };
    let masquerade = Forwarding::Masquerade;
    [
        (new(tcp, "10.9.0.1", 80, Scheduler::Wlc), pair("10.2.1.", 8080, masquerade)),
        (
            VirtualService {
                local_addresses: [ip("10.2.0.1")].into_iter().collect(),
                ..new(tcp, "10.9.0.2", 80, Scheduler::Wrr)
            },
            pair("10.2.2.", 8080, Forwarding::FullNat),
        ),
        (new(tcp, "10.9.0.3", 80, Scheduler::Mh), pair("10.2.3.", 0, Forwarding::Tunnel(gue))),
        (new(tcp, "2001:db8:9::1", 80, Scheduler::Sh), pair("2001:db8:22::", 8080, masquerade)),
        (new(udp, "10.9.0.1", 53, Scheduler::Rr), pair("10.2.5.", 53, masquerade)),
        (
            VirtualService { persistence, ..new(tcp, "10.9.0.4", 0, Scheduler::Lc) },
            pair("10.2.6.", 0, masquerade),
        ),
        (new(sctp, "10.9.0.1", 90, Scheduler::Nq), pair("10.2.7.", 90, masquerade)),
        (new(udp, "10.9.0.5", 514, Scheduler::Lblcr), pair("10.2.8.", 514, Forwarding::Direct)),
    ]
}

impl Machine {
    fn new() -> Self {
        let mut site = Site::new(Settings::default(), CONNECTIONS, FRAGMENTS);
        site.host.local.extend(own());
        let backup = Engine::new(Settings::default(), Limits { connections: CONNECTIONS }, 9, site.now);
        let mut machine = Self { site, backup, services: services(), promises: BTreeMap::new() };
        for (service, servers) in services() {
            machine.site.service(&service, &[]);
            machine.backup.apply(&Change::AddService(service.clone()), machine.site.now).expect("new");
            for server in servers {
                machine.apply(&Change::AddServer(service.id, server));
            }
        }
        machine
    }

    /// Refusals are as good as anything else, and the same on both directors.
    fn apply(&mut self, change: &Change) {
        let done = self.site.engine.apply(change, self.site.now);
        assert_eq!(self.backup.apply(change, self.site.now), done);
    }

    fn operate(&mut self, operation: u8, bytes: &mut Arguments<'_>) {
        match operation % 16 {
            0..5 => self.ask(operation, bytes),
            5 | 6 => self.answer(bytes),
            7 => self.site.pass(Duration::from_millis(bytes.one_of(&TIMES))),
            8 => self.come_or_go(bytes),
            9 => self.edit_server(bytes),
            10 => self.edit_service(bytes),
            11 => self.set(bytes),
            12 => self.complain(bytes),
            13 => self.send_raw(bytes),
            14 => self.offload(bytes),
            _ => self.ask_around(bytes),
        }
        self.relay();
        assert!(self.site.engine.connections() <= CONNECTIONS as usize);
        assert!(self.site.reassembly.bytes() <= FRAGMENTS.bytes);
    }

    /// A packet of a client.
    fn ask(&mut self, operation: u8, bytes: &mut Arguments<'_>) {
        let (number, who) = (bytes.index(self.services.len()), bytes.byte());
        let flags = bytes.one_of(&[SYN, ACK, FIN | ACK, RST, 0, SYN | ACK]);
        let (service, protocol) = self.addressed(number, who);
        let network = if number == 3 { "2001:db8:1::" } else { "10.1.0." };
        let client = end(&format!("{network}{}", 1 + who % 4), 3000 + u16::from(who / 4 % 4));
        let kind = [1, 0, 7, 6, 14, 11][usize::from(who) % 6];
        let payload = if protocol == protocol::SCTP { vec![kind, 0, 0, 4] } else { b"request".to_vec() };
        let ttl = if operation & 0x80 == 0 { 64 } else { who % 4 };
        let begins = match protocol {
            protocol::TCP => flags & (SYN | RST) == SYN,
            protocol::SCTP => kind == 1,
            _ => false,
        };
        let build = Build { flags, ttl, ..Build::new(protocol, client, service) }.with(&payload);
        let packet = build.bytes();
        let key = ((client.address, client.port), self.place(service, protocol, number));
        let promised = self.promises.remove(&key).filter(|promise| self.holds(promise));
        let out = self.site.send_bytes(&packet, None);
        if let Some(Promise { flow, .. }) = promised.filter(|_| !begins && ttl > 1) {
            assert!(self.is_none_or_there(&flow, &out), "{flow:?} {:?}", out.fate);
        }
        let Fate::Of(Verdict::Forward { connection: Some(connection), .. }) = out.fate else { return };
        if let Some(flow) = Flow::from_out(&self.site, protocol, client, service, &out) {
            self.promise(key, flow, connection);
        }
    }

    /// Its server is gone, or has got the packet.
    fn is_none_or_there(&self, flow: &Flow, out: &crate::site::Out) -> bool {
        !self.is_present(flow) || flow.reaches_server(out)
    }

    fn is_present(&self, flow: &Flow) -> bool {
        let table = self.site.engine.table();
        let mut servers = table.entries().flat_map(|(_, entry)| entry.servers.keys());
        servers.any(|server| flow.server.address == server.address.into())
    }

    fn addressed(&self, number: usize, who: u8) -> (Endpoint, u8) {
        match self.services[number].0.id {
            ServiceId::Address { protocol, address, port } => {
                let port = if port == 0 { 81 + u16::from(who / 16 % 2) } else { port };
                (Endpoint { address: address.into(), port }, protocol.number())
            }
            ServiceId::FwMark { .. } => unreachable!("there is none"),
        }
    }

    /// Tells ports of the service on every port apart.
    fn place(&self, service: Endpoint, protocol: u8, number: usize) -> usize {
        number + 100 * usize::from(service.port) + usize::from(protocol) * 10_000_000
    }

    fn promise(&mut self, key: (Client, usize), flow: Flow, connection: ConnectionIndex) {
        let Some(entry) = self.site.engine.connection(connection) else { return };
        let until = self.site.now + entry.timeout().saturating_sub(TICK);
        let evicted = self.site.engine.counts().evicted;
        self.promises.insert(key, Promise { flow, connection, until, evicted });
    }

    /// Whether the connection is still to be there.
    fn holds(&self, promise: &Promise) -> bool {
        self.site.now < promise.until && self.site.engine.counts().evicted == promise.evicted
    }

    /// A packet of a server.
    fn answer(&mut self, bytes: &mut Arguments<'_>) {
        let number = bytes.index(self.promises.len());
        let flags = bytes.one_of(&[SYN | ACK, ACK, FIN | ACK, RST]);
        let Some(key) = self.promises.keys().nth(number).copied() else { return };
        let Some(promise) = self.promises.remove(&key) else { return };
        let Some(out) = promise.flow.answer(&mut self.site, flags) else { return };
        if self.holds(&promise) {
            assert!(promise.flow.reaches_client(&out), "{promise:?} {:?}", out.fate);
            self.promise(key, promise.flow, promise.connection);
        }
    }

    fn come_or_go(&mut self, bytes: &mut Arguments<'_>) {
        let number = bytes.index(self.services.len());
        let (service, servers) = self.services[number].clone();
        let choice = bytes.byte();
        let server = servers[usize::from(choice % 2)];
        self.apply(&match choice / 2 % 8 {
            0 => Change::RemoveService(service.id),
            1 => Change::AddService(service),
            2..5 => Change::RemoveServer(service.id, server.id),
            _ => Change::AddServer(service.id, server),
        });
    }

    fn edit_server(&mut self, bytes: &mut Arguments<'_>) {
        let number = bytes.index(self.services.len());
        let (service, servers) = &self.services[number];
        let server = servers[bytes.index(2)];
        let weight = Weight::clamped(i64::from(bytes.byte() % 4));
        let upper_threshold = u32::from(bytes.byte() % 4);
        let lower_threshold = upper_threshold.min(u32::from(bytes.byte() % 3));
        let edited = RealServer { weight, upper_threshold, lower_threshold, ..server };
        let id = service.id;
        self.apply(&Change::EditServer(id, edited));
    }

    fn edit_service(&mut self, bytes: &mut Arguments<'_>) {
        let number = bytes.index(self.services.len());
        let scheduler = Some(bytes.one_of(&Scheduler::ALL));
        let choice = bytes.byte();
        let flags = SchedulerFlags { flag_1: choice & 1 != 0, flag_2: choice & 4 != 0, flag_3: false };
        let service = &mut self.services[number].0;
        service.scheduler = scheduler;
        service.flags = flags;
        service.one_packet = choice & 2 != 0;
        let edited = service.clone();
        self.apply(&Change::EditService(edited));
    }

    fn set(&mut self, bytes: &mut Arguments<'_>) {
        let [first, second] = [bytes.byte(), bytes.byte()];
        let bit = |byte: u8, number: u8| byte >> number & 1 == 1;
        let seconds = |choice: u8| Some(Duration::from_secs(TIMEOUTS[usize::from(choice % 4)]));
        let timeouts =
            Timeouts { tcp: seconds(second), tcp_fin: seconds(second / 4), udp: seconds(second / 16) };
        match first % 4 {
            0 => self.site.engine.set_timeouts(&timeouts).expect("they are possible"),
            1 => {
                let service = self.services[usize::from(first / 4) % 8].0.id;
                self.site.engine.set_service_timeouts([(service, timeouts)].into());
            }
            _ => self.site.engine.set_settings(Settings {
                orphans: if bit(first, 2) { Orphans::Keep } else { Orphans::Expire },
                quiescent: if bit(first, 3) { Quiescent::Expire } else { Quiescent::Keep },
                reuse: [Reuse::Never, Reuse::Ended, Reuse::HalfEnded][usize::from(first >> 4) % 3],
                sloppy_tcp: bit(second, 0),
                sloppy_sctp: bit(second, 1),
                tcp_table: if bit(second, 2) { TcpTable::Secure } else { TcpTable::Normal },
                toa: if bit(second, 3) { Toa::On } else { Toa::Off },
                sync: bit(second, 4).then(SendRules::default),
                ..Settings::default()
            }),
        }
    }

    /// An error about a packet of a connection, from one side or the other.
    fn complain(&mut self, bytes: &mut Arguments<'_>) {
        let number = bytes.index(self.promises.len());
        let kind = bytes.one_of(&[[3, 1], [3, 4], [11, 0], [1, 0], [2, 0], [4, 0]]);
        let (from_client, length) = (bytes.index(2) == 0, bytes.index(80));
        let Some(promise) = self.promises.values().nth(number) else { return };
        let Flow { protocol, client, service, server, answers } = &promise.flow;
        let (about, to) = match (from_client, answers) {
            (false, Some(seen)) => (Build::new(*protocol, *seen, *server), seen.address),
            _ => (Build::new(*protocol, *service, *client), service.address),
        };
        let mut about = about.bytes();
        about.truncate(length.max(1));
        let packet = error(if from_client { client.address } else { server.address }, to, kind, &about);
        self.site.send(&packet);
    }

    /// Bytes, cut into a packet of their own.
    fn send_raw(&mut self, bytes: &mut Arguments<'_>) {
        let length = usize::from(bytes.byte());
        let packet: Vec<_> = bytes.0.by_ref().take(length).copied().collect();
        // It may be of anyone's connection.
        self.promises.clear();
        self.site.send_bytes(&packet, None);
    }

    fn offload(&mut self, bytes: &mut Arguments<'_>) {
        let (number, choice) = (bytes.index(self.promises.len()), bytes.byte());
        let Some(promise) = self.promises.values_mut().nth(number) else { return };
        let engine = &mut self.site.engine;
        let moment = engine.moment(self.site.now);
        engine.set_offloaded(promise.connection, choice & 1 == 0);
        let direction = if choice & 2 == 0 { Direction::Input } else { Direction::Output };
        engine.forwarded(promise.connection, direction, u64::from(choice), 1000, moment);
    }

    /// What changes nothing.
    fn ask_around(&mut self, bytes: &mut Arguments<'_>) {
        let engine = &mut self.site.engine;
        let service = self.services[bytes.index(8)].0.id;
        let _is_there = engine.zero(Some(&service));
        engine.zero(None).expect("everything is there");
        let (listed, _) = engine.list(Default::default(), bytes.byte().into(), self.site.now);
        assert!(listed.len() <= engine.connections());
        assert!(!engine.claims().is_empty() || engine.table().is_empty());
    }

    /// Records go to the other director; what ended was offloaded.
    fn relay(&mut self) {
        let moment = self.backup.moment(self.site.now);
        while let Some(record) = self.site.engine.poll_told() {
            self.backup.handle_record(&record, moment);
        }
        while let Some(gone) = self.site.engine.poll_gone() {
            assert!(gone.connection.is_offloaded());
        }
    }

    fn check(&self) {
        self.site.engine.check(self.site.now).expect("a sound engine");
        self.backup.check(self.site.now).expect("a sound backup");
        self.site.check_counts();
    }

    fn end(mut self) {
        self.site.pass(QUIET);
        while self.backup.poll_timeout() <= self.site.now {
            self.backup.handle_timeout(self.site.now);
        }
        self.check();
        for engine in [&self.site.engine, &self.backup] {
            assert_eq!((engine.connections(), engine.local_ports()), (0, 0));
        }
        assert_eq!(self.site.reassembly.len(), 0);
    }
}
