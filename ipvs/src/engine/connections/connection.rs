//! One entry of the table.

mod lookup;
mod telling;

use std::time::Duration;

use super::ConnectionIndex;
use super::key::TemplateKey;
use crate::engine::address::Address;
use crate::engine::scheduler::{Counted, ServerIndex};
use crate::engine::state::{SctpState, TcpState};
use crate::engine::wheel::{Tick, Ticks};
use crate::sync::{ConnectionState, Endpoint, Ends, Method};
use crate::virtual_service::{FwMark, Protocol};

/// A connection, or a persistence template: who talks to whom, and how far they are.
///
/// Two cache lines: the first has what lookups and rewriting read, the second what every packet writes.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub struct Connection {
    client: Address,
    service: Address,
    server: Address,
    client_port: u16,
    service_port: u16,
    server_port: u16,
    flags: Flags,
    protocol: u8,
    /// In the numbers of the sync protocol. Of a template: 1 where it is assured.
    state: u8,
    method: Method,
    told_retries: u8,
    /// [`NONE`] where it is unbound.
    server_index: u32,

    pub(super) expires: Tick,
    /// Not later than this, the wheel comes to it.
    pub(super) scheduled: Tick,
    /// Zero: forced to end.
    pub(super) timeout: Ticks,
    packets: u32,
    local: Address,
    /// [`NONE`] where nothing controls it. In a vacant slot: the next one, plus one.
    pub(super) controller: u32,
    /// How many entries it controls.
    pub(super) controlled: u32,
    mark: u32,
    told_end: Tick,
    local_port: u16,
    /// [`UNTOLD`] or a number of the sync protocol.
    told_state: u8,
}

const _: () = assert!(size_of::<Connection>() == 128 && align_of::<Connection>() == 64);
const _: () = assert!(std::mem::offset_of!(Connection, expires) == 64, "keys fill the first line");

pub(super) const NONE: u32 = u32::MAX;
const UNTOLD: u8 = u8::MAX;
/// The states of a template.
const ASSURED: u8 = 1;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Flags(u16);

impl Flags {
    /// In the table.
    const LIVE: u16 = 1;
    const TEMPLATE: u16 = 1 << 1;
    const ONE_PACKET: u16 = 1 << 2;
    const NO_CLIENT_PORT: u16 = 1 << 3;
    /// It has a local endpoint (full NAT).
    const LOCAL: u16 = 1 << 4;
    const NO_OUTPUT: u16 = 1 << 5;
    const INACTIVE: u16 = 1 << 6;
    const SYNC: u16 = 1 << 7;
    const OFFLOADED: u16 = 1 << 8;
    const REPLIED: u16 = 1 << 9;
    /// The index has it by the key of its client, and by that of its server.
    const BY_REQUEST: u16 = 1 << 10;
    const BY_REPLY: u16 = 1 << 11;
    /// `told_end` and `told_retries` say something.
    const TOLD: u16 = 1 << 12;

    const fn has(self, flag: u16) -> bool {
        self.0 & flag != 0
    }

    const fn set(&mut self, flag: u16, on: bool) {
        self.0 = if on { self.0 | flag } else { self.0 & !flag };
    }
}

impl Connection {
    /// Until a packet has gone through the state machine.
    pub const FIRST_TIMEOUT: Duration = Duration::from_secs(3);

    /// A connection before its first packet: without a server, inactive, to be kept for [`Self::FIRST_TIMEOUT`]. Answers
    /// are expected to pass here if the method is masquerading.
    pub fn new(protocol: Protocol, ends: &Ends<Address>, method: Method) -> Self {
        let mut flags = Flags(Flags::INACTIVE);
        flags.set(Flags::LOCAL, ends.local.is_some());
        flags.set(Flags::NO_OUTPUT, method != Method::Masquerade);
        let local = ends.local.unwrap_or(Endpoint::new(Address::UNSPECIFIED, 0));
        Self {
            client: ends.client.address,
            service: ends.service.address,
            server: ends.server.address,
            client_port: ends.client.port,
            service_port: ends.service.port,
            server_port: ends.server.port,
            flags,
            protocol: protocol.number(),
            state: 0,
            method,
            told_retries: 0,
            server_index: NONE,
            expires: Tick::default(),
            scheduled: Tick::default(),
            timeout: Ticks::of(Self::FIRST_TIMEOUT),
            packets: 0,
            local: local.address,
            controller: NONE,
            controlled: 0,
            mark: 0,
            told_end: Tick::default(),
            local_port: local.port,
            told_state: UNTOLD,
        }
    }

