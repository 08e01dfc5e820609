use buoy_ipvs::{Counters, RealServerId, SchedulerFlags};

use super::*;

// What `ipvsadm -Ln --nosort` and `ipvsadm -Ln` 1.31 printed of the same table on Linux 6.1.

const SERVERS_AS_HELD: &str = "\
    [2001:db8:9::9]:443
    [2001:db8:9::9]:32768
    [2001:db8:9::9]:65535
    [2001:db8:9::9]:255
    [2001:db8:9::9]:256
    [2001:db8:9::9]:1
    [2001:db8:1:8000::]:80
    [2001:db8:1:7fff::]:80
    [2001:db8:1::1:0]:80
    [2001:db8:1::1:0:0]:80
    [2001:db8:1:0:1::]:80
    [2001:db8:1::7f00:0]:80
    [2001:db8:1::ff00:0]:80
    [2001:db8:1:0:8000::]:80
    [2001:db8:2::1]:80
    [2001:db8:1:1::]:80
    [2001:db8:1::1]:80
    [8000::ff00:0:0:0]:80
    [8000::ffff:0]:80
    [8000::1]:80
    [2::ff00]:80
    [2::1]:80
    [1:0:0:1::]:80
    [1::2]:80
    [1::1]:80
    [::1:0:0:0]:80
    [::2]:80
";

const SERVERS_AS_SHOWN: &str = "\
    [::2]:80
    [::1:0:0:0]:80
    [1::1]:80
    [1::2]:80
    [1:0:0:1::]:80
    [2::1]:80
    [2::ff00]:80
    [2001:db8:1::1:0]:80
    [2001:db8:1::7f00:0]:80
    [2001:db8:1::ff00:0]:80
    [2001:db8:1::1:0:0]:80
    [2001:db8:1:0:1::]:80
    [2001:db8:1:0:8000::]:80
    [2001:db8:1::1]:80
    [2001:db8:1:1::]:80
    [2001:db8:1:7fff::]:80
    [2001:db8:1:8000::]:80
    [2001:db8:2::1]:80
    [2001:db8:9::9]:1
    [2001:db8:9::9]:255
    [2001:db8:9::9]:256
    [2001:db8:9::9]:443
    [2001:db8:9::9]:32768
    [2001:db8:9::9]:65535
    [8000::ff00:0:0:0]:80
    [8000::ffff:0]:80
    [8000::1]:80
";

const SERVICES_AS_HELD: &str = "\
    TCP [2001:db8:1:8000::]:80
    TCP [2001:db8:1:0:1::]:80
    TCP [2001:db8:1::7f00:0]:80
    TCP [2001:db8:1::ff00:0]:80
    TCP [2001:db8:1:0:8000::]:80
    TCP [2001:db8:1::1:0:0]:80
    TCP [2001:db8:2::1]:80
    TCP [2001:db8:1:1::]:80
    TCP [2001:db8:1::1]:80
    UDP [2001:db8:1::1:0:0]:80
    UDP [2001:db8:2::1]:80
    UDP [2001:db8:1:1::]:80
    UDP [2001:db8:1::1]:80
    UDP [2001:db8:1:8000::]:80
    UDP [2001:db8:1:0:1::]:80
    UDP [2001:db8:1::7f00:0]:80
    UDP [2001:db8:1::ff00:0]:80
    UDP [2001:db8:1:0:8000::]:80
    TCP [2001:db8:1:7fff::]:443
    TCP [2001:db8:1:8000::]:22
    TCP [2001:db8:1:0:1::]:22
    TCP [2001:db8:1::7f00:0]:22
    TCP [2001:db8:1::ff00:0]:22
    TCP [2001:db8:1:0:8000::]:22
    TCP [2001:db8:1::1:0:0]:22
    TCP [2001:db8:2::1]:22
    TCP [2001:db8:1:1::]:22
    TCP [2001:db8:1::1]:22
    TCP [ff05::1]:443
    TCP [8000::1]:443
    TCP [1::1]:443
    UDP [ff05::1]:80
    UDP [8000::1]:80
    UDP [1::1]:80
    TCP [2001:db8:1:7fff::]:22
    TCP [ff05::1]:80
    TCP [8000::1]:80
    TCP [1::1]:80
    TCP [2001:db8:1:8000::]:443
    TCP [2001:db8:1:0:1::]:443
    TCP [2001:db8:1::7f00:0]:443
    TCP [2001:db8:1::ff00:0]:443
    TCP [2001:db8:1:0:8000::]:443
    TCP [2001:db8:1::1:0:0]:443
    TCP [2001:db8:2::1]:443
    TCP [2001:db8:1:1::]:443
    TCP [2001:db8:1::1]:443
    UDP [2001:db8:1:7fff::]:80
    TCP [2001:db8:1:7fff::]:80
    TCP [ff05::1]:22
    TCP [8000::1]:22
    TCP [1::1]:22
";

