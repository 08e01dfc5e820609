//! The election on a simulated LAN.

#[path = "../fixture/mod.rs"]
mod fixture;
mod network;
mod scenarios;
mod schedules;
