//! The two programs, and how to run one on a host of the laboratory.

use std::cell::Cell;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use buoy::lab::{Host, Process, Program};

pub(crate) struct Contestants {
    pub(crate) buoy: Contestant,
    pub(crate) keepalived: Contestant,
}

impl Contestants {
    /// Runs `take` on both, `rounds` times in turns.
    pub(crate) fn in_turns<T>(
        &self,
        rounds: usize,
        mut take: impl FnMut(&Contestant) -> Result<T>,
    ) -> Result<Pair<Vec<T>>> {
        let mut taken = Pair { buoy: Vec::new(), keepalived: Vec::new() };
        for _ in 0..rounds {
            taken.buoy.push(take(&self.buoy)?);
            taken.keepalived.push(take(&self.keepalived)?);
        }
        Ok(taken)
    }
}

/// The same thing of both programs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pair<T> {
    pub(crate) buoy: T,
    pub(crate) keepalived: T,
}

impl<T> Pair<T> {
    pub(crate) fn map<U>(&self, mut f: impl FnMut(&T) -> U) -> Pair<U> {
        Pair { buoy: f(&self.buoy), keepalived: f(&self.keepalived) }
    }
}

pub(crate) struct Contestant {
    pub(crate) name: &'static str,
    pub(crate) program: Program,
    folder: PathBuf,
    runs: Cell<u32>,
}

impl Contestant {
    pub(crate) fn new(name: &'static str, program: Program, folder: &Path) -> Self {
        Self { name, program, folder: folder.join(name), runs: Cell::new(0) }
    }

    pub(crate) fn path(&self) -> &Path {
        match &self.program {
            Program::Buoy(path) | Program::Keepalived(path) => path,
        }
    }

    /// Starts the program on `host`.
    pub(crate) fn start(&self, host: &Host, configuration: &str) -> Result<Process> {
        self.runs.set(self.runs.get() + 1);
        let folder = self.folder.join(self.runs.get().to_string());
        fs::create_dir_all(&folder).context("making a folder")?;
        let file = folder.join("director.conf");
        fs::write(&file, configuration).context("writing a configuration")?;
        host.spawn(self.program.command(&file, &folder, host.name()))
    }
}

/// One `vrrp_instance` of a configuration for version 3.
pub(crate) struct Instance<'a> {
    pub(crate) interface: &'a str,
    pub(crate) vrid: u8,
    pub(crate) priority: u8,
    pub(crate) interval: Duration,
    pub(crate) address: &'a str,
    pub(crate) excluded: &'a [String],
}

pub(crate) const GLOBAL: &str = "global_defs {\n    vrrp_version 3\n}\n";

impl Instance<'_> {
    pub(crate) fn write(&self, configuration: &mut String) {
        let Self { interface, vrid, priority, interval, address, excluded } = self;
        let interval = interval.as_secs_f64();
        // Writing to a string cannot fail.
        write!(
            configuration,
            "vrrp_instance {interface}_{vrid} {{\n    state BACKUP\n    interface {interface}\n    \
             virtual_router_id {vrid}\n    priority {priority}\n    advert_int {interval}\n    \
             virtual_ipaddress {{\n        {address}\n    }}\n"
        )
        .ok();
        if !excluded.is_empty() {
            let excluded = excluded.join("\n        ");
            write!(configuration, "    virtual_ipaddress_excluded {{\n        {excluded}\n    }}\n").ok();
        }
        configuration.push_str("}\n");
    }
}

/// Polls until `condition` holds.
pub(crate) fn wait_until(
    what: &str,
    limit: Duration,
    pause: Duration,
    mut condition: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let deadline = Instant::now() + limit;
    while !condition()? {
        if Instant::now() > deadline {
            bail!("{what}: not within {limit:?}");
        }
        std::thread::sleep(pause);
    }
    Ok(())
}
