use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;

use super::check::count;
use super::{ControlArgs, administer};
use crate::api::{PlannedAction, PlannedChange, Reply, Request, client};

/// Show what a reload with another file would change, and change nothing
///
/// The running daemon reads FILE as it would on a reload and compares: `+` is new, `~` is changed, `-` goes. What drains
/// gets no new connections and goes when those that it has are over. Exit status: 0 for a file that can be run, 1 for one
/// that is refused.
#[derive(Args, Debug)]
pub(super) struct PlanArgs {
    /// Configuration file, in keepalived's syntax or TOML
    file: PathBuf,
    /// One JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    control: ControlArgs,
}

pub(super) fn run(args: &PlanArgs) -> Result<ExitCode> {
    // The daemon has a working directory of its own.
    let file = std::path::absolute(&args.file)?;
    let file = file.to_str().context("the control socket takes paths in UTF-8 only")?.to_owned();
    let reply = client::answer(&args.control.control, &Request::Plan { file })?;
    if args.json {
        return administer::tell(&reply);
    }
    match reply {
        Reply::Plan { changes, messages } => {
            std::io::stdout().write_all(page(&changes, messages).as_bytes())?;
            Ok(ExitCode::SUCCESS)
        }
        Reply::Refused { message } => bail!(message),
        other => bail!("unexpected answer {other:?}"),
    }
}

/// Object by object, then how much it is.
fn page(changes: &[PlannedChange], messages: usize) -> String {
    let mut page = String::new();
    // Writing to a String cannot fail.
    let _infallible = write_page(&mut page, changes, messages);
    page
}

fn write_page(page: &mut String, changes: &[PlannedChange], messages: usize) -> std::fmt::Result {
    for PlannedChange { object, action, text } in changes {
        let (sign, verb) = match action {
            PlannedAction::Add => ('+', ""),
            PlannedAction::Change => ('~', ""),
            PlannedAction::Remove => ('-', ""),
            PlannedAction::Drain => ('-', "drains"),
        };
        let words: Vec<&str> = [verb, text].into_iter().filter(|words| !words.is_empty()).collect();
        let colon = if words.is_empty() { "" } else { ": " };
        writeln!(page, "{sign} {object}{colon}{}", words.join(", "))?;
    }
    let messages = match messages {
        0 => String::new(),
        messages => format!("{} to IPVS", count(messages, "message")),
    };
    match (changes.len(), messages.as_str()) {
        (0, "") => writeln!(page, "nothing changes"),
        (0, messages) => writeln!(page, "nothing changes in the configuration, {messages}"),
        (changes, "") => writeln!(page, "{}", count(changes, "change")),
        (changes, messages) => writeln!(page, "{}, {messages}", count(changes, "change")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(object: &str, action: PlannedAction, text: &str) -> PlannedChange {
        PlannedChange { object: object.to_owned(), action, text: text.to_owned() }
    }

    #[test]
    fn a_plan_is_told_object_by_object() {
        let changes = [
            change("real server 10.1.0.3:80 of TCP 10.0.0.1:80", PlannedAction::Add, "weight 3"),
            change("instance VI_1", PlannedAction::Change, "priority 100 -> 150"),
            change("real server 10.1.0.2:80 of TCP 10.0.0.1:80", PlannedAction::Drain, "weight 1 until now"),
            change("real server 10.1.0.1:80 of TCP 10.0.0.1:80", PlannedAction::Drain, ""),
            change("virtual server UDP 10.0.0.1:53", PlannedAction::Remove, ""),
        ];
        let expected = "\
+ real server 10.1.0.3:80 of TCP 10.0.0.1:80: weight 3
~ instance VI_1: priority 100 -> 150
- real server 10.1.0.2:80 of TCP 10.0.0.1:80: drains, weight 1 until now
- real server 10.1.0.1:80 of TCP 10.0.0.1:80: drains
- virtual server UDP 10.0.0.1:53
5 changes, 4 messages to IPVS
";
        assert_eq!(page(&changes, 4), expected);
    }

    #[test]
    fn that_nothing_changes_is_said() {
        assert_eq!(page(&[], 0), "nothing changes\n");
        assert_eq!(page(&[], 1), "nothing changes in the configuration, 1 message to IPVS\n");
        let one = change("instance VI_1", PlannedAction::Add, "");
        assert_eq!(page(&[one], 0), "+ instance VI_1\n1 change\n");
    }
}
