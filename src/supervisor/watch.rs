//! What the interfaces of this host mean to the virtual routers: where each sends and listens, and which
//! conditions keep it from running. Pure: interfaces in, commands for the election out, only for what changed.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use buoy_vrrp::driver::{Command, Endpoint};
use buoy_vrrp::{Family, FaultCause, Interface, Observation, Reading, RouterSettings, Target, Transport};

use crate::config::plan::{Plan, Router, RxBuffer};
use crate::host::{Link, Links, Vmacs};

/// A router's share of the receive buffer where nothing is configured lasts for so long with two masters speaking.
const BUFFERED: Duration = Duration::from_secs(5);
/// What the kernel counts for one advertisement, in bytes.
const BUFFERED_PACKET: u128 = 1024;

/// What a router needs to know about interfaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Binding {
    endpoint: Option<Endpoint>,
    faults: BTreeSet<FaultCause>,
}

/// Follows the interfaces for a plan.
#[derive(Debug)]
pub(super) struct Watch {
    plan: Arc<Plan>,
    vmacs: Vmacs,
    /// Keys of the plan's routers, in the same order.
    keys: Vec<Arc<str>>,
    vips: HashSet<IpAddr>,
    /// Interfaces of static items whose `track_group` has the router, by the router's name.
    static_interfaces: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    tracked: BTreeSet<Arc<str>>,
    bindings: BTreeMap<Arc<str>, Binding>,
    readings: BTreeMap<Arc<str>, Observation>,
    /// `interface_up_down_delays`, down and up, as far as they are safe.
    delays: Delays,
    carriers: Carriers,
}

type Delays = BTreeMap<Arc<str>, (Duration, Duration)>;

impl Watch {
    pub(super) fn new(plan: Arc<Plan>, vmacs: Vmacs, keys: Vec<Arc<str>>) -> Self {
        let mut watch = Self {
            plan: Arc::clone(&plan),
            vmacs: Vmacs::default(),
            keys: Vec::new(),
            vips: HashSet::new(),
            static_interfaces: BTreeMap::new(),
            tracked: BTreeSet::new(),
            bindings: BTreeMap::new(),
            readings: BTreeMap::new(),
            delays: Delays::new(),
            carriers: Carriers::default(),
        };
        watch.follow(plan, vmacs, keys);
        watch
    }

    /// Goes over to another plan. What is known about routers that stay is kept, so that only changes are told.
    pub(super) fn follow(&mut self, plan: Arc<Plan>, vmacs: Vmacs, keys: Vec<Arc<str>>) {
        self.vips = plan
            .routers
            .iter()
            .flat_map(|router| router.addresses.iter().chain(&router.excluded))
            .map(|address| address.ip)
            .collect();
        self.tracked = plan
            .routers
            .iter()
            .flat_map(|router| &router.trackers)
            .filter_map(|tracker| match &tracker.target {
                Target::Interface(name) => Some(Arc::clone(name)),
                Target::Script(_) | Target::File(_) | Target::Process(_) | Target::Bfd(_) => None,
            })
            .collect();
        self.static_interfaces = static_interfaces(&plan);
        let delays = safe_delays(&plan);
        if delays != self.delays {
            tell_cut(&plan.link_delays, &delays);
        }
        self.delays = delays;
        self.bindings.retain(|key, _| keys.contains(key));
        self.readings.retain(|name, _| self.tracked.contains(name));
        self.plan = plan;
        self.vmacs = vmacs;
        self.keys = keys;
    }

    /// Forgets what the election was told: it is a new one, or has new routers under old keys.
    pub(super) fn forget(&mut self, key: &Arc<str>) {
        self.bindings.remove(key);
    }

