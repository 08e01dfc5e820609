//! What other directors are told of entries, and what they tell.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use super::schedule::method;
use super::{Engine, Moment};
use crate::engine::address::Address;
use crate::engine::connections::{Connection, ConnectionIndex, PacketKey, TemplateKey};
use crate::engine::scheduler::ServerIndex;
use crate::engine::services::{LocalPort, PortFirst, Target};
use crate::engine::state::Direction;
use crate::engine::wheel::Ticks;
use crate::sync::{
    self, Candidate, Changes, Endpoint, Ends, Method, Occasion, Progress, RecordFlags, SendRules, Subject,
    SyncRecord, Template, TemplateProtocol, Tuple,
};
use crate::virtual_service::{Family, FwMark};

/// What a template is kept for where its record does not say: the kernel's number.
const TEMPLATE_TIMEOUT: Duration = Duration::from_secs(180);

/// What becomes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// The entry is as it says.
    Taken,
    /// The entry goes to another server here, and the record is of one that has ended. As in the kernel, it is ignored.
    OfAnother,
    /// Its local port (full NAT) stands for another client of its server here, or is none that directors lend.
    LocalPortInUse,
    /// The table is full.
    NoRoom,
}

impl Engine {
    /// The next entry that other directors are to be told of.
    pub fn poll_told(&mut self) -> Option<SyncRecord<'static>> {
        while let Some(index) = self.told.pop() {
            if let Some(record) = self.connections.get(index).and_then(record_of) {
                return Some(record);
            }
        }
        None
    }

    /// A packet of a client has passed: it is counted, and other directors hear of the connection if it is time.
    pub(super) fn count_packet(&mut self, connection: ConnectionIndex, moment: Moment) {
        self.count_packets(connection, 1, Occasion::Packet, moment);
    }

    /// As [`count_packet`](Self::count_packet), for packets that somebody else has forwarded.
    pub(super) fn count_forwarded(&mut self, connection: ConnectionIndex, packets: u32, moment: Moment) {
        self.count_packets(connection, packets, Occasion::Packets(packets), moment);
    }

    fn count_packets(
        &mut self,
        connection: ConnectionIndex,
        packets: u32,
        occasion: Occasion,
        moment: Moment,
    ) {
        let Some(entry) = self.connections.get_mut(connection) else { return };
        entry.count_packets(packets);
        let Some(rules) = self.settings.sync else { return };
        let controller = entry.controller();
        self.consider(connection, occasion, &rules, moment.now);
        if let Some(template) = controller {
            if let Some(entry) = self.connections.get_mut(template) {
                entry.count_packets(packets);
            }
            self.consider(template, occasion, &rules, moment.now);
        }
    }

    /// A packet of a server has passed: other directors hear of the connection if that has changed its state.
    pub(super) fn tell_of_answer(&mut self, connection: ConnectionIndex, moment: Moment) {
        if let Some(rules) = self.settings.sync.filter(|rules| rules.changes == Changes::OfBoth) {
            self.consider(connection, Occasion::Answer, &rules, moment.now);
        }
    }

    /// It lives on because of those that it controls.
    pub(super) fn tell_at_threshold(&mut self, connection: ConnectionIndex, now: Instant) {
        if let Some(rules) = self.settings.sync {
            self.consider(connection, Occasion::AtThreshold, &rules, now);
        }
    }

    fn consider(&mut self, index: ConnectionIndex, occasion: Occasion, rules: &SendRules, now: Instant) {
        let clock = self.connections.clock();
        let Some(entry) = self.connections.get(index) else { return };
        let candidate = match entry.state() {
            None => Candidate::Template,
            Some(state) if self.is_persistent(entry) => Candidate::Persistent(state),
            Some(state) => Candidate::Connection(state),
        };
        let (mut progress, timeout) = (entry.progress(clock), entry.timeout());
        let due = rules.is_due(candidate, &mut progress, occasion, timeout, now);
        if due && let Some(entry) = self.connections.get_mut(index) {
            entry.set_progress(&progress, clock);
            self.told.push(index);
        }
    }

    fn is_persistent(&self, entry: &Connection) -> bool {
        let controller = entry.controller().and_then(|index| self.connections.get(index));
        controller.is_some_and(|controller| controller.is_template() || controller.is_controlled())
    }

    /// Another director has told of an entry. It is as told from now on, and ends by itself if nobody tells of it again.
    pub fn handle_record(&mut self, record: &SyncRecord<'_>, moment: Moment) -> Told {
        let ends = record.tuple.ends();
        let there = self.find_told(record, &ends);
        let there = match there {
            Some(index) if self.is_another(index, record, &ends) => {
                if record.flags.contains(RecordFlags::INACTIVE) {
                    return Told::OfAnother;
                }
                self.end(index, moment);
                None
            }
            there => there,
        };
        let index = match there {
            Some(index) => {
                self.follow_record(index, record, &ends);
                index
            }
            None => match self.make_told(record, &ends, moment) {
                Ok(index) => index,
                Err(why) => return why,
            },
        };
        self.set_told(index, record, moment);
        Told::Taken
    }

    fn find_told(&self, record: &SyncRecord<'_>, ends: &Ends<Address>) -> Option<ConnectionIndex> {
        match &record.subject {
            Subject::Template(template) => self.connections.find_template(&template_key(template, ends)),
            Subject::Connection(connection) => {
                let key = PacketKey {
                    source: ends.client.address,
                    destination: ends.service.address,
                    source_port: ends.client.port,
                    destination_port: ends.service.port,
                    protocol: connection.state.protocol().number(),
                };
                let found = self.connections.lookup(key)?;
                (found.direction != Direction::Output).then_some(found.connection)
            }
        }
    }

    /// Whether what is there goes to another server than what is told of, or as another client.
    fn is_another(&self, index: ConnectionIndex, record: &SyncRecord<'_>, ends: &Ends<Address>) -> bool {
        let goes_elsewhere =
            |entry: &Connection| entry.server() != ends.server || entry.local() != ends.local;
        let connection = matches!(record.subject, Subject::Connection(_));
        connection && self.connections.get(index).is_some_and(goes_elsewhere)
    }

    /// What is there counts as the other director says, and is bound if it was not.
    fn follow_record(&mut self, index: ConnectionIndex, record: &SyncRecord<'_>, ends: &Ends<Address>) {
        let Some(entry) = self.connections.get_mut(index) else { return };
        let before = entry.counted();
        entry.set_inactive(record.flags.contains(RecordFlags::INACTIVE));
        let after = entry.counted();
        match entry.server_index() {
            Some(server) if before != after => self.services.recount(server, before, after),
            Some(_) => {}
            None => {
                let server = self.server_told(record, ends);
                if let (Some(server), Some(entry)) = (server, self.connections.get_mut(index)) {
                    entry.set_server_index(Some(server));
                    self.services.bind(server, after);
                }
            }
        }
    }

    fn make_told(
        &mut self,
        record: &SyncRecord<'_>,
        ends: &Ends<Address>,
        moment: Moment,
    ) -> Result<ConnectionIndex, Told> {
        let server = self.server_told(record, ends);
        let here = server.and_then(|server| self.services.settings(server));
        // Who knows the server knows how to get there.
        let way = here.map_or(record.method, |here| method(here.forwarding));
        let mut entry = match &record.subject {
            Subject::Template(template) => {
                Connection::template(&template_key(template, ends), ends.server, way, TEMPLATE_TIMEOUT)
            }
            Subject::Connection(connection) => {
                let mut entry = Connection::new(connection.state.protocol(), ends, way);
                if server.is_none() {
                    entry.set_no_output(record.flags.contains(RecordFlags::NO_OUTPUT));
                }
                entry.set_inactive(record.flags.contains(RecordFlags::INACTIVE));
                if connection.no_client_port { entry.without_client_port() } else { entry }
            }
        }
        .from_peer()
        .with_mark(record.mark);
        entry.set_server_index(server);
        let (counted, local, protocol) = (entry.counted(), entry.local(), entry.protocol());
        if local.is_some() && !self.claim_local(ends, protocol) {
            return Err(Told::LocalPortInUse);
        }
        if let Some(ended) = self.connections.relieve(moment.tick) {
            self.settle(ended);
        }
        match self.connections.insert(entry, None, moment.tick) {
            Ok(index) => {
                if let Some(server) = server {
                    self.services.bind(server, counted);
                }
                Ok(index)
            }
            Err(_full) => {
                if local.is_some() {
                    self.release_local(ends, protocol);
                }
                Err(Told::NoRoom)
            }
        }
    }

    /// The counterpart of [`release_local`](Self::release_local), for a connection that has its local end already.
    fn claim_local(&mut self, ends: &Ends<Address>, protocol: u8) -> bool {
        let Some(local) = ends.local else { return false };
        let target = Target { protocol, address: ends.server.address, port: ends.server.port };
        self.services.claim_local(&target, LocalPort { address: local.address, port: local.port })
    }

    /// State, packets and time of an entry, as they are told.
    fn set_told(&mut self, index: ConnectionIndex, record: &SyncRecord<'_>, moment: Moment) {
        let rules = self.settings.sync.unwrap_or_default();
        let clock = self.connections.clock();
        let told = record.timeout.map(|seconds| Ticks::of(Duration::from_secs(seconds.get().into())));
        let Some(entry) = self.connections.get_mut(index) else { return };
        let server = entry.server_index();
        let timeout = match &record.subject {
            Subject::Template(template) => {
                if template.assured {
                    entry.assure();
                }
                told.unwrap_or(Ticks::of(TEMPLATE_TIMEOUT))
            }
            Subject::Connection(connection) => {
                let inactive = record.flags.contains(RecordFlags::INACTIVE);
                let before = entry.counted();
                entry.set_state(connection.state);
                // Whatever the state says.
                entry.set_inactive(inactive);
                if let (Some(server), true) = (server, entry.counted() != before) {
                    self.services.recount(server, before, entry.counted());
                }
                told.unwrap_or_else(|| self.timeouts.of(connection.state))
            }
        };
        entry.set_progress(&Progress::of_copy(entry.state(), &rules), clock);
        entry.set_timeout(timeout);
        self.connections.touch(index, moment.tick);
    }

    /// The server here that an entry of another director is for.
    fn server_told(&self, record: &SyncRecord<'_>, ends: &Ends<Address>) -> Option<ServerIndex> {
        let (protocol, mark) = match &record.subject {
            Subject::Template(template) if template.protocol == TemplateProtocol::IP => {
                (template.protocol.0, mark_of(ends.service.address))
            }
            Subject::Template(template) => (template.protocol.0, record.mark),
            Subject::Connection(connection) => (connection.state.protocol().number(), record.mark),
        };
        let service = self.services.find(protocol, ends.service.address, ends.service.port, mark)?;
        let by_mark = mark.is_some() && record.method != Method::Masquerade;
        let first = if by_mark { PortFirst::Every } else { PortFirst::Own };
        self.services.find_server(service, ends.server.address, ends.server.port, first)
    }
}

