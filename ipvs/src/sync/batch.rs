//! When records leave.

use std::time::{Duration, Instant};

use super::message::{Message, NotPushed};
use super::record::SyncRecord;
use super::{SyncId, Version};

/// Gathers records into messages. A message that leaves is returned, to be sent at once.
///
/// It leaves when the next record does not fit, when the version changes, and when its first record is
/// [`LONGEST_WAIT`](Self::LONGEST_WAIT) old. The kernel looks at its buffer once a second, so there it can wait a second
/// longer; and it forgets what waits when its daemon stops, where here [`take`](Self::take) hands it out.
#[derive(Clone, Debug)]
pub struct Batch {
    version: Version,
    sync_id: SyncId,
    max_len: u16,
    /// What waits, never without a record, and until when.
    waiting: Option<(Message, Instant)>,
}

impl Batch {
    pub const LONGEST_WAIT: Duration = Duration::from_secs(2);

    /// For messages of at most `max_len` bytes, see [`Message::new`].
    pub const fn new(version: Version, sync_id: SyncId, max_len: u16) -> Self {
        Self { version, sync_id, max_len, waiting: None }
    }

    /// Adds a record. Returns what has to leave for it.
    ///
    /// # Errors
    /// The record is of a kind that version 0 does not have.
    pub fn push(&mut self, record: &SyncRecord<'_>, now: Instant) -> Result<Option<Message>, NotPushed> {
        if let Some((message, _)) = &mut self.waiting {
            match message.push(record) {
                Err(NotPushed::Full) => {}
                pushed => return pushed.map(|()| None),
            }
        }
        let mut next = Message::new(self.version, self.sync_id, self.max_len);
        next.push(record)?;
        let full = self.waiting.replace((next, now + Self::LONGEST_WAIT));
        Ok(full.map(|(message, _)| message))
    }

    /// What follows is of `version`. Returns what was of another.
    pub fn set_version(&mut self, version: Version) -> Option<Message> {
        if self.version == version {
            return None;
        }
        self.version = version;
        self.take()
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to return.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.waiting.as_ref().map(|(_, until)| *until)
    }

    /// Returns what has waited long enough.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Message> {
        self.poll_timeout().filter(|until| *until <= now).and_then(|_| self.take())
    }

    /// Returns what waits, however long it has.
    pub fn take(&mut self) -> Option<Message> {
        self.waiting.take().map(|(message, _)| message)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::super::{
        Connection, ConnectionState, Endpoint, Ends, Method, RecordFlags, Records, Subject, Tuple,
    };
    use super::*;

    const RECORD: SyncRecord<'static> = SyncRecord {
        subject: Subject::Connection(Connection::new(ConnectionState::Udp)),
        tuple: Tuple::V4(Ends {
            client: Endpoint::new(Ipv4Addr::new(10, 1, 0, 9), 5000),
            service: Endpoint::new(Ipv4Addr::new(10, 9, 0, 1), 53),
            server: Endpoint::new(Ipv4Addr::new(10, 2, 0, 11), 53),
            local: None,
        }),
        method: Method::Masquerade,
        flags: RecordFlags::INACTIVE,
        mark: None,
        timeout: None,
    };

    fn count(message: Option<Message>) -> Option<u8> {
        message.map(|message| message.count())
    }

    #[test]
    fn records_leave_when_the_message_is_full() {
        let now = Instant::now();
        let mut batch = Batch::new(Version::V1, SyncId(7), 8 + 3 * 36);
        let left: Vec<_> = (0..7).map(|_| count(batch.push(&RECORD, now).unwrap())).collect();
        assert_eq!(left, [None, None, None, Some(3), None, None, Some(3)]);
        assert_eq!(count(batch.take()), Some(1));
        assert_eq!(batch.take(), None);
    }

    #[test]
    fn records_leave_two_seconds_after_the_first() {
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        let mut batch = Batch::new(Version::V1, SyncId(7), 1472);
        assert_eq!(batch.poll_timeout(), None);
        assert_eq!(batch.handle_timeout(start), None);
        batch.push(&RECORD, start).unwrap();
        batch.push(&RECORD, after(1_900)).unwrap();
        assert_eq!(batch.poll_timeout(), Some(after(2_000)));
        assert_eq!(batch.handle_timeout(after(1_999)), None);
        assert_eq!(count(batch.handle_timeout(after(2_000))), Some(2));
        assert_eq!(batch.poll_timeout(), None);
        batch.push(&RECORD, after(2_100)).unwrap();
        assert_eq!(batch.poll_timeout(), Some(after(4_100)));
    }

    #[test]
    fn records_leave_before_another_version_begins() {
        let now = Instant::now();
        let mut batch = Batch::new(Version::V1, SyncId(7), 1472);
        batch.push(&RECORD, now).unwrap();
        assert_eq!(batch.set_version(Version::V1), None);
        let left = batch.set_version(Version::V0).unwrap();
        assert_eq!(Records::read(left.bytes(), SyncId(7)).unwrap().version(), Version::V1);
        batch.push(&RECORD, now).unwrap();
        assert_eq!(batch.take().unwrap().version(), Version::V0);
    }

    #[test]
    fn a_length_that_holds_nothing_makes_a_message_of_each_record() {
        let now = Instant::now();
        let mut batch = Batch::new(Version::V1, SyncId(7), 1);
        let left: Vec<_> = (0..3).map(|_| count(batch.push(&RECORD, now).unwrap())).collect();
        assert_eq!(left, [None, Some(1), Some(1)]);
    }
}
