//! Buoy under systemd: what it tells the service manager, and the unit that is shipped.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;

use buoy::lab::find_program;

use crate::bench::{BUOY, Conf, SOON, alone};
use crate::lab::peer;

/// The service manager's ear: datagrams as in sd_notify(3).
struct Manager {
    socket: UnixDatagram,
}

impl Manager {
    fn new(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).expect("a socket");
        socket.set_read_timeout(Some(SOON)).expect("a timeout");
        Self { socket }
    }

    fn hear(&self) -> Vec<String> {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).expect("a word of the daemon");
        String::from_utf8_lossy(&buffer[..length]).lines().map(str::to_owned).collect()
    }

    /// The next message that is not the watchdog's.
    fn hear_news(&self) -> Vec<String> {
        loop {
            let message = self.hear();
            if message != ["WATCHDOG=1"] {
                return message;
            }
        }
    }
}

#[test]
fn the_service_manager_is_told_of_readiness_reloads_the_watchdog_and_the_stop() {
    let mut one = alone();
    let manager = Manager::new(&one.path("notify"));
    one.configure(Conf::owner());
    let mut command = one.command();
    command
        .env("NOTIFY_SOCKET", one.path("notify"))
        .env("WATCHDOG_USEC", "400000")
        .env_remove("WATCHDOG_PID");
    one.spawn(command);
    let status = format!("STATUS=1 instances, {}", one.path("buoy.conf").display());
    assert_eq!(manager.hear_news(), ["READY=1", &status]);
    for _ in 0..3 {
        assert_eq!(manager.hear(), ["WATCHDOG=1"]);
    }

    one.reload(Conf::owner());
    let reloading = manager.hear_news();
    assert_eq!(reloading[0], "RELOADING=1");
    let since = reloading[1].strip_prefix("MONOTONIC_USEC=").and_then(|time| time.parse::<u64>().ok());
    assert!(since.is_some_and(|time| time > 0), "{reloading:?}");
    assert_eq!(manager.hear_news(), ["READY=1", &status]);

    one.configure("vrrp_instance VI_1 {\n}");
    assert!(!one.buoy(&["reload"]).status.success());
    assert_eq!(manager.hear_news()[0], "RELOADING=1");
    assert_eq!(manager.hear_news(), ["READY=1", &format!("{status}; last reload refused")]);

    one.stop();
    assert_eq!(manager.hear_news(), ["STOPPING=1"]);
}

#[test]
fn scripts_are_not_taken_for_the_service() {
    let mut one = alone();
    let manager = Manager::new(&one.path("notify"));
    let hook =
        one.script("hook", &format!("env > {0}.new && mv {0}.new {0}", one.path("environment").display()));
    one.configure(Conf::owner().words(&format!("notify_master {hook}")));
    let mut command = one.command();
    command
        .env("NOTIFY_SOCKET", one.path("notify"))
        .env("WATCHDOG_USEC", "60000000")
        .env("WATCHDOG_PID", "1");
    one.spawn(command);
    manager.hear();
    let environment = one.wait_for_lines("environment", 1);
    let has = |name: &str| environment.iter().any(|line| line.starts_with(name));
    assert!(has("PATH=") && !has("NOTIFY_SOCKET=") && !has("WATCHDOG_"), "{environment:#?}");
}

#[test]
fn the_unit_is_understood_by_systemd() {
    let Some(analyze) = peer("systemd-analyze", find_program("systemd-analyze")) else { return };
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/buoy.service");
    let text = fs::read_to_string(unit).expect("the unit");
    // Where the README has it installed; here it is not.
    let installed = "/usr/local/sbin/buoy";
    let readme = include_str!("../../README.md");
    assert!(readme.contains(&format!("install -m 755 target/release/buoy {installed}")));
    assert!(text.contains(&format!("\nExecStart={installed} run ")));
    let text = text.replace(installed, BUOY);
    let folder = tempfile::tempdir().expect("temporary folder");
    let file = folder.path().join("buoy.service");
    fs::write(&file, text).expect("written");
    let output = Command::new(analyze).arg("verify").arg("--man=no").arg(&file).output().expect("runs");
    let complaints = String::from_utf8_lossy(&output.stderr);
    let about_ours: Vec<&str> = complaints.lines().filter(|line| line.contains("buoy")).collect();
    assert!(output.status.success() && about_ours.is_empty(), "{complaints}");
}

#[test]
fn the_service_and_its_reload_find_another_control_socket_in_their_environment() {
    let mut one = alone();
    one.configure(Conf::owner());
    let mut command = Command::new(BUOY);
    command.args(["run", "--die-with-parent", "-n", "-l", "-f"]).arg(one.path("buoy.conf"));
    command.arg("-p").arg(one.path("pid")).env("BUOY_CONTROL", one.control());
    one.spawn(command);
    let reload = Command::new(BUOY).arg("reload").env("BUOY_CONTROL", one.control()).output().expect("runs");
    assert!(reload.status.success(), "{reload:?}");
    one.stop();
}
