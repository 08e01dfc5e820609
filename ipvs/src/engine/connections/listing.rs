//! Going through the table a page at a time, so that nothing that concerns all of a million entries keeps packets
//! waiting.

use super::connection::Connection;
use super::{ConnectionIndex, Connections};
use crate::engine::scheduler::{Counted, ServerIndex};
use crate::engine::wheel::Tick;

/// Where the next page begins. Between pages the table may change: an entry that is there all the time is met exactly
/// once, one that comes or goes at most once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor(u32);

impl Connections {
    /// All entries, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = (ConnectionIndex, &Connection)> {
        (0..self.slots.end()).filter_map(|slot| Some((ConnectionIndex(slot), self.slots.get(slot)?)))
    }

    /// The entries of the next `slots` places, and where those after them begin; `None` at the end.
    pub fn page(
        &self,
        from: Cursor,
        slots: u32,
    ) -> (impl Iterator<Item = (ConnectionIndex, &Connection)>, Option<Cursor>) {
        let (range, next) = self.range(from, slots);
        (range.filter_map(|slot| Some((ConnectionIndex(slot), self.slots.get(slot)?))), next)
    }

    /// Has those entries among the next `slots` places that `which` names end at once, as by
    /// [`expire_now`](Self::expire_now): when the table is flushed, or the connections of a server are given up.
    ///
    /// What controls others is passed over: it follows the last of them, or, if that is an assured template, is for the
    /// next time through.
    pub fn expire_page(
        &mut self,
        from: Cursor,
        slots: u32,
        now: Tick,
        mut which: impl FnMut(&Connection) -> bool,
    ) -> Option<Cursor> {
        let (range, next) = self.range(from, slots);
        for slot in range {
            if self.slots.get(slot).is_some_and(|connection| connection.controls() == 0 && which(connection))
            {
                self.expire_now(ConnectionIndex(slot), now);
            }
        }
        next
    }

    /// Takes a server from those of its entries that are among the next `slots` places, and tells of each how it counted
    /// there. They live on without: a server that is to come back keeps its index, and they need not be told.
    pub fn unbind_page(
        &mut self,
        from: Cursor,
        slots: u32,
        server: ServerIndex,
        mut unbound: impl FnMut(ConnectionIndex, Counted),
    ) -> Option<Cursor> {
        let (range, next) = self.range(from, slots);
        for slot in range {
            if let Some(connection) = self.slots.get_mut(slot)
                && connection.server_index() == Some(server)
            {
                connection.set_server_index(None);
                unbound(ConnectionIndex(slot), connection.counted());
            }
        }
        next
    }

    fn range(&self, Cursor(from): Cursor, slots: u32) -> (std::ops::Range<u32>, Option<Cursor>) {
        let end = self.slots.end();
        // At least one, so that every page comes further.
        let next = from.saturating_add(slots.max(1)).min(end);
        (from..next, (next < end).then_some(Cursor(next)))
    }
}
