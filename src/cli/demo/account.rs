//! What the demo prints.

use std::fmt;
use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use super::stage::Director;
use crate::lab::capture::Takeover;
use crate::lab::probe::Report;

/// A reader who has seen enough (`| head`) is no reason to stop: the exit code still tells the outcome.
macro_rules! say {
    ($($line:tt)*) => {
        writeln!(io::stdout(), $($line)*).ok()
    };
}

/// Log lines shown of one director and one event.
const LINES: usize = 12;

/// Prints with the time since the start of the story.
pub(super) struct Account {
    start: SystemTime,
    results: Vec<(&'static str, String)>,
}

impl Account {
    pub(super) fn new() -> Self {
        say!(
            "Two directors share the address 192.0.2.100, and a client uses it. All of them are network\n\
             namespaces of this process; your host and its network are not touched.\n\
             \n\
             \x20   client     192.0.2.10  --+\n\
             \x20   director1  192.0.2.1   --+-- switch\n\
             \x20   director2  192.0.2.2   --+\n"
        );
        Self { start: SystemTime::now(), results: Vec::new() }
    }

    pub(super) fn chapter(&self, title: &str) {
        say!("\n{title}\n");
    }

    pub(super) fn tell(&self, what: impl fmt::Display) {
        let now = self.start.elapsed().unwrap_or_default();
        say!("{:7.3} s  {what}", now.as_secs_f64());
    }

    /// The wire's evidence of a takeover, held against the protocol.
    pub(super) fn takeover(&self, takeover: &Takeover, name: &str) {
        let at = takeover.at.duration_since(self.start).unwrap_or_default();
        say!(
            "{:7.3} s  {name} speaks as master, {} after the last advertisement of the old one",
            at.as_secs_f64(),
            Milliseconds(takeover.silence),
        );
        let timer = match takeover.from.priority {
            0 => format!("skew {}", Milliseconds(takeover.to.skew())),
            _ => format!(
                "3 x {} + skew {}",
                Milliseconds(takeover.from.interval),
                Milliseconds(takeover.to.skew())
            ),
        };
        let sign = if takeover.lateness_us() < 0 { '-' } else { '+' };
        say!(
            "           the protocol's timer: {timer} = {}; off by {sign}{}",
            Milliseconds(takeover.timer()),
            Milliseconds(Duration::from_micros(takeover.lateness_us().unsigned_abs())),
        );
    }

    /// What the client noticed, for the summary as well.
    pub(super) fn client(&mut self, event: &'static str, report: &Report) {
        let noticed = format!(
            "longest time without an answer {} ({} of {} questions lost)",
            Milliseconds(report.longest_gap),
            report.lost,
            report.sent,
        );
        say!("           the client asks every millisecond: {noticed}");
        self.results.push((event, noticed));
    }

    /// What the daemons logged about it.
    pub(super) fn logs(&self, directors: &[Director], since: SystemTime) {
        for director in directors {
            let mut lines: Vec<String> =
                director.log_since(since).into_iter().map(|line| line.text).collect();
            lines.dedup();
            // The end tells what came of it; a daemon's first lines are about itself.
            let earlier = lines.len().saturating_sub(LINES);
            if earlier > 0 {
                say!("           {} | ({earlier} lines before)", director.name);
            }
            for line in lines.iter().skip(earlier) {
                say!("           {} | {line}", director.name);
            }
        }
    }

    pub(super) fn summary(&self) {
        say!("\nSummary: what the client noticed\n");
        for (event, noticed) in &self.results {
            say!("  {event:<28} {noticed}");
        }
    }
}

/// Said when the stage is struck.
pub(super) fn last_words(outcome: &str) {
    say!("\n{outcome} Everything is cleaned up.");
}

struct Milliseconds(Duration);

impl fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} ms", self.0.as_secs_f64() * 1000.0)
    }
}
