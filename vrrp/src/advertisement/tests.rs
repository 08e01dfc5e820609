use proptest::prelude::*;

use super::*;

const IPV4: usize = 20;
const IPV6: usize = 40;

fn v2(count: u8) -> Vec<u8> {
    let mut pdu = vec![0x21, 51, 100, count, 1, 1, 0, 0];
    pdu.extend((0..count).flat_map(|n| [10, 0, 0, n]));
    pdu.extend(*b"password");
    pdu
}

fn v3(count: u8) -> Vec<u8> {
    let mut pdu = vec![0x31, 51, 100, count, 0, 100, 0, 0];
    pdu.extend((0..count).flat_map(|n| [10, 0, 0, n]));
    pdu
}

fn parse_v4(pdu: &[u8]) -> Result<AdvertisementView<'_>, Malformed> {
    AdvertisementView::parse(pdu, Family::V4, IPV4)
}

#[test]
fn v2_interval_is_in_seconds_and_v3_in_centiseconds_of_twelve_bits() {
    assert_eq!(parse_v4(&v2(1)).unwrap().interval(), Duration::from_secs(1));
    let mut longest = v3(1);
    // The upper four bits are reserved and ignored on receipt (RFC 9568 §5.2.6).
    longest[4..6].copy_from_slice(&[0xff, 0xff]);
    assert_eq!(parse_v4(&longest).unwrap().interval(), Duration::from_millis(40_950));
}

#[test]
fn interval_of_zero_is_refused_in_both_versions() {
    let mut pdu = v3(1);
    pdu[4..6].copy_from_slice(&[0xf0, 0]);
    assert_eq!(parse_v4(&pdu), Err(Malformed::IntervalZero));
    let mut pdu = v2(1);
    pdu[5] = 0;
    assert_eq!(parse_v4(&pdu), Err(Malformed::IntervalZero));
}

#[test]
fn v2_may_list_no_address() {
    let pdu = v2(0);
    let view = parse_v4(&pdu).unwrap();
    assert_eq!(view.addresses().len(), 0);
    assert_eq!(view.authentication(), Some((AuthenticationType::Password, b"password")));
}

#[test]
fn v3_has_no_authentication() {
    assert_eq!(parse_v4(&v3(1)).unwrap().authentication(), None);
}

#[test]
fn unknown_authentication_type_survives() {
    let mut pdu = v2(1);
    pdu[4] = 77;
    let (kind, _) = parse_v4(&pdu).unwrap().authentication().unwrap();
    assert_eq!((kind, kind.number()), (AuthenticationType::Other(77), 77));
}

#[test]
fn header_of_seven_bytes_is_truncated() {
    assert_eq!(parse_v4(&v3(1)[..7]), Err(Malformed::Truncated { have: 7, need: 8 }));
    assert_eq!(parse_v4(&[]), Err(Malformed::Truncated { have: 0, need: 8 }));
}

#[test]
fn missing_address_or_authentication_bytes_are_truncation() {
    assert_eq!(parse_v4(&v3(2)[..15]), Err(Malformed::Truncated { have: 15, need: 16 }));
    assert_eq!(parse_v4(&v2(1)[..19]), Err(Malformed::Truncated { have: 19, need: 20 }));
    let of_ipv4 = v3(2);
    let over_ipv6 = AdvertisementView::parse(&of_ipv4, Family::V6, IPV6);
    assert_eq!(over_ipv6, Err(Malformed::Truncated { have: 16, need: 40 }));
}

#[test]
fn other_versions_are_refused_and_so_is_version_2_over_ipv6() {
    let mut pdu = v3(1);
    pdu[0] = 0x41;
    assert_eq!(parse_v4(&pdu), Err(Malformed::Version(4)));
    assert_eq!(AdvertisementView::parse(&v2(1), Family::V6, IPV6), Err(Malformed::Version(2)));
}

