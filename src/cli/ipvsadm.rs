//! `buoy ipvsadm`: ipvsadm's own options and output, on the plane that forwards.
//!
//! A command line is split by `grammar`, judged by `command` and carried out here on a [`Source`]. What is printed is
//! written as ipvsadm 1.31 writes it, byte for byte, and so are exit statuses; words of complaint are our own. It differs
//! where ipvsadm loses or breaks something:
//!
//! - `-S` saves thresholds, and marks above 2147483647 as the numbers that `-R` reads; `-R` reads ipvsadm's as well.
//! - Counters of servers are shown whole where they do not fit 32 bits, and their rates are rounded as all numbers are.
//! - `-M` is a mask of the service's family wherever it stands.
//!
//! And where a [`Change`] has no words for it: netmasks with gaps, a persistence engine without persistence, and
//! schedulers that Linux does not have are refused, though listed.

mod command;
mod connections;
mod grammar;
mod label;
mod listing;
mod mistake;
mod names;
mod order;
mod save;
mod source;

use std::ffi::OsString;
use std::io::{self, BufRead, BufWriter, Write};
use std::process::ExitCode;

use anyhow::{Error, Result, anyhow};
use buoy_ipvs::kernel::ModuleLoading;
use buoy_ipvs::{Change, KernelPlane, ListedService};
use clap::Args;

use command::{Command, Request, ServiceList};
use label::Labels;
use mistake::Mistake;
use names::Names;
use source::Source;

/// The status of whatever the plane refuses.
const REFUSED: u8 = 255;
/// The status of a listing of a service that is not there.
const NOT_THERE: u8 = 1;

const HELP: &str = include_str!("ipvsadm/help.txt");
const VERSION: &str = concat!("buoy ", env!("CARGO_PKG_VERSION"), ", with the options of ipvsadm 1.31\n");

