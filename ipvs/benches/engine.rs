//! What does a packet cost the engine, from its bytes to its bytes, and what does a new connection?
//!
//! `cargo bench -p buoy-ipvs --bench engine`. Packets are 60 bytes of UDP or TCP that are masqueraded; half of them come
//! from clients, half are answers, 32 of one side after 32 of the other, as from two interfaces; they are of connections in
//! random order, or always of the same 1,024. In batches means that 32 are read before the first is processed
//! ([`Engine::approach`]). Beside the engine is what it cannot do without: reading the packet, finding its connection,
//! and rewriting. Packets lie in a ring of buffers, which is the same in all rows. Memory is what a process has in pages
//! when there is an engine more.

use std::env;
use std::fs;
use std::hint::black_box;
use std::net::IpAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use buoy_ipvs::engine::address::Address;
use buoy_ipvs::engine::buffer::{HEADROOM, Offload, Packet};
use buoy_ipvs::engine::checksum::Sum;
use buoy_ipvs::engine::connections::{Connection, Connections, Limits, PacketKey, Sought};
use buoy_ipvs::engine::forward::{Endpoint, Path, masquerade};
use buoy_ipvs::engine::packet::{View, protocol};
use buoy_ipvs::engine::process::{Engine, Moment, Read, Route, Routes, Settings, Verdict};
use buoy_ipvs::engine::state::Direction;
use buoy_ipvs::engine::wheel::Tick;
use buoy_ipvs::sync::{self, Ends, Method};
use buoy_ipvs::{
    Change, Forwarding, Protocol, RealServer, RealServerId, Scheduler, ServiceId, VirtualService, Weight,
};

const HOT: u32 = 1 << 10;
const COLD: u32 = 1 << 20;
const BATCH: usize = 32;
const LENGTH: usize = 60;
/// New connections of one measurement.
const NEW: u32 = 1 << 12;
const HOT_PACKETS: usize = 1 << 12;
const PACKETS: usize = 1 << 17;
/// Measured so often; the best counts.
const REPETITIONS: usize = 30;
const SERVERS: u32 = 64;
const SERVICE: u32 = 0x0a09_0001;
const PAGE: f64 = 4096.0;
const MEMORY_OF: &str = "--memory-of";

/// Ways as a cache of them answers: at once.
struct Ways;

impl Routes for Ways {
    fn route(&mut self, to: Address) -> Route {
        if to == Address::v4(SERVICE) {
            return Route::Local;
        }
        Route::Via(Path { mtu: 1500, source: Address::v4(0x0a02_0001) })
    }

    fn lower_mtu(&mut self, _: Address, _: usize) {}
}

/// Flows are numbers: 16 clients' ports for each address.
fn client(flow: u32) -> Endpoint {
    let port = 1024 + u16::try_from(flow % 16).expect("below 16");
    Endpoint { address: Address::v4(0x0a40_0000 + flow / 16), port }
}

const fn service() -> Endpoint {
    Endpoint { address: Address::v4(SERVICE), port: 80 }
}

fn id(transport: Protocol) -> ServiceId {
    ServiceId::Address { protocol: transport, address: IpAddr::from(Address::v4(SERVICE)), port: 80 }
}

/// A whole packet with right checksums.
fn packet(transport: Protocol, source: Endpoint, destination: Endpoint, flags: u8) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    let number = transport.number();
    bytes[..12].copy_from_slice(&[0x45, 0, 0, LENGTH as u8, 0x12, 0x34, 0x40, 0, 64, number, 0, 0]);
    bytes[12..16].copy_from_slice(&(source.address.bits() as u32).to_be_bytes());
    bytes[16..20].copy_from_slice(&(destination.address.bits() as u32).to_be_bytes());
    bytes[20..22].copy_from_slice(&source.port.to_be_bytes());
    bytes[22..24].copy_from_slice(&destination.port.to_be_bytes());
    let place = match number {
        protocol::UDP => {
            bytes[24..26].copy_from_slice(&40_u16.to_be_bytes());
            26
        }
        _ => {
            bytes[32..34].copy_from_slice(&[0x50, flags]);
            36
        }
    };
    let checksum = Sum::of(&bytes[..20]).checksum();
    bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
    let pseudo_header = Sum::of_pseudo_header(source.address, destination.address, number, LENGTH - 20);
    let checksum = Sum::of(&bytes[20..]).plus(pseudo_header).checksum();
    bytes[place..place + 2].copy_from_slice(&checksum.to_be_bytes());
    bytes
}

