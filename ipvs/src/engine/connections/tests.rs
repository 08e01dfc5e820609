mod life;
mod model;

use std::net::IpAddr;
use std::time::Duration;

use super::*;
use crate::engine::address::Address;
use crate::engine::wheel::Ticks;
use crate::sync::{ConnectionState, Endpoint, Ends, Method};
use crate::virtual_service::{FwMark, Protocol};

pub(super) fn end(text: &str) -> Endpoint<Address> {
    let (address, port) = text.rsplit_once(':').expect("an address and a port");
    let address = address.trim_matches(['[', ']']).parse::<IpAddr>().expect("an address");
    Endpoint::new(address.into(), port.parse().expect("a port"))
}

pub(super) fn ends(client: &str, service: &str, server: &str) -> Ends<Address> {
    Ends { client: end(client), service: end(service), server: end(server), local: None }
}

/// Masqueraded TCP.
pub(super) fn tcp(client: &str, service: &str, server: &str) -> Connection {
    Connection::new(Protocol::Tcp, &ends(client, service, server), Method::Masquerade)
}

/// Client number so much, to the only server.
pub(super) fn numbered(number: u32) -> Connection {
    let mut ends = ends("10.1.0.0:1024", "10.9.0.1:80", "10.2.0.11:8080");
    ends.client.address = Address::v4(0x0a01_0000 + number);
    Connection::new(Protocol::Tcp, &ends, Method::Masquerade)
}

pub(super) fn key(source: &str, destination: &str) -> PacketKey {
    let (source, destination) = (end(source), end(destination));
    PacketKey {
        source: source.address,
        destination: destination.address,
        source_port: source.port,
        destination_port: destination.port,
        protocol: Protocol::Tcp.number(),
    }
}

pub(super) fn template_key(client: &str, prefix_len: u8) -> TemplateKey {
    let client = client.parse::<IpAddr>().expect("an address").into();
    TemplateKey::of_service(Protocol::Tcp, end("10.9.0.1:80"), client, prefix_len)
}

/// Of an hour, unless it is touched otherwise.
pub(super) fn template(client: &str) -> Connection {
    const HOUR: Duration = Duration::from_secs(3600);
    Connection::template(&template_key(client, 24), end("10.2.0.11:8080"), Method::Masquerade, HOUR)
}

pub(super) const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A table with its clock.
pub(super) struct Lab {
    pub(super) table: Connections,
    pub(super) now: Instant,
}

impl Lab {
    pub(super) fn new(connections: u32) -> Self {
        let now = Instant::now();
        Self { table: Connections::with_limits(Limits { connections }, 7, now), now }
    }

    pub(super) fn tick(&self) -> Tick {
        self.table.tick(self.now)
    }

    pub(super) fn insert(&mut self, connection: Connection) -> ConnectionIndex {
        self.table.insert(connection, None, self.tick()).expect("room")
    }

    pub(super) fn insert_under(
        &mut self,
        connection: Connection,
        controller: ConnectionIndex,
    ) -> ConnectionIndex {
        self.table.insert(connection, Some(controller), self.tick()).expect("room")
    }

    /// A packet that leaves the connection with this timeout.
    pub(super) fn touch(&mut self, connection: ConnectionIndex, timeout: Duration) {
        self.table.get_mut(connection).expect("an entry").set_timeout(Ticks::of(timeout));
        self.table.touch(connection, self.tick());
    }

    /// What ends while time passes, with the seconds from now on; what is extended is marked.
    pub(super) fn pass(&mut self, time: Duration) -> Vec<(u64, ConnectionIndex, Option<Cause>)> {
        let (start, until) = (self.now, self.now + time);
        let mut passed = Vec::new();
        while let Some(next) = self.table.poll_timeout().filter(|next| *next <= until) {
            self.now = self.now.max(next);
            while let Some(expired) = self.table.expire(self.now) {
                let (connection, cause) = match expired {
                    Expired::Ended(ended) => (ended.index, Some(ended.cause)),
                    Expired::Extended(connection) => (connection, None),
                };
                passed.push(((self.now - start).as_secs(), connection, cause));
            }
        }
        self.now = until;
        self.table.check().expect("a sound table");
        passed
    }

    fn found(&self, source: &str, destination: &str) -> Option<(ConnectionIndex, Direction)> {
        self.table.lookup(key(source, destination)).map(|found| (found.connection, found.direction))
    }
}

const CLIENT: &str = "10.1.0.9:3001";
const VIRTUAL: &str = "10.9.0.1:80";
const SERVER: &str = "10.2.0.11:8080";
const LOCAL: &str = "10.3.0.1:5000";

