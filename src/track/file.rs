//! `vrrp_track_file`: a number in a file. The directories are watched, so that files which are replaced,
//! moved or deleted are noticed like those that are rewritten.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use buoy_vrrp::{Observation, Reading};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use inotify::{EventMask, EventOwned, Inotify, WatchDescriptor, WatchMask};
use nix::libc;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::child::reason;
use crate::config::plan::TrackFile;

/// Rewriting without closing is not seen, as with keepalived. `CREATE` is for links.
const CHANGES: WatchMask = WatchMask::CLOSE_WRITE
    .union(WatchMask::CREATE)
    .union(WatchMask::DELETE)
    .union(WatchMask::MOVED_FROM)
    .union(WatchMask::MOVED_TO)
    .union(WatchMask::DELETE_SELF)
    .union(WatchMask::MOVE_SELF)
    .union(WatchMask::ONLYDIR);
/// How often a directory that cannot be watched is tried again, and its files read.
pub(super) const RETRY: Duration = Duration::from_secs(1);
/// A file system that takes longer to answer hangs.
const PATIENCE: Duration = Duration::from_secs(5);
/// Files that are looked at at the same time, on threads that may hang: others need some as well.
const MAX_LOOKS: usize = 64;
/// A number with its blanks fits in this many bytes; the rest of a file is not read.
const READ_LIMIT: u64 = 128;

/// Writes the files that the configuration wants initialised: missing ones, and with `overwrite` all.
pub(super) fn initialise(files: &[TrackFile]) {
    for file in files {
        let Some((value, overwrite)) = file.init else { continue };
        if let Err(error) = write_initial(&file.path, value, overwrite) {
            let path = file.path.display();
            tracing::warn!(file = %file.name, %path, error = %reason(&error), "cannot initialise");
        }
    }
}

