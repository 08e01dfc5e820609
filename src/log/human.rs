//! Lines for people: `TIME LEVEL message key=value ...`.

use std::fmt::{self, Write};

use jiff::Zoned;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

use super::transition::TARGET;

/// The format of console and syslog lines. Transitions are told by their sentence alone, because their
/// fields say the same for machines.
#[derive(Clone, Copy, Debug)]
pub(super) struct Human {
    /// Whether the line has to tell time and level itself.
    heading: bool,
}

impl Human {
    pub(super) fn for_console() -> Self {
        Self { heading: true }
    }

    /// Time and level are in the header of the datagram.
    pub(super) fn for_syslog() -> Self {
        Self { heading: false }
    }
}

impl<S, N> FormatEvent<S, N> for Human
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        if self.heading {
            let now = Zoned::now();
            write!(out, "{} {:<5} ", now.strftime("%Y-%m-%dT%H:%M:%S%.3f%:z"), event.metadata().level())?;
        }
        let mut line = Line::default();
        event.record(&mut line);
        out.write_str(&line.message)?;
        if event.metadata().target() != TARGET {
            out.write_str(&line.fields)?;
        }
        out.write_char('\n')
    }
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Line {
    /// A value with blanks or quotes in it is quoted, so that the line can be taken apart again.
    fn push(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            return self.message.push_str(&one_line(value));
        }
        let plain = !value.is_empty() && !value.contains(|c: char| c.is_whitespace() || c == '"' || c == '=');
        let written = match plain {
            true => write!(self.fields, " {}={value}", field.name()),
            false => write!(self.fields, " {}={value:?}", field.name()),
        };
        debug_assert!(written.is_ok(), "a String takes everything");
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.push(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.push(field, value);
    }
}

/// A message is one line, whatever a peer or a script has put into it.
pub(crate) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
