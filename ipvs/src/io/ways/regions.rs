//! Destinations that are routed alike, by the prefixes that routes and rules know.
//!
//! All addresses whose longest known prefix is the same are within the same prefixes of every table, hence no lookup of
//! the kernel can tell them apart. A prefix too many only splits a region in two with the same answer, so none is ever
//! taken out: a deletion that nobody was told of cannot do harm. Starting over from a new dump forgets old ones.

use crate::engine::address::Address;
use crate::virtual_service::Family;

/// Addresses that begin with the same bits. IPv4 is mapped into IPv6, as in [`Address`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Prefix {
    bits: u128,
    len: u8,
}

const BITS: u8 = 128;
const BITS_BEFORE_V4: u8 = 96;

impl Prefix {
    /// The first `len` bits of an address of its family. More than it has are taken as all of them.
    pub const fn new(address: Address, len: u8) -> Self {
        let (before, most) = match address.family() {
            Family::V4 => (BITS_BEFORE_V4, 32),
            Family::V6 => (0, BITS),
        };
        let len = before + if len < most { len } else { most };
        Self { bits: address.bits() & mask(len), len }
    }

    /// Every address of a family.
    pub const fn all(family: Family) -> Self {
        match family {
            Family::V4 => Self::new(Address::v4(0), 0),
            Family::V6 => Self::new(Address::UNSPECIFIED, 0),
        }
    }

    pub const fn contains(self, address: Address) -> bool {
        (address.bits() ^ self.bits) & mask(self.len) == 0
    }

    /// One is within the other.
    pub(super) const fn overlaps(self, other: Self) -> bool {
        let len = if self.len < other.len { self.len } else { other.len };
        (self.bits ^ other.bits) & mask(len) == 0
    }

    const fn covers(self, other: Self) -> bool {
        self.len <= other.len && (other.bits ^ self.bits) & mask(self.len) == 0
    }

    /// What both begin with.
    fn common(self, other: Self) -> Self {
        // No loss: 128 at most.
        let same = u8::try_from((self.bits ^ other.bits).leading_zeros()).unwrap_or(BITS);
        let len = same.min(self.len).min(other.len);
        Self { bits: self.bits & mask(len), len }
    }
}

const fn mask(len: u8) -> u128 {
    if len == 0 { 0 } else { u128::MAX << (BITS - len) }
}

/// The bit after the first `len`.
const fn side(bits: u128, len: u8) -> usize {
    if len >= BITS { 0 } else { (bits >> (BITS - 1 - len) & 1) as usize }
}

/// Whether the hosts of a prefix get one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Every address is routed as every other.
    Shared,
    /// By their address or that of the sender, as with routes that have several next hops.
    PerHost,
}

/// A number for all addresses with the same longest prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Region(u32);

/// A binary tree in which only nodes stand that are a prefix or part two others.
#[derive(Debug)]
pub(super) struct Regions {
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    prefix: Prefix,
    /// `None` for one that only parts others.
    answer: Option<Answer>,
    /// 0 for none: nothing points to the root.
    children: [u32; 2],
}

impl Regions {
    /// Both families, of which nothing is known.
    pub(super) fn new() -> Self {
        let root = Node { prefix: Prefix::all(Family::V6), answer: Some(Answer::Shared), children: [0; 2] };
        let mut regions = Self { nodes: vec![root] };
        // What the kernel treats apart from all routes, and IPv4, which the routes of IPv6 do not lead to.
        for (address, len) in [
            (Address::v4(0), 0),
            (Address::v4(0), 8),
            (Address::v4(0x7f00_0000), 8),
            (Address::v4(0xe000_0000), 4),
            (Address::v4(u32::MAX), 32),
            (Address::v6(0xff << 120), 8),
            (Address::v6(0xfe80 << 112), 10),
            (Address::v6(0), 128),
            (Address::v6(1), 128),
        ] {
            regions.insert(Prefix::new(address, len), Answer::Shared);
        }
        regions
    }

    /// Nodes in memory, 40 bytes each.
    pub(super) const fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn prefix(&self, region: Region) -> Option<Prefix> {
        self.nodes.get(region.0 as usize).map(|node| node.prefix)
    }

    pub(super) fn find(&self, address: Address) -> (Region, Answer) {
        let mut found = (Region(0), Answer::Shared);
        let mut at = 0;
        while let Some(node) = self.nodes.get(at as usize) {
            if !node.prefix.contains(address) {
                break;
            }
            if let Some(answer) = node.answer {
                // A narrower route need not be in the table that is looked at first. Routes of IPv6 are none of IPv4.
                let wider = found.1 == Answer::PerHost && node.prefix != Prefix::all(Family::V4);
                found = (Region(at), if wider { Answer::PerHost } else { answer });
            }
            at = node.child(side(address.bits(), node.prefix.len));
            if at == 0 {
                break;
            }
        }
        found
    }

    /// From now on addresses in the prefix are told from those outside. [`Answer::PerHost`] stays once it was said.
    pub(super) fn insert(&mut self, prefix: Prefix, answer: Answer) {
        let mut parent = 0;
        while let Some(node) = self.nodes.get_mut(parent as usize) {
            if node.prefix == prefix {
                if node.answer != Some(Answer::PerHost) {
                    node.answer = Some(answer);
                }
                return;
            }
            let way = side(prefix.bits, node.prefix.len);
            let at = node.child(way);
            match self.nodes.get(at as usize).map(|child| child.prefix) {
                Some(child) if at != 0 && child.covers(prefix) => parent = at,
                Some(child) if at != 0 => return self.split(parent, way, (at, child), prefix, answer),
                _ => {
                    let leaf = self.push(prefix, Some(answer), [0; 2]);
                    return self.point(parent, way, leaf);
                }
            }
        }
    }

    /// Between a node and a child that is not around the prefix.
    fn split(&mut self, parent: u32, way: usize, child: (u32, Prefix), prefix: Prefix, answer: Answer) {
        let (at, below) = child;
        let common = below.common(prefix);
        let mut children = [0; 2];
        if let Some(slot) = children.get_mut(side(below.bits, common.len)) {
            *slot = at;
        }
        let node = if common == prefix {
            self.push(prefix, Some(answer), children)
        } else {
            let leaf = self.push(prefix, Some(answer), [0; 2]);
            if let Some(slot) = children.get_mut(side(prefix.bits, common.len)) {
                *slot = leaf;
            }
            self.push(common, None, children)
        };
        self.point(parent, way, node);
    }

    /// A table has fewer routes than there are numbers: 2^32 nodes take more memory than kernels route with.
    fn push(&mut self, prefix: Prefix, answer: Option<Answer>, children: [u32; 2]) -> u32 {
        let at = u32::try_from(self.nodes.len()).unwrap_or(0);
        self.nodes.push(Node { prefix, answer, children });
        at
    }

    fn point(&mut self, parent: u32, way: usize, to: u32) {
        let slot = self.nodes.get_mut(parent as usize).and_then(|node| node.children.get_mut(way));
        if let Some(slot) = slot {
            *slot = to;
        }
    }
}

impl Node {
    fn child(&self, way: usize) -> u32 {
        self.children.get(way).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests;
