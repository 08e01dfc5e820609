//! From settings to a plan: defaults, cross rules, names resolved, units converted.

mod address;
mod balancing;
mod checker;
mod command;
mod entry;
mod forwarding;
mod global;
mod group;
mod local_address;
mod names;
mod route;
mod router;
mod rule;
mod service;
mod service_group;
mod tracking;
mod transport;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use buoy_vrrp::Family;

pub(crate) use self::global::host_name;
use self::names::Names;
use super::edit::Edits;
use super::finding::{Code, Finding, Findings, Severity};
use super::plan::{self, GarpGroup, Plan, PlaneChoice, Static, User};
use super::schema::Entries;
use super::settings::{Located, ReadError, Settings, Text, Words, WrittenServer};
use super::{LoadOptions, value};
use crate::control::detour;
use crate::control::probe::Patterns;
use crate::host::desired::{Address, Route, Rule};

/// Interface of static addresses without `dev`.
const DEFAULT_INTERFACE: &str = "eth0";

struct Build<'a> {
    options: &'a LoadOptions<'a>,
    findings: &'a mut Findings,
    edits: Edits,
    names: Names,
    machine: command::Machine,
    tracked: tracking::Definitions,
    script_user: ScriptUser,
    script_security: bool,
    said_insecure: bool,
    /// Interfaces that a finding has called missing, and those Buoy makes itself.
    known_interfaces: HashSet<Arc<str>>,
    /// Interfaces may come later: that one is missing is no more than a note.
    dynamic_interfaces: bool,
    /// Multicast groups that a finding has called unusable.
    bad_groups: HashSet<Arc<str>>,
    /// Preferences given to rules without one, IPv4 and IPv6.
    preferences: [u32; 2],
    patterns: Patterns,
    /// There are checks that need what `SSL` names.
    any_tls: bool,
    plane: PlaneChoice,
}

/// The user of scripts that name none.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ScriptUser {
    /// Not configured.
    Unset,
    Set(User),
    /// Configured, and not there: scripts that rely on it are not run, least of all as root.
    Missing,
}

/// Builds the plan, and the edits that make the text say what it does. It holds only when no finding is an error.
pub(super) fn plan<'t>(
    settings: &Settings,
    services: impl Iterator<Item = Result<WrittenServer<'t>, ReadError>>,
    options: &LoadOptions<'_>,
    findings: &mut Findings,
) -> (Plan, Edits) {
    let g = &settings.global_defs;
    let path = |word: &Option<Text>| word.as_ref().map(|w| Arc::clone(&w.value));
    let mut build = Build {
        options,
        findings,
        edits: Edits::default(),
        names: Names::new(path(&g.iproute_usr_dir).as_deref(), path(&g.iproute_etc_dir).as_deref()),
        machine: command::Machine::default(),
        tracked: tracking::Definitions::default(),
        script_user: ScriptUser::Unset,
        script_security: g.enable_script_security,
        said_insecure: false,
        known_interfaces: HashSet::new(),
        dynamic_interfaces: g.dynamic_interfaces.is_some(),
        bad_groups: HashSet::new(),
        preferences: [rule::FIRST_PREFERENCE; 2],
        patterns: Patterns::default(),
        any_tls: false,
        plane: forwarding::plane_choice(g),
    };
    if let Some(names) = &g.script_user {
        let found = build.user(names, "scripts that name no user are not run");
        build.script_user = found.map_or(ScriptUser::Missing, ScriptUser::Set);
    }
    build.made_interfaces(settings);
    let plan = build.plan(settings, services);
    (plan, build.edits)
}

