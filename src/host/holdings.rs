//! The reconciler: what is wanted on whose behalf against what the kernel holds. A value without sockets: wants
//! and outcomes go in, steps and reports come out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;

use super::desired::Address;
use super::item::{Item, ItemRef, Items, Owner, Slot};
use super::kernel::{Kernel, Presence};
use super::links::HeldAddress;
use super::netlink::{Refusal, Request};
use super::{address, route, rule};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Put,
    Remove,
}

/// One request on behalf of one item.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) owner: Owner,
    pub(super) items: Arc<Items>,
    pub(super) slot: Slot,
    pub(super) verb: Verb,
    /// The item was not there before, so peers do not know it yet.
    pub(super) fresh: bool,
    pub(super) request: Request,
}

impl Step {
    pub(super) fn item(&self) -> ItemRef<'_> {
        self.items.get(self.slot).expect("a step is made from a slot of its items")
    }
}

/// A tracked item that somebody else deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Loss {
    pub(super) router: Arc<str>,
    pub(super) item: Item,
}

/// Why a wanted item is known not to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Missing {
    /// Its interface is gone or down: put there when that changes.
    Waiting,
    /// Tried again when an interface or address changes; said once per reason.
    Refused(Errno),
    /// Reported as lost; what follows is for the election to say.
    Lost,
    /// The kernel took it but shows something else: there is nothing to watch.
    Unrecognised,
}

#[derive(Debug)]
struct Holding {
    present: bool,
    lease: Option<Duration>,
    items: Arc<Items>,
    missing: BTreeMap<Slot, Missing>,
    /// Put back after somebody deleted them, or removed after somebody added them; further times are not worth a
    /// warning.
    repaired: BTreeSet<Slot>,
}

/// Why something shall not be there any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    /// Its owner gave it up.
    GivenUp,
    /// This run never held it.
    LeftBehind,
    /// It went along with an interface that has another name now.
    Renamed,
    /// Its owner does not hold it: somebody else put it there.
    Stray,
    /// An address that its owner holds under another prefix.
    Misfit,
}

#[derive(Debug)]
struct Dropped {
    owner: Owner,
    items: Arc<Items>,
    /// There, though the kernel's tables do not show it.
    unrecognised: BTreeSet<Slot>,
    reason: Reason,
}

type Place = (Arc<str>, IpAddr, u8);
/// Where an address is, whatever its prefix: the kernel holds one several times, under different prefixes.
type Spot = (Arc<str>, IpAddr);

/// Wants, and what has been found out about them. Call `want` for every change of mind, `plan` for the steps,
/// `record` with the outcome of each, and `examine` when the kernel's tables moved.
#[derive(Debug, Default)]
pub(super) struct Holdings {
    owners: BTreeMap<Owner, Holding>,
    /// How many present owners want an address.
    claims: HashMap<Place, usize>,
    /// How many routers, present or not, know an address under some prefix.
    known: HashMap<Spot, usize>,
    /// Present owners that `plan` has to look at.
    changed: BTreeSet<Owner>,
    /// Present owners whose addresses may be there under another prefix.
    doubted: BTreeSet<Owner>,
    /// Addresses that routers speak from: under another prefix they are the host's own.
    sources: BTreeSet<IpAddr>,
    /// Items that nobody may want any more.
    dropped: Vec<Dropped>,
}

impl Holdings {
    pub(super) fn want(&mut self, owner: Owner, present: bool, lease: Option<Duration>, items: Arc<Items>) {
        if present {
            self.changed.insert(owner.clone());
        } else {
            self.changed.remove(&owner);
        }
        let holding = Holding {
            present,
            lease,
            items: items.clone(),
            missing: BTreeMap::new(),
            repaired: BTreeSet::new(),
        };
        self.count(&owner, &holding);
        let Some(before) = self.owners.insert(owner.clone(), holding) else {
            if !present {
                self.drop_all(owner, items, Reason::LeftBehind);
            }
            return;
        };
        self.discount(&owner, &before);
        let same = before.items == items;
        if same && present && before.present {
            if let Some(holding) = self.owners.get_mut(&owner) {
                holding.missing = before.missing;
                holding.missing.retain(|_, why| *why != Missing::Lost);
                holding.repaired = before.repaired;
            }
            return;
        }
        if !same && !present {
            self.drop_all(owner.clone(), items, Reason::LeftBehind);
        }
        if !same || !present {
            let unrecognised = before.unrecognised();
            self.dropped.push(Dropped { owner, items: before.items, unrecognised, reason: Reason::GivenUp });
        }
    }

