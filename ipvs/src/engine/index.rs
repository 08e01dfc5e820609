//! Where the entry of a key is: a hash table of numbers, whose keys stand in the entries themselves.
//!
//! A bucket is one cache line of fifteen places, so that a lookup reads one line here and one of the entry. What does not
//! fit goes to the next bucket with room, and every bucket counts what went past it: a lookup that finds nothing ends in
//! the first bucket that nothing has passed, in all but a few cases its own. Nothing is ever moved, and no removal leaves
//! anything behind.

use thiserror::Error;

const PLACES: usize = 15;
/// Places in use of each bucket, on average, when the table is full.
const LOAD: usize = 9;
const TAG_SHIFT: u32 = 24;
const ENTRY_MASK: u32 = (1 << TAG_SHIFT) - 1;

/// Numbers below [`Index::MOST`] by the hashes of their keys, any of them under several.
#[derive(Debug)]
pub struct Index {
    buckets: Box<[Bucket]>,
    mask: usize,
    len: usize,
    capacity: usize,
}

#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Bucket {
    /// Eight bits of the hash, and the entry plus one; 0 for an empty place.
    places: [u32; PLACES],
    /// Entries that belong here or before, and were put behind.
    passed: u32,
}

/// No more entries than the table was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the table is full")]
pub struct Full;

impl Index {
    /// Entries that can be told apart.
    pub const MOST: u32 = ENTRY_MASK;

    /// Has room for `capacity` places: 64 bytes for nine of them, which the system gives when they are first used.
    pub fn with_capacity(capacity: usize) -> Self {
        let buckets = capacity.div_ceil(LOAD).next_power_of_two();
        Self { buckets: vec![Bucket::default(); buckets].into(), mask: buckets - 1, len: 0, capacity }
    }

    pub const fn len(&self) -> usize {
        self.len
    }

    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The first entry under this hash, or one that looks like it, that `is_it`, which compares the keys.
    pub fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let tag = tag_of(hash);
        for at in self.path(hash) {
            let bucket = self.buckets.get(at)?;
            let mut places = bucket.places_with(tag);
            while places != 0 {
                let place = bucket.places.get(places.trailing_zeros() as usize)?;
                let entry = (place & ENTRY_MASK).checked_sub(1)?;
                if is_it(entry) {
                    return Some(entry);
                }
                places &= places - 1;
            }
            if bucket.passed == 0 {
                return None;
            }
        }
        None
    }

    /// Brings the place of a hash near: lookups that follow on several of these wait together, not one by one. The number
    /// means nothing.
    pub fn approach(&self, hash: u64) -> u32 {
        self.buckets.get(self.home(hash)).map_or(0, |bucket| bucket.passed)
    }

    /// Adds an entry under a hash. The caller sees to it that it is not there under this hash yet.
    ///
    /// # Errors
    /// Full, or the entry is not below [`Index::MOST`].
    pub fn insert(&mut self, hash: u64, entry: u32) -> Result<(), Full> {
        if self.len >= self.capacity || entry >= Self::MOST {
            return Err(Full);
        }
        let place = tag_of(hash) | (entry + 1);
        for at in self.path(hash) {
            let bucket = self.buckets.get_mut(at).ok_or(Full)?;
            if let Some(free) = bucket.places.iter_mut().find(|place| **place == 0) {
                *free = place;
                self.len += 1;
                return Ok(());
            }
            bucket.passed += 1;
        }
        // Unreachable while there are fewer entries than places; the counts are put right all the same.
        self.buckets.iter_mut().for_each(|bucket| bucket.passed -= 1);
        Err(Full)
    }

    /// Removes an entry from under a hash where it is; says whether it was found.
    pub fn remove(&mut self, hash: u64, entry: u32) -> bool {
        let place = tag_of(hash) | entry.saturating_add(1).min(ENTRY_MASK);
        let found = self.path(hash).enumerate().find_map(|(steps, at)| {
            let bucket = self.buckets.get(at)?;
            let position = bucket.places.iter().position(|there| *there == place);
            match position {
                Some(position) => Some(Some((steps, at, position))),
                None => (bucket.passed == 0).then_some(None),
            }
        });
        let Some(Some((steps, at, position))) = found else { return false };
        if let Some(place) = self.buckets.get_mut(at).and_then(|bucket| bucket.places.get_mut(position)) {
            *place = 0;
        }
        for at in self.path(hash).take(steps) {
            if let Some(bucket) = self.buckets.get_mut(at) {
                bucket.passed -= 1;
            }
        }
        self.len -= 1;
        true
    }

    fn home(&self, hash: u64) -> usize {
        // The tag is taken from the other end.
        usize::try_from(hash & u64::from(u32::MAX)).unwrap_or_default() & self.mask
    }

    /// All buckets, in the order in which one hash tries them.
    fn path(&self, hash: u64) -> impl Iterator<Item = usize> + use<> {
        let (home, mask) = (self.home(hash), self.mask);
        (0..=mask).map(move |step| (home + step) & mask)
    }
}

