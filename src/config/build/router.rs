//! One virtual router: election, addresses, and the rules between its settings.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use buoy_vrrp::{
    Authentication, ChecksumForm, Family, GarpSchedule, OldUnicastChecksum, Preempt, Priority,
    RouterSettings, StartState, Transport, Version, Vrid,
};

use super::Build;
use super::entry::span_of;
use super::global::extra_if;
use super::tracking::{Lists, count};
use super::transport::vmac_words;
use crate::config::finding::{Code, Finding};
use crate::config::plan::{Notify, Router};
use crate::config::schema::Entries;
use crate::config::settings::{Global, Instance, Located, Seconds, State, SyncGroup, VersionWord, Words};
use crate::config::source::Span;
use crate::config::value;
use crate::host::desired::Address;

/// Most addresses an advertisement can list (its count has one byte).
const MOST_ADDRESSES: usize = 255;
/// Longest interval VRRPv3 can say: 12 bits of centiseconds.
const MOST_V3_INTERVAL: Duration = Duration::from_millis(40_950);
/// Seconds of kernel lifetime of a VIP.
const VIP_LEASE: i64 = 10;

/// Of an instance that has none: it is read to the end and then left out.
const STAND_IN: Vrid = Vrid::new(1).expect("not 0");

impl Build<'_> {
    pub(super) fn routers(
        &mut self,
        instances: &[Instance],
        groups: &[SyncGroup],
        g: &Global,
    ) -> Vec<Router> {
        let mut routers = Vec::with_capacity(instances.len());
        for instance in instances {
            let group =
                groups.iter().find(|group| group.group.iter().any(|m| m.value == instance.name.value));
            routers.extend(self.router(instance, group, g));
        }
        self.identities(instances, &routers);
        routers
    }

    fn router(&mut self, i: &Instance, group: Option<&SyncGroup>, g: &Global) -> Option<Router> {
        let written = i.virtual_router_id.and_then(|v| Vrid::new(u8::try_from(v.value).ok()?));
        if written.is_none() {
            let message = format!("`vrrp_instance {}` has no `virtual_router_id`", i.name.value);
            self.findings.push(Finding::error(Code::MissingSetting, i.name.span, message));
        }
        // The rest is looked at all the same, for what else there is to say about it.
        let vrid = written.unwrap_or(STAND_IN);
        let strict = i.strict_mode.or(g.vrrp_strict).unwrap_or(false);
        let (priority, mut start) = self.rank(i, strict);
        let lines = self.address_lines(i);
        let family = lines.first().map_or_else(|| self.family_without(i), |(_, a)| Family::of(a.ip));
        let version = self.version(i, g, family);
        let (addresses, excluded) = self.addresses(i, lines, family);
        let transport = self.transport(i, g, family, strict);
        let unicast = matches!(transport, Transport::Unicast(_));
        let source = self.source(i, family, unicast);
        self.interface_of(i, unicast && source.is_some());
        self.presence(i, version, strict, addresses.is_empty());
        let authentication = self.authentication(i, version, strict);
        if start == StartState::Master && matches!(authentication, Authentication::AuthenticationHeader(_)) {
            let span = i.state.map_or(i.name.span, |state| state.span);
            let message = "`state MASTER` does not go with AH";
            // Without `priority` the word is what makes it 255.
            if let Some(state) = i.state.as_ref().filter(|_| i.priority.is_some()) {
                self.warn(Code::Conflict, span, message, "BACKUP");
                self.write_instead(state, &["BACKUP"]);
            } else {
                self.doubt(Code::Conflict, span, message, "BACKUP");
            }
            start = StartState::Backup;
        }
        let preempt = self.preempt(i, start, priority, strict);
        self.overridden(i, strict, priority);
        self.read_as_on(i.skip_check_adv_addr);
        if let Some(addresses) = addresses.first().filter(|_| !unicast && family == Family::V6) {
            self.first_address(i, addresses.ip);
        }
        let lease = i.vip_lease.or(g.vip_lease).unwrap_or(VIP_LEASE);
        let election = RouterSettings {
            name: Arc::clone(&i.name.value),
            vrid,
            family,
            version,
            priority,
            start,
            advert_interval: self.interval(i, version),
            preempt,
            down_timer_adverts: self.down_timer_adverts(i, g, strict),
            advertised: addresses.iter().map(|a| a.ip).collect(),
            transport,
            authentication,
            checksum: match i.v3_checksum_as_v2.unwrap_or(g.v3_checksum_as_v2.is_some()) {
                true => ChecksumForm::AsV2,
                false => ChecksumForm::PseudoHeader,
            },
            old_unicast_checksum: match i.old_unicast_checksum.as_deref() {
                None => OldUnicastChecksum::Automatic,
                Some([]) => OldUnicastChecksum::Always,
                Some(_) => OldUnicastChecksum::Never,
            },
            strict,
            // Any valid word turns the instance's own setting on (keepalived does so).
            skip_check_adv_addr: i.skip_check_adv_addr.is_some() || g.vrrp_skip_check_adv_addr == Some(true),
            lower_prio_no_advert: strict || either(i.lower_prio_no_advert, g.vrrp_lower_prio_no_advert),
            higher_prio_send_advert: !strict
                && either(i.higher_prio_send_advert, g.vrrp_higher_prio_send_advert),
            owner_ignore_adverts: priority.is_owner()
                && (strict || either(i.owner_ignore_adverts, g.vrrp_owner_ignore_adverts)),
            timer_expired_backup: self.timer_expired_backup(i, preempt),
            garp: garp(i, g, strict),
            vip_lease: u64::try_from(lease).ok().filter(|s| *s > 0).map(Duration::from_secs),
            make_before_break: i.make_before_break.or(g.make_before_break).unwrap_or(true),
            last_announced: last_announced(i, &addresses, &excluded),
        };
        let router = Router {
            vmac: self.vmac(i, strict, unicast),
            interface: i.interface.as_ref().map(|w| Arc::clone(&w.value)),
            source,
            track_source: i.track_src_ip.is_some() && source.is_some(),
            addresses,
            excluded,
            routes: self.virtual_routes(&i.virtual_routes),
            rules: self.virtual_rules(&i.virtual_rules),
            trackers: self.trackers(&Lists::from(i)),
            dont_track_primary: i.dont_track_primary,
            promote_secondaries: i.promote_secondaries,
            accept: self.accept(i, version, strict, priority),
            unicast_fault_no_peer: i.unicast_fault_no_peer.is_some() && unicast,
            garp_extra_if: i.garp_extra_if.as_ref().or(g.vrrp_garp_extra_if.as_ref()).and_then(extra_if),
            rx_buffer: i.kernel_rx_buf_size.and_then(|n| u32::try_from(n).ok()),
            notify: self.notify(i),
            smtp_alert: i.smtp_alert.or(g.smtp_alert_vrrp).or(g.smtp_alert).unwrap_or(false),
            notify_priority_changes: i
                .notify_priority_changes
                .or(group.and_then(|group| group.notify_priority_changes))
                .or(g.vrrp_notify_priority_changes)
                .unwrap_or(false),
            notify_deleted: i.notify_deleted.as_ref().map(|words| match words.is_empty() {
                true => None,
                false => self.command(words),
            }),
            election,
        };
        written.map(|_| router)
    }

    /// Priority, and what `state` comes to.
    fn rank(&mut self, i: &Instance, strict: bool) -> (Priority, StartState) {
        let state = i.state;
        let priority = match (i.priority, state.map(|s| s.value)) {
            (Some(written), _) => u8::try_from(written.value).map_or(Priority::DEFAULT, Priority::new),
            (None, Some(State::Master)) => Priority::OWNER,
            (None, _) => Priority::DEFAULT,
        };
        let owner = if priority.is_owner() { StartState::Master } else { StartState::Backup };
        let Some(state) = state else { return (priority, owner) };
        let wanted = match state.value {
            State::Master => StartState::Master,
            State::Backup => StartState::Backup,
        };
        if strict && wanted != owner {
            let assumed = if owner == StartState::Master { "MASTER" } else { "BACKUP" };
            self.warn(Code::Conflict, state.span, "in strict mode `state` follows the priority", assumed);
            self.write_instead(&state, &[assumed]);
            return (priority, owner);
        }
        (priority, wanted)
    }

    fn version(&mut self, i: &Instance, g: &Global, family: Family) -> Version {
        let written = i.version.map(|v| v.value).or(g.vrrp_version);
        match (family, written) {
            (Family::V4, Some(VersionWord::Three)) => Version::V3,
            (Family::V4, _) => Version::V2,
            (Family::V6, _) => {
                if let Some(word) = i.version.filter(|v| v.value == VersionWord::Two) {
                    self.warn(Code::Conflict, word.span, "VRRPv2 has no IPv6", "version 3");
                    self.write_instead(&word, &["3"]);
                }
                Version::V3
            }
        }
    }

    fn interval(&mut self, i: &Instance, version: Version) -> Duration {
        let Some(written) = i.advert_int else { return Duration::from_secs(1) };
        let wanted = written.value.0;
        let taken = match version {
            Version::V2 => Duration::from_secs(round(wanted, 1_000_000).max(1)),
            Version::V3 => Duration::from_millis(round(wanted, 10_000).max(1) * 10).min(MOST_V3_INTERVAL),
        };
        if taken != wanted {
            let message = match version {
                Version::V2 => "VRRPv2 counts its interval in whole seconds",
                Version::V3 => "VRRPv3 counts its interval in hundredths of a second, up to 40.95",
            };
            let seconds = value::format_seconds(taken);
            self.warn(Code::OutOfRange, written.span, message, &format!("{seconds} seconds"));
            self.write_instead(&written, &[&seconds]);
        }
        taken
    }

    /// The lines of `virtual_ipaddress` that are of use.
    fn address_lines<'i>(&mut self, i: &'i Instance) -> Vec<(&'i Words, Address)> {
        let dev = i.interface.as_ref().map(|w| &w.value);
        let mut lines = Vec::with_capacity(i.virtual_ipaddress.len());
        for words in &i.virtual_ipaddress {
            let line = self.address(words, dev, Entries::VirtualAddresses);
            lines.extend(line.map(|line| (words, line.address)));
        }
        lines
    }

    /// Addresses that are advertised, and those that only move along.
    fn addresses(
        &mut self,
        i: &Instance,
        lines: Vec<(&Words, Address)>,
        family: Family,
    ) -> (Vec<Address>, Vec<Address>) {
        let dev = i.interface.as_ref().map(|w| Arc::clone(&w.value));
        let mut addresses: Vec<Address> = Vec::new();
        let mut excluded: Vec<Address> = Vec::new();
        let mut too_many = None;
        for (words, address) in lines {
            let address = self.on_vmac(i, address);
            if Family::of(address.ip) != family {
                self.twice(words, &format!("an address that is not {family}, as the first one is"));
            } else if addresses.iter().chain(&excluded).any(|a| a.ip == address.ip) {
                self.twice(words, "an address that is there already");
            } else if addresses.len() < MOST_ADDRESSES {
                addresses.push(address);
            } else {
                too_many = too_many.or_else(|| span_of(words));
                excluded.push(address);
            }
        }
        if let Some(span) = too_many {
            let message = "an advertisement lists at most 255 addresses";
            let assumed = "this one and all behind it are moved without being advertised";
            self.doubt(Code::OutOfRange, span, message, assumed);
        }
        for words in &i.virtual_ipaddress_excluded {
            let Some(line) = self.address(words, dev.as_ref(), Entries::VirtualAddresses) else { continue };
            let address = self.on_vmac(i, line.address);
            if addresses.iter().chain(&excluded).any(|a| a.ip == address.ip) {
                self.twice(words, "an address that is there already");
            } else {
                excluded.push(address);
            }
        }
        // A plan stays for as long as the daemon runs, often with one address in each of many routers.
        addresses.shrink_to_fit();
        excluded.shrink_to_fit();
        (addresses, excluded)
    }

    /// Family of an instance without addresses: that of its peers, else of its source.
    fn family_without(&self, i: &Instance) -> Family {
        let peers = i.unicast_peer.iter().flatten().filter_map(|words| words.first());
        let sources = i.unicast_src_ip.iter().chain(&i.mcast_src_ip);
        let ip = peers.chain(sources).find_map(|word| word.value.parse::<IpAddr>().ok());
        ip.map_or(Family::V4, Family::of)
    }

    /// RFC 9568 §5.2.9; keepalived says so too.
    fn first_address(&mut self, i: &Instance, ip: IpAddr) {
        let link_local = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
        if !link_local {
            let message = format!("the first address of `{}` should be link-local", i.name.value);
            let span = address_span(i, ip).unwrap_or(i.name.span);
            self.doubt(Code::Conflict, span, &message, "it is advertised as it stands");
        }
    }

    /// Settings that strict mode or the priority decides.
    fn overridden(&mut self, i: &Instance, strict: bool, priority: Priority) {
        if strict {
            if let Some(word) = i.lower_prio_no_advert.filter(|word| !word.value) {
                self.without_effect(&word, "in strict mode an advert of lower priority is never answered");
            }
            if let Some(word) = i.higher_prio_send_advert.filter(|word| word.value) {
                self.without_effect(&word, "in strict mode no advert is sent before yielding");
            }
            if let Some(word) = i.garp_lower_prio_repeat.filter(|word| word.value != 0) {
                self.without_effect(
                    &word,
                    "in strict mode an advert of lower priority causes no announcements",
                );
            }
        }
        if let Some(word) = i.owner_ignore_adverts {
            if !priority.is_owner() && word.value {
                self.without_effect(&word, "`owner_ignore_adverts` is for priority 255");
            } else if strict && priority.is_owner() && !word.value {
                self.without_effect(&word, "in strict mode the owner ignores adverts");
            }
        }
    }

    pub(super) fn taken_for_on<T>(&mut self, word: &Located<T>) {
        let message = "keepalived takes any word here for `on`";
        self.warn(Code::BadValue, word.span, message, "on; to have it off, leave the line out");
    }

    /// A switch that any valid word turns on (keepalived does so).
    fn read_as_on(&mut self, switch: Option<Located<bool>>) {
        if let Some(word) = switch.filter(|word| !word.value) {
            self.taken_for_on(&word);
            self.write_instead(&word, &["on"]);
        }
    }

    /// `use_vmac_addr`: addresses on other interfaces have macvlans of their own.
    fn on_vmac(&self, i: &Instance, mut address: Address) -> Address {
        let elsewhere = i.interface.as_ref().is_none_or(|w| w.value != address.dev);
        address.own_vmac |= i.use_vmac_addr && elsewhere;
        address
    }

    fn interface_of(&mut self, i: &Instance, has_unicast_source: bool) {
        match &i.interface {
            Some(name) if &*name.value == "lo" => {
                let message = "VRRP does not run on the loopback interface";
                self.findings.push(Finding::error(Code::Conflict, name.span, message));
            }
            Some(name) => self.interface(name),
            None if has_unicast_source => {}
            None => {
                let message = format!(
                    "`vrrp_instance {}` has no `interface`; only unicast with `unicast_src_ip` can do without",
                    i.name.value
                );
                self.findings.push(Finding::error(Code::MissingSetting, i.name.span, message));
            }
        }
    }

    /// Whether an instance may be without addresses.
    fn presence(&mut self, i: &Instance, version: Version, strict: bool, empty: bool) {
        if !empty || i.no_virtual_ipaddress && !strict {
            return;
        }
        let message = format!("`vrrp_instance {}` has no virtual address", i.name.value);
        self.findings.push(if version == Version::V3 || strict {
            Finding::error(Code::MissingSetting, i.name.span, message)
        } else {
            Finding::warning(Code::MissingSetting, i.name.span, message)
                .assume("it runs without")
                .taken_as_written()
        });
    }

    fn preempt(&mut self, i: &Instance, start: StartState, priority: Priority, strict: bool) -> Preempt {
        let master = start == StartState::Master || priority.is_owner();
        if let Some(word) = i.nopreempt {
            if let Some(preempt) = &i.preempt {
                let message = "`preempt` and `nopreempt` in one instance";
                self.warn(Code::Conflict, word.span, message, "nopreempt");
                self.leave_out(preempt);
            }
            if master {
                let message = "`nopreempt` does not go with `state MASTER` or priority 255";
                self.warn(Code::Conflict, word.span, message, "it preempts");
                self.leave_out(&word);
            } else {
                if let Some(delay) = i.preempt_delay {
                    let message = "`preempt_delay` does not go with `nopreempt`";
                    self.warn(Code::Conflict, delay.span, message, "`nopreempt`");
                    self.leave_out(&delay);
                }
                return Preempt::No;
            }
        }
        let Some(delay) = i.preempt_delay.filter(|d| !d.value.0.is_zero()) else { return Preempt::Yes };
        if strict || master {
            let message = "`preempt_delay` does not go with `state MASTER`, priority 255 or strict mode";
            self.warn(Code::Conflict, delay.span, message, "no delay");
            self.leave_out(&delay);
            return Preempt::Yes;
        }
        Preempt::After(delay.value.0)
    }

    fn down_timer_adverts(&mut self, i: &Instance, g: &Global, strict: bool) -> u8 {
        let written = i.down_timer_adverts.map(|n| n.value).or(g.vrrp_down_timer_adverts).unwrap_or(3);
        if strict && written != 3 {
            let message = "in strict mode three adverts are missed";
            match i.down_timer_adverts {
                Some(word) => {
                    self.warn(Code::Conflict, word.span, message, "3");
                    self.write_instead(&word, &["3"]);
                }
                None => self.doubt(Code::Conflict, i.name.span, message, "3"),
            }
            return 3;
        }
        u8::try_from(written).unwrap_or(3)
    }

    fn timer_expired_backup(&mut self, i: &Instance, preempt: Preempt) -> Option<Priority> {
        let words = i.timer_expired_backup.as_ref()?;
        if preempt != Preempt::No {
            self.without_effect(words, "`timer_expired_backup` needs `nopreempt`");
            return None;
        }
        let peer = words.value.first().and_then(|w| value::integer(&w.value).ok()).unwrap_or(254);
        u8::try_from(peer).ok().map(Priority::new)
    }

    fn accept(&mut self, i: &Instance, version: Version, strict: bool, priority: Priority) -> bool {
        if let Some(word) = i.no_accept.filter(|_| i.accept.is_some()) {
            let message = "`accept` and `no_accept` in one instance";
            self.warn(Code::Conflict, word.span, message, "no_accept");
            i.accept.iter().for_each(|accept| self.leave_out(accept));
        }
        if let Some(word) = i.accept.filter(|_| strict && version == Version::V2) {
            self.without_effect(&word, "VRRPv2 in strict mode has no `accept`");
            return priority.is_owner();
        }
        i.no_accept.is_none() && (!strict || priority.is_owner() || i.accept.is_some())
    }

    fn notify(&mut self, i: &Instance) -> Notify {
        Notify {
            master: self.command_if(i.notify_master.as_ref()),
            backup: self.command_if(i.notify_backup.as_ref()),
            fault: self.command_if(i.notify_fault.as_ref()),
            stop: self.command_if(i.notify_stop.as_ref()),
            any: self.command_if(i.notify.as_ref()),
            master_rx_lower_pri: self.command_if(i.notify_master_rx_lower_pri.as_ref()),
        }
    }

    fn virtual_routes(&mut self, lines: &[Words]) -> Vec<crate::host::desired::Route> {
        let mut routes = Vec::new();
        for words in lines {
            match self.route(words, Entries::VirtualRoutes) {
                Some(line) if routes.contains(&line.route) => {
                    self.twice(words, "a route that is there already")
                }
                Some(line) => routes.push(line.route),
                None => {}
            }
        }
        routes
    }

    fn virtual_rules(&mut self, lines: &[Words]) -> Vec<crate::host::desired::Rule> {
        let mut rules = Vec::new();
        for words in lines {
            match self.rule(words, Entries::VirtualRules) {
                Some(line) if rules.contains(&line.rule) => self.twice(words, "a rule that is there already"),
                Some(line) => rules.push(line.rule),
                None => {}
            }
        }
        rules
    }

    /// Two routers that nobody could tell apart on the wire.
    fn identities(&mut self, instances: &[Instance], routers: &[Router]) {
        let spans: HashMap<&str, _> = instances.iter().map(|i| (&*i.name.value, i)).collect();
        let mut seen: HashMap<(Option<&str>, Family, Vrid), Vec<&Router>> = HashMap::new();
        for router in routers {
            let key = (router.interface.as_deref(), router.election.family, router.election.vrid);
            let same = seen.entry(key).or_default();
            if let Some(other) = same.iter().find(|other| overlap(other, router)) {
                let message = format!(
                    "VRID {} of {} is that of `{}` as well: same interface, family and transport",
                    router.election.vrid,
                    router.name(),
                    other.name()
                );
                let span = spans.get(&**router.name()).and_then(|i| i.virtual_router_id).map(|v| v.span);
                self.findings.push(Finding::error(Code::Duplicate, span, message));
            }
            same.push(router);
        }
        let mut held: HashMap<(IpAddr, &str), &Router> = HashMap::new();
        for router in routers {
            for address in router.addresses.iter().chain(&router.excluded) {
                let Some(other) = held.insert((address.ip, &address.dev), router) else { continue };
                if other.name() != router.name() {
                    let span = spans.get(&**router.name()).and_then(|i| address_span(i, address.ip));
                    let message = format!("{} is an address of `{}` as well", address.ip, other.name());
                    self.doubt(Code::Duplicate, span, &message, "both hold it");
                }
            }
        }
    }

    /// Two virtual MAC interfaces that were given the same name: as in keepalived the second gets an automatic one.
    pub(super) fn vmac_names(&mut self, instances: &[Instance], routers: &mut [Router]) {
        let mut taken: HashMap<Arc<str>, Arc<str>> = HashMap::new();
        for router in routers {
            let owner = Arc::clone(router.name());
            let Some(vmac) = &mut router.vmac else { continue };
            let Some(name) = vmac.name.clone() else { continue };
            let Some(other) = taken.get(&name) else {
                taken.insert(name, owner);
                continue;
            };
            let written = instances.iter().find(|i| i.name.value == owner);
            let span = written.and_then(|i| i.use_vmac.as_ref()).and_then(span_of);
            let message = format!("the VMAC of `{other}` is called `{name}` already");
            self.warn(Code::Duplicate, span, &message, "it gets an automatic name");
            let words = written.and_then(|i| i.use_vmac.as_ref());
            let naming = words.map(|words| vmac_words(words).naming).unwrap_or_default();
            naming.into_iter().for_each(|word| self.write_instead(word, &[]));
            vmac.name = None;
        }
    }
}

