use super::pool::{Pool, ServerIndex};

/// Least connections: the least load, whatever the weights.
pub(super) fn pick(pool: Pool<'_>) -> Option<ServerIndex> {
    pool.usable().min_by_key(|(_, server)| server.load()).map(|(index, _)| index)
}
