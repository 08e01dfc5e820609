use super::*;
use crate::engine::connections::tests::{Lab, numbered, seconds, template};
use crate::engine::connections::{Connection, NotInserted};
use crate::engine::wheel::Ticks;
use crate::sync::{ConnectionState, Method};
use crate::virtual_service::Protocol;
use ConnectionState::{Sctp, Tcp, Udp};

fn of_protocol(protocol: Protocol, number: u32) -> Connection {
    let tcp = numbered(number);
    let ends =
        crate::sync::Ends { client: tcp.client(), service: tcp.service(), server: tcp.server(), local: None };
    Connection::new(protocol, &ends, Method::Masquerade)
}

/// In this state, with so many packets of the client, the last one this long ago.
fn in_state(state: ConnectionState, packets: u32, idle: Duration, lab: &mut Lab) -> (Worth, Worth) {
    let mut connection = of_protocol(state.protocol(), 0);
    connection.set_state(state);
    connection.set_timeout(Ticks::of(seconds(900)));
    connection.count_packets(packets);
    let inserted = lab.insert(connection);
    lab.now += idle;
    let worth = |lab: &Lab| Worth::of(lab.table.get(inserted).expect("an entry"), lab.tick());
    let unanswered = worth(lab);
    lab.table.get_mut(inserted).expect("an entry").answered();
    (unanswered, worth(lab))
}

#[test]
fn what_an_entry_is_worth() {
    use Worth::{Attempt, Ending, Idle, Lasting};
    for (state, packets, idle, unanswered, answered) in [
        (Tcp(TcpState::None), 1, 0, Attempt, Attempt),
        (Tcp(TcpState::SynReceived), 1, 0, Attempt, Attempt),
        (Tcp(TcpState::SynAck), 1, 0, Attempt, Attempt),
        (Tcp(TcpState::SynSent), 0, 100, Lasting, Lasting),
        (Tcp(TcpState::Established), 8, 59, Lasting, Lasting),
        (Tcp(TcpState::Established), 8, 60, Idle, Idle),
        (Tcp(TcpState::Established), 9, 600, Lasting, Lasting),
        (Tcp(TcpState::FinWait), 5, 100, Lasting, Lasting),
        (Tcp(TcpState::CloseWait), 5, 100, Lasting, Lasting),
        (Tcp(TcpState::TimeWait), 50, 0, Ending, Ending),
        (Tcp(TcpState::Close), 50, 0, Ending, Ending),
        (Tcp(TcpState::LastAck), 50, 0, Ending, Ending),
        (Sctp(SctpState::Init), 1, 0, Attempt, Attempt),
        (Sctp(SctpState::Established), 9, 0, Lasting, Lasting),
        (Sctp(SctpState::Established), 2, 70, Idle, Idle),
        (Sctp(SctpState::Closed), 2, 70, Ending, Ending),
        (Udp, 1, 0, Attempt, Lasting),
        (Udp, 8, 70, Attempt, Idle),
        (Udp, 9, 70, Lasting, Lasting),
    ] {
        let worth = in_state(state, packets, seconds(idle), &mut Lab::new(1));
        assert_eq!(worth, (unanswered, answered), "{state:?} {packets} {idle}");
    }
}

#[test]
fn templates_go_unless_somebody_depends_on_them() {
    let mut lab = Lab::new(10);
    let templates = ["10.1.0.0", "10.1.1.0", "10.1.2.0"].map(|client| lab.insert(template(client)));
    lab.table.get_mut(templates[1]).expect("an entry").assure();
    lab.insert_under(numbered(0), templates[2]);
    let worth = templates.map(|template| Worth::of(lab.table.get(template).expect("an entry"), lab.tick()));
    assert_eq!(worth, [Worth::Template, Worth::Lasting, Worth::Lasting]);
}

/// So many established connections of many packets.
fn established(connections: std::ops::Range<u32>, lab: &mut Lab) {
    for number in connections {
        let mut connection = numbered(number);
        connection.set_state(Tcp(TcpState::Established));
        connection.set_timeout(Ticks::of(seconds(900)));
        connection.count_packets(100);
        lab.insert(connection);
    }
}

#[test]
fn a_flood_of_half_open_connections_costs_no_established_one() {
    let mut lab = Lab::new(10_000);
    established(0..5_000, &mut lab);
    for number in 5_000..105_000 {
        if let Some(ended) = lab.table.relieve(lab.tick()) {
            assert_eq!(ended.connection.state(), Some(Tcp(TcpState::SynReceived)));
            assert_eq!(ended.cause, Cause::Evicted);
        }
        let mut attempt = numbered(number);
        attempt.set_state(Tcp(TcpState::SynReceived));
        lab.insert(attempt);
    }
    let counts = lab.table.counts();
    assert_eq!((counts.inserted, counts.full, counts.expired), (105_000, 0, 0));
    assert_eq!(counts.inserted - counts.evicted, lab.table.len() as u64);
    assert!((9_000..10_000).contains(&lab.table.len()));
    let left = lab.table.iter().filter(|(_, c)| c.state() == Some(Tcp(TcpState::Established))).count();
    assert_eq!(left, 5_000);
    lab.table.check().expect("a sound table");
}

#[test]
fn a_table_full_of_established_connections_takes_no_more() {
    let mut lab = Lab::new(1_000);
    established(0..1_000, &mut lab);
    assert!(lab.table.relieve(lab.tick()).is_none());
    assert_eq!(lab.table.insert(numbered(1_000), None, lab.tick()), Err(NotInserted::Full));
    assert_eq!(lab.table.counts().full, 1);
}

#[test]
fn nothing_goes_while_there_is_room() {
    let mut lab = Lab::new(1_600);
    for number in 0..1_500 {
        lab.insert(numbered(number));
        assert!(lab.table.relieve(lab.tick()).is_none(), "{number}");
    }
    lab.insert(numbered(1_500));
    assert!(lab.table.relieve(lab.tick()).is_some());
}

#[test]
fn idle_connections_and_templates_go_only_when_there_is_no_room_at_all() {
    let mut lab = Lab::new(64);
    for number in 0..62 {
        let mut connection = numbered(number);
        connection.set_state(Tcp(TcpState::Established));
        connection.set_timeout(Ticks::of(seconds(900)));
        lab.insert(connection);
    }
    let client = lab.insert(template("10.1.0.0"));
    lab.now += seconds(61);
    assert!(lab.table.relieve(lab.tick()).is_none());
    lab.insert(numbered(62));
    for connection in 0..63 {
        let ended = lab.table.relieve(lab.tick()).expect("one is idle or half open");
        assert!(!ended.connection.is_template(), "{connection}");
        established(100 + connection..101 + connection, &mut lab);
    }
    assert_eq!(lab.table.relieve(lab.tick()).map(|ended| ended.index), Some(client));
    established(200..201, &mut lab);
    assert!(lab.table.relieve(lab.tick()).is_none());
}

#[test]
fn an_evicted_attempt_takes_its_template_with_it() {
    let mut lab = Lab::new(16);
    let client = lab.insert(template("10.1.0.0"));
    lab.insert_under(numbered(0), client);
    established(1..15, &mut lab);
    let evicted = lab.table.relieve(lab.tick()).expect("one is half open");
    assert!(!evicted.connection.is_template());
    assert_eq!(lab.pass(seconds(0)), [(0, client, Some(Cause::Forced))]);
}
