use buoy_ipvs::{FwMark, RealServerId, SyncRole};

use super::super::names::Names;
use super::*;

pub(in super::super) fn service(port: u16) -> ListedService {
    ListedService {
        family: Family::V4,
        mark: None,
        protocol: 6,
        address: Ipv4Addr::new(10, 0, 0, 1).into(),
        port,
        scheduler: "wlc".to_owned(),
        flags: SchedulerFlags::NONE,
        persistent: false,
        timeout: 0,
        netmask: u32::MAX,
        engine: String::new(),
        one_packet: false,
        counters: Counters::default(),
        servers: Vec::new(),
    }
}

pub(in super::super) fn server(address: &str, port: u16, forwarding: Forwarding) -> ListedServer {
    ListedServer {
        id: RealServerId { address: address.parse().expect("an address"), port },
        forwarding: Some(forwarding),
        weight: 1,
        upper_threshold: 0,
        lower_threshold: 0,
        counters: Counters::default(),
    }
}

const LIST: ServiceList =
    ServiceList { only: None, columns: Columns::Usual, numeric: true, exact: false, sorted: true };

fn written(services: &[ListedService], list: &ServiceList) -> String {
    let mut out = Vec::new();
    let mut names = Names::with_services("");
    let info = PlaneInfo { version: [1, 2, 1], connection_buckets: 4096 };
    let mut labels = Labels::new(&mut names, list.numeric);
    write_services(&mut out, list.only.is_none().then_some(info), services, list, &mut labels)
        .expect("memory takes everything");
    String::from_utf8(out).expect("text")
}

/// A table as ipvsadm 1.31 was seen to print it.
fn table() -> [ListedService; 2] {
    let gue = Tunnel::Gue { port: 6080, checksum: TunnelChecksum::Remote };
    let mut masqueraded = server("10.1.0.1", 8080, Forwarding::Masquerade);
    masqueraded.weight = 7;
    (masqueraded.upper_threshold, masqueraded.lower_threshold) = (100, 50);
    masqueraded.counters = Counters { active: 2, inactive: 1, persistent: 3, ..Counters::default() };
    let mut heavy =
        server("10.1.0.5", 80, Forwarding::Tunnel(Tunnel::Gre { checksum: TunnelChecksum::Full }));
    heavy.weight = 2_147_483_647;
    let first = ListedService {
        servers: vec![
            masqueraded,
            server("10.1.0.2", 80, Forwarding::Tunnel(gue)),
            heavy,
            server("2001:db8:1:0:aaaa:bbbb:cccc:dddd", 8080, Forwarding::Direct),
        ],
        ..service(80)
    };
    let second = ListedService {
        mark: FwMark::new(7),
        family: Family::V6,
        persistent: true,
        timeout: 77,
        netmask: 1,
        ..service(0)
    };
    [first, second]
}

#[test]
fn columns_are_those_of_ipvsadm() {
    let show = |columns| written(&table(), &ServiceList { columns, ..LIST });
    assert_eq!(
        show(Columns::Usual),
        "\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
TCP  10.0.0.1:80 wlc
  -> 10.1.0.1:8080                Masq    7      2          1         \n  \
  -> 10.1.0.2:80                  Tunnel  1      0          0         \n  \
  -> 10.1.0.5:80                  Tunnel  2147483647 0          0         \n  \
  -> [2001:db8:1:0:aaaa:bbbb:cccc:dddd]:8080 Route   1      0          0         \n\
FWM  7 IPv6 wlc persistent 77 mask 1
"
    );
    let row = |columns| show(columns).lines().nth(4).map(str::to_owned).expect("a server");
    assert_eq!(
        row(Columns::Tunnels),
        "  -> 10.1.0.1:8080                Masq    n/a           7      2          1         "
    );
    assert_eq!(
        row(Columns::Thresholds),
        "  -> 10.1.0.1:8080                100        50         2          1         "
    );
    assert_eq!(
        row(Columns::PersistentConnections),
        "  -> 10.1.0.1:8080                7         3           2          1         "
    );
    assert_eq!(
        row(Columns::Stats),
        "  -> 10.1.0.1:8080                       0        0        0        0        0"
    );
    let tunnels = show(Columns::Tunnels);
    assert!(tunnels.contains(" Tunnel  gue:6080:r+c  1 ") && tunnels.contains(" Tunnel  gre:+c        2147"));
    let rate = show(Columns::Rate);
    assert!(
        rate.contains("FWM  7 IPv6                              0        0        0        0        0\n")
    );
}

