use std::collections::BTreeSet;

use super::*;
use crate::engine::checksum::Sum;
use crate::engine::packet::{Fragment, Malformed, protocol};

mod limits;
mod properties;
mod refusals;

const HEADROOM: usize = 64;

/// A datagram that is to be cut.
#[derive(Clone, Debug)]
struct Build {
    family: Family,
    /// Last number of the client's address.
    client: u8,
    identification: u16,
    /// Of IPv4; for IPv6 what the fragment header names.
    protocol: u8,
    class: u8,
    /// TTL or hop limit.
    ttl: u8,
    dont_fragment: bool,
    /// Options of IPv4, in the first fragment alone; extension headers of IPv6 that each has, the last of which names
    /// the next as its first byte.
    before: Vec<u8>,
    payload: Vec<u8>,
}

impl Build {
    fn v4() -> Self {
        Self {
            family: Family::V4,
            client: 9,
            identification: 0x1234,
            protocol: protocol::UDP,
            class: 0,
            ttl: 64,
            dont_fragment: false,
            before: vec![],
            payload: (0..80).collect(),
        }
    }

    fn v6() -> Self {
        Self { family: Family::V6, ..Self::v4() }
    }

    fn both() -> [Self; 2] {
        [Self::v4(), Self::v6()]
    }

    /// A packet with these data, whose headers say where they belong.
    fn packet(&self, offset: usize, more: bool, data: &[u8]) -> Vec<u8> {
        match self.family {
            Family::V4 => self.packet_v4(offset, more, data),
            Family::V6 => {
                let [id_high, id_low] = self.identification.to_be_bytes();
                let [high, low] = (u16::try_from(offset).unwrap() | u16::from(more)).to_be_bytes();
                let header = [self.protocol, 0, high, low, 0, 0, id_high, id_low];
                self.packet_v6(44, &[&header, data].concat())
            }
        }
    }

    fn packet_v4(&self, offset: usize, more: bool, data: &[u8]) -> Vec<u8> {
        let options = if offset == 0 { &self.before[..] } else { &[] };
        let header = 20 + options.len();
        let total = u16::try_from(header + data.len()).unwrap();
        let fragment =
            u16::try_from(offset / 8).unwrap() | u16::from(more) << 13 | u16::from(self.dont_fragment) << 14;
        let mut packet = vec![0x40 | u8::try_from(header / 4).unwrap(), self.class];
        packet.extend(total.to_be_bytes());
        packet.extend(self.identification.to_be_bytes());
        packet.extend(fragment.to_be_bytes());
        packet.extend([self.ttl, self.protocol, 0, 0, 10, 1, 0, self.client, 10, 9, 0, 1]);
        packet.extend(options);
        let checksum = Sum::of(&packet).checksum();
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());
        packet.extend(data);
        packet
    }

    fn packet_v6(&self, next: u8, payload: &[u8]) -> Vec<u8> {
        let mut before = self.before.clone();
        let first = if self.before.is_empty() { next } else { 60 };
        if let Some(last) = before.len().checked_sub(8) {
            before[last] = next;
        }
        let length = u16::try_from(before.len() + payload.len()).unwrap();
        let mut packet = vec![0x60 | self.class >> 4, self.class << 4, 0, 0];
        packet.extend(length.to_be_bytes());
        packet.extend([first, self.ttl]);
        for last in [self.client, 1] {
            packet.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
        }
        packet.extend(before);
        packet.extend(payload);
        packet
    }

    /// What comes out.
    fn whole(&self) -> Vec<u8> {
        match self.family {
            Family::V4 => Self { dont_fragment: false, ..self.clone() }.packet_v4(0, false, &self.payload),
            Family::V6 => self.packet_v6(self.protocol, &self.payload),
        }
    }

    fn part(&self, from: usize, to: usize) -> Vec<u8> {
        self.packet(from, to < self.payload.len(), &self.payload[from..to])
    }

    /// Cut at these offsets.
    fn cut(&self, at: &[usize]) -> Vec<Vec<u8>> {
        let ends = [at, &[self.payload.len()]].concat();
        let begins = std::iter::once(0).chain(at.iter().copied());
        begins.zip(ends).map(|(from, to)| self.part(from, to)).collect()
    }
}

