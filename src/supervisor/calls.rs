//! Answers to the control socket.

use std::collections::VecDeque;

use tokio::sync::mpsc;

use crate::alert::{History, Record};
use crate::api::{EventRecord, Reply};

/// Sends the events after `since`, and if asked for those that come, until the client goes.
pub(super) async fn events(history: History, since: u64, follow: bool, replies: mpsc::Sender<Reply>) {
    if follow {
        let mut follow = history.follow(since);
        loop {
            tokio::select! {
                record = follow.next() => {
                    if replies.send(reply(&record)).await.is_err() {
                        return;
                    }
                }
                () = replies.closed() => return,
            }
        }
    }
    let mut records: VecDeque<_> = history.since(since).into();
    while let Some(record) = records.pop_front() {
        if replies.send(reply(&record)).await.is_err() {
            return;
        }
    }
}

fn reply(record: &Record) -> Reply {
    let document = serde_json::to_value(record).and_then(serde_json::from_value::<EventRecord>);
    match document {
        Ok(event) => Reply::Event(Box::new(event)),
        Err(error) => Reply::Refused { message: format!("cannot show event {}: {error}", record.seq) },
    }
}
