use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use buoy::host::{Guarded, HostConfig};
use nix::sched::{CloneFlags, setns};

use crate::bench::{Bench, address, in_namespace, ip, pair, run, sysctl};

/// An answer may take so long on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn settings_are_changed_while_configured_and_restored() {
    in_namespace(|| {
        let promote = "ipv4/conf/uplink/promote_secondaries";
        std::fs::write(format!("/proc/sys/net/{promote}"), "0").unwrap();
        let reports = "ipv4/igmp_link_local_mcast_reports";
        let mut bench = Bench::new();
        let config = HostConfig {
            promote_secondaries: BTreeSet::from(["uplink".into()]),
            disable_local_igmp: true,
            ..HostConfig::default()
        };
        bench.handle.configure(Arc::new(config.clone()));
        bench.step();
        assert_eq!((sysctl(promote).as_str(), sysctl(reports).as_str()), ("1", "0"));
        bench.handle.configure(Arc::new(HostConfig { disable_local_igmp: false, ..config }));
        bench.step();
        assert_eq!((sysctl(promote).as_str(), sysctl(reports).as_str()), ("1", "1"));
        bench.stop();
        assert_eq!(sysctl(promote), "0");
    });
}

#[test]
fn a_setting_follows_its_interface_when_that_is_recreated() {
    in_namespace(|| {
        let promote = "ipv4/conf/late/promote_secondaries";
        let mut bench = Bench::new();
        let promote_secondaries = BTreeSet::from(["late".into()]);
        bench.handle.configure(Arc::new(HostConfig { promote_secondaries, ..HostConfig::default() }));
        bench.step();
        for _ in 0..2 {
            std::fs::write("/proc/sys/net/ipv4/conf/default/promote_secondaries", "0").unwrap();
            pair("late");
            bench.step();
            assert_eq!(sysctl(promote), "1");
            ip("link del late");
            bench.step();
        }
    });
}

fn guard(addresses: &[(&str, &str)]) -> Arc<HostConfig> {
    let mut guarded = Guarded::default();
    for (text, dev) in addresses {
        guarded.add(&address(text, dev));
    }
    Arc::new(HostConfig { guarded, ..HostConfig::default() })
}

#[test]
fn no_accept_drops_what_is_for_the_vips_and_nothing_else() {
    in_namespace(|| {
        // The far end of the cable gets a namespace of its own: a process that lives as long as the test.
        let far = Far::behind("wire");
        ip("addr add 10.0.0.1/24 dev wire");
        ip("addr add 10.0.0.9/24 dev wire");
        ip("addr add fd00::1/64 dev wire nodad");
        ip("addr add fd00::9/64 dev wire nodad");
        ip("addr add fe80::77/64 dev wire nodad");
        far.run("ip", &["addr", "add", "10.0.0.2/24", "dev", "far"]);
        far.run("ip", &["addr", "add", "fd00::2/64", "dev", "far", "nodad"]);
        let mut bench = Bench::new();
        bench.handle.configure(guard(&[
            ("10.0.0.9/32", "wire"),
            ("fd00::9/128", "wire"),
            ("fe80::77/64", "wire"),
        ]));
        bench.step_until(|links, _| links.carries("wire"));
        bench.host.wait_for_firewall();
        for (open, target) in [
            (true, "10.0.0.1"),
            (false, "10.0.0.9"),
            (true, "fd00::1"),
            (false, "fd00::9"),
            (false, "fe80::77%far"),
        ] {
            let patience = if open { PATIENCE } else { Duration::from_secs(1) };
            assert_eq!(far.reaches(target, patience), open, "{target}");
        }
        // Neighbour discovery still answers for the guarded address, be it late on a machine that is busy.
        let begin = Instant::now();
        let neighbours = || far.run("ip", &["-6", "neigh", "show", "fd00::9"]);
        while !neighbours().contains("lladdr") && begin.elapsed() < PATIENCE {
            assert!(!far.reaches("fd00::9", Duration::from_secs(1)));
        }
        assert!(neighbours().contains("lladdr"), "{}", neighbours());
        bench.handle.configure(guard(&[]));
        bench.step();
        bench.host.wait_for_firewall();
        assert!(far.reaches("10.0.0.9", PATIENCE) && far.reaches("fd00::9", PATIENCE));
        assert!(far.reaches("fe80::77%far", PATIENCE));
    });
}

#[test]
fn tables_of_an_earlier_run_and_our_own_go() {
    in_namespace(|| {
        run("nft", &["add", "table", "ip", "buoy_vrrp"]);
        run("nft", &["add", "table", "ip", "bystander"]);
        let mut bench = Bench::new();
        bench.handle.configure(guard(&[]));
        bench.step();
        bench.host.wait_for_firewall();
        assert_eq!(run("nft", &["list", "tables"]), "table ip bystander\n");
        bench.handle.configure(guard(&[("10.0.0.9/32", "uplink")]));
        bench.step();
        bench.host.wait_for_firewall();
        let rules = run("nft", &["list", "table", "ip", "buoy_vrrp"]);
        assert!(rules.contains("ip daddr @vips drop") && rules.contains("ip saddr @vips drop"), "{rules}");
        bench.stop();
        assert_eq!(run("nft", &["list", "tables"]), "table ip bystander\n");
    });
}

/// A second namespace at the other end of a veth pair.
struct Far(std::process::Child);

impl Far {
    fn behind(name: &str) -> Self {
        pair(name);
        let mut child = std::process::Command::new("unshare")
            .args(["--net", "sh", "-c", "ip link set lo up && echo ready && exec cat"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = std::io::BufReader::new(child.stdout.as_mut().unwrap());
        std::io::BufRead::read_line(&mut output, &mut line).unwrap();
        assert_eq!(line, "ready\n");
        let far = Self(child);
        ip(&format!("link set {name}-far netns {} name far", far.0.id()));
        let conf = "echo 0 > /proc/sys/net/ipv6/conf/far/accept_dad; ip link set far up";
        far.run("sh", &["-c", conf]);
        far
    }

    fn command(&self, program: &str, arguments: &[&str]) -> std::process::Command {
        let mut command = std::process::Command::new("nsenter");
        command.args(["--net", "--target", &self.0.id().to_string(), program]).args(arguments);
        command
    }

    fn run(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.command(program, arguments).output().unwrap();
        assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Whether a closed port of `target` says so, within `patience`.
    fn reaches(&self, target: &str, patience: Duration) -> bool {
        let namespace = std::fs::File::open(format!("/proc/{}/ns/net", self.0.id())).unwrap();
        let connect = || {
            setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
            let target = (target, 9).to_socket_addrs().unwrap().next().unwrap();
            TcpStream::connect_timeout(&target, patience).unwrap_err().kind()
        };
        let answer = std::thread::scope(|scope| scope.spawn(connect).join().unwrap());
        answer == ErrorKind::ConnectionRefused
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().ok();
    }
}
