//! Frames of keepalived and FRR, decoded and encoded to the same bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::settings::{password, router, unicast};
use buoy_vrrp::{
    AdvertisementFrame, AdvertisementView, Authentication, AuthenticationKey, AuthenticationType,
    ChecksumSeen, Claim, Family, Forwarding, Ipv4View, MacAddr, OldUnicastChecksum, PROTOCOL_AH, Priority,
    RouterSettings, Unauthenticated, Version, gratuitous_arp, unsolicited_na,
};

const FRAMES: &str = include_str!("golden/frames.txt");
const ETHERNET_LEN: usize = 14;

/// The IP packet of a captured frame.
fn packet(name: &str) -> Vec<u8> {
    frame(name).split_off(ETHERNET_LEN)
}

fn frame(name: &str) -> Vec<u8> {
    let hex = FRAMES
        .lines()
        .filter_map(|line| line.split_once(' '))
        .find_map(|(n, hex)| (n == name).then_some(hex))
        .unwrap_or_else(|| panic!("no frame {name}"));
    let bytes = (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap());
    bytes.collect()
}

/// A captured IP packet taken apart far enough to find the advertisement.
struct Captured<'a> {
    source: IpAddr,
    destination: IpAddr,
    pdu: &'a [u8],
    carrier_len: usize,
}

fn captured(packet: &[u8]) -> Captured<'_> {
    if packet[0] >> 4 == 6 {
        let source = <[u8; 16]>::try_from(&packet[8..24]).unwrap().into();
        let destination = <[u8; 16]>::try_from(&packet[24..40]).unwrap().into();
        return Captured { source, destination, pdu: &packet[40..], carrier_len: 40 };
    }
    let ip = Ipv4View::parse(packet).unwrap();
    let ah_len = if ip.protocol() == PROTOCOL_AH { 24 } else { 0 };
    Captured {
        source: ip.source().into(),
        destination: ip.destination().into(),
        pdu: &ip.payload()[ah_len..],
        carrier_len: 20 + ah_len,
    }
}

/// What the kernel or the sender's taste decides: IPv4 identification and checksum, IPv6 flow label.
fn without_taste(mut packet: Vec<u8>) -> Vec<u8> {
    if packet[0] >> 4 == 6 {
        packet[1] &= 0xf0;
        packet[2..4].fill(0);
    } else {
        packet[4..6].fill(0);
        packet[10..12].fill(0);
    }
    packet
}

/// `name` decodes to the values of `settings` and `settings` encode to `name`.
#[track_caller]
fn assert_both_ways(name: &str, settings: &RouterSettings, seen: ChecksumSeen) {
    let packet = packet(name);
    let Captured { source, destination, pdu, carrier_len } = captured(&packet);

    let view = AdvertisementView::parse(pdu, settings.family, carrier_len).unwrap();
    assert_eq!(view.version(), settings.version, "{name}");
    assert_eq!(view.vrid(), settings.vrid, "{name}");
    assert_eq!(view.priority(), settings.priority, "{name}");
    assert_eq!(view.interval(), settings.advert_interval, "{name}");
    assert_eq!(view.addresses().collect::<Vec<_>>(), settings.advertised, "{name}");
    assert_eq!(usize::from(view.count()), settings.advertised.len(), "{name}");
    assert_eq!(view.checksum(source, destination), seen, "{name}");
    let authentication = match settings.authentication {
        Authentication::None => (AuthenticationType::None, [0; 8]),
        Authentication::Password(password) => (AuthenticationType::Password, password),
        Authentication::AuthenticationHeader(_) => (AuthenticationType::AuthenticationHeader, [0; 8]),
    };
    let expected = (settings.version == Version::V2).then_some(authentication);
    assert_eq!(view.authentication().map(|(kind, data)| (kind, *data)), expected, "{name}");

    let mut frame = AdvertisementFrame::new(settings, source, destination).unwrap();
    assert_eq!(without_taste(frame.next_packet().packet.to_vec()), without_taste(packet), "{name}");
    assert_eq!(frame.destination(), destination);
}

/// As [`assert_both_ways`], and once more with priority 0, patched into the same frame.
#[track_caller]
fn assert_with_resignation(name: &str, settings: &RouterSettings, seen: ChecksumSeen) {
    assert_both_ways(name, settings, seen);
    let resigning = RouterSettings { priority: Priority::STOP, ..settings.clone() };
    assert_both_ways(&format!("{name}-resigns"), &resigning, seen);

    let packet = packet(&format!("{name}-resigns"));
    let Captured { source, destination, .. } = captured(&packet);
    let mut frame = AdvertisementFrame::new(settings, source, destination).unwrap();
    frame.set_priority(Priority::STOP);
    assert_eq!(without_taste(frame.next_packet().packet.to_vec()), without_taste(packet), "{name} patched");
}

