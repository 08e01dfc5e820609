use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use buoy_ipvs::io::support::Tier;
use buoy_ipvs::{Change, Forwarding, LocalAddresses, Plane, Protocol, Scheduler, Timeouts, VirtualService};

use crate::host::may_run;
use crate::lan::{Lan, PATIENCE, PORT, SERVERS, VIPS, ip, server, service, transfer, wait_until};

const TIERS: [Tier; 2] = [Tier::Tc, Tier::Portable];
const BULK: usize = 8 << 20;

fn on_each_tier(scene: impl Fn(Lan, Tier)) {
    if may_run() {
        TIERS.into_iter().for_each(|tier| scene(Lan::new(tier), tier));
    }
}

#[test]
fn masqueraded_connections_take_turns_and_carry_data() {
    on_each_tier(|mut lan, tier| {
        for family in [0, 1] {
            lan.listen(family, None);
            let id = lan.serve(Protocol::Tcp, family, Forwarding::Masquerade);
            let streams: Vec<_> = (0..4).map(|_| lan.connect(family).expect("connected")).collect();
            let numbers: Vec<usize> = streams.iter().map(|(_, number)| *number).collect();
            assert_eq!(numbers, [0, 1, 0, 1], "{tier:?}");
            for (stream, _) in &streams {
                transfer(stream, BULK / 4);
            }
            let statistics = lan.plane.statistics().expect("it answers");
            assert_eq!(statistics.services[&id].connections, 4);
            drop(streams);
        }
    });
}

#[test]
fn the_kernel_forwards_what_is_established_and_nearly_nothing_of_it_reaches_the_engine() {
    if !may_run() {
        return;
    }
    let mut lan = Lan::new(Tier::Tc);
    lan.listen(0, None);
    let id = lan.serve(Protocol::Tcp, 0, Forwarding::Masquerade);
    let (stream, number) = lan.connect(0).expect("connected");
    transfer(&stream, BULK);
    let condition = lan.plane.condition().expect("it answers");
    assert_eq!(condition.offloaded, 1);
    assert!(condition.frames.received < 100, "{condition:?}");
    let counted = || lan.plane.condition().is_ok().then_some(());
    counted().expect("it answers");
    let key = (id, server(number, 0, Forwarding::Masquerade).id);
    let mut plane = lan.plane;
    wait_until("the kernel's counters are the engine's", || {
        let counters = plane.statistics().expect("it answers").servers[&key];
        counters.bytes_in >= BULK as u64 && counters.bytes_out >= BULK as u64
    });
    drop(stream);
    wait_until("the flows are gone", || plane.condition().expect("it answers").offloaded == 0);
}

#[test]
fn datagrams_of_one_port_stay_with_their_server_until_it_is_removed() {
    on_each_tier(|mut lan, _| {
        for family in [0, 1] {
            lan.listen(family, None);
            let id = lan.serve(Protocol::Udp, family, Forwarding::Masquerade);
            let socket = lan.datagrams(family);
            let first = lan.ask(&socket, family);
            // The kernel has taken over in between.
            (0..20).for_each(|_| assert_eq!(lan.ask(&socket, family), first));
            lan.apply(&[Change::RemoveServer(id, server(first, family, Forwarding::Masquerade).id)]);
            assert_eq!(lan.ask(&socket, family), 1 - first);
        }
    });
}

#[test]
fn directly_routed_connections_are_answered_past_the_director() {
    on_each_tier(|mut lan, tier| {
        for server in &lan.servers {
            server.sysctl("net/ipv4/conf/all/arp_ignore", "1");
            server.sysctl("net/ipv4/conf/all/arp_announce", "2");
            server.ip(&format!("address add {}/32 dev lo", VIPS[0]));
        }
        // What servers answer has the service's address already: the director routes it as any packet.
        lan.director.sysctl("net/ipv4/ip_forward", "1");
        lan.director.sysctl("net/ipv4/conf/all/rp_filter", "0");
        lan.director.sysctl("net/ipv4/conf/all/accept_local", "1");
        lan.director.sysctl("net/ipv4/conf/lan/accept_local", "1");
        lan.listen(0, Some(VIPS[0]));
        lan.serve(Protocol::Tcp, 0, Forwarding::Direct);
        let numbers = [(); 4].map(|()| {
            let (stream, number) = lan.connect(0).expect("connected");
            transfer(&stream, BULK / 4);
            number
        });
        assert_eq!(numbers, [0, 1, 0, 1], "{tier:?}");
    });
}

