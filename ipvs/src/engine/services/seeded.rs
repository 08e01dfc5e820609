//! A fast hash for tables whose keys come with packets.

use std::hash::{BuildHasher, Hasher};

use fastrand::Rng;

/// Makes hashes from numbers that nobody else knows, so that senders of packets cannot choose keys that collide.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seeded {
    start: u64,
    factor: u64,
}

impl Seeded {
    pub(super) fn new(random: &mut Rng) -> Self {
        // Bits at both ends, so that no part of a key is lost.
        Self { start: random.u64(..), factor: random.u64(..) | 1 << 63 | 1 }
    }
}

impl BuildHasher for Seeded {
    type Hasher = Folded;

    fn build_hasher(&self) -> Folded {
        Folded { hash: self.start, factor: self.factor }
    }
}

/// Multiplies to 128 bits and adds both halves without carry, once for each number of a key. Keys are of fixed length.
#[derive(Clone, Copy, Debug)]
pub(super) struct Folded {
    hash: u64,
    factor: u64,
}

impl Hasher for Folded {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, value: u64) {
        let product = u128::from(self.hash ^ value) * u128::from(self.factor);
        let (low, high) = halves(product);
        self.hash = (low ^ high).wrapping_add(self.factor);
    }

    fn write_u128(&mut self, value: u128) {
        let (low, high) = halves(value);
        self.write_u64(low);
        self.write_u64(high);
    }

    fn finish(&self) -> u64 {
        self.hash
    }
}

#[expect(clippy::cast_possible_truncation, reason = "each half is cut out")]
const fn halves(value: u128) -> (u64, u64) {
    (value as u64, (value >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn keys_that_differ_in_few_bits_spread_over_the_ends_of_the_hash() {
        let mut random = Rng::with_seed(7);
        for _ in 0..20 {
            let seeded = Seeded::new(&mut random);
            let (mut low, mut high) = (BTreeSet::new(), BTreeSet::new());
            for number in 0..4096_u128 {
                let hash = seeded.hash_one((0xffff_0a00_0000 | number, 80_u64));
                low.insert(hash & 0xfff);
                high.insert(hash >> 52);
            }
            // Random numbers would take 63 % of the places.
            assert!(low.len() > 2200 && high.len() > 2200, "{} {}", low.len(), high.len());
        }
    }

    #[test]
    fn another_seed_hashes_otherwise() {
        let hash = |seed| Seeded::new(&mut Rng::with_seed(seed)).hash_one((5_u128, 6_u64));
        assert_ne!(hash(1), hash(2));
    }
}
