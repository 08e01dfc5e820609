//! IPVS: virtual services, their real servers, and the planes that forward for them.
//!
//! The words are those of LVS: a *virtual service* is what clients address, a *real server* is where their
//! connections go, a *scheduler* chooses, a *forwarding method* says how packets get there. A [`Table`] is all of it;
//! the difference of two tables is a list of [`Change`]s, and a [`Plane`] carries them out: [`KernelPlane`] is Linux's
//! IPVS, and [`MemoryPlane`] stands in for it in tests.
//!
//! This crate knows nothing of health, of roles or of configuration files: whoever uses it says what the table is to
//! be. Read [`Table`], [`Change`] and [`Plane`] first.

pub mod engine;
pub mod io;
pub mod kernel;
mod listing;
mod memory;
mod plane;
mod real_server;
mod refusal;
mod scheduler;
pub mod sync;
mod table;
mod virtual_service;

pub use io::director::{EngineHandle, EnginePlane};
pub use kernel::KernelPlane;
pub use listing::{ListedServer, ListedService, PlaneInfo};
pub use memory::MemoryPlane;
pub use plane::{Counters, Foreign, Plane, PlaneError, Snapshot, Statistics, SyncDaemon, SyncRole, Timeouts};
pub use real_server::{Forwarding, RealServer, RealServerId, Tunnel, TunnelChecksum, Weight};
pub use refusal::{Reason, Refusal};
pub use scheduler::{Scheduler, SchedulerFlags, UnknownScheduler};
pub use table::{Change, Entry, Table};
pub use virtual_service::{
    Family, FwMark, LocalAddresses, Persistence, PersistenceEngine, Protocol, ServiceId, VirtualService,
};
