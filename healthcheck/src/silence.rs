//! Whose silence it is: when nothing at all comes back from a server, the server may be dead or this host cut off.
//!
//! ```text
//!   silent failure ---- another one answers ----> silent failure: the server's own
//!        |
//!        +------------- nobody does ------------> silent failure: in doubt still
//! ```
//!
//! What is answered has to have been asked after the first attempt began, and the answer to be there before the second
//! began: then the network worked in between, and that the server failed again is its own doing. Any answer after a failure
//! would not do: when a network comes back, the first server that answers says nothing of those that are asked later.

use std::time::{Duration, Instant};

use crate::outcome::Outcome;

/// Who answers is not found out again for so long: it takes some calls of the kernel, and thousands may answer. Checks are
/// rarely made twice in this time.
const FRESH: Duration = Duration::from_millis(500);

/// When somebody other than this host was last heard.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Hearing {
    /// Begin of the attempt that was answered.
    asked: Option<Instant>,
}

impl Hearing {
    /// Whether an attempt that begins now should find out who answers it.
    pub(crate) fn listens(&self, now: Instant) -> bool {
        self.asked.is_none_or(|asked| now.saturating_duration_since(asked) >= FRESH)
    }

    /// Somebody else has answered an attempt that began then.
    pub(crate) fn hear(&mut self, asked: Instant) {
        self.asked = self.asked.max(Some(asked));
    }
}

/// The silence of one server.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Silence {
    /// When the last attempt began, if nothing came back.
    failed: Option<Instant>,
    /// What of others was known when the attempt under way began.
    before: Hearing,
    doubted: bool,
}

impl Silence {
    pub(crate) fn begin_attempt(&mut self, hearing: Hearing) {
        self.before = hearing;
    }

    /// Takes the result of the attempt that began then.
    pub(crate) fn handle_outcome(&mut self, outcome: &Outcome, began: Instant) {
        match outcome {
            Outcome::Down(reason) if reason.is_silence() => {
                let believed = self.failed.is_some_and(|failed| self.before.asked > Some(failed));
                self.doubted = (self.doubted || self.failed.is_none()) && !believed;
                self.failed = Some(began);
            }
            // It has said so itself.
            Outcome::Down(_) => (self.failed, self.doubted) = (None, false),
            // Until it is up again its connections may wait for it.
            Outcome::Up(_) | Outcome::Advice(_) => self.failed = None,
            Outcome::Undecided(_) => {}
        }
    }

    /// Whether it may be that of this host.
    pub(crate) fn is_doubted(&self) -> bool {
        self.doubted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Findings, Reason, Step};

    const SEC: Duration = Duration::from_secs(1);

    /// A server whose attempts take a second when nothing comes back, with a second between them.
    struct Play {
        hearing: Hearing,
        silence: Silence,
        now: Instant,
    }

    impl Play {
        fn new() -> Self {
            Self { hearing: Hearing::default(), silence: Silence::default(), now: Instant::now() }
        }

        /// Whether the server is in doubt when it has failed silently.
        fn fails(&mut self) -> bool {
            self.silence.begin_attempt(self.hearing);
            let doubted = self.ends(&Outcome::Down(Reason::TimedOut { step: Step::Connect, after: SEC }));
            self.now += SEC * 2;
            doubted
        }

        fn ends(&mut self, outcome: &Outcome) -> bool {
            self.silence.handle_outcome(outcome, self.now);
            self.silence.is_doubted()
        }

        /// Another server answers what it was asked so long ago.
        fn another_answers(&mut self, asked: Duration) {
            self.hearing.hear(self.now - asked);
        }
    }

    #[test]
    fn silence_is_in_doubt_until_another_one_answers_between_two_failures() {
        let mut play = Play::new();
        play.another_answers(Duration::ZERO);
        assert!(play.fails(), "the network may have been cut since");
        assert!(play.fails());
        play.another_answers(SEC / 2);
        assert!(!play.fails());
        assert!(!play.fails(), "and stays believed");
    }

    #[test]
    fn an_answer_to_what_was_asked_before_the_failed_attempt_does_not_count() {
        let mut play = Play::new();
        play.fails();
        play.another_answers(SEC * 2);
        assert!(play.fails());
    }

    #[test]
    fn an_answer_while_the_second_attempt_is_under_way_does_not_count() {
        let mut play = Play::new();
        play.fails();
        play.silence.begin_attempt(play.hearing);
        play.another_answers(Duration::ZERO);
        let silent = Outcome::Down(Reason::TimedOut { step: Step::Connect, after: SEC });
        assert!(play.ends(&silent), "the network may have come back after this attempt was lost");
    }

    #[test]
    fn what_comes_back_ends_the_doubt_if_it_is_bad_and_keeps_it_while_the_server_returns() {
        let mut play = Play::new();
        play.fails();
        assert!(play.ends(&Outcome::Up(Findings::default())), "one of several successes that it takes");
        play.another_answers(Duration::ZERO);
        assert!(play.fails(), "silent anew");
        assert!(!play.ends(&Outcome::Down(Reason::Refused)));
    }

    #[test]
    fn who_answers_is_not_asked_again_at_once() {
        let mut play = Play::new();
        assert!(play.hearing.listens(play.now));
        play.another_answers(Duration::ZERO);
        assert!(!play.hearing.listens(play.now));
        play.another_answers(FRESH);
        assert!(!play.hearing.listens(play.now), "a later answer to an older question");
        assert!(play.hearing.listens(play.now + FRESH));
    }
}