#[test]
fn by_full_nat_servers_need_no_way_back_to_the_client() {
    on_each_tier(|mut lan, tier| {
        for server in &lan.servers {
            server.ip("route del default");
        }
        lan.listen(0, None);
        let local_addresses: LocalAddresses = [ip("10.2.0.254")].into_iter().collect();
        let service = VirtualService {
            local_addresses,
            ..VirtualService::new(service(Protocol::Tcp, 0), Scheduler::Rr)
        };
        lan.serve_as(service, 0, Forwarding::FullNat);
        let numbers = [(); 4].map(|()| {
            let (stream, number) = lan.connect(0).expect("connected");
            transfer(&stream, BULK / 4);
            number
        });
        assert_eq!(numbers, [0, 1, 0, 1], "{tier:?}");
    });
}

#[test]
fn what_is_no_service_is_the_hosts_own() {
    on_each_tier(|mut lan, _| {
        lan.listen(0, None);
        lan.serve(Protocol::Tcp, 0, Forwarding::Masquerade);
        let refused =
            lan.client.run(|| TcpStream::connect_timeout(&SocketAddr::new(ip(VIPS[0]), 81), PATIENCE));
        assert_eq!(refused.expect_err("nobody listens").kind(), ErrorKind::ConnectionRefused);
        let own = lan.director.run(|| TcpListener::bind((ip(VIPS[0]), 82)).expect("a port"));
        lan.client
            .run(|| TcpStream::connect_timeout(&own.local_addr().expect("bound"), PATIENCE))
            .expect("connected");
        // What a server answers to somebody who asked it by its own address is not the service's.
        lan.director.sysctl("net/ipv4/ip_forward", "1");
        let server = SocketAddr::new(ip(SERVERS[0][0]), PORT);
        let mut stream = lan.client.run(|| TcpStream::connect_timeout(&server, PATIENCE)).expect("connected");
        stream.read_exact(&mut [0]).expect("an answer");
    });
}

#[test]
fn clients_are_refused_without_a_server_and_served_with_one() {
    on_each_tier(|mut lan, _| {
        lan.listen(0, None);
        let id = service(Protocol::Tcp, 0);
        lan.apply(&[Change::AddService(VirtualService::new(id, Scheduler::Rr))]);
        let refused = lan.connect(0).expect_err("there is no server");
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        lan.apply(&[Change::AddServer(id, server(1, 0, Forwarding::Masquerade))]);
        assert_eq!(lan.connect(0).expect("connected").1, 1);
    });
}

#[test]
fn connections_of_a_drained_server_live_and_those_of_a_removed_one_are_reset() {
    on_each_tier(|mut lan, tier| {
        lan.listen(0, None);
        let id = lan.serve(Protocol::Tcp, 0, Forwarding::Masquerade);
        let (mut stream, number) = lan.connect(0).expect("connected");
        transfer(&stream, 100_000);
        let mut drained = server(number, 0, Forwarding::Masquerade);
        drained.weight = buoy_ipvs::Weight::ZERO;
        lan.apply(&[Change::EditServer(id, drained)]);
        transfer(&stream, 100_000);
        assert_eq!(lan.connect(0).expect("connected").1, 1 - number);
        assert_eq!(lan.connect(0).expect("connected").1, 1 - number);
        lan.apply(&[Change::RemoveServer(id, drained.id)]);
        let mut answer = [0; 10];
        let outcome = stream.write_all(b"hello").and_then(|()| stream.read_exact(&mut answer));
        let kind = outcome.expect_err("its server is gone").kind();
        assert_eq!(kind, ErrorKind::ConnectionReset, "{tier:?}");
    });
}

#[test]
fn connections_outlive_their_timeout_while_data_flows_and_not_longer() {
    on_each_tier(|mut lan, tier| {
        lan.listen(0, None);
        lan.serve(Protocol::Tcp, 0, Forwarding::Masquerade);
        let seconds = std::time::Duration::from_secs(3);
        lan.plane.set_timeouts(Timeouts { tcp: Some(seconds), ..Timeouts::default() }).expect("it answers");
        let (stream, _) = lan.connect(0).expect("connected");
        let begin = std::time::Instant::now();
        while begin.elapsed() < 2 * seconds {
            transfer(&stream, 10_000);
        }
        let there = |lan: &Lan| lan.plane.connections().expect("it answers").len();
        assert_eq!(there(&lan), 1, "{tier:?}");
        wait_until("it has expired", || there(&lan) == 0);
    });
}

#[test]
fn without_the_engine_the_host_sees_its_packets_again() {
    on_each_tier(|mut lan, _| {
        lan.listen(0, None);
        lan.serve(Protocol::Tcp, 0, Forwarding::Masquerade);
        lan.connect(0).expect("connected");
        let Lan { client, director, servers, plane } = lan;
        drop(plane);
        let refused =
            client.run(|| TcpStream::connect_timeout(&SocketAddr::new(ip(VIPS[0]), PORT), PATIENCE));
        assert_eq!(refused.expect_err("nobody listens").kind(), ErrorKind::ConnectionRefused);
        drop((director, servers));
    });
}
