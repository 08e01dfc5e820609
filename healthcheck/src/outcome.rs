//! What one attempt found, in data and in words.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::checker::http::StatusCodes;
use crate::weight::WeightAdvice;

/// The end of one attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The server answered as it should.
    Up(Findings),
    /// The server failed the attempt.
    Down(Reason),
    /// An agent said something, but nothing about life or death.
    Advice(Findings),
    /// The attempt says nothing about the server: this host could not make it, or an agent is not there.
    Undecided(Trouble),
}

/// What an attempt learnt beside life and death.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// `None` leaves the weight advised before in force.
    pub weight: Option<WeightAdvice>,
    /// `None` leaves the wish uttered before in force.
    pub administrative: Option<Administrative>,
    /// End of the server certificate's validity.
    pub certificate: Option<CertificateExpiry>,
}

/// What an agent asks for its server, in HAProxy's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Administrative {
    /// Takes traffic: ends `Drain` and `Maintenance`.
    Ready,
    /// No new connections.
    Drain,
    /// Out of service.
    Maintenance,
}

/// When the certificate that a server showed stops being valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct CertificateExpiry {
    pub not_after: SystemTime,
}

impl CertificateExpiry {
    /// Whole days left at `now`; negative once it has expired.
    pub fn days_left(self, now: SystemTime) -> i64 {
        const DAY: i64 = 86_400;
        let seconds = |d: Duration| i64::try_from(d.as_secs()).unwrap_or(i64::MAX);
        match self.not_after.duration_since(now) {
            Ok(left) => seconds(left) / DAY,
            Err(past) => -1 - seconds(past.duration()) / DAY,
        }
    }
}

/// What an attempt was doing when it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    Connect,
    TlsHandshake,
    Request,
    ResponseHead,
    ResponseBody,
    /// Waiting for the proper end of a TLS connection (`tls_compliant`).
    TlsClose,
    Banner,
    Helo,
    Query,
    Reply,
    File,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Connect => "connecting",
            Self::TlsHandshake => "TLS handshake",
            Self::Request => "sending the request",
            Self::ResponseHead => "waiting for the response",
            Self::ResponseBody => "reading the body",
            Self::TlsClose => "waiting for the TLS close",
            Self::Banner => "waiting for the banner",
            Self::Helo => "waiting for the answer to HELO",
            Self::Query => "sending the query",
            Self::Reply => "waiting for the reply",
            Self::File => "reading the file",
        })
    }
}

/// Why a server failed an attempt. Its text is what an operator reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    Refused,
    /// Network, host or port unreachable, as a router or this host's routing table says.
    Unreachable(Cause),
    /// One step did not end within its time.
    TimedOut {
        step: Step,
        after: Duration,
    },
    /// Every step was in time, but not all of them together: a slow drip.
    TooSlow {
        step: Step,
        after: Duration,
    },
    Reset {
        step: Step,
    },
    /// The server closed the connection too early.
    Closed {
        step: Step,
    },
    /// Another error of the connection.
    Connection {
        step: Step,
        cause: Cause,
    },
    Tls(TlsFault),
    /// Not HTTP, or not as the RFCs have it: bad chunking, a malformed head, a body shorter than announced.
    HttpProtocol {
        step: Step,
        cause: Cause,
    },
    Status {
        got: u16,
        expected: StatusCodes,
    },
    /// MD5 in hexadecimal.
    Digest {
        got: Arc<str>,
        expected: Arc<str>,
    },
    PatternAbsent {
        pattern: Arc<str>,
    },
    PatternPresent {
        pattern: Arc<str>,
    },
    /// The pattern was not found in as much of the body as is searched.
    PatternBeyond {
        pattern: Arc<str>,
        searched: u64,
    },
    BodyTooLong {
        limit: u64,
    },
    /// An SMTP reply with another code than the step asks for.
    SmtpReply {
        step: Step,
        code: u16,
        text: Arc<str>,
    },
    SmtpMalformed {
        step: Step,
        line: Arc<str>,
    },
    /// An answer without success, in DNS words: `NXDOMAIN`, `SERVFAIL`.
    DnsCode {
        code: Arc<str>,
    },
    DnsMalformed(Cause),
    DnsAnswer {
        got: Arc<[Arc<str>]>,
        expected: Arc<str>,
    },
    ReplyLength {
        got: usize,
        min: usize,
        max: usize,
    },
    /// The reply differs from the wanted one at this byte.
    ReplyDiffers {
        at: usize,
    },
    CommandExited(i32),
    CommandKilled(i32),
    CommandTimedOut(Duration),
    FileNumber(i64),
    FileUnreadable(Cause),
    FileMalformed(Arc<str>),
    /// `down`, `stopped` or `fail`, with the agent's own text.
    Agent {
        word: AgentWord,
        text: Option<Arc<str>>,
    },
    AgentMalformed(Arc<str>),
    /// Told from outside: a BFD session, a followed file.
    External(Arc<str>),
}

