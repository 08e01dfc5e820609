use super::Request;
use super::hash::mix;
use super::pool::{Pool, ServerIndex};
use crate::engine::address::Address;
use crate::scheduler::SchedulerFlags;

/// Weighted destination and source hashing, which Linux does not have: each client (or destination) has its server, by
/// weighted rendezvous hashing. Servers have the shares that their weights say. Nobody moves save those who have to:
/// clients of a server that goes or loses weight to all others, and as many as it needs to one that comes or gains
/// weight. The choice depends on who the servers are and on nothing that was before, such as the order in which they
/// came: directors with the same configuration choose alike.
///
/// That takes time for each server, as with least connections, where the tables of dh, sh and mh take none.
#[derive(Clone, Debug)]
pub(super) struct Rendezvous {
    /// Of the servers, in the order of the list.
    hashes: Vec<u64>,
}

impl Rendezvous {
    pub(super) fn new(pool: Pool<'_>) -> Self {
        let mut rendezvous = Self { hashes: Vec::new() };
        rendezvous.changed(pool);
        rendezvous
    }

    /// A server came or went.
    pub(super) fn changed(&mut self, pool: Pool<'_>) {
        let hash = |position| {
            let id = pool.at(position).map(|(_, server)| server.id());
            id.map_or(0, |id| hash(id.address.into(), id.port))
        };
        self.hashes = (0..pool.len()).map(hash).collect();
    }

    pub(super) fn by_destination(
        &self,
        pool: Pool<'_>,
        request: &Request,
        flags: SchedulerFlags,
    ) -> Option<ServerIndex> {
        self.pick(pool, hash(request.destination, 0), flags)
    }

    /// Flag 2 hashes the source port too.
    pub(super) fn by_source(
        &self,
        pool: Pool<'_>,
        request: &Request,
        flags: SchedulerFlags,
    ) -> Option<ServerIndex> {
        let port = if flags.flag_2 { request.source_port } else { 0 };
        self.pick(pool, hash(request.source, port), flags)
    }

    /// With flag 1 the clients of an overloaded server go to others.
    fn pick(&self, pool: Pool<'_>, client: u64, flags: SchedulerFlags) -> Option<ServerIndex> {
        let (mut best, mut shortest) = (None, f64::INFINITY);
        for (position, hash) in self.hashes.iter().enumerate() {
            let Some((index, server)) = pool.at(position) else { continue };
            if server.weight() == 0 || flags.flag_1 && server.is_overloaded() {
                continue;
            }
            let weight = f64::from(server.weight());
            let chance = fraction(mix(hash ^ client));
            // Of exponentially distributed times, each at the rate of its weight, the shortest wins. A logarithm costs
            // more than all the rest, and -ln(x) is never less than 1 - x.
            if 1.0 - chance < shortest * weight {
                let time = -chance.ln() / weight;
                if time < shortest {
                    (best, shortest) = (Some(index), time);
                }
            }
        }
        best.and_then(|index| pool.if_usable(index))
    }
}

fn hash(address: Address, port: u16) -> u64 {
    #[expect(clippy::cast_possible_truncation, reason = "halves of the address")]
    let (upper, lower) = ((address.bits() >> 64) as u64, address.bits() as u64);
    mix(mix(mix(upper) ^ lower) ^ u64::from(port))
}

/// Between 0 and 1, neither included.
#[expect(clippy::cast_precision_loss, reason = "52 bits and a half fit")]
const fn fraction(hash: u64) -> f64 {
    ((hash >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
}
