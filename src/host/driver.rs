//! The host thread: one loop around the reconciler. It waits for a notification or a note in the mailbox, does
//! everything at hand without waiting for anything else, and waits again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use buoy_vrrp::Family;
use nix::errno::Errno;

use super::HostConfig;
use super::desired::Address;
use super::firewall::Firewall;
use super::holdings::{Holdings, Loss, Step, Verb};
use super::item::{Item, ItemRef, Items, Owner, Slot};
use super::kernel::{Kernel, Moves, Presence};
use super::leftovers::{self, Beacon};
use super::links::{HeldAddress, Link, Links};
use super::mailbox::{Change, HostHandle, Mailbox, Want};
use super::monitor::{Drained, Monitor, snapshot};
use super::netlink::{Refusal, Request, Requester};
use super::sysctl::{Ipv4Knob, Setting, Sysctls};
use super::vmac::{self, VmacSpec};

/// Notifications that fit before the kernel drops some: 4 MiB hold those of about 4,000 addresses coming or
/// going at once. An overrun costs a complete reading, nothing else.
const MONITOR_BUFFER: usize = 4 * 1024 * 1024;

/// A change of this host's network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostEvent {
    /// An interface appeared or changed.
    Link(Link),
    /// An interface was deleted or renamed.
    LinkGone { name: Arc<str>, index: u32 },
    /// All addresses of an interface, after some of them changed.
    Addresses { index: u32, name: Arc<str>, addresses: Vec<HeldAddress> },
    /// Somebody else deleted a tracked item of a master. It is not put back: the election decides.
    ItemLost { router: Arc<str>, item: Item },
}

/// The rest of the daemon as the host thread sees it. Called on the host thread, which waits meanwhile.
pub trait Outlet {
    fn event(&mut self, event: HostEvent);

    /// These addresses of `router`, all that the kernel holds, want to be known to the neighbours (gratuitous
    /// ARP, unsolicited neighbour advertisements). `links` knows the interfaces' indexes and MAC addresses.
    fn announce(&mut self, router: &Arc<str>, addresses: &[&Address], links: &Links);
}

/// How to open a [`Host`].
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// Bytes of kernel memory for notifications that were not read yet.
    pub monitor_buffer: usize,
}

impl Default for HostOptions {
    fn default() -> Self {
        Self { monitor_buffer: MONITOR_BUFFER }
    }
}

/// Owner of all netlink. Lives on one thread, inside a tokio runtime with I/O enabled, in the network namespace
/// that it was opened in.
pub struct Host<O> {
    outlet: O,
    mailbox: Arc<Mailbox>,
    requester: Requester,
    /// Renews leases. A socket of its own, so that the monitor can tell its echoes apart in the kernel.
    refresher: Requester,
    monitor: Monitor,
    kernel: Kernel,
    holdings: Holdings,
    config: Arc<HostConfig>,
    sysctls: Sysctls,
    firewall: Firewall,
    /// VMACs about which a failure was said.
    troubled: BTreeSet<Arc<str>>,
    /// VMACs that were set up, and the index of the parent that they then stood on.
    raised: BTreeMap<Arc<str>, u32>,
    /// Interfaces or addresses changed: what could not be done may be possible now.
    moved: bool,
    /// Something disappeared: what is wanted may be gone.
    lessened: bool,
    routes_moved: bool,
    /// Something may be where nobody wants it: put there by others, or gone along with a renamed interface.
    strayed: bool,
    /// `None` where it cannot be lit: then what earlier runs left may be another Buoy's.
    beacon: Option<Beacon>,
    /// What earlier runs left behind was removed.
    swept: bool,
}

/// Whether the host goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    Continue,
    Stopped,
}

