//! The command line: one file per subcommand.

mod administer;
pub mod check;
pub mod convert;
pub mod demo;
mod events;
mod ipvsadm;
mod plan;
mod reload;
mod run;
pub mod status;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

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
    Plan(plan::PlanArgs),
    Drain(administer::DrainArgs),
    Disable(administer::DisableArgs),
    Enable(administer::EnableArgs),
    Weight(administer::WeightArgs),
    Ipvsadm(ipvsadm::IpvsadmArgs),
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
        Command::Plan(args) => report(plan::run(&args)),
        Command::Drain(args) => report(administer::drain(args)),
        Command::Disable(args) => report(administer::disable(args)),
        Command::Enable(args) => report(administer::enable(args)),
        Command::Weight(args) => report(administer::weight(args)),
        Command::Ipvsadm(args) => ipvsadm::run(args),
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
    if words.get(1).is_some_and(|word| word == "run") { unglue(words) } else { words }
}

/// What the letters of the daemon's options take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    /// What is left of the word, or the next word.
    Value,
    /// What is left of the word, if anything.
    Perhaps,
}

/// getopt glues optional values to their letter, behind other letters too: `-tFILE`, `-nt/tmp/log`, `-Mcore`. clap
/// would take them for more letters, so they become long options.
fn unglue(words: Vec<OsString>) -> Vec<OsString> {
    let cli = Cli::command();
    let options: BTreeMap<char, (Takes, &str)> = cli
        .find_subcommand("run")
        .into_iter()
        .flat_map(clap::Command::get_arguments)
        .filter(|option| option.get_action().takes_values())
        .filter_map(|option| {
            let optional = option.get_num_args().is_some_and(|count| count.min_values() == 0);
            let takes = if optional { Takes::Perhaps } else { Takes::Value };
            Some((option.get_short()?, (takes, option.get_long()?)))
        })
        .collect();
    let mut apart = Vec::with_capacity(words.len() + 1);
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let letters = word.to_str().and_then(|word| word.strip_prefix('-')).unwrap_or_default();
        let found =
            letters.char_indices().find_map(|(at, letter)| Some((at, letter, *options.get(&letter)?)));
        match found {
            Some((at, letter, (takes, long))) if !letters.starts_with('-') => {
                let (before, value) = (&letters[..at], &letters[at + letter.len_utf8()..]);
                if takes == Takes::Value {
                    let next = if value.is_empty() { words.next() } else { None };
                    apart.push(word);
                    apart.extend(next);
                    continue;
                }
                if !before.is_empty() {
                    apart.push(format!("-{before}").into());
                }
                let value = value.strip_prefix('=').unwrap_or(value);
                let value = if value.is_empty() { String::new() } else { format!("={value}") };
                apart.push(format!("--{long}{value}").into());
            }
            _ => apart.push(word),
        }
    }
    apart
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
        assert_eq!(words("buoy -tlog.txt"), ["buoy", "run", "--config-test=log.txt"]);
        assert_eq!(words("buoy run -nt/tmp/log"), ["buoy", "run", "-n", "--config-test=/tmp/log"]);
        assert_eq!(words("buoy -nt -f x"), ["buoy", "run", "-n", "--config-test", "-f", "x"]);
        assert_eq!(words("buoy -Mcore -n"), ["buoy", "run", "--core-dump-pattern=core", "-n"]);
        assert_eq!(words("buoy -mM"), ["buoy", "run", "-m", "--core-dump-pattern"]);
        assert_eq!(words("buoy -g/tmp/log"), ["buoy", "run", "--log-file=/tmp/log"]);
        assert_eq!(words("buoy -nftest -i -tea"), ["buoy", "run", "-nftest", "-i", "-tea"], "values");
        assert_eq!(words("buoy check -t"), ["buoy", "check", "-t"]);
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
            "buoy --vrrp_pid=/run/v.pid --checkers_pid /run/c.pid --bfd_pid /run/b.pid --no_bfd",
            "buoy --vrrp-pid=/run/v.pid --checkers-pid /run/c.pid --bfd-pid /run/b.pid --no-bfd",
            "buoy -g --flush-log-file -T",
            "keepalived --log-file=/tmp/log -Mcore -nt/tmp/log",
            "keepalived --use-file x --dont-fork --log-console --log-detail --log-facility 3 --no-syslog --umask 022",
            "keepalived --release-vips --dont-release-vrrp --dont-release-ipvs --dont-respawn --dump-conf --pid x",
            "keepalived --address-monitoring --core-dump --core-dump-pattern=x --config-id x --namespace x",
            "keepalived --config-test --all-config --genhash --vrrp --check --snmp --snmp-agent-socket x",
        ] {
            let words = as_subcommand(test.split_whitespace().map(OsString::from).collect());
            Cli::try_parse_from(&words).expect(test);
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
        Cli::command().debug_assert();
    }
}
