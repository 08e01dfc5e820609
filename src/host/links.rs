//! The interfaces of this host and their addresses, as netlink tells them. A value without sockets: messages go
//! in, events and answers come out.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use buoy_vrrp::Family;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoMacVlan, InfoVrf, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};

use super::driver::HostEvent;

const SCOPE_HOST: u8 = 254;

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub name: Arc<str>,
    /// Kernel number; a deleted and recreated interface gets a new one.
    pub index: u32,
    /// Administratively up (`IFF_UP`).
    pub up: bool,
    /// Able to carry traffic (`IFF_RUNNING`: carrier, and not dormant).
    pub running: bool,
    /// Bytes.
    pub mtu: u32,
    /// Hardware address; empty where the kind of link has none.
    pub mac: Vec<u8>,
    pub multicast: bool,
    pub noarp: bool,
    pub loopback: bool,
    pub kind: LinkKind,
    /// Index of the bridge, bond, team or VRF that this interface belongs to.
    pub master: Option<u32>,
    /// `ip link set group`.
    pub group: u32,
    /// `ip link set alias`.
    pub alias: Option<Arc<str>>,
}

/// What matters about the kind of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkKind {
    Macvlan {
        parent: Option<u32>,
        /// `MACVLAN_MODE_*`: private 1, vepa 2, bridge 4, passthru 8, source 16.
        mode: u32,
    },
    /// VLAN, ipvlan and other links that stand on another one.
    Stacked {
        parent: Option<u32>,
    },
    Vrf {
        table: u32,
    },
    Other,
}

impl Link {
    /// The interface that this one stands on (macvlan, ipvlan, VLAN), in this namespace.
    pub fn parent(&self) -> Option<u32> {
        match self.kind {
            LinkKind::Macvlan { parent, .. } | LinkKind::Stacked { parent } => parent,
            LinkKind::Vrf { .. } | LinkKind::Other => None,
        }
    }
}

/// An address as the kernel holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldAddress {
    pub ip: IpAddr,
    pub prefix_len: u8,
    pub peer: Option<IpAddr>,
    pub broadcast: Option<Ipv4Addr>,
    pub label: Option<Arc<str>>,
    /// `RT_SCOPE_*`.
    pub scope: u8,
    /// `IFA_F_*`.
    pub flags: AddressFlags,
    /// `IFA_PROTO`; `None` on kernels before 5.18 and where nobody set it.
    pub protocol: Option<u8>,
}

impl HeldAddress {
    /// Duplicate address detection has not finished.
    pub fn tentative(&self) -> bool {
        self.flags.contains(AddressFlags::Tentative)
    }

    /// Another host answered for the address.
    pub fn dad_failed(&self) -> bool {
        self.flags.contains(AddressFlags::Dadfailed)
    }

    /// IPv4: not the first address of its subnet on the interface.
    pub fn secondary(&self) -> bool {
        self.flags.contains(AddressFlags::Secondary)
    }

    /// Not chosen as the source of new connections.
    pub fn deprecated(&self) -> bool {
        self.flags.contains(AddressFlags::Deprecated)
    }

    /// Without a lifetime.
    pub fn permanent(&self) -> bool {
        self.flags.contains(AddressFlags::Permanent)
    }
}

type Place = (IpAddr, u8);

#[derive(Clone, Debug)]
struct Entry {
    link: Link,
    /// The number keeps the kernel's order.
    addresses: BTreeMap<Place, (u64, HeldAddress)>,
}

/// The table. Call `resync` with a complete reading first, then the `handle_*` methods for every notification,
/// then `poll_events` once the notifications at hand are used up.
#[derive(Clone, Debug, Default)]
pub struct Links {
    entries: BTreeMap<u32, Entry>,
    names: BTreeMap<Arc<str>, u32>,
    arrivals: u64,
    events: Vec<HostEvent>,
    readdressed: BTreeSet<u32>,
}

