//! Which plane forwards, why it does, and how the engine behaves where it does.

use std::fmt;
use std::sync::Arc;

use buoy_ipvs::engine::connections::Limits;
use buoy_ipvs::engine::forward::fullnat::Toa;
use buoy_ipvs::engine::forward::tunnel::PathMtuDiscovery;
use buoy_ipvs::engine::process::{Quiescent, Reuse, Settings};
use buoy_ipvs::engine::state::TcpTable;
use buoy_ipvs::{Scheduler, Timeouts};
use serde::Serialize;

use super::VirtualServer;

/// Who carries packets to real servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Forwarding {
    pub plane: PlaneChoice,
    pub engine: EngineSettings,
}

/// `forwarding`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PlaneChoice {
    /// The kernel's IPVS where it is there and has all that the services need; else the engine.
    #[default]
    Auto,
    Kernel,
    Engine,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Plane {
    /// The kernel's IPVS.
    Kernel,
    /// Buoy's own engine.
    Engine,
}

impl PlaneChoice {
    /// The plane to open, and why it is that one. `need` is [`engine_need`] of the services.
    ///
    /// What is configured holds even where it cannot work: whoever wrote it is to be told by the plane that fails, not
    /// served by another one.
    pub fn resolve(self, kernel_has_ipvs: bool, need: Option<EngineNeed>) -> (Plane, Why) {
        match (self, kernel_has_ipvs, need) {
            (Self::Kernel, ..) => (Plane::Kernel, Why::Configured(Plane::Kernel)),
            (Self::Engine, ..) => (Plane::Engine, Why::Configured(Plane::Engine)),
            (Self::Auto, false, _) => (Plane::Engine, Why::NoIpvs),
            (Self::Auto, true, Some(need)) => (Plane::Engine, Why::Needed(need)),
            (Self::Auto, true, None) => (Plane::Kernel, Why::HasIpvs),
        }
    }
}

/// Why a plane was chosen. Written as a clause for `buoy status` and the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// `forwarding` names it.
    Configured(Plane),
    HasIpvs,
    NoIpvs,
    /// The kernel has IPVS, and it does not suffice.
    Needed(EngineNeed),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configured(Plane::Kernel) => f.write_str("`forwarding kernel` is configured"),
            Self::Configured(Plane::Engine) => f.write_str("`forwarding engine` is configured"),
            Self::HasIpvs => f.write_str("the kernel has IPVS"),
            Self::NoIpvs => f.write_str("the kernel has no IPVS"),
            Self::Needed(need) => need.fmt(f),
        }
    }
}

/// A virtual server that only the engine can offer as it is configured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EngineNeed {
    /// Its name.
    pub service: Arc<str>,
    pub of: EngineOnly,
}

impl fmt::Display for EngineNeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service, of } = self;
        write!(f, "`{service}` has {of}, which the kernel's IPVS has not")
    }
}

/// What the kernel's IPVS has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EngineOnly {
    FullNat,
    Scheduler(Scheduler),
    /// Timeouts of connections of one service.
    Timeouts,
}

impl fmt::Display for EngineOnly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FullNat => f.write_str("full NAT"),
            Self::Scheduler(scheduler) => write!(f, "scheduler {scheduler}"),
            Self::Timeouts => f.write_str("timeouts of its own"),
        }
    }
}

/// The first of these services that only the engine can offer.
pub fn engine_need(services: &[VirtualServer]) -> Option<EngineNeed> {
    services.iter().find_map(|server| {
        let of = need_of(server)?;
        Some(EngineNeed { service: Arc::clone(&server.service.name), of })
    })
}

fn need_of(server: &VirtualServer) -> Option<EngineOnly> {
    let service = &server.service;
    let mut methods = service.servers.iter().map(|server| server.forwarding);
    let mut sorry = service.sorry.iter().map(|sorry| sorry.forwarding);
    let full_nat = buoy_ipvs::Forwarding::FullNat;
    if methods.any(|method| method == full_nat) || sorry.any(|method| method == full_nat) {
        return Some(EngineOnly::FullNat);
    }
    let mut schedulers = service.members.iter().filter_map(|member| member.scheduler);
    let own = schedulers.find(|scheduler| scheduler.nearest_in_kernel() != *scheduler);
    let timeouts = (server.timeouts != Timeouts::default()).then_some(EngineOnly::Timeouts);
    own.map(EngineOnly::Scheduler).or(timeouts)
}

/// `engine`. What has a name in `net.ipv4.vs` means what it means there, and has the kernel's default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct EngineSettings {
    /// Entries for connections and persistent clients together (1,048,576). Each takes 16 bytes from the start and 140
    /// more once it is used: 156 MiB in all by default. When nearly all are taken, attempts that nobody has answered make
    /// room for new connections; with too few of them new clients are refused in a rush.
    pub connections: u32,
    /// How packets come to the engine (`auto`).
    pub tier: TierChoice,
    /// Servers behind full NAT are told the client's address in a TCP option, which takes 8 bytes of the segments that
    /// have it, or 20 with IPv6 (off). Servers without TOA ignore it.
    pub toa: bool,
    /// Connections may begin with any segment or chunk, not with the first of a handshake alone (off). A director that
    /// takes over without sync then balances what is under way, and strays too.
    pub sloppy_tcp: bool,
    pub sloppy_sctp: bool,
    /// A TCP connection is established when its server says so, not when the client does (off): what a flood of SYNs and
    /// ACKs opens is soon over.
    pub secure_tcp: bool,
    /// Senders hear of packets that are too long for a tunnel (on); otherwise those are cut.
    pub pmtu_disc: bool,
    /// `conn_reuse_mode` (1).
    pub reuse: ReuseMode,
    /// Persistent clients of a server whose weight is 0 get another one (off: they stay).
    pub expire_quiescent_template: bool,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            connections: 1 << 20,
            tier: TierChoice::Auto,
            toa: false,
            sloppy_tcp: false,
            sloppy_sctp: false,
            secure_tcp: false,
            pmtu_disc: true,
            reuse: ReuseMode::Ended,
            expire_quiescent_template: false,
        }
    }
}

