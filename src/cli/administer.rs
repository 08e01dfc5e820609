//! `buoy drain`, `disable`, `enable` and `weight`: what operators want of one real server.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;

use super::ControlArgs;
use crate::api::{Action, Reply, Request, client};

/// How both are meant, behind the help of each command.
const WORDS: &str = "SERVICE is a virtual server as in `buoy status` (\"TCP 10.0.0.1:80\", \"FWM 7\"), one of its addresses \
                     (10.0.0.1:80, udp:10.0.0.1:53, [2001:db8::1]:80), a mark (fwm:7) or a group by its name. SERVER is \
                     the address of one of its real servers (10.1.0.1:80); the port may be left out where only one has \
                     that address. Exit status: 0 done, 1 refused.";

#[derive(Args, Debug)]
struct Target {
    /// Virtual server
    service: String,
    /// Real server
    server: String,
    /// The daemon's answer as one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    control: ControlArgs,
}

/// Have a real server keep its connections and get no new ones
///
/// It gets no new connections, and those that it has go on. When the last one has ended or the deadline has passed it is
/// out, until `buoy enable`. A reload leaves it so. A server that dies meanwhile is taken out at once.
#[derive(Args, Debug)]
#[command(after_long_help = WORDS)]
pub(super) struct DrainArgs {
    #[command(flatten)]
    target: Target,
    /// How long connections may last: 30, 30s, 5m, 1h30m; without it until they end
    #[arg(long, value_name = "TIME", value_parser = deadline)]
    deadline: Option<Duration>,
}

/// Take a real server out at once, with its connections
///
/// It is out of the table at once, and its connections are lost; to have them end by themselves use `buoy drain`. It stays
/// out until `buoy enable`, whatever its checks say. A reload leaves it so. The drain of a server that a reload has removed
/// is over.
#[derive(Args, Debug)]
#[command(after_long_help = WORDS)]
pub(super) struct DisableArgs {
    #[command(flatten)]
    target: Target,
}

/// Put a real server back into the hands of its configuration and its checks
///
/// Ends what `buoy drain`, `buoy disable` or `buoy weight` has said: the server has its configured weight again and serves
/// while its checks find it up.
#[derive(Args, Debug)]
#[command(after_long_help = WORDS)]
pub(super) struct EnableArgs {
    #[command(flatten)]
    target: Target,
}

/// Give a real server another weight
///
/// The server has this weight, whatever is configured and whatever its checks add, until `buoy enable`. With 0 it gets no
/// new connections and stays in the table. Ends a drain. A reload leaves it so.
#[derive(Args, Debug)]
#[command(after_long_help = WORDS)]
pub(super) struct WeightArgs {
    #[command(flatten)]
    target: Target,
    /// Share of new connections, relative to the other servers
    #[arg(allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(..=i64::from(i32::MAX)))]
    weight: u32,
}

pub(super) fn drain(args: DrainArgs) -> Result<ExitCode> {
    // Longer than anybody lives: as good as none.
    let millis = |deadline: Duration| u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
    administer(args.target, Action::Drain { deadline_ms: args.deadline.map(millis) })
}

pub(super) fn disable(args: DisableArgs) -> Result<ExitCode> {
    administer(args.target, Action::Disable)
}

pub(super) fn enable(args: EnableArgs) -> Result<ExitCode> {
    administer(args.target, Action::Enable)
}

pub(super) fn weight(args: WeightArgs) -> Result<ExitCode> {
    administer(args.target, Action::Weight { weight: args.weight })
}

fn administer(target: Target, action: Action) -> Result<ExitCode> {
    let Target { service, server, json, control } = target;
    let reply = client::answer(&control.control, &Request::Administer { service, server, action })?;
    if json {
        return tell(&reply);
    }
    match reply {
        Reply::Done { message } => writeln!(std::io::stdout(), "{message}")?,
        Reply::Refused { message } => bail!(message),
        other => bail!("unexpected answer {other:?}"),
    }
    Ok(ExitCode::SUCCESS)
}

/// The answer as one JSON document; a refusal is one too.
pub(super) fn tell(reply: &Reply) -> Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, reply)?;
    writeln!(out)?;
    Ok(match reply {
        Reply::Refused { .. } => ExitCode::FAILURE,
        Reply::Status(_) | Reply::Event(_) | Reply::Plan { .. } | Reply::Done { .. } => ExitCode::SUCCESS,
    })
}

/// Seconds, or a number of each unit: `90`, `30s`, `5m`, `1h30m`.
fn deadline(word: &str) -> Result<Duration, String> {
    if let Ok(seconds) = word.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    let time: jiff::SignedDuration =
        word.parse().map_err(|_| format!("`{word}` is no time; 30, 30s, 5m and 1h30m are"))?;
    Duration::try_from(time).map_err(|_| "a deadline lies ahead".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn deadlines_are_seconds_or_have_their_unit() {
        for (word, millis) in
            [("0", 0), ("30", 30_000), ("30s", 30_000), ("5m", 300_000), ("1h30m", 5_400_000), ("500ms", 500)]
        {
            assert_eq!(deadline(word), Ok(Duration::from_millis(millis)), "{word}");
        }
        for word in ["", "soon", "-5", "-5s", "5x", "99999999999999999999"] {
            assert!(deadline(word).is_err(), "{word}");
        }
    }

    #[derive(Debug, Parser)]
    struct Weighing {
        #[command(flatten)]
        args: WeightArgs,
    }

    #[test]
    fn weights_are_those_that_the_kernel_keeps() {
        let weight = |word: &str| {
            let words = ["weight", "TCP 10.0.0.1:80", "10.1.0.1:80", word];
            Weighing::try_parse_from(words).map(|weighing| weighing.args.weight).ok()
        };
        for (word, kept) in
            [("0", Some(0)), ("2147483647", Some(2_147_483_647)), ("2147483648", None), ("-1", None)]
        {
            assert_eq!(weight(word), kept, "{word}");
        }
    }
}
