//! When rules go, the host sees everything itself, however its engine ended.

use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use buoy_ipvs::engine::packet::protocol;
use buoy_ipvs::io::portable::Steering;
use buoy_ipvs::io::selector::{End, Ports, Selector};
use buoy_ipvs::io::tap::{Arrival, Frames, Tap};

use crate::host::{Host, may_run};

const OWN: &str = "10.1.0.254:7";
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(10);
/// Tells the other process that it is to hold a steering.
const HOLDER: &str = "BUOY_TEST_HOLDS_STEERING";

struct Link {
    director: Host,
    echo: UdpSocket,
    client: UdpSocket,
}

impl Link {
    fn new() -> Self {
        let (director, client) = (Host::new(), Host::new());
        director.ip(&format!("link add dc type veth peer name eth0 netns {}", client.path()));
        director.ip("link set dc up");
        client.ip("link set eth0 up");
        client.add_address("10.1.0.7".parse().unwrap(), "eth0");
        director.add_address("10.1.0.254".parse().unwrap(), "dc");
        client.wait_for("eth0");
        director.wait_for("dc");
        let echo = director.run(|| UdpSocket::bind(OWN)).unwrap();
        echo.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let client = client.run(|| UdpSocket::bind("10.1.0.7:0")).unwrap();
        let link = Self { director, echo, client };
        link.wait_until_heard();
        link
    }

    /// Whether what the client sends now comes to the host.
    fn is_heard(&self) -> bool {
        self.client.send_to(b"hello", OWN).unwrap();
        self.echo.recv(&mut [0; 8]).is_ok()
    }

    fn wait_until_heard(&self) {
        let since = Instant::now();
        while !self.is_heard() {
            assert!(since.elapsed() < PATIENCE, "the host hears nothing");
        }
    }
}

/// Takes what the client sends, in the network namespace of this thread.
fn hold() -> (Tap, Steering) {
    let tap = Tap::create("engine%d").unwrap();
    let mut steering = Steering::create(&tap).unwrap();
    let (address, ports) = (std::net::Ipv4Addr::new(10, 1, 0, 254).into(), Ports::One(7));
    let selector = Selector::Address { end: End::Destination, address, protocol: protocol::UDP, ports };
    steering.change(&[selector], &[]).unwrap();
    steering.attach(nix::net::if_::if_nametoindex("dc").unwrap()).unwrap();
    (tap, steering)
}

#[test]
fn the_host_hears_again_what_is_steered_no_longer() {
    if !may_run() {
        return;
    }
    let link = Link::new();
    let (tap, steering) = link.director.run(hold);
    assert!(!link.is_heard());
    assert!(link.director.command("nft", "list tables").contains(steering.table()));
    assert!(link.director.run(|| Steering::create(&tap)).is_err(), "there is one already");
    drop(steering);
    // A process that another test starts has a copy of the socket until it is the program that it is to be.
    link.wait_until_heard();
    assert_eq!(link.director.command("nft", "list tables"), "");
    drop(tap);
    link.wait_until_heard();
}

#[test]
fn the_next_engine_takes_over_without_a_gap() {
    if !may_run() {
        return;
    }
    let link = Link::new();
    let (first, steering) = link.director.run(hold);
    let (second, next) = link.director.run(hold);
    let is_taken_by = |tap: &Tap| {
        // What another engine has left behind.
        let mut frames = Frames::new(64);
        tap.receive(&mut frames).unwrap();
        assert!(!link.is_heard(), "there was a gap");
        tap.receive(&mut frames).unwrap();
        frames.iter().any(|frame| Arrival::of(frame.bytes()).is_some())
    };
    assert!(!is_taken_by(&first) && is_taken_by(&second));
    drop(next);
    let since = Instant::now();
    // A process that another test starts has a copy of the socket until it is the program that it is to be.
    while !is_taken_by(&first) {
        assert!(since.elapsed() < PATIENCE, "the first does not get them again");
    }
    let (third, _next) = link.director.run(hold);
    drop(steering);
    assert!(is_taken_by(&third));
}

#[test]
fn others_cannot_flush_the_rules() {
    if !may_run() {
        return;
    }
    let link = Link::new();
    let (_tap, steering) = link.director.run(hold);
    link.director.command("nft", "flush ruleset");
    let delete = format!("delete table netdev {}", steering.table());
    assert!(!link.director.run(|| Command::new("nft").arg(delete).output()).unwrap().status.success());
    assert!(!link.is_heard());
}

#[test]
fn the_host_hears_when_the_engine_was_killed() {
    if std::env::var_os(HOLDER).is_some() {
        let _held = hold();
        println!("\nholds");
        loop {
            std::thread::park();
        }
    }
    if !may_run() {
        return;
    }
    let link = Link::new();
    let start = || {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "lifetime::the_host_hears_when_the_engine_was_killed"])
            .env(HOLDER, "1")
            .stdout(Stdio::piped())
            .spawn()
    };
    let mut holder = link.director.run(start).unwrap();
    let said = BufReader::new(holder.stdout.take().unwrap()).lines();
    assert!(said.map_while(Result::ok).any(|line| line == "holds"), "it holds nothing");
    assert!(!link.is_heard());
    // SIGKILL
    holder.kill().unwrap();
    holder.wait().unwrap();
    link.wait_until_heard();
    assert_eq!(link.director.command("nft", "list tables"), "");
}
