use std::net::Ipv4Addr;
use std::sync::Arc;

use super::*;
use crate::advertisement::AdvertisementFrame;
use crate::packet::Ipv4View;
use crate::settings::{GarpSchedule, Preempt, StartState, UnicastPeer};

const OURS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const THEIRS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
const GROUP: IpAddr = IpAddr::V4(Ipv4Addr::new(224, 0, 0, 18));

fn settings(version: Version) -> RouterSettings {
    RouterSettings {
        name: Arc::from("VI_1"),
        vrid: Vrid::new(51).expect("not zero"),
        family: Family::V4,
        version,
        priority: Priority::new(100),
        start: StartState::Backup,
        advert_interval: Duration::from_secs(1),
        preempt: Preempt::Yes,
        down_timer_adverts: 3,
        advertised: vec![IpAddr::V4(Ipv4Addr::new(10, 0, 0, 100)), IpAddr::V4(Ipv4Addr::new(10, 0, 0, 101))],
        transport: Transport::Multicast { group: GROUP },
        authentication: Authentication::None,
        checksum: ChecksumForm::PseudoHeader,
        old_unicast_checksum: OldUnicastChecksum::Automatic,
        strict: false,
        skip_check_adv_addr: false,
        lower_prio_no_advert: false,
        higher_prio_send_advert: false,
        owner_ignore_adverts: false,
        timer_expired_backup: None,
        garp: GarpSchedule {
            repeat: 5,
            delay: Duration::ZERO,
            refresh: Duration::ZERO,
            refresh_repeat: 1,
            lower_prio_repeat: 5,
            lower_prio_delay: Duration::ZERO,
        },
        vip_lease: None,
        make_before_break: false,
        last_announced: None,
    }
}

fn unicast(check_source: bool) -> Transport {
    let peers = vec![UnicastPeer { address: THEIRS, min_ttl: 254, max_ttl: 255 }];
    Transport::Unicast(Unicast { peers, ttl: 255, check_source })
}

/// What a peer with these settings sends, as bytes, after `change`.
fn bytes(theirs: &RouterSettings, destination: IpAddr, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut frame = AdvertisementFrame::new(theirs, THEIRS, destination).expect("encodable");
    let mut bytes = frame.next_packet().packet.to_vec();
    // The kernel writes the total length of raw packets; here nobody does.
    let len = u16::try_from(bytes.len()).expect("short").to_be_bytes();
    bytes[2..4].copy_from_slice(&len);
    change(&mut bytes);
    bytes
}

fn judge(ours: &RouterSettings, bytes: &[u8]) -> Result<Accepted, Discard> {
    Receiver::new(ours).accept(ours, Some(OURS), None, &received(bytes))
}

fn received(bytes: &[u8]) -> Received<'_> {
    let view = Ipv4View::parse(bytes).expect("an IPv4 packet");
    Received {
        source: view.source().into(),
        destination: view.destination().into(),
        hop_limit: view.ttl(),
        arrived: std::time::Instant::now(),
        pdu: view.payload(),
        carrier_len: view.header_len(),
        ipv4: Some(view),
    }
}

fn multicast(theirs: &RouterSettings, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    bytes(theirs, GROUP, change)
}

#[test]
fn a_peer_with_the_same_settings_is_heard() {
    for version in [Version::V2, Version::V3] {
        let ours = settings(version);
        let accepted = judge(&ours, &multicast(&ours, |_| {})).expect("valid");
        let heard = Heard { from: THEIRS, priority: Priority::new(100), interval: Duration::from_secs(1) };
        assert_eq!(accepted.heard, heard);
        assert!(!accepted.other_addresses && !accepted.other_interval && !accepted.old_unicast_checksum);
    }
}

