use super::*;
use crate::engine::forward::Outcome;
use crate::engine::forward::fullnat::Toa;
use crate::engine::packet::protocol;
use crate::real_server::{Tunnel, TunnelChecksum};
use crate::virtual_service::LocalAddresses;

#[test]
fn masqueraded_packets_go_to_the_server_and_come_back_from_the_service() {
    let mut site = Site::new();
    site.service(&web(), &[("10.2.0.11", 8080, Forwarding::Masquerade)]);
    assert_eq!(site.send(&tcp(3001, SYN)).way(), "10.1.0.9:3001 > 10.2.0.11:8080 to 10.2.0.11");
    let answer = site.send(&back("10.2.0.11", ("10.1.0.9", 3001), SYN | ACK));
    assert_eq!(answer.way(), "10.9.0.1:80 > 10.1.0.9:3001 to 10.1.0.9");
    assert_eq!(site.send(&tcp(3001, ACK)).way(), "10.1.0.9:3001 > 10.2.0.11:8080 to 10.2.0.11");
    assert_eq!(site.connection().state(), Some(ConnectionState::Tcp(TcpState::Established)));
    let counters = site.counters(&web().id, "10.2.0.11", 8080);
    assert_eq!((counters.connections, counters.packets_in, counters.packets_out), (1, 2, 1));
    assert_eq!((counters.active, counters.inactive), (1, 0));
}

#[test]
fn ipv6_is_masqueraded_as_ipv4_is() {
    let mut site = Site::new();
    let service = VirtualService::new(id(Protocol::Tcp, "2001:db8:9::1", 80), Scheduler::Rr);
    site.service(&service, &[("2001:db8:2::11", 8080, Forwarding::Masquerade)]);
    let out = site.send(&tcp(3001, SYN).v6());
    assert_eq!(out.way(), "2001:db8:1::9:3001 > 2001:db8:2::11:8080 to 2001:db8:2::11");
    let answer = Build {
        flags: SYN | ACK,
        ..Build::new(TCP, end("2001:db8:2::11", 8080), end("2001:db8:1::9", 3001))
    };
    assert_eq!(site.send(&answer).way(), "2001:db8:9::1:80 > 2001:db8:1::9:3001 to 2001:db8:1::9");
}

#[test]
fn directly_routed_packets_keep_their_addresses_and_lose_a_hop() {
    let mut site = Site::new();
    site.service(&web(), &[("10.2.0.11", 8080, Forwarding::Direct)]);
    let out = site.send(&tcp(3001, SYN));
    assert_eq!(out.way(), "10.1.0.9:3001 > 10.9.0.1:80 to 10.2.0.11");
    assert_eq!(out.view().ttl, 63);
    site.send(&tcp(3001, ACK));
    site.send(&tcp(3001, FIN | ACK));
    assert_eq!(
        site.connection().state(),
        Some(ConnectionState::Tcp(TcpState::FinWait)),
        "but half of it is seen"
    );
}

#[test]
fn tunnelled_packets_go_inside_of_others() {
    let gue = Tunnel::Gue { port: 6080, checksum: TunnelChecksum::None };
    let gre = Tunnel::Gre { checksum: TunnelChecksum::None };
    for (tunnel, number, overhead) in
        [(Tunnel::Ipip, protocol::IPIP, 20), (gre, protocol::GRE, 24), (gue, UDP, 32)]
    {
        let mut site = Site::new();
        site.service(&web(), &[("10.2.0.11", 0, Forwarding::Tunnel(tunnel))]);
        let packet = tcp(3001, SYN);
        let out = site.send(&packet);
        let view = out.view();
        assert_eq!((view.source, view.destination), (address("10.2.0.1"), address("10.2.0.11")));
        assert_eq!((view.protocol, out.bytes.len()), (number, packet.bytes().len() + overhead));
        let inner = View::read(&out.bytes[overhead..]).expect("the packet inside");
        assert_eq!((inner.destination, inner.ttl), (address("10.9.0.1"), 63));
    }
}

#[test]
fn full_nat_lends_a_port_for_as_long_as_the_connection_lasts() {
    let mut site = Site::new();
    let local_addresses: LocalAddresses = [ip("10.2.0.1")].into_iter().collect();
    let service = VirtualService { local_addresses, ..web() };
    site.service(&service, &[("10.2.0.11", 8080, Forwarding::FullNat)]);
    let out = site.send(&tcp(3001, SYN));
    let local = out.view().ports.expect("ports").source;
    assert_eq!(out.way(), format!("10.2.0.1:{local} > 10.2.0.11:8080 to 10.2.0.11"));
    assert_eq!(site.engine.services.local_ports().in_use(), 1);
    let answer = site.send(&back("10.2.0.11", ("10.2.0.1", local), SYN | ACK));
    assert_eq!(answer.way(), "10.9.0.1:80 > 10.1.0.9:3001 to 10.1.0.9");
    site.pass(Duration::from_secs(61));
    assert_eq!((site.engine.connections(), site.engine.services.local_ports().in_use()), (0, 0));
}

