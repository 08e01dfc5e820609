use proptest::prelude::*;

use super::*;

/// A TCP SYN from 10.1.0.9:3001 to 10.9.0.1:80, as tcpdump -x shows it.
const SYN: [u8; 40] = [
    0x45, 0x10, 0x00, 0x28, 0x12, 0x34, 0x40, 0x00, 0x40, 0x06, 0x13, 0x8f, 10, 1, 0, 9, 10, 9, 0,
    1, // IPv4
    0x0b, 0xb9, 0x00, 0x50, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0, // TCP
];

fn v6(next: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap();
    let mut packet = vec![0x6a, 0xb0, 0, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([next, 64]);
    packet.extend("2001:db8::9".parse::<std::net::Ipv6Addr>().unwrap().octets());
    packet.extend("2001:db8:9::1".parse::<std::net::Ipv6Addr>().unwrap().octets());
    packet.extend(payload);
    packet
}

const UDP: [u8; 8] = [0x13, 0x88, 0x00, 0x35, 0, 8, 0, 0];

#[test]
fn headers_of_both_families() {
    let mut padded = SYN.to_vec();
    padded.extend([0; 6]);
    let view = View::read(&padded).unwrap();
    let expected = View {
        family: Family::V4,
        source: Address::v4(0x0a01_0009),
        destination: Address::v4(0x0a09_0001),
        protocol: protocol::TCP,
        ttl: 64,
        class: 0x10,
        fragment: Fragment::Whole,
        dont_fragment: true,
        transport: 20,
        end: 40,
        ports: Some(Ports { source: 3001, destination: 80 }),
    };
    assert_eq!(view, expected);
    assert_eq!(view.payload(&padded).len(), 20);

    let packet = v6(protocol::UDP, &UDP);
    let view = View::read(&packet).unwrap();
    assert_eq!(
        (view.source.to_string(), view.destination.to_string()),
        ("2001:db8::9".into(), "2001:db8:9::1".into())
    );
    assert_eq!((view.class, view.ttl, view.transport, view.end), (0xab, 64, 40, 48));
    assert_eq!(view.ports, Some(Ports { source: 5000, destination: 53 }));
}

#[test]
fn fragments_are_told_apart() {
    let with = |fragment: u16| {
        let mut packet = SYN;
        packet[6..8].copy_from_slice(&fragment.to_be_bytes());
        let view = View::read(&packet).unwrap();
        (view.fragment, view.ports.is_some())
    };
    assert_eq!(with(0), (Fragment::Whole, true));
    assert_eq!(with(0x2000), (Fragment::First, true));
    assert_eq!(with(0x2001), (Fragment::Later, false));
    assert_eq!(with(0x0001), (Fragment::Later, false));
    let v6_with = |fragment: u16| {
        let [high, low] = fragment.to_be_bytes();
        let view = View::read(&v6(44, &[&[17, 0, high, low, 0, 0, 0, 1], &UDP[..]].concat())).unwrap();
        (view.fragment, view.ports.is_some(), view.transport)
    };
    assert_eq!(v6_with(0), (Fragment::Whole, true, 48));
    assert_eq!(v6_with(1), (Fragment::First, true, 48));
    assert_eq!(v6_with(0x10), (Fragment::Later, false, 48));
}

#[test]
fn extension_headers_are_passed_over() {
    let destination = [44, 0, 1, 4, 0, 0, 0, 0];
    let atomic = [17, 0, 0, 0, 0, 0, 0, 7];
    let packet = v6(60, &[&destination[..], &atomic, &UDP].concat());
    let view = View::read(&packet).unwrap();
    assert_eq!((view.protocol, view.transport), (protocol::UDP, 56));
    assert_eq!(view.ports, Some(Ports { source: 5000, destination: 53 }));
    // No next header: nothing follows.
    let view = View::read(&v6(59, &[])).unwrap();
    assert_eq!((view.protocol, view.ports), (59, None));
}

#[test]
fn the_outer_fragment_header_says_whether_a_packet_is_whole() {
    let header = |next: u8, fragment: u8| [next, 0, 0, fragment, 0, 0, 0, 7];
    let (atomic, first, later) = (0, 1, 8);
    for (what, outer, inner, expected) in [
        ("an atomic fragment in a fragment", first, atomic, (Fragment::First, 44, None)),
        ("a fragment in a first one", first, later, (Fragment::First, 44, None)),
        ("a fragment in a later one", later, first, (Fragment::Later, 44, None)),
        ("a fragment in an atomic one", atomic, first, (Fragment::First, 17, Some(5000))),
    ] {
        let packet = v6(44, &[&header(44, outer)[..], &header(17, inner), &UDP].concat());
        let view = View::read(&packet).unwrap();
        assert_eq!((view.fragment, view.protocol, view.ports.map(|ports| ports.source)), expected, "{what}");
        let at = if outer == atomic { 48 } else { 40 };
        let named_at = if outer == atomic { 40 } else { 6 };
        let found = FragmentHeader::find(&packet, &view);
        assert_eq!(found, Ok(Some(FragmentHeader { at, named_at })), "{what}");
    }
}

#[test]
fn what_is_no_packet_is_named() {
    let mut short_header = SYN;
    short_header[0] = 0x44;
    let mut longer = SYN;
    longer[3] = 41;
    let mut shorter = SYN;
    shorter[3] = 19;
    let mut mapped = v6(17, &UDP);
    mapped[8..24].copy_from_slice(&"::ffff:10.0.0.1".parse::<std::net::Ipv6Addr>().unwrap().octets());
    let endless: Vec<u8> = [60, 0, 1, 4, 0, 0, 0, 0].repeat(9);
    for (packet, expected) in [
        (&[][..], Malformed::Truncated),
        (&[0x50; 40], Malformed::Version(5)),
        (&SYN[..19], Malformed::Truncated),
        (&SYN[..39], Malformed::TotalLength(40)),
        (&short_header, Malformed::HeaderLength(16)),
        (&longer, Malformed::TotalLength(41)),
        (&shorter, Malformed::TotalLength(19)),
        (&v6(17, &UDP)[..47], Malformed::TotalLength(48)),
        (&mapped, Malformed::Mapped),
        (&v6(60, &[17, 1, 0, 0, 0, 0, 0, 0]), Malformed::Truncated),
        (&v6(60, &endless), Malformed::TooManyExtensions),
    ] {
        assert_eq!(View::read(packet), Err(expected));
    }
}

#[test]
fn transport_that_is_cut_off_has_no_ports() {
    let mut packet = SYN;
    packet[3] = 23;
    assert_eq!(View::read(&packet).unwrap().ports, None);
}

proptest! {
    #[test]
    fn whatever_comes_every_offset_lies_within(
        mut packet in prop::collection::vec(any::<u8>(), 0..120),
        version in prop::sample::select(vec![4_u8, 6, 0]),
    ) {
        if let Some(first) = packet.first_mut() {
            *first = version << 4 | *first & 0xf;
        }
        if let Ok(view) = View::read(&packet) {
            prop_assert!(view.transport <= view.end && view.end <= packet.len());
            prop_assert!(view.ports.is_none() || view.payload(&packet).len() >= 4);
        }
    }
}