const ACK: u8 = 0x10;
const SYN: u8 = 0x02;

/// An engine with one service of 64 servers, and room for so many connections.
fn engine(transport: Protocol, room: u32, start: Instant) -> Engine {
    let mut engine = Engine::new(Settings::default(), Limits { connections: room }, 7, start);
    let service = VirtualService::new(id(transport), Scheduler::Rr);
    engine.apply(&Change::AddService(service), start).expect("a service");
    for number in 0..SERVERS {
        let address = IpAddr::from(Address::v4(0x0a02_0100 + number));
        let server = RealServerId { address, port: 8080 };
        let server = RealServer::new(server, Forwarding::Masquerade, Weight::ONE);
        engine.apply(&Change::AddServer(id(transport), server), start).expect("a server");
    }
    engine
}

/// One packet in its buffer, processed.
fn process(engine: &mut Engine, buffer: &mut Buffer, read: &Read, moment: Moment) -> Verdict {
    let mut packet = Packet::new(buffer, HEADROOM, HEADROOM + LENGTH, Offload::default()).expect("within");
    engine.process(&mut packet, read, None, &mut Ways, moment)
}

type Buffer = [u8; HEADROOM + LENGTH];

fn put(buffer: &mut Buffer, packet: &[u8; LENGTH]) {
    if let Some(place) = buffer.last_chunk_mut() {
        *place = *packet;
    }
}

/// So many established connections, and the server of each.
fn filled(transport: Protocol, flows: u32, start: Instant) -> (Engine, Vec<Endpoint>) {
    let mut engine = engine(transport, flows + flows / 8 + 4 * NEW, start);
    let mut servers = Vec::with_capacity(flows as usize);
    let moment = engine.moment(start);
    let mut buffer = [0; HEADROOM + LENGTH];
    for flow in 0..flows {
        for flags in [SYN, ACK] {
            put(&mut buffer, &packet(transport, client(flow), service(), flags));
            let read = engine.read(&buffer[HEADROOM..]).expect("a packet");
            let Verdict::Forward { to, .. } = process(&mut engine, &mut buffer, &read, moment) else {
                panic!("it is forwarded")
            };
            if flags == ACK {
                servers.push(Endpoint { address: to, port: 8080 });
            }
        }
    }
    (engine, servers)
}

/// Packets of both sides, in random order.
fn traffic(transport: Protocol, count: usize, among: u32, servers: &[Endpoint]) -> Vec<[u8; LENGTH]> {
    let mut random = fastrand::Rng::with_seed(1);
    let one = |number: usize| {
        let flow = random.u32(..among);
        match number / BATCH % 2 {
            0 => packet(transport, client(flow), service(), ACK),
            _ => packet(transport, servers[flow as usize], client(flow), ACK),
        }
    };
    (0..count).map(one).collect()
}

/// Nanoseconds for each of `count`.
fn best(count: usize, mut work: impl FnMut() -> Duration) -> f64 {
    let times = (0..REPETITIONS).map(|_| work().as_secs_f64() * 1e9);
    times.fold(f64::INFINITY, f64::min) / f64::from(u32::try_from(count).expect("fewer"))
}

/// What `work` takes for all packets, in batches that stand in a ring of buffers. Putting them there is not part of it.
fn through_ring(packets: &[[u8; LENGTH]], mut work: impl FnMut(&mut [Buffer; BATCH])) -> Duration {
    let mut ring = [[0; HEADROOM + LENGTH]; BATCH];
    let mut time = Duration::ZERO;
    for batch in packets.as_chunks::<BATCH>().0 {
        ring.iter_mut().zip(batch).for_each(|(buffer, packet)| put(buffer, packet));
        let start = Instant::now();
        work(&mut ring);
        time += start.elapsed();
    }
    time
}

