//! The control socket and the signals.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, SystemTime};

use nix::sys::signal::Signal;

use crate::bench::{
    BUOY, Conf, Director, SOON, alone, longest_gap, mode, pair, vip, wait_for_advertisements,
};
use crate::lab::wait_until;

fn connect(director: &Director) -> UnixStream {
    let stream = UnixStream::connect(director.control()).expect("connecting");
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    stream
}

/// Sends bytes as they are and reads everything that comes back.
fn ask(director: &Director, request: &[u8]) -> String {
    let mut stream = connect(director);
    // A daemon that has heard enough may close before it has everything.
    stream.write_all(request).ok();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok();
    answer
}

#[test]
fn the_status_is_there_for_people_and_for_machines() {
    let (mut one, mut two) = pair();
    one.start(Conf::new(200));
    one.wait_for_vip();
    two.start(Conf::new(100));
    wait_until(SOON, || two.first().master.is_some(), || "hears the master".to_owned());

    let page = String::from_utf8(one.buoy(&["status"]).stdout).expect("text");
    for part in [
        "VI_1  MASTER",
        "VRRPv3 IPv4 on eth0 (192.0.2.1), VRID 51",
        "addresses (held): 192.0.2.100/24 dev eth0",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let page = String::from_utf8(two.buoy(&["status"]).stdout).expect("text");
    assert!(page.contains("VI_1  BACKUP") && page.contains("master 192.0.2.1, priority 200"), "{page}");

    let document: serde_json::Value =
        serde_json::from_slice(&two.buoy(&["status", "--json"]).stdout).expect("one document");
    assert_eq!(document["instances"][0]["state"], "BACKUP");
    assert_eq!(document["daemon"]["pid"], two.daemon().id());
    assert_eq!(document["instances"][0]["master"][1], 200);

    one.stop();
    let gone = one.buoy(&["status"]);
    assert_eq!(gone.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&gone.stderr).contains("no buoy answers at"), "{gone:?}");
}

#[test]
fn events_are_listed_and_followed() {
    let mut one = alone();
    one.start(Conf::new(100));
    let mut follower = Command::new(BUOY)
        .args(["events", "--follow", "--json", "--control"])
        .arg(one.control())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut lines = BufReader::new(follower.stdout.take().expect("a pipe")).lines();
    let mut next = || -> serde_json::Value {
        serde_json::from_str(&lines.next().expect("a line").expect("text")).expect("a document")
    };
    let (started, master) = (next(), next());
    assert_eq!((&started["to"], &started["cause"]["kind"]), (&"BACKUP".into(), &"started".into()));
    assert_eq!((&master["to"], &master["cause"]["kind"]), (&"MASTER".into(), &"master_down".into()));
    assert_eq!(master["instance"], "VI_1");
    one.host.set_down("eth0").expect("down");
    let fault = next();
    assert_eq!((&fault["to"], &fault["cause"]["fault"]), (&"FAULT".into(), &"interface_down".into()));
    assert_eq!(fault["seq"].as_u64(), Some(3));

    let listed = String::from_utf8(one.buoy(&["events", "--since", "1"]).stdout).expect("text");
    let listed: Vec<&str> = listed.lines().collect();
    assert_eq!(listed.len(), 2, "{listed:?}");
    assert!(listed[0].contains("instance VI_1: BACKUP -> MASTER: no master heard for"), "{listed:?}");

    // It ends with the daemon, without a fuss.
    one.stop();
    while let Some(Ok(_)) = lines.next() {}
    assert!(follower.wait().expect("ends").success());
}

#[test]
fn only_root_and_its_group_may_talk_to_it_and_its_files_go_with_it() {
    let mut one = alone();
    one.start(Conf::owner());
    assert_eq!(mode(&one.control()), 0o660);
    // Another daemon does not take the socket away from one that lives.
    let mut second = one.command();
    second.args(["-p"]).arg(one.path("pid2"));
    let mut second = one.host.spawn(second).expect("starts");
    assert!(!second.wait(SOON).expect("ends").success());
    second.wait_for_line("another daemon answers at", SOON).expect("says why");
    one.stop();
    assert!(!one.control().exists() && !one.path("pid").exists());
}

#[test]
fn garbage_crowds_and_silent_clients_disturb_nobody() {
    let mut one = alone();
    one.start(Conf::owner().timely());
    one.wait_for_vip();
    let capture = one.capture();
    wait_for_advertisements(&capture, 2);
    let begun = SystemTime::now();

    for garbage in [
        &b"\n"[..],
        b"hello\n",
        b"{\"command\":\"status\"\n",
        b"{\"command\":\"explode\"}\n",
        b"{\"command\":\"events\",\"more\":1}\n",
        b"\xff\xfe\xfd\n",
        b"[[[[[[[[[[[[[[[[\n",
    ] {
        let answer = ask(&one, garbage);
        let what = String::from_utf8_lossy(garbage).into_owned();
        assert!(answer.is_empty() || answer.contains("\"refused\""), "{what}: {answer}");
    }
    // A line without an end, and nesting without an end.
    for long in [vec![b'x'; 1 << 20], vec![b'['; 1 << 17]] {
        let answer = ask(&one, &long);
        assert!(answer.is_empty() || answer.contains("\"refused\""), "{answer}");
    }
    // Followers that never read, as many as are served at a time and more; most of them go away again.
    let mut silent: Vec<UnixStream> = (0..20).map(|_| connect(&one)).collect();
    for stream in &mut silent {
        stream.write_all(b"{\"command\":\"events\",\"follow\":true}\n").expect("asks");
    }
    let answers: Vec<String> = thread::scope(|scope| {
        let clients: Vec<_> =
            (0..100).map(|_| scope.spawn(|| ask(&one, b"{\"command\":\"status\"}\n"))).collect();
        clients.into_iter().map(|client| client.join().expect("answered")).collect()
    });
    assert!(answers.iter().all(|answer| answer.starts_with("{\"reply\":\"status\"")), "{answers:?}");
    drop(silent);
    assert_eq!(one.first().state, "MASTER");
    wait_for_advertisements(&capture, 2);
    let gap = longest_gap(&capture, begun);
    // Whoever waited for those clients would hang for seconds.
    assert!(gap < Duration::from_secs(2), "{gap:?}");
    one.stop();
}

