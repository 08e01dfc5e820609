//! What a command line asks for.

mod given;

use std::net::IpAddr;
use std::time::Duration;

use buoy_ipvs::{
    Change, Family, LocalAddresses, Persistence, RealServer, RealServerId, Scheduler, ServiceId, SyncDaemon,
    SyncRole, Timeouts, VirtualService, Weight,
};

use super::grammar::{Meaning, Said, Verb, Words};
use super::mistake::Mistake;
use super::names::Names;
use given::Given;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Request {
    Help,
    Version,
    /// Carry out what is read from the standard input.
    Restore,
    Do(Command),
}

/// A command for a plane that makes sense by itself; whether the plane can do it is another matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Change(Change),
    /// Remove all services.
    Flush,
    /// Print the commands that make the table.
    Save {
        numeric: bool,
    },
    ListServices(ServiceList),
    ListConnections {
        numeric: bool,
        /// With what persistence engines know.
        engines: bool,
    },
    ListTimeouts,
    ListDaemons,
    /// Count from zero: one service with its servers, or all.
    Zero(Option<ServiceId>),
    SetTimeouts(Timeouts),
    StartSync(SyncDaemon),
    StopSync(SyncRole),
}

/// How services are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ServiceList {
    /// Only this one, without the line that says which IPVS it is.
    pub(super) only: Option<ServiceId>,
    pub(super) columns: Columns,
    pub(super) numeric: bool,
    /// Every digit of large counters.
    pub(super) exact: bool,
    /// In ipvsadm's order rather than the plane's.
    pub(super) sorted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Columns {
    /// Forwarding method, weight and connections.
    Usual,
    /// As usual, and how tunnels encapsulate.
    Tunnels,
    PersistentConnections,
    Thresholds,
    Rate,
    Stats,
}

/// The longest of ipvsadm's timeouts: 31 days.
const MAX_SECONDS: u32 = 31 * 24 * 60 * 60;
/// In seconds.
const DEFAULT_PERSISTENCE: u32 = 360;
/// Where sync daemons send and receive.
const DEFAULT_INTERFACE: &str = "eth0";

/// Reads a command line. Words are judged in their order, so that of two mistakes the first is told.
pub(super) fn parse(words: impl IntoIterator<Item = String>, names: &Names) -> Result<Request, Mistake> {
    let mut given = Given::default();
    let mut verb = None;
    let mut strays = Vec::new();
    for said in Words::new(words) {
        match (said, verb) {
            (Ok(Said::Stray(word)), _) => strays.push(word),
            (Ok(Said::Option { meaning: Meaning::Do(Verb::Help), .. }), None) => return Ok(Request::Help),
            (Ok(Said::Option { meaning: Meaning::Do(Verb::Version), .. }), None) => {
                return Ok(Request::Version);
            }
            (Ok(Said::Option { meaning: Meaning::Do(first), value, .. }), None) => {
                if let Some(role) = value {
                    given.role = Some(role_of(role)?);
                }
                verb = Some(first);
            }
            (Ok(Said::Option { meaning: Meaning::Do(_), written, .. }), Some(_)) => {
                return Err(Mistake::SecondCommand(written));
            }
            (Ok(Said::Option { meaning: Meaning::With(modifier), value, .. }), Some(_)) => {
                given.take(modifier, value.as_deref(), names)?;
            }
            (Ok(Said::Option { meaning: Meaning::With(_), .. }), None) => return Err(Mistake::NoCommand),
            (Err(mistake), _) => return Err(mistake),
        }
    }
    match verb {
        // Without any word the table is listed.
        None if strays.is_empty() => given.list().map(Request::Do),
        None => Err(Mistake::NoCommand),
        Some(verb) => given.into_request(verb, strays),
    }
}

fn role_of(word: String) -> Result<SyncRole, Mistake> {
    match word.as_str() {
        "master" => Ok(SyncRole::Master),
        "backup" => Ok(SyncRole::Backup),
        _ => Err(Mistake::Value { what: "role", value: word, wanted: "there are master and backup" }),
    }
}

