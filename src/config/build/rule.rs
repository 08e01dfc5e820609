//! Policy rules, in the words of `ip rule`.

use buoy_vrrp::Family;

use super::Build;
use super::entry::{Cursor, Once, Unusable, span_of, unusable};
use super::names::List;
use crate::config::finding::{Code, Finding};
use crate::config::schema::Entries;
use crate::config::settings::{Text, Words};
use crate::config::value;
use crate::host::desired::{PROTOCOL, Rule, RuleAction};

/// Of these a line takes one.
const ONCE: Once = &[
    &["from"],
    &["to"],
    &["preference", "priority", "order"],
    &["tos", "dsfield"],
    &["fwmark"],
    &["realms"],
    &["suppress_prefixlength", "sup_pl"],
    &["suppress_ifgroup", "sup_group"],
    &["dev", "iif"],
    &["oif"],
    &["tunnel-id"],
    &["uidrange"],
    &["protocol"],
    &["ipproto", "ip_proto"],
    &["sport"],
    &["dport"],
    &["track_group"],
];

/// Of all of these together a line takes one.
const ACTIONS: [&str; 8] =
    ["table", "lookup", "l3mdev", "goto", "nop", "blackhole", "unreachable", "prohibit"];

/// A rule line, and the track group of a static one.
pub(super) struct RuleLine {
    pub(super) rule: Rule,
    pub(super) track_group: Option<Text>,
}

/// First preference given to a rule that has none; counted down per family.
pub(super) const FIRST_PREFERENCE: u32 = 16_384;

impl Build<'_> {
    pub(super) fn rule(&mut self, words: &Words, entries: Entries) -> Option<RuleLine> {
        let line = self.rule_line(words, entries);
        self.or_nothing(words, line)
    }

    fn rule_line(&mut self, words: &Words, entries: Entries) -> Result<RuleLine, Unusable> {
        let mut cursor = Cursor::of_route_or_rule(words);
        let mut stated = None;
        let mut preference = None;
        let mut action = None;
        let mut track_group = None;
        let mut rule = Rule {
            family: Family::V4,
            invert: false,
            from: None,
            to: None,
            priority: 0,
            tos: 0,
            fwmark: None,
            realms: None,
            suppress_prefix_len: None,
            suppress_group: None,
            iif: None,
            oif: None,
            tunnel_id: None,
            uid_range: None,
            l3mdev: false,
            protocol: PROTOCOL,
            ip_proto: None,
            sport: None,
            dport: None,
            action: RuleAction::Nop,
            tracked: true,
        };
        while let Some(option) = cursor.option() {
            let acts = action.is_some() || rule.l3mdev;
            if acts && ACTIONS.contains(&&*option.value) {
                let message = format!("a rule has one action, and `{}` is another", option.value);
                return Err(unusable(option, message));
            }
            match &*option.value {
                "inet" => stated = Some(Family::V4),
                "inet6" => stated = Some(Family::V6),
                "from" => rule.from = cursor.prefix(option, None)?,
                "to" => rule.to = cursor.prefix(option, None)?,
                "table" | "lookup" => {
                    let table = self.named(&mut cursor, option, List::Tables, u32::MAX)?;
                    if table == 0 {
                        return Err(unusable(option, "table 0 cannot be looked up"));
                    }
                    action = Some(RuleAction::Table(table));
                }
                "not" => rule.invert = true,
                "preference" | "priority" | "order" => {
                    preference = Some(cursor.number32(option, 0, u32::MAX)?)
                }
                "tos" | "dsfield" => rule.tos = self.named8(&mut cursor, option, List::ServiceClasses)?,
                "fwmark" => rule.fwmark = Some(mark(&mut cursor, option)?),
                "realms" => rule.realms = Some(self.realms(&mut cursor, option)?),
                "suppress_prefixlength" | "sup_pl" => {
                    rule.suppress_prefix_len = Some(cursor.number32(option, 0, 128)?);
                }
                "suppress_ifgroup" | "sup_group" => {
                    rule.suppress_group =
                        Some(self.named(&mut cursor, option, List::InterfaceGroups, u32::MAX)?);
                }
                "dev" | "iif" => rule.iif = Some(self.dev(&mut cursor, option)?),
                "oif" => rule.oif = Some(self.dev(&mut cursor, option)?),
                "tunnel-id" => rule.tunnel_id = Some(cursor.number(option, 0, u64::MAX)?),
                "uidrange" => rule.uid_range = Some(range(&mut cursor, option, u32::MAX)?),
                "l3mdev" => rule.l3mdev = true,
                "protocol" => rule.protocol = self.named8(&mut cursor, option, List::Protocols)?,
                "ipproto" | "ip_proto" => rule.ip_proto = Some(ip_protocol(&mut cursor, option)?),
                "sport" => rule.sport = Some(self.ports(&mut cursor, option)?),
                "dport" => rule.dport = Some(self.ports(&mut cursor, option)?),
                "type" => {}
                "goto" => action = Some(RuleAction::Goto(cursor.number32(option, 1, u32::MAX)?)),
                "nop" => action = Some(RuleAction::Nop),
                "blackhole" => action = Some(RuleAction::Blackhole),
                "unreachable" => action = Some(RuleAction::Unreachable),
                "prohibit" => action = Some(RuleAction::Prohibit),
                "no_track" => rule.tracked = false,
                "track_group" if entries == Entries::StaticRules => {
                    track_group = Some(cursor.value(option)?.clone())
                }
                _ => return Err(self.unknown_option(option, entries.options())),
            }
            self.once(&cursor, option, ONCE);
        }
        let dropped = |message: &str| {
            Box::new(
                Finding::warning(Code::MissingSetting, span_of(words), message).assume("the line is ignored"),
            )
        };
        // `l3mdev` names the table by itself.
        rule.action = match action {
            Some(action) => action,
            None if rule.l3mdev => RuleAction::Table(0),
            None => return Err(dropped("a rule without table or action")),
        };
        let selected = [rule.from, rule.to].into_iter().flatten().map(|prefix| Family::of(prefix.ip));
        let mut families = stated.into_iter().chain(selected);
        rule.family = families.next().unwrap_or(Family::V4);
        if families.any(|family| family != rule.family) {
            return Err(dropped("addresses of both families on one line"));
        }
        rule.priority = match preference {
            Some(preference) => preference,
            None => {
                let next = self.next_preference(rule.family);
                let assumed = format!("preference {next}");
                self.warn(Code::MissingSetting, span_of(words), "a rule without preference", &assumed);
                if let Some(last) = words.last() {
                    self.write_behind(last, &["preference", &next.to_string()]);
                }
                next
            }
        };
        match rule.action {
            RuleAction::Goto(target) if target <= rule.priority => {
                Err(dropped("`goto` leads only to rules of higher preference numbers"))
            }
            _ => Ok(RuleLine { rule, track_group }),
        }
    }
}

