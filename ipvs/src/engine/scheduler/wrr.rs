use super::pool::{Pool, ServerIndex};

/// Weighted round robin: passes over the list, each for the servers of a certain weight at least. That level goes down
/// in steps of the weights' greatest common divisor, and starts again from the top.
#[derive(Clone, Debug)]
pub(super) struct WeightedRoundRobin {
    /// Where in the list the last choice stands; before the list when a pass begins.
    last: Option<usize>,
    /// The weight that this pass asks for: 1 and so many steps. 0 before there is a server of any weight.
    level: u32,
    top: u32,
    /// Not 0.
    step: u32,
}

impl WeightedRoundRobin {
    pub(super) fn new(pool: Pool<'_>) -> Self {
        let (top, step) = levels(pool);
        Self { last: None, level: top, top, step }
    }

    /// A new pass, at about the level where the last one was: where a cycle begins depends on its history.
    pub(super) fn changed(&mut self, pool: Pool<'_>) {
        self.last = None;
        (self.top, self.step) = levels(pool);
        if self.level > self.top || self.level == 0 {
            self.level = self.top;
        } else if self.step > 1 {
            self.level = self.level / self.step * self.step + 1;
        }
    }

    pub(super) fn pick(&mut self, pool: Pool<'_>) -> Option<ServerIndex> {
        if self.top == 0 {
            return None;
        }
        let next = self.last.map_or(0, |last| last.saturating_add(1));
        if let Some(found) = self.find(pool, next) {
            return Some(found);
        }
        let Some(heaviest) = pool.usable().map(|(_, server)| server.weight()).max() else {
            // The kernel has gone through all levels by then, and stands where they begin, save that it comes back to
            // where it was from a pass of the lowest.
            if self.last.is_none() || self.level > self.step {
                (self.last, self.level) = (None, self.top);
            }
            return None;
        };
        self.level = match self.level.saturating_sub(self.step) {
            0 => self.top,
            below => below,
        };
        // Passes that would find nobody are left out: weights may be millions.
        let missing = self.level.saturating_sub(heaviest).div_ceil(self.step);
        self.level = self.level.saturating_sub(missing.saturating_mul(self.step)).max(1);
        self.find(pool, 0)
    }

    /// The next one in this pass.
    fn find(&mut self, pool: Pool<'_>, next: usize) -> Option<ServerIndex> {
        let (position, index) = (next..pool.len()).find_map(|position| {
            let (index, server) = pool.at(position)?;
            (!server.is_overloaded() && server.weight() >= self.level).then_some((position, index))
        })?;
        self.last = Some(position);
        Some(index)
    }
}

/// The top level and the step. The lowest level is 1.
fn levels(pool: Pool<'_>) -> (u32, u32) {
    let weights = pool.iter().map(|(_, server)| server.weight()).filter(|weight| *weight > 0);
    let step = weights.clone().reduce(greatest_common_divisor).unwrap_or(1);
    (weights.max().map_or(0, |heaviest| heaviest - (step - 1)), step)
}

pub(super) fn greatest_common_divisor(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
