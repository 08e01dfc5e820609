//! Scripts out of a seed.
//!
//! Left out is where the engine is to differ from this kernel, which is Linux 6.1.176:
//! - of errors about tunnels: those of IPv6, of GRE without a checksum, those that say how much fits, and those to servers
//!   beside which there are others (`process/errors.rs` and `forward` say why);
//! - errors of ICMPv6 from clients with wrong checksums;
//! - IPv6 extension headers before TCP and SCTP, whose flags it reads in the wrong place;
//! - servers that get direct routing instead of something else, or the other way round: the way to them that the others
//!   have it remember leads packets of direct routing to the service;
//! - datagrams without a checksum that state more than there is of them, and SCTP that is cut off;
//! - masquerading to the director itself, whose answers the engine does not see; services on port 21; fragments.
//!
//! What is left out only while it happens is in [`play`](crate::play): connections of servers that were removed with
//! `expire_nodest_conn`, which the kernel ends at once and the engine with their next packet.

mod services;
mod traffic;

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use buoy_ipvs::engine::forward::tunnel::PathMtuDiscovery;
use buoy_ipvs::engine::packet::protocol;
use buoy_ipvs::engine::process::{Orphans, Quiescent, Reuse};
use buoy_ipvs::{
    Change, Family, Forwarding, FwMark, Persistence, Protocol, RealServer, RealServerId, Scheduler,
    SchedulerFlags, ServiceId, Timeouts, Tunnel, TunnelChecksum, VirtualService, Weight,
};
use fastrand::Rng;

use crate::house::MARK;
use crate::packet::{ACK, Carrier, End, Error, FIN, Packet, RST, SYN, Shape, Sum};
use crate::place::{CLIENT_HOSTS, LOCAL_SERVER, Network, Place, SERVER_HOSTS, SERVICE_HOSTS};
use crate::script::{Script, Setting, Step};

/// What a script is to be like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    pub(crate) secure: bool,
    /// Time passes in it, and timeouts are short.
    pub(crate) waits: bool,
}

impl Wish {
    /// That of a seed: a few of each kind.
    pub(crate) const fn of(seed: u64) -> Self {
        Self { secure: seed % 8 == 7, waits: seed.is_multiple_of(16) }
    }
}

/// The script of a seed.
pub(crate) fn script(seed: u64, wish: Wish) -> Script {
    let mut author =
        Author { rng: Rng::with_seed(seed), waits: wish.waits, services: Vec::new(), clients: Vec::new() };
    Script { secure: wish.secure, steps: author.steps() }
}

struct Author {
    rng: Rng,
    waits: bool,
    services: Vec<Known>,
    /// Clients that have sent something.
    clients: Vec<End>,
}

/// A service, and the servers that it has or had.
struct Known {
    service: VirtualService,
    servers: Vec<RealServer>,
    /// That it has now.
    held: Vec<RealServerId>,
}

const TUNNEL_PORT: u16 = 6080;

impl Author {
    fn steps(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        for setting in [
            Setting::Orphans(Orphans::Expire),
            Setting::Quiescent(Quiescent::Expire),
            Setting::Reuse(Reuse::Never),
            Setting::Reuse(Reuse::HalfEnded),
            Setting::SloppyTcp(true),
            Setting::SloppySctp(true),
            Setting::Pmtu(PathMtuDiscovery::Off),
        ] {
            if self.chance(12) {
                steps.push(Step::Set(setting));
            }
        }
        if self.waits {
            // Such that no two ends come together: which is first makes a difference where one controls the other.
            steps.push(Step::Timeouts(self.timeouts(1..=2)));
        }
        for _ in 0..self.rng.usize(1..=2) {
            let service = self.service();
            if self.services.iter().any(|known| known.service.id == service.id) {
                continue;
            }
            steps.push(Step::Change(Change::AddService(service.clone())));
            self.services.push(Known { service, servers: Vec::new(), held: Vec::new() });
            for _ in 0..self.rng.usize(1..=4) {
                let place = self.services.len() - 1;
                steps.extend(self.add_server(place));
            }
        }
        for _ in 0..self.rng.usize(6..=14) {
            match self.rng.u8(0..100) {
                0..6 => steps.extend(self.crowd()),
                6..16 => steps.extend(self.conversation()),
                _ => steps.extend(self.step()),
            }
        }
        steps
    }

    fn step(&mut self) -> Option<Step> {
        let choice = self.rng.u8(0..100);
        Some(match choice {
            0..10 if self.waits => Step::Wait(Duration::from_millis(self.one(&[1400, 2400]))),
            0..60 => Step::Packet(self.client_packet()),
            60..76 => Step::Packet(self.server_packet()?),
            76..85 => Step::Error(self.error()?),
            85..97 => Step::Change(self.change()?),
            97 if !self.waits => Step::Timeouts(self.timeouts(60..=900)),
            _ => Step::Set(self.setting()),
        })
    }

    fn timeouts(&mut self, seconds: RangeInclusive<u64>) -> Timeouts {
        let mut time = || Some(Duration::from_secs(self.rng.u64(seconds.clone())));
        Timeouts { tcp: time(), tcp_fin: time(), udp: time() }
    }

    /// With so many percent.
    fn chance(&mut self, percent: u8) -> bool {
        self.rng.u8(0..100) < percent
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.rng.usize(0..of.len())]
    }

    fn setting(&mut self) -> Setting {
        let all = [
            Setting::Quiescent(Quiescent::Keep),
            Setting::Quiescent(Quiescent::Expire),
            Setting::Reuse(Reuse::Never),
            Setting::Reuse(Reuse::Ended),
            Setting::Reuse(Reuse::HalfEnded),
            Setting::SloppyTcp(true),
            Setting::SloppyTcp(false),
        ];
        self.one(&all)
    }

    fn family(&mut self) -> Family {
        if self.chance(60) { Family::V4 } else { Family::V6 }
    }

    fn protocol(&mut self) -> Protocol {
        self.one(&[Protocol::Tcp, Protocol::Tcp, Protocol::Tcp, Protocol::Udp, Protocol::Udp, Protocol::Sctp])
    }
}

/// Of an address of slot 0.
fn place_of(address: IpAddr) -> Place {
    let host = match address {
        IpAddr::V4(address) => address.octets()[3],
        IpAddr::V6(address) => address.octets()[15],
    };
    Place { network: crate::place::network_of(address).unwrap(), host, family: Family::of(address) }
}
