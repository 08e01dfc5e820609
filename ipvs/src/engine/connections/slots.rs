//! Where entries are kept: numbered slots, in chunks that are made when they are needed and stay where they are, so that
//! a table that grows never copies itself.

use super::connection::Connection;

/// Entries of a chunk: 512 KiB.
const CHUNK: usize = 4096;

#[derive(Debug)]
pub(super) struct Slots {
    chunks: Vec<Vec<Connection>>,
    /// The vacant slot that is filled next, plus one; 0 for none. Others follow in `controller`.
    vacant: u32,
    /// Slots there are, vacant ones included.
    made: u32,
    len: u32,
    most: u32,
}

impl Slots {
    pub(super) const fn new(most: u32) -> Self {
        Self { chunks: Vec::new(), vacant: 0, made: 0, len: 0, most }
    }

    /// Entries.
    pub(super) const fn len(&self) -> u32 {
        self.len
    }

    /// Slots there are: every entry is below.
    pub(super) const fn end(&self) -> u32 {
        self.made
    }

    pub(super) const fn most(&self) -> u32 {
        self.most
    }

    /// `None` if all are taken.
    pub(super) fn insert(&mut self, mut connection: Connection) -> Option<u32> {
        connection.set_live(true);
        let slot = match self.vacant.checked_sub(1) {
            Some(slot) => {
                let place = self.place_mut(slot)?;
                let next = place.controller;
                *place = connection;
                self.vacant = next;
                slot
            }
            None if self.made < self.most => self.push(connection)?,
            None => return None,
        };
        self.len += 1;
        Some(slot)
    }

    fn push(&mut self, connection: Connection) -> Option<u32> {
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        self.chunks.last_mut()?.push(connection);
        self.made += 1;
        self.made.checked_sub(1)
    }

    /// `None` for a vacant slot.
    pub(super) fn remove(&mut self, slot: u32) -> Option<Connection> {
        let next = self.vacant;
        let place = self.get_mut(slot)?;
        let removed = place.clone();
        place.set_live(false);
        place.controller = next;
        self.vacant = slot + 1;
        self.len -= 1;
        Some(removed)
    }

    pub(super) fn get(&self, slot: u32) -> Option<&Connection> {
        self.place(slot).filter(|place| place.is_live())
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Connection> {
        self.place_mut(slot).filter(|place| place.is_live())
    }

    /// As [`get`](Self::get), but a vacant slot has what was there last. Nothing finds it.
    pub(super) fn place(&self, slot: u32) -> Option<&Connection> {
        let slot = slot as usize;
        self.chunks.get(slot / CHUNK)?.get(slot % CHUNK)
    }

    fn place_mut(&mut self, slot: u32) -> Option<&mut Connection> {
        let slot = slot as usize;
        self.chunks.get_mut(slot / CHUNK)?.get_mut(slot % CHUNK)
    }

    /// Whether every slot is taken or vacant, and counted as that.
    pub(super) fn are_sound(&self) -> bool {
        let (mut vacant, mut next) = (0, self.vacant);
        while let Some(place) = next.checked_sub(1).and_then(|slot| self.place(slot)) {
            if place.is_live() || vacant > self.made {
                return false;
            }
            vacant += 1;
            next = place.controller;
        }
        let live = (0..self.made).filter(|slot| self.get(*slot).is_some()).count();
        next == 0 && live == self.len as usize && self.len + vacant == self.made && self.made <= self.most
    }
}
