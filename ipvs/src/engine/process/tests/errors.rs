use super::*;
use crate::engine::forward::icmp;
use crate::engine::packet::protocol::ICMP;

/// What a router says of a packet.
fn error_about(packet: &[u8], router: &str, error: icmp::Error) -> Vec<u8> {
    let mut buffer = vec![0; HEADROOM];
    buffer.extend(packet);
    let end = buffer.len();
    let view = View::read(packet).expect("a packet");
    let mut packet = Packet::new(&mut buffer, HEADROOM, end, Default::default()).expect("a packet");
    icmp::answer(&mut packet, &view, error, address(router), 1).expect("it may be answered");
    packet.bytes().to_vec()
}

/// The packet that an error quotes.
fn quoted(out: &Out) -> View {
    assert_eq!(out.view().protocol, ICMP);
    let quoted = &out.bytes[28..];
    // It is cut off.
    let mut whole = quoted.to_vec();
    whole.resize(2000, 0);
    View::read(&whole).expect("a packet")
}

#[test]
fn an_error_about_a_packet_to_the_server_comes_from_the_service_and_quotes_what_the_client_sent() {
    let mut site = Site::new();
    site.service(&web(), &[("10.2.0.11", 8080, Forwarding::Masquerade)]);
    let out = site.send(&tcp(3001, SYN));
    let error = error_about(&out.bytes, "10.2.0.254", icmp::Error::HostUnreachable);
    let told = handle(&mut site, &error);
    assert_eq!(told.way(), "10.9.0.1 > 10.1.0.9 to 10.1.0.9");
    let quoted = quoted(&told);
    assert_eq!((quoted.destination, quoted.ports.expect("ports").destination), (address("10.9.0.1"), 80));
}

#[test]
fn an_error_about_an_answer_goes_to_the_server_and_quotes_what_it_sent() {
    let mut site = Site::new();
    site.service(&web(), &[("10.2.0.11", 8080, Forwarding::Masquerade)]);
    site.send(&tcp(3001, SYN));
    let answer = site.send(&back("10.2.0.11", ("10.1.0.9", 3001), SYN | ACK));
    let error = error_about(&answer.bytes, "10.1.0.254", icmp::Error::TooBig { mtu: 1400 });
    let told = handle(&mut site, &error);
    assert_eq!(told.way(), "10.1.0.254 > 10.2.0.11 to 10.2.0.11");
    let quoted = quoted(&told);
    assert_eq!((quoted.source, quoted.ports.expect("ports").source), (address("10.2.0.11"), 8080));
}

#[test]
fn an_error_about_a_tunnel_lowers_its_mtu_and_goes_to_the_client() {
    let mut site = Site::new();
    site.service(&web(), &[("10.2.0.11", 0, Forwarding::Tunnel(crate::Tunnel::Ipip))]);
    site.send(&tcp(3001, SYN));
    let long = site.send(&Build { payload: vec![1; 1200], ..tcp(3001, ACK) });
    let error = error_about(&long.bytes, "10.2.0.254", icmp::Error::TooBig { mtu: 1000 });
    let told = handle(&mut site, &error);
    assert_eq!(told.way(), "10.9.0.1 > 10.1.0.9 to 10.1.0.9");
    assert_eq!(told.bytes[26..28], 980_u16.to_be_bytes());
    assert_eq!(site.host.mtus[&address("10.2.0.11")], 1000);
    let again = site.send(&Build { payload: vec![1; 1200], ..tcp(3001, ACK) });
    assert_eq!(again.verdict, Verdict::Answer { to: address("10.1.0.9"), why: Discard::TooBig });
}

#[test]
fn other_messages_and_errors_about_others_are_the_hosts() {
    let mut site = Site::new();
    site.service(&web(), &[("10.2.0.11", 8080, Forwarding::Masquerade)]);
    let ping = Build { protocol: ICMP, payload: vec![8, 0, 0xf7, 0xff, 0, 0, 0, 0], ..tcp(0, 0) };
    assert_eq!(site.send(&ping).verdict, Verdict::Pass);
    let stranger = Build { source: end("10.9.0.1", 80), destination: end("10.1.0.9", 3001), ..tcp(0, ACK) };
    let error = error_about(&stranger.bytes(), "10.1.0.9", icmp::Error::PortUnreachable);
    assert_eq!(handle(&mut site, &error).verdict, Verdict::Pass);
}