impl Given {
    fn into_request(self, verb: Verb, strays: Vec<String>) -> Result<Request, Mistake> {
        let (timeouts, strays) = match verb {
            Verb::Set => set_timeouts(strays)?,
            _ => (Timeouts::default(), strays),
        };
        if let Some(stray) = strays.into_iter().next() {
            return Err(Mistake::Stray(stray));
        }
        self.check_subjects(verb)?;
        let command = match verb {
            Verb::Help => return Ok(Request::Help),
            Verb::Version => return Ok(Request::Version),
            Verb::Restore => return Ok(Request::Restore),
            Verb::AddService => Command::Change(Change::AddService(self.virtual_service(verb)?)),
            Verb::EditService => Command::Change(Change::EditService(self.virtual_service(verb)?)),
            Verb::DeleteService => Command::Change(Change::RemoveService(self.needed_service(verb)?)),
            Verb::AddServer => {
                let (service, server) = self.real_server(verb)?;
                Command::Change(Change::AddServer(service, server))
            }
            Verb::EditServer => {
                let (service, server) = self.real_server(verb)?;
                Command::Change(Change::EditServer(service, server))
            }
            Verb::DeleteServer => {
                let service = self.needed_service(verb)?;
                Command::Change(Change::RemoveServer(service, self.needed_server(&service, verb)?))
            }
            Verb::Flush => Command::Flush,
            Verb::Save => Command::Save { numeric: self.says("numeric") },
            Verb::List => self.list()?,
            Verb::Zero => Command::Zero(self.service),
            Verb::Set => Command::SetTimeouts(timeouts),
            Verb::StartDaemon => Command::StartSync(self.sync_daemon(verb)?),
            Verb::StopDaemon => Command::StopSync(self.needed_role(verb)?),
        };
        Ok(Request::Do(command))
    }

    fn virtual_service(&self, verb: Verb) -> Result<VirtualService, Mistake> {
        let id = self.needed_service(verb)?;
        let persistent = self.says("persistent");
        match id {
            ServiceId::Address { port: 0, .. } if !persistent => return Err(Mistake::PortZero),
            ServiceId::Address { protocol, .. }
                if self.says("ops") && protocol != buoy_ipvs::Protocol::Udp =>
            {
                return Err(Mistake::OnePacketOfOther);
            }
            _ => {}
        }
        let scheduler = match self.scheduler.as_deref() {
            None | Some("") => Some(Scheduler::Wlc),
            Some("none") => None,
            Some(name) => Some(name.parse()?),
        };
        let flags = self.scheduler_flags(scheduler)?;
        if self.engine.is_some() && !persistent {
            return Err(Mistake::EngineAlone);
        }
        let prefix_len = self.prefix_len(id.family())?;
        let persistence = persistent.then(|| Persistence {
            timeout: Duration::from_secs(self.persistence_timeout.unwrap_or(DEFAULT_PERSISTENCE).into()),
            prefix_len,
            engine: self.engine.clone(),
        });
        let local_addresses = LocalAddresses::NONE;
        Ok(VirtualService {
            id,
            scheduler,
            flags,
            persistence,
            one_packet: self.says("ops"),
            local_addresses,
        })
    }

    fn real_server(&self, verb: Verb) -> Result<(ServiceId, RealServer), Mistake> {
        let service = self.needed_service(verb)?;
        let mut id = self.needed_server(&service, verb)?;
        let forwarding = self.forwarding()?;
        // Such packets keep the port that the client addressed.
        if let (ServiceId::Address { port, .. }, true) = (service, forwarding_keeps_port(forwarding)) {
            id.port = port;
        }
        let mut server =
            RealServer::new(id, forwarding, self.weight.map_or(Weight::ONE, |w| Weight::clamped(w.into())));
        if !server.fits(service.family()) {
            return Err(Mistake::MixedFamily);
        }
        server.upper_threshold = self.upper_threshold.unwrap_or_default();
        server.lower_threshold = self.lower_threshold.unwrap_or_default();
        Ok((service, server))
    }

    fn needed_service(&self, verb: Verb) -> Result<ServiceId, Mistake> {
        self.service.ok_or(Mistake::Missing {
            what: "a virtual service (-t, -u, --sctp-service, -f)",
            verb: verb.name(),
        })
    }

    /// A server without a port has that of its service.
    fn needed_server(&self, service: &ServiceId, verb: Verb) -> Result<RealServerId, Mistake> {
        let (address, port): (IpAddr, Option<u16>) =
            self.server.ok_or(Mistake::Missing { what: "a real server (-r)", verb: verb.name() })?;
        let of_service = match service {
            ServiceId::Address { port, .. } => *port,
            ServiceId::FwMark { .. } => 0,
        };
        Ok(RealServerId { address, port: port.unwrap_or(of_service) })
    }

