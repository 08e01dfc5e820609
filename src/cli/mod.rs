//! The command line: one file per subcommand.

pub mod check;
pub mod convert;
pub mod demo;
mod events;
mod reload;
mod run;
pub mod status;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

pub use run::RunArgs;

/// A high-availability load-balancing controller: floats virtual addresses between directors by VRRP.
#[derive(Debug, Parser)]
#[command(name = "buoy", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon (accepts keepalived's options)
    Run(Box<RunArgs>),
    /// Check configuration files and show everything that is odd in them
    Check(check::CheckArgs),
    /// Convert a configuration between keepalived's syntax and TOML
    Convert(convert::ConvertArgs),
    /// Show the state of a running daemon
    Status(status::StatusArgs),
    /// Show what changed state, when and why
    Events(events::EventsArgs),
    /// Have a running daemon read its configuration again
    Reload(reload::ReloadArgs),
    /// Watch a failover on this machine, in a network of its own
    Demo(demo::Demo),
}

/// How to find the running daemon.
#[derive(Args, Clone, Debug)]
pub struct ControlArgs {
    /// Control socket of the daemon
    #[arg(long, value_name = "SOCKET", default_value = crate::api::DEFAULT_SOCKET, env = "BUOY_CONTROL")]
    pub control: PathBuf,
}

/// Parses the command line and runs what it asks for.
pub fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    if let Some(failed) = crate::child::become_command(&words) {
        return failed;
    }
    let words = as_subcommand(words);
    let cli = match Cli::try_parse_from(&words) {
        Ok(cli) => cli,
        Err(refused) => return refuse(&refused, &words),
    };
    match cli.command {
        Command::Run(args) => run::run(*args),
        Command::Check(args) => check::run(&args),
        Command::Convert(args) => convert::run(&args),
        Command::Status(args) => report(status::run(&args)),
        Command::Events(args) => report(events::run(&args)),
        Command::Reload(args) => report(reload::run(&args)),
        Command::Demo(demo) => report(demo.run()),
    }
}

/// Says what is wrong with the command line, or gives the help that it asks for.
fn refuse(error: &clap::Error, words: &[OsString]) -> ExitCode {
    if error.print().is_err() {
        tracing::debug!("nobody reads the message");
    }
    ExitCode::from(refusal(error, words))
}

/// Scripts around keepalived know 1 for a command line that it does not understand; elsewhere it is 2, as usual.
fn refusal(error: &clap::Error, words: &[OsString]) -> u8 {
    let of_the_daemon = words.get(1).is_some_and(|word| word == "run");
    match (error.use_stderr(), of_the_daemon) {
        (false, _) => 0,
        (true, true) => 1,
        (true, false) => 2,
    }
}

/// keepalived's way of calling, `buoy -n -l -f FILE` or a link named `keepalived`, is `buoy run ...`.
fn as_subcommand(mut words: Vec<OsString>) -> Vec<OsString> {
    let called = words.first().map(PathBuf::from);
    let as_keepalived =
        called.as_deref().and_then(|p| p.file_name()).is_some_and(|name| name == "keepalived");
    let own = ["-h", "--help", "-V", "--version", "help"];
    let starts_with_option = words
        .get(1)
        .and_then(|w| w.to_str())
        .is_some_and(|word| word.starts_with('-') && !own.contains(&word));
    if as_keepalived || starts_with_option {
        words.insert(1.min(words.len()), "run".into());
    }
    for word in &mut words {
        // getopt's optional arguments are glued to the letter: -tFILE, -gFILE.
        if let Some(text) = word.to_str()
            && let Some(value) = text.strip_prefix("-t")
            && !value.is_empty()
            && (value.starts_with('/') || value.starts_with('.'))
        {
            *word = format!("--config-test={value}").into();
        }
    }
    words
}

fn report(result: anyhow::Result<ExitCode>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(error) if broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("buoy: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The reader of our output has seen enough.
fn broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        let words = as_subcommand(line.split(' ').map(OsString::from).collect());
        words.into_iter().map(|w| w.into_string().expect("text")).collect()
    }

    #[test]
    fn keepalived_is_called_as_ever() {
        assert_eq!(words("/usr/sbin/keepalived -n"), ["/usr/sbin/keepalived", "run", "-n"]);
        assert_eq!(words("buoy -nlD -f x"), ["buoy", "run", "-nlD", "-f", "x"]);
        assert_eq!(words("buoy -t/tmp/log"), ["buoy", "run", "--config-test=/tmp/log"]);
        assert_eq!(words("buoy --help"), ["buoy", "--help"]);
        assert_eq!(words("buoy status"), ["buoy", "status"]);
    }

    #[test]
    fn the_options_of_keepalived_are_accepted() {
        let line = "buoy run -n -l -D -d -P -f /etc/k.conf -p /run/k.pid -r /run/v.pid -c /run/c.pid -i master \
                    -s blue -S 3 -G -V -I -R -x -A unix:/x -u 022 --all -a -m --ignore-sigint";
        Cli::try_parse_from(line.split_whitespace()).expect("every option is known");
        for test in [
            "buoy run -t",
            "buoy run --config-test=/tmp/x -f y",
            "buoy run --signum=DATA",
            "buoy run -nt",
            "buoy run -n -n -f x -f y",
        ] {
            Cli::try_parse_from(test.split_whitespace()).expect(test);
        }
    }

    #[test]
    fn a_command_line_that_is_not_understood_ends_as_with_keepalived() {
        for (line, status) in [
            ("buoy run --nosuch", 1),
            ("buoy run stray", 1),
            ("buoy -n --nosuch", 1),
            ("/usr/sbin/keepalived -n stray", 1),
            ("keepalived -f", 1),
            ("keepalived --help", 0),
            ("buoy run --help", 0),
            ("buoy --help", 0),
            ("buoy --version", 0),
            ("buoy nosuch", 2),
            ("buoy check", 2),
            ("buoy check --nosuch x", 2),
        ] {
            let words = as_subcommand(line.split(' ').map(OsString::from).collect());
            let error = Cli::try_parse_from(&words).expect_err(line);
            assert_eq!(refusal(&error, &words), status, "{line}");
        }
    }

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
