//! Connections as the kernel and the engine list them.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use buoy_ipvs::engine::address::Address;
use buoy_ipvs::engine::connections::Cursor;
use buoy_ipvs::engine::packet::View;
use buoy_ipvs::engine::process::Engine;
use buoy_ipvs::sync::{ConnectionState, Endpoint};

/// How far the times that are left may be apart: the kernel counts whole seconds of a clock of its own.
const SLACK: Duration = Duration::from_secs(2);

/// A connection or template, but for its state and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    protocol: u8,
    /// Client, service and server.
    ends: [(IpAddr, u16); 3],
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    state: String,
    expires: Duration,
}

impl Key {
    pub(crate) const fn server(&self) -> (IpAddr, u16) {
        self.ends[2]
    }
}

/// A template that was given up may be there more than once.
pub(crate) type Listing = BTreeMap<Key, Vec<Entry>>;

/// The kernel hands out its list, which is of all directors, in pieces; a connection that begins in between shifts the
/// next one. So nothing begins while somebody reads.
static STILL: Mutex<()> = Mutex::new(());

pub(crate) fn still() -> MutexGuard<'static, ()> {
    STILL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Those in the namespace of this thread that belong to clients of a slot.
pub(crate) fn of_kernel(slot: u8) -> Listing {
    let text = {
        let _nothing_begins = still();
        fs::read_to_string("/proc/thread-self/net/ip_vs_conn").unwrap()
    };
    let lines = text.lines().skip(1).map(|line| read(line).unwrap_or_else(|| panic!("{line}")));
    collected(lines.filter(|(key, _)| slot_of(key.ends[0].0) == slot + 1))
}

pub(crate) fn of_engine(engine: &Engine, now: Instant) -> Listing {
    let (page, next) = engine.list(Cursor::default(), u32::MAX, now);
    assert_eq!(next, None);
    collected(page.into_iter().map(|listed| {
        let end = |end: Endpoint<Address>| (IpAddr::from(end.address), end.port);
        let state = match listed.state {
            Some(ConnectionState::Tcp(state)) => state.to_string(),
            Some(ConnectionState::Udp) => "UDP".to_owned(),
            Some(ConnectionState::Sctp(state)) => state.to_string(),
            None if listed.assured => "ASSURED".to_owned(),
            None => "NONE".to_owned(),
        };
        let ends = [listed.client, listed.service, listed.server].map(end);
        (Key { protocol: listed.protocol, ends }, Entry { state, expires: listed.expires })
    }))
}

fn collected(entries: impl Iterator<Item = (Key, Entry)>) -> Listing {
    let mut listing = Listing::new();
    for (key, entry) in entries {
        listing.entry(key).or_default().push(entry);
    }
    for entries in listing.values_mut() {
        entries.sort_by_key(|entry| entry.expires);
    }
    listing
}

const fn slot_of(client: IpAddr) -> u8 {
    match client {
        IpAddr::V4(address) => address.octets()[2],
        IpAddr::V6(address) => address.octets()[13],
    }
}

fn read(line: &str) -> Option<(Key, Entry)> {
    let mut fields = line.split_whitespace();
    let protocol = match fields.next()? {
        "TCP" => 6,
        "UDP" => 17,
        "SCTP" => 132,
        "IP" => 0,
        _ => return None,
    };
    let mut end = || {
        let address = fields.next()?;
        let address = if address.contains(':') {
            IpAddr::V6(address.parse::<Ipv6Addr>().ok()?)
        } else {
            IpAddr::V4(Ipv4Addr::from_bits(u32::from_str_radix(address, 16).ok()?))
        };
        Some((address, u16::from_str_radix(fields.next()?, 16).ok()?))
    };
    let ends = [end()?, end()?, end()?];
    let state = fields.next()?.to_owned();
    let expires = Duration::from_secs(fields.next()?.parse().ok()?);
    Some((Key { protocol, ends }, Entry { state, expires }))
}

/// The time that is left to whatever ends next.
pub(crate) fn soonest(listing: &Listing) -> Option<Duration> {
    listing.values().flatten().map(|entry| entry.expires).min()
}

/// Whether a packet of a client has its connection.
pub(crate) fn has_connection(listing: &Listing, packet: &View) -> bool {
    let Some(ports) = packet.ports else { return false };
    let ends = [(packet.source, ports.source), (packet.destination, ports.destination)];
    let ends = ends.map(|(address, port)| (IpAddr::from(address), port));
    listing.keys().any(|key| key.protocol == packet.protocol && key.ends[..2] == ends)
}

/// Whether anything goes to a server at this address.
pub(crate) fn has_server(listing: &Listing, address: IpAddr) -> bool {
    listing.keys().any(|key| key.server().0 == address)
}

/// What the kernel has and the engine has not, or the other way round; empty if they agree. `about_to_end`: what is may
/// have ended on one side.
pub(crate) fn differences(kernel: &Listing, engine: &Listing, about_to_end: bool) -> Vec<String> {
    let none = Vec::new();
    let keys = kernel.keys().chain(engine.keys().filter(|key| !kernel.contains_key(key)));
    let mut differences = Vec::new();
    for key in keys {
        let [there, here] = [kernel, engine].map(|listing| listing.get(key).unwrap_or(&none));
        let alike = there.len() == here.len()
            && there.iter().zip(here).all(|(there, here)| {
                there.state == here.state && there.expires.abs_diff(here.expires) <= SLACK
            });
        let ending = |entries: &[Entry]| {
            about_to_end && entries.iter().all(|entry| entry.expires <= Duration::from_secs(1))
        };
        let ends = (there.is_empty() && ending(here)) || (here.is_empty() && ending(there));
        if !alike && !ends {
            differences.push(format!("{key}: kernel {}, engine {}", shown(there), shown(here)));
        }
    }
    differences
}

fn shown(entries: &[Entry]) -> String {
    let entries = entries.iter().map(|entry| format!("{} {:?}", entry.state, entry.expires));
    match entries.collect::<Vec<_>>().join(" and ") {
        nothing if nothing.is_empty() => "none".to_owned(),
        entries => entries,
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [client, service, server] = self.ends.map(|(address, port)| format!("{address} port {port}"));
        write!(f, "protocol {}: {client} > {service} > {server}", self.protocol)
    }
}
