//! The difference between two plans, as far as the election is concerned. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use buoy_vrrp::driver::Command;
use buoy_vrrp::{Family, Target, Transport, Vrid};

use crate::config::plan::{Plan, Router};

/// What makes a virtual router the same after a reload. Its name is no part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Identity {
    vrid: Vrid,
    family: Family,
    interface: Option<Arc<str>>,
    /// Group, or own address for unicast.
    transport: (bool, Option<IpAddr>),
}

impl Identity {
    fn of(router: &Router) -> Self {
        let transport = match &router.election.transport {
            Transport::Multicast { group } => (true, Some(*group)),
            Transport::Unicast(_) => (false, router.source),
        };
        Self {
            vrid: router.election.vrid,
            family: router.election.family,
            interface: router.interface.clone(),
            transport,
        }
    }
}

/// Whether two routers talk to the same peers, or both to everybody.
fn share_peers(a: &Router, b: &Router) -> bool {
    match (&a.election.transport, &b.election.transport) {
        (Transport::Unicast(a), Transport::Unicast(b)) => {
            let known = |address| b.peers.iter().any(|peer| peer.address == address);
            a.peers.is_empty() || b.peers.is_empty() || a.peers.iter().any(|peer| known(peer.address))
        }
        (a, b) => a == b,
    }
}

/// A plan whose routers have keys: names that last longer than the configured ones.
#[derive(Clone, Debug)]
pub(super) struct Keyed {
    pub(super) plan: Arc<Plan>,
    pub(super) keys: Vec<Arc<str>>,
    /// Plans before this one. A router that a reload removed may hold its addresses for a while yet, under a key
    /// that must not be given to another.
    reloads: u64,
}

/// What a reload has to do.
#[derive(Debug, Default)]
pub(super) struct Difference {
    pub(super) commands: Vec<Command>,
    /// Keys of routers that are new to the election.
    pub(super) added: Vec<Arc<str>>,
    pub(super) changed: usize,
    pub(super) removed: usize,
    pub(super) groups: bool,
}

impl Keyed {
    /// The first plan of a daemon: names are the keys.
    pub(super) fn first(plan: Arc<Plan>) -> Self {
        let keys = plan.routers.iter().map(|router| Arc::clone(router.name())).collect();
        Self { plan, keys, reloads: 0 }
    }

    /// `plan` with the keys that its routers had before, and new ones for new routers.
    pub(super) fn next(&self, plan: Arc<Plan>) -> Self {
        let reloads = self.reloads + 1;
        let mut left: Vec<(&Arc<str>, &Router)> = self.routers().collect();
        let mut keys: Vec<Option<Arc<str>>> = vec![None; plan.routers.len()];
        // Unicast routers with other peers may be equal in everything else: the same name decides, then a common
        // peer.
        let ways: [fn(&Router, &Router) -> bool; 2] = [
            |old, new| Identity::of(old) == Identity::of(new) && old.name() == new.name(),
            |old, new| Identity::of(old) == Identity::of(new) && share_peers(old, new),
        ];
        for same in ways {
            for (key, router) in keys.iter_mut().zip(&plan.routers).filter(|(key, _)| key.is_none()) {
                if let Some(at) = left.iter().position(|(_, old)| same(old, router)) {
                    *key = Some(Arc::clone(left.swap_remove(at).0));
                }
            }
        }
        let fresh = |router: &Router| format!("{} of reload {reloads}", router.name()).into();
        let keys =
            keys.into_iter().zip(&plan.routers).map(|(key, r)| key.unwrap_or_else(|| fresh(r))).collect();
        Self { plan, keys, reloads }
    }

    pub(super) fn routers(&self) -> impl Iterator<Item = (&Arc<str>, &Router)> {
        self.keys.iter().zip(&self.plan.routers)
    }

    fn find(&self, key: &Arc<str>) -> Option<&Router> {
        self.routers().find(|(k, _)| *k == key).map(|(_, router)| router)
    }

