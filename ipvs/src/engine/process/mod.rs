//! What the engine does with a packet: the path of IPVS from the hook to the way out.
//!
//! A packet is looked at once ([`Engine::read`]), then it finds its connection or begins one, is counted, changes the
//! connection's state, and becomes what its method makes of it ([`Engine::process`]). Reading many before processing the
//! first ([`Engine::approach`]) has the processor wait for memory once for all of them.
//!
//! What the engine does not see: packets that this host sends itself. It has no applications (FTP) and no persistence
//! engines. Packets come whole: [`reassembly`](super::reassembly) is before this.

mod check;
mod control;
mod errors;
mod expiry;
mod forwarding;
mod schedule;
mod settings;
mod sync;
mod transport;
mod verdict;

use std::collections::BTreeMap;
use std::time::Instant;

pub use control::Listed;
pub use expiry::Gone;
pub use settings::{Orphans, Quiescent, Reuse, Settings};
pub use sync::Told;
pub use verdict::{Discard, Discards, Verdict};

use super::address::Address;
use super::buffer::Packet;
use super::connections::{ConnectionIndex, Connections, Found, Limits, PacketKey, Sought, StateTimeouts};
use super::forward::{Path, icmp};
use super::packet::{Malformed, View, protocol};
use super::services::Services;
use super::state::{Direction, TcpState};
use super::wheel::Tick;
use crate::plane::Timeouts;
use crate::sync::ConnectionState;
use crate::virtual_service::{FwMark, ServiceId};
use transport::Event;

/// Where packets go from here; asked for each, so it should know.
pub trait Routes {
    fn route(&mut self, to: Address) -> Route;

    /// A router has said that no more than this gets through to `to`.
    fn lower_mtu(&mut self, to: Address, mtu: usize);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// It is an address of this host.
    Local,
    Via(Path),
    Unreachable,
}

/// A moment, as packets and tables have it. Made once for many packets by [`Engine::moment`].
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    now: Instant,
    tick: Tick,
}

/// A packet that has been read.
#[derive(Clone, Copy, Debug)]
pub struct Read {
    pub view: View,
    sought: Option<Sought>,
}

/// Services, servers and connections, and what happens between them.
///
/// Packets: [`read`](Self::read) and [`process`](Self::process). Changes of services: [`apply`](Self::apply). When
/// [`poll_timeout`](Self::poll_timeout) has come: [`handle_timeout`](Self::handle_timeout). After any of them
/// [`poll_gone`](Self::poll_gone) and [`poll_told`](Self::poll_told), until they have nothing.
#[derive(Debug)]
pub struct Engine {
    settings: Settings,
    services: Services,
    connections: Connections,
    timeouts: StateTimeouts,
    own_timeouts: BTreeMap<ServiceId, Timeouts>,
    discards: Discards,
    gone: Vec<Gone>,
    told: Vec<ConnectionIndex>,
    /// Of IPv4 packets that the engine makes itself.
    identification: u16,
}

impl Engine {
    /// Without services. `seed` should be nothing that clients can know; no time before `now` may be passed in afterwards.
    pub fn new(settings: Settings, limits: Limits, seed: u64, now: Instant) -> Self {
        Self {
            settings,
            services: Services::new(seed.wrapping_add(1), now),
            connections: Connections::with_limits(limits, seed, now),
            timeouts: StateTimeouts::default(),
            own_timeouts: BTreeMap::new(),
            discards: Discards::default(),
            gone: Vec::new(),
            told: Vec::new(),
            identification: 0,
        }
    }

    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    pub const fn set_settings(&mut self, settings: Settings) {
        self.settings = settings;
    }

    pub const fn discards(&self) -> &Discards {
        &self.discards
    }

    pub fn moment(&self, now: Instant) -> Moment {
        Moment { now, tick: self.connections.tick(now) }
    }

    /// Reads what a packet says of itself.
    ///
    /// # Errors
    /// It is no packet: whoever has the stack of this host drops it, and counts it.
    pub fn read(&self, packet: &[u8]) -> Result<Read, Malformed> {
        let view = View::read(packet)?;
        let sought = PacketKey::of(&view).map(|key| self.connections.sought(key));
        Ok(Read { view, sought })
    }

