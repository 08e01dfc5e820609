use super::hash::hash_32;
use super::pool::{Pool, ServerIndex};
use crate::engine::address::Address;

const BITS: u32 = 8;

/// Destination hashing: each destination address has its server, whatever the weights. Of use with firewall marks,
/// whose services have many destinations.
#[derive(Clone, Debug)]
pub(super) struct DestinationHashing {
    buckets: Box<[Option<ServerIndex>; 1 << BITS]>,
}

impl DestinationHashing {
    pub(super) fn new(pool: Pool<'_>) -> Self {
        let mut hashing = Self { buckets: Box::new([None; 1 << BITS]) };
        hashing.changed(pool);
        hashing
    }

    /// A server came or went.
    pub(super) fn changed(&mut self, pool: Pool<'_>) {
        self.buckets.fill(None);
        for (bucket, (index, _)) in self.buckets.iter_mut().zip(pool.iter().cycle()) {
            *bucket = Some(index);
        }
    }

    pub(super) fn pick(&self, pool: Pool<'_>, destination: Address) -> Option<ServerIndex> {
        let bucket = self.buckets.get(usize::try_from(hash_32(destination.folded(), BITS)).ok()?)?;
        bucket.and_then(|index| pool.if_usable(index))
    }
}