#[test]
fn errors_count_as_packets_of_their_connection() {
    let mut site = Site::new();
    site.service(&web(), &[("10.2.0.11", 8080, Forwarding::Masquerade)]);
    let out = site.send(&tcp(3001, SYN));
    let answer = site.send(&back("10.2.0.11", ("10.1.0.9", 3001), SYN | ACK));
    let before = site.counters(&web().id, "10.2.0.11", 8080);
    let to_client = error_about(&out.bytes, "10.2.0.254", icmp::Error::HostUnreachable);
    let to_server = error_about(&answer.bytes, "10.1.0.254", icmp::Error::HostUnreachable);
    handle(&mut site, &to_client);
    handle(&mut site, &to_server);
    let after = site.counters(&web().id, "10.2.0.11", 8080);
    let counted = [after.packets_in - before.packets_in, after.packets_out - before.packets_out];
    let bytes = [after.bytes_in - before.bytes_in, after.bytes_out - before.bytes_out];
    assert_eq!((counted, bytes), ([1, 1], [to_server.len() as u64, to_client.len() as u64]));
}

#[test]
fn an_error_about_a_tunnel_is_believed_only_of_the_tunnel_that_there_is() {
    let tunnels = [
        crate::Tunnel::Ipip,
        crate::Tunnel::Gue { port: 6080, checksum: crate::TunnelChecksum::None },
        crate::Tunnel::Gue { port: 6081, checksum: crate::TunnelChecksum::None },
        crate::Tunnel::Gre { checksum: crate::TunnelChecksum::None },
    ];
    for used in tunnels {
        let mut other = Site::new();
        other.service(&web(), &[("10.2.0.11", 0, Forwarding::Tunnel(used))]);
        let out = other.send(&tcp(3001, SYN));
        let error = error_about(&out.bytes, "10.2.0.254", icmp::Error::HostUnreachable);
        for held in tunnels {
            let mut site = Site::new();
            site.service(&web(), &[("10.2.0.11", 0, Forwarding::Tunnel(held))]);
            site.send(&tcp(3001, SYN));
            let told = handle(&mut site, &error).verdict != Verdict::Pass;
            assert_eq!(told, used == held, "{held:?}, and an error about {used:?}");
        }
        other.apply(Change::RemoveService(web().id));
        assert_eq!(handle(&mut other, &error).verdict, Verdict::Pass, "its server is gone");
    }
}

#[test]
fn a_client_hears_of_a_tunnel_to_which_there_is_no_way_any_more() {
    let mut site = Site::new();
    site.service(&web(), &[("10.2.0.11", 0, Forwarding::Tunnel(crate::Tunnel::Ipip))]);
    let out = site.send(&tcp(3001, SYN));
    site.host.unreachable.push(address("10.2.0.11"));
    let error = error_about(&out.bytes, "10.2.0.254", icmp::Error::TooBig { mtu: 1000 });
    let told = handle(&mut site, &error);
    assert_eq!(
        (told.way().as_str(), &told.bytes[26..28]),
        ("10.9.0.1 > 10.1.0.9 to 10.1.0.9", &980_u16.to_be_bytes()[..])
    );
}

#[test]
fn an_error_about_a_packet_that_only_passed_is_the_hosts_whatever_its_checksum() {
    let mut site = Site::new();
    site.service(&web(), &[("10.2.0.11", 0, Forwarding::Direct)]);
    let out = site.send(&tcp(3001, SYN));
    let mut error = error_about(&out.bytes, "10.2.0.254", icmp::Error::HostUnreachable);
    assert_eq!(handle(&mut site, &error).verdict, Verdict::Pass);
    error[22] ^= 1;
    assert_eq!(handle(&mut site, &error).verdict, Verdict::Pass);
}

#[test]
fn an_error_with_a_wrong_checksum_goes_nowhere() {
    let mut site = Site::new();
    site.service(&web(), &[("10.2.0.11", 8080, Forwarding::Masquerade)]);
    let stranger = Build { source: end("10.9.0.1", 80), destination: end("10.1.0.9", 3001), ..tcp(0, ACK) };
    let mut error = error_about(&stranger.bytes(), "10.1.0.9", icmp::Error::PortUnreachable);
    error[22] ^= 1;
    assert_eq!(handle(&mut site, &error).verdict, Verdict::Pass, "of no connection it is none of ours");
    let out = site.send(&tcp(3001, SYN));
    let mut error = error_about(&out.bytes, "10.2.0.254", icmp::Error::HostUnreachable);
    error[22] ^= 1;
    assert_eq!(handle(&mut site, &error).verdict, Verdict::Drop(Discard::BadError));
    assert_eq!(site.engine.discards().get(Discard::BadError), 1);
}
