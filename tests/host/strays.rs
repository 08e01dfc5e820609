//! What is where nobody wants it goes at once: after a rename, and on a router that is not master.

use std::sync::Arc;

use buoy::host::{HostConfig, Items, LinkLocal, VmacSpec};
use buoy_vrrp::Family;

use crate::bench::{Bench, address, addresses, has, in_namespace, ip};
use crate::options::{ground, rule, show_routes, show_rules, via};
use buoy::host::desired::RuleAction;

/// Permanent, so that no lease hides what stays behind.
const FOR_EVER: Option<std::time::Duration> = None;

fn everything() -> Items {
    Items {
        addresses: ground(),
        routes: vec![via("10.1.0.0/16", "10.0.0.2")],
        rules: vec![rule(100, RuleAction::Table(1000))],
    }
}

#[test]
fn a_renamed_interface_loses_the_addresses_and_routes_that_went_along() {
    in_namespace(|| {
        let mut bench = Bench::new();
        let mut direct = via("10.7.0.0/16", "10.0.0.2");
        direct.dev = Some("uplink".into());
        let items = Items { routes: vec![direct], ..addresses([address("10.0.0.1/24", "uplink")]) };
        // Its first address is not ours: what hangs on it stays.
        ip("addr add 10.0.0.9/24 dev uplink");
        bench.install("main", items, FOR_EVER);
        assert!(show_routes().contains("10.7.0.0/16"));
        ip("link set uplink name other");
        assert!(has("other", "10.0.0.1/24"), "the kernel renames with the address in place");
        bench.step();
        assert!(!has("other", "10.0.0.1/24") && has("other", "10.0.0.9/24"));
        assert!(!show_routes().contains("10.7.0.0/16"), "{}", show_routes());
        assert_eq!(bench.losses(), [] as [String; 0]);
        ip("link set other name uplink");
        bench.step();
        assert!(has("uplink", "10.0.0.1/24") && show_routes().contains("10.7.0.0/16"));
        assert_eq!(bench.changes_of_step(), 0);
    });
}

#[test]
fn a_rename_seen_after_the_name_was_taken_again_moves_the_address_to_the_new_bearer() {
    in_namespace(|| {
        let mut bench = Bench::new();
        bench.install("main", addresses([address("10.0.0.1/24", "uplink")]), FOR_EVER);
        ip("link set uplink name first");
        ip("link set first name other");
        ip("link set second name uplink");
        bench.step();
        assert!(!has("other", "10.0.0.1/24") && has("uplink", "10.0.0.1/24"));
        assert_eq!(bench.losses(), [] as [String; 0]);
    });
}

#[test]
fn an_address_that_another_router_wants_under_the_new_name_stays() {
    in_namespace(|| {
        let mut bench = Bench::new();
        bench.install("old", addresses([address("10.0.0.1/24", "uplink")]), FOR_EVER);
        bench.install("new", addresses([address("10.0.0.1/24", "other")]), FOR_EVER);
        ip("link set uplink name other");
        assert_eq!(bench.changes_of_step(), 0);
        assert!(has("other", "10.0.0.1/24"));
    });
}

#[test]
fn renamed_virtual_mac_interfaces_are_made_anew_and_those_of_a_renamed_parent_go_at_the_end() {
    in_namespace(|| {
        let spec = VmacSpec {
            name: "vrrp.51".into(),
            parent: "uplink".into(),
            mac: [0, 0, 0x5e, 0, 1, 51],
            family: Family::V4,
            ipv6: false,
            source: LinkLocal::NotNeeded,
            group: None,
        };
        let mut bench = Bench::new();
        bench.handle.configure(Arc::new(HostConfig { vmacs: vec![spec], ..HostConfig::default() }));
        bench.install("main", addresses([address("10.0.0.1/32", "vrrp.51")]), FOR_EVER);
        ip("link set vrrp.51 name elsewhere");
        bench.step();
        assert!(has("vrrp.51", "10.0.0.1/32"));
        assert!(!ip("link").contains("elsewhere"));
        ip("link set uplink name other");
        bench.step();
        bench.stop();
        assert!(!ip("link").contains("vrrp.51"));
    });
}

