//! The connection sync daemons of a plane: those that are to run do, with the settings that they are to have.

use buoy_ipvs::{Plane, PlaneError, SyncDaemon, SyncRole};

const ROLES: [SyncRole; 2] = [SyncRole::Master, SyncRole::Backup];

/// What is wanted of the daemons, and what we have done about it.
#[derive(Debug, Default)]
pub(super) struct Sync {
    wanted: Vec<SyncDaemon>,
    /// Roles that we have started or adopted: others are foreign and left alone.
    ours: Vec<SyncRole>,
    /// What could not be started, told once.
    told: Option<String>,
}

impl Sync {
    pub(super) fn want(&mut self, wanted: &[SyncDaemon]) {
        self.wanted = wanted.to_vec();
    }

    /// Nothing is wanted, and nothing of ours runs.
    pub(super) fn is_idle(&self) -> bool {
        self.wanted.is_empty() && self.ours.is_empty()
    }

    /// Stops and starts what differs; the old role first. Says what was refused, once until it works.
    ///
    /// # Errors
    /// The plane fails as a whole.
    pub(super) fn settle(&mut self, plane: &mut impl Plane) -> Result<Option<String>, PlaneError> {
        if self.is_idle() {
            return Ok(None);
        }
        let running = plane.sync_daemons()?;
        let running = |role| running.iter().find(|daemon| daemon.role == role);
        let mut refused = None;
        let mut missing = Vec::new();
        for role in ROLES {
            let wanted = self.wanted.iter().find(|daemon| daemon.role == role).cloned();
            match (running(role), wanted) {
                (Some(runs), Some(daemon)) if daemon.is_met_by(runs) => self.adopt(role),
                (Some(_), Some(daemon)) => {
                    refused = refusal(plane.stop_sync(role))?.or(refused);
                    missing.push(daemon);
                }
                (None, Some(daemon)) => missing.push(daemon),
                (Some(_), None) if self.ours.contains(&role) => {
                    refused = refusal(plane.stop_sync(role))?.or(refused);
                    self.ours.retain(|ours| *ours != role);
                }
                (_, None) => self.ours.retain(|ours| *ours != role),
            }
        }
        for daemon in missing {
            match refusal(plane.start_sync(&daemon))? {
                None => self.adopt(daemon.role),
                why @ Some(_) => refused = why.or(refused),
            }
        }
        let news = refused.clone().filter(|why| self.told.as_ref() != Some(why));
        self.told = refused;
        Ok(news)
    }

    fn adopt(&mut self, role: SyncRole) {
        if !self.ours.contains(&role) {
            self.ours.push(role);
        }
    }

    /// What could not be done.
    pub(super) fn refused(&self) -> Option<&str> {
        self.told.as_deref()
    }
}

/// What the plane would not do is no failure of the plane.
fn refusal(outcome: Result<(), PlaneError>) -> Result<Option<String>, PlaneError> {
    match outcome {
        Ok(()) => Ok(None),
        Err(error @ PlaneError::Refused { .. }) => Ok(Some(error.to_string())),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use buoy_ipvs::MemoryPlane;

    use super::*;

    fn daemon(role: SyncRole, sync_id: u8) -> SyncDaemon {
        SyncDaemon::new(role, "eth0", sync_id)
    }

    fn roles(plane: &mut MemoryPlane) -> Vec<(SyncRole, u8)> {
        let running = plane.sync_daemons().expect("a plane in memory answers");
        running.iter().map(|daemon| (daemon.role, daemon.sync_id)).collect()
    }

    fn settle(sync: &mut Sync, plane: &mut MemoryPlane, wanted: &[SyncDaemon]) -> Option<String> {
        sync.want(wanted);
        sync.settle(plane).expect("the plane works")
    }

    #[test]
    fn the_role_changes_and_nothing_is_done_twice() {
        let (mut sync, mut plane) = (Sync::default(), MemoryPlane::default());
        let (backup, master) = ([daemon(SyncRole::Backup, 7)], [daemon(SyncRole::Master, 7)]);
        settle(&mut sync, &mut plane, &backup);
        assert_eq!(roles(&mut plane), [(SyncRole::Backup, 7)]);
        settle(&mut sync, &mut plane, &backup);
        assert_eq!(roles(&mut plane), [(SyncRole::Backup, 7)]);
        settle(&mut sync, &mut plane, &master);
        assert_eq!(roles(&mut plane), [(SyncRole::Master, 7)]);
        settle(&mut sync, &mut plane, &[]);
        assert_eq!(roles(&mut plane), []);
        assert!(sync.is_idle());
    }

    #[test]
    fn another_id_restarts_it_and_what_somebody_stopped_is_started_again() {
        let (mut sync, mut plane) = (Sync::default(), MemoryPlane::default());
        settle(&mut sync, &mut plane, &[daemon(SyncRole::Master, 1)]);
        settle(&mut sync, &mut plane, &[daemon(SyncRole::Master, 2)]);
        assert_eq!(roles(&mut plane), [(SyncRole::Master, 2)]);
        plane.stop_sync(SyncRole::Master).expect("it runs");
        settle(&mut sync, &mut plane, &[daemon(SyncRole::Master, 2)]);
        assert_eq!(roles(&mut plane), [(SyncRole::Master, 2)]);
    }

    #[test]
    fn foreign_daemons_are_left_alone_and_what_runs_already_is_adopted() {
        let (mut sync, mut plane) = (Sync::default(), MemoryPlane::default());
        plane.start_sync(&daemon(SyncRole::Master, 1)).expect("nothing runs");
        settle(&mut sync, &mut plane, &[]);
        assert_eq!(roles(&mut plane), [(SyncRole::Master, 1)]);
        settle(&mut sync, &mut plane, &[daemon(SyncRole::Master, 1)]);
        settle(&mut sync, &mut plane, &[]);
        assert_eq!(roles(&mut plane), []);
    }

    #[test]
    fn what_is_refused_is_told_once() {
        let (mut sync, mut plane) = (Sync::default(), MemoryPlane::default());
        let nowhere = [SyncDaemon::new(SyncRole::Master, "this-is-no-interface-name", 1)];
        let told = settle(&mut sync, &mut plane, &nowhere).expect("it is refused");
        assert_eq!(sync.refused(), Some(&*told));
        assert_eq!(settle(&mut sync, &mut plane, &nowhere), None);
        settle(&mut sync, &mut plane, &[daemon(SyncRole::Master, 1)]);
        assert_eq!(sync.refused(), None);
    }
}
