//! What is played: one thing after the other.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use buoy_ipvs::engine::forward::tunnel::PathMtuDiscovery;
use buoy_ipvs::engine::process::{Orphans, Quiescent, Reuse, Settings};
use buoy_ipvs::engine::state::TcpTable;
use buoy_ipvs::{Change, RealServer, RealServerId, ServiceId, Timeouts, VirtualService};

use crate::house::set;
use crate::packet::{Error, Packet};

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Script {
    /// Played where `net.ipv4.vs.secure_tcp` is on: the kernel takes a second to notice it.
    pub(crate) secure: bool,
    pub(crate) steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// With addresses of slot 0.
    Change(Change),
    Set(Setting),
    Timeouts(Timeouts),
    Packet(Packet),
    Error(Error),
    Wait(Duration),
}

/// What `net.ipv4.vs` has for an engine's [`Settings`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setting {
    Orphans(Orphans),
    Quiescent(Quiescent),
    Reuse(Reuse),
    SloppyTcp(bool),
    SloppySctp(bool),
    Pmtu(PathMtuDiscovery),
}

impl Setting {
    /// As every script begins.
    pub(crate) const DEFAULTS: [Self; 6] = [
        Self::Orphans(Orphans::Keep),
        Self::Quiescent(Quiescent::Keep),
        Self::Reuse(Reuse::Ended),
        Self::SloppyTcp(false),
        Self::SloppySctp(false),
        Self::Pmtu(PathMtuDiscovery::On),
    ];

    pub(crate) fn defaults(secure: bool) -> Settings {
        let table = if secure { TcpTable::Secure } else { TcpTable::Normal };
        let start = Settings { tcp_table: table, ..Settings::default() };
        Self::DEFAULTS.iter().fold(start, |settings, setting| setting.of(settings))
    }

    pub(crate) const fn of(self, settings: Settings) -> Settings {
        match self {
            Self::Orphans(orphans) => Settings { orphans, ..settings },
            Self::Quiescent(quiescent) => Settings { quiescent, ..settings },
            Self::Reuse(reuse) => Settings { reuse, ..settings },
            Self::SloppyTcp(sloppy_tcp) => Settings { sloppy_tcp, ..settings },
            Self::SloppySctp(sloppy_sctp) => Settings { sloppy_sctp, ..settings },
            Self::Pmtu(pmtu) => Settings { pmtu, ..settings },
        }
    }

    /// Tells the kernel.
    pub(crate) fn tell(self) {
        let (name, value) = self.in_kernel();
        set(name, value);
    }

    const fn in_kernel(self) -> (&'static str, &'static str) {
        const fn switch(on: bool) -> &'static str {
            if on { "1" } else { "0" }
        }
        match self {
            Self::Orphans(orphans) => ("expire_nodest_conn", switch(matches!(orphans, Orphans::Expire))),
            Self::Quiescent(quiescent) => {
                ("expire_quiescent_template", switch(matches!(quiescent, Quiescent::Expire)))
            }
            Self::Reuse(Reuse::Never) => ("conn_reuse_mode", "0"),
            Self::Reuse(Reuse::Ended) => ("conn_reuse_mode", "1"),
            Self::Reuse(Reuse::HalfEnded) => ("conn_reuse_mode", "2"),
            Self::SloppyTcp(sloppy) => ("sloppy_tcp", switch(sloppy)),
            Self::SloppySctp(sloppy) => ("sloppy_sctp", switch(sloppy)),
            Self::Pmtu(pmtu) => ("pmtu_disc", switch(matches!(pmtu, PathMtuDiscovery::On))),
        }
    }
}

/// An address of slot 0 in another one.
fn moved(address: IpAddr, slot: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let [a, b, first, d] = address.octets();
            let third = if first == 1 { slot + 1 } else { first };
            IpAddr::from([a, b, third, d])
        }
        IpAddr::V6(address) => {
            let mut segments = address.segments();
            if segments[6] == 1 {
                segments[6] = u16::from(slot) + 1;
            }
            IpAddr::from(segments)
        }
    }
}

/// A change of slot 0 in another one.
pub(crate) fn change_in(change: &Change, slot: u8) -> Change {
    let service = |id: &ServiceId| match *id {
        ServiceId::Address { protocol, address, port } => {
            ServiceId::Address { protocol, address: moved(address, slot), port }
        }
        mark @ ServiceId::FwMark { .. } => mark,
    };
    let whole = |it: &VirtualService| VirtualService { id: service(&it.id), ..it.clone() };
    let server = |id: &RealServerId| RealServerId { address: moved(id.address, slot), ..*id };
    let real = |it: &RealServer| RealServer { id: server(&it.id), ..*it };
    match change {
        Change::AddService(it) => Change::AddService(whole(it)),
        Change::EditService(it) => Change::EditService(whole(it)),
        Change::RemoveService(id) => Change::RemoveService(service(id)),
        Change::AddServer(id, it) => Change::AddServer(service(id), real(it)),
        Change::EditServer(id, it) => Change::EditServer(service(id), real(it)),
        Change::RemoveServer(id, it) => Change::RemoveServer(service(id), server(it)),
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Change(change @ (Change::AddService(service) | Change::EditService(service))) => {
                let VirtualService { scheduler, flags, persistence, one_packet, .. } = service;
                let scheduler = scheduler.map_or("none", |scheduler| scheduler.name());
                write!(f, "{change}: {scheduler}")?;
                if flags.flag_1 || flags.flag_2 {
                    write!(f, " flags {}{}", u8::from(flags.flag_1), u8::from(flags.flag_2))?;
                }
                if let Some(persistence) = persistence {
                    write!(f, ", persistent {:?} /{}", persistence.timeout, persistence.prefix_len)?;
                }
                if *one_packet { write!(f, ", one packet") } else { Ok(()) }
            }
            Self::Change(change @ (Change::AddServer(_, server) | Change::EditServer(_, server))) => {
                write!(f, "{change}, {:?}", server.forwarding)?;
                match (server.upper_threshold, server.lower_threshold) {
                    (0, 0) => Ok(()),
                    (upper, lower) => write!(f, ", thresholds {upper} and {lower}"),
                }
            }
            Self::Change(change) => change.fmt(f),
            Self::Set(setting) => {
                let (name, value) = setting.in_kernel();
                write!(f, "set {name} = {value}")
            }
            Self::Timeouts(timeouts) => {
                let Timeouts { tcp, tcp_fin, udp } = timeouts;
                write!(f, "set timeouts {tcp:?} {tcp_fin:?} {udp:?}")
            }
            Self::Packet(packet) => packet.fmt(f),
            Self::Error(error) => error.fmt(f),
            Self::Wait(time) => write!(f, "wait {time:?}"),
        }
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.secure {
            writeln!(f, "    with secure_tcp")?;
        }
        for (number, step) in self.steps.iter().enumerate() {
            writeln!(f, "    {number:2}. {step}")?;
        }
        Ok(())
    }
}
