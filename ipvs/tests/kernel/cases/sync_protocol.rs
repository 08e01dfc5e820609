//! What the kernel's sync daemons say and take.

mod backup;
mod engine;
mod golden;
mod listing;
mod network;

/// The sync id of all daemons.
const ID: u8 = 171;
