//! keepalived's command line: the same program under its old name, in the background, in a namespace, and with
//! fewer privileges.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use buoy::api::client;
use buoy::lab::{Process, find_program};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::bench::{BUOY, Conf, Director, SOON, alone, ip, stays, vip};
use crate::lab::{peer, wait_until};

/// A link to the program under its old name.
fn keepalived(director: &Director) -> PathBuf {
    let link = director.path("keepalived");
    if !link.exists() {
        symlink(BUOY, &link).expect("a link");
    }
    link
}

/// A daemon in the background, ended with the test.
struct Background {
    pid_file: PathBuf,
}

impl Background {
    fn pid(&self) -> Option<i32> {
        fs::read_to_string(&self.pid_file).ok()?.trim().parse().ok()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(pid) = self.pid() {
            kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
        }
    }
}

fn background(director: &Director) -> Command {
    let mut command = Command::new(keepalived(director));
    command.arg("-f").arg(director.path("buoy.conf")).arg("-p").arg(director.path("pid"));
    command.arg("-r").arg(director.path("vrrp.pid")).arg("-G").arg("--control").arg(director.control());
    command
}

fn ended(director: &Director, command: Command) -> (Option<i32>, Process) {
    let mut process = director.host.spawn(command).expect("starts");
    let code = process.wait(SOON).expect("ends").code();
    (code, process)
}

/// What a program that has ended wrote.
fn output(process: &Process) -> Vec<String> {
    // The line never comes, so this waits for the end of the output.
    assert!(process.wait_for_line("\0", SOON).is_err());
    process.log().into_iter().map(|line| line.text).collect()
}

/// The fields of proc(5) behind the name: state, parent, group, session, terminal ...
fn stat(pid: i32) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    let (_, fields) = text.rsplit_once(')').expect("a name");
    fields.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn called_keepalived_it_stands_in_the_background_when_the_caller_gets_its_prompt_back() {
    let one = alone();
    one.configure(Conf::owner());
    let daemon = Background { pid_file: one.path("pid") };
    let (code, process) = ended(&one, background(&one));
    assert_eq!((code, output(&process)), (Some(0), Vec::new()));
    // No waiting: it stands.
    let pid = daemon.pid().expect("a pid file");
    assert_eq!(client::status(&one.control()).expect("answers").daemon.pid, pid.cast_unsigned());
    assert_eq!(fs::read_to_string(one.path("vrrp.pid")).expect("another").trim(), pid.to_string());
    wait_until(SOON, || one.holds(vip()), || "the address".to_owned());
    let fields = stat(pid);
    assert_eq!(fields[3], pid.to_string(), "it leads a session of its own: {fields:?}");
    assert_eq!(fields[4], "0", "it has no terminal: {fields:?}");
    assert_eq!(fs::read_link(format!("/proc/{pid}/cwd")).expect("a link"), Path::new("/"));

    let (code, process) = ended(&one, background(&one));
    assert_eq!(code, Some(1), "one at a time");
    process.wait_for_line(&format!("already running as process {pid}"), SOON).expect("says so");
    assert!(Path::new(&format!("/proc/{pid}")).exists(), "the first one lives on");

    kill(Pid::from_raw(pid), Signal::SIGTERM).expect("told to stop");
    wait_until(SOON, || daemon.pid().is_none(), || "the pid file goes".to_owned());
    wait_until(SOON, || !one.holds(vip()), || "the address goes".to_owned());
    assert!(!one.path("vrrp.pid").exists());
}

#[test]
fn what_keeps_it_from_starting_in_the_background_is_said_in_the_foreground() {
    let one = alone();
    one.configure("vrrp_instance VI_1 {\n");
    let (code, process) = ended(&one, background(&one));
    assert_eq!(code, Some(2));
    process.wait_for_line("cannot be run", SOON).expect("says so");

    fs::remove_file(one.path("buoy.conf")).expect("removing");
    let (code, _process) = ended(&one, background(&one));
    assert_eq!(code, Some(6), "as keepalived without a usable file");

    one.configure(Conf::owner());
    let mut command = background(&one);
    command.arg("-p").arg("/proc/none/pid");
    let (code, process) = ended(&one, command);
    assert_eq!(code, Some(1));
    process.wait_for_line("cannot create /proc/none", SOON).expect("says so");
    assert!(!one.holds(vip()));
}

#[test]
fn a_pid_file_of_a_killed_daemon_does_not_hinder_the_next() {
    let mut one = alone();
    one.start(Conf::owner());
    one.kill();
    assert!(one.path("pid").exists());
    one.start(Conf::owner());
    one.wait_for_vip();
    one.stop();
}

