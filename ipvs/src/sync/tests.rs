//! Datagrams of real masters both ways, every cause for which something is not taken, and what holds for any record.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;

use proptest::prelude::*;

use super::*;
use crate::engine::state::{SctpState, TcpState};
use crate::virtual_service::{Family, FwMark, Protocol};

/// Recorded by `ipvs/tests/kernel/cases/sync_protocol/golden.rs`.
const GOLDEN: &str = include_str!("../../tests/golden/sync.txt");

fn bytes(hex: &str) -> Vec<u8> {
    let hex: String = hex.split_whitespace().collect();
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn v4(client: &str, service: &str, server: &str) -> Tuple {
    let end = |text: &str| {
        let (address, port) = text.rsplit_once(':').unwrap();
        Endpoint::new(address.parse::<Ipv4Addr>().unwrap(), port.parse().unwrap())
    };
    Tuple::V4(Ends { client: end(client), service: end(service), server: end(server), local: None })
}

const fn connection(state: ConnectionState, tuple: Tuple) -> SyncRecord<'static> {
    SyncRecord {
        subject: Subject::Connection(Connection::new(state)),
        tuple,
        method: Method::Masquerade,
        flags: RecordFlags::NONE,
        mark: None,
        timeout: None,
    }
}

fn template(protocol: TemplateProtocol, tuple: Tuple) -> SyncRecord<'static> {
    let template = Template { protocol, assured: false, call_id: None };
    SyncRecord {
        subject: Subject::Template(template),
        flags: RecordFlags::INACTIVE,
        ..connection(ConnectionState::Udp, tuple)
    }
}

fn web() -> SyncRecord<'static> {
    let state = ConnectionState::Tcp(TcpState::Established);
    let tuple = v4("10.1.0.9:3001", "10.9.0.1:80", "10.2.0.11:80");
    SyncRecord { timeout: NonZeroU32::new(900), ..connection(state, tuple) }
}

