//! `notify_fifo`, `vrrp_notify_fifo` and `lvs_notify_fifo`: one line of text for each change, for a long-running reader.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use buoy_vrrp::{Priority, Subject};
use futures::FutureExt;
use futures::future::join_all;
use nix::libc;
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid, fchown, mkfifo};
use tokio::sync::{Notify, watch};

use super::change::ServiceChange;
use super::settings::{FifoSettings, Label};
use super::shutdown::{Phase, flushing};
use super::subject::Topic;
use crate::child::{Child, Ended, reason};
use crate::config::plan;

/// What a reader gets to end by itself after the end of the file, and again after SIGTERM.
const READER_LEAVE: Duration = Duration::from_secs(1);

/// The FIFOs of a plan, open. They outlive a panic of the task that serves them, so that their readers see
/// no end of file.
#[derive(Debug)]
pub(super) struct Fifos {
    open: Mutex<Vec<Fifo>>,
    opened: AtomicU64,
    changed: Notify,
}

#[derive(Debug)]
struct Fifo {
    settings: plan::Fifo,
    /// Whose lines it gets.
    topics: &'static [Topic],
    /// Tells one that was opened anew from the one before.
    number: u64,
    /// `None` when it cannot be used, or was closed at the end.
    file: Option<File>,
    /// Made by us, so removed by us.
    created: bool,
    /// Lines that found the pipe full.
    dropped: u64,
}

impl Fifos {
    pub(super) fn new() -> Self {
        Self { open: Mutex::default(), opened: AtomicU64::new(0), changed: Notify::new() }
    }

    /// Opens and closes what differs from what is open, and opens anew what somebody removed or replaced. A FIFO
    /// that cannot be used is reported and left out until the next reload.
    pub(super) fn adapt(&self, wanted: &[FifoSettings]) {
        let mut open = self.open();
        open.retain(|fifo| wanted.iter().any(|wanted| fifo.settings == wanted.fifo) && fifo.usable());
        for FifoSettings { fifo: settings, topics } in wanted {
            match open.iter_mut().find(|fifo| fifo.settings == *settings) {
                Some(fifo) => fifo.topics = topics,
                None => open.push(Fifo::open(settings, topics, self.opened.fetch_add(1, Ordering::Relaxed))),
            }
        }
        drop(open);
        self.changed.notify_one();
    }

    /// Writes `INSTANCE "NAME" WORD PRIORITY`, or with `GROUP` and priority 0, to every FIFO for it. Never waits:
    /// a line that does not fit is dropped and counted.
    pub(super) fn write(&self, subject: &Subject, word: &str, priority: Priority) {
        let (kind, priority) = match subject {
            Subject::Instance(_) => ("INSTANCE", priority.get()),
            Subject::Group(_) => ("GROUP", 0),
        };
        self.write_line(Topic::Election, || format!("{kind} \"{}\" {word} {priority}\n", subject.name()));
    }

    /// Writes `RS SERVER SERVICE UP`, or of a quorum `VS SERVICE UP`, in the same way. The names are those of
    /// keepalived, byte for byte; there is no NUL behind the line, as keepalived 2.2.7 writes none.
    pub(super) fn write_change(&self, change: &ServiceChange, service: &Label) {
        self.write_line(Topic::Services, || match change.server {
            Some(server) => format!("RS {} {service} {}\n", service.server(server), change.to()),
            None => format!("VS {service} {}\n", change.to()),
        });
    }

    fn write_line(&self, topic: Topic, line: impl FnOnce() -> String) {
        let mut open = self.open();
        let mut listening = open.iter_mut().filter(|fifo| fifo.topics.contains(&topic)).peekable();
        if listening.peek().is_some() {
            let line = line();
            listening.for_each(|fifo| fifo.write(&line));
        }
    }

    /// Lines that found a pipe full so far.
    pub(super) fn dropped(&self) -> u64 {
        self.open().iter().map(|fifo| fifo.dropped).sum()
    }

    /// Runs the reader scripts until the phase says that all lines are written; then closes the FIFOs,
    /// which is how a reader learns of the end, and ends the readers that do not. Dropping kills them.
    pub(super) async fn run(&self, phase: watch::Receiver<Phase>) {
        let mut readers: Vec<Reader> = Vec::new();
        loop {
            let wanted: Vec<(u64, plan::Fifo)> = {
                let open = self.open();
                let usable = open.iter().filter(|fifo| fifo.file.is_some());
                usable.map(|fifo| (fifo.number, fifo.settings.clone())).collect()
            };
            let (kept, superfluous) = readers
                .into_iter()
                .partition(|reader| wanted.iter().any(|(number, _)| *number == reader.number));
            readers = kept;
            join_all(superfluous.into_iter().map(Reader::end)).await;
            for (number, settings) in wanted {
                if !readers.iter().any(|reader| reader.number == number) {
                    readers.extend(Reader::start(number, settings));
                }
            }
            tokio::select! {
                () = self.changed.notified() => {
                    // One that ended just now is to be noticed first.
                    let _still_running = watch_all(&mut readers).now_or_never();
                    readers.retain(|reader| reader.child.is_some());
                }
                () = flushing(phase.clone()) => break,
                () = watch_all(&mut readers) => {}
            }
        }
        self.open().clear();
        join_all(readers.into_iter().map(Reader::leave)).await;
    }

    fn open(&self) -> MutexGuard<'_, Vec<Fifo>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fifo {
    fn open(settings: &plan::Fifo, topics: &'static [Topic], number: u64) -> Self {
        let path = settings.path.display();
        let (file, created) = match open(settings) {
            Ok((file, created)) => (Some(file), created),
            Err(error) => {
                tracing::error!(%path, error = format!("{error:#}"), "the notify FIFO is not used");
                (None, false)
            }
        };
        Self { settings: settings.clone(), topics, number, file, created, dropped: 0 }
    }

