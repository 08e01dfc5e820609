//! What operators say is done, and what a plan tells is what comes.

use std::fs;
use std::net::SocketAddr;

use ::buoy::api::{Administered, PlannedAction, PlannedChange, Reply};
use buoy_ipvs::{Change, RealServerId, Weight};

use crate::client::{Held, Tally};
use crate::director::{Director, buoy, real, tcp, virtual_server};
use crate::server::{PORT, Server};
use crate::site::{SOON, Site, Way, back_address, wait_until};

with_buoy_alone!(
    servers_are_out_in_and_weighted_as_an_operator_says,
    a_plan_tells_what_the_reload_then_does_and_does_nothing_itself,
);

/// Orders are given both ways; the answer is the same, for people and as one document.
const FORMS: [&[&str]; 2] = [&[], &["--json"]];

fn to() -> SocketAddr {
    SocketAddr::new(Way::Masquerade.vip(), 80)
}

/// Carries out an order; what Buoy says it has done.
#[track_caller]
fn order(director: &Director, words: &[&str], form: &[&str]) -> String {
    let output = director.buoy(&[words, form].concat());
    assert!(output.status.success(), "{words:?}: {output:?}: {}", director.story());
    if form.is_empty() {
        return String::from_utf8(output.stdout).expect("text").trim_end().to_owned();
    }
    match serde_json::from_slice(&output.stdout).expect("one document") {
        Reply::Done { message } => message,
        other => panic!("{words:?}: {other:?}"),
    }
}

/// Gives an order that cannot be carried out; why not.
#[track_caller]
fn refused(director: &Director, words: &[&str], form: &[&str]) -> String {
    let output = director.buoy(&[words, form].concat());
    assert_eq!(output.status.code(), Some(1), "{words:?}: {output:?}");
    if form.is_empty() {
        return String::from_utf8(output.stderr).expect("text").trim_end().to_owned();
    }
    match serde_json::from_slice(&output.stdout).expect("one document") {
        Reply::Refused { message } => message,
        other => panic!("{words:?}: {other:?}"),
    }
}

fn tally(counts: [(&str, usize); 3]) -> Tally {
    counts.into_iter().filter(|(_, n)| *n > 0).map(|(name, n)| (name.to_owned(), n)).collect()
}

/// Three servers in turns by weight, the last with this one.
fn shares(servers: &[Server], last: u32) -> String {
    let words = "protocol TCP\n    lb_algo wrr\n    lvs_method NAT\n    delay_loop 1\n    warmup 0";
    virtual_server(&format!("{} {}", to().ip(), to().port()), words, servers, |number| {
        let weight = if number == 2 { last } else { 1 };
        format!("weight {weight}\n        TCP_CHECK {{\n        connect_timeout 3\n        }}")
    })
}

/// A connection to this server.
fn hold(site: &Site, name: &str) -> Held {
    let held = (0..6).map(|_| site.client.hold(to()).expect("a connection"));
    held.into_iter().find(|held| held.name == name).unwrap_or_else(|| panic!("{name} gets none"))
}

