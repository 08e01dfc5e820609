use proptest::prelude::*;

use super::super::testing::{
    After, Build, address, after, any_ends, any_offload, any_packet, checksums, end, hex, path,
    pseudo_header, slow_sum,
};
use super::super::{Endpoint, Outcome, Rewrite, Undeliverable};
use super::*;
use crate::engine::address::Address;
use crate::engine::buffer::{Offload, Packet};

/// An error about a packet, from anywhere.
pub(super) fn error(from: &str, to: Address, kind: u8, code: u8, rest: u32, quoted: &[u8]) -> Vec<u8> {
    let from = address(from);
    let protocol = match to.family() {
        Family::V4 => protocol::ICMP,
        Family::V6 => protocol::ICMPV6,
    };
    let mut message = vec![kind, code, 0, 0];
    message.extend(rest.to_be_bytes());
    message.extend(quoted);
    let pseudo = match to.family() {
        Family::V4 => Vec::new(),
        Family::V6 => pseudo_header(from, to, protocol, message.len()),
    };
    let sum = !slow_sum(&[&pseudo, &message]);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let ends = (Endpoint { address: from, port: 0 }, Endpoint { address: to, port: 0 });
    Build { payload: message, dont_fragment: false, ..Build::new(protocol, ends.0, ends.1) }.bytes()
}

fn port_unreachable(from: &str, to: Address, quoted: &[u8]) -> Vec<u8> {
    let (kind, code) = match to.family() {
        Family::V4 => (3, 3),
        Family::V6 => (1, 4),
    };
    error(from, to, kind, code, 0, quoted)
}

fn translated(bytes: &[u8], rewrite: Rewrite) -> After<Result<Outcome, Undeliverable>> {
    after(bytes, Offload::default(), |packet, view| {
        let quote = Quote::read(packet, view).unwrap();
        translate(packet, view, &quote, &rewrite, &path("10.2.0.1", 1500))
    })
}

/// What is behind the headers of an error.
pub(super) fn quoted_in(error: &[u8]) -> &[u8] {
    &error[View::read(error).unwrap().transport + 8..]
}

/// A connection of masquerading, in both families.
struct Nat {
    client: Endpoint,
    service: Endpoint,
    server: Endpoint,
    router: &'static str,
}

fn nats() -> [Nat; 2] {
    [
        Nat {
            client: end("10.1.0.9", 3001),
            service: end("10.9.0.1", 53),
            server: end("10.2.0.11", 8053),
            router: "10.77.0.1",
        },
        Nat {
            client: end("2001:db8:1::9", 3001),
            service: end("2001:db8:9::1", 53),
            server: end("2001:db8:2::11", 8053),
            router: "2001:db8:77::1",
        },
    ]
}

#[test]
fn an_error_of_the_client_reaches_the_server_as_if_about_its_own_packet() {
    for Nat { client, service, server, router } in nats() {
        for from in [router, &client.address.to_string()] {
            let reply = Build { ttl: 60, ..Build::new(protocol::UDP, service, client) };
            let bytes = port_unreachable(from, service.address, &reply.bytes());
            let rewrite = Rewrite { source: None, destination: Some(server) };
            let done = translated(&bytes, rewrite);
            assert_eq!(done.outcome, Ok(Outcome::Whole));
            let view = View::read(&done.bytes).unwrap();
            assert_eq!((view.source, view.destination, view.ttl), (address(from), server.address, 63));
            assert_eq!(checksums(&done.bytes), (true, true));
            // All of the quoted packet is the server's own, but the checksum of UDP, which is left as it was.
            let mut own = Build { source: server, ..reply.clone() }.bytes();
            let at = reply.transport_at() + 6;
            own[at..at + 2].copy_from_slice(&reply.bytes()[at..at + 2]);
            assert_eq!(quoted_in(&done.bytes), own);
        }
    }
}

