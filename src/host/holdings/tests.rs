use netlink_packet_core::Parseable;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};

use super::*;
use crate::host::desired::{Address, PROTOCOL, Prefix, Route, Rule, RuleAction};
use crate::host::netlink::rtm;
use buoy_vrrp::Family;

fn kernel() -> Kernel {
    let mut message = LinkMessage::default();
    message.header.index = 2;
    message.header.flags = LinkFlags::Up;
    message.attributes = vec![LinkAttribute::IfName("eth0".to_owned())];
    let mut kernel = Kernel::default();
    kernel.links.resync(&[message], &[]);
    kernel
}

fn address(ip: &str) -> Address {
    Address::plain(ip.parse().unwrap(), 24, "eth0".into())
}

fn route() -> Route {
    Route {
        family: Family::V4,
        destination: Prefix { ip: "10.1.0.0".parse().unwrap(), len: 16 },
        kind: 1,
        src: None,
        from: None,
        tos: 0,
        table: 254,
        protocol: PROTOCOL,
        scope: None,
        metric: None,
        dev: None,
        via: Some("10.0.0.2".parse().unwrap()),
        onlink: false,
        encap: None,
        expires: None,
        metrics: Vec::new(),
        congctl: None,
        pref: None,
        ttl_propagate: None,
        realms: None,
        next_hops: Vec::new(),
        insert: crate::host::desired::Insert::Prepend,
        tracked: true,
    }
}

fn rule() -> Rule {
    Rule {
        family: Family::V4,
        invert: false,
        from: None,
        to: None,
        priority: 100,
        tos: 0,
        fwmark: None,
        realms: None,
        suppress_prefix_len: None,
        suppress_group: None,
        iif: None,
        oif: None,
        tunnel_id: None,
        uid_range: None,
        l3mdev: false,
        protocol: PROTOCOL,
        ip_proto: None,
        sport: None,
        dport: None,
        action: RuleAction::Table(100),
        tracked: true,
    }
}

fn items(ips: &[&str]) -> Arc<Items> {
    Arc::new(Items {
        addresses: ips.iter().map(|ip| address(ip)).collect(),
        routes: vec![route()],
        rules: vec![rule()],
    })
}

fn router(name: &str) -> Owner {
    Owner::Router(name.into())
}

/// Plans, and lets the kernel agree to everything.
fn carry_out(holdings: &mut Holdings, kernel: &mut Kernel) -> Vec<u16> {
    let steps = holdings.plan(kernel);
    steps.iter().for_each(|step| holdings.record(step, None, kernel));
    steps.iter().map(|step| step.request.kind).collect()
}

fn delete(kernel: &mut Kernel, ip: &str) {
    let request = address::remove(&address(ip), 2);
    kernel.links.handle_address_gone(&AddressMessage::parse(&request.payload).unwrap());
}

#[test]
fn addresses_come_before_routes_before_rules() {
    let (mut holdings, mut kernel) = (Holdings::default(), kernel());
    holdings.want(router("b"), true, None, items(&["10.0.0.2"]));
    holdings.want(router("a"), true, None, items(&["10.0.0.1"]));
    let kinds = carry_out(&mut holdings, &mut kernel);
    let (address, route, rule) = (rtm::NEWADDR, rtm::NEWROUTE, rtm::NEWRULE);
    assert_eq!(kinds, [address, address, route, route, rule, rule]);
}

#[test]
fn what_two_routers_exchange_goes_before_it_comes() {
    let (mut holdings, mut kernel) = (Holdings::default(), kernel());
    holdings.want(router("a"), true, None, items(&["10.0.0.1"]));
    carry_out(&mut holdings, &mut kernel);
    holdings.absent(router("a"), None);
    holdings.want(router("b"), true, None, items(&["10.0.0.2"]));
    // Routes and rules are the same for both: the kernel's tables are not known here, so they are only added.
    let kinds = carry_out(&mut holdings, &mut kernel);
    assert_eq!(kinds, [rtm::DELADDR, rtm::NEWADDR, rtm::NEWROUTE, rtm::NEWRULE]);
}