    /// Addresses that the configuration makes routers speak from.
    pub(super) fn speak_from(&mut self, sources: BTreeSet<IpAddr>) {
        self.sources = sources;
    }

    /// What the kernel holds of these items is an earlier run's.
    pub(super) fn left_behind(&mut self, items: Items) {
        self.drop_all(Owner::Former, Arc::new(items), Reason::LeftBehind);
    }

    fn drop_all(&mut self, owner: Owner, items: Arc<Items>, reason: Reason) {
        self.dropped.push(Dropped { owner, items, unrecognised: BTreeSet::new(), reason });
    }

    /// The items of `owner` shall not be there.
    pub(super) fn absent(&mut self, owner: Owner, items: Option<Arc<Items>>) {
        let known = || self.owners.get(&owner).map(|holding| holding.items.clone());
        if let Some(items) = items.or_else(known) {
            self.want(owner, false, None, items);
        }
    }

    pub(super) fn forget(&mut self, owner: &Owner) {
        self.absent(owner.clone(), None);
        if let Some(holding) = self.owners.remove(owner) {
            self.discount(owner, &holding);
        }
    }

    pub(super) fn absent_all(&mut self) {
        let present = self.owners.iter().filter(|(_, holding)| holding.present);
        let owners: Vec<Owner> = present.map(|(owner, _)| owner.clone()).collect();
        for owner in owners {
            self.absent(owner, None);
        }
    }

    pub(super) fn present(&self, owner: &Owner) -> bool {
        self.owners.get(owner).is_some_and(|holding| holding.present)
    }

    pub(super) fn items(&self, owner: &Owner) -> Option<&Arc<Items>> {
        self.owners.get(owner).map(|holding| &holding.items)
    }

    /// An interface was deleted, renamed or taken down: what it took along is not lost but waits.
    pub(super) fn device_left(&mut self, name: &Arc<str>) {
        for holding in self.owners.values_mut().filter(|holding| holding.present) {
            for slot in holding.items.slots() {
                if holding.items.get(slot).is_some_and(|item| item.devices().contains(name)) {
                    holding.missing.insert(slot, Missing::Waiting);
                }
            }
        }
    }

    /// An interface has another name: what owners hold on it has to go from there, and is wanted where the name is.
    pub(super) fn device_renamed(&mut self, from: &Arc<str>, to: &Arc<str>) {
        for (owner, holding) in self.owners.iter().filter(|(_, holding)| holding.present) {
            let (mut items, mut unrecognised) = (Items::default(), BTreeSet::new());
            for slot in holding.items.slots() {
                let Some(item) = holding.items.get(slot).and_then(|item| item.moved(from, to)) else {
                    continue;
                };
                let there = items.push(item);
                if holding.missing.get(&slot) == Some(&Missing::Unrecognised) {
                    unrecognised.insert(there);
                }
            }
            if items != Items::default() {
                let (owner, items) = (owner.clone(), Arc::new(items));
                self.dropped.push(Dropped { owner, items, unrecognised, reason: Reason::Renamed });
            }
        }
    }

    /// Whether one of these addresses is known to routers of which none holds it like this.
    pub(super) fn shuns(&self, dev: &Arc<str>, addresses: &[HeldAddress]) -> bool {
        !self.known.is_empty()
            && addresses.iter().any(|held| {
                self.known.contains_key(&(dev.clone(), held.ip))
                    && !self.sources.contains(&held.ip)
                    && !self.claims.contains_key(&(dev.clone(), held.ip, held.prefix_len))
            })
    }

    /// Whether the kernel holds a route or rule that only owners know that are not present.
    pub(super) fn shuns_paths(&self, kernel: &Kernel) -> bool {
        self.owners.values().filter(|holding| !holding.present).any(|holding| {
            let paths = holding.items.slots().filter(|slot| !matches!(slot, Slot::Address(_)));
            paths
                .filter_map(|slot| holding.items.get(slot))
                .any(|item| kernel.presence(item, false) == Presence::Right && !self.claimed(item))
        })
    }