#[test]
fn it_tests_a_configuration_and_knows_the_numbers_of_signals() {
    let one = alone();
    let test = |text: &str| {
        one.configure(text);
        let mut command = Command::new(keepalived(&one));
        command.arg("-t").arg("-f").arg(one.path("buoy.conf"));
        ended(&one, command)
    };
    assert_eq!(test(&Conf::new(100).to_string()).0, Some(0));
    let (code, process) = test(&Conf::new(100).words("frobnicate 7").to_string());
    assert_eq!(code, Some(3), "a warning");
    process.wait_for_line("frobnicate", SOON).expect("shown");
    assert_eq!(test("vrrp_instance VI_1 {\n}").0, Some(1), "errors");

    let log = one.path("log");
    let mut command = Command::new(keepalived(&one));
    command.arg(format!("-t{}", log.display())).arg("-f").arg(one.path("buoy.conf"));
    assert_eq!(ended(&one, command).0, Some(1));
    assert!(fs::read_to_string(log).expect("written").contains("virtual_router_id"));

    for (name, number) in [("STOP", "15"), ("RELOAD", "1"), ("DATA", "10"), ("STATS", "12"), ("JSON", "36")] {
        let mut command = Command::new(keepalived(&one));
        command.arg(format!("--signum={name}"));
        let (code, process) = ended(&one, command);
        assert_eq!((code, output(&process)), (Some(0), vec![number.to_owned()]));
    }
    assert!(!one.holds(vip()));
}

/// Runs a shell script in a mount namespace in which `/run`, `/etc/buoy` and `/etc/keepalived` are empty.
fn in_private_system(director: &Director, script: &str) -> Process {
    let mut command = Command::new("unshare");
    let prepare = "set -e; mount -t tmpfs none /run; mkdir /run/lower /run/upper /run/work; \
                   mount -t overlay none -o lowerdir=/etc,upperdir=/run/upper,workdir=/run/work /etc; \
                   rm -rf /etc/keepalived /etc/buoy; mkdir /etc/keepalived; ";
    command.args(["--mount", "sh", "-c", &format!("{prepare}{script}"), BUOY]);
    command.arg(director.path("buoy.conf")).arg(director.control());
    director.host.spawn(command).expect("starts")
}

#[test]
fn without_a_file_it_takes_that_of_keepalived_and_its_own_first() {
    let one = alone();
    one.configure(Conf::owner());
    let mut nothing = in_private_system(&one, "exec \"$0\" run -n -l");
    assert_eq!(nothing.wait(SOON).expect("ends").code(), Some(6));
    nothing
        .wait_for_line(
            "none of /etc/buoy/buoy.conf, /etc/buoy/buoy.toml, /etc/keepalived/keepalived.conf",
            SOON,
        )
        .expect("says where it looked");

    let script =
        "cp \"$1\" /etc/keepalived/keepalived.conf; exec \"$0\" run --die-with-parent -n -l --control \"$2\"";
    let mut theirs = in_private_system(&one, script);
    theirs.wait_for_line("Buoy runs version", SOON).expect("runs");
    let status = client::status(&one.control()).expect("answers");
    assert_eq!(status.daemon.configuration, "/etc/keepalived/keepalived.conf");
    assert!(theirs.stop(SOON).expect("ends").success());

    let script = "cp \"$1\" /etc/keepalived/keepalived.conf; mkdir /etc/buoy; cp \"$1\" /etc/buoy/buoy.conf; \
                  exec \"$0\" run --die-with-parent -n -l --control \"$2\"";
    let mut ours = in_private_system(&one, script);
    ours.wait_for_line("Buoy runs version", SOON).expect("runs");
    let status = client::status(&one.control()).expect("answers");
    assert_eq!(status.daemon.configuration, "/etc/buoy/buoy.conf");
    assert!(ours.stop(SOON).expect("ends").success());
}

