//! Routes, in the words of `ip route`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use buoy_vrrp::Family;

use super::Build;
use super::entry::{Cursor, Once, Unusable, span_of, unusable};
use super::names::List;
use crate::config::finding::{Code, Finding};
use crate::config::schema::Entries;
use crate::config::settings::{Text, Words};
use crate::config::value;
use crate::host::desired::{Encap, Insert, NextHop, PROTOCOL, Prefix, Route, RouteMetric};

/// A route line, and the track group of a static one.
pub(super) struct RouteLine {
    pub(super) route: Route,
    pub(super) track_group: Option<Text>,
}

/// Of these a line takes one.
const ONCE: Once = &[
    &["src"],
    &["via", "gw"],
    &["from"],
    &["tos", "dsfield"],
    &["table"],
    &["protocol"],
    &["scope"],
    &["metric", "priority", "preference"],
    &["dev", "oif"],
    &["encap"],
    &["expires"],
    &["realms"],
    &["congctl"],
    &["pref"],
    &["ttl-propagate"],
    &["add", "prepend", "append"],
    &["track_group"],
    &[
        "unicast",
        "local",
        "broadcast",
        "anycast",
        "multicast",
        "blackhole",
        "unreachable",
        "prohibit",
        "throw",
        "nat",
    ],
    &["mtu"],
    &["window"],
    &["rtt"],
    &["rttvar"],
    &["ssthresh"],
    &["cwnd"],
    &["advmss"],
    &["reordering"],
    &["hoplimit"],
    &["initcwnd"],
    &["features"],
    &["rto_min"],
    &["initrwnd"],
    &["quickack"],
    &["fastopen_no_cookie"],
];

/// `RT_TABLE_MAIN`.
const MAIN: u32 = 254;

/// `RTN_*` by name (linux/rtnetlink.h).
const KINDS: [(&str, u8); 10] = [
    ("unicast", 1),
    ("local", 2),
    ("broadcast", 3),
    ("anycast", 4),
    ("multicast", 5),
    ("blackhole", 6),
    ("unreachable", 7),
    ("prohibit", 8),
    ("throw", 9),
    ("nat", 10),
];

/// `RTAX_*` by name, and whether `lock` may stand in front of the value.
const METRICS: [(&str, u16, bool); 15] = [
    ("mtu", 2, true),
    ("window", 3, false),
    ("rtt", 4, true),
    ("rttvar", 5, true),
    ("ssthresh", 6, true),
    ("cwnd", 7, true),
    ("advmss", 8, true),
    ("reordering", 9, true),
    ("hoplimit", 10, false),
    ("initcwnd", 11, false),
    ("features", 12, false),
    ("rto_min", 13, true),
    ("initrwnd", 14, false),
    ("quickack", 15, false),
    ("fastopen_no_cookie", 17, false),
];

/// The families that the words of a line are of.
#[derive(Debug, Default)]
struct Families<'w> {
    seen: Vec<(&'w Text, Family)>,
}

impl<'w> Families<'w> {
    fn see(&mut self, word: &'w Text, family: Family) {
        self.seen.push((word, family));
    }

    /// The one family of all words; IPv4 where none says.
    fn agreed(&self) -> Result<Family, Unusable> {
        let Some((_, first)) = self.seen.first().copied() else { return Ok(Family::V4) };
        match self.seen.iter().find(|(_, family)| *family != first) {
            None => Ok(first),
            Some((word, _)) => {
                let finding =
                    Finding::warning(Code::Conflict, word.span, "addresses of both families on one line");
                Err(Box::new(finding.assume("the line is ignored")))
            }
        }
    }
}