    /// Everything that is observed under this plan. A script that no instance tracks for a while goes on running,
    /// and only its changes are told: what is known of it must not be forgotten.
    fn targets(&self) -> BTreeSet<Target> {
        let plan = &self.plan;
        let tracked = plan.routers.iter().flat_map(|r| &r.trackers).map(|t| t.target.clone());
        let scripts = plan.scripts.iter().map(|s| Target::Script(Arc::clone(&s.name)));
        let files = plan.files.iter().map(|f| Target::File(Arc::clone(&f.name)));
        let processes = plan.processes.iter().map(|p| Target::Process(Arc::clone(&p.name)));
        tracked.chain(scripts).chain(files).chain(processes).collect()
    }

    /// Commands that add every router.
    pub(super) fn additions(&self) -> Vec<Command> {
        let mut commands: Vec<Command> = self.routers().map(|(key, router)| add(key, router)).collect();
        commands.push(Command::Groups(self.groups()));
        commands
    }

    fn groups(&self) -> Vec<buoy_vrrp::GroupSettings> {
        self.plan.groups.iter().map(|group| group.election.clone()).collect()
    }

    /// What takes the election from here to `next`. Routers that go come first, as in keepalived.
    pub(super) fn difference(&self, next: &Self) -> Difference {
        let mut difference = Difference::default();
        let mut renamed = false;
        for key in &self.keys {
            if next.find(key).is_none() {
                difference.removed += 1;
                difference.commands.push(Command::Remove { key: Arc::clone(key) });
            }
        }
        for (key, new) in next.routers() {
            match self.find(key) {
                None => {
                    difference.added.push(Arc::clone(key));
                    difference.commands.push(add(key, new));
                }
                Some(old) if old == new => {}
                // Nothing to the election: excluded addresses, routes, scripts.
                Some(old) if old.election == new.election && old.trackers == new.trackers => {
                    difference.changed += 1;
                }
                Some(old) => {
                    renamed |= old.name() != new.name();
                    difference.changed += 1;
                    difference.commands.push(Command::Update {
                        key: Arc::clone(key),
                        settings: Box::new(new.election.clone()),
                        trackers: new.trackers.clone(),
                    });
                }
            }
        }
        let members_moved = !difference.added.is_empty() || difference.removed > 0 || renamed;
        difference.groups = self.groups() != next.groups() || members_moved && !next.plan.groups.is_empty();
        if difference.groups {
            difference.commands.push(Command::Groups(next.groups()));
        }
        for target in self.targets().difference(&next.targets()) {
            difference.commands.push(Command::Forget { target: target.clone() });
        }
        if self.plan.global.log_unknown_vrids != next.plan.global.log_unknown_vrids {
            difference.commands.push(Command::LogUnknownVrids(next.plan.global.log_unknown_vrids));
        }
        difference
    }
}

