//! Local ports of full NAT: which the director lends to connections, towards each server.

use std::collections::HashMap;

use fastrand::Rng;
use thiserror::Error;

use super::seeded::Seeded;
use crate::engine::address::Address;

/// The lowest port that is lent; the highest is 65535.
const FIRST: u16 = 1025;
/// Addresses that are tried for one connection.
const TRIES: usize = 16;

/// Where at a server a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// IP protocol number.
    pub protocol: u8,
    pub address: Address,
    pub port: u16,
}

/// What stands for a client towards a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocalPort {
    pub address: Address,
    pub port: u16,
}

/// Why no local port stands for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NoLocalPort {
    #[error("the virtual service has no local address of its family")]
    NoAddress,
    #[error("all ports of the local addresses that were tried are in use towards that server")]
    Exhausted,
}

/// Ports in use, apart for each target and local address: as many connections go to each target as there are ports and
/// local addresses.
///
/// A port that was released comes last: the next one is always the first free one behind the last that was lent to
/// anybody, so that a server is not met with a tuple that it has just closed. Memory is that of the ports in use: some
/// hundred bytes for the only one of a target, and 10 KiB for all of one target and address.
#[derive(Clone, Debug)]
pub struct LocalPorts {
    pools: HashMap<Key, Pool, Seeded>,
    next: u16,
    exhausted: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    target: Address,
    local: Address,
    /// Protocol and port of the target.
    rest: u64,
}

impl Key {
    fn new(target: &Target, local: Address) -> Self {
        let rest = u64::from(target.protocol) << 16 | u64::from(target.port);
        Self { target: target.address, local, rest }
    }
}

impl LocalPorts {
    pub fn new(random: &mut Rng) -> Self {
        Self { pools: HashMap::with_hasher(Seeded::new(random)), next: random.u16(FIRST..), exhausted: 0 }
    }

    /// Lends a port of one of `addresses`. They take turns: `turn` says which is first now, and is moved on. At most 16
    /// are tried.
    ///
    /// # Errors
    /// There are no addresses, or no port of those that were tried is free, which is counted.
    pub fn take(
        &mut self,
        target: &Target,
        addresses: &[Address],
        turn: &mut usize,
    ) -> Result<LocalPort, NoLocalPort> {
        let first = turn.checked_rem(addresses.len()).unwrap_or(0);
        let (earlier, later) = addresses.split_at_checked(first).unwrap_or_default();
        let tried = later.iter().chain(earlier).take(TRIES);
        for (step, address) in tried.enumerate() {
            let pool = self.pools.entry(Key::new(target, *address)).or_default();
            if let Some(port) = pool.take(self.next) {
                self.next = port.checked_add(1).unwrap_or(FIRST);
                *turn = first + step + 1;
                return Ok(LocalPort { address: *address, port });
            }
        }
        if addresses.is_empty() {
            return Err(NoLocalPort::NoAddress);
        }
        self.exhausted = self.exhausted.saturating_add(1);
        Err(NoLocalPort::Exhausted)
    }

    /// Lends that very port: to a connection that another director has made, and lent it to. `false` if it is lent here
    /// already, or is none that directors lend.
    pub fn claim(&mut self, target: &Target, local: LocalPort) -> bool {
        if local.port < FIRST {
            return false;
        }
        self.pools.entry(Key::new(target, local.address)).or_default().claim(local.port)
    }

    /// Takes back a port that was lent towards that target. `false` if it was not.
    pub fn release(&mut self, target: &Target, local: LocalPort) -> bool {
        let key = Key::new(target, local.address);
        let Some(pool) = self.pools.get_mut(&key) else { return false };
        let released = pool.release(local.port);
        if pool.used == 0 {
            self.pools.remove(&key);
            if self.pools.len() < self.pools.capacity() / 8 {
                self.pools.shrink_to(self.pools.len() * 2);
            }
        }
        released
    }

