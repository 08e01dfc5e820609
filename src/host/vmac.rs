//! Interfaces that carry the virtual MAC address (RFC 9568 §7.3): macvlans in private mode on the interface that
//! the virtual router stands on.
//!
//! keepalived joins the multicast group on the macvlan and has nftables move the IGMP reports to the parent, lest
//! switches learn the virtual MAC from a backup. That is not needed where the group is joined on the parent: then
//! the macvlan sends nothing while its router is backup.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use buoy_vrrp::{Family, Vrid};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::link::{LinkMessage, MacVlanMode};
use rtnetlink::{LinkMacVlan, LinkUnspec};

use super::address;
use super::desired::Address;
use super::item::Items;
use super::links::{Link, LinkKind, Links};
use super::netlink::{Request, rtm};
use super::sysctl::{Ipv4Knob, Ipv6Knob, Setting, Sysctls};
use crate::config::plan::{Plan, Router, Vmac};

/// The alias of the interfaces that we made: those of an earlier run are known by it.
pub(super) const MARK: &str = "buoy";

const MACVLAN_MODE_PRIVATE: u32 = 1;
/// IN6_ADDR_GEN_MODE_NONE.
const NO_ADDRESS_GENERATION: i64 = 1;
/// The kernel's limit for interface names without the terminating NUL.
const NAME_LEN: usize = 15;

/// One virtual MAC interface as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmacSpec {
    pub name: Arc<str>,
    pub parent: Arc<str>,
    pub mac: [u8; 6],
    pub family: Family,
    /// IPv6 is off on the VMAC of an IPv4 router, unless it carries IPv6 addresses too.
    pub ipv6: bool,
    /// A link-local address of its own to send advertisements from: a configured one, or the parent's.
    pub source: LinkLocal,
    pub group: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkLocal {
    /// Nothing is sent from the VMAC.
    NotNeeded,
    OfParent,
    Configured(Ipv6Addr),
}

/// The virtual MAC interfaces of a configuration, with their names settled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vmacs {
    specs: Vec<VmacSpec>,
    /// Configured names: automatic ones give way to them, whichever router comes first.
    reserved: BTreeSet<Arc<str>>,
    names: BTreeMap<(Arc<str>, Vrid, Family), Arc<str>>,
}

/// What a router wants of a VMAC besides its configured properties.
struct Claim<'a> {
    vrid: Vrid,
    family: Family,
    /// It carries IPv6 addresses.
    ipv6: bool,
    source: LinkLocal,
    /// Of the name, where none is configured.
    prefix: &'a str,
}

impl Vmacs {
    pub fn of(plan: &Plan) -> Self {
        let configured = plan.routers.iter().filter_map(|router| router.vmac.as_ref()?.name.clone());
        let mut vmacs = Self { reserved: configured.collect(), ..Self::default() };
        for router in &plan.routers {
            let mut addresses = router.addresses.iter().chain(&router.excluded);
            let claim = Claim {
                vrid: router.election.vrid,
                family: router.election.family,
                ipv6: addresses.clone().any(|address| address.ip.is_ipv6()),
                source: LinkLocal::NotNeeded,
                prefix: &plan.global.vmac_addr_prefix,
            };
            if let (Some(vmac), Some(parent)) = (&router.vmac, &router.interface) {
                let source = match router.source {
                    _ if claim.family == Family::V4 || vmac.xmit_base => LinkLocal::NotNeeded,
                    Some(IpAddr::V6(ip)) => LinkLocal::Configured(ip),
                    _ => LinkLocal::OfParent,
                };
                vmacs.add(parent, vmac, &Claim { source, prefix: &plan.global.vmac_prefix, ..claim });
            }
            for address in addresses.by_ref().filter(|address| address.own_vmac) {
                vmacs.add(&address.dev, &Vmac::default(), &claim);
            }
        }
        vmacs
    }

    pub fn specs(&self) -> &[VmacSpec] {
        &self.specs
    }

    /// The VMAC that stands for the interface of `router` (`use_vmac`).
    pub fn interface_of(&self, router: &Router) -> Option<&Arc<str>> {
        router.vmac.as_ref()?;
        self.names.get(&key(router, router.interface.as_ref()?))
    }

    /// What `router` holds as master: its virtual addresses on its VMAC where it has one, then the excluded ones,
    /// routes and rules.
    pub fn items_of(&self, router: &Router) -> Items {
        let place = |address: &Address| {
            let moved =
                address.own_vmac || router.vmac.is_some() && router.interface.as_ref() == Some(&address.dev);
            let vmac = self.names.get(&key(router, &address.dev)).filter(|_| moved);
            Address { dev: vmac.unwrap_or(&address.dev).clone(), ..address.clone() }
        };
        Items {
            addresses: router.addresses.iter().chain(&router.excluded).map(place).collect(),
            routes: router.routes.clone(),
            rules: router.rules.clone(),
        }
    }

