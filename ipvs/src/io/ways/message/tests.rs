//! Messages as the kernel lays them out, and such as it does not.

use proptest::prelude::*;

use super::*;

/// Pads as netlink does.
fn attribute_bytes(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len() + 4).unwrap();
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn route_bytes(family: i32, len: u8, kind: u8, flags: u32, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![u8::try_from(family).unwrap(), len, 0, 0, libc::RT_TABLE_MAIN, 0, 0, kind];
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(attributes.iter().flat_map(|(kind, value)| attribute_bytes(*kind, value)));
    bytes
}

fn expiring(expires: u32) -> Vec<u8> {
    [0, 0, expires, 0, 0, 0, 0, 0].iter().flat_map(|word: &u32| word.to_ne_bytes()).collect()
}

#[test]
fn answers_say_where_a_packet_goes() {
    let metrics = attribute_bytes(RTAX_MTU, &1400u32.to_ne_bytes());
    let (oif, gateway, source) = (7u32.to_ne_bytes(), [10, 0, 0, 1], [10, 0, 0, 9]);
    let attributes: [(u16, &[u8]); 4] =
        [(RTA_OIF, &oif), (RTA_GATEWAY, &gateway), (RTA_PREFSRC, &source), (RTA_METRICS, &metrics)];
    let route = answer(&route_bytes(libc::AF_INET, 32, libc::RTN_UNICAST, RTM_F_CLONED, &attributes));
    let expected = Route {
        kind: Kind::Unicast,
        interface: 7,
        gateway: Some(Address::v4(0x0a00_0001)),
        source: Some(Address::v4(0x0a00_0009)),
        mtu: Some(1400),
        exception: false,
    };
    assert_eq!(route, Some(expected));

    let mut via = vec![10, 0];
    via.extend(Ipv6Addr::LOCALHOST.octets());
    let route = answer(&route_bytes(libc::AF_INET, 32, libc::RTN_UNICAST, 0, &[(RTA_VIA, &via)]));
    assert_eq!(route.unwrap().gateway, Some(Address::v6(1)));
}

#[test]
fn exceptions_of_ipv4_expire_and_those_of_ipv6_are_clones() {
    for (family, flags, expires, exception) in [
        (libc::AF_INET, RTM_F_CLONED, 0, false),
        (libc::AF_INET, RTM_F_CLONED, 60_000, true),
        (libc::AF_INET6, 0, 60_000, false),
        (libc::AF_INET6, RTM_F_CLONED, 60_000, true),
    ] {
        let info = expiring(expires);
        let route = answer(&route_bytes(family, 32, libc::RTN_UNICAST, flags, &[(RTA_CACHEINFO, &info)]));
        assert_eq!(route.unwrap().exception, exception, "family {family}, flags {flags:x}, {expires} ticks");
    }
}

#[test]
fn routes_and_rules_that_cannot_be_read_are_not_passed_over() {
    let without_address = route_bytes(libc::AF_INET, 24, libc::RTN_UNICAST, 0, &[]);
    assert_eq!(event(libc::RTM_NEWROUTE, &without_address), Some(Event::Unreadable));
    assert_eq!(event(libc::RTM_NEWRULE, &without_address), Some(Event::Unreadable));
    assert_eq!(event(libc::RTM_NEWROUTE, &[2]), Some(Event::Unreadable));
    let of_multicast = route_bytes(128, 24, libc::RTN_MULTICAST, 0, &[]);
    assert_eq!(event(libc::RTM_NEWROUTE, &of_multicast), None);
}

#[test]
fn rules_tell_which_marks_and_sources_they_look_at() {
    let (mark, mask) = (1u32.to_ne_bytes(), 0xffu32.to_ne_bytes());
    for (attributes, mark_mask, by_source) in [
        (vec![], 0, false),
        (vec![(FRA_FWMARK, mark.as_slice())], u32::MAX, false),
        (vec![(FRA_FWMARK, mark.as_slice()), (FRA_FWMASK, mask.as_slice())], 0xff, false),
        (vec![(FRA_SRC, [10, 0, 0, 1].as_slice())], 0, true),
    ] {
        let rule = event(libc::RTM_NEWRULE, &route_bytes(libc::AF_INET, 0, 1, 0, &attributes));
        assert_eq!(rule, Some(Event::Rule { prefix: None, mark_mask, by_source }), "{attributes:?}");
    }
}

#[test]
fn refusals_say_why_nothing_goes_there() {
    for (errno, kind) in [
        (Errno::ENETUNREACH, Some(Kind::Unreachable)),
        (Errno::EHOSTUNREACH, Some(Kind::Unreachable)),
        (Errno::EACCES, Some(Kind::Prohibit)),
        (Errno::EINVAL, Some(Kind::Blackhole)),
        (Errno::ENOBUFS, None),
    ] {
        assert_eq!(no_route(errno).map(|route| route.kind), kind, "{errno}");
    }
}

proptest! {
    #[test]
    fn whatever_comes_is_read_or_not(kind in 16u16..110, payload in prop::collection::vec(any::<u8>(), 0..120)) {
        event(kind, &payload);
        answer(&payload);
    }

    /// As random bytes hardly ever are.
    #[test]
    fn whatever_attributes_there_are_is_read_or_not(
        kind in 16u16..36,
        header in prop::collection::vec(prop_oneof![Just(0u8), Just(2), Just(10), any::<u8>()], 8..20),
        attributes in prop::collection::vec((0u16..32, prop::collection::vec(any::<u8>(), 0..20)), 0..6),
    ) {
        let mut payload = header;
        payload.extend(attributes.iter().flat_map(|(kind, value)| attribute_bytes(*kind, value)));
        event(kind, &payload);
        answer(&payload);
    }
}
