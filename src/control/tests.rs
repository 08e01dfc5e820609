use std::time::Duration;

use buoy_healthcheck::WeightAdvice;
use buoy_ipvs::{Counters, Forwarding, Protocol, Scheduler, VirtualService, Weight};
use proptest::prelude::*;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

fn vip() -> ServiceId {
    ServiceId::Address { protocol: Protocol::Tcp, address: [10, 0, 0, 1].into(), port: 80 }
}

fn id(last: u8) -> RealServerId {
    RealServerId { address: [10, 1, 0, last].into(), port: 80 }
}

fn server(last: u8) -> Server {
    Server {
        id: id(last),
        forwarding: Forwarding::Direct,
        weight: Weight::ONE,
        upper_threshold: 0,
        lower_threshold: 0,
        inhibit_on_failure: false,
        alpha: false,
        mark: None,
    }
}

fn service(servers: &[u8]) -> Service {
    Service {
        name: "web".into(),
        members: vec![VirtualService::new(vip(), Scheduler::Wlc)],
        servers: servers.iter().map(|last| server(*last)).collect(),
        quorum: 1,
        hysteresis: 0,
        sorry: None,
        panic_threshold: 0,
        drain_deadline: None,
    }
}

fn sorry() -> Option<Sorry> {
    Some(Sorry { id: id(99), forwarding: Forwarding::Direct, inhibit: false })
}

/// A control and the plane that it drives.
struct Bench {
    control: Control,
    plane: Table,
    now: Instant,
}

impl Bench {
    fn new(services: Vec<Service>) -> Self {
        let mut bench = Self { control: Control::new(), plane: Table::new(), now: Instant::now() };
        bench.configure(services);
        bench.control.take_reports();
        bench
    }

    fn configure(&mut self, services: Vec<Service>) -> usize {
        self.control.configure(services, self.now);
        self.act()
    }

    fn act(&mut self) -> usize {
        let changes = self.control.take_changes();
        for change in &changes {
            assert!(self.plane.apply(change), "the plane refuses: {change}");
        }
        changes.len()
    }

    fn health(&mut self, last: u8, up: bool) -> usize {
        let health = if up { Health::up("connected") } else { Health::down("refused") };
        self.control.handle_health("web", id(last), health, self.now).expect("known");
        self.act()
    }

    /// Servers that drain because they were removed, and until when.
    fn leaving(&self) -> Vec<(RealServerId, Option<Instant>)> {
        let servers = self.control.services().flat_map(|service| service.servers);
        servers.filter(|server| server.leaving).map(|server| (server.server.id, server.deadline)).collect()
    }

    fn told(&mut self, last: u8, standing: Standing) -> usize {
        let health = Health { standing, ..Health::up("no check can tell") };
        self.control.handle_health("web", id(last), health, self.now).expect("known");
        self.act()
    }

    fn administer(&mut self, last: u8, administration: Administration) -> usize {
        self.control.administer("web", id(last), administration, self.now).expect("known");
        self.act()
    }

    fn count(&mut self, counts: &[(u8, u32)]) -> usize {
        let mut statistics = Statistics::default();
        for (last, active) in counts {
            let counters = Counters { active: *active, ..Counters::default() };
            statistics.servers.insert((vip(), id(*last)), counters);
        }
        self.control.handle_statistics(&statistics, self.now);
        self.act()
    }

    /// Every server that the plane holds has so many connections.
    fn count_held(&mut self, active: u32) {
        let mut statistics = Statistics::default();
        for (service, entry) in self.plane.entries() {
            for server in entry.servers.keys() {
                let counters = Counters { active, ..Counters::default() };
                statistics.servers.insert((*service, *server), counters);
            }
        }
        self.control.handle_statistics(&statistics, self.now);
    }

    fn pass(&mut self, time: Duration) -> usize {
        self.now += time;
        self.control.handle_timeout(self.now);
        self.act()
    }

