//! Frames in, frames out. The wires of the director are TAPs of the test: what is written to one comes in there, what is
//! read from it was sent there. The kernel does all of it before a call returns.

use std::process::Command;

use buoy_ipvs::engine::packet::protocol;
use buoy_ipvs::io::next_hop::NextHop;
use buoy_ipvs::io::portable::{SendError, Sender, Sent, Steering};
use buoy_ipvs::io::selector::{End, Ports, Selector};
use buoy_ipvs::io::tap::{Arrival, Frames, Tap};
use buoy_ipvs::io::virtio::Header;

use crate::host::{Host, may_run};
use crate::packet::{Checksum, tcp, udp};

const CLIENT: &str = "198.51.100.7:40000";
const SERVICE: &str = "192.0.2.1:80";
const CLIENT_6: &str = "[2001:db8:1::7]:40000";
const SERVICE_6: &str = "[2001:db8:2::1]:80";

pub(crate) struct Wires {
    pub(crate) host: Host,
    pub(crate) engine: Tap,
    pub(crate) one: Tap,
    pub(crate) other: Tap,
    pub(crate) steering: Steering,
}

impl Wires {
    pub(crate) fn new() -> Self {
        let host = Host::new();
        host.sysctl("net/ipv6/conf/all/disable_ipv6", "1");
        let [engine, one, other] =
            ["engine%d", "one", "other"].map(|name| host.run(|| Tap::create(name)).unwrap());
        let mut steering = host.run(|| Steering::create(&engine)).unwrap();
        host.run(|| steering.attach(one.index())).unwrap();
        Self { host, engine, one, other, steering }
    }

    /// What comes to the engine of a frame.
    pub(crate) fn play(&self, from: &Tap, header: Header, frame: &[u8]) -> Vec<(Header, Vec<u8>)> {
        from.send(&header, frame).unwrap();
        received(&self.engine)
    }

    fn is_taken(&self, frame: &[u8]) -> bool {
        let taken = self.play(&self.one, Header::default(), frame);
        for (_, seen) in &taken {
            assert_eq!(Arrival::of(seen), Some(Arrival { interface: self.one.index(), mark: 0 }));
            assert_eq!(seen[12..], frame[12..]);
        }
        !taken.is_empty()
    }
}

fn received(tap: &Tap) -> Vec<(Header, Vec<u8>)> {
    let mut frames = Frames::new(4);
    tap.receive(&mut frames).unwrap();
    frames.iter().map(|frame| (frame.header(), frame.bytes().to_vec())).collect()
}

fn named(end: End, like: &str, protocol: u8, ports: Ports) -> Selector {
    let address = udp(like, like).key().source;
    Selector::Address { end, address, protocol, ports }
}