impl<O: Outlet> Host<O> {
    /// Opens the sockets and reads what is there; the snapshot goes to `outlet` as events. What `handle` was
    /// told, to an earlier host that failed perhaps, is to do.
    pub fn open(outlet: O, options: &HostOptions, handle: &HostHandle) -> anyhow::Result<Self> {
        let mailbox = handle.mailbox.clone();
        let requester = Requester::open(mailbox.changes.clone()).context("cannot open a netlink socket")?;
        let refresher = Requester::open(mailbox.changes.clone()).context("cannot open a netlink socket")?;
        let monitor = Monitor::open(options.monitor_buffer, requester.port(), refresher.port())
            .context("cannot listen to netlink notifications")?;
        let beacon = Beacon::light(requester.port());
        let beacon =
            beacon.inspect_err(|error| tracing::debug!(%error, "cannot be known to other Buoys")).ok();
        let mut host = Self {
            outlet,
            mailbox,
            requester,
            refresher,
            monitor,
            kernel: Kernel::default(),
            holdings: Holdings::default(),
            config: Arc::new(HostConfig::default()),
            sysctls: Sysctls::below(Path::new("/proc/sys")),
            firewall: Firewall::default(),
            troubled: BTreeSet::new(),
            raised: BTreeMap::new(),
            moved: false,
            lessened: false,
            routes_moved: false,
            strayed: false,
            beacon,
            swept: false,
        };
        host.resync()?;
        host.report();
        host.mailbox.repeat();
        Ok(host)
    }

    /// Works until told to stop, then has removed everything it held. An error means that the kernel's tables
    /// cannot be read any more.
    pub async fn run(mut self) -> anyhow::Result<()> {
        while self.step()? == Flow::Continue {
            self.ready().await?;
        }
        Ok(())
    }

    /// Waits until there is something for `step` to do.
    pub async fn ready(&mut self) -> anyhow::Result<()> {
        // Both are cancel-safe: the mailbox keeps its wake-up, the monitor what it read.
        tokio::select! {
            () = self.mailbox.woken() => Ok(()),
            ready = self.monitor.readable() => ready.context("cannot wait for netlink notifications"),
        }
    }

    /// Does everything at hand: notifications first, so that decisions are made on what is true now.
    pub fn step(&mut self) -> anyhow::Result<Flow> {
        self.observe()?;
        self.settle(false)?;
        let pending = self.mailbox.take();
        let configured = pending.config.is_some();
        if let Some(config) = pending.config {
            self.configure(config)?;
        }
        let mut announced = BTreeSet::new();
        let mut refreshed = BTreeSet::new();
        for (router, Change { want, refresh, announce }) in pending.routers {
            let owner = Owner::Router(router);
            match want {
                Some(Want::Present { items, lease }) => {
                    self.watch(&items)?;
                    self.holdings.want(owner.clone(), true, lease, items);
                }
                Some(Want::Absent { items }) => {
                    if let Some(items) = &items {
                        self.watch(items)?;
                    }
                    self.holdings.absent(owner.clone(), items);
                }
                Some(Want::Forgotten) => self.holdings.forget(&owner),
                None => {}
            }
            if refresh {
                refreshed.insert(owner.clone());
            }
            if announce {
                announced.insert(owner);
            }
        }
        if configured && !std::mem::replace(&mut self.swept, true) {
            self.sweep()?;
        }
        if pending.stop {
            self.holdings.absent_all();
        }
        self.reconcile(announced)?;
        self.refresh(&refreshed)?;
        if pending.stop {
            self.dismantle()?;
        }
        // A waiter that gave up is no concern of ours.
        for waiter in pending.barriers {
            waiter.try_send(()).ok();
        }
        Ok(if pending.stop { Flow::Stopped } else { Flow::Continue })
    }

    /// What is there.
    pub fn links(&self) -> &Links {
        &self.kernel.links
    }

    /// Until the scripts given to nft so far have run.
    pub fn wait_for_firewall(&mut self) {
        self.firewall.wait();
    }

    fn watch(&mut self, items: &Items) -> anyhow::Result<()> {
        self.kernel.watch(items);
        if self.kernel.watches_routes() {
            self.monitor.follow_routes().context("cannot listen to routes")?;
        }
        if self.kernel.watches_rules() {
            self.monitor.follow_rules().context("cannot listen to rules")?;
        }
        Ok(())
    }

    /// Carries out the plan and looks at what it did.
    fn reconcile(&mut self, mut announced: BTreeSet<Owner>) -> anyhow::Result<()> {
        self.reload()?;
        let steps = self.holdings.plan(&self.kernel);
        let removals = steps.iter().any(|step| step.verb == Verb::Remove);
        self.carry_out(&steps, &mut announced)?;
        for owner in &announced {
            self.announce(owner);
        }
        if !steps.is_empty() {
            self.lessened |= removals;
            self.observe()?;
            self.settle(removals)?;
        }
        Ok(())
    }