#[test]
fn it_works_in_the_network_namespace_that_it_is_told_or_configured() {
    if peer("iproute2", find_program("ip")).is_none() {
        return;
    }
    let one = alone();
    let prepare = "mkdir -p /run/netns; ip netns add blue; \
                   ip -n blue link add eth0 type veth peer name eth9; ip -n blue link set eth9 up; ip -n blue addr add 192.0.2.1/24 dev eth0; \
                   ip -n blue link set eth0 up; ";
    let show = "; ip -n blue -o addr show eth0; ip -o addr show eth0; kill $pid; wait $pid; ls -R /run/buoy";
    let wait = "& pid=$!; for i in $(seq 1000); do ip -n blue addr show eth0 | grep -q 192.0.2.100 && break; \
                sleep 0.02; done; ls /run/buoy";
    let cases = [
        (Conf::owner().to_string(), "-s blue", "blue.pid"),
        (format!("net_namespace blue\ninstance red\n{}", Conf::owner()), "", "red_blue.pid"),
    ];
    for (conf, options, file) in cases {
        one.configure(conf);
        let run = format!("\"$0\" run --die-with-parent -n -l -f \"$1\" {options}");
        let mut process = in_private_system(&one, &format!("{prepare}{run} {wait}{show}"));
        process.wait(SOON * 2).expect("ends");
        let log = output(&process);
        let shown = |text: &str| log.iter().filter(|line| line.contains(text)).count();
        assert_eq!(shown("inet 192.0.2.100/24"), 1, "in that namespace only: {log:#?}");
        assert_eq!(shown(file), 1, "{file} while it runs: {log:#?}");
    }
    one.configure(Conf::owner());
    let mut lost = in_private_system(&one, "exec \"$0\" run -n -l -f \"$1\" -s nowhere");
    assert_eq!(lost.wait(SOON).expect("ends").code(), Some(1));
    lost.wait_for_line("no network namespace nowhere", SOON).expect("says so");
}

#[test]
fn pid_files_lie_where_those_who_watch_the_program_look() {
    let one = alone();
    let cases = [
        (Conf::owner().to_string(), "$0", "/run/buoy.pid"),
        (format!("use_pid_dir\n{}", Conf::owner()), "$0", "/run/buoy/buoy.pid"),
        (Conf::owner().to_string(), "/run/keepalived", "/run/keepalived.pid"),
    ];
    for (conf, program, file) in cases {
        one.configure(conf);
        let script = format!(
            "ln -s \"$0\" /run/keepalived; \"{program}\" -n -l -f \"$1\" --control \"$2\" & pid=$!; \
             for i in $(seq 1000); do [ \"$(cat {file} 2>&-)\" = $pid ] && break; sleep 0.02; done; \
             kill $pid; wait $pid; echo ended with $?; cat {file}"
        );
        let mut process = in_private_system(&one, &script);
        process.wait(SOON * 2).expect("ends");
        process.wait_for_line("ended with 0", SOON).expect("ends in good order");
        process.wait_for_line("No such file", SOON).expect("the pid file is gone");
    }
}

#[test]
fn it_needs_no_root_but_two_capabilities() {
    const NOBODY: &str = "65534";
    let Some(setpriv) = peer("setpriv", find_program("setpriv")) else { return };
    let one = alone();
    // The build and the test's folder are closed to other users.
    let folder = TempDir::new().expect("temporary folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("permissions");
    let copy = folder.path().join("buoy");
    fs::copy(BUOY, &copy).expect("copying the program");
    let conf = Conf::owner().words("virtual_routes {\n        198.51.100.0/24 via 192.0.2.9 dev eth0\n    }");
    fs::write(folder.path().join("conf"), conf.to_string().replace("script_user root", "")).expect("written");
    let mut command = Command::new(setpriv);
    command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--no-new-privs"]);
    command.args(["--inh-caps", "-all,+net_admin,+net_raw", "--ambient-caps", "-all,+net_admin,+net_raw"]);
    command.args(["--bounding-set", "-all,+net_admin,+net_raw", "--"]).arg(&copy);
    command.args(["run", "-n", "-l", "-f"]).arg(folder.path().join("conf"));
    command.arg("-p").arg(folder.path().join("pid")).arg("--control").arg(folder.path().join("control"));
    let mut daemon = one.host.spawn(command).expect("starts");
    wait_until(SOON, || one.holds(vip()), || format!("the address: {:#?}", daemon.log()));
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.id())).expect("it lives");
    assert!(status.contains("Uid:\t65534"), "{status}");
    one.host.remove_address(vip()).expect("removing");
    daemon.wait_for_line("put back", SOON).expect("repairs");
    wait_until(SOON, || one.holds(vip()), || format!("the address: {:#?}", daemon.log()));
    let complaints: Vec<String> = daemon
        .log()
        .into_iter()
        .map(|line| line.text)
        .filter(|line| line.contains("ERROR") || line.contains("permit") || line.contains("CAP_"))
        .collect();
    assert_eq!(complaints, Vec::<String>::new());
    assert!(daemon.stop(SOON).expect("ends").success(), "{:#?}", daemon.log());
    assert!(!one.holds(vip()));
}

