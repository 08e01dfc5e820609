//! Datagrams, good ones and broken ones, to a backup of the kernel and to our decoder.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::thread;
use std::time::{Duration, Instant};

use buoy_ipvs::engine::state::{SctpState, TcpState};
use buoy_ipvs::sync::{
    CallId, Connection, ConnectionState, Discard, Endpoint, Ends, Message, Method, RecordFlags, Records,
    SequenceShift, Subject, SyncId, SyncRecord, Template, TemplateProtocol, Tuple, Version,
};
use buoy_ipvs::{Plane, SyncDaemon, SyncRole};

use super::ID;
use super::listing::{Key, Value, listing, protocol_name};
use super::network::Network;
use crate::bench::{empty_plane, ipvsadm};
use crate::machine::inside;

/// A record that was taken.
struct Taken {
    key: Key,
    value: Value,
    /// Whether it is still there when the table is read.
    lives_on: bool,
    datagram: Vec<u8>,
}

impl Taken {
    fn new(record: &SyncRecord<'_>, datagram: &[u8]) -> Self {
        let (key, value) = entry(record);
        Self { key, value, lives_on: lives_on(record), datagram: datagram.to_owned() }
    }
}

#[test]
#[ignore = "runs in a kernel of its own"]
fn it_takes_what_our_decoder_takes_and_drops_what_it_drops() {
    if !inside() {
        return;
    }
    // IPVS first, as it brings IPv6.
    let mut plane = empty_plane();
    let network = Network::new();
    // It brings the module of its persistence engine.
    ipvsadm("-A -u 10.70.9.9:5060 -s rr -p 360 --pe sip");
    plane.start_sync(&SyncDaemon::new(SyncRole::Backup, Network::LINK, ID)).unwrap();
    let mut random = Random(0x5eed);
    // `None` where several records were of one entry, which has something of each.
    let mut all = BTreeMap::<Key, Option<Value>>::new();
    let (mut taken, mut discarded) = (0, 0);
    for round in 0..60 {
        let mut expected = Vec::new();
        for number in 0..50 {
            let datagram = random.datagram(round * 50 + number);
            let Some(records) = known_to_both(&datagram) else { continue };
            let (good, bad): (Vec<_>, Vec<_>) = records.into_iter().partition(Result::is_ok);
            taken += good.len();
            discarded += bad.len();
            expected.extend(good.iter().flatten().map(|record| Taken::new(record, &datagram)));
            network.send(&datagram);
        }
        // Datagrams are read in their order.
        network.send(&datagram_of_sentinel(round));
        expected.push(Taken::new(&sentinel_record(round), &[]));
        let listed = listing_with(&expected);
        for Taken { key, value, .. } in expected {
            all.entry(key).and_modify(|value| *value = None).or_insert(Some(value));
        }
        let agrees = |(key, value): &(&Key, &Value)| match all.get(*key) {
            Some(Some(expected)) => *value == expected,
            Some(None) => true,
            None => false,
        };
        let strange: Vec<_> = listed.iter().filter(|entry| !agrees(entry)).collect();
        assert!(strange.is_empty(), "the kernel has taken what we have not: {strange:?}");
    }
    let single = all.values().flatten().count();
    assert!(single > all.len() * 9 / 10, "{single} of {}", all.len());
    println!("{taken} records taken and {discarded} causes for others, as by the kernel");
    assert!(taken > 2_000 && discarded > 500, "{taken} {discarded}");
    plane.stop_sync(SyncRole::Backup).unwrap();
    plane.flush().unwrap();
}

/// What our decoder makes of it, unless kernels do not agree among each other.
fn known_to_both(datagram: &[u8]) -> Option<Vec<Result<SyncRecord<'_>, Discard>>> {
    let Ok(records) = Records::read(datagram, SyncId(ID)) else { return Some(Vec::new()) };
    let records: Vec<_> = records.collect();
    let differ = records.iter().any(|record| {
        matches!(
            record,
            Err(Discard::OnePacket
                | Discard::UnknownTemplateState(_)
                | Discard::TemplateWithoutClientPort
                // AH and ESP
                | Discard::UnknownProtocol(50 | 51))
        )
    });
    (!differ).then_some(records)
}