fn with_local(record: SyncRecord<'static>, local: Ipv4Addr, port: u16) -> SyncRecord<'static> {
    let Tuple::V4(ends) = record.tuple else { panic!("{record:?}") };
    SyncRecord { tuple: Tuple::V4(Ends { local: Some(Endpoint::new(local, port)), ..ends }), ..record }
}

fn message(version: Version, records: &[SyncRecord<'_>]) -> Message {
    let mut message = Message::new(version, SyncId(171), Message::MAX_LEN);
    records.iter().for_each(|record| message.push(record).unwrap());
    message
}

fn read(datagram: &[u8]) -> Vec<Result<SyncRecord<'_>, Discard>> {
    Records::read(datagram, SyncId::ANY).unwrap().collect()
}

#[track_caller]
fn holds(version: Version, hex: &str, record: SyncRecord<'_>) {
    let datagram = bytes(hex);
    assert_eq!(read(&datagram), [Ok(record)]);
    assert_eq!(message(version, &[record]).bytes(), datagram);
}

#[test]
fn connections_and_templates_of_linux_6_1_read_and_write() {
    holds(
        Version::V1,
        "00ab002c 01010000 00060024 00000000 0001 0bb9 0050 0050 00000000 00000384 0a010009 0a090001 0a02000b",
        web(),
    );
    let assured = Template { protocol: TemplateProtocol::IP, assured: true, call_id: None };
    let by_mark = template(TemplateProtocol::IP, v4("10.1.0.9:0", "0.0.0.7:0", "10.2.0.11:0"));
    holds(
        Version::V1,
        "00ab002c 01010000 00000024 00001100 0001 0000 0000 0000 00000007 000000c8 0a010009 00000007 0a02000b",
        SyncRecord {
            subject: Subject::Template(assured),
            mark: FwMark::new(7),
            timeout: NonZeroU32::new(200),
            ..by_mark
        },
    );
    let tuple = v4("10.1.0.9:0", "10.9.0.1:5060", "10.2.0.11:5060");
    let call =
        Template { protocol: Protocol::Udp.into(), assured: false, call_id: CallId::new(b"abc123@host") };
    holds(
        Version::V1,
        "00ab003e 01010000 00110036 00001100 0000 0000 13c4 13c4 00000000 00000168 0a010009 0a090001 0a02000b
         020b 6162633132 3340686f7374 0303 736970",
        SyncRecord {
            subject: Subject::Template(call),
            timeout: NonZeroU32::new(360),
            ..template(call.protocol, tuple)
        },
    );
    let established = connection(
        ConnectionState::Tcp(TcpState::Established),
        v4("10.1.0.9:3020", "10.9.0.1:80", "10.2.0.11:80"),
    );
    holds(Version::V0, "01ab001c 00060bcc 00500050 0a010009 0a090001 0a02000b 00000001", established);
}

#[test]
fn every_golden_datagram_is_written_as_it_was_read() {
    let mut commands = 0;
    let (mut families, mut versions, mut states) = (vec![], vec![], vec![]);
    for line in GOLDEN.lines() {
        let Some(hex) = line.strip_prefix("< ") else {
            commands += usize::from(line.starts_with("# v"));
            continue;
        };
        let datagram = bytes(hex);
        let records = Records::read(&datagram, SyncId(171)).unwrap();
        versions.push(records.version());
        let mut written = Message::new(records.version(), records.sync_id(), Message::MAX_LEN);
        for record in records {
            let record = record.unwrap();
            families.push(record.tuple.family());
            states.push(match record.subject {
                Subject::Connection(connection) => format!("{:?}", connection.state),
                Subject::Template(template) if template.call_id.is_some() => "sip".into(),
                Subject::Template(template) => format!("template {}", template.protocol.0),
            });
            written.push(&record).unwrap();
        }
        assert_eq!(written.bytes(), datagram, "{hex}");
    }
    assert_eq!(commands, 15);
    assert!(families.contains(&Family::V4) && families.contains(&Family::V6));
    assert!(versions.contains(&Version::V0) && versions.contains(&Version::V1));
    for state in ["Tcp(Established)", "Tcp(TimeWait)", "Udp", "template 6", "template 0", "sip"] {
        assert!(states.iter().any(|seen| seen == state), "{state} among {states:?}");
    }
}

#[test]
fn datagrams_that_are_no_message_for_us_are_told_apart() {
    let datagram = message(Version::V1, &[web()]).bytes().to_vec();
    let cause = |datagram: &[u8], ours| Records::read(datagram, ours).map(drop).unwrap_err();
    assert_eq!(cause(&[], SyncId::ANY), Discard::NoHeader(0));
    assert_eq!(cause(&datagram[..3], SyncId::ANY), Discard::NoHeader(3));
    assert_eq!(cause(&datagram[..43], SyncId::ANY), Discard::SizeMismatch { size: 44, datagram: 43 });
    let longer = [&datagram[..], &[0]].concat();
    assert_eq!(cause(&longer, SyncId::ANY), Discard::SizeMismatch { size: 44, datagram: 45 });
    assert_eq!(cause(&datagram, SyncId(170)), Discard::OtherSyncId(SyncId(171)));
    assert!(Records::read(&datagram, SyncId(171)).is_ok());
    // A master with id 0 has no better right than others.
    let mut of_zero = datagram;
    of_zero[1] = 0;
    assert_eq!(cause(&of_zero, SyncId(1)), Discard::OtherSyncId(SyncId(0)));
}

#[test]
fn whatever_is_not_version_1_is_version_0() {
    let datagram = message(Version::V1, &[web()]).bytes().to_vec();
    // Reserved, version and spare; a first byte of 0 is no record of version 0, and all of them are surplus.
    for at in [5, 6, 7] {
        let mut other = datagram.clone();
        other[at] = other[at].wrapping_add(1);
        assert_eq!(Records::read(&other, SyncId::ANY).unwrap().version(), Version::V0);
        assert_eq!(read(&other), [Err(Discard::Surplus { bytes: 40 })]);
    }
    let mut other = datagram;
    other[0] = 1;
    assert_eq!(Records::read(&other, SyncId::ANY).unwrap().version(), Version::V0);
    assert_eq!(read(&[0, 171, 0, 4]), []);
    assert_eq!(read(&[0, 171, 0, 7, 0, 1, 0]), [Err(Discard::Surplus { bytes: 3 })]);
}

/// Three records of which the second is `change`d, without any padding.
fn second(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let datagram = message(Version::V1, &[web()]).bytes().to_vec();
    let mut record = datagram[8..].to_vec();
    change(&mut record);
    record.resize(record.len().next_multiple_of(4), 0);
    let mut all = [&datagram[..], &record, &datagram[8..]].concat();
    let size = u16::try_from(all.len()).unwrap().to_be_bytes();
    all[2..4].copy_from_slice(&size);
    all[4] = 3;
    all
}

/// The options of the second record are `options`.
fn options(options: &[&[u8]]) -> Vec<u8> {
    second(|record| {
        record.extend(options.concat());
        let size = u16::try_from(record.len()).unwrap().to_be_bytes();
        record[2..4].copy_from_slice(&size);
    })
}

#[track_caller]
fn drops_the_rest(datagram: &[u8], discard: Discard) {
    assert_eq!(discard.extent(), Extent::Rest);
    assert_eq!(read(datagram), [Ok(web()), Err(discard)], "{discard}");
}

#[track_caller]
fn skips_the_record(datagram: &[u8], discard: Discard) {
    assert_eq!(discard.extent(), Extent::Record);
    assert_eq!(read(datagram), [Ok(web()), Err(discard), Ok(web())], "{discard}");
}

#[test]
fn records_that_cannot_be_measured_take_the_rest_with_them() {
    drops_the_rest(&second(|record| record[2..4].fill(0)), Discard::RecordTooShort(0));
    drops_the_rest(&second(|record| record[3] = 35), Discard::RecordTooShort(35));
    let beyond = Discard::RecordBeyondEnd { size: 73, left: 72 };
    drops_the_rest(&second(|record| record[3] = 73), beyond);
    drops_the_rest(&second(|record| record[2] = 0x10), Discard::RecordVersion(1));
    drops_the_rest(&second(|record| record[2] = 0xf0), Discard::RecordVersion(15));
    drops_the_rest(&second(|record| record[0] = 2), Discard::RecordType(2));
    drops_the_rest(&second(|record| record[0] = 0x80), Discard::RecordType(0x80));
    // IPv6, and too short for it.
    drops_the_rest(&second(|record| record[0] = 1), Discard::RecordTooShort(36));
    drops_the_rest(&second(|record| record[0] = 3), Discard::RecordTooShort(36));
}

#[test]
fn options_that_cannot_be_measured_take_the_rest_with_them() {
    drops_the_rest(&options(&[&[2]]), Discard::OptionBeyondEnd);
    drops_the_rest(&options(&[&[0x50, 2, 0]]), Discard::OptionBeyondEnd);
    drops_the_rest(&options(&[&[0x50, 0]]), Discard::OptionEmpty(0x50));
    drops_the_rest(&options(&[&[1, 23], &[0; 23]]), Discard::SequenceLength(23));
    drops_the_rest(&options(&[&[0x41, 25], &[0; 25]]), Discard::SequenceLength(25));
    drops_the_rest(&options(&[&[1, 24], &[0; 24], &[0x41, 24], &[0; 24]]), Discard::OptionTwice(0x41));
    drops_the_rest(&options(&[&[2, 1, 9, 2, 1, 9]]), Discard::OptionTwice(2));
    drops_the_rest(&options(&[b"\x03\x03sip\x43\x03sip"]), Discard::OptionTwice(0x43));
    drops_the_rest(&options(&[&[3, 17], &[b'a'; 17]]), Discard::EngineNameTooLong(17));
}

#[test]
fn records_that_mean_nothing_here_are_skipped_alone() {
    skips_the_record(&options(&[&[4, 1, 0]]), Discard::UnknownOption(4));
    skips_the_record(&options(&[&[0x81, 1, 0]]), Discard::UnknownOption(0x81));
    // Only with the bit of what may be skipped it is ours; and nobody looks beyond what is not known.
    skips_the_record(&options(&[&[5, 6, 0, 1, 10, 0, 0, 1], &[0x50, 0]]), Discard::UnknownOption(5));
    skips_the_record(&second(|record| record[1] = 50), Discard::UnknownProtocol(50));
    skips_the_record(&second(|record| record[1] = 0), Discard::UnknownProtocol(0));
    let state = |protocol: Protocol, state| {
        let datagram =
            second(|record| record[1..10].copy_from_slice(&[protocol.number(), 0, 36, 0, 0, 0, 0, 0, state]));
        skips_the_record(&datagram, Discard::UnknownState { protocol, state: state.into() });
    };
    state(Protocol::Tcp, 11);
    state(Protocol::Udp, 1);
    state(Protocol::Sctp, 14);
    let high = Discard::UnknownState { protocol: Protocol::Tcp, state: 0x101 };
    skips_the_record(&second(|record| record[8] = 1), high);
    let one_packet = second(|record| record[4..8].copy_from_slice(&0x2000_u32.to_be_bytes()));
    skips_the_record(&one_packet, Discard::OnePacket);
    let portless = second(|record| record[4..8].copy_from_slice(&0x1800_u32.to_be_bytes()));
    skips_the_record(&portless, Discard::TemplateWithoutClientPort);
    let state = second(|record| record[4..10].copy_from_slice(&[0, 0, 0x10, 0, 0, 2]));
    skips_the_record(&state, Discard::UnknownTemplateState(2));
    skips_the_record(&options(&[b"\x02\x01x"]), Discard::UnnamedEngine);
    let pip = Discard::UnknownEngine(EngineName::new(b"pip\n"));
    skips_the_record(&options(&[b"\x02\x01x\x03\x04pip\n"]), pip);
    assert_eq!(pip.to_string(), "persistence engine `pip\\n` is not known");
}

#[test]
fn what_may_be_skipped_is_skipped_and_names_end_at_their_nul() {
    for taken in [
        options(&[&[0x44, 3, 1, 2, 3]]),
        options(&[&[0xff, 1, 0, 0x50, 1, 0, 0x50, 1, 0]]),
        options(&[b"\x03\x03pip"]),
        options(&[b"\x42\x01x\x43\x03sip"]),
        options(&[b"\x02\x01x\x03\x05sip\0\xff"]),
        // Full NAT of somebody else.
        options(&[&[0x45, 7, 1, 2, 3, 4, 5, 6, 7]]),
        // Sequence numbers that no flag speaks of.
        options(&[&[0x41, 24], &[9; 24]]),
    ] {
        assert_eq!(read(&taken), [Ok(web()); 3]);
    }
}

#[test]
fn flags_that_are_nobodys_business_are_ignored() {
    let datagram = second(|record| record[4..8].copy_from_slice(&0xffff_c078_u32.to_be_bytes()));
    let record = SyncRecord { flags: RecordFlags::SYNC, ..web() };
    assert_eq!(read(&datagram)[1], Ok(record));
    let all = second(|record| record[4..8].copy_from_slice(&0x0fa5_u32.to_be_bytes()));
    let Ok(SyncRecord { subject: Subject::Connection(connection), method, flags, .. }) = read(&all)[1] else {
        panic!("{:?}", read(&all))
    };
    assert_eq!(method, Method::Unassigned);
    assert_eq!(flags, RecordFlags::NO_OUTPUT | RecordFlags::INACTIVE | RecordFlags::SYNC);
    assert!(flags.contains(RecordFlags::INACTIVE) && connection.no_client_port);
    // There is no option, so nothing is shifted.
    assert_eq!(connection.in_sequence, Some(SequenceShift::default()));
    assert_eq!(connection.out_sequence, Some(SequenceShift::default()));
}

#[test]
fn fewer_records_than_the_header_says_are_used_and_more_are_counted() {
    let mut datagram = message(Version::V1, &[web(), web()]).bytes().to_vec();
    datagram[4] = 3;
    assert_eq!(read(&datagram), [Ok(web()), Ok(web()), Err(Discard::RecordMissing { left: 0 })]);
    datagram[4] = 1;
    assert_eq!(read(&datagram), [Ok(web()), Err(Discard::Surplus { bytes: 36 })]);

    let plain = SyncRecord { timeout: None, ..web() };
    let mut datagram = message(Version::V0, &[plain, plain]).bytes().to_vec();
    datagram[0] = 3;
    assert_eq!(read(&datagram), [Ok(plain), Ok(plain), Err(Discard::RecordMissing { left: 0 })]);
    datagram[0] = 1;
    assert_eq!(read(&datagram), [Ok(plain), Err(Discard::Surplus { bytes: 24 })]);
    // The second says that sequence numbers follow.
    datagram[0] = 2;
    let flags = datagram.len() - 4;
    datagram[flags] = 2;
    assert_eq!(read(&datagram), [Ok(plain), Err(Discard::RecordBeyondEnd { size: 48, left: 24 })]);
}

#[test]
fn records_of_version_0_that_mean_nothing_here_are_skipped_alone() {
    let plain = SyncRecord { timeout: None, ..web() };
    let datagram = message(Version::V0, &[plain; 3]).bytes().to_vec();
    let second = |at: usize, values: &[u8]| {
        let mut datagram = datagram.clone();
        datagram[28 + at..][..values.len()].copy_from_slice(values);
        datagram
    };
    for (datagram, discard) in [
        (second(1, &[1]), Discard::UnknownProtocol(1)),
        (second(22, &[0, 11]), Discard::UnknownState { protocol: Protocol::Tcp, state: 11 }),
        (second(20, &[0x20, 0, 0, 0]), Discard::OnePacket),
        (second(20, &[0x10, 0, 0, 2]), Discard::UnknownTemplateState(2)),
        (second(20, &[0x18, 0, 0, 0]), Discard::TemplateWithoutClientPort),
    ] {
        assert_eq!(read(&datagram), [Ok(plain), Err(discard), Ok(plain)]);
    }
}

#[test]
fn padding_is_before_records_and_size_is_what_there_is() {
    let call = Template { protocol: Protocol::Udp.into(), assured: false, call_id: CallId::new(b"1") };
    let by_call = SyncRecord { subject: Subject::Template(call), ..web() };
    let mut message = Message::new(Version::V1, SyncId(171), 1472);
    let mut lengths = vec![message.bytes().len()];
    for record in [by_call, web(), by_call, by_call] {
        message.push(&record).unwrap();
        lengths.push(message.bytes().len());
    }
    // 36, an option of 3 bytes and one of 5.
    assert_eq!(lengths, [8, 52, 88, 132, 176]);
    let call = Template { call_id: CallId::new(b"12"), ..call };
    let by_call = SyncRecord { subject: Subject::Template(call), ..web() };
    message.push(&by_call).unwrap();
    assert_eq!(message.bytes().len(), 221, "one byte more, and none at the end");
    message.push(&web()).unwrap();
    assert_eq!(message.bytes().len(), 260);
    assert_eq!(message.bytes()[221..224], [0; 3]);
    assert_eq!(message.bytes()[2..5], [1, 4, 6]);
}

#[test]
fn messages_are_full_at_their_length_and_at_255_records() {
    let push_all = |message: &mut Message| {
        while message.push(&web()) == Ok(()) {}
        (message.count(), message.bytes().len())
    };
    assert_eq!(push_all(&mut Message::new(Version::V1, SyncId(1), 1472)), (40, 1448));
    assert_eq!(push_all(&mut Message::new(Version::V1, SyncId(1), 1448)), (40, 1448));
    assert_eq!(push_all(&mut Message::new(Version::V1, SyncId(1), 1447)), (39, 1412));
    assert_eq!(push_all(&mut Message::new(Version::V0, SyncId(1), 1472)), (61, 1468));
    assert_eq!(push_all(&mut Message::new(Version::V1, SyncId(1), u16::MAX)), (255, 9_188));
    assert_eq!(push_all(&mut Message::new(Version::V0, SyncId(1), u16::MAX)), (255, 6_124));
    let mut short = Message::new(Version::V1, SyncId(1), 1);
    assert!(short.is_empty());
    assert_eq!(push_all(&mut short), (1, 44));
    let full = short.clone();
    assert_eq!(short.push(&web()), Err(NotPushed::Full));
    assert_eq!(short, full);
    short.clear();
    assert_eq!(short, Message::new(Version::V1, SyncId(1), 1));
    assert_eq!(read(short.bytes()), []);
}

#[test]
fn version_0_does_not_tell_half_of_it() {
    let mut message = Message::new(Version::V0, SyncId(1), 1472);
    let call = Template { protocol: Protocol::Udp.into(), assured: true, call_id: CallId::new(b"1") };
    let v6 = Endpoint::new(Ipv6Addr::LOCALHOST, 1);
    let v6 = Tuple::V6(Ends { client: v6, service: v6, server: v6, local: None });
    for record in [
        SyncRecord { tuple: v6, ..web() },
        SyncRecord { subject: Subject::Template(call), ..web() },
        with_local(web(), Ipv4Addr::new(10, 2, 0, 1), 5_000),
    ] {
        assert_eq!(message.push(&record), Err(NotPushed::NotInVersion0));
    }
    assert!(message.is_empty());
    let marked = SyncRecord { mark: FwMark::new(7), ..web() };
    message.push(&marked).unwrap();
    assert_eq!(read(message.bytes()), [Ok(SyncRecord { timeout: None, ..web() })]);
}

#[test]
fn local_endpoints_of_full_nat_are_an_option_of_our_own() {
    let record = with_local(web(), Ipv4Addr::new(10, 2, 0, 1), 5_000);
    holds(
        Version::V1,
        "00ab0034 01010000 0006002c 00000000 0001 0bb9 0050 0050 00000000 00000384 0a010009 0a090001 0a02000b
         4506 1388 0a020001",
        record,
    );
    let twice = options(&[&[0x45, 6, 0x13, 0x88, 10, 2, 0, 1, 0x45, 6, 0, 0, 0, 0, 0, 0]]);
    assert_eq!(read(&twice)[1], Ok(record));
    let ends = record.tuple.ends();
    assert_eq!(ends.local.unwrap().address.to_string(), "10.2.0.1");
    assert_eq!(ends.client.port, 3_001);
}

#[test]
fn causes_are_counted_by_name() {
    let mut counters = DiscardCounters::default();
    for datagram in [second(|record| record[1] = 50), second(|record| record[1] = 51), options(&[&[2]])] {
        let records = Records::read(&datagram, SyncId::ANY).unwrap();
        records.filter_map(Result::err).for_each(|discard| counters.count(&discard));
    }
    counters.count(&Discard::NoHeader(1));
    let counted: Vec<_> = counters.iter().collect();
    assert_eq!(counted, [("no_header", 1), ("option_beyond_end", 1), ("unknown_protocol", 2)]);
}

/// They have no memory of their own.
#[test]
fn what_is_read_of_a_datagram_is_made_of_copies_and_borrows() {
    const fn copies<T: Copy>() {}
    copies::<Records<'_>>();
    copies::<SyncRecord<'_>>();
    copies::<Discard>();
}

static CALL: &[u8] = &[b'c'; 255];

fn subject() -> impl Strategy<Value = Subject<'static>> {
    let shift = || {
        let shift = any::<(u32, u32, u32)>();
        proptest::option::of(shift.prop_map(|(init, delta, previous_delta)| SequenceShift {
            init,
            delta,
            previous_delta,
        }))
    };
    let state = prop_oneof![
        proptest::sample::select(TcpState::ALL.to_vec()).prop_map(ConnectionState::Tcp),
        Just(ConnectionState::Udp),
        proptest::sample::select(SctpState::ALL.to_vec()).prop_map(ConnectionState::Sctp),
    ];
    let connection = (state, any::<bool>(), shift(), shift()).prop_map(
        |(state, no_client_port, in_sequence, out_sequence)| {
            Subject::Connection(Connection { state, no_client_port, in_sequence, out_sequence })
        },
    );
    let template = (any::<u8>(), any::<bool>(), 0..=255_usize).prop_map(|(protocol, assured, len)| {
        let protocol = TemplateProtocol(protocol);
        Subject::Template(Template { protocol, assured, call_id: CallId::new(&CALL[..len]) })
    });
    prop_oneof![connection, template]
}

