//! Network namespaces without names.

use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
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

/// A network namespace.
pub(crate) struct Host {
    namespace: File,
}

impl Host {
    pub(crate) fn new() -> Self {
        let namespace = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        let host = Self { namespace: namespace.join().unwrap() };
        host.ip("link set lo up");
        host.sysctl("net/ipv6/conf/default/accept_dad", "0");
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

    pub(crate) fn command(&self, program: &str, arguments: &str) -> String {
        let output = self.run(|| Command::new(program).args(arguments.split_whitespace()).output().unwrap());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {arguments}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn ip(&self, arguments: &str) -> String {
        self.command("ip", arguments)
    }

    pub(crate) fn sysctl(&self, key: &str, value: &str) {
        self.run(|| std::fs::write(format!("/proc/sys/{key}"), value)).unwrap();
    }

    pub(crate) fn index_of(&self, interface: &str) -> u32 {
        self.run(|| nix::net::if_::if_nametoindex(interface)).unwrap()
    }

    /// Waits until the kernel has noticed that the cable is in: what is sent before that is lost.
    pub(crate) fn wait_for(&self, interface: &str) {
        self.wait_until(&format!("link show {interface}"), "state UP");
    }

    /// Gives an interface an address, and waits until the host knows that what goes there is for itself.
    pub(crate) fn add_address(&self, address: IpAddr, interface: &str) {
        let options = if address.is_ipv4() { "/24" } else { "/64 nodad" };
        self.ip(&format!("address add dev {interface} {address}{options}"));
        self.wait_until(&format!("route get {address}"), "local");
    }

    fn wait_until(&self, arguments: &str, said: &str) {
        let since = Instant::now();
        while !self.ip(arguments).contains(said) {
            assert!(since.elapsed() < Duration::from_secs(10), "never `{said}`: ip {arguments}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// How `ip` calls it.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.namespace.as_raw_fd())
    }
}
