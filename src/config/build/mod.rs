//! From settings to a plan: defaults, cross rules, names resolved, units converted.

mod address;
mod command;
mod entry;
mod global;
mod group;
mod names;
mod route;
mod router;
mod rule;
mod tracking;
mod transport;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use buoy_vrrp::Family;

pub(crate) use self::global::host_name;
use self::names::Names;
use super::finding::{Code, Finding, Findings};
use super::plan::{self, GarpGroup, Plan, Static, User};
use super::schema::Entries;
use super::settings::{Settings, Text, Words};
use super::{LoadOptions, value};
use crate::host::desired::{Address, Route, Rule};

/// Interface of static addresses without `dev`.
const DEFAULT_INTERFACE: &str = "eth0";

struct Build<'a> {
    options: &'a LoadOptions<'a>,
    findings: &'a mut Findings,
    names: Names,
    tracked: tracking::Definitions,
    script_user: Option<User>,
    script_security: bool,
    said_insecure: bool,
    /// Interfaces that a finding has called missing, and those Buoy makes itself.
    known_interfaces: HashSet<Arc<str>>,
    /// Preferences given to rules without one, IPv4 and IPv6.
    preferences: [u32; 2],
}

/// Builds the plan. It holds only when no finding is an error.
pub(super) fn plan(settings: &Settings, options: &LoadOptions<'_>, findings: &mut Findings) -> Plan {
    let g = &settings.global_defs;
    let path = |word: &Option<Text>| word.as_ref().map(|w| Arc::clone(&w.value));
    let mut build = Build {
        options,
        findings,
        names: Names::new(path(&g.iproute_usr_dir).as_deref(), path(&g.iproute_etc_dir).as_deref()),
        tracked: tracking::Definitions::default(),
        script_user: None,
        script_security: g.enable_script_security,
        said_insecure: false,
        known_interfaces: HashSet::new(),
        preferences: [rule::FIRST_PREFERENCE; 2],
    };
    build.script_user = g.script_user.as_ref().and_then(|names| build.user(names));
    build.made_interfaces(settings);
    build.plan(settings)
}

impl Build<'_> {
    fn plan(&mut self, settings: &Settings) -> Plan {
        let global = self.global(settings);
        let scripts = self.scripts(&settings.vrrp_script);
        let files = self.files(&settings.track_file);
        let processes = self.processes(&settings.vrrp_track_process);
        let track_groups = self.track_groups(settings);
        let default_dev = global.default_interface.clone().unwrap_or_else(|| Arc::from(DEFAULT_INTERFACE));
        let static_addresses = self.static_addresses(&settings.static_ipaddress, &default_dev, &track_groups);
        let static_routes = self.static_routes(&settings.static_routes, &track_groups);
        let static_rules = self.static_rules(&settings.static_rules, &track_groups);
        let mut routers =
            self.routers(&settings.vrrp_instance, &settings.vrrp_sync_group, &settings.global_defs);
        let groups = self.groups(settings, &mut routers);
        self.vmac_names(&settings.vrrp_instance, &mut routers);
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
            kept: Vec::new(),
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
                } else if instances.contains(&*member.value) {
                    members.push(Arc::clone(&member.value));
                } else {
                    self.undefined(
                        member,
                        "vrrp_instance",
                        "it is not in the group",
                        instances.iter().copied(),
                    );
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
                self.interface(&Text { value: Arc::clone(dev), span: first.span });
            }
            let Some(line) = self.address(words, Some(dev), Entries::StaticAddresses) else { continue };
            let same = |s: &Static<Address>| s.item.ip == line.address.ip && s.item.dev == line.address.dev;
            if items.iter().any(same) {
                self.twice(words, "a static address that is there already");
                continue;
            }
            let track_group = self.track_group(line.track_group, groups);
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
            let track_group = self.track_group(line.track_group, groups);
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
            let track_group = self.track_group(line.track_group, groups);
            items.push(Static { item: line.rule, track_group });
        }
        items
    }

    fn track_group(&mut self, name: Option<Text>, groups: &TrackGroups) -> Option<Arc<str>> {
        let name = name?;
        if groups.contains_key(&name.value) {
            return Some(name.value);
        }
        self.undefined(&name, "track_group", "no instance follows this item", groups.keys().map(|k| &**k));
        None
    }

    fn garp_groups(&mut self, settings: &Settings) -> Vec<GarpGroup> {
        let mut taken: HashSet<Arc<str>> = HashSet::new();
        let mut groups = Vec::new();
        for group in &settings.garp_group {
            let mut interfaces = Vec::new();
            for name in group.interface.iter().filter_map(|words| words.first()).chain(&group.interfaces) {
                self.interface(name);
                if taken.insert(Arc::clone(&name.value)) {
                    interfaces.push(Arc::clone(&name.value));
                } else {
                    let message = format!("`{}` is in a garp_group already", name.value);
                    let finding = Finding::warning(Code::Duplicate, name.span, message);
                    self.findings.push(finding.assume("the first one counts"));
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
                        let finding = Finding::warning(Code::Duplicate, name.span, message);
                        self.findings.push(finding.assume("the last ones count"));
                    }
                }
                (Err(span), _) | (_, Err(span)) => {
                    let message =
                        "an interface needs a delay of down, and perhaps one of up, within 0..255 seconds";
                    self.findings
                        .push(Finding::warning(Code::BadValue, span, message).assume("the line is ignored"));
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
        let finding = Finding::warning(Code::MissingInterface, name.span, message);
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

    fn command_if(&mut self, words: Option<&Words>) -> Option<plan::Command> {
        self.command(words?)
    }
}

type TrackGroups = BTreeMap<Arc<str>, Vec<Arc<str>>>;
