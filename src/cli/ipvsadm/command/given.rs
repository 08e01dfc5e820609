use std::collections::BTreeSet;
use std::net::IpAddr;
use std::str::FromStr;

use buoy_ipvs::{
    Family, Forwarding, FwMark, PersistenceEngine, Protocol, Scheduler, SchedulerFlags, ServiceId, SyncRole,
    Tunnel, TunnelChecksum, Weight,
};

use super::super::grammar::{Modifier, Verb};
use super::super::mistake::Mistake;
use super::super::names::Names;

/// What the modifiers of one command line say.
#[derive(Debug, Default)]
pub(super) struct Given {
    subjects: BTreeSet<&'static str>,
    pub(super) service: Option<ServiceId>,
    pub(super) server: Option<(IpAddr, Option<u16>)>,
    pub(super) scheduler: Option<String>,
    scheduler_flags: Vec<SchedulerFlag>,
    /// In seconds.
    pub(super) persistence_timeout: Option<u32>,
    netmask: Option<String>,
    pub(super) engine: Option<PersistenceEngine>,
    method: Option<Modifier>,
    pub(super) weight: Option<u32>,
    pub(super) upper_threshold: Option<u32>,
    pub(super) lower_threshold: Option<u32>,
    tunnel_type: Option<TunnelType>,
    tunnel_port: Option<u16>,
    pub(super) role: Option<SyncRole>,
    pub(super) interface: Option<String>,
    pub(super) sync_id: Option<u8>,
    pub(super) max_len: Option<u16>,
    pub(super) group: Option<IpAddr>,
    pub(super) port: Option<u16>,
    pub(super) ttl: Option<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TunnelType {
    Ipip,
    Gue,
    Gre,
}

/// A flag of `-b`: its bit, and whose it is.
#[derive(Clone, Copy, Debug)]
struct SchedulerFlag {
    name: &'static str,
    bit: u8,
    of: Option<Scheduler>,
}

const SCHEDULER_FLAGS: [SchedulerFlag; 7] = [
    SchedulerFlag { name: "flag-1", bit: 1, of: None },
    SchedulerFlag { name: "flag-2", bit: 2, of: None },
    SchedulerFlag { name: "flag-3", bit: 3, of: None },
    SchedulerFlag { name: "sh-fallback", bit: 1, of: Some(Scheduler::Sh) },
    SchedulerFlag { name: "sh-port", bit: 2, of: Some(Scheduler::Sh) },
    SchedulerFlag { name: "mh-fallback", bit: 1, of: Some(Scheduler::Mh) },
    SchedulerFlag { name: "mh-port", bit: 2, of: Some(Scheduler::Mh) },
];

const TUNNEL_OPTIONS: [&str; 5] = ["tun-type", "tun-port", "tun-nocsum", "tun-csum", "tun-remcsum"];

impl Given {
    /// Whether a modifier of this subject was given.
    pub(super) fn says(&self, subject: &str) -> bool {
        self.subjects.contains(subject)
    }