    /// A template that brings the clients of `key` to `server`; port 0 there leaves them the port that they address.
    pub fn template(key: &TemplateKey, server: Endpoint<Address>, method: Method, timeout: Duration) -> Self {
        let ends = Ends { client: key.client(), service: key.service(), server, local: None };
        let mut template = Self::new(Protocol::Tcp, &ends, method);
        template.flags = Flags(Flags::TEMPLATE);
        template.protocol = key.protocol().0;
        template.timeout = Ticks::of(timeout);
        template
    }

    /// Whose client sends from a port that is not known yet (passive FTP); see
    /// [`Connections::learn_client_port`](super::Connections::learn_client_port).
    #[must_use]
    pub const fn without_client_port(mut self) -> Self {
        self.client_port = 0;
        self.flags.set(Flags::NO_CLIENT_PORT, true);
        self
    }

    /// That ends with its packet, and is in no table.
    #[must_use]
    pub const fn of_one_packet(mut self) -> Self {
        self.flags.set(Flags::ONE_PACKET, true);
        self
    }

    /// That another director has told of.
    #[must_use]
    pub const fn from_peer(mut self) -> Self {
        self.flags.set(Flags::SYNC, true);
        self
    }

    #[must_use]
    pub const fn with_server(mut self, server: ServerIndex) -> Self {
        self.server_index = server.get();
        self
    }

    /// The mark of its first packet.
    #[must_use]
    pub const fn with_mark(mut self, mark: Option<FwMark>) -> Self {
        self.mark = match mark {
            Some(mark) => mark.get(),
            None => 0,
        };
        self
    }

    pub const fn client(&self) -> Endpoint<Address> {
        Endpoint::new(self.client, self.client_port)
    }

    /// What the client addresses. Of a template of a mark: the mark, see [`TemplateKey::of_mark`].
    pub const fn service(&self) -> Endpoint<Address> {
        Endpoint::new(self.service, self.service_port)
    }

    pub const fn server(&self) -> Endpoint<Address> {
        Endpoint::new(self.server, self.server_port)
    }

    /// What the real server sees as its client under full NAT.
    pub const fn local(&self) -> Option<Endpoint<Address>> {
        if self.flags.has(Flags::LOCAL) { Some(Endpoint::new(self.local, self.local_port)) } else { None }
    }

    /// The IP protocol number; of a template of a mark 0.
    pub const fn protocol(&self) -> u8 {
        self.protocol
    }

    pub const fn method(&self) -> Method {
        self.method
    }

    /// `None` where it is bound to none: another director has told of it, and there is no such server here.
    pub const fn server_index(&self) -> Option<ServerIndex> {
        if self.server_index == NONE { None } else { Some(ServerIndex::new(self.server_index)) }
    }

    /// Binds it to a server, or to none. The counters of both servers are the caller's.
    pub const fn set_server_index(&mut self, server: Option<ServerIndex>) {
        self.server_index = match server {
            Some(server) => server.get(),
            None => NONE,
        };
    }

    pub const fn mark(&self) -> Option<FwMark> {
        FwMark::new(self.mark)
    }

    pub const fn is_template(&self) -> bool {
        self.flags.has(Flags::TEMPLATE)
    }

    pub const fn is_of_one_packet(&self) -> bool {
        self.flags.has(Flags::ONE_PACKET)
    }

    pub const fn has_no_client_port(&self) -> bool {
        self.flags.has(Flags::NO_CLIENT_PORT)
    }

    /// Whether another director has told of it.
    pub const fn is_from_peer(&self) -> bool {
        self.flags.has(Flags::SYNC)
    }