    /// One VMAC per parent, VRID and family, whoever asks first.
    fn add(&mut self, parent: &Arc<str>, vmac: &Vmac, claim: &Claim<'_>) {
        let key = (parent.clone(), claim.vrid, claim.family);
        if self.names.contains_key(&key) {
            return;
        }
        let free = || self.free_name(claim.prefix, claim.vrid, claim.family);
        let name = vmac.name.clone().unwrap_or_else(free);
        self.specs.push(VmacSpec {
            name: name.clone(),
            parent: parent.clone(),
            mac: vmac.mac.unwrap_or_else(|| virtual_mac(claim.vrid, claim.family)),
            family: claim.family,
            ipv6: claim.family == Family::V6 || claim.ipv6,
            source: claim.source,
            group: vmac.group,
        });
        self.names.insert(key, name);
    }

    /// `vrrp.VRID`, or `vrrp6.VRID` for IPv6, or `vrrpN.VRID`: the first that no other VMAC has.
    fn free_name(&self, prefix: &str, vrid: Vrid, family: Family) -> Arc<str> {
        let given = self.specs.iter().map(|spec| &*spec.name);
        let taken: BTreeSet<&str> = given.chain(self.reserved.iter().map(|name| &**name)).collect();
        let plain = std::iter::once(format!("{prefix}.{vrid}"));
        let six = (family == Family::V6).then(|| format!("{prefix}6.{vrid}"));
        let numbered = (1_u32..).map(|number| format!("{prefix}{number}.{vrid}"));
        let mut names = plain.chain(six).chain(numbered).map(|mut name| {
            // Keep the distinguishing end of a name that the kernel would refuse as too long.
            while name.len() > NAME_LEN {
                name.remove(0);
            }
            name
        });
        names.find(|name| !taken.contains(name.as_str())).unwrap_or_default().into()
    }
}

fn key(router: &Router, parent: &Arc<str>) -> (Arc<str>, Vrid, Family) {
    (parent.clone(), router.election.vrid, router.election.family)
}

/// RFC 9568 §7.3: 00-00-5E-00-01-{VRID} for IPv4, 00-00-5E-00-02-{VRID} for IPv6.
fn virtual_mac(vrid: Vrid, family: Family) -> [u8; 6] {
    let block = match family {
        Family::V4 => 1,
        Family::V6 => 2,
    };
    [0x00, 0x00, 0x5e, 0x00, block, vrid.get()]
}

/// The interface of that name is none of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NotOurs;

