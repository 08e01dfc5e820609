use buoy_ipvs::engine::packet::protocol::{ICMP, SCTP};

use super::*;
use crate::packets::error;

#[test]
fn half_open_connections_of_a_flood_make_room_for_each_other() {
    let mut target = Target::new();
    target.flood(FLOOD, |random| {
        let (client, service) = (anyone(random), any_service(random));
        Build::tcp(client, service, SYN).bytes()
    });
    let counts = target.site.engine.counts();
    let made = target.fate("forward") - 9 * 40 * u64::from(FLOOD / BURST + 2);
    assert!(made > u64::from(FLOOD) * 9 / 10, "{made}");
    assert!(counts.evicted > u64::from(FLOOD) * 9 / 10, "{counts:?}");
    // An hour later nothing of it is left.
    target.site.pass(Duration::from_secs(3600));
    assert_eq!((target.site.engine.connections(), target.site.engine.local_ports()), (0, 0));
    target.site.engine.check(target.site.now).expect("a sound engine");
}

#[test]
fn a_flood_to_a_service_without_servers_is_refused_and_leaves_nothing() {
    let mut target = Target::new();
    let before = target.site.engine.connections();
    target.flood(FLOOD, |random| Build::tcp(anyone(random), end("10.9.0.5", 80), SYN).bytes());
    assert_eq!(target.fate(Discard::NoServer.name()), u64::from(FLOOD));
    assert_eq!(target.site.engine.connections(), before);
}

#[test]
fn datagrams_that_nobody_answers_make_room_for_each_other() {
    let mut target = Target::new();
    target.flood(FLOOD, |random| {
        let client = anyone(random);
        match random.bool() {
            true => Build::udp(client, end("10.9.0.1", 53)).with(b"?").bytes(),
            // INIT.
            false => Build::new(SCTP, client, end("10.9.0.1", 90)).with(&[1, 0, 0, 20]).bytes(),
        }
    });
    assert!(target.site.engine.counts().evicted > u64::from(FLOOD) * 9 / 10);
}

#[test]
fn segments_that_begin_nothing_are_left_to_the_host() {
    let mut target = Target::new();
    let before = target.site.engine.connections();
    target.flood(FLOOD, |random| {
        let flags = [0, ACK, RST, RST | ACK, 0x01, 0x29][random.usize(..6)];
        Build::tcp(anyone(random), any_service(random), flags).bytes()
    });
    assert_eq!((target.fate("pass"), target.site.engine.connections()), (u64::from(FLOOD), before));
}

#[test]
fn packets_with_a_wrong_header_checksum_begin_nothing() {
    let mut target = Target::new();
    let before = target.site.engine.connections();
    target.flood(FLOOD, |random| {
        let wrong_by = [random.u16(1..0xfffe), 0];
        Build { wrong_by, ..Build::tcp(anyone(random), any_service(random), SYN) }.bytes()
    });
    assert_eq!((target.fate("pass"), target.site.engine.connections()), (u64::from(FLOOD), before));
}

/// Of the transport: as in the kernel, the server is the one to look.
#[test]
fn wrong_checksums_of_segments_arrive_wrong() {
    let mut target = Target::new();
    let flow = target.flows[0].clone();
    for by in 1..2000 {
        let build = Build { wrong_by: [0, by], ..Build::tcp(flow.client, flow.service, ACK) };
        let out = target.site.send(&build);
        assert_eq!(out.to(), Some(flow.server.address));
        assert!(!crate::packets::is_intact(&out.bytes), "{by}");
    }
    target.carry_on();
}

#[test]
fn packets_from_a_service_to_itself_begin_nothing() {
    let mut target = Target::new();
    let before = target.site.engine.connections();
    target.flood(FLOOD, |random| {
        let service = any_service(random);
        // LAND, and its variety with another port.
        let source = Endpoint { port: if random.bool() { service.port } else { random.u16(..) }, ..service };
        Build::tcp(source, service, SYN).bytes()
    });
    assert_eq!((target.fate("pass"), target.site.engine.connections()), (u64::from(FLOOD), before));
}

#[test]
fn senders_that_claim_to_be_a_service_a_server_or_the_host_itself_get_nobody_elses_connections() {
    let mut target = Target::new();
    target.flood(FLOOD, |random| {
        let pretended =
            ["10.9.0.1", "10.9.0.2", "10.9.0.5", "10.2.0.11", "10.2.0.21", "10.2.0.1", "127.0.0.1"];
        let ports = [80, 8080, random.u16(..)];
        let source = end(pretended[random.usize(..pretended.len())], ports[random.usize(..3)]);
        // Not to where a server's answers go: they are not to be told from those.
        Build::tcp(source, any_service(random), [SYN, ACK, RST][random.usize(..3)]).bytes()
    });
    assert!(target.fate(Discard::Loopback.name()) > u64::from(FLOOD) / 30);
}

#[test]
fn errors_about_connections_that_there_are_not_are_left_to_the_host() {
    let mut target = Target::new();
    let before = target.site.engine.connections();
    target.flood(FLOOD, |random| {
        let router = anyone(random).address;
        let service = any_service(random);
        let about = Build::tcp(service, anyone(random), ACK).bytes();
        let kind = [3, 4, 11][random.usize(..3)];
        error(router, service.address, [kind, random.u8(..16)], &about).bytes()
    });
    assert_eq!((target.fate("pass"), target.site.engine.connections()), (u64::from(FLOOD), before));
}

