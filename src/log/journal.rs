//! Entries with fields for the journal, in its native protocol
//! (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>; the fields are those of systemd.journal-fields(7)).

use std::fmt::{self, Write};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::queue::{Destination, Entries};
use super::syslog::severity;

const SOCKET: &str = "/run/systemd/journal/socket";
/// Before the names of our own fields: without it the `priority` of an election would be taken for the severity of the
/// entry.
const PREFIX: &str = "BUOY_";

/// The layer that composes an entry for each event.
#[derive(Debug)]
pub(super) struct Journal {
    entries: Entries,
    ident: String,
}

impl Journal {
    pub(super) fn new(entries: Entries, ident: &str) -> Self {
        Self { entries, ident: ident.to_owned() }
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let mut entry = Entry::new(&self.ident, *metadata.level());
        entry.put("TARGET", metadata.target());
        if let Some(file) = metadata.file() {
            entry.put("CODE_FILE", file);
        }
        if let Some(line) = metadata.line() {
            entry.put("CODE_LINE", &line.to_string());
        }
        event.record(&mut entry);
        self.entries.push(entry.0);
    }
}

/// Fields, each as its name, a line feed, the length of the value in 8 bytes, the value and a line feed: the form that
/// takes every value.
struct Entry(Vec<u8>);

impl Entry {
    fn new(ident: &str, level: Level) -> Self {
        let mut entry = Self(Vec::with_capacity(512));
        entry.put("PRIORITY", &severity(level).to_string());
        entry.put("SYSLOG_IDENTIFIER", ident);
        entry
    }

    fn put(&mut self, name: &str, value: &str) {
        let length = u64::try_from(value.len()).unwrap_or(u64::MAX);
        self.0.extend(name.bytes().map(permitted));
        self.0.push(b'\n');
        self.0.extend(length.to_le_bytes());
        self.0.extend(value.as_bytes());
        self.0.push(b'\n');
    }

    fn put_field(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.put("MESSAGE", value),
            name => self.put(&format!("{PREFIX}{name}"), value),
        }
    }
}

impl Visit for Entry {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::new();
        let written = write!(text, "{value:?}");
        debug_assert!(written.is_ok(), "a String takes everything");
        self.put_field(field, &text);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put_field(field, value);
    }
}

/// The journal ignores fields with other characters than these in their names.
fn permitted(byte: u8) -> u8 {
    match byte {
        b'a'..=b'z' => byte.to_ascii_uppercase(),
        b'A'..=b'Z' | b'0'..=b'9' => byte,
        _ => b'_',
    }
}

/// The way to the journal. Waits for it where it is slow.
#[derive(Debug)]
pub(super) struct Socket {
    socket: UnixDatagram,
    path: PathBuf,
    ident: String,
}

impl Socket {
    /// # Errors
    /// Nobody listens.
    pub(super) fn connect(ident: &str) -> io::Result<Self> {
        Self::at(Path::new(SOCKET), ident)
    }

    pub(super) fn at(path: &Path, ident: &str) -> io::Result<Self> {
        UnixDatagram::unbound()?.connect(path)?;
        // Sending by path each time finds a journal that was restarted.
        Ok(Self { socket: UnixDatagram::unbound()?, path: path.to_owned(), ident: ident.to_owned() })
    }

    /// What is too long for a datagram goes as a sealed file.
    fn send_file(&self, entry: &[u8]) -> io::Result<()> {
        let file = std::fs::File::from(memfd_create(
            c"buoy-log",
            MFdFlags::MFD_ALLOW_SEALING | MFdFlags::MFD_CLOEXEC,
        )?);
        io::Write::write_all(&mut &file, entry)?;
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE;
        fcntl(file.as_fd(), FcntlArg::F_ADD_SEALS(seals | SealFlag::F_SEAL_SEAL))?;
        let nothing: [IoSlice<'_>; 0] = [];
        let address = UnixAddr::new(&self.path)?;
        let files = [file.as_raw_fd()];
        let rights = [ControlMessage::ScmRights(&files)];
        sendmsg(self.socket.as_raw_fd(), &nothing, &rights, MsgFlags::empty(), Some(&address))?;
        Ok(())
    }
}

impl Destination for Socket {
    fn write(&mut self, entry: &[u8]) -> io::Result<()> {
        match self.socket.send_to(entry, &self.path) {
            Err(error) if error.raw_os_error() == Some(Errno::EMSGSIZE as i32) => self.send_file(entry),
            sent => sent.map(drop),
        }
    }

    fn tell_lost(&mut self, count: u64) -> io::Result<()> {
        let mut entry = Entry::new(&self.ident, Level::WARN);
        entry.put("MESSAGE", &format!("{count} log entries were lost, because the journal was stuck"));
        self.write(&entry.0)
    }
}

#[cfg(test)]
mod tests;