impl Links {
    pub fn by_name(&self, name: &str) -> Option<&Link> {
        self.by_index(*self.names.get(name)?)
    }

    pub fn by_index(&self, index: u32) -> Option<&Link> {
        Some(&self.entries.get(&index)?.link)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Link> {
        self.entries.values().map(|entry| &entry.link)
    }

    /// Addresses of an interface in the kernel's order.
    pub fn addresses(&self, index: u32) -> Vec<&HeldAddress> {
        let mut ordered: Vec<_> = self.arrived(index).collect();
        ordered.sort_by_key(|(arrival, _)| *arrival);
        ordered.into_iter().map(|(_, held)| held).collect()
    }

    /// Addresses of an interface in no order of meaning.
    pub(super) fn held(&self, index: u32) -> impl Iterator<Item = &HeldAddress> {
        self.arrived(index).map(|(_, held)| held)
    }

    fn arrived(&self, index: u32) -> impl Iterator<Item = &(u64, HeldAddress)> {
        self.entries.get(&index).into_iter().flat_map(|entry| entry.addresses.values())
    }

    pub fn address(&self, index: u32, ip: IpAddr, prefix_len: u8) -> Option<&HeldAddress> {
        self.entries.get(&index)?.addresses.get(&(ip, prefix_len)).map(|(_, held)| held)
    }

    /// The same address as often as the kernel holds it.
    pub(super) fn under_any_prefix(&self, index: u32, ip: IpAddr) -> impl Iterator<Item = &HeldAddress> {
        let entry = self.entries.get(&index).into_iter();
        entry.flat_map(move |entry| entry.addresses.range((ip, 0)..=(ip, u8::MAX))).map(|(_, (_, held))| held)
    }

    /// Whether any interface has this address.
    pub fn have(&self, ip: IpAddr) -> bool {
        self.entries.keys().any(|index| self.under_any_prefix(*index, ip).next().is_some())
    }

    /// Name and routing table of the VRF that the interface is in.
    pub fn vrf_of(&self, name: &str) -> Option<(&Arc<str>, u32)> {
        let master = self.by_index(self.by_name(name)?.master?)?;
        match master.kind {
            LinkKind::Vrf { table } => Some((&master.name, table)),
            _ => None,
        }
    }

    /// Up and running, and so is the interface it stands on.
    pub fn carries(&self, name: &str) -> bool {
        self.by_name(name).is_some_and(|link| {
            let parent = link.parent().and_then(|index| self.by_index(index));
            link.up && link.running && parent.is_none_or(|parent| parent.up && parent.running)
        })
    }

    /// See [`usable_source`].
    pub fn usable_source(&self, ifname: &str, family: Family, our_vips: &HashSet<IpAddr>) -> Option<IpAddr> {
        let link = self.by_name(ifname)?;
        usable_source(link, self.addresses(link.index), family, our_vips)
    }

    /// Takes a complete reading of the kernel's tables: what it does not contain is gone.
    pub fn resync(&mut self, links: &[LinkMessage], addresses: &[AddressMessage]) {
        let present: BTreeSet<u32> = links.iter().map(|message| message.header.index).collect();
        let gone: Vec<u32> = self.entries.keys().copied().filter(|index| !present.contains(index)).collect();
        for index in gone {
            self.remove(index);
        }
        for message in links {
            self.handle_link(message);
        }
        let held: BTreeSet<(u32, Place)> = addresses
            .iter()
            .filter_map(|message| read_address(message).map(|held| (message.header.index, place(&held))))
            .collect();
        for (index, entry) in &mut self.entries {
            let before = entry.addresses.len();
            entry.addresses.retain(|place, _| held.contains(&(*index, *place)));
            if entry.addresses.len() != before {
                self.readdressed.insert(*index);
            }
        }
        for message in addresses {
            self.handle_address(message);
        }
    }

    /// RTM_NEWLINK: an interface appeared or changed. A new name is a new interface.
    pub fn handle_link(&mut self, message: &LinkMessage) {
        let Some(link) = read_link(message) else { return };
        // An older interface under this name was renamed or deleted; its own notification is under way.
        if let Some(&other) = self.names.get(&link.name)
            && other != link.index
        {
            self.remove(other);
        }
        let addresses = match self.entries.get_mut(&link.index) {
            Some(entry) if entry.link == link => return,
            Some(entry) if entry.link.name == link.name => {
                entry.link = link.clone();
                self.events.push(HostEvent::Link(link));
                return;
            }
            Some(entry) => std::mem::take(&mut entry.addresses),
            None => BTreeMap::new(),
        };
        self.remove(link.index);
        if !addresses.is_empty() {
            self.readdressed.insert(link.index);
        }
        self.names.insert(link.name.clone(), link.index);
        self.entries.insert(link.index, Entry { link: link.clone(), addresses });
        self.events.push(HostEvent::Link(link));
    }

    /// RTM_DELLINK.
    pub fn handle_link_gone(&mut self, index: u32) {
        self.remove(index);
    }

    /// RTM_NEWADDR.
    pub fn handle_address(&mut self, message: &AddressMessage) {
        if let Some(held) = read_address(message) {
            self.note_added(message.header.index, held);
        }
    }

    /// RTM_DELADDR.
    pub fn handle_address_gone(&mut self, message: &AddressMessage) {
        if let Some(held) = read_address(message) {
            self.note_removed(message.header.index, held.ip, held.prefix_len);
        }
    }

    /// Like `handle_address`, for an address that we just put there ourselves.
    pub(super) fn note_added(&mut self, index: u32, held: HeldAddress) {
        let Some(entry) = self.entries.get_mut(&index) else { return };
        self.arrivals += 1;
        let slot = entry.addresses.entry(place(&held));
        let arrival = self.arrivals;
        let mut changed = false;
        let known = slot.or_insert_with(|| {
            changed = true;
            (arrival, held.clone())
        });
        if known.1 != held {
            known.1 = held;
            changed = true;
        }
        if changed {
            self.readdressed.insert(index);
        }
    }

    pub(super) fn note_removed(&mut self, index: u32, ip: IpAddr, prefix_len: u8) {
        let Some(entry) = self.entries.get_mut(&index) else { return };
        if entry.addresses.remove(&(ip, prefix_len)).is_some() {
            self.readdressed.insert(index);
        }
    }

    /// What changed since the last call: links in order of arrival, then the complete address list of each
    /// interface whose addresses changed. A refreshed lifetime is no change.
    pub fn poll_events(&mut self) -> Vec<HostEvent> {
        let mut events = std::mem::take(&mut self.events);
        for index in std::mem::take(&mut self.readdressed) {
            let Some(link) = self.by_index(index) else { continue };
            let name = link.name.clone();
            let addresses = self.addresses(index).into_iter().cloned().collect();
            events.push(HostEvent::Addresses { index, name, addresses });
        }
        events
    }

    fn remove(&mut self, index: u32) {
        if let Some(entry) = self.entries.remove(&index) {
            self.names.retain(|_, known| *known != index);
            self.readdressed.remove(&index);
            self.events.push(HostEvent::LinkGone { name: entry.link.name, index });
        }
    }
}

/// The address of an interface to send advertisements from. IPv4: the first that is neither secondary nor one of
/// `our_vips`. IPv6: a link-local address, finished with duplicate address detection and not one of `our_vips`.
pub fn usable_source<'a>(
    link: &Link,
    addresses: impl IntoIterator<Item = &'a HeldAddress>,
    family: Family,
    our_vips: &HashSet<IpAddr>,
) -> Option<IpAddr> {
    addresses
        .into_iter()
        .filter(|held| Family::of(held.ip) == family && !our_vips.contains(&held.ip))
        .find(|held| match held.ip {
            IpAddr::V4(_) => !held.secondary() && (held.scope != SCOPE_HOST || link.loopback),
            IpAddr::V6(ip) => ip.is_unicast_link_local() && !held.tentative() && !held.dad_failed(),
        })
        .map(|held| held.ip)
}

