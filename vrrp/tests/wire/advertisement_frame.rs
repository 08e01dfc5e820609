//! What is encoded is decoded to the same values, under any settings.

use std::net::IpAddr;
use std::time::Duration;

use crate::settings::{router, unicast};
use buoy_vrrp::{
    AdvertisementFrame, AdvertisementView, Authentication, ChecksumForm, ChecksumSeen, Family,
    OldUnicastChecksum, Priority, RouterSettings, Unencodable, Version,
};
use proptest::prelude::*;

const SOURCE: &str = "10.99.0.1";
const PEER: &str = "10.99.0.2";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn unicast_router() -> RouterSettings {
    let mut settings = router(Version::V3, 34, 134, 1.0, &["10.99.1.34"]);
    settings.transport = unicast(PEER, 64);
    settings
}

fn seen(settings: &RouterSettings) -> ChecksumSeen {
    let mut frame = AdvertisementFrame::new(settings, ip(SOURCE), ip(PEER)).unwrap();
    let view = AdvertisementView::parse(&frame.next_packet().packet[20..], Family::V4, 20).unwrap();
    view.checksum(ip(SOURCE), ip(PEER))
}

#[test]
fn checksum_form_of_the_settings_is_the_one_that_is_seen() {
    let mut settings = unicast_router();
    assert_eq!(seen(&settings), ChecksumSeen::Right);
    settings.old_unicast_checksum = OldUnicastChecksum::Always;
    assert_eq!(seen(&settings), ChecksumSeen::OldUnicast);
    settings.checksum = ChecksumForm::AsV2;
    assert_eq!(seen(&settings), ChecksumSeen::WithoutPseudoHeader);
}

#[test]
fn multicast_never_uses_the_old_unicast_checksum() {
    let mut settings = router(Version::V3, 34, 134, 1.0, &["10.99.1.34"]);
    settings.old_unicast_checksum = OldUnicastChecksum::Always;
    let group = ip("239.1.2.3");
    let mut frame = AdvertisementFrame::new(&settings, ip(SOURCE), group).unwrap();
    frame.use_old_unicast_checksum();
    let mut reference = AdvertisementFrame::new(&settings, ip(SOURCE), group).unwrap();
    let view = AdvertisementView::parse(&reference.next_packet().packet[20..], Family::V4, 20).unwrap();
    assert_eq!(view.checksum(ip(SOURCE), group), ChecksumSeen::Right);
}

#[test]
fn unicast_ttl_is_that_of_the_settings_and_multicast_is_255() {
    let mut frame = AdvertisementFrame::new(&unicast_router(), ip(SOURCE), ip(PEER)).unwrap();
    assert_eq!(frame.next_packet().packet[8], 64);
    let six = router(Version::V3, 1, 100, 1.0, &["fe80::1"]);
    let mut frame = AdvertisementFrame::new(&six, ip("fe80::2"), ip("ff02::12")).unwrap();
    assert_eq!(frame.next_packet().packet[7], 255);
}

#[test]
fn intervals_out_of_range_saturate() {
    for (version, interval, encoded) in [
        (Version::V2, 0.4, Duration::from_secs(1)),
        (Version::V2, 300.0, Duration::from_secs(255)),
        (Version::V3, 0.001, Duration::from_millis(10)),
        (Version::V3, 41.0, Duration::from_millis(40_950)),
    ] {
        let settings = router(version, 1, 100, interval, &["10.0.0.1"]);
        let mut frame = AdvertisementFrame::new(&settings, ip(SOURCE), ip("224.0.0.18")).unwrap();
        let view = AdvertisementView::parse(&frame.next_packet().packet[20..], Family::V4, 20).unwrap();
        assert_eq!(view.interval(), encoded);
    }
}

#[test]
fn largest_messages_of_both_families_are_encoded_whole() {
    let four: Vec<String> = (0..255).map(|n| format!("10.0.0.{n}")).collect();
    let four = router(Version::V2, 1, 100, 1.0, &four.iter().map(String::as_str).collect::<Vec<_>>());
    let mut frame = AdvertisementFrame::new(&four, ip(SOURCE), ip("224.0.0.18")).unwrap();
    assert_eq!(frame.next_packet().packet.len(), 20 + 8 + 255 * 4 + 8);
    let six: Vec<String> = (0..255).map(|n| format!("fe80::{n:x}")).collect();
    let six = router(Version::V3, 1, 100, 1.0, &six.iter().map(String::as_str).collect::<Vec<_>>());
    let mut frame = AdvertisementFrame::new(&six, ip("fe80::1:1"), ip("ff02::12")).unwrap();
    assert_eq!(frame.next_packet().packet.len(), 40 + 8 + 255 * 16);
}

