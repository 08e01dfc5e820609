//! When a server is up and when it is down: the rule between single attempts and what the rest acts upon.
//!
//! One failed attempt is noise often enough, so a server that was up is asked again, soon; one that was down has to
//! do nothing but answer. The very first result is believed as it is, for there is nothing to weigh it against.
//!
//! ```text
//!          first failure, or more than `retry` failures in a row
//!     Up ---------------------------------------------------------> Down
//!        <---------------------------------------------------------
//!          `rise` rounds in a row without a failure (the first: one)
//! ```
//!
//! An attempt looks at one part of a check: a page of several, else the only part. A round is all parts in turn. A
//! part that fails is asked again until it answers; then a full round brings the server back.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::Serialize;

use crate::outcome::{Administrative, CertificateExpiry, Findings, Outcome};
use crate::weight::WeightAdvice;

/// How often a check is made and how many results decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Cadence {
    /// Pause between attempts while nothing is wrong (`delay_loop`, 60 s). Zero asks without pause.
    pub interval: Duration,
    /// What the pause is measured from.
    pub pace: Pace,
    /// Further attempts after the first failed one before the server is down (`retry`; Buoy's `fall` minus one).
    pub retry: u32,
    /// Pause before such an attempt (`delay_before_retry`).
    pub retry_interval: Duration,
    /// Pause after a failed attempt while the server is down: `delay_loop`, and for HTTP and TLS the larger of that
    /// and `delay_before_retry`.
    pub down_interval: Duration,
    /// Rounds in a row that bring a server back (Buoy's `rise`; keepalived believes one).
    pub rise: NonZeroU32,
    /// The first attempts are spread over so much time (`warmup`; as keepalived has it `delay_loop`).
    pub warmup: Duration,
    /// What is believed before the first result: `alpha` starts down.
    pub start: Health,
    /// No pause between the parts of a round that may bring the server back (`fast_recovery`).
    pub fast_recovery: bool,
    /// Report every failed attempt rather than changes (`log_all_failures`).
    pub report_all_failures: bool,
}

impl Default for Cadence {
    /// keepalived's values for most checkers.
    fn default() -> Self {
        let interval = Duration::from_secs(60);
        Self {
            interval,
            pace: Pace::AfterEnd,
            retry: 1,
            retry_interval: Duration::from_secs(1),
            down_interval: interval,
            rise: NonZeroU32::MIN,
            warmup: interval,
            start: Health::Up,
            fast_recovery: false,
            report_all_failures: false,
        }
    }
}

/// What the time to the next regular attempt is measured from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    AfterEnd,
    /// `MISC_CHECK`
    FromStart,
}

/// Whether a server is believed to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    Up,
    Down,
}

/// The time to the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    AfterEnd(Duration),
    FromStart(Duration),
}

/// A change of belief.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Transition {
    pub to: Health,
    /// Retries that had failed before the server was given up.
    pub retries: u32,
}

/// What follows from one result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    pub transition: Option<Transition>,
    /// This was the first result that decided anything.
    pub first: bool,
    /// The advice or the certificate is another one than before.
    pub learnt: bool,
    pub wait: Wait,
}

/// The belief about one check, and what it rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    state: State,
    decided: bool,
    part: u32,
    weight: Option<WeightAdvice>,
    administrative: Option<Administrative>,
    certificate: Option<CertificateExpiry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Up {
        /// In a row.
        failures: u32,
    },
    Down {
        /// Full rounds in a row.
        rounds: u32,
        /// Parts of the current round that answered.
        passed: u32,
        /// The part that is asked again until it answers.
        failed: bool,
    },
}

impl State {
    const DOWN: Self = Self::Down { rounds: 0, passed: 0, failed: false };
    const FAILED: Self = Self::Down { rounds: 0, passed: 0, failed: true };
}

impl Verdict {
    pub fn new(start: Health) -> Self {
        let state = match start {
            Health::Up => State::Up { failures: 0 },
            Health::Down => State::DOWN,
        };
        Self { state, decided: false, part: 0, weight: None, administrative: None, certificate: None }
    }

    pub fn health(&self) -> Health {
        match self.state {
            State::Up { .. } => Health::Up,
            State::Down { .. } => Health::Down,
        }
    }

