//! A kernel that has IPVS, for tests of this program: the host's own in a network namespace, or user-mode Linux, which
//! runs a whole kernel as an ordinary process on the host's files.
//!
//! The cases that need it are ignored tests of this same program; it is started again over there to run them.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use buoy_ipvs::KernelPlane;
use buoy_ipvs::kernel::ModuleLoading;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, geteuid};

/// Set where the ignored cases may run: they change the IPVS table of the kernel they find themselves in.
const INSIDE: &str = "BUOY_TESTS_INSIDE_IPVS_KERNEL";
const MODULES: &str = "/usr/lib/uml/modules";
/// For the cases of one kernel, which is up in 3 s where nothing else runs.
const LIMIT: Duration = Duration::from_secs(300);
const STATUS: &str = "buoy-tests: exit status ";

/// Whether this program was started by [`run`].
pub(crate) fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// For each case: whether it is where it may do what it does.
pub(crate) fn inside() -> bool {
    let inside = is_inside();
    if !inside {
        eprintln!(
            "skipped: this case changes the table of the kernel; another test runs it in one of its own"
        );
    }
    inside
}

/// Runs the ignored cases of this program whose names contain one of `filters`, where IPVS is. `boot_options` are for
/// user-mode Linux alone; the host's kernel is not asked where there are any.
pub(crate) fn run_cases(filters: &[&str], boot_options: &str) {
    let mut arguments = vec!["--ignored", "--test-threads=1", "--nocapture"];
    arguments.extend(filters);
    run(&arguments, boot_options, LIMIT);
}

/// Runs this program with `arguments` where IPVS is, in user-mode Linux no longer than `limit`.
pub(crate) fn run(arguments: &[&str], boot_options: &str, limit: Duration) {
    let program = std::env::current_exe().unwrap();
    if boot_options.is_empty() && host_has_ipvs() {
        run_in_namespace(&program, arguments);
    } else {
        run_in_user_mode_linux(&program, arguments, boot_options, limit);
    }
}

fn host_has_ipvs() -> bool {
    geteuid().is_root()
        && thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).is_ok() && KernelPlane::open(ModuleLoading::Never).is_ok()
        })
        .join()
        .unwrap()
}

fn run_in_namespace(program: &Path, arguments: &[&str]) {
    let (program, arguments) = (program.to_owned(), arguments.iter().map(ToString::to_string));
    let arguments: Vec<String> = arguments.collect();
    // A child starts in the namespace of the thread that makes it.
    let status = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        assert!(Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap().success());
        Command::new(program).args(arguments).env(INSIDE, "1").status().unwrap()
    });
    let status = status.join().unwrap();
    assert!(status.success(), "the cases in a network namespace of this kernel: {status}");
}

fn run_in_user_mode_linux(program: &Path, arguments: &[&str], boot_options: &str, limit: Duration) {
    let Some(release) = modules_release() else {
        let message = "neither this kernel nor a package `user-mode-linux` has IPVS";
        assert!(std::env::var_os("BUOY_TESTS_REQUIRE_PEERS").is_none(), "{message}");
        eprintln!("skipped: {message}");
        return;
    };
    let machine = Machine::prepare(&release, program, arguments);
    let mut command = Command::new("linux.uml");
    command
        .args(["mem=1G", "rootfstype=hostfs", "rw", "con=null", "con0=fd:0,fd:1", "quiet"])
        .arg(format!("init={}", machine.folder.join("init").display()))
        // Otherwise a killed one leaves its folder in the home of the user.
        .arg(format!("uml_dir={}/", machine.folder.display()))
        .args(boot_options.split_whitespace())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        // The kernel's processes are ours to end, all at once.
        .process_group(0);
    let kernel = Kernel(command.spawn().expect("linux.uml starts"));
    let output = kernel.finish(limit);
    assert!(!output.contains("running 0 tests"), "no case is called like {arguments:?}");
    let status = output.lines().find_map(|line| line.trim().strip_prefix(STATUS));
    assert_eq!(status, Some("0"), "the cases in user-mode Linux; what it said is above");
}

fn modules_release() -> Option<String> {
    Command::new("linux.uml").arg("--version").stdin(Stdio::null()).output().ok()?;
    let folders = fs::read_dir(MODULES).ok()?;
    folders.filter_map(Result::ok).find_map(|folder| folder.file_name().into_string().ok())
}

/// What user-mode Linux is started with.
struct Machine {
    folder: PathBuf,
}

impl Machine {
    fn prepare(release: &str, program: &Path, arguments: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("uml-{}-{number}", std::process::id()));
        let modules = folder.join("lib/modules");
        fs::create_dir_all(&modules).unwrap();
        std::os::unix::fs::symlink(Path::new(MODULES).join(release), modules.join(release)).unwrap();
        let machine = Self { folder };
        machine
            .script("modprobe", &format!("exec /sbin/modprobe -d '{}' \"$@\"\n", machine.folder.display()));
        let arguments: Vec<_> = arguments.iter().map(|argument| format!("'{argument}'")).collect();
        machine.script(
            "init",
            &format!(
                "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n\
                 mount -t proc proc /proc; mount -t sysfs sys /sys\n\
                 mount -t tmpfs tmpfs /run; mkdir /run/tmp; export TMPDIR=/run/tmp\n\
                 echo '{folder}/modprobe' >/proc/sys/kernel/modprobe\n\
                 ip link set lo up\n\
                 cd /run/tmp; {INSIDE}=1 RUST_BACKTRACE=0 '{program}' {arguments} 2>&1\n\
                 echo '{STATUS}'$?\n\
                 halt -f\n",
                folder = machine.folder.display(),
                program = program.display(),
                arguments = arguments.join(" "),
            ),
        );
        machine
    }

    fn script(&self, name: &str, text: &str) {
        let path = self.folder.join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.folder).expect("a folder of our own");
    }
}

struct Kernel(Child);

impl Kernel {
    /// Passes through what it says until it halts; kills it when that takes too long.
    fn finish(mut self, limit: Duration) -> String {
        let mut console = self.0.stdout.take().unwrap();
        let reader = thread::spawn(move || {
            let mut all = Vec::new();
            let mut buffer = [0; 4096];
            while let Ok(len @ 1..) = console.read(&mut buffer) {
                all.extend_from_slice(&buffer[..len]);
                io::stdout().write_all(&buffer[..len]).unwrap();
            }
            String::from_utf8_lossy(&all).into_owned()
        });
        let begin = Instant::now();
        while self.0.try_wait().unwrap().is_none() {
            assert!(begin.elapsed() < limit, "user-mode Linux still runs after {limit:?}");
            thread::sleep(Duration::from_millis(20));
        }
        reader.join().unwrap()
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        let group = Pid::from_raw(i32::try_from(self.0.id()).unwrap());
        // It is usually gone by now, and its processes with it.
        killpg(group, Signal::SIGKILL).unwrap_or_default();
        self.0.wait().unwrap();
    }
}
