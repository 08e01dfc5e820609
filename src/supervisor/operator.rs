//! What operators ask of virtual servers over the control socket: a server in, out or gently out, and what another
//! configuration would change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use buoy_ipvs::{Change, RealServerId, ServiceId, Weight};

use super::balancing::Desk;
use super::reload::Keyed;
use crate::api::{Action, PlannedAction, PlannedChange, Reply};
use crate::config::plan::{Plan, Router, VirtualServer};
use crate::control::find::NotFound;
use crate::control::{Administration, Control};

/// Has one real server be what `action` says. `desk` is there while virtual servers run.
pub(super) async fn administer(desk: Option<Desk>, service: String, server: String, action: Action) -> Reply {
    let Some(desk) = desk else {
        return Reply::Refused { message: NotFound::NoServices.to_string() };
    };
    let administration = match action {
        Action::Enable => Administration::Enabled,
        Action::Disable => Administration::Disabled,
        Action::Drain { deadline_ms } => {
            Administration::Drain { deadline: deadline_ms.map(Duration::from_millis) }
        }
        Action::Weight { weight } => {
            let possible = Weight::clamped(weight.into());
            if possible.get() != weight {
                return Reply::Refused { message: format!("a weight is at most {possible}") };
            }
            Administration::Weight(possible)
        }
    };
    let words = in_words(action);
    match desk.administer(service, server, administration).await {
        Ok((service, server)) => {
            tracing::info!("an operator has real server {server} of {service} {words}");
            Reply::Done { message: format!("real server {server} of {service} is {words}") }
        }
        Err(error) => Reply::Refused { message: format!("{error:#}") },
    }
}

fn in_words(action: Action) -> String {
    match action {
        Action::Enable => "enabled: its checks decide".to_owned(),
        Action::Disable => "disabled".to_owned(),
        Action::Drain { deadline_ms: None } => {
            "drained: no new connections, those that it has may end".to_owned()
        }
        Action::Drain { deadline_ms: Some(deadline) } => {
            let seconds = Duration::from_millis(deadline).as_secs_f64();
            format!("drained: no new connections, those that it has may end within {seconds} s")
        }
        Action::Weight { weight } => format!("weighted {weight}"),
    }
}

/// What a reload from `now` to `plan` would change. `desk` is there while virtual servers run.
pub(super) async fn planned(desk: Option<Desk>, now: Keyed, plan: Arc<Plan>) -> Reply {
    let services = plan.services.iter().map(|service| Arc::clone(&service.service)).collect();
    let changes = match desk {
        Some(desk) => match desk.preview(services).await {
            Ok(changes) => changes,
            Err(error) => return Reply::Refused { message: format!("{error:#}") },
        },
        None => Control::new().preview(services, Instant::now()),
    };
    let mut planned = of_routers(&now, &now.next(Arc::clone(&plan)));
    planned.extend(of_named(&now.plan, &plan));
    planned.extend(of_ipvs(&now.plan, &plan, &changes));
    planned.extend(of_services(&now.plan, &plan, &changes));
    Reply::Plan { changes: planned, messages: changes.len() }
}

fn change(object: String, action: PlannedAction, text: impl Into<String>) -> PlannedChange {
    PlannedChange { object, action, text: text.into() }
}

/// Routers that go come first, as in a reload.
fn of_routers(now: &Keyed, next: &Keyed) -> Vec<PlannedChange> {
    let old: BTreeMap<&Arc<str>, &Router> = now.routers().collect();
    let new: BTreeMap<&Arc<str>, &Router> = next.routers().collect();
    let object = |router: &Router| format!("instance {}", router.name());
    let gone = now.routers().filter(|(key, _)| !new.contains_key(key));
    let mut changes: Vec<PlannedChange> =
        gone.map(|(_, router)| change(object(router), PlannedAction::Remove, "")).collect();
    for (key, router) in next.routers() {
        match old.get(key) {
            None => changes.push(change(object(router), PlannedAction::Add, "")),
            Some(before) if *before == router => {}
            Some(before) => {
                changes.push(change(object(before), PlannedAction::Change, differences(before, router)));
            }
        }
    }
    changes
}

/// What people look for first.
fn differences(old: &Router, new: &Router) -> String {
    let mut words = Vec::new();
    let (a, b) = (&old.election, &new.election);
    if a.name != b.name {
        words.push(format!("name {} -> {}", a.name, b.name));
    }
    if a.priority != b.priority {
        words.push(format!("priority {} -> {}", a.priority.get(), b.priority.get()));
    }
    if a.advert_interval != b.advert_interval {
        let (a, b) = (a.advert_interval.as_secs_f64(), b.advert_interval.as_secs_f64());
        words.push(format!("advert_int {a} -> {b}"));
    }
    let addresses = |router: &Router| -> BTreeSet<String> {
        let all = router.addresses.iter().chain(&router.excluded);
        all.map(|address| format!("{}/{}", address.ip, address.prefix_len)).collect()
    };
    let (a, b) = (addresses(old), addresses(new));
    words.extend(a.difference(&b).map(|address| format!("without {address}")));
    words.extend(b.difference(&a).map(|address| format!("with {address}")));
    if words.is_empty() {
        words.push("other settings".to_owned());
    }
    words.join(", ")
}