#[test]
fn every_misdeed_has_its_reason() {
    let v3 = settings(Version::V3);
    let v2 = settings(Version::V2);
    let with = |change: fn(&mut RouterSettings)| {
        let mut s = settings(Version::V2);
        change(&mut s);
        s
    };
    let password = with(|s| s.authentication = Authentication::Password(*b"secret\0\0"));
    let other_password = with(|s| s.authentication = Authentication::Password(*b"Secret\0\0"));
    let header = with(|s| s.authentication = Authentication::AuthenticationHeader(*b"secret\0\0"));
    let other_header = with(|s| s.authentication = Authentication::AuthenticationHeader(*b"Secret\0\0"));
    let slower = with(|s| s.advert_interval = Duration::from_secs(2));
    let cases: Vec<(&str, Vec<u8>, &RouterSettings, Reason)> = vec![
        ("TTL 254", multicast(&v3, |b| b[8] = 254), &v3, Reason::Ttl),
        ("wrong checksum", multicast(&v3, |b| b[26] ^= 1), &v3, Reason::Checksum),
        ("version 2 to a version 3 router", multicast(&v2, |_| {}), &v3, Reason::Version),
        ("version 4", multicast(&v3, |b| b[20] = 0x41), &v3, Reason::Version),
        ("type 2", multicast(&v3, |b| b[20] = 0x32), &v3, Reason::Malformed),
        ("VRID 0", multicast(&v3, |b| b[21] = 0), &v3, Reason::Malformed),
        ("address count too high", multicast(&v3, |b| b[23] = 9), &v3, Reason::Malformed),
        ("interval of another v2 router", multicast(&slower, |_| {}), &v2, Reason::Interval),
        ("password where none is used", multicast(&password, |_| {}), &v2, Reason::AuthenticationType),
        ("no password where one is used", multicast(&v2, |_| {}), &password, Reason::AuthenticationType),
        ("wrong password", multicast(&other_password, |_| {}), &password, Reason::Authentication),
        ("unknown authentication", multicast(&v2, |b| b[24] = 9), &v2, Reason::AuthenticationType),
        ("header where none is used", multicast(&header, |_| {}), &v2, Reason::AuthenticationType),
        ("no header where one is used", multicast(&v2, |_| {}), &header, Reason::AuthenticationType),
        ("wrong key in the header", multicast(&other_header, |_| {}), &header, Reason::Authentication),
        (
            "another group",
            bytes(&v3, "224.0.0.19".parse().expect("an address"), |_| {}),
            &v3,
            Reason::Destination,
        ),
        (
            "our own packet",
            multicast(&v3, |b| b[12..16].copy_from_slice(&[10, 0, 0, 1])),
            &v3,
            Reason::OwnPacket,
        ),
    ];
    for (what, packet, ours, reason) in cases {
        match judge(ours, &packet) {
            Err(discard) => assert_eq!(discard.reason(), reason, "{what}: {discard}"),
            Ok(accepted) => panic!("{what} was accepted: {accepted:?}"),
        }
    }
}

#[test]
fn a_truncated_packet_is_malformed_at_every_length() {
    let ours = settings(Version::V3);
    let whole = multicast(&ours, |_| {});
    for len in 20..whole.len() {
        let mut cut = whole[..len].to_vec();
        cut[2..4].copy_from_slice(&u16::try_from(len).expect("short").to_be_bytes());
        let discard = judge(&ours, &cut).expect_err("cut short");
        assert_eq!(discard.reason(), Reason::Malformed, "{len} bytes: {discard}");
    }
}

#[test]
fn unicast_peers_are_checked_only_when_asked_for() {
    let mut ours = settings(Version::V3);
    ours.transport = unicast(true);
    let valid = bytes(&ours, OURS, |_| {});
    assert!(judge(&ours, &valid).is_ok());
    let routed = bytes(&ours, OURS, |b| b[8] = 253);
    assert_eq!(judge(&ours, &routed), Err(Discard::TtlOutOfBounds { ttl: 253, min: 254, max: 255 }));
    let stranger = Transport::Unicast(Unicast { peers: Vec::new(), ttl: 255, check_source: true });
    ours.transport = stranger;
    assert_eq!(judge(&ours, &valid), Err(Discard::UnknownPeer));
    ours.transport = unicast(false);
    assert!(judge(&ours, &routed).is_ok());
}

#[test]
fn the_old_unicast_checksum_is_recognised_unless_forbidden() {
    let mut theirs = settings(Version::V3);
    theirs.transport = unicast(false);
    let mut ours = theirs.clone();
    theirs.old_unicast_checksum = OldUnicastChecksum::Always;
    let packet = bytes(&theirs, OURS, |_| {});
    assert!(judge(&ours, &packet).expect("tolerated").old_unicast_checksum);
    ours.old_unicast_checksum = OldUnicastChecksum::Never;
    assert_eq!(judge(&ours, &packet), Err(Discard::WrongChecksum));
}

#[test]
fn other_addresses_are_remarked_and_the_advertisement_is_used() {
    let ours = settings(Version::V3);
    let mut theirs = ours.clone();
    theirs.advertised.reverse();
    assert!(!judge(&ours, &multicast(&theirs, |_| {})).expect("valid").other_addresses, "order is free");
    theirs.advertised.pop();
    assert!(judge(&ours, &multicast(&theirs, |_| {})).expect("valid").other_addresses);
}

#[test]
fn a_replayed_authentication_header_is_refused() {
    let mut ours = settings(Version::V2);
    ours.authentication = Authentication::AuthenticationHeader(*b"secret\0\0");
    let packet = multicast(&ours, |_| {});
    let packet = received(&packet);
    let mut receiver = Receiver::new(&ours);
    assert!(receiver.accept(&ours, Some(OURS), None, &packet).is_ok());
    let again = receiver.accept(&ours, Some(OURS), None, &packet);
    assert_eq!(again, Err(Discard::Replay { sequence: 1, last: 1 }));
}