impl EngineSettings {
    pub const fn limits(&self) -> Limits {
        Limits { connections: self.connections }
    }

    /// For an engine that is no master of connection sync, and whose servers are not in doubt.
    pub fn settings(&self) -> Settings {
        Settings {
            quiescent: if self.expire_quiescent_template { Quiescent::Expire } else { Quiescent::Keep },
            reuse: match self.reuse {
                ReuseMode::Never => Reuse::Never,
                ReuseMode::Ended => Reuse::Ended,
                ReuseMode::HalfEnded => Reuse::HalfEnded,
            },
            sloppy_tcp: self.sloppy_tcp,
            sloppy_sctp: self.sloppy_sctp,
            tcp_table: if self.secure_tcp { TcpTable::Secure } else { TcpTable::Normal },
            pmtu: if self.pmtu_disc { PathMtuDiscovery::On } else { PathMtuDiscovery::Off },
            toa: if self.toa { Toa::On } else { Toa::Off },
            ..Settings::default()
        }
    }
}

/// `tier`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TierChoice {
    /// The fastest that this host lets the engine have.
    #[default]
    Auto,
    /// Programs at the interfaces rewrite established flows within the kernel.
    Tc,
    /// Everything in user space, without eBPF.
    Portable,
}

/// `conn_reuse_mode`: the connections that give way to a new one from the same port of a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReuseMode {
    /// 0: none, so that clients of a server that is gone may wait for it.
    Never,
    /// 1: those that have ended.
    #[default]
    Ended,
    /// 2 and 3: and those of which only the client's half is seen, after its FIN.
    HalfEnded,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plane_is_the_configured_one_and_else_the_one_that_suffices() {
        let need = || Some(EngineNeed { service: "TCP 192.0.2.1:80".into(), of: EngineOnly::FullNat });
        let full_nat = "`TCP 192.0.2.1:80` has full NAT, which the kernel's IPVS has not";
        let (kernel, engine) = ("`forwarding kernel` is configured", "`forwarding engine` is configured");
        for (choice, has_ipvs, need, plane, why) in [
            (PlaneChoice::Auto, true, None, Plane::Kernel, "the kernel has IPVS"),
            (PlaneChoice::Auto, true, need(), Plane::Engine, full_nat),
            (PlaneChoice::Auto, false, None, Plane::Engine, "the kernel has no IPVS"),
            (PlaneChoice::Auto, false, need(), Plane::Engine, "the kernel has no IPVS"),
            (PlaneChoice::Kernel, true, None, Plane::Kernel, kernel),
            (PlaneChoice::Kernel, true, need(), Plane::Kernel, kernel),
            (PlaneChoice::Kernel, false, None, Plane::Kernel, kernel),
            (PlaneChoice::Kernel, false, need(), Plane::Kernel, kernel),
            (PlaneChoice::Engine, true, None, Plane::Engine, engine),
            (PlaneChoice::Engine, true, need(), Plane::Engine, engine),
            (PlaneChoice::Engine, false, None, Plane::Engine, engine),
            (PlaneChoice::Engine, false, need(), Plane::Engine, engine),
        ] {
            let (chosen, said) = choice.resolve(has_ipvs, need.clone());
            assert_eq!((chosen, &*said.to_string()), (plane, why), "{choice:?} {has_ipvs} {need:?}");
        }
    }

    #[test]
    fn an_engine_without_words_about_it_is_the_engine_of_the_crate() {
        assert_eq!(EngineSettings::default().settings(), Settings::default());
        assert_eq!(EngineSettings::default().limits().connections, 1_048_576);
    }

    #[test]
    fn every_setting_reaches_the_engine() {
        let set = EngineSettings {
            connections: 5_000,
            tier: TierChoice::Portable,
            toa: true,
            sloppy_tcp: true,
            sloppy_sctp: true,
            secure_tcp: true,
            pmtu_disc: false,
            reuse: ReuseMode::HalfEnded,
            expire_quiescent_template: true,
        };
        let wanted = Settings {
            quiescent: Quiescent::Expire,
            reuse: Reuse::HalfEnded,
            sloppy_tcp: true,
            sloppy_sctp: true,
            tcp_table: TcpTable::Secure,
            pmtu: PathMtuDiscovery::Off,
            toa: Toa::On,
            ..Settings::default()
        };
        assert_eq!((set.settings(), set.limits().connections), (wanted, 5_000));
        let never = EngineSettings { reuse: ReuseMode::Never, ..EngineSettings::default() };
        assert_eq!(never.settings().reuse, Reuse::Never);
    }
}
