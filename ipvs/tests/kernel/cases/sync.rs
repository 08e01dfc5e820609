//! Connection sync daemons.

use std::time::Instant;

use buoy_ipvs::{Change, Forwarding, Plane, SyncDaemon, SyncRole, Tunnel};

use crate::bench::{address, empty_plane, ipvsadm, run, server, service, tcp};
use crate::machine::inside;

fn uplink() {
    if std::fs::exists("/sys/class/net/sync0").unwrap() {
        return;
    }
    run("ip", "link add sync0 type dummy");
    run("ip", "link set sync0 up");
    run("ip", "address add 10.9.0.1/24 dev sync0");
    run("ip", "address add fd09::1/64 dev sync0 nodad");
}

#[test]
#[ignore = "runs in a kernel of its own"]
fn daemons_of_both_roles_run_with_their_defaults() {
    if !inside() {
        return;
    }
    uplink();
    let mut plane = empty_plane();
    let master = SyncDaemon::new(SyncRole::Master, "sync0", 1);
    let backup = SyncDaemon::new(SyncRole::Backup, "sync0", 0);
    plane.start_sync(&master).unwrap();
    plane.start_sync(&backup).unwrap();
    let running = plane.sync_daemons().unwrap();
    assert_eq!(running.len(), 2);
    assert!(master.is_met_by(&running[0]), "{running:?}");
    assert!(backup.is_met_by(&running[1]), "{running:?}");
    let all = SyncDaemon {
        max_len: Some(1472),
        group: Some(SyncDaemon::DEFAULT_GROUP),
        port: Some(SyncDaemon::DEFAULT_PORT),
        ttl: Some(SyncDaemon::DEFAULT_TTL),
        ..master.clone()
    };
    assert_eq!(running[0], all);
    let shown = ipvsadm("-Ln --daemon");
    assert!(shown.contains("master sync daemon (mcast=sync0, syncid=1, maxlen=1472"), "{shown}");
    assert_eq!(
        plane.start_sync(&master).unwrap_err().to_string(),
        "cannot start the master sync daemon: a master daemon runs already: stop it first"
    );
    plane.stop_sync(SyncRole::Master).unwrap();
    assert_eq!(plane.sync_daemons().unwrap().len(), 1);
    plane.stop_sync(SyncRole::Backup).unwrap();
    assert_eq!(plane.sync_daemons().unwrap(), []);
    assert_eq!(
        plane.stop_sync(SyncRole::Backup).unwrap_err().to_string(),
        "cannot stop the backup sync daemon: no backup daemon runs"
    );
}

#[test]
#[ignore = "runs in a kernel of its own"]
fn every_option_of_a_daemon_holds() {
    if !inside() {
        return;
    }
    uplink();
    let mut plane = empty_plane();
    for (role, group, max_len) in [
        (SyncRole::Master, "239.1.2.3", 4000),
        (SyncRole::Backup, "ff05::81", 65535),
        (SyncRole::Master, "ff05::81", 1),
        (SyncRole::Backup, "239.1.2.3", 100),
    ] {
        let wanted = SyncDaemon {
            max_len: Some(max_len),
            group: Some(address(group)),
            port: Some(9000),
            ttl: Some(7),
            ..SyncDaemon::new(role, "sync0", 255)
        };
        plane.start_sync(&wanted).unwrap();
        let running = plane.sync_daemons().unwrap();
        assert!(wanted.is_met_by(&running[0]), "{wanted:?} {running:?}");
        let other = SyncDaemon { port: Some(9001), ..wanted };
        assert!(!other.is_met_by(&running[0]));
        plane.stop_sync(role).unwrap();
    }
}

#[test]
#[ignore = "runs in a kernel of its own"]
fn a_daemon_that_has_just_started_is_stopped_all_the_same() {
    if !inside() {
        return;
    }
    uplink();
    let mut plane = empty_plane();
    let begin = Instant::now();
    for number in 0..30 {
        for role in [SyncRole::Master, SyncRole::Backup] {
            plane.start_sync(&SyncDaemon::new(role, "sync0", number)).unwrap();
            plane.stop_sync(role).unwrap();
            assert_eq!(plane.sync_daemons().unwrap(), []);
        }
    }
    println!("60 sync daemons started and stopped in {:?}", begin.elapsed());
}

#[test]
#[ignore = "runs in a kernel of its own"]
fn refusals_of_daemons_have_their_reason_in_words() {
    if !inside() {
        return;
    }
    uplink();
    let mut plane = empty_plane();
    let master = SyncDaemon::new(SyncRole::Master, "sync0", 1);
    let group = |text| SyncDaemon { group: Some(address(text)), ..master.clone() };
    for (daemon, words) in [
        (SyncDaemon { interface: "nope0".into(), ..master.clone() }, "there is no interface `nope0`"),
        (
            SyncDaemon { interface: "a-name-too-long-for-it".into(), ..master.clone() },
            "`a-name-too-long-for-it` cannot be the name of an interface: 1 to 15 bytes without NUL",
        ),
        (group("10.0.0.1"), "10.0.0.1 is not a multicast group"),
        (
            SyncDaemon { interface: "lo".into(), ..group("ff02::81") },
            "interface lo cannot send to the multicast group: it needs to be up, with an address of that family",
        ),
    ] {
        let refused = plane.start_sync(&daemon).unwrap_err().to_string();
        assert_eq!(refused, format!("cannot start the master sync daemon: {words}"));
    }
    assert_eq!(plane.sync_daemons().unwrap(), []);

    let mixed = server("2001:db8:1::1", Forwarding::Tunnel(Tunnel::Ipip));
    let adding = [Change::AddService(service(tcp(80))), Change::AddServer(tcp(80), mixed)];
    assert_eq!(plane.apply(&adding).unwrap(), []);
    let words = "connection sync and real servers of the other address family exclude each other: give up one of them";
    let refused = plane.start_sync(&master).unwrap_err().to_string();
    assert_eq!(refused, format!("cannot start the master sync daemon: {words}"));
    plane.flush().unwrap();
    plane.start_sync(&master).unwrap();
    let refusals = plane.apply(&adding).unwrap();
    assert_eq!(refusals.len(), 1);
    assert_eq!(refusals[0].reason.to_string(), words);
    plane.stop_sync(SyncRole::Master).unwrap();
}
