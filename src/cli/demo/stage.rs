//! The network of the demo and the daemons on it.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use nix::unistd::mkdtemp;

use super::Interrupt;
use crate::lab::capture::{Capture, Takeover};
use crate::lab::probe::{Echo, Probe};
use crate::lab::{Cable, Host, LogLine, Process, Program, Switch};

/// The address that moves, as in `etc/demo.conf`.
pub(super) const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 100));

const CONFIGURATION: &str = include_str!("../../../etc/demo.conf");

const ECHO_PORT: u16 = 7;

pub(super) struct Stage {
    pub(super) directors: [Director; 2],
    pub(super) probe: Probe,
    capture: Capture,
    _client: Host,
    _switch: Switch,
    _folder: Folder,
}

pub(super) struct Director {
    pub(super) name: &'static str,
    host: Host,
    cable: Cable,
    echo: Echo,
    program: Program,
    config: PathBuf,
    folder: PathBuf,
    runs: u32,
    running: Option<Process>,
    /// What earlier runs said.
    said: Vec<LogLine>,
}

/// A temporary folder that goes with the value.
struct Folder(PathBuf);

impl Stage {
    /// Lays the network: nothing runs on the directors yet, and the client already asks.
    pub(super) fn set(program: &Program) -> Result<Self> {
        let folder = Folder::new()?;
        let config = folder.0.join("demo.conf");
        fs::write(&config, CONFIGURATION).context("writing the configuration")?;
        let switch = Switch::new("switch")?;
        let client = Host::new("client")?;
        switch.connect(&client, "eth0")?;
        client.add_address("eth0", "192.0.2.10/24".parse()?)?;
        let director =
            |name, address: &str| Director::new(program, &switch, name, address, &config, &folder.0);
        let directors = [director("director1", "192.0.2.1/24")?, director("director2", "192.0.2.2/24")?];
        let [_, second] = &directors;
        let capture = Capture::start(switch.host(), second.cable.port())?;
        let probe = Probe::start(&client, VIP, ECHO_PORT)?;
        Ok(Self { directors, probe, capture, _client: client, _switch: switch, _folder: folder })
    }

    /// Waits until `holder` answers the client from the virtual address.
    pub(super) fn wait_for_answer_by(
        &self,
        holder: usize,
        limit: Duration,
        interrupt: &Interrupt,
    ) -> Result<bool> {
        let Some(director) = self.directors.get(holder) else { return Ok(false) };
        let before = director.echo.answered();
        let answered = interrupt.wait_for(limit, || {
            Ok((director.echo.answered() > before && director.host.holds(VIP)?).then_some(()))
        })?;
        Ok(answered.is_some())
    }

    /// Waits until nobody but `holder` has the virtual address.
    pub(super) fn wait_for_sole_holder(
        &self,
        holder: usize,
        limit: Duration,
        interrupt: &Interrupt,
    ) -> Result<bool> {
        let sole = interrupt.wait_for(limit, || {
            for (number, director) in self.directors.iter().enumerate() {
                if director.host.holds(VIP)? != (number == holder) {
                    return Ok(None);
                }
            }
            Ok(Some(()))
        })?;
        Ok(sole.is_some())
    }

    /// The first change of master after `since`.
    pub(super) fn wait_for_takeover(
        &self,
        since: SystemTime,
        limit: Duration,
        interrupt: &Interrupt,
    ) -> Result<Option<Takeover>> {
        interrupt.wait_for(limit, || Ok(self.capture.takeovers_since(since).pop()))
    }
}

impl Director {
    fn new(
        program: &Program,
        switch: &Switch,
        name: &'static str,
        address: &str,
        config: &Path,
        folder: &Path,
    ) -> Result<Self> {
        let host = Host::new(name)?;
        let cable = switch.connect(&host, "eth0")?;
        host.add_address("eth0", address.parse()?)?;
        Ok(Self {
            name,
            echo: Echo::start(&host, ECHO_PORT)?,
            host,
            cable,
            program: program.clone(),
            config: config.to_owned(),
            folder: folder.join(name),
            runs: 0,
            running: None,
            said: Vec::new(),
        })
    }

    /// Starts the daemon.
    pub(super) fn start(&mut self) -> Result<()> {
        self.runs += 1;
        let folder = self.folder.join(self.runs.to_string());
        fs::create_dir_all(&folder).context("making a folder for a daemon")?;
        let command = self.program.command(&self.config, &folder, self.name);
        self.running = Some(self.host.spawn(command)?);
        Ok(())
    }

    /// SIGKILL: the daemon cannot say goodbye, and the kernel keeps what it had configured.
    pub(super) fn kill(&mut self) {
        if let Some(mut process) = self.running.take() {
            process.kill();
            self.said.extend(process.log());
        }
    }

    /// SIGTERM, and the daemon's end.
    pub(super) fn stop(&mut self) -> Result<()> {
        if let Some(mut process) = self.running.take() {
            let ended = process.stop(Duration::from_secs(30));
            self.said.extend(process.log());
            let status = ended.with_context(|| format!("stopping {}", self.name))?;
            anyhow::ensure!(status.success(), "{} ended with {status}", self.name);
        }
        Ok(())
    }

    /// The whole machine dies: no daemon, no network.
    pub(super) fn cut_power(&mut self) -> Result<()> {
        // In this order, or the daemon would notice the cable and still act.
        self.kill();
        self.cable.unplug()
    }

    /// The machine boots: what the kernel had configured is forgotten, the network is there, the daemon starts.
    pub(super) fn power_on(&mut self) -> Result<()> {
        self.host.remove_address(VIP)?;
        self.cable.plug()?;
        self.start()
    }

    /// What the daemon said after `since`.
    pub(super) fn log_since(&self, since: SystemTime) -> Vec<LogLine> {
        let running = self.running.iter().flat_map(Process::log);
        self.said.iter().cloned().chain(running).filter(|line| line.at >= since).collect()
    }

    /// Whether a started daemon has ended by itself.
    pub(super) fn ended_by_itself(&mut self) -> bool {
        self.running.as_mut().is_some_and(|process| !process.is_running())
    }
}

impl Folder {
    fn new() -> Result<Self> {
        let template = std::env::temp_dir().join("buoy-demo-XXXXXX");
        mkdtemp(&template).map(Self).context("making a temporary folder")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}