#[test]
fn what_a_selector_names_is_taken_and_nothing_else() {
    if !may_run() {
        return;
    }
    let mut wires = Wires::new();
    for (client, service, icmp, errors, harmless) in [
        (CLIENT, SERVICE, protocol::ICMP, [3, 4, 11, 12], [0, 5, 8]),
        (CLIENT_6, SERVICE_6, protocol::ICMPV6, [1, 2, 4, 127], [128, 129, 135_u16]),
    ] {
        let whole = udp(client, service);
        let other_port = udp(client, &service.replace(":80", ":81")).frame();
        let part = if icmp == protocol::ICMP {
            whole.clone().with(|p| p.fragment = 0x2000)
        } else {
            whole.clone().with(|p| p.protocol = 44)
        };
        let part_protocol = if icmp == protocol::ICMP { protocol::UDP } else { 44 };
        let kind = |kind: u16| {
            let source = client.replace(":40000", &format!(":{}", kind << 8));
            udp(&source, service).with(|p| p.protocol = icmp).frame()
        };
        let (errors, harmless) = (errors.map(kind), harmless.map(kind));
        let (whole, part) = (whole.frame(), part.frame());
        let tiny = tcp(client, service).frame();
        let tiny = tiny[..tiny.len() - 22].to_vec();
        let to = |protocol, ports| named(End::Destination, service, protocol, ports);
        let from = |protocol, ports| named(End::Source, client, protocol, ports);
        for (selector, taken, passed) in [
            (to(protocol::UDP, Ports::One(80)), vec![&whole], vec![&other_port, &part, &errors[0]]),
            (to(protocol::UDP, Ports::Any), vec![&whole, &other_port], vec![&part, &errors[0]]),
            (to(part_protocol, Ports::Unread), vec![&part], vec![&whole, &other_port]),
            (to(protocol::TCP, Ports::One(80)), vec![], vec![&whole, &tiny]),
            (to(protocol::TCP, Ports::Unread), vec![&tiny], vec![&whole]),
            (to(icmp, Ports::Unread), errors.iter().collect(), harmless.iter().chain([&whole]).collect()),
            (from(protocol::UDP, Ports::One(40_000)), vec![&whole, &other_port], vec![&part]),
            (from(protocol::UDP, Ports::One(80)), vec![], vec![&whole, &other_port]),
            (from(protocol::UDP, Ports::Any), vec![&whole, &other_port], vec![&part]),
            (from(part_protocol, Ports::Unread), vec![&part], vec![&whole]),
        ] {
            wires.steering.change(&[selector], &[]).unwrap();
            assert_eq!(wires.steering.iter().collect::<Vec<_>>(), [&selector]);
            for frame in taken {
                assert!(wires.is_taken(frame), "{selector:?}: {frame:x?}");
                assert!(wires.play(&wires.other, Header::default(), frame).is_empty(), "not this interface");
            }
            for frame in passed {
                assert!(!wires.is_taken(frame), "{selector:?}: {frame:x?}");
            }
            wires.steering.change(&[], &[selector]).unwrap();
            assert!(!wires.is_taken(&whole), "removed");
        }
    }
}

#[test]
fn marks_are_selected_and_told() {
    if !may_run() {
        return;
    }
    let mut wires = Wires::new();
    let marking = "add table netdev marks; \
        add chain netdev marks in { type filter hook ingress device one priority 0; }; \
        add rule netdev marks in meta mark set 7";
    assert!(wires.host.run(|| Command::new("nft").arg(marking).status()).unwrap().success());
    let frame = udp(CLIENT, SERVICE).frame();
    wires.steering.change(&[Selector::Mark(6), Selector::Mark(8)], &[]).unwrap();
    assert!(wires.play(&wires.one, Header::default(), &frame).is_empty());
    wires.steering.change(&[Selector::Mark(7)], &[]).unwrap();
    let later = udp(CLIENT, SERVICE).with(|p| p.fragment = 0x0001).frame();
    for frame in [frame, later] {
        let taken = wires.play(&wires.one, Header::default(), &frame);
        let arrivals: Vec<_> = taken.iter().map(|(_, frame)| Arrival::of(frame)).collect();
        assert_eq!(arrivals, [Some(Arrival { interface: wires.one.index(), mark: 7 })]);
    }
}

#[test]
fn interfaces_come_and_go() {
    if !may_run() {
        return;
    }
    let mut wires = Wires::new();
    let selector = named(End::Destination, SERVICE, protocol::UDP, Ports::One(80));
    wires.steering.change(&[selector], &[]).unwrap();
    let frame = udp(CLIENT, SERVICE).frame();
    let from_other = |wires: &Wires| wires.play(&wires.other, Header::default(), &frame).len();
    for _ in 0..2 {
        wires.host.run(|| wires.steering.attach(wires.other.index())).unwrap();
        wires.host.run(|| wires.steering.attach(wires.other.index())).unwrap();
        assert_eq!(from_other(&wires), 1);
        wires.steering.detach(wires.other.index()).unwrap();
        wires.steering.detach(wires.other.index()).unwrap();
        assert_eq!(from_other(&wires), 0);
    }
    let another = wires.host.run(|| Tap::create("another")).unwrap();
    let gone = another.index();
    wires.host.run(|| wires.steering.attach(gone)).unwrap();
    assert_eq!(wires.steering.interfaces().collect::<Vec<_>>(), [wires.one.index(), gone]);
    wires.host.ip("link delete another");
    wires.steering.detach(gone).unwrap();
    assert!(wires.host.run(|| wires.steering.attach(gone)).is_err(), "no such interface");
    assert!(wires.is_taken(&frame), "the others are as they were");
}