    /// Ports that are lent now.
    pub fn in_use(&self) -> usize {
        self.pools.values().map(|pool| usize::from(pool.used)).sum()
    }

    /// Connections that got none because all were in use.
    pub const fn exhausted(&self) -> u64 {
        self.exhausted
    }
}

/// Ports of one chunk.
const CHUNK: u16 = 256;
const WORDS: usize = CHUNK as usize / 64;

/// Ports in use of one local address towards one target: their chunks in order. There is none without any.
#[derive(Clone, Debug, Default)]
struct Pool {
    chunks: Vec<Chunk>,
    used: u16,
}

/// A bit for each port, from `CHUNK * number` on.
#[derive(Clone, Copy, Debug)]
struct Chunk {
    number: u8,
    used: [u64; WORDS],
}

impl Pool {
    /// The first free port from that one on, and then from the lowest on.
    fn take(&mut self, from: u16) -> Option<u16> {
        if self.used == u16::MAX - FIRST + 1 {
            return None;
        }
        let port = self.free(from.max(FIRST)).or_else(|| self.free(FIRST))?;
        self.claim(port).then_some(port)
    }

    /// Takes that port, which is one that is lent. `false` if it is in use.
    fn claim(&mut self, port: u16) -> bool {
        let number = number_of(port);
        let at = match self.place(number) {
            Ok(at) => at,
            Err(at) => {
                self.chunks.insert(at, Chunk { number, used: [0; WORDS] });
                at
            }
        };
        let (word, bit) = place_of(port);
        let word = self.chunks.get_mut(at).and_then(|chunk| chunk.used.get_mut(word));
        let Some(word) = word.filter(|word| **word & bit == 0) else { return false };
        *word |= bit;
        self.used += 1;
        true
    }

    fn release(&mut self, port: u16) -> bool {
        let Ok(at) = self.place(number_of(port)) else { return false };
        let (word, bit) = place_of(port);
        let Some(chunk) = self.chunks.get_mut(at) else { return false };
        let Some(word) = chunk.used.get_mut(word).filter(|word| **word & bit != 0) else { return false };
        *word &= !bit;
        if chunk.used == [0; WORDS] {
            self.chunks.remove(at);
        }
        self.used -= 1;
        true
    }

    /// The first free port that is not below `from`.
    fn free(&self, from: u16) -> Option<u16> {
        let (mut from, mut at) = (from, self.place(number_of(from)).unwrap_or_else(|at| at));
        loop {
            let chunk = self.chunks.get(at).filter(|chunk| chunk.number == number_of(from));
            let Some(chunk) = chunk else { return Some(from) };
            if let Some(port) = chunk.free(from) {
                return Some(port);
            }
            // The first port of the next chunk.
            from = (from | (CHUNK - 1)).checked_add(1)?;
            at += 1;
        }
    }

    fn place(&self, number: u8) -> Result<usize, usize> {
        self.chunks.binary_search_by_key(&number, |chunk| chunk.number)
    }
}

impl Chunk {
    /// The first free port of this chunk that is not below `from`, which is of it.
    fn free(&self, from: u16) -> Option<u16> {
        let (first, bit) = place_of(from);
        let below = bit - 1;
        let words = self.used.iter().enumerate().skip(first);
        let mut taken = words.map(|(at, word)| if at == first { (at, word | below) } else { (at, *word) });
        let (at, word) = taken.find(|(_, word)| *word != u64::MAX)?;
        let offset = u16::try_from(at * 64).ok()? + u16::try_from(word.trailing_ones()).ok()?;
        Some(u16::from(self.number) * CHUNK + offset)
    }
}

fn number_of(port: u16) -> u8 {
    u8::try_from(port / CHUNK).unwrap_or(u8::MAX)
}

/// Word and bit of a port in its chunk.
fn place_of(port: u16) -> (usize, u64) {
    let offset = port % CHUNK;
    (usize::from(offset / 64), 1 << (offset % 64))
}

#[cfg(test)]
mod tests;
