//! What the process is to its system: namespace, pid files, standing in the background, privileges of files.

use std::fs::{File, Permissions};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};
use nix::sys::stat::{Mode, umask};

use crate::cli::RunArgs;

/// Where to look for a configuration when none is named, in this order.
const CONFIGURATIONS: [&str; 3] =
    ["etc/buoy/buoy.conf", "etc/buoy/buoy.toml", "etc/keepalived/keepalived.conf"];

/// The configuration that `args` means.
pub(super) fn configuration(args: &RunArgs) -> Result<PathBuf> {
    let named = args.config.clone().or_else(|| usual_configuration(Path::new("/")));
    named.with_context(|| {
        format!("no configuration: none of /{} exists; name one with -f", CONFIGURATIONS.join(", /"))
    })
}

/// The first of the usual configurations that exists below `root`.
fn usual_configuration(root: &Path) -> Option<PathBuf> {
    CONFIGURATIONS.iter().map(|path| root.join(path)).find(|path| path.exists())
}

/// `keepalived` if the program was called so, else `buoy`: what is watched under the old name stays there.
pub(super) fn name() -> &'static str {
    let called = std::env::args_os().next().map(PathBuf::from);
    match called.as_deref().and_then(Path::file_name) {
        Some(name) if name == "keepalived" => "keepalived",
        _ => "buoy",
    }
}

/// Joins the network namespace `/run/netns/NAME`. Before any thread is started: threads inherit it.
pub(super) fn join_namespace(name: &str) -> Result<()> {
    let path = Path::new("/run/netns").join(name);
    let file =
        File::open(&path).with_context(|| format!("no network namespace {name} ({})", path.display()))?;
    setns(file.as_fd(), CloneFlags::CLONE_NEWNET)
        .with_context(|| format!("cannot join network namespace {name} (CAP_SYS_ADMIN)"))
}

/// Closes what this process was started with besides its standard streams: scripts would inherit it. Before anything else
/// is opened.
pub(super) fn close_inherited() {
    let Ok(listed) = std::fs::read_dir("/proc/self/fd") else { return };
    let numbers: Vec<i32> =
        listed.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for number in numbers.into_iter().filter(|number| *number > 2) {
        // The listing itself was open, and is closed already.
        let _closed = nix::unistd::close(number);
    }
}

/// Makes the paths of `args` independent of the folder that this process is in: in the background it is another.
pub(super) fn make_absolute(args: &mut RunArgs) -> Result<()> {
    let files = [&mut args.pid, &mut args.vrrp_pid, &mut args.checkers_pid, &mut args.bfd_pid];
    let log = args.log_file.as_mut().filter(|log| log.as_path() != Path::new("-"));
    let named = files.into_iter().filter_map(Option::as_mut).chain(log);
    for path in named.chain([&mut args.control]) {
        *path = std::path::absolute(&*path).with_context(|| format!("cannot find {}", path.display()))?;
    }
    Ok(())
}

/// Sets the file creation mask; `text` is octal (`-u`).
pub(super) fn set_umask(text: Option<&str>, configured: u32) -> Result<()> {
    let mask = match text {
        Some(text) => u32::from_str_radix(text.trim_start_matches("0o"), 8)
            .with_context(|| format!("-u {text} is no octal number"))?,
        None => configured,
    };
    umask(Mode::from_bits_truncate(mask));
    Ok(())
}

/// Makes a folder that everybody may enter, whatever the file creation mask.
pub(crate) fn make_folder(path: &Path) -> Result<()> {
    // The parent of a plain name is the folder that we are in.
    if path.is_dir() || path.as_os_str().is_empty() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        make_folder(parent)?;
    }
    std::fs::create_dir(path).with_context(|| format!("cannot create {}", path.display()))?;
    std::fs::set_permissions(path, Permissions::from_mode(0o755))
        .with_context(|| format!("cannot open {} for others", path.display()))
}

/// Pid files of this daemon; removed when dropped.
#[derive(Debug)]
pub(super) struct PidFiles {
    paths: Vec<PathBuf>,
}

impl PidFiles {
    /// Writes the process id to every path, unless a living process is named there.
    pub(super) fn write(paths: Vec<PathBuf>) -> Result<Self> {
        for path in &paths {
            if let Some(pid) = living(path) {
                bail!("already running as process {pid}, says {}", path.display());
            }
        }
        let mut files = Self { paths: Vec::new() };
        for path in paths {
            if let Some(parent) = path.parent() {
                make_folder(parent)?;
            }
            std::fs::write(&path, format!("{}\n", std::process::id()))
                .with_context(|| format!("cannot write the pid file {}", path.display()))?;
            files.paths.push(path);
        }
        Ok(files)
    }
}

impl Drop for PidFiles {
    fn drop(&mut self) {
        for path in &self.paths {
            // Nothing is lost if somebody was faster.
            let _gone = std::fs::remove_file(path);
        }
    }
}

/// The director that a pid file names, if it lives and is not this process. After a crash the number may belong to a
/// stranger, or to what is left of a killed daemon that nobody has waited for; neither may hinder the next start.
fn living(path: &Path) -> Option<u32> {
    let pid: u32 = std::fs::read_to_string(path).ok()?.trim().parse().ok()?;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    (pid != std::process::id() && is_living_director(&stat)).then_some(pid)
}