impl Bucket {
    /// A bit for each place in use that has this tag.
    fn places_with(&self, tag: u32) -> u32 {
        let mut found = 0;
        for (bit, place) in self.places.iter().enumerate() {
            let has = place & !ENTRY_MASK == tag && *place & ENTRY_MASK != 0;
            found |= u32::from(has) << bit;
        }
        found
    }
}

/// The highest eight bits, in their place.
const fn tag_of(hash: u64) -> u32 {
    ((hash >> 56) as u32) << TAG_SHIFT
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn entries_are_found_by_hash_and_key() {
        let mut index = Index::with_capacity(100);
        index.insert(7, 1).unwrap();
        index.insert(7, 2).unwrap();
        index.insert(7 | 1 << 60, 3).unwrap();
        assert_eq!(index.find(7, |entry| entry == 2), Some(2));
        assert_eq!(index.find(7, |entry| entry == 3), None);
        assert_eq!(index.find(8, |_| true), None);
        assert!(index.remove(7, 2) && !index.remove(7, 2) && !index.remove(8, 1));
        assert_eq!((index.find(7, |_| true), index.len()), (Some(1), 2));
    }

    #[test]
    fn a_full_table_takes_no_more_and_an_empty_one_is_as_new() {
        let mut index = Index::with_capacity(1_000);
        for entry in 0..1_000 {
            // All in one bucket: the worst there is.
            index.insert(5, entry).unwrap();
        }
        assert_eq!(index.insert(5, 1_000), Err(Full));
        assert_eq!(index.insert(6, Index::MOST), Err(Full));
        assert_eq!(index.find(5, |entry| entry == 999), Some(999));
        for entry in 0..1_000 {
            assert!(index.remove(5, entry), "{entry}");
        }
        assert!(index.is_empty());
        assert!(index.buckets.iter().all(|bucket| bucket.passed == 0 && bucket.places == [0; PLACES]));
    }

    #[test]
    fn a_lookup_in_a_full_table_reads_little_more_than_its_bucket() {
        let mut index = Index::with_capacity(90_000);
        let mut random = fastrand::Rng::with_seed(1);
        for entry in 0..90_000 {
            index.insert(random.u64(..), entry).unwrap();
        }
        let passed: u64 = index.buckets.iter().map(|bucket| u64::from(bucket.passed)).sum();
        assert!(passed < 90_000 / 20, "{passed} of them are not in the first bucket that they tried");
    }

    proptest! {
        #[test]
        fn it_holds_what_was_put_there(
            // Few buckets and tags, so that everything collides.
            steps in prop::collection::vec((0..4_u64, 0..3_u64, 0..60_u32, any::<bool>()), 0..300),
        ) {
            let (mut index, mut model) = (Index::with_capacity(64), BTreeSet::new());
            for (low, high, entry, adds) in steps {
                let hash = high << 56 | low;
                if adds {
                    if !model.contains(&(hash, entry)) {
                        let full = model.len() == 64;
                        prop_assert_eq!(index.insert(hash, entry).is_err(), full);
                        if !full {
                            model.insert((hash, entry));
                        }
                    }
                } else if model.remove(&(hash, entry)) {
                    prop_assert!(index.remove(hash, entry));
                }
                prop_assert_eq!(index.len(), model.len());
            }
            for low in 0..4 {
                for high in 0..3_u64 {
                    for entry in 0..60 {
                        let hash = high << 56 | low;
                        let found = index.find(hash, |there| there == entry).is_some();
                        // What is near and looks alike is for the keys to tell apart.
                        let alike = (0..4).any(|low| model.contains(&(high << 56 | low, entry)));
                        let fits = if found { alike } else { !model.contains(&(hash, entry)) };
                        prop_assert!(fits, "{hash:x} {entry}");
                    }
                }
            }
            for (hash, entry) in model {
                prop_assert!(index.remove(hash, entry));
            }
            prop_assert!(index.is_empty() && index.buckets.iter().all(|bucket| bucket.passed == 0));
        }
    }
}
