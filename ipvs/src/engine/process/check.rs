//! What holds of the engine between any two calls.

use std::collections::BTreeMap;
use std::time::Instant;

use super::Engine;
use crate::engine::scheduler::{Counted, ServerIndex};

impl Engine {
    /// What of the engine contradicts itself, for tests and fuzzing. Looks at everything.
    ///
    /// # Errors
    /// The first contradiction.
    #[doc(hidden)]
    pub fn check(&self, now: Instant) -> Result<(), &'static str> {
        let holds = |fact, otherwise| if fact { Ok(()) } else { Err(otherwise) };
        self.connections.check()?;
        let tick = self.connections.tick(now);
        let in_time = self.connections.iter().all(|(_, entry)| entry.remaining(tick) <= entry.timeout());
        holds(in_time, "an entry is kept longer than its timeout")?;
        holds(self.are_counted(), "a server counts other entries than it has")?;
        let translated = self.connections.iter().filter(|(_, entry)| entry.local().is_some()).count();
        holds(translated == self.local_ports(), "local ports are lent to nobody, or to two")
    }

    /// Local ports that stand for clients of full NAT now.
    #[doc(hidden)]
    pub fn local_ports(&self) -> usize {
        self.services.local_ports().in_use()
    }

    fn are_counted(&self) -> bool {
        let mut entries = BTreeMap::<ServerIndex, [u32; 3]>::new();
        for (_, entry) in self.connections.iter() {
            let Some(server) = entry.server_index() else { continue };
            let [active, inactive, templates] = entries.entry(server).or_default();
            *match entry.counted() {
                Counted::Active => active,
                Counted::Inactive => inactive,
                Counted::Template => templates,
            } += 1;
        }
        let mut counted = self.services.counted();
        counted.all(|(server, counts)| entries.remove(&server).unwrap_or_default() == counts)
            && entries.is_empty()
    }
}