#[test]
fn a_want_that_is_taken_back_before_it_was_planned_changes_nothing() {
    let (mut holdings, mut kernel) = (Holdings::default(), kernel());
    holdings.want(router("a"), true, None, items(&["10.0.0.1"]));
    holdings.absent(router("a"), None);
    assert!(carry_out(&mut holdings, &mut kernel).is_empty());
    holdings.forget(&router("a"));
    holdings.forget(&router("never heard of"));
    assert!(carry_out(&mut holdings, &mut kernel).is_empty());
}

fn only_addresses(ips: &[&str]) -> Arc<Items> {
    Arc::new(Items { addresses: ips.iter().map(|ip| address(ip)).collect(), ..Items::default() })
}

#[test]
fn a_loss_is_reported_once_until_the_item_was_there_again() {
    let (mut holdings, mut kernel) = (Holdings::default(), kernel());
    holdings.want(router("a"), true, None, only_addresses(&["10.0.0.1", "10.0.0.2"]));
    carry_out(&mut holdings, &mut kernel);
    assert!(!holdings.suspects(&kernel));
    for _ in 0..2 {
        delete(&mut kernel, "10.0.0.2");
        assert!(holdings.suspects(&kernel));
        let (steps, losses) = holdings.examine(&kernel, false);
        assert!(steps.is_empty());
        assert_eq!(losses.len(), 1);
        assert_eq!(losses[0].item.to_string(), "address 10.0.0.2/24 dev eth0");
        assert!(!holdings.suspects(&kernel));
        assert_eq!(holdings.examine(&kernel, false).1, []);
        assert!(holdings.retry(&kernel).is_empty(), "what to do is for the election to say");
        holdings.want(router("a"), true, None, only_addresses(&["10.0.0.1", "10.0.0.2"]));
        assert_eq!(carry_out(&mut holdings, &mut kernel), [rtm::NEWADDR]);
    }
}

#[test]
fn what_our_own_removal_took_along_is_put_back_and_no_loss() {
    let (mut holdings, mut kernel) = (Holdings::default(), kernel());
    holdings.want(router("a"), true, None, only_addresses(&["10.0.0.1"]));
    carry_out(&mut holdings, &mut kernel);
    delete(&mut kernel, "10.0.0.1");
    let (steps, losses) = holdings.examine(&kernel, true);
    assert_eq!((steps.len(), losses.len()), (1, 0));
}

#[test]
fn what_went_with_its_interface_waits_for_it() {
    let (mut holdings, mut kernel) = (Holdings::default(), kernel());
    holdings.want(router("a"), true, None, only_addresses(&["10.0.0.1"]));
    carry_out(&mut holdings, &mut kernel);
    kernel.links.handle_link_gone(2);
    assert_eq!(holdings.examine(&kernel, false).1, []);
    assert!(holdings.retry(&kernel).is_empty());
    let back = self::kernel();
    assert_eq!(holdings.retry(&back).len(), 1);
}

#[test]
fn a_refused_item_is_tried_again_and_not_called_lost() {
    let (mut holdings, mut kernel) = (Holdings::default(), kernel());
    holdings.want(router("a"), true, None, only_addresses(&["10.0.0.1"]));
    let steps = holdings.plan(&kernel);
    let refusal = Refusal { errno: Errno::EACCES, reason: None };
    holdings.record(&steps[0], Some(&refusal), &mut kernel);
    assert!(!holdings.suspects(&kernel));
    assert_eq!(holdings.examine(&kernel, false).1, []);
    assert_eq!(holdings.retry(&kernel).len(), 1);
}

#[test]
fn only_leased_addresses_that_are_there_are_renewed() {
    let (mut holdings, mut kernel) = (Holdings::default(), kernel());
    let lease = Some(Duration::from_secs(10));
    holdings.want(router("leased"), true, lease, only_addresses(&["10.0.0.1", "10.0.0.2"]));
    holdings.want(router("for ever"), true, None, only_addresses(&["10.0.0.3"]));
    carry_out(&mut holdings, &mut kernel);
    delete(&mut kernel, "10.0.0.2");
    assert_eq!(holdings.renewals(&router("leased"), &kernel).len(), 1);
    assert!(holdings.renewals(&router("for ever"), &kernel).is_empty());
    assert!(holdings.renewals(&router("nobody"), &kernel).is_empty());
}