    /// Last bytes of the servers and their weights.
    fn serving(&self) -> Vec<(u8, u32)> {
        let Some(entry) = self.plane.entry(&vip()) else { return Vec::new() };
        let last = |id: &RealServerId| match id.address {
            std::net::IpAddr::V4(address) => address.octets()[3],
            std::net::IpAddr::V6(_) => 0,
        };
        entry.servers.values().map(|server| (last(&server.id), server.weight.get())).collect()
    }

    fn reports(&mut self) -> Vec<String> {
        self.control.take_reports().iter().map(ToString::to_string).collect()
    }
}

#[test]
fn an_identical_reload_sends_nothing_and_one_changed_weight_one_message() {
    let mut bench = Bench::new(vec![service(&[1, 2, 3])]);
    assert_eq!(bench.configure(vec![service(&[1, 2, 3])]), 0);
    let mut heavier = service(&[1, 2, 3]);
    heavier.servers[1].weight = Weight::clamped(5);
    assert_eq!(bench.configure(vec![heavier]), 1);
    assert_eq!(bench.serving(), [(1, 1), (2, 5), (3, 1)]);
}

#[test]
fn health_survives_a_reload() {
    let mut bench = Bench::new(vec![service(&[1, 2])]);
    bench.health(1, false);
    assert_eq!(bench.configure(vec![service(&[1, 2, 3])]), 1);
    assert_eq!(bench.serving(), [(2, 1), (3, 1)]);
}

#[test]
fn a_dead_server_is_deleted_and_inhibited_ones_stay_with_weight_0() {
    let mut settings = service(&[1, 2]);
    settings.servers[1].inhibit_on_failure = true;
    settings.servers.push(server(3));
    let mut bench = Bench::new(vec![settings]);
    bench.health(1, false);
    bench.health(2, false);
    assert_eq!(bench.serving(), [(2, 0), (3, 1)]);
    assert_eq!(
        bench.reports(),
        [
            "real server 10.1.0.1:80 of web is down: refused",
            "real server 10.1.0.2:80 of web is down: refused"
        ]
    );
    bench.health(1, true);
    bench.health(2, true);
    assert_eq!(bench.serving(), [(1, 1), (2, 1), (3, 1)]);
}

#[test]
fn alpha_servers_wait_for_their_first_result() {
    let mut settings = service(&[1, 2]);
    settings.servers[0].alpha = true;
    let mut bench = Bench::new(vec![settings]);
    assert_eq!(bench.serving(), [(2, 1)]);
    bench.health(1, true);
    assert_eq!(bench.serving(), [(1, 1), (2, 1)]);
}

#[test]
fn the_quorum_is_gained_and_lost_with_hysteresis_and_the_sorry_server_steps_in() {
    let mut settings = service(&[1, 2, 3, 4]);
    (settings.quorum, settings.hysteresis, settings.sorry) = (2, 1, sorry());
    let mut bench = Bench::new(vec![settings]);
    assert_eq!(bench.serving(), [(1, 1), (2, 1), (3, 1), (4, 1)]);
    bench.health(1, false);
    bench.health(2, false);
    bench.health(3, false);
    assert_eq!(bench.serving(), [(4, 1)], "1 is not below 2 - 1");
    bench.health(4, false);
    assert_eq!(bench.serving(), [(99, 1)]);
    assert_eq!(
        bench.reports().last().map(String::as_str),
        Some("virtual server web lost its quorum: weight 0 of 2 needed")
    );
    bench.health(1, true);
    bench.health(2, true);
    assert_eq!(bench.serving(), [(1, 0), (2, 0), (99, 1)], "2 is below 2 + 1");
    bench.health(3, true);
    assert_eq!(bench.serving(), [(1, 1), (2, 1), (3, 1)]);
    assert_eq!(
        bench.reports().last().map(String::as_str),
        Some("virtual server web gained its quorum: weight 3 of 2 needed")
    );
}

#[test]
fn healthy_servers_that_the_sorry_server_displaces_keep_their_connections() {
    let mut settings = service(&[1, 2]);
    (settings.quorum, settings.sorry) = (2, sorry());
    let mut bench = Bench::new(vec![settings]);
    bench.health(2, false);
    assert_eq!(bench.serving(), [(1, 0), (99, 1)]);
    assert!(bench.control.wants_statistics());
    bench.count(&[(1, 3)]);
    assert_eq!(bench.serving(), [(1, 0), (99, 1)]);
    bench.count(&[(1, 0)]);
    assert_eq!(bench.serving(), [(99, 1)]);
}