/// As the kernel lists it.
fn entry(record: &SyncRecord<'_>) -> (Key, Value) {
    let (protocol, state) = match record.subject {
        Subject::Connection(Connection { state, .. }) => {
            let name = match state {
                ConnectionState::Tcp(state) => state.to_string(),
                ConnectionState::Sctp(state) => state.to_string(),
                ConnectionState::Udp => "UDP".to_owned(),
            };
            (state.protocol().number(), name)
        }
        Subject::Template(Template { protocol, assured, .. }) => {
            (protocol.0, if assured { "ASSURED" } else { "NONE" }.to_owned())
        }
    };
    let name = protocol_name(protocol);
    match record.tuple {
        Tuple::V4(Ends { client, service, server, .. }) => (
            (name, client.address.into(), client.port, service.address.into(), service.port),
            (server.address.into(), server.port, state),
        ),
        Tuple::V6(Ends { client, service, server, .. }) => {
            // A mark, of which the rest is nothing.
            let mask = if protocol == 0 { u128::MAX << 96 } else { u128::MAX };
            let address = Ipv6Addr::from_bits(service.address.to_bits() & mask);
            (
                (name, client.address.into(), client.port, address.into(), service.port),
                (server.address.into(), server.port, state),
            )
        }
    }
}

fn lives_on(record: &SyncRecord<'_>) -> bool {
    let seconds = record.timeout.map(NonZeroU32::get).map(u64::from);
    let of_state = || match record.subject {
        Subject::Template(_) => 180,
        Subject::Connection(Connection { state: ConnectionState::Tcp(state), .. }) => {
            state.default_timeout().as_secs()
        }
        Subject::Connection(Connection { state: ConnectionState::Sctp(state), .. }) => {
            state.default_timeout().as_secs()
        }
        Subject::Connection(Connection { state: ConnectionState::Udp, .. }) => 300,
    };
    seconds.unwrap_or_else(of_state) > 30
}

/// The table of the kernel, once all that lives on is in it. It is read many times: whoever expires meanwhile makes a
/// reader of `/proc` miss others.
fn listing_with(expected: &[Taken]) -> BTreeMap<Key, Value> {
    let begin = Instant::now();
    let mut listed = BTreeMap::new();
    loop {
        listed.extend(listing().into_iter().map(|(key, (value, _))| (key, value)));
        let mut missing = expected.iter().filter(|taken| taken.lives_on && !listed.contains_key(&taken.key));
        let Some(Taken { key, datagram, .. }) = missing.next() else { return listed };
        assert!(begin.elapsed() < Duration::from_secs(30), "{key:?} was not taken of {datagram:02x?}");
        thread::sleep(Duration::from_millis(10));
    }
}

fn sentinel_record(round: u32) -> SyncRecord<'static> {
    let end = |address: u32| Endpoint::new(Ipv4Addr::from_bits(address), 9);
    let tuple = Ends { client: end(0xac10_0000 + round), service: end(1), server: end(2), local: None };
    SyncRecord {
        subject: Subject::Connection(Connection::new(ConnectionState::Udp)),
        tuple: Tuple::V4(tuple),
        method: Method::Masquerade,
        flags: RecordFlags::INACTIVE,
        mark: None,
        timeout: NonZeroU32::new(3_600),
    }
}

fn datagram_of_sentinel(round: u32) -> Vec<u8> {
    let mut message = Message::new(Version::V1, SyncId(ID), 1472);
    message.push(&sentinel_record(round)).unwrap();
    message.bytes().to_vec()
}