const fn template_key(template: &Template<'_>, ends: &Ends<Address>) -> TemplateKey {
    TemplateKey::of_record(template.protocol, ends.client.address, ends.service)
}

/// The mark in the address of a template of one.
fn mark_of(service: Address) -> Option<FwMark> {
    let bits = match service.family() {
        Family::V4 => service.bits(),
        Family::V6 => service.bits() >> 96,
    };
    FwMark::new(u32::try_from(bits & u128::from(u32::MAX)).ok()?)
}

/// `None`: there are no records of such an entry.
fn record_of(entry: &Connection) -> Option<SyncRecord<'static>> {
    let subject = match entry.state() {
        Some(state) => Subject::Connection(sync::Connection {
            no_client_port: entry.has_no_client_port(),
            ..sync::Connection::new(state)
        }),
        None => Subject::Template(Template {
            protocol: TemplateProtocol(entry.protocol()),
            assured: entry.is_assured(),
            call_id: None,
        }),
    };
    let seconds = u32::try_from(entry.timeout().as_secs()).unwrap_or(u32::MAX);
    Some(SyncRecord {
        subject,
        tuple: tuple_of(entry)?,
        method: entry.method(),
        flags: entry.record_flags(),
        mark: mark_told(entry),
        timeout: NonZeroU32::new(seconds),
    })
}

