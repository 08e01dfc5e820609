//! Configurations of virtual routers, and how to run one on a host of the laboratory.

use std::fmt::Write;
use std::time::Duration;

use anyhow::Result;
use buoy::lab::{Host, Process};

use crate::contestant::Contestant;

/// Starts the program on `host`.
pub(crate) fn start(contestant: &Contestant, host: &Host, configuration: &str) -> Result<Process> {
    let run = contestant.prepare(configuration)?;
    host.spawn(contestant.program.command(&run.configuration(), &run.folder, host.name()))
}

/// One `vrrp_instance` of a configuration for version 3.
pub(crate) struct Instance<'a> {
    pub(crate) interface: &'a str,
    pub(crate) vrid: u8,
    pub(crate) priority: u8,
    pub(crate) interval: Duration,
    pub(crate) address: &'a str,
    pub(crate) excluded: &'a [String],
}

pub(crate) const GLOBAL: &str = "global_defs {\n    vrrp_version 3\n}\n";

impl Instance<'_> {
    pub(crate) fn write(&self, configuration: &mut String) {
        let Self { interface, vrid, priority, interval, address, excluded } = self;
        let interval = interval.as_secs_f64();
        // Writing to a string cannot fail.
        write!(
            configuration,
            "vrrp_instance {interface}_{vrid} {{\n    state BACKUP\n    interface {interface}\n    \
             virtual_router_id {vrid}\n    priority {priority}\n    advert_int {interval}\n    \
             virtual_ipaddress {{\n        {address}\n    }}\n"
        )
        .ok();
        if !excluded.is_empty() {
            let excluded = excluded.join("\n        ");
            write!(configuration, "    virtual_ipaddress_excluded {{\n        {excluded}\n    }}\n").ok();
        }
        configuration.push_str("}\n");
    }
}
