//! What routers hold as master, by the keys that the election uses, and how to tell the host thread.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::host::desired::Address;
use crate::host::{HostConfig, HostHandle, Items};

/// The way from the election and the supervisor to the host thread. No call waits for it.
#[derive(Debug, Default)]
pub(super) struct HostLink {
    handle: HostHandle,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    routers: BTreeMap<Arc<str>, Known>,
    /// Items that went since the announcer last asked.
    withdrawn: Vec<Arc<Items>>,
}

#[derive(Debug)]
struct Known {
    items: Arc<Items>,
    lease: Option<Duration>,
    present: bool,
    /// Frames per address asked for and not yet taken by the announcer.
    announce: u32,
    repeat: u32,
}

impl HostLink {
    /// What the host thread reads.
    pub(super) fn handle(&self) -> &HostHandle {
        &self.handle
    }

    /// Static items, virtual MACs, firewall.
    pub(super) fn configure(&self, config: HostConfig) {
        self.handle.configure(Arc::new(config));
    }

    /// What a router holds as master. If it is master the difference is applied at once.
    pub(super) fn set_items(&self, key: &Arc<str>, items: Items, lease: Option<Duration>, repeat: u32) {
        let mut state = self.lock();
        let State { routers, withdrawn } = &mut *state;
        let items = Arc::new(items);
        let fresh = Known { items: Arc::clone(&items), lease, present: false, announce: 0, repeat };
        let known = match routers.entry(Arc::clone(key)) {
            Entry::Vacant(place) => {
                place.insert(fresh);
                self.handle.adopt_or_clear([(Arc::clone(key), items)]);
                return;
            }
            Entry::Occupied(known) => known.into_mut(),
        };
        known.repeat = repeat;
        if known.items == items && known.lease == lease {
            return;
        }
        let old = std::mem::replace(&mut known.items, Arc::clone(&items));
        known.lease = lease;
        if known.present {
            // What it holds no longer may be somebody else's from now on.
            let held = |address: &Address| {
                items.addresses.iter().any(|a| (a.ip, &a.dev) == (address.ip, &address.dev))
            };
            let dropped: Vec<Address> = old.addresses.iter().filter(|a| !held(a)).cloned().collect();
            if !dropped.is_empty() {
                withdrawn.push(Arc::new(Items { addresses: dropped, ..Items::default() }));
            }
            self.handle.install(key, items, lease);
        } else {
            self.handle.adopt_or_clear([(Arc::clone(key), items)]);
        }
    }

    pub(super) fn install(&self, key: &Arc<str>) {
        if let Some(known) = self.lock().routers.get_mut(key) {
            known.present = true;
            self.handle.install(key, Arc::clone(&known.items), known.lease);
        }
    }

    pub(super) fn withdraw(&self, key: &Arc<str>) {
        let mut state = self.lock();
        let State { routers, withdrawn } = &mut *state;
        if let Some(known) = routers.get_mut(key) {
            known.present = false;
            known.announce = 0;
            // A host thread that does not come to take them must not make the list grow.
            if !withdrawn.iter().any(|items| Arc::ptr_eq(items, &known.items)) {
                withdrawn.push(Arc::clone(&known.items));
            }
            self.handle.withdraw(key);
        }
    }

    pub(super) fn renew_lease(&self, key: &Arc<str>) {
        self.handle.refresh_lease(key);
    }

    pub(super) fn announce(&self, key: &Arc<str>, repeat: u32) {
        if let Some(known) = self.lock().routers.get_mut(key) {
            known.announce = known.announce.max(repeat);
            self.handle.announce(key);
        }
    }

    /// A host thread that failed may have failed before it announced what it had put there.
    pub(super) fn announce_all(&self) {
        for (key, _) in self.lock().routers.iter().filter(|(_, known)| known.present) {
            self.handle.announce(key);
        }
    }

    /// How many frames per address were asked for; what the host announces unasked gets the usual burst.
    pub(super) fn take_repeat(&self, key: &Arc<str>) -> u32 {
        let mut state = self.lock();
        state.routers.get_mut(key).map_or(1, |known| match std::mem::take(&mut known.announce) {
            0 => known.repeat,
            asked => asked,
        })
    }

    /// What a router holds now, if it is master.
    pub(super) fn held_items(&self, key: &Arc<str>) -> Option<Arc<Items>> {
        self.lock().routers.get(key).filter(|known| known.present).map(|known| Arc::clone(&known.items))
    }

    /// Items that were withdrawn since the last call: nothing more is to be announced about them.
    pub(super) fn take_withdrawn(&self) -> Vec<Arc<Items>> {
        std::mem::take(&mut self.lock().withdrawn)
    }

    pub(super) fn forget(&self, key: &Arc<str>) {
        let mut state = self.lock();
        if let Some(known) = state.routers.remove(key) {
            state.withdrawn.push(known.items);
        }
        self.handle.forget(key);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every state of it is a valid one, whatever a panicking holder left.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(ips: &[[u8; 4]]) -> Items {
        let addresses = ips.iter().map(|ip| Address::plain((*ip).into(), 24, "eth0".into())).collect();
        Items { addresses, ..Items::default() }
    }

    fn withdrawn(link: &HostLink) -> Vec<String> {
        let items = link.take_withdrawn();
        items.iter().flat_map(|items| &items.addresses).map(|address| address.ip.to_string()).collect()
    }

    #[test]
    fn an_address_that_a_reload_takes_from_a_master_is_neither_announced_nor_defended_any_more() {
        let link = HostLink::default();
        let key: Arc<str> = "VI_1".into();
        link.set_items(&key, items(&[[10, 0, 0, 1], [10, 0, 0, 2]]), None, 5);
        link.install(&key);
        link.set_items(&key, items(&[[10, 0, 0, 2], [10, 0, 0, 3]]), None, 5);
        assert_eq!(withdrawn(&link), ["10.0.0.1"]);
        link.set_items(&key, items(&[[10, 0, 0, 2], [10, 0, 0, 3]]), Some(Duration::from_secs(10)), 5);
        assert_eq!(withdrawn(&link), [""; 0], "another lease takes nothing away");
        link.withdraw(&key);
        assert_eq!(withdrawn(&link), ["10.0.0.2", "10.0.0.3"]);
    }

    #[test]
    fn withdrawals_that_nobody_takes_do_not_pile_up() {
        let link = HostLink::default();
        let key: Arc<str> = "VI_1".into();
        link.set_items(&key, items(&[[10, 0, 0, 1]]), None, 5);
        for _ in 0..100 {
            link.install(&key);
            link.withdraw(&key);
        }
        assert_eq!(link.take_withdrawn().len(), 1);
    }
}
