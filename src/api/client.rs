//! The command line's end of the control socket.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{Reply, Request, Status};

/// How long a daemon may take for an answer that does not follow events. One that works has it at once; one that waits for
/// a thread of its own says so after at most 4 s.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it may take for a reload and for its plan: it reads its configuration for at most 10 s, after a reading that is under way.
const RELOAD_PATIENCE: Duration = Duration::from_secs(30);

/// An open connection whose request has been sent.
#[derive(Debug)]
pub struct Client {
    lines: BufReader<UnixStream>,
    patience: Option<Duration>,
}

impl Client {
    /// Connects and sends `request`.
    pub fn ask(socket: &Path, request: &Request) -> Result<Self> {
        let mut stream = UnixStream::connect(socket).with_context(|| {
            format!(
                "no buoy answers at {} (is it running, as root, with another --control?)",
                socket.display()
            )
        })?;
        let patience = match request {
            Request::Events { follow: true, .. } => None,
            Request::Reload | Request::Plan { .. } => Some(RELOAD_PATIENCE),
            Request::Status
            | Request::Events { follow: false, .. }
            | Request::Administer { .. }
            | Request::Panic { .. } => Some(PATIENCE),
        };
        stream.set_read_timeout(patience)?;
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        stream.write_all(&line)?;
        Ok(Self { lines: BufReader::new(stream), patience })
    }

    /// The next answer; `None` when the daemon has said everything.
    pub fn next_reply(&mut self) -> Result<Option<Reply>> {
        let mut line = String::new();
        match (self.lines.read_line(&mut line), self.patience) {
            (Ok(0), _) => return Ok(None),
            (Ok(_), _) => {}
            (Err(error), Some(patience))
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
            {
                bail!("the daemon did not answer within {} s; is it stopped?", patience.as_secs())
            }
            (Err(error), _) => return Err(error).context("the daemon did not answer"),
        }
        serde_json::from_str(&line).map(Some).context("the daemon's answer is not understood")
    }
}

/// Asks what has one answer.
pub fn answer(socket: &Path, request: &Request) -> Result<Reply> {
    let reply = Client::ask(socket, request)?.next_reply()?;
    reply.context("the daemon closed the connection without an answer")
}

/// Asks for the status.
pub fn status(socket: &Path) -> Result<Status> {
    match answer(socket, &Request::Status)? {
        Reply::Status(status) => Ok(*status),
        Reply::Refused { message } => bail!(message),
        other => bail!("unexpected answer {other:?}"),
    }
}

/// Sends a request that is answered by one word of success or refusal.
pub fn command(socket: &Path, request: &Request) -> Result<String> {
    match answer(socket, request)? {
        Reply::Done { message } => Ok(message),
        Reply::Refused { message } => bail!(message),
        other => bail!("unexpected answer {other:?}"),
    }
}
