//! Datagrams for the local syslog daemon (RFC 3164 §4.1, as syslog(3) sends them).

use std::fmt;
use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use jiff::Zoned;
use thiserror::Error;
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

const SOCKET: &str = "/dev/log";

/// What kind of program a message is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facility(u8);

impl Facility {
    pub const DAEMON: Self = Self(3);
    const USER: Self = Self(1);
    const LOCAL0: u8 = 16;
}

#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0:?} is no syslog facility: 0 to 7, local0 to local7, user or daemon")]
pub struct UnknownFacility(String);

impl FromStr for Facility {
    type Err = UnknownFacility;

    /// As `-S` takes it: a number alone is one of the local ones.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let local = text.strip_prefix("local").unwrap_or(text).parse().ok().filter(|number: &u8| *number < 8);
        match (text, local) {
            ("daemon", _) => Ok(Self::DAEMON),
            ("user", _) => Ok(Self::USER),
            (_, Some(number)) => Ok(Self(Self::LOCAL0 + number)),
            _ => Err(UnknownFacility(text.to_owned())),
        }
    }
}

impl fmt::Display for Facility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::DAEMON => f.write_str("daemon"),
            Self::USER => f.write_str("user"),
            Self(number) => write!(f, "local{}", number.saturating_sub(Self::LOCAL0)),
        }
    }
}

/// The way to the syslog daemon. Never waits: a message that it does not take at once is lost, as is one
/// sent while it restarts.
#[derive(Debug)]
pub(super) struct Syslog {
    socket: UnixDatagram,
    path: PathBuf,
    facility: Facility,
    ident: String,
}

impl Syslog {
    /// # Errors
    /// Nobody listens.
    pub(super) fn connect(facility: Facility, ident: &str) -> io::Result<Self> {
        Self::at(Path::new(SOCKET), facility, ident)
    }

    pub(super) fn at(path: &Path, facility: Facility, ident: &str) -> io::Result<Self> {
        UnixDatagram::unbound()?.connect(path)?;
        // Sending by path each time finds a daemon that was restarted.
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, path: path.to_owned(), facility, ident: ident.to_owned() })
    }
}

impl<'a> MakeWriter<'a> for Syslog {
    type Writer = Message<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        Message { syslog: self, severity: severity(Level::INFO) }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Self::Writer {
        Message { syslog: self, severity: severity(*metadata.level()) }
    }
}

/// RFC 3164 §4.1.1, table 2.
pub(super) fn severity(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

/// Each write is one message.
#[derive(Debug)]
pub(super) struct Message<'a> {
    syslog: &'a Syslog,
    severity: u8,
}

impl Write for Message<'_> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let Syslog { socket, path, facility, ident } = self.syslog;
        let priority = facility.0 * 8 + self.severity;
        let time = Zoned::now();
        let head =
            format!("<{priority}>{} {ident}[{}]: ", time.strftime("%b %e %H:%M:%S"), std::process::id());
        let body = text.strip_suffix(b"\n").unwrap_or(text);
        socket.send_to(&[head.as_bytes(), body].concat(), path)?;
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