    fn announce(&mut self, owner: &Owner) {
        if let Owner::Router(router) = owner
            && self.holdings.present(owner)
            && let Some(items) = self.holdings.items(owner)
        {
            let there = |address: &&Address| {
                !matches!(
                    self.kernel.presence(ItemRef::Address(address), false),
                    Presence::Absent | Presence::NoDevice
                )
            };
            let addresses: Vec<&Address> = items.addresses.iter().filter(there).collect();
            self.outlet.announce(router, &addresses, &self.kernel.links);
        }
    }

    fn carry_out(&mut self, steps: &[Step], announced: &mut BTreeSet<Owner>) -> anyhow::Result<()> {
        if steps.is_empty() {
            return Ok(());
        }
        let spared = self.spare_secondaries(steps);
        let requests: Vec<&Request> = steps.iter().map(|step| &step.request).collect();
        let outcome = self.requester.change(&requests);
        for setting in &spared {
            self.sysctls.restore(setting);
        }
        let refused = match outcome {
            Ok(refused) => {
                tracing::debug!(
                    requests = steps.len(),
                    refused = refused.len(),
                    "changed the kernel's tables"
                );
                refused
            }
            Err(error) => {
                tracing::warn!(%error, "lost track of netlink requests; reading everything again");
                return self.take_stock(steps);
            }
        };
        let mut refused = refused.into_iter().peekable();
        for (position, step) in steps.iter().enumerate() {
            let refusal = refused.next_if(|(at, _)| *at == position).map(|(_, refusal)| refusal);
            self.holdings.record(step, refusal.as_ref(), &mut self.kernel);
            let arrived = step.verb == Verb::Put && step.fresh && refusal.is_none();
            if arrived && matches!(step.slot, Slot::Address(_)) {
                announced.insert(step.owner.clone());
            }
        }
        self.reload()?;
        self.holdings.recognise(steps, &self.kernel);
        Ok(())
    }

    /// After requests of unknown fate: what did not arrive counts as refused, so that it is tried again.
    fn take_stock(&mut self, steps: &[Step]) -> anyhow::Result<()> {
        self.resync()?;
        self.reload()?;
        let unanswered = Refusal { errno: Errno::EIO, reason: Some("no reply".to_owned()) };
        for step in steps.iter().filter(|step| step.verb == Verb::Put) {
            if self.kernel.presence(step.item(), false) == Presence::Absent {
                self.holdings.record(step, Some(&unanswered), &mut self.kernel);
            }
        }
        Ok(())
    }

    /// Where an IPv4 address leaves that may be the first of its subnet, the others are promoted instead of
    /// deleted.
    fn spare_secondaries(&mut self, steps: &[Step]) -> BTreeSet<Setting> {
        let links = &self.kernel.links;
        let leaving: BTreeSet<(u32, IpAddr, u8)> = steps
            .iter()
            .filter(|step| step.verb == Verb::Remove)
            .filter_map(|step| match step.item() {
                ItemRef::Address(address) => {
                    Some((links.by_name(&address.dev)?.index, address.ip, address.prefix_len))
                }
                _ => None,
            })
            .collect();
        let mut spared = BTreeSet::new();
        for index in leaving.iter().map(|(index, ..)| *index).collect::<BTreeSet<u32>>() {
            let Some(link) = self.kernel.links.by_index(index) else { continue };
            let setting = Setting::ipv4(&link.name, Ipv4Knob::PromoteSecondaries);
            let deletes = self.sysctls.read(&setting).is_ok_and(|value| value == 0);
            if deletes && self.kernel.others_share_subnet(index, &leaving) {
                self.sysctls.try_set(&setting, 1);
                spared.insert(setting);
            }
        }
        spared
    }

    fn refresh(&mut self, owners: &BTreeSet<Owner>) -> anyhow::Result<()> {
        let steps: Vec<Step> =
            owners.iter().flat_map(|owner| self.holdings.renewals(owner, &self.kernel)).collect();
        if steps.is_empty() {
            return Ok(());
        }
        let requests: Vec<&Request> = steps.iter().map(|step| &step.request).collect();
        match self.refresher.change(&requests) {
            Ok(refused) => {
                for (position, refusal) in refused {
                    if let Some(step) = steps.get(position) {
                        self.holdings.record(step, Some(&refusal), &mut self.kernel);
                    }
                }
            }
            Err(error) => {
                tracing::warn!(%error, "lost track of netlink requests; reading everything again");
                self.resync()?;
            }
        }
        Ok(())
    }

