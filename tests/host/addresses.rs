use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use buoy::host::desired::PROTOCOL;
use buoy::host::{Flow, Host, HostConfig, HostEvent, HostHandle, HostOptions, Items};
use buoy_vrrp::Family;

use crate::bench::{Bench, Recorder, address, addresses, has, in_namespace, ip, pair, sysctl};

/// Longer than any test takes, however busy the machine is.
const LEASE: Option<Duration> = Some(Duration::from_secs(1000));
/// Only to tell a moment from a standstill: other tests may have the processor.
const MOMENT: Duration = Duration::from_secs(20);

fn many(count: u8, subnet: u8) -> Vec<buoy::host::desired::Address> {
    (1..=count).map(|host| address(&format!("10.9.{subnet}.{host}/32"), "uplink")).collect()
}

#[test]
fn five_hundred_addresses_come_and_go_in_a_moment() {
    in_namespace(|| {
        let mut bench = Bench::new();
        let all = addresses([many(250, 1), many(250, 2)].concat());
        let begin = Instant::now();
        bench.install("main", all, LEASE);
        let added = begin.elapsed();
        assert_eq!(ip("-o -4 addr show dev uplink").lines().count(), 500);
        assert_eq!(bench.announced(), ["main".into()]);
        let begin = Instant::now();
        bench.handle.refresh_lease(&"main".into());
        assert_eq!(bench.changes_of_step(), 500);
        let refreshed = begin.elapsed();
        let begin = Instant::now();
        bench.handle.withdraw(&"main".into());
        bench.step();
        let removed = begin.elapsed();
        assert_eq!(ip("-o -4 addr show dev uplink"), "");
        println!(
            "500 addresses: added in {added:?}, leases refreshed in {refreshed:?}, removed in {removed:?}"
        );
        assert!(added < MOMENT, "took {added:?}");
        assert_eq!(bench.losses(), [] as [String; 0]);
    });
}

#[test]
fn an_identical_install_sends_nothing() {
    in_namespace(|| {
        let mut bench = Bench::new();
        let items = addresses([
            address("10.0.0.1/24", "uplink"),
            address("10.0.0.2/24", "uplink"),
            address("fd00::1/128", "uplink"),
            address("fe80::77/64", "second"),
        ]);
        bench.install("main", items.clone(), LEASE);
        assert!(has("uplink", "10.0.0.2/24") && has("uplink", "fd00::1/128"));
        bench.announced();
        bench.handle.install(&"main".into(), Arc::new(items), LEASE);
        assert_eq!(bench.changes_of_step(), 0);
        assert_eq!(bench.changes_of_step(), 0);
        assert_eq!(bench.announced(), [] as [Arc<str>; 0]);
    });
}

#[test]
fn a_reload_touches_only_what_differs() {
    in_namespace(|| {
        let mut bench = Bench::new();
        let (kept, old) = (address("10.0.0.1/24", "uplink"), address("10.0.0.2/24", "uplink"));
        bench.install("main", addresses([kept.clone(), old]), None);
        let mut labelled = address("10.0.0.3/24", "uplink");
        labelled.label = Some("uplink:vip".into());
        bench.handle.install(&"main".into(), Arc::new(addresses([kept, labelled])), None);
        assert_eq!(bench.changes_of_step(), 2);
        assert!(has("uplink", "10.0.0.1/24") && has("uplink", "10.0.0.3/24") && has("uplink", "uplink:vip"));
        assert!(!has("uplink", "10.0.0.2/24"));
    });
}

#[test]
fn a_changed_label_replaces_the_address() {
    in_namespace(|| {
        let mut bench = Bench::new();
        let mut vip = address("10.0.0.1/24", "uplink");
        bench.install("main", addresses([vip.clone()]), None);
        vip.label = Some("uplink:new".into());
        bench.install("main", addresses([vip]), None);
        assert!(has("uplink", "uplink:new"));
        assert_eq!(bench.losses(), [] as [String; 0]);
    });
}