/// With the time that its tests need.
#[derive(Debug)]
struct Bench {
    reassembly: Reassembly,
    start: Instant,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        Self::limited(Limits::default())
    }

    fn limited(limits: Limits) -> Self {
        let start = Instant::now();
        Self { reassembly: Reassembly::new(limits, HEADROOM), start, now: start }
    }

    fn take(&mut self, packet: &[u8]) -> Result<Option<Whole>, Refused> {
        let view = View::read(packet).unwrap();
        let taken = self.reassembly.take(packet, &view, self.now);
        self.reassembly.check();
        if let Ok(Some(whole)) = &taken {
            assert_eq!(Ok(whole.view), View::read(whole.packet()));
            assert_eq!((whole.view.fragment, whole.view.end), (Fragment::Whole, whole.packet().len()));
        }
        taken
    }

    /// What the last of these makes whole.
    fn whole(&mut self, packets: &[Vec<u8>]) -> Whole {
        let (last, others) = packets.split_last().unwrap();
        for packet in others {
            assert_eq!(self.take(packet), Ok(None));
        }
        self.take(last).unwrap().expect("the last one was missing")
    }

    fn at(&mut self, time: Duration) {
        self.now = self.start + time;
    }
}

impl Reassembly {
    /// What holds whatever has come.
    fn check(&self) {
        assert!(self.bytes <= self.limits.bytes && self.len() <= self.limits.datagrams, "{self:?}");
        assert_eq!(self.bytes, self.datagrams.values().map(|entry| entry.datagram.cost()).sum::<usize>());
        let queued: BTreeSet<_> = self
            .queues()
            .flat_map(|queue| queue.iter().map(|(age, deadline)| (deadline.key, *age)))
            .collect();
        let known: BTreeSet<_> = self.datagrams.iter().map(|(key, entry)| (*key, entry.age)).collect();
        assert_eq!(queued, known);
        assert_eq!(self.v4.len() + self.v6.len(), known.len());
    }
}

#[test]
fn in_whatever_order_they_come_the_packet_is_the_same() {
    for build in Build::both() {
        let parts = build.cut(&[24, 64]);
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let mut bench = Bench::new();
            let whole = bench.whole(&order.map(|part| parts[part].clone()));
            assert_eq!(whole.packet(), build.whole(), "{order:?}");
            assert_eq!((whole.start, &whole.buffer[..HEADROOM]), (HEADROOM, &[0; HEADROOM][..]));
            assert_eq!(whole.longest, parts[1].len());
            assert!(bench.reassembly.is_empty() && bench.reassembly.bytes() == 0);
            let counts = bench.reassembly.counts();
            assert_eq!(counts, Counts { kept: 3, whole: 1, ..Counts::default() });
        }
    }
}

