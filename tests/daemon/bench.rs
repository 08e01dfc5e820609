//! Directors on a switch that run this package's `buoy`, and what the tests ask about them.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant, SystemTime};

use buoy::api::{InstanceStatus, Status, client};
use buoy::lab::capture::{Capture, Direction};
use buoy::lab::{Cable, Host, Process, Switch};
use futures::TryStreamExt;
use nix::sys::signal::Signal;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use tempfile::TempDir;

use crate::lab::wait_until;

pub(crate) const BUOY: &str = env!("CARGO_BIN_EXE_buoy");

/// Ample time for anything that is to happen at once, on a machine busy with other tests.
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) const VIP: &str = "192.0.2.100";
pub(crate) const VRID: u8 = 51;

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub(crate) fn vip() -> IpAddr {
    ip(VIP)
}

/// A configuration file: VRRPv3, 0.1 s between advertisements, one address, unless a test wants it otherwise.
#[derive(Clone, Debug)]
pub(crate) struct Conf {
    globals: String,
    blocks: String,
    instances: Vec<Instance>,
}

#[derive(Clone, Debug)]
struct Instance {
    name: String,
    vrid: u8,
    priority: u8,
    state: &'static str,
    interval: &'static str,
    addresses: Vec<String>,
    words: String,
}

impl Conf {
    /// One instance `VI_1`.
    pub(crate) fn new(priority: u8) -> Self {
        let conf = Self { globals: String::new(), blocks: String::new(), instances: Vec::new() };
        conf.instance("VI_1", VRID, priority, &[&format!("{VIP}/24")])
    }

    /// One instance that is master at once: the owner of its address.
    pub(crate) fn owner() -> Self {
        let mut conf = Self::new(255);
        conf.last().state = "MASTER";
        conf
    }

    /// Another instance; the words that follow are about it.
    pub(crate) fn instance(mut self, name: &str, vrid: u8, priority: u8, addresses: &[&str]) -> Self {
        self.instances.push(Instance {
            name: name.to_owned(),
            vrid,
            priority,
            state: "BACKUP",
            interval: "0.1",
            addresses: addresses.iter().map(|a| (*a).to_owned()).collect(),
            words: String::new(),
        });
        self
    }

    pub(crate) fn interval(mut self, seconds: &'static str) -> Self {
        self.last().interval = seconds;
        self
    }

    /// Another address of the last instance.
    pub(crate) fn address(mut self, address: &str) -> Self {
        self.last().addresses.push(address.to_owned());
        self
    }

    /// More lines of the last instance.
    pub(crate) fn words(mut self, lines: &str) -> Self {
        writeln!(self.last().words, "    {lines}").expect("a string takes everything");
        self
    }

    /// For tests that measure times on the wire: other tests do not delay a thread of real-time priority.
    pub(crate) fn timely(self) -> Self {
        self.global("vrrp_rt_priority 10")
    }

    /// More lines of `global_defs`.
    pub(crate) fn global(mut self, lines: &str) -> Self {
        writeln!(self.globals, "    {lines}").expect("a string takes everything");
        self
    }

    /// Text before the instances.
    pub(crate) fn block(mut self, text: &str) -> Self {
        writeln!(self.blocks, "{text}").expect("a string takes everything");
        self
    }

    fn last(&mut self) -> &mut Instance {
        self.instances.last_mut().expect("there is an instance")
    }
}

impl fmt::Display for Conf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "global_defs {{\n    vrrp_version 3\n    script_user root\n{}}}\n{}",
            self.globals, self.blocks
        )?;
        for i in &self.instances {
            writeln!(f, "vrrp_instance {} {{\n    state {}\n    interface eth0", i.name, i.state)?;
            writeln!(f, "    virtual_router_id {}\n    priority {}", i.vrid, i.priority)?;
            writeln!(f, "    advert_int {}\n{}    virtual_ipaddress {{", i.interval, i.words)?;
            for address in &i.addresses {
                writeln!(f, "        {address}")?;
            }
            writeln!(f, "    }}\n}}")?;
        }
        Ok(())
    }
}

/// A host with `eth0` on a switch, and the daemon that runs on it.
#[derive(Debug)]
pub(crate) struct Director {
    pub(crate) host: Host,
    pub(crate) cable: Cable,
    pub(crate) switch: Switch,
    folder: TempDir,
    daemon: Option<Process>,
}