#[test]
fn an_inhibited_sorry_server_waits_with_weight_0_and_may_be_one_of_the_real_servers() {
    let mut settings = service(&[1, 2]);
    settings.sorry = Some(Sorry { id: id(1), forwarding: Forwarding::Direct, inhibit: true });
    let mut bench = Bench::new(vec![settings]);
    assert_eq!(bench.serving(), [(1, 1), (2, 1)]);
    bench.health(1, false);
    assert_eq!(bench.serving(), [(1, 0), (2, 1)]);
    bench.health(2, false);
    assert_eq!(bench.serving(), [(1, 1)]);
}

#[test]
fn a_server_that_a_reload_removes_keeps_its_connections_until_they_end() {
    let mut bench = Bench::new(vec![service(&[1, 2])]);
    bench.count(&[(1, 0), (2, 7)]);
    bench.configure(vec![service(&[1])]);
    assert_eq!(bench.serving(), [(1, 1), (2, 0)]);
    bench.count(&[(1, 3), (2, 1)]);
    assert_eq!(bench.serving(), [(1, 1), (2, 0)]);
    bench.count(&[(1, 3), (2, 0)]);
    assert_eq!(bench.serving(), [(1, 1)]);
    let words = bench.reports();
    assert_eq!(words.len(), 2);
    assert!(words[0].starts_with("real server 10.1.0.2:80 of web is removed from the configuration:"));
    assert_eq!(words[1], "real server 10.1.0.2:80 of web is drained: its last connection has ended");
}

#[test]
fn a_displaced_server_without_connections_goes_and_stays_away() {
    let mut settings = service(&[1, 2]);
    (settings.quorum, settings.sorry) = (2, sorry());
    let mut bench = Bench::new(vec![settings]);
    bench.health(2, false);
    assert_eq!(bench.serving(), [(1, 0), (99, 1)]);
    bench.count_held(0);
    bench.act();
    assert_eq!(bench.serving(), [(99, 1)]);
    for _ in 0..3 {
        bench.count_held(0);
        assert_eq!(bench.act(), 0);
    }
    assert!(!bench.control.wants_statistics());
}

#[test]
fn a_drain_of_a_server_that_is_not_there_is_over_with_the_next_count() {
    let mut bench = Bench::new(vec![service(&[1, 2])]);
    bench.health(2, false);
    bench.administer(2, Administration::Drain { deadline: None });
    bench.count_held(3);
    assert!(!bench.control.wants_statistics());
    bench.administer(1, Administration::Drain { deadline: None });
    bench.count_held(3);
    bench.health(1, false);
    bench.count_held(3);
    assert!(!bench.control.wants_statistics(), "it died");
}

#[test]
fn what_operators_said_of_a_server_is_forgotten_when_a_reload_removes_it() {
    let mut bench = Bench::new(vec![service(&[1, 2])]);
    bench.administer(2, Administration::Weight(Weight::clamped(9)));
    bench.configure(vec![service(&[1])]);
    bench.configure(vec![service(&[1, 2])]);
    assert_eq!(bench.serving(), [(1, 1), (2, 1)]);
}

#[test]
fn a_last_good_server_that_a_reload_removes_keeps_its_connections() {
    let mut settings = service(&[1, 2]);
    settings.panic_threshold = 60;
    let mut bench = Bench::new(vec![settings.clone()]);
    bench.health(1, false);
    bench.health(2, false);
    assert_eq!(bench.serving(), [(1, 1), (2, 1)], "the checks are doubted");
    settings.servers.pop();
    bench.configure(vec![settings]);
    assert_eq!(bench.serving(), [(1, 1), (2, 0)]);
}

