//! How real servers are chosen for new connections: Linux's schedulers, and two of our own.
//!
//! Each makes the choices of the kernel, ties and history included: what decides between equals is the order of the
//! servers, the newest first ([`Pool`]). What differs, and why:
//! - Load is computed in 64 bits and compared in 128, so that no number of connections or weight overflows.
//! - wrr goes past levels that nobody has in one step: a choice takes at most three passes over the list, whatever the
//!   weights.
//! - sh and mh with a fallback give up at once when no server is usable, instead of after all their places.
//! - mh hashes as 64-bit kernels do, on every machine. With more servers than it has places, it never keeps one that
//!   was removed.
//! - lblc and lblcr are bounded as in Linux from 6.1.191 and 6.12.113 on: at most 24,576 destinations, which take 2 to
//!   4 MB, and with lblcr four bytes for each server of each destination's set. A removed server that is added again
//!   under another index has lost its destinations.
//! - twos has a generator of its own, from a seed.
//!
//! wdh and wsh are not in Linux (see [`Scheduler::nearest_in_kernel`](crate::Scheduler::nearest_in_kernel)).
//!
//! The rules of load and of thresholds are those of Linux up to 6.1.182 ([`Server`]). Read [`Server`], [`Pool`] and
//! [`Scheduling`] in this order.

mod cache;
mod dh;
mod fo;
mod hash;
mod lblc;
mod lblcr;
mod lc;
mod mh;
mod nq;
mod ovf;
mod pool;
mod rendezvous;
mod rr;
mod sed;
mod server;
mod sh;
mod twos;
mod wlc;
mod wrr;

use std::time::Instant;

pub use pool::{Pool, ServerIndex};
pub use server::{Counted, Server};

use super::address::Address;
use crate::scheduler::{Scheduler, SchedulerFlags};
use crate::virtual_service::Family;

/// What a scheduler reads of the packet that begins a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    pub source: Address,
    /// 0 where the protocol has no ports.
    pub source_port: u16,
    pub destination: Address,
}

/// The scheduler of one service, with what it remembers.
///
/// It is told of changes to the service's servers after they were made: [`added`](Self::added),
/// [`removed`](Self::removed), [`edited`](Self::edited), one call for each. Connections that begin and end are of no
/// interest to it beyond what [`Server`] counts. [`pick`](Self::pick) chooses and counts nothing.
#[derive(Clone, Debug)]
pub struct Scheduling {
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    Rr(rr::RoundRobin),
    Wrr(wrr::WeightedRoundRobin),
    Lc,
    Wlc,
    Lblc(lblc::Locality),
    Lblcr(lblcr::ReplicatedLocality),
    Dh(dh::DestinationHashing),
    Sh(sh::SourceHashing),
    Sed,
    Nq,
    Fo,
    Ovf,
    Mh(mh::Maglev),
    Twos(twos::TwoChoices),
    Wdh(rendezvous::Rendezvous),
    Wsh(rendezvous::Rendezvous),
}

impl Scheduling {
    /// For a service of `family` that has the servers of `pool`, as when it gets another scheduler. Random choices come
    /// from `seed`.
    pub fn new(scheduler: Scheduler, family: Family, pool: Pool<'_>, seed: u64, now: Instant) -> Self {
        let state = match scheduler {
            Scheduler::Rr => State::Rr(rr::RoundRobin::default()),
            Scheduler::Wrr => State::Wrr(wrr::WeightedRoundRobin::new(pool)),
            Scheduler::Lc => State::Lc,
            Scheduler::Wlc => State::Wlc,
            Scheduler::Lblc => State::Lblc(lblc::Locality::new(pool, now)),
            Scheduler::Lblcr => State::Lblcr(lblcr::ReplicatedLocality::new(pool, now)),
            Scheduler::Dh => State::Dh(dh::DestinationHashing::new(pool)),
            Scheduler::Sh => State::Sh(sh::SourceHashing::new(pool)),
            Scheduler::Sed => State::Sed,
            Scheduler::Nq => State::Nq,
            Scheduler::Fo => State::Fo,
            Scheduler::Ovf => State::Ovf,
            Scheduler::Mh => State::Mh(mh::Maglev::new(family, pool)),
            Scheduler::Twos => State::Twos(twos::TwoChoices::new(seed)),
            Scheduler::Wdh => State::Wdh(rendezvous::Rendezvous::new(pool)),
            Scheduler::Wsh => State::Wsh(rendezvous::Rendezvous::new(pool)),
        };
        Self { state }
    }