    fn needed_role(&self, verb: Verb) -> Result<SyncRole, Mistake> {
        self.role.ok_or(Mistake::Missing { what: "a role: master or backup", verb: verb.name() })
    }

    fn sync_daemon(&self, verb: Verb) -> Result<SyncDaemon, Mistake> {
        let interface = self.interface.as_deref().unwrap_or(DEFAULT_INTERFACE);
        let mut daemon = SyncDaemon::new(self.needed_role(verb)?, interface, self.sync_id.unwrap_or(0));
        daemon.max_len = self.max_len;
        daemon.group = self.group;
        daemon.port = self.port;
        daemon.ttl = self.ttl;
        Ok(daemon)
    }

    fn list(&self) -> Result<Command, Mistake> {
        self.check_list()?;
        let numeric = self.says("numeric");
        if self.says("connection") {
            return Ok(Command::ListConnections { numeric, engines: self.says("persistent-conn") });
        }
        if self.says("timeout") {
            return Ok(Command::ListTimeouts);
        }
        if self.says("daemon") {
            return Ok(Command::ListDaemons);
        }
        let columns = [
            ("stats", Columns::Stats),
            ("rate", Columns::Rate),
            ("thresholds", Columns::Thresholds),
            ("persistent-conn", Columns::PersistentConnections),
            ("tun-info", Columns::Tunnels),
        ];
        let columns = columns.into_iter().find(|(subject, _)| self.says(subject));
        Ok(Command::ListServices(ServiceList {
            only: self.service,
            columns: columns.map_or(Columns::Usual, |(_, columns)| columns),
            numeric,
            exact: self.says("exact"),
            sorted: !self.says("nosort"),
        }))
    }

    fn check_list(&self) -> Result<(), Mistake> {
        let conflicts = [
            ("connection", &["service-address", "timeout", "daemon", "stats", "rate", "thresholds"][..]),
            ("timeout", &["service-address", "daemon", "stats", "rate", "thresholds", "persistent-conn"]),
            ("daemon", &["service-address", "stats", "rate", "thresholds", "persistent-conn"]),
        ];
        for (subject, others) in conflicts {
            let other = others.iter().find(|other| self.says(other));
            if let (true, Some(other)) = (self.says(subject), other) {
                return Err(Mistake::Conflict(subject, other));
            }
        }
        Ok(())
    }
}

/// Direct routing and tunnels deliver packets as they are, port included.
const fn forwarding_keeps_port(forwarding: buoy_ipvs::Forwarding) -> bool {
    !matches!(forwarding, buoy_ipvs::Forwarding::Masquerade)
}

/// The three timeouts of `--set`, 0 for one that stays, and what is left behind them.
fn set_timeouts(words: Vec<String>) -> Result<(Timeouts, Vec<String>), Mistake> {
    let mut words = words.into_iter();
    let mut next = || -> Result<Option<Duration>, Mistake> {
        let word = words.next().ok_or(Mistake::ThreeTimeouts)?;
        let seconds = given::number(&word).filter(|seconds: &u32| *seconds <= MAX_SECONDS);
        let seconds = seconds.ok_or(Mistake::Value {
            what: "timeout",
            value: word,
            wanted: "seconds from 0 (as it is) to 2678400 are",
        })?;
        Ok((seconds != 0).then(|| Duration::from_secs(seconds.into())))
    };
    let timeouts = Timeouts { tcp: next()?, tcp_fin: next()?, udp: next()? };
    Ok((timeouts, words.collect()))
}

/// The bits of a netmask or prefix length in ipvsadm's words.
fn prefix_len(family: Family, word: &str) -> Option<u8> {
    match family {
        Family::V4 => {
            let mask = word.parse::<std::net::Ipv4Addr>().ok()?.to_bits();
            let len = mask.leading_ones();
            (mask.count_ones() == len).then(|| u8::try_from(len).ok()).flatten()
        }
        Family::V6 => word.trim_start().parse().ok().filter(|len| (1..=Family::V6.bits()).contains(len)),
    }
}

#[cfg(test)]
mod tests;
