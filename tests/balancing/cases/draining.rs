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
