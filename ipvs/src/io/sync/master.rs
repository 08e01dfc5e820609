use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use super::outbox::{MasterStatistics, Outbox};
use super::socket::SyncSocket;
use crate::plane::SyncDaemon;
use crate::sync::{Batch, SyncId, SyncRecord, Version};

/// What waits for the socket at most: a second at 32 Mbit/s, which is twice of what a million busy connections need.
const MOST_BYTES: usize = 4 << 20;

/// A daemon that tells others of the engine's entries.
///
/// [`tell`](Self::tell) what the engine has to tell. When [`poll_timeout`](Self::poll_timeout) has come:
/// [`handle_timeout`](Self::handle_timeout). While it [is blocked](Self::is_blocked), and the descriptor can be written to:
/// [`handle_writable`](Self::handle_writable).
#[derive(Debug)]
pub struct Master {
    daemon: SyncDaemon,
    socket: SyncSocket,
    batch: Batch,
    outbox: Outbox,
}

impl Master {
    /// `daemon` as it runs.
    pub(super) fn new(daemon: SyncDaemon, socket: SyncSocket, version: Version) -> Self {
        let max_len = daemon.max_len.unwrap_or(1);
        let batch = Batch::new(version, SyncId(daemon.sync_id), max_len);
        Self { daemon, socket, batch, outbox: Outbox::new(MOST_BYTES) }
    }

    /// With all that was left open.
    pub const fn daemon(&self) -> &SyncDaemon {
        &self.daemon
    }

    pub const fn socket(&self) -> &SyncSocket {
        &self.socket
    }

    /// Tells of an entry: within [`Batch::LONGEST_WAIT`], in one datagram with others. What version 0 has no words for is
    /// counted and not told.
    pub fn tell(&mut self, record: &SyncRecord<'_>, now: Instant) {
        match self.batch.push(record, now) {
            Ok(full) => {
                if let Some(message) = full {
                    self.outbox.push(message);
                    self.flush();
                }
            }
            Err(_not_in_version_0) => {
                let statistics = &mut self.outbox.statistics;
                statistics.untellable = statistics.untellable.saturating_add(1);
            }
        }
    }

    /// Speaks that version from now on. Backups take both.
    pub fn set_version(&mut self, version: Version) {
        if let Some(message) = self.batch.set_version(version) {
            self.outbox.push(message);
            self.flush();
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.batch.poll_timeout()
    }

    /// Sends what has waited long enough.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some(message) = self.batch.handle_timeout(now) {
            self.outbox.push(message);
            self.flush();
        }
    }

    /// Whether datagrams wait for the socket to take them.
    pub fn is_blocked(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// The socket takes datagrams again.
    pub fn handle_writable(&mut self) {
        self.flush();
    }

    pub const fn statistics(&self) -> MasterStatistics {
        self.outbox.statistics
    }

    /// Why the last datagram was not sent; `None` if it was.
    pub const fn failure(&self) -> Option<&io::Error> {
        self.outbox.failure()
    }

    /// Sends what waits, as far as the socket takes it.
    pub(super) fn finish(mut self) {
        if let Some(message) = self.batch.take() {
            self.outbox.push(message);
        }
        self.flush();
    }

    fn flush(&mut self) {
        let Self { socket, outbox, .. } = self;
        outbox.flush(|message| socket.send(message));
    }
}

impl AsFd for Master {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