#[test]
fn servers_that_were_out_of_service_before_us_stay_out_until_their_checks_decide() {
    let mut before = Bench::new(vec![service(&[1, 2, 3])]);
    before.health(2, false);
    before.health(3, false);
    let mut bench = Bench::new(Vec::new());
    bench.plane = before.plane.clone();
    bench.control.inherit(before.plane);
    bench.control.configure(vec![service(&[1, 2, 3])], bench.now);
    bench.control.handle_snapshot(&bench.plane.clone(), bench.now);
    assert_eq!(bench.act(), 0);
    assert_eq!(bench.serving(), [(1, 1)]);
    bench.health(2, true);
    assert_eq!(bench.serving(), [(1, 1), (2, 1)]);
    assert_eq!(bench.control.poll_timeout(), Some(bench.now + OUT_AT_MOST));
    bench.pass(OUT_AT_MOST);
    assert_eq!(bench.serving(), [(1, 1), (2, 1), (3, 1)], "no check has said anything");
    assert_eq!(bench.control.poll_timeout(), None);
    let words = bench.reports();
    assert!(words.iter().all(|words| !words.contains("lost")), "{words:?}");
}

#[test]
fn what_no_check_can_tell_holds_nobody_down_but_whoever_was_out_before_us() {
    let mut before = Bench::new(vec![service(&[1, 2])]);
    before.health(2, false);
    let mut bench = Bench::new(Vec::new());
    bench.plane = before.plane.clone();
    bench.control.inherit(before.plane);
    bench.control.configure(vec![service(&[1, 2])], bench.now);
    bench.control.handle_snapshot(&bench.plane.clone(), bench.now);
    bench.health(1, false);
    for last in [1, 2] {
        bench.told(last, Standing::Open);
    }
    assert_eq!(bench.serving(), [], "as they are");
    for last in [1, 2] {
        bench.told(last, Standing::Unknown);
    }
    assert_eq!(bench.serving(), [(1, 1)]);
    let told = bench.reports();
    assert_eq!(
        told.last().map(String::as_str),
        Some("virtual server web gained its quorum: weight 1 of 1 needed")
    );
    assert!(told.contains(&"real server 10.1.0.1:80 of web is up: no check can tell".to_owned()), "{told:?}");
    bench.told(1, Standing::Open);
    bench.health(2, true);
    assert_eq!(bench.serving(), [(1, 1), (2, 1)]);
}

#[test]
fn what_a_check_advises_counts_before_all_have_decided() {
    let mut bench = Bench::new(vec![service(&[1, 2])]);
    bench.health(2, false);
    let health =
        Health { advice: vec![WeightAdvice::Add(7)], standing: Standing::Open, ..Health::up("weight 8") };
    for last in [1, 2] {
        bench.control.handle_health("web", id(last), health.clone(), bench.now).expect("known");
    }
    bench.act();
    assert_eq!(bench.serving(), [(1, 8)]);
}

#[test]
fn a_service_that_was_not_there_before_us_begins_with_all_its_servers() {
    let mut bench = Bench::new(Vec::new());
    bench.control.inherit(Table::new());
    bench.configure(vec![service(&[1, 2])]);
    assert_eq!(bench.serving(), [(1, 1), (2, 1)]);
}

#[test]
fn connections_that_were_counted_before_a_drain_do_not_end_it() {
    let mut bench = Bench::new(vec![service(&[1, 2])]);
    bench.administer(1, Administration::Drain { deadline: None });
    bench.count(&[(1, 1), (2, 0)]);
    bench.administer(2, Administration::Drain { deadline: None });
    assert_eq!(bench.serving(), [(1, 0), (2, 0)], "nobody has counted since");
    bench.count(&[(1, 1), (2, 0)]);
    assert_eq!(bench.serving(), [(1, 0)]);
}

#[test]
fn a_first_result_that_was_assumed_is_told_apart_from_a_change() {
    let mut bench = Bench::new(vec![service(&[1, 2])]);
    bench.health(1, true);
    bench.health(1, true);
    bench.health(2, false);
    let expected = [
        "real server 10.1.0.1:80 of web is up, as assumed: connected",
        "real server 10.1.0.2:80 of web is down: refused",
    ];
    assert_eq!(bench.reports(), expected);
}