fn add(key: &Arc<str>, router: &Router) -> Command {
    Command::Add {
        key: Arc::clone(key),
        settings: Box::new(router.election.clone()),
        trackers: router.trackers.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use buoy_vrrp::{Priority, Tracker, Unicast, UnicastPeer};

    use super::*;
    use crate::alert::fixture::{group, plan, router, shell};
    use crate::config::plan::TrackScript;

    fn routers(routers: &[(&str, u8)]) -> Arc<Plan> {
        let routers = routers.iter().map(|(name, vrid)| {
            let mut router = router(name);
            router.election.vrid = Vrid::new(*vrid).expect("not 0");
            router
        });
        Arc::new(Plan { routers: routers.collect(), ..plan() })
    }

    fn words(difference: &Difference) -> Vec<String> {
        let word = |command: &Command| match command {
            Command::Add { key, settings, .. } => format!("add {key} as {}", settings.name),
            Command::Update { key, settings, .. } => format!("update {key} as {}", settings.name),
            Command::Remove { key } => format!("remove {key}"),
            Command::Groups(groups) => format!("{} groups", groups.len()),
            Command::Forget { target } => format!("forget {target}"),
            _ => "other".to_owned(),
        };
        difference.commands.iter().map(word).collect()
    }

    #[test]
    fn an_equal_plan_needs_nothing() {
        let now = Keyed::first(routers(&[("A", 1), ("B", 2)]));
        let next = now.next(routers(&[("A", 1), ("B", 2)]));
        assert!(now.difference(&next).commands.is_empty());
        assert_eq!(next.keys, now.keys);
    }

    #[test]
    fn a_new_name_is_a_change_of_the_same_router() {
        let now = Keyed::first(routers(&[("A", 1)]));
        let next = now.next(routers(&[("B", 1)]));
        assert_eq!(words(&now.difference(&next)), ["update A as B"]);
    }

    #[test]
    fn names_may_be_exchanged() {
        let now = Keyed::first(routers(&[("A", 1), ("B", 2)]));
        let next = now.next(routers(&[("B", 1), ("A", 2)]));
        assert_eq!(words(&now.difference(&next)), ["update A as B", "update B as A"]);
    }

    #[test]
    fn what_identifies_a_router_on_the_wire_makes_another_one_of_it() {
        let now = Keyed::first(routers(&[("A", 1)]));
        let next = now.next(routers(&[("A", 2)]));
        assert_eq!(words(&now.difference(&next)), ["remove A", "add A of reload 1 as A"]);
    }

    #[test]
    fn a_key_is_never_given_twice() {
        let with = || routers(&[("A", 1), ("B", 2)]);
        let first = Keyed::first(with());
        let second = first.next(routers(&[("A", 1)]));
        let third = second.next(with());
        assert_eq!(words(&second.difference(&third)), ["add B of reload 2 as B"]);
        assert!(!first.keys.contains(&third.keys[1]), "the first B may hold its addresses for a while yet");
    }

    #[test]
    fn groups_are_told_again_when_their_members_may_be_other_routers() {
        let grouped =
            |routers: Arc<Plan>| Arc::new(Plan { groups: vec![group("G")], ..Arc::unwrap_or_clone(routers) });
        let now = Keyed::first(grouped(routers(&[("A", 1)])));
        let next = now.next(grouped(routers(&[("A", 2)])));
        assert_eq!(words(&now.difference(&next)), ["remove A", "add A of reload 1 as A", "1 groups"]);
    }

    fn unicast(name: &str, peer: [u8; 4], priority: u8) -> Router {
        let mut router = router(name);
        let peers = vec![UnicastPeer { address: peer.into(), min_ttl: 0, max_ttl: 255 }];
        router.election.transport = Transport::Unicast(Unicast { peers, ttl: 255, check_source: true });
        router.election.priority = Priority::new(priority);
        router
    }

    #[test]
    fn unicast_routers_that_differ_in_their_peers_only_are_told_apart() {
        let with = |routers: Vec<Router>| Arc::new(Plan { routers, ..plan() });
        let now =
            Keyed::first(with(vec![unicast("A", [10, 0, 0, 1], 100), unicast("B", [10, 0, 0, 2], 100)]));
        let next = now.next(with(vec![unicast("A", [10, 0, 0, 1], 150), unicast("B", [10, 0, 0, 2], 100)]));
        assert_eq!(words(&now.difference(&next)), ["update A as A"]);
        let renamed =
            now.next(with(vec![unicast("C", [10, 0, 0, 2], 100), unicast("B", [10, 0, 0, 1], 100)]));
        let expected = ["remove A", "add C of reload 1 as C", "update B as B"];
        assert_eq!(words(&now.difference(&renamed)), expected, "names before peers");
        let moved = now.next(with(vec![unicast("A", [10, 0, 0, 9], 100)]));
        assert_eq!(words(&now.difference(&moved)), ["remove B", "update A as A"]);
    }

    #[test]
    fn a_script_is_forgotten_with_its_definition_and_not_with_its_last_instance() {
        let script = |tracked: bool, defined: bool| {
            let mut router = router("A");
            if tracked {
                let target = Target::Script("S".into());
                router.trackers = vec![Tracker { target, weight: 0, reverse: false }];
            }
            let script = TrackScript {
                name: "S".into(),
                command: shell("true"),
                interval: Duration::from_secs(1),
                timeout: Duration::from_secs(1),
                rise: 1,
                fall: 1,
                init_fail: false,
            };
            let scripts = if defined { vec![script] } else { Vec::new() };
            Arc::new(Plan { routers: vec![router], scripts, ..plan() })
        };
        let now = Keyed::first(script(true, true));
        assert_eq!(words(&now.difference(&now.next(script(false, true)))), ["update A as A"]);
        let gone = words(&now.difference(&now.next(script(false, false))));
        assert_eq!(gone, ["update A as A", "forget script S"]);
    }
}