#[test]
fn one_service_is_listed_without_the_line_of_the_plane() {
    let only = table()[1].id();
    let shown = written(&table()[1..], &ServiceList { only, ..LIST });
    assert!(shown.starts_with("Prot LocalAddress:Port"), "{shown}");
    assert_eq!(shown.lines().count(), 3);
}

#[test]
fn what_a_service_has_stands_behind_its_scheduler() {
    let flags = |flag_1, flag_2, flag_3| SchedulerFlags { flag_1, flag_2, flag_3 };
    let scheduled =
        |scheduler: &str, flags| ListedService { scheduler: scheduler.to_owned(), flags, ..service(80) };
    let persistent = ListedService { persistent: true, timeout: 360, netmask: 0xffff_ff00, ..service(80) };
    let engine = ListedService { engine: "sip".to_owned(), ..persistent.clone() };
    for (service, line) in [
        (scheduled("sh", flags(true, true, true)), "TCP  10.0.0.1:80 sh (sh-fallback,sh-port)"),
        (scheduled("mh", flags(false, true, false)), "TCP  10.0.0.1:80 mh (mh-port)"),
        (scheduled("sh", flags(false, false, true)), "TCP  10.0.0.1:80 sh ()"),
        (scheduled("rr", flags(true, false, true)), "TCP  10.0.0.1:80 rr (flag-1,flag-3)"),
        (persistent.clone(), "TCP  10.0.0.1:80 wlc persistent 360 mask 255.255.255.0"),
        (ListedService { netmask: u32::MAX, ..persistent.clone() }, "TCP  10.0.0.1:80 wlc persistent 360"),
        (
            ListedService { netmask: 0xff00_00ff, ..persistent },
            "TCP  10.0.0.1:80 wlc persistent 360 mask 255.0.0.255",
        ),
        (engine.clone(), "TCP  10.0.0.1:80 wlc persistent 360 mask 255.255.255.0 pe sip"),
        (ListedService { persistent: false, ..engine }, "TCP  10.0.0.1:80 wlc"),
        (ListedService { protocol: 17, one_packet: true, ..service(53) }, "UDP  10.0.0.1:53 wlc ops"),
        (ListedService { protocol: 132, ..service(99) }, "SCTP 10.0.0.1:99 wlc"),
        (ListedService { mark: FwMark::new(u32::MAX), ..service(0) }, "FWM  -1 wlc"),
    ] {
        assert_eq!(written(&[service], &LIST).lines().last(), Some(line));
    }
}

#[test]
fn large_numbers_are_rounded_down_to_their_unit() {
    // As printed by ipvsadm 1.31.
    for (number, cell) in [
        (0, "        0"),
        (99_999_999, " 99999999"),
        (100_000_000, "  100000K"),
        (999_999_999, "  999999K"),
        (1_000_000_000, "    1000M"),
        (99_999_999_999, "   99999M"),
        (100_000_000_000, "     100G"),
        (99_999_999_999_999, "   99999G"),
        (100_000_000_000_000, "     100T"),
        (u64::MAX, "18446744T"),
    ] {
        assert_eq!(scaled(number), cell, "{number}");
    }
    let counters = Counters { connections: 100_000_001, ..Counters::default() };
    let services = [ListedService { counters, ..service(80) }];
    let exact = written(&services, &ServiceList { columns: Columns::Stats, exact: true, ..LIST });
    assert!(
        exact.ends_with("TCP  10.0.0.1:80                  100000001        0        0        0        0\n"),
        "{exact}"
    );
}

#[test]
fn timeouts_and_daemons_are_told_in_a_line_each() {
    let mut out = Vec::new();
    let seconds = |seconds| Some(std::time::Duration::from_secs(seconds));
    let timeouts = Timeouts { tcp: seconds(900), tcp_fin: seconds(120), udp: seconds(300) };
    write_timeouts(&mut out, &timeouts).expect("memory takes everything");
    let mut daemon = SyncDaemon::new(SyncRole::Backup, "eth9", 7);
    daemon.max_len = Some(1400);
    daemon.group = "224.0.0.99".parse().ok();
    daemon.port = Some(9999);
    daemon.ttl = Some(5);
    write_daemons(&mut out, &[daemon]).expect("memory takes everything");
    assert_eq!(
        String::from_utf8(out).expect("text"),
        "Timeout (tcp tcpfin udp): 900 120 300\n\
         backup sync daemon (mcast=eth9, syncid=7, maxlen=1400, group=224.0.0.99, port=9999, ttl=5)\n"
    );
}
