use std::fs;
use std::io::{self, BufRead, BufReader, PipeReader, pipe};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Host;

/// A program running on a [`Host`]. Dropping the value kills it and its descendants.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: Arc<Log>,
    /// Keeps the thread that started the program: a parent death signal is about that thread.
    host: Host,
}

/// A line of output, standard output and standard error in the order written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    pub at: SystemTime,
    pub text: String,
}

#[derive(Debug, Default)]
struct Log {
    lines: Mutex<Lines>,
    grown: Condvar,
}

#[derive(Debug, Default)]
struct Lines {
    lines: Vec<LogLine>,
    /// Nobody has the output open any more.
    ended: bool,
}

/// Lines kept of one process; what comes after is read and forgotten, so that the writer never blocks.
const LOG_LIMIT: usize = 100_000;

impl Process {
    pub(super) fn start(host: Host, mut command: Command) -> Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let (output, stdout) = pipe().context("pipe for the output of a program")?;
        let stderr = stdout.try_clone().context("pipe for the output of a program")?;
        command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        // The child is born in the namespace of the spawning thread. `command` ends there too and closes our
        // copies of the pipe.
        let child = host
            .run(move || command.spawn())
            .with_context(|| format!("starting {program} on {}", host.name()))?;
        let log = Arc::new(Log::default());
        let collector = Arc::clone(&log);
        thread::Builder::new()
            .name(format!("{}-log", host.name()))
            .spawn(move || collector.collect(output))
            .context("starting a log thread")?;
        Ok(Self { child, log, host })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Sends a signal to the program itself, not to its descendants.
    ///
    /// # Errors
    /// When the program has ended and was waited for.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(pid(self.child.id()), signal).with_context(|| format!("sending {signal}"))
    }

    /// Kills the program and all its descendants with SIGKILL and waits for their end.
    pub fn kill(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        let root = self.child.id();
        // Stopped first, so that a supervising parent cannot restart a child that dies before it.
        kill(pid(root), Signal::SIGSTOP).ok();
        let family = descendants(root);
        for descendant in family.iter().rev() {
            kill(pid(*descendant), Signal::SIGKILL).ok();
        }
        kill(pid(root), Signal::SIGKILL).ok();
        self.child.wait().ok();
        // Orphans are for init to reap; here it is enough that they run no more. The bound is for an id that
        // belongs to a new process by now.
        let deadline = Instant::now() + Duration::from_secs(1);
        while family.iter().any(|id| runs(*id)) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Asks for an orderly stop (SIGTERM) and waits.
    ///
    /// # Errors
    /// When the program has not ended within `limit`.
    pub fn stop(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait(limit)
    }

    /// Waits for the program's end.
    ///
    /// # Errors
    /// When it has not ended within `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().context("waiting for a program")? {
                return Ok(status);
            }
            anyhow::ensure!(Instant::now() < deadline, "still running after {limit:?}");
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Whether the program has not ended yet.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Everything written so far.
    pub fn log(&self) -> Vec<LogLine> {
        self.log.lock().lines.clone()
    }

    /// Waits for a line that contains `text`, one already written included.
    ///
    /// # Errors
    /// When it has not come within `limit`, or the output has ended without it. The message carries the log.
    pub fn wait_for_line(&self, text: &str, limit: Duration) -> Result<LogLine> {
        let deadline = Instant::now() + limit;
        let mut log = self.log.lock();
        loop {
            if let Some(line) = log.lines.iter().find(|line| line.text.contains(text)) {
                return Ok(line.clone());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || log.ended {
                let all: String = log.lines.iter().map(|line| format!("\n    {}", line.text)).collect();
                anyhow::bail!(
                    "no line with {text:?} from {} within {limit:?}; it said:{all}",
                    self.host.name()
                );
            }
            log = self.log.grown.wait_timeout(log, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn collect(&self, output: PipeReader) {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while output.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            let mut log = self.lock();
            if log.lines.len() < LOG_LIMIT {
                log.lines.push(LogLine { at: SystemTime::now(), text });
            }
            self.grown.notify_all();
            line.clear();
        }
        self.lock().ended = true;
        self.grown.notify_all();
    }
}

/// Parents before children.
fn descendants(root: u32) -> Vec<u32> {
    let parents = parents().unwrap_or_default();
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(parents.iter().filter(|(_, its_parent)| *its_parent == parent).map(|(id, _)| *id));
        next += 1;
    }
    found.remove(0);
    found
}

/// Every process of the machine with its parent.
fn parents() -> io::Result<Vec<(u32, u32)>> {
    let ids = fs::read_dir("/proc")?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    Ok(ids.filter_map(|id| Some((id, state_and_parent(id)?.1))).collect())
}

fn runs(id: u32) -> bool {
    state_and_parent(id).is_some_and(|(state, _)| !matches!(state, 'Z' | 'X'))
}

/// proc(5): these two fields follow the command name, which is in parentheses and may hold any character.
fn state_and_parent(id: u32) -> Option<(char, u32)> {
    let stat = fs::read_to_string(Path::new("/proc").join(id.to_string()).join("stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

fn pid(id: u32) -> Pid {
    Pid::from_raw(i32::try_from(id).expect("process ids fit the kernel's pid_t"))
}
