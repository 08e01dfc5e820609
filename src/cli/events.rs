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
            other @ (Reply::Status(_) | Reply::Done { .. }) => bail!("unexpected answer {other:?}"),
        }
        out.flush()?;
    }
    Ok(ExitCode::SUCCESS)
}

fn line(event: &EventRecord) -> String {
    let EventRecord { at, instance, group, from, to, cause, priority, lasted_ms, .. } = event;
    let subject = match (instance, group) {
        (Some(name), _) => format!("instance {name}"),
        (None, Some(name)) => format!("group {name}"),
        (None, None) => "?".to_owned(),
    };
    let (seconds, millis) = (lasted_ms / 1000, lasted_ms % 1000);
    let priority = if instance.is_some() { format!(", priority {priority}") } else { String::new() };
    format!("{at}  {subject}: {from} -> {to}: {} ({from} for {seconds}.{millis:03} s{priority})", cause.text)
}