/// The ways of an agent to say that its server is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentWord {
    Down,
    Stopped,
    Fail,
}

impl fmt::Display for AgentWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Down => "down",
            Self::Stopped => "stopped",
            Self::Fail => "fail",
        })
    }
}

/// What is wrong with a TLS server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TlsFault {
    CertificateExpired,
    CertificateNotYetValid,
    /// The certificate is for other names than the wanted one.
    CertificateName {
        wanted: Arc<str>,
    },
    /// No authority of ours signed it, which is so for a self-signed one.
    UnknownIssuer,
    Certificate(Arc<str>),
    /// The server ended the handshake with this alert.
    Alert(Arc<str>),
    /// What came is not TLS.
    NotTls,
    /// The connection ended without a close notification (`tls_compliant`).
    NoCloseNotify,
    Protocol(Arc<str>),
}

/// The words of the system or of a protocol library.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Cause(pub Arc<str>);

impl Cause {
    /// `error` and its sources.
    pub fn of(error: &(dyn std::error::Error + 'static)) -> Self {
        let chain = std::iter::successors(error.source(), |e| e.source());
        let text = chain.fold(error.to_string(), |text, source| {
            let source = source.to_string();
            // Some wrappers repeat their source in their own text.
            if text.ends_with(&source) { text } else { format!("{text}: {source}") }
        });
        Self(text.into())
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Why an attempt says nothing about the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// This host could not make or bind the socket.
    Socket(Cause),
    /// The checker's command did not start.
    Command(Cause),
    /// How it ended is not known.
    CommandLost(Cause),
    /// Nobody answers for the agent, which is no word about its server.
    AgentAbsent(Box<Reason>),
    /// Nothing has been told from outside yet.
    NothingKnown,
    /// The checker itself failed: a defect of Buoy.
    Defect(Cause),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(cause) => write!(f, "this host cannot probe: {cause}"),
            Self::Command(cause) => write!(f, "the command did not start: {cause}"),
            Self::CommandLost(cause) => write!(f, "the end of the command is unknown: {cause}"),
            Self::AgentAbsent(reason) => write!(f, "no agent: {reason}"),
            Self::NothingKnown => f.pad("nothing known yet"),
            Self::Defect(cause) => write!(f, "the checker failed: {cause}"),
        }
    }
}

impl Reason {
    /// What an error of an open connection means for the server.
    pub(crate) fn of_io(step: Step, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
                Self::Reset { step }
            }
            io::ErrorKind::UnexpectedEof => Self::Closed { step },
            io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown => Self::Unreachable(Cause::of(error)),
            _ => Self::Connection { step, cause: Cause::of(error) },
        }
    }

    /// Nothing came back from the server at all: what a dead one has in common with a network that is cut. What this
    /// host or a router says in its place is no word of its.
    pub(crate) fn is_silence(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::TimedOut { step, .. } | Self::TooSlow { step, .. } | Self::Connection { step, .. } => {
                // `Reply` is to a datagram; an agent that is silent over its connection is an absent one.
                matches!(step, Step::Connect | Step::Query | Step::Reply)
            }
            _ => false,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.pad("connection refused"),
            Self::Unreachable(cause) => write!(f, "unreachable: {cause}"),
            Self::TimedOut { step, after } => write!(f, "timed out after {} in {step}", Human(*after)),
            Self::TooSlow { step, after } => write!(f, "not done after {}, still {step}", Human(*after)),
            Self::Reset { step } => write!(f, "connection reset in {step}"),
            Self::Closed { step } => write!(f, "connection closed in {step}"),
            Self::Connection { step, cause } => write!(f, "{cause} in {step}"),
            Self::Tls(fault) => fault.fmt(f),
            Self::HttpProtocol { step, cause } => write!(f, "bad HTTP in {step}: {cause}"),
            Self::Status { got, expected } => write!(f, "status {got}, expected {expected}"),
            Self::Digest { got, expected } => write!(f, "body digest {got} differs from {expected}"),
            Self::PatternAbsent { pattern } => write!(f, "body does not match {pattern:?}"),
            Self::PatternPresent { pattern } => write!(f, "body matches {pattern:?}"),
            Self::PatternBeyond { pattern, searched } => {
                write!(f, "no match of {pattern:?} in the first {searched} bytes of the body")
            }
            Self::BodyTooLong { limit } => write!(f, "body is longer than {limit} bytes"),
            Self::SmtpReply { step, code, text } => write!(f, "SMTP reply {code} {text:?} in {step}"),
            Self::SmtpMalformed { step, line } => write!(f, "not an SMTP reply in {step}: {line:?}"),
            Self::DnsCode { code } => write!(f, "DNS answer {code}"),
            Self::DnsMalformed(cause) => write!(f, "malformed DNS answer: {cause}"),
            Self::DnsAnswer { got, expected } if got.is_empty() => {
                write!(f, "empty DNS answer, expected {expected}")
            }
            Self::DnsAnswer { got, expected } => {
                write!(f, "DNS answer {}, expected {expected}", got.join(" "))
            }
            Self::ReplyLength { got, min, max } => write!(f, "reply of {got} bytes, expected {min}-{max}"),
            Self::ReplyDiffers { at } => write!(f, "reply differs from the wanted one at byte {at}"),
            Self::CommandExited(status) => write!(f, "exit status {status}"),
            Self::CommandKilled(signal) => write!(f, "killed by signal {signal}"),
            Self::CommandTimedOut(limit) => write!(f, "still running after {}", Human(*limit)),
            Self::FileNumber(number) => write!(f, "file says {number}"),
            Self::FileUnreadable(cause) => write!(f, "file cannot be read: {cause}"),
            Self::FileMalformed(text) => write!(f, "file does not hold a number: {text:?}"),
            Self::Agent { word, text: None } => write!(f, "agent says {word}"),
            Self::Agent { word, text: Some(text) } => write!(f, "agent says {word}: {text}"),
            Self::AgentMalformed(line) => write!(f, "agent says {line:?}, which means nothing"),
            Self::External(text) => f.pad(text),
        }
    }
}