    /// Takes in one modifier. Those with a value have one.
    pub(super) fn take(
        &mut self,
        modifier: Modifier,
        value: Option<&str>,
        names: &Names,
    ) -> Result<(), Mistake> {
        let subject = modifier.subject();
        match modifier {
            // Says nothing: tables are sorted.
            Modifier::Sort => return Ok(()),
            Modifier::Ipv6 => return self.mark_is_ipv6(),
            _ => {}
        }
        if !self.subjects.insert(subject) {
            return Err(Mistake::Twice(subject));
        }
        let word = value.unwrap_or_default();
        match modifier {
            Modifier::TcpService => self.service = Some(service(word, Protocol::Tcp, names)?),
            Modifier::UdpService => self.service = Some(service(word, Protocol::Udp, names)?),
            Modifier::SctpService => self.service = Some(service(word, Protocol::Sctp, names)?),
            Modifier::MarkService => {
                let mark = number(word).and_then(FwMark::new);
                let mark = mark.ok_or_else(|| wrong("mark", word, "numbers from 1 to 4294967295 are"))?;
                self.service = Some(ServiceId::FwMark { family: Family::V4, mark });
            }
            Modifier::RealServer => self.server = Some(self.server_of(word, names)?),
            Modifier::Scheduler => self.scheduler = Some(word.to_owned()),
            Modifier::SchedulerFlags => self.scheduler_flags = scheduler_flags(word)?,
            Modifier::Persistent => {
                let timeout = value.map(|word| {
                    within(
                        word,
                        1..=super::MAX_SECONDS,
                        "persistence timeout",
                        "seconds from 1 to 2678400 are",
                    )
                });
                self.persistence_timeout = timeout.transpose()?;
            }
            Modifier::Netmask => self.netmask = Some(word.to_owned()),
            Modifier::Engine => {
                let engine = PersistenceEngine::new(word);
                self.engine =
                    Some(engine.ok_or_else(|| wrong("persistence engine", word, "the kernel has sip"))?);
            }
            Modifier::Gatewaying | Modifier::Ipip | Modifier::Masquerading => self.method = Some(modifier),
            Modifier::Weight => self.weight = Some(count(word, "weight")?),
            Modifier::UpperThreshold => self.upper_threshold = Some(count(word, "upper threshold")?),
            Modifier::LowerThreshold => self.lower_threshold = Some(count(word, "lower threshold")?),
            Modifier::TunnelType => {
                self.tunnel_type = Some(match word {
                    "ipip" => TunnelType::Ipip,
                    "gue" => TunnelType::Gue,
                    "gre" => TunnelType::Gre,
                    _ => return Err(wrong("tunnel type", word, "there are ipip, gue and gre")),
                });
            }
            Modifier::TunnelPort => {
                self.tunnel_port = Some(within(word, 1..=u16::MAX, "tunnel port", PORTS)?)
            }
            Modifier::SyncId => {
                self.sync_id = Some(within(word, 0..=u8::MAX, "sync id", "numbers from 0 to 255 are")?);
            }
            Modifier::SyncMaxLen => {
                let wanted = "numbers of bytes from 1 to 65507 are";
                self.max_len = Some(within(word, 1..=65_507, "length of sync messages", wanted)?);
            }
            Modifier::McastInterface => self.interface = Some(word.to_owned()),
            Modifier::McastGroup => {
                let group = word.parse().ok().filter(IpAddr::is_multicast);
                self.group = Some(group.ok_or_else(|| {
                    wrong("multicast group", word, "addresses like 224.0.0.81 and ff02::81 are")
                })?);
            }
            Modifier::McastPort => self.port = Some(within(word, 1..=u16::MAX, "multicast port", PORTS)?),
            Modifier::McastTtl => {
                self.ttl = Some(within(word, 1..=u8::MAX, "TTL", "numbers from 1 to 255 are")?);
            }
            Modifier::Ipv6
            | Modifier::Sort
            | Modifier::OnePacket
            | Modifier::TunnelNoChecksum
            | Modifier::TunnelChecksum
            | Modifier::TunnelRemoteChecksum
            | Modifier::Numeric
            | Modifier::Connection
            | Modifier::Timeout
            | Modifier::Daemon
            | Modifier::Stats
            | Modifier::Rate
            | Modifier::Thresholds
            | Modifier::PersistentConnections
            | Modifier::TunnelInfo
            | Modifier::Exact
            | Modifier::NoSort => {}
        }
        Ok(())
    }

    fn mark_is_ipv6(&mut self) -> Result<(), Mistake> {
        match &mut self.service {
            Some(ServiceId::FwMark { family, .. }) => {
                *family = Family::V6;
                Ok(())
            }
            _ => Err(Mistake::Ipv6WithoutMark),
        }
    }

    /// Ports have the names of the service's protocol; those of a mark have those of TCP.
    fn server_of(&self, word: &str, names: &Names) -> Result<(IpAddr, Option<u16>), Mistake> {
        let protocol = match self.service {
            Some(ServiceId::Address { protocol, .. }) => protocol,
            Some(ServiceId::FwMark { .. }) | None => Protocol::Tcp,
        };
        names.endpoint(word, protocol).ok_or_else(|| wrong("real server", word, ENDPOINTS))
    }

    /// Whether every subject has to do with the verb.
    pub(super) fn check_subjects(&self, verb: Verb) -> Result<(), Mistake> {
        let possible = subjects_of(verb);
        let other = self.subjects.iter().find(|subject| !possible.contains(subject));
        other.map_or(Ok(()), |what| Err(Mistake::Meaningless { what, verb: verb.name() }))
    }

    pub(super) fn scheduler_flags(&self, scheduler: Option<Scheduler>) -> Result<SchedulerFlags, Mistake> {
        let mut flags = SchedulerFlags::NONE;
        for flag in &self.scheduler_flags {
            if flag.of.is_some() && flag.of != scheduler {
                let scheduler = scheduler.map_or("none", Scheduler::name).to_owned();
                return Err(Mistake::FlagOfOther { flag: flag.name.to_owned(), scheduler });
            }
            match flag.bit {
                1 => flags.flag_1 = true,
                2 => flags.flag_2 = true,
                _ => flags.flag_3 = true,
            }
        }
        Ok(flags)
    }

    /// How many bits tell clients apart; all where no mask is given.
    pub(super) fn prefix_len(&self, family: Family) -> Result<u8, Mistake> {
        let Some(word) = &self.netmask else { return Ok(family.bits()) };
        let wanted = match family {
            Family::V4 => "masks without gaps like 255.255.255.0 are",
            Family::V6 => "prefix lengths from 1 to 128 are",
        };
        super::prefix_len(family, word).ok_or_else(|| wrong("netmask", word, wanted))
    }

    pub(super) fn forwarding(&self) -> Result<Forwarding, Mistake> {
        let option = TUNNEL_OPTIONS.into_iter().find(|option| self.says(option));
        match (self.method, option) {
            (Some(Modifier::Ipip), _) => self.tunnel().map(Forwarding::Tunnel),
            (_, Some(option)) => Err(Mistake::NoTunnel { option }),
            (Some(Modifier::Masquerading), None) => Ok(Forwarding::Masquerade),
            (_, None) => Ok(Forwarding::Direct),
        }
    }

