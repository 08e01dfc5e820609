use super::super::super::testing::{After, Build, address, after, checksums, hex, path};
use super::super::super::tunnel::{Encapsulation, PathMtuDiscovery};
use super::super::tests::{error, quoted_in};
use super::*;
use crate::engine::buffer::Offload;
use crate::{Tunnel, TunnelChecksum};

fn tunnel(tunnel: Tunnel, outer: Family, mtu: usize) -> Encapsulation {
    let (server, source) = match outer {
        Family::V4 => ("10.2.0.11", "10.2.0.1"),
        Family::V6 => ("2001:db8:2::11", "2001:db8:2::1"),
    };
    Encapsulation { tunnel, server: address(server), path: path(source, mtu), pmtu: PathMtuDiscovery::On }
}

const GRE: Tunnel = Tunnel::Gre { checksum: TunnelChecksum::None };
const GRE_CHECKSUM: Tunnel = Tunnel::Gre { checksum: TunnelChecksum::Full };
const GUE: Tunnel = Tunnel::Gue { port: 6080, checksum: TunnelChecksum::None };

/// A packet in a tunnel, and what a router says of it.
fn about(encapsulation: &Encapsulation, build: &Build, kind: (u8, u8), rest: u32, quoted: usize) -> Vec<u8> {
    let inside = after(&build.bytes(), build.offload(), |packet, view| {
        encapsulation.apply(packet, view, 0).unwrap();
    });
    let router = match encapsulation.server.family() {
        Family::V4 => "10.77.0.1",
        Family::V6 => "2001:db8:77::1",
    };
    let sent = inside.on_wire();
    error(router, encapsulation.path.source, kind.0, kind.1, rest, &sent[..quoted.min(sent.len())])
}

fn relayed(bytes: &[u8], mtu: usize) -> After<(Tunnelled, Result<(), Silence>)> {
    after(bytes, Offload::default(), |packet, view| {
        let quote = Quote::read(packet, view).unwrap();
        let tunnelled = Tunnelled::read(packet, &quote).unwrap();
        (tunnelled, tunnelled.relay(packet, mtu, 9))
    })
}

#[test]
fn clients_hear_of_a_router_within_the_tunnel() {
    // The way takes 1000 bytes from now on: 980 for IPIP, 976 for GRE.
    for (how, carrier, overhead) in [
        (Tunnel::Ipip, Carrier::Ipip, 20),
        (GRE, Carrier::Gre, 24),
        (GRE_CHECKSUM, Carrier::Gre, 28),
        (GUE, Carrier::Gue { port: 6080 }, 32),
    ] {
        for outer in [Family::V4, Family::V6] {
            for build in [Build::tcp(), Build::tcp().v6()] {
                let overhead = overhead + if outer == Family::V6 { 20 } else { 0 };
                let build = Build { payload: vec![1; 1300], ..build };
                let kind = if outer == Family::V4 { (3, 4) } else { (2, 0) };
                let bytes = about(&tunnel(how, outer, 1500), &build, kind, 1000, 500);
                let done = relayed(&bytes, 1000);
                let (tunnelled, outcome) = done.outcome;
                assert_eq!((tunnelled.carrier, tunnelled.overhead, outcome), (carrier, overhead, Ok(())));
                assert_eq!(tunnelled.error(), Some(Error::TooBig { mtu: 1000 }));
                assert_eq!(tunnelled.server, tunnel(how, outer, 0).server);
                let view = View::read(&done.bytes).unwrap();
                assert_eq!(
                    (view.source, view.destination),
                    (build.destination.address, build.source.address)
                );
                assert_eq!(checksums(&done.bytes), (true, true));
                let error =
                    after(&done.bytes, Offload::default(), |packet, view| Quote::read(packet, view).unwrap());
                assert_eq!(error.outcome.error(), Some(Error::TooBig { mtu: 1000 - overhead }));
                assert!(Build { ttl: 63, ..build }.bytes().starts_with(quoted_in(&done.bytes)));
            }
        }
    }
}