fn place(held: &HeldAddress) -> Place {
    (held.ip, held.prefix_len)
}

fn read_link(message: &LinkMessage) -> Option<Link> {
    let flags = message.header.flags;
    let mut link = Link {
        name: "".into(),
        index: message.header.index,
        up: flags.contains(LinkFlags::Up),
        running: flags.contains(LinkFlags::Running),
        mtu: 0,
        mac: Vec::new(),
        multicast: flags.contains(LinkFlags::Multicast),
        noarp: flags.contains(LinkFlags::Noarp),
        loopback: flags.contains(LinkFlags::Loopback),
        kind: LinkKind::Other,
        master: None,
        group: 0,
        alias: None,
    };
    let mut lower = None;
    let mut elsewhere = false;
    let mut info: &[LinkInfo] = &[];
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name.as_str().into(),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Address(mac) => link.mac.clone_from(mac),
            LinkAttribute::Controller(master) => link.master = Some(*master),
            LinkAttribute::Group(group) => link.group = *group,
            LinkAttribute::IfAlias(alias) => link.alias = Some(alias.as_str().into()),
            LinkAttribute::Link(index) => lower = Some(*index),
            LinkAttribute::LinkNetNsId(_) => elsewhere = true,
            LinkAttribute::LinkInfo(entries) => info = entries,
            _ => {}
        }
    }
    link.kind = read_kind(info, lower.filter(|_| !elsewhere));
    (!link.name.is_empty()).then_some(link)
}

