use std::collections::BTreeMap;
use std::io::{IoSliceMut, Read, Seek};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use nix::sys::socket::{ControlMessageOwned, recvmsg};
use tracing::subscriber::with_default;
use tracing_subscriber::layer::SubscriberExt;

use super::super::queue::Queue;
use super::*;
use crate::alert::fixture::server_change;

const LONG: Duration = Duration::from_secs(20);

/// A journal that reads when it is told to.
struct Fake {
    socket: UnixDatagram,
    path: PathBuf,
    _directory: tempfile::TempDir,
}

impl Fake {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("socket");
        let socket = UnixDatagram::bind(&path).expect("binds");
        socket.set_read_timeout(Some(LONG)).expect("a limit");
        Self { socket, path, _directory: directory }
    }

    fn queue(&self) -> Queue {
        Queue::before(Socket::at(&self.path, "Buoy").expect("connects")).expect("starts")
    }

    fn receive(&self) -> BTreeMap<String, String> {
        let mut buffer = vec![0; 65536];
        let length = self.socket.recv(&mut buffer).expect("an entry");
        fields(&buffer[..length])
    }
}

fn logging(queue: &Queue, log: impl FnOnce()) {
    with_default(tracing_subscriber::registry().with(Journal::new(queue.entries(), "Buoy")), log);
}

/// Takes an entry apart as the journal does.
fn fields(mut entry: &[u8]) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    while !entry.is_empty() {
        let end = entry.iter().position(|&byte| byte == b'\n').expect("a name");
        let name = String::from_utf8(entry[..end].to_vec()).expect("utf-8");
        let (length, rest) = entry[end + 1..].split_first_chunk().expect("a length");
        let (value, rest) = rest.split_at(usize::try_from(u64::from_le_bytes(*length)).expect("short"));
        fields.insert(name, String::from_utf8(value.to_vec()).expect("utf-8"));
        entry = rest.strip_prefix(b"\n").expect("the end of a field");
    }
    fields
}

#[test]
fn an_entry_has_the_fields_of_its_event_under_a_prefix() {
    let journal = Fake::new();
    let queue = journal.queue();
    logging(&queue, || {
        tracing::warn!(target: "there", priority = 100, cause.kind = "fault", text = "a\nb=c", "what {}", 1);
    });
    let entry = journal.receive();
    let field = |name: &str| entry.get(name).map(String::as_str);
    assert_eq!(field("MESSAGE"), Some("what 1"));
    assert_eq!(field("PRIORITY"), Some("4"));
    assert_eq!(field("SYSLOG_IDENTIFIER"), Some("Buoy"));
    assert_eq!(field("TARGET"), Some("there"));
    assert_eq!(field("CODE_FILE"), Some(file!()));
    assert!(field("CODE_LINE").is_some());
    assert_eq!(field("BUOY_PRIORITY"), Some("100"));
    assert_eq!(field("BUOY_CAUSE_KIND"), Some("fault"));
    assert_eq!(field("BUOY_TEXT"), Some("a\nb=c"));
}

#[test]
fn a_server_that_is_down_is_found_by_its_service_and_its_address() {
    let journal = Fake::new();
    let queue = journal.queue();
    let change = server_change("10.1.0.1:80", false, "connection refused");
    let at = std::time::SystemTime::now();
    logging(&queue, || crate::log::event(&crate::alert::Event::Service { change, at, seq: 2 }));
    let entry = journal.receive();
    for (name, value) in [
        ("MESSAGE", "real server 10.1.0.1:80 of TCP 10.0.0.1:80 is down: connection refused"),
        ("PRIORITY", "4"),
        ("BUOY_SERVICE", "TCP 10.0.0.1:80"),
        ("BUOY_SERVER", "10.1.0.1:80"),
        ("BUOY_FROM", "UP"),
        ("BUOY_TO", "DOWN"),
        ("BUOY_CAUSE", "connection refused"),
        ("BUOY_SEQ", "2"),
    ] {
        assert_eq!(entry.get(name).map(String::as_str), Some(value), "{name}");
    }
}

#[test]
fn a_journal_that_does_not_read_stops_nobody_and_learns_how_much_it_missed() {
    let journal = Fake::new();
    let queue = journal.queue();
    let (done, is_done) = sync_channel(1);
    let logger = std::thread::spawn(move || {
        logging(&queue, || (0..5000).for_each(|number| tracing::info!(number, "a line")));
        done.send(()).expect("the test waits");
        queue
    });
    is_done.recv_timeout(LONG).expect("the logger does not wait for the journal");
    let queue = logger.join().expect("no panic");
    let (mut received, mut lost) = (0, 0);
    while received + lost < 5000 {
        let entry = journal.receive();
        let message = entry.get("MESSAGE").expect("a message");
        match message.strip_suffix(" log entries were lost, because the journal was stuck") {
            Some(count) => lost += count.parse::<u64>().expect("a number"),
            None => received += 1,
        }
    }
    assert!(lost > 0);
    assert_eq!(received + lost, 5000);
    drop(queue);
}

#[test]
fn an_entry_that_is_too_long_for_a_datagram_arrives_as_a_file() {
    let journal = Fake::new();
    let queue = journal.queue();
    let long = "x".repeat(1 << 20);
    logging(&queue, || tracing::info!("{long}"));
    let mut space = nix::cmsg_space!([std::os::fd::RawFd; 1]);
    let mut nothing = [0; 16];
    let mut buffers = [IoSliceMut::new(&mut nothing)];
    let message =
        recvmsg::<()>(journal.socket.as_raw_fd(), &mut buffers, Some(&mut space), MsgFlags::empty())
            .expect("a message");
    assert_eq!(message.bytes, 0);
    let mut controls = message.cmsgs().expect("whole");
    let Some(ControlMessageOwned::ScmRights(files)) = controls.next() else { panic!("no file") };
    // Another way to the same file: taking the number itself over is unsafe.
    let mut file = std::fs::File::open(format!("/proc/self/fd/{}", files[0])).expect("opens");
    file.rewind().expect("a file");
    let mut entry = Vec::new();
    file.read_to_end(&mut entry).expect("readable");
    assert_eq!(fields(&entry).get("MESSAGE"), Some(&long));
}

#[test]
fn without_a_journal_there_is_an_error_at_once() {
    let directory = tempfile::tempdir().expect("temporary directory");
    assert!(Socket::at(&directory.path().join("none"), "Buoy").is_err());
}
