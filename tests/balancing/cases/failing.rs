//! Servers that die, flap, fall silent or answer wrongly leave; what is left serves; they come back.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ::buoy::lab::Program;

use crate::client::{Answer, Load, failures, tally_of};
use crate::director::{Director, real, serving, tcp, udp, virtual_server};
use crate::server::PORT;
use crate::site::{SOON, Site, Way, ip, tc, wait_until};
use crate::world::{BODY, DIGEST};

with_both_programs!(
    a_server_that_dies_leaves_and_comes_back,
    a_server_that_flaps_harms_nobody_else,
    a_server_that_drops_syns_leaves,
    a_server_with_wrong_content_leaves,
    a_sender_from_one_port_moves_to_a_living_server,
    a_sender_from_one_port_moves_from_a_server_that_falls_silent,
);

/// One attempt a second, a second one for certainty.
const CADENCE: &str = "delay_loop 1\n    warmup 0\n    retry 1\n    delay_before_retry 1";

/// From a death to its being known: a check may just have ended, and is then repeated; each may take a second.
const KNOWN: Duration = Duration::from_secs(1 + 1 + 2);

/// Three servers in turns, checked by connecting.
fn checked(program: Program, check: &str) -> (Site, Director, SocketAddr) {
    let site = Site::new();
    let mut director = Director::new(&site, program);
    let to = SocketAddr::new(Way::Masquerade.vip(), 80);
    let words = format!("protocol TCP\n    lb_algo rr\n    lvs_method NAT\n    {CADENCE}");
    let text = virtual_server(&format!("{} 80", to.ip()), &words, &site.servers, |_| check.to_owned());
    director.start(&text);
    let servers: Vec<_> = site.servers.iter().collect();
    director.wait_for_servers(tcp(to), &servers, SOON);
    (site, director, to)
}

const CONNECT: &str = "TCP_CHECK {\n connect_timeout 1\n }";

/// Everything asked since then was answered.
#[track_caller]
fn assert_all_answered_since(answers: &[Answer], since: Instant, director: &Director) {
    let later: Vec<Answer> = answers.iter().filter(|answer| answer.asked >= since).cloned().collect();
    let failed = failures(&later);
    assert!(
        failed.is_empty(),
        "{} of {} failed: {failed:?}: {}",
        failed.len(),
        later.len(),
        director.story()
    );
}

fn a_server_that_dies_leaves_and_comes_back(program: Program) {
    let (mut site, mut director, to) = checked(program, CONNECT);
    let load = site.client.load(to);
    load.wait_for_answers(30);
    site.server("a").kill();
    let left = [&site.servers[1], &site.servers[2]];
    let took = director.wait_for_servers(tcp(to), &left, SOON);
    let known = Instant::now();
    load.wait_for_answers(60);
    site.server("a").start();
    let all: Vec<_> = site.servers.iter().collect();
    let returned = director.wait_for_servers(tcp(to), &all, SOON);
    let back = Instant::now();
    load.wait_for_answers(60);
    let answers = load.end();
    assert_all_answered_since(&answers, known, &director);
    let since: Vec<Answer> = answers.iter().filter(|answer| answer.asked >= back).cloned().collect();
    assert!(tally_of(&since).contains_key("a"), "it is asked again: {:?}", tally_of(&since));
    assert!(took < KNOWN + Duration::from_secs(2), "known after {took:?}");
    eprintln!(
        "out after {took:?}, back after {returned:?}; {} of {} questions met the dead server",
        failures(&answers).len(),
        answers.len(),
    );
}

fn a_server_that_flaps_harms_nobody_else(program: Program) {
    let (mut site, mut director, to) = checked(program, CONNECT);
    let load = site.client.load(to);
    for _ in 0..6 {
        site.server("a").kill();
        load.wait_for_answers(20);
        site.server("a").start();
        load.wait_for_answers(20);
    }
    let all: Vec<_> = site.servers.iter().collect();
    director.wait_for_servers(tcp(to), &all, SOON);
    let settled = Instant::now();
    load.wait_for_answers(60);
    let answers = load.end();
    assert_all_answered_since(&answers, settled, &director);
    let failed = failures(&answers).len();
    let tally = tally_of(&answers);
    // It gets a third at most.
    assert!(failed <= answers.len() / 3 + 10, "{failed} of {}, {tally:?}", answers.len());
    for steady in ["b", "c"] {
        assert!(tally.get(steady).is_some_and(|n| *n >= answers.len() / 4), "{tally:?}");
    }
    eprintln!("{failed} of {} questions met a server that was down 6 times; {tally:?}", answers.len());
}

