//! From the state of a tracked object to priority and fault.
//!
//! A tracker with weight 0 decides: down means FAULT. Any other weight moves the priority: positive is
//! added while the object is up, negative while it is down. `reverse` swaps the meaning. A tracked file
//! multiplies its number by the weight. (keepalived.conf(5), "track_script", "track_file")

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// What is observed. One target may be tracked by many routers, each with a weight of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    Interface(Arc<str>),
    Script(Arc<str>),
    File(Arc<str>),
    Process(Arc<str>),
    Bfd(Arc<str>),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, name) = match self {
            Self::Interface(n) => ("interface", n),
            Self::Script(n) => ("script", n),
            Self::File(n) => ("file", n),
            Self::Process(n) => ("process", n),
            Self::Bfd(n) => ("bfd session", n),
        };
        write!(f, "{kind} {name}")
    }
}

/// The state of a target, with the words that explain it ("exit status 1", "carrier lost").
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Observation {
    pub reading: Reading,
    pub evidence: Arc<str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Reading {
    /// No result yet: a weight-0 tracker keeps its router from starting.
    Unknown,
    Up,
    Down,
    /// The number in a tracked file.
    Number(i64),
}

/// How one router uses one target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tracker {
    pub target: Target,
    /// 0 decides between up and FAULT; otherwise -254..=254.
    pub weight: i32,
    pub reverse: bool,
}

/// What a reading means to a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Not known yet and able to cause a fault.
    Pending,
    Fault,
    Priority(i32),
}

impl Tracker {
    /// Whether another reading would give the router more priority. A number in a file has no best value: it is a
    /// burden when it takes something away.
    pub fn is_burden(&self, reading: Reading) -> bool {
        let Effect::Priority(amount) = self.effect(reading) else { return false };
        let best = match reading {
            Reading::Unknown => return false,
            Reading::Number(_) => 0,
            Reading::Up | Reading::Down => [Reading::Up, Reading::Down]
                .into_iter()
                .filter_map(|reading| match self.effect(reading) {
                    Effect::Priority(amount) => Some(amount),
                    Effect::Pending | Effect::Fault => None,
                })
                .fold(amount, i32::max),
        };
        amount < best
    }

    /// The effect of `reading` on the router that owns this tracker.
    pub fn effect(&self, reading: Reading) -> Effect {
        let direction = if self.reverse { -1 } else { 1 };
        match (self.weight, reading) {
            (0, Reading::Unknown) => Effect::Pending,
            (_, Reading::Unknown) => Effect::Priority(0),
            (0, Reading::Up) if self.reverse => Effect::Fault,
            (0, Reading::Down) if !self.reverse => Effect::Fault,
            // Weight 0 on a file: a number other than zero is the failure.
            (0, Reading::Number(n)) if (n != 0) != self.reverse => Effect::Fault,
            (0, _) => Effect::Priority(0),
            (w, Reading::Up) if w > 0 => Effect::Priority(w * direction),
            (w, Reading::Down) if w < 0 => Effect::Priority(w * direction),
            (_, Reading::Up | Reading::Down) => Effect::Priority(0),
            (w, Reading::Number(n)) => {
                let amount = n.saturating_mul(i64::from(w * direction));
                if amount <= -254 {
                    Effect::Fault
                } else {
                    Effect::Priority(i32::try_from(amount.min(253)).unwrap_or(253))
                }
            }
        }
    }
}
