//! The laboratory itself: what the other tests take for granted.

mod lab;

use std::net::IpAddr;
use std::process::Command;
use std::time::{Duration, SystemTime};

use buoy::lab::capture::{Capture, Direction};
use buoy::lab::probe::{Echo, Probe};
use buoy::lab::{Cable, Host, Switch};
use lab::wait_until;

const LIMIT: Duration = Duration::from_secs(5);
const PORT: u16 = 7;

/// A client and a server on a switch.
struct Pair {
    client: Host,
    server: Host,
    cable: Cable,
    switch: Switch,
}

impl Pair {
    fn new() -> Self {
        let switch = Switch::new("lan").expect("a switch (the tests need root)");
        let [client, server] = ["client", "server"].map(|name| Host::new(name).expect("a host"));
        switch.connect(&client, "eth0").expect("a cable");
        let cable = switch.connect(&server, "eth0").expect("a cable");
        for (host, number) in [(&client, 1), (&server, 2)] {
            for address in [format!("192.0.2.{number}/24"), format!("2001:db8::{number}/64")] {
                host.add_address("eth0", address.parse().expect("address")).expect("address");
            }
        }
        Self { client, server, cable, switch }
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[test]
fn the_probe_gets_answers_from_the_address_it_asks_in_both_families() {
    let pair = Pair::new();
    let echo = Echo::start(&pair.server, PORT).expect("echo");
    pair.server.add_address("eth0", "192.0.2.100/24".parse().expect("address")).expect("address");
    for target in ["192.0.2.2", "192.0.2.100", "2001:db8::2"] {
        let probe = Probe::start(&pair.client, ip(target), PORT).expect("probe");
        probe.wait_for_answer(LIMIT).unwrap_or_else(|error| panic!("{target}: {error}"));
    }
    assert!(echo.answered() >= 3);
}

#[test]
fn an_unplugged_cable_has_no_carrier_and_the_probe_measures_how_long() {
    let pair = Pair::new();
    let _echo = Echo::start(&pair.server, PORT).expect("echo");
    let probe = Probe::start(&pair.client, ip("192.0.2.2"), PORT).expect("probe");
    probe.wait_for_answer(LIMIT).expect("an answer");
    let cut = SystemTime::now();
    pair.cable.unplug().expect("unplugging");
    assert!(!pair.server.link("eth0").expect("a link").is_running());
    assert!(!pair.server.holds(ip("192.0.2.2")).expect("a dump"), "nobody can reach the address");
    probe.wait_for_answer(Duration::from_millis(100)).expect_err("no answer over a cut cable");
    pair.cable.plug().expect("plugging");
    probe.wait_for_answer(LIMIT).expect("an answer");
    let restored = cut.elapsed().expect("time goes on");
    let report = probe.report_since(cut);
    assert!(report.lost > 0, "{report:?}");
    assert!(
        (Duration::from_millis(100)..=restored + Duration::from_millis(50)).contains(&report.longest_gap),
        "{report:?}, cut and restored within {restored:?}"
    );
}

#[test]
fn an_isolated_cable_keeps_its_carrier_and_carries_nothing() {
    let pair = Pair::new();
    let _echo = Echo::start(&pair.server, PORT).expect("echo");
    let probe = Probe::start(&pair.client, ip("192.0.2.2"), PORT).expect("probe");
    probe.wait_for_answer(LIMIT).expect("an answer");
    pair.cable.isolate().expect("isolating");
    probe.wait_for_answer(Duration::from_millis(100)).expect_err("no answer over an isolated cable");
    assert!(pair.server.link("eth0").expect("a link").is_running());
    pair.cable.restore().expect("restoring");
    probe.wait_for_answer(LIMIT).expect("an answer");
}

#[test]
fn a_capture_sees_both_directions_in_the_order_of_the_wire() {
    let pair = Pair::new();
    let begun = SystemTime::now();
    let capture = Capture::start(pair.switch.host(), pair.cable.port()).expect("capture");
    let _echo = Echo::start(&pair.server, PORT).expect("echo");
    let probe = Probe::start(&pair.client, ip("192.0.2.2"), PORT).expect("probe");
    probe.wait_for_answer(LIMIT).expect("an answer");
    // The client asks who has the address before it can ask anything else.
    let question =
        capture.wait_for(begun, LIMIT, |frame| frame.direction == Direction::Out).expect("a question");
    let answer =
        capture.wait_for(question.at, LIMIT, |frame| frame.direction == Direction::In).expect("an answer");
    assert!(begun < question.at && question.at < answer.at && answer.at < SystemTime::now());
}

#[test]
fn a_second_cable_to_the_same_host_gets_a_port_of_its_own() {
    let pair = Pair::new();
    let second = pair.switch.connect(&pair.server, "eth1").expect("a cable");
    assert_eq!((pair.cable.port(), second.port()), ("server", "server.2"));
    assert!(pair.server.link("eth1").expect("a link").is_running());
}

#[test]
fn hosts_can_be_joined_directly() {
    let [a, b] = ["a", "b"].map(|name| Host::new(name).expect("a host"));
    let cable = a.connect("eth0", &b, "eth0").expect("a cable");
    assert!(b.link("eth0").expect("a link").is_running());
    cable.unplug().expect("unplugging");
    assert!(!b.link("eth0").expect("a link").is_running());
}

#[test]
fn a_host_routes_what_is_not_local_to_its_default_gateway() {
    let pair = Pair::new();
    let _echo = Echo::start(&pair.server, PORT).expect("echo");
    pair.server.add_address("lo", "198.51.100.1/32".parse().expect("address")).expect("address");
    let probe = Probe::start(&pair.client, ip("198.51.100.1"), PORT).expect("probe");
    probe.wait_for_answer(Duration::from_millis(100)).expect_err("no route yet");
    pair.client.set_default_route(ip("192.0.2.2")).expect("a route");
    probe.wait_for_answer(LIMIT).expect("an answer");
}

#[test]
fn an_address_can_be_removed_wherever_it_is() {
    let pair = Pair::new();
    pair.server.remove_address(ip("2001:db8::2")).expect("removing");
    assert!(!pair.server.addresses().expect("a dump").contains(&ip("2001:db8::2")));
    pair.server.remove_address(ip("2001:db8::2")).expect("removing what is not there");
}

#[test]
fn a_program_sees_only_the_interfaces_of_its_host_and_its_output_is_kept() {
    let pair = Pair::new();
    let mut command = Command::new("cat");
    command.arg("/proc/self/net/dev");
    let mut cat = pair.server.spawn(command).expect("cat");
    assert!(cat.wait(LIMIT).expect("its end").success());
    cat.wait_for_line("eth0:", LIMIT).expect("its output");
    let interfaces = cat.log().iter().filter(|line| line.text.contains(':')).count();
    assert_eq!(interfaces, 2, "lo and eth0: {:#?}", cat.log());
}

#[test]
fn a_killed_program_takes_its_descendants_with_it() {
    let host = Host::new("host").expect("a host");
    let mut command = Command::new("sh");
    command.args(["-c", "sh -c 'sleep 1000 & echo $!; wait' & wait"]);
    let mut shell = host.spawn(command).expect("a shell");
    wait_until(LIMIT, || !shell.log().is_empty(), || "the id of the grandchild".to_owned());
    let grandchild = format!("/proc/{}/cmdline", shell.log()[0].text);
    let command_line = || std::fs::read(&grandchild).unwrap_or_default();
    assert!(command_line().starts_with(b"sleep"));
    shell.kill();
    // The command line of a zombie reads as empty.
    assert_eq!(command_line(), b"");
}

#[test]
fn a_panic_on_the_thread_of_a_host_reaches_the_caller_and_spares_the_host() {
    let host = Host::new("host").expect("a host");
    let hurt = host.clone();
    let outcome = std::thread::spawn(move || hurt.run(|| panic!("ouch"))).join();
    assert!(outcome.is_err());
    assert!(host.link("lo").expect("a link").is_running());
}
