//! The director as a forwarding plane: a thread of its own, and whoever programs it.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::{Director, DirectorError, FrameCounts, Setup};
use crate::engine::connections::Cursor;
use crate::engine::process::{Discards, Listed, Settings};
use crate::io::support::Tier;
use crate::plane::{Plane, PlaneError, Snapshot, Statistics, SyncDaemon, SyncRole, Timeouts};
use crate::refusal::Refusal;
use crate::table::Change;
use crate::virtual_service::ServiceId;

/// What it is called in errors.
const NAME: &str = "the engine";
/// Questions that wait for the thread; more wait until there is room.
const COMMANDS: usize = 16;
/// It answers within this time, also while it makes 40,000 changes.
const PATIENCE: Duration = Duration::from_secs(10);
/// Places of the table that are looked at for a listing at a time, so that packets are not kept waiting.
const PAGE: u32 = 4096;

/// After an error.
const PAUSE: Duration = Duration::from_millis(100);
/// Batches of frames before commands are looked at.
const BATCHES: usize = 64;

type Command = Box<dyn FnOnce(&mut Director) + Send>;

/// The built-in engine on this host. Forwards until it is dropped.
#[derive(Debug)]
pub struct EnginePlane {
    handle: EngineHandle,
    tier: Tier,
    thread: Option<JoinHandle<()>>,
}

/// Asks the engine, from any thread.
#[derive(Clone)]
pub struct EngineHandle {
    commands: SyncSender<Command>,
    shared: Arc<Shared>,
}

impl fmt::Debug for EngineHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineHandle").finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Shared {
    wake: EventFd,
    stop: AtomicBool,
}

impl Shared {
    fn wake(&self) {
        // A full counter wakes as well.
        let _full = self.wake.write(1);
    }
}

/// How the engine fares.
#[derive(Clone, Debug)]
pub struct Condition {
    pub connections: usize,
    /// Connections that the kernel forwards by itself.
    pub offloaded: usize,
    /// Those that it was not given because it had no room.
    pub not_offloaded: u64,
    pub frames: FrameCounts,
    pub discards: Discards,
    /// What went wrong last, if anything did.
    pub trouble: Option<String>,
}

impl EnginePlane {
    /// Starts the engine in the network namespace of this thread.
    ///
    /// # Errors
    /// This host does not let it work, and why.
    pub fn open(setup: Setup) -> Result<Self, DirectorError> {
        let (commands, queue) = sync_channel::<Command>(COMMANDS);
        let (opened, open) = sync_channel(1);
        let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
        let wake = EventFd::from_flags(flags).map_err(|error| DirectorError::Wait(error.into()))?;
        let shared = Arc::new(Shared { wake, stop: AtomicBool::new(false) });
        let handle = EngineHandle { commands, shared: Arc::clone(&shared) };
        let thread = std::thread::Builder::new().name("engine".to_owned()).spawn(move || {
            match Director::open(setup, Instant::now()) {
                Ok(director) => {
                    // Whoever waits for it is there until it is told.
                    let _gone = opened.send(Ok(director.tier()));
                    run(director, &queue, &shared);
                }
                Err(error) => {
                    let _gone = opened.send(Err(error));
                }
            }
        });
        let thread = thread.map_err(DirectorError::Thread)?;
        let panicked = |_| DirectorError::Thread(io::Error::other("it ended before it began"));
        let tier = open.recv().map_err(panicked)??;
        Ok(Self { handle, tier, thread: Some(thread) })
    }

    /// For others to ask too.
    pub fn handle(&self) -> EngineHandle {
        self.handle.clone()
    }

    pub const fn tier(&self) -> Tier {
        self.tier
    }
}

impl Deref for EnginePlane {
    type Target = EngineHandle;

    fn deref(&self) -> &EngineHandle {
        &self.handle
    }
}

impl DerefMut for EnginePlane {
    fn deref_mut(&mut self) -> &mut EngineHandle {
        &mut self.handle
    }
}

impl EngineHandle {
    /// How it fares.
    ///
    /// # Errors
    /// It does not answer.
    pub fn condition(&self) -> Result<Condition, PlaneError> {
        self.ask(|director| Condition {
            connections: director.engine().connections(),
            offloaded: director.offloaded(),
            not_offloaded: director.not_offloaded(),
            frames: director.frame_counts(),
            discards: *director.engine().discards(),
            trouble: director.trouble().map(str::to_owned),
        })
    }

    /// All connections and templates.
    ///
    /// # Errors
    /// It does not answer.
    pub fn connections(&self) -> Result<Vec<Listed>, PlaneError> {
        let (mut all, mut cursor) = (Vec::new(), Some(Cursor::default()));
        while let Some(from) = cursor {
            let (page, next) =
                self.ask(move |director| director.engine().list(from, PAGE, Instant::now()))?;
            all.extend(page);
            cursor = next;
        }
        Ok(all)
    }

    /// Gives connections of these services timeouts of their own, and those of no others.
    ///
    /// # Errors
    /// It does not answer.
    pub fn set_service_timeouts(&self, timeouts: BTreeMap<ServiceId, Timeouts>) -> Result<(), PlaneError> {
        self.ask(move |director| director.engine_mut().set_service_timeouts(timeouts))
    }

    /// Has the engine behave otherwise.
    ///
    /// # Errors
    /// It does not answer.
    pub fn change_settings(
        &self,
        change: impl FnOnce(&mut Settings) + Send + 'static,
    ) -> Result<(), PlaneError> {
        self.ask(move |director| {
            let mut settings = *director.engine().settings();
            change(&mut settings);
            director.engine_mut().set_settings(settings);
        })
    }

    fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Director) -> T + Send + 'static,
    ) -> Result<T, PlaneError> {
        let (answer, answered) = sync_channel(1);
        let command: Command = Box::new(move |director| {
            // Whoever asked may have given up.
            let _gone = answer.send(question(director));
        });
        self.commands.send(command).map_err(|_gone| ended())?;
        self.shared.wake();
        answered.recv_timeout(PATIENCE).map_err(|error| match error {
            RecvTimeoutError::Timeout => PlaneError::Silent(NAME, PATIENCE),
            RecvTimeoutError::Disconnected => ended(),
        })
    }
}

fn ended() -> PlaneError {
    PlaneError::Io { plane: NAME, source: io::Error::other("its thread has ended") }
}

fn failed(error: DirectorError) -> PlaneError {
    PlaneError::Io { plane: NAME, source: io::Error::other(error) }
}

impl Drop for EnginePlane {
    fn drop(&mut self) {
        self.handle.shared.stop.store(true, Ordering::Relaxed);
        self.handle.shared.wake();
        if let Some(thread) = self.thread.take() {
            // If it panicked it has said so.
            let _panicked = thread.join();
        }
    }
}

/// Until it is to stop.
fn run(mut director: Director, commands: &Receiver<Command>, shared: &Shared) {
    while !shared.stop.load(Ordering::Relaxed) {
        if let Err(error) = turn(&mut director, &shared.wake) {
            // Packets go on as far as they can, and the next turn tries again.
            director.note(&error);
            std::thread::sleep(PAUSE);
        }
        for command in commands.try_iter().take(COMMANDS) {
            command(&mut director);
        }
    }
}

/// Waits for something to do, and does it.
fn turn(director: &mut Director, wake: &EventFd) -> Result<(), DirectorError> {
    let timeout = director.poll_timeout().saturating_duration_since(Instant::now());
    let ready = {
        let descriptors = director.descriptors();
        // Those that are not there wait for nothing.
        let nothing = (wake.as_fd(), PollFlags::empty());
        let [tap, ways, backup, master] = descriptors.map(|descriptor| {
            let (fd, events) = descriptor.unwrap_or(nothing);
            PollFd::new(fd, events)
        });
        let mut all = [tap, ways, backup, master, PollFd::new(wake.as_fd(), PollFlags::POLLIN)];
        // Rounded up: what is due is due when it wakes.
        let millis = u16::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(u16::MAX);
        match poll(&mut all, PollTimeout::from(millis)) {
            Ok(_) => {}
            Err(nix::errno::Errno::EINTR) => return Ok(()),
            Err(error) => return Err(DirectorError::Wait(error.into())),
        }
        all.map(|fd| fd.any().unwrap_or(true))
    };
    let [frames, ways, told, free, woken] = ready;
    if woken {
        // Nothing to read is nothing to do.
        let _empty = wake.read();
    }
    let now = Instant::now();
    if ways {
        director.handle_ways(now)?;
    }
    if told || free {
        director.handle_sync(now)?;
    }
    if frames {
        for _ in 0..BATCHES {
            if !director.handle_frames(now)? {
                break;
            }
        }
    }
    if director.poll_timeout() <= now {
        director.handle_timeout(now)?;
    }
    Ok(())
}

/// What it is told it tells the engine, whoever else does.
impl Plane for EngineHandle {
    fn snapshot(&mut self) -> Result<Snapshot, PlaneError> {
        self.ask(|director| Snapshot { table: director.engine().table(), foreign: Vec::new() })
    }

    fn apply(&mut self, changes: &[Change]) -> Result<Vec<Refusal>, PlaneError> {
        let asked = changes.to_vec();
        let outcomes = self.ask(move |director| director.apply(&asked, Instant::now()))?;
        let outcomes = changes.iter().zip(outcomes.map_err(failed)?).enumerate();
        let refused = outcomes.filter_map(|(index, (change, outcome))| {
            outcome.err().map(|reason| Refusal { index, what: change.to_string(), reason })
        });
        Ok(refused.collect())
    }

    fn statistics(&mut self) -> Result<Statistics, PlaneError> {
        self.ask(|director| director.engine().statistics())
    }

    fn zero(&mut self, service: Option<&ServiceId>) -> Result<(), PlaneError> {
        let service = service.copied();
        self.ask(move |director| director.engine_mut().zero(service.as_ref()))?
            .map_err(|reason| PlaneError::Refused { doing: "zero counters".to_owned(), reason })
    }

    fn flush(&mut self) -> Result<(), PlaneError> {
        self.ask(|director| director.flush(Instant::now()))?.map_err(failed)
    }

    fn timeouts(&mut self) -> Result<Timeouts, PlaneError> {
        self.ask(|director| director.engine().timeouts())
    }

    fn set_timeouts(&mut self, timeouts: Timeouts) -> Result<(), PlaneError> {
        self.ask(move |director| director.engine_mut().set_timeouts(&timeouts))?
            .map_err(|reason| PlaneError::Refused { doing: "set timeouts".to_owned(), reason })
    }

    fn sync_daemons(&mut self) -> Result<Vec<SyncDaemon>, PlaneError> {
        self.ask(|director| director.sync_daemons())
    }

    fn start_sync(&mut self, daemon: &SyncDaemon) -> Result<(), PlaneError> {
        let daemon = daemon.clone();
        self.ask(move |director| director.start_sync(&daemon))?
    }

    fn stop_sync(&mut self, role: SyncRole) -> Result<(), PlaneError> {
        self.ask(move |director| director.stop_sync(role))?
    }
}
