//! What the director tells other directors of its connections, and what it hears of theirs.

use std::time::Instant;

use super::{Director, DirectorError};
use crate::plane::{PlaneError, SyncDaemon, SyncRole};
use crate::sync::{SendRules, Version};

/// Calls of the backup before packets come first again; each reads as many datagrams as it does.
const TURNS: usize = 4;

impl Director {
    /// # Errors
    /// As the kernel refuses it.
    pub fn start_sync(&mut self, daemon: &SyncDaemon) -> Result<(), PlaneError> {
        self.daemons.start(daemon, Version::default())?;
        if daemon.role == SyncRole::Master {
            self.set_rules(Some(SendRules::ENGINE));
        }
        Ok(())
    }

    /// # Errors
    /// None of that role runs.
    pub fn stop_sync(&mut self, role: SyncRole) -> Result<(), PlaneError> {
        if role == SyncRole::Master {
            // Those that were to be told of still are.
            self.tell(self.now);
            self.set_rules(None);
        }
        self.daemons.stop(role)
    }

    pub fn sync_daemons(&self) -> Vec<SyncDaemon> {
        self.daemons.running()
    }

    const fn set_rules(&mut self, rules: Option<SendRules>) {
        let mut settings = *self.engine.settings();
        settings.sync = rules;
        self.engine.set_settings(settings);
    }

    /// Tells of what is to be told.
    pub(super) fn tell(&mut self, now: Instant) {
        while let Some(record) = self.engine.poll_told() {
            if let Some(master) = self.daemons.master_mut() {
                master.tell(&record, now);
            }
        }
    }

    /// Datagrams have come, or the way out is free again.
    ///
    /// # Errors
    /// The backup's socket is of no more use.
    pub fn handle_sync(&mut self, now: Instant) -> Result<(), DirectorError> {
        self.now = now;
        if let Some(master) = self.daemons.master_mut() {
            master.handle_writable();
        }
        let moment = self.engine.moment(now);
        for _ in 0..TURNS {
            let Some(backup) = self.daemons.backup_mut() else { break };
            let engine = &mut self.engine;
            let read = backup.receive(|record| {
                // Whatever becomes of it is counted there.
                let _told = engine.handle_record(record, moment);
            });
            if read.map_err(DirectorError::Sync)? == 0 {
                break;
            }
        }
        self.settle();
        Ok(())
    }

    pub(super) fn handle_sync_timeout(&mut self, now: Instant) {
        self.tell(now);
        if let Some(master) = self.daemons.master_mut() {
            master.handle_timeout(now);
        }
    }
}
