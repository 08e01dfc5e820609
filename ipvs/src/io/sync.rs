//! The sync daemons of the engine: sockets that speak IPVS's [sync protocol](crate::sync), where the kernel's plane has
//! `ip_vs_sync`. Directors of both kinds understand each other.
//!
//! A [`Master`] tells of the engine's entries ([`Engine::poll_told`]), a [`Backup`] hands out what others tell of theirs
//! ([`Engine::handle_record`]). [`Daemons`] has at most one of each, with the defaults and the refusals of the kernel.
//! Nothing waits here: whoever drives them polls their descriptors.
//!
//! Every daemon has one port, as the kernel's have with `sync_ports` 1, which is its default: a master of the kernel with
//! more of them sends most records where no backup of the engine listens.
//!
//! There is no authentication, and there are no acknowledgements: whoever can send to the group can make entries, and
//! what is lost is lost until the entry is told of again (see [`SendRules`](crate::sync::SendRules)).
//!
//! [`Engine::poll_told`]: crate::engine::process::Engine::poll_told
//! [`Engine::handle_record`]: crate::engine::process::Engine::handle_record

mod backup;
mod intake;
mod interface;
mod master;
mod outbox;
mod socket;

use std::io;

use nix::errno::Errno;

pub use backup::Backup;
pub use intake::BackupStatistics;
pub use master::Master;
pub use outbox::MasterStatistics;
pub use socket::SyncSocket;

use self::interface::Interface;
use crate::plane::{PlaneError, SyncDaemon, SyncRole};
use crate::refusal::Reason;
use crate::sync::Version;

/// With whom there is an error: `cannot talk to ...`.
const PLANE: &str = "the sync group";

/// The daemons that run, in the network namespace of the thread that started them.
///
/// When their interface is removed they are deaf and dumb, also if another one comes by its name: whoever watches
/// interfaces starts them anew.
#[derive(Debug, Default)]
pub struct Daemons {
    master: Option<Master>,
    backup: Option<Backup>,
}

impl Daemons {
    /// None runs.
    pub const fn new() -> Self {
        Self { master: None, backup: None }
    }

    /// Starts a daemon; a master speaks `version`.
    ///
    /// Needs no privileges since Linux 5.7, but that a backup's buffer can only be longer than the host allows
    /// (`net.core.rmem_max`) with `CAP_NET_ADMIN`.
    ///
    /// # Errors
    /// [`PlaneError::Refused`] with the reasons that the kernel has, but for real servers of the other family, which do
    /// not keep the engine from synchronising what is of one.
    pub fn start(&mut self, daemon: &SyncDaemon, version: Version) -> Result<(), PlaneError> {
        let doing = || format!("start the {} sync daemon", daemon.role);
        let refused = |reason| PlaneError::Refused { doing: doing(), reason };
        if let Some(reason) = daemon.objection() {
            return Err(refused(reason));
        }
        if self.runs(daemon.role) {
            return Err(refused(Reason::SyncRuns(daemon.role)));
        }
        self.open(daemon, version).map_err(|source| match reason(daemon, &source) {
            Some(reason) => refused(reason),
            None => PlaneError::Io { plane: PLANE, source },
        })
    }

    fn open(&mut self, daemon: &SyncDaemon, version: Version) -> io::Result<()> {
        let interface = Interface::find(&daemon.interface)?;
        let daemon = daemon.running_on(interface.mtu);
        let socket = SyncSocket::open(&daemon, interface)?;
        match daemon.role {
            SyncRole::Master => self.master = Some(Master::new(daemon, socket, version)),
            SyncRole::Backup => self.backup = Some(Backup::new(daemon, socket)),
        }
        Ok(())
    }

    /// Stops a daemon. A master first sends what waits, as far as the socket takes it; the kernel's forgets it.
    ///
    /// # Errors
    /// None of that role runs.
    pub fn stop(&mut self, role: SyncRole) -> Result<(), PlaneError> {
        let stopped = match role {
            SyncRole::Master => self.master.take().map(Master::finish).is_some(),
            SyncRole::Backup => self.backup.take().is_some(),
        };
        let doing = || format!("stop the {role} sync daemon");
        stopped
            .then_some(())
            .ok_or_else(|| PlaneError::Refused { doing: doing(), reason: Reason::NoSync(role) })
    }

    /// Those that run, with all that was left open when they were started; the master first.
    pub fn running(&self) -> Vec<SyncDaemon> {
        let master = self.master.as_ref().map(Master::daemon);
        master.into_iter().chain(self.backup.as_ref().map(Backup::daemon)).cloned().collect()
    }

    fn runs(&self, role: SyncRole) -> bool {
        match role {
            SyncRole::Master => self.master.is_some(),
            SyncRole::Backup => self.backup.is_some(),
        }
    }

    pub const fn master(&self) -> Option<&Master> {
        self.master.as_ref()
    }

    pub const fn master_mut(&mut self) -> Option<&mut Master> {
        self.master.as_mut()
    }

    pub const fn backup(&self) -> Option<&Backup> {
        self.backup.as_ref()
    }

    pub const fn backup_mut(&mut self) -> Option<&mut Backup> {
        self.backup.as_mut()
    }
}

/// What the interface is to blame for.
fn reason(daemon: &SyncDaemon, error: &io::Error) -> Option<Reason> {
    let name = || daemon.interface.to_string();
    match Errno::from_raw(error.raw_os_error()?) {
        Errno::ENODEV => Some(Reason::NoInterface(name())),
        Errno::ENETUNREACH | Errno::EADDRNOTAVAIL | Errno::ENETDOWN => Some(Reason::NoWayToGroup(name())),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