    /// Has `plan` remove whatever the kernel holds of owners that are not present, and what it holds of present
    /// ones under another prefix.
    pub(super) fn drop_strays(&mut self) {
        let present = self.owners.iter().filter(|(_, holding)| holding.present);
        self.doubted.extend(present.map(|(owner, _)| owner.clone()));
        let absent: Vec<(Owner, Arc<Items>)> = self
            .owners
            .iter()
            .filter(|(_, holding)| !holding.present)
            .map(|(owner, holding)| (owner.clone(), holding.items.clone()))
            .collect();
        for (owner, items) in absent {
            self.drop_all(owner, items, Reason::Stray);
        }
    }

    /// Whether any owner, present or not, knows the address, if under another prefix.
    pub(super) fn knows(&self, address: &Address) -> bool {
        self.claims.contains_key(&place(address)) || self.known.contains_key(&spot(address))
    }

    /// Everything that any owner knows, present or not.
    pub(super) fn known(&self) -> impl Iterator<Item = &Items> {
        self.owners.values().map(|holding| &*holding.items)
    }

    /// What closes the difference: rules, routes and addresses that go, then addresses, routes and rules that
    /// come. Empty when the kernel already is as wanted.
    pub(super) fn plan(&mut self, kernel: &Kernel) -> Vec<Step> {
        let mut going = Vec::new();
        // What may be there under another prefix, on whose behalf, and why it goes.
        let mut doubts = Vec::new();
        let mut leaving = BTreeSet::new();
        // Last come, first gone: the kernel promotes a successor whenever the first IPv4 address of a subnet goes.
        for dropped in std::mem::take(&mut self.dropped).into_iter().rev() {
            let Dropped { owner, items, unrecognised, reason } = dropped;
            for slot in items.slots().rev() {
                let Some(item) = items.get(slot) else { continue };
                let shown = !matches!(kernel.presence(item, false), Presence::Absent | Presence::NoDevice);
                let there = shown || unrecognised.contains(&slot);
                if there && !self.claimed(item) {
                    self.explain(&owner, slot, item, reason);
                    going.extend(removal(&owner, &items, slot, kernel));
                    if let ItemRef::Address(address) = item {
                        leaving.insert(place(address));
                    }
                }
            }
            doubts.push((owner, items, reason));
        }
        let changed = std::mem::take(&mut self.changed);
        self.doubted.extend(changed.iter().cloned());
        for owner in std::mem::take(&mut self.doubted) {
            let items = self.items(&owner).filter(|_| self.present(&owner)).cloned();
            doubts.extend(items.map(|items| (owner, items, Reason::Misfit)));
        }
        for (owner, items, reason) in doubts {
            going.extend(self.misfits(&owner, &items, reason, &mut leaving, kernel));
        }
        let mut coming = Vec::new();
        for owner in changed {
            let Some(holding) = self.owners.get_mut(&owner) else { continue };
            let slots: Vec<Slot> = holding.items.slots().collect();
            coming.extend(holding.puts(&owner, slots, kernel));
        }
        ordered(going, coming)
    }

    /// Removals of addresses that are there under a prefix that nobody wants. They are in `leaving` then.
    fn misfits(
        &mut self,
        owner: &Owner,
        items: &Items,
        reason: Reason,
        leaving: &mut BTreeSet<Place>,
        kernel: &Kernel,
    ) -> Vec<Step> {
        let mut steps = Vec::new();
        for (at, wanted) in items.addresses.iter().enumerate() {
            if !self.known.contains_key(&spot(wanted)) || self.sources.contains(&wanted.ip) {
                continue;
            }
            let Some(link) = kernel.links.by_name(&wanted.dev) else { continue };
            for held in kernel.links.under_any_prefix(link.index, wanted.ip) {
                let dev = wanted.dev.clone();
                let address = Address { peer: held.peer, ..Address::plain(held.ip, held.prefix_len, dev) };
                if self.claims.contains_key(&place(&address)) || !leaving.insert(place(&address)) {
                    continue;
                }
                let reason = match reason {
                    // It cannot have been there all the time.
                    Reason::GivenUp => Reason::Stray,
                    other => other,
                };
                self.explain(owner, Slot::Address(at), ItemRef::Address(&address), reason);
                let items = Arc::new(Items { addresses: vec![address], ..Items::default() });
                steps.extend(removal(owner, &items, Slot::Address(0), kernel));
            }
        }
        steps
    }

