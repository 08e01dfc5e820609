//! Two directors on a switch, each running Buoy or a peer program, and what the tests ask about them.

#![allow(dead_code, reason = "every test program uses its own part of the harness")]

pub(crate) mod flavour;
pub(crate) mod frr;
pub(crate) mod wire;

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use buoy::lab::capture::{Capture, Takeover};
use buoy::lab::{Cable, Host, Process, Program, Switch};
use flavour::Flavour;
use frr::Frr;
use tempfile::TempDir;

/// The program under test: this package's `buoy`. The harness itself can be tried with another one:
/// `BUOY_TEST_SUBJECT=/usr/sbin/keepalived cargo test --test interop`.
pub(crate) fn subject() -> Program {
    match env::var_os("BUOY_TEST_SUBJECT") {
        Some(path) => Program::at(PathBuf::from(path)),
        None => Program::Buoy(PathBuf::from(env!("CARGO_BIN_EXE_buoy"))),
    }
}

/// What `found` holds; without it the caller's test is skipped with a printed reason, or fails when
/// `BUOY_TESTS_REQUIRE_PEERS` is set, as `tests/run` does.
pub(crate) fn peer<T>(name: &str, found: Option<T>) -> Option<T> {
    if found.is_none() {
        assert!(env::var_os("BUOY_TESTS_REQUIRE_PEERS").is_none(), "{name} is not installed");
        // Not by a macro: the test runner would keep the output of a test that passes to itself.
        writeln!(io::stderr(), "skipped: {name} is not installed").ok();
    }
    found
}

/// Polls until `condition` holds.
///
/// # Panics
/// When it does not within `limit`; the message is made by `explain`.
pub(crate) fn wait_until(
    limit: Duration,
    mut condition: impl FnMut() -> bool,
    explain: impl FnOnce() -> String,
) {
    let deadline = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {limit:?}: {}", explain());
        thread::sleep(Duration::from_millis(5));
    }
}

/// A switch with two directors.
pub(crate) struct Lan {
    pub(crate) first: Director,
    pub(crate) second: Director,
    /// Everything from and to the second director.
    pub(crate) capture: Capture,
    /// For a test that adds hosts of its own.
    pub(crate) switch: Switch,
}

/// A host on the LAN with one interface, `eth0`, and what runs on it.
pub(crate) struct Director {
    pub(crate) host: Host,
    pub(crate) cable: Cable,
    pub(crate) directory: TempDir,
    /// In the order started.
    running: Vec<Process>,
    runs: u32,
    logs: Vec<String>,
}

/// What can run on a director.
#[derive(Clone, Debug)]
pub(crate) enum Party {
    Program(Program),
    Frr(Frr),
}

pub(crate) const FIRST: &str = "first";
pub(crate) const SECOND: &str = "second";

impl Lan {
    pub(crate) fn new() -> Self {
        let switch = Switch::new("lan").expect("making a switch (the tests need root)");
        let first = Director::new(&switch, FIRST, 1);
        let second = Director::new(&switch, SECOND, 2);
        let capture = Capture::start(switch.host(), second.cable.port()).expect("capture");
        Self { first, second, capture, switch }
    }

    /// Waits until the one director holds the address and the other does not.
    pub(crate) fn wait_for_holder(&self, holder: &str, vip: IpAddr, limit: Duration) {
        let wanted = (holder == FIRST, holder == SECOND);
        let holds = || (self.first.holds(vip), self.second.holds(vip));
        wait_until(limit, || holds() == wanted, || self.story(vip, holder));
    }

    /// Waits until the second director has spoken as master after `since` and holds the address; the first may
    /// hold it too. Tells how the takeover looked on the wire.
    pub(crate) fn wait_for_takeover(&self, since: SystemTime, vip: IpAddr, limit: Duration) -> Takeover {
        self.capture.wait_for(since, limit, wire::advertised_by_second).expect("an advertisement");
        // A director speaks before it takes the address, FRR after.
        wait_until(limit, || self.second.holds(vip), || self.story(vip, SECOND));
        wire::takeover(&self.capture, since)
    }

    fn story(&self, vip: IpAddr, wanted: &str) -> String {
        let mut text = format!("{vip} on {wanted} alone");
        for director in [&self.first, &self.second] {
            let holds = director.host.holds(vip);
            write!(text, "\n{} holds it: {holds:?}; its log:", director.host.name()).ok();
            for line in director.log() {
                write!(text, "\n    {line}").ok();
            }
        }
        text
    }
}

impl Director {
    fn new(switch: &Switch, name: &str, number: u8) -> Self {
        let host = Host::new(name).expect("host");
        let cable = switch.connect(&host, "eth0").expect("cable");
        for address in [format!("192.0.2.{number}/24"), format!("2001:db8::{number}/64")] {
            host.add_address("eth0", address.parse().expect("address")).expect("address");
        }
        let directory = tempfile::Builder::new().prefix("buoy-lab-").tempdir().expect("temporary directory");
        Self { host, cable, directory, running: Vec::new(), runs: 0, logs: Vec::new() }
    }

    /// Starts a party in one flavour, as the director of this number.
    pub(crate) fn join(&mut self, party: &Party, flavour: &Flavour, number: u8, priority: u8) {
        match party {
            Party::Program(program) => self.start(program, &flavour.configuration(number, priority)),
            Party::Frr(frr) => {
                let files = self.folder();
                self.running.extend(frr.start(&self.host, &files, flavour, priority));
            }
        }
    }

    /// Starts a program with a configuration file.
    pub(crate) fn start(&mut self, program: &Program, configuration: &str) {
        let files = self.folder();
        let config = files.join("director.conf");
        fs::write(&config, configuration).expect("writing the configuration");
        let command = program.command(&config, &files, self.host.name());
        self.running.push(self.host.spawn(command).expect("starting a director"));
    }

    /// Kills the program and its children, as an out-of-memory killer would: no word to the peer, the kernel
    /// keeps the addresses.
    pub(crate) fn kill(&mut self) {
        while let Some(mut process) = self.running.pop() {
            process.kill();
            self.keep_log(&process);
        }
    }

    /// Stops what runs in good order, the last started first.
    ///
    /// # Panics
    /// When it does not end, or not with success.
    pub(crate) fn stop(&mut self) {
        while let Some(mut process) = self.running.pop() {
            let status = process.stop(Duration::from_secs(10));
            self.keep_log(&process);
            let status = status.unwrap_or_else(|error| panic!("{error}; its log: {:#?}", self.log()));
            assert!(status.success(), "{} ended with {status}: {:#?}", self.host.name(), self.log());
        }
    }

    pub(crate) fn holds(&self, vip: IpAddr) -> bool {
        self.host.holds(vip).expect("dump of addresses")
    }

    pub(crate) fn log(&self) -> Vec<String> {
        let running = self.running.iter().flat_map(Process::log).map(|line| line.text);
        self.logs.iter().cloned().chain(running).collect()
    }

    /// A folder for every run, as /run is empty after a boot: keepalived refuses to start over the pid file of
    /// a killed child for as long as init has not reaped that.
    fn folder(&mut self) -> PathBuf {
        self.runs += 1;
        let folder = self.directory.path().join(format!("run{}", self.runs));
        fs::create_dir(&folder).expect("making a folder");
        folder
    }

    fn keep_log(&mut self, ended: &Process) {
        self.logs.extend(ended.log().into_iter().map(|line| line.text));
    }
}
