//! The connection sync daemon has the role of a virtual router: master while that is master, else backup.

use std::sync::{Arc, Mutex, PoisonError};

use buoy_ipvs::{SyncDaemon, SyncRole};
use buoy_vrrp::{State, Subject, Transition};

use crate::config::plan;
use crate::control::driver::Handle;

/// Follows one virtual router. Clones are the same.
#[derive(Clone, Debug)]
pub(in crate::supervisor) struct Roles {
    handle: Handle,
    followed: Arc<Mutex<Followed>>,
}

#[derive(Debug, Default)]
struct Followed {
    daemon: Option<plan::SyncDaemon>,
    master: bool,
    heard: u64,
}

impl Roles {
    pub(super) fn new(handle: Handle) -> Self {
        Self { handle, followed: Arc::default() }
    }

    /// How many transitions have been heard.
    pub(in crate::supervisor) fn heard(&self) -> u64 {
        self.lock().heard
    }

    /// Goes over to other settings. `master` says what the named instance was when so many transitions had been `heard`;
    /// `false` when it may be something else by now.
    pub(in crate::supervisor) fn follow(
        &self,
        daemon: Option<&plan::SyncDaemon>,
        master: bool,
        heard: u64,
    ) -> bool {
        let mut followed = self.lock();
        if followed.heard != heard {
            return false;
        }
        if followed.daemon.as_ref() != daemon || followed.master != master {
            *followed = Followed { daemon: daemon.cloned(), master, heard };
            self.handle.sync(followed.daemons());
        }
        true
    }

    /// Never waits for anybody: the election calls it.
    pub(in crate::supervisor) fn handle_transition(&self, transition: &Transition) {
        let Subject::Instance(name) = &transition.subject else { return };
        let mut followed = self.lock();
        followed.heard += 1;
        let instance = followed.daemon.as_ref().and_then(|daemon| daemon.instance.as_ref());
        let master = transition.to == State::Master;
        if instance != Some(name) || followed.master == master {
            return;
        }
        followed.master = master;
        self.handle.sync(followed.daemons());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Followed> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Followed {
    fn daemons(&self) -> Vec<SyncDaemon> {
        let Some(daemon) = &self.daemon else { return Vec::new() };
        let roles: &[SyncRole] = match (&daemon.instance, self.master) {
            (None, _) => &[SyncRole::Master, SyncRole::Backup],
            (Some(_), true) => &[SyncRole::Master],
            (Some(_), false) => &[SyncRole::Backup],
        };
        let of_role = |role: &SyncRole| SyncDaemon {
            role: *role,
            interface: Arc::clone(&daemon.interface),
            sync_id: daemon.sync_id,
            max_len: daemon.max_len,
            group: daemon.group,
            port: daemon.port,
            ttl: daemon.ttl,
        };
        roles.iter().map(of_role).collect()
    }
}

#[cfg(test)]
mod tests {
    use buoy_vrrp::Cause;

    use super::*;
    use crate::alert::fixture::{instance, transition};
    use crate::control::driver::orders;

    fn daemon(instance: Option<&str>) -> plan::SyncDaemon {
        plan::SyncDaemon {
            interface: "eth1".into(),
            instance: instance.map(Arc::from),
            sync_id: 51,
            max_len: None,
            group: None,
            port: None,
            ttl: None,
        }
    }

    fn roles_of(roles: &Roles) -> Vec<SyncRole> {
        roles.lock().daemons().iter().map(|daemon| daemon.role).collect()
    }

    #[test]
    fn the_role_is_that_of_the_named_instance_and_of_no_other() {
        let (handle, _orders) = orders();
        let roles = Roles::new(handle);
        assert_eq!(roles_of(&roles), []);
        assert!(roles.follow(Some(&daemon(Some("VI_1"))), false, 0));
        assert_eq!(roles_of(&roles), [SyncRole::Backup]);
        roles.handle_transition(&transition(instance("VI_2"), State::Backup, State::Master, Cause::Owner));
        assert_eq!(roles_of(&roles), [SyncRole::Backup]);
        roles.handle_transition(&transition(instance("VI_1"), State::Backup, State::Master, Cause::Owner));
        assert_eq!(roles_of(&roles), [SyncRole::Master]);
        roles.handle_transition(&transition(instance("VI_1"), State::Master, State::Fault, Cause::Reload));
        assert_eq!(roles_of(&roles), [SyncRole::Backup]);
        assert!(!roles.follow(Some(&daemon(Some("VI_1"))), true, 2), "it has moved since");
        assert!(roles.follow(Some(&daemon(Some("VI_1"))), false, roles.heard()));
    }

    #[test]
    fn without_an_instance_both_roles_run() {
        let (handle, _orders) = orders();
        let roles = Roles::new(handle);
        assert!(roles.follow(Some(&daemon(None)), false, 0));
        assert_eq!(roles_of(&roles), [SyncRole::Master, SyncRole::Backup]);
        assert!(roles.follow(None, false, 0));
        assert_eq!(roles_of(&roles), []);
    }
}