    /// Steps for wanted items that could not be put there before.
    pub(super) fn retry(&mut self, kernel: &Kernel) -> Vec<Step> {
        let mut coming = Vec::new();
        for (owner, holding) in self.owners.iter_mut().filter(|(_, holding)| holding.present) {
            let again = |why: &Missing| matches!(why, Missing::Waiting | Missing::Refused(_));
            let slots = holding.missing.iter().filter(|(_, why)| again(why)).map(|(slot, _)| *slot).collect();
            coming.extend(holding.puts(owner, slots, kernel));
        }
        ordered(Vec::new(), coming)
    }

    /// Renewals of the addresses that are there.
    pub(super) fn renewals(&self, owner: &Owner, kernel: &Kernel) -> Vec<Step> {
        let Some(holding) = self.owners.get(owner).filter(|holding| holding.present) else {
            return Vec::new();
        };
        let Some(lease) = holding.lease else { return Vec::new() };
        let renewal = |(at, address): (usize, _)| {
            let slot = Slot::Address(at);
            let there = kernel.presence(ItemRef::Address(address), true);
            let right = matches!(there, Presence::Right | Presence::Outdated);
            let index = kernel.links.by_name(&address.dev).filter(|_| right)?.index;
            let request = address::put(address, index, Some(lease));
            let (owner, items) = (owner.clone(), holding.items.clone());
            Some(Step { owner, items, slot, verb: Verb::Put, fresh: false, request })
        };
        holding.items.addresses.iter().enumerate().filter_map(renewal).collect()
    }

    /// Notes the outcome of a step, in `kernel` too, and says so when it failed for a new reason.
    pub(super) fn record(&mut self, step: &Step, outcome: Option<&Refusal>, kernel: &mut Kernel) {
        match step.verb {
            Verb::Remove => match outcome {
                Some(refusal) if !refusal.is_absence() => {
                    tracing::warn!(owner = %step.owner, item = %step.item(), reason = %refusal, "could not remove");
                }
                _ => note_removed(step, kernel),
            },
            Verb::Put => {
                let lease = self.owners.get(&step.owner).and_then(|holding| holding.lease);
                match outcome {
                    None => note_put(step, lease, kernel),
                    Some(refusal) if refusal.errno == Errno::EEXIST => {}
                    Some(refusal) => self.refused(step, refusal),
                }
                if outcome.is_none_or(|refusal| refusal.errno == Errno::EEXIST)
                    && let Some(holding) = self.owners.get_mut(&step.owner)
                {
                    holding.missing.remove(&step.slot);
                }
            }
        }
    }

    /// After routes or rules were put there and the kernel's tables read again: items that the kernel took but
    /// shows in another form cannot be told from deleted ones, so they are not watched.
    pub(super) fn recognise(&mut self, steps: &[Step], kernel: &Kernel) {
        for step in steps.iter().filter(|step| step.verb == Verb::Put) {
            let Some(holding) = self.owners.get_mut(&step.owner) else { continue };
            let watched = holding.present && !holding.missing.contains_key(&step.slot);
            let absent = !matches!(step.slot, Slot::Address(_))
                && kernel.presence(step.item(), false) == Presence::Absent;
            if watched && absent {
                tracing::debug!(owner = %step.owner, item = %step.item(), "the kernel shows this item in another form");
                holding.missing.insert(step.slot, Missing::Unrecognised);
            }
        }
    }

    /// Whether something wanted is gone that was there.
    pub(super) fn suspects(&self, kernel: &Kernel) -> bool {
        self.owners.values().filter(|holding| holding.present).any(|holding| {
            holding.items.slots().any(|slot| {
                !holding.missing.contains_key(&slot)
                    && holding.items.get(slot).is_some_and(|item| {
                        matches!(kernel.presence(item, false), Presence::Absent | Presence::NoDevice)
                    })
            })
        })
    }