#[test]
fn a_leased_address_disappears_by_itself_once_nobody_refreshes_it() {
    in_namespace(|| {
        let mut bench = Bench::new();
        let items = addresses([address("10.0.0.1/32", "uplink"), address("fd00::1/128", "uplink")]);
        bench.install("main", items, Some(Duration::from_millis(900)));
        // Like kill -9: nothing is removed.
        drop(bench);
        let mut witness = Bench::new();
        let index = witness.host.links().by_name("uplink").unwrap().index;
        witness.step_until(|links, _| {
            let vips: [IpAddr; 2] = ["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
            links.addresses(index).iter().all(|held| !vips.contains(&held.ip))
        });
        assert!(!has("uplink", "10.0.0.1/32") && !has("uplink", "fd00::1/128"));
    });
}

#[test]
fn a_refreshed_lease_lives_on() {
    in_namespace(|| {
        let mut bench = Bench::new();
        let items = addresses([
            address("10.0.0.1/32", "uplink"),
            address("fd00::1/128", "uplink"),
            address("fd00::2/64", "uplink"),
        ]);
        let (short, long) = (Duration::from_secs(100), Duration::from_secs(1000));
        bench.install("main", items.clone(), Some(short));
        assert!(lifetimes("10.0.0.1/32").0 <= 100);
        bench.install("main", items, Some(long));
        bench.handle.refresh_lease(&"main".into());
        assert_eq!(bench.changes_of_step(), 3);
        let fresh = 900..=1000;
        for (vip, single) in [("10.0.0.1/32", false), ("fd00::1/128", true), ("fd00::2/64", false)] {
            let (valid, preferred) = lifetimes(vip);
            assert!(fresh.contains(&valid), "{vip}: {valid}");
            assert!(if single { preferred == 0 } else { fresh.contains(&preferred) }, "{vip}: {preferred}");
        }
    });
}

/// Valid and preferred, in seconds.
fn lifetimes(vip: &str) -> (u32, u32) {
    let shown = ip("-o addr show dev uplink");
    let line = shown.lines().find(|line| line.split_whitespace().any(|word| word == vip)).unwrap();
    let after = |word: &str| {
        let text = line.split_whitespace().skip_while(|shown| *shown != word).nth(1).unwrap();
        text.trim_end_matches("sec").parse().unwrap()
    };
    (after("valid_lft"), after("preferred_lft"))
}

#[test]
fn left_over_addresses_are_cleared_unless_their_router_is_master() {
    in_namespace(|| {
        ip("addr add 10.0.0.1/24 dev uplink");
        ip("addr add 10.0.0.2/24 dev uplink");
        ip("addr add 10.0.0.9/24 dev uplink");
        let mut bench = Bench::new();
        let backup = Arc::new(addresses([address("10.0.0.1/24", "uplink")]));
        let master = Arc::new(addresses([address("10.0.0.2/24", "uplink")]));
        bench.handle.adopt_or_clear([("backup".into(), backup)]);
        bench.handle.install(&"master".into(), master, None);
        assert_eq!(bench.changes_of_step(), 1);
        assert!(!has("uplink", "10.0.0.1/24"));
        assert!(has("uplink", "10.0.0.2/24") && has("uplink", "10.0.0.9/24"));
        assert_eq!(bench.changes_of_step(), 0);
    });
}

#[test]
fn a_clean_start_changes_nothing() {
    in_namespace(|| {
        let mut bench = Bench::new();
        let items = Arc::new(addresses([address("10.0.0.1/24", "uplink"), address("10.0.0.1/24", "absent")]));
        bench.handle.adopt_or_clear([("main".into(), items)]);
        assert_eq!(bench.changes_of_step(), 0);
    });
}

#[test]
fn a_tracked_address_deleted_by_somebody_is_reported_and_left_to_the_election() {
    in_namespace(|| {
        let mut bench = Bench::new();
        let items = addresses([address("10.0.0.1/24", "uplink"), address("fd00::1/128", "uplink")]);
        bench.install("main", items.clone(), LEASE);
        for (deleted, text) in [("10.0.0.1/24", "10.0.0.1/24"), ("fd00::1/128", "fd00::1/128")] {
            bench.events();
            ip(&format!("addr del {deleted} dev uplink"));
            bench.step();
            assert_eq!(bench.losses(), [format!("address {text} dev uplink")]);
            bench.step();
            assert_eq!(bench.losses(), [] as [String; 0]);
        }
        assert!(!has("uplink", "10.0.0.1/24"));
        bench.install("main", items, LEASE);
        assert!(has("uplink", "10.0.0.1/24") && has("uplink", "fd00::1/128"));
    });
}

#[test]
fn untracked_and_static_addresses_are_put_back() {
    in_namespace(|| {
        let mut bench = Bench::new();
        let mut untracked = address("10.0.0.1/24", "uplink");
        untracked.tracked = false;
        bench.install("main", addresses([untracked]), None);
        let statics = Arc::new(addresses([address("10.1.0.1/24", "uplink")]));
        bench.handle.configure(Arc::new(HostConfig { statics, ..HostConfig::default() }));
        bench.step();
        for _ in 0..2 {
            ip("addr flush dev uplink scope global");
            bench.step();
            assert!(has("uplink", "10.0.0.1/24") && has("uplink", "10.1.0.1/24"));
        }
        assert_eq!(bench.losses(), [] as [String; 0]);
        bench.stop();
        assert!(!has("uplink", "10.0.0.1/24") && !has("uplink", "10.1.0.1/24"));
    });
}

#[test]
fn static_addresses_are_diffed_at_reload() {
    in_namespace(|| {
        let mut bench = Bench::new();
        let config = |texts: &[&str]| {
            let statics = Arc::new(addresses(texts.iter().map(|text| address(text, "uplink"))));
            Arc::new(HostConfig { statics, ..HostConfig::default() })
        };
        bench.handle.configure(config(&["10.0.0.1/24", "10.0.0.2/24"]));
        assert_eq!(bench.changes_of_step(), 2);
        bench.handle.configure(config(&["10.0.0.1/24", "10.0.0.2/24"]));
        assert_eq!(bench.changes_of_step(), 0);
        bench.handle.configure(config(&["10.0.0.2/24", "10.0.0.3/24"]));
        assert_eq!(bench.changes_of_step(), 2);
        assert!(!has("uplink", "10.0.0.1/24") && has("uplink", "10.0.0.3/24"));
    });
}

#[test]
fn an_interface_deleted_and_recreated_gets_its_addresses_back() {
    in_namespace(|| {
        let mut bench = Bench::new();
        let items = addresses([address("10.0.0.1/24", "uplink"), address("fd00::1/128", "uplink")]);
        bench.install("main", items, LEASE);
        let before = bench.host.links().by_name("uplink").unwrap().index;
        bench.events();
        ip("link del uplink");
        bench.step();
        let gone = HostEvent::LinkGone { name: "uplink".into(), index: before };
        let events = bench.events();
        assert!(events.contains(&gone), "{events:?}");
        assert!(!events.iter().any(|event| matches!(event, HostEvent::ItemLost { .. })), "{events:?}");
        bench.announced();
        pair("uplink");
        bench.step();
        assert_ne!(bench.host.links().by_name("uplink").unwrap().index, before);
        assert!(has("uplink", "10.0.0.1/24") && has("uplink", "fd00::1/128"));
        assert!(bench.announced().contains(&"main".into()));
    });
}

#[test]
fn an_interface_replaced_between_two_looks_heals_without_a_loss() {
    in_namespace(|| {
        let mut bench = Bench::new();
        let items = addresses([address("10.0.0.1/24", "uplink"), address("fd00::1/128", "uplink")]);
        bench.install("main", items, LEASE);
        ip("link del uplink");
        pair("uplink");
        bench.step();
        assert_eq!(bench.losses(), [] as [String; 0]);
        assert!(has("uplink", "10.0.0.1/24") && has("uplink", "fd00::1/128"));
        ip("link set uplink down");
        ip("link set uplink up");
        bench.step();
        assert_eq!(bench.losses(), [] as [String; 0]);
        assert!(has("uplink", "10.0.0.1/24") && has("uplink", "fd00::1/128"));
    });
}

#[test]
fn an_interface_that_comes_late_gets_its_addresses() {
    in_namespace(|| {
        let mut bench = Bench::new();
        bench.install("main", addresses([address("10.0.0.1/24", "late")]), LEASE);
        pair("late");
        bench.step();
        assert!(has("late", "10.0.0.1/24"));
    });
}

#[test]
fn a_link_that_goes_down_is_no_loss_and_heals() {
    in_namespace(|| {
        let mut bench = Bench::new();
        let items = addresses([address("10.0.0.1/24", "uplink"), address("fd00::1/128", "uplink")]);
        bench.install("main", items, LEASE);
        ip("link set uplink down");
        bench.step();
        assert!(!bench.host.links().carries("uplink"));
        ip("link set uplink up");
        bench.step();
        assert_eq!(bench.losses(), [] as [String; 0]);
        assert!(has("uplink", "10.0.0.1/24") && has("uplink", "fd00::1/128"));
    });
}

#[test]
fn a_rename_is_a_new_interface() {
    in_namespace(|| {
        let mut bench = Bench::new();
        bench.install("main", addresses([address("10.0.0.1/24", "uplink")]), LEASE);
        bench.events();
        ip("link set uplink down");
        ip("link set uplink name other");
        ip("link set other up");
        bench.step();
        let events = bench.events();
        let gone = events
            .iter()
            .position(|event| matches!(event, HostEvent::LinkGone { name, .. } if &**name == "uplink"));
        let new =
            events.iter().position(|event| matches!(event, HostEvent::Link(link) if &*link.name == "other"));
        assert!(gone.unwrap() < new.unwrap(), "{events:?}");
        assert!(bench.host.links().by_name("uplink").is_none());
    });
}

#[test]
fn removing_the_first_address_of_a_subnet_leaves_the_others() {
    in_namespace(|| {
        let mut bench = Bench::new();
        std::fs::write("/proc/sys/net/ipv4/conf/uplink/promote_secondaries", "0").unwrap();
        std::fs::write("/proc/sys/net/ipv4/conf/all/promote_secondaries", "0").unwrap();
        bench.install("first", addresses([address("10.0.0.1/24", "uplink")]), None);
        bench.install("second", addresses([address("10.0.0.2/24", "uplink")]), None);
        ip("addr add 10.0.0.9/24 dev uplink");
        bench.handle.withdraw(&"first".into());
        bench.step();
        assert!(!has("uplink", "10.0.0.1/24"));
        assert!(has("uplink", "10.0.0.2/24") && has("uplink", "10.0.0.9/24"));
        assert_eq!(bench.losses(), [] as [String; 0]);
        assert_eq!(sysctl("ipv4/conf/uplink/promote_secondaries"), "0");
    });
}

#[test]
fn an_address_wanted_by_two_stays_until_both_let_go() {
    in_namespace(|| {
        let mut bench = Bench::new();
        let shared = || addresses([address("10.0.0.1/24", "uplink")]);
        bench.install("old-name", shared(), None);
        bench.handle.install(&"new-name".into(), Arc::new(shared()), None);
        bench.handle.forget(&"old-name".into());
        assert_eq!(bench.changes_of_step(), 0);
        assert!(has("uplink", "10.0.0.1/24"));
        bench.handle.withdraw(&"new-name".into());
        assert_eq!(bench.changes_of_step(), 1);
        assert!(!has("uplink", "10.0.0.1/24"));
    });
}

#[test]
fn an_overrun_of_notifications_loses_nothing() {
    in_namespace(|| {
        // The smallest buffer that the kernel grants holds a few notifications.
        let mut bench = Bench::with(&HostOptions { monitor_buffer: 1 });
        bench.install("main", addresses([address("10.0.0.1/24", "uplink")]), None);
        bench.events();
        for host in 1..=100 {
            ip(&format!("addr add 10.5.0.{host}/32 dev second"));
        }
        ip("addr del 10.0.0.1/24 dev uplink");
        bench.step();
        let index = bench.host.links().by_name("second").unwrap().index;
        let v4 = bench.host.links().addresses(index).iter().filter(|held| held.ip.is_ipv4()).count();
        assert_eq!(v4, 100);
        assert_eq!(bench.losses(), ["address 10.0.0.1/24 dev uplink"]);
    });
}

#[test]
fn every_option_of_an_address_reaches_the_kernel() {
    in_namespace(|| {
        let mut bench = Bench::new();
        let mut v4 = address("10.0.0.1/24", "uplink");
        v4.broadcast = Some("10.0.0.255".parse().unwrap());
        v4.scope = Some(253);
        v4.label = Some("uplink:1".into());
        v4.noprefixroute = true;
        let mut point = address("10.2.0.1/32", "uplink");
        point.peer = Some("10.2.0.2".parse().unwrap());
        let mut v6 = address("fd00::1/64", "uplink");
        v6.home = true;
        v6.mngtmpaddr = true;
        v6.preferred = Some(1000);
        let mut single = address("fd00::2/128", "uplink");
        single.preferred = Some(u32::MAX);
        let items = addresses([v4, point, v6, single]);
        bench.install("main", items.clone(), None);
        let shown = ip("addr show dev uplink");
        for expected in [
            "inet 10.0.0.1/24 brd 10.0.0.255 scope link noprefixroute uplink:1",
            "inet 10.2.0.1 peer 10.2.0.2/32 scope global uplink",
            "inet6 fd00::1/64 scope global nodad home mngtmpaddr",
            "inet6 fd00::2/128 scope global nodad",
        ] {
            assert!(shown.contains(expected), "{expected} not in\n{shown}");
        }
        assert!(
            shown.contains("valid_lft forever preferred_lft 1000sec") || shown.contains("preferred_lft 9"),
            "{shown}"
        );
        bench.handle.install(&"main".into(), Arc::new(items), None);
        assert_eq!(bench.changes_of_step(), 0);
        let protocols: Vec<_> = bench
            .host
            .links()
            .addresses(bench.host.links().by_name("uplink").unwrap().index)
            .iter()
            .filter(|held| held.ip.is_ipv4())
            .map(|held| held.protocol)
            .collect();
        assert_eq!(protocols, [Some(PROTOCOL), Some(PROTOCOL)]);
    });
}

#[test]
fn a_refused_address_does_not_keep_the_others_away() {
    in_namespace(|| {
        let mut bench = Bench::new();
        std::fs::write("/proc/sys/net/ipv6/conf/uplink/disable_ipv6", "1").unwrap();
        let items = addresses([address("fd00::1/128", "uplink"), address("10.0.0.1/24", "uplink")]);
        bench.install("main", items, LEASE);
        assert!(has("uplink", "10.0.0.1/24") && !has("uplink", "fd00::1/128"));
        assert_eq!(bench.losses(), [] as [String; 0]);
        std::fs::write("/proc/sys/net/ipv6/conf/uplink/disable_ipv6", "0").unwrap();
        ip("link set uplink mtu 1400");
        bench.step();
        assert!(has("uplink", "fd00::1/128"));
    });
}

#[test]
fn hundreds_of_refusals_are_each_told_from_what_succeeds() {
    in_namespace(|| {
        let mut bench = Bench::new();
        std::fs::write("/proc/sys/net/ipv6/conf/uplink/disable_ipv6", "1").unwrap();
        let refused = |host: u32| address(&format!("fd00::{host:x}/128"), "uplink");
        let taken = |host: u32| address(&format!("10.3.{}.{}/32", host / 250, host % 250), "uplink");
        let all = addresses((1..=600).flat_map(|host| [refused(host), taken(host)]));
        bench.install("main", all.clone(), LEASE);
        assert_eq!(ip("-o -4 addr show dev uplink").lines().count(), 600);
        bench.step();
        assert_eq!(bench.losses(), [] as [String; 0]);
        std::fs::write("/proc/sys/net/ipv6/conf/uplink/disable_ipv6", "0").unwrap();
        bench.handle.install(&"main".into(), Arc::new(all), LEASE);
        assert_eq!(bench.changes_of_step(), 600);
        bench.handle.forget(&"main".into());
        assert_eq!(bench.changes_of_step(), 1200);
        assert_eq!(ip("-o -4 addr show dev uplink"), "");
    });
}

#[test]
fn the_source_is_the_first_address_that_is_no_vip() {
    in_namespace(|| {
        ip("addr add 192.0.2.1/24 dev uplink");
        ip("addr add 192.0.2.2/24 dev uplink");
        ip("addr add 198.51.100.1/24 dev uplink");
        let bench = Bench::new();
        let links = bench.host.links();
        let source = |family, vips: &[&str]| {
            let vips: HashSet<IpAddr> = vips.iter().map(|vip| vip.parse().unwrap()).collect();
            links.usable_source("uplink", family, &vips).map(|ip| ip.to_string())
        };
        assert_eq!(source(Family::V4, &[]).as_deref(), Some("192.0.2.1"));
        assert_eq!(source(Family::V4, &["192.0.2.1"]).as_deref(), Some("198.51.100.1"));
        assert_eq!(source(Family::V4, &["192.0.2.1", "198.51.100.1"]), None);
        let link_local = source(Family::V6, &[]).unwrap();
        assert!(link_local.starts_with("fe80::"));
        assert_eq!(source(Family::V6, &[&link_local]), None);
        assert_eq!(links.usable_source("absent", Family::V4, &HashSet::new()), None);
    });
}

#[test]
fn a_restarted_host_takes_up_where_the_old_one_failed() {
    in_namespace(|| {
        let mut bench = Bench::new();
        bench.handle.adopt_or_clear([("b".into(), Arc::new(addresses([address("10.0.0.2/24", "uplink")])))]);
        bench.install("a", addresses([address("10.0.0.1/24", "uplink")]), LEASE);
        bench.install("c", addresses([address("10.0.0.3/24", "uplink")]), LEASE);
        bench.handle.withdraw(&"c".into());
        ip("addr add 10.0.0.2/24 dev uplink");
        bench.restart();
        assert_eq!(bench.changes_of_step(), 2);
        assert!(has("uplink", "10.0.0.1/24"));
        assert!(!has("uplink", "10.0.0.2/24") && !has("uplink", "10.0.0.3/24"));
        ip("addr del 10.0.0.1/24 dev uplink");
        bench.step();
        assert_eq!(bench.losses(), ["address 10.0.0.1/24 dev uplink"]);
        bench.install("a", addresses([address("10.0.0.1/24", "uplink")]), LEASE);
        bench.handle.stop();
        bench.restart();
        assert_eq!(bench.step(), Flow::Stopped);
        assert!(!has("uplink", "10.0.0.1/24"));
    });
}

#[test]
fn a_host_on_its_own_thread_works_for_others_until_stopped() {
    in_namespace(|| {
        let handle = HostHandle::new();
        handle.install(&"main".into(), Arc::new(addresses([address("10.0.0.1/24", "uplink")])), LEASE);
        let installed = handle.barrier();
        let worker = {
            let handle = handle.clone();
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let host = Host::open(Recorder::default(), &HostOptions::default(), &handle).unwrap();
                    host.run().await.unwrap();
                });
            })
        };
        installed.recv().unwrap();
        assert!(has("uplink", "10.0.0.1/24"));
        let begin = Instant::now();
        handle.withdraw(&"main".into());
        handle.barrier().recv().unwrap();
        println!("one address withdrawn through the other thread in {:?}", begin.elapsed());
        assert!(!has("uplink", "10.0.0.1/24"));
        handle.install(&"main".into(), Arc::new(addresses([address("10.0.0.1/24", "uplink")])), LEASE);
        handle.stop();
        worker.join().unwrap();
        assert!(!has("uplink", "10.0.0.1/24"));
    });
}

