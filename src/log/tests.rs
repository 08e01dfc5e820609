use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use buoy_vrrp::{Cause, ContentionSign, FaultCause, Priority, State, Subject};
use tracing::subscriber::with_default;

use super::*;
use crate::alert::fixture::{instance, quorum, server_change, transition};
use crate::alert::{Event, ServiceChange};

#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("not poisoned").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the console shows of `log`.
fn console(log: impl FnOnce()) -> String {
    let page = Page::default();
    let writer = page.clone();
    let layer = formatted(Human::for_console(), move || writer.clone());
    with_default(tracing_subscriber::registry().with(layer), log);
    let bytes = page.0.lock().expect("not poisoned").clone();
    String::from_utf8(bytes).expect("utf-8")
}

/// The document that is written of `log`.
fn json_of(log: impl FnOnce()) -> serde_json::Value {
    let page = Page::default();
    let writer = page.clone();
    with_default(tracing_subscriber::registry().with(json(move || writer.clone())), log);
    let bytes = page.0.lock().expect("not poisoned").clone();
    serde_json::from_slice(&bytes).expect("one document")
}

fn changed(change: ServiceChange) -> Event {
    Event::Service { change, at: SystemTime::now(), seq: 2 }
}

fn told(subject: Subject, from: State, to: State, cause: Cause) -> Event {
    let transition = transition(subject, from, to, cause);
    Event::Transition { transition, at: SystemTime::now(), seq: 1 }
}

fn silence() -> Cause {
    let silent_for = Some(Duration::from_millis(3609));
    Cause::MasterDown { master: Some([10, 0, 0, 1].into()), silent_for, waited: Duration::from_millis(3609) }
}

#[test]
fn a_transition_is_one_sentence_with_time_and_level() {
    let line = console(|| event(&told(instance("VI_1"), State::Backup, State::Master, silence())));
    let (time, rest) = line.split_once(' ').expect("words");
    assert!(time.parse::<jiff::Timestamp>().is_ok(), "{time}");
    assert_eq!(
        rest,
        "INFO  instance VI_1: BACKUP -> MASTER: master 10.0.0.1 silent for 3.609 s (backup for 12.3 s, priority 100)\n"
    );
}

#[test]
fn a_fault_is_a_warning() {
    let cause = Cause::Fault(FaultCause::InterfaceDown { interface: "eth0".into() });
    let line = console(|| event(&told(Subject::Group("G".into()), State::Master, State::Fault, cause)));
    assert!(
        line.ends_with("WARN  group G: MASTER -> FAULT: interface eth0 is down (master for 12.3 s)\n"),
        "{line}"
    );
}

#[test]
fn durations_are_told_in_the_units_that_matter() {
    let sentence = |seconds| {
        let mut transition = transition(instance("A"), State::Backup, State::Master, Cause::Owner);
        transition.lasted = Duration::from_secs(seconds);
        Sentence(&transition).to_string()
    };
    for (seconds, words) in
        [(0, "0.0 s"), (59, "59.0 s"), (60, "1 min 0 s"), (3_725, "1 h 2 min"), (180_000, "2 d 2 h")]
    {
        assert!(sentence(seconds).contains(&format!("(backup for {words},")), "{}", sentence(seconds));
    }
}

#[test]
fn other_events_show_their_fields_and_stay_on_one_line() {
    let line = console(|| tracing::warn!(path = "/a b", count = 3, "two\nlines"));
    assert!(line.ends_with("WARN  two lines path=\"/a b\" count=3\n"), "{line}");
}

#[test]
fn a_change_of_priority_is_told() {
    let event_ = Event::PriorityChanged {
        instance: "VI_1".into(),
        state: State::Master,
        priority: Priority::new(80),
        from: Priority::DEFAULT,
        cause: buoy_vrrp::PriorityCause::Tracker {
            target: buoy_vrrp::Target::Script("chk".into()),
            evidence: "exit status 1".into(),
        },
    };
    let line = console(|| event(&event_));
    assert!(
        line.ends_with("INFO  instance VI_1: priority 100 -> 80 as MASTER: script chk: exit status 1\n"),
        "{line}"
    );
}

#[test]
fn a_second_owner_is_a_warning_with_what_betrayed_it() {
    let sign = ContentionSign::Claim { address: [10, 0, 0, 100].into(), mac: [2, 0, 0, 0, 0, 0x1f] };
    let line = console(|| event(&Event::Contention { instance: "VI_1".into(), sign }));
    assert!(
        line.contains(
            "WARN  instance VI_1: second owner of the addresses (02:00:00:00:00:1f claims 10.0.0.100)"
        ),
        "{line}"
    );
}