    /// Takes in every notification at hand and reports what changed.
    fn observe(&mut self) -> anyhow::Result<()> {
        let kernel = &mut self.kernel;
        let mut moves = Moves::default();
        let drained = self
            .monitor
            .drain(|notice| moves |= kernel.note(&notice))
            .context("cannot read netlink notifications")?;
        if moves.lessened {
            kernel.doubt_routes();
        }
        self.moved |= moves.moved;
        self.lessened |= moves.lessened;
        self.routes_moved |= moves.routes_moved;
        if drained == Drained::Overrun {
            tracing::warn!("the kernel dropped netlink notifications; reading everything again");
            self.resync()?;
        }
        self.report();
        Ok(())
    }

    /// Reads everything again: nothing is known about what happened meanwhile.
    fn resync(&mut self) -> anyhow::Result<()> {
        let (links, addresses) =
            snapshot(&mut self.requester).context("cannot read interfaces and addresses")?;
        self.kernel.links.resync(&links, &addresses);
        self.kernel.doubt_routes();
        self.kernel.doubt_rules();
        (self.moved, self.lessened) = (true, true);
        Ok(())
    }

    fn reload(&mut self) -> anyhow::Result<()> {
        self.kernel.reload(&mut self.requester).context("cannot read routes and rules")
    }

    fn report(&mut self) {
        for event in self.kernel.links.poll_events() {
            match &event {
                HostEvent::LinkGone { name, index } => {
                    let renamed = self.kernel.links.by_index(*index).filter(|link| link.name != *name);
                    if let Some(link) = renamed {
                        self.holdings.device_renamed(name, &link.name);
                        self.strayed = true;
                    }
                    self.holdings.device_left(name);
                    self.sysctls.forget(name);
                }
                HostEvent::Link(link) if !link.up => self.holdings.device_left(&link.name),
                HostEvent::Addresses { name, addresses, .. } => {
                    self.strayed |= self.holdings.shuns(name, addresses);
                }
                HostEvent::Link(_) | HostEvent::ItemLost { .. } => {}
            }
            self.outlet.event(event);
        }
    }

    /// Follows up on what was observed: VMACs that are missing, items that went, can come now or are not wanted.
    fn settle(&mut self, mut own_removals: bool) -> anyhow::Result<()> {
        // What a round does may move things again; a round that has nothing to do ends it.
        while self.moved || self.lessened || self.routes_moved || self.strayed {
            if std::mem::take(&mut self.strayed) {
                self.resync()?;
                self.report();
                self.reload()?;
                self.strayed = false;
                self.holdings.drop_strays();
                let steps = self.holdings.plan(&self.kernel);
                own_removals |= !steps.is_empty();
                self.come_back(&steps)?;
                self.observe()?;
            }
            let routes_moved = std::mem::take(&mut self.routes_moved);
            if std::mem::take(&mut self.lessened) | routes_moved {
                self.reload()?;
                self.strayed |= routes_moved && self.holdings.shuns_paths(&self.kernel);
                if self.holdings.suspects(&self.kernel) {
                    self.account(own_removals)?;
                }
            }
            if std::mem::take(&mut self.moved) {
                self.raise_vmacs()?;
                self.promote_secondaries();
                self.reload()?;
                let steps = self.holdings.retry(&self.kernel);
                self.come_back(&steps)?;
            }
        }
        Ok(())
    }

    /// Notifications of an interface that goes away come one by one; a complete reading tells whether an
    /// address was deleted or went with it.
    fn account(&mut self, own_removals: bool) -> anyhow::Result<()> {
        self.resync()?;
        self.reload()?;
        self.report();
        let (steps, losses) = self.holdings.examine(&self.kernel, own_removals);
        for Loss { router, item } in losses {
            self.outlet.event(HostEvent::ItemLost { router, item });
        }
        self.lessened = false;
        self.come_back(&steps)
    }

    fn come_back(&mut self, steps: &[Step]) -> anyhow::Result<()> {
        let mut announced = BTreeSet::new();
        self.carry_out(steps, &mut announced)?;
        for owner in &announced {
            self.announce(owner);
        }
        Ok(())
    }

