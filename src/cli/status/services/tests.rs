use crate::api::{
    Administered, BalancingStatus, ChecksStatus, Connections, DaemonStatus, DrainStatus, EngineStatus,
    QuorumStatus, ServerStatus, ServiceStatus, SettingStatus, SorryStatus, Status, SyncStatus,
};
use crate::cli::status::page;

fn status(services: Vec<ServiceStatus>, balancing: Option<BalancingStatus>) -> Status {
    Status {
        daemon: DaemonStatus {
            version: "0.1.0".to_owned(),
            pid: 7,
            router_id: "director-a".to_owned(),
            configuration: "/etc/buoy/buoy.conf".to_owned(),
            started: 1,
            warnings: 0,
            last_reload: None,
            reload_refused: false,
            netlink_changes: 0,
            restarts: Default::default(),
            alerts_lost: 0,
            unclaimed: Default::default(),
            worst_lateness_us: 0,
        },
        instances: Vec::new(),
        groups: Vec::new(),
        tracked: Vec::new(),
        services,
        balancing,
    }
}

fn server(address: &str) -> ServerStatus {
    ServerStatus {
        address: address.to_owned(),
        forwarding: "Masq".to_owned(),
        configured_weight: 1,
        service_weight: 1,
        weight: Some(1),
        up: true,
        reason: "up".to_owned(),
        since: 7500.0,
        reason_age: Some(7500.0),
        administration: Administered::Enabled,
        draining: None,
        resting: false,
        leaving: false,
        connections: Some(Connections { active: 12, inactive: 3, persistent: 0 }),
        totals: None,
    }
}

fn down(address: &str) -> ServerStatus {
    ServerStatus {
        weight: None,
        up: false,
        reason: "timed out after 3 s in TLS handshake".to_owned(),
        since: 62.0,
        reason_age: Some(1.0),
        connections: None,
        ..server(address)
    }
}

fn service(name: &str, servers: Vec<ServerStatus>) -> ServiceStatus {
    ServiceStatus {
        name: name.to_owned(),
        addresses: vec![name.to_owned()],
        scheduler: Some("wlc".to_owned()),
        flags: Vec::new(),
        persistence: None,
        quorum: QuorumStatus { needed: 1, hysteresis: 0, weight: 2, reached: true },
        sorry: None,
        panic_threshold: 0,
        panic: false,
        leaving: false,
        totals: None,
        servers,
    }
}

fn sorry(serving: bool) -> Option<SorryStatus> {
    Some(SorryStatus {
        address: "10.1.0.99:80".to_owned(),
        forwarding: "Route".to_owned(),
        serving,
        connections: serving.then_some(Connections { active: 4, inactive: 0, persistent: 0 }),
    })
}

const HEAD: &str = "buoy 0.1.0 on director-a, pid 7, /etc/buoy/buoy.conf\n";

#[track_caller]
fn assert_page(status: &Status, expected: &str) {
    let page = page(status);
    let page = page.strip_prefix(HEAD).expect("the page begins with the daemon");
    assert_eq!(page, expected, "\n{page}");
}

#[test]
fn without_virtual_servers_there_is_nothing_about_them() {
    assert_page(&status(Vec::new(), None), "");
}

