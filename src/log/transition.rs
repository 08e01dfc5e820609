//! One clear line for every change of state.

use std::fmt;
use std::time::Duration;

use buoy_vrrp::{ContentionSign, State, Subject, Transition};

use crate::alert::{Event, ServiceChange};

/// The target of transitions: their message says everything that their fields say.
pub(super) const TARGET: &str = "buoy::transition";

/// Logs an event. FAULT is a warning, and so is a server that is down or a quorum that is lost; other changes of
/// state are information.
pub fn event(event: &Event) {
    match event {
        Event::Transition { transition, seq, .. } => log_transition(transition, *seq),
        Event::PriorityChanged { instance, state, priority, from, cause } => tracing::info!(
            target: TARGET,
            instance = %instance,
            state = %state,
            from = from.get(),
            priority = priority.get(),
            cause = %cause,
            "instance {instance}: priority {from} -> {priority} as {state}: {cause}"
        ),
        // One for each advertisement: the election has its counter.
        Event::LowerPriorityHeard { instance, from, priority } => tracing::debug!(
            target: TARGET,
            instance = %instance,
            peer = %from,
            priority = priority.get(),
            "instance {instance}: {from} advertises the lower priority {priority}"
        ),
        Event::Contention { instance, sign } => tracing::warn!(
            target: TARGET,
            instance = %instance,
            sign = %Sign(sign),
            "instance {instance}: second owner of the addresses ({}): announcing them again, and running notify_master again",
            Sign(sign)
        ),
        Event::Service { change, seq, .. } => log_change(change, *seq),
    }
}

fn log_transition(transition: &Transition, seq: u64) {
    let (instance, group) = match &transition.subject {
        Subject::Instance(name) => (Some(&**name), None),
        Subject::Group(name) => (None, Some(&**name)),
    };
    // Levels are constants of their call site, hence twice the same.
    macro_rules! log {
        ($level:expr) => {
            tracing::event!(
                target: TARGET,
                $level,
                instance,
                group,
                from = %transition.from,
                to = %transition.to,
                cause = %transition.cause,
                cause_kind = transition.cause.kind(),
                priority = transition.priority.get(),
                lasted = transition.lasted.as_secs_f64(),
                seq,
                "{}",
                Sentence(transition)
            )
        };
    }
    match transition.to {
        State::Fault => log!(tracing::Level::WARN),
        _ => log!(tracing::Level::INFO),
    }
}

fn log_change(change: &ServiceChange, seq: u64) {
    // As above.
    macro_rules! log {
        ($level:expr) => {
            tracing::event!(
                target: TARGET,
                $level,
                service = %change.service,
                server = change.server.map(tracing::field::display),
                from = change.from(),
                to = change.to(),
                cause = %change.reason,
                seq,
                "{change}"
            )
        };
    }
    match change.up {
        false => log!(tracing::Level::WARN),
        true => log!(tracing::Level::INFO),
    }
}

/// A transition in words: `instance VI_1: BACKUP -> MASTER: master 10.0.0.1 silent for 3.609 s (backup for
/// 12.3 s, priority 100)`.
#[derive(Clone, Copy, Debug)]
pub struct Sentence<'a>(pub &'a Transition);

impl fmt::Display for Sentence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Transition { subject, from, to, cause, priority, lasted } = self.0;
        let kind = match subject {
            Subject::Instance(_) => "instance",
            Subject::Group(_) => "group",
        };
        let old = from.name().to_ascii_lowercase();
        write!(f, "{kind} {}: {from} -> {to}: {cause} ({old} for {}", subject.name(), Lasted(*lasted))?;
        match subject {
            Subject::Instance(_) => write!(f, ", priority {priority})"),
            Subject::Group(_) => f.write_str(")"),
        }
    }
}

/// What betrayed a second owner, in words.
struct Sign<'a>(&'a ContentionSign);

impl fmt::Display for Sign<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ContentionSign::Advertisement { from, priority } => {
                write!(f, "{from} advertises as master with the lower priority {priority}")
            }
            ContentionSign::Claim { address, mac: [a, b, c, d, e, g] } => {
                write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x} claims {address}")
            }
            ContentionSign::OwnStall => f.write_str("this director did not run for a while"),
        }
    }
}

/// A duration in the two units that matter.
struct Lasted(Duration);

impl fmt::Display for Lasted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600, seconds / 60);
        match () {
            () if days > 0 => write!(f, "{days} d {} h", hours % 24),
            () if hours > 0 => write!(f, "{hours} h {} min", minutes % 60),
            () if minutes > 0 => write!(f, "{minutes} min {} s", seconds % 60),
            () => write!(f, "{seconds}.{} s", self.0.subsec_millis() / 100),
        }
    }
}
