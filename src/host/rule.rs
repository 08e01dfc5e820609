//! Policy rules as rtnetlink messages, and whether the kernel already holds what is wanted.

use std::collections::BTreeMap;

use buoy_vrrp::Family;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{RouteProtocol, RouteRealm};
use netlink_packet_route::rule::{
    RuleAction as Action, RuleAttribute, RuleFlags, RuleHeader, RuleMessage, RulePortRange, RuleUidRange,
};

use super::desired::{Rule, RuleAction};
use super::netlink::{Request, attributes, emit, rtm};

const HEADER_LEN: usize = 12;
const INVERT: u32 = 2;

const FRA_PRIORITY: u16 = 6;
const FRA_SUPPRESS_PREFIXLEN: u16 = 14;
const FRA_TABLE: u16 = 15;
const FRA_PAD: u16 = 18;
const FRA_PROTOCOL: u16 = 21;
const FRA_SPORT_MASK: u16 = 28;
const FRA_DPORT_MASK: u16 = 29;

pub(super) fn put(rule: &Rule) -> Request {
    Request::new(rtm::NEWRULE, NLM_F_CREATE | NLM_F_EXCL, &message(rule))
}

pub(super) fn remove(rule: &Rule) -> Request {
    Request::new(rtm::DELRULE, 0, &message(rule))
}

/// A dump request for the rules of one family.
pub(super) fn listing(family: Family) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = address_family(family);
    message
}

/// A rule of the kernel, split for comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HeldRule {
    header: [u8; HEADER_LEN],
    attributes: BTreeMap<u16, Vec<u8>>,
}

impl HeldRule {
    pub(super) fn read(payload: &[u8]) -> Option<Self> {
        let (header, body) = payload.split_first_chunk::<HEADER_LEN>()?;
        Some(Self { header: *header, attributes: attributes(body).map(trim_name).collect() })
    }

    /// `FRA_PROTOCOL`.
    pub(super) fn protocol(&self) -> Option<u8> {
        self.attributes.get(&FRA_PROTOCOL)?.first().copied()
    }

    /// The preference.
    pub(super) fn priority(&self) -> u32 {
        let value = self.attributes.get(&FRA_PRIORITY).and_then(|value| value.first_chunk());
        value.map_or(0, |value| u32::from_ne_bytes(*value))
    }
}

/// What the kernel reports once the rule is there; compare with [`satisfies`].
pub(super) fn expected(rule: &Rule) -> HeldRule {
    HeldRule::read(&emit(&message(rule))).expect("a rule message has a header")
}

/// Everything that was asked for is there, and no further selector.
pub(super) fn satisfies(held: &HeldRule, expected: &HeldRule) -> bool {
    let (mut ours, mut theirs) = (expected.header, held.header);
    for header in [&mut ours, &mut theirs] {
        // Table numbers beyond 255 are in the attribute only; of the flags only "not" is a setting.
        header[4] = 0;
        let flags = u32::from_ne_bytes([header[8], header[9], header[10], header[11]]) & INVERT;
        header[8..].copy_from_slice(&flags.to_ne_bytes());
    }
    ours == theirs
        && expected.attributes.iter().all(|(kind, value)| held.attributes.get(kind) == Some(value))
        && held.attributes.iter().all(|(kind, value)| match *kind {
            FRA_TABLE | FRA_PAD => true,
            // All ones is how newer kernels say that nothing was asked for.
            FRA_SUPPRESS_PREFIXLEN | FRA_SPORT_MASK | FRA_DPORT_MASK if all_ones(value) => true,
            _ => expected.attributes.contains_key(kind),
        })
}

fn all_ones(value: &[u8]) -> bool {
    value.iter().all(|byte| *byte == 0xff)
}

/// Interface names end in a NUL or not, depending on who wrote them.
fn trim_name((kind, mut value): (u16, Vec<u8>)) -> (u16, Vec<u8>) {
    const FRA_IIFNAME: u16 = 3;
    const FRA_OIFNAME: u16 = 17;
    if matches!(kind, FRA_IIFNAME | FRA_OIFNAME) {
        while value.last() == Some(&0) {
            value.pop();
        }
    }
    (kind, value)
}

fn message(rule: &Rule) -> RuleMessage {
    let (action, table) = match rule.action {
        RuleAction::Table(table) => (Action::ToTable, Some(table)),
        RuleAction::Goto(_) => (Action::Goto, None),
        RuleAction::Nop => (Action::Nop, None),
        RuleAction::Blackhole => (Action::Blackhole, None),
        RuleAction::Unreachable => (Action::Unreachable, None),
        RuleAction::Prohibit => (Action::Prohibit, None),
    };
    // The kernel takes the table of an l3mdev rule from the device and refuses another one.
    let table = table.filter(|_| !rule.l3mdev);
    let mut message = RuleMessage::default();
    message.header = RuleHeader {
        family: address_family(rule.family),
        dst_len: rule.to.map_or(0, |to| to.len),
        src_len: rule.from.map_or(0, |from| from.len),
        tos: rule.tos,
        table: table.and_then(|table| u8::try_from(table).ok()).unwrap_or(0),
        action,
        flags: if rule.invert { RuleFlags::Invert } else { RuleFlags::empty() },
    };
    message.attributes = selectors(rule);
    message.attributes.extend(table.map(RuleAttribute::Table));
    if let RuleAction::Goto(target) = rule.action {
        message.attributes.push(RuleAttribute::Goto(target));
    }
    message
}

fn selectors(rule: &Rule) -> Vec<RuleAttribute> {
    let mut all = vec![
        RuleAttribute::Priority(rule.priority),
        RuleAttribute::Protocol(RouteProtocol::from(rule.protocol)),
    ];
    all.extend(rule.from.filter(|from| from.len > 0).map(|from| RuleAttribute::Source(from.ip)));
    all.extend(rule.to.filter(|to| to.len > 0).map(|to| RuleAttribute::Destination(to.ip)));
    if let Some((mark, mask)) = rule.fwmark {
        all.extend([RuleAttribute::FwMark(mark), RuleAttribute::FwMask(mask.unwrap_or(u32::MAX))]);
    }
    all.extend(rule.realms.map(|realms| RuleAttribute::Realm(split_realms(realms))));
    all.extend(rule.suppress_prefix_len.map(RuleAttribute::SuppressPrefixLen));
    all.extend(rule.suppress_group.map(RuleAttribute::SuppressIfGroup));
    all.extend(rule.iif.as_ref().map(|name| RuleAttribute::Iifname(name.to_string())));
    all.extend(rule.oif.as_ref().map(|name| RuleAttribute::Oifname(name.to_string())));
    all.extend(rule.tunnel_id.map(RuleAttribute::TunId));
    all.extend(rule.uid_range.map(|(start, end)| RuleAttribute::UidRange(RuleUidRange { start, end })));
    if rule.l3mdev {
        all.push(RuleAttribute::L3MDev(true));
    }
    all.extend(rule.ip_proto.map(|proto| RuleAttribute::IpProtocol(i32::from(proto).into())));
    let range = |(start, end)| RulePortRange { start, end };
    all.extend(rule.sport.map(|ports| RuleAttribute::SourcePortRange(range(ports))));
    all.extend(rule.dport.map(|ports| RuleAttribute::DestinationPortRange(range(ports))));
    all
}

fn split_realms(realms: u32) -> RouteRealm {
    RouteRealm {
        source: u16::try_from(realms >> 16).unwrap_or(0),
        destination: u16::try_from(realms & 0xffff).unwrap_or(0),
    }
}

fn address_family(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}