/// What the neighbours are told of last: not what nobody asks for, and nothing where both directors use one MAC.
fn last_announced(i: &Instance, addresses: &[Address], excluded: &[Address]) -> Option<IpAddr> {
    let shares_mac = i.use_vmac.is_some() || i.use_vmac_addr;
    let all = || addresses.iter().chain(excluded);
    if shares_mac || all().any(|address| address.own_vmac) {
        return None;
    }
    all().rfind(|address| &*address.dev != "lo").map(|address| address.ip)
}

fn overlap(a: &Router, b: &Router) -> bool {
    match (&a.election.transport, &b.election.transport) {
        (Transport::Multicast { group: a }, Transport::Multicast { group: b }) => a == b,
        (Transport::Unicast(x), Transport::Unicast(y)) => {
            (a.interface.is_some() || a.source == b.source)
                && x.peers.iter().any(|p| y.peers.iter().any(|q| p.address == q.address))
        }
        _ => false,
    }
}

/// Where an address of an instance is written.
fn address_span(i: &Instance, ip: IpAddr) -> Option<Span> {
    let mut first_words =
        i.virtual_ipaddress.iter().chain(&i.virtual_ipaddress_excluded).filter_map(|w| w.first());
    first_words
        .find(|word| value::prefix(&word.value).is_some_and(|(written, _)| written == ip))
        .map(|w| w.span)
}