#[test]
fn other_message_types_and_vrid_zero_are_refused() {
    let mut pdu = v3(1);
    pdu[0] = 0x32;
    assert_eq!(parse_v4(&pdu), Err(Malformed::Kind(2)));
    let mut pdu = v3(1);
    pdu[1] = 0;
    assert_eq!(parse_v4(&pdu), Err(Malformed::VridZero));
}

#[test]
fn ethernet_padding_is_tolerated_up_to_46_bytes_less_four_for_each_vlan_tag() {
    // One address over IPv4: 20 + 12 bytes, padded to 46, 42 or 38.
    for padded in 33..60_usize {
        let mut pdu = v3(1);
        pdu.resize(padded - IPV4, 0);
        let tolerated = [34, 38, 42, 46].contains(&padded);
        let view = parse_v4(&pdu);
        assert_eq!(view.is_ok(), tolerated, "{padded} bytes of Ethernet payload");
        if let Ok(view) = view {
            assert_eq!(view.message(), v3(1));
        }
    }
}

#[test]
fn surplus_beyond_padding_is_a_wrong_length() {
    let mut pdu = v3(4);
    pdu.extend([0; 4]);
    assert_eq!(parse_v4(&pdu), Err(Malformed::Length { have: 28, expected: 24 }));
    let mut pdu = v2(1);
    pdu.resize(200, 0);
    assert_eq!(parse_v4(&pdu), Err(Malformed::Length { have: 200, expected: 20 }));
}

#[test]
fn surplus_of_28_bytes_is_named_as_a_signature_with_its_key() {
    for mut pdu in [v2(1), v3(3)] {
        pdu.extend([1, 42]);
        pdu.extend([0; 26]);
        assert_eq!(parse_v4(&pdu), Err(Malformed::HmacTrailer { key_id: 42 }));
    }
    let mut other_type = v3(3);
    other_type.extend([0; 28]);
    assert_eq!(parse_v4(&other_type), Err(Malformed::Length { have: 48, expected: 20 }));
}

fn address_text(family: Family) -> impl Strategy<Value = IpAddr> {
    any::<[u8; 16]>().prop_map(move |bytes| match family {
        Family::V4 => IpAddr::from([bytes[0], bytes[1], bytes[2], bytes[3]]),
        Family::V6 => IpAddr::from(bytes),
    })
}

proptest! {
    #[test]
    fn any_bytes_are_either_refused_or_consistent(
        pdu in proptest::collection::vec(any::<u8>(), 0..96),
        six in any::<bool>(),
        head in prop_oneof![Just(0x21_u8), Just(0x31)],
    ) {
        let mut pdu = pdu;
        if let Some(first) = pdu.first_mut() {
            *first = head;
        }
        let family = if six { Family::V6 } else { Family::V4 };
        if let Ok(view) = AdvertisementView::parse(&pdu, family, IPV4) {
            prop_assert_eq!(view.addresses().count(), usize::from(view.count()));
            prop_assert!(view.addresses().all(|a| Family::of(a) == family));
            prop_assert!(!view.interval().is_zero());
            prop_assert!(view.message().len() <= pdu.len());
        }
    }

    #[test]
    fn any_changed_bit_of_a_message_makes_the_checksum_wrong(
        (source, destination) in (address_text(Family::V6), address_text(Family::V6)),
        bit in 16..(24 * 8_usize),
    ) {
        let mut pdu = v3(1);
        pdu.resize(24, 9);
        let sum = Sum::default().bytes(&pdu).pseudo_header(source, destination, PROTOCOL_VRRP, pdu.len());
        pdu[6..8].copy_from_slice(&sum.checksum().to_be_bytes());
        let right = AdvertisementView::parse(&pdu, Family::V6, IPV6).unwrap();
        prop_assert_eq!(right.checksum(source, destination), ChecksumSeen::Right);
        pdu[bit / 8] ^= 1 << (bit % 8);
        if let Ok(changed) = AdvertisementView::parse(&pdu, Family::V6, IPV6) {
            prop_assert_eq!(changed.checksum(source, destination), ChecksumSeen::Wrong);
        }
    }
}
