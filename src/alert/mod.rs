//! Alerts: notify scripts, FIFOs, mail, webhooks; and the history of transitions.
//!
//! The election hands [`Event`]s to the [`Dispatcher`], which never makes it wait. Behind the inbox each
//! way of telling has its own queue, so that a relay that is down delays no script:
//!
//! ```text
//!                        ┌─ log (one line)            FIFO lines, at once
//! election ─ inbox ─ hand out ─ history (last 1,000)
//!                        ├─ scripts: one at a time per subject, newest state wins
//!                        ├─ mail: one at a time, retried
//!                        └─ webhooks: one at a time per URL, retried
//! ```

mod dispatcher;
mod event;
mod fifo;
#[cfg(test)]
pub(crate) mod fixture;
mod history;
mod mail;
mod queue;
mod retry;
mod script;
mod settings;
mod shutdown;
mod webhook;

pub use dispatcher::{Dispatcher, Losses};
pub use event::{Event, Record};
pub use history::{Follow, History};
