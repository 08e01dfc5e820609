//! Virtual servers of Buoy beside those of keepalived: the same file to both in one kernel, the answers as a table in
//! Markdown.
//!
//! ```text
//! cargo bench --bench balancing                    everything, about 15 minutes
//! cargo bench --bench balancing -- --quick         fewer and shorter runs, three minutes
//! cargo bench --bench balancing -- --only checks,load
//! cargo bench --bench balancing -- --only own      without the kernel, on this machine
//! cargo bench --bench balancing -- --buoy PATH     another build, to compare two of them
//! ```
//!
//! It needs a kernel with IPVS: this machine's own, for root, or that of Debian's package `user-mode-linux`, and the
//! package `keepalived` to compare with. User-mode Linux has one processor, its system calls cost ten times what they do
//! elsewhere and it tells processor time in ticks of 10 ms: there, ratios between the programs mean more than the
//! numbers. Whatever is measured alternates between the two, so that a busy machine is busy for both.

mod changes;
mod checks;
#[path = "../side_by_side/contestant.rs"]
mod contestant;
mod director;
#[expect(dead_code, reason = "tests run their cases by it")]
#[path = "../../ipvs/tests/kernel/machine.rs"]
mod kernel;
mod listing;
mod load;
#[path = "../side_by_side/machine.rs"]
mod machine;
mod reloads;
#[path = "../side_by_side/report.rs"]
mod report;
#[expect(dead_code, reason = "other benches look at the best and the worst")]
#[path = "../side_by_side/sample.rs"]
mod sample;
mod server;
mod table;
#[path = "../side_by_side/usage.rs"]
mod usage;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use buoy::lab::{Program, find_program};
use buoy_ipvs::KernelPlane;
use buoy_ipvs::kernel::ModuleLoading;
use clap::{Parser, ValueEnum};

use contestant::{Contestant, Contestants};
use report::Report;

/// For all measures, on a machine that does other things too.
const LIMIT: Duration = Duration::from_secs(45 * 60);

#[derive(Debug, Parser)]
#[command(about = "Measures virtual servers of Buoy and keepalived side by side")]
struct Options {
    /// Fewer and shorter runs: three minutes, and more noise
    #[arg(long)]
    quick: bool,
    /// Only these measures
    #[arg(long, value_enum, value_delimiter = ',', value_name = "MEASURE")]
    only: Vec<Measure>,
    /// The Buoy to measure; the one just built by default
    #[arg(long, value_name = "PATH", default_value = env!("CARGO_BIN_EXE_buoy"))]
    buoy: PathBuf,
    /// The keepalived to measure; the one installed by default
    #[arg(long, value_name = "PATH")]
    keepalived: Option<PathBuf>,
    /// Seconds between two checks of a server. User-mode Linux on a busy machine cannot keep up with 1
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    interval: u32,
    /// Be the server that is checked
    #[arg(long, hide = true)]
    serve: bool,
    /// Given by cargo to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Measure {
    /// Two thousand checked servers: processor time and memory
    Checks,
    /// 2,500 services with 40,000 servers: processor time until IPVS has them, then one changed weight
    Load,
    /// The same without the daemon around it: messages to the kernel, counted
    Changes,
    /// Thousands of random reloads
    Reloads,
    /// What loading that large table takes of Buoy alone. By itself (`--only own`), as root, it is measured on this
    /// machine's own kernel, whether that has IPVS or not
    Own,
}

/// How thorough to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effort {
    Quick,
    Full,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let done = if options.serve {
        server::run()
    } else if kernel::is_inside() {
        measure(&options)
    } else if options.only == [Measure::Own] {
        measure_own()
    } else {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        kernel::run(&arguments, "", LIMIT);
        Ok(())
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("balancing: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What needs no kernel with IPVS.
fn measure_own() -> Result<()> {
    let mut report = Report::default();
    changes::measure_own(&mut report)?;
    println!("{report}");
    Ok(())
}

fn measure(options: &Options) -> Result<()> {
    // Loads the module, before which there is no listing.
    KernelPlane::open(ModuleLoading::Allowed).context("looking for IPVS")?;
    let keepalived = match &options.keepalived {
        Some(path) => path.clone(),
        None => find_program("keepalived").context("keepalived is not installed (apt install keepalived)")?,
    };
    let folder = tempfile::Builder::new().prefix("buoy-bench-").tempdir().context("making a folder")?;
    let contestants = Contestants {
        buoy: Contestant::new("buoy", Program::Buoy(options.buoy.clone()), folder.path()),
        keepalived: Contestant::new("keepalived", Program::Keepalived(keepalived), folder.path()),
    };
    let effort = if options.quick { Effort::Quick } else { Effort::Full };
    let wanted = |measure| options.only.is_empty() || options.only.contains(&measure);
    let mut report = Report::default();
    for measure in Measure::value_variants().iter().copied().filter(|measure| wanted(*measure)) {
        let taken = match measure {
            Measure::Checks => checks::measure(&contestants, effort, options.interval, &mut report),
            Measure::Load => load::measure(&contestants, effort, &mut report),
            Measure::Changes => changes::measure(effort, &mut report),
            Measure::Reloads => reloads::measure(&contestants, effort, &mut report),
            Measure::Own => changes::measure_own(&mut report),
        };
        taken.with_context(|| format!("measuring {measure:?}"))?;
    }
    println!("{}\n\n{report}", machine::facts(&contestants));
    Ok(())
}
