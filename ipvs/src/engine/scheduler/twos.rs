use fastrand::Rng;

use super::pool::{Pool, ServerIndex};
use super::server::Server;
use super::wlc::least;

/// The better of two random choices, each server chosen as often as its weight says. The first one in the list has one
/// chance more.
#[derive(Clone, Debug)]
pub(super) struct TwoChoices {
    random: Rng,
}

impl TwoChoices {
    pub(super) fn new(seed: u64) -> Self {
        Self { random: Rng::with_seed(seed) }
    }

    pub(super) fn pick(&mut self, pool: Pool<'_>) -> Option<ServerIndex> {
        let total = pool.usable().map(|(_, server)| u64::from(server.weight())).sum();
        let choices = [self.random.u64(0..=total), self.random.u64(0..=total)].map(|mut left| {
            pool.usable().find(|(_, server)| {
                left = left.saturating_sub(u64::from(server.weight()));
                left == 0
            })
        });
        least(choices.into_iter().flatten(), Server::load)
    }
}
