//! Reading the configuration again, beside everything else: the file may be on a mount that hangs, and the name of a
//! user may have to be looked up on the network.

use std::time::Duration;

use tokio::sync::mpsc::Sender;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::api::Reply;
use crate::config::Loaded;

/// What takes longer hangs.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// Threads that may hang. Should there be so many, whatever is not read at once is refused.
const HANGING: usize = 4;

/// At most one reading at a time, and one more that was asked for meanwhile.
#[derive(Debug, Default)]
pub(super) struct Readings {
    running: Option<Running>,
    next: Option<Next>,
    /// Those that were given up: their threads cannot be ended.
    hanging: Vec<JoinHandle<Loaded>>,
}

type Asked = Vec<Sender<Reply>>;
type Read = Box<dyn FnOnce() -> Loaded + Send>;

#[derive(Debug)]
struct Running {
    task: JoinHandle<Loaded>,
    until: Instant,
    asked: Asked,
}

struct Next {
    read: Read,
    asked: Asked,
}

impl std::fmt::Debug for Next {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Next").field("asked", &self.asked).finish_non_exhaustive()
    }
}

impl Readings {
    /// Begins to read, after a reading that is running: that one may have seen an older file.
    pub(super) fn begin(
        &mut self,
        asked: Option<Sender<Reply>>,
        read: impl FnOnce() -> Loaded + Send + 'static,
    ) {
        let asked = asked.into_iter();
        match &mut self.next {
            Some(next) => next.asked.extend(asked),
            next @ None => *next = Some(Next { read: Box::new(read), asked: asked.collect() }),
        }
        self.go_on();
    }

    fn go_on(&mut self) {
        if self.running.is_some() {
            return;
        }
        if let Some(Next { read, asked }) = self.next.take() {
            let task = tokio::task::spawn_blocking(read);
            self.running = Some(Running { task, until: Instant::now() + PATIENCE, asked });
        }
    }

    /// Waits for the running reading: what was read, or why it was not, and who wants to hear of it. Cancel-safe.
    pub(super) async fn finished(&mut self) -> (Result<Loaded, String>, Asked) {
        let Some(running) = &mut self.running else { return std::future::pending().await };
        self.hanging.retain(|task| !task.is_finished());
        let until = if self.hanging.len() < HANGING { running.until } else { Instant::now() };
        let read = match timeout_at(until, &mut running.task).await {
            Ok(Ok(loaded)) => Ok(loaded),
            Ok(Err(error)) => Err(format!("reading the configuration failed: {error}")),
            Err(_elapsed) => Err(format!(
                "reading the configuration takes longer than {} s: a mount or the look-up of a user hangs",
                PATIENCE.as_secs()
            )),
        };
        let Some(Running { task, asked, .. }) = self.running.take() else { return (read, Vec::new()) };
        if !task.is_finished() {
            self.hanging.push(task);
        }
        self.go_on();
        (read, asked)
    }
}