/// From the line of proc(5): the name stands in parentheses and may hold any character, the state follows.
fn is_living_director(stat: &str) -> bool {
    let Some((head, tail)) = stat.rsplit_once(')') else { return false };
    let name = head.split_once('(').map_or("", |(_, name)| name);
    let gone = tail.trim_start().starts_with(['Z', 'X']);
    !gone && ["buoy", "keepalived"].iter().any(|own| name.starts_with(own))
}

/// Capabilities without which nothing works, and their bits (capabilities(7)).
const NEEDED: [(&str, u32); 2] = [("CAP_NET_ADMIN", 12), ("CAP_NET_RAW", 13)];

/// The needed capabilities that this process does not have.
pub(super) fn missing_capabilities() -> Vec<&'static str> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    lacking(&status)
}

/// The same, from the text of `/proc/PID/status`. Without that text nothing is known to be missing.
fn lacking(status: &str) -> Vec<&'static str> {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let Some(held) = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()) else {
        return Vec::new();
    };
    NEEDED.iter().filter(|(_, bit)| held & (1 << bit) == 0).map(|(name, _)| *name).collect()
}

/// The line by which the daemon in the background tells the one in the foreground that it stands.
const READY: &[u8] = b"ready\n";

/// Starts this program again in the background and waits until it stands, or has failed.
pub(super) fn detach() -> Result<ExitCode> {
    let program = std::env::current_exe().context("cannot find my own program")?;
    let name = std::env::args_os().next().unwrap_or_else(|| program.clone().into_os_string());
    let mut child = Command::new(&program)
        .arg0(name)
        .args(std::env::args_os().skip(1))
        .arg("--detached")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the daemon in the background")?;
    let mut said = Vec::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_end(&mut said).context("cannot hear the daemon in the background")?;
    }
    if said == READY {
        return Ok(ExitCode::SUCCESS);
    }
    let status = child.wait().context("cannot wait for the daemon in the background")?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// In the background: leave the terminal's session.
pub(super) fn become_detached() -> Result<()> {
    nix::unistd::setsid().context("cannot leave the session of the terminal")?;
    std::env::set_current_dir("/").context("cannot change to /")
}

/// In the background: tell the one in the foreground, and let go of its output.
pub(super) fn announce_detached() -> Result<()> {
    let mut stdout = std::io::stdout();
    stdout.write_all(READY)?;
    stdout.flush()?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    nix::unistd::dup2_stdout(&null)?;
    nix::unistd::dup2_stderr(&null)?;
    Ok(())
}

/// keepalived's signal names and their numbers here.
pub(super) fn signal_number(name: &str) -> Option<i32> {
    use nix::sys::signal::Signal;
    match name {
        "STOP" => Some(Signal::SIGTERM as i32),
        "RELOAD" => Some(Signal::SIGHUP as i32),
        "DATA" => Some(Signal::SIGUSR1 as i32),
        "STATS" => Some(Signal::SIGUSR2 as i32),
        "STATS_CLEAR" => Some(nix::libc::SIGRTMAX() - 1),
        "JSON" => Some(nix::libc::SIGRTMIN() + 2),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_configuration_comes_before_that_of_keepalived() {
        let root = tempfile::tempdir().expect("temporary directory");
        assert_eq!(usual_configuration(root.path()), None);
        for name in CONFIGURATIONS.iter().rev() {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().expect("in a folder")).expect("folder");
            std::fs::write(&path, "").expect("file");
            assert_eq!(usual_configuration(root.path()), Some(path));
        }
    }

    #[test]
    fn capabilities_are_read_from_the_status_of_the_process() {
        assert_eq!(lacking("CapInh:\t0000000000000000\nCapEff:\t000001ffffffffff\n"), Vec::<&str>::new());
        assert_eq!(lacking("CapEff:\t0000000000002000\n"), ["CAP_NET_ADMIN"]);
        assert_eq!(lacking("CapEff:\t0000000000000000\n"), ["CAP_NET_ADMIN", "CAP_NET_RAW"]);
        assert_eq!(lacking("Name:\tbuoy\n"), Vec::<&str>::new());
    }

    #[test]
    fn only_a_living_director_hinders_a_start() {
        assert!(is_living_director("17 (buoy) S 1 17 17"));
        assert!(is_living_director("17 (keepalived) R 1 17 17"));
        assert!(!is_living_director("17 (buoy) Z 1 17 17"), "killed and not waited for");
        assert!(!is_living_director("17 (bash) S 1 17 17"), "the number was used again");
        assert!(!is_living_director("17 (a) S (x) R 1"));
        assert!(!is_living_director(""));
    }

    #[test]
    fn pid_files_are_written_and_removed() {
        let folder = tempfile::tempdir().expect("temporary directory");
        let path = folder.path().join("run/buoy.pid");
        let files = PidFiles::write(vec![path.clone()]).expect("written");
        assert_eq!(std::fs::read_to_string(&path).expect("is there").trim(), std::process::id().to_string());
        drop(files);
        assert!(!path.exists());
    }

    #[test]
    fn the_folder_of_a_plain_name_is_there() {
        make_folder(Path::new("x.pid").parent().expect("an empty one")).expect("nothing to make");
    }

    #[test]
    fn signals_have_the_numbers_of_keepalived() {
        assert_eq!(signal_number("STOP"), Some(15));
        assert_eq!(signal_number("RELOAD"), Some(1));
        assert_eq!(signal_number("DATA"), Some(10));
        assert_eq!(signal_number("STATS"), Some(12));
        assert_eq!(signal_number("TDUMP"), None);
    }
}