    fn tunnel(&self) -> Result<Tunnel, Mistake> {
        let (tunnel, meaningless): (_, &[&str]) = match self.tunnel_type.unwrap_or(TunnelType::Ipip) {
            TunnelType::Ipip => ("ipip", &["tun-port", "tun-nocsum", "tun-csum", "tun-remcsum"]),
            TunnelType::Gre => ("gre", &["tun-port", "tun-remcsum"]),
            TunnelType::Gue => ("gue", &[]),
        };
        if let Some(option) = TUNNEL_OPTIONS.into_iter().find(|o| meaningless.contains(o) && self.says(o)) {
            return Err(Mistake::OtherTunnel { option, tunnel });
        }
        let checksum = self.tunnel_checksum()?;
        Ok(match self.tunnel_type.unwrap_or(TunnelType::Ipip) {
            TunnelType::Ipip => Tunnel::Ipip,
            TunnelType::Gre => Tunnel::Gre { checksum },
            TunnelType::Gue => Tunnel::Gue { port: self.tunnel_port.ok_or(Mistake::NoTunnelPort)?, checksum },
        })
    }

    fn tunnel_checksum(&self) -> Result<TunnelChecksum, Mistake> {
        let checksums = [
            ("tun-nocsum", TunnelChecksum::None),
            ("tun-csum", TunnelChecksum::Full),
            ("tun-remcsum", TunnelChecksum::Remote),
        ];
        let mut given = checksums.into_iter().filter(|(option, _)| self.says(option));
        match (given.next(), given.next()) {
            (Some((one, _)), Some((other, _))) => Err(Mistake::Conflict(one, other)),
            (Some((_, checksum)), None) => Ok(checksum),
            (None, _) => Ok(TunnelChecksum::None),
        }
    }
}

const fn subjects_of(verb: Verb) -> &'static [&'static str] {
    match verb {
        Verb::AddService | Verb::EditService => {
            &["service-address", "scheduler", "persistent", "netmask", "pe", "sched-flags", "ops"]
        }
        Verb::DeleteService | Verb::Zero => &["service-address"],
        Verb::Flush | Verb::Restore | Verb::Set | Verb::Help | Verb::Version => &[],
        Verb::Save => &["numeric"],
        Verb::AddServer | Verb::EditServer => &[
            "service-address",
            "real-server",
            "forwarding-method",
            "weight",
            "u-threshold",
            "l-threshold",
            "tun-type",
            "tun-port",
            "tun-nocsum",
            "tun-csum",
            "tun-remcsum",
        ],
        Verb::DeleteServer => &["service-address", "real-server"],
        Verb::List => &[
            "service-address",
            "numeric",
            "connection",
            "timeout",
            "daemon",
            "stats",
            "rate",
            "thresholds",
            "persistent-conn",
            "tun-info",
            "exact",
            "nosort",
        ],
        Verb::StartDaemon => {
            &["syncid", "sync-maxlen", "mcast-interface", "mcast-group", "mcast-port", "mcast-ttl"]
        }
        Verb::StopDaemon => &["syncid"],
    }
}

const PORTS: &str = "ports from 1 to 65535 are";
const ENDPOINTS: &str = "addresses like 10.0.0.1:80, web:http and [2001:db8::1]:80 are";

fn wrong(what: &'static str, word: &str, wanted: &'static str) -> Mistake {
    Mistake::Value { what, value: word.to_owned(), wanted }
}

fn service(word: &str, protocol: Protocol, names: &Names) -> Result<ServiceId, Mistake> {
    let endpoint = names.endpoint(word, protocol);
    let (address, port) = endpoint.ok_or_else(|| wrong("virtual service", word, ENDPOINTS))?;
    Ok(ServiceId::Address { protocol, address, port: port.unwrap_or(0) })
}

fn scheduler_flags(words: &str) -> Result<Vec<SchedulerFlag>, Mistake> {
    let names = words.split(',').filter(|name| !name.is_empty());
    names
        .map(|name| {
            let known = SCHEDULER_FLAGS.into_iter().find(|flag| flag.name == name);
            known.ok_or_else(|| {
                let wanted =
                    "there are flag-1, flag-2, flag-3, sh-fallback, sh-port, mh-fallback and mh-port";
                wrong("scheduler flag", name, wanted)
            })
        })
        .collect()
}

/// A decimal number, as the C library reads one: blanks and a sign may stand before it.
pub(super) fn number<N: FromStr>(word: &str) -> Option<N> {
    word.trim_start().parse().ok()
}

fn within<N: FromStr + PartialOrd>(
    word: &str,
    range: std::ops::RangeInclusive<N>,
    what: &'static str,
    wanted: &'static str,
) -> Result<N, Mistake> {
    number(word).filter(|number| range.contains(number)).ok_or_else(|| wrong(what, word, wanted))
}

/// The kernel keeps weights and thresholds as signed numbers.
fn count(word: &str, what: &'static str) -> Result<u32, Mistake> {
    within(word, 0..=Weight::MAX.get(), what, "numbers from 0 to 2147483647 are")
}
