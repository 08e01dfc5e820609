//! On what the numbers were taken.

use std::fs;
use std::process::Command;

use crate::contestant::{Contestant, Contestants};

pub(crate) fn facts(contestants: &Contestants) -> String {
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "{} processors ({}), {} of memory, Linux {}, load {}; {}, {}",
        processors,
        field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned()),
        field("/proc/meminfo", "MemTotal").unwrap_or_else(|| "unknown".to_owned()),
        read("/proc/sys/kernel/osrelease"),
        read("/proc/loadavg").split(' ').next().unwrap_or_default(),
        version(&contestants.buoy),
        version(&contestants.keepalived),
    )
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn field(path: &str, name: &str) -> Option<String> {
    let text = read(path);
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The first line of `--version`, up to the date of the build.
fn version(contestant: &Contestant) -> String {
    let output = Command::new(contestant.path()).arg("--version").output();
    let text = output.map(|o| [o.stdout, o.stderr].concat()).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let line = text.lines().next().unwrap_or(contestant.name);
    line.split(" (").next().unwrap_or(line).to_owned()
}
