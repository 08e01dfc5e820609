use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::balancing::{Action, BalancingStatus, PlannedChange, ServiceStatus};

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// The whole state, as [`Reply::Status`].
    Status,
    /// Transitions and changes of virtual servers after sequence number `since` (0 for all that are kept), one
    /// [`Reply::Event`] each.
    Events {
        #[serde(default)]
        since: u64,
        /// Stay connected and send what comes.
        #[serde(default)]
        follow: bool,
    },
    /// Read the configuration again; answered by [`Reply::Done`] or [`Reply::Refused`].
    Reload,
    /// Take a real server in, out or gently out; answered by [`Reply::Done`] or [`Reply::Refused`]. Both are named as on
    /// the command line.
    Administer { service: String, server: String, action: Action },
    /// What a reload would change if this file, by its absolute path, were the configuration; answered by [`Reply::Plan`]
    /// or [`Reply::Refused`].
    Plan { file: String },
    /// Make a part panic, to see it restarted. Refused unless the daemon was started for it.
    Panic { part: String },
}

/// What the daemon answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    Status(Box<Status>),
    Event(Box<EventRecord>),
    /// In the order in which it would be done, with the number of messages to the forwarding plane.
    Plan {
        changes: Vec<PlannedChange>,
        messages: usize,
    },
    Done {
        message: String,
    },
    Refused {
        message: String,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub daemon: DaemonStatus,
    pub instances: Vec<InstanceStatus>,
    pub groups: Vec<GroupStatus>,
    pub tracked: Vec<TrackedStatus>,
    /// By name.
    #[serde(default)]
    pub services: Vec<ServiceStatus>,
    /// `None` where nothing is balanced.
    #[serde(default)]
    pub balancing: Option<BalancingStatus>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DaemonStatus {
    pub version: String,
    pub pid: u32,
    pub router_id: String,
    pub configuration: String,
    /// Seconds since the Unix epoch.
    pub started: u64,
    /// Findings of the configuration in force: errors cannot be, warnings can.
    pub warnings: usize,
    /// Outcome of the last reload, if there was one.
    pub last_reload: Option<String>,
    /// Whether the last reload was refused, so that an older configuration is in force.
    pub reload_refused: bool,
    /// Messages to the kernel that asked for a change.
    pub netlink_changes: u64,
    /// Parts that panicked and were restarted.
    pub restarts: BTreeMap<String, u64>,
    /// Alerts that gave way to newer ones in a full queue, and FIFO lines that nobody read in time.
    pub alerts_lost: u64,
    /// Packets that no instance here is for, by reason; only those that occurred.
    pub unclaimed: BTreeMap<String, u64>,
    /// The latest an advertisement or takeover was handled after its time, in microseconds.
    pub worst_lateness_us: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceStatus {
    pub name: String,
    pub state: String,
    /// Seconds in this state.
    pub since: f64,
    /// Why it is in this state.
    pub cause: String,
    pub interface: Option<String>,
    pub vrid: u8,
    pub version: u8,
    pub family: String,
    pub priority: u8,
    pub base_priority: u8,
    /// Seconds between advertisements.
    pub advert_interval: f64,
    pub source: Option<IpAddr>,
    /// Backup only: the master that is heard, its priority, and seconds since it was.
    pub master: Option<(IpAddr, u8, f64)>,
    pub addresses: Vec<String>,
    pub holds_addresses: bool,
    pub faults: Vec<String>,
    pub statistics: BTreeMap<String, u64>,
    /// Discarded advertisements by reason; only those that occurred.
    pub discarded: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupStatus {
    pub name: String,
    pub state: String,
    pub members: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrackedStatus {
    pub target: String,
    pub reading: String,
    pub evidence: String,
}

/// One change of state, as [`crate::alert::Record`] serializes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventRecord {
    pub seq: u64,
    /// RFC 3339, UTC.
    pub at: String,
    /// One of `instance`, `group` and `service` is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The real server of `service`; without one it is about the quorum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    pub from: String,
    pub to: String,
    pub cause: EventCause,
    /// Of instances and groups, as the following.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lasted_ms: Option<u64>,
}

/// The cause in words; of a transition also its kind, and its evidence as further fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventCause {
    pub text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    #[serde(flatten)]
    pub evidence: serde_json::Map<String, serde_json::Value>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::PlannedAction;

    #[test]
    fn requests_about_real_servers_are_written_in_one_way() {
        let administer = |action| Request::Administer {
            service: "TCP 10.0.0.1:80".to_owned(),
            server: "10.1.0.1:80".to_owned(),
            action,
        };
        let words = |action: &str| {
            let target = r#""service":"TCP 10.0.0.1:80","server":"10.1.0.1:80""#;
            format!(r#"{{"command":"administer",{target},"action":{action}}}"#)
        };
        for (action, json) in [
            (Action::Enable, r#"{"do":"enable"}"#),
            (Action::Disable, r#"{"do":"disable"}"#),
            (Action::Drain { deadline_ms: None }, r#"{"do":"drain"}"#),
            (Action::Drain { deadline_ms: Some(30_000) }, r#"{"do":"drain","deadline_ms":30000}"#),
            (Action::Weight { weight: 5 }, r#"{"do":"weight","weight":5}"#),
        ] {
            let request = administer(action);
            assert_eq!(serde_json::to_string(&request).expect("it can be written"), words(json));
            assert_eq!(serde_json::from_str::<Request>(&words(json)).expect("it can be read"), request);
        }
        for json in [
            r#""drain""#,
            r#"{"do":"drain","deadline":30}"#,
            r#"{"do":"drain","deadline_ms":-1}"#,
            r#"{"do":"weight"}"#,
            r#"{"do":"destroy"}"#,
        ] {
            assert!(serde_json::from_str::<Request>(&words(json)).is_err(), "{json}");
        }
    }

    #[test]
    fn a_plan_goes_there_and_back() {
        let request = r#"{"command":"plan","file":"/etc/buoy/next.conf"}"#;
        let expected = Request::Plan { file: "/etc/buoy/next.conf".to_owned() };
        assert_eq!(serde_json::from_str::<Request>(request).expect("it can be read"), expected);
        let reply = r#"{"reply":"plan","changes":[{"object":"instance VI_1","action":"add","text":""}],"messages":0}"#;
        let change = PlannedChange {
            object: "instance VI_1".to_owned(),
            action: PlannedAction::Add,
            text: String::new(),
        };
        let expected = Reply::Plan { changes: vec![change], messages: 0 };
        assert_eq!(serde_json::from_str::<Reply>(reply).expect("it can be read"), expected);
        assert_eq!(serde_json::to_string(&expected).expect("it can be written"), reply);
    }

    #[test]
    fn the_status_of_a_daemon_that_knows_no_virtual_servers_is_understood() {
        let daemon = r#"{"version":"0","pid":1,"router_id":"a","configuration":"c","started":1,"warnings":0,"last_reload":null,"reload_refused":false,"netlink_changes":0,"restarts":{},"alerts_lost":0,"unclaimed":{},"worst_lateness_us":0}"#;
        let status = format!(r#"{{"daemon":{daemon},"instances":[],"groups":[],"tracked":[]}}"#);
        let status: Status = serde_json::from_str(&status).expect("it is understood");
        assert!(status.services.is_empty() && status.balancing.is_none());
    }
}
