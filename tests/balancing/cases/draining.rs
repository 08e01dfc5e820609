//! Draining is not dying: old connections go on, new ones go elsewhere.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::client::Held;
use crate::director::{Director, buoy, real, serving, tcp, virtual_server};
use crate::server::Server;
use crate::site::{SOON, Site, Way};

with_buoy_alone!(
    two_hundred_connections_outlive_a_drain_until_its_deadline,
    a_server_that_a_reload_removes_keeps_its_connections_until_they_end,
    every_drain_has_its_own_deadline,
);

const CONNECTIONS: usize = 200;

fn to() -> SocketAddr {
    SocketAddr::new(Way::Masquerade.vip(), 80)
}

fn configuration<'s>(servers: impl IntoIterator<Item = &'s Server>) -> String {
    let words = "protocol TCP\n    lb_algo rr\n    lvs_method NAT\n    delay_loop 1\n    warmup 0";
    let check = |_| "TCP_CHECK {\n        connect_timeout 3\n        }".to_owned();
    virtual_server(&format!("{} 80", to().ip()), words, servers, check)
}

/// Three servers, and connections to them.
fn with_connections() -> (Site, Director, Vec<Held>) {
    let site = Site::new();
    let mut director = Director::new(&site, buoy());
    director.start(&configuration(&site.servers));
    let all: Vec<_> = site.servers.iter().collect();
    director.wait_for_servers(tcp(to()), &all, SOON);
    let held = (0..CONNECTIONS).map(|_| site.client.hold(to()).expect("a connection")).collect();
    (site, director, held)
}

/// Asks once over each; those that failed, with their server.
fn ask_all(held: &mut [Held]) -> Vec<String> {
    let ask = |held: &mut Held| held.ask("still?").err().map(|error| format!("{}: {error}", held.name));
    held.iter_mut().filter_map(ask).collect()
}

fn two_hundred_connections_outlive_a_drain_until_its_deadline() {
    const DEADLINE: Duration = Duration::from_secs(10);
    let (site, mut director, mut held) = with_connections();
    let (drained, left) = (real(&site.servers[0]), [&site.servers[1], &site.servers[2]]);
    let begun = Instant::now();
    let words = ["drain", &format!("{}", to()), &format!("{drained}"), "--deadline", "10s"];
    let output = director.buoy(&words);
    assert!(output.status.success(), "{output:?}");
    director.wait_for_servers(tcp(to()), &left, SOON);
    let (mut rounds, mut asked) = (0, 0);
    while begun.elapsed() < DEADLINE - Duration::from_secs(1) {
        let failed = ask_all(&mut held);
        assert!(failed.is_empty(), "{:?} into the drain: {failed:?}: {}", begun.elapsed(), director.story());
        let tally = site.client.tally(6, to());
        assert_eq!(tally.keys().collect::<Vec<_>>(), ["b", "c"], "new connections go elsewhere");
        (rounds, asked) = (rounds + 1, asked + held.len());
    }
    eprintln!("{asked} questions in {rounds} rounds over {CONNECTIONS} connections: none failed");
    director
        .wait_for_table(SOON, "the end of the drain", |table| table.server(&tcp(to()), &drained).is_none());
    let took = begun.elapsed();
    assert!(took >= DEADLINE && took < DEADLINE + Duration::from_secs(5), "ended after {took:?}");
    let failed = ask_all(&mut held);
    assert!(failed.iter().all(|failure| failure.starts_with("a: ")), "{failed:?}");
    eprintln!("the deadline ended the drain after {took:?} and {} connections", failed.len());
}

fn a_server_that_a_reload_removes_keeps_its_connections_until_they_end() {
    let (site, mut director, mut held) = with_connections();
    let removed = real(&site.servers[0]);
    director.reload(&configuration(&site.servers[1..]));
    let drains = |table: &buoy_ipvs::Table| !serving(table, &tcp(to())).contains(&removed);
    director.wait_for_table(SOON, "no new connections", drains);
    for _ in 0..3 {
        let failed = ask_all(&mut held);
        assert!(failed.is_empty(), "{failed:?}: {}", director.story());
        let tally = site.client.tally(6, to());
        assert_eq!(tally.keys().collect::<Vec<_>>(), ["b", "c"], "new connections go elsewhere");
    }
    assert!(director.table().server(&tcp(to()), &removed).is_some(), "{}", director.story());
    for held in held.extract_if(.., |held| held.name == "a") {
        // Otherwise the kernel remembers it for two minutes.
        held.reset();
    }
    let took =
        director.wait_for_table(SOON * 6, "it leaves", |table| table.server(&tcp(to()), &removed).is_none());
    eprintln!("gone {took:?} after its last connection was closed");
    assert_eq!(ask_all(&mut held), Vec::<String>::new());
}

