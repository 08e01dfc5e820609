use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};

use super::intake::{BackupStatistics, Intake};
use super::socket::SyncSocket;
use crate::plane::SyncDaemon;
use crate::sync::{SyncId, SyncRecord};

/// Datagrams that are read together, with 40 records each; packets may want to come between.
const AT_ONCE: usize = 64;

/// A daemon that hears of the entries of others. When its descriptor can be read: [`receive`](Self::receive).
#[derive(Debug)]
pub struct Backup {
    daemon: SyncDaemon,
    socket: SyncSocket,
    buffer: Vec<u8>,
    intake: Intake,
}

impl Backup {
    /// `daemon` as it runs.
    pub(super) fn new(daemon: SyncDaemon, socket: SyncSocket) -> Self {
        let buffer = vec![0; daemon.max_len.unwrap_or(u16::MAX).into()];
        let intake = Intake::new(SyncId(daemon.sync_id));
        Self { daemon, socket, buffer, intake }
    }

    /// With all that was left open.
    pub const fn daemon(&self) -> &SyncDaemon {
        &self.daemon
    }

    pub const fn socket(&self) -> &SyncSocket {
        &self.socket
    }

    /// Hands out the records of what has come, of at most 64 datagrams. Returns how many it read: if it is 64, there may be
    /// more.
    ///
    /// # Errors
    /// The socket is of no more use.
    pub fn receive(&mut self, mut take: impl FnMut(&SyncRecord<'_>)) -> io::Result<usize> {
        let mut datagrams = 0;
        while datagrams < AT_ONCE {
            match self.socket.receive(&mut self.buffer) {
                Ok(length) => {
                    self.intake.read(self.buffer.get(..length).unwrap_or_default(), &mut take);
                    datagrams += 1;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(datagrams)
    }

    pub const fn statistics(&self) -> &BackupStatistics {
        &self.intake.statistics
    }

    /// Datagrams that came faster than they were received, and are lost.
    ///
    /// # Errors
    /// The kernel does not say (before Linux 4.12).
    pub fn overrun(&self) -> io::Result<u32> {
        self.socket.dropped()
    }
}

impl AsFd for Backup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