const SERVICES_AS_SHOWN: &str = "\
    TCP [ff05::1]:22
    TCP [ff05::1]:443
    TCP [1::1]:22
    TCP [1::1]:80
    TCP [1::1]:443
    TCP [2001:db8:1::1]:22
    TCP [2001:db8:1::1]:80
    TCP [2001:db8:1::1]:443
    TCP [2001:db8:1::7f00:0]:22
    TCP [2001:db8:1::7f00:0]:80
    TCP [2001:db8:1::ff00:0]:22
    TCP [2001:db8:1::ff00:0]:80
    TCP [2001:db8:1::7f00:0]:443
    TCP [2001:db8:1::ff00:0]:443
    TCP [2001:db8:1::1:0:0]:22
    TCP [2001:db8:1::1:0:0]:80
    TCP [2001:db8:1::1:0:0]:443
    TCP [2001:db8:1:0:1::]:22
    TCP [2001:db8:1:0:1::]:80
    TCP [2001:db8:1:0:1::]:443
    TCP [2001:db8:1:0:8000::]:22
    TCP [2001:db8:1:0:8000::]:80
    TCP [2001:db8:1:0:8000::]:443
    TCP [2001:db8:1:1::]:22
    TCP [2001:db8:1:1::]:80
    TCP [2001:db8:1:1::]:443
    TCP [2001:db8:1:7fff::]:22
    TCP [2001:db8:1:7fff::]:80
    TCP [2001:db8:1:7fff::]:443
    TCP [2001:db8:1:8000::]:22
    TCP [2001:db8:1:8000::]:80
    TCP [2001:db8:1:8000::]:443
    TCP [2001:db8:2::1]:22
    TCP [2001:db8:2::1]:80
    TCP [2001:db8:2::1]:443
    TCP [8000::1]:22
    TCP [8000::1]:80
    TCP [8000::1]:443
    TCP [ff05::1]:80
    UDP [ff05::1]:80
    UDP [1::1]:80
    UDP [2001:db8:1::1]:80
    UDP [2001:db8:1::7f00:0]:80
    UDP [2001:db8:1::ff00:0]:80
    UDP [2001:db8:1::1:0:0]:80
    UDP [2001:db8:1:0:1::]:80
    UDP [2001:db8:1:0:8000::]:80
    UDP [2001:db8:1:1::]:80
    UDP [2001:db8:1:7fff::]:80
    UDP [2001:db8:1:8000::]:80
    UDP [2001:db8:2::1]:80
    UDP [8000::1]:80
";

fn service(line: &str) -> ListedService {
    let (protocol, endpoint) = line.split_once(' ').expect("a protocol and an address");
    let endpoint: std::net::SocketAddr = endpoint.parse().expect("an address and a port");
    ListedService {
        family: Family::of(endpoint.ip()),
        mark: None,
        protocol: if protocol == "TCP" { 6 } else { 17 },
        address: endpoint.ip(),
        port: endpoint.port(),
        scheduler: "wlc".to_owned(),
        flags: SchedulerFlags::NONE,
        persistent: false,
        timeout: 0,
        netmask: 128,
        engine: String::new(),
        one_packet: false,
        counters: Counters::default(),
        servers: Vec::new(),
    }
}

fn server(line: &str) -> ListedServer {
    let endpoint: std::net::SocketAddr = line.parse().expect("an address and a port");
    ListedServer {
        id: RealServerId { address: endpoint.ip(), port: endpoint.port() },
        forwarding: None,
        weight: 1,
        upper_threshold: 0,
        lower_threshold: 0,
        counters: Counters::default(),
    }
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim)
}

#[test]
fn services_are_sorted_as_ipvsadm_sorted_them() {
    let sorted = sort(lines(SERVICES_AS_HELD).map(service).collect());
    let shown: Vec<String> = sorted.iter().filter_map(|s| Some(s.id()?.to_string())).collect();
    assert_eq!(shown, lines(SERVICES_AS_SHOWN).collect::<Vec<_>>());
}

#[test]
fn servers_are_sorted_as_ipvsadm_sorted_them() {
    let servers = lines(SERVERS_AS_HELD).map(server).collect();
    let mut sorted = sort(vec![ListedService { servers, ..service("TCP [2001:db8::1]:80") }]);
    let sorted = sorted.remove(0).servers;
    let shown: Vec<String> = sorted.iter().map(|server| server.id.to_string()).collect();
    assert_eq!(shown, lines(SERVERS_AS_SHOWN).collect::<Vec<_>>());
}

#[test]
fn marks_come_before_families_and_protocols_before_addresses() {
    let mark = |number, family| ListedService {
        mark: buoy_ipvs::FwMark::new(number),
        family,
        ..service("TCP 0.0.0.0:0")
    };
    let expected = [
        mark(u32::MAX, Family::V4),
        service("TCP 10.0.0.1:80"),
        service("TCP 10.0.0.1:443"),
        service("TCP 10.0.0.2:1"),
        service("UDP 10.0.0.1:80"),
        service("TCP [::1]:80"),
        mark(1, Family::V4),
        mark(1, Family::V6),
        mark(2, Family::V4),
    ];
    let mut reversed = expected.to_vec();
    reversed.reverse();
    assert_eq!(sort(reversed), expected);
}

#[test]
fn what_is_equal_stays_as_it_was() {
    let first = ListedService { scheduler: "rr".to_owned(), ..service("TCP 10.0.0.1:80") };
    let second = service("TCP 10.0.0.1:80");
    assert_eq!(sort(vec![first.clone(), second.clone()]), [first, second]);
}