fn held(ip: &str) -> Vec<HeldAddress> {
    address::once_put(&address(ip), 2, None).into_iter().collect()
}

#[test]
fn what_only_absent_owners_know_is_shunned_and_removed() {
    let (mut holdings, mut kernel) = (Holdings::default(), kernel());
    let dev = "eth0".into();
    holdings.want(router("a"), false, None, only_addresses(&["10.0.0.1", "10.0.0.2"]));
    holdings.want(router("b"), true, None, only_addresses(&["10.0.0.2"]));
    carry_out(&mut holdings, &mut kernel);
    assert!(holdings.shuns(&dev, &held("10.0.0.1")));
    assert!(!holdings.shuns(&dev, &held("10.0.0.2")), "the other router holds it");
    assert!(!holdings.shuns(&dev, &held("10.0.0.3")), "nobody knows it");
    held("10.0.0.1").into_iter().for_each(|held| kernel.links.note_added(2, held));
    holdings.drop_strays();
    assert_eq!(carry_out(&mut holdings, &mut kernel), [rtm::DELADDR]);
    assert!(kernel.links.address(2, "10.0.0.2".parse().unwrap(), 24).is_some());
    holdings.forget(&router("a"));
    assert!(!holdings.shuns(&dev, &held("10.0.0.1")), "nobody knows it any more");
    holdings.absent(router("b"), None);
    assert!(holdings.shuns(&dev, &held("10.0.0.2")));
}

#[test]
fn an_address_under_another_prefix_goes_and_the_exact_one_is_kept() {
    let under = |ip: &str, prefix_len| {
        address::once_put(&Address { prefix_len, ..address(ip) }, 2, None).expect("an address")
    };
    for present in [true, false] {
        let (mut holdings, mut kernel) = (Holdings::default(), kernel());
        let vip = "10.0.0.1".parse().unwrap();
        [32, 24, 16].into_iter().for_each(|len| kernel.links.note_added(2, under("10.0.0.1", len)));
        kernel.links.note_added(2, under("10.0.0.3", 32));
        holdings.want(router("a"), present, None, only_addresses(&["10.0.0.1"]));
        let removals = if present { 2 } else { 3 };
        assert_eq!(carry_out(&mut holdings, &mut kernel), vec![rtm::DELADDR; removals]);
        let left: Vec<u8> = kernel.links.under_any_prefix(2, vip).map(|held| held.prefix_len).collect();
        assert_eq!(left, if present { vec![24] } else { vec![] });
        assert!(kernel.links.address(2, "10.0.0.3".parse().unwrap(), 32).is_some(), "an address of nobody");

        kernel.links.note_added(2, under("10.0.0.1", 32));
        assert!(holdings.shuns(&"eth0".into(), &[under("10.0.0.1", 32)]));
        holdings.drop_strays();
        assert_eq!(carry_out(&mut holdings, &mut kernel), [rtm::DELADDR]);

        holdings.speak_from([vip].into());
        kernel.links.note_added(2, under("10.0.0.1", 32));
        holdings.drop_strays();
        assert!(carry_out(&mut holdings, &mut kernel).is_empty(), "the host's own address");
    }
}

#[test]
fn a_changed_prefix_of_an_address_is_one_removal_and_one_addition() {
    let (mut holdings, mut kernel) = (Holdings::default(), kernel());
    holdings.want(router("a"), true, None, only_addresses(&["10.0.0.1"]));
    carry_out(&mut holdings, &mut kernel);
    let single = Address { prefix_len: 32, ..address("10.0.0.1") };
    let items = Arc::new(Items { addresses: vec![single], ..Items::default() });
    holdings.want(router("a"), true, None, items);
    assert_eq!(carry_out(&mut holdings, &mut kernel), [rtm::DELADDR, rtm::NEWADDR]);
}