#[test]
fn what_does_not_serve_as_it_should_comes_first() {
    let well = service("TCP 10.0.0.1:80", vec![server("10.1.0.1:80"), server("10.1.0.20:80")]);
    let mut ailing = service("UDP [2001:db8::1]:53", vec![server("10.1.0.1:53"), down("10.1.0.2:53")]);
    ailing.flags = vec!["sh-port".to_owned(), "ops".to_owned()];
    ailing.persistence = Some("300 s for each /64".to_owned());
    let mut lost = service("TCP 10.0.0.2:80", vec![down("10.1.0.1:80"), server("10.1.0.2:80")]);
    lost.servers[1].weight = Some(0);
    lost.quorum = QuorumStatus { needed: 2, hysteresis: 0, weight: 1, reached: false };
    lost.sorry = sorry(true);
    let expected = "\
virtual servers: 3, 1 without quorum; real servers: 3 up, 2 down, 1 displaced

TCP 10.0.0.2:80  NO QUORUM, weight 1 of 2  wlc
  10.1.0.1:80   Masq   out       down       -                      down for 1 min 2 s: timed out after 3 s in TLS handshake (1.0 s ago)
  10.1.0.2:80   Masq   weight 0  displaced  12 active, 3 inactive  up for 2 h 5 min
  10.1.0.99:80  Route            sorry      4 active, 0 inactive   serves in their place

UDP [2001:db8::1]:53  quorum, weight 2 of 1  wlc, sh-port, ops, persistent 300 s for each /64
  10.1.0.1:53  Masq  weight 1  up    12 active, 3 inactive  up for 2 h 5 min
  10.1.0.2:53  Masq  out       down  -                      down for 1 min 2 s: timed out after 3 s in TLS handshake (1.0 s ago)

TCP 10.0.0.1:80  quorum, weight 2 of 1  wlc
  10.1.0.1:80   Masq  weight 1  up  12 active, 3 inactive  up for 2 h 5 min
  10.1.0.20:80  Masq  weight 1  up  12 active, 3 inactive  up for 2 h 5 min
";
    assert_page(&status(vec![well, ailing, lost], None), expected);
}