/// Two directors on a switch.
pub(crate) fn pair() -> (Director, Director) {
    let switch = switch();
    (Director::new(&switch, "one", 1), Director::new(&switch, "two", 2))
}

/// A director on a switch of its own.
pub(crate) fn alone() -> Director {
    Director::new(&switch(), "one", 1)
}

fn switch() -> Switch {
    Switch::new("lan").expect("making a switch (the tests need root)")
}

impl Director {
    pub(crate) fn new(switch: &Switch, name: &str, number: u8) -> Self {
        let host = Host::new(name).expect("host");
        let cable = switch.connect(&host, "eth0").expect("cable");
        let address = format!("192.0.2.{number}/24").parse().expect("address");
        host.add_address("eth0", address).expect("address");
        let folder = tempfile::Builder::new().prefix("buoy-daemon-").tempdir().expect("temporary folder");
        Self { host, cable, switch: switch.clone(), folder, daemon: None }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn control(&self) -> PathBuf {
        self.path("control.sock")
    }

    pub(crate) fn configure(&self, conf: impl fmt::Display) {
        fs::write(self.path("buoy.conf"), conf.to_string()).expect("writing the configuration");
    }

    /// An executable script.
    pub(crate) fn script(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        // Written under another name: a file that is open for writing while another test forks cannot be run.
        let status = Command::new("sh")
            .args(["-c", "printf '#!/bin/sh\\n%s\\n' \"$1\" > \"$0\" && chmod 755 \"$0\""])
            .arg(&path)
            .arg(text)
            .status();
        assert!(status.expect("sh runs").success());
        path.display().to_string()
    }

    /// What scripts have written into a file of this name.
    pub(crate) fn lines(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.path(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    pub(crate) fn wait_for_lines(&self, name: &str, count: usize) -> Vec<String> {
        let enough = || self.lines(name).len() >= count;
        wait_until(SOON, enough, || {
            format!("{count} lines in {name}: {:#?}\n{}", self.lines(name), self.story())
        });
        self.lines(name)
    }

    /// The command that runs the daemon in the foreground.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(BUOY);
        command.args(["run", "--die-with-parent", "-n", "-l"]);
        command.arg("-f").arg(self.path("buoy.conf"));
        command.arg("-p").arg(self.path("pid")).arg("--control").arg(self.control());
        command
    }

    /// Starts the daemon with this configuration.
    pub(crate) fn start(&mut self, conf: impl fmt::Display) {
        self.configure(conf);
        let command = self.command();
        self.spawn(command);
    }

    pub(crate) fn spawn(&mut self, command: Command) {
        self.daemon = Some(self.host.spawn(command).expect("starting the daemon"));
        let control = self.control();
        // A killed daemon leaves its socket behind: only one that answers counts.
        let answers = || UnixStream::connect(&control).is_ok();
        let daemon = self.daemon_mut();
        wait_until(SOON, || answers() || !daemon.is_running(), || "the daemon starts".to_owned());
        assert!(answers(), "the daemon runs: {}", self.story());
    }

    pub(crate) fn daemon(&self) -> &Process {
        self.daemon.as_ref().expect("a daemon was started")
    }

    pub(crate) fn daemon_mut(&mut self) -> &mut Process {
        self.daemon.as_mut().expect("a daemon was started")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.daemon().signal(signal).expect("signalling");
    }

    /// Stops in good order.
    pub(crate) fn stop(&mut self) {
        let ended = self.daemon_mut().stop(SOON);
        let status = ended.unwrap_or_else(|error| panic!("{error}: {}", self.story()));
        assert!(status.success(), "ended with {status}: {}", self.story());
    }

    pub(crate) fn kill(&mut self) {
        self.daemon_mut().kill();
    }

    pub(crate) fn status(&self) -> Status {
        client::status(&self.control()).unwrap_or_else(|error| panic!("{error:#}: {}", self.story()))
    }

    /// The only instance, or the first.
    pub(crate) fn first(&self) -> InstanceStatus {
        self.status().instances.into_iter().next().expect("an instance")
    }

    pub(crate) fn states(&self) -> BTreeMap<String, String> {
        self.status().instances.into_iter().map(|i| (i.name, i.state)).collect()
    }

    pub(crate) fn wait_for_state(&self, state: &str) {
        wait_until(SOON, || self.first().state == state, || format!("{state}: {}", self.story()));
    }

    /// Waits until the daemon is master and the kernel has the address.
    pub(crate) fn wait_for_vip(&self) {
        wait_until(SOON, || self.holds(vip()), || format!("holding {VIP}: {}", self.story()));
    }

    pub(crate) fn holds(&self, address: IpAddr) -> bool {
        self.host.holds(address).expect("dump of addresses")
    }

    /// Every address of the host as the kernel tells it.
    pub(crate) fn addresses(&self) -> Vec<AddressMessage> {
        self.host
            .netlink(|netlink| async move { netlink.address().get().execute().try_collect().await })
            .expect("dump of addresses")
    }

    /// What the kernel says about one address.
    pub(crate) fn address(&self, address: IpAddr) -> Option<AddressMessage> {
        let is_it =
            |message: &AddressMessage| message.attributes.contains(&AddressAttribute::Address(address));
        self.addresses().into_iter().find(is_it)
    }

    pub(crate) fn wait_for_log(&self, text: &str) {
        self.daemon().wait_for_line(text, SOON).expect("a line of the log");
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.daemon.iter().flat_map(Process::log).map(|line| line.text).collect()
    }

    fn story(&self) -> String {
        let page = client::status(&self.control()).map(|status| buoy::cli::status::page(&status));
        format!("{page:#?}\nlog of {}:\n    {}", self.host.name(), self.log().join("\n    "))
    }

    /// What the election thread has used of the processor.
    pub(crate) fn election_time(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.daemon().id())).expect("it lives");
        let stat = tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("stat")).ok());
        let stat = stat.into_iter().find(|stat| stat.contains("(election)")).expect("an election thread");
        let (_, fields) = stat.rsplit_once(')').expect("a name");
        let ticks: u32 =
            fields.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u32>().ok()).sum();
        // proc(5): in units of USER_HZ, which is 100 on every machine that runs these tests.
        Duration::from_millis(10) * ticks
    }

    /// Runs `buoy WORDS --control SOCKET`.
    pub(crate) fn buoy(&self, words: &[&str]) -> Output {
        Command::new(BUOY).args(words).arg("--control").arg(self.control()).output().expect("running buoy")
    }

    /// Has the daemon read another configuration; what it says.
    pub(crate) fn reload(&self, conf: impl fmt::Display) -> String {
        self.configure(conf);
        let output = self.buoy(&["reload"]);
        assert!(output.status.success(), "{output:?}\n{}", self.story());
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    }

    /// What the switch gets from and gives to this director.
    pub(crate) fn capture(&self) -> Capture {
        Capture::start(self.switch.host(), self.cable.port()).expect("a capture")
    }
}

