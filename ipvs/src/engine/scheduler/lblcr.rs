use std::time::Instant;

use super::cache::{Cache, EXPIRATION, Roster, is_outdone};
use super::pool::{Pool, ServerIndex};
use super::server::Server;
use super::wlc::{self, least};
use crate::engine::address::Address;

/// Locality-based least connections with replication: a destination has a set of servers. The set grows when the least
/// loaded of them has no room while others have, and loses its most loaded member when it was the same for a day.
#[derive(Clone, Debug)]
pub(super) struct ReplicatedLocality {
    cache: Cache<ServerSet>,
    roster: Roster,
}

/// The servers of one destination: at most all of the service.
#[derive(Clone, Debug)]
struct ServerSet {
    /// The oldest first.
    members: Vec<ServerIndex>,
    modified: Instant,
}

impl ReplicatedLocality {
    pub(super) fn new(pool: Pool<'_>, now: Instant) -> Self {
        let mut locality = Self { cache: Cache::new(now), roster: Roster::default() };
        locality.changed(pool);
        locality
    }

    /// A server came or went.
    pub(super) fn changed(&mut self, pool: Pool<'_>) {
        let replaced = self.roster.update(pool);
        if !replaced.is_empty() {
            self.cache.retain(|set| {
                set.members.retain(|index| !replaced.contains(index));
                !set.members.is_empty()
            });
        }
    }

    pub(super) fn pick(&mut self, pool: Pool<'_>, destination: Address, now: Instant) -> Option<ServerIndex> {
        let Some(set) = self.cache.get_mut(destination, now) else {
            let index = wlc::pick(pool)?;
            self.cache.insert(destination, ServerSet { members: vec![index], modified: now }, now);
            return Some(index);
        };
        let least_loaded = set.least_loaded(pool, &self.roster);
        if set.members.len() > 1 && now.saturating_duration_since(set.modified) > EXPIRATION {
            set.drop_most_loaded(pool, now);
        }
        if let Some(index) = least_loaded.filter(|index| has_room(*index, pool)) {
            return Some(index);
        }
        let index = wlc::pick(pool)?;
        if !set.members.contains(&index) {
            set.members.push(index);
            set.modified = now;
        }
        Some(index)
    }

    pub(super) const fn poll_timeout(&self) -> Instant {
        self.cache.poll_timeout()
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.cache.handle_timeout(now);
    }
}

impl ServerSet {
    /// Of equals the newest.
    fn least_loaded(&self, pool: Pool<'_>, roster: &Roster) -> Option<ServerIndex> {
        let members = self.newest_first(pool);
        least(members.filter(|(i, server)| server.is_usable() && roster.contains(*i)), Server::load)
    }

    /// Of equals the newest. Members that left the service count as they stand.
    fn drop_most_loaded(&mut self, pool: Pool<'_>, now: Instant) {
        let weighed = |one: &Server, other: &Server| u128::from(one.load()) * u128::from(other.weight());
        let members = self.newest_first(pool).filter(|(_, server)| server.weight() > 0);
        let most = members
            .reduce(|most, next| if weighed(next.1, most.1) > weighed(most.1, next.1) { next } else { most });
        if let Some((most, _)) = most {
            self.members.retain(|member| *member != most);
            self.modified = now;
        }
    }

    fn newest_first<'a>(&self, pool: Pool<'a>) -> impl Iterator<Item = (ServerIndex, &'a Server)> {
        self.members.iter().rev().filter_map(move |index| pool.server(*index).map(|server| (*index, server)))
    }
}

fn has_room(index: ServerIndex, pool: Pool<'_>) -> bool {
    pool.server(index).is_some_and(|server| !is_outdone(server, pool))
}
