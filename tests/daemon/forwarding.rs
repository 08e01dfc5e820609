//! Who forwards: here the engine, as it is configured, whatever the kernel has.

use std::net::IpAddr;
use std::time::Duration;

use buoy::api::client::{self, Client};
use buoy::api::{Action, Reply, Request};
use buoy::lab::Host;
use buoy::lab::probe::{Echo, Probe};

use crate::lab::{subject, wait_until};

const SOON: Duration = Duration::from_secs(20);
const PORT: u16 = 7007;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn configuration(words: &str, servers: &[&str]) -> String {
    let server = |address: &&str| format!("    real_server {address} {PORT} {{\n        weight 1\n    }}\n");
    let servers: String = servers.iter().map(server).collect();
    format!(
        "global_defs {{\n    forwarding {words}\n}}\nvirtual_server 10.9.0.1 {PORT} {{\n    lvs_sched rr\n    \
         lvs_method NAT\n    protocol UDP\n{servers}}}\n"
    )
}

#[test]
fn the_engine_forwards_and_a_sender_stays_with_what_drains_and_leaves_what_is_taken_out() {
    let host = |name| Host::new(name).expect("a host");
    let (client, director, first, second) = (host("client"), host("director"), host("first"), host("second"));
    for (port, peer, net) in [("left", &client, 1), ("one", &first, 2), ("two", &second, 3)] {
        director.connect(port, peer, "eth0").expect("a cable");
        let address = |host: &Host, port: &str, last: u8| {
            let address = format!("10.{net}.0.{last}/24").parse().expect("an address");
            host.add_address(port, address).expect("it is added");
        };
        address(&director, port, 254);
        address(peer, "eth0", 7);
        peer.set_default_route(ip(&format!("10.{net}.0.254"))).expect("a route");
    }
    director.add_address("lo", "10.9.0.1/32".parse().expect("an address")).expect("it is added");
    let echoes = [&first, &second].map(|server| Echo::start(server, PORT).expect("it listens"));

    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("buoy.conf");
    let write = |text: String| std::fs::write(&file, text).expect("a file");
    write(configuration("engine", &["10.2.0.7", "10.3.0.7"]));
    let command = subject().balancing_command(&file, folder.path(), "one");
    let mut daemon = director.spawn(command).expect("it starts");
    daemon
        .wait_for_line("Buoy's engine forwards: `forwarding engine` is configured", SOON)
        .expect("it says so");
    let probe = Probe::start(&client, ip("10.9.0.1"), PORT).expect("it asks");
    probe.wait_for_answer(SOON).expect("an answer");

    let control = folder.path().join("control");
    let status = client::status(&control).expect("a status");
    let balancing = status.balancing.expect("virtual servers");
    assert!(balancing.plane.starts_with("Buoy's engine (tier "), "{}", balancing.plane);
    let engine = balancing.engine.expect("it answers");
    assert_eq!((engine.connections, engine.trouble), (1, None));

    // The one port that asks goes to one server, stays there while that drains, and moves when it is taken out.
    let asked = echoes.each_ref().map(Echo::answered);
    let (serving, gone, left) =
        if asked[0] > 0 { (0, "10.2.0.7", "10.3.0.7") } else { (1, "10.3.0.7", "10.2.0.7") };
    assert_eq!(asked[1 - serving], 0);
    let ask =
        |request| Client::ask(&control, &request).expect("it is asked").next_reply().expect("it answers");
    write(configuration("engine", &[left]));
    assert!(matches!(ask(Request::Reload), Some(Reply::Done { .. })));
    probe.wait_for_answer(SOON).expect("an answer");
    let other = &echoes[1 - serving];
    assert_eq!(other.answered(), 0, "draining is not dying");
    let (service, server) = (format!("udp:10.9.0.1:{PORT}"), gone.to_owned());
    let disable = Request::Administer { service, server, action: Action::Disable };
    assert!(matches!(ask(disable), Some(Reply::Done { .. })));
    wait_until(SOON, || other.answered() > 0, || "the other server is never asked".to_owned());
    probe.wait_for_answer(SOON).expect("an answer");

    // Connections do not move from one plane to the other.
    write(configuration("kernel", &[left]));
    let Some(Reply::Refused { message }) = ask(Request::Reload) else { panic!("it takes a restart") };
    assert!(message.contains("another plane takes a restart"), "{message}");
    daemon.stop(SOON).expect("it stops");
}