fn write_initial(path: &Path, value: i64, overwrite: bool) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).custom_flags(libc::O_NONBLOCK);
    if overwrite {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    match options.open(path) {
        Ok(mut file) => writeln!(file, "{value}"),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Watches `files` until dropped. `report` gets the content of every file at the start, and again
/// whenever it may have changed. A file whose file system hangs keeps its last content, and the others from nothing.
///
/// # Errors
/// The kernel gives no inotify instance, or takes it back.
pub(super) async fn watch(
    files: Arc<[TrackFile]>,
    report: impl FnMut(&TrackFile, Observation),
) -> anyhow::Result<()> {
    watch_by(read, files, report).await
}

/// The same with another way to read.
async fn watch_by(
    read: impl Fn(&Path) -> Observation + Copy + Send + 'static,
    files: Arc<[TrackFile]>,
    mut report: impl FnMut(&TrackFile, Observation),
) -> anyhow::Result<()> {
    let inotify = Inotify::init().context("cannot watch files")?;
    let mut events = inotify.into_event_stream(vec![0; 16 * 1024]).context("cannot wait for file events")?;
    let mut watches = Watches::default();
    let mut stale: BTreeSet<usize> = (0..files.len()).collect();
    // At most one look at each file, however long it takes.
    let mut looking = BTreeSet::new();
    let mut looks = FuturesUnordered::new();
    let mut retry = interval(RETRY);
    retry.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let next: Vec<usize> = stale.difference(&looking).copied().take(MAX_LOOKS - looks.len()).collect();
        for index in next {
            stale.remove(&index);
            let Some(file) = files.get(index).cloned() else { continue };
            looking.insert(index);
            let mut inotify = events.watches();
            looks.push(async move {
                // Looking up a path waits for its file system.
                let (name, path) = (Arc::clone(&file.name), file.path.clone());
                let mut look = spawn_blocking(move || Look::at(&file, &mut inotify, read));
                let look = match timeout(PATIENCE, &mut look).await {
                    Ok(look) => look,
                    Err(_elapsed) => {
                        let path = path.display();
                        tracing::warn!(file = %name, %path, "its file system hangs; what was read last stays");
                        look.await
                    }
                };
                (index, look)
            });
        }
        tokio::select! {
            event = events.next() => {
                let mut next = Some(event);
                // One write makes several events: they are worth one reading.
                while let Some(event) = next {
                    let event = event.context("no more file events")?.context("reading file events")?;
                    stale.extend(watches.handle(&event, files.len()));
                    // It may be about what is being looked at, whose watches are not known yet.
                    stale.extend(&looking);
                    next = events.next().now_or_never();
                }
            }
            Some((index, look)) = looks.next() => {
                looking.remove(&index);
                let Look { watched, content } = look.context("looking at a tracked file")?;
                let Some(file) = files.get(index) else { continue };
                watches.take_in(index, file, watched);
                if looking.is_empty() {
                    watches.drop_unused(&mut events.watches());
                }
                report(file, content);
            }
            _ = retry.tick(), if watches.incomplete() => stale.extend(watches.unwatched()),
        }
    }
}

/// What one look at a file found.
struct Look {
    /// The directories to be watched for it, and its name there; `None` for any name, because the file is a link
    /// and the next link of a chain may be replaced.
    watched: Result<Vec<Watched>, (PathBuf, io::Error)>,
    content: Observation,
}

type Watched = (WatchDescriptor, Option<OsString>);

impl Look {
    /// Watches first, then reads: a change between the two is seen by the watch.
    fn at(file: &TrackFile, inotify: &mut inotify::Watches, read: impl Fn(&Path) -> Observation) -> Self {
        let target = file.path.canonicalize().ok().filter(|target| *target != file.path);
        let places = std::iter::once(&file.path).chain(&target).filter_map(|path| {
            let name = target.is_none().then(|| path.file_name().map(ToOwned::to_owned));
            Some((path.parent()?, name.flatten()))
        });
        let watch = |(directory, name): (&Path, Option<OsString>)| match inotify.add(directory, CHANGES) {
            Ok(descriptor) => Ok((descriptor, name)),
            Err(error) => Err((directory.to_owned(), error)),
        };
        let watched = places.map(watch).collect();
        Self { watched, content: read(&file.path) }
    }
}

/// Which directory is watched for which files. A file that is a link is watched where it points, too.
#[derive(Default)]
struct Watches {
    held: Vec<Watch>,
    /// Files for which a directory is missing, by index.
    missing: BTreeSet<usize>,
}

struct Watch {
    descriptor: WatchDescriptor,
    /// Index of a file, and its name in this directory if only that counts.
    files: Vec<(usize, Option<OsString>)>,
}

impl Watches {
    fn take_in(
        &mut self,
        index: usize,
        file: &TrackFile,
        watched: Result<Vec<Watched>, (PathBuf, io::Error)>,
    ) {
        for watch in &mut self.held {
            watch.files.retain(|(of, _)| *of != index);
        }
        match watched {
            Ok(watched) => {
                self.missing.remove(&index);
                watched.into_iter().for_each(|(descriptor, name)| self.hold(descriptor, (index, name)));
            }
            Err((directory, error)) => {
                if self.missing.insert(index) {
                    let (path, error) = (directory.display(), reason(&error));
                    tracing::warn!(file = %file.name, %path, %error, "cannot watch; reading every second");
                }
            }
        }
    }

    fn hold(&mut self, descriptor: WatchDescriptor, file: (usize, Option<OsString>)) {
        match self.held.iter_mut().find(|watch| watch.descriptor == descriptor) {
            Some(watch) => watch.files.push(file),
            None => self.held.push(Watch { descriptor, files: vec![file] }),
        }
    }

    /// To be called while no file is looked at, which might just have begun to use one of these.
    fn drop_unused(&mut self, inotify: &mut inotify::Watches) {
        self.held.retain(|watch| {
            let used = !watch.files.is_empty();
            if !used && let Err(error) = inotify.remove(watch.descriptor.clone()) {
                tracing::debug!(error = %reason(&error), "a watch is gone already");
            }
            used
        });
    }

    /// The files, of `all`, that an event may concern: those of its name, or all of the directory when the
    /// event is about that itself.
    fn handle(&mut self, event: &EventOwned, all: usize) -> BTreeSet<usize> {
        if event.mask.contains(EventMask::Q_OVERFLOW) {
            return (0..all).collect();
        }
        let concerned = self
            .held
            .iter()
            .filter(|watch| watch.descriptor == event.wd)
            .flat_map(|watch| &watch.files)
            .filter(|(_, own)| own.is_none() || event.name.is_none() || *own == event.name)
            .map(|(index, _)| *index)
            .collect();
        // The kernel has dropped the watch, or the directory is no longer where its path says.
        if event.mask.intersects(EventMask::IGNORED | EventMask::MOVE_SELF) {
            self.held.retain(|watch| watch.descriptor != event.wd);
        }
        concerned
    }

    fn incomplete(&self) -> bool {
        !self.missing.is_empty()
    }

    fn unwatched(&self) -> impl Iterator<Item = usize> {
        self.missing.iter().copied()
    }
}

/// The number in `path`. What cannot be read counts as 0, as with keepalived, but is told.
fn read(path: &Path) -> Observation {
    let mut text = Vec::new();
    let result = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .and_then(|file| file.take(READ_LIMIT).read_to_end(&mut text));
    let (number, evidence) = match result {
        Err(error) => (0, format!("cannot be read ({}), counts as 0", reason(&error))),
        Ok(_) => {
            let text = String::from_utf8_lossy(&text);
            match number(&text) {
                Some(number) => (number, format!("contains {number}")),
                None if text.trim().is_empty() => (0, "is empty, counts as 0".to_owned()),
                None => (0, format!("contains no number ({:?}), counts as 0", text.trim())),
            }
        }
    };
    Observation { reading: Reading::Number(number), evidence: evidence.into() }
}

/// One integer behind leading blanks: `0x` is base 16, another leading `0` base 8; what does not fit is
/// clamped. What follows the number is ignored.
fn number(text: &str) -> Option<i64> {
    let text = text.trim_start();
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let hexadecimal = text
        .strip_prefix("0x")
        .or_else(|| text.strip_prefix("0X"))
        .filter(|rest| rest.starts_with(|c: char| c.is_ascii_hexdigit()));
    let (radix, digits) = match hexadecimal {
        Some(rest) => (16, rest),
        None if text.starts_with('0') => (8, text),
        None => (10, text),
    };
    let mut value = None;
    for digit in digits.chars().map_while(|c| c.to_digit(radix)) {
        let sum = value.unwrap_or(0_i64).saturating_mul(i64::from(radix));
        let digit = i64::from(digit);
        value = Some(if negative { sum.saturating_sub(digit) } else { sum.saturating_add(digit) });
    }
    value
}

#[cfg(test)]
mod tests;
