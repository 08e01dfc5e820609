//! A director between a network of servers and a router.

use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use buoy_ipvs::engine::address::Address;
use buoy_ipvs::io::bpf::MapError;
use buoy_ipvs::io::next_hop::{NextHop, NextHopIndex};
use buoy_ipvs::io::ways::{Changed, LinkLayer, NextHopWriter, Way, Ways};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::host::Host;

pub(crate) const CAPACITY: u32 = 64;
/// Longer than anything here takes: resolution that fails, at most.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) type Write = (NextHopIndex, Option<NextHop>);

/// Remembers what was written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Writes(Arc<Mutex<Vec<Write>>>);

impl NextHopWriter for Writes {
    fn write(&mut self, index: NextHopIndex, next_hop: Option<&NextHop>) -> Result<(), MapError> {
        self.0.lock().unwrap().push((index, next_hop.copied()));
        Ok(())
    }
}

impl Writes {
    pub(crate) fn take(&self) -> Vec<Write> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

pub(crate) struct Director {
    pub(crate) host: Host,
    pub(crate) server: Host,
    pub(crate) router: Host,
    pub(crate) ways: Ways<Writes>,
    pub(crate) writes: Writes,
    pub(crate) lan: u32,
    pub(crate) wan: u32,
}

impl Director {
    /// 10.0.0.1 and fd00::1 on `lan`, where the server is 5; 192.0.2.1 and 2001:db8::1 on `wan`, where the router is 254
    /// and fe, and has the default routes.
    pub(crate) fn new() -> Self {
        let [host, server, router] = [Host::new(), Host::new(), Host::new()];
        for (ours, other, own) in
            [("lan", &server, ["10.0.0.5", "fd00::5"]), ("wan", &router, ["192.0.2.254", "2001:db8::fe"])]
        {
            host.ip(&format!("link add {ours} type veth peer name eth0 netns {}", other.path()));
            host.ip(&format!("link set {ours} up"));
            other.ip("link set eth0 up");
            host.wait_for(ours);
            other.wait_for("eth0");
            for address in own {
                other.add_address(address.parse().unwrap(), "eth0");
            }
        }
        for (address, interface) in
            [("10.0.0.1", "lan"), ("fd00::1", "lan"), ("192.0.2.1", "wan"), ("2001:db8::1", "wan")]
        {
            host.add_address(address.parse().unwrap(), interface);
        }
        host.ip("route add default via 192.0.2.254");
        host.ip("route add default via 2001:db8::fe");
        let writes = Writes::default();
        let ways = host.run(|| Ways::open(CAPACITY, writes.clone(), Instant::now())).unwrap();
        let [lan, wan] = ["lan", "wan"].map(|name| host.index_of(name));
        Self { host, server, router, ways, writes, lan, wan }
    }

    pub(crate) fn way_to(&mut self, destination: &str) -> Way {
        self.way_by(destination, 0, None)
    }

    pub(crate) fn way_by(&mut self, destination: &str, mark: u32, from: Option<&str>) -> Way {
        self.ways.way_to(address(destination), mark, from.map(address)).unwrap()
    }

    /// The owner's loop, until the kernel has told what is waited for. Says what has changed.
    pub(crate) fn wait_until(&mut self, mut done: impl FnMut(&mut Self) -> bool) -> Vec<Changed> {
        let since = Instant::now();
        let mut changed = Vec::new();
        while !done(self) {
            assert!(since.elapsed() < PATIENCE, "never; changed: {changed:?}");
            let wait = self.ways.poll_timeout().saturating_duration_since(Instant::now());
            let mut descriptors = [PollFd::new(self.ways.as_fd(), PollFlags::POLLIN)];
            let wait = PollTimeout::try_from(wait.min(PATIENCE)).unwrap();
            if poll(&mut descriptors, wait).unwrap() > 0 {
                changed.extend(self.ways.handle_readable().unwrap());
            }
            if self.ways.poll_timeout() <= Instant::now() {
                changed.extend(self.ways.handle_timeout(Instant::now()).unwrap());
            }
        }
        changed
    }

    /// A neighbour that answers.
    pub(crate) fn known(&mut self, destination: &str) -> NextHopIndex {
        self.wait_until(|director| matches!(director.way_to(destination).link_layer, LinkLayer::Known(_)));
        let LinkLayer::Known(index) = self.way_to(destination).link_layer else { panic!("pending again") };
        index
    }

    /// The link-layer address of an interface.
    pub(crate) fn mac(host: &Host, interface: &str) -> [u8; 6] {
        let shown = host.ip(&format!("-br link show {interface}"));
        let text = shown.split_whitespace().nth(2).unwrap();
        let bytes: Vec<_> = text.split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
        bytes.try_into().unwrap()
    }
}

pub(crate) fn address(text: &str) -> Address {
    text.parse::<IpAddr>().unwrap().into()
}