#[test]
fn thousands_of_selectors_change_together() {
    if !may_run() {
        return;
    }
    let mut wires = Wires::new();
    let selectors: Vec<Selector> =
        (1..=5000).map(|port| named(End::Destination, SERVICE, protocol::UDP, Ports::One(port))).collect();
    wires.steering.change(&selectors, &[]).unwrap();
    let frame = |port: u16| udp(CLIENT, &format!("192.0.2.1:{port}")).frame();
    assert!([1, 999, 1000, 1001, 5000].into_iter().all(|port| wires.is_taken(&frame(port))));
    assert!(!wires.is_taken(&frame(5001)));
    // Twice, and with some that are not there.
    wires.steering.change(&[], &selectors[1000..]).unwrap();
    wires.steering.change(&selectors[..10], &[&selectors[500..], &selectors[500..]].concat()).unwrap();
    assert!(wires.is_taken(&frame(500)) && !wires.is_taken(&frame(501)));
    assert_eq!(wires.steering.iter().count(), 500);
}

#[test]
fn frames_are_sent_to_next_hops_as_they_are() {
    if !may_run() {
        return;
    }
    let mut wires = Wires::new();
    let sender = wires.host.run(Sender::open).unwrap();
    let next_hop = NextHop {
        interface: wires.other.index(),
        destination: [2, 1, 0, 0, 0, 5],
        source: [2, 8, 0, 0, 0, 1],
        mtu: 1500,
    };
    let partial = |frame_start| Header {
        flags: Header::NEEDS_CHECKSUM,
        checksum_start: frame_start,
        checksum_offset: 16,
        ..Header::default()
    };
    let merged =
        Header { gso_type: Header::GSO_TCP_V4, header_length: 54, segment_size: 1400, ..partial(34) };
    let long = tcp(CLIENT, SERVICE).with(|p| {
        p.checksum = Checksum::Partial;
        p.payload = vec![7; 60_000];
    });
    for (what, header, frame) in [
        ("made", Header::default(), udp(CLIENT, SERVICE).frame()),
        ("IPv6", Header::default(), tcp(CLIENT_6, SERVICE_6).frame()),
        ("half made", partial(34), tcp(CLIENT, SERVICE).with(|p| p.checksum = Checksum::Partial).frame()),
        ("merged", merged, long.frame()),
    ] {
        assert_eq!(sender.send(&next_hop, &header, &frame).unwrap(), Sent::Sent, "{what}");
        let seen = received(&wires.other);
        assert_eq!(seen.len(), 1, "{what}");
        assert_eq!(seen[0].0, header, "{what}");
        assert_eq!(seen[0].1[..12], [2, 1, 0, 0, 0, 5, 2, 8, 0, 0, 0, 1], "{what}");
        assert_eq!(seen[0].1[12..], frame[12..], "{what}");
    }
    // They are taken as they are, too.
    let selector = named(End::Destination, SERVICE, protocol::TCP, Ports::One(80));
    wires.steering.change(&[selector], &[]).unwrap();
    let taken = wires.play(&wires.one, merged, &long.frame());
    assert_eq!(taken.len(), 1);
    assert_eq!((taken[0].0, &taken[0].1[12..]), (merged, &long.frame()[12..]));
}

#[test]
fn what_cannot_be_sent_is_said() {
    if !may_run() {
        return;
    }
    let wires = Wires::new();
    let sender = wires.host.run(Sender::open).unwrap();
    let to = |interface| NextHop { interface, destination: [2; 6], source: [2; 6], mtu: 1500 };
    let frame = udp(CLIENT, SERVICE).frame();
    let send = |interface, frame: &[u8]| sender.send(&to(interface), &Header::default(), frame);
    let errno = |outcome| match outcome {
        Err(SendError::Send { source, .. }) => source.raw_os_error(),
        _ => None,
    };
    let other = wires.other.index();
    let long = udp(CLIENT, SERVICE).with(|p| p.payload = vec![0; 1500]).frame();
    assert_eq!(errno(send(other, &long)), Some(nix::libc::EMSGSIZE));
    assert_eq!(errno(send(4711, &frame)), Some(nix::libc::ENXIO));
    assert!(matches!(send(other, &frame[..11]), Err(SendError::Truncated)));
    wires.host.ip("link set other down");
    assert_eq!(errno(send(other, &frame)), Some(nix::libc::ENETDOWN));
}
