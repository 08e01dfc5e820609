//! What does it cost to know where a packet goes?
//!
//! `cargo bench -p buoy-ipvs --bench ways`, as root: in a network namespace of its own, with a default route behind which
//! 100,000 clients are, then with as many routes again. Beside it, what one question to the kernel costs.

use std::hint::black_box;
use std::process::Command;
use std::time::{Duration, Instant};

use buoy_ipvs::engine::address::Address;
use buoy_ipvs::io::bpf::MapError;
use buoy_ipvs::io::next_hop::{NextHop, NextHopIndex};
use buoy_ipvs::io::ways::{NextHopWriter, Ways};
use nix::sched::{CloneFlags, unshare};

const CLIENTS: u32 = 100_000;
const FIRST_CLIENT: u32 = 0x6400_0000;
/// Measured so often; the best counts.
const REPETITIONS: u32 = 5;

#[derive(Debug)]
struct Nowhere;

impl NextHopWriter for Nowhere {
    fn write(&mut self, _: NextHopIndex, _: Option<&NextHop>) -> Result<(), MapError> {
        Ok(())
    }
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split_whitespace()).status().expect("iproute2 is needed");
    assert!(status.success(), "ip {arguments}");
}

/// Nanoseconds a lookup of one of so many clients, each of them `rounds` times.
fn measure(ways: &mut Ways<Nowhere>, clients: u32, rounds: u32) -> f64 {
    let mut best = Duration::MAX;
    for _ in 0..REPETITIONS {
        let start = Instant::now();
        for _ in 0..rounds {
            for client in 0..clients {
                black_box(ways.way_to(Address::v4(FIRST_CLIENT + black_box(client)), 0, None));
            }
        }
        best = best.min(start.elapsed());
    }
    best.as_secs_f64() * 1e9 / f64::from(clients) / f64::from(rounds)
}

fn open(what: &str) -> Ways<Nowhere> {
    let start = Instant::now();
    let ways = Ways::open(1024, Nowhere, Instant::now()).expect("netlink");
    println!("{what}: read in {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
    ways
}

fn report(ways: &mut Ways<Nowhere>) {
    let asked = ways.questions_asked();
    for (clients, rounds) in [(1, 1_000_000), (1024, 1000), (CLIENTS, 10)] {
        println!("{:>10} clients: {:>6.1} ns a lookup", clients, measure(ways, clients, rounds));
    }
    println!("  questions to the kernel: {}", ways.questions_asked() - asked);
}

fn main() {
    if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
        println!("skipped: needs root ({error})");
        return;
    }
    ip("link add wan type veth peer name router");
    ip("link set wan up");
    ip("link set router up");
    ip("address add 192.0.2.1/24 dev wan");
    ip("route add default via 192.0.2.254");
    report(&mut open("a default route"));

    let routes = (0..CLIENTS).map(|number| {
        let network = std::net::IpAddr::from(Address::v4(0x0b00_0000 + (number << 6)));
        format!("route add {network}/26 via 192.0.2.254\n")
    });
    let file = std::env::temp_dir().join(format!("buoy-ways-{}", std::process::id()));
    std::fs::write(&file, routes.collect::<String>()).expect("room for a file");
    ip(&format!("-batch {}", file.display()));
    std::fs::remove_file(&file).expect("the file is ours");
    let mut ways = open("100,000 routes more");
    report(&mut ways);
    let start = Instant::now();
    for number in 0..CLIENTS / 4 {
        black_box(ways.way_to(Address::v4(0x0b00_0001 + (number << 6)), 0, None));
    }
    let each = start.elapsed().as_secs_f64() * 1e6 / f64::from(CLIENTS / 4);
    println!("  a question to the kernel: {each:.2} us");
}
