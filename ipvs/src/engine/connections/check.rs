//! What holds of a table between any two calls.

use std::collections::{BTreeMap, BTreeSet};

use super::{Connection, ConnectionIndex, Connections};

impl Connections {
    /// What of the table contradicts itself, for tests and fuzzing. Looks at everything.
    ///
    /// # Errors
    /// The first contradiction.
    #[doc(hidden)]
    pub fn check(&self) -> Result<(), &'static str> {
        let holds = |fact, otherwise| if fact { Ok(()) } else { Err(otherwise) };
        holds(self.slots.are_sound(), "a slot is neither taken nor vacant")?;
        holds(self.indexed() == Some(self.index.len()), "the index and the entries differ")?;
        holds(self.are_on_the_wheel(), "the wheel and the entries differ")?;
        holds(self.are_controlled(), "controlled entries are counted wrongly")?;
        let without = self.iter().filter(|(_, entry)| entry.has_no_client_port()).count();
        holds(without == self.without_client_port as usize, "entries without a client port")
    }

    /// How many places of the index the entries have; `None` if one is not where it should be.
    fn indexed(&self) -> Option<usize> {
        let mut places = 0;
        for (index, entry) in self.iter() {
            let keys =
                [(entry.is_found_by_request(), entry.request()), (entry.is_found_by_reply(), entry.reply())];
            for (_, key) in keys.into_iter().filter(|(found, _)| *found) {
                self.index.find(self.secret.hash(&key, entry.kind()), |slot| slot == index.get())?;
                places += 1;
            }
        }
        Some(places)
    }

    fn are_on_the_wheel(&self) -> bool {
        let mut wheel = self.wheel.clone();
        let mut scheduled = BTreeSet::new();
        while let Some(tick) = wheel.next_tick() {
            let Some(slot) = wheel.pop(tick) else { return false };
            let in_time = self.slots.get(slot).is_some_and(|entry| entry.scheduled <= entry.expires);
            if !in_time || !scheduled.insert(slot) {
                return false;
            }
        }
        scheduled.len() == self.len()
    }

    fn are_controlled(&self) -> bool {
        let mut controlled = BTreeMap::<u32, u32>::new();
        for (_, entry) in self.iter().filter(|(_, entry)| entry.is_controlled()) {
            *controlled.entry(entry.controller).or_default() += 1;
        }
        let counted = |(index, entry): (ConnectionIndex, &Connection)| {
            controlled.get(&index.get()).copied().unwrap_or(0) == entry.controls()
        };
        controlled.keys().all(|slot| self.slots.get(*slot).is_some()) && self.iter().all(counted)
    }
}