    /// When an interface's pending change counts (`interface_up_down_delays`).
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.carriers.poll_timeout()
    }

    /// What the election has to be told, given the interfaces as they are at `now`.
    pub(super) fn refresh(&mut self, links: &Links, now: Instant) -> Vec<Command> {
        let mut commands = Vec::new();
        self.carriers.look(links, &self.delays, now);
        for name in &self.tracked {
            let observation = self.carriers.observe(name, links);
            if self.readings.get(name) != Some(&observation) {
                self.readings.insert(Arc::clone(name), observation.clone());
                commands.push(Command::Observe { target: Target::Interface(Arc::clone(name)), observation });
            }
        }
        let plan = Arc::clone(&self.plan);
        let mut sources = HashMap::new();
        for (router, key) in plan.routers.iter().zip(self.keys.clone()) {
            let binding = self.bind(router, links, &mut sources);
            let old = self.bindings.insert(Arc::clone(&key), binding.clone()).unwrap_or_default();
            let endpoint = (old.endpoint != binding.endpoint)
                .then(|| Command::Endpoint { key: Arc::clone(&key), endpoint: binding.endpoint.clone() });
            // A router whose address has gone resigns before it loses its voice; where the interface itself is gone
            // there is nothing left to speak through.
            let interface_gone = |f: &FaultCause| matches!(f, FaultCause::InterfaceMissing { .. });
            let resigns = binding.endpoint.is_none() && !binding.faults.iter().any(interface_gone);
            let (first, last) = if resigns { (None, endpoint) } else { (endpoint, None) };
            commands.extend(first);
            let mut fault = |fault: &FaultCause, present| {
                commands.push(Command::Fault { key: Arc::clone(&key), fault: fault.clone(), present });
            };
            // New faults first: a router must not run for the moment between two faults.
            binding.faults.difference(&old.faults).for_each(|f| fault(f, true));
            old.faults.difference(&binding.faults).for_each(|f| fault(f, false));
            commands.extend(last);
        }
        commands
    }

    fn bind(
        &self,
        router: &Router,
        links: &Links,
        sources: &mut HashMap<(Arc<str>, Family), Option<IpAddr>>,
    ) -> Binding {
        let mut faults = BTreeSet::new();
        if let Transport::Unicast(unicast) = &router.election.transport
            && unicast.peers.is_empty()
            && router.unicast_fault_no_peer
        {
            faults.insert(FaultCause::NoUnicastPeer);
        }
        self.require_item_interfaces(router, links, &mut faults);
        let endpoint = match &router.interface {
            None => router.source.map(|source| Endpoint {
                source,
                interface: None,
                buffer: self.buffer(router, None),
            }),
            Some(base) => self.bind_to(router, base, links, sources, &mut faults),
        };
        Binding { endpoint, faults }
    }

    fn bind_to(
        &self,
        router: &Router,
        base: &Arc<str>,
        links: &Links,
        sources: &mut HashMap<(Arc<str>, Family), Option<IpAddr>>,
        faults: &mut BTreeSet<FaultCause>,
    ) -> Option<Endpoint> {
        let family = router.election.family;
        let Some(base_link) = links.by_name(base) else {
            faults.insert(FaultCause::InterfaceMissing { interface: Arc::clone(base) });
            return None;
        };
        if !router.dont_track_primary && !self.carriers.carries(base, links) {
            faults.insert(FaultCause::InterfaceDown { interface: Arc::clone(base) });
        }
        let own_vmac = router.vmac.as_ref().filter(|vmac| !vmac.xmit_base);
        let sender = match own_vmac.and(self.vmacs.interface_of(router)) {
            None => base_link,
            Some(vmac) => match links.by_name(vmac) {
                Some(link) => link,
                None => {
                    faults.insert(FaultCause::InterfaceMissing { interface: Arc::clone(vmac) });
                    return None;
                }
            },
        };
        if matches!(router.election.transport, Transport::Multicast { .. }) && !sender.multicast {
            faults.insert(FaultCause::NoMulticast { interface: Arc::clone(&sender.name) });
        }
        if let Some(address) = router.source.filter(|_| router.track_source) {
            let present = links.addresses(base_link.index).iter().any(|held| held.ip == address);
            if !present {
                faults.insert(FaultCause::SourceAddressGone { address });
            }
        }
        // The virtual MAC interface of an IPv4 router has no address but the VIPs: it speaks with the parent's.
        let source_of = if family == Family::V4 { &base_link.name } else { &sender.name };
        let found = || links.usable_source(source_of, family, &self.vips);
        let source =
            router.source.or_else(|| *sources.entry((Arc::clone(source_of), family)).or_insert_with(found));
        let Some(source) = source else {
            faults.insert(FaultCause::NoSourceAddress { interface: Arc::clone(source_of) });
            return None;
        };
        let interface = Interface { index: sender.index, name: Arc::clone(&sender.name) };
        Some(Endpoint { source, interface: Some(interface), buffer: self.buffer(router, Some(sender)) })
    }

    /// Interfaces of addresses, routes and rules other than the router's own are tracked by themselves.
    fn require_item_interfaces(&self, router: &Router, links: &Links, faults: &mut BTreeSet<FaultCause>) {
        let addresses = router.addresses.iter().chain(&router.excluded).filter(|a| a.tracked).map(|a| &a.dev);
        let routes = router.routes.iter().filter(|r| r.tracked).filter_map(|r| r.dev.as_ref());
        let rules = router.rules.iter().filter(|r| r.tracked).flat_map(|r| r.iif.iter().chain(&r.oif));
        let statics = self.static_interfaces.get(router.name()).into_iter().flatten();
        for dev in addresses.chain(routes).chain(rules).chain(statics) {
            if router.interface.as_ref() == Some(dev) {
                continue;
            }
            let interface = Arc::clone(dev);
            if links.by_name(dev).is_none() {
                faults.insert(FaultCause::InterfaceMissing { interface });
            } else if !self.carriers.carries(dev, links) {
                faults.insert(FaultCause::InterfaceDown { interface });
            }
        }
    }

    fn buffer(&self, router: &Router, link: Option<&Link>) -> usize {
        let mtu = link.map_or(1500, |l| l.mtu as usize);
        if let Some(bytes) = router.rx_buffer {
            return bytes as usize;
        }
        match self.plan.global.rx_buffer {
            None => {
                let interval = router.election.advert_interval.as_millis().max(1);
                usize::try_from((BUFFERED.as_millis() / interval + 1) * 2 * BUFFERED_PACKET)
                    .unwrap_or(usize::MAX)
            }
            Some(RxBuffer::Bytes(bytes)) => bytes as usize,
            Some(RxBuffer::Mtu(times)) => mtu * times as usize,
            Some(RxBuffer::Advert(times)) => (40 + 16 * router.election.advertised.len()) * times as usize,
        }
    }
}

