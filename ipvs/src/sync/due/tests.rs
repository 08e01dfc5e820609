//! Packets of clients, and what leaves for each of them.

use std::time::{Duration, Instant};

use Kind::{Connection as C, Template as T};
use proptest::prelude::*;

use super::*;

/// What a record is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Connection,
    Template,
}

const ES: ConnectionState = ConnectionState::Tcp(TcpState::Established);

const fn tcp(state: TcpState) -> ConnectionState {
    ConnectionState::Tcp(state)
}

fn rules(packets: u32, period: u32) -> SendRules {
    SendRules { threshold: Threshold::new(packets, period).unwrap(), ..SendRules::default() }
}

/// One connection, perhaps with its template.
struct Master {
    rules: SendRules,
    connection: Progress,
    template: Option<Progress>,
    now: Instant,
}

impl Master {
    fn new(rules: SendRules) -> Self {
        Self { rules, connection: Progress::default(), template: None, now: Instant::now() }
    }

    fn persistent(rules: SendRules) -> Self {
        Self { template: Some(Progress::default()), ..Self::new(rules) }
    }

    /// What leaves when the client sends a packet that leaves its connection in `state`.
    fn packet(&mut self, state: ConnectionState) -> Vec<Kind> {
        let entry =
            if self.template.is_some() { Candidate::Persistent(state) } else { Candidate::Connection(state) };
        let timeout = match state {
            ConnectionState::Tcp(state) => state.default_timeout(),
            ConnectionState::Sctp(state) => state.default_timeout(),
            ConnectionState::Udp => Duration::from_secs(300),
        };
        self.send(entry, timeout)
    }

    fn send(&mut self, entry: Candidate, timeout: Duration) -> Vec<Kind> {
        let mut told = Vec::new();
        self.connection.count_packet();
        if self.rules.is_due(entry, &mut self.connection, Occasion::Packet, timeout, self.now) {
            told.push(C);
        }
        if let Some(template) = &mut self.template {
            template.count_packet();
            let timeout = Duration::from_secs(360);
            if self.rules.is_due(Candidate::Template, template, Occasion::Packet, timeout, self.now) {
                told.push(T);
            }
        }
        told
    }

    /// The numbers, from 1, of those packets that are told of, all in `state`.
    fn packets(&mut self, state: ConnectionState, count: usize) -> Vec<usize> {
        (1..=count).filter(|_| self.packet(state).contains(&C)).collect()
    }
}

#[test]
fn established_connections_are_told_of_at_the_threshold_and_every_period() {
    assert_eq!(Master::new(SendRules::default()).packets(ES, 160), [3, 53, 103, 153]);
    assert_eq!(Master::new(rules(3, 0)).packets(ES, 160), [3]);
    assert_eq!(Master::new(rules(0, 0)).packets(ES, 160), [0; 0]);
    assert_eq!(Master::new(rules(0, 1)).packets(ES, 5), [1, 2, 3, 4, 5]);
    let udp = ConnectionState::Udp;
    assert_eq!(Master::new(SendRules::default()).packets(udp, 60), [3, 53]);
    let sctp = ConnectionState::Sctp(SctpState::Established);
    assert_eq!(Master::new(SendRules::default()).packets(sctp, 60), [3, 53]);
}

#[test]
fn a_threshold_has_to_come_in_its_period() {
    assert_eq!(Threshold::new(3, 3), None);
    assert!(Threshold::new(2, 3).is_some() && Threshold::new(1_000, 0).is_some());
}

