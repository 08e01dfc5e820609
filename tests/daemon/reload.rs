//! A reload is a difference: what did not change is not touched, and what cannot be run is refused.

use std::fs;
use std::time::{Duration, SystemTime};

use buoy::api::{Request, client};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};

use crate::bench::{
    Conf, SOON, VRID, advertised, alone, ip, longest_gap, pair, stays, vip, wait_for_advertisements,
};
use crate::lab::wait_until;

const INTERVAL: Duration = Duration::from_millis(100);

#[test]
fn the_same_file_again_changes_nothing_in_the_kernel_and_on_the_wire() {
    let mut one = alone();
    one.start(Conf::owner().timely().global("vip_lease 0"));
    one.wait_for_vip();
    let capture = one.capture();
    wait_for_advertisements(&capture, 5);
    let (changes, begun) = (one.status().daemon.netlink_changes, SystemTime::now());
    for _ in 0..5 {
        assert_eq!(one.reload(Conf::owner().timely().global("vip_lease 0")), "nothing changed");
        wait_for_advertisements(&capture, 2);
    }
    let gap = longest_gap(&capture, begun);
    let sent: Vec<SystemTime> = advertised(&capture, VRID).into_iter().filter(|at| *at >= begun).collect();
    let span = sent.last().expect("some").duration_since(sent[0]).expect("in order");
    let expected = span.as_secs_f64() / INTERVAL.as_secs_f64();
    println!("5 reloads: {} advertisements in {span:?}, longest gap {gap:?}", sent.len());
    assert!(gap < INTERVAL * 3 / 2, "none is missed: {gap:?}");
    assert!(((sent.len() - 1) as f64 - expected).abs() < 1.0, "none is extra: {} in {span:?}", sent.len());
    let status = one.status().daemon;
    assert_eq!(status.netlink_changes, changes);
    assert!(status.last_reload.is_some_and(|text| text.starts_with("nothing changed")));
}

#[test]
fn priorities_addresses_instances_and_names_change_while_the_rest_goes_on() {
    let mut one = alone();
    one.start(Conf::new(100).timely());
    one.wait_for_vip();
    let capture = one.capture();
    let begun = SystemTime::now();

    assert_eq!(one.reload(Conf::new(120).timely()), "0 instances added, 1 changed, 0 removed");
    wait_until(SOON, || one.first().priority == 120, || "the priority".to_owned());

    one.reload(Conf::new(120).timely().address("192.0.2.101/24"));
    wait_until(SOON, || one.holds(ip("192.0.2.101")), || "the new address".to_owned());
    one.reload(Conf::new(120).timely());
    wait_until(SOON, || !one.holds(ip("192.0.2.101")), || "the address goes".to_owned());

    let two_instances = || Conf::new(120).timely().instance("VI_2", 52, 100, &["192.0.2.102/24"]);
    assert_eq!(one.reload(two_instances()), "1 instances added, 0 changed, 0 removed");
    wait_until(SOON, || one.holds(ip("192.0.2.102")), || "the new instance is master".to_owned());
    assert_eq!(one.reload(Conf::new(120).timely()), "0 instances added, 0 changed, 1 removed");
    wait_until(SOON, || !one.holds(ip("192.0.2.102")), || "the removed instance lets go".to_owned());

    // Added again before the old one has let go: it is another one.
    one.reload(two_instances());
    wait_until(SOON, || one.holds(ip("192.0.2.102")), || "master again".to_owned());
    one.reload(Conf::new(120).timely());
    one.reload(two_instances());
    wait_until(
        SOON,
        || one.states().get("VI_2").is_some_and(|state| state == "MASTER"),
        || format!("master again after a quick return: {:?}", one.states()),
    );
    wait_until(SOON, || one.holds(ip("192.0.2.102")), || "with its address".to_owned());
    stays(INTERVAL * 5, || one.holds(ip("192.0.2.102")), "the old one takes nothing along");

    for (conf, said) in [
        (two_instances().words("notify /bin/true"), "0 instances added, 1 changed, 0 removed"),
        (
            two_instances().words("virtual_ipaddress_excluded {\n        192.0.2.103\n    }"),
            "0 instances added, 1 changed, 0 removed",
        ),
        (
            two_instances().global("log_unknown_vrids"),
            "0 instances added, 1 changed, 0 removed; other settings changed",
        ),
        (
            two_instances().block("vrrp_sync_group G {\n    group {\n        VI_1\n        VI_2\n    }\n}"),
            "0 instances added, 0 changed, 0 removed; sync groups and other settings changed",
        ),
        (two_instances(), "0 instances added, 0 changed, 0 removed; sync groups changed"),
    ] {
        assert_eq!(one.reload(conf), said);
    }

    let renamed = two_instances().to_string().replace("VI_1", "WEB");
    let changes = one.status().daemon.netlink_changes;
    assert_eq!(one.reload(&renamed), "0 instances added, 1 changed, 0 removed");
    let states = one.states();
    assert_eq!(states.keys().collect::<Vec<_>>(), ["VI_2", "WEB"]);
    assert_eq!(states["WEB"], "MASTER");
    assert_eq!(one.status().daemon.netlink_changes, changes, "a name is nothing to the kernel");

    wait_for_advertisements(&capture, 3);
    assert!(one.holds(vip()));
    let gap = longest_gap(&capture, begun);
    assert!(
        gap < INTERVAL * 3 / 2,
        "VRID {VRID} misses no advertisement: {gap:?}: {:?}\n{:#?}",
        advertised(&capture, VRID),
        one.log()
    );
    one.stop();
}

