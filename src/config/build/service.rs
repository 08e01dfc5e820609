//! Virtual services: who is addressed, who serves, and what holds for all of them.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use buoy_ipvs::{
    Family, Forwarding, FwMark, Persistence, PersistenceEngine, Protocol, RealServer, RealServerId,
    Scheduler, SchedulerFlags, ServiceId, Tunnel, TunnelChecksum, VirtualService, Weight,
};

use super::Build;
use super::checker::Checked;
use super::entry::span_of;
use super::local_address::LocalGroups;
use super::service_group::{Member, Range};
use super::tracking::count;
use crate::config::finding::{Code, Finding};
use crate::config::plan::{self, PlaneChoice};
use crate::config::settings::{self, Located, ReadError, RealServers, Settings, Text, Words, WrittenServer};
use crate::config::value;
use crate::control;

/// What `persistence_timeout` is without a value.
const PERSISTENCE: Duration = Duration::from_secs(360);
/// Most addresses of all services together: every one is a service of its own to the kernel.
const MOST_MEMBERS: usize = 1 << 18;

/// What the services so far have taken.
#[derive(Debug, Default)]
struct Taken {
    ids: HashSet<ServiceId>,
    names: HashSet<Arc<str>>,
    /// Addresses so far, those included that turned out to be taken.
    looked_at: usize,
}

/// What a virtual server may refer to, and what those before it have taken.
struct Around<'s> {
    settings: &'s Settings,
    groups: HashMap<&'s str, Vec<Member>>,
    local_groups: &'s mut LocalGroups,
    taken: Taken,
}

/// How the ports of real servers follow from those of their service.
#[derive(Clone, Copy, Debug)]
enum Ports {
    Address(u16),
    /// The port that all members have in common.
    Group(Option<u16>),
    Mark,
}

/// Where a server is: for the kernel, and the port for its checks.
struct Place {
    id: RealServerId,
    check_port: u16,
}

/// Everybody that a virtual server answers for.
pub(super) struct Addressed {
    name: Arc<str>,
    ids: Vec<ServiceId>,
    ports: Ports,
    /// Ports of a group's members, each once.
    member_ports: BTreeSet<u16>,
}

impl Addressed {
    /// Packets of this protocol may be among those that it answers for.
    pub(super) fn carries(&self, protocol: Protocol) -> bool {
        self.ids.iter().any(|id| match id {
            ServiceId::Address { protocol: its, .. } => *its == protocol,
            ServiceId::FwMark { .. } => true,
        })
    }
}

/// Persistence as configured, before a member's family says how long its prefix is.
#[derive(Default)]
struct Affinity {
    timeout: Option<Duration>,
    v4: u8,
    v6: u8,
    engine: Option<PersistenceEngine>,
}

impl Affinity {
    fn of(&self, id: &ServiceId) -> Option<Persistence> {
        // The kernel takes a service for every port only if it is persistent.
        let every_port = matches!(id, ServiceId::Address { port: 0, .. });
        let timeout = self.timeout.or(every_port.then_some(PERSISTENCE))?;
        let prefix_len = if id.family() == Family::V4 { self.v4 } else { self.v6 };
        Some(Persistence { timeout, prefix_len, engine: self.engine.clone() })
    }
}