#[test]
fn states_of_closing_are_told_of_at_once_and_once() {
    for rules in [SendRules::default(), rules(3, 0), rules(0, 0), rules(0, 1)] {
        let mut master = Master::new(rules);
        master.packet(tcp(TcpState::SynReceived));
        master.packet(ES);
        for state in [TcpState::CloseWait, TcpState::TimeWait, TcpState::FinWait, TcpState::Close] {
            assert_eq!(master.packet(tcp(state)), [C], "{state} under {rules:?}");
        }
        // 0 1: each packet in any state that is told of at all.
        let again = master.packet(tcp(TcpState::Close));
        assert_eq!(again.is_empty(), rules.threshold.period != 1, "{rules:?}");
    }
    let sctp = ConnectionState::Sctp;
    let mut master = Master::new(rules(0, 0));
    master.packet(sctp(SctpState::Established));
    for state in [SctpState::ShutdownReceived, SctpState::ShutdownAckSent, SctpState::Closed] {
        assert_eq!(master.packet(sctp(state)), [C]);
        assert_eq!(master.packet(sctp(state)), []);
    }
    // Coming back to ESTABLISHED is no news: it waits for its packets.
    assert_eq!(master.packet(sctp(SctpState::Established)), []);
}

#[test]
fn states_before_and_beside_established_are_never_told_of() {
    let told = |state| Master::new(rules(0, 1)).packet(state) == [C];
    for state in TcpState::ALL {
        let never = matches!(
            state,
            TcpState::None
                | TcpState::SynSent
                | TcpState::SynReceived
                | TcpState::LastAck
                | TcpState::Listen
                | TcpState::SynAck
        );
        assert_eq!(told(tcp(state)), !never, "{state}");
    }
    for state in SctpState::ALL {
        let ever = matches!(
            state,
            SctpState::Established
                | SctpState::ShutdownSent
                | SctpState::ShutdownReceived
                | SctpState::ShutdownAckSent
                | SctpState::Closed
        );
        assert_eq!(told(ConnectionState::Sctp(state)), ever, "{state}");
    }
}

#[test]
fn without_a_refresh_templates_are_told_of_at_every_packet_from_the_syn_on() {
    let mut master = Master::persistent(SendRules::default());
    assert_eq!(master.packet(tcp(TcpState::SynReceived)), [T]);
    assert_eq!(master.packet(ES), [T]);
    assert_eq!(master.packet(ES), [C, T]);
    assert_eq!(master.packet(ES), [T]);
    assert_eq!(master.packet(tcp(TcpState::CloseWait)), [C, T]);
}

#[test]
fn without_a_period_and_a_refresh_templates_wait_for_the_threshold() {
    let mut master = Master::persistent(rules(3, 0));
    let told: Vec<_> = (0..5).map(|_| master.packet(ES)).collect();
    assert_eq!(told, [vec![], vec![], vec![C, T], vec![], vec![]]);
}

#[test]
fn templates_alone_can_be_told_of() {
    let rules = SendRules { persistence: PersistMode::TemplatesOnly, ..SendRules::default() };
    let mut master = Master::persistent(rules);
    for state in [ES, ES, ES, tcp(TcpState::CloseWait), tcp(TcpState::Close)] {
        assert_eq!(master.packet(state), [T]);
    }
    assert_eq!(Master::new(rules).packets(ES, 60), [3, 53], "not of a persistent service");
}

#[test]
fn one_packet_entries_are_told_of_by_their_template_alone() {
    let mut master = Master::persistent(SendRules::default());
    for _ in 0..4 {
        assert_eq!(master.send(Candidate::OnePacket, Duration::from_secs(300)), [T]);
    }
}

#[test]
fn bursts_under_a_refresh_make_one_record_of_each_kind_an_interval() {
    let refresh = Duration::from_secs(8);
    let mut master = Master::persistent(SendRules { refresh, ..SendRules::default() });
    for burst in 0..5 {
        let told: Vec<_> = (0..100).flat_map(|_| master.packet(ES)).collect();
        let of = |kind| told.iter().filter(|told| **told == kind).count();
        assert_eq!((of(C), of(T)), (1, 1), "burst {burst}");
        master.now += Duration::from_secs(4);
        let told: Vec<_> = (0..100).flat_map(|_| master.packet(ES)).collect();
        assert_eq!(told, [], "half an interval after burst {burst}");
        master.now += Duration::from_secs(4);
    }
}