#[test]
fn a_reload_of_the_backup_is_no_failover() {
    let (mut one, mut two) = pair();
    one.start(Conf::new(200));
    one.wait_for_vip();
    two.start(Conf::new(100));
    wait_until(SOON, || two.first().master.is_some(), || "hears the master".to_owned());
    two.reload(Conf::new(150).address("192.0.2.101/24"));
    one.reload(Conf::new(200).address("192.0.2.101/24"));
    wait_until(SOON, || one.holds(ip("192.0.2.101")), || "both have it".to_owned());
    assert_eq!((two.first().state.as_str(), two.first().statistics["became_master"]), ("BACKUP", 0));
    assert!(!two.holds(ip("192.0.2.101")));
}

#[test]
fn a_file_that_cannot_be_run_or_is_missing_leaves_the_running_configuration_in_force() {
    let mut one = alone();
    one.start(Conf::owner().timely());
    one.wait_for_vip();
    let capture = one.capture();
    wait_for_advertisements(&capture, 2);
    let begun = SystemTime::now();

    one.configure(Conf::owner().timely().to_string().replace("virtual_router_id 51", ""));
    let refused = one.buoy(&["reload"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("stays in force") && said.contains("has no `virtual_router_id`"), "{said}");
    one.wait_for_log("reload refused, the running configuration stays in force");
    assert!(one.status().daemon.reload_refused);
    let page = String::from_utf8(one.buoy(&["status"]).stdout).expect("text");
    assert!(page.contains("last reload: REFUSED") && page.contains("virtual_router_id"), "{page}");

    fs::remove_file(one.path("buoy.conf")).expect("removing");
    assert_eq!(one.buoy(&["reload"]).status.code(), Some(1));
    one.signal(Signal::SIGHUP);
    let refusals = || one.log().iter().filter(|line| line.contains("reload refused")).count();
    wait_until(SOON, || refusals() == 3, || format!("{refusals} refusals", refusals = refusals()));

    // Namespaces are joined at start.
    one.configure(format!("net_namespace blue\n{}", Conf::owner().timely()));
    let error = client::command(&one.control(), &Request::Reload).expect_err("refused");
    assert!(error.to_string().contains("restart"), "{error}");

    one.reload(Conf::owner().timely());
    assert!(!one.status().daemon.reload_refused);
    wait_for_advertisements(&capture, 2);
    assert!(one.holds(vip()));
    let gap = longest_gap(&capture, begun);
    assert!(gap < INTERVAL * 3 / 2, "{gap:?}");
    one.stop();
}

#[test]
fn whoever_writes_the_file_can_see_when_it_is_read_and_what_was_found() {
    let mut one = alone();
    let (marker, findings, copies) = (one.path("reloading"), one.path("findings"), one.path("copies"));
    fs::create_dir(&copies).expect("a folder");
    let globals = format!(
        "reload_file {}\n    reload_check_config {}\n    config_save_dir {}",
        marker.display(),
        findings.display(),
        copies.display()
    );
    let conf = || Conf::owner().global(&globals);
    one.start(conf());
    // The marker is there while the file is read: this file is a FIFO, read when somebody writes into it.
    fs::remove_file(one.path("buoy.conf")).expect("removing");
    mkfifo(&one.path("buoy.conf"), Mode::S_IRWXU).expect("a FIFO");
    one.signal(Signal::SIGHUP);
    wait_until(SOON, || marker.exists(), || "the marker".to_owned());
    fs::write(one.path("buoy.conf"), conf().words("frobnicate").to_string()).expect("written");
    one.wait_for_log("reload: nothing changed");
    assert!(!marker.exists());
    assert!(fs::read_to_string(findings).expect("written").contains("frobnicate"));
    let copies: Vec<_> = fs::read_dir(copies).expect("a folder").flatten().collect();
    assert_eq!(copies.len(), 2, "one of the start, one of the reload");
    let copy = fs::read_to_string(copies[0].path()).expect("written");
    assert!(copy.contains("virtual_router_id 51"), "{copy}");
}

#[test]
fn a_file_that_hangs_is_refused_and_holds_up_neither_the_watchdog_nor_status_nor_the_end() {
    let mut one = alone();
    one.start(Conf::owner());
    one.wait_for_vip();
    // Opening a FIFO waits for somebody who writes into it.
    fs::remove_file(one.path("buoy.conf")).expect("removing");
    mkfifo(&one.path("buoy.conf"), Mode::S_IRWXU).expect("a FIFO");
    one.signal(Signal::SIGHUP);
    one.signal(Signal::SIGHUP);
    assert_eq!(one.first().state, "MASTER");
    one.wait_for_log(
        "reload refused, the running configuration stays in force: reading the configuration takes longer",
    );
    assert!(one.status().daemon.reload_refused);
    // The file is right again: the threads that hang do not matter.
    fs::remove_file(one.path("buoy.conf")).expect("removing");
    assert_eq!(one.reload(Conf::owner()), "nothing changed");
    one.stop();
    assert!(!one.holds(vip()));
}

#[test]
fn a_reload_heals_a_fifo_that_was_removed_and_a_reader_that_has_ended() {
    let mut one = alone();
    let (fifo, lines, pid) = (one.path("fifo"), one.path("lines"), one.path("reader"));
    let reader = one.script(
        "read",
        &format!(
            "echo $$ > '{}'; while read line; do echo \"$line\" >> '{}'; done < \"$1\"",
            pid.display(),
            lines.display()
        ),
    );
    let globals = format!(
        "notify_fifo {}\n    notify_fifo_script {reader}\n    fifo_write_vrrp_states_on_reload",
        fifo.display()
    );
    let conf = || Conf::owner().global(&globals);
    one.start(conf());
    one.wait_for_vip();
    let first = one.wait_for_lines("lines", 2);
    assert_eq!(first[1], "INSTANCE \"VI_1\" MASTER 255");

    fs::remove_file(&fifo).expect("removing");
    assert_eq!(one.reload(conf()), "nothing changed");
    one.wait_for_log("the notify FIFO was removed or replaced by somebody; opening it anew");
    assert_eq!(one.wait_for_lines("lines", 3)[2], first[1]);

    let reader = one.lines("reader").pop().and_then(|pid| pid.parse().ok()).expect("a number");
    kill(Pid::from_raw(reader), Signal::SIGKILL).expect("ending the reader");
    one.wait_for_log("the reader of the notify FIFO has ended");
    assert_eq!(one.reload(conf()), "nothing changed");
    assert_eq!(one.wait_for_lines("lines", 4)[3], first[1]);
    one.stop();
    assert!(!fifo.exists());
}

#[test]
fn an_empty_file_is_refused_and_takes_no_address_away() {
    let mut one = alone();
    one.start(Conf::owner());
    one.wait_for_vip();
    for empty in ["", "# written half way\n"] {
        fs::write(one.path("buoy.conf"), empty).expect("written");
        one.signal(Signal::SIGHUP);
        let refused = || {
            let daemon = one.status().daemon;
            daemon.reload_refused
                && daemon.last_reload.is_some_and(|text| text.starts_with("the file is empty"))
        };
        wait_until(SOON, refused, || format!("refusal: {:?}", one.status().daemon.last_reload));
        assert!(one.holds(vip()));
        assert_eq!(one.reload(Conf::owner()), "nothing changed");
    }
    one.stop();
}
