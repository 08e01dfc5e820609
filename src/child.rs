//! Commands of the configuration as child processes: each leads a process group of its own, so that what
//! it started can be ended with it.
//!
//! A command runs with the daemon's environment minus `IFS`, `LD_PRELOAD`, `LD_LIBRARY_PATH` and what the
//! service manager meant for the daemon, without standard streams, in the daemon's working directory and with
//! its umask, with the priority and on the processors that the daemon was started with. It ends with the daemon, also
//! when that is killed.

mod tether;

use std::fmt;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::time::timeout;

use crate::config::plan::{Command, User};

pub use tether::{become_command, tie_commands_to_this_process};

/// Variables that commands do not inherit: they change what a shell or a loader does, or make a command speak
/// for the daemon.
const WITHHELD: [&str; 6] =
    ["IFS", "LD_PRELOAD", "LD_LIBRARY_PATH", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// A running command. Dropping it kills its whole group; the runtime reaps the leader.
#[derive(Debug)]
pub struct Child {
    leader: tokio::process::Child,
    /// Cleared once the leader is reaped, because the number may then belong to somebody else.
    group: Option<Pid>,
    /// Where it will be heard that it could not become the command, and what to do then.
    starting: Option<Starting>,
    through_shell: bool,
}

#[derive(Debug)]
struct Starting {
    news: tether::News,
    /// The words of the command and its user, for another attempt through the shell.
    argv: Vec<String>,
    user: Option<User>,
}

impl Child {
    /// Starts `command` with `more` behind its own arguments. A text file without `#!` runs through
    /// `/bin/sh`. Must be called inside a tokio runtime.
    ///
    /// Does not wait until the program runs, which takes for ever where its file system hangs: what the kernel says
    /// about it comes from [`Child::wait`] as [`Ended::NotStarted`].
    ///
    /// # Errors
    /// What the kernel says about another process; an empty command is `InvalidInput`.
    pub fn spawn(command: &Command, more: &[&str]) -> io::Result<Self> {
        let argv: Vec<&str> = command.argv.iter().map(AsRef::as_ref).chain(more.iter().copied()).collect();
        match start(&argv, command.user.as_ref()) {
            Err(error) if needs_shell(&error) => start_in_shell(&argv, command.user.as_ref()),
            started => started,
        }
    }

    fn of(leader: tokio::process::Child, starting: Option<Starting>) -> Self {
        let group = leader.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        Self { leader, group, starting, through_shell: false }
    }

    /// Whether the program turned out to be a script without `#!`. Known when it has ended.
    pub fn through_shell(&self) -> bool {
        self.through_shell
    }

    /// Waits for the leader to end. Cancel-safe.
    pub async fn wait(&mut self) -> Ended {
        while let Some(starting) = &mut self.starting {
            let outcome = starting.news.outcome().await;
            let Some(Starting { argv, user, .. }) = self.starting.take() else { break };
            match outcome {
                Err(error) if needs_shell(&error) && !self.through_shell => {
                    let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
                    match start_in_shell(&argv, user.as_ref()) {
                        Ok(child) => *self = child,
                        Err(error) => return Ended::NotStarted(error),
                    }
                }
                Err(error) => return Ended::NotStarted(error),
                Ok(()) => {}
            }
        }
        match self.leader.wait().await {
            Ok(status) => {
                self.group = None;
                Ended::Exited(status)
            }
            Err(error) => Ended::Lost(error),
        }
    }

    /// Waits for the leader to end, at most `limit`. Cancel-safe. After [`Ended::TimedOut`] the command
    /// still runs: see [`Child::terminate`].
    pub async fn wait_for(&mut self, limit: Duration) -> Ended {
        timeout(limit, self.wait()).await.unwrap_or(Ended::TimedOut(limit))
    }

    /// SIGTERM to the group; SIGKILL to what is left of it when the leader has gone or `grace` is over.
    pub async fn terminate(&mut self, grace: Duration) {
        let Some(group) = self.group else { return };
        signal(group, Signal::SIGTERM);
        let reaped = timeout(grace, self.leader.wait()).await.is_ok();
        // A group that still has members keeps its number, so this cannot hit a stranger.
        signal(group, Signal::SIGKILL);
        if reaped || self.leader.wait().await.is_ok() {
            self.group = None;
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Some(group) = self.group {
            signal(group, Signal::SIGKILL);
        }
    }
}

/// Runs `command` to its end; after `limit` its group gets SIGTERM, and SIGKILL `grace` later.
pub async fn run(command: &Command, more: &[&str], limit: Duration, grace: Duration) -> Ended {
    let mut child = match Child::spawn(command, more) {
        Ok(child) => child,
        Err(error) => return Ended::NotStarted(error),
    };
    let ended = child.wait_for(limit).await;
    if matches!(ended, Ended::TimedOut(_)) {
        child.terminate(grace).await;
    }
    ended
}

/// How a command ended, in words for people.
#[derive(Debug)]
pub enum Ended {
    Exited(ExitStatus),
    TimedOut(Duration),
    NotStarted(io::Error),
    /// Its status could not be collected.
    Lost(io::Error),
}

impl Ended {
    pub fn success(&self) -> bool {
        matches!(self, Self::Exited(status) if status.success())
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(status) => match (status.code(), status.signal()) {
                (Some(code), _) => write!(f, "exit status {code}"),
                (None, Some(signal)) => write!(f, "killed by signal {signal}"),
                (None, None) => status.fmt(f),
            },
            Self::TimedOut(limit) => write!(f, "timed out after {} s", limit.as_secs_f64()),
            Self::NotStarted(error) => write!(f, "cannot start: {}", reason(error)),
            Self::Lost(error) => write!(f, "lost: {}", reason(error)),
        }
    }
}

/// The words for an error of the kernel, without its number.
pub fn reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => Errno::from_raw(number).desc().to_owned(),
        None => error.to_string(),
    }
}

