//! The whole daemon, as its operators and its network meet it.

#[path = "../lab/mod.rs"]
mod lab;

mod alerts;
mod bench;
mod command_line;
mod control;
mod election;
mod forwarding;
mod network;
mod packets;
mod panics;
mod reload;
mod service;
mod sync_group;
mod tracking;
mod walkthrough;