    /// Whether any result has decided yet.
    pub fn is_decided(&self) -> bool {
        self.decided
    }

    /// Failures in a row of a server that is still up.
    pub fn failures(&self) -> u32 {
        match self.state {
            State::Up { failures } => failures,
            State::Down { .. } => 0,
        }
    }

    /// The part of the check to look at next, from zero.
    pub fn part(&self) -> u32 {
        self.part
    }

    /// The weight last advised; gone while the server is down.
    pub fn weight(&self) -> Option<WeightAdvice> {
        self.weight
    }

    pub fn administrative(&self) -> Option<Administrative> {
        self.administrative
    }

    pub fn certificate(&self) -> Option<CertificateExpiry> {
        self.certificate
    }

    /// Takes the result of an attempt at [`part`](Self::part) of a check that has `parts`.
    pub fn handle_outcome(&mut self, outcome: &Outcome, cadence: &Cadence, parts: NonZeroU32) -> Decision {
        let was = self.clone();
        let wait = match outcome {
            Outcome::Up(findings) => {
                self.learn(findings);
                self.succeed(cadence, parts)
            }
            Outcome::Advice(findings) => {
                self.learn(findings);
                if self.decided { cadence.pause() } else { self.succeed(cadence, parts) }
            }
            Outcome::Down(_) => self.fail(cadence),
            Outcome::Undecided(_) => cadence.pause(),
        };
        let retries = was.failures();
        Decision {
            transition: (was.health() != self.health()).then(|| Transition { to: self.health(), retries }),
            first: !was.decided && self.decided,
            learnt: (was.weight, was.administrative, was.certificate)
                != (self.weight, self.administrative, self.certificate),
            wait,
        }
    }

    fn learn(&mut self, findings: &Findings) {
        self.weight = findings.weight.or(self.weight);
        self.administrative = findings.administrative.or(self.administrative);
        self.certificate = findings.certificate.or(self.certificate);
    }

    fn succeed(&mut self, cadence: &Cadence, parts: NonZeroU32) -> Wait {
        let next_part = if self.part + 1 < parts.get() { self.part + 1 } else { 0 };
        let State::Down { rounds, passed, failed } = self.state else {
            self.state = State::Up { failures: 0 };
            self.part = next_part;
            self.decided = true;
            return cadence.pause();
        };
        if failed && self.part != 0 {
            // The others may have died meanwhile: all are looked at from the first.
            self.part = 0;
            self.state = State::Down { rounds, passed: 0, failed: false };
            return cadence.pause_in_recovery();
        }
        self.part = next_part;
        let passed = passed + 1;
        if passed < parts.get() {
            self.state = State::Down { rounds, passed, failed: false };
            return cadence.pause_in_recovery();
        }
        let rounds = rounds + 1;
        let needed = if self.decided { cadence.rise.get() } else { 1 };
        self.decided = true;
        self.state = if rounds >= needed {
            State::Up { failures: 0 }
        } else {
            State::Down { rounds, passed: 0, failed: false }
        };
        cadence.pause()
    }

    fn fail(&mut self, cadence: &Cadence) -> Wait {
        let decided = std::mem::replace(&mut self.decided, true);
        match self.state {
            State::Up { failures } if decided && failures < cadence.retry => {
                self.state = State::Up { failures: failures + 1 };
                Wait::AfterEnd(cadence.retry_interval)
            }
            State::Up { .. } | State::Down { .. } => {
                self.state = State::FAILED;
                // A weight belongs to a living server; the next success says it anew.
                self.weight = None;
                cadence.paced(cadence.down_interval)
            }
        }
    }
}

impl Cadence {
    fn pause(&self) -> Wait {
        self.paced(self.interval)
    }

    fn paced(&self, pause: Duration) -> Wait {
        match self.pace {
            Pace::AfterEnd => Wait::AfterEnd(pause),
            Pace::FromStart => Wait::FromStart(pause),
        }
    }

    fn pause_in_recovery(&self) -> Wait {
        if self.fast_recovery { Wait::AfterEnd(Duration::ZERO) } else { self.pause() }
    }
}

#[cfg(test)]
mod tests;