fn by_engine(engine: &mut Engine, packets: &[[u8; LENGTH]], now: Instant) -> [f64; 2] {
    let moment = engine.moment(now);
    let one_by_one = best(packets.len(), || {
        through_ring(packets, |ring| {
            for buffer in ring {
                let read = engine.read(&buffer[HEADROOM..]).expect("a packet");
                let verdict = process(engine, buffer, &read, moment);
                assert!(matches!(black_box(verdict), Verdict::Forward { .. }));
            }
        })
    });
    let in_batches = best(packets.len(), || {
        through_ring(packets, |ring| {
            let mut reads = ring.each_ref().map(|buffer| engine.read(&buffer[HEADROOM..]).ok());
            engine.approach(&mut reads);
            for (buffer, read) in ring.iter_mut().zip(reads.iter().flatten()) {
                let verdict = process(engine, buffer, read, moment);
                assert!(matches!(black_box(verdict), Verdict::Forward { .. }));
            }
        })
    });
    [one_by_one, in_batches]
}

/// Reads, finds and rewrites, and does nothing else.
fn bare(table: &Connections, packets: &[[u8; LENGTH]]) -> [f64; 2] {
    let sought = |view: &View| table.sought(PacketKey::of(view).expect("it has ports"));
    let path = Path { mtu: 1500, source: Address::v4(0x0a02_0001) };
    let end = |end: sync::Endpoint<Address>| Endpoint { address: end.address, port: end.port };
    let rewrite = |buffer: &mut Buffer, view: &View, sought: &Sought| {
        let found = table.find(sought).expect("it is there");
        let entry = table.get(found.connection).expect("it is there");
        let mut packet =
            Packet::new(buffer, HEADROOM, HEADROOM + LENGTH, Offload::default()).expect("within");
        let done = match found.direction {
            Direction::Output => masquerade::to_client(&mut packet, view, end(entry.service()), &path),
            _ => masquerade::to_server(&mut packet, view, end(entry.server()), &path),
        };
        black_box(done.expect("it fits"));
    };
    let one_by_one = best(packets.len(), || {
        through_ring(packets, |ring| {
            for buffer in ring {
                let view = View::read(&buffer[HEADROOM..]).expect("a packet");
                rewrite(buffer, &view, &sought(&view));
            }
        })
    });
    let in_batches = best(packets.len(), || {
        through_ring(packets, |ring| {
            let views = ring.each_ref().map(|buffer| View::read(&buffer[HEADROOM..]).expect("a packet"));
            let mut keys = views.map(|view| sought(&view));
            table.approach(&mut keys, |sought| Some(sought));
            for ((buffer, view), sought) in ring.iter_mut().zip(&views).zip(&keys) {
                rewrite(buffer, view, sought);
            }
        })
    });
    [one_by_one, in_batches]
}

/// A bare table of the same connections.
fn table(transport: Protocol, servers: &[Endpoint], start: Instant) -> Connections {
    let connections = u32::try_from(servers.len()).expect("fewer");
    let mut table = Connections::with_limits(Limits { connections }, 7, start);
    let end = |end: Endpoint| sync::Endpoint::new(end.address, end.port);
    for (flow, server) in (0..).zip(servers) {
        let (client, service, server) = (end(client(flow)), end(service()), end(*server));
        let ends = Ends { client, service, server, local: None };
        let connection = Connection::new(transport, &ends, Method::Masquerade);
        table.insert(connection, None, Tick::default()).expect("room");
    }
    table
}

fn print(name: &str, [one_by_one, in_batches]: [f64; 2]) {
    println!("{name:<44}{one_by_one:>10.1}{in_batches:>12.1}");
}

