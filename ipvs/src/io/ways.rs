//! How a packet gets to an address: interface, neighbour, longest packet, source address; from the routes, rules, links
//! and neighbours that the kernel has.
//!
//! *Routes:* the kernel answers, always, so that rules, metrics, sources, next-hop objects and what future kernels
//! route by are as they are for its own packets. It is not asked for each address: destinations that are within the
//! same prefixes of all routes and rules get the same answer. The narrowest of these prefixes is found here, and one
//! answer is kept for each, for each set of mark bits that rules look at, and for each source address if rules look at
//! sources. A hundred thousand clients behind a default route are one question. Where routes have several next hops
//! each host is asked for, and clients are spread as the kernel spreads its own flows by their addresses.
//!
//! *Path MTUs:* an answer that is an exception for its host counts for this host alone, for half a minute. But the
//! kernel does not tell when it learns of one, and hosts whose prefix has an answer are not asked for; nor does it
//! learn from answers to packets that it has not sent. The engine, which sees these answers, tells of them
//! ([`Ways::learn_path_mtu`]).
//!
//! *Neighbours* are resolved by the kernel: it is asked to when one is needed and unknown, while it stays so (every
//! second), and when a neighbour in use becomes stale, since packets that programs forward do not confirm anything. This
//! costs what the kernel spends on a neighbour of its own traffic: a probe in the 15 to 45 seconds for which it believes
//! in one. One that the kernel forgets keeps its address until another is heard of or resolution fails. Each neighbour in
//! use has a place in the array that the programs read: a neighbour that moves is one write.
//!
//! *Interfaces:* over Ethernet without ARP (and `lo`) a neighbour is reached at the interface's own address, as the kernel
//! does it, unless it has a permanent one. On interfaces without link-layer addresses (TUN, tunnels) nothing can be
//! written in front of a packet: these ways have [`LinkLayer::Absent`], and their packets are for the kernel to send. An
//! interface that is down or without carrier makes all behind it pending.
//!
//! *Differs from IPVS:* a source that is no address of this host is not looked at, as the kernel routes by those only for
//! packets that come in by an interface. Rules by interface, user, protocol, port and TOS see a packet of this host
//! without them. The MTU of an interface is that of IPv4, and a smaller one of IPv6 (`mtu` in its `sysctl`s) not seen.
//! A change of the `sysctl`s by which the kernel routes is seen with the next change of a route, link or address.

mod answers;
mod driver;
mod links;
mod message;
mod neighbours;
mod next_hop_table;
mod path_mtus;
mod regions;
mod topology;

pub use driver::{NextHopWriter, Ways, WaysError};
pub use next_hop_table::NextHopTable;
pub use topology::{Effect, Lookup, Topology};

/// What a netlink message says, and what the kernel answers: what goes into a [`Topology`].
pub mod input {
    pub use super::answers::{Question, Route};
    pub use super::links::{Link, LinkKind};
    pub use super::message::Event;
    pub use super::neighbours::{Neighbour, Reachability};
    pub use super::regions::Prefix;
}

use super::next_hop::NextHopIndex;
use crate::engine::address::Address;

/// How packets get to a destination, at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    pub kind: Kind,
    /// The index of the interface that they leave by; 0 if they do not.
    pub interface: u32,
    /// Who takes them there: a gateway, or the destination itself.
    pub neighbour: Address,
    /// The address that this host would speak from.
    pub source: Option<Address>,
    /// The longest packet, in bytes from the IP header on: of the interface, or less if the route or the path has less.
    pub mtu: u32,
    pub link_layer: LinkLayer,
    /// The MTU that is not the interface's: next hops that differ in it are different ones.
    limit: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Unicast,
    /// An address of this host.
    Local,
    /// No route, one of that type, or a broadcast or multicast group, which is no host.
    Unreachable,
    Blackhole,
    Prohibit,
}

/// What is known of the neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkLayer {
    /// Programs that read that place of the array forward there.
    Known(NextHopIndex),
    /// The kernel was asked to find out, or the interface is down, or all places of the array are in use. A packet that
    /// is handed to the kernel's own stack arrives as soon as the kernel can have it arrive.
    Pending,
    /// There is none: packets are not sent, are this host's own, or go by an interface without link-layer addresses.
    Absent,
}

/// What is different, for those who keep ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Changed {
    /// The neighbour of that place has become known, unknown, or another. The array says so already.
    Neighbour(NextHopIndex),
    /// Ways that were handed out may be others now.
    Routes,
    /// This host has other addresses.
    Addresses,
}
