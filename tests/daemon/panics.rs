//! A part that panics in the middle of its work is reported and started again, goes on where it was, and the election
//! does not notice.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use buoy::api::{Request, client};
use buoy::lab::capture::Capture;

use crate::bench::{Conf, Director, SOON, alone, ip, longest_gap, stays, vip, wait_for_advertisements};
use crate::lab::wait_until;

fn plant(director: &Director, part: &str) -> anyhow::Result<String> {
    client::command(&director.control(), &Request::Panic { part: part.to_owned() })
}

/// Two instances: the owner of the VIP, whose advertisements are watched, and one that a script moves, with a hook
/// and a script that never ends.
fn worker() -> Director {
    let mut director = alone();
    fs::write(director.path(HEALTHY), "").expect("written");
    let check = director.script("check", &format!("test -e {}", director.path(HEALTHY).display()));
    let slow = director
        .script("slow", &format!("echo $$ >> {}; exec sleep 1000", director.path("slow-runs").display()));
    let hook = director.script("hook", &format!("echo $3 >> {}", director.path(HOOKS).display()));
    let scripts = format!(
        "vrrp_script check {{\n  script {check}\n  interval 1\n  rise 1\n  fall 1\n}}\n\
         vrrp_script slow {{\n  script {slow}\n  interval 1000\n  timeout 1000\n  weight 1\n}}"
    );
    // Announced once only, so that an announcement that is lost shows.
    let words = format!(
        "track_script {{\n        check\n        slow\n    }}\n    notify {hook}\n    garp_master_delay 0"
    );
    director.configure(
        Conf::owner().timely().block(&scripts).instance("VI_2", 52, 100, &["192.0.2.102/24"]).words(&words),
    );
    let mut command = director.command();
    command.arg("--allow-planted-panics");
    director.spawn(command);
    director.wait_for_vip();
    wait_for_second(&director, "MASTER");
    wait_until(SOON, || director.holds(ip(SECOND)), || format!("holding {SECOND}"));
    director
}

const SECOND: &str = "192.0.2.102";
/// While this file is there, the second instance is healthy.
const HEALTHY: &str = "healthy";
/// The states that the hook of the second instance was told.
const HOOKS: &str = "hooks";

fn wait_for_second(director: &Director, state: &str) {
    let reached = || director.states().get("VI_2").is_some_and(|now| now == state);
    wait_until(SOON, reached, || format!("VI_2 is {state}: {:?}", director.states()));
}

/// Plants a panic, gives the part something to do, and waits until it is back. The VIP is there all the time.
fn fails(director: &Director, part: &str, work: impl FnOnce()) {
    assert_eq!(plant(director, part).expect("planted"), format!("{part} panics at its next work"));
    work();
    let restarted = || {
        assert!(director.holds(vip()), "the VIP stays while {part} fails");
        director.status().daemon.restarts.get(part) == Some(&1)
    };
    wait_until(SOON, restarted, || format!("{part} counts its restart: {:#?}", director.log()));
    stays(Duration::from_millis(300), || director.holds(vip()), "the VIP stays");
}

/// The panics in the log: where, on which thread.
fn panics(director: &Director) -> Vec<String> {
    let log = director.log();
    let reports = log.into_iter().filter(|line| line.contains("planted by an operator"));
    reports.inspect(|line| assert!(line.contains("buoy::"), "the backtrace: {line}")).collect()
}

#[test]
fn the_host_that_panics_in_the_middle_of_a_repair_is_restarted_and_finishes_it() {
    let mut director = worker();
    let capture = director.capture();
    wait_for_advertisements(&capture, 3);
    let begun = SystemTime::now();
    // It panics when it has read what happened, and has not yet done anything about it.
    fails(&director, "host", || director.host.remove_address(ip(SECOND)).expect("removing"));
    wait_until(SOON, || director.holds(ip(SECOND)), || format!("{SECOND} is back: {:#?}", director.log()));
    let announced =
        capture.wait_for(begun, SOON, |f| f.announcement().is_some_and(|a| a.address == ip(SECOND)));
    announced.expect("it is announced again");
    let report = panics(&director);
    assert_eq!(report.len(), 1, "{report:?}");
    assert!(
        report[0].contains("src/supervisor/host_thread.rs") && report[0].contains("thread=host"),
        "{report:?}"
    );
    assert!(report[0].contains("::step"), "inside a step: {report:?}");
    assert_no_advertisement_missed(&capture, begun);

    // What was restarted works.
    director.host.remove_address(vip()).expect("removing");
    director.wait_for_log("deleted by somebody else: put back");
    director.wait_for_vip();
    director.stop();
    assert!(!director.holds(vip()) && !director.holds(ip(SECOND)));
}