#[test]
fn full_nat_tells_the_server_who_the_client_is_where_it_is_to() {
    const OPTION: [u8; 8] = [254, 8, 0x0b, 0xb9, 10, 1, 0, 9];
    for toa in [Toa::Off, Toa::On] {
        let mut site = Site::with(Settings { toa, ..Settings::default() });
        let local_addresses: LocalAddresses = [ip("10.2.0.1")].into_iter().collect();
        let service = VirtualService { local_addresses, ..web() };
        site.service(&service, &[("10.2.0.11", 8080, Forwarding::FullNat)]);
        let told = |out: &Out| out.bytes.windows(OPTION.len()).any(|bytes| bytes == OPTION);
        let syn = site.send(&tcp(3001, SYN));
        let local = syn.view().ports.expect("ports").source;
        site.send(&back("10.2.0.11", ("10.2.0.1", local), SYN | ACK));
        let segments = std::array::from_fn::<_, 5, _>(|_| told(&site.send(&tcp(3001, ACK))));
        let expected = [true, true, true, false, false].map(|told| told && toa == Toa::On);
        assert_eq!((told(&syn), segments), (false, expected));
    }
}

#[test]
fn a_server_on_this_host_gets_its_packets_by_the_stack() {
    for (forwarding, way) in [
        (Forwarding::Masquerade, "10.1.0.9:3001 > 10.2.0.1:8080 to host"),
        (Forwarding::Direct, "10.1.0.9:3001 > 10.9.0.1:80 to host"),
        (Forwarding::Local, "10.1.0.9:3001 > 10.9.0.1:80 to host"),
    ] {
        let mut site = Site::new();
        site.service(&web(), &[("10.2.0.1", 8080, forwarding)]);
        let out = site.send(&tcp(3001, SYN));
        assert_eq!((out.way().as_str(), out.view().ttl), (way, 64), "{forwarding:?}");
    }
}

#[test]
fn a_packet_that_is_too_long_is_answered_with_what_fits() {
    let mut site = Site::new();
    site.service(&web(), &[("10.2.0.11", 8080, Forwarding::Masquerade)]);
    site.host.mtus.insert(address("10.2.0.11"), 1300);
    site.send(&tcp(3001, SYN));
    let long = Build { payload: vec![7; 1400], ..tcp(3001, ACK) };
    let out = site.send(&long);
    assert_eq!(out.verdict, Verdict::Answer { to: address("10.1.0.9"), why: Discard::TooBig });
    assert_eq!(out.way(), "10.9.0.1 > 10.1.0.9 to 10.1.0.9");
    assert_eq!(out.bytes[26..28], 1300_u16.to_be_bytes());
    let cut = site.send(&Build { dont_fragment: false, ..long });
    assert!(matches!(cut.verdict, Verdict::Forward { outcome: Outcome::Fragments { mtu: 1300 }, .. }));
    assert_eq!(site.engine.discards().get(Discard::TooBig), 1);
}

#[test]
fn without_a_way_to_the_server_the_client_is_told() {
    let mut site = Site::new();
    site.service(&web(), &[("10.2.0.11", 8080, Forwarding::Masquerade)]);
    site.host.unreachable.push(address("10.2.0.11"));
    let out = site.send(&tcp(3001, SYN));
    assert_eq!(out.verdict, Verdict::Answer { to: address("10.1.0.9"), why: Discard::NoRoute });
}

#[test]
fn connections_stay_in_their_tunnel_when_their_server_has_none_any_more() {
    let mut site = Site::new();
    let gre = Forwarding::Tunnel(Tunnel::Gre { checksum: TunnelChecksum::None });
    site.service(&web(), &[("10.2.0.11", 80, gre)]);
    assert_eq!(site.send(&tcp(3001, SYN)).view().protocol, protocol::GRE);
    site.apply(Change::EditServer(web().id, server("10.2.0.11", 80, Forwarding::Masquerade, 1)));
    assert_eq!(site.send(&tcp(3001, ACK)).view().protocol, protocol::IPIP);
    assert_eq!(site.send(&tcp(3002, SYN)).view().protocol, TCP);
}
