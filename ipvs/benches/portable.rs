//! What does the portable tier cost for each packet, beside the kernel's own routing?
//!
//! `cargo bench -p buoy-ipvs --bench portable` (as root) has a network namespace with two TAPs for wires. One thread writes
//! batches to one, and reads them from the other. Between them either the kernel routes, or rules of nftables steer to
//! the engine's TAP, from which the same thread reads and sends on, without a change. Both ends are part of each figure.

use std::process::Command;
use std::time::Duration;

use buoy_ipvs::engine::checksum::Sum;
use buoy_ipvs::engine::packet::protocol;
use buoy_ipvs::io::next_hop::NextHop;
use buoy_ipvs::io::portable::{Sender, Steering};
use buoy_ipvs::io::selector::{End, Ports, Selector};
use buoy_ipvs::io::tap::{Frames, Tap};
use buoy_ipvs::io::virtio::Header;
use nix::sched::{CloneFlags, unshare};
use nix::time::{ClockId, clock_gettime};

const BATCH: usize = 64;
const RUN: Duration = Duration::from_millis(300);
/// Taken in turns; the median is printed.
const RUNS: usize = 7;
const SOURCE: [u8; 4] = [10, 1, 0, 7];
const DESTINATION: [u8; 4] = [10, 2, 0, 5];

struct Director {
    inner: Tap,
    outer: Tap,
    engine: Tap,
    steering: Steering,
    sender: Sender,
    next_hop: NextHop,
}

#[derive(Clone, Copy)]
enum Path {
    Routing,
    Portable,
    SteeringAlone,
}

fn main() {
    if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
        println!("skipped: no network namespace: {error}");
        return;
    }
    let mut director = Director::new();
    for (what, header, frame) in [
        ("60 bytes", Header::default(), datagram(18)),
        ("1514 bytes", Header::default(), datagram(1472)),
        ("65,000 bytes, merged", merged(), datagram(64_972)),
    ] {
        let paths = [Path::Routing, Path::Portable, Path::SteeringAlone];
        let mut times = paths.map(|_| Vec::new());
        for _ in 0..RUNS {
            for (path, times) in paths.into_iter().zip(&mut times) {
                times.push(director.measure(path, header, &frame));
            }
        }
        let [routing, portable, steering] = times.map(median);
        println!(
            "{what}: {routing:.0} ns routed, {portable:.0} ns through the engine ({:.2} of the rate), \
             {steering:.0} ns up to the engine",
            routing / portable
        );
    }
}

impl Director {
    fn new() -> Self {
        let [engine, inner, outer] = ["engine", "in", "out"].map(|name| Tap::create(name).expect("a TAP"));
        for arguments in ["address add 10.1.0.254/24 dev in", "address add 10.2.0.254/24 dev out"] {
            let status = Command::new("ip").args(arguments.split(' ')).status().expect("ip");
            assert!(status.success(), "ip {arguments}");
        }
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("routing");
        let mut steering = Steering::create(&engine).expect("nftables");
        let ports = Ports::One(80);
        let address = std::net::Ipv4Addr::from(DESTINATION).into();
        let selector = Selector::Address { end: End::Destination, address, protocol: protocol::UDP, ports };
        steering.change(&[selector], &[]).expect("a selector");
        let next_hop = NextHop { interface: outer.index(), destination: [2; 6], source: [2; 6], mtu: 1500 };
        let sender = Sender::open().expect("a packet socket");
        Self { inner, outer, engine, steering, sender, next_hop }
    }

    /// Nanoseconds for a packet.
    fn measure(&mut self, path: Path, header: Header, frame: &[u8]) -> f64 {
        match path {
            Path::Routing => self.steering.detach(self.inner.index()),
            Path::Portable | Path::SteeringAlone => self.steering.attach(self.inner.index()),
        }
        .expect("an interface");
        let (mut taken, mut sent) = (Frames::new(BATCH), Frames::new(BATCH));
        let (since, mut packets) = (processor_time(), 0_u32);
        while processor_time() - since < RUN {
            for _ in 0..BATCH {
                self.inner.send(&header, frame).expect("room");
            }
            self.engine.receive(&mut taken).expect("the engine's TAP");
            if matches!(path, Path::Portable) {
                for frame in taken.iter() {
                    self.sender.send(&self.next_hop, &frame.header(), frame.bytes()).expect("a wire");
                }
            }
            self.outer.receive(&mut sent).expect("a wire");
            let [taken, sent] = [&taken, &sent].map(|frames| frames.iter().len());
            let expected = match path {
                Path::Routing => (0, BATCH),
                Path::Portable => (BATCH, BATCH),
                Path::SteeringAlone => (BATCH, 0),
            };
            assert_eq!((taken, sent), expected, "packets went another way");
            packets += 64;
        }
        (processor_time() - since).as_secs_f64() * 1e9 / f64::from(packets)
    }
}

/// Of this thread, in which the kernel does everything: whatever else the machine does is not counted.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("a clock").into()
}

fn merged() -> Header {
    Header {
        flags: Header::NEEDS_CHECKSUM,
        gso_type: Header::GSO_UDP_L4,
        header_length: 42,
        segment_size: 1400,
        checksum_start: 34,
        checksum_offset: 6,
    }
}

fn datagram(payload: u16) -> Vec<u8> {
    let mut ip = vec![0x45, 0];
    ip.extend((28 + payload).to_be_bytes());
    ip.extend([0, 0, 0x40, 0, 64, protocol::UDP, 0, 0]);
    ip.extend([SOURCE, DESTINATION].concat());
    let sum = Sum::of(&ip).checksum();
    ip.splice(10..12, sum.to_be_bytes());
    let mut frame = vec![2, 3, 0, 0, 0, 0, 2, 9, 9, 9, 9, 9, 8, 0];
    frame.extend(ip);
    frame.extend([0x9c, 0x40, 0, 80]);
    frame.extend((8 + payload).to_be_bytes());
    frame.extend([0, 0]);
    frame.resize(42 + usize::from(payload), 7);
    frame
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}
