//! The time an attempt may take: each step its own, all together no more than a bound.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use crate::outcome::{Outcome, Reason, Step, Trouble};

/// Time limits of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Deadlines {
    /// For connecting, for the handshake and for each wait for data (`connect_timeout`, 5 s).
    pub step: Duration,
    /// For the whole attempt, against servers that drip. keepalived has no such bound.
    pub overall: Duration,
}

/// Steps of full length that fit into an attempt: connect, handshake, head, and one for the body.
const STEPS: u32 = 4;

impl Deadlines {
    /// `step`, and four times that for the whole.
    pub fn of_step(step: Duration) -> Self {
        Self { step, overall: step.saturating_mul(STEPS) }
    }
}

impl Default for Deadlines {
    fn default() -> Self {
        Self::of_step(Duration::from_secs(5))
    }
}

/// Why an attempt ended before its aim.
#[derive(Debug)]
pub(crate) enum Failure {
    Server(Reason),
    Here(Trouble),
}

impl From<Reason> for Failure {
    fn from(reason: Reason) -> Self {
        Self::Server(reason)
    }
}

impl From<Failure> for Outcome {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Server(reason) => Self::Down(reason),
            Failure::Here(trouble) => Self::Undecided(trouble),
        }
    }
}

/// The limits of one attempt, counted from its start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    deadlines: Deadlines,
    start: Instant,
    end: Instant,
}

impl Limits {
    pub(crate) fn start(deadlines: Deadlines) -> Self {
        let start = Instant::now();
        Self { deadlines, start, end: start + deadlines.overall.min(FOREVER) }
    }

    /// The result of `work`, unless its time is up before. Drops `work` then.
    pub(crate) async fn step<T>(&self, step: Step, work: impl Future<Output = T>) -> Result<T, Reason> {
        let mut work = pin!(work);
        // What is there already needs neither clock nor timer.
        if let Poll::Ready(done) = poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await {
            return Ok(done);
        }
        // An attempt begins with connecting: one look at the clock is enough for both.
        let begin = if step == Step::Connect { self.start } else { Instant::now() };
        let step_end = begin + self.deadlines.step.min(FOREVER);
        match timeout_at(step_end.min(self.end), work).await {
            Ok(done) => Ok(done),
            Err(_) if step_end <= self.end => Err(Reason::TimedOut { step, after: self.deadlines.step }),
            Err(_) => Err(Reason::TooSlow { step, after: self.deadlines.overall }),
        }
    }
}

/// No sum of it with a clock overflows.
const FOREVER: Duration = Duration::from_secs(365 * 86_400);

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    const SEC: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn step_and_whole_have_their_own_limits() {
        let limits = Limits::start(Deadlines { step: SEC * 3, overall: SEC * 8 });
        let step = async |seconds| limits.step(Step::ResponseBody, sleep(SEC * seconds)).await;
        let start = Instant::now();
        assert_eq!(step(2).await, Ok(()));
        assert_eq!(step(9).await, Err(Reason::TimedOut { step: Step::ResponseBody, after: SEC * 3 }));
        assert_eq!(step(2).await, Ok(()));
        assert_eq!(step(9).await, Err(Reason::TooSlow { step: Step::ResponseBody, after: SEC * 8 }));
        assert_eq!(start.elapsed(), SEC * 8);
    }

    #[tokio::test(start_paused = true)]
    async fn limits_without_end_are_limits() {
        let limits = Limits::start(Deadlines::of_step(Duration::MAX));
        assert_eq!(limits.step(Step::Connect, async { 7 }).await, Ok(7));
    }
}