/// First packets of connections, and what their ends take.
fn new_flows(transport: Protocol, among: u32) -> [f64; 2] {
    let start = Instant::now();
    let (mut engine, _) = filled(transport, among, start);
    let (mut now, mut flow) = (start, among);
    let (mut new, mut end) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..REPETITIONS {
        let packets: Vec<_> =
            (flow..flow + NEW).map(|flow| packet(transport, client(flow), service(), SYN)).collect();
        flow += NEW;
        let moment = engine.moment(now);
        let before = engine.connections();
        let made = through_ring(&packets, |ring| {
            let mut reads = ring.each_ref().map(|buffer| engine.read(&buffer[HEADROOM..]).ok());
            engine.approach(&mut reads);
            for (buffer, read) in ring.iter_mut().zip(reads.iter().flatten()) {
                black_box(process(&mut engine, buffer, read, moment));
            }
        });
        assert_eq!(engine.connections(), before + NEW as usize);
        // Half-open connections end long before the others.
        now += Duration::from_secs(61);
        let timed = Instant::now();
        while engine.poll_timeout() <= now {
            engine.handle_timeout(now);
        }
        let ended = timed.elapsed();
        assert_eq!(engine.connections(), before);
        let each = |time: Duration| time.as_secs_f64() * 1e9 / f64::from(NEW);
        (new, end) = (each(made).min(new), each(ended).min(end));
        if now > start + Duration::from_secs(800) {
            break;
        }
    }
    [new, end]
}

fn resident() -> f64 {
    let statm = fs::read_to_string("/proc/self/statm").expect("procfs");
    let pages = statm.split_whitespace().nth(1).expect("resident pages");
    pages.parse::<f64>().expect("a number") * PAGE
}

fn print_memory(flows: u32) {
    let before = resident();
    let start = Instant::now();
    // The last sixteenth is for connections that were answered.
    let mut engine = engine(Protocol::Tcp, flows + flows / 8, start);
    let moment = engine.moment(start);
    let mut buffer = [0; HEADROOM + LENGTH];
    for flow in 0..flows {
        put(&mut buffer, &packet(Protocol::Tcp, client(flow), service(), SYN));
        let read = engine.read(&buffer[HEADROOM..]).expect("a packet");
        black_box(process(&mut engine, &mut buffer, &read, moment));
    }
    assert_eq!(engine.connections(), flows as usize);
    println!("{:.1}", (resident() - before) / 1e6);
}

fn memory(flows: u32) -> String {
    let program = env::current_exe().expect("this program");
    let output = Command::new(program).arg(MEMORY_OF).arg(flows.to_string()).output().expect("it runs again");
    String::from_utf8(output.stdout).expect("a number").trim().to_owned()
}

fn main() {
    let mut arguments = env::args().skip_while(|argument| argument != MEMORY_OF).skip(1);
    if let Some(flows) = arguments.next() {
        return print_memory(flows.parse().expect("a number"));
    }
    let nothing = best(HOT_PACKETS, || through_ring(&vec![[0; LENGTH]; HOT_PACKETS], |_| ()));
    println!("{:<44}{:>10}{:>12}", "ns a packet", "alone", "in batches");
    println!("(looking at the clock, in all of them: {nothing:.1})");
    for (transport, name) in [(Protocol::Udp, "UDP"), (Protocol::Tcp, "TCP")] {
        for (flows, count, size) in [(HOT, HOT_PACKETS, "1 Ki flows"), (COLD, PACKETS, "1 Mi flows")] {
            let start = Instant::now();
            let (mut engine, servers) = filled(transport, flows, start);
            let packets = traffic(transport, count, flows, &servers);
            print(&format!("{name}, {size}: engine"), by_engine(&mut engine, &packets, start));
            drop(engine);
            let table = table(transport, &servers, start);
            print(&format!("{name}, {size}: read, find, rewrite"), bare(&table, &packets));
        }
    }
    for (among, name) in [(1 << 10, "1 Ki"), (1 << 20, "1 Mi")] {
        let [new, end] = new_flows(Protocol::Tcp, among);
        println!("{:<44}{new:>10.1} ns, end {end:>6.1} ns", format!("new flow among {name}"));
    }
    println!("{:<44}{:>10} MB", "memory of 1,000,000 connections", memory(1_000_000));
}
