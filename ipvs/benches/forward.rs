//! What does each forwarding method cost a packet, once it is known where it goes?
//!
//! `cargo bench -p buoy-ipvs --bench forward`. Packets are in the cache. Reading one is measured by itself and is not
//! part of the others; putting it back to what it was is, and is the first line.

use std::hint::black_box;
use std::time::Instant;

use buoy_ipvs::engine::address::Address;
use buoy_ipvs::engine::buffer::{Checksum, HEADROOM, Offload, Packet};
use buoy_ipvs::engine::checksum::Sum;
use buoy_ipvs::engine::forward::tunnel::{Encapsulation, PathMtuDiscovery};
use buoy_ipvs::engine::forward::{Endpoint, Path, Rewrite, direct, fullnat, icmp, masquerade, toa};
use buoy_ipvs::engine::packet::{View, protocol};
use buoy_ipvs::{Tunnel, TunnelChecksum};

const COUNT: u32 = 10_000;
/// Measured so often; the best counts. Both together are short enough to be left alone by other processes now and
/// then.
const REPETITIONS: u32 = 200;
const MTU: usize = 1500;

/// A whole packet with right checksums. 60 bytes are what the smallest Ethernet frame has, less its own header.
fn packet(protocol: u8, length: u16) -> Vec<u8> {
    let mut bytes = vec![0; usize::from(length)];
    bytes[..12].copy_from_slice(&[0x45, 0, 0, 0, 0x12, 0x34, 0x40, 0, 64, protocol, 0, 0]);
    bytes[2..4].copy_from_slice(&length.to_be_bytes());
    bytes[12..20].copy_from_slice(&[10, 1, 0, 9, 10, 9, 0, 1]);
    bytes[20..24].copy_from_slice(&[0x0b, 0xb9, 0, 80]);
    let place = match protocol {
        protocol::UDP => {
            bytes[24..26].copy_from_slice(&(length - 20).to_be_bytes());
            26
        }
        _ => {
            bytes[32..34].copy_from_slice(&[0x50, 0x10]);
            36
        }
    };
    let checksum = Sum::of(&bytes[..20]).checksum();
    bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
    let view = View::read(&bytes).expect("a packet");
    let sum = Sum::of_pseudo_header(view.source, view.destination, protocol, usize::from(length) - 20);
    let checksum = Sum::of(&bytes[20..]).plus(sum).checksum();
    bytes[place..place + 2].copy_from_slice(&checksum.to_be_bytes());
    bytes
}

/// What `what` takes for the same packet again and again, in nanoseconds.
fn measured(original: &[u8], offload: Offload, mut what: impl FnMut(&mut Packet<'_>, &View)) -> f64 {
    let view = View::read(original).expect("a packet");
    let mut buffer = vec![0; HEADROOM + original.len()];
    // Headers are all that is ever changed.
    let headers = original.len().min(60);
    buffer[HEADROOM..].copy_from_slice(original);
    let times = (0..REPETITIONS).map(|_| {
        let start = Instant::now();
        for _ in 0..COUNT {
            buffer[HEADROOM..HEADROOM + headers].copy_from_slice(&original[..headers]);
            let end = buffer.len();
            let mut packet = Packet::new(black_box(&mut buffer), HEADROOM, end, offload).expect("within");
            what(&mut packet, black_box(&view));
            black_box(packet.bytes());
        }
        start.elapsed().as_secs_f64() * 1e9 / f64::from(COUNT)
    });
    times.fold(f64::INFINITY, f64::min)
}

fn print(name: &str, nanoseconds: f64) {
    println!("{name:<36}{nanoseconds:>8.1} ns");
}

fn tunnel(name: &str, tunnel: Tunnel, path: Path, original: &[u8], offload: Offload) {
    let server = Address::v4(0x0a02_000b);
    let encapsulation = Encapsulation { tunnel, server, path, pmtu: PathMtuDiscovery::On };
    let each = |packet: &mut Packet<'_>, view: &View| {
        black_box(black_box(&encapsulation).apply(packet, view, 7)).expect("it fits");
    };
    print(name, measured(original, offload, each));
}

fn main() {
    let (small, segment, long) =
        (packet(protocol::UDP, 60), packet(protocol::TCP, 60), packet(protocol::UDP, 1400));
    let partial = Offload { checksum: Checksum::Partial { start: 20, offset: 6 }, segment: None };
    let none = Offload::default();
    let path = Path { mtu: MTU, source: Address::v4(0x0a02_0001) };
    let end = |address: u32, port: u16| Endpoint { address: Address::v4(address), port };
    let (server, local) = (end(0x0a02_000b, 8080), end(0x0a02_0001, 5000));
    let (client, service) = (end(0x0a01_0009, 3001), end(0x0a09_0001, 80));

    print("nothing", measured(&small, none, |_, _| {}));
    let read = |packet: &mut Packet<'_>, _: &View| {
        black_box(View::read(packet.bytes())).expect("a packet");
    };
    print("reading it", measured(&small, none, read));
    for (name, original, offload) in
        [("UDP", &small, none), ("UDP, partial checksum", &small, partial), ("TCP", &segment, none)]
    {
        let there = measured(original, offload, |packet, view| {
            black_box(masquerade::to_server(packet, view, *black_box(&server), &path)).expect("it fits");
        });
        print(&format!("masquerade, {name}"), there);
    }
    let back = measured(&small, none, |packet, view| {
        black_box(masquerade::to_client(packet, view, *black_box(&service), &path)).expect("it fits");
    });
    print("masquerade, UDP, back", back);
    let rewrite = Rewrite { source: None, destination: Some(server) };
    let rewritten = measured(&small, none, |packet, view| {
        black_box(&rewrite).apply(packet, view).expect("it has all headers");
    });
    print("masquerade, to the director itself", rewritten);
    let both = measured(&segment, none, |packet, view| {
        black_box(fullnat::to_server(packet, view, *black_box(&local), server, &path)).expect("it fits");
    });
    print("full NAT, TCP", both);
    let told = measured(&segment, none, |packet, view| {
        toa::insert(packet, &mut { *view }, *black_box(&client), MTU).expect("it fits");
    });
    print("client's address inserted", told);
    let unchanged = measured(&small, none, |packet, view| {
        black_box(direct::to_server(packet, view, black_box(&path))).expect("it fits");
    });
    print("direct", unchanged);
    let (gre, gue) = (TunnelChecksum::None, TunnelChecksum::Full);
    tunnel("tunnel, IPIP", Tunnel::Ipip, path, &long, none);
    tunnel("tunnel, GRE", Tunnel::Gre { checksum: gre }, path, &long, none);
    tunnel("tunnel, GUE with checksum", Tunnel::Gue { port: 6080, checksum: gue }, path, &long, none);
    let around = Tunnel::Gue { port: 6080, checksum: gue };
    tunnel("the same around a partial one", around, path, &long, partial);
    let summed = measured(&long, partial, |packet, _| packet.complete_checksum().expect("within"));
    print("checksum of 1400 bytes", summed);
    let answered = measured(&small, none, |packet, view| {
        icmp::answer(packet, view, icmp::Error::TimeExceeded, service.address, 7).expect("an answer");
    });
    print("ICMP error", answered);
}