fn read_kind(info: &[LinkInfo], parent: Option<u32>) -> LinkKind {
    let kind = info.iter().find_map(|entry| match entry {
        LinkInfo::Kind(kind) => Some(kind),
        _ => None,
    });
    let data = info.iter().find_map(|entry| match entry {
        LinkInfo::Data(data) => Some(data),
        _ => None,
    });
    match (kind, data) {
        (Some(InfoKind::MacVlan), Some(InfoData::MacVlan(options))) => {
            let mode = options.iter().find_map(|option| match option {
                InfoMacVlan::Mode(mode) => Some(u32::from(*mode)),
                _ => None,
            });
            LinkKind::Macvlan { parent, mode: mode.unwrap_or(0) }
        }
        (Some(InfoKind::Vrf), Some(InfoData::Vrf(options))) => {
            let table = options.iter().find_map(|option| match option {
                InfoVrf::TableId(table) => Some(*table),
                _ => None,
            });
            LinkKind::Vrf { table: table.unwrap_or(0) }
        }
        (Some(InfoKind::Vlan | InfoKind::IpVlan | InfoKind::MacVlan | InfoKind::MacVtap), _) => {
            LinkKind::Stacked { parent }
        }
        _ => LinkKind::Other,
    }
}

/// `None` for messages that carry no address.
pub(super) fn read_address(message: &AddressMessage) -> Option<HeldAddress> {
    let mut local = None;
    let mut address = None;
    let mut held = HeldAddress {
        ip: Ipv4Addr::UNSPECIFIED.into(),
        prefix_len: message.header.prefix_len,
        peer: None,
        broadcast: None,
        label: None,
        scope: message.header.scope.into(),
        flags: AddressFlags::from_bits_retain(message.header.flags.bits().into()),
        protocol: None,
    };
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Address(ip) => address = Some(*ip),
            AddressAttribute::Broadcast(ip) => held.broadcast = Some(*ip),
            AddressAttribute::Label(label) => held.label = Some(label.as_str().into()),
            AddressAttribute::Flags(flags) => held.flags = *flags,
            AddressAttribute::Protocol(protocol) => held.protocol = Some((*protocol).into()),
            _ => {}
        }
    }
    held.ip = local.or(address)?;
    held.peer = address.filter(|peer| local.is_some_and(|local| local != *peer));
    Some(held)
}

#[cfg(test)]
mod tests;
