//! The status of virtual servers, put together from what the reconciler and its plane tell.

use std::time::Instant;

use buoy_healthcheck::driver as checks;
use buoy_ipvs::io::director::Condition;
use buoy_ipvs::{
    Counters, Persistence, RealServerId, Scheduler, ServiceId, Statistics, VirtualService, Weight,
};

use crate::api::{
    Administered, BalancingStatus, ChecksStatus, Connections, DrainStatus, EngineStatus, QuorumStatus,
    ServerStatus, ServiceStatus, SettingStatus, SorryStatus, SyncStatus, Totals,
};
use crate::control::driver::Status;
use crate::control::{Administration, ServerState, Service, ServiceState};
use crate::host::IpvsSetting;

/// What stands behind all of them. `checks` is `None` while nobody checks.
pub(super) fn balancing(
    status: &Status,
    settings: &[IpvsSetting],
    checks: Option<&checks::Snapshot>,
) -> BalancingStatus {
    let sync = |daemon: &buoy_ipvs::SyncDaemon| SyncStatus {
        role: daemon.role.to_string(),
        interface: daemon.interface.to_string(),
        sync_id: daemon.sync_id,
    };
    let setting = |setting: &IpvsSetting| SettingStatus {
        name: setting.name.to_owned(),
        value: setting.value,
        wanted: setting.wanted,
        as_wanted: setting.value == Some(setting.wanted),
    };
    BalancingStatus {
        plane: "kernel IPVS".to_owned(),
        engine: None,
        failing: status.failing.clone(),
        refused: status.refused.clone(),
        doubted: status.doubted,
        sync_daemons: status.sync_daemons.iter().map(sync).collect(),
        settings: settings.iter().map(setting).collect(),
        checks: checks.map(|snapshot| ChecksStatus {
            checks: snapshot.probes,
            running: snapshot.running,
            late_p99_ms: snapshot.lateness.quantile(990).as_secs_f64() * 1e3,
        }),
    }
}

/// How the engine fares.
pub(super) fn engine(condition: &Condition) -> EngineStatus {
    let Condition { connections, offloaded, not_offloaded, frames, discards, trouble } = condition;
    let counts = discards.iter().map(|(why, count)| (why.name().to_owned(), count));
    EngineStatus {
        connections: *connections,
        offloaded: *offloaded,
        not_offloaded: *not_offloaded,
        frames_received: frames.received,
        frames_sent: frames.sent,
        frames_passed: frames.passed,
        frames_lost: frames.unsent + frames.unresolved,
        discards: counts.filter(|(_, count)| *count > 0).collect(),
        trouble: trouble.clone(),
    }
}

/// What stands behind all of them while nobody tells how they are.
pub(super) fn silent(
    why: String,
    settings: &[IpvsSetting],
    checks: Option<&checks::Snapshot>,
) -> BalancingStatus {
    let nothing = Status {
        services: Vec::new(),
        statistics: None,
        failing: Some(why),
        refused: Vec::new(),
        doubted: 0,
        sync_daemons: Vec::new(),
    };
    balancing(&nothing, settings, checks)
}

/// All virtual servers at the time `now`, at which `status` was told.
pub(super) fn services(status: &Status, now: Instant) -> Vec<ServiceStatus> {
    status.services.iter().map(|service| of_service(service, status.statistics.as_ref(), now)).collect()
}

fn of_service(state: &ServiceState, statistics: Option<&Statistics>, now: Instant) -> ServiceStatus {
    let service = &state.settings;
    let like_all = service.members.first();
    let totals = statistics.map(|statistics| {
        let counted = service.members.iter().filter_map(|member| statistics.services.get(&member.id));
        counted.fold(Totals::default(), add_totals)
    });
    let servers = state.servers.iter().map(|server| {
        let behind = |member: &ServiceId| server.server.behind(member, Weight::ZERO).id;
        of_server(server, counters(statistics, service, behind), now)
    });
    let sorry = service.sorry.map(|sorry| SorryStatus {
        address: sorry.id.to_string(),
        forwarding: sorry.forwarding.name().to_owned(),
        serving: state.sorry,
        connections: counters(statistics, service, |member| sorry.behind(member, Weight::ZERO).id)
            .map(|counters| counters.now),
    });
    ServiceStatus {
        name: service.name.to_string(),
        addresses: service.members.iter().map(|member| member.id.to_string()).collect(),
        scheduler: like_all.and_then(|member| member.scheduler).map(|scheduler| scheduler.to_string()),
        flags: like_all.map(flags).unwrap_or_default(),
        persistence: service.members.iter().find_map(|member| {
            member.persistence.as_ref().map(|persistence| affinity(persistence, member.id.family().bits()))
        }),
        quorum: QuorumStatus {
            needed: service.quorum,
            hysteresis: service.hysteresis,
            weight: state.weight,
            reached: state.quorum,
        },
        sorry,
        panic_threshold: service.panic_threshold,
        panic: state.panic,
        leaving: state.leaving,
        totals,
        servers: servers.collect(),
    }
}