#[test]
fn both_directions_find_their_connection() {
    use Direction::{Input, InputOnly, Output};
    for (method, local, request, reply_from, reply_to) in [
        (Method::Masquerade, None, Input, SERVER, CLIENT),
        (Method::Masquerade, Some(LOCAL), Input, SERVER, LOCAL),
        (Method::Direct, None, InputOnly, VIRTUAL, CLIENT),
        (Method::Tunnel, None, InputOnly, VIRTUAL, CLIENT),
        (Method::Local, None, InputOnly, VIRTUAL, CLIENT),
        (Method::Bypass, None, InputOnly, VIRTUAL, CLIENT),
        (Method::Unassigned, None, InputOnly, VIRTUAL, CLIENT),
    ] {
        let mut lab = Lab::new(10);
        let ends = Ends { local: local.map(end), ..ends(CLIENT, VIRTUAL, SERVER) };
        let connection = lab.insert(Connection::new(Protocol::Tcp, &ends, method));
        assert_eq!(lab.found(CLIENT, VIRTUAL), Some((connection, request)), "{method:?}");
        assert_eq!(lab.found(reply_from, reply_to), Some((connection, Output)), "{method:?}");
        let strangers = [
            key(VIRTUAL, SERVER),
            key(CLIENT, SERVER),
            key("10.1.0.9:3002", VIRTUAL),
            key("10.1.0.8:3001", VIRTUAL),
            key(CLIENT, "10.9.0.1:81"),
            PacketKey { protocol: 17, ..key(CLIENT, VIRTUAL) },
        ];
        for stranger in strangers {
            assert_eq!(lab.table.lookup(stranger), None, "{method:?} {stranger:?}");
        }
    }
}

#[test]
fn a_connection_that_was_answered_is_seen_from_both_sides() {
    let mut lab = Lab::new(10);
    let connection =
        lab.insert(Connection::new(Protocol::Tcp, &ends(CLIENT, VIRTUAL, SERVER), Method::Direct));
    lab.table.get_mut(connection).expect("an entry").answered();
    assert_eq!(lab.found(CLIENT, VIRTUAL), Some((connection, Direction::Input)));
}

#[test]
fn families_and_ports_of_zero_are_as_any_others() {
    let mut lab = Lab::new(10);
    let six = lab.insert(tcp("[2001:db8::9]:0", "[2001:db8::1]:80", "[2001:db8::11]:8080"));
    let four = lab.insert(tcp("10.1.0.9:0", VIRTUAL, SERVER));
    assert_eq!(lab.found("[2001:db8::9]:0", "[2001:db8::1]:80"), Some((six, Direction::Input)));
    assert_eq!(lab.found("10.1.0.9:0", VIRTUAL), Some((four, Direction::Input)));
    assert_eq!(lab.found(SERVER, "10.1.0.9:0"), Some((four, Direction::Output)));
}

#[test]
fn whoever_talks_to_itself_is_a_client() {
    let mut lab = Lab::new(10);
    let ends = ends(VIRTUAL, VIRTUAL, SERVER);
    let land = lab.insert(Connection::new(Protocol::Tcp, &ends, Method::Direct));
    assert_eq!(lab.found(VIRTUAL, VIRTUAL), Some((land, Direction::InputOnly)));
    assert_eq!(lab.table.index.len(), 1);
    lab.table.check().expect("a sound table");
    assert!(lab.table.remove(land, lab.tick()).is_some());
    assert_eq!(lab.found(VIRTUAL, VIRTUAL), None);
    lab.table.check().expect("a sound table");
}

#[test]
fn answers_that_look_alike_belong_to_the_newest() {
    let mut lab = Lab::new(100);
    let services: Vec<_> = (1..=9).map(|number| format!("10.9.0.{number}:80")).collect();
    let inserted: Vec<_> = services.iter().map(|service| lab.insert(tcp(CLIENT, service, SERVER))).collect();
    lab.table.check().expect("a sound table");
    for (service, connection) in services.iter().zip(&inserted) {
        assert_eq!(lab.found(CLIENT, service), Some((*connection, Direction::Input)));
    }
    let mut answered = Vec::new();
    while let Some((connection, _)) = lab.found(SERVER, CLIENT) {
        lab.table.remove(connection, lab.tick());
        answered.push(connection);
        lab.table.check().expect("a sound table");
    }
    assert_eq!(answered, [inserted[8], inserted[7], inserted[6], inserted[5]]);
    // All others are there, and end as any.
    assert_eq!(lab.table.len(), 5);
    assert_eq!(lab.pass(seconds(3)).len(), 5);
}