/// Connections to what is drained, until when they may last, and what goes with them.
struct Drained {
    to: SocketAddr,
    held: Vec<Held>,
    begun: Instant,
    deadline: Duration,
    /// The server; without one the whole service.
    server: Option<&'static str>,
}

impl Drained {
    /// They all go on until shortly before the deadline, and are gone after it, others not.
    #[track_caller]
    fn assert_ended(&mut self, director: &mut Director, site: &Site) {
        while self.begun.elapsed() + Duration::from_millis(700) < self.deadline {
            let failed = ask_all(&mut self.held);
            let after = self.begun.elapsed();
            assert!(
                failed.is_empty(),
                "{} {after:?} into the drain: {failed:?}: {}",
                self.to,
                director.story()
            );
        }
        let id = tcp(self.to);
        let server =
            self.server.map(|name| site.servers.iter().find(|s| s.name == name).expect("it is there"));
        director.wait_for_table(SOON, "the end of the drain", |table| match server {
            Some(server) => table.server(&id, &real(server)).is_none(),
            None => table.entry(&id).is_none(),
        });
        let took = self.begun.elapsed();
        assert!(
            took >= self.deadline && took < self.deadline + Duration::from_secs(4),
            "{}: {took:?}",
            self.to
        );
        let failed = ask_all(&mut self.held);
        let lost = self.held.iter().filter(|held| self.server.is_none_or(|name| held.name == name)).count();
        assert!(lost > 0 && failed.len() == lost, "{}: {failed:?}", self.to);
        eprintln!("{}: {lost} connections were given up after {took:?}", self.to);
    }
}

fn every_drain_has_its_own_deadline() {
    let site = Site::new();
    let mut director = Director::new(&site, buoy());
    let service = |port: u16, more: &str, servers: &[&Server]| {
        let words = format!("protocol TCP\n    lb_algo rr\n    lvs_method NAT\n    {more}");
        virtual_server(&format!("{} {port}", to().ip()), &words, servers.iter().copied(), |_| {
            "weight 1".to_owned()
        })
    };
    let [a, b, c] = &site.servers[..] else { panic!("three servers") };
    let common = "global_defs {\n    drain_deadline 5\n}\n".to_owned() + &service(80, "", &[a, b, c]);
    let before = service(81, "drain_deadline 3", &[a, b, c]) + &service(82, "", &[a, b, c]);
    director.start(&(common.clone() + &before));
    director.wait_for_table(SOON, "all servers", |table| {
        table.entries().map(|(_, entry)| entry.servers.len()).sum::<usize>() == 9
    });
    let drained = |port, seconds, server| {
        let to = SocketAddr::new(to().ip(), port);
        let held = (0..6).map(|_| site.client.hold(to).expect("a connection")).collect();
        Drained { to, held, begun: Instant::now(), deadline: Duration::from_secs(seconds), server }
    };
    let mut all = [drained(81, 3, Some("b")), drained(80, 4, Some("a")), drained(82, 5, None)];

    all.iter_mut().for_each(|drained| drained.begun = Instant::now());
    let words = ["drain", &to().to_string(), &real(a).to_string(), "--deadline", "4s", "--json"];
    let output = director.buoy(&words);
    assert!(output.status.success(), "{output:?}");
    // One service loses a server, another one goes as a whole.
    director.reload(&(common + &service(81, "drain_deadline 3", &[a, c])));
    director.wait_for_table(SOON, "no new connections to what is drained", |table| {
        all.iter().map(|drained| serving(table, &tcp(drained.to)).len()).eq([2, 2, 0])
    });
    for (drained, left) in all.iter().zip([["a", "c"], ["b", "c"]]) {
        let tally = site.client.tally(4, drained.to);
        assert_eq!(tally.keys().collect::<Vec<_>>(), left, "new connections go elsewhere");
    }
    let refused = site.client.ask(None, all[2].to).expect_err("nobody takes new connections");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    for drained in &mut all {
        drained.assert_ended(&mut director, &site);
    }
    director.wait_for_log("out of time to drain with 2 connections left");
}
