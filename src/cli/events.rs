use std::io::Write;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;

use super::ControlArgs;
use crate::api::client::Client;
use crate::api::{EventRecord, Reply, Request};

#[derive(Args, Debug)]
pub(super) struct EventsArgs {
    /// Stay and print what comes
    #[arg(long, short = 'F')]
    follow: bool,
    /// One JSON document a line
    #[arg(long)]
    json: bool,
    /// Only events after this sequence number
    #[arg(long, value_name = "SEQ", default_value_t = 0)]
    since: u64,
    #[command(flatten)]
    control: ControlArgs,
}

pub(super) fn run(args: &EventsArgs) -> Result<ExitCode> {
    let request = Request::Events { since: args.since, follow: args.follow };
    let mut client = Client::ask(&args.control.control, &request)?;
    let mut out = std::io::stdout().lock();
    while let Some(reply) = client.next_reply()? {
        match reply {
            Reply::Event(event) if args.json => {
                serde_json::to_writer(&mut out, &event)?;
                writeln!(out)?;
            }
            Reply::Event(event) => writeln!(out, "{}", line(&event))?,
            Reply::Refused { message } => bail!(message),
            other @ (Reply::Status(_) | Reply::Plan { .. } | Reply::Done { .. }) => {
                bail!("unexpected answer {other:?}")
            }
        }
        out.flush()?;
    }
    Ok(ExitCode::SUCCESS)
}

fn line(event: &EventRecord) -> String {
    let EventRecord { at, instance, group, service, server, from, to, cause, priority, lasted_ms, .. } =
        event;
    let subject = match (instance, group, service, server) {
        (Some(name), ..) => format!("instance {name}"),
        (None, Some(name), ..) => format!("group {name}"),
        (None, None, Some(service), Some(server)) => format!("real server {server} of {service}"),
        (None, None, Some(service), None) => format!("quorum of {service}"),
        (None, None, None, _) => "?".to_owned(),
    };
    let mut line = format!("{at}  {subject}: {from} -> {to}: {}", cause.text);
    if let Some(lasted) = lasted_ms {
        let (seconds, millis) = (lasted / 1000, lasted % 1000);
        line.push_str(&format!(" ({from} for {seconds}.{millis:03} s"));
        if let (Some(_), Some(priority)) = (instance, priority) {
            line.push_str(&format!(", priority {priority}"));
        }
        line.push(')');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(document: serde_json::Value) -> String {
        line(&serde_json::from_value(document).expect("an event"))
    }

    #[test]
    fn a_line_tells_who_changed_how_and_why() {
        let at = "2026-01-02T03:04:05.678Z";
        let cause = serde_json::json!({"text": "address owner (priority 255)", "kind": "owner"});
        let transition = |kind: &str| {
            shown(serde_json::json!({
                "seq": 7, "at": at, kind: "VI_1", "from": "BACKUP", "to": "MASTER", "cause": cause,
                "priority": 255, "lasted_ms": 12_345,
            }))
        };
        let told = "VI_1: BACKUP -> MASTER: address owner (priority 255) (BACKUP for 12.345 s";
        assert_eq!(transition("instance"), format!("{at}  instance {told}, priority 255)"));
        assert_eq!(transition("group"), format!("{at}  group {told})"));
        let server = shown(serde_json::json!({
            "seq": 8, "at": at, "service": "TCP 10.0.0.1:80", "server": "10.1.0.1:80", "from": "UP", "to": "DOWN",
            "cause": {"text": "connection refused"},
        }));
        let expected = "real server 10.1.0.1:80 of TCP 10.0.0.1:80: UP -> DOWN: connection refused";
        assert_eq!(server, format!("{at}  {expected}"));
        let quorum = shown(serde_json::json!({
            "seq": 9, "at": at, "service": "TCP 10.0.0.1:80", "from": "DOWN", "to": "UP",
            "cause": {"text": "weight 2 of 2 needed"},
        }));
        assert_eq!(quorum, format!("{at}  quorum of TCP 10.0.0.1:80: DOWN -> UP: weight 2 of 2 needed"));
    }
}
