use std::net::IpAddr;

use super::frame::decode;
use super::*;

// Sent by keepalived 2.2.7 with VRID 51, priority 100 and the virtual address 192.0.2.100, or fe80::100 and
// 2001:db8::100, and taken with a `Capture` in a lab.
const V2_AUTHENTICATION_HEADER: &str = "01005e000012aa33b3cac612080045c0004000010000ff3318b5c0000202e0000012\
    70040000c0000202000000014c99454dafcb41f82c409613\
    213364010201b665c00002640000000000000000";
const V3: &str = "01005e0000122249ae120d73080045c0002000010000ff701898c0000202e0000012\
    31336401001405c1c0000264";
const V3_IPV6: &str = "3333000000124a050685c9cd86dd6c027c73002870fffe80000000000000480506fffe85c9cd\
    ff0200000000000000000000000000123133640200\
    1426f6fe80000000000000000000000000010020010db8000000000000000000000100";
const GRATUITOUS_ARP: &str = "ffffffffffff2249ae120d7308060001080006040001\
    2249ae120d73c0000264ffffffffffffc0000264";
const NEIGHBOUR_ADVERTISEMENT: &str = "3333000000014a050685c9cd86dd6000000000203aff\
    20010db8000000000000000000000100ff020000000000000000000000000001\
    8800ded52000000020010db800000000000000000000010002014a050685c9cd";

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        hex.chars().map(|digit| u8::try_from(digit.to_digit(16).expect("hex")).expect("a nibble")).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn advertisement(hex: &str) -> Advertisement {
    match decode(&bytes(hex)) {
        Some(Message::Advertisement(advertisement)) => advertisement,
        other => panic!("not an advertisement: {other:?}"),
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[test]
fn an_advertisement_of_version_3_tells_its_sender_and_interval_in_centiseconds() {
    let expected = Advertisement {
        source_mac: Mac([0x22, 0x49, 0xae, 0x12, 0x0d, 0x73]),
        source: ip("192.0.2.2"),
        destination: ip("224.0.0.18"),
        authenticated: false,
        version: 3,
        vrid: 51,
        priority: 100,
        addresses: 1,
        interval: Duration::from_millis(200),
    };
    assert_eq!(advertisement(V3), expected);
}

#[test]
fn an_advertisement_is_found_behind_an_authentication_header() {
    let found = advertisement(V2_AUTHENTICATION_HEADER);
    assert!(found.authenticated);
    assert_eq!((found.version, found.vrid, found.interval), (2, 51, Duration::from_secs(1)));
}

#[test]
fn an_advertisement_over_ipv6_tells_all_it_carries() {
    let found = advertisement(V3_IPV6);
    assert_eq!((found.source, found.destination), (ip("fe80::4805:6ff:fe85:c9cd"), ip("ff02::12")));
    assert_eq!((found.addresses, found.priority), (2, 100));
}

#[test]
fn gratuitous_arp_and_unsolicited_neighbour_advertisements_are_announcements() {
    for (frame, address, mac) in [
        (GRATUITOUS_ARP, "192.0.2.100", [0x22, 0x49, 0xae, 0x12, 0x0d, 0x73]),
        (NEIGHBOUR_ADVERTISEMENT, "2001:db8::100", [0x4a, 0x05, 0x06, 0x85, 0xc9, 0xcd]),
    ] {
        let expected = Announcement { address: ip(address), mac: Mac(mac) };
        assert_eq!(decode(&bytes(frame)), Some(Message::Announcement(expected)));
    }
}

#[test]
fn an_arp_question_announces_nothing() {
    let mut question = bytes(GRATUITOUS_ARP);
    *question.last_mut().expect("a frame") = 1;
    assert_eq!(decode(&question), Some(Message::Other));
}

#[test]
fn a_frame_cut_anywhere_is_no_advertisement_of_something_else() {
    for frame in [V2_AUTHENTICATION_HEADER, V3, V3_IPV6, GRATUITOUS_ARP, NEIGHBOUR_ADVERTISEMENT] {
        let whole = bytes(frame);
        let meaning = decode(&whole);
        for length in 0..whole.len() {
            let cut = decode(&whole[..length]);
            assert!(
                matches!(cut, None | Some(Message::Other)) || cut == meaning,
                "{length} bytes of {frame} mean {cut:?}"
            );
        }
    }
}

#[test]
fn other_traffic_is_not_kept() {
    let mut udp = bytes(V3);
    udp[23] = 17;
    assert_eq!(decode(&udp), None);
}

/// Advertisements as (milliseconds, last byte of the source, priority), all of version 3 at 200 ms.
fn frames(spoken: &[(u64, u8, u8)]) -> Vec<Frame> {
    spoken
        .iter()
        .map(|(at, source, priority)| {
            let mut bytes = bytes(V3);
            bytes[29] = *source;
            bytes[36] = *priority;
            Frame {
                at: SystemTime::UNIX_EPOCH + Duration::from_millis(*at),
                direction: Direction::In,
                message: decode(&bytes).expect("an advertisement"),
                bytes,
            }
        })
        .collect()
}

#[test]
fn a_takeover_is_late_by_what_exceeds_three_intervals_and_the_skew() {
    // 3 x 200 ms + 156/256 x 200 ms = 721.875 ms
    let frames = frames(&[(0, 1, 200), (200, 1, 200), (922, 2, 100), (1122, 2, 100)]);
    let [takeover] = takeover::takeovers(&frames, SystemTime::UNIX_EPOCH).try_into().expect("one takeover");
    assert_eq!(takeover.silence, Duration::from_millis(722));
    assert_eq!(takeover.timer(), Duration::from_micros(721_875));
    assert_eq!(takeover.lateness_us(), 125);
}

#[test]
fn after_a_resignation_only_the_skew_is_waited_for() {
    let frames = frames(&[(0, 1, 200), (100, 1, 0), (220, 2, 100)]);
    let [takeover] = takeover::takeovers(&frames, SystemTime::UNIX_EPOCH).try_into().expect("one takeover");
    assert_eq!(takeover.timer(), Duration::from_micros(121_875));
    assert_eq!(takeover.lateness_us(), -1_875);
}

#[test]
fn a_resignation_itself_and_a_change_before_the_moment_asked_about_are_no_takeovers() {
    let frames = frames(&[(0, 1, 200), (500, 2, 100), (600, 1, 0)]);
    let since = SystemTime::UNIX_EPOCH + Duration::from_millis(550);
    assert_eq!(takeover::takeovers(&frames, since), []);
}

#[test]
fn who_answers_a_living_better_master_has_not_taken_over() {
    let told = [(0, 1, 200), (150, 2, 100), (200, 1, 200), (401, 2, 100), (922, 2, 100)];
    let [takeover] = takeover::takeovers(&frames(&told), SystemTime::UNIX_EPOCH).try_into().expect("one");
    assert_eq!(takeover.silence, Duration::from_millis(722));
}

#[test]
fn a_pcap_file_has_a_header_of_24_bytes_and_16_before_each_frame() {
    let frames = frames(&[(1_500, 1, 200)]);
    let mut file = Vec::new();
    write_pcap(&mut file, &frames).expect("writing to memory");
    assert_eq!(file.len(), 24 + 16 + 46);
    assert_eq!(file[..4], [0x4d, 0x3c, 0xb2, 0xa1]);
    assert_eq!(file[24..32], [1, 0, 0, 0, 0x00, 0x65, 0xcd, 0x1d]);
    assert_eq!(file[32..40], [46, 0, 0, 0, 46, 0, 0, 0]);
}
