//! The way back of checks that go by way of a service: real servers answer them from the address of the service, and
//! where that is this host's own the kernel takes such packets for forged, unless `accept_local` is set where they arrive.
//! IPv6 has no such rule.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;

use nix::ifaddrs::getifaddrs;

use super::sysctl::{Ipv4Knob, Setting, Sysctls};

/// A real server and the address from which it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Answering {
    pub server: Ipv4Addr,
    pub service: Ipv4Addr,
}

/// The interfaces where such answers are let in. The kernel answers for the network namespace of the calling thread.
#[derive(Debug)]
pub struct ReturnPaths {
    sysctls: Sysctls,
    /// Interfaces whose `rp_filter` was complained of.
    strict: BTreeSet<Arc<str>>,
}

impl Default for ReturnPaths {
    fn default() -> Self {
        Self::below(Path::new("/proc/sys"))
    }
}

impl ReturnPaths {
    fn below(root: &Path) -> Self {
        Self { sysctls: Sysctls::below(root), strict: BTreeSet::new() }
    }

    /// Lets answers of these servers in, by the routes of this moment, and puts back what no server needs any more. A
    /// server without a route is left for the next time. Failures are logged, once.
    pub fn open(&mut self, answering: &BTreeSet<Answering>) {
        let owners = match owners() {
            Ok(owners) => owners,
            Err(error) => {
                tracing::warn!(%error, "cannot list the addresses of this host");
                return;
            }
        };
        let interface = |peer| owners.get(&source_towards(peer)?);
        let mut arrive = BTreeSet::new();
        for Answering { server, service } in answering {
            let Some(device) = interface(*server) else { continue };
            arrive.insert(Arc::clone(device));
            if interface(*service) != Some(device) {
                self.doubt_strictness(device, *service);
            }
        }
        self.sysctls.restore_where(|setting| match setting {
            Setting::Ipv4 { dev, .. } => !arrive.contains(dev),
            Setting::Ipv6 { .. } | Setting::Ipvs(_) | Setting::IgmpLinkLocalReports => false,
        });
        self.strict.retain(|device| arrive.contains(device));
        for device in arrive {
            self.sysctls.try_set(&Setting::ipv4(&device, Ipv4Knob::AcceptLocal), 1);
        }
    }

    /// A strict filter wants packets to arrive where packets to their source leave.
    fn doubt_strictness(&mut self, device: &Arc<str>, service: Ipv4Addr) {
        let filter = |dev| self.sysctls.read(&Setting::ipv4(dev, Ipv4Knob::RpFilter)).unwrap_or(0);
        // The higher one holds (`Documentation/networking/ip-sysctl.rst`).
        let strict = filter(&"all".into()).max(filter(device)) == 1;
        if strict && self.strict.insert(Arc::clone(device)) {
            tracing::warn!(
                "net.ipv4.conf.{device}.rp_filter drops what real servers answer from {service}, which is not there: \
                 their checks with `check_vip` fail; 2 would let it in"
            );
        }
    }

    /// Puts back what was there before, unless somebody else has changed it since.
    pub fn restore(&mut self) {
        self.sysctls.restore_where(|_| true);
    }
}

/// Addresses of this host by the names of their interfaces.
fn owners() -> nix::Result<BTreeMap<Ipv4Addr, Arc<str>>> {
    let held = getifaddrs()?.filter_map(|held| {
        let ip = held.address?.as_sockaddr_in()?.ip();
        Some((ip, Arc::from(held.interface_name)))
    });
    Ok(held.collect())
}

/// The source of packets to that address. Sends nothing.
fn source_towards(peer: Ipv4Addr) -> Option<Ipv4Addr> {
    let look_up = || -> io::Result<SocketAddr> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        // Any port: nothing is sent.
        socket.connect((peer, 9))?;
        socket.local_addr()
    };
    match look_up().ok()?.ip() {
        IpAddr::V4(source) => Some(source),
        IpAddr::V6(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_let_in_where_they_arrive_and_nowhere_else_afterwards() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = root.path().join("net/ipv4/conf/lo");
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("accept_local"), "0\n").expect("a file");
        let value =
            || std::fs::read_to_string(folder.join("accept_local")).expect("a file").trim().to_owned();
        let mut paths = ReturnPaths::below(root.path());
        let local = Answering { server: Ipv4Addr::new(127, 0, 0, 7), service: Ipv4Addr::new(127, 0, 0, 9) };
        paths.open(&[local].into());
        assert_eq!(value(), "1");
        paths.open(&BTreeSet::new());
        assert_eq!(value(), "0");
        paths.open(&[local].into());
        paths.restore();
        assert_eq!(value(), "0");
    }
}