#[test]
fn a_removed_server_that_comes_back_in_time_serves_again() {
    let mut bench = Bench::new(vec![service(&[1, 2])]);
    bench.configure(vec![service(&[1])]);
    assert_eq!(bench.configure(vec![service(&[1, 2])]), 1);
    assert_eq!(bench.serving(), [(1, 1), (2, 1)]);
}

#[test]
fn a_removed_service_drains_as_a_whole_and_is_then_gone() {
    let mut settings = service(&[1, 2]);
    settings.drain_deadline = Some(MINUTE);
    let mut bench = Bench::new(vec![settings]);
    bench.health(2, false);
    bench.configure(Vec::new());
    assert_eq!(bench.serving(), [(1, 0)]);
    bench.pass(MINUTE - Duration::from_nanos(1));
    assert_eq!(bench.serving(), [(1, 0)]);
    assert_eq!(bench.control.poll_timeout(), Some(bench.now + Duration::from_nanos(1)));
    bench.pass(Duration::from_nanos(1));
    assert!(bench.plane.is_empty());
    assert_eq!(bench.control.poll_timeout(), None);
}

#[test]
fn operators_drain_disable_weigh_and_enable_servers() {
    let mut bench = Bench::new(vec![service(&[1, 2, 3])]);
    bench.administer(1, Administration::Drain { deadline: Some(MINUTE) });
    bench.administer(2, Administration::Disabled);
    bench.administer(3, Administration::Weight(Weight::clamped(50)));
    assert_eq!(bench.serving(), [(1, 0), (3, 50)]);
    bench.count(&[(1, 12)]);
    bench.pass(MINUTE);
    assert_eq!(bench.serving(), [(3, 50)]);
    assert_eq!(
        bench.reports(),
        ["real server 10.1.0.1:80 of web is out of time to drain with 12 connections left"]
    );
    assert_eq!(bench.configure(vec![service(&[1, 2, 3])]), 0, "a reload leaves it so");
    for last in 1..=3 {
        bench.administer(last, Administration::Enabled);
    }
    assert_eq!(bench.serving(), [(1, 1), (2, 1), (3, 1)]);
    let unknown = bench.control.administer("web", id(9), Administration::Disabled, bench.now);
    assert_eq!(
        unknown.expect_err("unknown").to_string(),
        "virtual server web has no real server 10.1.0.9:80"
    );
}

#[test]
fn the_state_tells_what_the_table_is_to_hold_until_when_and_what_is_held_against_the_quorum() {
    let mut settings = service(&[1, 2, 3]);
    (settings.quorum, settings.sorry) = (2, sorry());
    let mut bench = Bench::new(vec![settings.clone()]);
    bench.administer(1, Administration::Drain { deadline: Some(MINUTE) });
    bench.pass(MINUTE / 2);
    bench.health(2, true);
    bench.health(3, false);
    let state = bench.control.services().next().expect("one");
    assert_eq!((state.weight, state.quorum, state.sorry, state.panic), (1, false, true, false));
    let servers: Vec<_> = state.servers.iter().map(|s| (s.held, s.draining, s.heard)).collect();
    let zero = Some(Weight::ZERO);
    let heard = Some(bench.now);
    assert_eq!(servers, [(zero, true, None), (zero, false, heard), (None, false, heard)]);
    assert_eq!(state.servers[0].deadline, Some(bench.now + MINUTE / 2));
    bench.pass(MINUTE / 2);
    settings.servers.remove(1);
    bench.configure(vec![settings]);
    let state = bench.control.services().next().expect("one");
    let servers: Vec<_> = state.servers.iter().map(|s| (s.held, s.draining, s.leaving)).collect();
    assert_eq!(servers, [(None, false, false), (zero, true, true), (None, false, false)]);
    bench.configure(Vec::new());
    let state = bench.control.services().next().expect("one");
    assert!(state.leaving && !state.sorry);
}

#[test]
fn a_drained_server_that_dies_is_deleted() {
    let mut bench = Bench::new(vec![service(&[1, 2])]);
    bench.administer(1, Administration::Drain { deadline: None });
    bench.health(1, false);
    assert_eq!(bench.serving(), [(2, 1)]);
}

