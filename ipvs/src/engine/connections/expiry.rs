//! How entries end.

use std::time::{Duration, Instant};

use super::connection::{Connection, NONE};
use super::{ConnectionIndex, Connections, Kind};
use crate::engine::wheel::{Tick, Ticks};

/// Entries that one [`expire`](Connections::expire) looks at, most of which only are to be kept longer.
const VISITS: usize = 256;
/// What an entry gets that should end and controls others.
const EXTENSION: Duration = Duration::from_secs(60);

/// What an entry's time has brought.
#[derive(Clone, Debug)]
pub enum Expired {
    Ended(Ended),
    /// It still controls others, so it has a timeout of 60 seconds from now on, and other directors are to know.
    Extended(ConnectionIndex),
}

/// An entry that is in the table no more. Its server still counts it.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Where it was.
    pub index: ConnectionIndex,
    pub connection: Connection,
    pub cause: Cause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// No packet came for its timeout.
    TimedOut,
    /// By [`Connections::expire_now`], or because what it controlled was forced to end, and it was of no other use.
    Forced,
    /// By [`Connections::relieve`].
    Evicted,
}

impl Connections {
    /// When to call [`expire`](Self::expire) next; `None` while there are no entries.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.wheel.next_tick().map(|tick| self.clock.begin_of(tick))
    }

    /// The next entry whose time is up. Ends with `None`; if [`poll_timeout`](Self::poll_timeout) has passed even then,
    /// there is more to do, and packets may come first.
    pub fn expire(&mut self, now: Instant) -> Option<Expired> {
        let now = self.clock.tick(now);
        for _ in 0..VISITS {
            let slot = self.wheel.pop(now)?;
            let Some(entry) = self.slots.get_mut(slot) else { continue };
            let is_due = entry.expires <= now;
            if is_due && entry.controlled == 0 {
                let cause = if entry.timeout == Ticks::default() { Cause::Forced } else { Cause::TimedOut };
                self.counts.expired += 1;
                return self.end(slot, cause, now).map(Expired::Ended);
            }
            if is_due {
                entry.timeout = Ticks::of(EXTENSION);
                entry.expires = now.plus(entry.timeout);
            }
            let expires = entry.expires;
            entry.scheduled = expires;
            self.wheel.schedule(slot, expires);
            if is_due {
                return Some(Expired::Extended(ConnectionIndex(slot)));
            }
        }
        None
    }

    /// Has an entry end at the next [`expire`](Self::expire), unless it controls others. A packet that comes before
    /// then and gives it another timeout keeps it.
    pub fn expire_now(&mut self, connection: ConnectionIndex, now: Tick) {
        if let Some(entry) = self.slots.get_mut(connection.0) {
            entry.timeout = Ticks::default();
            self.touch(connection, now);
        }
    }

    /// Takes an entry out, for another to have its key. `None` if it is not there or controls others.
    pub fn remove(&mut self, connection: ConnectionIndex, now: Tick) -> Option<Connection> {
        self.get(connection).filter(|entry| entry.controlled == 0)?;
        self.counts.removed += 1;
        self.end(connection.0, Cause::TimedOut, now).map(|ended| ended.connection)
    }

    /// Takes an entry out that controls nothing.
    pub(super) fn end(&mut self, slot: u32, cause: Cause, now: Tick) -> Option<Ended> {
        self.unindex_entry(slot);
        self.wheel.cancel(slot);
        let connection = self.slots.remove(slot)?;
        self.without_client_port -= u32::from(connection.kind() == Kind::WithoutClientPort);
        if connection.controller != NONE {
            self.release(ConnectionIndex(connection.controller), cause, now);
        }
        Some(Ended { index: ConnectionIndex(slot), connection, cause })
    }

    /// Something that an entry controlled has ended. What was forced to end takes with it what is of no other use.
    fn release(&mut self, controller: ConnectionIndex, cause: Cause, now: Tick) {
        let Some(entry) = self.slots.get_mut(controller.0) else { return };
        entry.controlled = entry.controlled.saturating_sub(1);
        let is_of_use = entry.controlled > 0 || entry.is_assured();
        match cause {
            Cause::TimedOut => {}
            Cause::Forced | Cause::Evicted if is_of_use => {}
            Cause::Forced | Cause::Evicted => self.expire_now(controller, now),
        }
    }
}
