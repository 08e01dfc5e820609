//! One real server of a virtual server: what is known and wanted of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use buoy_healthcheck::{WeightAdvice, effective_weight};
use buoy_ipvs::Weight;

use super::Administration;
use crate::control::report::DrainEnd;
use crate::control::service::Server;

#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) settings: Server,
    pub(super) up: bool,
    pub(super) reason: Arc<str>,
    pub(super) since: Instant,
    /// When the checkers last had anything to say.
    pub(super) heard: Option<Instant>,
    /// It was out of the table when we came, and stays out until the checkers have said something, or until then.
    pub(super) out_until: Option<Instant>,
    pub(super) advice: Vec<WeightAdvice>,
    pub(super) resting: bool,
    pub(super) administration: Administration,
    /// A reload has removed it.
    pub(super) leaving: bool,
    pub(super) drain: Option<Drain>,
    pub(super) connections: Option<u64>,
}

/// A server that is wanted no more and still has connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Drain {
    Running { deadline: Option<Instant> },
    Over,
}

impl Member {
    pub(super) fn new(settings: Server, now: Instant) -> Self {
        let up = !settings.alpha;
        let reason =
            if up { "not checked yet" } else { "not checked yet, and `alpha` takes it for down until then" };
        Self {
            up,
            reason: reason.into(),
            settings,
            since: now,
            heard: None,
            out_until: None,
            advice: Vec::new(),
            resting: false,
            administration: Administration::Enabled,
            leaving: false,
            drain: None,
            connections: None,
        }
    }

    pub(super) fn weight(&self) -> Weight {
        match self.administration {
            Administration::Weight(weight) => weight,
            Administration::Enabled | Administration::Drain { .. } | Administration::Disabled => {
                let advice = self.advice.iter().copied();
                Weight::clamped(effective_weight(self.settings.weight.get(), advice).into())
            }
        }
    }

    /// Whether this takes it out of service.
    pub(super) fn leave(&mut self, passes: bool, deadline: Option<Duration>, now: Instant) -> bool {
        if std::mem::replace(&mut self.leaving, true) {
            return false;
        }
        // Out already, or on its way with a deadline of its own.
        if self.administration == Administration::Disabled || !passes {
            self.drain = Some(Drain::Over);
        } else if self.drain.is_none() {
            // Connections that were counted before belong to a server in service.
            self.connections = None;
            self.drain = Some(Drain::Running { deadline: deadline.map(|time| now + time) });
        }
        passes
    }

    pub(super) fn end_of_drain(&self, now: Instant) -> Option<DrainEnd> {
        let Some(Drain::Running { deadline }) = self.drain else { return None };
        if self.connections == Some(0) {
            return Some(DrainEnd::Empty);
        }
        deadline.filter(|at| *at <= now).map(|_| DrainEnd::Deadline { left: self.connections })
    }
}