    /// A server was added to the service. It is the first of `pool` now, also if it had been there before.
    pub fn added(&mut self, pool: Pool<'_>) {
        match &mut self.state {
            State::Rr(state) => state.added(),
            _ => self.other_servers(pool),
        }
    }

    /// The server that stood at `position` of the list was removed from the service.
    pub fn removed(&mut self, pool: Pool<'_>, position: usize) {
        match &mut self.state {
            State::Rr(state) => state.removed(position),
            _ => self.other_servers(pool),
        }
    }

    /// Other servers than before, whichever they are.
    fn other_servers(&mut self, pool: Pool<'_>) {
        match &mut self.state {
            State::Wrr(state) => state.changed(pool),
            State::Lblc(state) => state.changed(pool),
            State::Lblcr(state) => state.changed(pool),
            State::Dh(state) => state.changed(pool),
            State::Sh(state) => state.changed(pool),
            State::Mh(state) => state.changed(pool),
            State::Wdh(state) | State::Wsh(state) => state.changed(pool),
            State::Rr(_)
            | State::Lc
            | State::Wlc
            | State::Sed
            | State::Nq
            | State::Fo
            | State::Ovf
            | State::Twos(_) => {}
        }
    }

    /// A server got another weight or other thresholds.
    pub fn edited(&mut self, pool: Pool<'_>) {
        match &mut self.state {
            State::Wrr(state) => state.changed(pool),
            State::Sh(state) => state.changed(pool),
            State::Mh(state) => state.changed(pool),
            State::Rr(_)
            | State::Lc
            | State::Wlc
            | State::Lblc(_)
            | State::Lblcr(_)
            | State::Dh(_)
            | State::Sed
            | State::Nq
            | State::Fo
            | State::Ovf
            | State::Twos(_)
            | State::Wdh(_)
            | State::Wsh(_) => {}
        }
    }

    /// The server for a new connection, or for a new persistence template. `None` when no server takes it.
    pub fn pick(
        &mut self,
        pool: Pool<'_>,
        request: &Request,
        flags: SchedulerFlags,
        now: Instant,
    ) -> Option<ServerIndex> {
        match &mut self.state {
            State::Rr(state) => state.pick(pool),
            State::Wrr(state) => state.pick(pool),
            State::Lc => lc::pick(pool),
            State::Wlc => wlc::pick(pool),
            State::Lblc(state) => state.pick(pool, request.destination, now),
            State::Lblcr(state) => state.pick(pool, request.destination, now),
            State::Dh(state) => state.pick(pool, request.destination),
            State::Sh(state) => state.pick(pool, request, flags),
            State::Sed => sed::pick(pool),
            State::Nq => nq::pick(pool),
            State::Fo => fo::pick(pool),
            State::Ovf => ovf::pick(pool),
            State::Mh(state) => state.pick(pool, request, flags),
            State::Twos(state) => state.pick(pool),
            State::Wdh(state) => state.by_destination(pool, request, flags),
            State::Wsh(state) => state.by_source(pool, request, flags),
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next; `None` for never.
    pub const fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Lblc(state) => Some(state.poll_timeout()),
            State::Lblcr(state) => Some(state.poll_timeout()),
            _ => None,
        }
    }

    /// Forgets what was of no use for long.
    pub fn handle_timeout(&mut self, now: Instant) {
        match &mut self.state {
            State::Lblc(state) => state.handle_timeout(now),
            State::Lblcr(state) => state.handle_timeout(now),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