/// What Linux makes of a datagram of 100 bytes from port 4000 to 53 on a link of 68 bytes, and of one of 1,400 bytes on
/// one of 1,280, as AF_PACKET shows it at the other end. The headers expected are those that it sends where the link
/// takes the datagram whole (but for the identification of IPv4, which is another for each).
#[test]
fn fragments_that_linux_makes_become_what_it_does_not_cut() {
    let data: Vec<u8> = (0..100).collect();
    let addresses = [192, 0, 2, 1, 192, 0, 2, 2];
    let udp = [0x0f, 0xa0, 0x00, 0x35, 0x00, 0x6c, 0xcf, 0x6f];
    let v4 = |start: [u8; 12], data: &[&[u8]]| [&start[..], &addresses, &data.concat()].concat();
    let first = [0x45, 0, 0, 0x44, 0xa6, 0x9b, 0x20, 0x00, 0x40, 0x11, 0x30, 0x0a];
    let second = [0x45, 0, 0, 0x44, 0xa6, 0x9b, 0x20, 0x06, 0x40, 0x11, 0x30, 0x04];
    let third = [0x45, 0, 0, 0x20, 0xa6, 0x9b, 0x00, 0x0c, 0x40, 0x11, 0x50, 0x22];
    let expected = [0x45, 0, 0, 0x80, 0xa6, 0x9b, 0x00, 0x00, 0x40, 0x11, 0x4f, 0xce];
    let whole = Bench::new().whole(&[
        v4(first, &[&udp, &data[..40]]),
        v4(second, &[&data[40..88]]),
        v4(third, &[&data[88..]]),
    ]);
    assert_eq!(whole.packet(), v4(expected, &[&udp, &data]));

    let mut addresses = [0; 32];
    for (at, last) in [(0, 1), (16, 2)] {
        addresses[at..at + 4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
        addresses[at + 15] = last;
    }
    let udp = [0x0f, 0xa0, 0x00, 0x35, 0x05, 0x80, 0x52, 0x6d];
    let v6 = |start: [u8; 8], data: &[&[u8]]| [&start[..], &addresses, &data.concat()].concat();
    let first = [0x60, 0x05, 0xd4, 0x99, 0x04, 0xd8, 0x2c, 0x40];
    let second = [0x60, 0x05, 0xd4, 0x99, 0x00, 0xb8, 0x2c, 0x40];
    let expected = [0x60, 0x05, 0xd4, 0x99, 0x05, 0x80, 0x11, 0x40];
    let whole = Bench::new().whole(&[
        v6(first, &[&[0x11, 0, 0x00, 0x01, 0x35, 0x0d, 0x42, 0x6e], &udp, &[7; 1224]]),
        v6(second, &[&[0x11, 0, 0x04, 0xd0, 0x35, 0x0d, 0x42, 0x6e], &[7; 176]]),
    ]);
    assert_eq!((whole.packet(), whole.longest), (&v6(expected, &[&udp, &[7; 1400]])[..], 1280));
}

#[test]
fn the_headers_of_the_first_fragment_are_those_of_the_packet() {
    let record_route = vec![7, 7, 4, 0, 0, 0, 0, 0];
    let build = Build { before: record_route, class: 0x28, ..Build::v4() };
    let later = Build { class: 0x08, ttl: 17, ..build.clone() };
    let whole = Bench::new().whole(&[later.part(40, 80), build.part(0, 40)]);
    assert_eq!(whole.packet(), build.whole());

    let extensions = [[60, 0, 1, 4, 0, 0, 0, 0], [44, 0, 1, 4, 0, 0, 0, 0]].concat();
    let build = Build { before: extensions, class: 0x28, ..Build::v6() };
    let later = Build { class: 0x08, ttl: 17, protocol: protocol::TCP, before: vec![], ..build.clone() };
    let whole = Bench::new().whole(&[later.part(40, 80), build.part(0, 40)]);
    assert_eq!(whole.packet(), build.whole());
    assert_eq!((whole.view.protocol, whole.view.transport), (protocol::UDP, 56));
}

#[test]
fn an_atomic_fragment_header_is_passed_over() {
    let atomic = vec![44, 0, 0, 0, 0, 0, 0, 7];
    let build = Build { before: atomic, ..Build::v6() };
    let mut parts = build.cut(&[40]);
    // It is a fragment header, not destination options.
    parts.iter_mut().for_each(|part| part[6] = 44);
    let mut expected = build.whole();
    expected[6] = 44;
    assert_eq!(Bench::new().whole(&parts).packet(), expected);
}

#[test]
fn fragments_of_other_datagrams_do_not_help() {
    let v4 = Build::v4();
    for (what, other) in [
        ("client", Build { client: 8, ..v4.clone() }),
        ("identification", Build { identification: 1, ..v4.clone() }),
        ("protocol", Build { protocol: protocol::TCP, ..v4.clone() }),
        ("family", Build::v6()),
    ] {
        let mut bench = Bench::new();
        assert_eq!(bench.take(&v4.part(0, 40)), Ok(None));
        assert_eq!(bench.take(&other.part(40, 80)), Ok(None), "{what}");
        assert_eq!(bench.reassembly.len(), 2, "{what}");
        assert_eq!(bench.whole(&[v4.part(40, 80)]).packet(), v4.whole(), "{what}");
        assert_eq!(bench.whole(&[other.part(0, 40)]).packet(), other.whole(), "{what}");
    }
}

#[test]
fn duplicates_do_no_harm() {
    for build in Build::both() {
        let parts = build.cut(&[24, 64]);
        let mut bench = Bench::new();
        for part in [2, 2, 0, 2, 0, 0] {
            assert_eq!(bench.take(&parts[part]), Ok(None));
        }
        assert_eq!(bench.take(&parts[1]).unwrap().unwrap().packet(), build.whole());
        let counts = bench.reassembly.counts();
        assert_eq!((counts.kept, counts.duplicates, counts.spoilt), (3, 4, 0));
    }
}

#[test]
fn one_that_must_not_be_cut_is_enough() {
    let build = Build::v4();
    let strict = Build { dont_fragment: true, ..build.clone() };
    for (first, last, expected) in
        [(&build, &build, false), (&strict, &build, true), (&build, &strict, true), (&strict, &strict, true)]
    {
        let whole = Bench::new().whole(&[first.part(0, 40), last.part(40, 80)]);
        assert_eq!((whole.dont_fragment, whole.view.dont_fragment), (expected, false));
        assert_eq!(whole.packet(), build.whole());
    }
    assert!(Bench::new().whole(&Build::v6().cut(&[40])).dont_fragment);
}
