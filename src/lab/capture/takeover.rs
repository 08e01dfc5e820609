use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::Frame;
use super::frame::Advertisement;

/// A change of master, as the wire showed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Takeover {
    /// When the successor first spoke.
    pub at: SystemTime,
    /// From the last advertisement of the old master to the first of the successor.
    pub silence: Duration,
    /// The last word of the old master.
    pub from: Advertisement,
    /// The first word of the successor.
    pub to: Advertisement,
}

impl Takeover {
    /// How long the protocol has the successor wait: three of the master's intervals and the skew, or only
    /// the skew when the master resigned. A successor that preempts does not wait, nor one configured with
    /// another number of missed advertisements (`down_timer_adverts`).
    pub fn timer(&self) -> Duration {
        match self.from.priority {
            0 => self.to.skew(),
            _ => self.from.interval * 3 + self.to.skew(),
        }
    }

    /// How much longer than [`Self::timer`] the silence was, in microseconds; negative when shorter.
    pub fn lateness_us(&self) -> i64 {
        let microseconds = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        microseconds(self.silence) - microseconds(self.timer())
    }
}

/// Virtual routers are told apart by VRID and family; a version 2 and a version 3 router of one VRID are the
/// same one, misconfigured.
pub(super) fn takeovers(frames: &[Frame], since: SystemTime) -> Vec<Takeover> {
    let mut last: BTreeMap<(u8, bool), (SystemTime, &Advertisement)> = BTreeMap::new();
    let mut found: BTreeMap<(u8, bool), Takeover> = BTreeMap::new();
    for frame in frames {
        let Some(to) = frame.advertisement() else { continue };
        let router = (to.vrid, to.source.is_ipv6());
        if last.get(&router).is_some_and(|(spoke, master)| is_objection(frame, to, *spoke, master)) {
            continue;
        }
        let before = last.insert(router, (frame.at, to));
        if let Some((spoke, from)) = before
            && frame.at > since
            && from.source != to.source
            && to.priority > 0
        {
            found.entry(router).or_insert_with(|| Takeover {
                at: frame.at,
                silence: frame.at.duration_since(spoke).unwrap_or_default(),
                from: from.clone(),
                to: to.clone(),
            });
        }
    }
    found.into_values().collect()
}

/// Whether the sender only answers a living master of higher priority, to be outvoted or to remind it of its duties;
/// the latter an interval after it was heard, and a little late.
fn is_objection(frame: &Frame, to: &Advertisement, spoke: SystemTime, master: &Advertisement) -> bool {
    let alive = frame.at.duration_since(spoke).unwrap_or_default() <= master.interval * 3 / 2;
    to.source != master.source && 0 < to.priority && to.priority < master.priority && alive
}