#[test]
fn scripts_run_before_the_start_and_after_the_end() {
    let mut one = alone();
    let log = one.path("log");
    let held = "grep -q 192.0.2.100 /proc/self/net/fib_trie && echo with || echo without";
    let startup = one.script("startup", &format!("echo startup $({held}) >> {}", log.display()));
    let shutdown = one.script("shutdown", &format!("echo shutdown $({held}) >> {}", log.display()));
    one.start(Conf::owner().global(&format!("startup_script {startup}\n    shutdown_script {shutdown}")));
    assert_eq!(one.lines("log"), ["startup without"]);
    one.wait_for_vip();
    one.stop();
    assert_eq!(one.lines("log"), ["startup without", "shutdown without"]);

    // Failing or hanging, they are reported and hold up nothing for ever.
    let fails = one.script("fails", "exit 3");
    let hangs = one.script("hangs", "sleep 1000");
    let globals =
        format!("startup_script {fails}\n    shutdown_script {hangs}\n    shutdown_script_timeout 1");
    one.start(Conf::owner().global(&globals));
    one.wait_for_log("startup_script: exit status 3");
    one.wait_for_vip();
    one.stop();
    one.wait_for_log("shutdown_script: timed out after 1 s");
    stays(Duration::from_millis(50), || !one.holds(vip()), "nothing is left");
}

#[test]
fn vrrp_can_be_left_to_another_process() {
    let mut one = alone();
    one.configure(Conf::owner().block("static_ipaddress {\n    192.0.2.50/24 dev eth0\n}"));
    let mut command = one.command();
    command.arg("-C");
    one.spawn(command);
    assert!(one.states().is_empty());
    one.signal(Signal::SIGHUP);
    one.wait_for_log("reload: nothing changed");
    assert!(!one.holds(vip()) && !one.holds(ip("192.0.2.50")));
    one.stop();
}

#[test]
fn the_election_has_the_nice_value_that_is_configured_and_the_log_its_format() {
    let mut one = alone();
    one.configure(Conf::owner().global("vrrp_priority -7\n    log_format json"));
    let mut command = one.command();
    command.arg("--no-syslog");
    one.spawn(command);
    one.wait_for_vip();
    one.wait_for_log("\"message\":\"instance VI_1: BACKUP -> MASTER");
    let tasks = fs::read_dir(format!("/proc/{}/task", one.daemon().id())).expect("it lives");
    let nice: BTreeMap<String, String> = tasks
        .flatten()
        .filter_map(|task| {
            let name = fs::read_to_string(task.path().join("comm")).ok()?;
            let stat = fs::read_to_string(task.path().join("stat")).ok()?;
            let (_, fields) = stat.rsplit_once(')')?;
            Some((name.trim().to_owned(), fields.split_whitespace().nth(16)?.to_owned()))
        })
        .collect();
    assert_eq!((&*nice["election"], &*nice["host"]), ("-7", "0"), "{nice:?}");
    one.stop();
}

#[test]
fn a_mistaken_second_start_leaves_the_first_daemons_addresses_alone() {
    let mut one = alone();
    one.start(Conf::owner());
    one.wait_for_vip();
    let mut second = one.command();
    second.arg("-p").arg(one.path("another.pid"));
    let (code, process) = ended(&one, second);
    assert_eq!(code, Some(1));
    process.wait_for_line("another daemon answers", SOON).expect("says why");
    let touched = process.log().iter().any(|line| line.text.contains("left behind"));
    assert!(!touched && one.holds(vip()), "{:#?}", process.log());
    one.stop();
}

#[test]
fn names_without_a_folder_are_in_the_one_it_was_started_in() {
    let one = alone();
    one.configure(Conf::owner());
    let daemon = Background { pid_file: one.path("x.pid") };
    for options in [["-n", "--die-with-parent"].as_slice(), &[]] {
        let mut command = Command::new(keepalived(&one));
        command.args(["-G", "-f", "buoy.conf", "-p", "x.pid", "--vrrp_pid=v.pid", "--checkers_pid", "c.pid"]);
        command.args(["--bfd_pid", "b.pid", "--control", "x.sock", "-gx.log"]).args(options);
        command.current_dir(one.path(""));
        let process = one.host.spawn(command).expect("starts");
        let answers = || client::status(&one.path("x.sock")).is_ok();
        wait_until(SOON, answers, || format!("a socket: {:#?}", process.log()));
        let pid = daemon.pid().expect("a pid file");
        for name in ["v.pid", "c.pid", "b.pid"] {
            assert_eq!(fs::read_to_string(one.path(name)).expect("another").trim(), pid.to_string());
        }
        let log = || fs::read_to_string(one.path("x.log")).expect("a log file");
        wait_until(SOON, || log().contains("instance VI_1: BACKUP -> MASTER"), log);
        kill(Pid::from_raw(pid), Signal::SIGTERM).expect("told to stop");
        wait_until(SOON, || daemon.pid().is_none(), || "the pid file goes".to_owned());
        wait_until(SOON, || log().contains("stopped"), log);
        fs::remove_file(one.path("x.log")).expect("removing");
    }
}

