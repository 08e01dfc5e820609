//! Start, reload, shutdown: owns every task and thread.
//!
//! ```text
//! main thread      this module's loop: signals, control socket, reload; tasks: alerts, tracking, control socket
//! election thread  the VRRP driver: sockets and timers, nothing else; told through a bounded queue
//! host thread      netlink, announcements, the watch over interfaces; told what to hold, level-triggered
//! checks thread    health checks of real servers; there is one when there are virtual servers, as of the next
//! ipvs thread      the reconciler and the kernel's IPVS; told settings and health, level-triggered
//! ```
//!
//! The election waits for nobody. Alerts, tracking, the control socket and the host may panic: they are reported
//! and started again. The election itself may not: if it ends, so does the daemon, and the leases of its addresses
//! run out.

mod balancing;
mod calls;
mod daemon;
mod election_thread;
mod extra_announcements;
mod host_link;
mod host_thread;
mod operator;
mod panic_report;
mod parts;
mod privileges;
mod process;
mod readings;
mod reload;
mod report;
mod services;
mod watch;

pub(crate) use process::make_folder;

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::cli::{RunArgs, check};
use crate::config::plan::{Balancing, LogFormat, Plan};
use crate::config::{self, LoadOptions, Loaded, Severity};
use crate::log::{self, Facility, LogOptions};
use crate::track;

/// Exit status of keepalived for a configuration that cannot be run.
const EXIT_CONFIGURATION: u8 = 2;
/// Exit status of keepalived when a capability is missing.
const EXIT_NO_PERMISSION: u8 = 4;
/// Exit status of keepalived when there is no usable configuration file.
const EXIT_NO_CONFIGURATION: u8 = 6;

