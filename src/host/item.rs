//! What the host holds for somebody, and how it is named in logs and events.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::desired::{Address, Prefix, Route, Rule, RuleAction};

/// On whose behalf something is held.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Owner {
    /// The static items of the configuration, held as long as the daemon runs.
    Static,
    /// A virtual router, by its name.
    Router(Arc<str>),
    /// A configuration that an earlier run had: nothing of it is wanted.
    Former,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Static => f.write_str("static items"),
            Self::Router(name) => f.write_str(name),
            Self::Former => f.write_str("a former configuration"),
        }
    }
}

/// Everything held for one router, or all static items. Put in place in this order (addresses, routes, rules) and taken away in
/// the opposite one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Items {
    /// Virtual addresses, then excluded ones.
    pub addresses: Vec<Address>,
    pub routes: Vec<Route>,
    pub rules: Vec<Rule>,
}

/// One of the [`Items`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    Address(Box<Address>),
    Route(Box<Route>),
    Rule(Box<Rule>),
}

/// Position of an item within its [`Items`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Slot {
    Address(usize),
    Route(usize),
    Rule(usize),
}

impl Items {
    /// In the order of putting in place.
    pub(super) fn slots(&self) -> impl DoubleEndedIterator<Item = Slot> + use<> {
        let (addresses, routes, rules) = (self.addresses.len(), self.routes.len(), self.rules.len());
        let routes = (0..routes).map(Slot::Route);
        (0..addresses).map(Slot::Address).chain(routes).chain((0..rules).map(Slot::Rule))
    }

    /// Appends an item; its position.
    pub(super) fn push(&mut self, item: Item) -> Slot {
        match item {
            Item::Address(address) => {
                self.addresses.push(*address);
                Slot::Address(self.addresses.len() - 1)
            }
            Item::Route(route) => {
                self.routes.push(*route);
                Slot::Route(self.routes.len() - 1)
            }
            Item::Rule(rule) => {
                self.rules.push(*rule);
                Slot::Rule(self.rules.len() - 1)
            }
        }
    }

    pub(super) fn get(&self, slot: Slot) -> Option<ItemRef<'_>> {
        match slot {
            Slot::Address(at) => self.addresses.get(at).map(ItemRef::Address),
            Slot::Route(at) => self.routes.get(at).map(ItemRef::Route),
            Slot::Rule(at) => self.rules.get(at).map(ItemRef::Rule),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ItemRef<'a> {
    Address(&'a Address),
    Route(&'a Route),
    Rule(&'a Rule),
}

impl ItemRef<'_> {
    pub(super) fn tracked(self) -> bool {
        match self {
            Self::Address(address) => address.tracked,
            Self::Route(route) => route.tracked,
            Self::Rule(rule) => rule.tracked,
        }
    }

    /// The interfaces without which the item cannot be there.
    pub(super) fn devices(self) -> Vec<Arc<str>> {
        match self {
            Self::Address(address) => vec![address.dev.clone()],
            Self::Route(route) => route
                .dev
                .iter()
                .chain(route.next_hops.iter().filter_map(|hop| hop.dev.as_ref()))
                .cloned()
                .collect(),
            // A rule names its interfaces and outlives them.
            Self::Rule(_) => Vec::new(),
        }
    }

    /// The same item with the interface `from` under its name `to`; `None` where it does not need that interface.
    pub(super) fn moved(self, from: &str, to: &Arc<str>) -> Option<Item> {
        self.devices().iter().any(|dev| **dev == *from).then(|| {
            let mut item = self.to_item();
            match &mut item {
                Item::Address(address) => address.dev = to.clone(),
                Item::Route(route) => {
                    let hops = route.next_hops.iter_mut().map(|hop| &mut hop.dev);
                    let devices = std::iter::once(&mut route.dev).chain(hops).flatten();
                    devices.filter(|dev| ***dev == *from).for_each(|dev| *dev = to.clone());
                }
                Item::Rule(_) => {}
            }
            item
        })
    }

    pub(super) fn to_item(self) -> Item {
        match self {
            Self::Address(address) => Item::Address(Box::new(address.clone())),
            Self::Route(route) => Item::Route(Box::new(route.clone())),
            Self::Rule(rule) => Item::Rule(Box::new(rule.clone())),
        }
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => ItemRef::Address(address).fmt(f),
            Self::Route(route) => ItemRef::Route(route).fmt(f),
            Self::Rule(rule) => ItemRef::Rule(rule).fmt(f),
        }
    }
}

impl fmt::Display for ItemRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(Address { ip, prefix_len, dev, .. }) => {
                write!(f, "address {ip}/{prefix_len} dev {dev}")
            }
            Self::Route(route) => {
                write!(f, "route {}", Written(&route.destination))?;
                write_some(f, " via ", route.via.as_ref())?;
                write_some(f, " dev ", route.dev.as_ref())?;
                write_some(f, " metric ", route.metric.as_ref())?;
                write!(f, " table {}", route.table)
            }
            Self::Rule(rule) => {
                write!(f, "rule {} preference {}", rule.family, rule.priority)?;
                write_some(f, " from ", rule.from.as_ref().map(Written).as_ref())?;
                write_some(f, " to ", rule.to.as_ref().map(Written).as_ref())?;
                match rule.action {
                    RuleAction::Table(table) => write!(f, " table {table}"),
                    RuleAction::Goto(target) => write!(f, " goto {target}"),
                    RuleAction::Nop => f.write_str(" nop"),
                    RuleAction::Blackhole => f.write_str(" blackhole"),
                    RuleAction::Unreachable => f.write_str(" unreachable"),
                    RuleAction::Prohibit => f.write_str(" prohibit"),
                }
            }
        }
    }
}

fn write_some<T: fmt::Display>(f: &mut fmt::Formatter<'_>, word: &str, value: Option<&T>) -> fmt::Result {
    value.map_or(Ok(()), |value| write!(f, "{word}{value}"))
}

struct Written<'a>(&'a Prefix);

impl fmt::Display for Written<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Prefix { ip, len } = self.0;
        match (ip, len) {
            (_, 0) => f.write_str("default"),
            (IpAddr::V4(_), 32) | (IpAddr::V6(_), 128) => write!(f, "{ip}"),
            _ => write!(f, "{ip}/{len}"),
        }
    }
}
