//! A laboratory: hosts joined by switches, made of network namespaces on this machine. The demo, the
//! whole-daemon tests and the benches run real programs in it.
//!
//! Nothing in it has a name in the file system. A namespace is held by a thread and descriptors of this
//! process, and processes started through [`Host::spawn`] die with their starter, so even `kill -9` leaves
//! nothing behind. The `ip` program is not needed.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use buoy::lab::{Host, Switch};
//!
//! let lan = Switch::new("lan")?;
//! let director = Host::new("director1")?;
//! let cable = lan.connect(&director, "eth0")?;
//! director.add_address("eth0", "192.0.2.1/24".parse()?)?;
//! cable.unplug()?;
//! # Ok(()) }
//! ```
//!
//! Read [`Host`] first, then [`Switch`] and [`Cable`]; [`probe`] measures what a client sees and
//! [`capture`] what the wire carried.

pub mod capture;
mod host;
mod network;
mod privilege;
pub mod probe;
mod process;
mod program;

pub use host::Host;
pub use network::{Cable, InterfaceAddress, Link, Switch};
pub use privilege::{NamespaceRefused, become_root_in_user_namespace};
pub use process::{LogLine, Process};
pub use program::{Program, find_program};