/// What else has a name, and the rest as a whole.
fn of_named(old: &Plan, new: &Plan) -> Vec<PlannedChange> {
    let mut changes = Vec::new();
    let mut compare = |kind: &str, old: BTreeMap<&Arc<str>, String>, new: BTreeMap<&Arc<str>, String>| {
        let object = |name: &Arc<str>| format!("{kind} {name}");
        let gone = old.keys().filter(|name| !new.contains_key(*name));
        changes.extend(gone.map(|name| change(object(name), PlannedAction::Remove, "")));
        for (name, settings) in &new {
            match old.get(name) {
                None => changes.push(change(object(name), PlannedAction::Add, "")),
                Some(before) if before == settings => {}
                Some(_) => changes.push(change(object(name), PlannedAction::Change, "")),
            }
        }
    };
    fn named<'p, T: std::fmt::Debug>(
        all: &'p [T],
        name: impl Fn(&'p T) -> &'p Arc<str>,
    ) -> BTreeMap<&'p Arc<str>, String> {
        all.iter().map(|one| (name(one), format!("{one:?}"))).collect()
    }
    compare("sync group", named(&old.groups, |g| &g.election.name), named(&new.groups, |g| &g.election.name));
    compare("script", named(&old.scripts, |s| &s.name), named(&new.scripts, |s| &s.name));
    compare("track_file", named(&old.files, |f| &f.name), named(&new.files, |f| &f.name));
    compare("process", named(&old.processes, |p| &p.name), named(&new.processes, |p| &p.name));
    let whole = [
        ("global settings", old.global != new.global),
        ("static addresses", old.static_addresses != new.static_addresses),
        ("static routes", old.static_routes != new.static_routes),
        ("static rules", old.static_rules != new.static_rules),
        ("track groups", old.track_groups != new.track_groups),
        ("garp groups", old.garp_groups != new.garp_groups),
        ("interface_up_down_delays", old.link_delays != new.link_delays),
        ("settings of all virtual servers", old.balancing != new.balancing),
    ];
    let whole = whole.into_iter().filter(|(_, differs)| *differs);
    changes.extend(whole.map(|(what, _)| change(what.to_owned(), PlannedAction::Change, "")));
    changes
}

/// What the kernel's table would be told.
fn of_ipvs(old: &Plan, new: &Plan, changes: &[Change]) -> Vec<PlannedChange> {
    let weights = weights(old);
    let configured = self::weights(new);
    let virtual_server = |id: &ServiceId| format!("virtual server {id}");
    let real_server = |id: &ServiceId, server: RealServerId| format!("real server {server} of {id}");
    let planned = |made: &Change| match made {
        Change::AddService(service) => {
            let scheduler = service.scheduler.map(|scheduler| scheduler.to_string()).unwrap_or_default();
            change(virtual_server(&service.id), PlannedAction::Add, scheduler)
        }
        Change::EditService(service) => change(virtual_server(&service.id), PlannedAction::Change, ""),
        Change::RemoveService(id) => change(virtual_server(id), PlannedAction::Remove, ""),
        Change::AddServer(id, server) => {
            change(real_server(id, server.id), PlannedAction::Add, format!("weight {}", server.weight))
        }
        Change::EditServer(id, server) if !configured.contains_key(&(*id, server.id)) => {
            change(real_server(id, server.id), PlannedAction::Drain, "its connections may end")
        }
        Change::EditServer(id, server) => {
            let text = match weights.get(&(*id, server.id)) {
                Some(before) if *before != server.weight => format!("weight {before} -> {}", server.weight),
                _ => format!("weight {}", server.weight),
            };
            change(real_server(id, server.id), PlannedAction::Change, text)
        }
        Change::RemoveServer(id, server) => change(real_server(id, *server), PlannedAction::Remove, ""),
    };
    changes.iter().map(planned).collect()
}

/// Configured weights by what the table calls the servers.
fn weights(plan: &Plan) -> BTreeMap<(ServiceId, RealServerId), Weight> {
    let services = plan.services.iter().map(|service| &service.service);
    let members = services.flat_map(|service| service.members.iter().map(move |member| (service, member)));
    let servers = members.flat_map(|(service, member)| {
        service.servers.iter().map(move |server| (member.id, server.behind(&member.id, server.weight)))
    });
    servers.map(|(id, server)| ((id, server.id), server.weight)).collect()
}

/// Virtual servers that differ in what the kernel does not know: checks, scripts, quorum.
fn of_services(old: &Plan, new: &Plan, changes: &[Change]) -> Vec<PlannedChange> {
    let before: BTreeMap<&Arc<str>, &VirtualServer> =
        old.services.iter().map(|service| (&service.service.name, service)).collect();
    let told: BTreeSet<&ServiceId> = changes.iter().map(Change::service).collect();
    let differs = |service: &&VirtualServer| {
        let untold = !service.service.members.iter().any(|member| told.contains(&member.id));
        untold && before.get(&service.service.name).is_some_and(|before| before != service)
    };
    let object = |service: &VirtualServer| format!("virtual server {}", service.service.name);
    let text = "checks, scripts or quorum";
    new.services.iter().filter(differs).map(|s| change(object(s), PlannedAction::Change, text)).collect()
}
