//! Health checks: what to ask a server, how to judge the answer, and when to ask again.
//!
//! Not here: configuration syntax, what a dead server means for a virtual service, and anything that only the host
//! knows, such as how a command is run.
//!
//! Read first: [`Probe`], one question to one server, and [`Outcome`], its answer; [`Verdict`], which makes up and down of
//! outcomes; [`Roster`], which knows all checks and when they are due; [`driver`], the loop around it.

pub mod checker;
mod connector;
mod deadline;
pub mod driver;
mod outcome;
mod roster;
mod schedule;
mod silence;
mod target;
mod tls;
mod verdict;
mod weight;

pub use checker::Probe;
pub use deadline::Deadlines;
pub use outcome::{
    Administrative, AgentWord, Cause, CertificateExpiry, Findings, Outcome, Reason, Step, TlsFault, Trouble,
};
pub use roster::{Attempt, CheckId, CheckSettings, ProbeKey, Report, Roster};
pub use schedule::{Schedule, Spread, next_due};
pub use target::Target;
pub use tls::{Application, Identity, Sni, Tls, TlsSettings, TlsUnusable, Trust};
pub use verdict::{Cadence, Decision, Health, Pace, Transition, Verdict, Wait};
pub use weight::{MAX_WEIGHT, WeightAdvice, effective_weight};