/// By its mark the kernel finds the server of a template of a mark, although that is in the template's address, too.
fn mark_told(entry: &Connection) -> Option<FwMark> {
    let of_mark = entry.is_template() && entry.protocol() == TemplateProtocol::IP.0;
    if of_mark { mark_of(entry.service().address) } else { entry.mark() }
}

/// `None` where a tunnel goes to another family.
fn tuple_of(entry: &Connection) -> Option<Tuple> {
    let ends = Ends {
        client: entry.client(),
        service: entry.service(),
        server: entry.server(),
        local: entry.local(),
    };
    match ends.client.address.family() {
        Family::V4 => each(ends, |address| match IpAddr::from(address) {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        })
        .map(Tuple::V4),
        Family::V6 => each(ends, |address| match IpAddr::from(address) {
            IpAddr::V6(address) => Some(address),
            IpAddr::V4(_) => None,
        })
        .map(Tuple::V6),
    }
}

fn each<A>(ends: Ends<Address>, address: impl Fn(Address) -> Option<A>) -> Option<Ends<A>> {
    let end = |end: Endpoint<Address>| Some(Endpoint::new(address(end.address)?, end.port));
    Some(Ends {
        client: end(ends.client)?,
        service: end(ends.service)?,
        server: end(ends.server)?,
        local: match ends.local {
            Some(local) => Some(end(local)?),
            None => None,
        },
    })
}
