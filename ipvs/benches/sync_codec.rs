//! How many records of the sync protocol are written and read in a second on one processor?
//!
//! `cargo bench -p buoy-ipvs --bench sync_codec` writes datagrams of 1472 bytes over and over, full of connections of
//! one kind, and reads them.

use std::hint::black_box;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use buoy_ipvs::engine::state::TcpState;
use buoy_ipvs::sync::{
    Connection, ConnectionState, Endpoint, Ends, Message, Method, RecordFlags, Records, Subject, SyncId,
    SyncRecord, Tuple, Version,
};

const MAX_LEN: u16 = 1472;
const RUN: Duration = Duration::from_secs(1);
/// The best of them is printed: others had the machine's other work in them.
const RUNS: usize = 5;

fn main() {
    let v4 = |port, host| {
        let end = |host, port| Endpoint::new(Ipv4Addr::new(10, 1, 0, host), port);
        Tuple::V4(Ends { client: end(host, port), service: end(1, 80), server: end(2, 80), local: None })
    };
    let v6 = |port, host| {
        let end = |host, port| Endpoint::new(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, host), port);
        let (client, service, server) = (end(u16::from(host), port), end(1, 80), end(2, 80));
        Tuple::V6(Ends { client, service, server, local: None })
    };
    measure("version 1, IPv4", Version::V1, v4);
    measure("version 1, IPv6", Version::V1, v6);
    measure("version 0", Version::V0, v4);
}

fn measure(name: &str, version: Version, tuple: impl Fn(u16, u8) -> Tuple) {
    let records: Vec<_> = (3_000..3_064).zip(0..).map(|(port, host)| connection(tuple(port, host))).collect();
    let mut message = Message::new(version, SyncId(171), MAX_LEN);
    let written = best(|| {
        message.clear();
        let mut records = records.iter();
        while records.next().is_some_and(|record| message.push(black_box(record)).is_ok()) {}
        message.count()
    });
    let read = best(|| {
        let records = Records::read(black_box(message.bytes()), SyncId(171)).expect("what was written");
        let mut count = 0;
        for record in records {
            black_box(&record);
            count += u8::from(record.is_ok());
        }
        count
    });
    println!("{name}: {written:.1} million records written in a second, {read:.1} million read");
}

fn connection(tuple: Tuple) -> SyncRecord<'static> {
    SyncRecord {
        subject: Subject::Connection(Connection::new(ConnectionState::Tcp(TcpState::Established))),
        tuple,
        method: Method::Masquerade,
        flags: RecordFlags::NONE,
        mark: None,
        timeout: NonZeroU32::new(900),
    }
}

/// Millions of what `work` counts in a second.
fn best(mut work: impl FnMut() -> u8) -> f64 {
    let mut run = || {
        let (begin, mut count) = (Instant::now(), 0_u64);
        while begin.elapsed() < RUN {
            count += (0..100).map(|_| u64::from(work())).sum::<u64>();
        }
        Duration::from_secs(count).as_secs_f64() / begin.elapsed().as_secs_f64() / 1e6
    };
    (0..RUNS).map(|_| run()).fold(0.0, f64::max)
}