#[test]
fn errors_about_established_connections_pass_and_change_nothing_of_them() {
    let mut target = Target::new();
    let quoted: Vec<_> = target.flows.iter().map(|flow| Build::tcp(flow.service, flow.client, ACK)).collect();
    let wrong = |random: &mut fastrand::Rng| if random.u8(..4) == 0 { 1 } else { 0 };
    let before = target.site.engine.connections();
    let forwarded = target.fate("forward");
    target.flood(FLOOD, |random| {
        let about = &quoted[random.usize(..quoted.len())];
        let (service, v6) = (about.source.address, about.source.address.family() == buoy_ipvs::Family::V6);
        let kind = if v6 { [1, 1, 3][random.usize(..3)] } else { [3, 3, 11][random.usize(..3)] };
        let router = if v6 { end("2001:db8:77::1", 0) } else { anyone(random) };
        let mut packet = error(router.address, service, [kind, 1], &about.bytes());
        packet.wrong_by[1] = wrong(random);
        packet.bytes()
    });
    assert!(target.fate("forward") - forwarded > u64::from(FLOOD) / 2);
    assert!(target.fate(Discard::BadError.name()) > u64::from(FLOOD) / 10);
    assert_eq!(target.site.engine.connections(), before);
}

#[test]
fn a_ping_flood_is_the_hosts() {
    let mut target = Target::new();
    target.flood(FLOOD, |random| {
        let ping = Build::new(ICMP, anyone(random), any_service(random));
        ping.with(&[8, 0, 0, 0, random.u8(..), 1, 2, 3]).bytes()
    });
    assert_eq!(target.fate("pass"), u64::from(FLOOD));
}

#[test]
fn bytes_without_sense_are_no_packets_and_begin_little() {
    let mut target = Target::new();
    target.flood(FLOOD, |random| {
        let mut bytes = vec![0; random.usize(..120)];
        random.fill(&mut bytes);
        bytes
    });
    assert!(target.fate("malformed") > u64::from(FLOOD) / 2);
}

#[test]
fn packets_with_some_bytes_changed_do_no_harm() {
    let mut target = Target::new();
    let flows = target.flows.clone();
    target.flood(FLOOD, |random| {
        let flow = &flows[random.usize(..flows.len())];
        // A client of its own: whoever knows the ports of another's connection can end it.
        let client = Endpoint { port: random.u16(..1024), ..flow.client };
        let mut bytes = Build::tcp(client, flow.service, [SYN, ACK, RST][random.usize(..3)]).bytes();
        let ports = if bytes[0] >> 4 == 4 { 20..24 } else { 40..44 };
        for _ in 0..random.usize(1..6) {
            let place = random.usize(..bytes.len());
            if !ports.contains(&place) {
                bytes[place] = random.u8(..);
            }
        }
        bytes
    });
}

#[test]
fn odd_headers_are_forwarded_answered_or_dropped_for_a_reason() {
    let mut target = Target::new();
    target.flood(FLOOD, |random| {
        let (client, service) = (anyone(random), any_service(random));
        let syn = Build::tcp(client, service, SYN);
        match random.u8(..6) {
            0 => Build { ttl: random.u8(..2), ..syn }.bytes(),
            // Record route, and no end of the options.
            1 => Build { ip_options: [&[7, 39, 4][..], &[0; 37]].concat(), ..syn }.bytes(),
            2 => Build { source: Endpoint { port: 0, ..client }, ..syn }.bytes(),
            3 => Build { destination: Endpoint { port: 0, ..service }, ..syn }.bytes(),
            4 => {
                let extensions = vec![[0, 43, 60, 60][random.usize(..4)]; random.usize(..20)];
                let ends = (end("2001:db8:1::66", random.u16(..)), end("2001:db8:9::1", 80));
                Build { extensions, ..Build::tcp(ends.0, ends.1, SYN) }.bytes()
            }
            _ => {
                let mut cut = syn.bytes();
                cut.truncate(random.usize(..40));
                cut
            }
        }
    });
    let some = u64::from(FLOOD) / 20;
    for name in ["malformed", "pass", Discard::TimeExceeded.name()] {
        assert!(target.fate(name) > some, "{name}: {:?}", target.site.tally);
    }
}

#[test]
fn everything_at_once() {
    let mut target = Target::new();
    target.flood(2 * FLOOD, |random| {
        let (client, service) = (anyone(random), any_service(random));
        match random.u8(..8) {
            0 | 1 => Build::tcp(client, service, SYN).bytes(),
            2 => Build::udp(client, end("10.9.0.1", 53)).bytes(),
            3 => Build::tcp(client, end("10.9.0.5", 80), SYN).bytes(),
            4 => Build { fragment: 0x2000, identification: random.u16(..), ..Build::udp(client, service) }
                .with(&[7; 64])
                .bytes(),
            5 => error(client.address, service.address, [3, 4], &Build::tcp(service, client, ACK).bytes())
                .bytes(),
            6 => Build { ttl: 1, ..Build::tcp(client, service, SYN) }.bytes(),
            _ => (0..random.usize(..64)).map(|_| random.u8(..)).collect(),
        }
    });
}

#[test]
fn local_ports_come_back_with_the_connections_that_made_room() {
    let mut target = Target::new();
    target.flood(FLOOD, |random| Build::tcp(anyone(random), end("10.9.0.2", 80), SYN).bytes());
    assert_eq!(target.fate(Discard::NoLocalPort.name()), 0);
    assert!(target.site.engine.local_ports() <= CONNECTIONS as usize);
}
