use super::pool::{Pool, ServerIndex};
use super::server::Server;

/// Weighted least connections: the least load for its weight.
pub(super) fn pick(pool: Pool<'_>) -> Option<ServerIndex> {
    least(pool.usable(), Server::load)
}

/// The server with the least cost for its weight, which is not 0; of equals the first.
pub(super) fn least<'a>(
    servers: impl Iterator<Item = (ServerIndex, &'a Server)>,
    cost: impl Fn(&Server) -> u64,
) -> Option<ServerIndex> {
    // A cost at no weight is more than any.
    let (mut best, mut least, mut its_weight) = (None, 1_u64, 0_u32);
    for (index, server) in servers {
        let (cost, weight) = (cost(server), server.weight());
        if u128::from(least) * u128::from(weight) > u128::from(cost) * u128::from(its_weight) {
            (best, least, its_weight) = (Some(index), cost, weight);
        }
    }
    best
}
