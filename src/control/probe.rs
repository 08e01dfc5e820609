//! From configured checks to probes: what the checkers are to ask, and how often.
//!
//! Equal checks become equal probes, which the checkers make once. What many of them need (TLS configurations, compiled
//! patterns) is made once and shared.

mod command;
mod http;
mod pattern;
mod tls;

pub use self::pattern::{PatternUnusable, Patterns};
pub use self::tls::{SslUnusable, SslWord, try_out};

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use buoy_healthcheck::checker::agent::AgentCheck;
use buoy_healthcheck::checker::dns::{DnsCheck, Question};
use buoy_healthcheck::checker::file::{FileCheck, FileRule};
use buoy_healthcheck::checker::ping::PingCheck;
use buoy_healthcheck::checker::smtp::{HeloName, SmtpCheck};
use buoy_healthcheck::checker::tcp::TcpCheck;
use buoy_healthcheck::checker::udp::{BytePattern, UdpCheck, WantedReply};
use buoy_healthcheck::{Cadence, CheckSettings, Deadlines, Health, Pace, Probe, Target};
use buoy_ipvs::FwMark;

use self::tls::ClientConfigurations;
use super::{Server, Service};
use crate::config::plan::{self, DnsType, Plan, VirtualServer};

/// How often a file is read. keepalived is told of a change at once, and so fast it should count here.
const FILE_INTERVAL: Duration = Duration::from_secs(1);

/// What all the checks of a plan share.
#[derive(Debug)]
pub struct Probes {
    /// `track_file`s by name.
    files: BTreeMap<Arc<str>, Arc<Path>>,
    patterns: Patterns,
    tls: ClientConfigurations,
}

impl Probes {
    /// Reads the certificates of the `SSL` block, if a check uses TLS. What is wrong with them is told by each of those.
    pub fn new(plan: &Plan) -> Self {
        let https = || {
            let servers = plan.services.iter().flat_map(|service| &service.servers);
            servers.flat_map(|server| &server.checks).filter_map(|check| match &check.settings {
                plan::CheckSettings::Http(http) => Some(&**http),
                _ => None,
            })
        };
        let mut patterns = Patterns::default();
        for pattern in https().flat_map(|http| &http.pages).filter_map(|page| page.regex.as_ref()) {
            // Each check that has it tells.
            let _unusable = patterns.add(pattern);
        }
        Self {
            files: plan
                .files
                .iter()
                .map(|file| (Arc::clone(&file.name), Arc::from(file.path.as_path())))
                .collect(),
            patterns,
            tls: ClientConfigurations::new(https().any(|http| http.tls).then_some(&plan.balancing.tls)),
        }
    }

    /// What `check`, one of those of `server`, asks and how often.
    ///
    /// # Errors
    /// What cannot be checked and why, in words.
    pub fn of(
        &self,
        service: &VirtualServer,
        server: &Server,
        check: &plan::Check,
    ) -> Result<CheckSettings, String> {
        let way = match check.settings.probe() {
            Some(probe) if probe.check_vip => Way::through(&service.service, server)?,
            _ => Way::Straight,
        };
        Ok(CheckSettings { probe: self.probe(&check.settings, way)?, cadence: cadence(check) })
    }

    fn probe(&self, settings: &plan::CheckSettings, way: Way) -> Result<Probe, String> {
        let target = |probe: &plan::Probe| target(probe, way);
        Ok(match settings {
            plan::CheckSettings::Tcp { probe } => {
                Probe::Tcp(TcpCheck { target: target(probe), deadlines: deadlines(probe) })
            }
            plan::CheckSettings::Http(http) => Probe::Http(self.http(http, target(&http.probe))?),
            plan::CheckSettings::Smtp { probe, helo_name } => {
                let helo = HeloName::new(helo_name);
                let helo = helo.ok_or_else(|| format!("{helo_name:?} cannot be a name in HELO"))?;
                Probe::Smtp(SmtpCheck { target: target(probe), deadlines: deadlines(probe), helo })
            }
            plan::CheckSettings::Dns { probe, query, name, answer } => {
                let question = Question::new(name, record_type(*query)).map_err(|error| error.to_string())?;
                let (target, deadlines) = (target(probe), deadlines(probe));
                Probe::Dns(DnsCheck { target, deadlines, question, expected: answer.clone() })
            }
            plan::CheckSettings::Misc { command, timeout, dynamic } => {
                Probe::Command(command::check(command, *timeout, *dynamic))
            }
            plan::CheckSettings::Udp(udp) => Probe::Udp(udp_check(udp, target(&udp.probe))),
            plan::CheckSettings::Ping { probe } => {
                Probe::Ping(PingCheck { target: target(probe), deadlines: deadlines(probe) })
            }
            plan::CheckSettings::File { track_file, weight, reverse } => {
                let path = self.files.get(track_file);
                let path = path.ok_or_else(|| format!("there is no track_file `{track_file}`"))?;
                let rule = FileRule { weight: *weight, reverse: *reverse };
                Probe::File(FileCheck { path: Arc::clone(path), rule, deadlines: Deadlines::default() })
            }
            plan::CheckSettings::Agent { probe, send } => Probe::Agent(AgentCheck {
                target: target(probe),
                deadlines: deadlines(probe),
                send: send.as_ref().map(|text| Arc::from(text.as_bytes())),
            }),
        })
    }
}

