use proptest::prelude::*;

use super::*;

const PARTIAL: Offload = Offload { checksum: Checksum::Partial { start: 4, offset: 2 }, segment: None };

#[test]
fn a_packet_lies_within_its_buffer() {
    let mut buffer = [0; 10];
    assert!(Packet::new(&mut buffer, 3, 11, Offload::default()).is_none());
    assert!(Packet::new(&mut buffer, 4, 3, Offload::default()).is_none());
    let packet = Packet::new(&mut buffer, 3, 10, Offload::default()).unwrap();
    assert_eq!((packet.len(), packet.headroom(), packet.is_empty()), (7, 3, false));
}

#[test]
fn headers_grow_into_the_headroom() {
    let mut buffer = [0xee, 0xee, 1, 2, 3, 4, 5, 6, 7, 8];
    let mut packet = Packet::new(&mut buffer, 2, 10, PARTIAL).unwrap();
    assert_eq!(packet.grow_front(3), Err(NoRoom));
    packet.grow_front(1).unwrap()[0] = 9;
    assert_eq!(packet.bytes(), [9, 1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(packet.offload().checksum, Checksum::Partial { start: 5, offset: 2 });
    packet.grow_at(6, 1).unwrap()[0] = 10;
    assert_eq!(packet.bytes(), [9, 1, 2, 3, 4, 5, 10, 6, 7, 8]);
    assert_eq!(packet.offload().checksum, Checksum::Partial { start: 5, offset: 3 });
    assert_eq!(packet.grow_at(11, 0), Err(NoRoom));
}

#[test]
fn a_checksum_goes_with_its_bytes() {
    for (at, count, left) in [
        (0, 3, Checksum::Partial { start: 1, offset: 2 }),
        (5, 1, Checksum::Partial { start: 4, offset: 1 }),
        (7, 9, Checksum::Partial { start: 4, offset: 2 }),
        (0, 5, Checksum::Complete),
    ] {
        let mut buffer = [1, 2, 3, 4, 5, 6, 7, 8];
        let mut packet = Packet::new(&mut buffer, 0, 8, PARTIAL).unwrap();
        packet.shrink_at(at, count);
        assert_eq!(packet.offload().checksum, left, "{count} at {at}");
    }
}

#[test]
fn partial_checksums_are_completed() {
    let mut buffer = [0, 0, 0, 0, 0x12, 0x34, 0x00, 0x10, 0xff];
    let mut packet = Packet::new(&mut buffer, 0, 9, PARTIAL).unwrap();
    packet.complete_checksum().unwrap();
    // 0x1234 + 0x0010 + 0xff00 = 0x1_1144, and the carry.
    assert_eq!(packet.bytes()[6..8], (!0x1145_u16).to_be_bytes());
    assert_eq!(packet.offload().checksum, Checksum::Complete);
    for (start, offset) in [(8, 0), (10, 0), (0, 8), (usize::MAX, usize::MAX)] {
        packet.set_offload(Offload { checksum: Checksum::Partial { start, offset }, segment: None });
        assert_eq!(packet.complete_checksum(), Err(OutsidePacket), "{start} {offset}");
    }
}

#[test]
fn a_checksum_that_is_zero_is_written_as_the_other_zero() {
    let mut buffer = [0, 0, 0, 0, 0xff, 0xff, 0x00, 0x00];
    let mut packet = Packet::new(&mut buffer, 0, 8, PARTIAL).unwrap();
    packet.complete_checksum().unwrap();
    assert_eq!(packet.bytes()[6..], [0xff, 0xff]);
}

proptest! {
    #[test]
    fn what_grew_is_taken_away_again(
        bytes in prop::collection::vec(any::<u8>(), 0..60),
        headroom in 0..40_usize,
        offset in 0..70_usize,
        count in 0..50_usize,
        start in 0..60_usize,
        place in 0..60_usize,
    ) {
        let mut buffer = vec![0xee; headroom];
        buffer.extend(&bytes);
        let end = buffer.len();
        let offload = Offload { checksum: Checksum::Partial { start, offset: place }, segment: None };
        let mut packet = Packet::new(&mut buffer, headroom, end, offload).unwrap();
        let grown = packet.grow_at(offset, count).map(|gap| (gap.len(), gap.iter().all(|byte| *byte == 0)));
        prop_assert_eq!(grown.is_ok(), count <= headroom && offset <= bytes.len());
        if let Ok(gap) = grown {
            prop_assert_eq!(gap, (count, true));
            prop_assert_eq!(packet.len(), bytes.len() + count);
            packet.shrink_at(offset, count);
        }
        prop_assert_eq!(packet.bytes(), bytes);
        prop_assert_eq!(packet.offload(), offload);
    }
}
