//! Addresses as rtnetlink messages, and whether the kernel already holds what is wanted.

use std::net::IpAddr;
use std::time::Duration;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressMessage, AddressProtocol, CacheInfo,
};

use super::desired::{Address, PROTOCOL};
use super::links::{HeldAddress, read_address};
use super::netlink::{Request, rtm};

const FOREVER: u32 = u32::MAX;
const SCOPE_UNIVERSE: u8 = 0;
const SCOPE_HOST: u8 = 254;

/// Puts the address there, or renews the lifetime of one that is.
pub(super) fn put(address: &Address, index: u32, lease: Option<Duration>) -> Request {
    Request::new(rtm::NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, &message(address, index, lease))
}

pub(super) fn remove(address: &Address, index: u32) -> Request {
    let mut message = header(address, index);
    message.attributes = whose(address);
    Request::new(rtm::DELADDR, 0, &message)
}

/// What the kernel's table says once `put` is done.
pub(super) fn once_put(address: &Address, index: u32, lease: Option<Duration>) -> Option<HeldAddress> {
    let mut held = read_address(&message(address, index, lease))?;
    held.flags.set(AddressFlags::Permanent, lease.is_none());
    held.flags.set(AddressFlags::Deprecated, preferred(address, lease) == 0);
    Some(held)
}

/// The kernel's address is the wanted one in all that was asked for.
pub(super) fn satisfies(held: &HeldAddress, wanted: &Address, leased: bool) -> bool {
    identical(held, wanted)
        && held.permanent() != leased
        && match preferred(wanted, None) {
            0 => held.deprecated(),
            FOREVER => !held.deprecated(),
            _ => true,
        }
}

/// The kernel's address differs from the wanted one at most in what `put` can change in place.
pub(super) fn identical(held: &HeldAddress, wanted: &Address) -> bool {
    let settable = flags(wanted) - AddressFlags::Nodad;
    let settings = AddressFlags::Homeaddress
        | AddressFlags::Managetempaddr
        | AddressFlags::Noprefixroute
        | AddressFlags::Mcautojoin;
    held.ip == wanted.ip
        && held.prefix_len == wanted.prefix_len
        && held.peer == wanted.peer.filter(|peer| *peer != wanted.ip)
        && held.flags & settings == settable
        && (wanted.ip.is_ipv6()
            || held.broadcast == wanted.broadcast
                && held.scope == scope(wanted)
                && wanted.label.as_ref().is_none_or(|label| held.label.as_ref() == Some(label)))
}

fn message(address: &Address, index: u32, lease: Option<Duration>) -> AddressMessage {
    let mut message = header(address, index);
    message.attributes = whose(address);
    if let Some(broadcast) = address.broadcast {
        message.attributes.push(AddressAttribute::Broadcast(broadcast));
    }
    if let Some(label) = &address.label {
        message.attributes.push(AddressAttribute::Label(label.to_string()));
    }
    let mut lifetime = CacheInfo::default();
    lifetime.ifa_valid = valid(lease);
    lifetime.ifa_preferred = preferred(address, lease);
    message.attributes.extend([
        AddressAttribute::Flags(flags(address)),
        AddressAttribute::CacheInfo(lifetime),
        AddressAttribute::Protocol(AddressProtocol::Other(PROTOCOL)),
    ]);
    message
}

fn header(address: &Address, index: u32) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = match address.ip {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    message.header.prefix_len = address.prefix_len;
    message.header.scope = scope(address).into();
    message.header.index = index;
    message
}

/// The kernel's idea of a point-to-point address: LOCAL is ours and ADDRESS the peer's, or ours again.
fn whose(address: &Address) -> Vec<AddressAttribute> {
    vec![AddressAttribute::Local(address.ip), AddressAttribute::Address(address.peer.unwrap_or(address.ip))]
}

fn scope(address: &Address) -> u8 {
    match (address.scope, address.ip) {
        (Some(scope), IpAddr::V4(_)) => scope,
        (None, IpAddr::V4(ip)) if ip.is_loopback() => SCOPE_HOST,
        // The kernel derives the scope of an IPv6 address from the address.
        _ => SCOPE_UNIVERSE,
    }
}

fn flags(address: &Address) -> AddressFlags {
    let mut flags = AddressFlags::empty();
    flags.set(AddressFlags::Nodad, address.ip.is_ipv6() && !address.dad);
    flags.set(AddressFlags::Homeaddress, address.home);
    flags.set(AddressFlags::Managetempaddr, address.mngtmpaddr);
    flags.set(AddressFlags::Noprefixroute, address.noprefixroute);
    flags.set(AddressFlags::Mcautojoin, address.autojoin);
    flags
}

/// Whole seconds, rounded up: a lease is never shorter than promised.
fn valid(lease: Option<Duration>) -> u32 {
    lease.map_or(FOREVER, |lease| {
        let seconds = lease.as_secs() + u64::from(lease.subsec_nanos() > 0);
        u32::try_from(seconds).unwrap_or(FOREVER).max(1)
    })
}

fn preferred(address: &Address, lease: Option<Duration>) -> u32 {
    // A single IPv6 address is never to become the source of the host's own connections.
    let single = address.ip.is_ipv6() && address.prefix_len == 128;
    let wanted = address.preferred.unwrap_or(if single { 0 } else { FOREVER });
    wanted.min(valid(lease))
}
