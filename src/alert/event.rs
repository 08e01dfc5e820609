//! What alerts are about.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use buoy_vrrp::{Cause, ContentionSign, Priority, PriorityCause, State, Transition};
use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::change::ServiceChange;
use super::subject::Subject;

/// Something that happened in the election, or to virtual servers.
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
    Service {
        change: ServiceChange,
        at: SystemTime,
        /// From the same numbers as those of transitions.
        seq: u64,
    },
}

/// News of one kind about one subject: the newest is what counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Matter {
    kind: Kind,
    pub(super) subject: Subject,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    State,
    Priority,
    LowerPriority,
    Contention,
}

impl Event {
    pub(super) fn matter(&self) -> Matter {
        let of_instance = |name: &Arc<str>| buoy_vrrp::Subject::Instance(Arc::clone(name)).into();
        let (kind, subject) = match self {
            Self::Transition { transition, .. } => (Kind::State, transition.subject.clone().into()),
            Self::PriorityChanged { instance, .. } => (Kind::Priority, of_instance(instance)),
            Self::LowerPriorityHeard { instance, .. } => (Kind::LowerPriority, of_instance(instance)),
            Self::Contention { instance, .. } => (Kind::Contention, of_instance(instance)),
            Self::Service { change, .. } => (Kind::State, change.subject()),
        };
        Matter { kind, subject }
    }
}

/// A change of state with its place in history. Serializes as the document of `events --json` and webhooks:
///
/// ```json
/// {"seq": 7, "at": "2026-01-02T03:04:05.678Z", "instance": "VI_1", "from": "BACKUP", "to": "MASTER",
///  "cause": {"text": "master 10.0.0.1 resigned (priority 0)", "kind": "master_resigned",
///  "master": "10.0.0.1"}, "priority": 100, "lasted_ms": 12300}
/// {"seq": 8, "at": "2026-01-02T03:04:06.789Z", "service": "TCP 10.0.0.1:80", "server": "10.1.0.1:80",
///  "from": "UP", "to": "DOWN", "cause": {"text": "connection refused"}}
/// ```
///
/// A sync group has `group` in place of `instance`; without a `server` it is the quorum of the service that
/// was gained (`UP`) or lost.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub seq: u64,
    pub at: SystemTime,
    pub news: News,
}

#[derive(Clone, Debug, PartialEq)]
pub enum News {
    Transition(Transition),
    Service(ServiceChange),
}

impl Record {
    pub(super) fn subject(&self) -> Subject {
        match &self.news {
            News::Transition(transition) => transition.subject.clone().into(),
            News::Service(change) => change.subject(),
        }
    }
}

impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (seq, at) = (self.seq, rfc3339(self.at));
        match &self.news {
            News::Transition(transition) => {
                TransitionDocument::new(seq, at, transition).serialize(serializer)
            }
            News::Service(change) => ServiceDocument::new(seq, at, change).serialize(serializer),
        }
    }
}

#[derive(Serialize)]
struct TransitionDocument<'a> {
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

impl<'a> TransitionDocument<'a> {
    fn new(seq: u64, at: String, transition: &'a Transition) -> Self {
        let Transition { subject, from, to, cause, priority, lasted } = transition;
        let (instance, group) = match subject {
            buoy_vrrp::Subject::Instance(name) => (Some(&**name), None),
            buoy_vrrp::Subject::Group(name) => (None, Some(&**name)),
        };
        Self {
            seq,
            at,
            instance,
            group,
            from: *from,
            to: *to,
            cause: CauseDocument { text: cause.to_string(), cause },
            priority: *priority,
            lasted_ms: u64::try_from(lasted.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

#[derive(Serialize)]
struct CauseDocument<'a> {
    text: String,
    #[serde(flatten)]
    cause: &'a Cause,
}

#[derive(Serialize)]
struct ServiceDocument<'a> {
    seq: u64,
    at: String,
    service: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<String>,
    from: &'static str,
    to: &'static str,
    cause: ReasonDocument<'a>,
}

#[derive(Serialize)]
struct ReasonDocument<'a> {
    text: &'a str,
}

impl<'a> ServiceDocument<'a> {
    fn new(seq: u64, at: String, change: &'a ServiceChange) -> Self {
        Self {
            seq,
            at,
            service: &change.service,
            server: change.server.map(|server| server.to_string()),
            from: change.from(),
            to: change.to(),
            cause: ReasonDocument { text: &change.reason },
        }
    }
}

/// Universal time in milliseconds, as RFC 3339 writes it. A clock outside the years 1..=9999 gives the
/// beginning of 1970.
fn rfc3339(at: SystemTime) -> String {
    format!("{:.3}", Timestamp::try_from(at).unwrap_or(Timestamp::UNIX_EPOCH))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::fixture::{instance, quorum, server_change, transition};
    use std::time::Duration;

    #[test]
    fn a_record_is_one_flat_document_with_the_evidence_of_its_cause() {
        let master = Some([10, 0, 0, 1].into());
        let silent_for = Some(Duration::from_millis(3609));
        let cause = Cause::MasterDown { master, silent_for, waited: Duration::from_millis(3609) };
        let record = Record {
            seq: 7,
            at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
            news: News::Transition(transition(instance("VI_1"), State::Backup, State::Master, cause)),
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
    fn a_change_of_a_server_or_a_quorum_is_a_document_with_fields_of_its_own() {
        let document = |change| {
            let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
            let record = Record { seq: 8, at, news: News::Service(change) };
            serde_json::to_value(&record).expect("serializes")
        };
        let expected = serde_json::json!({
            "seq": 8,
            "at": "2023-11-14T22:13:20.123Z",
            "service": "TCP 10.0.0.1:80",
            "server": "10.1.0.1:80",
            "from": "UP",
            "to": "DOWN",
            "cause": {"text": "connection refused"},
        });
        assert_eq!(document(server_change("10.1.0.1:80", false, "connection refused")), expected);
        let expected = serde_json::json!({
            "seq": 8,
            "at": "2023-11-14T22:13:20.123Z",
            "service": "TCP 10.0.0.1:80",
            "from": "DOWN",
            "to": "UP",
            "cause": {"text": "weight 2 of 2 needed"},
        });
        assert_eq!(document(quorum(true, "weight 2 of 2 needed")), expected);
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
            let record = Record { seq: 1, at: SystemTime::now(), news: News::Transition(transition) };
            let document = serde_json::to_value(&record).expect("serializes");
            assert_eq!(document["cause"]["kind"], cause.kind());
        }
    }
}
