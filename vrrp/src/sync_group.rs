//! A sync group: virtual routers that change state together, all or nothing.

use std::sync::Arc;
use std::time::Instant;

use crate::action::RouterId;
use crate::settings::GroupSettings;
use crate::transition::State;

/// A group with its members resolved, and the state it last reported.
#[derive(Clone, Debug)]
pub struct SyncGroup {
    pub(crate) settings: GroupSettings,
    pub(crate) members: Vec<RouterId>,
    pub(crate) state: State,
    pub(crate) since: Instant,
}

impl SyncGroup {
    pub fn name(&self) -> &Arc<str> {
        &self.settings.name
    }

    pub fn members(&self) -> &[RouterId] {
        &self.members
    }

    pub fn state(&self) -> State {
        self.state
    }

    /// The state that members in these states add up to: one in FAULT is all in FAULT, and only all in MASTER is
    /// MASTER. `None` while they differ otherwise, which lasts for the moment of a joint change only.
    pub(crate) fn joint_state(members: impl Iterator<Item = State>) -> Option<State> {
        let mut joint = None;
        for state in members {
            match (joint, state) {
                (_, State::Fault) => return Some(State::Fault),
                (None, state) => joint = Some(state),
                (Some(seen), state) if seen == state => {}
                (Some(_), _) => return None,
            }
        }
        joint
    }
}