#[test]
fn every_state_of_a_server_has_its_word() {
    let drain = |left| ServerStatus {
        weight: Some(0),
        administration: Administered::Drain,
        draining: Some(DrainStatus { left }),
        ..server("10.1.0.1:80")
    };
    let servers = vec![
        drain(Some(25.0)),
        drain(None),
        ServerStatus { draining: None, weight: None, connections: None, ..drain(None) },
        ServerStatus { leaving: true, administration: Administered::Enabled, ..drain(None) },
        ServerStatus { weight: None, administration: Administered::Disabled, ..server("10.1.0.2:80") },
        ServerStatus {
            weight: Some(0),
            resting: true,
            reason: "agent says drain".to_owned(),
            ..server("10.1.0.3:80")
        },
        ServerStatus {
            weight: Some(9),
            service_weight: 9,
            administration: Administered::Weight,
            ..server("10.1.0.4:80")
        },
        ServerStatus { weight: Some(50), service_weight: 50, ..server("10.1.0.5:80") },
        ServerStatus { up: false, reason: "not\x1b[31m a\nline".to_owned(), ..server("10.1.0.6:80") },
        ServerStatus {
            connections: Some(Connections { active: 1, inactive: 0, persistent: 2 }),
            reason: "not checked yet".to_owned(),
            reason_age: None,
            since: 3.0,
            ..server("10.1.0.7:80")
        },
    ];
    let mut all = service("web TCP", servers);
    all.addresses = (1..=10).map(|last| format!("TCP 10.0.0.{last}:80")).collect();
    (all.panic, all.panic_threshold, all.sorry) = (true, 50, sorry(false));
    let leaving = ServiceStatus {
        leaving: true,
        quorum: QuorumStatus { needed: 1, hysteresis: 0, weight: 0, reached: false },
        scheduler: None,
        ..service("FWM 7", Vec::new())
    };
    let expected = "\
virtual servers: 2, 1 whose checks are doubted; real servers: 3 up, 1 doubted, 3 draining, 1 drained, 1 disabled, 1 resting

web TCP  quorum, weight 2 of 1  wlc
  addresses: TCP 10.0.0.1:80, TCP 10.0.0.2:80, TCP 10.0.0.3:80, TCP 10.0.0.4:80, TCP 10.0.0.5:80, TCP 10.0.0.6:80, TCP 10.0.0.7:80, TCP 10.0.0.8:80 and 2 more
  fewer than 50 % pass their checks: the last good servers stay in service
  10.1.0.1:80   Masq   weight 0   draining  12 active, 3 inactive               drains for 25.0 s more; up for 2 h 5 min
  10.1.0.1:80   Masq   weight 0   draining  12 active, 3 inactive               drains until its connections end; up for 2 h 5 min
  10.1.0.1:80   Masq   out        drained   -                                   up for 2 h 5 min
  10.1.0.1:80   Masq   weight 0   draining  12 active, 3 inactive               removed from the configuration; drains until its connections end; up for 2 h 5 min
  10.1.0.2:80   Masq   out        disabled  12 active, 3 inactive               up for 2 h 5 min
  10.1.0.3:80   Masq   weight 0   resting   12 active, 3 inactive               up for 2 h 5 min: agent says drain
  10.1.0.4:80   Masq   weight 9   up        12 active, 3 inactive               weight 9 set by an operator, 1 configured; up for 2 h 5 min
  10.1.0.5:80   Masq   weight 50  up        12 active, 3 inactive               weight 50 by its checks, 1 configured; up for 2 h 5 min
  10.1.0.6:80   Masq   weight 1   doubted   12 active, 3 inactive               down for 2 h 5 min: not [31m a line
  10.1.0.7:80   Masq   weight 1   up        1 active, 0 inactive, 2 persistent  up for 3.0 s: not checked yet
  10.1.0.99:80  Route             sorry     -                                   waits

FWM 7  removed  no scheduler
";
    assert_page(&status(vec![leaving, all], None), expected);
}

#[test]
fn what_is_wrong_behind_all_of_them_is_told_before_anything_else() {
    let setting = |name: &str, value| SettingStatus {
        name: name.to_owned(),
        value,
        wanted: 1,
        as_wanted: value == Some(1),
    };
    let balancing = BalancingStatus {
        engine: None,
        plane: "kernel IPVS".to_owned(),
        failing: Some("the kernel has no IPVS; load ip_vs".to_owned()),
        refused: (1..=9)
            .map(|n| format!("cannot add virtual service {n}: module ip_vs_mh is missing"))
            .collect(),
        doubted: 0,
        sync_daemons: vec![SyncStatus {
            role: "master".to_owned(),
            interface: "eth0".to_owned(),
            sync_id: 51,
        }],
        settings: vec![
            setting("expire_nodest_conn", Some(1)),
            setting("expire_quiescent_template", Some(0)),
            setting("conn_reuse_mode", None),
        ],
        checks: Some(ChecksStatus { checks: 400, running: 12, late_p99_ms: 2.0 }),
    };
    let one = service("TCP 10.0.0.1:80", Vec::new());
    let refusals: String = (1..=8)
        .map(|n| format!("kernel IPVS refuses: cannot add virtual service {n}: module ip_vs_mh is missing\n"))
        .collect();
    let troubles = format!(
        "kernel IPVS DOES NOT WORK: the kernel has no IPVS; load ip_vs\n{refusals}\
         kernel IPVS refuses 1 more (--json shows them)\n\
         kernel setting net.ipv4.vs.expire_quiescent_template is 0 instead of 1\n\
         the kernel has no setting net.ipv4.vs.conn_reuse_mode, which should be 1\n"
    );
    let expected = format!(
        "virtual servers: 1; real servers: 0 up\n{troubles}\
         400 checks, 12 under way, 99 of 100 begin within 2.0 ms of their time\n\
         connection sync: master on eth0, id 51\n\n\
         TCP 10.0.0.1:80  quorum, weight 2 of 1  wlc\n"
    );
    assert_page(&status(vec![one], Some(balancing.clone())), &expected);
    let quiet = BalancingStatus { failing: None, refused: Vec::new(), settings: Vec::new(), ..balancing };
    assert_page(&status(Vec::new(), Some(quiet.clone())), "");
    let engine = EngineStatus {
        connections: 12,
        offloaded: 7,
        trouble: Some("no way".to_owned()),
        ..EngineStatus::default()
    };
    let by_engine =
        BalancingStatus { plane: "Buoy's engine".to_owned(), engine: Some(engine), ..quiet.clone() };
    let expected = "Buoy's engine met trouble: no way\n\
                    Buoy's engine forwards: 12 connections, 7 of them within the kernel\n";
    assert_page(&status(Vec::new(), Some(by_engine)), expected);
    let kept = SettingStatus { wanted: 0, as_wanted: true, ..setting("expire_nodest_conn", Some(0)) };
    let doubt = BalancingStatus { doubted: 3, settings: vec![kept], ..quiet };
    let expected = "3 servers dead, or this host's network is cut: their connections are kept until it is known \
                    which (net.ipv4.vs.expire_nodest_conn is 0)\n";
    assert_page(&status(Vec::new(), Some(doubt)), expected);
}
