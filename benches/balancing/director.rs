//! One run of a program on a host.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use buoy::lab::{Host, Process};
use nix::sys::signal::Signal;

use crate::contestant::{Contestant, Run};
use crate::listing;

pub(crate) struct Director {
    run: Run,
    pub(crate) process: Process,
}

impl Director {
    pub(crate) fn start(contestant: &Contestant, host: &Host, configuration: &str) -> Result<Self> {
        let run = contestant.prepare(configuration)?;
        let mut command =
            contestant.program.balancing_command(&run.configuration(), &run.folder, host.name());
        // Not to the system's log: where none runs, keepalived writes to the console instead.
        command.arg("-G");
        Ok(Self { process: host.spawn(command)?, run })
    }

    /// Puts another configuration in the place of the old one, at once: a program that reads it meanwhile finds one or
    /// the other.
    pub(crate) fn configure(&self, configuration: &[u8]) -> Result<()> {
        let new = self.run.folder.join("director.conf.new");
        fs::write(&new, configuration).context("writing a configuration")?;
        fs::rename(new, self.run.configuration()).context("putting the configuration in its place")
    }

    /// Has the program read its configuration again, as both understand it.
    pub(crate) fn reload(&self) -> Result<()> {
        self.process.signal(Signal::SIGHUP)
    }

    /// What is known, for a measure that fails.
    pub(crate) fn story(&self, host: &Host) -> String {
        let entries = listing::entries(host).unwrap_or_default();
        let log = self.process.log();
        let last: Vec<&str> = log.iter().rev().take(10).map(|line| line.text.as_str()).collect();
        format!("{entries} entries are in IPVS; the log, last line first:\n{}\n", last.join("\n"))
    }

    /// The socket of Buoy.
    pub(crate) fn control(&self) -> PathBuf {
        self.run.folder.join("control")
    }
}