#[test]
fn a_log_file_that_cannot_be_written_and_the_digest_helper_are_refused() {
    let one = alone();
    one.configure(Conf::owner());
    symlink(one.path("elsewhere"), one.path("link")).expect("a link");
    for (option, message) in [
        (format!("-g{}", one.path("link").display()), "cannot log to"),
        ("-T".to_owned(), "(-T, --genhash) is not in this version"),
    ] {
        let mut command = one.command();
        command.arg(option);
        let (code, process) = ended(&one, command);
        assert_eq!(code, Some(1));
        process.wait_for_line(message, SOON).expect("says so");
    }
    assert!(!one.path("elsewhere").exists());
}

#[test]
fn in_the_background_without_syslog_it_says_that_it_logs_nowhere_before_it_leaves() {
    if Path::new("/dev/log").exists() {
        println!("skipped: there is a syslog here");
        return;
    }
    let one = alone();
    one.configure(Conf::owner());
    let daemon = Background { pid_file: one.path("pid") };
    let start = |option: &str| {
        let mut command = Command::new(keepalived(&one));
        command.arg("-f").arg(one.path("buoy.conf")).arg("-p").arg(one.path("pid"));
        command.arg("--control").arg(one.control()).arg(option);
        let (code, process) = ended(&one, command);
        assert_eq!(code, Some(0));
        let pid = daemon.pid().expect("a pid file");
        kill(Pid::from_raw(pid), Signal::SIGTERM).expect("told to stop");
        wait_until(SOON, || daemon.pid().is_none(), || "the pid file goes".to_owned());
        output(&process)
    };
    let said = start("-R");
    assert!(
        said.iter().any(|line| line.contains("it logs nowhere; start syslog, or name a file")),
        "{said:#?}"
    );
    assert_eq!(start(&format!("-g{}", one.path("log").display())), [] as [String; 0]);
}

#[test]
fn a_missing_file_is_told_in_the_log_without_a_doubled_word() {
    let mut one = alone();
    one.start(Conf::owner());
    fs::remove_file(one.path("buoy.conf")).expect("removing");
    one.signal(Signal::SIGHUP);
    one.wait_for_log("reload refused");
    let log = one.log();
    let line = log.iter().find(|line| line.contains("cannot be read")).expect("a line");
    assert!(!line.contains("error:"), "{line}");
    one.stop();
}

#[test]
fn scripts_inherit_nothing_that_the_daemon_was_started_with() {
    let mut one = alone();
    let hook = one.script("hook", &format!("ls -l /proc/self/fd > {}", one.path("open").display()));
    one.configure(Conf::owner().words(&format!("notify_master {hook}")));
    let mut command = Command::new("sh");
    let daemon = one.command();
    command.args(["-c", "exec 7<\"$0\" 9<\"$0\"; exec \"$@\""]).arg(one.path("buoy.conf"));
    command.arg(daemon.get_program()).args(daemon.get_args());
    one.spawn(command);
    // The descriptor of the listing itself, and the three standard streams.
    let open = one.wait_for_lines("open", 5).join("\n");
    assert!(!open.contains("buoy.conf"), "{open}");
    one.stop();
}

#[test]
fn a_second_daemon_runs_no_startup_script_and_a_reload_during_the_script_is_not_forgotten() {
    let one = alone();
    let (log, go) = (one.path("log"), one.path("go"));
    let startup = one.script(
        "startup",
        &format!("echo started >> {}; until [ -e {} ]; do sleep 0.01; done", log.display(), go.display()),
    );
    let conf = |priority| Conf::new(priority).global(&format!("startup_script {startup}"));
    one.configure(conf(100));
    let daemon = one.host.spawn(one.command()).expect("starts");
    one.wait_for_lines("log", 1);
    one.configure(conf(120));
    daemon.signal(Signal::SIGHUP).expect("signalling");
    // Nothing shows that the signal has been taken; it is taken before the end of the script, which comes later.
    fs::write(&go, "").expect("written");
    daemon.wait_for_line("reload: 0 instances added, 1 changed, 0 removed", SOON).expect("reloads");
    assert_eq!(one.first().priority, 120);

    let mut second = one.command();
    second.arg("-p").arg(one.path("another.pid"));
    assert_eq!(ended(&one, second).0, Some(1));
    assert_eq!(one.lines("log"), ["started"], "the second one has not come so far");
}
