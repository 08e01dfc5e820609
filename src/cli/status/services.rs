//! Virtual servers on the page: a summary of what is wrong, then those that need a look before the others.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use super::duration;
use crate::api::{
    Administered, BalancingStatus, Connections, EngineStatus, ServerStatus, ServiceStatus, SorryStatus,
    Status,
};
use crate::cli::check::count;
use crate::log::one_line;

/// Refusals, or addresses of one service, that are told one by one.
const TOLD: usize = 8;

/// How a real server stands, in one word; what needs a look comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Down,
    /// Down, and in service: so many are down that their checks are doubted.
    Doubted,
    Draining,
    /// The drain is over.
    Drained,
    Disabled,
    /// By an agent.
    Resting,
    /// Up, while the sorry server has its place.
    Displaced,
    Up,
}

impl State {
    fn of(service: &ServiceStatus, server: &ServerStatus) -> Self {
        let serves = server.weight.is_some_and(|weight| weight > 0);
        let displaced = service.sorry.as_ref().is_some_and(|sorry| sorry.serving);
        match server.administration {
            Administered::Disabled => Self::Disabled,
            // A dead server has no connections to wait for.
            _ if !server.up && service.panic && serves => Self::Doubted,
            _ if !server.up => Self::Down,
            _ if server.draining.is_some() => Self::Draining,
            Administered::Drain => Self::Drained,
            _ if server.resting => Self::Resting,
            _ if displaced => Self::Displaced,
            Administered::Enabled | Administered::Weight => Self::Up,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Doubted => "doubted",
            Self::Draining => "draining",
            Self::Drained => "drained",
            Self::Disabled => "disabled",
            Self::Resting => "resting",
            Self::Displaced => "displaced",
            Self::Up => "up",
        }
    }
}

/// What an operator reads first. Nothing where nothing is balanced.
pub(super) fn write_summary(page: &mut String, status: &Status) -> fmt::Result {
    if !status.services.is_empty() {
        write_counts(page, &status.services)?;
    }
    let Some(balancing) = &status.balancing else { return Ok(()) };
    write_troubles(page, balancing)?;
    if let Some(engine) = &balancing.engine {
        let EngineStatus { connections, offloaded, .. } = engine;
        writeln!(
            page,
            "{} forwards: {connections} connections, {offloaded} of them within the kernel",
            balancing.plane
        )?;
    }
    if status.services.is_empty() {
        return Ok(());
    }
    if let Some(checks) = balancing.checks {
        let (number, running, late) = (count(checks.checks, "check"), checks.running, checks.late_p99_ms);
        writeln!(page, "{number}, {running} under way, 99 of 100 begin within {late:.1} ms of their time")?;
    }
    for daemon in &balancing.sync_daemons {
        let (role, interface, id) = (&daemon.role, &daemon.interface, daemon.sync_id);
        writeln!(page, "connection sync: {role} on {interface}, id {id}")?;
    }
    Ok(())
}

fn write_counts(page: &mut String, services: &[ServiceStatus]) -> fmt::Result {
    let lost = services.iter().filter(|service| !service.quorum.reached && !service.leaving).count();
    let doubted = services.iter().filter(|service| service.panic).count();
    let mut servers: BTreeMap<State, usize> = BTreeMap::new();
    for service in services {
        for server in &service.servers {
            *servers.entry(State::of(service, server)).or_default() += 1;
        }
    }
    write!(page, "virtual servers: {}", services.len())?;
    if lost > 0 {
        write!(page, ", {lost} without quorum")?;
    }
    if doubted > 0 {
        write!(page, ", {doubted} whose checks are doubted")?;
    }
    let up = servers.remove(&State::Up).unwrap_or(0);
    write!(page, "; real servers: {up} up")?;
    for (state, number) in servers {
        write!(page, ", {number} {}", state.word())?;
    }
    writeln!(page)
}

fn write_troubles(page: &mut String, balancing: &BalancingStatus) -> fmt::Result {
    let plane = &balancing.plane;
    if let Some(trouble) = balancing.engine.as_ref().and_then(|engine| engine.trouble.as_ref()) {
        writeln!(page, "{plane} met trouble: {trouble}")?;
    }
    if let Some(why) = &balancing.failing {
        writeln!(page, "{plane} DOES NOT WORK: {}", one_line(why))?;
    }
    for refused in balancing.refused.iter().take(TOLD) {
        writeln!(page, "{plane} refuses: {}", one_line(refused))?;
    }
    if let Some(more) = balancing.refused.len().checked_sub(TOLD).filter(|more| *more > 0) {
        writeln!(page, "{plane} refuses {more} more (--json shows them)")?;
    }
    if balancing.doubted > 0 {
        let servers = count(balancing.doubted, "server");
        writeln!(
            page,
            "{servers} dead, or this host's network is cut: their connections are kept until it is known which \
             (net.ipv4.vs.expire_nodest_conn is 0)"
        )?;
    }
    for setting in balancing.settings.iter().filter(|setting| !setting.as_wanted) {
        let (name, wanted) = (&setting.name, setting.wanted);
        match setting.value {
            Some(value) => {
                writeln!(page, "kernel setting net.ipv4.vs.{name} is {value} instead of {wanted}")?
            }
            None => writeln!(page, "the kernel has no setting net.ipv4.vs.{name}, which should be {wanted}")?,
        }
    }
    Ok(())
}

