use super::*;
use crate::host::desired::{Prefix, RouteMetric};

fn route(encap: Option<Encap>) -> Route {
    Route {
        family: Family::V4,
        destination: Prefix { ip: "10.1.0.0".parse().unwrap(), len: 16 },
        kind: RTN_UNICAST,
        src: None,
        from: None,
        tos: 0,
        table: 254,
        protocol: 18,
        scope: None,
        metric: None,
        dev: None,
        via: Some("10.0.0.2".parse().unwrap()),
        onlink: false,
        encap,
        expires: None,
        metrics: Vec::new(),
        congctl: None,
        pref: None,
        ttl_propagate: None,
        realms: None,
        next_hops: Vec::new(),
        insert: Insert::Prepend,
        tracked: true,
    }
}

fn held(route: &Route) -> HeldRoute {
    expected(route, &Links::default()).unwrap()
}

#[test]
fn a_label_stack_ends_with_the_bottom_bit() {
    let labels = held(&route(Some(Encap::Mpls { labels: vec![100, 0xfffff] })));
    // RFC 3032 §2.1: 20 bits of label, 3 of traffic class, the bottom-of-stack bit, 8 of TTL; in one attribute
    // of 12 bytes, number 1.
    let stack = [12, 0, 1, 0, 0x00, 0x06, 0x40, 0x00, 0xff, 0xff, 0xf1, 0x00];
    assert_eq!(labels.attributes.get(&RTA_ENCAP).unwrap()[..], stack);
    assert_eq!(labels.attributes.get(&RTA_ENCAP_TYPE).unwrap()[..], [1, 0]);
}

#[test]
fn a_locator_is_in_network_order() {
    let ila = held(&route(Some(Encap::Ila { locator: 0x0001_0002_0003_0004 })));
    assert_eq!(ila.attributes.get(&RTA_ENCAP).unwrap()[..], [12, 0, 1, 0, 0, 1, 0, 2, 0, 3, 0, 4]);
    assert_eq!(ila.attributes.get(&RTA_ENCAP_TYPE).unwrap()[..], [3, 0]);
}

#[test]
fn a_route_with_more_or_other_properties_is_another_one() {
    let wanted = held(&route(None));
    assert!(satisfies(&wanted, &wanted));
    let mut others = vec![route(Some(Encap::Ila { locator: 1 })), route(None), route(None), route(None)];
    others[1].tos = 8;
    others[2].metrics = vec![RouteMetric { rtax: 2, value: 1400, locked: true }];
    others[3].via = Some("10.0.0.3".parse().unwrap());
    for other in others {
        let other = held(&other);
        assert!(!satisfies(&other, &wanted) && !satisfies(&wanted, &other));
    }
}

#[test]
fn what_the_kernel_adds_by_itself_makes_no_difference() {
    let wanted = held(&route(None));
    let mut found = wanted.clone();
    found.attributes.insert(RTA_OIF, vec![2, 0, 0, 0]);
    found.attributes.insert(RTA_PRIORITY, vec![0, 4, 0, 0]);
    found.header[8] |= 16;
    assert!(satisfies(&found, &wanted));
}

#[test]
fn a_route_without_its_interface_names_what_is_missing() {
    let mut missing = route(None);
    missing.dev = Some("absent".into());
    assert_eq!(expected(&missing, &Links::default()), Err(NoSuchDevice("absent".into())));
}

#[test]
fn mangled_messages_are_read_without_harm() {
    let bytes = emit(&message(&route(Some(Encap::Mpls { labels: vec![7] })), &Links::default()).unwrap());
    for length in 0..bytes.len() {
        let read = HeldRoute::read(&bytes[..length]);
        assert_eq!(read.is_some(), length >= HEADER_LEN);
    }
    for position in 0..bytes.len() {
        let mut bytes = bytes.clone();
        bytes[position] = 0xff;
        let read = HeldRoute::read(&bytes).unwrap();
        // A cut tail may well leave what was wanted; the header of another route does not.
        let same = satisfies(&read, &held(&route(None)));
        assert!(!same || position > 7, "{position}");
    }
    assert!(split_next_hops(&[7, 0, 0, 0, 0, 0, 0, 0]).is_empty());
    assert!(split_next_hops(&[0xff; 9]).is_empty());
}