#[test]
fn a_server_or_a_quorum_is_one_sentence_and_a_warning_when_it_is_lost() {
    let cases = [
        (
            server_change("10.1.0.1:80", false, "connection refused"),
            "WARN  real server 10.1.0.1:80 of TCP 10.0.0.1:80 is down: connection refused\n",
        ),
        (
            server_change("10.1.0.1:80", true, "connected in 1 ms"),
            "INFO  real server 10.1.0.1:80 of TCP 10.0.0.1:80 is up: connected in 1 ms\n",
        ),
        (
            quorum(false, "weight 1 of 2 needed"),
            "WARN  virtual server TCP 10.0.0.1:80 lost its quorum: weight 1 of 2 needed\n",
        ),
        (
            quorum(true, "weight 2 of 2 needed"),
            "INFO  virtual server TCP 10.0.0.1:80 gained its quorum: weight 2 of 2 needed\n",
        ),
    ];
    for (change, expected) in cases {
        let line = console(|| event(&changed(change)));
        assert!(line.ends_with(expected), "{line}");
    }
}

#[test]
fn json_has_the_fields_of_a_change() {
    let line = json_of(|| event(&changed(server_change("10.1.0.1:80", false, "connection refused"))));
    assert_eq!(line["level"], "WARN");
    assert_eq!((&line["service"], &line["server"]), (&"TCP 10.0.0.1:80".into(), &"10.1.0.1:80".into()));
    assert_eq!((&line["from"], &line["to"]), (&"UP".into(), &"DOWN".into()));
    assert_eq!((&line["cause"], &line["seq"]), (&"connection refused".into(), &2.into()));
    let line = json_of(|| event(&changed(quorum(true, "weight 2 of 2 needed"))));
    assert_eq!((&line["service"], line.get("server")), (&"TCP 10.0.0.1:80".into(), None));
    assert_eq!((&line["from"], &line["to"]), (&"DOWN".into(), &"UP".into()));
}

#[test]
fn json_has_the_fields_of_a_transition() {
    let line = json_of(|| event(&told(instance("VI_1"), State::Backup, State::Master, silence())));
    assert_eq!(line["level"], "INFO");
    assert_eq!(
        (&line["instance"], &line["from"], &line["to"]),
        (&"VI_1".into(), &"BACKUP".into(), &"MASTER".into())
    );
    assert_eq!(line["cause_kind"], "master_down");
    assert_eq!(line["cause"], "master 10.0.0.1 silent for 3.609 s");
    assert_eq!((&line["priority"], &line["lasted"]), (&100.into(), &12.3.into()));
    assert!(line["message"].as_str().is_some_and(|text| text.starts_with("instance VI_1: BACKUP -> MASTER")));
}

#[test]
fn syslog_gets_facility_severity_name_and_sentence() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("log");
    let daemon = UnixDatagram::bind(&path).expect("binds");
    let syslog = Syslog::at(&path, "local3".parse().expect("a facility"), "Buoy").expect("connects");
    let layer = formatted(Human::for_syslog(), syslog);
    let cause = Cause::Fault(FaultCause::InterfaceDown { interface: "eth0".into() });
    with_default(tracing_subscriber::registry().with(layer), || {
        event(&told(instance("VI_1"), State::Master, State::Fault, cause));
    });
    let mut buffer = [0; 1024];
    let length = daemon.recv(&mut buffer).expect("a message");
    let message = std::str::from_utf8(&buffer[..length]).expect("utf-8");
    // local3 is 19, and a warning 4: 19 * 8 + 4.
    let rest = message.strip_prefix("<156>").expect(message);
    let (time, rest) = rest.split_at("Nov 20 09:30:13".len());
    assert!(jiff::fmt::strtime::parse("%b %e %H:%M:%S", time).is_ok(), "{time:?}");
    let pid = std::process::id();
    let expected = format!(
        " Buoy[{pid}]: instance VI_1: MASTER -> FAULT: interface eth0 is down (master for 12.3 s, priority 100)"
    );
    assert_eq!(rest, expected);
}

#[test]
fn a_syslog_daemon_that_does_not_read_stops_nobody() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("log");
    let daemon = UnixDatagram::bind(&path).expect("binds");
    let syslog = Syslog::at(&path, Facility::DAEMON, "Buoy").expect("connects");
    let layer = formatted(Human::for_syslog(), syslog);
    with_default(tracing_subscriber::registry().with(layer), || {
        (0..5000).for_each(|number| tracing::info!(number, "a line"));
    });
    drop(daemon);
}

#[test]
fn facilities_are_read_as_keepalived_reads_them() {
    for (text, shown) in [("0", "local0"), ("local7", "local7"), ("daemon", "daemon"), ("user", "user")] {
        let facility: Facility = text.parse().expect("a facility");
        assert_eq!(facility.to_string(), shown);
    }
    for text in ["8", "local8", "kern", "", "-1"] {
        assert!(text.parse::<Facility>().is_err(), "{text}");
    }
}