#[test]
fn a_refresh_without_a_period_needs_no_number_of_packets() {
    let refresh = Duration::from_secs(60);
    let mut master = Master::new(SendRules { refresh, ..rules(3, 0) });
    assert_eq!(master.packet(ES), [C]);
    master.now += Duration::from_secs(59);
    assert_eq!(master.packet(ES), []);
    master.now += Duration::from_secs(1);
    assert_eq!(master.packet(ES), [C]);
}

#[test]
fn the_wait_is_no_longer_than_half_the_timeout_nor_shorter_than_ten_seconds() {
    let refresh = Duration::from_secs(3_600);
    for (timeout, wait) in [(900, 450), (60, 30), (20, 10), (2, 10)] {
        let mut master = Master::new(SendRules { refresh, ..rules(3, 0) });
        let timeout = Duration::from_secs(timeout);
        let mut packet = |after| {
            master.now += Duration::from_secs(after);
            master.send(Candidate::Connection(ConnectionState::Udp), timeout)
        };
        assert_eq!(packet(0), [C]);
        assert_eq!(packet(wait - 1), []);
        assert_eq!(packet(1), [C], "{timeout:?}");
    }
}

#[test]
fn another_timeout_moves_the_end_too() {
    let refresh = Duration::from_secs(8);
    let mut master = Master::new(SendRules { refresh, ..rules(3, 0) });
    let entry = Candidate::Connection(ConnectionState::Udp);
    assert_eq!(master.send(entry, Duration::from_secs(300)), [C]);
    assert_eq!(master.send(entry, Duration::from_secs(293)), []);
    assert_eq!(master.send(entry, Duration::from_secs(292)), [C], "it ends 8 s sooner");
}

#[test]
fn retries_follow_an_eighth_of_the_refresh_apart() {
    let refresh = Duration::from_secs(80);
    let mut master = Master::new(SendRules { refresh, retries: 2, ..rules(3, 0) });
    let told: Vec<_> = (0..=80)
        .filter(|_| {
            let told = master.packet(ES) == [C];
            master.now += Duration::from_secs(1);
            told
        })
        .collect();
    // The record and its retries; the last of them is 80 s ago at second 100.
    assert_eq!(told, [0, 10, 20]);
    master.now += Duration::from_secs(18);
    assert_eq!(master.packet(ES), []);
    master.now += Duration::from_secs(1);
    assert_eq!(master.packet(ES), [C]);
    master.now += Duration::from_secs(10);
    assert_eq!(master.packet(ES), [C], "and retries begin anew");
}

#[test]
fn a_change_of_state_is_told_of_within_a_refresh() {
    let refresh = Duration::from_secs(600);
    let mut master = Master::new(SendRules { refresh, ..rules(0, 1) });
    assert_eq!(master.packet(ES), [C]);
    assert_eq!(master.packet(tcp(TcpState::FinWait)), [C]);
    assert_eq!(master.packet(tcp(TcpState::FinWait)), []);
}

#[test]
fn entries_that_live_on_for_others_are_told_of() {
    let extension = Duration::from_secs(60);
    for rules in [SendRules::default(), rules(3, 0), rules(0, 0)] {
        let mut progress = Progress::default();
        let now = Instant::now();
        assert!(rules.is_due(Candidate::Template, &mut progress, Occasion::AtThreshold, extension, now));
        // The control connection of FTP, at each packet of its data.
        let control = Candidate::Connection(ES);
        assert!(rules.is_due(control, &mut progress, Occasion::AtThreshold, extension, now));
    }
}

