use std::iter;

use super::Request;
use super::hash::hash_32;
use super::pool::{Pool, ServerIndex};
use crate::scheduler::SchedulerFlags;

const BITS: u32 = 8;
const BUCKETS: usize = 1 << BITS;

/// Source hashing: each client has its server. A server has as many buckets in a row as its weight says, and at least
/// one; where there are more than buckets, what comes last in the list has none.
///
/// Any change of the servers moves most clients: nine of ten when one of ten servers goes. mh and wsh move few.
#[derive(Clone, Debug)]
pub(super) struct SourceHashing {
    buckets: Box<[Option<ServerIndex>; BUCKETS]>,
}

impl SourceHashing {
    pub(super) fn new(pool: Pool<'_>) -> Self {
        let mut hashing = Self { buckets: Box::new([None; BUCKETS]) };
        hashing.changed(pool);
        hashing
    }

    /// A server came, went, or has another weight.
    pub(super) fn changed(&mut self, pool: Pool<'_>) {
        self.buckets.fill(None);
        let turns = pool.iter().cycle().flat_map(|(index, server)| {
            let turns = usize::try_from(server.weight()).unwrap_or(BUCKETS);
            iter::repeat_n(index, turns.clamp(1, BUCKETS))
        });
        for (bucket, index) in self.buckets.iter_mut().zip(turns) {
            *bucket = Some(index);
        }
    }

    /// Flag 1 looks further where the client's server takes nothing, flag 2 hashes the source port too.
    pub(super) fn pick(
        &self,
        pool: Pool<'_>,
        request: &Request,
        flags: SchedulerFlags,
    ) -> Option<ServerIndex> {
        let port = if flags.flag_2 { u32::from(request.source_port) } else { 0 };
        let hash = usize::try_from(hash_32(request.source.folded().wrapping_add(port), BITS)).ok()?;
        let first = self.bucket(hash, 0)?;
        match pool.if_usable(first) {
            None if flags.flag_1 && pool.usable().next().is_some() => {
                let further = (0..BUCKETS).map_while(|offset| self.bucket(hash, offset + hash));
                further.filter_map(|index| pool.if_usable(index)).next()
            }
            usable => usable,
        }
    }

    fn bucket(&self, hash: usize, offset: usize) -> Option<ServerIndex> {
        self.buckets.get((hash + offset) % BUCKETS).copied().flatten()
    }

    #[cfg(test)]
    pub(super) fn buckets(&self) -> &[Option<ServerIndex>] {
        &*self.buckets
    }
}