#[test]
fn v2_without_authentication_matches_keepalived() {
    let settings = router(Version::V2, 21, 101, 1.0, &["10.99.1.21"]);
    assert_with_resignation("keepalived-v2-plain", &settings, ChecksumSeen::Right);
}

#[test]
fn v2_with_a_password_and_two_addresses_matches_keepalived() {
    let mut settings = router(Version::V2, 22, 102, 2.0, &["10.99.1.22", "10.99.2.22"]);
    settings.authentication = Authentication::Password(password("secret"));
    assert_with_resignation("keepalived-v2-pass", &settings, ChecksumSeen::Right);
}

#[test]
fn v3_over_ipv4_matches_keepalived() {
    let settings = router(Version::V3, 31, 131, 1.0, &["10.99.1.31"]);
    assert_with_resignation("keepalived-v3-ipv4", &settings, ChecksumSeen::Right);
}

#[test]
fn v3_lists_five_addresses_in_order_as_keepalived() {
    let addresses = ["10.99.1.1", "10.99.1.2", "10.99.1.3", "10.99.1.4", "10.99.1.5"];
    let settings = router(Version::V3, 32, 132, 1.0, &addresses);
    assert_with_resignation("keepalived-v3-ipv4-many", &settings, ChecksumSeen::Right);
}

#[test]
fn v3_with_a_quarter_second_matches_keepalived() {
    let settings = router(Version::V3, 33, 133, 0.25, &["10.99.1.33"]);
    assert_with_resignation("keepalived-v3-ipv4-subsecond", &settings, ChecksumSeen::Right);
}

#[test]
fn v3_unicast_matches_keepalived() {
    let mut settings = router(Version::V3, 34, 134, 1.0, &["10.99.1.34"]);
    settings.transport = unicast("10.99.0.2", 255);
    assert_with_resignation("keepalived-v3-ipv4-unicast", &settings, ChecksumSeen::Right);
}

#[test]
fn v3_unicast_with_the_old_checksum_matches_keepalived() {
    let mut settings = router(Version::V3, 35, 135, 1.0, &["10.99.1.35"]);
    settings.transport = unicast("10.99.0.2", 255);
    settings.old_unicast_checksum = OldUnicastChecksum::Always;
    assert_with_resignation("keepalived-v3-ipv4-unicast-old", &settings, ChecksumSeen::OldUnicast);
}

#[test]
fn frame_that_goes_over_to_the_old_checksum_matches_keepalived() {
    let mut settings = router(Version::V3, 35, 7, 1.0, &["10.99.1.35"]);
    settings.transport = unicast("10.99.0.2", 255);
    let source = "10.99.0.1".parse().unwrap();
    let mut frame = AdvertisementFrame::new(&settings, source, "10.99.0.2".parse().unwrap()).unwrap();
    frame.use_old_unicast_checksum();
    frame.set_priority(Priority::new(135));
    let expected = packet("keepalived-v3-ipv4-unicast-old");
    assert_eq!(without_taste(frame.next_packet().packet.to_vec()), without_taste(expected));
}

#[test]
fn v3_over_ipv6_matches_keepalived() {
    let settings = router(Version::V3, 61, 161, 1.0, &["fe80::61", "2001:db8::61"]);
    assert_with_resignation("keepalived-v3-ipv6", &settings, ChecksumSeen::Right);
}

#[test]
fn v3_over_unicast_ipv6_matches_keepalived() {
    let mut settings = router(Version::V3, 62, 162, 1.0, &["2001:db8::62"]);
    // keepalived leaves the hop limit of IPv6 unicast to the kernel.
    settings.transport = unicast("fe80::2", 64);
    assert_with_resignation("keepalived-v3-ipv6-unicast", &settings, ChecksumSeen::Right);
}

#[test]
fn v3_over_ipv4_of_frr_is_understood() {
    let settings = router(Version::V3, 71, 171, 0.5, &["10.99.1.71"]);
    let packet = packet("frr-v3-ipv4");
    let Captured { source, destination, pdu, carrier_len } = captured(&packet);
    let view = AdvertisementView::parse(pdu, Family::V4, carrier_len).unwrap();
    assert_eq!(view.checksum(source, destination), ChecksumSeen::Right);
    assert_eq!(view.interval(), Duration::from_millis(500));
    let mut frame = AdvertisementFrame::new(&settings, source, destination).unwrap();
    // FRR's IPv4 header sets the don't-fragment flag; the message is the same.
    assert_eq!(frame.next_packet().packet[20..], packet[20..]);
}

