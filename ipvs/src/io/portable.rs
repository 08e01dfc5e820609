//! Packets in and out without eBPF: in a user namespace, or a container that may not load programs. Every packet of a
//! service is read and written by the engine.
//!
//! *In:* a table of nftables, family `netdev`, looks at what comes in by each interface of the director, and forwards
//! (`fwd`) to the [`Tap`] what a [`Selector`] names, merged and with half-made checksums as it came. Packets are looked at
//! and chosen as by the programs of [`tc`](super::tc), and tagged as there: [`Arrival::of`](super::tap::Arrival::of)
//! tells the interface and the mark, and frames of the host's own stack apart. There is no memory of flows: answers of
//! masqueraded servers come in only where a selector with [`End::Source`](super::selector::End::Source) names them.
//! Marks are seen that tc, XDP or an earlier chain on the same interface has set; the mangle table comes later.
//!
//! *Out:* a [`Sender`], as packets are to be on the wire. Back to the host: through the TAP, with
//! [`Departure::Host`](super::tap::Departure::Host), which alone means something there in this tier.
//!
//! *Without an engine:* the table belongs to the socket that made it. When the process is gone, however it ended, the
//! kernel removes the table, and the host sees everything itself. While the process lives, no other may change the table.
//! What the kernel has already put in the TAP's queue is lost. A new process may attach to the same interfaces while the
//! old one holds them: it gets everything from then on, and the old one again if it goes first.
//!
//! Messages go to the kernel directly: the program `nft` is not needed, though it can show what stands.

mod expression;
mod nftables;
mod rules;
mod sender;

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use nix::net::if_::if_indextoname;
use thiserror::Error;

use super::selector::Selector;
use super::tap::Tap;
use nftables::Channel;
use rules::{Rules, element};
pub use sender::{SendError, Sender, Sent};

/// The rules that bring packets to a TAP, gone when this is.
#[derive(Debug)]
pub struct Steering {
    channel: Channel,
    table: String,
    interfaces: BTreeSet<u32>,
    present: BTreeSet<Selector>,
}

#[derive(Debug, Error)]
#[error("cannot {doing} by nftables")]
pub struct SteeringError {
    doing: &'static str,
    source: io::Error,
}

/// How many selectors one transaction changes: what is sure to fit a message, and the buffer of its socket.
const TRANSACTION: usize = 1000;

impl Steering {
    /// Prepares the table in the network namespace of this thread; its name is that of the TAP behind `buoy_`. Takes
    /// nothing yet.
    ///
    /// # Errors
    /// The kernel does not permit it, cannot do it (`nft_fwd_netdev`, and tables with an owner, which there are since
    /// Linux 5.12), or there is such a table (`EEXIST`).
    pub fn create(tap: &Tap) -> Result<Self, SteeringError> {
        let failed = |source| SteeringError { doing: "prepare the steering of packets", source };
        let channel = Channel::open().map_err(failed)?;
        let table = format!("buoy_{}", tap.name());
        let mut rules = Rules::on(&table);
        rules.create(tap.index());
        channel.commit(rules.batch).map_err(failed)?;
        Ok(Self { channel, table, interfaces: BTreeSet::new(), present: BTreeSet::new() })
    }

    /// Begins to take what comes in by that interface. Nothing changes if it is so already.
    ///
    /// # Errors
    /// There is no such interface in the network namespace of this thread, or the kernel says no.
    pub fn attach(&mut self, interface: u32) -> Result<(), SteeringError> {
        let failed = |source| SteeringError { doing: "steer packets of an interface", source };
        if self.interfaces.contains(&interface) {
            return Ok(());
        }
        let name = if_indextoname(interface).map_err(|error| failed(error.into()))?;
        // nix 0.31 has an empty name for an interface that is not there, and the kernel takes any name since Linux 6.16.
        if name.is_empty() {
            return Err(failed(io::Error::from_raw_os_error(nix::libc::ENODEV)));
        }
        let mut rules = Rules::on(&self.table);
        rules.attach(&chain_of(interface), &name.to_string_lossy());
        self.channel.commit(rules.batch).map_err(failed)?;
        self.interfaces.insert(interface);
        Ok(())
    }

    /// From now on the host sees what comes in there. The interface may be gone.
    ///
    /// # Errors
    /// The kernel says no.
    pub fn detach(&mut self, interface: u32) -> Result<(), SteeringError> {
        if !self.interfaces.contains(&interface) {
            return Ok(());
        }
        let mut rules = Rules::on(&self.table);
        rules.detach(&chain_of(interface));
        match self.channel.commit(rules.batch) {
            // Chains may go with their interface.
            Err(source) if source.raw_os_error() != Some(nix::libc::ENOENT) => {
                Err(SteeringError { doing: "stop steering packets of an interface", source })
            }
            _ => {
                self.interfaces.remove(&interface);
                Ok(())
            }
        }
    }

    /// Takes packets of other selectors than before: those of `added` too, those of `removed` no longer. Up to 1,000
    /// changes are one transaction; of more, those before the one that fails stay.
    ///
    /// # Errors
    /// The kernel says no.
    pub fn change(&mut self, added: &[Selector], removed: &[Selector]) -> Result<(), SteeringError> {
        let removed = removed.iter().filter(|selector| self.present.contains(selector));
        let removed = removed.map(|selector| (*selector, Change::Remove));
        let added = added.iter().filter(|selector| !self.present.contains(selector));
        // Once each: to remove an element twice is an error. What is both removed and added stays.
        let changes: BTreeMap<Selector, Change> =
            removed.chain(added.map(|selector| (*selector, Change::Insert))).collect();
        let changes: Vec<(Selector, Change)> = changes.into_iter().collect();
        for changes in changes.chunks(TRANSACTION) {
            self.commit(changes)?;
        }
        Ok(())
    }

    fn commit(&mut self, changes: &[(Selector, Change)]) -> Result<(), SteeringError> {
        let mut sets: BTreeMap<(Change, String), Vec<Vec<u8>>> = BTreeMap::new();
        for (selector, change) in changes {
            let (set, key) = element(selector);
            sets.entry((*change, set)).or_default().push(key);
        }
        let mut rules = Rules::on(&self.table);
        for ((change, set), keys) in &sets {
            match change {
                Change::Insert => rules.insert(set, keys),
                Change::Remove => rules.remove(set, keys),
            }
        }
        let outcome = self.channel.commit(rules.batch);
        outcome.map_err(|source| SteeringError { doing: "change which packets are taken", source })?;
        for (selector, change) in changes {
            match change {
                Change::Insert => self.present.insert(*selector),
                Change::Remove => self.present.remove(selector),
            };
        }
        Ok(())
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = &Selector> {
        self.present.iter()
    }

    /// Interfaces whose packets are taken, in order.
    pub fn interfaces(&self) -> impl Iterator<Item = u32> {
        self.interfaces.iter().copied()
    }

    /// How `nft list table netdev` calls it.
    pub fn table(&self) -> &str {
        &self.table
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    Insert,
    Remove,
}

/// Interfaces may change their names.
fn chain_of(interface: u32) -> String {
    format!("in-{interface}")
}
