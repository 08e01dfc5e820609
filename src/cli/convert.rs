//! `buoy convert IN --to toml|conf`: the same configuration in the other syntax.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::check::status;
use crate::config::{self, LoadOptions, Severity, Syntax};

/// Write a configuration in the other syntax. Includes, conditions and definitions are resolved; comments are
/// lost. Findings go to standard error.
#[derive(Args, Clone, Debug)]
pub struct ConvertArgs {
    /// The file to read.
    #[arg(value_name = "IN")]
    pub file: PathBuf,
    /// The syntax to write.
    #[arg(long, value_enum)]
    pub to: Target,
    /// Where to write; standard output by default.
    #[arg(short = 'o', long, value_name = "OUT")]
    pub output: Option<PathBuf>,
    /// What `@ID` conditions are compared with; the host name up to its first dot by default.
    #[arg(short = 'i', long = "config-id", value_name = "ID")]
    pub config_id: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Target {
    Toml,
    Conf,
}

/// Converts. Status as that of `check`; with errors nothing is written.
pub fn run(args: &ConvertArgs) -> ExitCode {
    let options = LoadOptions { config_id: args.config_id.as_deref(), ..LoadOptions::default() };
    let loaded = config::load(&args.file, &options);
    let colour = std::io::stderr().is_terminal();
    eprint!("{}", config::for_people(&loaded.findings, &loaded.sources, colour));
    if loaded.findings.worst() == Some(Severity::Error) {
        return ExitCode::from(status(&loaded));
    }
    let text = loaded.write(match args.to {
        Target::Toml => Syntax::Toml,
        Target::Conf => Syntax::Conf,
    });
    let written = match &args.output {
        Some(path) => std::fs::write(path, text),
        None => std::io::stdout().write_all(text.as_bytes()),
    };
    match written {
        Ok(()) => ExitCode::from(status(&loaded)),
        Err(e) => {
            eprintln!("buoy convert: cannot write: {e}");
            ExitCode::from(2)
        }
    }
}