impl Build<'_> {
    pub(super) fn services<'t>(
        &mut self,
        settings: &Settings,
        written: impl Iterator<Item = Result<WrittenServer<'t>, ReadError>>,
        local_groups: &mut LocalGroups,
    ) -> Vec<plan::VirtualServer> {
        let groups: HashMap<&str, Vec<Member>> = settings
            .virtual_server_group
            .iter()
            .map(|group| (&*group.name.value, self.service_group(group)))
            .collect();
        let mut around = Around { settings, groups, local_groups, taken: Taken::default() };
        let mut services = Vec::new();
        for server in written {
            match server {
                Ok(written) => services.extend(self.virtual_server(&written, &mut around)),
                Err(e) => self.misread(&e),
            }
        }
        services
    }

    fn misread(&mut self, error: &ReadError) {
        self.findings.push(Finding::error(Code::BadValue, None, error.to_string()));
    }

    fn virtual_server(
        &mut self,
        written: &WrittenServer<'_>,
        around: &mut Around<'_>,
    ) -> Option<plan::VirtualServer> {
        let Around { settings, groups, local_groups, taken } = around;
        let vs = &written.settings;
        let title = vs.service.first()?;
        let g = &settings.global_defs;
        let forwarding = self.forwarding_of(vs.lb_kind.as_ref(), vs.lvs_method.as_ref());
        let forwarding = forwarding.unwrap_or(Forwarding::Masquerade);
        let protocol = protocol(vs.protocol.as_ref());
        let addressed = self.addressed(written, groups, protocol, forwarding, taken)?;
        let (scheduler, flags) = self.scheduler(vs);
        let affinity = self.affinity(vs, &addressed);
        let one_packet = self.one_packet(vs, protocol, addressed.ports);
        let timeouts = self.timeouts_of(vs, &addressed);
        let families: Vec<Family> = families(&addressed.ids);
        let (servers, beside) = self.real_servers(written, settings, forwarding, &addressed, &families)?;
        let (quorum, hysteresis) = self.quorum(vs, &servers);
        let sorry = self.sorry(vs, forwarding, &addressed, &families);
        let ha_suspend = vs.ha_suspend.filter(|word| {
            let usable = matches!(addressed.ports, Ports::Address(_));
            if !usable {
                self.without_effect(word, "`ha_suspend` of a service that is not one address");
            }
            usable
        });
        if !taken.names.insert(Arc::clone(&addressed.name)) {
            let message = format!("a second service that is called `{}`", addressed.name);
            self.warn(Code::Duplicate, title.span, &message, "the first one counts");
            self.leave_out(title);
            return None;
        }
        taken.ids.extend(&addressed.ids);
        let mut methods =
            servers.iter().map(|server| server.forwarding).chain(sorry.map(|sorry| sorry.forwarding));
        let full_nat = methods.any(|method| method == Forwarding::FullNat);
        // Those that full NAT reaches are of the family of their service.
        let family = *families.first()?;
        let local_addresses = self.local_addresses(vs, full_nat, family, local_groups);
        let members: Vec<VirtualService> = addressed
            .ids
            .iter()
            .map(|id| VirtualService {
                id: *id,
                scheduler: Some(scheduler),
                flags,
                persistence: affinity.of(id),
                one_packet,
                local_addresses: local_addresses.clone(),
            })
            .collect();
        let threshold = vs.panic_threshold.or(g.panic_threshold);
        let service = control::Service {
            name: addressed.name,
            members,
            servers,
            quorum,
            hysteresis,
            sorry,
            panic_threshold: threshold.and_then(|percent| u8::try_from(percent).ok()).unwrap_or(0),
            drain_deadline: vs.drain_deadline.or(g.drain_deadline).map(|s| s.0),
        };
        Some(plan::VirtualServer {
            service: service.into(),
            servers: beside,
            ha_suspend: ha_suspend.is_some(),
            omega: vs.omega,
            quorum_up: self.command_if(vs.quorum_up.as_ref()),
            quorum_down: self.command_if(vs.quorum_down.as_ref()),
            smtp_alert: vs.smtp_alert.or(g.smtp_alert_checker).or(g.smtp_alert).unwrap_or(false),
            timeouts,
        })
    }

    /// `None` after a finding that says why nobody is served.
    fn addressed(
        &mut self,
        written: &WrittenServer<'_>,
        groups: &HashMap<&str, Vec<Member>>,
        protocol: Protocol,
        forwarding: Forwarding,
        taken: &mut Taken,
    ) -> Option<Addressed> {
        let WrittenServer { settings: vs, real_servers } = written;
        let (first, more) = vs.service.split_first()?;
        let said = vs.ip_family.as_ref().map(|w| if &*w.value == "inet6" { Family::V6 } else { Family::V4 });
        let number = |word: Option<&Text>| word.and_then(|w| w.value.parse::<u32>().ok()).unwrap_or(0);
        let (members, ports) = match &*first.value {
            "fwmark" => {
                let member = Member::Mark { mark: FwMark::new(number(more.first()))?, family: None };
                (vec![member], Ports::Mark)
            }
            "group" => {
                let members = groups.get(&*more.first()?.value).cloned().unwrap_or_default();
                let ports = Ports::Group(common_port(&members));
                (members, ports)
            }
            ip => {
                let port = u16::try_from(number(more.first())).unwrap_or(0);
                let range = Range { first: ip.parse().ok()?, count: 1, port };
                (vec![Member::Addresses(range)], Ports::Address(port))
            }
        };
        let written = members.iter().find_map(|member| match member {
            Member::Addresses(range) => Some(Family::of(range.first)),
            Member::Mark { .. } => None,
        });
        if let Some(word) = &vs.ip_family
            && !members.iter().any(|m| matches!(m, Member::Mark { family: None, .. }))
            && written != said
        {
            self.without_effect(word, "`ip_family` is for services by mark");
        }
        let family =
            said.or(written).or_else(|| family_of_servers(*real_servers, forwarding)).unwrap_or(Family::V4);
        let mut ids = Vec::new();
        let mut twice = 0_usize;
        for id in members.iter().flat_map(|member| member.ids(protocol, family)) {
            taken.looked_at += 1;
            if taken.looked_at > MOST_MEMBERS {
                let message = format!("more than {MOST_MEMBERS} addresses of virtual servers");
                self.doubt(Code::OutOfRange, span_of(&vs.service), &message, "the service is not offered");
                return None;
            }
            if taken.ids.contains(&id) {
                twice += 1;
            } else {
                ids.push(id);
            }
        }
        let span = span_of(&vs.service);
        match (ids.first(), twice) {
            (Some(_), 0) => {}
            (Some(_), _) => {
                let message = format!("{twice} addresses of this group belong to a service above");
                self.doubt(Code::Duplicate, span, &message, "the first service has them");
            }
            (None, 0) => {
                let message = "a virtual_server_group without an address";
                self.doubt(Code::MissingSetting, span, message, "the service is not offered");
            }
            (None, _) => {
                let message = "a virtual server that is there already, of the same protocol";
                self.warn(Code::Duplicate, span, message, "the first one counts");
                self.leave_out(first);
            }
        }
        let name = match (ports, *ids.first()?) {
            (Ports::Group(_), id) => {
                let group = &more.first()?.value;
                match id {
                    ServiceId::Address { .. } => Arc::from(format!("{group} {protocol}")),
                    ServiceId::FwMark { .. } => Arc::clone(group),
                }
            }
            (_, id) => Arc::from(id.to_string()),
        };
        let port = |member: &Member| match member {
            Member::Addresses(range) => Some(range.port),
            Member::Mark { .. } => None,
        };
        let member_ports = members.iter().filter_map(port).collect();
        Some(Addressed { name, ids, ports, member_ports })
    }

    fn scheduler(&mut self, vs: &settings::VirtualServer) -> (Scheduler, SchedulerFlags) {
        let word = self.last_of(vs.lb_algo.as_ref(), vs.lvs_sched.as_ref());
        let written = word.and_then(|w| Some((w, w.value.parse().ok()?)));
        let scheduler = written.map_or(Scheduler::Wlc, |(word, written)| self.scheduler_of(word, written));
        let mut flag = |switch: Option<Located<bool>>, of: Scheduler, name: &str| {
            let Some(switch) = switch else { return false };
            let usable = scheduler.nearest_in_kernel() == of && word.is_some_and(|w| w.at < switch.at);
            if !usable {
                self.without_effect(&switch, &format!("`{name}` that does not follow `lb_algo {of}`"));
            }
            usable
        };
        let fallback = flag(vs.sh_fallback, Scheduler::Sh, "sh-fallback")
            | flag(vs.mh_fallback, Scheduler::Mh, "mh-fallback");
        let port = flag(vs.sh_port, Scheduler::Sh, "sh-port") | flag(vs.mh_port, Scheduler::Mh, "mh-port");
        let flags =
            SchedulerFlags { flag_1: vs.flag_1 || fallback, flag_2: vs.flag_2 || port, flag_3: vs.flag_3 };
        (scheduler, flags)
    }

    /// Of two spellings the one written last.
    fn last_of<'w>(&mut self, one: Option<&'w Text>, other: Option<&'w Text>) -> Option<&'w Text> {
        let (Some(a), Some(b)) = (one, other) else { return one.or(other) };
        let (before, last) = if a.at < b.at { (a, b) } else { (b, a) };
        let message = "a second spelling of a setting that is there already";
        self.warn(Code::Duplicate, last.span, message, "the last one counts");
        self.leave_out(before);
        Some(last)
    }

    /// A forwarding method in one of its two spellings.
    fn forwarding_of(&mut self, lb_kind: Option<&Words>, lvs_method: Option<&Words>) -> Option<Forwarding> {
        let first = |words: Option<&'_ Words>| words.and_then(|words| words.first()).cloned();
        let (one, other) = (first(lb_kind), first(lvs_method));
        let last = self.last_of(one.as_ref(), other.as_ref())?;
        let words = if other.as_ref().is_some_and(|w| w.at == last.at) { lvs_method } else { lb_kind };
        words.map(|words| self.forwarding(words))
    }

    /// `NAT|DR|FNAT|TUN [type ipip|gue port N|gre [nocsum|csum|remcsum]]`.
    fn forwarding(&mut self, words: &Words) -> Forwarding {
        let Some((method, options)) = words.split_first() else { return Forwarding::Masquerade };
        match &*method.value {
            "DR" => return Forwarding::Direct,
            "FNAT" => return self.full_nat(method),
            "TUN" => {}
            _ => return Forwarding::Masquerade,
        }
        let (mut kind, mut port, mut checksum) = ("ipip", None, None);
        let mut words = options.iter();
        while let Some(word) = words.next() {
            match &*word.value {
                "type" => kind = words.next().map_or(kind, |w| &w.value),
                "port" => port = words.next().map(|number| (word, number)),
                _ => checksum = Some(word),
            }
        }
        let written = checksum.map(|word| match &*word.value {
            "csum" => TunnelChecksum::Full,
            "remcsum" => TunnelChecksum::Remote,
            _ => TunnelChecksum::None,
        });
        let fits = match written {
            Some(TunnelChecksum::Remote) => kind == "gue",
            Some(_) => kind != "ipip",
            None => true,
        };
        if let Some(word) = checksum.filter(|_| !fits) {
            let message = format!("`{}` with tunnels of type {kind}", word.value);
            self.warn(Code::Conflict, word.span, &message, "it has no effect");
            self.write_instead(word, &[]);
        }
        if let Some((word, number)) = port.filter(|_| kind != "gue") {
            let message = format!("a port with tunnels of type {kind}");
            self.warn(Code::Conflict, word.span, &message, "it has no effect");
            self.write_instead(word, &[]);
            self.write_instead(number, &[]);
        }
        let checksum = written.filter(|_| fits).unwrap_or(TunnelChecksum::None);
        let port = port.and_then(|(_, number)| number.value.parse().ok());
        Forwarding::Tunnel(match (kind, port) {
            ("gre", _) => Tunnel::Gre { checksum },
            ("gue", Some(port)) => Tunnel::Gue { port, checksum },
            _ => Tunnel::Ipip,
        })
    }

    fn affinity(&mut self, vs: &settings::VirtualServer, addressed: &Addressed) -> Affinity {
        let mut affinity = Affinity { v4: 32, v6: 128, ..Affinity::default() };
        if let Some(word) = &vs.persistence_timeout {
            let written = value::seconds(&word.value).or_else(|e| e.ok_or(())).unwrap_or(PERSISTENCE);
            let whole = Duration::from_secs(written.as_secs().max(1));
            if whole != written {
                let text = whole.as_secs().to_string();
                self.warn(Code::OutOfRange, word.span, "persistence is of whole seconds", &text);
                self.write_instead(word, &[&text]);
            }
            affinity.timeout = Some(whole);
        }
        if let Some(word) = &vs.persistence_granularity {
            match granularity(&word.value, addressed) {
                Some((v4, v6)) => {
                    (affinity.v4, affinity.v6) = (v4, v6);
                    affinity.timeout = affinity.timeout.or(Some(PERSISTENCE));
                }
                None => {
                    let message = format!("`{}` is no netmask or prefix length of this service", word.value);
                    self.warn(Code::BadValue, word.span, &message, "every client by itself");
                    self.leave_out(word);
                }
            }
        }
        let every_port = addressed.ids.iter().any(|id| matches!(id, ServiceId::Address { port: 0, .. }));
        if every_port && affinity.timeout.is_none() {
            let message = "a service for every port has to be persistent: write `persistence_timeout`";
            self.doubt(Code::MissingSetting, span_of(&vs.service), message, "360 seconds");
        }
        if let Some(word) = &vs.persistence_engine {
            affinity.engine = PersistenceEngine::new(&word.value);
            if affinity.engine.is_none() {
                let most = PersistenceEngine::MAX_LEN;
                let message = format!("`{}` is longer than the {most} bytes the kernel takes", word.value);
                self.warn(Code::OutOfRange, word.span, &message, "no engine");
                self.leave_out(word);
            } else if self.plane == PlaneChoice::Engine {
                self.without_effect(
                    word,
                    "`persistence_engine` is of the kernel's IPVS, not of Buoy's own engine",
                );
                affinity.engine = None;
            } else if affinity.timeout.is_none() && !every_port {
                self.without_effect(word, "`persistence_engine` without `persistence_timeout`");
                affinity.engine = None;
            }
        }
        affinity
    }

    fn one_packet(&mut self, vs: &settings::VirtualServer, protocol: Protocol, ports: Ports) -> bool {
        let Some(word) = vs.ops else { return false };
        let usable = protocol == Protocol::Udp || matches!(ports, Ports::Mark);
        if !usable {
            self.without_effect(
                &word,
                &format!("`ops` is for UDP and marks, and this service is {protocol}"),
            );
        }
        usable
    }

    /// The servers, and what is beside each; `None` when there is none.
    fn real_servers(
        &mut self,
        written: &WrittenServer<'_>,
        settings: &Settings,
        forwarding: Forwarding,
        addressed: &Addressed,
        families: &[Family],
    ) -> Option<(Vec<control::Server>, Vec<plan::RealServer>)> {
        let WrittenServer { settings: vs, real_servers } = written;
        let number = real_servers.count();
        let mut servers: Vec<control::Server> = Vec::with_capacity(number);
        let mut beside = Vec::with_capacity(number);
        let mut known = BTreeSet::new();
        for rs in real_servers.iter() {
            let rs = match rs {
                Ok(rs) => rs,
                Err(error) => {
                    self.misread(&error);
                    continue;
                }
            };
            let Some((server, place)) = self.real_server(&rs, vs, forwarding, addressed, families) else {
                continue;
            };
            if !known.insert(server.id) {
                let message = format!("a second real server {}", server.id);
                self.warn(Code::Duplicate, span_of(&rs.server), &message, "the first one counts");
                rs.server.iter().take(1).for_each(|word| self.leave_out(word));
                continue;
            }
            let outer = Checked {
                address: server.id.address,
                port: place.check_port,
                pace: rs.pace().within(vs.pace()),
                service_delay_loop: vs.delay_loop,
                alpha: rs.alpha.unwrap_or(vs.alpha),
                virtualhost: rs.virtualhost.as_ref().or(vs.virtualhost.as_ref()),
                log_all_failures: settings.global_defs.checker_log_all_failures,
                by_way_of_service: !matches!(addressed.ports, Ports::Mark)
                    && !changes_ports(server.forwarding),
            };
            let checks = self.checks(&rs, &outer);
            let g = &settings.global_defs;
            beside.push(plan::RealServer {
                notify_up: self.command_if(rs.notify_up.as_ref()),
                notify_down: self.command_if(rs.notify_down.as_ref()),
                smtp_alert: rs.smtp_alert.or(g.smtp_alert_checker).or(g.smtp_alert).unwrap_or(true),
                checks,
            });
            // Nothing would ever say that a server without checks is up.
            let alpha = beside.last().is_some_and(|rs| rs.checks.iter().any(|check| check.alpha));
            servers.push(control::Server { alpha, ..server });
        }
        if servers.is_empty() {
            if number != 0 {
                let message = "no usable real server";
                self.doubt(Code::MissingSetting, span_of(&vs.service), message, "the service is not offered");
            }
            return None;
        }
        let mixed = families.len() > 1;
        if mixed && servers.iter().any(|s| !matches!(s.forwarding, Forwarding::Tunnel(_))) {
            let message = "a service of both families takes tunnels to every real server: split the group, or \
                           write `lb_kind TUN`";
            self.doubt(Code::Conflict, span_of(&vs.service), message, "the service is not offered");
            return None;
        }
        Some((servers, beside))
    }

    fn real_server(
        &mut self,
        rs: &settings::RealServer,
        vs: &settings::VirtualServer,
        forwarding: Forwarding,
        addressed: &Addressed,
        families: &[Family],
    ) -> Option<(control::Server, Place)> {
        let forwarding =
            self.forwarding_of(rs.lb_kind.as_ref(), rs.lvs_method.as_ref()).unwrap_or(forwarding);
        let place = self.place(&rs.server, forwarding, addressed, families)?;
        let upper = count(rs.uthreshold, 0);
        let lower = rs.lthreshold.filter(|lower| {
            let fits = count(Some(lower.value), 0) <= upper;
            if !fits {
                let message = "`lthreshold` above `uthreshold`, which the kernel refuses";
                self.without_effect(lower, message);
            }
            fits
        });
        let server = control::Server {
            id: place.id,
            forwarding,
            weight: Weight::clamped(rs.weight.or(vs.weight).unwrap_or(1)),
            upper_threshold: upper,
            lower_threshold: count(lower.map(|l| l.value), 0),
            inhibit_on_failure: rs.inhibit_on_failure.unwrap_or(vs.inhibit_on_failure),
            alpha: false,
            mark: None,
        };
        Some((server, place))
    }

    /// `IP [PORT]` of a real server or a sorry server; `None` after a finding.
    fn place(
        &mut self,
        words: &Words,
        forwarding: Forwarding,
        addressed: &Addressed,
        families: &[Family],
    ) -> Option<Place> {
        let first = words.first()?;
        let address: IpAddr = first.value.parse().ok()?;
        let reached = RealServer::new(RealServerId { address, port: 0 }, forwarding, Weight::ONE);
        if !families.iter().any(|family| reached.fits(*family)) {
            let message = format!("{address} is not of the family of its service, which takes a tunnel");
            self.warn(Code::Conflict, first.span, &message, "it is skipped");
            self.leave_out(first);
            return None;
        }
        let word = words.get(1);
        let written: u16 = word.and_then(|w| w.value.parse().ok()).unwrap_or(0);
        let translated = changes_ports(forwarding);
        let (port, check_port) = match addressed.ports {
            Ports::Address(port) if written == 0 => (port, port),
            Ports::Address(_) if translated => (written, written),
            Ports::Address(port) => {
                if let Some(word) = word.filter(|_| written != port) {
                    let message = format!("only NAT changes ports, and the service has port {port}");
                    self.warn(Code::Conflict, word.span, &message, &format!("port {port}"));
                    self.write_instead(word, &[&port.to_string()]);
                }
                (port, port)
            }
            Ports::Group(common) => {
                let of_a_member = |port| addressed.member_ports.contains(&port);
                if let Some(word) = word.filter(|_| written != 0 && !translated && !of_a_member(written)) {
                    let message = "only NAT changes ports, and no member of the group has this one";
                    self.doubt(Code::Conflict, word.span, message, "the port is for the checks alone");
                }
                let check_port = if written == 0 { common.unwrap_or(0) } else { written };
                (if translated { written } else { 0 }, check_port)
            }
            Ports::Mark => {
                if let Some(word) = word.filter(|_| written != 0 && !translated) {
                    let message = "only NAT changes ports, and a service by mark has every port";
                    self.doubt(Code::Conflict, word.span, message, "the port is for the checks alone");
                }
                (if translated { written } else { 0 }, written)
            }
        };
        Some(Place { id: RealServerId { address, port }, check_port })
    }

    fn quorum(&mut self, vs: &settings::VirtualServer, servers: &[control::Server]) -> (u32, u32) {
        let total: u64 = servers.iter().map(|s| u64::from(s.weight.get())).sum();
        let total = u32::try_from(total).unwrap_or(u32::MAX).max(1);
        let mut quorum = count(vs.quorum.map(|q| q.value), 1);
        if let Some(word) = vs.quorum.filter(|_| quorum > total) {
            let message = format!("a quorum of {quorum}, and the weights are {total} together");
            self.warn(Code::OutOfRange, word.span, &message, &total.to_string());
            self.write_instead(&word, &[&total.to_string()]);
            quorum = total;
        }
        let mut hysteresis = count(vs.hysteresis.map(|h| h.value), 0);
        if let Some(word) = vs.hysteresis.filter(|_| hysteresis >= quorum) {
            hysteresis = quorum.saturating_sub(1);
            let message = format!("a hysteresis that is not below the quorum, which is {quorum}");
            self.warn(Code::OutOfRange, word.span, &message, &hysteresis.to_string());
            self.write_instead(&word, &[&hysteresis.to_string()]);
        }
        (quorum, hysteresis)
    }

    fn sorry(
        &mut self,
        vs: &settings::VirtualServer,
        forwarding: Forwarding,
        addressed: &Addressed,
        families: &[Family],
    ) -> Option<control::Sorry> {
        let method = vs.sorry_server_lvs_method.as_ref();
        let found = vs.sorry_server.as_ref().and_then(|words| {
            let forwarding = method.map_or(forwarding, |words| self.forwarding(words));
            let place = self.place(words, forwarding, addressed, families)?;
            Some(control::Sorry { id: place.id, forwarding, inhibit: vs.sorry_server_inhibit.is_some() })
        });
        if found.is_none() {
            let message = "a setting of a sorry server, and there is none";
            method.and_then(|words| words.first()).into_iter().for_each(|w| self.without_effect(w, message));
            vs.sorry_server_inhibit.iter().for_each(|word| self.without_effect(word, message));
        }
        found
    }
}

