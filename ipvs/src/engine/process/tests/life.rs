use super::*;
use crate::engine::forward::testing::slow_sum;
use crate::refusal::Reason;

fn two_servers() -> Site {
    let mut site = Site::new();
    site.service(
        &web(),
        &[("10.2.0.12", 8080, Forwarding::Masquerade), ("10.2.0.11", 8080, Forwarding::Masquerade)],
    );
    site
}

/// The server that a client's packet goes to.
fn server_of(out: &Out) -> String {
    match out.verdict {
        Verdict::Forward { to, .. } => to.to_string(),
        other => format!("{other:?}"),
    }
}

#[test]
fn connections_take_turns_and_stay_where_they_are() {
    let mut site = two_servers();
    let first = [3001, 3002, 3003].map(|port| server_of(&site.send(&tcp(port, SYN))));
    assert_eq!(first, ["10.2.0.11", "10.2.0.12", "10.2.0.11"]);
    let next = [3003, 3002, 3001].map(|port| server_of(&site.send(&tcp(port, ACK))));
    assert_eq!(next, ["10.2.0.11", "10.2.0.12", "10.2.0.11"]);
}

#[test]
fn what_begins_nothing_is_left_to_the_host() {
    let mut site = two_servers();
    for flags in [ACK, RST, FIN | ACK, 0] {
        assert_eq!(site.send(&tcp(3001, flags)).verdict, Verdict::Pass, "{flags:#x}");
    }
    let elsewhere = Build { destination: end("10.9.0.1", 81), ..tcp(3001, SYN) };
    assert_eq!(site.send(&elsewhere).verdict, Verdict::Pass);
    assert_eq!(site.send(&tcp(20, SYN)).verdict, Verdict::Pass, "data of active FTP");
    assert_eq!(site.engine.connections(), 0);
}

#[test]
fn a_damaged_header_and_an_address_that_speaks_to_itself_begin_nothing() {
    let mut site = two_servers();
    let mut damaged = tcp(3001, SYN).bytes();
    // The TTL.
    damaged[8] ^= 1;
    let mut buffer = [vec![0; HEADROOM], damaged.clone()].concat();
    let end_of = buffer.len();
    let mut packet = Packet::new(&mut buffer, HEADROOM, end_of, Default::default()).expect("a packet");
    let read = site.engine.read(&damaged).expect("a packet");
    let moment = site.engine.moment(site.now);
    let verdict = site.engine.process(&mut packet, &read, None, &mut site.host, moment);
    assert_eq!((verdict, packet.bytes()), (Verdict::Pass, &damaged[..]));
    let land = Build { source: end("10.9.0.1", 80), ..tcp(0, SYN) };
    assert_eq!(site.send(&land).verdict, Verdict::Pass);
    assert_eq!(site.engine.connections(), 0);
}

#[test]
fn a_director_without_the_address_balances_nothing_new() {
    let mut site = two_servers();
    site.send(&tcp(3001, SYN));
    site.host.local.retain(|local| *local != address("10.9.0.1"));
    assert_eq!(site.send(&tcp(3002, SYN)).verdict, Verdict::Pass);
    assert_eq!(server_of(&site.send(&tcp(3001, ACK))), "10.2.0.11");
}

#[test]
fn without_a_server_a_client_is_refused() {
    let mut site = Site::new();
    site.service(&web(), &[]);
    let out = site.send(&tcp(3001, SYN));
    assert_eq!(out.verdict, Verdict::Answer { to: address("10.1.0.9"), why: Discard::NoServer });
    // Destination unreachable, port.
    assert_eq!(out.bytes[20..22], [3, 3]);
}

#[test]
fn a_drained_server_keeps_its_connections_and_gets_no_new_ones() {
    let mut site = two_servers();
    site.send(&tcp(3001, SYN));
    site.apply(Change::EditServer(web().id, server("10.2.0.11", 8080, Forwarding::Masquerade, 0)));
    assert_eq!(server_of(&site.send(&tcp(3001, ACK))), "10.2.0.11");
    let new = [3002, 3003].map(|port| server_of(&site.send(&tcp(port, SYN))));
    assert_eq!(new, ["10.2.0.12", "10.2.0.12"]);
}

