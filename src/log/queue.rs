//! A bounded channel before a log that may be stuck: a terminal that is stopped, a pipe that nobody reads or a journal
//! that hangs must not stop the daemon.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// Entries between the daemon and its log: a burst of a thousand transitions fits. When it is full, the newest are dropped
/// and counted.
const CAPACITY: usize = 2048;
/// How long the end of the process waits for the log to take the rest.
const LAST_ENTRIES: Duration = Duration::from_secs(1);

/// What takes entries, and may block.
pub(super) trait Destination: Send + 'static {
    /// # Errors
    /// The entry is lost.
    fn write(&mut self, entry: &[u8]) -> io::Result<()>;

    /// Tells that `count` entries were lost.
    ///
    /// # Errors
    /// So is this one.
    fn tell_lost(&mut self, count: u64) -> io::Result<()>;
}

/// The thread that writes to the log. Dropping it waits until all entries are written.
#[derive(Debug)]
pub(super) struct Queue {
    entries: Entries,
    finished: Receiver<()>,
}

/// Hands entries over; a full channel drops and counts them.
#[derive(Clone, Debug)]
pub(super) struct Entries {
    sender: SyncSender<Message>,
    lost: Arc<AtomicU64>,
}

enum Message {
    Entry(Vec<u8>),
    End,
}

impl Queue {
    /// # Errors
    /// There can be no more threads.
    pub(super) fn before(destination: impl Destination) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(CAPACITY);
        let (finish, finished) = sync_channel(1);
        let lost = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&lost);
        std::thread::Builder::new().name("log".to_owned()).spawn(move || {
            write_entries(destination, &receiver, &counter);
            drop(finish);
        })?;
        Ok(Self { entries: Entries { sender, lost }, finished })
    }

    pub(super) fn entries(&self) -> Entries {
        self.entries.clone()
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // With a full channel nobody reads, and waiting would be in vain.
        if self.entries.sender.try_send(Message::End).is_ok() {
            let (Ok(()) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected)) =
                self.finished.recv_timeout(LAST_ENTRIES);
        }
    }
}

/// Errors of the log have nowhere to go but into the count; the daemon goes on without it.
fn write_entries(mut destination: impl Destination, entries: &Receiver<Message>, lost: &AtomicU64) {
    while let Ok(Message::Entry(entry)) = entries.recv() {
        if destination.write(&entry).is_err() {
            lost.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let count = lost.swap(0, Ordering::Relaxed);
        if count > 0 && destination.tell_lost(count).is_err() {
            lost.fetch_add(count, Ordering::Relaxed);
        }
    }
}

impl Entries {
    /// Never waits.
    pub(super) fn push(&self, entry: Vec<u8>) {
        match self.sender.try_send(Message::Entry(entry)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl<'a> MakeWriter<'a> for Entries {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

/// Each call is one line: the subscriber composes a line before it writes.
impl Write for &Entries {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A stream of lines: standard error.
#[derive(Debug)]
pub(super) struct Console<W>(pub(super) W);

impl<W: Write + Send + 'static> Destination for Console<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        self.0.write_all(line)
    }

    fn tell_lost(&mut self, count: u64) -> io::Result<()> {
        writeln!(self.0, "({count} log lines were lost, because the console was stuck)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::sync::mpsc::channel;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Page {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().expect("not poisoned").clone()).expect("utf-8")
        }
    }

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("not poisoned").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A console that takes nothing before it is told to.
    struct Stuck {
        go_on: Receiver<()>,
        entered: SyncSender<()>,
        page: Page,
    }

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (Ok(()) | Err(_)) = self.entered.try_send(());
            let (Ok(()) | Err(_)) = self.go_on.recv();
            self.page.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn all_lines_are_written_before_the_end() {
        let page = Page::default();
        let queue = Queue::before(Console(page.clone())).expect("starts");
        for line in ["one\n", "two\n"] {
            (&queue.entries()).write_all(line.as_bytes()).expect("takes everything");
        }
        drop(queue);
        assert_eq!(page.text(), "one\ntwo\n");
    }

    #[test]
    fn a_stuck_console_costs_lines_and_no_time_and_says_how_many() {
        let ((release, go_on), (entered, is_stuck)) = (channel(), sync_channel(1));
        let page = Page::default();
        let queue = Queue::before(Console(Stuck { go_on, entered, page: page.clone() })).expect("starts");
        let mut writer = &queue.entries();
        writer.write_all(b"first\n").expect("takes everything");
        is_stuck.recv().expect("the thread writes");
        for _ in 0..CAPACITY + 5 {
            writer.write_all(b"line\n").expect("takes everything");
        }
        drop(release);
        while !page.text().contains("lost") {
            std::thread::yield_now();
        }
        assert!(page.text().starts_with("first\n(5 log lines were lost"));
    }
}
