//! `buoy demo` as its user meets it.

mod lab;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use buoy::lab::Program;
use lab::{subject, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// `buoy demo` with a temporary folder and a mark in its environment, which its daemons inherit.
struct Demo {
    folder: TempDir,
    mark: String,
}

impl Demo {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("buoy-demo-test-").tempdir().expect("temporary folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("permissions");
        let mark = format!("BUOY_DEMO_TEST={}", folder.path().display());
        Self { folder, mark }
    }

    fn command(&self, buoy: &Path) -> Command {
        let mut command = Command::new(buoy);
        command.arg("demo");
        if let Program::Keepalived(path) = subject() {
            command.arg("--daemon").arg(path);
        }
        let (name, value) = self.mark.split_once('=').expect("a mark is an assignment");
        command.env(name, value).env("TMPDIR", self.folder.path()).current_dir("/").stdin(Stdio::null());
        command
    }

    /// Runs it until the first director has the address.
    fn run_to_the_middle(&self) -> Child {
        let mut demo =
            self.command(Path::new(BUOY)).stdout(Stdio::piped()).spawn().expect("starting the demo");
        let output = BufReader::new(demo.stdout.take().expect("a pipe"));
        let reached = output.lines().map_while(Result::ok).any(|line| line.contains("gets answers"));
        assert!(reached, "the demo ended before its first director had the address");
        assert!(!self.processes().is_empty(), "the mark finds the daemons");
        demo
    }

    /// The processes that carry the mark and run.
    fn processes(&self) -> Vec<u32> {
        let ids = fs::read_dir("/proc").expect("proc").flatten();
        ids.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|id| {
                // The environment of a zombie reads as empty.
                let environment = fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
                environment.split(|byte| *byte == 0).any(|variable| variable == self.mark.as_bytes())
            })
            .collect()
    }

    fn files(&self) -> usize {
        fs::read_dir(self.folder.path()).expect("temporary folder").count()
    }

    fn assert_succeeds(&self, command: &mut Command) {
        let output = command.output().expect("running the demo");
        let told = String::from_utf8_lossy(&output.stdout);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}:\n{told}\n{complaint}", output.status);
        assert!(told.contains("The address moved and answered every time."), "{told}");
        assert_eq!((self.processes(), self.files()), (vec![], 0), "the demo cleans up");
    }
}

const BUOY: &str = env!("CARGO_BIN_EXE_buoy");

#[test]
fn the_demo_moves_the_address_and_cleans_up() {
    let demo = Demo::new();
    demo.assert_succeeds(&mut demo.command(Path::new(BUOY)));
}

#[test]
fn the_demo_needs_no_privileges() {
    const NOBODY: u32 = 65534;
    let demo = Demo::new();
    // The build may be in a folder that is closed to other users.
    let buoy = TempDir::new().expect("temporary folder");
    fs::set_permissions(buoy.path(), fs::Permissions::from_mode(0o755)).expect("permissions");
    let copy = buoy.path().join("buoy");
    fs::copy(BUOY, &copy).expect("copying the program");
    demo.assert_succeeds(demo.command(&copy).uid(NOBODY).gid(NOBODY));
}

#[test]
fn an_interrupted_demo_cleans_up_and_says_so_by_its_exit_code() {
    let demo = Demo::new();
    let mut running = demo.run_to_the_middle();
    signal(&running, Signal::SIGINT);
    let status = running.wait().expect("the demo's end");
    assert_eq!(status.code(), Some(130));
    assert_eq!((demo.processes(), demo.files()), (vec![], 0));
}

#[test]
fn a_killed_demo_takes_its_daemons_with_it() {
    let demo = Demo::new();
    let mut running = demo.run_to_the_middle();
    signal(&running, Signal::SIGKILL);
    running.wait().expect("the demo's end");
    wait_until(
        Duration::from_secs(10),
        || demo.processes().is_empty(),
        || format!("the daemons end; running: {:?}", demo.processes()),
    );
}

fn signal(child: &Child, signal: Signal) {
    let id = i32::try_from(child.id()).expect("process ids fit");
    kill(Pid::from_raw(id), signal).expect("sending a signal");
}
