use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::api::DEFAULT_SOCKET;

/// Options of the daemon: keepalived's, and a few of Buoy's own at the end. As with getopt, the last of several counts.
#[derive(Args, Clone, Debug)]
#[command(disable_version_flag = true, args_override_self = true)]
pub struct RunArgs {
    /// Configuration file
    #[arg(short = 'f', long = "use-file", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Check the configuration and exit (messages to LOG if given)
    #[arg(short = 't', long = "config-test", value_name = "LOG", num_args = 0..=1, require_equals = true,
          default_missing_value = "-")]
    pub config_test: Option<PathBuf>,
    /// Identity for @ID conditions (the host name up to its first dot)
    #[arg(short = 'i', long = "config-id", value_name = "ID")]
    pub config_id: Option<String>,
    /// Run in this network namespace
    #[arg(short = 's', long = "namespace", value_name = "NAME")]
    pub namespace: Option<String>,
    /// Stay in the foreground
    #[arg(short = 'n', long)]
    pub dont_fork: bool,
    /// Log to the console
    #[arg(short = 'l', long)]
    pub log_console: bool,
    /// Log in detail; twice for more
    #[arg(short = 'D', long, action = clap::ArgAction::Count)]
    pub log_detail: u8,
    /// Syslog facility: 0 to 7 for local0 to local7, user, daemon
    #[arg(short = 'S', long, value_name = "FACILITY")]
    pub log_facility: Option<String>,
    /// Log to FILE too (in the folder for temporary files if none is given)
    #[arg(short = 'g', long = "log-file", value_name = "FILE", num_args = 0..=1, require_equals = true,
          default_missing_value = "-")]
    pub log_file: Option<PathBuf>,
    /// Write every line of the log file at once (always so)
    #[arg(long)]
    pub flush_log_file: bool,
    /// Do not log to syslog
    #[arg(short = 'G', long = "no-syslog")]
    pub no_syslog: bool,
    /// Print the configuration as it was understood
    #[arg(short = 'd', long)]
    pub dump_conf: bool,
    /// Leave addresses and routes in place at exit, and say nothing to the peers
    #[arg(short = 'V', long = "dont-release-vrrp")]
    pub dont_release_vrrp: bool,
    /// Leave IPVS entries in place at exit
    #[arg(short = 'I', long = "dont-release-ipvs")]
    pub dont_release_ipvs: bool,
    /// Remove addresses at a transition even if this run did not set them (always so)
    #[arg(short = 'X', long = "release-vips")]
    pub release_vips: bool,
    /// File creation mask (octal)
    #[arg(short = 'u', long, value_name = "MASK")]
    pub umask: Option<String>,
    /// Pid file of the daemon
    #[arg(short = 'p', long, value_name = "FILE")]
    pub pid: Option<PathBuf>,
    /// Pid file of keepalived's VRRP process (written too: it is the same process)
    #[arg(short = 'r', long = "vrrp_pid", alias = "vrrp-pid", value_name = "FILE")]
    pub vrrp_pid: Option<PathBuf>,
    /// Pid file of keepalived's checker process (written too)
    #[arg(short = 'c', long = "checkers_pid", alias = "checkers-pid", value_name = "FILE")]
    pub checkers_pid: Option<PathBuf>,
    /// Pid file of keepalived's BFD process (written too)
    #[arg(short = 'b', long = "bfd_pid", alias = "bfd-pid", value_name = "FILE")]
    pub bfd_pid: Option<PathBuf>,
    /// Run VRRP only
    #[arg(short = 'P', long)]
    pub vrrp: bool,
    /// Run the health checkers only
    #[arg(short = 'C', long)]
    pub check: bool,
    /// Do not run BFD
    #[arg(short = 'B', long = "no_bfd", alias = "no-bfd")]
    pub no_bfd: bool,
    /// Start every part even if it has nothing to do
    #[arg(long)]
    pub all: bool,
    /// Do not restart a part that failed: stop the daemon
    #[arg(short = 'R', long = "dont-respawn")]
    pub dont_respawn: bool,
    /// Log address changes seen by the checkers
    #[arg(short = 'a', long = "address-monitoring")]
    pub address_monitoring: bool,
    /// Turn on SNMP (not supported by this version: said in the log)
    #[arg(short = 'x', long)]
    pub snmp: bool,
    /// SNMP agent socket (not supported by this version)
    #[arg(short = 'A', long, value_name = "SOCKET")]
    pub snmp_agent_socket: Option<String>,
    /// Allow core dumps
    #[arg(short = 'm', long)]
    pub core_dump: bool,
    /// Core dump pattern (not supported by this version)
    #[arg(short = 'M', long, value_name = "PATTERN", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub core_dump_pattern: Option<String>,
    /// Do not run when anything that an `include` names is missing or cannot be read
    #[arg(short = 'e', long = "all-config")]
    pub all_config: bool,
    /// Be keepalived's digest helper (not in this version: refused)
    #[arg(short = 'T', long)]
    pub genhash: bool,
    /// Ignore SIGINT
    #[arg(long)]
    pub ignore_sigint: bool,
    /// Print the number of the signal for STOP, RELOAD, DATA, STATS, STATS_CLEAR or JSON and exit
    #[arg(long, value_name = "NAME")]
    pub signum: Option<String>,
    /// Print the version and exit
    #[arg(short = 'v', long = "version")]
    pub version: bool,

    /// Make every warning about the configuration an error
    #[arg(long)]
    pub strict: bool,
    /// Control socket
    #[arg(long, value_name = "SOCKET", default_value = DEFAULT_SOCKET, env = "BUOY_CONTROL")]
    pub control: PathBuf,
    /// Log as JSON, one document a line
    #[arg(long)]
    pub log_json: bool,
    /// End when the parent process ends
    #[arg(long, hide = true)]
    pub die_with_parent: bool,
    /// Let the control socket make parts panic, for tests of their restart
    #[arg(long, hide = true)]
    pub allow_planted_panics: bool,
    /// This process is the daemon that the one in the foreground started
    #[arg(long, hide = true)]
    pub detached: bool,
}

/// Runs the daemon until it is told to stop.
pub(super) fn run(args: RunArgs) -> ExitCode {
    crate::supervisor::main(args)
}
