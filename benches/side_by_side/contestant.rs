//! The two programs.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use buoy::lab::Program;

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

/// Where one run of a program has its files.
pub(crate) struct Run {
    pub(crate) folder: PathBuf,
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

    /// A folder for another run, with its configuration in it.
    pub(crate) fn prepare(&self, configuration: &str) -> Result<Run> {
        self.runs.set(self.runs.get() + 1);
        let run = Run { folder: self.folder.join(self.runs.get().to_string()) };
        fs::create_dir_all(&run.folder).context("making a folder")?;
        fs::write(run.configuration(), configuration).context("writing a configuration")?;
        Ok(run)
    }
}

impl Run {
    pub(crate) fn configuration(&self) -> PathBuf {
        self.folder.join("director.conf")
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