    /// Finds out what is no longer there. Tracked items of routers are reported as lost, unless our own removals
    /// took them along; those, static and untracked ones are put back by the returned steps.
    pub(super) fn examine(&mut self, kernel: &Kernel, own_removals: bool) -> (Vec<Step>, Vec<Loss>) {
        let (mut back, mut lost) = (Vec::new(), Vec::new());
        for (owner, holding) in self.owners.iter_mut().filter(|(_, holding)| holding.present) {
            let mut repairs = Vec::new();
            for slot in holding.items.slots() {
                let Some(item) = holding.items.get(slot) else { continue };
                let absent = matches!(kernel.presence(item, false), Presence::Absent | Presence::NoDevice);
                let known = holding.missing.get(&slot).copied();
                match (absent, known) {
                    (false, None)
                    | (true, Some(Missing::Waiting | Missing::Refused(_) | Missing::Unrecognised)) => {}
                    (false, Some(_)) => {
                        holding.missing.remove(&slot);
                    }
                    (true, _) if !kernel.could_hold(item) => {
                        holding.missing.insert(slot, Missing::Waiting);
                    }
                    (true, Some(Missing::Lost)) => {}
                    (true, None) => match owner {
                        Owner::Router(router) if item.tracked() && !own_removals => {
                            holding.missing.insert(slot, Missing::Lost);
                            lost.push(Loss { router: router.clone(), item: item.to_item() });
                        }
                        Owner::Router(_) | Owner::Static | Owner::Former => {
                            if holding.repaired.insert(slot) {
                                tracing::warn!(owner = %owner, item = %item, "gone from the kernel; putting it back");
                            }
                            repairs.push(slot);
                        }
                    },
                }
            }
            back.extend(holding.puts(owner, repairs, kernel));
        }
        (ordered(Vec::new(), back), lost)
    }

    fn refused(&mut self, step: &Step, refusal: &Refusal) {
        let Some(holding) = self.owners.get_mut(&step.owner) else { return };
        let why = match refusal.errno {
            Errno::ENODEV => Missing::Waiting,
            errno => Missing::Refused(errno),
        };
        if holding.missing.insert(step.slot, why) != Some(why) && why != Missing::Waiting {
            tracing::warn!(owner = %step.owner, item = %step.item(), reason = %refusal, "could not add");
        }
    }

    fn explain(&mut self, owner: &Owner, slot: Slot, item: ItemRef<'_>, reason: Reason) {
        match reason {
            Reason::GivenUp => {}
            Reason::LeftBehind => {
                tracing::info!(owner = %owner, item = %item, "left behind by an earlier run; removing it");
            }
            Reason::Renamed => {
                tracing::warn!(owner = %owner, item = %item, "its interface was renamed; removing it");
            }
            Reason::Stray | Reason::Misfit => {
                let holding = self.owners.get_mut(owner);
                if !holding.is_some_and(|holding| holding.repaired.insert(slot)) {
                    return;
                }
                if reason == Reason::Stray {
                    tracing::warn!(
                        owner = %owner,
                        item = %item,
                        "put there by somebody else, while this router is not master; removing it"
                    );
                } else {
                    tracing::warn!(
                        owner = %owner,
                        item = %item,
                        "there under another prefix than the configured one; removing it"
                    );
                }
            }
        }
    }

    fn count(&mut self, owner: &Owner, holding: &Holding) {
        for address in &holding.items.addresses {
            if holding.present {
                *self.claims.entry(place(address)).or_default() += 1;
            }
            if matches!(owner, Owner::Router(_)) {
                *self.known.entry(spot(address)).or_default() += 1;
            }
        }
    }

    /// Takes a former holding out of the counts.
    fn discount(&mut self, owner: &Owner, before: &Holding) {
        for address in &before.items.addresses {
            if before.present {
                decrement(&mut self.claims, &place(address));
            }
            if matches!(owner, Owner::Router(_)) {
                decrement(&mut self.known, &spot(address));
            }
        }
    }

    fn claimed(&self, item: ItemRef<'_>) -> bool {
        let mut present = self.owners.values().filter(|holding| holding.present);
        match item {
            ItemRef::Address(address) => self.claims.contains_key(&place(address)),
            ItemRef::Route(route) => present.any(|holding| holding.items.routes.contains(route)),
            ItemRef::Rule(rule) => present.any(|holding| holding.items.rules.contains(rule)),
        }
    }
}

