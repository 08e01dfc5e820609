//! What waits for a socket to take it.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};

use crate::sync::Message;

/// What became of all that a master was told to tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MasterStatistics {
    /// Datagrams that were sent, and bytes and records in them.
    pub datagrams: u64,
    pub bytes: u64,
    pub records: u64,
    /// Records that version 0 has no words for.
    pub untellable: u64,
    /// Records that had to make room for newer ones, because the socket took nothing for too long.
    pub displaced: u64,
    /// Records in datagrams that the kernel did not send: without a way to the group, or a message too long.
    pub failed: u64,
}

/// Messages in their order. When they are too many, the oldest go: what they tell of is what others will be told of
/// first again.
#[derive(Debug)]
pub(super) struct Outbox {
    waiting: VecDeque<Message>,
    bytes: usize,
    most: usize,
    pub(super) statistics: MasterStatistics,
    failure: Option<io::Error>,
}

impl Outbox {
    /// For messages of `most` bytes in all, and one at any rate.
    pub(super) fn new(most: usize) -> Self {
        let statistics = MasterStatistics::default();
        Self { waiting: VecDeque::new(), bytes: 0, most, statistics, failure: None }
    }

    pub(super) fn push(&mut self, message: Message) {
        self.bytes += message.bytes().len();
        self.waiting.push_back(message);
        while self.bytes > self.most
            && self.waiting.len() > 1
            && let Some(oldest) = self.pop()
        {
            self.statistics.displaced += u64::from(oldest.count());
        }
    }

    fn pop(&mut self) -> Option<Message> {
        let message = self.waiting.pop_front()?;
        self.bytes = self.bytes.saturating_sub(message.bytes().len());
        Some(message)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Why the last message was not sent, if it was not.
    pub(super) const fn failure(&self) -> Option<&io::Error> {
        self.failure.as_ref()
    }

    /// Has messages sent until there are none, or the socket would block. One that cannot be sent is lost: the next will
    /// do without it.
    pub(super) fn flush(&mut self, mut send: impl FnMut(&[u8]) -> io::Result<()>) {
        while let Some(message) = self.waiting.front() {
            let (records, bytes) = (u64::from(message.count()), message.bytes().len());
            match send(message.bytes()) {
                Ok(()) => {
                    self.statistics.datagrams += 1;
                    self.statistics.bytes += bytes as u64;
                    self.statistics.records += records;
                    self.failure = None;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => {
                    self.statistics.failed += records;
                    self.failure = Some(error);
                }
            }
            self.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::sync::{
        Connection, ConnectionState, Endpoint, Ends, Method, RecordFlags, Records, Subject, SyncId,
        SyncRecord, Tuple, Version,
    };

    /// Of two records, with a port to know it by.
    fn message(port: u16) -> Message {
        let end = |port| Endpoint::new(Ipv4Addr::new(10, 1, 0, 9), port);
        let record = SyncRecord {
            subject: Subject::Connection(Connection::new(ConnectionState::Udp)),
            tuple: Tuple::V4(Ends { client: end(port), service: end(53), server: end(53), local: None }),
            method: Method::Masquerade,
            flags: RecordFlags::NONE,
            mark: None,
            timeout: None,
        };
        let mut message = Message::new(Version::V1, SyncId(7), 1472);
        (0..2).for_each(|_| message.push(&record).unwrap());
        message
    }

    fn port_of(message: &[u8]) -> u16 {
        let record = Records::read(message, SyncId(7)).unwrap().next().unwrap().unwrap();
        record.tuple.ends().client.port
    }

    /// A socket that takes so many messages.
    fn flush(outbox: &mut Outbox, room: usize) -> Vec<u16> {
        let mut sent = Vec::new();
        outbox.flush(|message| {
            if sent.len() == room {
                return Err(ErrorKind::WouldBlock.into());
            }
            sent.push(port_of(message));
            Ok(())
        });
        sent
    }

    const LEN: usize = 8 + 2 * 36;

    #[test]
    fn messages_leave_in_their_order_as_the_socket_takes_them() {
        let mut outbox = Outbox::new(10 * LEN);
        (1..=5).for_each(|port| outbox.push(message(port)));
        assert_eq!(flush(&mut outbox, 2), [1, 2]);
        assert!(!outbox.is_empty());
        outbox.push(message(6));
        assert_eq!(flush(&mut outbox, 9), [3, 4, 5, 6]);
        assert!(outbox.is_empty() && outbox.bytes == 0);
        let MasterStatistics { datagrams, bytes, records, .. } = outbox.statistics;
        assert_eq!((datagrams, bytes, records), (6, 6 * LEN as u64, 12));
    }

    #[test]
    fn the_oldest_give_way_when_the_socket_takes_nothing() {
        let mut outbox = Outbox::new(3 * LEN);
        for port in 1..=1_000 {
            outbox.push(message(port));
            assert!(outbox.bytes <= 3 * LEN && outbox.waiting.len() <= 3);
        }
        assert_eq!(outbox.statistics.displaced, 2 * 997);
        assert_eq!(flush(&mut outbox, 9), [998, 999, 1_000]);
    }

    #[test]
    fn one_message_waits_however_long_it_is() {
        let mut outbox = Outbox::new(1);
        outbox.push(message(1));
        outbox.push(message(2));
        assert_eq!(flush(&mut outbox, 9), [2]);
    }

    #[test]
    fn a_message_that_cannot_be_sent_is_counted_and_holds_nobody_up() {
        let mut outbox = Outbox::new(10 * LEN);
        (1..=3).for_each(|port| outbox.push(message(port)));
        let mut sent = Vec::new();
        outbox.flush(|message| match port_of(message) {
            2 => Err(io::Error::from_raw_os_error(nix::libc::ENETUNREACH)),
            port => {
                sent.push(port);
                Ok(())
            }
        });
        assert_eq!(sent, [1, 3]);
        assert_eq!((outbox.statistics.records, outbox.statistics.failed), (4, 2));
        assert!(outbox.failure().is_none(), "the last one was sent");
        outbox.push(message(2));
        outbox.flush(|_| Err(io::Error::from_raw_os_error(nix::libc::ENETUNREACH)));
        assert_eq!(outbox.failure().unwrap().raw_os_error(), Some(nix::libc::ENETUNREACH));
        assert!(outbox.is_empty());
    }

    #[test]
    fn a_signal_loses_nothing() {
        let mut outbox = Outbox::new(10 * LEN);
        outbox.push(message(1));
        let mut calls = 0;
        outbox.flush(|_| {
            calls += 1;
            if calls == 1 { Err(ErrorKind::Interrupted.into()) } else { Ok(()) }
        });
        assert_eq!((calls, outbox.statistics.datagrams), (2, 1));
    }
}