impl Build<'_> {
    /// `A-B`. keepalived drops a single port, which leaves a rule for every port; that is never what was meant.
    fn ports(&mut self, cursor: &mut Cursor<'_>, option: &Text) -> Result<(u16, u16), Unusable> {
        if let Some((word, port)) = cursor.peek().and_then(|w| Some((w, w.value.parse::<u16>().ok()?))) {
            cursor.next();
            let message = format!("{}: a range of ports is expected", option.value);
            let range = format!("{port}-{port}");
            self.warn(Code::BadValue, word.span, &message, &range);
            self.write_instead(word, &[&range]);
            return Ok((port, port));
        }
        let (from, to) = range(cursor, option, u32::from(u16::MAX))?;
        Ok((u16::try_from(from).unwrap_or(u16::MAX), u16::try_from(to).unwrap_or(u16::MAX)))
    }
}

fn mark(cursor: &mut Cursor<'_>, option: &Text) -> Result<(u32, Option<u32>), Unusable> {
    let word = cursor.value(option)?;
    let (mark, mask) = match word.value.split_once('/') {
        Some((mark, mask)) => (mark, Some(mask)),
        None => (&*word.value, None),
    };
    let number = |text: &str| {
        value::any_base(text)
            .and_then(|n| u32::try_from(n).ok())
            .ok_or_else(|| unusable(word, format!("`{}` is not a mark", word.value)))
    };
    Ok((number(mark)?, mask.map(number).transpose()?))
}

/// `A-B`.
fn range(cursor: &mut Cursor<'_>, option: &Text, max: u32) -> Result<(u32, u32), Unusable> {
    let word = cursor.value(option)?;
    let bounds = word.value.split_once('-').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    match bounds {
        Some((from, to)) if from <= to && to <= max => Ok((from, to)),
        _ => Err(unusable(word, format!("`{}` is not a range like `1-2`", word.value))),
    }
}

/// By number, or by one of the usual names (IANA protocol numbers).
fn ip_protocol(cursor: &mut Cursor<'_>, option: &Text) -> Result<u8, Unusable> {
    const NAMES: [(&str, u8); 12] = [
        ("icmp", 1),
        ("igmp", 2),
        ("ipip", 4),
        ("tcp", 6),
        ("udp", 17),
        ("dccp", 33),
        ("gre", 47),
        ("esp", 50),
        ("ah", 51),
        ("ipv6-icmp", 58),
        ("sctp", 132),
        ("udplite", 136),
    ];
    let word = cursor.value(option)?;
    let named = NAMES.iter().find(|(name, _)| word.value.eq_ignore_ascii_case(name)).map(|(_, n)| *n);
    named
        .or_else(|| word.value.parse().ok())
        .ok_or_else(|| unusable(word, format!("`{}` is not a known protocol", word.value)))
}
