use std::time::Duration;

use buoy_ipvs::{
    Family, Forwarding, FwMark, PersistenceEngine, Protocol, SchedulerFlags, SyncDaemon, SyncRole, Tunnel,
};

use super::*;
use crate::control::{Control, Health, Server, Sorry};

fn address(last: u8) -> ServiceId {
    ServiceId::Address { protocol: Protocol::Tcp, address: [10, 0, 0, last].into(), port: 80 }
}

fn id(last: u8, port: u16) -> RealServerId {
    RealServerId { address: [10, 1, 0, last].into(), port }
}

fn server(last: u8, forwarding: Forwarding) -> Server {
    Server {
        id: id(last, 8080),
        forwarding,
        weight: Weight::clamped(3),
        upper_threshold: 0,
        lower_threshold: 0,
        inhibit_on_failure: false,
        alpha: false,
        mark: None,
    }
}

fn service(members: Vec<VirtualService>) -> Service {
    Service {
        name: "web TCP".into(),
        members,
        servers: vec![server(1, Forwarding::Masquerade), server(2, Forwarding::Direct)],
        quorum: 5,
        hysteresis: 1,
        sorry: Some(Sorry { id: id(9, 80), forwarding: Forwarding::Tunnel(Tunnel::Ipip), inhibit: false }),
        panic_threshold: 20,
        drain_deadline: None,
    }
}

fn status(control: &Control, statistics: Option<Statistics>) -> Status {
    Status {
        services: control.services().collect(),
        statistics,
        failing: None,
        refused: Vec::new(),
        doubted: 0,
        sync_daemons: Vec::new(),
    }
}

fn group() -> Service {
    service(vec![
        VirtualService::new(address(1), Scheduler::Wlc),
        VirtualService::new(address(2), Scheduler::Wlc),
    ])
}

#[test]
fn counts_of_a_group_are_summed_under_the_port_that_each_forwarding_method_has() {
    let mut control = Control::new();
    let now = Instant::now();
    control.configure(vec![group()], now);
    let mut statistics = Statistics::default();
    let counters = Counters {
        active: 2,
        inactive: 1,
        persistent: 4,
        connections: 10,
        bytes_in: 100,
        ..Counters::default()
    };
    for vip in [address(1), address(2)] {
        statistics.services.insert(vip, counters);
        statistics.servers.insert((vip, id(1, 8080)), counters);
        // Direct routing rewrites no ports.
        statistics.servers.insert((vip, id(2, 80)), Counters { connections: u64::MAX, ..counters });
    }
    let told = services(&status(&control, Some(statistics)), now);
    let [told] = told.as_slice() else { panic!("one service: {told:?}") };
    assert_eq!(told.addresses, ["TCP 10.0.0.1:80", "TCP 10.0.0.2:80"]);
    assert_eq!(told.totals, Some(Totals { connections: 20, bytes_in: 200, ..Totals::default() }));
    let [first, second] = told.servers.as_slice() else { panic!("two servers: {told:?}") };
    assert_eq!(first.connections, Some(Connections { active: 4, inactive: 2, persistent: 8 }));
    assert_eq!(first.totals, told.totals);
    assert_eq!(second.totals.map(|totals| totals.connections), Some(u64::MAX));
    assert_eq!((first.forwarding.as_str(), second.forwarding.as_str()), ("Masq", "Route"));
    let sorry = told.sorry.as_ref().expect("one");
    assert_eq!((sorry.address.as_str(), sorry.serving, sorry.connections), ("10.1.0.9:80", false, None));
}

#[test]
fn a_plane_that_does_not_answer_leaves_counts_open() {
    let mut control = Control::new();
    let now = Instant::now();
    control.configure(vec![group()], now);
    let told = services(&status(&control, None), now);
    assert_eq!(told[0].totals, None);
    assert!(told[0].servers.iter().all(|server| server.connections.is_none() && server.totals.is_none()));
}

