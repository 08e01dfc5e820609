use super::pool::{Pool, ServerIndex};

/// Round robin: one after the other, whatever their weights.
#[derive(Clone, Debug, Default)]
pub(super) struct RoundRobin {
    /// Where in the list the last choice stands; before the list at first.
    last: Option<usize>,
}

impl RoundRobin {
    /// The new server stands at the head of the list.
    pub(super) fn added(&mut self) {
        self.last = self.last.map(|last| last.saturating_add(1));
    }

    /// What followed the one that went comes next.
    pub(super) fn removed(&mut self, position: usize) {
        self.last = match self.last {
            Some(last) if position <= last => last.checked_sub(1),
            last => last,
        };
    }

    pub(super) fn pick(&mut self, pool: Pool<'_>) -> Option<ServerIndex> {
        let next = self.last.map_or(0, |last| last.saturating_add(1)).min(pool.len());
        let mut circle = (next..pool.len()).chain(0..next);
        let (position, index) = circle.find_map(|position| {
            pool.at(position).filter(|(_, server)| server.is_usable()).map(|(index, _)| (position, index))
        })?;
        self.last = Some(position);
        Some(index)
    }
}
