//! Which of the addresses that `ha_suspend` asks for this host has.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use super::checks_thread::{CheckOrders, suspends};
use crate::config::plan::Plan;
use crate::host::Links;

/// From the host thread to the checks.
#[derive(Debug)]
pub(in crate::supervisor) struct Presence {
    checks: Arc<CheckOrders>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    watched: BTreeSet<IpAddr>,
    told: Option<BTreeSet<IpAddr>>,
}

impl Presence {
    pub(super) fn new(checks: Arc<CheckOrders>) -> Self {
        Self { checks, state: Mutex::default() }
    }

    /// The host thread looks at the next plan after this.
    pub(super) fn watch(&self, plan: &Plan) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).watched =
            plan.services.iter().filter_map(suspends).collect();
    }

    /// Interfaces or addresses may have changed.
    pub(in crate::supervisor) fn look(&self, links: &Links) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let present: BTreeSet<IpAddr> = state.watched.iter().copied().filter(|ip| links.have(*ip)).collect();
        if state.told.as_ref() != Some(&present) {
            self.checks.present(present.clone());
            state.told = Some(present);
        }
    }
}