#[test]
fn a_client_that_begins_anew_leaves_a_drained_server() {
    let mut site = two_servers();
    site.send(&tcp(3001, SYN));
    site.apply(Change::EditServer(web().id, server("10.2.0.11", 8080, Forwarding::Masquerade, 0)));
    assert_eq!(server_of(&site.send(&tcp(3001, SYN))), "10.2.0.12");
    assert_eq!(site.engine.connections(), 1);
}

#[test]
fn connections_of_a_removed_server_end_or_wait_for_it() {
    for (orphans, verdict) in
        [(Orphans::Keep, Verdict::Drop(Discard::ServerGone)), (Orphans::Expire, Verdict::Pass)]
    {
        let mut site = two_servers();
        site.engine.set_settings(Settings { orphans, ..Settings::default() });
        site.send(&tcp(3001, SYN));
        let gone = server("10.2.0.11", 8080, Forwarding::Masquerade, 1);
        site.apply(Change::RemoveServer(web().id, gone.id));
        assert_eq!(site.send(&tcp(3001, ACK)).verdict, verdict);
        assert_eq!(site.engine.connections(), usize::from(orphans == Orphans::Keep));
        site.apply(Change::AddServer(web().id, gone));
        let again = site.send(&tcp(3001, ACK));
        match orphans {
            Orphans::Keep => assert_eq!(server_of(&again), "10.2.0.11", "it is back"),
            Orphans::Expire => assert_eq!(again.verdict, Verdict::Pass, "it was given up"),
        }
    }
}

#[test]
fn a_udp_sender_of_a_removed_server_moves_with_its_next_packet() {
    let mut site = Site::new();
    site.service(
        &dns(),
        &[("10.2.0.12", 53, Forwarding::Masquerade), ("10.2.0.11", 53, Forwarding::Masquerade)],
    );
    assert_eq!(server_of(&site.send(&udp(3001))), "10.2.0.11");
    let gone = RealServerId { address: ip("10.2.0.11"), port: 53 };
    site.apply(Change::RemoveServer(dns().id, gone));
    assert_eq!(server_of(&site.send(&udp(3001))), "10.2.0.12");
}

#[test]
fn ports_of_ended_connections_are_scheduled_anew_as_far_as_settings_say() {
    for (reuse, moved) in [(Reuse::Never, false), (Reuse::Ended, true), (Reuse::HalfEnded, true)] {
        let mut site = two_servers();
        site.engine.set_settings(Settings { reuse, ..Settings::default() });
        site.send(&tcp(3001, SYN));
        site.send(&back("10.2.0.11", ("10.1.0.9", 3001), SYN | ACK));
        site.send(&tcp(3001, ACK));
        site.send(&tcp(3001, FIN | ACK));
        site.send(&back("10.2.0.11", ("10.1.0.9", 3001), FIN | ACK));
        assert_eq!(site.connection().state(), Some(ConnectionState::Tcp(TcpState::TimeWait)));
        let expected = if moved { "10.2.0.12" } else { "10.2.0.11" };
        assert_eq!(server_of(&site.send(&tcp(3001, SYN))), expected, "{reuse:?}");
        assert_eq!(site.connection().state(), Some(ConnectionState::Tcp(TcpState::SynReceived)));
    }
}

#[test]
fn a_connection_lasts_as_long_as_its_state_says_and_packets_put_that_off() {
    let mut site = two_servers();
    site.send(&tcp(3001, SYN));
    site.pass(Duration::from_secs(59));
    assert_eq!(site.engine.connections(), 1);
    site.send(&tcp(3001, SYN));
    site.pass(Duration::from_secs(59));
    assert_eq!(site.engine.connections(), 1);
    site.pass(Duration::from_secs(2));
    let counters = site.counters(&web().id, "10.2.0.11", 8080);
    assert_eq!((site.engine.connections(), counters.active, counters.inactive), (0, 0, 0));
}

