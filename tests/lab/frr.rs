//! FRR's vrrpd as a director (<https://docs.frrouting.org/en/latest/vrrp.html>): it needs zebra beside it, and
//! a macvlan with the virtual router's MAC that carries the addresses. vrrpd never adds or removes an
//! address; on a backup it holds the macvlan down.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use buoy::lab::{Host, Process};

use super::flavour::{Flavour, VRID};
use super::wait_until;

/// The folder of FRR's daemons.
#[derive(Clone, Debug)]
pub(crate) struct Frr {
    daemons: PathBuf,
}

const MACVLAN: &str = "vrrp";

impl Frr {
    pub(crate) fn installed() -> Option<Self> {
        let daemons = ["/usr/lib/frr", "/usr/libexec/frr"].map(PathBuf::from);
        daemons.into_iter().find(|folder| folder.join("vrrpd").is_file()).map(|daemons| Self { daemons })
    }

    /// Starts zebra and vrrpd, in this order.
    pub(crate) fn start(&self, host: &Host, files: &Path, flavour: &Flavour, priority: u8) -> [Process; 2] {
        host.add_macvlan(MACVLAN, "eth0", flavour.virtual_mac().0).expect("macvlan for FRR");
        let mut virtual_router = format!(
            "interface eth0\n vrrp {VRID} version 3\n vrrp {VRID} priority {priority}\n \
             vrrp {VRID} advertisement-interval {}\n",
            flavour.interval
        );
        for address in flavour.addresses() {
            host.add_address(MACVLAN, *address).expect("address for FRR");
            let word = if address.ip.is_ipv4() { "ip" } else { "ipv6" };
            virtual_router += &format!(" vrrp {VRID} {word} {}\n", address.ip);
        }
        // The daemons drop to the user frr, who has to reach their sockets.
        for folder in files.ancestors().take(2) {
            fs::set_permissions(folder, PermissionsExt::from_mode(0o777)).expect("permissions");
        }
        let zebra = self.daemon("zebra", host, files, "");
        let socket = files.join("zserv");
        wait_until(Duration::from_secs(10), || socket.exists(), || format!("zebra: {:#?}", zebra.log()));
        [zebra, self.daemon("vrrpd", host, files, &virtual_router)]
    }

    fn daemon(&self, name: &str, host: &Host, files: &Path, configuration: &str) -> Process {
        let config = files.join(format!("{name}.conf"));
        fs::write(&config, configuration).expect("writing the configuration");
        fs::set_permissions(&config, PermissionsExt::from_mode(0o644)).expect("permissions");
        let mut command = Command::new(self.daemons.join(name));
        command.args(["--log", "stdout", "-A", "127.0.0.1", "-P", "0"]);
        command.arg("-f").arg(&config).arg("-i").arg(files.join(format!("{name}.pid")));
        command.arg("-z").arg(files.join("zserv")).arg("--vty_socket").arg(files);
        host.spawn(command).unwrap_or_else(|error| panic!("starting {name}: {error:#}"))
    }
}