fn servers_are_out_in_and_weighted_as_an_operator_says() {
    let site = Site::new();
    let mut director = Director::new(&site, buoy());
    director.start(&shares(&site.servers, 1));
    let all: Vec<_> = site.servers.iter().collect();
    director.wait_for_servers(tcp(to()), &all, SOON);
    let (a, client) = (real(&site.servers[0]), &site.client);
    let (service, server) = (to().to_string(), a.to_string());
    let about = format!("real server {a} of TCP {}", to());
    let [words, document] = FORMS;
    let obey = |director: &Director, verb: &str, more: &[&str], form| {
        order(director, &[&[verb, &service, &server], more].concat(), form)
    };
    let said = |director: &Director| director.status().services[0].servers[0].administration;

    let mut lost = hold(&site, "a");
    assert_eq!(obey(&director, "disable", &[], document), format!("{about} is disabled"));
    let out = |table: &buoy_ipvs::Table| table.server(&tcp(to()), &a).is_none();
    director.wait_for_table(SOON, "the disabled server leaves", out);
    assert_eq!(client.tally(6, to()), tally([("a", 0), ("b", 3), ("c", 3)]), "{}", director.story());
    assert!(lost.ask("still?").is_err(), "its connections are lost");
    assert_eq!(said(&director), Administered::Disabled);

    assert_eq!(obey(&director, "enable", &[], words), format!("{about} is enabled: its checks decide"));
    director.wait_for_servers(tcp(to()), &all, SOON);
    assert_eq!(client.tally(6, to()), tally([("a", 2), ("b", 2), ("c", 2)]), "{}", director.story());

    let mut held = hold(&site, "a");
    let weighs = |weight: u32| {
        move |table: &buoy_ipvs::Table| {
            let server = table.server(&tcp(to()), &a);
            server.is_some_and(|server| server.weight == Weight::clamped(weight.into()))
        }
    };
    let drained = format!("{about} is drained: no new connections, those that it has may end");
    assert_eq!(obey(&director, "drain", &[], document), drained);
    director.wait_for_table(SOON, "no new connections", weighs(0));
    assert_eq!(client.tally(6, to()), tally([("a", 0), ("b", 3), ("c", 3)]), "{}", director.story());
    held.ask("still?").expect("its connections go on");
    assert_eq!(obey(&director, "weight", &["3"], words), format!("{about} is weighted 3"));
    director.wait_for_table(SOON, "the new weight", weighs(3));
    assert_eq!(client.tally(10, to()), tally([("a", 6), ("b", 2), ("c", 2)]), "{}", director.story());
    assert_eq!(obey(&director, "weight", &["0"], document), format!("{about} is weighted 0"));
    director.wait_for_table(SOON, "weight 0", weighs(0));
    assert_eq!(client.tally(6, to()), tally([("a", 0), ("b", 3), ("c", 3)]), "{}", director.story());
    held.ask("still?").expect("its connections go on");

    // A reload changes others and leaves it so.
    director.reload(&shares(&site.servers, 2));
    let c = real(&site.servers[2]);
    director.wait_for_table(SOON, "the reload", |table| {
        table.server(&tcp(to()), &c).is_some_and(|server| server.weight == Weight::clamped(2))
            && weighs(0)(table)
    });
    assert_eq!(said(&director), Administered::Weight);
    director.reload(&shares(&site.servers, 1));
    assert_eq!(obey(&director, "enable", &[], document), format!("{about} is enabled: its checks decide"));
    director.wait_for_table(SOON, "all weights as configured", |table| {
        table.entries().flat_map(|(_, entry)| entry.servers.values()).all(|s| s.weight == Weight::ONE)
    });
    assert_eq!(client.tally(6, to()), tally([("a", 2), ("b", 2), ("c", 2)]), "{}", director.story());

    assert_eq!(obey(&director, "disable", &[], words), format!("{about} is disabled"));
    director.wait_for_table(SOON, "the disabled server leaves again", out);

    for form in FORMS {
        let unknown = refused(&director, &["disable", &service, "10.1.0.99"], form);
        assert!(unknown.contains("has no real server `10.1.0.99`"), "{unknown}");
        let unknown = refused(&director, &["drain", "192.0.2.1:80", &server], form);
        assert!(unknown.contains("no virtual server is `192.0.2.1:80`"), "{unknown}");
    }
}

/// What is there, and what is to come: another weight, a server less and one more, another scheduler, a service less and
/// one more.
fn before_and_after(site: &Site, new: RealServerId) -> [String; 2] {
    let vip = to().ip();
    let service = |port: u16, protocol: &str, scheduler: &str, servers: &[&Server], weight: u32| {
        let words = format!("protocol {protocol}\n    lb_algo {scheduler}\n    lvs_method NAT");
        let weight = |number| format!("weight {}", if number == 0 { weight } else { 1 });
        virtual_server(&format!("{vip} {port}"), &words, servers.iter().copied(), weight)
    };
    let [a, b, c] = &site.servers[..] else { panic!("three servers") };
    let before = [
        service(80, "TCP", "rr", &[a, b, c], 1),
        service(81, "TCP", "rr", &[a], 1),
        service(53, "UDP", "rr", &[a, b], 1),
    ];
    let more = format!("    real_server {} {} {{\n        weight 2\n    }}\n}}\n", new.address, new.port);
    let first = service(80, "TCP", "rr", &[a, c], 3);
    let after = [
        first.strip_suffix("}\n").expect("the end of a block").to_owned() + &more,
        service(81, "TCP", "wlc", &[a], 1),
        service(82, "TCP", "sh", &[b], 1),
    ];
    [before.concat(), after.concat()]
}

