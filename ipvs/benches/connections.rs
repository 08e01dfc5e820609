//! What do lookups, new connections and ends cost among 1,000 to 1,000,000 connections, and how much memory does one
//! take?
//!
//! `cargo bench -p buoy-ipvs --bench connections`. Half of the lookups are for packets of clients, half for answers, 32 of
//! one side after 32 of the other, as from two interfaces; to connections in random order, or always to the same 1,024.
//! Each counts the packet and puts off the end of its connection. In batches means that these 32 are looked up together.
//! Memory is what a process has in pages when there is a table more.

use std::env;
use std::fs;
use std::hint::black_box;
use std::process::Command;
use std::time::{Duration, Instant};

use buoy_ipvs::Protocol;
use buoy_ipvs::engine::address::Address;
use buoy_ipvs::engine::connections::{Connection, Connections, Limits, PacketKey, Sought, StateTimeouts};
use buoy_ipvs::engine::state::TcpState;
use buoy_ipvs::engine::wheel::{Tick, Ticks};
use buoy_ipvs::sync::{ConnectionState, Endpoint, Ends, Method};

const SIZES: [u32; 4] = [1_000, 10_000, 100_000, 1_000_000];
const HOT: u32 = 1 << 10;
const BATCH: usize = 32;
/// Packets of one measurement, to few flows and to all.
const HOT_PACKETS: usize = 1 << 12;
const PACKETS: usize = 1 << 17;
/// Measured so often; the best counts.
const REPETITIONS: usize = 40;
const PAGE: f64 = 4096.0;
const MEMORY_OF: &str = "--memory-of";
/// How long a new connection is kept here.
const MOMENT: Duration = Duration::from_millis(100);
const ESTABLISHED: ConnectionState = ConnectionState::Tcp(TcpState::Established);

/// Flows are numbers: 16 clients' ports for each address, 64 real servers.
fn ends(flow: u32) -> Ends<Address> {
    let port = 1024 + u16::try_from(flow % 16).expect("below 16");
    Ends {
        client: Endpoint::new(Address::v4(0x0a40_0000 + flow / 16), port),
        service: Endpoint::new(Address::v4(0x0a09_0001), 80),
        server: Endpoint::new(Address::v4(0x0a02_0000 + flow % 64), 8080),
        local: None,
    }
}

fn established(flow: u32, timeouts: &StateTimeouts) -> Connection {
    let mut connection = Connection::new(Protocol::Tcp, &ends(flow), Method::Masquerade);
    connection.set_state(ESTABLISHED);
    connection.set_timeout(timeouts.of(ESTABLISHED));
    connection
}

fn packet(flow: u32, is_answer: bool) -> PacketKey {
    let Ends { client, service, server, .. } = ends(flow);
    let (source, destination) = if is_answer { (server, client) } else { (client, service) };
    PacketKey {
        source: source.address,
        destination: destination.address,
        source_port: source.port,
        destination_port: destination.port,
        protocol: Protocol::Tcp.number(),
    }
}

/// A table with so many connections, and room for some.
fn filled(size: u32, room: u32, start: Instant) -> Connections {
    let timeouts = StateTimeouts::default();
    let mut table = Connections::with_limits(Limits { connections: size + room }, 7, start);
    for flow in 0..size {
        table.insert(established(flow, &timeouts), None, Tick::default()).expect("room");
    }
    table
}

fn packets(count: usize, among: u32) -> Vec<PacketKey> {
    let mut random = fastrand::Rng::with_seed(1);
    (0..count).map(|number| packet(random.u32(0..among), number / BATCH % 2 == 1)).collect()
}

fn use_one(table: &mut Connections, sought: &Sought, now: Tick) {
    let found = table.find(sought).expect("it is there");
    table.update(found.connection, now, |connection| {
        connection.count_packets(1);
        black_box(connection.server());
    });
}

fn one_by_one(table: &mut Connections, packets: &[PacketKey], now: Tick) {
    for packet in packets {
        let sought = table.sought(*packet);
        use_one(table, &sought, now);
    }
}