impl Holding {
    fn unrecognised(&self) -> BTreeSet<Slot> {
        let unrecognised = self.missing.iter().filter(|(_, why)| **why == Missing::Unrecognised);
        unrecognised.map(|(slot, _)| *slot).collect()
    }

    /// Steps that make the kernel hold the items in `slots`; those without their interface wait.
    fn puts(&mut self, owner: &Owner, slots: Vec<Slot>, kernel: &Kernel) -> Vec<Step> {
        let mut steps = Vec::new();
        for slot in slots {
            let Some(item) = self.items.get(slot) else { continue };
            let presence = kernel.presence(item, self.lease.is_some());
            match presence {
                Presence::Right => {
                    self.missing.remove(&slot);
                    continue;
                }
                Presence::NoDevice => {
                    self.missing.insert(slot, Missing::Waiting);
                    continue;
                }
                Presence::Different => steps.extend(removal(owner, &self.items, slot, kernel)),
                Presence::Outdated | Presence::Absent => {}
            }
            let request = match item {
                ItemRef::Address(wanted) => {
                    kernel.links.by_name(&wanted.dev).map(|link| address::put(wanted, link.index, self.lease))
                }
                ItemRef::Route(wanted) => route::put(wanted, &kernel.links).ok(),
                ItemRef::Rule(wanted) => Some(rule::put(wanted)),
            };
            let fresh = presence != Presence::Outdated;
            let (owner, items) = (owner.clone(), self.items.clone());
            steps.extend(request.map(|request| Step { owner, items, slot, verb: Verb::Put, fresh, request }));
        }
        steps
    }
}

fn decrement<K: Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    match counts.get_mut(key) {
        Some(count) if *count > 1 => *count -= 1,
        _ => drop(counts.remove(key)),
    }
}

fn place(address: &Address) -> Place {
    (address.dev.clone(), address.ip, address.prefix_len)
}

fn spot(address: &Address) -> Spot {
    (address.dev.clone(), address.ip)
}

fn removal(owner: &Owner, items: &Arc<Items>, slot: Slot, kernel: &Kernel) -> Option<Step> {
    let request = match items.get(slot)? {
        ItemRef::Address(wanted) => address::remove(wanted, kernel.links.by_name(&wanted.dev)?.index),
        ItemRef::Route(wanted) => route::remove(wanted, &kernel.links).ok()?,
        ItemRef::Rule(wanted) => rule::remove(wanted),
    };
    let (owner, items) = (owner.clone(), items.clone());
    Some(Step { owner, items, slot, verb: Verb::Remove, fresh: false, request })
}

/// Stable, so that configured order and a removal before its replacement are kept.
fn ordered(mut going: Vec<Step>, mut coming: Vec<Step>) -> Vec<Step> {
    let rank = |step: &Step| match step.slot {
        Slot::Address(_) => 0,
        Slot::Route(_) => 1,
        Slot::Rule(_) => 2,
    };
    going.sort_by_key(|step| std::cmp::Reverse(rank(step)));
    coming.sort_by_key(rank);
    going.append(&mut coming);
    going
}

fn note_put(step: &Step, lease: Option<Duration>, kernel: &mut Kernel) {
    match step.item() {
        ItemRef::Address(wanted) => {
            let Some(index) = kernel.links.by_name(&wanted.dev).map(|link| link.index) else { return };
            if let Some(held) = address::once_put(wanted, index, lease).filter(|_| step.fresh) {
                kernel.links.note_added(index, held);
            }
        }
        ItemRef::Route(_) => kernel.doubt_routes(),
        ItemRef::Rule(_) => kernel.doubt_rules(),
    }
}

fn note_removed(step: &Step, kernel: &mut Kernel) {
    match step.item() {
        ItemRef::Address(wanted) => {
            if let Some(index) = kernel.links.by_name(&wanted.dev).map(|link| link.index) {
                kernel.links.note_removed(index, wanted.ip, wanted.prefix_len);
            }
            kernel.doubt_routes();
        }
        ItemRef::Route(_) => kernel.doubt_routes(),
        ItemRef::Rule(_) => kernel.doubt_rules(),
    }
}

#[cfg(test)]
mod tests;
