//! Two network namespaces joined by a cable, made and entered by the thread of a test.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::process::Command;
use std::time::{Duration, Instant};

use buoy_vrrp::Interface;
use nix::net::if_::InterfaceFlags;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns, unshare};

/// The namespaces vanish with their last descriptor; nothing is left to clean up.
pub(crate) struct Cable {
    home: File,
    left: File,
    right: File,
}

#[derive(Clone, Copy)]
pub(crate) enum End {
    Left,
    Right,
}

impl Cable {
    /// `left0` with 10.99.0.1 and fe80::1 in one namespace, `right0` with 10.99.0.2 and fe80::2 in the other.
    /// `None`, with the reason printed, without the rights to make them.
    pub(crate) fn plug() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: network namespaces need root");
            return None;
        }
        let home = current();
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let right = current();
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let left = current();
        let peer = format!("/proc/{}/fd/{}", std::process::id(), right.as_raw_fd());
        ip(&format!(
            "link add left0 address 02:00:00:00:00:01 type veth \
             peer name right0 address 02:00:00:00:00:02 netns {peer}"
        ));
        let cable = Self { home, left, right };
        for (end, name, n) in [(End::Left, "left0", 1), (End::Right, "right0", 2)] {
            cable.enter(end);
            ip(&format!("link set {name} addrgenmode none"));
            ip("link set lo up");
            ip(&format!("link set {name} up"));
            ip(&format!("address add 10.99.0.{n}/24 dev {name}"));
            ip(&format!("address add fe80::{n}/64 dev {name} nodad"));
        }
        for (end, name) in [(End::Left, "left0"), (End::Right, "right0")] {
            cable.enter(end);
            wait_until_running(name);
        }
        Some(cable)
    }

    /// What the thread opens from now on is opened there.
    pub(crate) fn enter(&self, end: End) {
        let namespace = match end {
            End::Left => &self.left,
            End::Right => &self.right,
        };
        setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        setns(&self.home, CloneFlags::CLONE_NEWNET).unwrap();
    }
}

/// The kernel drops what is sent before it has noticed the carrier, which it may take a second for.
fn wait_until_running(name: &str) {
    let running = || {
        let mut addresses = nix::ifaddrs::getifaddrs().unwrap();
        addresses.any(|a| a.interface_name == name && a.flags.contains(InterfaceFlags::IFF_RUNNING))
    };
    let limit = Instant::now() + Duration::from_secs(20);
    while !running() {
        assert!(Instant::now() < limit, "{name} has no carrier");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn current() -> File {
    File::open("/proc/thread-self/ns/net").unwrap()
}

pub(crate) fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split_whitespace()).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}

/// An interface of the namespace the thread is in.
pub(crate) fn interface(name: &str) -> Interface {
    Interface { index: nix::net::if_::if_nametoindex(name).unwrap(), name: name.into() }
}

/// Waits until `fd` has something to read; false if nothing comes for two seconds.
pub(crate) fn readable(fd: &impl AsFd) -> bool {
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::from(2000_u16)).unwrap() > 0
}
