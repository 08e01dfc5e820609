use super::pool::{Pool, ServerIndex};
use super::sed;

/// Never queue: the first server that is idle, otherwise the shortest expected delay.
///
/// UDP has no active connections: all of it goes to the first server.
pub(super) fn pick(pool: Pool<'_>) -> Option<ServerIndex> {
    let idle = pool.usable().find(|(_, server)| server.active() == 0);
    idle.map(|(index, _)| index).or_else(|| sed::pick(pool))
}