/// Runs the daemon as the command line asks for.
pub fn main(args: RunArgs) -> ExitCode {
    process::close_inherited();
    if args.version {
        println!("buoy {}", env!("CARGO_PKG_VERSION"));
        return ExitCode::SUCCESS;
    }
    if let Some(name) = &args.signum {
        return match process::signal_number(name) {
            Some(number) => {
                println!("{number}");
                ExitCode::SUCCESS
            }
            None => {
                eprintln!(
                    "buoy: no signal for {name}; known are STOP, RELOAD, DATA, STATS, STATS_CLEAR and JSON"
                );
                ExitCode::FAILURE
            }
        };
    }
    if args.genhash {
        eprintln!("buoy: keepalived's digest helper (-T, --genhash) is not in this version");
        return ExitCode::FAILURE;
    }
    match start(args) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("buoy: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(mut args: RunArgs) -> Result<ExitCode> {
    let path = match process::configuration(&args) {
        Ok(path) => std::path::absolute(path)?,
        Err(error) => {
            eprintln!("buoy: {error:#}");
            return Ok(ExitCode::from(EXIT_NO_CONFIGURATION));
        }
    };
    if let Some(log) = &args.config_test {
        return config_test(&path, &args, log);
    }
    process::make_absolute(&mut args)?;
    if args.die_with_parent {
        nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    }
    // One that goes to the background joins there, so that it knows where it comes from.
    let stays = args.dont_fork || args.detached;
    let home = track::HomeNamespace::here().context("cannot see the own network namespace")?;
    if let Some(name) = args.namespace.as_ref().filter(|_| stays) {
        process::join_namespace(name)?;
    }
    let loaded = load(&path, &args);
    let Some(plan) = &loaded.plan else {
        eprint!("{}", config::for_people(&loaded.findings, &loaded.sources, std::io::stderr().is_terminal()));
        eprintln!("buoy: {} cannot be run", path.display());
        let code = if loaded.unusable { EXIT_NO_CONFIGURATION } else { EXIT_CONFIGURATION };
        return Ok(ExitCode::from(code));
    };
    if args.namespace.is_none()
        && let Some(name) = plan.global.net_namespace.as_ref().filter(|_| stays)
    {
        process::join_namespace(name)?;
    }
    let missing = process::missing_capabilities();
    if !missing.is_empty() {
        eprintln!(
            "buoy: needs {}: run it as root, or give it these (systemd: AmbientCapabilities)",
            missing.join(" and ")
        );
        return Ok(ExitCode::from(EXIT_NO_PERMISSION));
    }
    if !stays {
        return process::detach();
    }
    if args.detached {
        process::become_detached()?;
    }
    process::set_umask(args.umask.as_deref(), plan.global.umask)?;
    let _log = log::init(&log_options(&args, plan)?)?;
    panic_report::log_panics();
    tell_unsupported(&args);
    save_copy(&loaded);
    log_findings(&loaded);
    if args.dump_conf {
        dump(&loaded, args.dont_fork && !args.detached);
    }
    let pid_files = pid_files(&args, plan);
    daemon::run(args, path, loaded, pid_files, home)
}

/// Reads the configuration as the command line asks for.
fn load(path: &Path, args: &RunArgs) -> Loaded {
    let options = LoadOptions {
        config_id: args.config_id.as_deref(),
        strict: args.strict,
        all_include_checks: args.all_config,
        ..LoadOptions::default()
    };
    let mut loaded = config::load(path, &options);
    if let Some(plan) = &mut loaded.plan {
        match (args.vrrp, args.check) {
            (true, false) => leave_balancing_to_another(plan),
            (false, true) => leave_vrrp_to_another(plan),
            (true, true) | (false, false) => {}
        }
    }
    loaded
}

/// `-C`: another process is to do all that keepalived's VRRP process does.
fn leave_vrrp_to_another(plan: &mut Plan) {
    plan.routers.clear();
    plan.groups.clear();
    plan.scripts.clear();
    plan.files.clear();
    plan.processes.clear();
    plan.static_addresses.clear();
    plan.static_routes.clear();
    plan.static_rules.clear();
    plan.balancing.sync_daemon.take_if(|daemon| daemon.instance.is_some());
}

/// `-P`: another process is to do all that keepalived's checker process does.
fn leave_balancing_to_another(plan: &mut Plan) {
    plan.services.clear();
    let sync_daemon = plan.balancing.sync_daemon.take().filter(|daemon| daemon.instance.is_some());
    plan.balancing = Balancing { sync_daemon, ..Balancing::default() };
}

/// `config_save_dir`: what was read, with everything included and expanded, in one file for each reading.
fn save_copy(loaded: &Loaded) {
    let Some(folder) = loaded.plan.as_ref().and_then(|plan| plan.global.config_save_dir.as_ref()) else {
        return;
    };
    let name = jiff::Zoned::now().strftime("%Y%m%d-%H%M%S%.6f.conf").to_string();
    let path = folder.join(name);
    if let Err(error) = std::fs::write(&path, loaded.write(config::Syntax::Conf)) {
        tracing::warn!(path = %path.display(), %error, "config_save_dir");
    }
}

/// `-d`: the configuration as it was understood, with everything included and expanded; in the foreground on
/// standard output, else in the log.
fn dump(loaded: &Loaded, foreground: bool) {
    let text = loaded.write(config::Syntax::Conf);
    if !foreground {
        text.lines().filter(|line| !line.is_empty()).for_each(|line| tracing::info!("{line}"));
    } else if let Err(error) = std::io::stdout().write_all(text.as_bytes()) {
        tracing::warn!(%error, "-d: the configuration cannot be printed");
    }
}

/// `-t`: the findings go to standard error or are appended to a file; the exit status is that of `buoy check`.
fn config_test(path: &Path, args: &RunArgs, log: &Path) -> Result<ExitCode> {
    let loaded = load(path, args);
    let colour = log == Path::new("-") && std::io::stderr().is_terminal();
    let findings = config::for_people(&loaded.findings, &loaded.sources, colour);
    if log == Path::new("-") {
        eprint!("{findings}");
    } else {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
        file.write_all(findings.as_bytes())?;
    }
    Ok(ExitCode::from(check::status(&loaded)))
}

/// One line for each finding, at the level that it deserves.
fn log_findings(loaded: &Loaded) {
    let lines = config::lines(&loaded.findings, &loaded.sources);
    for (finding, line) in loaded.findings.iter().zip(&lines) {
        // Without a place the line begins with the severity, which the log tells anyway.
        let line = line.strip_prefix(&format!("{}: ", finding.severity)).unwrap_or(line);
        match finding.severity {
            Severity::Note => tracing::info!("{line}"),
            Severity::Warning => tracing::warn!("{line}"),
            Severity::Error => tracing::error!("{line}"),
        }
    }
}

fn log_options(args: &RunArgs, plan: &Plan) -> Result<LogOptions> {
    let facility = match (&args.log_facility, args.no_syslog) {
        (_, true) => None,
        (Some(name), false) => Some(name.parse::<Facility>().context("-S")?),
        (None, false) => Some(Facility::DAEMON),
    };
    let json = args.log_json || plan.global.log_format == LogFormat::Json;
    let journald = matches!(plan.global.log_format, LogFormat::Automatic | LogFormat::Journald);
    Ok(LogOptions {
        journald,
        console: args.log_console || json,
        json,
        syslog_facility: facility,
        file: args.log_file.as_ref().map(|path| match path {
            path if path == Path::new("-") => std::env::temp_dir().join(format!("{}.log", process::name())),
            path => path.clone(),
        }),
        background: args.detached,
        detail: args.log_detail,
        ident: match &plan.global.instance {
            Some(instance) => format!("Buoy_{instance}"),
            None => "Buoy".to_owned(),
        },
    })
}

fn pid_files(args: &RunArgs, plan: &Plan) -> Vec<PathBuf> {
    let name = process::name();
    let namespace = args.namespace.as_deref().or(plan.global.net_namespace.as_deref());
    let marks: Vec<&str> = plan.global.instance.as_deref().into_iter().chain(namespace).collect();
    let default = match marks.as_slice() {
        [] if plan.global.use_pid_dir => PathBuf::from(format!("/run/{name}/{name}.pid")),
        [] => PathBuf::from(format!("/run/{name}.pid")),
        marks => PathBuf::from(format!("/run/{name}/{}.pid", marks.join("_"))),
    };
    let main = args.pid.clone().unwrap_or(default);
    let others = [&args.vrrp_pid, &args.checkers_pid, &args.bfd_pid];
    std::iter::once(main).chain(others.into_iter().flatten().cloned()).collect()
}

/// Options of keepalived that are taken without effect are named, never swallowed.
fn tell_unsupported(args: &RunArgs) {
    let unsupported = [
        (args.snmp || args.snmp_agent_socket.is_some(), "-x/-A (SNMP)"),
        (
            args.core_dump || args.core_dump_pattern.is_some(),
            "-m/-M (core dumps: set the limit of the service)",
        ),
        (args.address_monitoring, "-a (address log of the checkers)"),
    ];
    for (_, option) in unsupported.iter().filter(|(given, _)| *given) {
        tracing::warn!(option, "keepalived option without effect in this version");
    }
}
