//! Alerts: notify scripts, FIFOs, mail, webhooks; and the history of changes of state.
//!
//! The election, and whoever drives the virtual servers, hand [`Event`]s to the [`Dispatcher`], which never makes
//! them wait. Behind the inbox each way of telling has its own queue, so that a relay that is down delays no script;
//! and in each queue what the election says has its own room and goes first, so that a network which takes a
//! thousand real servers away delays no takeover:
//!
//! ```text
//! election ──┐                ┌─ log (one line)            FIFO lines, at once
//!          inbox ───── hand out ─ history (last 1,000 of each topic)
//! services ──┘                ├─ scripts: one at a time per subject, newest state wins
//!                             ├─ mail: one at a time, retried
//!                             └─ webhooks: one at a time per URL, retried
//! ```

mod change;
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
mod subject;
mod webhook;

pub use change::ServiceChange;
pub use dispatcher::{Dispatcher, Losses};
pub use event::{Event, News, Record};
pub use history::{Follow, History};
pub use subject::Subject;
