use super::pool::{Pool, ServerIndex};
use super::server::Server;

/// Weighted fail over: the heaviest server takes everything.
pub(super) fn pick(pool: Pool<'_>) -> Option<ServerIndex> {
    heaviest(pool.usable())
}

/// Of equals the first.
pub(super) fn heaviest<'a>(servers: impl Iterator<Item = (ServerIndex, &'a Server)>) -> Option<ServerIndex> {
    let heavier = |best: (ServerIndex, &'a Server), next: (ServerIndex, &'a Server)| {
        if next.1.weight() > best.1.weight() { next } else { best }
    };
    servers.reduce(heavier).map(|(index, _)| index)
}