impl VmacSpec {
    /// The interface is there and stands on the right parent.
    pub(super) fn link<'a>(&self, links: &'a Links) -> Option<&'a Link> {
        let parent = links.by_name(&self.parent)?.index;
        links.by_name(&self.name).filter(|link| self.stands_on(link, parent))
    }

    /// The interface is there, on the right parent or on one that was renamed since.
    pub(super) fn made<'a>(&self, links: &'a Links) -> Option<&'a Link> {
        let marked = || links.by_name(&self.name).filter(|link| is_marked(link));
        self.link(links).or_else(marked)
    }

    /// Makes the interface exist with the right address and mode: nothing when it does, or when its parent does
    /// not. A macvlan on another parent is replaced.
    pub(super) fn creation(&self, links: &Links) -> Result<Vec<Request>, NotOurs> {
        let Some(parent) = links.by_name(&self.parent) else { return Ok(Vec::new()) };
        let mut requests = Vec::new();
        match links.by_name(&self.name) {
            Some(link) if self.stands_on(link, parent.index) => {
                if link.mac != self.mac {
                    let message = LinkUnspec::new_with_index(link.index).address(self.mac.to_vec()).build();
                    requests.push(set(&message));
                }
                if !matches!(link.kind, LinkKind::Macvlan { mode: MACVLAN_MODE_PRIVATE, .. }) {
                    let change =
                        LinkMacVlan::new(&self.name, parent.index, MacVlanMode::Private).index(link.index);
                    requests.push(Request::new(rtm::NEWLINK, 0, &change.build()));
                }
                // An alias that somebody else chose stays.
                if link.alias.is_none() {
                    requests.push(set(&LinkUnspec::new_with_index(link.index).alias(MARK).build()));
                }
                return Ok(requests);
            }
            Some(link) if matches!(link.kind, LinkKind::Macvlan { .. }) => {
                requests.push(deletion(link.index));
            }
            Some(_) => return Err(NotOurs),
            // Renamed by somebody, it still has the MAC address that the new one is to have.
            None => requests.extend(
                links
                    .iter()
                    .filter(|link| {
                        is_marked(link) && self.stands_on(link, parent.index) && link.mac == self.mac
                    })
                    .map(|link| deletion(link.index)),
            ),
        }
        let mut message = LinkMacVlan::new(&self.name, parent.index, MacVlanMode::Private)
            .address(self.mac.to_vec())
            .link_group(self.group.unwrap_or(parent.group));
        if let Some((name, _)) = links.vrf_of(&self.parent)
            && let Some(vrf) = links.by_name(name)
        {
            message = message.controller(vrf.index);
        }
        requests.push(Request::new(rtm::NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &message.build()));
        // The kernel takes no alias along with a creation.
        requests.push(set(&LinkUnspec::new_with_name(&self.name).alias(MARK).build()));
        Ok(requests)
    }

    /// What makes an existing interface ready: its link-local address and being up. Call `settle` before, for an
    /// interface that comes up with the wrong settings announces itself.
    pub(super) fn activation(&self, links: &Links) -> Vec<Request> {
        let Some(link) = self.link(links) else { return Vec::new() };
        let mut requests = Vec::new();
        if let Some(source) = self.source_address(links)
            && links.address(link.index, source.ip, source.prefix_len).is_none()
        {
            requests.push(address::put(&source, link.index, None));
        }
        if !link.up {
            requests.push(set(&LinkUnspec::new_with_index(link.index).up().build()));
        }
        requests
    }

    /// Whether `settle` was done for this interface and its parent.
    pub(super) fn settled(&self, sysctls: &Sysctls) -> bool {
        match self.family {
            Family::V4 => [&self.name, &self.parent]
                .into_iter()
                .all(|dev| sysctls.settled(&Setting::ipv4(dev, Ipv4Knob::ArpIgnore))),
            Family::V6 => sysctls.settled(&Setting::ipv6(&self.name, Ipv6Knob::AddrGenMode)),
        }
    }

    /// Kernel settings of the VMAC and its parent.
    pub(super) fn settle(&self, sysctls: &mut Sysctls) {
        match self.family {
            Family::V4 => {
                let own = [
                    (Ipv4Knob::ArpIgnore, 1),
                    (Ipv4Knob::AcceptLocal, 1),
                    (Ipv4Knob::RpFilter, 0),
                    (Ipv4Knob::PromoteSecondaries, 1),
                ];
                for (knob, value) in own {
                    sysctls.try_set(&Setting::ipv4(&self.name, knob), value);
                }
                for knob in [Ipv4Knob::ArpIgnore, Ipv4Knob::ArpFilter] {
                    sysctls.try_set(&Setting::ipv4(&self.parent, knob), 1);
                }
                if !self.ipv6 {
                    sysctls.try_set(&Setting::ipv6(&self.name, Ipv6Knob::DisableIpv6), 1);
                }
            }
            Family::V6 => {}
        }
        if self.ipv6 {
            sysctls.try_set(&Setting::ipv6(&self.name, Ipv6Knob::AddrGenMode), NO_ADDRESS_GENERATION);
        }
    }

    fn stands_on(&self, link: &Link, parent: u32) -> bool {
        matches!(link.kind, LinkKind::Macvlan { parent: Some(actual), .. } if actual == parent)
    }

    /// The address to send advertisements from, where the interface has one of its own.
    pub(super) fn source_address(&self, links: &Links) -> Option<Address> {
        let parent = links.by_name(&self.parent)?;
        let ip = match self.source {
            LinkLocal::NotNeeded => return None,
            LinkLocal::Configured(ip) => ip,
            LinkLocal::OfParent => links
                .addresses(parent.index)
                .iter()
                .find_map(|held| match held.ip {
                    IpAddr::V6(ip) if ip.is_unicast_link_local() => Some(ip),
                    _ => None,
                })
                .or_else(|| link_local_of(&parent.mac))?,
        };
        Some(Address::plain(ip.into(), 64, self.name.clone()))
    }
}

/// `all.rp_filter` would override the VMACs' own: off, with every interface raised to what it effectively had.
pub(super) fn free_rp_filter(sysctls: &mut Sysctls) {
    let all = Setting::ipv4(&"all".into(), Ipv4Knob::RpFilter);
    let Ok(overriding) = sysctls.read(&all) else { return };
    if overriding == 0 {
        return;
    }
    for dev in sysctls.ipv4_devices().unwrap_or_default() {
        let setting = Setting::ipv4(&dev, Ipv4Knob::RpFilter);
        if setting != all && sysctls.read(&setting).is_ok_and(|own| own < overriding) {
            sysctls.try_set(&setting, overriding);
        }
    }
    sysctls.try_set(&all, 0);
}

/// A macvlan that a Buoy made.
pub(super) fn is_marked(link: &Link) -> bool {
    matches!(link.kind, LinkKind::Macvlan { .. }) && link.alias.as_deref() == Some(MARK)
}

pub(super) fn deletion(index: u32) -> Request {
    Request::new(rtm::DELLINK, 0, &LinkUnspec::new_with_index(index).build())
}

fn set(message: &LinkMessage) -> Request {
    Request::new(rtm::NEWLINK, 0, message)
}

/// RFC 4291 appendix A: the modified EUI-64 form of an Ethernet address below fe80::/64.
fn link_local_of(mac: &[u8]) -> Option<Ipv6Addr> {
    let [a, b, c, d, e, f] = *<&[u8; 6]>::try_from(mac).ok()?;
    let word = |high, low| u16::from_be_bytes([high, low]);
    Some(Ipv6Addr::new(0xfe80, 0, 0, 0, word(a ^ 2, b), word(c, 0xff), word(0xfe, d), word(e, f)))
}

#[cfg(test)]
mod tests;
