use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tokio::time::timeout;

use super::*;
use buoy_ipvs::{Family, FwMark, Protocol, ServiceId};

use crate::alert::fixture::{
    instance, plan, quorum, real_server, server_change, service, shell, tcp_service,
};
use crate::alert::settings::Settings;

fn settings(path: &Path) -> plan::Fifo {
    plan::Fifo { path: path.to_owned(), owner: None, script: None }
}

/// FIFOs that get every line.
fn all<const N: usize>(fifos: [&plan::Fifo; N]) -> [FifoSettings; N] {
    fifos.map(|fifo| FifoSettings { fifo: fifo.clone(), topics: &Topic::ALL })
}

/// A reader at the other end, opened like `nix::fcntl` would not wait.
fn reader(path: &Path) -> File {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).expect("the FIFO opens")
}

fn text(mut reader: &File) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = reader.read(&mut buffer) {
        bytes.extend(&buffer[..count]);
    }
    String::from_utf8(bytes).expect("utf-8")
}

#[test]
fn lines_are_those_of_keepalived_byte_for_byte() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("fifo");
    let fifos = Fifos::new();
    fifos.adapt(&all([&settings(&path)]));
    let reader = reader(&path);
    fifos.write(&instance("VI_1"), "MASTER", Priority::new(150));
    fifos.write(&Subject::Group("G 1".into()), "BACKUP", Priority::new(150));
    fifos.write(&instance("VI_1"), "MASTER_RX_LOWER_PRI", Priority::new(150));
    assert_eq!(
        text(&reader),
        "INSTANCE \"VI_1\" MASTER 150\nGROUP \"G 1\" BACKUP 0\nINSTANCE \"VI_1\" MASTER_RX_LOWER_PRI 150\n"
    );
}

#[test]
fn lines_about_services_are_those_of_keepalived_byte_for_byte() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("fifo");
    let fifos = Fifos::new();
    fifos.adapt(&all([&settings(&path)]));
    let reader = reader(&path);
    let address = |protocol, address: &str, port| {
        let address = address.parse().expect("an address");
        ServiceId::Address { protocol, address, port }
    };
    let mark = |family, mark| ServiceId::FwMark { family, mark: FwMark::new(mark).expect("not 0") };
    // What keepalived 2.2.7 wrote for such services in user-mode Linux.
    let cases = [
        (
            "TCP 10.0.0.1:80",
            address(Protocol::Tcp, "10.0.0.1", 80),
            "127.0.0.1:81",
            "RS [127.0.0.1]:tcp:81 [10.0.0.1]:tcp:80 DOWN\nVS [10.0.0.1]:tcp:80 UP\n",
        ),
        (
            "UDP 10.0.0.1:53",
            address(Protocol::Udp, "10.0.0.1", 53),
            "127.0.0.2:53",
            "RS [127.0.0.2]:udp:53 [10.0.0.1]:udp:53 DOWN\nVS [10.0.0.1]:udp:53 UP\n",
        ),
        (
            "SCTP [2001:db8::1]:80",
            address(Protocol::Sctp, "2001:db8::1", 80),
            "[::1]:80",
            "RS [::1]:sctp:80 [2001:db8::1]:sctp:80 DOWN\nVS [2001:db8::1]:sctp:80 UP\n",
        ),
        ("FWM 7", mark(Family::V4, 7), "127.0.0.3:0", "RS [127.0.0.3]:none:0 FWM 7 DOWN\nVS FWM 7 UP\n"),
        ("FWM 8 IPv6", mark(Family::V6, 8), "[::1]:0", "RS [::1]:none:0 FWM 8 DOWN\nVS FWM 8 UP\n"),
        (
            "GROUP_A TCP",
            address(Protocol::Tcp, "10.9.0.1", 80),
            "127.0.0.4:81",
            "RS [127.0.0.4]:tcp:81 [GROUP_A]:0 DOWN\nVS [GROUP_A]:0 UP\n",
        ),
        (
            "GROUP_F",
            mark(Family::V4, 11),
            "127.0.0.5:81",
            "RS [127.0.0.5]:none:81 [GROUP_F]:0 DOWN\nVS [GROUP_F]:0 UP\n",
        ),
    ];
    for (name, id, server, expected) in cases {
        let plan = plan::Plan { services: vec![service(name, id, &[server])], ..plan() };
        let settings = Settings::new(&plan, None);
        let label = settings.services[name].label();
        let down =
            ServiceChange { service: name.into(), server: Some(real_server(server)), ..quorum(false, "") };
        fifos.write_change(&down, label);
        fifos.write_change(&ServiceChange { service: name.into(), ..quorum(true, "") }, label);
        assert_eq!(text(&reader), expected, "{name}");
    }
}