    /// Whether something controls it: a template, or the control connection of FTP.
    pub const fn is_controlled(&self) -> bool {
        self.controller != NONE
    }

    /// What controls it.
    pub fn controller(&self) -> Option<ConnectionIndex> {
        self.is_controlled().then_some(ConnectionIndex(self.controller))
    }

    /// How many entries it controls.
    pub const fn controls(&self) -> u32 {
        self.controlled
    }

    /// Whether the kernel forwards its packets by itself.
    pub const fn is_offloaded(&self) -> bool {
        self.flags.has(Flags::OFFLOADED)
    }

    pub const fn set_offloaded(&mut self, offloaded: bool) {
        self.flags.set(Flags::OFFLOADED, offloaded);
    }

    /// Whether answers pass somewhere else.
    pub const fn has_no_output(&self) -> bool {
        self.flags.has(Flags::NO_OUTPUT)
    }

    pub const fn set_no_output(&mut self, no_output: bool) {
        self.flags.set(Flags::NO_OUTPUT, no_output);
    }

    /// Whether the real server has answered, as far as that passes here.
    pub const fn is_answered(&self) -> bool {
        self.flags.has(Flags::REPLIED)
    }

    /// A packet of the real server has passed: others may, too.
    pub const fn answered(&mut self) {
        self.flags.set(Flags::REPLIED, true);
        self.flags.set(Flags::NO_OUTPUT, false);
    }

    /// How it counts at its server.
    pub const fn counted(&self) -> Counted {
        if self.is_template() {
            Counted::Template
        } else if self.flags.has(Flags::INACTIVE) {
            Counted::Inactive
        } else {
            Counted::Active
        }
    }

    /// Counts as another director says. A template counts as such whatever is said.
    pub const fn set_inactive(&mut self, inactive: bool) {
        self.flags.set(Flags::INACTIVE, inactive);
    }

    /// `None` of a template.
    pub fn state(&self) -> Option<ConnectionState> {
        if self.is_template() { None } else { self.state_of(self.state) }
    }

    fn state_of(&self, number: u8) -> Option<ConnectionState> {
        ConnectionState::from_number(Protocol::from_number(self.protocol)?, number.into())
    }

    /// What follows a packet. Returns how it counted before where it counts otherwise now: its server has to recount.
    /// A state of another protocol is none that it can be in.
    pub fn set_state(&mut self, state: ConnectionState) -> Option<Counted> {
        let is_its_own = state.protocol().number() == self.protocol && !self.is_template();
        if !is_its_own || state.number() == self.state {
            return None;
        }
        self.state = state.number();
        let before = self.counted();
        self.set_inactive(!is_active(state));
        (self.counted() != before).then_some(before)
    }

    /// Whether a connection of this template was established.
    pub const fn is_assured(&self) -> bool {
        self.is_template() && self.state == ASSURED
    }

    /// A connection of this template was established.
    pub const fn assure(&mut self) {
        if self.is_template() {
            self.state = ASSURED;
        }
    }

    /// How long it is kept without a packet.
    pub const fn timeout(&self) -> Duration {
        self.timeout.duration()
    }

    /// From the next [touch](super::Connections::touch) on.
    pub const fn set_timeout(&mut self, timeout: Ticks) {
        self.timeout = timeout;
    }

    /// The time that is left.
    pub fn remaining(&self, now: Tick) -> Duration {
        self.expires.since(now)
    }

    /// How long no packet has come.
    pub fn idle(&self, now: Tick) -> Duration {
        self.timeout().saturating_sub(self.remaining(now))
    }

    /// Packets of the client.
    pub const fn packets(&self) -> u32 {
        self.packets
    }

    /// Counts packets of the client, and wraps as the kernel does. Of a template: packets of its connections.
    pub const fn count_packets(&mut self, packets: u32) {
        self.packets = self.packets.wrapping_add(packets);
    }
}

const fn is_active(state: ConnectionState) -> bool {
    match state {
        ConnectionState::Tcp(state) => TcpState::is_active(state),
        ConnectionState::Sctp(state) => SctpState::is_active(state),
        ConnectionState::Udp => false,
    }
}