#[test]
fn each_reason_is_counted_always_and_told_once() {
    let mut receiver = Receiver::new(&settings(Version::V3));
    let now = Instant::now();
    assert!(receiver.complain(THEIRS, Reason::Ttl, now));
    assert!(!receiver.complain(THEIRS, Reason::Ttl, now));
    assert!(receiver.complain(THEIRS, Reason::Checksum, now));
    receiver.state_changed();
    assert!(receiver.complain(THEIRS, Reason::Ttl, now));
    assert_eq!(receiver.counters()[Reason::Ttl as usize], 3);
}

#[test]
fn senders_that_alternate_are_told_of_once_each_and_forged_ones_once_together() {
    let mut receiver = Receiver::new(&settings(Version::V3));
    let now = Instant::now();
    let sender = |last| IpAddr::from([10, 0, 0, last]);
    let told = (0..200_u8).filter(|i| receiver.complain(sender(1 + i % 2), Reason::AddressList, now)).count();
    assert_eq!(told, 2);
    let told = (0..=255).filter(|last| receiver.complain(sender(*last), Reason::Checksum, now)).count();
    assert_eq!(told, SENDERS + 1);
}

#[test]
fn what_comes_back_after_a_while_is_told_again_and_what_goes_on_is_not() {
    let mut receiver = Receiver::new(&settings(Version::V3));
    let mut now = Instant::now();
    assert!(receiver.complain(THEIRS, Reason::Ttl, now));
    for _ in 0..10 {
        now += EPISODE;
        assert!(!receiver.complain(THEIRS, Reason::Ttl, now));
    }
    now += EPISODE + Duration::from_secs(1);
    assert!(receiver.complain(THEIRS, Reason::Ttl, now));
}

#[test]
fn every_reason_has_its_own_counter() {
    for (index, reason) in Reason::ALL.into_iter().enumerate() {
        assert_eq!(reason as usize, index, "{}", reason.name());
    }
}

#[test]
fn with_the_checksum_of_version_2_any_checksum_is_accepted_over_ipv4() {
    let mut ours = settings(Version::V3);
    let wrong = multicast(&ours, |b| b[26] ^= 1);
    assert_eq!(judge(&ours, &wrong), Err(Discard::WrongChecksum));
    ours.checksum = ChecksumForm::AsV2;
    assert!(judge(&ours, &wrong).is_ok());
    let theirs = RouterSettings { checksum: ChecksumForm::AsV2, ..settings(Version::V3) };
    let theirs = multicast(&theirs, |_| {});
    assert!(judge(&ours, &theirs).is_ok());
    ours.checksum = ChecksumForm::PseudoHeader;
    assert_eq!(judge(&ours, &theirs), Err(Discard::WrongChecksum));
}

#[test]
fn an_owner_ignores_advertisements_when_told_to_or_strict() {
    let theirs = multicast(&settings(Version::V3), |_| {});
    for (priority, ignore, strict, ignores) in [
        (Priority::OWNER, false, false, false),
        (Priority::OWNER, true, false, true),
        (Priority::OWNER, false, true, true),
        (Priority::new(254), true, true, false),
    ] {
        let mut ours = settings(Version::V3);
        (ours.priority, ours.owner_ignore_adverts, ours.strict) = (priority, ignore, strict);
        let expected = ignores.then_some(Discard::OwnerIgnores);
        assert_eq!(judge(&ours, &theirs).err(), expected, "{priority} {ignore} {strict}");
    }
}

#[test]
fn the_address_list_of_the_known_master_is_not_compared_again_where_that_is_skipped() {
    let mut ours = settings(Version::V3);
    let mut theirs = ours.clone();
    theirs.advertised.pop();
    let packet = multicast(&theirs, |_| {});
    for (skip, known, remarked) in [
        (false, Some(THEIRS), true),
        (true, None, true),
        (true, Some(OURS), true),
        (true, Some(THEIRS), false),
    ] {
        ours.skip_check_adv_addr = skip;
        let accepted = Receiver::new(&ours).accept(&ours, Some(OURS), known, &received(&packet));
        assert_eq!(accepted.expect("used").other_addresses, remarked, "{skip} {known:?}");
    }
}

#[test]
fn another_interval_is_learnt_and_remarked_in_version_3() {
    let ours = settings(Version::V3);
    let slower = RouterSettings { advert_interval: Duration::from_millis(2500), ..settings(Version::V3) };
    let accepted = judge(&ours, &multicast(&slower, |_| {})).expect("used");
    assert!(accepted.other_interval);
    assert_eq!(accepted.heard.interval, Duration::from_millis(2500));
}
