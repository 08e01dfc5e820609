use super::fo::heaviest;
use super::pool::{Pool, ServerIndex};

/// Weighted overflow: the heaviest server whose active connections do not exceed its weight. So each takes one more
/// than its weight, and after that there is no server.
///
/// UDP has no active connections: it never overflows.
pub(super) fn pick(pool: Pool<'_>) -> Option<ServerIndex> {
    heaviest(pool.usable().filter(|(_, server)| server.active() <= server.weight()))
}