fn tuple() -> impl Strategy<Value = Tuple> {
    fn ends<A: Copy>(ends: [(A, u16); 4], has_local: bool) -> Ends<A> {
        let [client, service, server, local] = ends.map(|(address, port)| Endpoint::new(address, port));
        Ends { client, service, server, local: has_local.then_some(local) }
    }
    prop_oneof![
        any::<([(Ipv4Addr, u16); 4], bool)>().prop_map(|(four, local)| Tuple::V4(ends(four, local))),
        any::<([(Ipv6Addr, u16); 4], bool)>().prop_map(|(four, local)| Tuple::V6(ends(four, local))),
    ]
}

fn record() -> impl Strategy<Value = SyncRecord<'static>> {
    let method = proptest::sample::select(vec![
        Method::Masquerade,
        Method::Local,
        Method::Tunnel,
        Method::Direct,
        Method::Bypass,
        Method::Unassigned,
    ]);
    (subject(), tuple(), method, any::<u32>(), any::<u32>(), any::<u32>()).prop_map(
        |(subject, tuple, method, flags, mark, timeout)| SyncRecord {
            subject,
            tuple,
            method,
            flags: RecordFlags::from_flags(flags),
            mark: FwMark::new(mark),
            timeout: NonZeroU32::new(timeout),
        },
    )
}

