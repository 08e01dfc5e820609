//! What a plane would not do: told once until it does, and asked for less and less often.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use buoy_ipvs::{Change, RealServerId, Refusal, ServiceId};

use crate::control::{Control, object};

/// The longest pause before a refused service is asked for again, in those of the first; each is twice the one before.
const LONGEST_PAUSE: u32 = 16;

#[derive(Debug)]
pub(super) struct Refusals {
    first_pause: Duration,
    told: BTreeMap<(ServiceId, Option<RealServerId>), String>,
    /// Services that cannot be added. Without them their servers need not be asked for.
    services: BTreeMap<ServiceId, Pause>,
}

#[derive(Clone, Copy, Debug)]
struct Pause {
    until: Instant,
    next: Duration,
}

impl Refusals {
    pub(super) fn new(first_pause: Duration) -> Self {
        Self { first_pause, told: BTreeMap::new(), services: BTreeMap::new() }
    }

    /// Takes out what is not worth asking for now: the rest, services to be added first. `control` hears of what is left
    /// out.
    pub(super) fn sift(
        &self,
        changes: Vec<Change>,
        control: &mut Control,
        now: Instant,
    ) -> (Vec<Change>, Vec<Change>) {
        let pauses = |change: &Change| self.services.get(change.service()).is_some_and(|p| now < p.until);
        let (left_out, rest): (Vec<Change>, Vec<Change>) = changes.into_iter().partition(pauses);
        left_out.iter().for_each(|change| control.handle_refusal(change));
        rest.into_iter().partition(|change| matches!(change, Change::AddService(_)))
    }

    /// Takes out the changes to services that have just been refused.
    pub(super) fn without_refused(
        changes: Vec<Change>,
        refused: &BTreeSet<ServiceId>,
        control: &mut Control,
    ) -> Vec<Change> {
        let (left_out, rest): (Vec<Change>, Vec<Change>) =
            changes.into_iter().partition(|change| refused.contains(change.service()));
        left_out.iter().for_each(|change| control.handle_refusal(change));
        rest
    }

    /// What the plane answered to `changes`: the refusals to be told, and the services that it would not have.
    pub(super) fn take(
        &mut self,
        changes: &[Change],
        refusals: Vec<Refusal>,
        control: &mut Control,
        now: Instant,
    ) -> (Vec<Refusal>, BTreeSet<ServiceId>) {
        let (mut news, mut services, mut places) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        for refusal in refusals {
            let Some(change) = changes.get(refusal.index) else { continue };
            control.handle_refusal(change);
            places.insert(refusal.index);
            if matches!(change, Change::AddService(_)) {
                let id = *change.service();
                services.insert(id);
                let next = self.services.get(&id).map_or(self.first_pause, |pause| pause.next);
                let pause =
                    Pause { until: now + next, next: (next * 2).min(self.first_pause * LONGEST_PAUSE) };
                self.services.insert(id, pause);
            }
            let words = refusal.to_string();
            if self.told.insert(object(change), words.clone()).as_ref() != Some(&words) {
                news.push(refusal);
            }
        }
        if !self.told.is_empty() {
            for (_, change) in changes.iter().enumerate().filter(|(place, _)| !places.contains(place)) {
                self.told.remove(&object(change));
                if matches!(change, Change::AddService(_)) {
                    self.services.remove(change.service());
                }
            }
        }
        (news, services)
    }

    /// Other settings: all is worth asking for again, and what is not wanted any more is no refusal.
    pub(super) fn begin_anew(&mut self, control: &Control) {
        self.services.clear();
        self.told.retain(|(service, server), _| control.wants(service, server.as_ref()));
    }

    pub(super) fn words(&self) -> impl Iterator<Item = &str> {
        self.told.values().map(String::as_str)
    }
}
