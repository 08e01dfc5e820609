//! `MISC_CHECK`: what the exit status of a command says.

use std::fmt;
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::outcome::{Cause, Findings, Outcome, Reason, Trouble};
use crate::weight::WeightAdvice;

#[derive(Clone, Serialize)]
pub struct CommandCheck {
    /// The command as written, with its user: what makes two of these checks the same.
    pub identity: Arc<str>,
    #[serde(skip)]
    pub command: Arc<dyn RunCommand>,
    /// `misc_timeout`, else `delay_loop`.
    pub limit: Duration,
    /// `misc_dynamic`: statuses from 2 on set the weight.
    pub dynamic: bool,
}

/// Starts a command and waits for its end. The host's business: users, process groups, environment.
pub trait RunCommand: Send + Sync {
    /// Runs the command to its end, ends it after `limit`, and says how it ended. Dropping the future ends it too.
    fn run(&self, limit: Duration) -> Pin<Box<dyn Future<Output = CommandEnd> + Send>>;
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandEnd {
    Exited(i32),
    /// By this signal.
    Killed(i32),
    TimedOut,
    NotStarted(Cause),
    /// The system did not say how.
    Lost(Cause),
}

impl CommandCheck {
    pub(crate) async fn attempt(&self) -> Outcome {
        self.judge(self.command.run(self.limit).await)
    }

    fn judge(&self, end: CommandEnd) -> Outcome {
        let up = |weight| Outcome::Up(Findings { weight, ..Findings::default() });
        match end {
            CommandEnd::Exited(0) => up(self.dynamic.then_some(WeightAdvice::Configured)),
            CommandEnd::Exited(status @ 2..=255) if self.dynamic => {
                up(Some(WeightAdvice::Absolute(status.unsigned_abs() - 2)))
            }
            CommandEnd::Exited(status) => Outcome::Down(Reason::CommandExited(status)),
            CommandEnd::Killed(signal) => Outcome::Down(Reason::CommandKilled(signal)),
            CommandEnd::TimedOut => Outcome::Down(Reason::CommandTimedOut(self.limit)),
            CommandEnd::NotStarted(cause) => Outcome::Undecided(Trouble::Command(cause)),
            CommandEnd::Lost(cause) => Outcome::Undecided(Trouble::CommandLost(cause)),
        }
    }
}

impl PartialEq for CommandCheck {
    fn eq(&self, other: &Self) -> bool {
        (&self.identity, self.limit, self.dynamic) == (&other.identity, other.limit, other.dynamic)
    }
}

impl Eq for CommandCheck {}

impl Hash for CommandCheck {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.identity, self.limit, self.dynamic).hash(state);
    }
}

impl fmt::Debug for CommandCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommandCheck").field("identity", &self.identity).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Ends(CommandEnd);

    impl RunCommand for Ends {
        fn run(&self, _limit: Duration) -> Pin<Box<dyn Future<Output = CommandEnd> + Send>> {
            Box::pin(std::future::ready(self.0.clone()))
        }
    }

    fn weight(weight: Option<WeightAdvice>) -> Outcome {
        Outcome::Up(Findings { weight, ..Findings::default() })
    }

    #[tokio::test]
    async fn exit_status_is_the_result_and_with_misc_dynamic_the_weight() {
        let limit = Duration::from_secs(7);
        let cause = || Cause("who knows".into());
        let cases = [
            (false, CommandEnd::Exited(0), weight(None)),
            (false, CommandEnd::Exited(1), Outcome::Down(Reason::CommandExited(1))),
            (false, CommandEnd::Exited(2), Outcome::Down(Reason::CommandExited(2))),
            (true, CommandEnd::Exited(0), weight(Some(WeightAdvice::Configured))),
            (true, CommandEnd::Exited(1), Outcome::Down(Reason::CommandExited(1))),
            (true, CommandEnd::Exited(2), weight(Some(WeightAdvice::Absolute(0)))),
            (true, CommandEnd::Exited(255), weight(Some(WeightAdvice::Absolute(253)))),
            (true, CommandEnd::Killed(9), Outcome::Down(Reason::CommandKilled(9))),
            (true, CommandEnd::TimedOut, Outcome::Down(Reason::CommandTimedOut(limit))),
            (false, CommandEnd::Lost(cause()), Outcome::Undecided(Trouble::CommandLost(cause()))),
        ];
        for (dynamic, end, outcome) in cases {
            let command = Arc::new(Ends(end.clone()));
            let check = CommandCheck { identity: "x".into(), command, limit, dynamic };
            assert_eq!(check.attempt().await, outcome, "{dynamic} {end:?}");
        }
    }
}
