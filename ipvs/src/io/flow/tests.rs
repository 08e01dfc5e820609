use proptest::prelude::*;

use super::*;
use crate::engine::checksum;

fn address() -> impl Strategy<Value = Address> {
    prop_oneof![any::<u32>().prop_map(Address::v4), any::<u128>().prop_map(Address::v6)]
}

prop_compose! {
    fn flow_key()(
        source in address(), destination in address(), source_port: u16, destination_port: u16, protocol: u8,
    ) -> FlowKey {
        FlowKey { source, destination, source_port, destination_port, protocol }
    }
}

fn v4(source: u32, destination: u32, source_port: u16, destination_port: u16) -> FlowKey {
    let (source, destination) = (Address::v4(source), Address::v4(destination));
    FlowKey { source, destination, source_port, destination_port, protocol: 6 }
}

#[test]
fn keys_are_what_headers_have() {
    let bytes = v4(0xc000_0201, 0xc000_0202, 0x1234, 80).to_bytes();
    let mut expected = [0; key::SIZE];
    expected[10..16].copy_from_slice(&[0xff, 0xff, 192, 0, 2, 1]);
    expected[26..32].copy_from_slice(&[0xff, 0xff, 192, 0, 2, 2]);
    expected[32..36].copy_from_slice(&[0x12, 0x34, 0, 80]);
    expected[36..40].copy_from_slice(&6_u32.to_ne_bytes());
    assert_eq!(bytes, expected);
}

#[test]
fn families_do_not_meet() {
    let mapped =
        FlowKey { destination: "2001:db8::1".parse::<std::net::IpAddr>().unwrap().into(), ..v4(1, 2, 3, 4) };
    let bytes = [v4(1, 2, 3, 4), mapped].map(|key| key::PROTOCOL.of(&key.to_bytes()));
    assert_eq!(bytes, [6_u32, 0x106].map(u32::to_ne_bytes));
}

#[test]
fn a_flow_that_changes_nothing_has_no_change() {
    let key = v4(0xc000_0201, 0xc000_0202, 1, 2);
    let same = Flow::direct(&key, NextHopIndex(3));
    assert_eq!(same.change, Change { addresses: 0, ports: 0 });
    // Words that change places add up to the same.
    let turned = Flow::new(Mode::MasqueradeReply, &key, &key.reversed(), NextHopIndex(3));
    assert_eq!(turned.change, Change { addresses: 0, ports: 0 });
}

#[test]
fn fields_do_not_overlap_and_fill_the_structures() {
    let fields = |fields: &[(usize, usize)], size| {
        let mut at = 0;
        for &(begin, length) in fields {
            assert!(begin >= at && begin % length.min(8) == 0, "{begin}");
            at = begin + length;
        }
        assert_eq!(at, size);
    };
    fields(&[(0, 16), (16, 16), (32, 2), (34, 2), (36, 4)], key::SIZE);
    assert_eq!([key::SOURCE.0, key::DESTINATION.0], [0, 16]);
    assert_eq!([key::SOURCE_PORT.0, key::DESTINATION_PORT.0, key::PROTOCOL.0], [32, 34, 36]);
    let words = [value::NEXT_HOP, value::ADDRESS_CHANGE, value::PORT_CHANGE, value::MODE];
    let counters = [value::PACKETS, value::BYTES, value::LAST_SEEN];
    let mut places = vec![(value::SOURCE.0, 16), (value::DESTINATION.0, 16)];
    places.extend([(value::SOURCE_PORT.0, 2), (value::DESTINATION_PORT.0, 2)]);
    places.extend(words.map(|field| (field.0, 4)));
    places.extend(counters.map(|field| (field.0, 8)));
    fields(&places, value::SIZE);
}

proptest! {
    #[test]
    fn keys_come_back(key in flow_key()) {
        prop_assert_eq!(FlowKey::from_bytes(&key.to_bytes()), key);
    }

    #[test]
    fn flows_come_back(
        from in flow_key(), to in flow_key(), number in 0..9_u32, hop: u32, packets: u64, bytes: u64, seen: u64,
    ) {
        let mut flow = Flow { mode: Mode::of(number), ..Flow::new(Mode::Direct, &from, &to, NextHopIndex(hop)) };
        flow.counted = Counted { packets, bytes, last_seen: Duration::from_nanos(seen) };
        prop_assert_eq!(Flow::from_bytes(&flow.to_bytes()), flow);
        prop_assert_eq!(flow.mode.number(), number);
    }

    #[test]
    fn any_bytes_are_read(key: [[u8; 8]; 5], value: [[u8; 16]; 5]) {
        let (key, value) = (key.concat().try_into().unwrap(), value.concat().try_into().unwrap());
        let (key, value) = (FlowKey::from_bytes(&key), Flow::from_bytes(&value));
        prop_assert_eq!(FlowKey::from_bytes(&key.to_bytes()), key);
        prop_assert_eq!(Flow::from_bytes(&value.to_bytes()), value);
    }

    #[test]
    fn only_what_is_alike_is_forwarded(from in flow_key(), to in flow_key()) {
        let families = [from.source, from.destination, to.source, to.destination].map(Address::family);
        let one = families.windows(2).all(|pair| pair[0] == pair[1]) && from.protocol == to.protocol;
        let expected = if one { Mode::Direct } else { Mode::Engine };
        prop_assert_eq!(Flow::new(Mode::Direct, &from, &to, NextHopIndex(0)).mode, expected);
    }

    #[test]
    fn changes_are_those_of_the_checksums(from in flow_key(), to in flow_key()) {
        let flow = Flow::new(Mode::MasqueradeRequest, &from, &to, NextHopIndex(0));
        let sum = |key: &FlowKey| {
            Sum::of_address(key.source).plus(Sum::of_address(key.destination)).plus(Sum::of_word(0x1234))
        };
        let changed = checksum::Change::of(Sum::of_word(0), Sum::of_word(flow.change.addresses.to_be()));
        let (changed, anew) = (changed.apply(sum(&from).checksum()), sum(&to).checksum());
        prop_assert!(changed == anew || [changed, anew].iter().all(|sum| sum.is_multiple_of(0xffff)), "{:x} {:x}", changed, anew);
    }
}