#[test]
fn checks_that_know_the_load_move_the_weight() {
    let mut bench = Bench::new(vec![service(&[1, 2])]);
    let health = Health { advice: vec![WeightAdvice::Add(7)], ..Health::up("weight 8") };
    bench.control.handle_health("web", id(1), health, bench.now).expect("known");
    assert_eq!(bench.act(), 1);
    assert_eq!(bench.serving(), [(1, 8), (2, 1)]);
    let mut heavier = service(&[1, 2]);
    heavier.servers[0].weight = Weight::clamped(10);
    bench.configure(vec![heavier]);
    assert_eq!(bench.serving(), [(1, 17), (2, 1)], "what is configured counts at once");
}

#[test]
fn an_agent_that_wants_rest_gets_no_new_connections_and_loses_none() {
    let mut settings = service(&[1, 2]);
    settings.quorum = 2;
    settings.sorry = sorry();
    let mut bench = Bench::new(vec![settings]);
    let health = Health { resting: true, ..Health::up("agent says drain") };
    bench.control.handle_health("web", id(1), health, bench.now).expect("known");
    bench.act();
    assert_eq!(bench.serving(), [(1, 0), (2, 0), (99, 1)], "it counts for no quorum");
    bench.control.handle_health("web", id(1), Health::up("agent says ready"), bench.now).expect("known");
    bench.act();
    assert_eq!(bench.serving(), [(1, 1), (2, 1)]);
}

#[test]
fn when_hardly_any_server_passes_its_checks_the_last_good_ones_stay() {
    let mut settings = service(&[1, 2, 3, 4]);
    settings.panic_threshold = 50;
    let mut bench = Bench::new(vec![settings]);
    bench.health(4, false);
    bench.health(3, false);
    assert_eq!(bench.serving(), [(1, 1), (2, 1)], "half of them is not below 50 %");
    bench.health(2, false);
    bench.health(1, false);
    assert_eq!(bench.serving(), [(1, 1), (2, 1)]);
    let reports = bench.reports();
    assert!(reports.iter().any(|r| r.contains("only 1 of 4 real servers pass their checks")), "{reports:?}");
    bench.health(3, true);
    assert_eq!(bench.serving(), [(1, 1), (2, 1), (3, 1)]);
    bench.health(4, true);
    assert_eq!(bench.serving(), [(3, 1), (4, 1)], "they are believed again");
}

#[test]
fn what_is_right_already_is_adopted_what_somebody_changes_is_put_right_and_what_is_foreign_stays() {
    let mut bench = Bench::new(vec![service(&[1, 2])]);
    let mut restarted = Control::new();
    restarted.configure(vec![service(&[1, 2])], bench.now);
    restarted.handle_snapshot(&bench.plane, bench.now);
    assert_eq!(restarted.take_changes(), []);
    restarted.take_reports();

    bench.control = restarted;
    let foreign = ServiceId::Address { protocol: Protocol::Udp, address: [10, 0, 0, 9].into(), port: 53 };
    bench.plane.set_service(VirtualService::new(foreign, Scheduler::Rr));
    bench.plane.remove_server(&vip(), &id(1));
    bench.control.handle_snapshot(&bench.plane, bench.now);
    assert_eq!(bench.act(), 1);
    assert_eq!(bench.serving(), [(1, 1), (2, 1)]);
    assert!(bench.plane.entry(&foreign).is_some());
    let reports = bench.reports();
    assert_eq!(reports.len(), 1, "{reports:?}");
    assert!(
        reports[0].starts_with("somebody else changed IPVS; putting it right: add real server"),
        "{reports:?}"
    );

    bench.plane = Table::new();
    bench.control.handle_snapshot(&bench.plane, bench.now);
    assert_eq!(bench.act(), 3, "all of it after `ipvsadm -C`");
}

