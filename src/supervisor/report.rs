//! The status of the daemon, put together from the plan and a snapshot of the election.

use std::collections::BTreeMap;
use std::sync::Arc;

use buoy_vrrp::driver::{RouterSnapshot, Snapshot};
use buoy_vrrp::{Reading, Statistics};

use super::reload::Keyed;
use crate::api::{DaemonStatus, GroupStatus, InstanceStatus, Status, TrackedStatus};
use crate::config::plan::Router;
use crate::host::Vmacs;

pub(super) fn status(daemon: DaemonStatus, keyed: &Keyed, snapshot: &Snapshot) -> Status {
    let plans: BTreeMap<&Arc<str>, &Router> = keyed.routers().collect();
    let vmacs = Vmacs::of(&keyed.plan);
    Status {
        daemon,
        instances: snapshot
            .routers
            .iter()
            .filter_map(|router| plans.get(&router.key).map(|plan| instance(plan, &vmacs, router)))
            .collect(),
        groups: snapshot
            .groups
            .iter()
            .map(|group| GroupStatus {
                name: group.name.to_string(),
                state: group.state.to_string(),
                members: group.members.iter().map(ToString::to_string).collect(),
            })
            .collect(),
        tracked: snapshot
            .observations
            .iter()
            .map(|(target, observation)| TrackedStatus {
                target: target.to_string(),
                reading: match observation.reading {
                    Reading::Unknown => "unknown".to_owned(),
                    Reading::Up => "up".to_owned(),
                    Reading::Down => "down".to_owned(),
                    Reading::Number(number) => number.to_string(),
                },
                evidence: observation.evidence.to_string(),
            })
            .collect(),
        services: Vec::new(),
        balancing: None,
    }
}

fn instance(plan: &Router, vmacs: &Vmacs, router: &RouterSnapshot) -> InstanceStatus {
    let settings = &plan.election;
    let addresses = vmacs.items_of(plan).addresses;
    InstanceStatus {
        name: router.name.to_string(),
        state: router.state.to_string(),
        since: router.since.as_secs_f64(),
        cause: router.cause.to_string(),
        interface: plan.interface.as_ref().map(ToString::to_string),
        vrid: settings.vrid.get(),
        version: settings.version.number(),
        family: settings.family.to_string(),
        priority: router.priority.get(),
        base_priority: settings.priority.get(),
        advert_interval: settings.advert_interval.as_secs_f64(),
        source: router.source,
        master: router.master.map(|(address, priority, age)| (address, priority.get(), age.as_secs_f64())),
        addresses: addresses.iter().map(|a| format!("{}/{} dev {}", a.ip, a.prefix_len, a.dev)).collect(),
        holds_addresses: router.holds_addresses,
        faults: router.faults.iter().map(ToString::to_string).collect(),
        statistics: statistics(&router.statistics),
        discarded: router.discarded.iter().map(|(reason, n)| (reason.name().to_owned(), *n)).collect(),
    }
}

fn statistics(statistics: &Statistics) -> BTreeMap<String, u64> {
    let Statistics {
        advertisements_received,
        advertisements_sent,
        became_master,
        released_master,
        priority_zero_received,
        priority_zero_sent,
        contentions,
        stalls,
    } = *statistics;
    [
        ("advertisements_received", advertisements_received),
        ("advertisements_sent", advertisements_sent),
        ("became_master", became_master),
        ("released_master", released_master),
        ("priority_zero_received", priority_zero_received),
        ("priority_zero_sent", priority_zero_sent),
        ("contentions", contentions),
        ("stalls", stalls),
    ]
    .map(|(name, count)| (name.to_owned(), count))
    .into()
}