#[test]
fn an_error_about_a_request_comes_from_the_service_whichever_router_sent_it() {
    for Nat { client, service, server, router } in nats() {
        for from in [router, &server.address.to_string()] {
            let request = Build { ttl: 60, ..Build::new(protocol::TCP, client, server) };
            // As many routers do it: the IP header and eight bytes.
            let quoted = &request.bytes()[..request.transport_at() + 8];
            let bytes = port_unreachable(from, client.address, quoted);
            let done = translated(&bytes, Rewrite { source: Some(service), destination: None });
            assert_eq!(done.outcome, Ok(Outcome::Whole));
            let view = View::read(&done.bytes).unwrap();
            assert_eq!((view.source, view.destination), (service.address, client.address));
            assert_eq!(checksums(&done.bytes), (true, true));
            let own = Build { destination: service, ..request.clone() }.bytes();
            assert_eq!(quoted_in(&done.bytes), &own[..quoted.len()]);
        }
    }
}

#[test]
fn errors_go_through_full_nat_with_both_ends() {
    for Nat { client, service, server, router } in nats() {
        let local = Endpoint { address: address(router), port: 5000 };
        let reply = Build::new(protocol::UDP, service, client);
        let bytes = port_unreachable(&client.address.to_string(), service.address, &reply.bytes());
        let done = translated(&bytes, Rewrite { source: Some(local), destination: Some(server) });
        let view = View::read(&done.bytes).unwrap();
        assert_eq!((view.source, view.destination), (local.address, server.address));
        assert_eq!(checksums(&done.bytes), (true, true));
        let mut own = Build { source: server, destination: local, ..reply.clone() }.bytes();
        let at = reply.transport_at() + 6;
        own[at..at + 2].copy_from_slice(&reply.bytes()[at..at + 2]);
        assert_eq!(quoted_in(&done.bytes), own);
    }
}

#[test]
fn errors_to_a_server_on_the_director_have_passed_no_router() {
    for Nat { client, service, server, router } in nats() {
        let reply = Build::new(protocol::UDP, service, client);
        let bytes = port_unreachable(router, service.address, &reply.bytes());
        let rewrite = Rewrite { source: None, destination: Some(server) };
        let done = after(&bytes, Offload::default(), |packet, view| {
            let quote = Quote::read(packet, view).unwrap();
            rewrite_error(packet, view, &quote, &rewrite)
        });
        assert_eq!(done.outcome, Ok(()));
        assert_eq!(checksums(&done.bytes), (true, true));
        let view = View::read(&done.bytes).unwrap();
        assert_eq!((view.destination, view.ttl), (server.address, 64));
        assert_eq!(quoted_in(&done.bytes), quoted_in(&translated(&bytes, rewrite).bytes));
    }
}

#[test]
fn a_quoted_header_checksum_is_made_anew() {
    let [Nat { client, service, server, .. }, _] = nats();
    let mut reply = Build::new(protocol::UDP, service, client).bytes();
    reply[10] ^= 0x5a;
    let done = translated(
        &port_unreachable("10.1.0.9", service.address, &reply),
        Rewrite { source: None, destination: Some(server) },
    );
    assert_eq!(checksums(&done.bytes), (true, true));
    assert_eq!(slow_sum(&[&quoted_in(&done.bytes)[..20]]), 0xffff);
}

