//! Ties commands to the life of the daemon: one that is killed by SIGKILL cannot end its commands, so the kernel has
//! to (`PR_SET_PDEATHSIG` of prctl(2)).
//!
//! That wish is forgotten by fork(2), so it must be told between fork and exec, where Rust allows nothing without
//! `unsafe`. Therefore a command begins as another copy of this program, which tells its wish and then becomes the
//! command. What goes wrong there comes back through a pipe that a successful exec closes.
//!
//! ```text
//! daemon -- spawn --> buoy (as `buoy-tether`) -- exec --> command
//!    <-- pipe: nothing, or the number of the error --+
//! ```

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{dup2_stdout, getppid};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;

/// The name under which this program is to become a command. Followed by the process id of the daemon and the
/// words of the command.
const NAME: &str = "buoy-tether";
/// This program, also after it was replaced by a newer one, and wherever other users may not look.
const PROGRAM: &str = "/proc/self/exe";
/// As keepalived does: a command gets to clean up.
const DEATH_SIGNAL: Signal = Signal::SIGTERM;

/// Set by the program itself; in a test of the library `/proc/self/exe` is the test.
static AVAILABLE: AtomicBool = AtomicBool::new(false);

/// Has commands started from now on end with this process. To be called by a program whose `main` begins with
/// [`become_command`], in a process whose commands are started by its first thread: it is that thread's end that counts.
pub fn tie_commands_to_this_process() {
    AVAILABLE.store(true, Ordering::Relaxed);
}

/// Becomes the command that the words of the command line name, if this process was started for that. Returns only
/// if it was not, or if that failed.
pub fn become_command(words: &[OsString]) -> Option<ExitCode> {
    let [name, daemon, program, arguments @ ..] = words else { return None };
    if name != NAME {
        return None;
    }
    if let Ok(report) = report_and_silence() {
        let error = match tether(daemon) {
            Ok(()) => Command::new(program).args(arguments).exec(),
            Err(error) => error,
        };
        let number = error.raw_os_error().unwrap_or(nix::libc::EINVAL);
        // Without a daemon that reads it there is nobody to tell.
        let _gone = File::from(report).write_all(&number.to_ne_bytes());
    }
    Some(ExitCode::FAILURE)
}

/// The pipe for bad news, which closes with the exec. From now on standard output leads nowhere.
fn report_and_silence() -> io::Result<OwnedFd> {
    let report = io::stdout().as_fd().try_clone_to_owned()?;
    // Standard error does so already.
    dup2_stdout(io::stderr())?;
    Ok(report)
}

fn tether(daemon: &OsString) -> io::Result<()> {
    set_pdeathsig(DEATH_SIGNAL)?;
    // It may have ended before the kernel knew of our wish.
    if daemon.to_str() != Some(getppid().to_string().as_str()) {
        return Err(Errno::ESRCH.into());
    }
    Ok(())
}

/// A command line that becomes `program` with `arguments`, and where to hear how that went. `None` where commands are not
/// tied to this process.
pub(super) fn tethered(
    program: &str,
    arguments: &[&str],
) -> io::Result<Option<(tokio::process::Command, News)>> {
    if !AVAILABLE.load(Ordering::Relaxed) {
        return Ok(None);
    }
    let (news, report) = io::pipe()?;
    let mut command = tokio::process::Command::new(PROGRAM);
    command.arg0(NAME).arg(std::process::id().to_string()).arg(program).args(arguments).stdout(report);
    Ok(Some((command, News(Receiver::from_owned_fd(news.into())?))))
}

/// Our end of the pipe.
#[derive(Debug)]
pub(super) struct News(Receiver);

impl News {
    /// Waits until the process is the command, or for the reason why it cannot be. Our own copy of the other end must
    /// be closed. Takes as long as starting a program does. Cancel-safe.
    pub(super) async fn outcome(&mut self) -> io::Result<()> {
        let mut number = [0; size_of::<i32>()];
        // So few bytes come at once or not at all.
        match self.0.read(&mut number).await? {
            0 => Ok(()),
            _ => Err(io::Error::from_raw_os_error(i32::from_ne_bytes(number))),
        }
    }
}
