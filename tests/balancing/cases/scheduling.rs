//! Schedulers and what stands above them: each chooses as its name says.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use ::buoy::lab::Program;
use buoy_ipvs::Table;

use crate::client::{Client, Held, Tally};
use crate::director::{Director, virtual_server};
use crate::server::PORT;
use crate::site::{SOON, Site, Way, tc};

with_both_programs!(
    every_scheduler_chooses_as_its_name_says,
    persistence_marks_and_single_packets_choose_as_told,
);

/// What the kernel of the tests has; `twos` is absent from it.
const SCHEDULERS: [&str; 13] =
    ["rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh"];

/// Every scheduler has a port of its own, for TCP and for UDP; the servers have the weights 1, 2 and 3.
fn to(scheduler: &str) -> SocketAddr {
    let number = SCHEDULERS.iter().position(|known| *known == scheduler).expect("a known scheduler");
    SocketAddr::new(Way::Masquerade.vip(), 8000 + u16::try_from(number).expect("a few schedulers"))
}

fn tally(counts: &[(&str, usize)]) -> Tally {
    counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

fn complete(services: usize) -> impl Fn(&Table) -> bool {
    move |table| {
        table.entries().len() == services && table.entries().all(|(_, entry)| entry.servers.len() == 3)
    }
}

fn every_scheduler_chooses_as_its_name_says(program: Program) {
    let site = Site::new();
    let mut director = Director::new(&site, program);
    let mut text = String::new();
    for scheduler in SCHEDULERS {
        for protocol in ["TCP", "UDP"] {
            let to = to(scheduler);
            let words = format!("protocol {protocol}\n    lb_algo {scheduler}\n    lvs_method NAT");
            let weight = |number| format!("weight {}", number + 1);
            text += &virtual_server(&format!("{} {}", to.ip(), to.port()), &words, &site.servers, weight);
        }
    }
    director.start(&text);
    director.wait_for_table(SOON, "all schedulers", complete(2 * SCHEDULERS.len()));
    let client = &site.client;

    // In turns, whatever became of the connections.
    let (even, by_weight) = (tally(&[("a", 4), ("b", 4), ("c", 4)]), tally(&[("a", 2), ("b", 4), ("c", 6)]));
    for (scheduler, expected) in [("rr", &even), ("wrr", &by_weight)] {
        assert_eq!(client.tally(12, to(scheduler)), *expected, "{scheduler}");
        assert_eq!(client.tally_datagrams(12, to(scheduler)), *expected, "{scheduler} by UDP");
    }

    // By the connections that are open. A datagram counts as an idle connection.
    for (scheduler, expected) in [
        ("lc", &even),
        ("wlc", &by_weight),
        ("sed", &by_weight),
        ("nq", &by_weight),
        // It leaves a server for good when that has more connections than its weight, and another less than half.
        ("lblc", &tally(&[("a", 5), ("b", 3), ("c", 4)])),
        // It comes back to those that it knows, by what they bear.
        ("lblcr", &by_weight),
    ] {
        let (held, names) = hold(client, 12, scheduler);
        assert_eq!(count(&names), *expected, "{scheduler}: {names:?}");
        drop(held);
    }
    assert_eq!(client.tally_datagrams(12, to("lc")), even);
    assert_eq!(client.tally_datagrams(12, to("wlc")), by_weight);

    // To the heaviest that lives; to the next when it has more than its weight, and to nobody after the last.
    assert_eq!(client.tally(5, to("fo")), tally(&[("c", 5)]));
    assert_eq!(client.tally_datagrams(5, to("fo")), tally(&[("c", 5)]));
    let (held, names) = hold(client, 9, "ovf");
    assert_eq!(names.concat(), "ccccbbbaa");
    let refused = client.ask(None, to("ovf")).expect_err("every server is full");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    drop(held);

    // By address: of the client, or of the service.
    for scheduler in ["sh", "mh", "dh"] {
        let mut chosen = BTreeSet::new();
        for number in 0..10 {
            let from = Some(Client::address(number));
            let ask = || client.ask(from, to(scheduler)).expect("an answer");
            let first = ask();
            assert!((0..3).all(|_| ask() == first), "{scheduler} stays with {first}");
            let by_datagram = client.ask_by_datagram(from, to(scheduler)).expect("an answer");
            assert_eq!(by_datagram, first, "{scheduler} by UDP");
            chosen.insert(first);
        }
        assert_eq!(chosen.len() > 1, scheduler != "dh", "{scheduler} chose {chosen:?}");
    }

    for scheduler in ["sed", "nq", "ovf", "lblc", "lblcr"] {
        // Nothing that they count is counted for UDP: one server gets it all.
        assert_eq!(client.tally_datagrams(6, to(scheduler)), tally(&[("c", 6)]), "{scheduler} by UDP");
    }
    eprintln!("{} schedulers chose as expected, by TCP and by UDP", SCHEDULERS.len());
}

/// Opens connections and keeps them; who answered, in order.
fn hold(client: &Client, count: usize, scheduler: &str) -> (Vec<Held>, Vec<String>) {
    let held: Vec<Held> = (0..count)
        .map(|number| client.hold(to(scheduler)).unwrap_or_else(|e| panic!("{scheduler}, {number}: {e}")))
        .collect();
    let names = held.iter().map(|held| held.name.clone()).collect();
    (held, names)
}

fn count(names: &[String]) -> Tally {
    let mut tally = Tally::new();
    for name in names {
        *tally.entry(name.clone()).or_default() += 1;
    }
    tally
}

fn persistence_marks_and_single_packets_choose_as_told(program: Program) {
    let site = Site::new();
    let mut director = Director::new(&site, program);
    let (nat, direct) = (Way::Masquerade.vip(), Way::Direct.vip());
    let one = |_| "weight 1".to_owned();
    let text = [
        (format!("{nat} 8001"), "protocol TCP\n    lvs_method NAT\n    persistence_timeout 300"),
        (
            format!("{nat} 8002"),
            "protocol TCP\n    lvs_method NAT\n    persistence_timeout 300\n    persistence_granularity 255.255.255.0",
        ),
        ("fwmark 7".to_owned(), "lvs_method NAT\n    persistence_timeout 300"),
        (format!("{direct} {PORT}"), "protocol UDP\n    lvs_method DR\n    ops"),
    ]
    .map(|(head, words)| virtual_server(&head, &format!("lb_algo rr\n    {words}"), &site.servers, one));
    let mark = |words: &str| {
        format!(
            "filter add dev eth0 ingress protocol ip flower {words} dst_port {PORT} action skbedit mark 7\n"
        )
    };
    let other = Way::Gue.vip();
    let filters = [
        format!("ip_proto tcp dst_ip {nat}"),
        format!("ip_proto udp dst_ip {nat}"),
        format!("ip_proto tcp dst_ip {other}"),
    ];
    tc(&director.host, &format!("qdisc add dev eth0 clsact\n{}", filters.map(|w| mark(&w)).concat()));
    director.start(&text.concat());
    director.wait_for_table(SOON, "all services", complete(4));
    let client = &site.client;
    let ask_at = |number: u8, to: SocketAddr| {
        let answer = client.ask(Some(Client::address(number)), to);
        answer.unwrap_or_else(|error| panic!("{to}: {error}: {}", director.story()))
    };
    let ask = |number: u8, port: u16| ask_at(number, SocketAddr::new(nat, port));

    // A client stays with its server; the next client gets the next one.
    let names: Vec<String> = (0..3)
        .map(|number| {
            let first = ask(number, 8001);
            assert!((0..4).all(|_| ask(number, 8001) == first), "a client stays with {first}");
            first
        })
        .collect();
    assert_eq!(count(&names), tally(&[("a", 1), ("b", 1), ("c", 1)]));
    // All clients of a network together.
    let names: Vec<String> = (0..6).map(|number| ask(number, 8002)).collect();
    assert_eq!(count(&names).len(), 1, "{names:?}");
    // A mark makes one service of several addresses and protocols.
    for number in 0..3 {
        let first = ask(number, PORT);
        assert_eq!(ask_at(number, SocketAddr::new(other, PORT)), first, "the other address of the mark");
        let udp = client.ask_by_datagram(Some(Client::address(number)), SocketAddr::new(nat, PORT));
        assert_eq!(udp.expect("an answer"), first, "the other protocol of the mark");
    }
    // Every datagram by itself, though all come from one port.
    let to = SocketAddr::new(direct, PORT);
    assert_eq!(client.tally_from_one_port(9, to), tally(&[("a", 3), ("b", 3), ("c", 3)]));
    eprintln!("persistence of clients, networks and marks held; single packets went in turns");
}
