//! What alerts are about.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use buoy_vrrp::{Cause, ContentionSign, Priority, PriorityCause, State, Subject, Transition};
use jiff::Timestamp;
use serde::{Serialize, Serializer};

/// Something that happened in the election.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Transition {
        transition: Transition,
        at: SystemTime,
        /// Ascending from 1; see [`super::Dispatcher::transition`].
        seq: u64,
    },
    /// The effective priority of an instance changed. To be told whether or not the instance has
    /// `notify_priority_changes`: FIFO lines carry the priority.
    PriorityChanged {
        instance: Arc<str>,
        state: State,
        priority: Priority,
        from: Priority,
        cause: PriorityCause,
    },
    /// A master heard an advertisement of a lower priority.
    LowerPriorityHeard {
        instance: Arc<str>,
        /// Who sent it.
        from: IpAddr,
        /// What it said.
        priority: Priority,
    },
    /// A second owner of the addresses showed itself to the master. Once per episode.
    Contention { instance: Arc<str>, sign: ContentionSign },
}

impl Event {
    pub fn subject(&self) -> Subject {
        match self {
            Self::Transition { transition, .. } => transition.subject.clone(),
            Self::PriorityChanged { instance, .. }
            | Self::LowerPriorityHeard { instance, .. }
            | Self::Contention { instance, .. } => Subject::Instance(Arc::clone(instance)),
        }
    }

    /// Whether this tells newer news of what `older` told.
    pub(super) fn supersedes(&self, older: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(older) && self.subject() == older.subject()
    }
}

/// A transition with its place in history. Serializes as the document of `events --json` and webhooks:
///
/// ```json
/// {"seq": 7, "at": "2026-01-02T03:04:05.678Z", "instance": "VI_1", "from": "BACKUP", "to": "MASTER",
///  "cause": {"text": "master 10.0.0.1 resigned (priority 0)", "kind": "master_resigned",
///  "master": "10.0.0.1"}, "priority": 100, "lasted_ms": 12300}
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub seq: u64,
    pub at: SystemTime,
    pub transition: Transition,
}

impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Transition { subject, from, to, cause, priority, lasted } = &self.transition;
        let (instance, group) = match subject {
            Subject::Instance(name) => (Some(&**name), None),
            Subject::Group(name) => (None, Some(&**name)),
        };
        Document {
            seq: self.seq,
            at: rfc3339(self.at),
            instance,
            group,
            from: *from,
            to: *to,
            cause: CauseDocument { text: cause.to_string(), cause },
            priority: *priority,
            lasted_ms: u64::try_from(lasted.as_millis()).unwrap_or(u64::MAX),
        }
        .serialize(serializer)
    }
}

#[derive(Serialize)]
struct Document<'a> {
    seq: u64,
    at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'a str>,
    from: State,
    to: State,
    cause: CauseDocument<'a>,
    priority: Priority,
    lasted_ms: u64,
}

#[derive(Serialize)]
struct CauseDocument<'a> {
    text: String,
    #[serde(flatten)]
    cause: &'a Cause,
}

/// Universal time in milliseconds, as RFC 3339 writes it. A clock outside the years 1..=9999 gives the
/// beginning of 1970.
fn rfc3339(at: SystemTime) -> String {
    format!("{:.3}", Timestamp::try_from(at).unwrap_or(Timestamp::UNIX_EPOCH))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::fixture::{instance, transition};
    use std::time::Duration;

    #[test]
    fn a_record_is_one_flat_document_with_the_evidence_of_its_cause() {
        let master = Some([10, 0, 0, 1].into());
        let silent_for = Some(Duration::from_millis(3609));
        let cause = Cause::MasterDown { master, silent_for, waited: Duration::from_millis(3609) };
        let record = Record {
            seq: 7,
            at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
            transition: transition(instance("VI_1"), State::Backup, State::Master, cause),
        };
        let document = serde_json::to_value(&record).expect("serializes");
        let expected = serde_json::json!({
            "seq": 7,
            "at": "2023-11-14T22:13:20.123Z",
            "instance": "VI_1",
            "from": "BACKUP",
            "to": "MASTER",
            "cause": {
                "text": "master 10.0.0.1 silent for 3.609 s",
                "kind": "master_down",
                "master": "10.0.0.1",
                "silent_for": {"secs": 3, "nanos": 609_000_000},
                "waited": {"secs": 3, "nanos": 609_000_000},
            },
            "priority": 100,
            "lasted_ms": 12300,
        });
        assert_eq!(document, expected);
    }

    #[test]
    fn every_kind_of_cause_is_the_word_that_it_serializes_to() {
        let fault = buoy_vrrp::FaultCause::InterfaceDown { interface: "eth0".into() };
        let address = [10, 0, 0, 1].into();
        let priority = Priority::DEFAULT;
        let causes = [
            Cause::Started,
            Cause::Owner,
            Cause::MasterDown { master: None, silent_for: None, waited: Duration::ZERO },
            Cause::MasterResigned { master: address },
            Cause::Preempted { master: address, priority, ours: priority },
            Cause::HigherPriority { from: address, priority, ours: priority, burdens: Vec::new() },
            Cause::HigherAddress { from: address, priority, ours: address },
            Cause::Fault(fault.clone()),
            Cause::FaultCleared(fault),
            Cause::SyncGroup { group: "G".into(), member: "A".into(), because: Box::new(Cause::Owner) },
            Cause::Stalled { lateness: Duration::ZERO },
            Cause::OwnerConflict { from: address },
            Cause::Reload,
            Cause::Shutdown,
        ];
        for cause in causes {
            let transition = transition(instance("A"), State::Backup, State::Master, cause.clone());
            let record = Record { seq: 1, at: SystemTime::now(), transition };
            let document = serde_json::to_value(&record).expect("serializes");
            assert_eq!(document["cause"]["kind"], cause.kind());
        }
    }
}