/// How a check gets to its server.
#[derive(Clone, Copy)]
enum Way {
    Straight,
    /// By its service's address and a mark of its own (`check_vip`, see [`super::detour`]).
    Detour {
        address: IpAddr,
        mark: FwMark,
        server: IpAddr,
    },
}

impl Way {
    fn through(service: &Service, server: &Server) -> Result<Self, String> {
        let name = &service.name;
        let address = service.address_before(server);
        let address = address.ok_or_else(|| {
            format!("`check_vip`: {name} has no address of the family of {}", server.id.address)
        })?;
        let mark = server.mark.ok_or_else(|| format!("`check_vip`: no mark is left for {}", server.id))?;
        Ok(Self::Detour { address, mark, server: server.id.address })
    }
}

fn target(probe: &plan::Probe, way: Way) -> Target {
    let straight = Target {
        address: SocketAddr::new(probe.address, probe.port),
        bind: probe.bind_address,
        towards: None,
        bind_port: probe.bind_port,
        interface: probe.bind_interface.clone(),
        mark: probe.mark,
    };
    match way {
        Way::Straight => straight,
        Way::Detour { address, mark, server } => Target {
            address: SocketAddr::new(address, probe.port),
            // An answer to the address of the service would stay where it is made.
            towards: Some(server),
            mark: mark.get(),
            ..straight
        },
    }
}

fn deadlines(probe: &plan::Probe) -> Deadlines {
    Deadlines::of_step(probe.connect_timeout)
}

fn udp_check(udp: &plan::UdpCheck, target: Target) -> UdpCheck {
    let reply = udp.reply.as_ref().map(|bytes| WantedReply {
        pattern: bytes.iter().map(|byte| (byte.value, byte.mask)).collect::<BytePattern>(),
        min_length: udp.min_reply_length,
        max_length: udp.max_reply_length,
    });
    UdpCheck {
        target,
        deadlines: deadlines(&udp.probe),
        payload: udp.payload.as_deref().map_or_else(UdpCheck::default_payload, Arc::from),
        reply,
    }
}

const fn record_type(query: DnsType) -> &'static str {
    match query {
        DnsType::A => "A",
        DnsType::Ns => "NS",
        DnsType::Cname => "CNAME",
        DnsType::Soa => "SOA",
        DnsType::Mx => "MX",
        DnsType::Txt => "TXT",
        DnsType::Aaaa => "AAAA",
        DnsType::Rrsig => "RRSIG",
        DnsType::Dnskey => "DNSKEY",
    }
}

fn cadence(check: &plan::Check) -> Cadence {
    let usual = Cadence {
        interval: check.delay_loop,
        pace: Pace::AfterEnd,
        retry: check.retry,
        retry_interval: check.delay_before_retry,
        down_interval: check.delay_loop,
        rise: NonZeroU32::new(check.rise).unwrap_or(NonZeroU32::MIN),
        warmup: check.warmup,
        start: if check.alpha { Health::Down } else { Health::Up },
        fast_recovery: false,
        report_all_failures: check.log_all_failures,
    };
    match &check.settings {
        plan::CheckSettings::Http(http) => Cadence {
            down_interval: check.delay_loop.max(check.delay_before_retry),
            fast_recovery: http.fast_recovery,
            ..usual
        },
        plan::CheckSettings::Misc { .. } => Cadence { pace: Pace::FromStart, ..usual },
        // A file says what it says: asking again would only be late.
        plan::CheckSettings::File { .. } => Cadence {
            interval: FILE_INTERVAL,
            down_interval: FILE_INTERVAL,
            retry: 0,
            warmup: Duration::ZERO,
            ..usual
        },
        plan::CheckSettings::Tcp { .. }
        | plan::CheckSettings::Smtp { .. }
        | plan::CheckSettings::Dns { .. }
        | plan::CheckSettings::Udp(_)
        | plan::CheckSettings::Ping { .. }
        | plan::CheckSettings::Agent { .. } => usual,
    }
}

#[cfg(test)]
mod tests;
