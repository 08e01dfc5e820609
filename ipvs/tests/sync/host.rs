//! Two hosts on one wire.

use std::fs::File;
use std::panic::resume_unwind;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::geteuid;

/// Whether this test has the rights that it needs.
pub(crate) fn may_run() -> bool {
    let root = geteuid().is_root();
    if !root {
        assert!(std::env::var_os("BUOY_TESTS_REQUIRE_PEERS").is_none(), "needs root");
        eprintln!("skipped: needs root");
    }
    root
}

/// A network namespace without a name, with an interface `wire`.
pub(crate) struct Host {
    namespace: File,
}

impl Host {
    fn new() -> Self {
        let namespace = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        let host = Self { namespace: namespace.join().unwrap() };
        // Nobody else has these addresses.
        host.run(|| std::fs::write("/proc/sys/net/ipv6/conf/default/accept_dad", "0")).unwrap();
        host
    }

    /// Does `work` in the namespace. A panic goes on here.
    pub(crate) fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        let inside = || {
            setns(&self.namespace, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        };
        thread::scope(|scope| scope.spawn(inside).join()).unwrap_or_else(|panic| resume_unwind(panic))
    }

    pub(crate) fn ip(&self, arguments: &str) -> String {
        self.command("ip", arguments)
    }

    pub(crate) fn command(&self, program: &str, arguments: &str) -> String {
        let output = self.run(|| Command::new(program).args(arguments.split_whitespace()).output().unwrap());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {arguments}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn wait_until(&self, arguments: &str, said: &str) {
        let since = Instant::now();
        while !self.ip(arguments).contains(said) {
            assert!(since.elapsed() < Duration::from_secs(10), "never `{said}`: ip {arguments}");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The near end has 10.80.0.1 and fd80::1, the far one 10.80.0.2 and fd80::2.
pub(crate) fn pair() -> (Host, Host) {
    let (near, far) = (Host::new(), Host::new());
    near.ip("link add wire type veth peer name other");
    near.run(|| {
        let far =
            format!("/proc/{}/fd/{}", std::process::id(), std::os::fd::AsRawFd::as_raw_fd(&far.namespace));
        let moved = Command::new("ip").args(["link", "set", "other", "netns", &far]).status().unwrap();
        assert!(moved.success());
    });
    far.ip("link set other name wire");
    for (host, number) in [(&near, 1), (&far, 2)] {
        host.ip("link set wire up");
        host.ip(&format!("address add 10.80.0.{number}/24 dev wire"));
        host.ip(&format!("address add fd80::{number}/64 dev wire nodad"));
    }
    for host in [&near, &far] {
        host.wait_until("link show wire", "state UP");
        host.wait_until("-6 address show dev wire scope link", "fe80::");
    }
    (near, far)
}