#[test]
fn timeouts_are_those_of_the_engine_or_of_the_service() {
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    let mut site = two_servers();
    let all = crate::Timeouts { tcp: seconds(100), ..Default::default() };
    site.engine.set_timeouts(&all).expect("it is possible");
    let own = crate::Timeouts { tcp: seconds(20), ..Default::default() };
    for (set, lasts) in [(None, 100), (Some(own), 20)] {
        if let Some(own) = set {
            site.engine.set_service_timeouts([(web().id, own)].into());
        }
        site.send(&tcp(3001, SYN));
        site.send(&tcp(3001, ACK));
        assert_eq!(site.connection().timeout(), Duration::from_secs(lasts));
        site.pass(Duration::from_secs(lasts) + Duration::from_millis(200));
        assert_eq!(site.engine.connections(), 0);
    }
    site.engine.set_service_timeouts([].into());
    site.send(&tcp(3001, SYN));
    site.send(&tcp(3001, ACK));
    assert_eq!(site.connection().timeout(), Duration::from_secs(100), "no longer its own");
    let none = crate::Timeouts { tcp: Some(Duration::ZERO), ..Default::default() };
    assert_eq!(site.engine.set_timeouts(&none), Err(Reason::Timeout));
}

#[test]
fn a_full_server_gets_no_more_until_it_is_relieved() {
    let mut site = Site::new();
    let service = web();
    site.apply(Change::AddService(service.clone()));
    let full = RealServer { upper_threshold: 1, ..server("10.2.0.11", 8080, Forwarding::Masquerade, 1) };
    site.apply(Change::AddServer(service.id, full));
    assert_eq!(server_of(&site.send(&tcp(3001, SYN))), "10.2.0.11");
    let refused = site.send(&tcp(3002, SYN)).verdict;
    assert_eq!(refused, Verdict::Answer { to: address("10.1.0.9"), why: Discard::NoServer });
    site.pass(Duration::from_secs(61));
    assert_eq!(server_of(&site.send(&tcp(3002, SYN))), "10.2.0.11");
}

#[test]
fn one_packet_services_keep_nothing_and_schedule_every_packet() {
    let mut site = Site::new();
    let service = VirtualService { one_packet: true, ..dns() };
    site.service(
        &service,
        &[("10.2.0.12", 53, Forwarding::Masquerade), ("10.2.0.11", 53, Forwarding::Masquerade)],
    );
    let servers = [(); 4].map(|()| server_of(&site.send(&udp(3001))));
    assert_eq!(servers, ["10.2.0.11", "10.2.0.12", "10.2.0.11", "10.2.0.12"]);
    let counters = site.counters(&service.id, "10.2.0.11", 53);
    assert_eq!((counters.connections, counters.packets_in, counters.inactive), (2, 2, 0));
    assert_eq!(site.engine.connections(), 0);
    let answer = Build::new(UDP, end("10.2.0.11", 53), end("10.1.0.9", 3001));
    assert_eq!(site.send(&answer).verdict, Verdict::Pass, "nobody knows whose it is");
}

#[test]
fn half_open_connections_of_a_flood_make_room_and_established_ones_stay() {
    let mut site = two_servers();
    let lasting: Vec<u16> = (1..=100).map(|port| 1000 + port).collect();
    for port in &lasting {
        site.send(&tcp(*port, SYN));
        site.send(&tcp(*port, ACK));
    }
    for number in 0..20_000_u32 {
        let [_, _, high, low] = number.to_be_bytes();
        let flood = Build { source: end(&format!("10.7.{high}.{low}"), 4000), ..tcp(0, SYN) };
        site.send(&flood);
    }
    assert!(site.engine.connections() <= 1000);
    for port in &lasting {
        assert!(server_of(&site.send(&tcp(*port, ACK))).starts_with("10.2."), "{port}");
    }
    let evicted = site.engine.counts().evicted;
    assert!(evicted + site.engine.discards().get(Discard::TableFull) >= 19_000, "{evicted}");
}

