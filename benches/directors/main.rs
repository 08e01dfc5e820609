//! Buoy beside keepalived: the same questions to both in one run, the answers as a table in Markdown.
//!
//! ```text
//! cargo bench --bench directors                    everything, under 12 minutes
//! cargo bench --bench directors -- --quick         fewer runs, under a minute
//! cargo bench --bench directors -- --only takeover,crowd
//! cargo bench --bench directors -- --buoy PATH     another build, to compare two of them
//! ```
//!
//! It needs root, for the network namespaces in which everything happens, and Debian's package `keepalived` to
//! compare with. Whatever is measured alternates between the two programs, so that a busy machine is busy for both.
//! Times are the kernel's stamps on captured frames; processor time and memory are those of all processes of a
//! program together, from `/proc`. Progress goes to standard error, the table to standard output.

mod addresses;
mod check;
#[path = "../side_by_side/contestant.rs"]
mod contestant;
mod crowd;
mod instance;
#[path = "../side_by_side/machine.rs"]
mod machine;
#[path = "../side_by_side/report.rs"]
mod report;
#[path = "../side_by_side/sample.rs"]
mod sample;
mod stop;
mod takeover;
#[path = "../side_by_side/usage.rs"]
mod usage;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use buoy::lab::{Program, become_root_in_user_namespace, find_program};
use clap::{Parser, ValueEnum};

use contestant::{Contestant, Contestants};
use report::Report;

#[derive(Debug, Parser)]
#[command(about = "Measures Buoy and keepalived side by side")]
struct Options {
    /// Fewer and shorter runs: under a minute, and more noise
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
    /// Given by cargo to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Measure {
    /// How late a backup takes over when its master falls silent
    Takeover,
    /// How long a service pauses when its director stops in good order
    Stop,
    /// A thousand virtual routers: processor time, memory, takeover of all
    Crowd,
    /// Five hundred addresses of one router
    Addresses,
    /// Checking a large configuration
    Check,
}

/// How thorough to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effort {
    Quick,
    Full,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("directors: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Takes a measure of both programs and adds its rows.
type Take = fn(&Contestants, Effort, &mut Report) -> Result<()>;

fn run(options: &Options) -> Result<()> {
    become_root_in_user_namespace()?;
    let keepalived = match &options.keepalived {
        Some(path) => path.clone(),
        None => find_program("keepalived").context("keepalived is not installed (apt install keepalived)")?,
    };
    let folder = tempfile::Builder::new().prefix("buoy-bench-").tempdir().context("making a folder")?;
    end_with_folder_on_interrupt(folder.path().to_owned())?;
    let contestants = Contestants {
        buoy: Contestant::new("buoy", Program::Buoy(options.buoy.clone()), folder.path()),
        keepalived: Contestant::new("keepalived", Program::Keepalived(keepalived), folder.path()),
    };
    let effort = if options.quick { Effort::Quick } else { Effort::Full };
    let wanted = |measure| options.only.is_empty() || options.only.contains(&measure);
    let mut report = Report::default();
    let measures: [(Measure, Take); 5] = [
        (Measure::Takeover, takeover::measure),
        (Measure::Stop, stop::measure),
        (Measure::Crowd, crowd::measure),
        (Measure::Addresses, addresses::measure),
        (Measure::Check, check::measure),
    ];
    for (measure, take) in measures.into_iter().filter(|(measure, _)| wanted(*measure)) {
        take(&contestants, effort, &mut report).with_context(|| format!("measuring {measure:?}"))?;
    }
    println!("{}\n\n{report}", machine::facts(&contestants));
    Ok(())
}

/// The programs die with this process; the folder has to be removed.
fn end_with_folder_on_interrupt(folder: PathBuf) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    std::thread::Builder::new().name("interrupt".to_owned()).spawn(move || {
        if runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
            std::fs::remove_dir_all(&folder).ok();
            std::process::exit(130);
        }
    })?;
    Ok(())
}
