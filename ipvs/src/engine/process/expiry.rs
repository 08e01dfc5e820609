//! How connections end, and who hears of it.

use std::time::Instant;

use super::{Engine, Moment};
use crate::engine::connections::{Connection, ConnectionIndex, Ended, Expired};
use crate::sync::Ends;

/// A connection that the kernel forwarded by itself, and that is no more: its flows are to be removed.
#[derive(Clone, Debug)]
pub struct Gone {
    pub index: ConnectionIndex,
    pub connection: Connection,
}

impl Engine {
    /// When to call [`handle_timeout`](Self::handle_timeout) next.
    pub fn poll_timeout(&self) -> Instant {
        let services = self.services.poll_timeout();
        self.connections.poll_timeout().map_or(services, |connections| connections.min(services))
    }

    /// Ends connections whose time has come, some at a time: if [`poll_timeout`](Self::poll_timeout) has passed even then,
    /// packets may come first.
    pub fn handle_timeout(&mut self, now: Instant) {
        const AT_ONCE: usize = 256;
        self.services.handle_timeout(now);
        for _ in 0..AT_ONCE {
            match self.connections.expire(now) {
                Some(Expired::Ended(ended)) => self.settle(ended),
                Some(Expired::Extended(connection)) => self.tell_at_threshold(connection, now),
                None => return,
            }
        }
    }

    /// The next connection whose flows are to be removed.
    pub fn poll_gone(&mut self) -> Option<Gone> {
        self.gone.pop()
    }

    /// Ends a connection whose place another one takes.
    pub(super) fn end(&mut self, connection: ConnectionIndex, moment: Moment) {
        if let Some(ended) = self.take_out(connection, moment) {
            self.account(connection, ended);
        }
    }

    /// Takes a connection out of the table, and leaves it to the caller to [`account`](Self::account) for it.
    pub(super) fn take_out(&mut self, connection: ConnectionIndex, moment: Moment) -> Option<Connection> {
        let ended = self.connections.remove(connection, moment.tick);
        if ended.is_none() {
            // It controls others, which go their own way.
            self.connections.expire_now(connection, moment.tick);
        }
        ended
    }

    pub(super) fn settle(&mut self, Ended { index, connection, .. }: Ended) {
        self.account(index, connection);
    }

    /// What counted a connection counts it no more.
    pub(super) fn account(&mut self, index: ConnectionIndex, connection: Connection) {
        if let Some(server) = connection.server_index() {
            self.services.unbind(server, connection.counted());
        }
        let ends = Ends {
            client: connection.client(),
            service: connection.service(),
            server: connection.server(),
            local: connection.local(),
        };
        self.release_local(&ends, connection.protocol());
        if connection.is_offloaded() {
            self.gone.push(Gone { index, connection });
        }
    }
}
