//! Why fragments are not taken.

use std::collections::BTreeMap;

use thiserror::Error;

use crate::engine::packet::Malformed;

/// What is wrong with a fragment, or with the datagram that it belongs to. Lengths are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// The packet is whole: there is nothing to wait for.
    #[error("not a fragment")]
    NotAFragment,
    /// The fragment is not what was read of it, or the datagram is no packet when it is whole.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("a wrong checksum in the IPv4 header")]
    HeaderChecksum,
    #[error("no data")]
    Empty,
    /// What follows could not say where it begins.
    #[error("{length} bytes of data, and more to follow")]
    Misaligned { length: usize },
    #[error("a datagram of {length} bytes")]
    TooLong { length: usize },
    /// It has bytes that another one has too, but is not that one again (RFC 5722).
    #[error("overlaps another fragment")]
    Overlap,
    /// Two fragments that do not agree where the datagram ends.
    #[error("a datagram that ends in two places")]
    TwoEnds,
    #[error("more fragments than a datagram may have")]
    TooManyFragments,
    /// Its datagram was dropped for what another fragment did.
    #[error("of a datagram that is dropped")]
    Spoilt,
    /// Some fragments were sent by an ECN-capable transport and others were not (RFC 3168, 5.3). A mark of congestion
    /// would be lost, or come where nobody understands it.
    #[error("marks of ECN that contradict each other")]
    EcnMix,
    /// Fragments of fragments, which no host sends.
    #[error("the datagram is a fragment itself")]
    Nested,
    /// Not even if all others were evicted.
    #[error("a datagram that is longer than all that may wait")]
    NoRoom,
}

impl Refused {
    /// Name of the cause in statistics.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::NotAFragment => "not_a_fragment",
            Self::Malformed(_) => "malformed",
            Self::HeaderChecksum => "header_checksum",
            Self::Empty => "empty",
            Self::Misaligned { .. } => "misaligned",
            Self::TooLong { .. } => "too_long",
            Self::Overlap => "overlap",
            Self::TwoEnds => "two_ends",
            Self::TooManyFragments => "too_many_fragments",
            Self::Spoilt => "spoilt",
            Self::EcnMix => "ecn_mix",
            Self::Nested => "nested",
            Self::NoRoom => "no_room",
        }
    }
}

/// How many fragments were refused, by cause.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RefusedCounters(BTreeMap<&'static str, u64>);

impl RefusedCounters {
    pub(super) fn count(&mut self, refused: &Refused) {
        let count = self.0.entry(refused.name()).or_default();
        *count = count.saturating_add(1);
    }

    /// Causes that occurred, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().map(|(name, count)| (*name, *count))
    }
}