fn of_server(state: &ServerState, counted: Option<Counted>, now: Instant) -> ServerStatus {
    let age = |then: Instant| now.saturating_duration_since(then).as_secs_f64();
    let left = |deadline: Instant| deadline.saturating_duration_since(now).as_secs_f64();
    ServerStatus {
        address: state.server.id.to_string(),
        forwarding: state.server.forwarding.name().to_owned(),
        configured_weight: state.server.weight.get(),
        service_weight: state.weight.get(),
        weight: state.held.map(Weight::get),
        up: state.up,
        reason: state.reason.to_string(),
        since: age(state.since),
        reason_age: state.heard.map(age),
        administration: match state.administration {
            Administration::Enabled => Administered::Enabled,
            Administration::Disabled => Administered::Disabled,
            Administration::Drain { .. } => Administered::Drain,
            Administration::Weight(_) => Administered::Weight,
        },
        draining: state.draining.then(|| DrainStatus { left: state.deadline.map(left) }),
        resting: state.resting,
        leaving: state.leaving,
        connections: counted.map(|counted| counted.now),
        totals: counted.map(|counted| counted.totals),
    }
}

/// What the plane has counted of one server.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    now: Connections,
    totals: Totals,
}

/// The sum over all addresses of the service; `behind` is what the server is called behind each. `None` when the plane has
/// it behind none.
fn counters(
    statistics: Option<&Statistics>,
    service: &Service,
    behind: impl Fn(&ServiceId) -> RealServerId,
) -> Option<Counted> {
    let servers = &statistics?.servers;
    let counted = service.members.iter().filter_map(|member| servers.get(&(member.id, behind(&member.id))));
    counted.fold(None, |sum, counters| Some(add(sum.unwrap_or_default(), counters)))
}

fn add(sum: Counted, counters: &Counters) -> Counted {
    let now = Connections {
        active: sum.now.active.saturating_add(counters.active.into()),
        inactive: sum.now.inactive.saturating_add(counters.inactive.into()),
        persistent: sum.now.persistent.saturating_add(counters.persistent.into()),
    };
    Counted { now, totals: add_totals(sum.totals, counters) }
}

fn add_totals(sum: Totals, counters: &Counters) -> Totals {
    Totals {
        connections: sum.connections.saturating_add(counters.connections),
        packets_in: sum.packets_in.saturating_add(counters.packets_in),
        packets_out: sum.packets_out.saturating_add(counters.packets_out),
        bytes_in: sum.bytes_in.saturating_add(counters.bytes_in),
        bytes_out: sum.bytes_out.saturating_add(counters.bytes_out),
    }
}

/// As keepalived's configuration writes them.
fn flags(service: &VirtualService) -> Vec<String> {
    let names = match service.scheduler {
        Some(Scheduler::Sh | Scheduler::Wsh) => ["sh-fallback", "sh-port", "flag-3"],
        Some(Scheduler::Mh) => ["mh-fallback", "mh-port", "flag-3"],
        Some(_) | None => ["flag-1", "flag-2", "flag-3"],
    };
    let set = [service.flags.flag_1, service.flags.flag_2, service.flags.flag_3];
    let named = names.iter().zip(set).filter(|(_, set)| *set).map(|(name, _)| *name);
    named.chain(service.one_packet.then_some("ops")).map(str::to_owned).collect()
}

/// `bits` is the length of a whole address, which keeps all clients apart.
fn affinity(persistence: &Persistence, bits: u8) -> String {
    let Persistence { timeout, prefix_len, engine } = persistence;
    let clients = if *prefix_len == bits { String::new() } else { format!(" for each /{prefix_len}") };
    let engine = engine.as_ref().map(|engine| format!(", engine {}", engine.name())).unwrap_or_default();
    format!("{} s{clients}{engine}", timeout.as_secs())
}

#[cfg(test)]
mod tests;