#[test]
fn a_connection_without_a_client_port_takes_the_first_that_comes() {
    let mut lab = Lab::new(10);
    let expected = lab.insert(tcp("10.1.0.9:0", VIRTUAL, SERVER).without_client_port());
    let other = lab.insert(tcp("10.1.0.9:3000", VIRTUAL, SERVER));
    assert_eq!(lab.found("10.1.0.9:3000", VIRTUAL), Some((other, Direction::Input)));
    assert_eq!(lab.found(CLIENT, VIRTUAL), Some((expected, Direction::Input)));
    assert_eq!(lab.found(SERVER, CLIENT), None);
    assert_eq!(lab.found(SERVER, "10.1.0.9:0"), None);
    assert!(!lab.table.learn_client_port(expected, 3000), "that one is taken");
    assert!(lab.table.learn_client_port(expected, 3001));
    assert!(!lab.table.learn_client_port(expected, 3001), "it has a port now");
    assert_eq!(lab.found(SERVER, CLIENT), Some((expected, Direction::Output)));
    assert_eq!(lab.found(CLIENT, VIRTUAL), Some((expected, Direction::Input)));
    assert_eq!(lab.found("10.1.0.9:3002", VIRTUAL), None);
    lab.table.check().expect("a sound table");
}

#[test]
fn templates_are_found_by_their_clients_and_not_by_packets() {
    let mut lab = Lab::new(10);
    let of_net = lab.insert(template("10.1.0.0"));
    assert_eq!(lab.table.find_template(&template_key("10.1.0.200", 24)), Some(of_net));
    assert_eq!(lab.table.find_template(&template_key("10.1.1.200", 24)), None);
    assert_eq!(lab.found("10.1.0.0:0", VIRTUAL), None);
    assert_eq!(lab.found(SERVER, "10.1.0.0:0"), None);
    let mark = TemplateKey::of_mark(FwMark::new(7).expect("not zero"), end(CLIENT).address, 32);
    let of_mark = Connection::template(&mark, end("10.2.0.11:0"), Method::Direct, seconds(50));
    let of_mark = lab.insert(of_mark);
    assert_eq!(lab.table.find_template(&mark), Some(of_mark));
    let listed = lab.table.get(of_mark).expect("an entry");
    assert_eq!((listed.protocol(), listed.service(), listed.state()), (0, end("0.0.0.7:0"), None));
}

#[test]
fn an_abandoned_template_makes_room_for_another() {
    let mut lab = Lab::new(10);
    let old = lab.insert(template("10.1.0.0"));
    let connection = lab.insert_under(tcp(CLIENT, VIRTUAL, SERVER), old);
    lab.table.abandon_template(old);
    lab.table.abandon_template(connection);
    assert_eq!(lab.table.find_template(&template_key("10.1.0.9", 24)), None);
    let new = lab.insert(template("10.1.0.0"));
    lab.table.abandon_template(new);
    let newest = lab.insert(template("10.1.0.0"));
    assert_eq!(lab.table.find_template(&template_key("10.1.0.9", 24)), Some(newest));
    assert_eq!(lab.found(CLIENT, VIRTUAL), Some((connection, Direction::Input)));
    let listed = lab.table.get(old).expect("an entry");
    assert_eq!((listed.service().port, listed.server().port, listed.controls()), (65535, 65535, 1));
    lab.table.check().expect("a sound table");
}

#[test]
fn what_cannot_be_inserted_changes_nothing() {
    let mut lab = Lab::new(2);
    let first = lab.insert(numbered(1));
    let gone = lab.insert(numbered(2));
    lab.table.remove(gone, lab.tick());
    let mut refused = |connection, controller| lab.table.insert(connection, controller, Tick::default());
    assert_eq!(refused(numbered(1), None), Err(NotInserted::Exists(first)));
    assert_eq!(refused(numbered(3), Some(gone)), Err(NotInserted::NoController));
    assert_eq!(refused(numbered(3).of_one_packet(), None), Err(NotInserted::OfOnePacket));
    lab.insert(numbered(2));
    let refused = lab.table.insert(numbered(3), Some(first), lab.tick());
    assert_eq!(refused, Err(NotInserted::Full));
    assert_eq!(lab.table.get(first).map(Connection::controls), Some(0));
    let counts = Counts { inserted: 3, removed: 1, full: 1, ..Counts::default() };
    assert_eq!((lab.table.counts(), lab.table.len()), (counts, 2));
    lab.table.check().expect("a sound table");
}

