//! `garp_extra_if`: switches forget where a MAC address is when it is silent for long. While master, one frame per
//! period leaves each virtual MAC interface that carries an address but no advertisements, or with `all` any such
//! interface.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use super::host_link::HostLink;
use super::host_thread::Follow;
use crate::config::plan::Router;
use crate::host::desired::Address;

#[derive(Debug, Default)]
pub(super) struct ExtraAnnouncements {
    /// Routers that are master, and when it is their turn.
    due: BTreeMap<Arc<str>, Instant>,
}

impl ExtraAnnouncements {
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.due.values().min().copied()
    }

    /// Follows who is master, and gives what is to be announced now: one address per interface.
    pub(super) fn poll(
        &mut self,
        follow: &Follow,
        link: &HostLink,
        now: Instant,
    ) -> Vec<(Arc<str>, Vec<Address>)> {
        self.due.retain(|key, _| follow.keys.contains(key));
        let mut announcements = Vec::new();
        for (key, router) in follow.keys.iter().zip(&follow.plan.routers) {
            let Some((period, _)) = router.garp_extra_if else {
                self.due.remove(key);
                continue;
            };
            let Some(items) = link.held_items(key) else {
                self.due.remove(key);
                continue;
            };
            let first = now + router.election.garp.delay + period;
            let due = self.due.entry(Arc::clone(key)).or_insert(first);
            if *due <= now {
                *due = now + period;
                announcements.push((Arc::clone(key), one_per_interface(follow, router, &items.addresses)));
            }
        }
        announcements
    }
}

fn one_per_interface(follow: &Follow, router: &Router, addresses: &[Address]) -> Vec<Address> {
    let all = router.garp_extra_if.is_some_and(|(_, all)| all);
    // Where advertisements leave, switches learn from those.
    let advertises_on = match (&router.vmac, follow.vmacs.interface_of(router)) {
        (Some(vmac), Some(interface)) if !vmac.xmit_base => Some(interface),
        _ => router.interface.as_ref(),
    };
    let is_vmac = |dev: &Arc<str>| follow.vmacs.specs().iter().any(|spec| spec.name == *dev);
    let mut seen = BTreeSet::new();
    addresses
        .iter()
        .filter(|address| Some(&address.dev) != advertises_on && (all || is_vmac(&address.dev)))
        .filter(|address| seen.insert(Arc::clone(&address.dev)))
        .cloned()
        .collect()
}