#[test]
fn errors_that_are_too_long_are_cut_or_go_nowhere() {
    let [v4, v6] = nats();
    for (Nat { client, service, server, .. }, expected) in
        [(v4, Ok(Outcome::Fragments { mtu: 1400 })), (v6, Err(Undeliverable::ErrorTooBig))]
    {
        let reply = Build { payload: vec![0; 1440], ..Build::new(protocol::UDP, service, client) };
        let mut bytes = port_unreachable(&client.address.to_string(), service.address, &reply.bytes());
        if bytes[0] == 0x45 {
            // Even if it says that it is not to be cut.
            bytes[6] = 0x40;
            bytes[10..12].fill(0);
            let sum = !slow_sum(&[&bytes[..20]]);
            bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        let rewrite = Rewrite { source: None, destination: Some(server) };
        let done = after(&bytes, Offload::default(), |packet, view| {
            let quote = Quote::read(packet, view).unwrap();
            translate(packet, view, &quote, &rewrite, &path("10.2.0.1", 1400))
        });
        assert_eq!(done.outcome, expected);
    }
}

#[test]
fn an_error_whose_bytes_were_changed_on_the_way_is_not_intact() {
    for Nat { client, service, router, .. } in nats() {
        let about = Build::new(protocol::TCP, service, client).bytes();
        let error = port_unreachable(router, service.address, &about);
        let intact = |bytes: &[u8]| {
            after(bytes, Offload::default(), |packet, view| Quote::is_intact(packet, view)).outcome
        };
        assert!(intact(&error));
        let begin = View::read(&error).unwrap().transport;
        for place in begin..error.len() {
            let mut changed = error.clone();
            changed[place] ^= 1;
            assert!(!intact(&changed), "byte {place}");
        }
    }
}

#[test]
fn what_is_quoted_says_which_connection_it_is() {
    let [Nat { client, service, router, .. }, _] = nats();
    let reply = Build::new(protocol::TCP, service, client);
    let whole = reply.bytes();
    let to = service.address;
    let later = Build { fragment: (9, false), ..reply.clone() }.bytes();
    let mut fragment = port_unreachable(router, to, &whole);
    fragment[6] = 0x20;
    let v6 = Build::tcp().v6();
    for (what, bytes, expected) in [
        ("unreachable", port_unreachable(router, to, &whole), Ok(true)),
        ("eight bytes", port_unreachable(router, to, &whole[..28]), Ok(true)),
        ("three bytes", port_unreachable(router, to, &whole[..23]), Ok(false)),
        ("a later fragment", port_unreachable(router, to, &later), Ok(false)),
        ("source quench", error(router, to, 4, 0, 0, &whole), Ok(true)),
        ("time exceeded", error(router, to, 11, 0, 0, &whole), Ok(true)),
        ("an echo request", error(router, to, 8, 0, 0, &whole), Err(NoQuote::NoError)),
        ("a redirect", error(router, to, 5, 0, 0, &whole), Err(NoQuote::NoError)),
        ("a parameter problem", error(router, to, 12, 0, 0, &whole), Err(NoQuote::NoError)),
        ("TCP", whole.clone(), Err(NoQuote::NoError)),
        ("a fragment of an error", fragment, Err(NoQuote::Fragment)),
        (
            "half a header",
            port_unreachable(router, to, &whole[..12]),
            Err(NoQuote::Malformed(crate::engine::packet::Malformed::Truncated)),
        ),
        (
            "nothing",
            port_unreachable(router, to, &[]),
            Err(NoQuote::Malformed(crate::engine::packet::Malformed::Truncated)),
        ),
        ("another family", port_unreachable(router, to, &v6.bytes()), Err(NoQuote::Family)),
    ] {
        let done = after(&bytes, Offload::default(), |packet, view| Quote::read(packet, view));
        assert_eq!(done.outcome.map(|quote| quote.view.ports.is_some()), expected, "{what}");
    }
    let long = Build { payload: vec![5; 1200], extensions: vec![24], ..v6 };
    let bytes =
        error(&long.destination.address.to_string(), long.source.address, 2, 0, 1280, &long.bytes()[..1232]);
    let done = after(&bytes, Offload::default(), |packet, view| Quote::read(packet, view).unwrap());
    let quote = done.outcome;
    assert_eq!(quote.view.ports.map(|ports| ports.destination), Some(80));
    assert_eq!(quote.error(), Some(Error::TooBig { mtu: 1280 }));
}

#[test]
fn our_own_errors_are_those_of_the_rfcs() {
    let too_big = Error::TooBig { mtu: 1280 };
    for (wrong, v4, v6) in [
        (Error::HostUnreachable, "0301 0000 0000 0000", "0103 0000 0000 0000"),
        (Error::PortUnreachable, "0303 0000 0000 0000", "0104 0000 0000 0000"),
        (Error::Prohibited, "030d 0000 0000 0000", "0101 0000 0000 0000"),
        (too_big, "0304 0000 0000 0500", "0200 0000 0000 0500"),
        (Error::TimeExceeded, "0b00 0000 0000 0000", "0300 0000 0000 0000"),
    ] {
        for (build, source, header) in [
            (Build { class: 0xb9, ..Build::udp() }, "10.9.0.1", v4),
            (Build { class: 0xb9, ..Build::udp().v6() }, "2001:db8:9::1", v6),
        ] {
            let done = after(&build.bytes(), build.offload(), |packet, view| {
                answer(packet, view, wrong, address(source), 0x4242)
            });
            assert_eq!(done.outcome, Ok(()), "{wrong:?}");
            let view = View::read(&done.bytes).unwrap();
            assert_eq!((view.source, view.destination), (address(source), build.source.address));
            assert_eq!(
                (view.ttl, view.dont_fragment, view.end),
                (64, view.family == Family::V6, done.bytes.len())
            );
            assert_eq!(checksums(&done.bytes), (true, true));
            let mut message = view.payload(&done.bytes)[..8].to_vec();
            message[2..4].fill(0);
            assert_eq!(message, hex(header), "{wrong:?}");
            assert_eq!(quoted_in(&done.bytes), build.bytes());
            if view.family == Family::V4 {
                // Precedence is that of internetwork control, and the rest of the packet's.
                assert_eq!((view.class, &done.bytes[4..6]), (0xd8, &[0x42, 0x42][..]));
            }
        }
    }
}

#[test]
fn errors_quote_as_much_as_they_may() {
    for (build, longest) in [(Build::udp(), 576), (Build::udp().v6(), 1280)] {
        let build = Build { payload: vec![7; 1400], ..build };
        let mut bytes = build.bytes();
        bytes.extend([0; 10]);
        let source = build.destination.address;
        let done = after(&bytes, build.offload(), |packet, view| {
            answer(packet, view, Error::TooBig { mtu: 1280 }, source, 0)
        });
        assert_eq!((done.outcome, done.bytes.len()), (Ok(()), longest));
        assert_eq!(checksums(&done.bytes), (true, true));
        assert!(build.bytes().starts_with(quoted_in(&done.bytes)));
    }
    // What pads a frame is no part of it.
    let mut bytes = Build { payload: vec![], ..Build::udp() }.bytes();
    bytes.extend([0; 18]);
    let done = after(&bytes, Offload::default(), |packet, view| {
        answer(packet, view, Error::PortUnreachable, address("10.9.0.1"), 0)
    });
    assert_eq!(done.bytes.len(), 28 + 28);
}

#[test]
fn some_packets_are_never_answered() {
    let ends = (end("10.1.0.9", 0), end("10.9.0.1", 0));
    let icmp = |kind: u8| Build {
        payload: vec![kind, 0, 0, 0, 0, 0, 0, 0],
        ..Build::new(protocol::ICMP, ends.0, ends.1)
    };
    let icmpv6 = |kind: u8| Build { protocol: protocol::ICMPV6, ..icmp(kind) }.v6();
    let source = |text: &str| Build { source: end(text, 9), ..Build::udp() };
    let source_v6 = |text: &str| Build { source: end(text, 9), ..Build::udp().v6() };
    for (what, build, expected) in [
        ("an echo request", icmp(8), Ok(())),
        ("unreachable", icmp(3), Err(Silence::AboutAnError)),
        ("a redirect", icmp(5), Err(Silence::AboutAnError)),
        ("time exceeded", icmp(11), Err(Silence::AboutAnError)),
        ("a type that nobody knows", icmp(77), Err(Silence::AboutAnError)),
        ("ICMP without a type", Build { payload: vec![], ..icmp(8) }, Err(Silence::AboutAnError)),
        ("an echo request of IPv6", icmpv6(128), Ok(())),
        ("too big", icmpv6(2), Err(Silence::AboutAnError)),
        ("a redirect of IPv6", icmpv6(137), Err(Silence::AboutAnError)),
        ("the first fragment", Build { fragment: (0, true), ..Build::udp() }, Ok(())),
        ("a later one", Build { fragment: (1, true), ..Build::udp() }, Err(Silence::LaterFragment)),
        ("from a group", source("224.0.0.1"), Err(Silence::NotUnicast)),
        ("from everyone", source("255.255.255.255"), Err(Silence::NotUnicast)),
        ("from nobody", source("0.0.0.0"), Err(Silence::NotUnicast)),
        ("from itself", source("127.0.0.1"), Err(Silence::NotUnicast)),
        ("from ::", source_v6("::"), Err(Silence::NotUnicast)),
        ("from ::1", source_v6("::1"), Err(Silence::NotUnicast)),
        ("from ff02::1", source_v6("ff02::1"), Err(Silence::NotUnicast)),
        ("to a group", Build { destination: end("239.1.1.1", 9), ..Build::udp() }, Err(Silence::NotUnicast)),
    ] {
        let from =
            address(if build.source.address.family() == Family::V4 { "10.9.0.1" } else { "2001:db8:9::1" });
        let done = after(&build.bytes(), build.offload(), |packet, view| {
            answer(packet, view, Error::PortUnreachable, from, 0)
        });
        assert_eq!(done.outcome, expected, "{what}");
        if expected.is_err() {
            assert_eq!(done.bytes, build.bytes(), "{what}");
        }
    }
    let mut buffer = Build::udp().bytes();
    let (view, length, before) = (View::read(&buffer).unwrap(), buffer.len(), buffer.clone());
    let mut packet = Packet::new(&mut buffer, 0, length, Offload::default()).unwrap();
    let refused = answer(&mut packet, &view, Error::TimeExceeded, address("10.9.0.1"), 0);
    assert_eq!((refused, packet.bytes()), (Err(Silence::NoRoom(crate::engine::buffer::NoRoom)), &before[..]));
    let refused = answer(&mut packet, &view, Error::TimeExceeded, address("::9"), 0);
    assert_eq!(refused, Err(Silence::Family));
}

proptest! {
    #[test]
    fn translated_errors_have_right_checksums_and_come_back(
        build in any_packet(),
        v4 in any_ends(Family::V4),
        v6 in any_ends(Family::V6),
        kept in 8..200_usize,
    ) {
        let family = build.source.address.family();
        let [local, server, ..] = if family == Family::V4 { v4 } else { v6 };
        let quoted = build.bytes();
        let kept = kept.max(build.transport_at() + 8).min(quoted.len());
        let to = build.source.address;
        let from = if family == Family::V4 { "10.77.0.1" } else { "2001:db8:77::1" };
        let bytes = port_unreachable(from, to, &quoted[..kept]);
        let there = translated(&bytes, Rewrite { source: Some(local), destination: Some(server) });
        prop_assert_eq!(&there.outcome, &Ok(Outcome::Whole));
        prop_assert_eq!(checksums(&there.bytes), (true, true));
        let own = Build { source: server, destination: local, ..build.clone() };
        prop_assert_eq!(&quoted_in(&there.bytes)[..build.transport_at()], &own.bytes()[..build.transport_at()]);
        let back = translated(&there.bytes, Rewrite {
            source: Some(build.destination),
            destination: Some(build.source),
        });
        prop_assert_eq!(quoted_in(&back.bytes), &quoted[..kept]);
    }

    #[test]
    fn nothing_panics_whatever_is_quoted(
        garbage in prop::collection::vec(any::<u8>(), 0..120),
        first in prop::sample::select(vec![0x45_u8, 0x46, 0x60]),
        protocol in prop::sample::select(vec![4_u8, 41, 47, 17, 6]),
        v6 in any::<bool>(),
        offload in any_offload(),
    ) {
        let mut quoted = garbage;
        if let Some(byte) = quoted.first_mut() {
            *byte = first;
        }
        if let Some(byte) = quoted.get_mut(if first == 0x60 { 6 } else { 9 }) {
            *byte = protocol;
        }
        let (from, to) = if v6 { ("2001:db8::1", address("2001:db8::2")) } else { ("10.0.0.1", address("10.0.0.2")) };
        let bytes = port_unreachable(from, to, &quoted);
        after(&bytes, offload, |packet, view| {
            let Ok(quote) = Quote::read(packet, view) else { return };
            let end = if v6 { end("2001:db8::7", 7) } else { end("10.0.0.7", 7) };
            let rewrite = Rewrite { source: Some(end), destination: Some(end) };
            let outcome = translate(packet, view, &quote, &rewrite, &path("10.0.0.9", 1500));
            assert!(outcome.is_err() || View::read(packet.bytes()).is_ok());
            if let Ok(tunnelled) = Tunnelled::read(packet, &quote) {
                let relayed = tunnelled.relay(packet, 1000, 0);
                assert!(relayed.is_err() || checksums(packet.bytes()) == (true, true));
            }
        });
    }

    #[test]
    fn answers_are_right_packets(build in any_packet(), offload in any_offload()) {
        let source = build.destination.address;
        let done = after(&build.bytes(), offload, |packet, view| {
            answer(packet, view, Error::TimeExceeded, source, 1)
        });
        prop_assert_eq!(done.outcome, Ok(()));
        prop_assert_eq!(checksums(&done.bytes), (true, true));
        prop_assert_eq!(done.offload, Offload::default());
    }
}
