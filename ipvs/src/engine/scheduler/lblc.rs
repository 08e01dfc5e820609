use std::time::Instant;

use super::cache::{Cache, Roster, is_outdone};
use super::pool::{Pool, ServerIndex};
use super::wlc;
use crate::engine::address::Address;

/// Locality-based least connections: a destination stays with its server as long as that has room, or nobody has much.
///
/// The server that a destination has already gets its connections beyond the upper threshold, too, as in Linux.
#[derive(Clone, Debug)]
pub(super) struct Locality {
    cache: Cache<ServerIndex>,
    roster: Roster,
}

impl Locality {
    pub(super) fn new(pool: Pool<'_>, now: Instant) -> Self {
        let mut locality = Self { cache: Cache::new(now), roster: Roster::default() };
        locality.changed(pool);
        locality
    }

    /// A server came or went.
    pub(super) fn changed(&mut self, pool: Pool<'_>) {
        let replaced = self.roster.update(pool);
        if !replaced.is_empty() {
            self.cache.retain(|index| !replaced.contains(index));
        }
    }

    pub(super) fn pick(&mut self, pool: Pool<'_>, destination: Address, now: Instant) -> Option<ServerIndex> {
        let keeps = |index: &ServerIndex| {
            let server = pool.server(*index).filter(|_| self.roster.contains(*index));
            server.is_some_and(|server| server.weight() > 0 && !is_outdone(server, pool))
        };
        if let Some(index) = self.cache.get_mut(destination, now).copied().filter(keeps) {
            return Some(index);
        }
        let index = wlc::pick(pool)?;
        self.cache.insert(destination, index, now);
        Some(index)
    }

    pub(super) const fn poll_timeout(&self) -> Instant {
        self.cache.poll_timeout()
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.cache.handle_timeout(now);
    }
}