#[test]
fn what_somebody_puts_on_a_backup_is_removed() {
    in_namespace(|| {
        let (routes, rules) = (show_routes(), show_rules());
        let mut bench = Bench::new();
        bench.handle.adopt_or_clear([("backup".into(), Arc::new(everything()))]);
        assert_eq!(bench.changes_of_step(), 0);
        for _ in 0..2 {
            ip("addr add 10.0.0.1/24 dev uplink");
            ip("addr add fd00::1/64 dev uplink");
            bench.step();
            assert!(!has("uplink", "10.0.0.1/24") && !has("uplink", "fd00::1/64"));
            assert_eq!(bench.changes_of_step(), 0);
        }
        ip("addr add 10.0.0.3/24 dev uplink");
        ip("route add 10.1.0.0/16 via 10.0.0.2 proto 112");
        ip("rule add pref 100 table 1000 protocol 112");
        bench.step();
        assert!(has("uplink", "10.0.0.3/24"), "an address of nobody");
        ip("addr del 10.0.0.3/24 dev uplink");
        bench.step();
        assert_eq!((show_routes(), show_rules()), (routes, rules));
        assert_eq!(bench.losses(), [] as [String; 0]);
    });
}

#[test]
fn an_address_of_a_router_that_is_master_here_is_no_stray() {
    in_namespace(|| {
        let mut bench = Bench::new();
        let shared = || addresses([address("10.0.0.1/24", "uplink")]);
        bench.handle.adopt_or_clear([("backup".into(), Arc::new(shared()))]);
        bench.install("master", shared(), FOR_EVER);
        ip("addr change 10.0.0.1/24 dev uplink valid_lft 500 preferred_lft 500");
        ip("addr add 10.0.0.2/24 dev uplink");
        assert_eq!(bench.changes_of_step(), 0);
        assert!(has("uplink", "10.0.0.1/24"));
        // As backup it becomes a master before the address comes, and no backup before it goes.
        bench.install("backup", shared(), FOR_EVER);
        bench.handle.withdraw(&"master".into());
        bench.step();
        assert!(has("uplink", "10.0.0.1/24"));
    });
}

#[test]
fn an_interface_that_comes_with_an_address_of_a_backup_loses_it() {
    in_namespace(|| {
        let mut bench = Bench::new();
        let items = Arc::new(addresses([address("10.0.0.1/24", "late")]));
        bench.handle.adopt_or_clear([("backup".into(), items)]);
        ip("addr add 10.0.0.1/24 dev uplink");
        bench.step();
        assert!(has("uplink", "10.0.0.1/24"));
        ip("link set uplink name late");
        bench.step();
        assert!(!has("late", "10.0.0.1/24"));
    });
}

#[test]
fn a_vip_under_another_prefix_is_removed_from_a_backup_and_replaced_on_a_master() {
    in_namespace(|| {
        // What an earlier keepalived left, and what is the host's own.
        ip("addr add 10.0.0.1/32 dev uplink");
        ip("addr add 10.0.0.9/24 dev uplink");
        let mut bench = Bench::new();
        let items = || addresses([address("10.0.0.1/24", "uplink"), address("fd00::1/64", "uplink")]);
        bench.handle.adopt_or_clear([("main".into(), Arc::new(items()))]);
        bench.step();
        let clean = || !["10.0.0.1/32", "10.0.0.1/24", "fd00::1/128"].iter().any(|held| has("uplink", held));
        assert!(clean(), "left by an earlier run");
        for _ in 0..2 {
            ip("addr add 10.0.0.1/32 dev uplink");
            ip("addr add fd00::1/128 dev uplink");
            bench.step();
            assert!(clean(), "put on a backup");
            assert_eq!(bench.changes_of_step(), 0);
        }
        ip("addr add fd00::1/128 dev uplink");
        bench.install("main", items(), FOR_EVER);
        let held = || has("uplink", "10.0.0.1/24") && has("uplink", "fd00::1/64");
        assert!(held() && !has("uplink", "fd00::1/128"), "there before the master came");
        ip("addr add 10.0.0.1/32 dev uplink");
        bench.step();
        assert!(held() && !has("uplink", "10.0.0.1/32"), "put on a master");
        assert_eq!(bench.changes_of_step(), 0);
        assert_eq!(bench.losses(), [] as [String; 0]);
        bench.stop();
        assert!(clean() && has("uplink", "10.0.0.9/24"));
    });
}