#[test]
fn what_else_routers_say_is_said_to_the_client() {
    let free = Build { dont_fragment: false, payload: vec![1; 1300], ..Build::udp() };
    for (what, outer, kind, build, expected) in [
        ("port, word for word", Family::V4, (3, 3), Build::udp(), Ok(hex("0303"))),
        ("network, word for word", Family::V4, (3, 0), Build::udp(), Ok(hex("0300"))),
        ("time", Family::V4, (11, 1), Build::udp(), Ok(hex("0b01"))),
        ("quench", Family::V4, (4, 0), Build::udp(), Ok(hex("0400"))),
        ("may be cut", Family::V4, (3, 4), free, Err(Silence::MayBeCut)),
        ("IPv6 in IPv4, network", Family::V4, (3, 0), Build::udp().v6(), Ok(hex("0103"))),
        ("IPv6 in IPv4, port", Family::V4, (3, 3), Build::udp().v6(), Ok(hex("0104"))),
        ("IPv6 in IPv4, policy", Family::V4, (3, 13), Build::udp().v6(), Ok(hex("0101"))),
        ("IPv6 in IPv4, quench", Family::V4, (4, 0), Build::udp().v6(), Err(Silence::Meaningless)),
        ("IPv4 in IPv6, time", Family::V6, (3, 0), Build::udp(), Ok(hex("0b00"))),
        ("IPv4 in IPv6, parameter", Family::V6, (4, 0), Build::udp(), Err(Silence::Meaningless)),
        (
            "a later fragment",
            Family::V4,
            (3, 1),
            Build { fragment: (3, true), ..Build::udp() },
            Err(Silence::LaterFragment),
        ),
    ] {
        let bytes = about(&tunnel(Tunnel::Ipip, outer, 1500), &build, kind, 0, 500);
        let done = relayed(&bytes, 1500);
        let message = View::read(&done.bytes).unwrap().payload(&done.bytes)[..2].to_vec();
        assert_eq!(done.outcome.1.map(|()| message), expected, "{what}");
        if expected.is_err() {
            assert_eq!(done.bytes, bytes, "{what}");
        }
    }
}

#[test]
fn what_pads_an_error_is_not_told() {
    let bytes = about(&tunnel(GRE, Family::V4, 1500), &Build::udp(), (3, 1), 0, 60);
    let done = relayed(&bytes, 1500);
    let padded = relayed(&[&bytes[..], &[0xee; 40]].concat(), 1500);
    assert_eq!((done.outcome.1, padded.outcome.1), (Ok(()), Ok(())));
    assert_eq!(padded.bytes, done.bytes);
}

#[test]
fn what_is_no_tunnel_of_ours_is_named() {
    let read = |bytes: &[u8]| {
        let done = after(bytes, Offload::default(), |packet, view| {
            let quote = Quote::read(packet, view).unwrap();
            Tunnelled::read(packet, &quote)
        });
        done.outcome.map(drop)
    };
    let v4 = |how| tunnel(how, Family::V4, 1500);
    let truncated = Err(NotTunnelled::Malformed(crate::engine::packet::Malformed::Truncated));
    assert_eq!(read(&about(&v4(Tunnel::Ipip), &Build::udp(), (3, 4), 0, 28)), truncated);
    assert_eq!(read(&about(&v4(Tunnel::Ipip), &Build::udp(), (3, 4), 0, 20)), Err(NotTunnelled::Truncated));
    assert_eq!(read(&about(&v4(GRE), &Build::udp(), (3, 4), 0, 23)), Err(NotTunnelled::Truncated));
    assert_eq!(read(&about(&v4(GUE), &Build::udp(), (3, 4), 0, 29)), Err(NotTunnelled::Truncated));
    assert_eq!(read(&about(&v4(GUE), &Build::udp(), (3, 4), 0, 51)), truncated);
    assert_eq!(read(&about(&v4(GUE), &Build::udp(), (3, 4), 0, 52)), Ok(()));
    let tcp = error("10.77.0.1", address("10.2.0.1"), 3, 4, 0, &Build::tcp().bytes());
    assert_eq!(read(&tcp), Err(NotTunnelled::OtherProtocol));
    // Bytes of the tunnel's header that are not of our making.
    for (how, at, value) in
        [(GRE, 0, 0x20), (GRE, 1, 0x01), (GRE, 3, 0x07), (GUE, 8, 0x40), (GUE, 8, 0x20), (GUE, 9, 6)]
    {
        let inside = after(&Build::udp().bytes(), Offload::default(), |packet, view| {
            v4(how).apply(packet, view, 0).unwrap();
        });
        let mut sent = inside.on_wire();
        sent[20 + at] = value;
        let bytes = error("10.77.0.1", address("10.2.0.1"), 3, 4, 0, &sent);
        assert_eq!(read(&bytes), Err(NotTunnelled::Foreign), "{how:?} {at}");
    }
}
