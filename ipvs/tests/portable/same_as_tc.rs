//! Both tiers take the same packets: what proptest makes up comes in by two wires, and each tier looks at one of them.

use buoy_ipvs::engine::packet::protocol;
use buoy_ipvs::io::selector::{End, Ports, Selector};
use buoy_ipvs::io::tap::{Arrival, Frames, Tap};
use buoy_ipvs::io::virtio::Header;
use proptest::collection::{hash_set, vec};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};

use crate::bench::Director;
use crate::frames::Wires;
use crate::host::may_run;
use crate::packet::packet;

const ADDRESSES: [&str; 2] = ["192.0.2.1", "192.0.2.2"];
const ADDRESSES_6: [&str; 2] = ["[2001:db8::1]", "[2001:db8::2]"];
/// Often such as have ports.
const PROTOCOLS: [u8; 11] = [
    protocol::TCP,
    protocol::UDP,
    protocol::TCP,
    protocol::UDP,
    protocol::TCP,
    protocol::UDP,
    protocol::ICMP,
    protocol::ICMPV6,
    protocol::GRE,
    0,
    44,
];

fn addresses() -> impl Strategy<Value = [&'static str; 2]> {
    select(vec![ADDRESSES, ADDRESSES_6])
}

fn selector() -> impl Strategy<Value = Selector> {
    let end = select(vec![End::Source, End::Destination]);
    let ports = prop_oneof![(1..=3_u16).prop_map(Ports::One), Just(Ports::Any), Just(Ports::Unread)];
    (end, addresses(), 0..2_usize, select(&PROTOCOLS[..]), ports).prop_map(
        |(end, addresses, which, protocol, ports)| {
            let address = format!("{}:1", addresses[which]);
            let address = packet(protocol, &address, &address).key().source;
            Selector::Address { end, address, protocol, ports }
        },
    )
}

/// Whole or cut off, with something in it that makes one look twice, or some byte that is anything.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    // The first byte of a port is the type of ICMP.
    let port = || {
        prop_oneof![
            1..=4_u16,
            (0..=13_u16).prop_map(|kind| kind << 8),
            (126..=130_u16).prop_map(|kind| kind << 8)
        ]
    };
    let fragment = prop_oneof![Just(0x4000), Just(0), Just(0x2000), Just(0x0001), Just(0x8000)];
    let edit = prop::option::weighted(0.3, (12..60_usize, any::<u8>()));
    let cut = prop::option::weighted(0.3, 14..80_usize);
    let options = select(vec![0, 0, 4, 40_usize]);
    let vlans = prop_oneof![3 => Just(vec![]), 1 => vec(1..4000_u16, 1..=2)];
    let to = select(vec![[2, 3, 0, 0, 0, 0], [2, 3, 0, 0, 0, 0], [0xff; 6], [2, 7, 7, 7, 7, 7]]);
    let ends = (addresses(), 0..2_usize, 0..2_usize, port(), port());
    (ends, select(&PROTOCOLS[..]), fragment, edit, cut, options, vlans, to).prop_map(
        |(
            (addresses, from, into, source, destination),
            protocol,
            fragment,
            edit,
            cut,
            options,
            vlans,
            to,
        )| {
            let [source, destination] = [(from, source), (into, destination)]
                .map(|(which, port)| format!("{}:{port}", addresses[which]));
            let made = packet(protocol, &source, &destination).with(|p| {
                (p.fragment, p.options, p.vlans, p.to) = (fragment, vec![1; options], vlans, to);
            });
            let mut frame = made.frame();
            if let Some((place, byte)) = edit {
                frame[place] = byte;
            }
            frame.truncate(cut.unwrap_or(frame.len()));
            frame
        },
    )
}

#[test]
fn both_tiers_take_the_same_packets() {
    if !may_run() {
        return;
    }
    let mut portable = Wires::new();
    let mut tc = Director::new();
    tc.host.sysctl("net/ipv6/conf/all/disable_ipv6", "1");
    let wire = tc.host.run(|| Tap::create("one")).unwrap();
    tc.forward_from(wire.index());
    let mut runner = TestRunner::new(Config { cases: 300, failure_persistence: None, ..Config::default() });
    let (mut taken, mut passed) = (0, 0);
    let strategy = (hash_set(selector(), 1..50), vec(frame(), 40));
    let mut test = |(selectors, packets): (std::collections::HashSet<Selector>, Vec<Vec<u8>>)| {
        let selectors: Vec<Selector> = selectors.into_iter().collect();
        portable.steering.change(&selectors, &[]).unwrap();
        for selector in &selectors {
            tc.maps.selectors.insert(*selector).unwrap();
        }
        let disagreement = packets.iter().find_map(|packet| {
            let by_tc = by_tc(&tc.engine, &wire, packet);
            let ours = portable.play(&portable.one, Header::default(), packet);
            let ours: Vec<_> = ours.into_iter().map(|(header, frame)| seen(header, &frame)).collect();
            if ours.is_empty() {
                passed += 1
            } else {
                taken += 1
            }
            (by_tc != ours).then(|| format!("{packet:x?}: tc {by_tc:?}, portable {ours:?}"))
        });
        portable.steering.change(&[], &selectors).unwrap();
        for selector in &selectors {
            tc.maps.selectors.remove(selector).unwrap();
        }
        disagreement.map_or(Ok(()), |text| Err(TestCaseError::fail(text)))
    };
    let cell = std::cell::RefCell::new(&mut test);
    runner.run(&strategy, |case| (cell.borrow_mut())(case)).unwrap_or_else(|error| panic!("{error}"));
    // Else there is nothing to agree on.
    assert!(taken > 500 && passed > 500, "{taken} taken, {passed} passed");
}

/// All that is the same in both: not the interface's number.
fn seen(header: Header, frame: &[u8]) -> (Header, Option<u32>, Vec<u8>) {
    (header, Arrival::of(frame).map(|arrival| arrival.mark), frame[12..].to_vec())
}

fn by_tc(engine: &Tap, wire: &Tap, packet: &[u8]) -> Vec<(Header, Option<u32>, Vec<u8>)> {
    wire.send(&Header::default(), packet).unwrap();
    let mut frames = Frames::new(4);
    engine.receive(&mut frames).unwrap();
    frames.iter().map(|frame| seen(frame.header(), frame.bytes())).collect()
}
