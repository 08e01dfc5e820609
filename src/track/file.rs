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
use futures::{FutureExt, StreamExt};
use inotify::{EventMask, EventOwned, Inotify, WatchDescriptor, WatchMask};
use nix::libc;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

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
/// whenever it may have changed.
///
/// # Errors
/// The kernel gives no inotify instance, or takes it back.
pub(super) async fn watch(
    files: Arc<[TrackFile]>,
    mut report: impl FnMut(&TrackFile, Observation),
) -> anyhow::Result<()> {
    let inotify = Inotify::init().context("cannot watch files")?;
    let mut events = inotify.into_event_stream(vec![0; 16 * 1024]).context("cannot wait for file events")?;
    let mut watches = Watches::default();
    let mut stale: BTreeSet<usize> = (0..files.len()).collect();
    loop {
        // Watch first, then read: a change between the two is seen by the watch.
        watches = {
            let (mut inotify, files) = (events.watches(), Arc::clone(&files));
            // Looking up a path waits for its file system.
            let renewed = spawn_blocking(move || {
                watches.renew(&mut inotify, &files);
                watches
            });
            renewed.await.context("watching tracked files")?
        };
        for index in std::mem::take(&mut stale) {
            let Some(file) = files.get(index) else { continue };
            let path = file.path.clone();
            let content = spawn_blocking(move || read(&path)).await.context("reading a tracked file")?;
            report(file, content);
        }
        tokio::select! {
            event = events.next() => {
                let mut next = Some(event);
                // One write makes several events: they are worth one reading.
                while let Some(event) = next {
                    let event = event.context("no more file events")?.context("reading file events")?;
                    stale.extend(watches.handle(&event, files.len()));
                    next = events.next().now_or_never();
                }
            }
            () = sleep(RETRY), if watches.incomplete() => stale.extend(watches.unwatched()),
        }
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
    directory: PathBuf,
    /// Index of a file, and its name in this directory; `None` for any name, because the file is a link
    /// and the next link of a chain may be replaced.
    files: Vec<(usize, Option<OsString>)>,
}

impl Watches {
    fn renew(&mut self, inotify: &mut inotify::Watches, files: &[TrackFile]) {
        let lost = std::mem::take(&mut self.missing);
        for watch in &mut self.held {
            watch.files.clear();
        }
        for (index, file) in files.iter().enumerate() {
            let target = file.path.canonicalize().ok().filter(|target| *target != file.path);
            for path in std::iter::once(&file.path).chain(&target) {
                let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { continue };
                let name = target.is_none().then(|| name.to_owned());
                match self.add(inotify, directory, (index, name)) {
                    Ok(()) => {}
                    Err(error) => {
                        self.missing.insert(index);
                        if !lost.contains(&index) {
                            let (path, error) = (directory.display(), reason(&error));
                            tracing::warn!(file = %file.name, %path, %error, "cannot watch; reading every second");
                        }
                    }
                }
            }
        }
        self.held.retain(|watch| {
            let used = !watch.files.is_empty();
            if !used && let Err(error) = inotify.remove(watch.descriptor.clone()) {
                tracing::debug!(error = %reason(&error), "a watch is gone already");
            }
            used
        });
    }

    fn add(
        &mut self,
        inotify: &mut inotify::Watches,
        directory: &Path,
        file: (usize, Option<OsString>),
    ) -> io::Result<()> {
        if let Some(watch) = self.held.iter_mut().find(|watch| watch.directory == directory) {
            watch.files.push(file);
            return Ok(());
        }
        let descriptor = inotify.add(directory, CHANGES)?;
        self.held.push(Watch { descriptor, directory: directory.to_owned(), files: vec![file] });
        Ok(())
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