impl Build<'_> {
    fn plan<'t>(
        &mut self,
        settings: &Settings,
        services: impl Iterator<Item = Result<WrittenServer<'t>, ReadError>>,
    ) -> Plan {
        let global = self.global(settings);
        let scripts = self.scripts(&settings.vrrp_script);
        let files = self.files(&settings.track_file);
        let processes = self.processes(&settings.vrrp_track_process);
        let track_groups = self.track_groups(settings);
        let default_dev = global.default_interface.clone().unwrap_or_else(|| Arc::from(DEFAULT_INTERFACE));
        let mut static_addresses =
            self.static_addresses(&settings.static_ipaddress, &default_dev, &track_groups);
        let static_routes = self.static_routes(&settings.static_routes, &track_groups);
        let static_rules = self.static_rules(&settings.static_rules, &track_groups);
        let mut routers =
            self.routers(&settings.vrrp_instance, &settings.vrrp_sync_group, &settings.global_defs);
        let groups = self.groups(settings, &mut routers);
        self.vmac_names(&settings.vrrp_instance, &mut routers);
        let mut local_groups = self.local_groups(settings);
        let mut services = self.services(settings, services, &mut local_groups);
        static_addresses.extend(local_groups.missing_of(&static_addresses));
        detour::mark_servers(&mut services);
        let balancing = self.balancing(settings, &routers);
        Plan {
            global,
            routers,
            groups,
            scripts,
            files,
            processes,
            static_addresses,
            static_routes,
            static_rules,
            track_groups,
            garp_groups: self.garp_groups(settings),
            link_delays: self.link_delays(&settings.interface_up_down_delays),
            services,
            balancing,
        }
    }

    fn track_groups(&mut self, settings: &Settings) -> BTreeMap<Arc<str>, Vec<Arc<str>>> {
        let instances: HashSet<&str> = settings.vrrp_instance.iter().map(|i| &*i.name.value).collect();
        let mut groups = BTreeMap::new();
        for group in &settings.track_group {
            let mut members: Vec<Arc<str>> = Vec::new();
            for member in &group.group {
                if members.contains(&member.value) {
                    let message = format!("`{}` is in the group already", member.value);
                    self.warn(Code::Duplicate, member.span, &message, "it is in it once");
                    self.write_instead(member, &[]);
                } else if instances.contains(&*member.value) {
                    members.push(Arc::clone(&member.value));
                } else {
                    self.undefined(
                        member,
                        "vrrp_instance",
                        "it is not in the group",
                        instances.iter().copied(),
                    );
                    self.write_instead(member, &[]);
                }
            }
            groups.insert(Arc::clone(&group.name.value), members);
        }
        groups
    }

    fn static_addresses(
        &mut self,
        lines: &[Words],
        dev: &Arc<str>,
        groups: &TrackGroups,
    ) -> Vec<Static<Address>> {
        let mut items: Vec<Static<Address>> = Vec::new();
        for words in lines {
            if !words.iter().any(|w| &*w.value == "dev")
                && let Some(first) = words.first()
            {
                self.interface(&Text { value: Arc::clone(dev), ..first.clone() });
            }
            let Some(line) = self.address(words, Some(dev), Entries::StaticAddresses) else { continue };
            let same = |s: &Static<Address>| s.item.ip == line.address.ip && s.item.dev == line.address.dev;
            if items.iter().any(same) {
                self.twice(words, "a static address that is there already");
                continue;
            }
            let track_group = self.track_group(words, line.track_group, groups);
            items.push(Static { item: line.address, track_group });
        }
        items
    }

    fn static_routes(&mut self, lines: &[Words], groups: &TrackGroups) -> Vec<Static<Route>> {
        let mut items: Vec<Static<Route>> = Vec::new();
        for words in lines {
            let Some(line) = self.route(words, Entries::StaticRoutes) else { continue };
            if items.iter().any(|s| s.item == line.route) {
                self.twice(words, "a static route that is there already");
                continue;
            }
            let track_group = self.track_group(words, line.track_group, groups);
            items.push(Static { item: line.route, track_group });
        }
        items
    }

    fn static_rules(&mut self, lines: &[Words], groups: &TrackGroups) -> Vec<Static<Rule>> {
        let mut items: Vec<Static<Rule>> = Vec::new();
        for words in lines {
            let Some(line) = self.rule(words, Entries::StaticRules) else { continue };
            if items.iter().any(|s| s.item == line.rule) {
                self.twice(words, "a static rule that is there already");
                continue;
            }
            let written = line.track_group.clone();
            let mut track_group = self.track_group(words, line.track_group, groups);
            if let Some(word) = written.filter(|_| track_group.is_some() && line.rule.iif.is_none()) {
                let message = "`track_group` on a rule without `iif`: no interface tells when it goes";
                self.warn(Code::Conflict, word.span, message, "no instance follows this rule");
                self.leave_out_option(words, &word);
                track_group = None;
            }
            items.push(Static { item: line.rule, track_group });
        }
        items
    }

    fn track_group(&mut self, words: &Words, name: Option<Text>, groups: &TrackGroups) -> Option<Arc<str>> {
        let name = name?;
        if groups.contains_key(&name.value) {
            return Some(name.value);
        }
        self.undefined(&name, "track_group", "no instance follows this item", groups.keys().map(|k| &**k));
        self.leave_out_option(words, &name);
        None
    }

    fn garp_groups(&mut self, settings: &Settings) -> Vec<GarpGroup> {
        let mut taken: HashSet<Arc<str>> = HashSet::new();
        let mut groups = Vec::new();
        for located in &settings.garp_group {
            let group = &located.value;
            if group.garp_interval.is_none() && group.gna_interval.is_none() {
                let message = "a `garp_group` with neither `garp_interval` nor `gna_interval`";
                self.warn(Code::MissingSetting, located.span, message, "it delays nothing, and is dropped");
                self.leave_out(located);
                continue;
            }
            let mut interfaces = Vec::new();
            let alone = group.interface.iter().filter_map(|words| words.first()).map(|name| (name, true));
            for (name, alone) in alone.chain(group.interfaces.iter().map(|name| (name, false))) {
                self.interface(name);
                if taken.insert(Arc::clone(&name.value)) {
                    interfaces.push(Arc::clone(&name.value));
                    continue;
                }
                let message = format!("`{}` is in a garp_group already", name.value);
                self.warn(Code::Duplicate, name.span, &message, "the first one counts");
                if alone {
                    self.leave_out(name);
                } else {
                    self.write_instead(name, &[]);
                }
            }
            groups.push(GarpGroup {
                interfaces,
                garp_interval: group.garp_interval.map(|s| s.0),
                gna_interval: group.gna_interval.map(|s| s.0),
            });
        }
        groups
    }

    /// `IFNAME DOWN [UP]`.
    fn link_delays(&mut self, lines: &[Words]) -> BTreeMap<Arc<str>, (Duration, Duration)> {
        let mut delays = BTreeMap::new();
        let mut lines_of: BTreeMap<Arc<str>, &Text> = BTreeMap::new();
        for words in lines {
            let Some((name, times)) = words.split_first() else { continue };
            self.interface(name);
            let time = |word: &Text| {
                let limit = Duration::from_secs(255);
                value::seconds(&word.value).ok().filter(|t| *t <= limit).ok_or(word.span)
            };
            let (down, up) = match times {
                [down] => (time(down), Ok(Duration::ZERO)),
                [down, up] => (time(down), time(up)),
                _ => (Err(name.span), Ok(Duration::ZERO)),
            };
            match (down, up) {
                (Ok(down), Ok(up)) => {
                    if delays.insert(Arc::clone(&name.value), (down, up)).is_some() {
                        let message = format!("`{}` has its delays already", name.value);
                        self.warn(Code::Duplicate, name.span, &message, "the last ones count");
                    }
                    if let Some(before) = lines_of.insert(Arc::clone(&name.value), name) {
                        self.leave_out(before);
                    }
                }
                (Err(span), _) | (_, Err(span)) => {
                    let message =
                        "an interface needs a delay of down, and perhaps one of up, within 0..255 seconds";
                    self.warn(Code::BadValue, span, message, "the line is ignored");
                    self.leave_out(name);
                }
            }
        }
        delays
    }

    /// Interfaces that exist only once Buoy has made them.
    fn made_interfaces(&mut self, settings: &Settings) {
        let prefix = settings.global_defs.vmac_prefix.as_ref().map_or("vrrp", |p| &p.value);
        for instance in &settings.vrrp_instance {
            let Some(words) = &instance.use_vmac else { continue };
            let vmac = transport::vmac_words(words);
            let vrid = instance.virtual_router_id.map_or(0, |v| v.value);
            let name = vmac.name.unwrap_or_else(|| Arc::from(format!("{prefix}.{vrid}")));
            self.known_interfaces.insert(name);
        }
    }

    /// Says once that an interface is missing.
    fn interface(&mut self, name: &Text) {
        if (self.options.known_interface)(&name.value)
            || !self.known_interfaces.insert(Arc::clone(&name.value))
        {
            return;
        }
        let message = format!("there is no interface `{}`", name.value);
        let severity = if self.dynamic_interfaces { Severity::Note } else { Severity::Warning };
        // Interfaces come and go: a director must start before its network is complete.
        let finding = Finding::new(severity, Code::MissingInterface, name.span, message).taken_as_written();
        self.findings.push(finding.assume("what needs it waits until it appears"));
    }

    fn undefined<'k>(
        &mut self,
        name: &Text,
        kind: &str,
        assumed: &str,
        known: impl Iterator<Item = &'k str>,
    ) {
        let near = super::finding::nearest(&name.value, known).map(str::to_owned);
        let message = format!("there is no {kind} `{}`", name.value);
        self.findings
            .push(Finding::warning(Code::Undefined, name.span, message).nearest(near).assume(assumed));
    }

    fn twice(&mut self, words: &Words, message: &str) {
        let finding = Finding::warning(Code::Duplicate, entry::span_of(words), message);
        self.findings.push(finding.assume("the line is ignored"));
        words.first().into_iter().for_each(|first| self.leave_out(first));
    }

    fn next_preference(&mut self, family: Family) -> u32 {
        let next = &mut self.preferences[usize::from(family == Family::V6)];
        let given = *next;
        *next = next.saturating_sub(1);
        given
    }

    fn warn(
        &mut self,
        code: Code,
        span: impl Into<Option<super::source::Span>>,
        message: &str,
        assumed: &str,
    ) {
        self.findings.push(Finding::warning(code, span, message).assume(assumed));
    }

    /// A warning about what is done as it is written.
    fn doubt(
        &mut self,
        code: Code,
        span: impl Into<Option<super::source::Span>>,
        message: &str,
        assumed: &str,
    ) {
        self.findings.push(Finding::warning(code, span, message).assume(assumed).taken_as_written());
    }

    /// The statement or entry of this word is not written.
    fn leave_out<T>(&mut self, of: &Located<T>) {
        self.edits.leave_out(of.at);
    }

    /// An option of an entry is not written: its value, and the word before.
    fn leave_out_option(&mut self, entry: &Words, value: &Text) {
        for pair in entry.windows(2).filter(|pair| pair.last().is_some_and(|word| word.at == value.at)) {
            pair.iter().for_each(|word| self.write_instead(word, &[]));
        }
    }

    fn write_instead<T>(&mut self, of: &Located<T>, words: &[&str]) {
        self.edits.instead(of.at, words);
    }

    /// More words for the statement or entry of this word.
    fn write_behind<T>(&mut self, of: &Located<T>, words: &[&str]) {
        self.edits.behind(of.at, words);
    }

    fn command_if(&mut self, words: Option<&Words>) -> Option<plan::Command> {
        self.command(words?)
    }
}

type TrackGroups = BTreeMap<Arc<str>, Vec<Arc<str>>>;