#[test]
fn health_administration_and_quorum_come_with_their_ages() {
    let mut control = Control::new();
    let start = Instant::now();
    let second = Duration::from_secs(1);
    control.configure(vec![group()], start);
    let down = Health::down("connection refused");
    control.handle_health("web TCP", id(1, 8080), down.clone(), start + second).expect("known");
    control.handle_health("web TCP", id(1, 8080), down, start + 3 * second).expect("known");
    let drain = Administration::Drain { deadline: Some(30 * second) };
    control.administer("web TCP", id(2, 8080), drain, start + second).expect("known");
    let told = services(&status(&control, None), start + 11 * second).remove(0);
    assert_eq!(told.quorum, QuorumStatus { needed: 5, hysteresis: 1, weight: 0, reached: false });
    assert!(told.sorry.is_some_and(|sorry| sorry.serving));
    assert_eq!((told.panic_threshold, told.panic), (20, false));
    let [first, second] = told.servers.as_slice() else { panic!("two servers") };
    assert_eq!((first.up, first.since, first.reason_age, first.weight), (false, 10.0, Some(8.0), None));
    assert_eq!(first.reason, "connection refused");
    assert_eq!((second.up, second.since, second.reason_age, second.weight), (true, 11.0, None, Some(0)));
    assert_eq!((second.configured_weight, second.service_weight), (3, 3));
    assert_eq!((first.administration, second.administration), (Administered::Enabled, Administered::Drain));
    assert_eq!((first.draining, second.draining), (None, Some(DrainStatus { left: Some(20.0) })));
}

#[test]
fn schedulers_and_persistence_are_told_in_the_words_of_the_configuration() {
    let mark = FwMark::new(7).expect("not 0");
    let mut member = VirtualService::new(ServiceId::FwMark { family: Family::V6, mark }, Scheduler::Mh);
    member.flags = SchedulerFlags { flag_1: true, flag_2: true, flag_3: true };
    let engine = PersistenceEngine::new("sip");
    member.persistence = Some(Persistence { timeout: Duration::from_secs(300), prefix_len: 64, engine });
    member.one_packet = true;
    let mut control = Control::new();
    let now = Instant::now();
    control.configure(vec![service(vec![member.clone()])], now);
    let told = services(&status(&control, None), now).remove(0);
    assert_eq!(told.addresses, ["FWM 7 IPv6"]);
    assert_eq!(told.scheduler.as_deref(), Some("mh"));
    assert_eq!(told.flags, ["mh-fallback", "mh-port", "flag-3", "ops"]);
    assert_eq!(told.persistence.as_deref(), Some("300 s for each /64, engine sip"));
    member.scheduler = Some(Scheduler::Rr);
    assert_eq!(flags(&member), ["flag-1", "flag-2", "flag-3", "ops"]);
    let whole = Persistence { timeout: Duration::from_secs(60), prefix_len: 32, engine: None };
    assert_eq!(affinity(&whole, 32), "60 s");
}

#[test]
fn what_stands_behind_them_is_told_with_what_is_not_as_wanted() {
    let mut told = status(&Control::new(), None);
    told.failing = Some("no IPVS".to_owned());
    told.sync_daemons = vec![SyncDaemon::new(SyncRole::Master, "eth0", 51)];
    let setting = |value| IpvsSetting { name: "conn_reuse_mode", value, wanted: 1 };
    let snapshot = checks::Snapshot {
        reports: Vec::new(),
        now: Instant::now(),
        probes: 7,
        running: 2,
        attempts: 0,
        lateness: checks::Lateness::default(),
    };
    let settings = [setting(Some(1)), setting(Some(0)), setting(None)];
    let balancing = balancing(&told, &settings, Some(&snapshot));
    assert_eq!(balancing.failing.as_deref(), Some("no IPVS"));
    let sync = SyncStatus { role: "master".to_owned(), interface: "eth0".to_owned(), sync_id: 51 };
    assert_eq!(balancing.sync_daemons, [sync]);
    let as_wanted: Vec<bool> = balancing.settings.iter().map(|setting| setting.as_wanted).collect();
    assert_eq!(as_wanted, [true, false, false]);
    assert_eq!(balancing.checks, Some(ChecksStatus { checks: 7, running: 2, late_p99_ms: 0.0 }));
}