    /// Has what these packets need of the tables brought near. Those that could not be read are `None`.
    pub fn approach(&self, packets: &mut [Option<Read>]) {
        self.connections.approach(packets, |read| read.as_mut()?.sought.as_mut());
    }

    /// What becomes of a packet, and makes it so. `mark` is the firewall's.
    pub fn process(
        &mut self,
        packet: &mut Packet<'_>,
        read: &Read,
        mark: Option<FwMark>,
        routes: &mut impl Routes,
        moment: Moment,
    ) -> Verdict {
        let Read { view, sought } = read;
        let verdict = match sought {
            Some(sought) => match self.connections.find(sought) {
                Some(found) => self.continued(found, packet, view, mark, routes, moment),
                None => self.first(packet, view, mark, routes, moment),
            },
            None if matches!(view.protocol, protocol::ICMP | protocol::ICMPV6) => {
                self.error(packet, view, routes, moment)
            }
            None => Verdict::Pass,
        };
        if let Verdict::Drop(why) | Verdict::Answer { why, .. } = verdict {
            self.discards.count(why);
        }
        verdict
    }

    /// A packet of a connection that there is.
    fn continued(
        &mut self,
        Found { connection, direction }: Found,
        packet: &mut Packet<'_>,
        view: &View,
        mark: Option<FwMark>,
        routes: &mut impl Routes,
        moment: Moment,
    ) -> Verdict {
        let event = Event::of(packet.bytes(), view);
        if direction == Direction::Output {
            return self.reply(connection, event, packet, view, routes, moment);
        }
        match self.standing(connection, event) {
            Standing::GoesOn => self.request(connection, event, packet, view, routes, moment),
            Standing::ServerGone => Verdict::Drop(Discard::ServerGone),
            Standing::Over => {
                let ended = self.take_out(connection, moment);
                let verdict = self.first(packet, view, mark, routes, moment);
                // As in the kernel, it counted for the choice of the next server.
                if let Some(ended) = ended {
                    self.account(connection, ended);
                }
                verdict
            }
        }
    }

    /// Whether a packet of a client goes on by its connection.
    fn standing(&self, connection: ConnectionIndex, event: Event) -> Standing {
        let Some(entry) = self.connections.get(connection) else { return Standing::Over };
        let server = entry.server_index();
        if event.begins() {
            let quiescent =
                || server.and_then(|server| self.services.seen(server)).is_some_and(|s| s.weight() == 0);
            if self.settings.orphans == Orphans::Expire && quiescent() {
                return Standing::Over;
            }
            if !entry.is_controlled() && self.may_be_taken(entry.state(), entry.has_no_output()) {
                return Standing::Over;
            }
        }
        match server {
            Some(server) if !self.services.is_available(server) => match self.settings.orphans {
                Orphans::Keep => Standing::ServerGone,
                Orphans::Expire => Standing::Over,
            },
            _ => Standing::GoesOn,
        }
    }

    /// Whether a connection in this state gives way to a new one with its addresses and ports.
    const fn may_be_taken(&self, state: Option<ConnectionState>, half_seen: bool) -> bool {
        use super::state::SctpState;
        let ended = match state {
            Some(ConnectionState::Tcp(TcpState::TimeWait | TcpState::Close))
            | Some(ConnectionState::Sctp(SctpState::Closed)) => true,
            Some(ConnectionState::Tcp(TcpState::FinWait)) => {
                half_seen && matches!(self.settings.reuse, Reuse::HalfEnded)
            }
            _ => false,
        };
        ended && !matches!(self.settings.reuse, Reuse::Never)
    }

