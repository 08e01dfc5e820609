use super::pool::{Pool, ServerIndex};
use super::wlc::least;

/// Shortest expected delay: the fewest active connections for its weight, the new one included.
///
/// UDP has no active connections: all of it goes to the heaviest server.
pub(super) fn pick(pool: Pool<'_>) -> Option<ServerIndex> {
    least(pool.usable(), |server| u64::from(server.active()) + 1)
}
