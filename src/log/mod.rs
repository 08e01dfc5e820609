//! Where log lines go, and how they read.
//!
//! [`init`] sets up one destination: the console (with `-l`), the journal when the service manager has
//! connected us to it, else syslog as keepalived does. Lines never make the caller wait for any of them: what cannot be
//! written is dropped, and for console and journal counted.

mod human;
mod journal;
mod queue;
mod syslog;
mod transition;

use std::io;
use std::os::unix::fs::MetadataExt;

use anyhow::Context;
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
            ident: "Buoy".to_owned(),
            detail: 0,
        }
    }
}

/// Ends logging: dropping it writes out what console or journal have not taken yet, for at most a second.
#[derive(Debug)]
#[must_use = "dropping it ends the log"]
pub struct LogGuard {
    _queue: Option<Queue>,
}

/// Sets up the log of the whole process.
///
/// # Errors
/// A subscriber is installed already, or the thread that writes the log cannot be started.
pub fn init(options: &LogOptions) -> anyhow::Result<LogGuard> {
    let (layer, queue) = layer(options)?;
    tracing_subscriber::registry()
        .with(layer.with_filter(filter(options)))
        .try_init()
        .context("the log is set up already")?;
    Ok(LogGuard { _queue: queue })
}

fn layer(options: &LogOptions) -> anyhow::Result<(Box<dyn Layer<Registry> + Send + Sync>, Option<Queue>)> {
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
            Some(Err(error)) => eprintln!("no syslog ({error}): logging to standard error"),
            None => return Ok((Box::new(tracing_subscriber::layer::Identity::new()), None)),
        }
    }
    let queue = start(Console(io::stderr()))?;
    let writer = queue.entries();
    let layer = if options.json { json(writer) } else { formatted(Human::for_console(), writer) };
    Ok((layer, Some(queue)))
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