#[test]
fn a_table_that_somebody_emptied_is_told_in_a_few_lines() {
    let servers: Vec<u8> = (1..=50).collect();
    let mut bench = Bench::new(vec![service(&servers)]);
    bench.control.handle_snapshot(&bench.plane, bench.now);
    bench.plane = Table::new();
    bench.control.handle_snapshot(&bench.plane, bench.now);
    assert_eq!(bench.act(), 51);
    let words = bench.reports();
    assert_eq!(words.len(), DRIFT_TOLD + 1);
    assert_eq!(words[DRIFT_TOLD], "somebody else changed IPVS; putting 43 more entries right");
}

#[test]
fn a_refused_change_is_tried_again_and_the_rest_stays() {
    let mut control = Control::new();
    let now = Instant::now();
    control.configure(vec![service(&[1, 2])], now);
    let changes = control.take_changes();
    let mut plane = Table::new();
    for change in &changes {
        match change {
            Change::AddServer(_, server) if server.id == id(2) => control.handle_refusal(change),
            other => assert!(plane.apply(other)),
        }
    }
    control.handle_snapshot(&plane, now);
    assert!(!control.take_reports().iter().any(|report| matches!(report, Report::Drift { .. })));
    assert_eq!(control.take_changes().len(), 1);
}

#[test]
fn a_preview_tells_what_a_reload_would_change_and_changes_nothing() {
    let mut bench = Bench::new(vec![service(&[1, 2, 3])]);
    bench.health(3, false);
    let mut other = service(&[1, 3, 4]);
    other.servers[0].weight = Weight::clamped(9);
    let preview = bench.control.preview(vec![other.clone()], bench.now);
    let words: Vec<String> = preview.iter().map(ToString::to_string).collect();
    assert_eq!(
        words,
        [
            "change real server 10.1.0.1:80 of TCP 10.0.0.1:80, weight 9",
            "change real server 10.1.0.2:80 of TCP 10.0.0.1:80, weight 0",
            "add real server 10.1.0.4:80 of TCP 10.0.0.1:80, weight 1"
        ]
    );
    assert_eq!(bench.act(), 0);
    bench.control.configure(vec![other], bench.now);
    assert_eq!(bench.control.take_changes(), preview);
}

#[test]
fn what_a_lost_plane_still_holds_of_ours_is_removed_when_it_is_seen_again() {
    let mut bench = Bench::new(vec![service(&[1])]);
    let before = bench.plane.clone();
    bench.control.configure(Vec::<Service>::new(), bench.now);
    bench.count(&[(1, 0)]);
    // The changes never arrived.
    bench.control.forget_plane();
    bench.control.handle_snapshot(&before, bench.now);
    bench.plane = before;
    assert_eq!(bench.act(), 1);
    assert!(bench.plane.is_empty());
    assert!(!bench.reports().iter().any(|report| report.contains("somebody else")));
}

#[derive(Clone, Debug)]
enum Step {
    Configure(Vec<u8>),
    Health(u8, bool),
    Administer(u8, u8),
    Count(u32),
    Pass(u64),
    Flush,
    Steal(u8),
    /// Whoever reconciles panics and starts anew.
    Restart,
    /// The plane fails in the middle of a reload: some of the changes were made, nobody knows which.
    Fail(Vec<u8>, usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        proptest::collection::btree_set(1_u8..6, 0..5).prop_map(|s| Step::Configure(s.into_iter().collect())),
        (1_u8..6, any::<bool>()).prop_map(|(last, up)| Step::Health(last, up)),
        (1_u8..6, 0_u8..4).prop_map(|(last, what)| Step::Administer(last, what)),
        (0_u32..2).prop_map(Step::Count),
        (1_u64..200).prop_map(Step::Pass),
        Just(Step::Flush),
        (1_u8..6).prop_map(Step::Steal),
        Just(Step::Restart),
        (proptest::collection::btree_set(1_u8..6, 0..5), 0_usize..4)
            .prop_map(|(servers, made)| Step::Fail(servers.into_iter().collect(), made)),
    ];
    proptest::collection::vec(step, 0..40)
}