#[test]
fn a_thousand_leases_are_refreshed_in_a_moment() {
    in_namespace(|| {
        let mut bench = Bench::new();
        for router in 0..100_u8 {
            let own = (1..=10).map(|host| address(&format!("10.8.{router}.{host}/32"), "uplink"));
            let name = format!("router-{router}").into();
            bench.handle.install(&name, Arc::new(addresses(own)), LEASE);
        }
        assert_eq!(bench.changes_of_step(), 1000);
        bench.step();
        bench.events();
        let begin = Instant::now();
        for router in 0..100_u8 {
            bench.handle.refresh_lease(&format!("router-{router}").into());
        }
        assert_eq!(bench.changes_of_step(), 1000);
        println!("1,000 leases refreshed in {:?}", begin.elapsed());
        bench.step();
        assert_eq!(bench.events(), []);
        bench.handle.refresh_lease(&"router-5".into());
        assert_eq!(bench.changes_of_step(), 10);
    });
}

#[test]
fn a_barrier_opens_when_the_work_before_it_is_done() {
    in_namespace(|| {
        let mut bench = Bench::new();
        bench.handle.install(&"main".into(), Arc::new(Items::default()), None);
        let barrier = bench.handle.barrier();
        assert!(barrier.try_recv().is_err());
        bench.step();
        barrier.try_recv().unwrap();
    });
}
