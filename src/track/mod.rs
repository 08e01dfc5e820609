//! Script, file and process tracking: observations for the election. Interfaces are observed by `host`.
//!
//! [`Set`] holds what is tracked and what was seen last. [`Set::run`] does the watching: a future that may
//! be dropped, or panic, and be started again without forgetting a verdict.
//!
//! ```text
//! script (runs) ──result──> verdict (rise, fall) ──┐
//! file (inotify) ──number──────────────────────────┼──> Set::observe ──changed──> Sink
//! process (connector, /proc) ──> census (quorum) ──┘
//! ```

mod file;
mod process;
mod script;
mod set;
mod verdict;

pub use process::HomeNamespace;
#[doc(hidden)]
pub use process::{ProcessEvent, decode_process_event};
pub use set::{Set, Sink};
pub use verdict::Verdict;