/// `track_group`: instances that follow the interfaces of static addresses, routes and rules.
fn static_interfaces(plan: &Plan) -> BTreeMap<Arc<str>, BTreeSet<Arc<str>>> {
    let addresses = plan.static_addresses.iter().map(|s| (&s.track_group, vec![&s.item.dev]));
    let routes = plan.static_routes.iter().map(|s| (&s.track_group, s.item.dev.iter().collect()));
    let rules = plan.static_rules.iter().map(|s| (&s.track_group, s.item.iif.iter().collect()));
    let mut interfaces = BTreeMap::<Arc<str>, BTreeSet<Arc<str>>>::new();
    for (group, devs) in addresses.chain(routes).chain(rules) {
        let members = group.as_ref().and_then(|name| plan.track_groups.get(name));
        for member in members.into_iter().flatten() {
            interfaces.entry(Arc::clone(member)).or_default().extend(devs.iter().copied().cloned());
        }
    }
    interfaces
}

/// The configured delays, with those of interfaces that routers advertise on cut to the time before a backup takes
/// over: a master that went on for longer would be one of two.
fn safe_delays(plan: &Plan) -> Delays {
    let bound = |interface: &Arc<str>| {
        let routers = plan.routers.iter().filter(|router| router.interface.as_ref() == Some(interface));
        routers.map(|router| before_takeover(&router.election)).min().unwrap_or(Duration::MAX)
    };
    let cut = |(interface, (down, up)): (&Arc<str>, &(Duration, Duration))| {
        let bound = bound(interface);
        let up = if up == down { *up.min(&bound) } else { *up };
        (Arc::clone(interface), (*down.min(&bound), up))
    };
    plan.link_delays.iter().map(cut).collect()
}

/// The shortest time from an advertisement that got lost to a takeover, less one that was due just then: a backup of
/// the highest priority has next to no skew.
fn before_takeover(settings: &RouterSettings) -> Duration {
    let missed = u32::from(settings.down_timer_adverts).saturating_sub(1);
    (settings.advert_interval * missed).saturating_sub(settings.advert_interval / 256)
}

fn tell_cut(configured: &Delays, safe: &Delays) {
    for (interface, (down, _)) in safe {
        if configured.get(interface).is_some_and(|(wanted, _)| wanted > down) {
            let down = down.as_secs_f64();
            tracing::warn!(
                "interface_up_down_delays: {interface} counts as down after {down} s, for then its backup takes over"
            );
        }
    }
}

/// Whether interfaces carry traffic, debounced by `interface_up_down_delays`.
#[derive(Debug, Default)]
struct Carriers {
    delayed: BTreeMap<Arc<str>, Delayed>,
}

#[derive(Debug)]
struct Delayed {
    carries: bool,
    /// The opposite has been seen and counts from then on.
    change_at: Option<Instant>,
}

impl Carriers {
    fn look(&mut self, links: &Links, delays: &Delays, now: Instant) {
        self.delayed.retain(|name, _| delays.contains_key(name));
        for (name, (down, up)) in delays {
            let seen = links.carries(name);
            let known = self
                .delayed
                .entry(Arc::clone(name))
                // The first sight of an interface is not delayed.
                .or_insert(Delayed { carries: seen, change_at: None });
            if known.carries == seen {
                known.change_at = None;
                continue;
            }
            let delay = if seen { *up } else { *down };
            let at = *known.change_at.get_or_insert(now + delay);
            if at <= now {
                *known = Delayed { carries: seen, change_at: None };
            }
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.delayed.values().filter_map(|d| d.change_at).min()
    }

    fn carries(&self, name: &str, links: &Links) -> bool {
        self.delayed.get(name).map_or_else(|| links.carries(name), |d| d.carries)
    }

    fn observe(&self, name: &str, links: &Links) -> Observation {
        let (reading, evidence) = match links.by_name(name) {
            _ if self.carries(name, links) => (Reading::Up, "up and running"),
            None => (Reading::Down, "does not exist"),
            Some(link) if !link.up => (Reading::Down, "is set down"),
            Some(_) => (Reading::Down, "has no carrier"),
        };
        Observation { reading, evidence: Arc::from(evidence) }
    }
}

#[cfg(test)]
mod tests;
