//! Ties commands to the life of the daemon: one that is killed by SIGKILL cannot end its commands, so the kernel has
//! to (`PR_SET_PDEATHSIG` of prctl(2)).
//!
//! That wish is forgotten by fork(2), so it must be told between fork and exec, where Rust allows nothing without
//! `unsafe`. Therefore a command begins as another copy of this program, which tells its wish and then becomes the
//! command. What goes wrong there comes back through a pipe that a successful exec closes.
//!
//! There too it lets go of what the thread that started it has for itself: real-time priority, nice value, processors.
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
use nix::sched::{sched_getaffinity, sched_setaffinity};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, dup2_stdout, getppid};
use rustix::process::{getpriority_process, setpriority_process};
use thread_priority::{
    Error, NormalThreadSchedulePolicy, ThreadPriority, ThreadPriorityValue, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id, thread_schedule_policy,
};
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
    run_like(getppid());
    Ok(())
}

/// Has the calling thread run as the first thread of `process` does, which has what that process was started with. What
/// the kernel refuses stays as it is, for a command that is late is better than none: a user other than root may not
/// lower a nice value.
fn run_like(process: Pid) {
    if let Err(error) = leave_real_time() {
        tracing::debug!(?error, "real-time scheduling stays");
    }
    let nice = getpriority_process(rustix::process::Pid::from_raw(process.as_raw()));
    if let Err(error) = nice.and_then(|nice| setpriority_process(None, nice)) {
        tracing::debug!(%error, "the nice value stays");
    }
    let cpus = sched_getaffinity(process);
    if let Err(error) = cpus.and_then(|cpus| sched_setaffinity(Pid::from_raw(0), &cpus)) {
        tracing::debug!(%error, "the processors stay");
    }
}

fn leave_real_time() -> Result<(), Error> {
    if let ThreadSchedulePolicy::Normal(_) = thread_schedule_policy()? {
        return Ok(());
    }
    // The middle of the scale is nice value 0.
    let middle = ThreadPriorityValue::try_from(50).unwrap_or(ThreadPriorityValue::MIN);
    let policy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Other);
    set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Crossplatform(middle), policy)
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

#[cfg(test)]
mod tests {
    use nix::sched::CpuSet;

    use super::*;

    /// What `change` makes of a thread is forgotten when it runs like the process again.
    fn forgotten<T: PartialEq + std::fmt::Debug + Send + 'static>(
        change: impl FnOnce() + Send + 'static,
        look: impl Fn() -> T + Send + 'static,
    ) {
        let look_again = move || {
            let usual = look();
            change();
            run_like(Pid::this());
            assert_eq!(look(), usual);
        };
        std::thread::spawn(look_again).join().expect("it is as before");
    }

    #[test]
    fn a_command_may_use_all_processors_whatever_the_thread_that_starts_it() {
        let own = || sched_getaffinity(Pid::from_raw(0)).expect("own processors");
        let take_one = move || {
            let all = own();
            let first = (0..CpuSet::count()).find(|cpu| all.is_set(*cpu) == Ok(true)).expect("a processor");
            let mut one = CpuSet::new();
            one.set(first).expect("a possible one");
            sched_setaffinity(Pid::from_raw(0), &one).expect("one of those it has");
        };
        forgotten(take_one, own);
    }

    #[test]
    fn a_command_has_the_nice_value_of_the_process_where_that_is_permitted() {
        let own = || getpriority_process(None).expect("own nice value");
        let hurry = || {
            // Refused to users other than root, who then have nothing to forget.
            let _refused = setpriority_process(None, -5);
        };
        forgotten(hurry, own);
    }

    #[test]
    fn a_command_is_not_scheduled_in_real_time() {
        let own = || format!("{:?}", thread_schedule_policy().expect("own policy"));
        let hurry = || {
            let policy =
                ThreadSchedulePolicy::Realtime(thread_priority::RealtimeThreadSchedulePolicy::RoundRobin);
            // Refused to users other than root.
            let _refused = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, policy);
        };
        forgotten(hurry, own);
    }
}