fn a_server_that_drops_syns_leaves(program: Program) {
    let (mut site, mut director, to) = checked(program, CONNECT);
    let load = site.client.load(to);
    load.wait_for_answers(30);
    let syn = format!("protocol ip flower ip_proto tcp dst_port {PORT} tcp_flags 0x2/0x12 action drop");
    tc(&site.server("a").host, &format!("qdisc add dev eth0 clsact\nfilter add dev eth0 ingress {syn}\n"));
    let left = [&site.servers[1], &site.servers[2]];
    let took = director.wait_for_servers(tcp(to), &left, SOON);
    let known = Instant::now();
    load.wait_for_answers(60);
    tc(&site.server("a").host, "qdisc del dev eth0 clsact\n");
    let all: Vec<_> = site.servers.iter().collect();
    let returned = director.wait_for_servers(tcp(to), &all, SOON);
    let answers = load.end();
    assert_all_answered_since(&answers, known, &director);
    assert!(took < KNOWN + Duration::from_secs(2), "known after {took:?}");
    eprintln!(
        "silence known after {took:?}, back after {returned:?}; {} of {} questions were lost in it",
        failures(&answers).len(),
        answers.len(),
    );
}

fn a_server_with_wrong_content_leaves(program: Program) {
    let check = format!(
        "HTTP_GET {{\n url {{\n path /\n status_code 200\n digest {DIGEST}\n }}\n connect_timeout 1\n }}"
    );
    let (mut site, mut director, to) = checked(program, &check);
    for (status, body, reason) in [(503, BODY, "503"), (200, "out of order", "digest")] {
        site.server("b").serve(status, body);
        let left = [&site.servers[0], &site.servers[2]];
        let took = director.wait_for_servers(tcp(to), &left, SOON);
        eprintln!("status {status} with {body:?} known after {took:?}");
        if director.is_buoy() {
            director.wait_for_log(reason);
        }
        site.server("b").serve(200, BODY);
        let all: Vec<_> = site.servers.iter().collect();
        director.wait_for_servers(tcp(to), &all, SOON);
    }
}

fn a_sender_from_one_port_moves_to_a_living_server(program: Program) {
    let (after, ..) = sender_moves(program, CADENCE, |site, name| site.server(name).kill());
    assert!(after < Duration::from_secs(1), "moved {after:?} after the death was known");
}

/// One failure says nothing of whose silence it is; with the next one it is told apart from that of a cut director, for the
/// others answer.
fn a_sender_from_one_port_moves_from_a_server_that_falls_silent(program: Program) {
    let cadence = CADENCE.replace("retry 1", "retry 0");
    let (after, director, _site) = sender_moves(program, &cadence, |site, name| {
        ip(site.back.host(), &format!("link set {name} nomaster\n"));
    });
    assert!(after < KNOWN + Duration::from_secs(2), "moved {after:?} after the death was known");
    if director.is_buoy() {
        director.wait_for_log("or this host's network is cut");
        director.wait_for_log("no server is in doubt any more");
    }
}

/// How long after the death of its server is known a sender is answered by another one.
fn sender_moves(
    program: Program,
    cadence: &str,
    dies: impl FnOnce(&mut Site, &str),
) -> (Duration, Director, Site) {
    let mut site = Site::new();
    let mut director = Director::new(&site, program);
    if !director.is_buoy() {
        // Buoy sets it by itself.
        director.table();
        director.host.sysctl("net/ipv4/vs/expire_nodest_conn", "1").expect("a setting");
    }
    let to = SocketAddr::new(Way::Masquerade.vip(), 53);
    let words = format!("protocol UDP\n    lb_algo rr\n    lvs_method NAT\n    {cadence}");
    director
        .start(&virtual_server(&format!("{} 53", to.ip()), &words, &site.servers, |_| CONNECT.to_owned()));
    let all: Vec<_> = site.servers.iter().collect();
    director.wait_for_servers(udp(to), &all, SOON);
    let load = site.client.send_from_one_port(to);
    let answered_by =
        |load: &Load| load.answers().iter().rev().find_map(|answer| answer.outcome.clone().ok());
    wait_until(SOON, || answered_by(&load).is_some(), || "a first answer".to_owned());
    let first = answered_by(&load).expect("it was there");
    dies(&mut site, &first);
    let gone = real(site.server(&first));
    director
        .wait_for_table(SOON, "the dead server leaves", |table| !serving(table, &udp(to)).contains(&gone));
    let known = Instant::now();
    let moved = || answered_by(&load).is_some_and(|name| name != first);
    wait_until(SOON, moved, || format!("another one than {first} answers: {}", director.story()));
    let answers = load.end();
    let next = answers.iter().find(|answer| matches!(&answer.outcome, Ok(name) if *name != first));
    let next = next.expect("it was there");
    let after = next.answered.saturating_duration_since(known);
    eprintln!("from {first} to {:?} {after:?} after the death was known", next.outcome);
    (after, director, site)
}