#[test]
fn a_batch_finds_what_each_alone_finds() {
    let mut lab = Lab::new(5000);
    let inserted: Vec<_> = (0..5000).map(|number| lab.insert(numbered(number))).collect();
    for (batch, expected) in (0..5000).collect::<Vec<_>>().chunks(32).zip(inserted.chunks(32)) {
        let mut sought: Vec<_> =
            batch.iter().map(|number| lab.table.sought(numbered(*number).reply())).collect();
        lab.table.approach(&mut sought, |sought| Some(sought));
        let found: Vec<_> = sought.iter().map(|sought| lab.table.find(sought)).collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|connection| Some(Found { connection: *connection, direction: Direction::Output }))
            .collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn what_was_near_may_be_gone_or_another() {
    let mut lab = Lab::new(10);
    let first = lab.insert(numbered(1));
    let mut sought = [numbered(1).request(), numbered(1).reply()].map(|key| lab.table.sought(key));
    lab.table.approach(&mut sought, |sought| Some(sought));
    lab.table.remove(first, lab.tick());
    assert_eq!(sought.each_ref().map(|sought| lab.table.find(sought)), [None, None]);
    let second = lab.insert(numbered(2));
    assert_eq!(second, first);
    assert_eq!(sought.each_ref().map(|sought| lab.table.find(sought)), [None, None]);
}

#[test]
fn states_say_how_a_connection_counts() {
    use crate::engine::scheduler::Counted::{Active, Inactive};
    use crate::engine::state::{SctpState, TcpState};
    use ConnectionState::{Sctp, Tcp, Udp};
    let mut connection = numbered(0);
    assert_eq!((connection.state(), connection.counted()), (Some(Tcp(TcpState::None)), Inactive));
    for (state, before, after) in [
        (TcpState::SynReceived, Some(Inactive), Active),
        (TcpState::Established, None, Active),
        (TcpState::Established, None, Active),
        (TcpState::FinWait, Some(Active), Inactive),
        (TcpState::TimeWait, None, Inactive),
    ] {
        assert_eq!(connection.set_state(Tcp(state)), before, "{state:?}");
        assert_eq!((connection.state(), connection.counted()), (Some(Tcp(state)), after));
    }
    for other in [Udp, Sctp(SctpState::Established)] {
        assert_eq!(connection.set_state(other), None);
        assert_eq!(connection.state(), Some(Tcp(TcpState::TimeWait)));
    }
    let mut template = template("10.1.0.0");
    assert_eq!(template.set_state(Tcp(TcpState::Established)), None);
    assert!(!template.is_assured());
    template.assure();
    connection.assure();
    assert!(template.is_assured() && !connection.is_assured());
}

#[test]
fn progress_is_remembered_to_the_tick() {
    use crate::engine::state::TcpState;
    use crate::sync::Progress;
    let lab = Lab::new(1);
    let mut connection = numbered(0);
    connection.count_packets(3);
    assert_eq!(connection.progress(lab.table.clock()), Progress::new(3, None, None));
    let state = Some(ConnectionState::Tcp(TcpState::FinWait));
    for progress in [
        Progress::new(7, state, Some((lab.now + Duration::from_millis(120_300), 2))),
        Progress::new(8, None, Some((lab.now, 0))),
        Progress::new(u32::MAX, state, None),
    ] {
        connection.set_progress(&progress, lab.table.clock());
        assert_eq!(connection.progress(lab.table.clock()), progress);
    }
    let between = Progress::new(7, state, Some((lab.now + Duration::from_millis(150), 2)));
    connection.set_progress(&between, lab.table.clock());
    let (end, _) = connection.progress(lab.table.clock()).last().expect("it was told of");
    assert_eq!(end, lab.now + Duration::from_millis(100));
}

#[test]
fn what_an_entry_was_made_with_is_what_it_has() {
    use crate::engine::scheduler::ServerIndex;
    use crate::sync::RecordFlags;
    let ends = Ends { local: Some(end(LOCAL)), ..ends(CLIENT, VIRTUAL, SERVER) };
    let mark = FwMark::new(9);
    let connection = Connection::new(Protocol::Udp, &ends, Method::Masquerade)
        .from_peer()
        .with_server(ServerIndex::new(4))
        .with_mark(mark);
    let found = (connection.client(), connection.service(), connection.server(), connection.local());
    assert_eq!(found, (ends.client, ends.service, ends.server, ends.local));
    assert_eq!((connection.server_index(), connection.mark()), (Some(ServerIndex::new(4)), mark));
    assert_eq!(connection.record_flags(), RecordFlags::SYNC | RecordFlags::INACTIVE);
    let mut unbound = connection;
    unbound.set_server_index(None);
    unbound.set_offloaded(true);
    unbound.set_no_output(true);
    unbound.set_inactive(false);
    assert_eq!((unbound.server_index(), unbound.is_offloaded()), (None, true));
    assert_eq!(unbound.record_flags(), RecordFlags::SYNC | RecordFlags::NO_OUTPUT);
    assert_eq!((numbered(0).mark(), numbered(0).local()), (None, None));
}