#[test]
fn v3_over_ipv6_matches_frr() {
    let settings = router(Version::V3, 71, 171, 0.5, &["fe80::71", "2001:db8::71"]);
    assert_both_ways("frr-v3-ipv6", &settings, ChecksumSeen::Right);
}

fn ah_settings(priority: u8) -> RouterSettings {
    let mut settings = router(Version::V2, 23, priority, 1.0, &["10.99.1.23"]);
    settings.authentication = Authentication::AuthenticationHeader(password("k3y"));
    settings
}

#[test]
fn authentication_header_of_keepalived_verifies_with_its_sequence() {
    let key = AuthenticationKey::new(&password("k3y"));
    for (name, sequence) in
        [("keepalived-v2-ah", 1), ("keepalived-v2-ah-2", 2), ("keepalived-v2-ah-resigns", 8)]
    {
        let packet = packet(name);
        let authenticated = key.verify(&Ipv4View::parse(&packet).unwrap()).unwrap();
        assert_eq!(authenticated.sequence, sequence, "{name}");
        let view =
            AdvertisementView::parse(authenticated.pdu, Family::V4, authenticated.carrier_len).unwrap();
        assert_eq!(view.vrid().get(), 23);
    }
}

#[test]
fn authentication_header_matches_keepalived_byte_for_byte() {
    let source = "10.99.0.1".parse().unwrap();
    let group = "224.0.0.18".parse().unwrap();
    let mut frame = AdvertisementFrame::new(&ah_settings(103), source, group).unwrap();
    // The digest covers the identification, which here and in the capture follows the sequence.
    for name in ["keepalived-v2-ah", "keepalived-v2-ah-2"] {
        let mut expected = packet(name);
        expected[10..12].fill(0);
        assert_eq!(frame.next_packet().packet, expected, "{name}");
    }
    frame.set_sequence(7);
    frame.set_priority(Priority::STOP);
    let mut expected = packet("keepalived-v2-ah-resigns");
    expected[10..12].fill(0);
    assert_eq!(frame.next_packet().packet, expected);
    assert_eq!(frame.sequence(), Some(8));
}

#[test]
fn authentication_header_refuses_any_changed_byte_that_is_covered() {
    let key = AuthenticationKey::new(&password("k3y"));
    let original = packet("keepalived-v2-ah");
    // TOS and checksum are not covered; version and lengths make it no packet at all.
    for at in (0..original.len()).filter(|at| ![0, 1, 2, 3, 10, 11].contains(at)) {
        let mut packet = original.clone();
        packet[at] ^= 1;
        assert!(key.verify(&Ipv4View::parse(&packet).unwrap()).is_err(), "byte {at}");
    }
}

#[test]
fn authentication_header_names_what_is_wrong() {
    let key = AuthenticationKey::new(&password("k3y"));
    let verify = |packet: &[u8]| key.verify(&Ipv4View::parse(packet).unwrap()).map(|a| a.sequence);
    let original = packet("keepalived-v2-ah");
    let with = |at: usize, value: u8| {
        let mut packet = original.clone();
        packet[at] = value;
        packet
    };
    assert_eq!(verify(&with(20, 6)), Err(Unauthenticated::NextHeader(6)));
    assert_eq!(verify(&with(21, 5)), Err(Unauthenticated::PayloadLength { words: 5 }));
    assert_eq!(verify(&with(27, 9)), Err(Unauthenticated::Spi { spi: 0x0a63_0009 }));
    assert_eq!(verify(&with(46, 104)), Err(Unauthenticated::Digest));
    assert_eq!(verify(&with(3, 43)), Err(Unauthenticated::Truncated { have: 23 }));
    let other = AuthenticationKey::new(&password("other"));
    assert_eq!(other.verify(&Ipv4View::parse(&original).unwrap()), Err(Unauthenticated::Digest));
}

#[test]
fn gratuitous_arp_matches_keepalived_both_ways() {
    let mac = MacAddr(2, 0, 0, 0, 0, 1);
    let captured = frame("keepalived-garp");
    assert_eq!(gratuitous_arp(mac, Ipv4Addr::new(10, 99, 1, 33)).to_vec(), captured);
    assert_eq!(Claim::read(&captured), Some(Claim { address: "10.99.1.33".parse().unwrap(), mac }));
}

#[test]
fn unsolicited_na_matches_keepalived_both_ways() {
    let mac = MacAddr(2, 0, 0, 0, 0, 1);
    let captured = frame("keepalived-unsolicited-na");
    let address: Ipv6Addr = "2001:db8::62".parse().unwrap();
    assert_eq!(unsolicited_na(mac, address, Forwarding::Host).to_vec(), captured);
    assert_eq!(Claim::read(&captured), Some(Claim { address: address.into(), mac }));
}
