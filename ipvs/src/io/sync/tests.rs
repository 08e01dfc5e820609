use super::*;
use crate::plane::SyncDaemon;

fn daemon(role: SyncRole) -> SyncDaemon {
    SyncDaemon::new(role, "lo", 7)
}

fn words(outcome: Result<(), PlaneError>) -> String {
    outcome.unwrap_err().to_string()
}

#[test]
fn refusals_have_the_reasons_of_the_kernel() {
    let mut daemons = Daemons::new();
    let master = daemon(SyncRole::Master);
    let group = |text: &str| SyncDaemon { group: Some(text.parse().unwrap()), ..master.clone() };
    for (daemon, reason) in [
        (SyncDaemon { interface: "nope0".into(), ..master.clone() }, "there is no interface `nope0`"),
        (
            SyncDaemon { interface: "a-name-too-long-for-it".into(), ..master.clone() },
            "`a-name-too-long-for-it` cannot be the name of an interface: 1 to 15 bytes without NUL",
        ),
        (group("10.0.0.1"), "10.0.0.1 is not a multicast group"),
        (group("2001:db8::1"), "2001:db8::1 is not a multicast group"),
    ] {
        assert_eq!(
            words(daemons.start(&daemon, Version::V1)),
            format!("cannot start the master sync daemon: {reason}")
        );
    }
    assert_eq!(daemons.running(), []);
    for role in [SyncRole::Master, SyncRole::Backup] {
        let reason = format!("cannot stop the {role} sync daemon: no {role} daemon runs");
        assert_eq!(words(daemons.stop(role)), reason);
    }
}

#[test]
fn one_daemon_of_each_role_runs_with_all_that_was_left_open() {
    let mut daemons = Daemons::new();
    // A port of its own: whoever runs this may have a backup.
    let wanted = |role| SyncDaemon { port: Some(18_848), ..daemon(role) };
    for role in [SyncRole::Backup, SyncRole::Master] {
        daemons.start(&wanted(role), Version::V1).unwrap();
        let reason =
            format!("cannot start the {role} sync daemon: a {role} daemon runs already: stop it first");
        assert_eq!(words(daemons.start(&wanted(role), Version::V1)), reason);
    }
    let running = |role, max_len| SyncDaemon {
        max_len: Some(max_len),
        group: Some(SyncDaemon::DEFAULT_GROUP),
        ttl: Some(1),
        ..wanted(role)
    };
    // The interface takes 65,536 bytes.
    assert_eq!(daemons.running(), [running(SyncRole::Master, 1472), running(SyncRole::Backup, 65_507)]);
    daemons.running().iter().for_each(|daemon| assert!(wanted(daemon.role).is_met_by(daemon)));
    daemons.stop(SyncRole::Master).unwrap();
    assert_eq!(daemons.running().len(), 1);
    daemons.stop(SyncRole::Backup).unwrap();
    assert_eq!(daemons.running(), []);
}
