//! Tells the neighbours where virtual addresses live now, and hears who else claims them.
//!
//! Lives on the host thread, beside the addresses: an address is announced when it is in the kernel. A burst is
//! sent in slices, so that a long one does not hold up netlink.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use buoy_vrrp::{
    AnnouncePacer, AnnounceSocket, Announcement, Claim, Drain, Family, Forwarding, Gaps, Interface, Lane,
    MacAddr, gratuitous_arp, unsolicited_na,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::desired::Address;
use super::{Items, Links};
use crate::config::plan::Plan;

/// How long the forwarding setting of an interface is believed.
const FORWARDING_AGE: Duration = Duration::from_secs(5);
/// Frames sent before netlink gets its turn.
const SLICE: usize = 512;
/// Frames read before netlink and leases get their turn, shared by all ports. The rest waits in the sockets; what
/// these cannot hold is lost, and only repeats what has been heard.
const FRAMES_AT_ONCE: usize = 128;

#[expect(deprecated, reason = "its replacement is unsafe; a Socket owns its descriptor and never changes it")]
fn register(socket: AnnounceSocket) -> anyhow::Result<AsyncFd<Socket>> {
    Ok(AsyncFd::new(Socket(socket))?)
}

/// A claim for one of our addresses that we did not make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignClaim {
    pub router: Arc<str>,
    pub address: IpAddr,
    pub mac: [u8; 6],
}

/// Announcements of all interfaces.
#[derive(Debug, Default)]
pub struct Announcer {
    pacer: AnnouncePacer,
    ports: BTreeMap<(u32, Family), Port>,
    /// Whose the addresses are, by interface, as last announced: fe80::1 may be on many.
    owners: BTreeMap<(u32, IpAddr), Arc<str>>,
    gaps: Gaps,
    groups: Vec<(BTreeSet<Arc<str>>, Gaps)>,
    failed: BTreeSet<(u32, Family)>,
    /// Ports that do not listen for the right addresses yet. The kernel compiles a filter of all of them every
    /// time: once per turn of the loop is enough, once per router of a thousand is not.
    stale: BTreeSet<(u32, Family)>,
}

#[derive(Debug)]
struct Port {
    socket: AsyncFd<Socket>,
    mac: MacAddr,
    name: Arc<str>,
    watched: BTreeSet<IpAddr>,
    /// What neighbour advertisements say about forwarding, and when that was looked up.
    forwarding: Option<(Forwarding, Instant)>,
}

/// What tokio polls.
#[derive(Debug)]
struct Socket(AnnounceSocket);

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Port {
    fn forwarding(&mut self, now: Instant) -> Forwarding {
        match self.forwarding {
            Some((forwarding, at)) if now.saturating_duration_since(at) < FORWARDING_AGE => forwarding,
            _ => {
                let path = format!("/proc/sys/net/ipv6/conf/{}/forwarding", self.name);
                let on = std::fs::read_to_string(path).is_ok_and(|value| value.trim() != "0");
                let forwarding = if on { Forwarding::Router } else { Forwarding::Host };
                self.forwarding = Some((forwarding, now));
                forwarding
            }
        }
    }
}

impl Announcer {
    /// Takes the rate limits of a plan.
    pub fn configure(&mut self, plan: &Plan) {
        self.gaps = Gaps { arp: plan.global.garp_interval, na: plan.global.gna_interval };
        self.groups = plan
            .garp_groups
            .iter()
            .map(|group| {
                let gaps = Gaps {
                    arp: group.garp_interval.unwrap_or(self.gaps.arp),
                    na: group.gna_interval.unwrap_or(self.gaps.na),
                };
                (group.interfaces.iter().cloned().collect(), gaps)
            })
            .collect();
        let ports: BTreeMap<u32, Arc<str>> =
            self.ports.iter().map(|((index, _), port)| (*index, Arc::clone(&port.name))).collect();
        for (index, name) in ports {
            self.set_lane(index, &name);
        }
    }

    fn set_lane(&mut self, index: u32, name: &Arc<str>) {
        let group = self.groups.iter().position(|(interfaces, _)| interfaces.contains(name));
        let (lane, gaps) = match group.and_then(|g| Some((u32::try_from(g).ok()?, self.groups.get(g)?.1))) {
            Some((group, gaps)) => (Lane::Group(group), gaps),
            None => (Lane::Interface(index), self.gaps),
        };
        self.pacer.set_lane(index, lane, gaps);
    }

    /// Asks for `repeat` frames for each of the addresses and listens for other claims to them.
    pub fn announce(
        &mut self,
        router: &Arc<str>,
        addresses: &[Address],
        repeat: u32,
        links: &Links,
        now: Instant,
    ) {
        for address in addresses {
            let Some(link) = links.by_name(&address.dev).filter(|link| !link.noarp && !link.loopback) else {
                continue;
            };
            let Ok(mac) = <[u8; 6]>::try_from(link.mac.as_slice()) else { continue };
            let family = Family::of(address.ip);
            if !self.open(link.index, family, &link.name, mac.into()) {
                continue;
            }
            if let Some(port) = self.ports.get_mut(&(link.index, family)) {
                port.mac = mac.into();
                if port.watched.insert(address.ip) {
                    self.stale.insert((link.index, family));
                }
            }
            self.owners.insert((link.index, address.ip), Arc::clone(router));
            self.pacer.announce(Announcement { interface: link.index, address: address.ip }, repeat, now);
        }
    }