fn in_batches(table: &mut Connections, packets: &[PacketKey], now: Tick) {
    for batch in packets.as_chunks::<BATCH>().0 {
        let mut sought = batch.map(|packet| table.sought(packet));
        table.approach(&mut sought, |sought| Some(sought));
        for sought in &sought {
            use_one(table, sought, now);
        }
    }
}

/// Nanoseconds for each of `count`.
fn best(count: usize, mut work: impl FnMut() -> Duration) -> f64 {
    let times = (0..REPETITIONS).map(|_| work().as_secs_f64() * 1e9);
    times.fold(f64::INFINITY, f64::min) / f64::from(u32::try_from(count).expect("fewer"))
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn lookups(size: u32) -> [f64; 4] {
    type Way = fn(&mut Connections, &[PacketKey], Tick);
    let start = Instant::now();
    let mut table = filled(size, 0, start);
    let now = table.tick(start + Duration::from_secs(1));
    let (hot, all) = (packets(HOT_PACKETS, HOT.min(size)), packets(PACKETS, size));
    let ways: [(&[PacketKey], Way); 4] =
        [(&hot, one_by_one), (&hot, in_batches), (&all, one_by_one), (&all, in_batches)];
    ways.map(|(packets, way)| best(packets.len(), || timed(|| way(&mut table, packets, now))))
}

/// New connections among so many, and their ends.
fn lives(size: u32) -> [f64; 2] {
    const NEW: u32 = 1 << 12;
    let start = Instant::now();
    let mut table = filled(size, size / 8 + 2 * NEW, start);
    let (mut now, mut flow) = (start, size);
    let (mut new, mut end) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..REPETITIONS {
        let tick = table.tick(now);
        let inserted = timed(|| {
            for _ in 0..NEW {
                black_box(table.relieve(tick));
                let mut connection = Connection::new(Protocol::Tcp, &ends(flow), Method::Masquerade);
                connection.set_timeout(Ticks::of(MOMENT));
                table.insert(connection, None, tick).expect("room");
                flow += 1;
            }
        });
        now += MOMENT;
        let ended = timed(|| {
            while table.poll_timeout().is_some_and(|next| next <= now) {
                black_box(table.expire(now));
            }
        });
        assert_eq!(table.len(), size as usize);
        let each = |time: Duration| time.as_secs_f64() * 1e9 / f64::from(NEW);
        (new, end) = (each(inserted).min(new), each(ended).min(end));
    }
    [new, end]
}

fn resident() -> f64 {
    let statm = fs::read_to_string("/proc/self/statm").expect("procfs");
    let pages = statm.split_whitespace().nth(1).expect("resident pages");
    pages.parse::<f64>().expect("a number") * PAGE
}

/// In a process of its own, as memory that was given back is not always gone.
fn memory(size: u32) -> String {
    let program = env::current_exe().expect("this program");
    let output = Command::new(program).arg(MEMORY_OF).arg(size.to_string()).output().expect("it runs again");
    String::from_utf8(output.stdout).expect("a number")
}

fn print_memory(size: u32) {
    let before = resident();
    let table = black_box(filled(size, 0, Instant::now()));
    print!("{:.1}", (resident() - before) / f64::from(size));
    drop(table);
}

fn main() {
    let mut arguments = env::args().skip_while(|argument| argument != MEMORY_OF).skip(1);
    if let Some(size) = arguments.next() {
        return print_memory(size.parse().expect("a number"));
    }
    println!(
        "{:>12}{:>24}{:>24}{:>22}{:>10}",
        "", "ns a packet, 1 Ki flows", "ns a packet, all flows", "ns", "bytes"
    );
    println!(
        "{:>12}{:>12}{:>12}{:>12}{:>12}{:>12}{:>10}{:>10}",
        "connections", "alone", "in batches", "alone", "in batches", "new", "end", "each"
    );
    for size in SIZES {
        let [hot, hot_batched, all, all_batched] = lookups(size);
        let [new, end] = lives(size);
        let bytes = memory(size);
        println!(
            "{size:>12}{hot:>12.1}{hot_batched:>12.1}{all:>12.1}{all_batched:>12.1}{new:>12.1}{end:>10.1}{bytes:>10}"
        );
    }
}