/// Show and change virtual servers with ipvsadm's options (`buoy ipvsadm --help`)
#[derive(Args, Debug)]
#[command(disable_help_flag = true)]
pub(super) struct IpvsadmArgs {
    /// As for ipvsadm: -Ln, -A -t 10.0.0.1:80 -s rr, -S, ...
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

/// Runs one command line.
pub(super) fn run(args: IpvsadmArgs) -> ExitCode {
    let words = args.words.into_iter().map(|word| word.to_string_lossy().into_owned());
    let mut names = Names::of_host();
    ExitCode::from(match command::parse(words, &names) {
        Err(mistake) => complain(&mistake, None),
        Ok(Request::Help) => print(HELP),
        Ok(Request::Version) => print(VERSION),
        Ok(Request::Restore) => on_plane(|plane| restore(plane, io::stdin().lock(), &mut names)),
        Ok(Request::Do(command)) => on_plane(|plane| obey(plane, command, &mut names)),
    })
}

/// Does `work` on the plane that forwards. Its exit status.
fn on_plane(work: impl FnOnce(&mut KernelPlane) -> u8) -> u8 {
    match KernelPlane::open(ModuleLoading::Allowed) {
        Ok(mut plane) => work(&mut plane),
        Err(error) => failed(&error.into()),
    }
}

/// Carries out the command of every line. A line that makes no sense ends it; what the plane refuses does not. The
/// status is that of the last line.
fn restore(source: &mut impl Source, input: impl BufRead, names: &mut Names) -> u8 {
    let mut status = 0;
    for (number, line) in (1..).zip(input.lines()) {
        let line = match line {
            Ok(line) => line,
            Err(error) => return failed(&error.into()),
        };
        let words = words_of(&line);
        if words.is_empty() {
            continue;
        }
        status = match command::parse(words, names) {
            Err(mistake) => return complain(&mistake, Some(number)),
            Ok(Request::Restore) => return complain(&Mistake::RestoreWithin, Some(number)),
            Ok(Request::Help) => return print(HELP),
            Ok(Request::Version) => return print(VERSION),
            Ok(Request::Do(command)) => obey(source, command, names),
        };
    }
    status
}

/// The words of a line that was saved. ipvsadm writes marks above 2147483647 as negative numbers, which it does not read
/// itself.
fn words_of(line: &str) -> Vec<String> {
    let mut of_mark = false;
    let words = line.split_whitespace().skip_while(|word| *word == "ipvsadm");
    words
        .map(|word| {
            let negative = word.parse::<i32>().ok().filter(|mark| *mark < 0 && of_mark);
            of_mark = word == "-f";
            negative.map_or_else(|| word.to_owned(), |mark| mark.cast_unsigned().to_string())
        })
        .collect()
}

/// Carries out a command. Its exit status.
fn obey(source: &mut impl Source, command: Command, names: &mut Names) -> u8 {
    let mut out = BufWriter::new(io::stdout().lock());
    let outcome = carry_out(source, command, names, &mut out);
    match outcome.and_then(|status| Ok(out.flush().map(|()| status)?)) {
        Ok(status) => status,
        Err(error) => failed(&error),
    }
}

fn carry_out(
    source: &mut impl Source,
    command: Command,
    names: &mut Names,
    out: &mut impl Write,
) -> Result<u8> {
    match command {
        Command::Change(change) => make(source, change)?,
        Command::Flush => source.flush()?,
        Command::Save { numeric } => {
            let services = order::sort(source.services()?);
            save::write_table(out, &services, &mut Labels::new(names, numeric))?;
        }
        Command::ListServices(list) => return list_services(source, &list, names, out),
        Command::ListConnections { numeric, engines } => {
            connections::write_heading(out, engines)?;
            let mut labels = Labels::new(names, numeric);
            source.connections(&mut |connection| {
                connections::write_connection(out, connection, engines, &mut labels)
            })?;
        }
        Command::ListTimeouts => listing::write_timeouts(out, &source.timeouts()?)?,
        Command::ListDaemons => listing::write_daemons(out, &source.sync_daemons()?)?,
        Command::Zero(service) => source.zero(service.as_ref())?,
        Command::SetTimeouts(timeouts) => source.set_timeouts(timeouts)?,
        Command::StartSync(daemon) => source.start_sync(&daemon)?,
        Command::StopSync(role) => source.stop_sync(role)?,
    }
    Ok(0)
}

fn make(source: &mut impl Source, change: Change) -> Result<()> {
    match source.apply(&[change])?.into_iter().next() {
        Some(refusal) => Err(refusal.into()),
        None => Ok(()),
    }
}

fn list_services(
    source: &mut impl Source,
    list: &ServiceList,
    names: &mut Names,
    out: &mut impl Write,
) -> Result<u8> {
    let mut services = source.services()?;
    let info = match list.only {
        None => Some(source.plane_info()?),
        Some(only) => {
            services.retain(|service| ListedService::id(service) == Some(only));
            if services.is_empty() {
                failed(&anyhow!("there is no virtual service {only}"));
                return Ok(NOT_THERE);
            }
            None
        }
    };
    let services = if list.sorted { order::sort(services) } else { services };
    listing::write_services(out, info, &services, list, &mut Labels::new(names, list.numeric))?;
    Ok(0)
}

fn print(text: &str) -> u8 {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => 0,
        Err(error) => failed(&error.into()),
    }
}

/// Says what is wrong with a command line, or with a line that is read.
fn complain(mistake: &Mistake, line: Option<usize>) -> u8 {
    match line {
        Some(line) => eprintln!("buoy: line {line}: {mistake}"),
        None => eprintln!("buoy: {mistake}; see buoy ipvsadm --help"),
    }
    mistake.status()
}

/// Says why it could not be done.
fn failed(error: &Error) -> u8 {
    // The reader of our output has seen enough.
    if super::broken_pipe(error) {
        return 0;
    }
    eprintln!("buoy: {error:#}");
    REFUSED
}

#[cfg(test)]
mod tests;