    /// The addresses of these routers are no longer ours: nothing more is said about them.
    pub fn withdraw(&mut self, withdrawn: &[Arc<Items>]) {
        let addresses = withdrawn.iter().flat_map(|items| &items.addresses);
        let indices: BTreeMap<&str, u32> =
            self.ports.iter().map(|((index, _), port)| (&*port.name, *index)).collect();
        let gone: BTreeSet<(u32, IpAddr)> =
            addresses.filter_map(|address| Some((*indices.get(&*address.dev)?, address.ip))).collect();
        if gone.is_empty() {
            return;
        }
        self.pacer.cancel(|announcement| gone.contains(&(announcement.interface, announcement.address)));
        self.owners.retain(|owned, _| !gone.contains(owned));
        for (key, port) in &mut self.ports {
            let before = port.watched.len();
            port.watched.retain(|address| !gone.contains(&(key.0, *address)));
            if port.watched.len() != before {
                self.stale.insert(*key);
            }
        }
    }

    /// An interface is gone, and its sockets with it.
    pub fn remove_interface(&mut self, index: u32) {
        self.ports.retain(|(i, _), _| *i != index);
        self.failed.retain(|(i, _)| *i != index);
        self.owners.retain(|(i, _), _| *i != index);
        self.pacer.remove_interface(index);
    }

    fn open(&mut self, index: u32, family: Family, name: &Arc<str>, mac: MacAddr) -> bool {
        let key = (index, family);
        if self.ports.contains_key(&key) {
            return true;
        }
        let interface = Interface { index, name: Arc::clone(name) };
        let socket = AnnounceSocket::open(family, &interface).map_err(anyhow::Error::from).and_then(register);
        match socket {
            Ok(socket) => {
                self.failed.remove(&key);
                let name = Arc::clone(name);
                let port = Port { socket, mac, name, watched: BTreeSet::new(), forwarding: None };
                self.set_lane(index, &port.name.clone());
                self.ports.insert(key, port);
                true
            }
            Err(error) => {
                if self.failed.insert(key) {
                    let error = format!("{error:#}");
                    tracing::warn!(
                        interface = &**name,
                        error,
                        "cannot announce addresses: neighbours may send to the old master until they ask again"
                    );
                }
                false
            }
        }
    }

    fn watch(&self, key: (u32, Family)) {
        let Some(port) = self.ports.get(&key) else { return };
        let watched: Vec<IpAddr> = port.watched.iter().copied().collect();
        if let Err(error) = port.socket.get_ref().0.watch(&watched) {
            let error = format!("{:#}", anyhow::Error::from(error));
            tracing::warn!(interface = &*port.name, error, "cannot listen for other owners of the addresses");
        }
    }

    /// Waits until frames are due or somebody claims an address. Cancel-safe.
    pub async fn ready(&self) {
        let due = async {
            match self.pacer.poll_timeout() {
                // A timer would round up to the next millisecond, once for every slice of a long burst. The runtime
                // gets to look at its sockets all the same.
                Some(at) if at <= Instant::now() => tokio::task::yield_now().await,
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        let readable = self.ports.values().map(|port| Box::pin(port.socket.readable()));
        let claimed = async {
            if self.ports.is_empty() {
                std::future::pending::<()>().await;
            }
            // Stays ready until `claims` has read everything.
            let _ready = futures::future::select_all(readable).await;
        };
        tokio::select! {
            () = due => {}
            () = claimed => {}
        }
    }

    /// Sends what is due, at most one slice.
    pub fn send(&mut self, now: Instant) {
        for _ in 0..SLICE {
            let Some(Announcement { interface, address }) = self.pacer.poll_frame(now) else { return };
            let Some(port) = self.ports.get_mut(&(interface, Family::of(address))) else { continue };
            let sent = match address {
                IpAddr::V4(ip) => port.socket.get_mut().0.send(&gratuitous_arp(port.mac, ip)),
                IpAddr::V6(ip) => {
                    let frame = unsolicited_na(port.mac, ip, port.forwarding(now));
                    port.socket.get_mut().0.send(&frame)
                }
            };
            if let Err(error) = sent {
                tracing::debug!(interface = &*port.name, %address, error = format!("{:#}", anyhow::Error::from(error)), "announcement not sent");
            }
        }
    }

    /// Claims by others, to be called after [`ready`](Self::ready): one for each address, the last that was heard.
    /// What is left unread makes it ready again at once.
    pub fn claims(&mut self, links: &Links) -> Vec<ForeignClaim> {
        for key in std::mem::take(&mut self.stale) {
            self.watch(key);
        }
        let share = (FRAMES_AT_ONCE / self.ports.len().max(1)).max(1);
        let mut foreign: BTreeMap<(&Arc<str>, IpAddr), [u8; 6]> = BTreeMap::new();
        for ((index, _), port) in &mut self.ports {
            let mut hear = |claim: Claim| {
                let mac = claim.mac.octets();
                if let Some(router) = self.owners.get(&(*index, claim.address))
                    && !links.iter().any(|link| link.mac == mac)
                {
                    foreign.insert((router, claim.address), mac);
                }
            };
            let read = |socket: &mut Socket| match socket.0.read_claims(share, &mut hear) {
                Ok(Drain::More) => Ok(()),
                // An interface that went down reports an error once; netlink tells the rest.
                Ok(Drain::Empty) | Err(_) => Err(std::io::ErrorKind::WouldBlock.into()),
            };
            // An error is how a port that has nothing more to read stops being ready.
            let _read_to_its_end = port.socket.try_io_mut(Interest::READABLE, read);
        }
        let claim = |((router, address), mac): ((&Arc<str>, IpAddr), _)| ForeignClaim {
            router: Arc::clone(router),
            address,
            mac,
        };
        foreign.into_iter().map(claim).collect()
    }

    /// Frames not sent yet.
    pub fn pending(&self) -> u64 {
        self.pacer.pending()
    }
}

#[cfg(test)]
mod tests;