#[test]
fn each_fifo_gets_the_lines_of_its_topics_and_a_reload_may_change_them() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let paths = ["all", "vrrp", "lvs"].map(|name| directory.path().join(name));
    let mut plan = plan();
    plan.services = vec![tcp_service(&["10.1.0.1:80"])];
    plan.global.notify_fifo = Some(settings(&paths[0]));
    plan.global.vrrp_notify_fifo = Some(settings(&paths[1]));
    plan.balancing.notify_fifo = Some(settings(&paths[2]));
    let before = Settings::new(&plan, None);
    let fifos = Fifos::new();
    fifos.adapt(&before.fifos);
    let readers = paths.each_ref().map(|path| reader(path));
    let label = before.services["TCP 10.0.0.1:80"].label();
    let write_all = || {
        fifos.write(&instance("VI_1"), "MASTER", Priority::new(150));
        fifos.write_change(&server_change("10.1.0.1:80", true, "it answers"), label);
        readers.each_ref().map(text)
    };
    let (vrrp, lvs) = ("INSTANCE \"VI_1\" MASTER 150\n", "RS [10.1.0.1]:tcp:80 [10.0.0.1]:tcp:80 UP\n");
    assert_eq!(write_all(), [&format!("{vrrp}{lvs}"), vrrp, lvs]);
    plan.global.notify_fifo = None;
    plan.balancing.notify_fifo = Some(settings(&paths[1]));
    fifos.adapt(&Settings::new(&plan, Some(&before)).fifos);
    assert_eq!(write_all(), ["", &format!("{vrrp}{lvs}"), ""]);
}

#[test]
fn specific_fifos_of_the_same_path_are_one_with_one_reader() {
    let path = Path::new("/run/fifo");
    let (vrrp, lvs) = (settings(path), plan::Fifo { script: Some(shell("cat")), ..settings(path) });
    let mut plan = plan();
    plan.global.vrrp_notify_fifo = Some(vrrp.clone());
    plan.balancing.notify_fifo = Some(lvs.clone());
    assert_eq!(Settings::new(&plan, None).fifos, all([&lvs]));
    plan.global.notify_fifo = Some(vrrp.clone());
    assert_eq!(Settings::new(&plan, None).fifos, all([&vrrp]));
}

#[test]
fn a_full_pipe_drops_lines_and_counts_them() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("fifo");
    let fifos = Fifos::new();
    fifos.adapt(&all([&settings(&path)]));
    let line = "INSTANCE \"VI_1\" MASTER 150\n";
    let fitting = 65536 / 4096 * (4096 / line.len());
    for _ in 0..fitting * 2 {
        fifos.write(&instance("VI_1"), "MASTER", Priority::new(150));
    }
    let read = text(&reader(&path));
    assert!(read.lines().all(|read| read == line.trim_end()), "whole lines only");
    let written = u64::try_from(read.lines().count()).expect("few");
    assert_eq!(fifos.dropped() + written, u64::try_from(fitting * 2).expect("few"));
    assert!(fifos.dropped() > 0);
}

#[test]
fn what_we_made_is_removed_and_what_was_there_stays() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (ours, theirs) = (directory.path().join("ours"), directory.path().join("theirs"));
    mkfifo(&theirs, Mode::S_IRWXU).expect("made");
    let fifos = Fifos::new();
    fifos.adapt(&all([&settings(&ours), &settings(&theirs)]));
    let mode = std::fs::metadata(&ours).expect("exists").permissions().mode();
    assert_eq!(mode & 0o133, 0, "mode {mode:o} is 0644 less the umask");
    fifos.adapt(&all([]));
    assert!(!ours.exists() && theirs.exists());
}

#[test]
fn something_else_of_that_name_is_left_alone() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (file, link, fifo) =
        (directory.path().join("file"), directory.path().join("link"), directory.path().join("fifo"));
    std::fs::write(&file, "precious").expect("written");
    mkfifo(&fifo, Mode::S_IRWXU).expect("made");
    std::os::unix::fs::symlink(&fifo, &link).expect("linked");
    let fifos = Fifos::new();
    fifos.adapt(&all([&settings(&file), &settings(&link)]));
    fifos.write(&instance("VI_1"), "MASTER", Priority::new(150));
    assert_eq!(std::fs::read_to_string(&file).expect("readable"), "precious");
    assert_eq!(text(&reader(&fifo)), "");
    drop(fifos);
    assert!(file.exists() && link.exists());
}

#[test]
fn a_fifo_of_another_user_is_not_used() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("fifo");
    mkfifo(&path, Mode::S_IRWXU).expect("made");
    std::os::unix::fs::chown(&path, Some(65534), None).expect("given away");
    let mut wanted = settings(&path);
    assert!(open(&wanted).is_err());
    wanted.owner = Some(plan::User { name: "nobody".into(), uid: 65534, gid: 65534 });
    assert!(open(&wanted).is_ok());
}

#[test]
fn a_fifo_made_for_another_user_is_given_away_and_what_replaced_it_is_not() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("fifo");
    let mut wanted = settings(&path);
    wanted.owner = Some(plan::User { name: "nobody".into(), uid: 65534, gid: 65534 });
    let owner = |path: &Path| std::fs::metadata(path).expect("exists").uid();
    let (made, created) = open(&wanted).expect("made");
    assert!(created);
    assert_eq!(owner(&path), 65534);
    drop(made);
    // What the other user may put there between making and giving: a link, and another name of a FIFO of ours.
    let precious = directory.path().join("precious");
    mkfifo(&precious, Mode::S_IRWXU).expect("made");
    let replacements: [fn(&Path, &Path) -> io::Result<()>; 2] =
        [|from, to| std::os::unix::fs::symlink(from, to), |from, to| std::fs::hard_link(from, to)];
    for replace in replacements {
        std::fs::remove_file(&path).expect("removed");
        replace(&precious, &path).expect("replaced");
        assert!(open_existing(&wanted).and_then(|file| give(&file, &wanted)).is_err());
        assert_eq!(owner(&precious), 0);
    }
}

