//! This host's network: what the kernel holds and what it should hold.
//!
//! A [`Host`] runs on a thread of its own and owns all netlink. The election tells it through a [`HostHandle`]
//! what to hold and waits for nobody; the host makes the kernel match, level-triggered, and reports through an
//! [`Outlet`] what happens to interfaces and addresses. Read [`Links`] (what is there) and [`Items`] (what is
//! wanted) first.
//!
//! ```text
//! HostHandle -> mailbox --+
//!                         +-> Host::step -> Holdings::plan -> Requester -> kernel
//! kernel -> Monitor ------+        |
//!                                  +-> Outlet (events, announcements)
//! ```

mod address;
mod announcer;
mod config;
pub mod desired;
mod driver;
mod firewall;
mod holdings;
mod ipvs_settings;
mod item;
mod kernel;
mod leftovers;
mod links;
mod mailbox;
mod monitor;
mod netlink;
mod return_path;
mod route;
mod rule;
mod sysctl;
mod vmac;

pub use announcer::{Announcer, ForeignClaim};
pub use config::HostConfig;
pub use driver::{Flow, Host, HostEvent, HostOptions, Outlet};
pub use firewall::Guarded;
pub use ipvs_settings::{IpvsSetting, IpvsSettings, Orphans};
pub use item::{Item, Items};
pub use links::{HeldAddress, Link, LinkKind, Links, usable_source};
pub use mailbox::HostHandle;
#[doc(hidden)]
pub use monitor::hear;
pub use return_path::{Answering, ReturnPaths};
pub use vmac::{LinkLocal, VmacSpec, Vmacs};