/// The instance's own setting, else the general one.
fn either(own: Option<Located<bool>>, general: Option<bool>) -> bool {
    own.map(|own| own.value).or(general).unwrap_or(false)
}

/// `value` in units of so many microseconds, rounded.
fn round(value: Duration, unit: u64) -> u64 {
    let micros = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
    micros.saturating_add(unit / 2) / unit
}

fn garp(i: &Instance, g: &Global, strict: bool) -> GarpSchedule {
    let seconds = |own: Option<Seconds>, global: Option<Seconds>| own.or(global).map(|s| s.0);
    let minimal = g.vrrp_min_garp == Some(true);
    let (default_repeat, default_delay) = if minimal { (1, 0) } else { (5, 5) };
    let repeat = count(i.garp_master_repeat.or(g.vrrp_garp_master_repeat), default_repeat);
    let delay =
        seconds(i.garp_master_delay, g.vrrp_garp_master_delay).unwrap_or(Duration::from_secs(default_delay));
    let lower = count(i.garp_lower_prio_repeat.map(|n| n.value).or(g.vrrp_garp_lower_prio_repeat), repeat);
    GarpSchedule {
        repeat,
        delay,
        refresh: seconds(i.garp_master_refresh, g.vrrp_garp_master_refresh).unwrap_or(Duration::ZERO),
        refresh_repeat: count(i.garp_master_refresh_repeat.or(g.vrrp_garp_master_refresh_repeat), 1),
        lower_prio_repeat: if strict { 0 } else { lower },
        lower_prio_delay: seconds(i.garp_lower_prio_delay, g.vrrp_garp_lower_prio_delay).unwrap_or(delay),
    }
}

#[cfg(test)]
mod tests;
