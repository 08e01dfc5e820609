//! Processor time and memory of a program: the process, its children and all their threads.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use buoy::lab::Process;

/// Bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// Resident, counting a page that two processes share twice.
    pub(crate) resident: u64,
    /// Resident, counting such a page half for each.
    pub(crate) proportional: u64,
}

pub(crate) fn memory(process: &Process) -> Result<Memory> {
    let mut sum = Memory::default();
    for id in family(process.id()) {
        let text = fs::read_to_string(proc(id).join("smaps_rollup"))
            .with_context(|| format!("memory of process {id}"))?;
        let bytes = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
        };
        sum.resident += bytes("Rss:").unwrap_or_default();
        sum.proportional += bytes("Pss:").unwrap_or_default();
    }
    Ok(sum)
}

/// A look at the processor time used so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meter {
    at: Instant,
    used: Duration,
    own: Duration,
}

impl Meter {
    pub(crate) fn read(process: &Process) -> Result<Self> {
        let at = Instant::now();
        let (mut used, mut own) = (Duration::ZERO, Duration::ZERO);
        for thread in family(process.id()).into_iter().flat_map(threads) {
            // The first number is nanoseconds on a processor: what utime and stime of `stat` add up to, without
            // their rounding to hundredths of a second.
            let path = thread.join("schedstat");
            let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
            used += on_processor(&text).context("schedstat without numbers")?;
            own += in_user_mode(&thread).unwrap_or_default();
        }
        Ok(Self { at, used, own })
    }

    pub(crate) fn since(&self, earlier: &Self) -> Spent {
        Spent {
            used: self.used.saturating_sub(earlier.used),
            own: self.own.saturating_sub(earlier.own),
            elapsed: self.at - earlier.at,
        }
    }
}

/// Between two looks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spent {
    /// Processor time of all threads.
    pub(crate) used: Duration,
    /// What of it was not the kernel's, in hundredths of a second.
    #[allow(dead_code, reason = "not every bench tells the two apart")]
    pub(crate) own: Duration,
    pub(crate) elapsed: Duration,
}

/// Processor time that the calling thread has used so far.
#[allow(dead_code, reason = "not every bench has threads of its own to look at")]
pub(crate) fn cpu_of_this_thread() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    on_processor(&text).unwrap_or_default()
}

fn in_user_mode(thread: &Path) -> Option<Duration> {
    /// `USER_HZ`, which is the same on every architecture that Linux still has.
    const TICKS_PER_SECOND: u64 = 100;
    let text = fs::read_to_string(thread.join("stat")).ok()?;
    // The name, in brackets, may have anything in it; `utime` is the twelfth field after it.
    let (_, fields) = text.rsplit_once(')')?;
    let ticks: u64 = fields.split_whitespace().nth(11)?.parse().ok()?;
    Some(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

fn on_processor(schedstat: &str) -> Option<Duration> {
    let nanoseconds = schedstat.split(' ').next()?.parse().ok()?;
    Some(Duration::from_nanos(nanoseconds))
}

#[expect(clippy::cast_precision_loss, reason = "memory of a process is far below 2^52 bytes")]
pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// The process and its descendants.
fn family(root: u32) -> Vec<u32> {
    let mut found = vec![root];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        for thread in threads(parent) {
            let children = fs::read_to_string(thread.join("children")).unwrap_or_default();
            found.extend(children.split_whitespace().filter_map(|id| id.parse::<u32>().ok()));
        }
        next += 1;
    }
    found
}

fn threads(process: u32) -> Vec<PathBuf> {
    let threads = fs::read_dir(proc(process).join("task")).into_iter().flatten();
    threads.flatten().map(|entry| entry.path()).collect()
}

fn proc(process: u32) -> PathBuf {
    Path::new("/proc").join(process.to_string())
}
