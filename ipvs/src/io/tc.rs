//! Forwarding by programs on the ingress of interfaces: tcx, or `clsact` before Linux 6.6.
//!
//! One program is on the interfaces of the director, its twin on the TAP. Both forward packets of known flows. The first
//! leaves to the engine (through the TAP) what needs a decision: packets that a [`Selector`] names and that are of no
//! known flow; those of flows of [`Mode::Engine`]; TCP packets with SYN, FIN or RST, which change states; those whose
//! TTL or hop limit ends here; those that are longer than their way is wide. The second forwards what the engine has
//! written, and leaves the rest to the host. What is not for the engine passes untouched, on to other programs and the
//! kernel's stack.
//!
//! *Looked at:* Ethernet with or without one VLAN tag, which stays as it is (the kernel keeps it beside the packet when
//! it comes in; tags below it are not looked through); IPv4 without options that is no fragment, IPv6 without extension
//! headers; TCP, UDP. Checksums are updated, those that the sender left to its hardware stay so, and packets that the
//! sender or the receiving interface has merged stay merged.
//!
//! Frames to other hosts, which an interface sees that listens to everything, are never taken.
//!
//! *Without an engine:* attachments by tcx are gone with its process, and the host sees everything itself. If they and the
//! [`Maps`] were pinned, known flows are forwarded as before; what is for the engine is lost until the next one has
//! opened them, made a TAP, and replaced the programs by such as know it.
//!
//! [`Selector`]: super::selector::Selector
//! [`Mode::Engine`]: super::flow::Mode::Engine

mod program;

use std::path::Path;

use thiserror::Error;

use super::bpf::{AssemblyError, AttachError, Attachment, LoadError, MapError, Program};
use super::flow::FlowMap;
use super::next_hop::NextHops;
use super::selector::Selectors;
pub use program::{Side, write};

/// How many entries maps may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacities {
    /// Two for most connections. About 170 bytes of kernel memory each, at once.
    pub flows: u32,
    /// 20 bytes each, at once.
    pub next_hops: u32,
    pub selectors: u32,
}

/// What the programs look up.
#[derive(Debug)]
pub struct Maps {
    pub flows: FlowMap,
    pub next_hops: NextHops,
    pub selectors: Selectors,
}

const FLOWS: &str = "flows";
const NEXT_HOPS: &str = "next_hops";

impl Maps {
    /// # Errors
    /// The kernel says no.
    pub fn create(capacities: Capacities) -> Result<Self, MapError> {
        Ok(Self {
            flows: FlowMap::create(capacities.flows)?,
            next_hops: NextHops::create(capacities.next_hops)?,
            selectors: Selectors::create(capacities.selectors)?,
        })
    }

    /// Those that were pinned in that folder.
    ///
    /// # Errors
    /// There are none, or they are of another layout.
    pub fn open(folder: &Path) -> Result<Self, MapError> {
        Ok(Self {
            flows: FlowMap::open(&folder.join(FLOWS))?,
            next_hops: NextHops::open(&folder.join(NEXT_HOPS))?,
            selectors: Selectors::open(folder)?,
        })
    }

    /// Keeps them in a folder of a file system of type `bpf`: flows are still forwarded and counted, where attachments
    /// are pinned too, when this process is gone.
    ///
    /// # Errors
    /// It is no such folder, or there are maps in it.
    pub fn pin(&self, folder: &Path) -> Result<(), MapError> {
        self.flows.pin(&folder.join(FLOWS))?;
        self.next_hops.pin(&folder.join(NEXT_HOPS))?;
        self.selectors.pin(folder)
    }
}

/// The two programs, loaded.
#[derive(Debug)]
pub struct Programs {
    interface: Program,
    tap: Program,
}

#[derive(Debug, Error)]
pub enum ProgramError {
    #[error("cannot assemble the program")]
    Assembly(#[from] AssemblyError),
    #[error(transparent)]
    Load(#[from] LoadError),
}

impl Programs {
    /// For these maps, and the TAP with that index.
    ///
    /// # Errors
    /// The kernel says no, and why.
    pub fn load(maps: &Maps, tap: u32) -> Result<Self, ProgramError> {
        let [selectors, kinds] = maps.selectors.descriptors();
        let names = [
            (program::FLOWS, maps.flows.descriptor()),
            (program::NEXT_HOPS, maps.next_hops.descriptor()),
            (program::SELECTORS, selectors),
            (program::KINDS, kinds),
        ];
        let load = |name, side| -> Result<Program, ProgramError> {
            Ok(Program::load(name, &write(side).assemble(&names)?)?)
        };
        Ok(Self { interface: load("buoy", Side::Interface { tap })?, tap: load("buoy_tap", Side::Tap)? })
    }

    /// The one for interfaces of the director.
    pub const fn interface(&self) -> &Program {
        &self.interface
    }

    /// The one for the TAP.
    pub const fn tap(&self) -> &Program {
        &self.tap
    }

    /// Begins to forward what comes in by that interface.
    ///
    /// # Errors
    /// There is no such interface, or the kernel says no.
    pub fn attach(&self, interface: u32) -> Result<Attachment, AttachError> {
        Attachment::new(&self.interface, interface)
    }

    /// Begins to forward what is written to the TAP.
    ///
    /// # Errors
    /// There is no such interface, or the kernel says no.
    pub fn attach_tap(&self, tap: u32) -> Result<Attachment, AttachError> {
        Attachment::new(&self.tap, tap)
    }
}

#[cfg(test)]
mod tests;