/// All of them; those that do not serve as they should come first.
pub(super) fn write_services(page: &mut String, services: &[ServiceStatus]) -> fmt::Result {
    let mut sorted: Vec<&ServiceStatus> = services.iter().collect();
    sorted.sort_by_key(|service| {
        let troubled = service.servers.iter().any(|server| State::of(service, server) != State::Up);
        (service.leaving, service.quorum.reached, !service.panic, !troubled)
    });
    sorted.into_iter().try_for_each(|service| write_service(page, service))
}

fn write_service(page: &mut String, service: &ServiceStatus) -> fmt::Result {
    let quorum = &service.quorum;
    let state = match (service.leaving, quorum.reached) {
        (true, _) => "removed".to_owned(),
        (false, true) => format!("quorum, weight {} of {}", quorum.weight, quorum.needed),
        (false, false) => format!("NO QUORUM, weight {} of {}", quorum.weight, quorum.needed),
    };
    write!(page, "\n{}  {state}  {}", service.name, service.scheduler.as_deref().unwrap_or("no scheduler"))?;
    for flag in &service.flags {
        write!(page, ", {flag}")?;
    }
    if let Some(persistence) = &service.persistence {
        write!(page, ", persistent {persistence}")?;
    }
    writeln!(page)?;
    if service.addresses.as_slice() != [service.name.as_str()] {
        let told = service.addresses.get(..TOLD).unwrap_or(&service.addresses).join(", ");
        let more = match service.addresses.len().saturating_sub(TOLD) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        writeln!(page, "  addresses: {told}{more}")?;
    }
    if service.panic {
        let percent = service.panic_threshold;
        writeln!(page, "  fewer than {percent} % pass their checks: the last good servers stay in service")?;
    }
    let mut rows: Vec<Row<'_>> = service.servers.iter().map(|server| Row::of(service, server)).collect();
    rows.extend(service.sorry.as_ref().map(Row::of_sorry));
    write_rows(page, &rows)
}

/// One line of the table of a service.
struct Row<'s> {
    address: &'s str,
    method: &'s str,
    weight: String,
    state: &'static str,
    connections: String,
    words: String,
}

impl<'s> Row<'s> {
    fn of(service: &ServiceStatus, server: &'s ServerStatus) -> Self {
        Self {
            address: &server.address,
            method: &server.forwarding,
            weight: server.weight.map_or_else(|| "out".to_owned(), |weight| format!("weight {weight}")),
            state: State::of(service, server).word(),
            connections: connections(server.connections),
            words: words(server),
        }
    }

    fn of_sorry(sorry: &'s SorryStatus) -> Self {
        Self {
            address: &sorry.address,
            method: &sorry.forwarding,
            weight: String::new(),
            state: "sorry",
            connections: connections(sorry.connections),
            words: if sorry.serving { "serves in their place" } else { "waits" }.to_owned(),
        }
    }

    fn cells(&self) -> [&str; 5] {
        [self.address, self.method, &self.weight, self.state, &self.connections]
    }
}

fn write_rows(page: &mut String, rows: &[Row<'_>]) -> fmt::Result {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.cells().get(column).map(|cell| cell.chars().count()));
        cells.max().unwrap_or(0)
    };
    let widths = [0, 1, 2, 3, 4].map(width);
    for row in rows {
        for (cell, width) in row.cells().iter().zip(widths) {
            write!(page, "  {cell:<width$}")?;
        }
        writeln!(page, "  {}", row.words)?;
    }
    Ok(())
}

fn connections(connections: Option<Connections>) -> String {
    match connections {
        None => "-".to_owned(),
        Some(Connections { active, inactive, persistent: 0 }) => {
            format!("{active} active, {inactive} inactive")
        }
        Some(Connections { active, inactive, persistent }) => {
            format!("{active} active, {inactive} inactive, {persistent} persistent")
        }
    }
}

/// What is particular to a server, then what its checks say and since when.
fn words(server: &ServerStatus) -> String {
    let mut words = Vec::new();
    if server.leaving {
        words.push("removed from the configuration".to_owned());
    }
    match (server.draining.map(|drain| drain.left), server.up) {
        (Some(Some(left)), true) => words.push(format!("drains for {} more", duration(left))),
        (Some(None), true) => words.push("drains until its connections end".to_owned()),
        (Some(_), false) | (None, _) => {}
    }
    let (configured, has) = (server.configured_weight, server.service_weight);
    match server.administration {
        Administered::Weight => {
            words.push(format!("weight {has} set by an operator, {configured} configured"))
        }
        _ if has != configured => words.push(format!("weight {has} by its checks, {configured} configured")),
        Administered::Enabled | Administered::Disabled | Administered::Drain => {}
    }
    words.push(health(server));
    words.join("; ")
}

/// `up for 2 h 5 min`, `down for 2 h 5 min: connection refused (1.0 s ago)`
fn health(server: &ServerStatus) -> String {
    let health = if server.up { "up" } else { "down" };
    let since = duration(server.since);
    let reason = one_line(&server.reason);
    let age = server.reason_age.map(duration).filter(|age| *age != since);
    let age = age.map(|age| format!(" ({age} ago)")).unwrap_or_default();
    // A check that succeeds has no more to say than that.
    if reason.is_empty() || reason == health {
        format!("{health} for {since}")
    } else {
        format!("{health} for {since}: {reason}{age}")
    }
}

#[cfg(test)]
mod tests;