impl fmt::Display for TlsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CertificateExpired => f.pad("certificate has expired"),
            Self::CertificateNotYetValid => f.pad("certificate is not valid yet"),
            Self::CertificateName { wanted } => write!(f, "certificate is not for {wanted}"),
            Self::UnknownIssuer => f.pad("certificate is not signed by a known authority"),
            Self::Certificate(text) => write!(f, "bad certificate: {text}"),
            Self::Alert(text) => write!(f, "server ended the TLS handshake: {text}"),
            Self::NotTls => f.pad("server does not speak TLS"),
            Self::NoCloseNotify => f.pad("TLS connection ended without close notification"),
            Self::Protocol(text) => write!(f, "TLS error: {text}"),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Up(_) => f.pad("up"),
            Self::Down(reason) => reason.fmt(f),
            Self::Advice(_) => f.pad("advice"),
            Self::Undecided(trouble) => trouble.fmt(f),
        }
    }
}

/// `3 s`, `1.5 s`, `250 ms`.
pub(crate) struct Human(pub(crate) Duration);

impl fmt::Display for Human {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, millis) = (self.0.as_secs(), self.0.subsec_millis());
        match (whole, millis) {
            (0, millis) => write!(f, "{millis} ms"),
            (whole, 0) => write!(f, "{whole} s"),
            (whole, millis) => write!(f, "{whole}.{} s", format!("{millis:03}").trim_end_matches('0')),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_read_like_sentences() {
        let after = Duration::from_secs(3);
        let cases = [
            (Reason::TimedOut { step: Step::TlsHandshake, after }, "timed out after 3 s in TLS handshake"),
            (Reason::Status { got: 503, expected: StatusCodes::default() }, "status 503, expected 200-299"),
            (
                Reason::TooSlow { step: Step::ResponseBody, after: Duration::from_millis(1_050) },
                "not done after 1.05 s, still reading the body",
            ),
            (
                Reason::Agent { word: AgentWord::Stopped, text: Some("disk full".into()) },
                "agent says stopped: disk full",
            ),
        ];
        for (reason, text) in cases {
            assert_eq!(reason.to_string(), text);
        }
    }

    #[test]
    fn silence_is_what_a_cut_network_looks_like() {
        let (after, cause) = (Duration::from_secs(1), || Cause("no".into()));
        let silent = [
            Reason::TimedOut { step: Step::Connect, after },
            Reason::TooSlow { step: Step::Connect, after },
            Reason::TimedOut { step: Step::Reply, after },
            Reason::of_io(Step::Connect, &io::ErrorKind::NetworkUnreachable.into()),
            Reason::Connection { step: Step::Query, cause: cause() },
        ];
        let answers = [
            Reason::Refused,
            Reason::Reset { step: Step::Connect },
            Reason::TimedOut { step: Step::ResponseHead, after },
            Reason::Status { got: 503, expected: StatusCodes::default() },
            Reason::Connection { step: Step::Banner, cause: cause() },
            Reason::CommandTimedOut(after),
        ];
        for (reasons, expected) in [(&silent[..], true), (&answers[..], false)] {
            for reason in reasons {
                assert_eq!(reason.is_silence(), expected, "{reason:?}");
            }
        }
    }

    #[test]
    fn days_left_turn_negative_with_expiry() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let day = Duration::from_secs(86_400);
        let left = |not_after| CertificateExpiry { not_after }.days_left(now);
        assert_eq!((left(now + day * 3), left(now), left(now - day)), (3, 0, -2));
        assert_eq!(left(now - Duration::from_secs(1)), -1);
    }
}
