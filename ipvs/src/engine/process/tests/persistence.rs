use super::*;
use crate::virtual_service::{Family, Persistence};

fn persistent(service: VirtualService, prefix_len: u8) -> VirtualService {
    let timeout = Duration::from_secs(300);
    VirtualService { persistence: Some(Persistence { timeout, prefix_len, engine: None }), ..service }
}

const SERVERS: [(&str, u16, Forwarding); 2] =
    [("10.2.0.12", 8080, Forwarding::Masquerade), ("10.2.0.11", 8080, Forwarding::Masquerade)];

fn to(out: &Out) -> Address {
    match out.verdict {
        Verdict::Forward { to, .. } => to,
        other => panic!("{other:?}"),
    }
}

fn from(client: &str, port: u16) -> Build {
    Build { source: end(client, port), ..tcp(port, SYN) }
}

#[test]
fn a_client_comes_back_to_its_server_and_its_neighbours_do_too() {
    let mut site = Site::new();
    site.service(&persistent(web(), 24), &SERVERS);
    let first = to(&site.send(&from("10.1.0.9", 3001)));
    for (client, same) in [("10.1.0.9", true), ("10.1.0.77", true), ("10.1.1.9", false)] {
        assert_eq!(to(&site.send(&from(client, 3002))) == first, same, "{client}");
    }
}

#[test]
fn a_client_is_remembered_for_the_timeout_after_its_last_connection() {
    let mut site = Site::new();
    site.service(&persistent(web(), 32), &SERVERS);
    let first = to(&site.send(&from("10.1.0.9", 3001)));
    site.send(&from("10.1.0.9", 3001));
    site.pass(Duration::from_secs(299));
    assert_eq!(to(&site.send(&from("10.1.0.9", 3002))), first);
    site.pass(Duration::from_secs(299));
    assert_eq!(to(&site.send(&from("10.1.0.9", 3003))), first);
    site.pass(Duration::from_secs(361));
    assert_eq!(site.engine.connections(), 0);
    assert_ne!(to(&site.send(&from("10.1.0.9", 3004))), first, "it is the other's turn");
}

#[test]
fn a_client_of_a_removed_server_gets_another_one() {
    let mut site = Site::new();
    let service = persistent(web(), 32);
    site.service(&service, &SERVERS);
    let first = to(&site.send(&from("10.1.0.9", 3001)));
    let gone = RealServerId { address: first.into(), port: 8080 };
    site.apply(Change::RemoveServer(service.id, gone));
    let second = to(&site.send(&from("10.1.0.9", 3002)));
    assert_ne!(second, first);
    assert_eq!(to(&site.send(&from("10.1.0.9", 3003))), second);
}

#[test]
fn a_drained_server_keeps_its_clients_unless_settings_say_otherwise() {
    for quiescent in [Quiescent::Keep, Quiescent::Expire] {
        let mut site = Site::with(Settings { quiescent, ..Settings::default() });
        let service = persistent(web(), 32);
        site.service(&service, &SERVERS);
        let first = to(&site.send(&from("10.1.0.9", 3001)));
        let drained = server(&first.to_string(), 8080, Forwarding::Masquerade, 0);
        site.apply(Change::EditServer(service.id, drained));
        let stays = to(&site.send(&from("10.1.0.9", 3002))) == first;
        assert_eq!(stays, quiescent == Quiescent::Keep);
    }
}

#[test]
fn all_ports_and_protocols_of_a_mark_share_their_clients() {
    let mut site = Site::new();
    let mark = FwMark::new(7);
    let id = ServiceId::FwMark { family: Family::V4, mark: mark.expect("not zero") };
    // Even if servers have one of their own.
    site.service(&persistent(VirtualService::new(id, Scheduler::Rr), 32), &SERVERS);
    let first = site.send_marked(&from("10.1.0.9", 3001), mark);
    let other_port = Build { destination: end("10.9.0.1", 443), ..from("10.1.0.9", 3002) };
    let datagram = udp(3003);
    for build in [other_port, datagram] {
        let out = site.send_marked(&build, mark);
        assert_eq!(to(&out), to(&first));
        assert_eq!(out.view().ports.expect("ports").destination, build.destination.port, "ports stay");
    }
    assert_eq!(site.send(&from("10.1.0.9", 3004)).verdict, Verdict::Pass, "without the mark");
}

#[test]
fn a_service_on_every_port_takes_persistent_clients_on_each() {
    let mut site = Site::new();
    let service = VirtualService::new(id(Protocol::Tcp, "10.9.0.1", 0), Scheduler::Rr);
    let servers = SERVERS.map(|(address, _, forwarding)| (address, 0, forwarding));
    site.service(&persistent(service, 32), &servers);
    let out = [80, 443, 80].map(|port| {
        let build = Build { destination: end("10.9.0.1", port), ..from("10.1.0.9", 3000 + port) };
        let out = site.send(&build);
        (to(&out), out.view().ports.expect("ports").destination)
    });
    assert_eq!(out, [(out[0].0, 80), (out[0].0, 443), (out[0].0, 80)]);
}

#[test]
fn a_template_is_assured_once_a_connection_of_it_is_established() {
    let mut site = Site::new();
    site.service(&persistent(web(), 32), &SERVERS);
    let assured = |site: &Site| {
        let mut templates = site.engine.connections.iter().filter(|(_, entry)| entry.is_template());
        templates.next().is_some_and(|(_, template)| template.is_assured())
    };
    site.send(&from("10.1.0.9", 3001));
    assert!(!assured(&site));
    site.send(&Build { flags: ACK, ..from("10.1.0.9", 3001) });
    assert!(assured(&site));
}

#[test]
fn in_a_full_table_a_client_is_connected_though_it_cannot_be_remembered() {
    const ROOM: u16 = 64;
    let mut site = Site::new();
    site.engine = Engine::new(Settings::default(), Limits { connections: ROOM.into() }, 7, site.now);
    site.service(&persistent(web(), 32), &SERVERS);
    let plain = VirtualService::new(id(Protocol::Tcp, "10.9.0.1", 81), Scheduler::Rr);
    site.service(&plain, &SERVERS);
    for port in 1..ROOM {
        for flags in [SYN, ACK] {
            let destination = end("10.9.0.1", 81);
            site.send(&Build { flags, destination, ..tcp(3000 + port, flags) });
        }
    }
    assert_eq!(site.engine.connections(), usize::from(ROOM) - 1);
    let out = site.send(&from("10.1.0.77", 3001));
    assert!(matches!(out.verdict, Verdict::Forward { .. }), "{out:?}");
    assert!(site.engine.connections.iter().all(|(_, entry)| !entry.is_template()));
    site.engine.check(site.now).expect("a sound engine");
}