#[test]
fn a_copy_is_told_of_after_a_period_or_when_its_state_changes() {
    let rules = SendRules::default();
    let copy = Progress::of_copy(Some(ES), &rules);
    let mut master = Master { connection: copy, ..Master::new(rules) };
    assert_eq!(master.packets(ES, 120), [50, 100]);
    let copy = Progress::of_copy(Some(tcp(TcpState::FinWait)), &rules);
    let mut master = Master { connection: copy, ..Master::new(rules) };
    assert_eq!(master.packet(tcp(TcpState::FinWait)), []);
    assert_eq!(master.packet(tcp(TcpState::TimeWait)), [C]);
}

#[test]
fn packets_beyond_counting_and_timeouts_beyond_clocks_are_no_trouble() {
    let mut master = Master::new(SendRules { refresh: Duration::MAX, retries: u8::MAX, ..rules(0, 1) });
    master.connection.packets = u32::MAX;
    assert_eq!(master.send(Candidate::Connection(ES), Duration::MAX), [C]);
    assert_eq!(master.connection.packets(), 0);
    assert_eq!(master.send(Candidate::Connection(ES), Duration::MAX), []);
}

#[test]
fn a_change_that_a_server_causes_is_told_of_at_once_only_where_that_is_wanted() {
    let mut client = Progress::default();
    let answer = |changes, progress: &mut Progress, state| {
        let rules = SendRules { changes, ..SendRules::default() };
        let entry = Candidate::Connection(state);
        rules.is_due(entry, progress, Occasion::Answer, Duration::from_secs(60), Instant::now())
    };
    for state in [ES, tcp(TcpState::SynReceived), tcp(TcpState::LastAck), ConnectionState::Udp] {
        assert!(!answer(Changes::OfBoth, &mut client, state), "{state:?}");
    }
    let ended = tcp(TcpState::CloseWait);
    assert!(!answer(Changes::OfBoth, &mut client, ended), "nobody has heard of it");
    client.state = Some(ES);
    assert!(!answer(Changes::OfClients, &mut client, ended));
    assert!(answer(Changes::OfBoth, &mut client, ended));
    assert!(!answer(Changes::OfBoth, &mut client, ended), "the other director knows that");
    assert!(answer(Changes::OfBoth, &mut client, tcp(TcpState::TimeWait)));
    assert_eq!(client.packets(), 0);
}

#[test]
fn by_the_rules_of_the_engine_the_copy_ends_no_earlier_than_half_a_minute_before_the_connection() {
    let mut master = Master::new(SendRules::ENGINE);
    assert_eq!(master.packet(ES), [C], "it is told of as soon as it is established");
    let timeout = TcpState::Established.default_timeout();
    let (mut copy_ends, mut records) = (master.now + timeout, 1);
    // A packet every seven seconds, for an hour.
    for _ in 0..514 {
        master.now += Duration::from_secs(7);
        assert!(copy_ends > master.now, "there was a copy at any time");
        if !master.packet(ES).is_empty() {
            (copy_ends, records) = (master.now + timeout, records + 1);
        }
        assert!(copy_ends + Duration::from_secs(30) > master.now + timeout);
    }
    assert_eq!(records, 172, "one in every 35 s, and its repetition in the next seven");
}

proptest! {
    #[test]
    fn packets_that_are_counted_together_are_told_of_as_if_one_by_one(
        threshold in 0..60_u32,
        period in 0..60_u32,
        groups in prop::collection::vec(0..200_u32, 1..20),
    ) {
        prop_assume!(period == 0 || threshold < period);
        let rules = rules(threshold, period);
        let due = |progress: &mut Progress, occasion| {
            let (entry, timeout) = (Candidate::Connection(ES), Duration::from_secs(900));
            rules.is_due(entry, progress, occasion, timeout, Instant::now())
        };
        let (mut together, mut single) = (Progress::default(), Progress::default());
        for count in groups {
            let mut any = false;
            for _ in 0..count {
                together.count_packet();
                single.count_packet();
                any |= due(&mut single, Occasion::Packet);
            }
            prop_assert_eq!(due(&mut together, Occasion::Packets(count)), any);
        }
    }
}