/// The same numbers on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        // Knuth's MMIX.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }

    fn byte(&mut self) -> u8 {
        match self.below(4) {
            0 => [0, 1, 2, 3, 4, 0x10, 0x24, 0x40, 0x41, 0x45, 0x48, 0x80, 0xff][self.below(13)],
            _ => u8::try_from(self.below(256)).unwrap(),
        }
    }

    /// A good message, or one with some bytes changed.
    fn datagram(&mut self, number: u32) -> Vec<u8> {
        let version = if self.below(4) == 0 { Version::V0 } else { Version::V1 };
        let mut message = Message::new(version, SyncId(ID), 1472);
        for place in 0..1 + u32::try_from(self.below(4)).unwrap() {
            let client = 0x0b00_0000 + number * 8 + place;
            let record = self.record(client);
            // Version 0 does not know them all.
            if message.push(&record).is_err() {
                let simple = Connection::new(ConnectionState::Udp);
                let tuple = v4_tuple(client, 5_000, None);
                message.push(&SyncRecord { subject: Subject::Connection(simple), tuple, ..record }).unwrap();
            }
        }
        let mut datagram = message.bytes().to_vec();
        if self.below(4) > 0 {
            for _ in 0..1 + self.below(3) {
                let at = self.place(datagram.len());
                datagram[at] = self.byte();
            }
        }
        if self.below(8) == 0 {
            let len = 4 + self.below(datagram.len() - 4);
            datagram.truncate(len);
            let size = u16::try_from(len).unwrap().to_be_bytes();
            datagram[2..4].copy_from_slice(&size);
        }
        datagram
    }

    /// Rarely in the header, where a change makes nothing of all.
    fn place(&mut self, len: usize) -> usize {
        if self.below(8) == 0 { self.below(8.min(len)) } else { self.below(len) }
    }

    fn record(&mut self, client: u32) -> SyncRecord<'static> {
        let state = match self.below(3) {
            0 => ConnectionState::Tcp(TcpState::ALL[self.below(11)]),
            1 => ConnectionState::Sctp(SctpState::ALL[self.below(14)]),
            _ => ConnectionState::Udp,
        };
        let subject = match self.below(4) {
            0 => Subject::Template(Template {
                protocol: TemplateProtocol(self.byte()),
                assured: self.below(2) == 0,
                call_id: CallId::new(&b"abc123@host"[..self.below(12)]),
            }),
            1 => Subject::Connection(Connection {
                in_sequence: Some(SequenceShift::default()),
                ..Connection::new(state)
            }),
            _ => Subject::Connection(Connection::new(state)),
        };
        let port = if matches!(subject, Subject::Template(_)) { 0 } else { 5_000 };
        SyncRecord {
            subject,
            tuple: self.tuple(client, port),
            method: [Method::Masquerade, Method::Direct, Method::Tunnel][self.below(3)],
            flags: RecordFlags::NONE,
            mark: None,
            timeout: NonZeroU32::new(3_600),
        }
    }

    fn tuple(&mut self, client: u32, port: u16) -> Tuple {
        let has_local = self.below(3) == 0;
        if self.below(3) == 0 {
            let end = |low: u32, port| {
                Endpoint::new(Ipv6Addr::new(0xfd71, 0, 0, 0, 0, 0, (low >> 16) as u16, low as u16), port)
            };
            let local = has_local.then(|| end(3, 1_025));
            Tuple::V6(Ends { client: end(client, port), service: end(1, 80), server: end(2, 80), local })
        } else {
            let local = has_local.then(|| Endpoint::new(Ipv4Addr::new(10, 2, 0, 1), 1_025));
            v4_tuple(client, port, local)
        }
    }
}

fn v4_tuple(client: u32, port: u16, local: Option<Endpoint<Ipv4Addr>>) -> Tuple {
    let end = |bits, port| Endpoint::new(Ipv4Addr::from_bits(bits), port);
    let (service, server) = (end(0x0a09_0001, 80), end(0x0a02_000b, 80));
    Tuple::V4(Ends { client: end(client, port), service, server, local })
}