#[test]
fn the_host_that_panics_while_an_instance_takes_or_gives_up_its_address_makes_it_so_in_the_end() {
    let mut director = worker();
    let capture = director.capture();
    let unhealthy = || fs::remove_file(director.path(HEALTHY)).expect("removed");
    fails(&director, "host", unhealthy);
    wait_for_second(&director, "FAULT");
    wait_until(SOON, || !director.holds(ip(SECOND)), || format!("{SECOND} is gone: {:#?}", director.log()));

    let begun = SystemTime::now();
    assert_eq!(plant(&director, "host").expect("planted"), "host panics at its next work");
    fs::write(director.path(HEALTHY), "").expect("written");
    wait_for_second(&director, "MASTER");
    let twice = || director.status().daemon.restarts.get("host") == Some(&2);
    wait_until(SOON, twice, || format!("another restart: {:#?}", director.log()));
    wait_until(SOON, || director.holds(ip(SECOND)), || format!("{SECOND} is there: {:#?}", director.log()));
    let announced =
        capture.wait_for(begun, SOON, |f| f.announcement().is_some_and(|a| a.address == ip(SECOND)));
    announced.expect("the panic does not eat the announcement");
    assert!(director.holds(vip()));
    director.stop();
}

#[test]
fn tracking_that_panics_with_a_result_in_hand_reports_it_and_observes_again() {
    let mut director = worker();
    let first_run = director.wait_for_lines("slow-runs", 1);
    let capture = director.capture();
    wait_for_advertisements(&capture, 3);
    let begun = SystemTime::now();
    // It panics when it knows that the script failed, and has not yet told the election.
    fails(&director, "tracking", || fs::remove_file(director.path(HEALTHY)).expect("removed"));
    wait_for_second(&director, "FAULT");
    let report = panics(&director);
    assert!(report.len() == 1 && report[0].contains("src/supervisor/daemon.rs"), "{report:?}");
    // The script that was running is not left to itself: it is killed, and run again.
    assert_eq!(director.wait_for_lines("slow-runs", 2).len(), 2);
    let old = Path::new("/proc").join(&first_run[0]);
    wait_until(SOON, || !old.exists(), || format!("{} is gone", old.display()));

    fs::write(director.path(HEALTHY), "").expect("written");
    wait_for_second(&director, "MASTER");
    fs::remove_file(director.path(HEALTHY)).expect("removed");
    wait_for_second(&director, "FAULT");
    assert_no_advertisement_missed(&capture, begun);
    director.stop();
}

#[test]
fn alerts_that_panic_while_they_deliver_an_event_run_its_hook_and_that_of_the_next_one() {
    let mut director = worker();
    let told =
        |director: &Director, state: &str| director.lines(HOOKS).last().is_some_and(|last| last == state);
    wait_until(SOON, || told(&director, "MASTER"), || format!("{:?}", director.lines(HOOKS)));
    let before = director.lines(HOOKS).len();
    let capture = director.capture();
    wait_for_advertisements(&capture, 3);
    let begun = SystemTime::now();
    fails(&director, "alerts", || fs::remove_file(director.path(HEALTHY)).expect("removed"));
    wait_for_second(&director, "FAULT");
    let report = panics(&director);
    assert!(report.len() == 1 && report[0].contains("src/alert/dispatcher.rs"), "{report:?}");

    wait_until(SOON, || told(&director, "FAULT"), || format!("{:?}", director.lines(HOOKS)));
    fs::write(director.path(HEALTHY), "").expect("written");
    wait_for_second(&director, "MASTER");
    let next = || director.lines(HOOKS).len() > before && told(&director, "MASTER");
    wait_until(SOON, next, || format!("{before} before, now {:?}", director.lines(HOOKS)));
    let events = String::from_utf8(director.buoy(&["events"]).stdout).expect("text");
    assert!(events.contains("instance VI_2: BACKUP -> MASTER"), "{events}");
    assert_no_advertisement_missed(&capture, begun);
    director.stop();
    assert!(told(&director, "STOP"), "{:?}", director.lines(HOOKS));
}

#[test]
fn a_control_socket_that_panics_answers_again() {
    let mut director = worker();
    let capture = director.capture();
    wait_for_advertisements(&capture, 3);
    let begun = SystemTime::now();
    fails(&director, "control socket", || {});
    assert_eq!(director.buoy(&["status"]).status.code(), Some(0));
    assert_no_advertisement_missed(&capture, begun);
    director.stop();
}

fn assert_no_advertisement_missed(capture: &Capture, since: SystemTime) {
    wait_for_advertisements(capture, 3);
    let gap = longest_gap(capture, since);
    println!("longest time between advertisements around the panic: {gap:?}");
    // One that is missed leaves two intervals.
    assert!(gap < Duration::from_millis(200), "{gap:?} at 0.1 s");
}

#[test]
fn an_ordinary_daemon_plants_no_panics() {
    let mut director = alone();
    director.start(Conf::owner());
    let refused = plant(&director, "host").expect_err("refused");
    assert!(refused.to_string().contains("--allow-planted-panics"), "{refused}");
}

#[test]
fn told_not_to_restart_parts_it_stops_in_good_order_when_one_fails() {
    let mut director = alone();
    director.configure(Conf::owner());
    let mut command = director.command();
    command.args(["--allow-planted-panics", "--dont-respawn"]);
    director.spawn(command);
    director.wait_for_vip();
    plant(&director, "host").expect("planted");
    director.host.remove_address(vip()).expect("removing");
    let status = director.daemon_mut().wait(Duration::from_secs(20)).expect("ends");
    assert_eq!(status.code(), Some(1));
    assert!(!director.holds(vip()), "nothing is left behind");
}