#[test]
fn whoever_forwarded_for_a_connection_hears_of_its_end() {
    let mut site = two_servers();
    let Verdict::Forward { connection: Some(connection), .. } = site.send(&tcp(3001, SYN)).verdict else {
        panic!("it is forwarded")
    };
    site.engine.set_offloaded(connection, true);
    let moment = site.engine.moment(site.now + Duration::from_secs(30));
    site.engine.forwarded(connection, Direction::Input, 10, 1000, moment);
    site.engine.forwarded(connection, Direction::Output, 20, 9000, moment);
    let counters = site.counters(&web().id, "10.2.0.11", 8080);
    assert_eq!((counters.packets_in, counters.packets_out, counters.bytes_out), (11, 20, 9000));
    site.pass(Duration::from_secs(80));
    assert!(site.engine.poll_gone().is_none(), "packets have put it off");
    site.pass(Duration::from_secs(11));
    assert_eq!(site.engine.poll_gone().expect("it has ended").index, connection);
}

#[test]
fn a_connection_that_makes_room_counts_for_the_choice_of_the_next_server() {
    let mut site = Site::new();
    let service = VirtualService::new(web().id, Scheduler::Lc);
    site.service(
        &service,
        &[("10.2.0.12", 8080, Forwarding::Masquerade), ("10.2.0.11", 8080, Forwarding::Masquerade)],
    );
    assert_eq!(server_of(&site.send(&tcp(3001, SYN))), "10.2.0.11");
    site.send(&tcp(3001, FIN | ACK));
    // It is in TIME_WAIT.
    assert_eq!(server_of(&site.send(&tcp(3001, SYN))), "10.2.0.12");
    assert_eq!(site.counters(&web().id, "10.2.0.11", 8080).inactive, 0);
}

#[test]
fn an_answer_that_goes_no_further_has_not_been_seen_and_its_server_hears_of_it_from_the_director() {
    for (build, narrow) in [
        (Build { ttl: 1, ..back("10.2.0.11", ("10.1.0.9", 3001), FIN | ACK) }, None),
        (Build { payload: vec![1; 1400], ..back("10.2.0.11", ("10.1.0.9", 3001), FIN | ACK) }, Some(1300)),
    ] {
        let mut site = two_servers();
        site.send(&tcp(3001, SYN));
        let before = site.counters(&web().id, "10.2.0.11", 8080);
        let state = site.connection().state();
        if let Some(mtu) = narrow {
            site.host.lower_mtu(address("10.1.0.9"), mtu);
        }
        let out = site.send(&build);
        assert_eq!(out.way(), "10.2.0.1 > 10.2.0.11 to 10.2.0.11");
        assert_eq!(site.counters(&web().id, "10.2.0.11", 8080), before);
        assert_eq!(site.connection().state(), state);
    }
}

#[test]
fn a_packet_that_is_cut_off_in_its_header_begins_nothing_and_changes_no_state() {
    let cut = |build: &Build, length: usize| {
        let payload = build.bytes()[20..20 + length].to_vec();
        // Of another protocol the bytes are what they are.
        let mut bytes = Build { protocol: 50, payload, ..build.clone() }.bytes();
        bytes[9] = build.protocol;
        bytes[10..12].fill(0);
        let sum = !slow_sum(&[&bytes[..20]]);
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        bytes
    };
    let mut site = two_servers();
    for service in [dns(), VirtualService::new(id(Protocol::Sctp, "10.9.0.1", 80), Scheduler::Rr)] {
        site.service(&service, &[("10.2.0.11", 0, Forwarding::Direct)]);
    }
    let init = Build { protocol: protocol::SCTP, payload: vec![1, 0, 0, 4], ..tcp(3003, 0) };
    for (build, header) in [(tcp(3001, SYN), 20), (udp(3002), 8), (init, 16)] {
        for length in 4..header {
            let verdict = handle(&mut site, &cut(&build, length)).verdict;
            assert_eq!(verdict, Verdict::Drop(Discard::Truncated), "{length} bytes of {}", build.protocol);
        }
    }
    assert_eq!(site.engine.connections(), 0);
    site.send(&tcp(3001, SYN));
    let state = site.connection().state();
    for (flags, length) in [(RST, 19), (FIN | ACK, 14)] {
        let verdict = handle(&mut site, &cut(&tcp(3001, flags), length)).verdict;
        assert_eq!(verdict, Verdict::Drop(Discard::Truncated));
    }
    assert_eq!(site.connection().state(), state);
}
