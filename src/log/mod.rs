//! Where log lines go, and how they read.
//!
//! [`init`] sets up one destination: the console (with `-l`), the journal when the service manager has
//! connected us to it, else syslog as keepalived does; and a file (with `-g`). Lines never make the caller wait for any of them: what cannot be
//! written is dropped, and for console and journal counted.

mod human;
mod journal;
mod queue;
mod syslog;
mod transition;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use nix::libc;
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

use self::human::Human;
use self::journal::Journal;
use self::queue::{Console, Destination, Queue};
use self::syslog::Syslog;

pub(crate) use self::human::one_line;
pub use self::syslog::Facility;
pub use self::transition::{Sentence, event};

/// Overrides what is logged, in the directives of `tracing_subscriber::filter::Targets`:
/// `BUOY_LOG=info,buoy::track=debug`.
const FILTER_VARIABLE: &str = "BUOY_LOG";

/// What the command line says about logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// Write to standard error (`-l`).
    pub console: bool,
    /// Write to the journal, with fields, when standard error is connected to it.
    pub journald: bool,
    /// On the console, one JSON document per line.
    pub json: bool,
    /// Facility for syslog (`-S`); `None` for no syslog (`-G`).
    pub syslog_facility: Option<Facility>,
    /// Append to this file too (`-g`).
    pub file: Option<PathBuf>,
    /// Standard error is not heard for long.
    pub background: bool,
    /// Name in syslog and the journal.
    pub ident: String,
    /// 0: what an operator has to know; 1 (`-D`): debugging too; 2 and more (`-DD`): everything.
    pub detail: u8,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            console: false,
            journald: true,
            json: false,
            syslog_facility: Some(Facility::DAEMON),
            file: None,
            background: false,
            ident: "Buoy".to_owned(),
            detail: 0,
        }
    }
}

/// Ends logging: dropping it writes out what console or journal have not taken yet, for at most a second.
#[derive(Debug)]
#[must_use = "dropping it ends the log"]
pub struct LogGuard {
    _queues: Vec<Queue>,
}

/// Sets up the log of the whole process.
///
/// # Errors
/// A subscriber is installed already, the file cannot be opened, or the thread that writes the log cannot be started.
pub fn init(options: &LogOptions) -> anyhow::Result<LogGuard> {
    let (layer, queue) = layer(options)?;
    let (mut layers, mut queues) = (vec![layer], Vec::from_iter(queue));
    if let Some(path) = &options.file {
        let queue = start(Console(open(path).with_context(|| format!("cannot log to {}", path.display()))?))?;
        layers.push(formatted(Human::for_console(), queue.entries()));
        queues.push(queue);
    }
    tracing_subscriber::registry()
        .with(layers.with_filter(filter(options)))
        .try_init()
        .context("the log is set up already")?;
    Ok(LogGuard { _queues: queues })
}

/// No link: everybody may put one into the folder for temporary files.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).custom_flags(libc::O_NOFOLLOW).open(path)
}

type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

fn layer(options: &LogOptions) -> anyhow::Result<(BoxedLayer, Option<Queue>)> {
    if !options.console {
        if options.journald && stderr_is_journal() {
            match journal::Socket::connect(&options.ident) {
                Ok(socket) => {
                    let queue = start(socket)?;
                    return Ok((Journal::new(queue.entries(), &options.ident).boxed(), Some(queue)));
                }
                Err(error) => eprintln!("cannot write to the journal: {error}"),
            }
        }
        match options.syslog_facility.map(|facility| Syslog::connect(facility, &options.ident)) {
            Some(Ok(syslog)) => {
                return Ok((formatted(Human::for_syslog(), syslog), None));
            }
            // The file has it all.
            Some(Err(_)) if options.background && options.file.is_some() => return Ok((silent(), None)),
            Some(Err(error)) if options.background => eprintln!(
                "buoy: no syslog at /dev/log ({error}): once in the background, it logs nowhere; start syslog, or \
                 name a file with -g"
            ),
            Some(Err(error)) => eprintln!("no syslog ({error}): logging to standard error"),
            None => return Ok((silent(), None)),
        }
    }
    let queue = start(Console(io::stderr()))?;
    let writer = queue.entries();
    let layer = if options.json { json(writer) } else { formatted(Human::for_console(), writer) };
    Ok((layer, Some(queue)))
}

fn silent() -> BoxedLayer {
    Box::new(tracing_subscriber::layer::Identity::new())
}

fn start(destination: impl Destination) -> anyhow::Result<Queue> {
    Queue::before(destination).context("cannot start the thread that writes the log")
}

fn formatted<S, W>(format: Human, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> tracing_subscriber::fmt::MakeWriter<'a> + Send + Sync + 'static,
{
    tracing_subscriber::fmt::layer().with_ansi(false).event_format(format).with_writer(writer).boxed()
}

fn json<S, W>(writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> tracing_subscriber::fmt::MakeWriter<'a> + Send + Sync + 'static,
{
    tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_writer(writer)
        .boxed()
}

/// Buoy's own news by `detail`; of the libraries below it only what went wrong.
fn filter(options: &LogOptions) -> Targets {
    if let Ok(directives) = std::env::var(FILTER_VARIABLE) {
        match directives.parse() {
            Ok(targets) => return targets,
            Err(error) => eprintln!("{FILTER_VARIABLE} is ignored: {error}"),
        }
    }
    let own = match options.detail {
        0 => LevelFilter::INFO,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    Targets::new().with_default(LevelFilter::WARN).with_target("buoy", own)
}

/// Whether standard error is the journal's, as `JOURNAL_STREAM` says (systemd.exec(5)): its device and inode
/// are compared, since the variable is inherited by processes whose standard error is another.
fn stderr_is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let stderr = || -> io::Result<String> {
        let metadata = std::fs::metadata("/proc/self/fd/2")?;
        Ok(format!("{}:{}", metadata.dev(), metadata.ino()))
    };
    stderr().is_ok_and(|stderr| stderr == stream)
}

#[cfg(test)]
mod tests;