#[test]
fn no_signal_of_keepalived_ends_it_and_one_counts_from_zero() {
    let mut one = alone();
    one.start(Conf::owner());
    let sent = || one.first().statistics["advertisements_sent"];
    wait_until(SOON, || sent() > 20, || format!("{} advertisements", sent()));
    // STATS, JSON, the thread dump of debug builds, and last STATS_CLEAR.
    for number in ["12", "36", "64", "63"] {
        let killed =
            Command::new("kill").arg(format!("-{number}")).arg(one.daemon().id().to_string()).status();
        assert!(killed.expect("kill runs").success());
    }
    wait_until(SOON, || sent() < 20, || format!("{} advertisements", sent()));
    assert!(one.holds(vip()));
    one.stop();
}

#[test]
fn signals_dump_the_status_and_reload() {
    let mut one = alone();
    one.start(Conf::owner());
    one.wait_for_vip();
    one.signal(Signal::SIGUSR1);
    one.wait_for_log("status written to");
    let page = fs::read_to_string(one.path("control.data")).expect("written");
    assert!(page.contains("VI_1  MASTER"), "{page}");
    let document: serde_json::Value =
        serde_json::from_slice(&fs::read(one.path("control.json")).expect("written")).expect("a document");
    assert_eq!(document["instances"][0]["name"], "VI_1");

    one.configure(Conf::owner().address("192.0.2.101/24"));
    one.signal(Signal::SIGHUP);
    one.wait_for_log("reload: 0 instances added, 1 changed, 0 removed");
    one.signal(Signal::SIGINT);
    assert!(one.daemon_mut().wait(SOON).expect("ends").success());
}

#[test]
fn an_interrupt_can_be_ignored() {
    let mut one = alone();
    one.configure(Conf::owner());
    let mut command = one.command();
    command.arg("--ignore-sigint");
    one.spawn(command);
    one.wait_for_vip();
    one.signal(Signal::SIGINT);
    one.signal(Signal::SIGHUP);
    one.wait_for_log("reload: nothing changed");
    one.stop();
}

#[test]
fn a_crowd_of_followers_is_bounded_and_keeps_nobody_else_from_the_daemon() {
    let mut one = alone();
    one.start(Conf::owner());
    one.wait_for_vip();
    let follow = || {
        let mut stream = connect(&one);
        stream.write_all(b"{\"command\":\"events\",\"follow\":true}\n").expect("asking");
        let mut lines = BufReader::new(stream).lines();
        let first = lines.next().expect("a line").expect("text");
        (lines, first)
    };
    let mut followers: Vec<_> = (0..32).map(|_| follow()).collect();
    assert!(followers.iter().all(|(_, first)| first.contains("BACKUP")), "{followers:?}");
    let (_, refused) = follow();
    assert!(refused.contains("32 clients follow the events already"), "{refused}");
    let status = one.buoy(&["status"]);
    assert!(status.status.success(), "{status:?}");
    assert_eq!(one.reload(Conf::owner()), "nothing changed");
    // A place that is given up is for the next.
    followers.pop();
    wait_until(SOON, || follow().1.contains("BACKUP"), || "a place".to_owned());
    one.stop();
}

#[test]
fn a_file_in_the_place_of_the_socket_is_named_and_kept() {
    let one = alone();
    one.configure(Conf::owner());
    fs::write(one.control(), "precious").expect("written");
    let mut daemon = one.host.spawn(one.command()).expect("starts");
    assert_eq!(daemon.wait(SOON).expect("ends").code(), Some(1));
    daemon.wait_for_line("is there already and is no socket; name another", SOON).expect("says so");
    assert_eq!(fs::read_to_string(one.control()).expect("is there"), "precious");
}

#[test]
fn a_socket_that_was_removed_or_replaced_is_back_after_a_reload() {
    let mut one = alone();
    one.start(Conf::owner());
    one.wait_for_vip();
    fs::remove_file(one.control()).expect("removing");
    assert!(!one.buoy(&["status"]).status.success());
    one.signal(Signal::SIGHUP);
    one.wait_for_log("the control socket was removed or replaced by somebody; listening anew");
    assert_eq!(one.first().state, "MASTER");
    assert_eq!(mode(&one.control()), 0o660);

    fs::remove_file(one.control()).expect("removing");
    fs::write(one.control(), "precious").expect("written");
    one.signal(Signal::SIGHUP);
    one.wait_for_log("is there already and is no socket");
    one.stop();
    assert_eq!(fs::read_to_string(one.control()).expect("is there"), "precious");
}

#[test]
fn a_daemon_that_is_stopped_is_given_up_soon_and_said_to_be() {
    let mut one = alone();
    one.start(Conf::owner());
    one.wait_for_vip();
    one.signal(Signal::SIGSTOP);
    let output = one.buoy(&["status"]);
    one.signal(Signal::SIGCONT);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("the daemon did not answer within 5 s; is it stopped?"), "{said}");
    assert_eq!(output.status.code(), Some(1));
    one.stop();
}