fn needs_shell(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::ENOEXEC as i32)
}

fn start_in_shell(argv: &[&str], user: Option<&User>) -> io::Result<Child> {
    let argv: Vec<&str> = ["/bin/sh"].into_iter().chain(argv.iter().copied()).collect();
    let mut child = start(&argv, user)?;
    child.through_shell = true;
    Ok(child)
}

fn start(argv: &[&str], user: Option<&User>) -> io::Result<Child> {
    let (program, arguments) =
        argv.split_first().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "empty command"))?;
    if let Some((mut command, news)) = tether::tethered(program, arguments)? {
        let leader = prepare(&mut command, user).spawn();
        // Closes our copy of the pipe's other end.
        drop(command);
        // A user who may not run this program runs the command without a tether.
        if let Ok(leader) = leader {
            let argv = argv.iter().map(|&word| word.to_owned()).collect();
            return Ok(Child::of(leader, Some(Starting { news, argv, user: user.cloned() })));
        }
    }
    let mut command = tokio::process::Command::new(program);
    let leader = prepare(command.args(arguments).stdout(Stdio::null()), user).spawn()?;
    Ok(Child::of(leader, None))
}

/// What all commands have in common. Standard output is the caller's to choose.
fn prepare<'c>(
    command: &'c mut tokio::process::Command,
    user: Option<&User>,
) -> &'c mut tokio::process::Command {
    command.process_group(0).stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    for variable in WITHHELD {
        command.env_remove(variable);
    }
    // Setting what is already so would need privileges that a user namespace does not give.
    if let Some(user) = user {
        if user.gid != nix::unistd::getegid().as_raw() {
            command.gid(user.gid);
        }
        if user.uid != nix::unistd::geteuid().as_raw() {
            command.uid(user.uid);
        }
    }
    command
}

/// A group that has gone meanwhile is as good as signalled.
fn signal(group: Pid, signal: Signal) {
    if let Err(error) = killpg(group, signal)
        && error != Errno::ESRCH
    {
        tracing::warn!(%group, %signal, %error, "cannot signal a process group");
    }
}

#[cfg(test)]
mod tests;
