//! `SMTP_CHECK`: banner, HELO, QUIT.

use std::sync::Arc;

use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::deadline::{Deadlines, Failure, Limits};
use crate::outcome::{Findings, Outcome, Reason, Step};
use crate::target::Target;

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct SmtpCheck {
    pub target: Target,
    pub deadlines: Deadlines,
    /// `helo_name`
    pub helo: HeloName,
}

/// The name given in HELO: printable, without blanks.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct HeloName(Arc<str>);

impl HeloName {
    /// `None` for what would be another command or none.
    pub fn new(name: &str) -> Option<Self> {
        let fits = !name.is_empty() && name.len() <= 255 && name.bytes().all(|b| b.is_ascii_graphic());
        fits.then(|| Self(name.into()))
    }
}

impl Default for HeloName {
    /// As in keepalived.
    fn default() -> Self {
        Self("smtpchecker.keepalived.org".into())
    }
}

/// A reply of all its lines has to fit, in bytes. RFC 5321 §4.5.3.1.5 allows 512 for one line.
const REPLY_LIMIT: usize = 8 << 10;

impl SmtpCheck {
    pub(crate) async fn attempt(&self) -> Outcome {
        match self.talk(&Limits::start(self.deadlines)).await {
            Ok(()) => Outcome::Up(Findings::default()),
            Err(failure) => failure.into(),
        }
    }

    async fn talk(&self, limits: &Limits) -> Result<(), Failure> {
        let mut session = Session { stream: self.target.connect(limits).await?, buffer: Vec::new(), limits };
        session.expect(Step::Banner, 220).await?;
        session.say(&format!("HELO {}\r\n", self.helo.0)).await?;
        session.expect(Step::Helo, 250).await?;
        session.say("QUIT\r\n").await?;
        // Politeness: its answer decides nothing, nor does its absence.
        if let Err(_no_farewell) = session.expect(Step::Reply, 221).await {}
        Ok(())
    }
}

struct Session<'a> {
    stream: TcpStream,
    /// Received and not yet taken.
    buffer: Vec<u8>,
    limits: &'a Limits,
}

impl Session<'_> {
    async fn say(&mut self, line: &str) -> Result<(), Reason> {
        let sent = self.limits.step(Step::Request, self.stream.write_all(line.as_bytes())).await?;
        sent.map_err(|error| Reason::of_io(Step::Request, &error))
    }

    async fn expect(&mut self, step: Step, wanted: u16) -> Result<(), Reason> {
        let limits = *self.limits;
        let Reply { code, text } = limits.step(step, self.reply(step)).await??;
        if code == wanted { Ok(()) } else { Err(Reason::SmtpReply { step, code, text: text.into() }) }
    }

    async fn reply(&mut self, step: Step) -> Result<Reply, Reason> {
        loop {
            match parse_reply(&self.buffer) {
                Ok(Some((reply, taken))) => {
                    self.buffer.drain(..taken);
                    return Ok(reply);
                }
                Ok(None) => {}
                Err(MalformedReply(line)) => return Err(Reason::SmtpMalformed { step, line: line.into() }),
            }
            let read = self.stream.read_buf(&mut self.buffer).await;
            if read.map_err(|error| Reason::of_io(step, &error))? == 0 {
                return Err(Reason::Closed { step });
            }
        }
    }
}

/// A complete reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub code: u16,
    /// Of its first line.
    pub text: String,
}

/// Bytes that cannot be the beginning of a reply; the offending line, shortened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MalformedReply(pub String);

/// Takes a reply of one or more lines from the beginning of `received` (RFC 5321 §4.2), with the number of bytes that
/// it fills. `None` while it is incomplete. A line may end in a bare LF.
pub fn parse_reply(received: &[u8]) -> Result<Option<(Reply, usize)>, MalformedReply> {
    let mut first: Option<Reply> = None;
    let mut at = 0;
    let lines = received.split_inclusive(|b| *b == b'\n').take_while(|line| line.ends_with(b"\n"));
    for line in lines {
        at += line.len();
        let (code, last, text) = parse_line(line).ok_or_else(|| malformed(line))?;
        let reply = first.get_or_insert(Reply { code, text });
        // All lines of a reply carry the same code.
        if reply.code != code {
            return Err(malformed(line));
        }
        if last {
            return Ok(first.map(|reply| (reply, at)));
        }
    }
    if received.len() > REPLY_LIMIT {
        return Err(malformed(received));
    }
    Ok(None)
}

fn parse_line(line: &[u8]) -> Option<(u16, bool, String)> {
    let line = line.trim_ascii_end();
    let (code, rest) = line.split_at_checked(3)?;
    if !code.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let code = code.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    let (last, text) = match rest.split_first() {
        None => (true, rest),
        Some((b' ', text)) => (true, text),
        Some((b'-', text)) => (false, text),
        Some(_) => return None,
    };
    Some((code, last, shown(text)))
}

fn malformed(line: &[u8]) -> MalformedReply {
    MalformedReply(shown(line.trim_ascii_end()))
}

/// The beginning of what a server sent, fit to be shown.
pub(crate) fn shown(bytes: &[u8]) -> String {
    const LONGEST: usize = 128;
    let text = String::from_utf8_lossy(bytes.get(..LONGEST).unwrap_or(bytes));
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(received: &[u8]) -> Result<Option<(u16, usize)>, MalformedReply> {
        parse_reply(received).map(|parsed| parsed.map(|(reply, taken)| (reply.code, taken)))
    }

    #[test]
    fn reply_is_whole_with_its_last_line() {
        let cases = [
            (&b""[..], None),
            (b"220 hello", None),
            (b"220 hello\r\n", Some((220, 11))),
            (b"220\r\n", Some((220, 5))),
            (b"220 hello\n", Some((220, 10))),
            (b"220-a\r\n220-b\r\n", None),
            (b"220-a\r\n220 b\r\n250 next\r\n", Some((220, 14))),
        ];
        for (received, parsed) in cases {
            assert_eq!(reply(received), Ok(parsed), "{received:?}");
        }
    }

    #[test]
    fn what_is_no_reply_is_told_as_soon_as_its_line_is_whole() {
        let long = [b'x'; REPLY_LIMIT + 1];
        for received in [&b"hi\r\n"[..], b"\r\n", b"2x0 a\r\n", b"220_a\r\n", b"220-a\r\n221 b\r\n", &long] {
            assert!(reply(received).is_err(), "{received:?}");
        }
        assert_eq!(parse_reply(b"HTTP/1.1 400\x07\r\n"), Err(MalformedReply("HTTP/1.1 400\u{fffd}".into())));
    }

    #[test]
    fn helo_name_cannot_smuggle_a_command() {
        for name in ["", "a b", "a\r\nDATA", "\u{e4}"] {
            assert_eq!(HeloName::new(name), None);
        }
        assert!(HeloName::new("lb1.example.org").is_some());
    }
}