    /// It is open, and readers find it under its path.
    fn usable(&self) -> bool {
        let Some(file) = &self.file else { return false };
        let there = is_at(file, &self.settings.path);
        if !there {
            let path = self.settings.path.display();
            tracing::warn!(%path, "the notify FIFO was removed or replaced by somebody; opening it anew");
        }
        there
    }

    fn write(&mut self, line: &str) {
        let Some(file) = &mut self.file else { return };
        // A line is shorter than PIPE_BUF, so it goes in whole or not at all.
        let Err(error) = file.write_all(line.as_bytes()) else { return };
        if self.dropped == 0 {
            let path = self.settings.path.display();
            tracing::warn!(%path, error = %reason(&error), "nobody reads the notify FIFO: lines are dropped");
        }
        self.dropped += 1;
    }
}

impl Drop for Fifo {
    fn drop(&mut self) {
        if self.dropped > 0 {
            let path = self.settings.path.display();
            tracing::warn!(%path, lines = self.dropped, "lines were dropped because nobody read the notify FIFO");
        }
        // Somebody else's that took its place stays.
        let ours = self.file.as_ref().is_some_and(|file| is_at(file, &self.settings.path));
        if self.created
            && ours
            && let Err(error) = std::fs::remove_file(&self.settings.path)
        {
            let path = self.settings.path.display();
            tracing::debug!(%path, error = %reason(&error), "cannot remove the notify FIFO");
        }
    }
}

/// Whether the path names the open file itself, not a link to it.
fn is_at(file: &File, path: &Path) -> bool {
    let place = |metadata: Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), std::fs::symlink_metadata(path)) {
        (Ok(open), Ok(named)) => place(open) == place(named),
        _ => false,
    }
}

/// Makes the FIFO if it is not there and opens it for both directions, so that writing works before there
/// is a reader. An existing one must be a FIFO of ours or of its configured owner, and no link.
fn open(settings: &plan::Fifo) -> anyhow::Result<(File, bool)> {
    let created = match mkfifo(&settings.path, Mode::from_bits_truncate(0o644)) {
        Ok(()) => true,
        Err(nix::errno::Errno::EEXIST) => false,
        Err(error) => return Err(error).context("cannot make it"),
    };
    let file = open_existing(settings)?;
    if created {
        give(&file, settings)?;
    }
    Ok((file, created))
}

fn open_existing(settings: &plan::Fifo) -> anyhow::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW)
        .open(&settings.path)
        .map_err(|error| io::Error::other(reason(&error)))
        .context("cannot open it")?;
    let metadata = file.metadata().context("cannot look at it")?;
    if !metadata.file_type().is_fifo() {
        bail!("there is something else of that name");
    }
    if !ours(&metadata) && settings.owner.as_ref().is_none_or(|owner| owner.uid != metadata.uid()) {
        bail!("it belongs to user {}", metadata.uid());
    }
    Ok(file)
}

/// Gives a FIFO that was just made to its configured owner: the open one, because somebody who may write to the directory
/// may have put something else of that name there since.
fn give(file: &File, settings: &plan::Fifo) -> anyhow::Result<()> {
    let Some(owner) = &settings.owner else { return Ok(()) };
    let metadata = file.metadata().context("cannot look at it")?;
    if !metadata.file_type().is_fifo() || !ours(&metadata) || metadata.nlink() != 1 {
        bail!("somebody has replaced it");
    }
    fchown(file, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))
        .with_context(|| format!("cannot give it to {}", owner.name))
}

fn ours(metadata: &Metadata) -> bool {
    metadata.uid() == nix::unistd::geteuid().as_raw()
}

/// A reader script at work. One that ends by itself is not started again before the next reload.
struct Reader {
    settings: plan::Fifo,
    /// Of the FIFO that it reads.
    number: u64,
    child: Option<Child>,
}

impl Reader {
    /// `None` when the FIFO has no script.
    fn start(number: u64, settings: plan::Fifo) -> Option<Self> {
        let path = settings.path.to_string_lossy().into_owned();
        let child = match Child::spawn(settings.script.as_ref()?, &[&path]) {
            Ok(child) => Some(child),
            Err(error) => {
                tracing::error!(fifo = %path, result = %Ended::NotStarted(error), "no reader of the notify FIFO");
                None
            }
        };
        Some(Self { settings, number, child })
    }

    async fn leave(mut self) {
        if let Some(child) = &mut self.child
            && let Ended::TimedOut(_) = child.wait_for(READER_LEAVE).await
        {
            self.end().await;
        }
    }

    async fn end(mut self) {
        if let Some(child) = &mut self.child {
            child.terminate(READER_LEAVE).await;
        }
    }

    /// Waits for the reader to end by itself, which is told once.
    async fn watch(&mut self) {
        let Some(child) = &mut self.child else { return std::future::pending().await };
        let ended = child.wait().await;
        let fifo = self.settings.path.display();
        tracing::warn!(%fifo, result = %ended, "the reader of the notify FIFO has ended; a reload starts it again");
        self.child = None;
    }
}

/// Waits until one of the readers ends.
async fn watch_all(readers: &mut [Reader]) {
    let watches: Vec<_> = readers.iter_mut().map(|reader| Box::pin(reader.watch())).collect();
    match watches.is_empty() {
        true => std::future::pending().await,
        false => drop(futures::future::select_all(watches).await),
    }
}

#[cfg(test)]
mod tests;
