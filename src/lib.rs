//! Buoy: a high-availability load-balancing controller.

pub mod alert;
pub mod api;
pub mod child;
pub mod cli;
pub mod config;
pub mod control;
pub mod host;
pub mod lab;
pub mod log;
mod planted_panic;
pub mod supervisor;
pub mod track;
