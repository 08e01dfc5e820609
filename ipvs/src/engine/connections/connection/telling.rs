//! What other directors are told of an entry.

use super::{Connection, Flags, UNTOLD};
use crate::engine::wheel::Clock;
use crate::sync::{ConnectionState, Progress, RecordFlags};

impl Connection {
    /// What was told of it to other directors, for [`SendRules`](crate::sync::SendRules) to decide.
    pub fn progress(&self, clock: Clock) -> Progress {
        let state = if self.told_state == UNTOLD { None } else { self.state_of(self.told_state) };
        let last = (clock.begin_of(self.told_end), self.told_retries);
        Progress::new(self.packets, state, self.flags.has(Flags::TOLD).then_some(last))
    }

    /// Remembers what they have decided, to the tick.
    pub fn set_progress(&mut self, progress: &Progress, clock: Clock) {
        self.packets = progress.packets();
        self.told_state = progress.state().map_or(UNTOLD, ConnectionState::number);
        self.flags.set(Flags::TOLD, progress.last().is_some());
        if let Some((end, retries)) = progress.last() {
            self.told_end = clock.tick(end);
            self.told_retries = retries;
        }
    }

    /// What a record of it says beside keys and state.
    pub fn record_flags(&self) -> RecordFlags {
        let pairs = [
            (Flags::NO_OUTPUT, RecordFlags::NO_OUTPUT),
            (Flags::INACTIVE, RecordFlags::INACTIVE),
            (Flags::SYNC, RecordFlags::SYNC),
        ];
        let set = pairs.into_iter().filter(|(flag, _)| self.flags.has(*flag));
        set.fold(RecordFlags::NONE, |flags, (_, flag)| flags | flag)
    }
}
