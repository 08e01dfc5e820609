//! `buoy check FILE...`: what is to be said about configuration files.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::json;

use crate::config::{self, Code, LoadOptions, Loaded, Severity};

/// Exit status of the worst finding: errors, warnings only, and a file that is no configuration.
const ERRORS: u8 = 1;
const UNUSABLE: u8 = 2;
const WARNINGS: u8 = 3;

/// Check configuration files and show everything that is odd in them.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// Files in keepalived's syntax, or in TOML when the name ends in .toml.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// How to show the findings.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub format: Format,
    /// Take every warning for an error.
    #[arg(long)]
    pub strict: bool,
    /// What `@ID` conditions are compared with; the host name up to its first dot by default.
    #[arg(short = 'i', long = "config-id", value_name = "ID")]
    pub config_id: Option<String>,
    /// Take whatever an `include` does not find for an error.
    #[arg(short = 'e', long = "all-config")]
    pub all_config: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// The line, a caret, the nearest known word and what was assumed.
    Human,
    /// One document with an array of findings.
    Json,
    /// One finding per line, as in a log.
    Short,
}

/// Checks the files. Status: 0 nothing to say, 1 errors, 2 a file that cannot be used at all, 3 warnings only.
pub fn run(args: &CheckArgs) -> ExitCode {
    let known_interface = |name: &str| config::interface_exists(name);
    let options = LoadOptions {
        config_id: args.config_id.as_deref(),
        strict: args.strict,
        known_interface: &known_interface,
        inspect_files: true,
        all_include_checks: args.all_config,
    };
    let mut statuses = Vec::new();
    let mut documents = Vec::new();
    for file in &args.files {
        let loaded = config::load(file, &options);
        statuses.push(status(&loaded));
        match args.format {
            Format::Json => documents.push(json!({
                "file": file.display().to_string(),
                "status": statuses.last(),
                "findings": config::json(&loaded.findings, &loaded.sources),
            })),
            Format::Human => print(&for_people(&loaded)),
            Format::Short => {
                print(
                    &config::lines(&loaded.findings, &loaded.sources)
                        .iter()
                        .map(|l| format!("{l}\n"))
                        .collect::<String>(),
                );
            }
        }
    }
    if args.format == Format::Json {
        print(&format!("{:#}\n", json!({ "files": documents })));
    }
    // A file that cannot be used outweighs errors, and errors outweigh warnings.
    let worst = [UNUSABLE, ERRORS, WARNINGS].into_iter().find(|s| statuses.contains(s));
    ExitCode::from(worst.unwrap_or(0))
}

/// The exit status that one file deserves.
pub fn status(loaded: &Loaded) -> u8 {
    match loaded.findings.worst() {
        _ if loaded.unusable || loaded.findings.has(Code::Unreadable) => UNUSABLE,
        Some(Severity::Error) => ERRORS,
        Some(Severity::Warning) => WARNINGS,
        Some(Severity::Note) | None => 0,
    }
}

/// `1 error`, `2 errors`.
pub fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

fn for_people(loaded: &Loaded) -> String {
    let findings = &loaded.findings;
    let mut out = config::for_people(findings, &loaded.sources, std::io::stdout().is_terminal());
    let (errors, warnings) = (findings.count(Severity::Error), findings.count(Severity::Warning));
    if errors + warnings > 0 {
        out.push_str(&format!("{}, {}\n", count(errors, "error"), count(warnings, "warning")));
    }
    out
}

/// A reader that went away (`| head`) is no reason to fail.
fn print(text: &str) {
    if std::io::stdout().write_all(text.as_bytes()).is_err() {
        tracing::debug!("nobody reads the findings");
    }
}
