//! `buoy status`: what is wrong first, then everything.

mod services;

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use super::ControlArgs;
use super::check::count;
use crate::api::{InstanceStatus, Status, client};

#[derive(Args, Debug)]
pub(super) struct StatusArgs {
    /// One JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    control: ControlArgs,
}

pub(super) fn run(args: &StatusArgs) -> Result<ExitCode> {
    let status = client::status(&args.control.control)?;
    let mut out = std::io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &status)?;
        writeln!(out)?;
    } else {
        out.write_all(page(&status).as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The status as a person reads it.
pub fn page(status: &Status) -> String {
    let mut page = String::new();
    // Writing to a String cannot fail.
    let _infallible = write_page(&mut page, status);
    page
}

fn write_page(page: &mut String, status: &Status) -> std::fmt::Result {
    let d = &status.daemon;
    writeln!(page, "buoy {} on {}, pid {}, {}", d.version, d.router_id, d.pid, d.configuration)?;
    if d.warnings > 0 {
        writeln!(page, "configuration in force: {} (buoy check shows them)", count(d.warnings, "warning"))?;
    }
    if let Some(reload) = &d.last_reload {
        let refused =
            if d.reload_refused { "REFUSED, the configuration before it stays in force: " } else { "" };
        writeln!(page, "last reload: {refused}{reload}")?;
    }
    for (part, count) in &d.restarts {
        writeln!(page, "part {part} failed and was restarted {count} times: see the log")?;
    }
    services::write_summary(page, status)?;
    for group in &status.groups {
        writeln!(page, "\ngroup {}  {}  ({})", group.name, group.state, group.members.join(", "))?;
    }
    for instance in &status.instances {
        write_instance(page, instance)?;
    }
    if !status.tracked.is_empty() {
        writeln!(page, "\ntracked")?;
    }
    for t in &status.tracked {
        writeln!(page, "  {:<30} {:<8} {}", t.target, t.reading, t.evidence)?;
    }
    services::write_services(page, &status.services)
}

fn write_instance(page: &mut String, i: &InstanceStatus) -> std::fmt::Result {
    writeln!(page, "\n{}  {}  for {}: {}", i.name, i.state, duration(i.since), i.cause)?;
    let interface = i.interface.as_deref().unwrap_or("no interface");
    let source = i.source.map_or_else(|| "no source address".to_owned(), |s| s.to_string());
    writeln!(
        page,
        "  VRRPv{} {} on {interface} ({source}), VRID {}, every {} s",
        i.version, i.family, i.vrid, i.advert_interval
    )?;
    if i.priority == i.base_priority {
        writeln!(page, "  priority {}", i.priority)?;
    } else {
        writeln!(page, "  priority {} ({} before tracking)", i.priority, i.base_priority)?;
    }
    if let Some((address, priority, age)) = i.master {
        writeln!(page, "  master {address}, priority {priority}, heard {age:.3} s ago")?;
    }
    let held = if i.holds_addresses { "held" } else { "not held" };
    writeln!(page, "  addresses ({held}): {}", i.addresses.join(", "))?;
    for fault in &i.faults {
        writeln!(page, "  fault: {fault}")?;
    }
    if !i.discarded.is_empty() {
        let reasons: Vec<String> = i.discarded.iter().map(|(reason, n)| format!("{reason} {n}")).collect();
        writeln!(page, "  discarded or odd advertisements: {}", reasons.join(", "))?;
    }
    Ok(())
}

fn duration(seconds: f64) -> String {
    let whole = seconds as u64;
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        3600..86400 => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
        _ => format!("{} d {} h", whole / 86400, whole % 86400 / 3600),
    }
}