const fn changes_ports(forwarding: Forwarding) -> bool {
    matches!(forwarding, Forwarding::Masquerade | Forwarding::FullNat)
}

fn protocol(word: Option<&Text>) -> Protocol {
    match word {
        Some(word) if word.value.eq_ignore_ascii_case("TCP") => Protocol::Tcp,
        Some(word) if word.value.eq_ignore_ascii_case("SCTP") => Protocol::Sctp,
        _ => Protocol::Udp,
    }
}

/// Lengths of prefixes, IPv4 and IPv6.
fn granularity(word: &str, addressed: &Addressed) -> Option<(u8, u8)> {
    let families = families(&addressed.ids);
    if let Ok(IpAddr::V4(mask)) = word.parse() {
        let mask = mask.to_bits();
        let whole = mask.leading_ones() == mask.count_ones() && mask != 0;
        let len = u8::try_from(mask.count_ones()).ok()?;
        return (whole && families.contains(&Family::V4)).then_some((len, 128));
    }
    let len: u8 = word.parse().ok()?;
    let most = families.iter().map(|family| family.bits()).max()?;
    (len <= most).then_some((len.min(32), len))
}

fn families(ids: &[ServiceId]) -> Vec<Family> {
    let has = |family: &Family| ids.iter().any(|id| id.family() == *family);
    [Family::V4, Family::V6].into_iter().filter(has).collect()
}

/// The port of all members, unless it is every port.
fn common_port(members: &[Member]) -> Option<u16> {
    let mut ports = members.iter().map(|member| match member {
        Member::Addresses(range) => range.port,
        Member::Mark { .. } => 0,
    });
    let first = ports.next().filter(|port| *port != 0)?;
    ports.all(|port| port == first).then_some(first)
}

/// A mark says nothing of a family: that of its servers, as far as they are not tunnelled to.
fn family_of_servers(real_servers: RealServers<'_>, forwarding: Forwarding) -> Option<Family> {
    let tunnelled = |rs: &settings::RealServer| {
        let written = [&rs.lvs_method, &rs.lb_kind].into_iter().flatten().filter_map(|words| words.first());
        let own = written.max_by_key(|word| word.at);
        own.map_or(matches!(forwarding, Forwarding::Tunnel(_)), |word| &*word.value == "TUN")
    };
    let address = |rs: &settings::RealServer| -> Option<IpAddr> { rs.server.first()?.value.parse().ok() };
    let mut read = real_servers.iter().filter_map(Result::ok).filter(|rs| !tunnelled(rs));
    read.find_map(|rs| address(&rs)).map(Family::of)
}
