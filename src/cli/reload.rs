use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use super::ControlArgs;
use crate::api::{Request, client};

#[derive(Args, Debug)]
pub(super) struct ReloadArgs {
    #[command(flatten)]
    control: ControlArgs,
}

/// Exit 1 when the new configuration was refused; the old one is then in force.
pub(super) fn run(args: &ReloadArgs) -> Result<ExitCode> {
    println!("{}", client::command(&args.control.control, &Request::Reload)?);
    Ok(ExitCode::SUCCESS)
}