#[test]
fn impossible_settings_are_named() {
    let new = |settings: &RouterSettings, source, destination| {
        AdvertisementFrame::new(settings, ip(source), ip(destination)).map(|_| ())
    };
    let six_in_v2 = router(Version::V2, 1, 100, 1.0, &["fe80::1"]);
    assert_eq!(new(&six_in_v2, "fe80::2", "ff02::12"), Err(Unencodable::Version2OverIpv6));
    let four = router(Version::V3, 1, 100, 1.0, &["10.0.0.1"]);
    let wrong = |address: &str, family| Err(Unencodable::Family { address: ip(address), family });
    assert_eq!(new(&four, SOURCE, "ff02::12"), wrong("ff02::12", Family::V4));
    assert_eq!(new(&four, "fe80::2", "ff02::12"), wrong("fe80::2", Family::V4));
    let mixed = router(Version::V3, 1, 100, 1.0, &["10.0.0.1", "fe80::1"]);
    assert_eq!(new(&mixed, SOURCE, PEER), wrong("fe80::1", Family::V4));
    let many = vec!["10.0.0.1"; 256];
    let many = router(Version::V3, 1, 100, 1.0, &many);
    assert_eq!(new(&many, SOURCE, PEER), Err(Unencodable::TooManyAddresses(256)));
}

#[test]
fn frame_without_authentication_header_has_no_sequence() {
    let mut frame = AdvertisementFrame::new(&unicast_router(), ip(SOURCE), ip(PEER)).unwrap();
    frame.set_sequence(9);
    assert_eq!(frame.sequence(), None);
    let first = frame.next_packet().packet.to_vec();
    assert_eq!(frame.next_packet().packet, first);
}

fn any_settings() -> impl Strategy<Value = RouterSettings> {
    let addresses = (any::<bool>(), proptest::collection::vec(any::<[u8; 16]>(), 1..40));
    (addresses, any::<bool>(), 1..=255_u8, any::<u8>(), 1..4096_u32).prop_map(
        |((six, addresses), v2, vrid, priority, centiseconds)| {
            let version = if v2 && !six { Version::V2 } else { Version::V3 };
            let interval = match version {
                Version::V2 => f64::from(centiseconds % 255 + 1),
                Version::V3 => f64::from(centiseconds) / 100.0,
            };
            let text: Vec<String> = addresses
                .iter()
                .map(|a| if six { IpAddr::from(*a) } else { IpAddr::from([a[0], a[1], a[2], a[3]]) })
                .map(|a| a.to_string())
                .collect();
            let text: Vec<&str> = text.iter().map(String::as_str).collect();
            let mut settings = router(version, vrid, priority, interval, &text);
            if priority % 2 == 0 {
                settings.authentication = Authentication::Password(*b"12345678");
            }
            settings
        },
    )
}

proptest! {
    #[test]
    fn decode_undoes_encode(settings in any_settings(), patched in any::<u8>()) {
        let (source, destination, carrier) = match settings.family {
            Family::V4 => (ip(SOURCE), ip("224.0.0.18"), 20),
            Family::V6 => (ip("fe80::1"), ip("ff02::12"), 40),
        };
        let mut frame = AdvertisementFrame::new(&settings, source, destination).unwrap();
        frame.set_priority(Priority::new(patched));
        let packet = frame.next_packet().packet;
        let view = AdvertisementView::parse(&packet[carrier..], settings.family, carrier).unwrap();
        prop_assert_eq!(view.checksum(source, destination), ChecksumSeen::Right);
        prop_assert_eq!(view.vrid(), settings.vrid);
        prop_assert_eq!(view.version(), settings.version);
        prop_assert_eq!(view.priority().get(), patched);
        prop_assert_eq!(view.interval(), settings.advert_interval);
        prop_assert_eq!(view.addresses().collect::<Vec<_>>(), settings.advertised.clone());

        // Patching is the same as encoding anew.
        let anew = RouterSettings { priority: Priority::new(patched), ..settings };
        let mut anew = AdvertisementFrame::new(&anew, source, destination).unwrap();
        prop_assert_eq!(anew.next_packet().packet, frame.next_packet().packet);
    }
}