/// When the director behind a capture has advertised this virtual router, resignations included.
pub(crate) fn advertised(capture: &Capture, vrid: u8) -> Vec<SystemTime> {
    let frames = capture.frames();
    let own = frames.iter().filter(|frame| frame.direction == Direction::In);
    own.filter(|frame| frame.advertisement().is_some_and(|a| a.vrid == vrid)).map(|frame| frame.at).collect()
}

/// The longest time between two advertisements of the director behind a capture.
pub(crate) fn longest_gap(capture: &Capture, since: SystemTime) -> Duration {
    let times: Vec<SystemTime> = advertised(capture, VRID).into_iter().filter(|at| *at >= since).collect();
    let gaps = times.iter().zip(times.iter().skip(1));
    gaps.map(|(a, b)| b.duration_since(*a).unwrap_or_default()).max().expect("several advertisements")
}

/// Waits for so many more advertisements of the director behind a capture.
pub(crate) fn wait_for_advertisements(capture: &Capture, count: usize) {
    let before = advertised(capture, VRID).len();
    let enough = || advertised(capture, VRID).len() >= before + count;
    wait_until(SOON, enough, || format!("{count} more advertisements"));
}

/// Asserts that something stays true for a while, looking all the time.
pub(crate) fn stays(duration: Duration, condition: impl Fn() -> bool, what: &str) {
    let end = Instant::now() + duration;
    while Instant::now() < end {
        assert!(condition(), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub(crate) fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("is there").permissions().mode() & 0o7777
}