impl Build<'_> {
    pub(super) fn route(&mut self, words: &Words, entries: Entries) -> Option<RouteLine> {
        let line = self.route_line(words, entries);
        let mut line = self.or_nothing(words, line)?;
        let route = &mut line.route;
        if route.tracked && route.dev.is_none() && route.next_hops.iter().all(|hop| hop.dev.is_none()) {
            let message = "a route without interface cannot be tracked";
            self.warn(Code::Conflict, span_of(words), message, "it is set and not tracked");
            words.last().into_iter().for_each(|last| self.write_behind(last, &["no_track"]));
            route.tracked = false;
        }
        if route.tracked {
            route.protocol = PROTOCOL;
        }
        Some(line)
    }

    fn route_line(&mut self, words: &Words, entries: Entries) -> Result<RouteLine, Unusable> {
        let mut cursor = Cursor::of_route_or_rule(words);
        let mut families = Families::default();
        let mut destination: Option<Option<Prefix>> = None;
        let mut track_group = None;
        let mut old_via: Option<&[Text]> = None;
        let mut old_hops: Vec<(IpAddr, &[Text])> = Vec::new();
        let mut route = Route {
            family: Family::V4,
            destination: Prefix { ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED), len: 0 },
            kind: 1,
            src: None,
            from: None,
            tos: 0,
            table: MAIN,
            protocol: PROTOCOL,
            scope: None,
            metric: None,
            dev: None,
            via: None,
            onlink: false,
            encap: None,
            expires: None,
            metrics: Vec::new(),
            congctl: None,
            pref: None,
            ttl_propagate: None,
            realms: None,
            next_hops: Vec::new(),
            insert: Insert::Prepend,
            tracked: true,
        };
        while let Some(option) = cursor.option() {
            if destination.is_some()
                && matches!(&*option.value, "to" | "default" | "any" | "all" | "default6")
            {
                return Err(unusable(option, "a route has one destination, and this is another"));
            }
            match &*option.value {
                "inet" => families.see(option, Family::V4),
                "inet6" => families.see(option, Family::V6),
                "default6" => {
                    self.old_word(option, "inet6 default");
                    families.see(option, Family::V6);
                    destination = Some(None);
                }
                "to" => destination = Some(self.destination(&mut cursor, option, &mut families)?),
                "default" | "any" | "all" => destination = Some(None),
                "src" => {
                    let src = cursor.ip(option)?;
                    families.see(option, Family::of(src));
                    route.src = Some(src);
                }
                "via" | "gw" => {
                    if &*option.value == "gw" {
                        self.old_word(option, "via");
                    }
                    route.via = Some(self.gateway(&mut cursor, option, &mut families)?);
                    old_via = Some(cursor.since(option));
                }
                "or" => {
                    let message = "`or` is an old word; today one writes `nexthop`";
                    self.warn(Code::Deprecated, option.span, message, "it is read as that");
                    if let (Some(first), Some(written)) = (route.via.take(), old_via.take()) {
                        old_hops.push((first, written));
                    }
                    old_hops.push((self.gateway(&mut cursor, option, &mut families)?, cursor.since(option)));
                }
                "from" => route.from = cursor.prefix(option, Some(Family::V6))?,
                "tos" | "dsfield" => route.tos = self.named8(&mut cursor, option, List::ServiceClasses)?,
                "table" => route.table = self.named(&mut cursor, option, List::Tables, u32::MAX)?,
                "protocol" => {
                    route.protocol = self.named8(&mut cursor, option, List::Protocols)?;
                }
                "scope" => route.scope = Some(self.named8(&mut cursor, option, List::Scopes)?),
                "metric" | "priority" | "preference" => {
                    route.metric = Some(cursor.number32(option, 0, u32::MAX)?)
                }
                "dev" | "oif" => route.dev = Some(self.dev(&mut cursor, option)?),
                "onlink" => route.onlink = true,
                "encap" => route.encap = Some(self.encap(&mut cursor, option)?),
                "expires" => route.expires = Some(cursor.number32(option, 0, u32::MAX)?),
                "realms" => route.realms = Some(self.realms(&mut cursor, option)?),
                "congctl" => {
                    let locked = cursor.accept(&["lock"]).is_some();
                    route.metrics.retain(|metric| metric.rtax != 16);
                    route.congctl = Some(Arc::clone(&cursor.value(option)?.value));
                    if locked {
                        route.metrics.push(RouteMetric { rtax: 16, value: 0, locked });
                    }
                }
                "pref" => route.pref = Some(preference(&mut cursor, option)?),
                "ttl-propagate" => {
                    let word = cursor.value(option)?;
                    route.ttl_propagate = Some(match &*word.value {
                        "enabled" => true,
                        "disabled" => false,
                        text => {
                            return Err(unusable(word, format!("`{text}` is not `enabled` or `disabled`")));
                        }
                    });
                }
                "add" => route.insert = Insert::Add,
                "prepend" => route.insert = Insert::Prepend,
                "append" => route.insert = Insert::Append,
                "nexthop" => {
                    let hop = self.next_hop(&mut cursor, option, &mut families)?;
                    route.next_hops.push(hop);
                }
                "vrf" => {
                    cursor.value(option)?;
                    let message = "keepalived word, not supported by this version: `vrf`";
                    let finding = Finding::warning(Code::NotSupported, option.span, message);
                    return Err(Box::new(finding.assume("the line is ignored")));
                }
                "no_track" => route.tracked = false,
                "track_group" if entries == Entries::StaticRoutes => {
                    track_group = Some(cursor.value(option)?.clone())
                }
                word => {
                    if let Some((_, kind)) = KINDS.iter().find(|(name, _)| *name == word) {
                        route.kind = *kind;
                    } else if let Some((_, rtax, lock)) = METRICS.iter().find(|(name, ..)| *name == word) {
                        let locked = *lock && cursor.accept(&["lock"]).is_some();
                        let value = metric(&mut cursor, option)?;
                        route.metrics.retain(|metric| metric.rtax != *rtax);
                        route.metrics.push(RouteMetric { rtax: *rtax, value, locked });
                    } else if destination.is_none() && value::prefix(word).is_some() {
                        destination = Some(self.destination_word(option, &mut families)?);
                    } else {
                        return Err(self.unknown_option(option, entries.options()));
                    }
                }
            }
            self.once(&cursor, option, ONCE);
        }
        for (via, written) in old_hops {
            written.iter().for_each(|word| self.write_instead(word, &[]));
            let address = written.iter().skip(1).map(|word| &*word.value);
            let hop: Vec<&str> = ["nexthop", "via"].into_iter().chain(address).collect();
            words.last().into_iter().for_each(|last| self.write_behind(last, &hop));
            route.next_hops.push(NextHop {
                via: Some(via),
                dev: None,
                weight: 1,
                onlink: false,
                encap: None,
                realms: None,
            });
        }
        let Some(destination) = destination else {
            let finding =
                Finding::warning(Code::MissingSetting, span_of(words), "a route without destination");
            return Err(Box::new(finding.assume("the line is ignored")));
        };
        route.family = families.agreed()?;
        route.destination = destination.unwrap_or(Prefix { ip: unspecified(route.family), len: 0 });
        route.metrics.sort_by_key(|m| m.rtax);
        Ok(RouteLine { route, track_group })
    }

    fn destination<'w>(
        &mut self,
        cursor: &mut Cursor<'w>,
        option: &'w Text,
        families: &mut Families<'w>,
    ) -> Result<Option<Prefix>, Unusable> {
        match cursor.accept(&["default", "any", "all"]) {
            Some(_) => Ok(None),
            None => self.destination_word(cursor.value(option)?, families),
        }
    }

    fn destination_word<'w>(
        &mut self,
        word: &'w Text,
        families: &mut Families<'w>,
    ) -> Result<Option<Prefix>, Unusable> {
        let (ip, len) = self.address_and_length(word)?;
        families.see(word, Family::of(ip));
        let network = value::network(ip, len);
        if network != ip {
            let finding = Finding::warning(
                Code::BadValue,
                word.span,
                format!("`{}` has bits in its host part", word.value),
            );
            let assumed = format!("{network}/{len}");
            self.write_instead(word, &[&assumed]);
            self.findings.push(finding.assume(assumed));
        }
        Ok(Some(Prefix { ip: network, len }))
    }

    fn gateway<'w>(
        &mut self,
        cursor: &mut Cursor<'w>,
        option: &'w Text,
        families: &mut Families<'w>,
    ) -> Result<IpAddr, Unusable> {
        let stated = cursor.accept(&["inet", "inet6"]);
        let via = cursor.ip(option)?;
        match stated {
            None => families.see(option, Family::of(via)),
            Some(word) if (&*word.value == "inet6") != via.is_ipv6() => {
                return Err(unusable(word, format!("`{via}` is not of the family `{}`", word.value)));
            }
            // IPv4 by way of IPv6 (RFC 8950) has to be stated; there is nothing the other way round.
            Some(word) if via.is_ipv4() => families.see(word, Family::V4),
            Some(_) => {}
        }
        Ok(via)
    }

    fn next_hop<'w>(
        &mut self,
        cursor: &mut Cursor<'w>,
        option: &'w Text,
        families: &mut Families<'w>,
    ) -> Result<NextHop, Unusable> {
        let mut hop = NextHop { via: None, dev: None, weight: 1, onlink: false, encap: None, realms: None };
        while let Some(word) = cursor.accept(&["via", "dev", "weight", "onlink", "encap", "realms"]) {
            match &*word.value {
                "via" => hop.via = Some(self.gateway(cursor, word, families)?),
                "dev" => hop.dev = Some(self.dev(cursor, word)?),
                "weight" => hop.weight = cursor.number16(word, 1, 256)?,
                "onlink" => hop.onlink = true,
                "encap" => hop.encap = Some(self.encap(cursor, word)?),
                _ => hop.realms = Some(self.realms(cursor, word)?),
            }
        }
        if hop.via.is_none() && hop.dev.is_none() {
            return Err(unusable(option, "`nexthop` names neither a gateway nor an interface"));
        }
        Ok(hop)
    }

    fn encap(&mut self, cursor: &mut Cursor<'_>, option: &Text) -> Result<Encap, Unusable> {
        let kind = cursor.next().ok_or_else(|| unusable(option, "`encap` without its kind"))?;
        match &*kind.value {
            "ip" => {
                let (mut id, mut dst, mut src, mut tos, mut ttl, mut flags) =
                    (None, None, None, None, None, None);
                while let Some(word) = cursor.accept(&["id", "dst", "src", "tos", "ttl", "flags"]) {
                    match &*word.value {
                        "id" => id = Some(cursor.number(word, 0, u64::MAX)?),
                        "dst" => dst = Some(cursor.ip(word)?),
                        "src" => src = Some(cursor.ip(word)?),
                        "tos" => tos = Some(self.named8(cursor, word, List::ServiceClasses)?),
                        "ttl" => ttl = Some(cursor.number8(word)?),
                        _ => flags = Some(cursor.number16(word, 0, u16::MAX)?),
                    }
                }
                Ok(Encap::Ip { id, dst, src, tos, ttl, flags })
            }
            "ip6" => {
                let (mut id, mut dst, mut src, mut tc, mut hop_limit, mut flags) =
                    (None, None, None, None, None, None);
                while let Some(word) = cursor.accept(&["id", "dst", "src", "tc", "hoplimit", "flags"]) {
                    match &*word.value {
                        "id" => id = Some(cursor.number(word, 0, u64::MAX)?),
                        "dst" => dst = Some(cursor.ip(word)?),
                        "src" => src = Some(cursor.ip(word)?),
                        "tc" => tc = Some(self.named8(cursor, word, List::ServiceClasses)?),
                        "hoplimit" => hop_limit = Some(cursor.number8(word)?),
                        _ => flags = Some(cursor.number16(word, 0, u16::MAX)?),
                    }
                }
                Ok(Encap::Ip6 { id, dst, src, tc, hop_limit, flags })
            }
            "mpls" => {
                let word = cursor.value(kind)?;
                let labels: Option<Vec<u32>> =
                    word.value.split('/').map(|l| l.parse().ok().filter(|l| *l < 1 << 20)).collect();
                let labels = labels
                    .ok_or_else(|| unusable(word, "a label has 20 bits; labels are separated by `/`"))?;
                Ok(Encap::Mpls { labels })
            }
            "ila" => {
                let word = cursor.value(kind)?;
                let locator = ila_locator(&word.value)
                    .ok_or_else(|| unusable(word, format!("`{}` is not an ILA locator", word.value)))?;
                Ok(Encap::Ila { locator })
            }
            text => Err(unusable(kind, format!("`{text}` is not one of `ip`, `ip6`, `mpls`, `ila`"))),
        }
    }

    pub(super) fn named8(&self, cursor: &mut Cursor<'_>, option: &Text, list: List) -> Result<u8, Unusable> {
        self.named(cursor, option, list, 255).map(|n| u8::try_from(n).unwrap_or(u8::MAX))
    }

    fn old_word(&mut self, word: &Text, instead: &str) {
        let message = format!("`{}` is an old word; today one writes `{instead}`", word.value);
        self.warn(Code::Deprecated, word.span, &message, "it is read as that");
        self.write_instead(word, &instead.split(' ').collect::<Vec<_>>());
    }
}

