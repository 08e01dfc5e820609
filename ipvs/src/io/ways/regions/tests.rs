//! Against a list that is looked through from end to end.

use std::net::IpAddr;

use proptest::prelude::*;

use super::*;

fn prefix(text: &str) -> Prefix {
    let (address, len) = text.split_once('/').unwrap();
    Prefix::new(address.parse::<IpAddr>().unwrap().into(), len.parse().unwrap())
}

fn address(text: &str) -> Address {
    text.parse::<IpAddr>().unwrap().into()
}

#[test]
fn the_longest_prefix_is_found_and_families_do_not_meet() {
    let mut regions = Regions::new();
    for text in ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "2001:db8::/32", "2001:db8::1/128"] {
        regions.insert(prefix(text), Answer::Shared);
    }
    for (text, expected) in [
        ("10.1.2.3", "10.1.2.3/32"),
        ("10.1.2.4", "10.1.0.0/16"),
        ("10.2.0.1", "10.0.0.0/8"),
        ("11.0.0.1", "0.0.0.0/0"),
        ("127.0.0.1", "127.0.0.0/8"),
        ("2001:db8::1", "2001:db8::1/128"),
        ("2001:db8::2", "2001:db8::/32"),
        ("2001:db9::1", "::/0"),
        ("ff02::1", "ff00::/8"),
    ] {
        let (region, answer) = regions.find(address(text));
        assert_eq!((regions.prefix(region), answer), (Some(prefix(expected)), Answer::Shared), "{text}");
    }
}

#[test]
fn several_next_hops_make_all_narrower_prefixes_differ_by_host_for_good() {
    let mut regions = Regions::new();
    regions.insert(prefix("10.0.0.0/8"), Answer::PerHost);
    regions.insert(prefix("10.1.0.0/16"), Answer::Shared);
    regions.insert(prefix("10.0.0.0/8"), Answer::Shared);
    for (text, expected) in [
        ("10.1.0.1", Answer::PerHost),
        ("10.2.0.1", Answer::PerHost),
        ("11.0.0.1", Answer::Shared),
        ("::1", Answer::Shared),
    ] {
        assert_eq!(regions.find(address(text)).1, expected, "{text}");
    }
}

/// Close to each other, so that they nest.
fn some_address() -> impl Strategy<Value = Address> {
    prop_oneof![
        any::<[bool; 10]>().prop_map(|bits| Address::v4(spread(bits, 32) as u32)),
        any::<[bool; 10]>().prop_map(|bits| Address::v6(spread(bits, 128))),
        any::<u32>().prop_map(Address::v4),
        any::<u128>().prop_map(Address::v6),
    ]
}

/// The first nine bits one by one, and the last.
fn spread(bits: [bool; 10], width: u32) -> u128 {
    let places = (1..10).map(|n| width - n).chain([0]);
    bits.iter().zip(places).map(|(bit, place)| u128::from(*bit) << place).sum()
}

fn some_prefix() -> impl Strategy<Value = Prefix> {
    let len = prop_oneof![0..=10u8, Just(32), Just(127), Just(128), any::<u8>()];
    (some_address(), len).prop_map(|(address, len)| Prefix::new(address, len))
}

proptest! {
    #[test]
    fn what_is_found_is_what_a_search_through_all_prefixes_finds(
        prefixes in prop::collection::vec((some_prefix(), any::<bool>()), 0..40),
        destinations in prop::collection::vec(some_address(), 1..40),
    ) {
        let mut regions = Regions::new();
        let empty = Regions::new();
        for (prefix, per_host) in &prefixes {
            regions.insert(*prefix, if *per_host { Answer::PerHost } else { Answer::Shared });
        }
        for destination in destinations {
            let v4 = Prefix::all(Family::V4);
            let mut around = prefixes.iter().filter(|(prefix, _)| {
                prefix.contains(destination) && (v4.covers(*prefix) || !v4.contains(destination))
            });
            let own = empty.prefix(empty.find(destination).0).unwrap();
            let expected = around.clone().map(|(prefix, _)| *prefix).chain([own]).max_by_key(|prefix| prefix.len);
            let per_host = around.any(|(_, per_host)| *per_host);
            let (region, answer) = regions.find(destination);
            prop_assert_eq!(regions.prefix(region), expected);
            prop_assert_eq!(answer == Answer::PerHost, per_host);
        }
    }

    #[test]
    fn one_region_is_within_the_same_prefixes(
        prefixes in prop::collection::vec(some_prefix(), 0..40),
        one in some_address(),
        other in some_address(),
    ) {
        let mut regions = Regions::new();
        for prefix in &prefixes {
            regions.insert(*prefix, Answer::Shared);
        }
        if regions.find(one).0 == regions.find(other).0 {
            for prefix in prefixes {
                prop_assert_eq!(prefix.contains(one), prefix.contains(other));
            }
        }
    }

    #[test]
    fn prefixes_overlap_if_one_address_is_in_both(one in some_prefix(), other in some_prefix()) {
        let first = |prefix: Prefix| Address::v6(prefix.bits);
        prop_assert_eq!(one.overlaps(other), one.contains(first(other)) || other.contains(first(one)));
    }
}
