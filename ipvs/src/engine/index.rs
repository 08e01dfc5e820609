//! Where the entry of a key is: a hash table of numbers, whose keys stand in the entries themselves.
//!
//! A bucket is one cache line of twelve places, so that a lookup reads one line here and one of the entry. What does not
//! fit goes to the next bucket with room, and every bucket counts what went past it: a lookup that finds nothing ends in
//! the first bucket that nothing has passed, in all but a few cases its own. Nothing is ever moved, and no removal leaves
//! anything behind.

use thiserror::Error;

const PLACES: usize = 12;
/// Places in use of each bucket, on average, when the table is full.
const LOAD: usize = 8;

/// Numbers below [`Index::MOST`] by the hashes of their keys, any of them under several.
#[derive(Debug)]
pub struct Index {
    buckets: Box<[Bucket]>,
    len: usize,
    capacity: usize,
}

#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Bucket {
    /// Plus one; 0 for an empty place.
    entries: [u32; PLACES],
    /// Eight bits of the hash of each. They stand together, to be compared all at once.
    tags: [u8; PLACES],
    /// Entries that belong here or before, and were put behind.
    passed: u32,
}

const _: () = assert!(size_of::<Bucket>() == 64);

/// No more entries than the table was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the table is full")]
pub struct Full;

impl Index {
    /// Entries that can be told apart.
    pub const MOST: u32 = 1 << 31;

    /// Has room for `capacity` places, and takes eight bytes for each.
    pub fn with_capacity(capacity: usize) -> Self {
        let buckets = capacity.div_ceil(LOAD).max(1);
        Self { buckets: vec![Bucket::default(); buckets].into(), len: 0, capacity }
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
        let mut at = self.home(hash);
        for _ in 0..self.buckets.len() {
            let bucket = self.buckets.get(at)?;
            let mut places = bucket.places_with(tag);
            while places != 0 {
                let place = places.trailing_zeros() / u8::BITS;
                let entry = bucket.entries.get(place as usize).and_then(|entry| entry.checked_sub(1));
                if let Some(entry) = entry.filter(|entry| is_it(*entry)) {
                    return Some(entry);
                }
                places &= places - 1;
            }
            if bucket.passed == 0 {
                return None;
            }
            at = self.next(at);
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
        let mut at = self.home(hash);
        for _ in 0..self.buckets.len() {
            let next = self.next(at);
            let bucket = self.buckets.get_mut(at).ok_or(Full)?;
            if bucket.put(tag_of(hash), entry + 1) {
                self.len += 1;
                return Ok(());
            }
            bucket.passed += 1;
            at = next;
        }
        // Unreachable while there are fewer entries than places; the counts are put right all the same.
        self.buckets.iter_mut().for_each(|bucket| bucket.passed -= 1);
        Err(Full)
    }

    /// Removes an entry from under a hash where it is; says whether it was found.
    pub fn remove(&mut self, hash: u64, entry: u32) -> bool {
        let Some(steps) = self.take(hash, entry) else { return false };
        let mut at = self.home(hash);
        for _ in 0..steps {
            let next = self.next(at);
            if let Some(bucket) = self.buckets.get_mut(at) {
                bucket.passed -= 1;
            }
            at = next;
        }
        self.len -= 1;
        true
    }

    /// Empties the place of an entry. Returns how many buckets it had passed.
    fn take(&mut self, hash: u64, entry: u32) -> Option<usize> {
        let (tag, entry) = (tag_of(hash), entry.checked_add(1)?);
        let mut at = self.home(hash);
        for steps in 0..self.buckets.len() {
            let next = self.next(at);
            let bucket = self.buckets.get_mut(at)?;
            if bucket.take(tag, entry) {
                return Some(steps);
            }
            if bucket.passed == 0 {
                return None;
            }
            at = next;
        }
        None
    }

    /// The first bucket for a hash, by its lower half: the tag is taken from the other end.
    fn home(&self, hash: u64) -> usize {
        let buckets = self.buckets.len() as u64;
        // A share of the buckets, so that there may be any number of them. It is below that number.
        (((hash & u64::from(u32::MAX)) * buckets) >> 32) as usize
    }

    /// The bucket for what does not fit into this one.
    const fn next(&self, at: usize) -> usize {
        if at + 1 < self.buckets.len() { at + 1 } else { 0 }
    }
}

impl Bucket {
    /// The highest bit of each place's byte where the tag is this one.
    fn places_with(&self, tag: u8) -> u128 {
        const ONES: u128 = (u128::MAX / u8::MAX as u128) >> (8 * (size_of::<u128>() - PLACES));
        const LOWER: u128 = ONES * 0x7f;
        let mut tags = [0; size_of::<u128>()];
        if let Some(places) = tags.first_chunk_mut() {
            *places = self.tags;
        }
        // Tags agree where their difference is zero. Anything else carries into the highest bit, or has it.
        let differences = u128::from_le_bytes(tags) ^ (ONES * u128::from(tag));
        !(((differences & LOWER) + LOWER) | differences) & (ONES << 7)
    }

    /// Fills an empty place, if there is one.
    fn put(&mut self, tag: u8, entry: u32) -> bool {
        let mut places = self.entries.iter_mut().zip(&mut self.tags);
        let Some(free) = places.find(|(there, _)| **there == 0) else { return false };
        (*free.0, *free.1) = (entry, tag);
        true
    }

    /// Empties the place that has this, if there is one.
    fn take(&mut self, tag: u8, entry: u32) -> bool {
        let mut places = self.entries.iter_mut().zip(&mut self.tags);
        let Some(place) = places.find(|(there, its)| **there == entry && **its == tag) else { return false };
        (*place.0, *place.1) = (0, 0);
        true
    }
}

/// The highest eight bits.
const fn tag_of(hash: u64) -> u8 {
    (hash >> 56) as u8
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
        assert_eq!(index.find(7 | 1 << 31, |_| true), None);
        assert!(index.remove(7, 2) && !index.remove(7, 2) && !index.remove(7 | 1 << 31, 1));
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
        assert!(index.buckets.iter().all(|bucket| bucket.passed == 0 && bucket.entries == [0; PLACES]));
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
                let hash = high << 56 | low << 29;
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
                        let hash = high << 56 | low << 29;
                        let found = index.find(hash, |there| there == entry).is_some();
                        // What is near and looks alike is for the keys to tell apart.
                        let alike = (0..4).any(|low| model.contains(&(high << 56 | low << 29, entry)));
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