    /// A packet of a client goes to its server.
    fn request(
        &mut self,
        connection: ConnectionIndex,
        event: Event,
        packet: &mut Packet<'_>,
        view: &View,
        routes: &mut impl Routes,
        moment: Moment,
    ) -> Verdict {
        if packet.offload().segment.is_some() && self.is_tunnelled(connection) {
            return Verdict::Segment;
        }
        let Some(entry) = self.connections.get(connection) else { return Verdict::Pass };
        let direction = if entry.has_no_output() { Direction::InputOnly } else { Direction::Input };
        if entry.has_no_client_port()
            && let Some(ports) = view.ports
        {
            self.connections.learn_client_port(connection, ports.source);
        }
        if let Some(server) = entry_server(&self.connections, connection) {
            self.services.count_in(server, length(view));
        }
        self.advance(connection, event, direction);
        let verdict = self.forward(connection, packet, view, routes);
        self.count_packet(connection, moment);
        self.connections.touch(connection, moment.tick);
        verdict
    }

    /// A packet of a server goes to its client.
    fn reply(
        &mut self,
        connection: ConnectionIndex,
        event: Event,
        packet: &mut Packet<'_>,
        view: &View,
        routes: &mut impl Routes,
        moment: Moment,
    ) -> Verdict {
        let verdict = self.forward_back(connection, packet, view, routes);
        // What a router does not forward it has not seen.
        if matches!(verdict, Verdict::Answer { .. } | Verdict::Drop(_) | Verdict::Segment) {
            return verdict;
        }
        let Some(entry) = self.connections.get_mut(connection) else { return verdict };
        entry.answered();
        if let Some(server) = entry.server_index() {
            self.services.count_out(server, length(view));
        }
        self.advance(connection, event, Direction::Output);
        self.tell_of_answer(connection, moment);
        self.connections.touch(connection, moment.tick);
        verdict
    }

    /// What a packet makes of the state of its connection, of its timeout, and of how it counts.
    fn advance(&mut self, connection: ConnectionIndex, event: Event, direction: Direction) {
        let Some(entry) = self.connections.get(connection) else { return };
        let Some(state) = entry.state() else { return };
        // What says nothing has the timer start anew as it is. UDP does not say more anyway.
        if event == Event::Truncated && state != ConnectionState::Udp {
            return;
        }
        let after = event.after(state, direction, self.settings.tcp_table);
        let server = entry.server_index();
        let service = server.and_then(|server| self.services.service_of(server));
        let own = service.map(|service| self.services.timeouts(service)).unwrap_or_default();
        let timeout = self.timeouts.of_service(after, &own);
        let assures = match after {
            ConnectionState::Tcp(TcpState::Established) => state != after,
            ConnectionState::Sctp(super::state::SctpState::Established) => state != after,
            ConnectionState::Udp => direction == Direction::Output,
            ConnectionState::Tcp(_) | ConnectionState::Sctp(_) => false,
        };
        let Some(entry) = self.connections.get_mut(connection) else { return };
        let recounted = entry.set_state(after).map(|before| (before, entry.counted()));
        entry.set_timeout(timeout);
        let controller = entry.controller();
        if let (Some(server), Some((from, to))) = (server, recounted) {
            self.services.recount(server, from, to);
        }
        if assures && let Some(template) = controller.and_then(|index| self.connections.get_mut(index)) {
            template.assure();
        }
    }

    /// The next identification of an IPv4 packet that the engine makes.
    const fn next_identification(&mut self) -> u16 {
        self.identification = self.identification.wrapping_add(1);
        self.identification
    }

    /// Makes of a packet an answer to its sender, from an address of this host; drops it where it gets none.
    fn answer(
        &mut self,
        packet: &mut Packet<'_>,
        view: &View,
        error: icmp::Error,
        from: Address,
        why: Discard,
    ) -> Verdict {
        let identification = self.next_identification();
        match icmp::answer(packet, view, error, from, identification) {
            Ok(()) => Verdict::Answer { to: view.source, why },
            Err(_silence) => Verdict::Drop(why),
        }
    }
}

/// What a connection does with the next packet of its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    GoesOn,
    ServerGone,
    /// It makes room for whatever the packet begins.
    Over,
}

fn entry_server(
    connections: &Connections,
    connection: ConnectionIndex,
) -> Option<super::scheduler::ServerIndex> {
    connections.get(connection)?.server_index()
}

/// From the IP header on, without the padding of links.
fn length(view: &View) -> u32 {
    u32::try_from(view.end).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
