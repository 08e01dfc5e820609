//! A killed run cleans up nothing; the next one does, whatever it is told to hold itself.

use std::sync::Arc;

use buoy::host::desired::{NextHop, RuleAction};
use buoy::host::{HostConfig, Items, LinkLocal, VmacSpec};
use buoy_vrrp::Family;

use crate::bench::{Bench, address, addresses, has, in_namespace, ip, run};
use crate::options::{ground, rule, show_routes, show_rules, via};

fn vmac(name: &str) -> VmacSpec {
    VmacSpec {
        name: name.into(),
        parent: "uplink".into(),
        mac: [0, 0, 0x5e, 0, 2, 51],
        family: Family::V6,
        ipv6: true,
        source: LinkLocal::OfParent,
        group: None,
    }
}

fn items() -> Items {
    let hop = |gateway: &str, weight| NextHop {
        via: gateway.parse().ok(),
        dev: Some("uplink".into()),
        weight,
        onlink: false,
        encap: None,
        realms: None,
    };
    let mut many = via("10.2.0.0/16", "10.0.0.2");
    (many.via, many.next_hops) = (None, vec![hop("10.0.0.2", 3), hop("10.0.0.3", 1)]);
    let mut many_six = via("fd02::/64", "fd00::2");
    (many_six.via, many_six.next_hops) = (None, vec![hop("fd00::2", 1), hop("fd00::3", 5)]);
    let mut elsewhere = via("10.3.0.0/16", "10.0.0.2");
    elsewhere.table = 1000;
    let mut black = via("10.4.0.0/16", "10.0.0.2");
    (black.via, black.kind) = (None, 6);
    let mut from = rule(100, RuleAction::Table(1000));
    (from.invert, from.fwmark) = (true, Some((7, None)));
    let mut six = rule(101, RuleAction::Table(50));
    (six.family, six.ip_proto, six.dport) = (Family::V6, Some(6), Some((80, 90)));
    let mut addresses = ground();
    addresses.push(address("10.0.0.77/32", "vrrp.51"));
    let mut point = address("10.5.0.1/32", "second");
    point.peer = Some("10.5.0.2".parse().unwrap());
    addresses.push(point);
    let routes =
        vec![via("10.1.0.0/16", "10.0.0.2"), via("fd01::/64", "fd00::2"), many, many_six, elsewhere, black];
    Items { addresses, routes, rules: vec![from, six] }
}

fn shown() -> [String; 4] {
    let permanent = |line: &&str| !line.contains("fe80::");
    let all = ip("-o addr show");
    let addresses: Vec<&str> = all.lines().filter(permanent).collect();
    [ip("-o -br link show"), addresses.join("\n"), show_routes(), show_rules()]
}

fn killed_run(vmacs: Vec<VmacSpec>, items: Items) {
    let mut bench = Bench::new();
    bench.handle.configure(Arc::new(HostConfig { vmacs, ..HostConfig::default() }));
    bench.install("main", items, None);
    bench.kill();
}

#[test]
fn nothing_of_a_killed_run_is_left_once_a_run_without_configuration_has_started() {
    in_namespace(|| {
        let before = shown();
        killed_run(vec![vmac("vrrp.51")], items());
        let left = shown();
        assert!(
            left[0].contains("vrrp.51") && left[1].contains("10.5.0.1") && left[2].contains("10.4.0.0/16")
        );
        assert!(left[2].contains("fd02::/64") && left[3].contains("101:"), "{left:#?}");
        let mut next = Bench::new();
        next.handle.configure(Arc::default());
        next.step();
        assert_eq!(shown(), before);
        assert_eq!(next.changes_of_step(), 0);
    });
}

#[test]
fn what_the_next_configuration_names_is_adopted_and_only_the_rest_goes() {
    in_namespace(|| {
        killed_run(vec![vmac("vrrp.51")], items());
        let all = items();
        let kept = Items {
            addresses: all.addresses.iter().take(3).cloned().collect(),
            routes: all.routes.iter().skip(1).cloned().collect(),
            rules: all.rules.iter().take(1).cloned().collect(),
        };
        let mut next = Bench::new();
        next.handle.configure(Arc::new(HostConfig { vmacs: vec![vmac("vrrp.51")], ..HostConfig::default() }));
        next.handle.install(&"other name".into(), Arc::new(kept), None);
        assert_eq!(next.changes_of_step(), 3, "one address, one route and one rule go");
        let [links, addresses, routes, rules] = shown();
        assert!(
            links.contains("vrrp.51") && addresses.contains("10.0.0.77") && !addresses.contains("10.5.0.1")
        );
        assert!(routes.contains("fd02::/64") && !routes.contains("10.1.0.0/16"));
        assert!(rules.contains("100:") && !rules.contains("101:"));
    });
}

#[test]
fn a_virtual_mac_interface_under_a_former_name_makes_room() {
    in_namespace(|| {
        killed_run(vec![vmac("vrrp.51")], Items::default());
        let mut next = Bench::new();
        next.handle.configure(Arc::new(HostConfig { vmacs: vec![vmac("vip0")], ..HostConfig::default() }));
        next.step();
        let links = ip("-o link show");
        assert!(!links.contains("vrrp.51"), "{links}");
        assert!(links.lines().any(|line| line.contains("vip0@uplink") && line.contains(",UP")), "{links}");
    });
}

#[test]
fn what_others_made_is_left_alone() {
    in_namespace(|| {
        ip("addr add 10.0.0.1/24 dev uplink");
        ip("addr add 10.0.0.9/24 dev uplink");
        ip("route add 10.1.0.0/16 via 10.0.0.2 proto 18");
        ip("route add 10.2.0.0/16 via 10.0.0.2 proto static");
        ip("rule add pref 100 table 1000 protocol 18");
        ip("link add link uplink name vrrp.51 address 00:00:5e:00:01:33 type macvlan mode private");
        ip("link add link uplink name named type macvlan mode private");
        run("ip", &["link", "set", "named", "alias", "the operator's"]);
        let before = shown();
        let mut bench = Bench::new();
        bench.handle.configure(Arc::default());
        assert_eq!(bench.changes_of_step(), 0);
        assert_eq!(shown(), before);
    });
}

#[test]
fn beside_another_buoy_nothing_is_swept() {
    in_namespace(|| {
        let mut first = Bench::new();
        first.handle.configure(Arc::default());
        first.install("main", addresses([address("10.0.0.1/24", "uplink")]), None);
        let mut second = Bench::new();
        second.handle.configure(Arc::default());
        assert_eq!(second.changes_of_step(), 0);
        assert!(has("uplink", "10.0.0.1/24"));
        drop(first);
        second.kill();
        let mut third = Bench::new();
        third.handle.configure(Arc::default());
        third.step();
        assert!(!has("uplink", "10.0.0.1/24"), "both are gone");
    });
}