    fn configure(&mut self, config: Arc<HostConfig>) -> anyhow::Result<()> {
        let before = std::mem::replace(&mut self.config, config.clone());
        let gone: Vec<VmacSpec> = before
            .vmacs
            .iter()
            .filter(|old| {
                !config.vmacs.iter().any(|new| (&new.name, &new.parent) == (&old.name, &old.parent))
            })
            .cloned()
            .collect();
        self.lower_vmacs(&gone)?;
        self.raised.retain(|name, _| !gone.iter().any(|spec| spec.name == *name));
        self.restore_unneeded();
        if config.disable_local_igmp {
            self.sysctls.try_set(&Setting::IgmpLinkLocalReports, 0);
        }
        self.raise_vmacs()?;
        self.promote_secondaries();
        self.firewall.apply(&config.guarded);
        self.watch(&config.statics)?;
        self.holdings.speak_from(config.sources.clone());
        self.holdings.want(Owner::Static, true, None, config.statics.clone());
        Ok(())
    }

    /// Where it is configured, on interfaces as they come.
    fn promote_secondaries(&mut self) {
        let config = self.config.clone();
        for dev in &config.promote_secondaries {
            let setting = Setting::ipv4(dev, Ipv4Knob::PromoteSecondaries);
            if self.kernel.links.by_name(dev).is_some() && !self.sysctls.settled(&setting) {
                self.sysctls.try_set(&setting, 1);
            }
        }
    }

    /// Settings that only a former configuration asked for.
    fn restore_unneeded(&mut self) {
        let config = self.config.clone();
        let v4: Vec<&VmacSpec> = config.vmacs.iter().filter(|spec| spec.family == Family::V4).collect();
        self.sysctls.restore_where(|setting| match setting {
            Setting::Ipv4 { dev, knob } => {
                let named = v4.iter().any(|spec| spec.name == *dev);
                match knob {
                    Ipv4Knob::RpFilter => v4.is_empty(),
                    Ipv4Knob::PromoteSecondaries => !named && !config.promote_secondaries.contains(dev),
                    Ipv4Knob::ArpIgnore | Ipv4Knob::ArpFilter | Ipv4Knob::AcceptLocal => {
                        !named && !v4.iter().any(|spec| spec.parent == *dev)
                    }
                }
            }
            Setting::Ipv6 { dev, .. } => !config.vmacs.iter().any(|spec| spec.name == *dev),
            Setting::IgmpLinkLocalReports => !config.disable_local_igmp,
            // Not set here.
            Setting::Ipvs(_) => false,
        });
    }

    /// Creates or corrects the VMACs whose parents are there.
    fn raise_vmacs(&mut self) -> anyhow::Result<()> {
        let config = self.config.clone();
        for spec in &config.vmacs {
            let created = match spec.creation(&self.kernel.links) {
                Ok(requests) => requests,
                Err(vmac::NotOurs) => {
                    self.complain(spec, &"there is an interface of that name that is no macvlan");
                    continue;
                }
            };
            let missing = self.kernel.links.by_name(&spec.name).is_none();
            self.demand(spec, &created)?;
            if spec.link(&self.kernel.links).is_none() {
                continue;
            }
            self.note_raised(spec, missing);
            if !spec.settled(&self.sysctls) {
                if spec.family == Family::V4 {
                    vmac::free_rp_filter(&mut self.sysctls);
                }
                spec.settle(&mut self.sysctls);
            }
            let activation = spec.activation(&self.kernel.links);
            if activation.is_empty() {
                continue;
            }
            self.demand(spec, &activation)?;
            if spec.activation(&self.kernel.links).is_empty() {
                self.troubled.remove(&spec.name);
            }
        }
        Ok(())
    }

    /// The interface is there. One that is made again on the same parent did not go along with that.
    fn note_raised(&mut self, spec: &VmacSpec, was_missing: bool) {
        let Some(parent) = self.kernel.links.by_name(&spec.parent).map(|link| link.index) else { return };
        if self.raised.insert(spec.name.clone(), parent) == Some(parent) && was_missing {
            tracing::warn!(
                "virtual MAC interface {} was deleted or renamed by somebody; put back",
                spec.name
            );
        }
    }