#[test]
fn an_unchanged_fifo_survives_a_reload_with_its_lines() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("fifo");
    let fifos = Fifos::new();
    fifos.adapt(&all([&settings(&path)]));
    fifos.write(&instance("VI_1"), "MASTER", Priority::new(150));
    fifos.adapt(&all([&settings(&path)]));
    assert_eq!(text(&reader(&path)), "INSTANCE \"VI_1\" MASTER 150\n");
}

#[test]
fn a_fifo_that_was_removed_or_replaced_is_opened_anew_at_a_reload() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("fifo");
    let fifos = Fifos::new();
    fifos.adapt(&all([&settings(&path)]));
    for replaced in [false, true] {
        std::fs::remove_file(&path).expect("removed");
        if replaced {
            mkfifo(&path, Mode::S_IRWXU).expect("made");
        }
        fifos.adapt(&all([&settings(&path)]));
        fifos.write(&instance("VI_1"), "MASTER", Priority::new(150));
        assert_eq!(text(&reader(&path)), "INSTANCE \"VI_1\" MASTER 150\n");
    }
    fifos.adapt(&all([]));
    assert!(path.exists(), "the last one was made by somebody else");
}

#[tokio::test]
async fn a_reader_that_ended_is_started_again_at_a_reload_and_one_at_work_is_not() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let log = directory.path().join("log");
    let wanted = |name: &str, script: &str| {
        let mut wanted = settings(&directory.path().join(name));
        wanted.script = Some(shell(&format!("echo {name} >> {}; {script}", log.display())));
        wanted
    };
    let both = [wanted("ends", "true"), wanted("stays", "sleep 1000")];
    let fifos = std::sync::Arc::new(Fifos::new());
    fifos.adapt(&all(both.each_ref()));
    let phase = watch::Sender::new(Phase::Open);
    let (working, watching) = (std::sync::Arc::clone(&fifos), phase.subscribe());
    let task = tokio::spawn(async move { working.run(watching).await });
    let started = |name: &str| {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        text.lines().filter(|line| *line == name).count()
    };
    let until_started = async |name: &str, times: usize| {
        let poll = async {
            while started(name) < times {
                tokio::time::sleep(Duration::from_millis(2)).await;
                fifos.adapt(&all(both.each_ref()));
            }
        };
        timeout(Duration::from_secs(20), poll).await.unwrap_or_else(|_| panic!("{name} is started"));
    };
    until_started("stays", 1).await;
    until_started("ends", 3).await;
    assert_eq!(started("stays"), 1);
    // One whose FIFO is another one now has nothing to read any more.
    std::fs::remove_file(&both[1].path).expect("removed");
    until_started("stays", 2).await;
    phase.send_replace(Phase::Flushing);
    timeout(Duration::from_secs(20), task).await.expect("ends").expect("without panic");
}

#[tokio::test]
async fn a_reader_script_gets_the_path_and_every_line_up_to_the_last() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (path, log) = (directory.path().join("fifo"), directory.path().join("log"));
    let mut wanted = settings(&path);
    wanted.script = Some(shell(&format!(
        "while read line; do echo \"$line\" >> {log}; done < $1; echo end >> {log}",
        log = log.display()
    )));
    let fifos = std::sync::Arc::new(Fifos::new());
    fifos.adapt(&all([&wanted]));
    let phase = watch::Sender::new(Phase::Open);
    let (working, watching) = (std::sync::Arc::clone(&fifos), phase.subscribe());
    let task = tokio::spawn(async move { working.run(watching).await });
    fifos.write(&instance("VI_1"), "BACKUP", Priority::new(150));
    let poll = async {
        while !log.exists() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(Duration::from_secs(20), poll).await.expect("the reader reads");
    fifos.write(&instance("VI_1"), "STOP", Priority::new(150));
    phase.send_replace(Phase::Flushing);
    timeout(Duration::from_secs(20), task).await.expect("ends").expect("without panic");
    let log = std::fs::read_to_string(log).expect("readable");
    assert_eq!(log, "INSTANCE \"VI_1\" BACKUP 150\nINSTANCE \"VI_1\" STOP 150\nend\n");
}

#[tokio::test]
async fn a_reader_that_does_not_leave_is_ended() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let mut wanted = settings(&directory.path().join("fifo"));
    wanted.script = Some(shell("sleep 1000"));
    let fifos = Fifos::new();
    fifos.adapt(&all([&wanted]));
    let phase = watch::Sender::new(Phase::Flushing);
    timeout(Duration::from_secs(20), fifos.run(phase.subscribe())).await.expect("ends");
}
