//! An engine with its time, its fragments and its ways, and what has become of packets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use buoy_ipvs::engine::address::Address;
use buoy_ipvs::engine::buffer::{HEADROOM, Offload, Packet};
use buoy_ipvs::engine::connections::Limits;
use buoy_ipvs::engine::forward::Path;
use buoy_ipvs::engine::packet::{Fragment, View};
use buoy_ipvs::engine::process::{Discard, Engine, Route, Routes, Settings, Verdict};
use buoy_ipvs::engine::reassembly::{self, Reassembly};
use buoy_ipvs::{
    Change, Family, Forwarding, FwMark, Protocol, RealServer, RealServerId, ServiceId, VirtualService, Weight,
};

use crate::packets::{Build, address};

/// Addresses of this host; everything else is reached by 1500 bytes, but what is narrower.
#[derive(Debug, Default)]
pub(crate) struct Host {
    pub(crate) local: BTreeSet<Address>,
    pub(crate) mtus: BTreeMap<Address, usize>,
}

impl Routes for Host {
    fn route(&mut self, to: Address) -> Route {
        if self.local.contains(&to) {
            return Route::Local;
        }
        let source = match to.family() {
            Family::V4 => Address::v4(0x0a02_0001),
            Family::V6 => Address::v6(0x2001_0db8_0002 << 80 | 1),
        };
        Route::Via(Path { mtu: self.mtus.get(&to).copied().unwrap_or(1500), source })
    }

    fn lower_mtu(&mut self, to: Address, mtu: usize) {
        self.mtus.insert(to, mtu);
    }
}

/// What has become of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It was none.
    Malformed,
    /// A fragment that waits for others, or is refused.
    Waits,
    Refused,
    Of(Verdict),
}

#[derive(Debug)]
pub(crate) struct Out {
    pub(crate) fate: Fate,
    pub(crate) bytes: Vec<u8>,
}

impl Out {
    pub(crate) fn view(&self) -> View {
        View::read(&self.bytes).expect("a packet")
    }

    /// The host that it is sent to.
    pub(crate) const fn to(&self) -> Option<Address> {
        match self.fate {
            Fate::Of(Verdict::Forward { to, .. }) => Some(to),
            _ => None,
        }
    }
}

/// Packets by what has become of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally(pub(crate) BTreeMap<&'static str, u64>);

impl Tally {
    fn count(&mut self, fate: Fate) {
        let name = match fate {
            Fate::Malformed => "malformed",
            Fate::Waits => "waits",
            Fate::Refused => "refused",
            Fate::Of(Verdict::Pass) => "pass",
            Fate::Of(Verdict::Forward { .. }) => "forward",
            Fate::Of(Verdict::Deliver { .. }) => "deliver",
            Fate::Of(Verdict::Segment) => "segment",
            Fate::Of(Verdict::Answer { why, .. } | Verdict::Drop(why)) => why.name(),
        };
        *self.0.entry(name).or_default() += 1;
    }

    pub(crate) fn of(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    pub(crate) fn total(&self) -> u64 {
        self.0.values().sum()
    }
}

pub(crate) struct Site {
    pub(crate) engine: Engine,
    pub(crate) reassembly: Reassembly,
    pub(crate) host: Host,
    pub(crate) now: Instant,
    pub(crate) tally: Tally,
    /// Packets that were sent.
    pub(crate) sent: u64,
}

impl Site {
    pub(crate) fn new(settings: Settings, connections: u32, fragments: reassembly::Limits) -> Self {
        let start = Instant::now();
        Self {
            engine: Engine::new(settings, Limits { connections }, 7, start),
            reassembly: Reassembly::new(fragments, HEADROOM),
            host: Host::default(),
            now: start,
            tally: Tally::default(),
            sent: 0,
        }
    }

    pub(crate) fn apply(&mut self, change: &Change) {
        self.engine.apply(change, self.now).expect("a change that can be made");
    }

    /// Adds a service with its servers, and its address to those of this host.
    pub(crate) fn service(&mut self, service: &VirtualService, servers: &[RealServer]) {
        if let ServiceId::Address { address, .. } = service.id {
            self.host.local.insert(address.into());
        }
        self.apply(&Change::AddService(service.clone()));
        for server in servers {
            self.apply(&Change::AddServer(service.id, *server));
        }
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.pass_to(self.now + time);
    }

    pub(crate) fn pass_to(&mut self, end: Instant) {
        while let Some(due) = Some(self.engine.poll_timeout()).filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.engine.handle_timeout(self.now);
        }
        self.reassembly.handle_timeout(end);
        self.now = end;
    }

    pub(crate) fn send(&mut self, build: &Build) -> Out {
        self.send_bytes(&build.bytes(), None)
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8], mark: Option<FwMark>) -> Out {
        let mut buffer = vec![0; HEADROOM + bytes.len()];
        buffer[HEADROOM..].copy_from_slice(bytes);
        self.sent += 1;
        let out = match self.engine.read(bytes) {
            Err(_malformed) => Out { fate: Fate::Malformed, bytes: Vec::new() },
            Ok(read) if read.view.fragment != Fragment::Whole => {
                match self.reassembly.take(bytes, &read.view, self.now) {
                    Ok(None) => Out { fate: Fate::Waits, bytes: Vec::new() },
                    Err(_counted) => Out { fate: Fate::Refused, bytes: Vec::new() },
                    Ok(Some(mut whole)) => self.process(&mut whole.buffer, mark),
                }
            }
            Ok(_) => self.process(&mut buffer, mark),
        };
        self.tally.count(out.fate);
        out
    }

    fn process(&mut self, buffer: &mut [u8], mark: Option<FwMark>) -> Out {
        let end = buffer.len();
        let mut packet = Packet::new(buffer, HEADROOM, end, Offload::default()).expect("a packet");
        let read = self.engine.read(packet.bytes()).expect("a packet");
        let moment = self.engine.moment(self.now);
        let verdict = self.engine.process(&mut packet, &read, mark, &mut self.host, moment);
        Out { fate: Fate::Of(verdict), bytes: packet.bytes().to_vec() }
    }

    /// Whether every packet has a reason for what became of it, and the engine agrees about those that went no further.
    pub(crate) fn check_counts(&self) {
        assert_eq!(self.tally.total(), self.sent);
        for why in Discard::ALL {
            assert_eq!(self.engine.discards().get(why), self.tally.of(why.name()), "{why}");
        }
    }
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub(crate) fn id(protocol: Protocol, text: &str, port: u16) -> ServiceId {
    ServiceId::Address { protocol, address: ip(text), port }
}

pub(crate) fn server(text: &str, port: u16, forwarding: Forwarding, weight: i64) -> RealServer {
    RealServer::new(RealServerId { address: ip(text), port }, forwarding, Weight::clamped(weight))
}

/// The host's own address, for Host::local.
pub(crate) fn own() -> [Address; 2] {
    [address("10.2.0.1"), address("2001:db8:2::1")]
}