/// What version 0 tells of it.
fn in_version_0(record: SyncRecord<'static>) -> SyncRecord<'static> {
    SyncRecord { mark: None, timeout: None, ..record }
}

proptest! {
    #[test]
    fn what_was_written_reads_the_same(records in proptest::collection::vec(record(), 0..50), max_len in 0..1500_u16) {
        let mut rest = &records[..];
        while let Some((first, _)) = rest.split_first() {
            let mut message = Message::new(Version::V1, SyncId(9), max_len);
            message.push(first).unwrap();
            let count = 1 + rest[1..].iter().take_while(|record| message.push(record) == Ok(())).count();
            prop_assert_eq!(usize::from(message.count()), count);
            prop_assert!(count == 1 || message.bytes().len() <= usize::from(max_len));
            let (these, others) = rest.split_at(count);
            let read: Result<Vec<_>, _> = Records::read(message.bytes(), SyncId(9)).unwrap().collect();
            prop_assert_eq!(read.unwrap(), these);
            rest = others;
        }
    }

    #[test]
    fn what_version_0_tells_reads_the_same(records in proptest::collection::vec(record(), 0..50)) {
        let mut message = Message::new(Version::V0, SyncId(9), Message::MAX_LEN);
        let told: Vec<_> = records.into_iter().filter(|record| message.push(record).is_ok()).collect();
        let told: Vec<_> = told.into_iter().map(in_version_0).collect();
        let read: Result<Vec<_>, _> = Records::read(message.bytes(), SyncId(9)).unwrap().collect();
        prop_assert_eq!(read.unwrap(), told);
    }
}