const fn unspecified(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

/// `low`, `medium`, `high` or a number (RFC 4191 §2.1).
fn preference(cursor: &mut Cursor<'_>, option: &Text) -> Result<u8, Unusable> {
    let word = cursor.value(option)?;
    match &*word.value {
        "medium" => Ok(0),
        "high" => Ok(1),
        "low" => Ok(3),
        text => {
            text.parse().map_err(|_| unusable(word, format!("`{text}` is not `low`, `medium` or `high`")))
        }
    }
}

fn metric(cursor: &mut Cursor<'_>, option: &Text) -> Result<u32, Unusable> {
    match &*option.value {
        "features" => {
            let word = cursor.value(option)?;
            // RTAX_FEATURE_ECN
            if &*word.value == "ecn" { Ok(1) } else { Err(unusable(word, "the only feature is `ecn`")) }
        }
        "quickack" | "fastopen_no_cookie" => cursor.number32(option, 0, 1),
        "hoplimit" => cursor.number32(option, 0, 255),
        "rtt" | "rttvar" | "rto_min" => time_metric(cursor, option),
        _ => cursor.number32(option, 0, u32::MAX),
    }
}

/// A bare number is what the kernel holds; with a unit it is scaled, since the kernel keeps the round trip
/// time in eighths and its variance in quarters of a millisecond.
fn time_metric(cursor: &mut Cursor<'_>, option: &Text) -> Result<u32, Unusable> {
    let word = cursor.value(option)?;
    let (digits, unit) = match word.value.strip_suffix("ms") {
        Some(digits) => (digits, 1),
        None => match word.value.strip_suffix('s') {
            Some(digits) => (digits, 1_000),
            None => (&*word.value, 0),
        },
    };
    let scale = match &*option.value {
        "rtt" => 8,
        "rttvar" => 4,
        _ => 1,
    };
    digits
        .parse::<u32>()
        .ok()
        .and_then(|n| if unit == 0 { Some(n) } else { n.checked_mul(unit)?.checked_mul(scale) })
        .ok_or_else(|| unusable(word, format!("`{}` is not a time", word.value)))
}

/// Four groups of 16 bits in hexadecimal.
fn ila_locator(text: &str) -> Option<u64> {
    let groups: Option<Vec<u16>> = text.split(':').map(|g| u16::from_str_radix(g, 16).ok()).collect();
    let groups = groups.filter(|g| g.len() == 4)?;
    Some(groups.into_iter().fold(0, |all, group| all << 16 | u64::from(group)))
}