proptest! {
    /// Whatever happens, the plane ends as it should be, and no step on the way takes a server out that is healthy, wanted
    /// and stays.
    #[test]
    fn any_history_ends_with_the_plane_as_desired(steps in steps(), with_sorry in any::<bool>()) {
        let settings = |servers: &[u8]| {
            let mut settings = service(servers);
            settings.sorry = sorry().filter(|_| with_sorry);
            settings.drain_deadline = Some(MINUTE);
            settings
        };
        let mut bench = Bench::new(vec![settings(&[1, 2, 3])]);
        let (mut configured, mut leaving) = (vec![1, 2, 3], Vec::new());
        for step in steps {
            let before = bench.plane.clone();
            leaving = bench.control.take_leaving().unwrap_or(leaving);
            match step.clone() {
                Step::Configure(servers) => {
                    bench.control.configure(vec![settings(&servers)], bench.now);
                    configured = servers;
                }
                Step::Restart => {
                    let draining = bench.leaving();
                    bench.control = Control::new();
                    bench.control.inherit(bench.plane.clone());
                    bench.control.configure(vec![settings(&configured)], bench.now);
                    bench.control.resume(leaving.clone(), bench.now);
                    bench.control.handle_snapshot(&bench.plane, bench.now);
                    prop_assert_eq!(bench.leaving(), draining);
                }
                Step::Health(last, up) => {
                    let health = if up { Health::up("connected") } else { Health::down("refused") };
                    // It may be configured or not.
                    let _unknown = bench.control.handle_health("web", id(last), health, bench.now);
                }
                Step::Administer(last, what) => {
                    let what = match what {
                        0 => Administration::Enabled,
                        1 => Administration::Drain { deadline: Some(MINUTE) },
                        2 => Administration::Disabled,
                        _ => Administration::Weight(Weight::clamped(3)),
                    };
                    let _unknown = bench.control.administer("web", id(last), what, bench.now);
                }
                Step::Count(active) => bench.count_held(active),
                Step::Pass(seconds) => {
                    bench.now += Duration::from_secs(seconds);
                    bench.control.handle_timeout(bench.now);
                }
                Step::Flush => {
                    bench.plane = Table::new();
                    bench.control.handle_snapshot(&bench.plane, bench.now);
                }
                Step::Fail(servers, made) => {
                    bench.control.configure(vec![settings(&servers)], bench.now);
                    configured = servers;
                    for change in bench.control.take_changes().iter().take(made) {
                        prop_assert!(bench.plane.apply(change), "{step:?}: {change}");
                    }
                    bench.control.forget_plane();
                    bench.control.handle_snapshot(&bench.plane, bench.now);
                }
                Step::Steal(last) => {
                    bench.plane.remove_server(&vip(), &id(last));
                    bench.control.handle_snapshot(&bench.plane, bench.now);
                }
            }
            let desired = bench.control.desired();
            for change in bench.control.take_changes() {
                prop_assert!(bench.plane.apply(&change), "{step:?}: {change}");
                for (service, entry) in before.entries() {
                    for server in entry.servers.keys().filter(|s| desired.server(service, s).is_some()) {
                        let gone = bench.plane.server(service, server).is_none();
                        let was_there = !matches!(step, Step::Flush | Step::Steal(_));
                        prop_assert!(!(gone && was_there), "{step:?} takes {server} out on its way");
                    }
                }
            }
            prop_assert_eq!(&bench.plane, &desired);
            bench.control.take_reports();
        }
        // Once nothing happens any more and connections have ended, nothing is done any more.
        let mut quiet = 0;
        for _ in 0..20 {
            bench.now += Duration::from_secs(200);
            bench.control.handle_timeout(bench.now);
            bench.control.handle_snapshot(&bench.plane, bench.now);
            let mut changes = bench.act();
            bench.count_held(0);
            changes += bench.act();
            quiet = if changes == 0 { quiet + 1 } else { 0 };
        }
        prop_assert!(quiet > 10, "it never comes to rest: {:?}", bench.plane);
        prop_assert!(!bench.control.wants_statistics(), "nobody waits for connections any more");
        prop_assert_eq!(&bench.plane, &bench.control.desired());
    }
}
