//! `local_address_group`: the addresses by which servers know clients of full NAT.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use buoy_ipvs::{Family, LocalAddresses};

use super::Build;
use super::entry::span_of;
use super::service_group::{nth, range};
use crate::config::finding::{Code, Finding, nearest};
use crate::config::plan::Static;
use crate::config::settings::{AddressGroup, Settings, VirtualServer};
use crate::config::source::Span;
use crate::host::desired::Address;

/// Most addresses of all groups together: 4 billion connections to each server.
const MOST_ADDRESSES: usize = 1 << 16;

/// Groups by name.
#[derive(Debug, Default)]
pub(super) struct LocalGroups {
    groups: HashMap<Arc<str>, LocalGroup>,
    addresses: usize,
}

#[derive(Debug, Default)]
struct LocalGroup {
    addresses: LocalAddresses,
    /// Those that this host is to have itself.
    own: Vec<(IpAddr, Arc<str>)>,
    is_used: bool,
}

impl LocalGroups {
    /// What the interfaces need that lines of used groups name, except for addresses that are there anyway.
    pub(super) fn missing_of(&self, there: &[Static<Address>]) -> Vec<Static<Address>> {
        let there: BTreeSet<(IpAddr, &Arc<str>)> =
            there.iter().map(|there| (there.item.ip, &there.item.dev)).collect();
        let used = self.groups.values().filter(|group| group.is_used);
        let own: BTreeSet<(IpAddr, &Arc<str>)> =
            used.flat_map(|group| &group.own).map(|(ip, dev)| (*ip, dev)).collect();
        let address = |(ip, dev): &(IpAddr, &Arc<str>)| {
            let item = Address::plain(*ip, Family::of(*ip).bits(), Arc::clone(dev));
            Static { item, track_group: None }
        };
        own.difference(&there).map(address).collect()
    }
}

impl Build<'_> {
    pub(super) fn local_groups(&mut self, settings: &Settings) -> LocalGroups {
        let mut all = LocalGroups::default();
        for group in &settings.local_address_group {
            let made = self.local_group(group, &mut all.addresses);
            all.groups.insert(Arc::clone(&group.name.value), made);
        }
        all
    }

    fn local_group(&mut self, group: &AddressGroup, so_far: &mut usize) -> LocalGroup {
        let mut addresses = Vec::new();
        let mut own = Vec::new();
        for words in &group.entries {
            let Some(first) = words.first() else { continue };
            let line = range(&first.value).and_then(|(from, count)| {
                // Between them there is none that neither of them is.
                let ends = [from, nth(from, count.saturating_sub(1))];
                if let Some(end) = ends.into_iter().find(|end| !may_be_a_host(*end)) {
                    return Err(format!("{end} is not the address of a host"));
                }
                let more = usize::try_from(count).unwrap_or(usize::MAX);
                let total = so_far.checked_add(more).filter(|total| *total <= MOST_ADDRESSES);
                *so_far = total.ok_or_else(|| format!("more than {MOST_ADDRESSES} local addresses"))?;
                Ok((0..count).map(move |n| nth(from, n)))
            });
            let line = match line {
                Ok(line) => line,
                Err(message) => {
                    self.warn(Code::BadValue, span_of(words), &message, "the line is ignored");
                    self.leave_out(first);
                    continue;
                }
            };
            match words.get(1) {
                Some(dev) => {
                    self.interface(dev);
                    addresses.extend(line.inspect(|ip| own.push((*ip, Arc::clone(&dev.value)))));
                }
                None => addresses.extend(line),
            }
        }
        LocalGroup { addresses: addresses.into_iter().collect(), own, is_used: false }
    }

    /// Those of a service of `family`, which needs some when it has servers by full NAT.
    pub(super) fn local_addresses(
        &mut self,
        vs: &VirtualServer,
        full_nat: bool,
        family: Family,
        groups: &mut LocalGroups,
    ) -> LocalAddresses {
        if !full_nat {
            let message = "`laddr_group_name` is for `lb_kind FNAT`";
            vs.laddr_group_name.iter().for_each(|name| self.without_effect(name, message));
            return LocalAddresses::NONE;
        }
        let Some(name) = &vs.laddr_group_name else {
            let message = "`FNAT` without local addresses: write `laddr_group_name` with the name of a \
                           `local_address_group`, to whose addresses servers answer";
            self.findings.push(Finding::error(Code::MissingSetting, said(vs), message));
            return LocalAddresses::NONE;
        };
        let Some(group) = groups.groups.get_mut(&*name.value) else {
            let near = nearest(&name.value, groups.groups.keys().map(|name| &**name)).map(str::to_owned);
            let message = format!("there is no local_address_group `{}`", name.value);
            self.findings.push(Finding::error(Code::Undefined, name.span, message).nearest(near));
            return LocalAddresses::NONE;
        };
        if !group.addresses.as_slice().iter().any(|ip| Family::of(*ip) == family) {
            let message = format!(
                "local_address_group `{}` has no {family} address, by which servers of this service could answer: add \
                 one of this director",
                name.value
            );
            self.findings.push(Finding::error(Code::MissingSetting, name.span, message));
        }
        group.is_used = true;
        group.addresses.clone()
    }
}

/// As the engine sees it.
fn may_be_a_host(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !(v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast()),
        IpAddr::V6(v6) => !(v6.is_unspecified() || v6.is_multicast() || v6.is_unicast_link_local()),
    }
}

/// Where a service says that it is by full NAT, or the service itself when it is its servers that do.
fn said(vs: &VirtualServer) -> Option<Span> {
    let methods = [&vs.lb_kind, &vs.lvs_method].into_iter().flatten().filter_map(|words| words.first());
    let full_nat = methods.filter(|word| &*word.value == "FNAT").max_by_key(|word| word.at);
    full_nat.map(|word| word.span).or_else(|| span_of(&vs.service))
}