    fn demand(&mut self, spec: &VmacSpec, requests: &[Request]) -> anyhow::Result<()> {
        if requests.is_empty() {
            return Ok(());
        }
        let bearers = |links: &Links| {
            [links.by_name(&spec.parent), spec.link(links)].map(|link| link.map(|link| link.index))
        };
        let before = bearers(&self.kernel.links);
        let outcome = self.requester.change(requests);
        self.observe()?;
        let after = bearers(&self.kernel.links);
        // What went meanwhile refuses everything, and is made anew by the next round.
        if before.iter().zip(&after).any(|(before, after)| before.is_some() && before != after) {
            return Ok(());
        }
        match outcome {
            Ok(refused) => refused.iter().for_each(|(_, refusal)| self.complain(spec, refusal)),
            Err(error) => self.complain(spec, &error),
        }
        Ok(())
    }

    fn complain(&mut self, spec: &VmacSpec, reason: &dyn fmt::Display) {
        if self.troubled.insert(spec.name.clone()) {
            tracing::warn!(vmac = %spec.name, parent = %spec.parent, %reason, "could not set up the virtual MAC interface");
        }
    }

    fn lower_vmacs(&mut self, specs: &[VmacSpec]) -> anyhow::Result<()> {
        let requests: Vec<Request> = specs
            .iter()
            .filter_map(|spec| spec.made(&self.kernel.links))
            .map(|link| vmac::deletion(link.index))
            .collect();
        if requests.is_empty() {
            return Ok(());
        }
        match self.requester.change(&requests) {
            Ok(refused) => refused.iter().for_each(|(_, refusal): &(usize, Refusal)| {
                tracing::warn!(reason = %refusal, "could not delete a virtual MAC interface");
            }),
            Err(error) => tracing::warn!(%error, "could not delete the virtual MAC interfaces"),
        }
        self.observe()
    }

    /// Removes what earlier runs left behind, now that everything that is wanted is known. The addresses go with the
    /// next plan.
    fn sweep(&mut self) -> anyhow::Result<()> {
        let Some(beacon) = &self.beacon else { return Ok(()) };
        match beacon.alone() {
            Ok(true) => {}
            Ok(false) => {
                tracing::info!("another Buoy works in this network namespace; what earlier runs left stays");
                return Ok(());
            }
            Err(error) => {
                tracing::debug!(%error, "cannot tell whether another Buoy works here; what earlier runs left stays");
                return Ok(());
            }
        }
        let config = self.config.clone();
        let links = leftovers::vmacs(&self.kernel.links, &config.vmacs);
        let vmacs = links.iter().map(|link| (format!("interface {}", link.name), vmac::deletion(link.index)));
        let mut found: Vec<(String, Request)> = vmacs.collect();
        let paths = leftovers::paths(&mut self.requester, &self.kernel.links, &self.holdings);
        found.extend(paths.context("cannot read routes and rules")?);
        if !found.is_empty() {
            self.remove_leftovers(&found)?;
        }
        self.holdings.left_behind(leftovers::addresses(&self.kernel.links, &self.holdings, &config.vmacs));
        Ok(())
    }

    fn remove_leftovers(&mut self, found: &[(String, Request)]) -> anyhow::Result<()> {
        for (item, _) in found {
            tracing::info!(item, "left behind by an earlier run; removing it");
        }
        let requests: Vec<Request> = found.iter().map(|(_, request)| request.clone()).collect();
        let refused = self.requester.change(&requests).context("cannot remove what an earlier run left")?;
        for (position, reason) in refused {
            // A route may have gone with its interface.
            if let Some((item, _)) = found.get(position).filter(|_| !reason.is_absence()) {
                tracing::warn!(item, %reason, "could not remove");
            }
        }
        self.kernel.doubt_routes();
        self.kernel.doubt_rules();
        self.observe()
    }

    /// The end: the items are gone already.
    fn dismantle(&mut self) -> anyhow::Result<()> {
        let vmacs = std::mem::take(&mut self.config).vmacs.clone();
        self.lower_vmacs(&vmacs)?;
        self.firewall.remove();
        self.sysctls.restore_where(|_| true);
        Ok(())
    }
}

impl<O> fmt::Debug for Host<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("holdings", &self.holdings).finish_non_exhaustive()
    }
}
