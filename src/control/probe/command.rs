//! How a MISC_CHECK's command is run on this host.

use std::future::Future;
use std::os::unix::process::ExitStatusExt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use buoy_healthcheck::Cause;
use buoy_healthcheck::checker::command::{CommandCheck, CommandEnd, RunCommand};

use crate::child::{self, Ended};
use crate::config::plan::Command;

/// From SIGTERM to SIGKILL, as in keepalived.
const GRACE: Duration = Duration::from_secs(2);

pub(super) fn check(command: &Command, limit: Duration, dynamic: bool) -> CommandCheck {
    CommandCheck { identity: identity(command), command: Arc::new(Misc(command.clone())), limit, dynamic }
}

/// What two equal commands have in common: their words, and by their numbers user and group.
fn identity(command: &Command) -> Arc<str> {
    let who = command.user.as_ref().map(|user| (user.uid, user.gid));
    format!("{:?} {who:?}", command.argv).into()
}

#[derive(Debug)]
struct Misc(Command);

impl RunCommand for Misc {
    fn run(&self, limit: Duration) -> Pin<Box<dyn Future<Output = CommandEnd> + Send>> {
        let command = self.0.clone();
        Box::pin(async move { end(&child::run(&command, &[], limit, GRACE).await) })
    }
}

fn end(ended: &Ended) -> CommandEnd {
    let cause = |error| Cause(child::reason(error).into());
    match ended {
        Ended::Exited(status) => match (status.code(), status.signal()) {
            (Some(status), _) => CommandEnd::Exited(status),
            (None, Some(signal)) => CommandEnd::Killed(signal),
            (None, None) => CommandEnd::Lost(Cause(status.to_string().into())),
        },
        Ended::TimedOut(_) => CommandEnd::TimedOut,
        Ended::NotStarted(error) => CommandEnd::NotStarted(cause(error)),
        Ended::Lost(error) => CommandEnd::Lost(cause(error)),
    }
}