/// A step as a plan would tell it, but for the words behind it. A service goes when its connections have ended: what is
/// told then is that its servers drain.
fn step(change: &Change, stays: &[RealServerId]) -> (String, PlannedAction) {
    let server = |id: &RealServerId| format!("real server {id} of {}", change.service());
    let service = format!("virtual server {}", change.service());
    match change {
        Change::AddService(_) => (service, PlannedAction::Add),
        Change::EditService(_) => (service, PlannedAction::Change),
        Change::RemoveService(_) => (service, PlannedAction::Remove),
        Change::AddServer(_, new) => (server(&new.id), PlannedAction::Add),
        Change::EditServer(id, held) if *id == tcp(to()) && stays.contains(&held.id) => {
            (server(&held.id), PlannedAction::Change)
        }
        Change::EditServer(_, held) => (server(&held.id), PlannedAction::Drain),
        Change::RemoveServer(_, id) => (server(id), PlannedAction::Remove),
    }
}

fn a_plan_tells_what_the_reload_then_does_and_does_nothing_itself() {
    let site = Site::new();
    let mut director = Director::new(&site, buoy());
    let new = RealServerId { address: back_address(99), port: PORT };
    let [before, after] = before_and_after(&site, new);
    director.start(&before);
    director.wait_for_table(SOON, "all services", |table| {
        table.entries().map(|(_, entry)| entry.servers.len()).sum::<usize>() == 6
    });
    // Connections to everything that is to go.
    let mut held = hold(&site, "b");
    site.client.tally_datagrams(4, SocketAddr::new(to().ip(), 53));
    let was = director.table();

    let (next, broken) = (director.path("next.conf"), director.path("broken.conf"));
    fs::write(&next, &after).expect("a file");
    let plan = |director: &Director, words: &[&str]| {
        let output = director.buoy(&[&["plan", next.to_str().expect("a path")], words].concat());
        assert!(output.status.success(), "{output:?}");
        output.stdout
    };
    let vip = to().ip();
    let page = format!(
        "\
~ real server 10.1.0.11:{PORT} of TCP {vip}:80: weight 1 -> 3
- real server 10.1.0.12:{PORT} of TCP {vip}:80: drains, its connections may end
+ real server 10.1.0.99:{PORT} of TCP {vip}:80: weight 2
~ virtual server TCP {vip}:81
+ virtual server TCP {vip}:82: sh
+ real server 10.1.0.12:{PORT} of TCP {vip}:82: weight 1
- real server 10.1.0.11:{PORT} of UDP {vip}:53: drains, its connections may end
- real server 10.1.0.12:{PORT} of UDP {vip}:53: drains, its connections may end
8 changes, 8 messages to IPVS
"
    );
    assert_eq!(String::from_utf8_lossy(&plan(&director, &[])), page);
    let Reply::Plan { changes, messages } =
        serde_json::from_slice(&plan(&director, &["--json"])).expect("one document")
    else {
        panic!("no plan")
    };
    fs::write(&broken, "virtual_server {\n").expect("a file");
    for form in FORMS {
        let why = refused(&director, &["plan", broken.to_str().expect("a path")], form);
        assert!(why.contains("the file ends inside the block `virtual_server`"), "{why}");
    }
    // The thread that drives IPVS has answered since, and would have done it by now.
    assert_eq!(director.status().daemon.last_reload, None);
    assert_eq!(director.table(), was, "a plan changes nothing");

    director.reload(&after);
    director.wait_for_table(SOON, "the reload", |table| was.changes_to(table).len() == messages);
    let done = was.changes_to(&director.table());
    let stays = [real(&site.servers[0]), real(&site.servers[2])];
    let done: Vec<_> = done.iter().map(|change| step(change, &stays)).collect();
    let planned = changes.into_iter().map(|PlannedChange { object, action, .. }| (object, action));
    assert_eq!(planned.collect::<Vec<_>>(), done, "{}", director.story());
    held.ask("still?").expect("it may end by itself");
    wait_until(SOON, || director.status().daemon.last_reload.is_some(), || director.story());
    assert_eq!(String::from_utf8_lossy(&plan(&director, &[])), "nothing changes\n");
}
