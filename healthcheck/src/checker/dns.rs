//! `DNS_CHECK`: a query that is answered without error.

use std::str::FromStr;
use std::sync::Arc;

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use serde::{Serialize, Serializer};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::deadline::{Deadlines, Failure, Limits};
use crate::outcome::{Cause, Findings, Outcome, Reason, Step};
use crate::target::{Target, connect_failure};

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct DnsCheck {
    pub target: Target,
    pub deadlines: Deadlines,
    pub question: Question,
    /// One of the answer's records has to have this content, as a zone file writes it, whatever the case. keepalived
    /// does not look at answers.
    pub expected: Option<Arc<str>>,
}

/// `name` and `type`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    name: Name,
    kind: RecordType,
}

#[derive(Debug, Error)]
pub enum QuestionUnusable {
    #[error("{0:?} is not a domain name")]
    Name(String),
    #[error("{0:?} is not a DNS record type")]
    Type(String),
}

impl Question {
    /// Asks for a record type by its name, in any case, or as `TYPE` and a number.
    ///
    /// # Errors
    /// What is not a name or not a type.
    pub fn new(name: &str, kind: &str) -> Result<Self, QuestionUnusable> {
        let mut parsed =
            Name::from_ascii(name).map_err(|_no_more_to_say| QuestionUnusable::Name(name.to_owned()))?;
        parsed.set_fqdn(true);
        let kind = record_type(kind).ok_or_else(|| QuestionUnusable::Type(kind.to_owned()))?;
        Ok(Self { name: parsed, kind })
    }
}

impl Default for Question {
    /// The SOA of the root.
    fn default() -> Self {
        Self { name: Name::root(), kind: RecordType::SOA }
    }
}

impl Serialize for Question {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{} {}", self.name, self.kind))
    }
}

fn record_type(name: &str) -> Option<RecordType> {
    let name = name.to_ascii_uppercase();
    let by_number = name.strip_prefix("TYPE").and_then(|n| n.parse::<u16>().ok()).map(RecordType::from);
    by_number.or_else(|| RecordType::from_str(&name).ok())
}

/// Largest answer over UDP: without EDNS servers keep to 512 bytes, careless ones to this.
const DATAGRAM: usize = 4096;

impl DnsCheck {
    pub(crate) async fn attempt(&self) -> Outcome {
        match self.ask(&Limits::start(self.deadlines)).await {
            Ok(()) => Outcome::Up(Findings::default()),
            Err(failure) => failure.into(),
        }
    }

    async fn ask(&self, limits: &Limits) -> Result<(), Failure> {
        let mut query = Message::query();
        query.metadata.recursion_desired = true;
        query.add_query(Query::query(self.question.name.clone(), self.question.kind));
        let bytes = query.to_vec().map_err(|error| Reason::DnsMalformed(Cause::of(&error)))?;
        let id = query.metadata.id;
        let mut answer = self.over_udp(&bytes, id, limits).await?;
        // What was cut off matters only where it is looked at.
        if answer.metadata.truncation && self.expected.is_some() {
            answer = self.over_tcp(&bytes, limits).await?;
        }
        Ok(self.judge(&answer, id)?)
    }

    /// The first answer with our identifier; others are not for us.
    async fn over_udp(&self, query: &[u8], id: u16, limits: &Limits) -> Result<Message, Failure> {
        let socket = self.target.datagrams().await?;
        let sent = limits.step(Step::Query, socket.send(query)).await?;
        sent.map_err(|error| connect_failure(Step::Query, &error))?;
        let mut buffer = vec![0; DATAGRAM];
        let received = limits.step(Step::Reply, async {
            loop {
                let length = socket.recv(&mut buffer).await?;
                if buffer.get(..2) == Some(&id.to_be_bytes()) && length >= 2 {
                    return Ok(length);
                }
            }
        });
        let length = received.await?.map_err(|error| Reason::of_io(Step::Reply, &error))?;
        Ok(decode(buffer.get(..length).unwrap_or_default())?)
    }

    /// RFC 7766: the message behind its length.
    async fn over_tcp(&self, query: &[u8], limits: &Limits) -> Result<Message, Failure> {
        let mut stream = self.target.connect(limits).await?;
        let length = u16::try_from(query.len()).unwrap_or(u16::MAX);
        let framed = [&length.to_be_bytes(), query].concat();
        let sent = limits.step(Step::Query, stream.write_all(&framed)).await?;
        sent.map_err(|error| Reason::of_io(Step::Query, &error))?;
        let received = limits.step(Step::Reply, async {
            let length = stream.read_u16().await?;
            let mut answer = vec![0; usize::from(length)];
            stream.read_exact(&mut answer).await?;
            Ok(answer)
        });
        let answer = received.await?.map_err(|error| Reason::of_io(Step::Reply, &error))?;
        Ok(decode(&answer)?)
    }

    fn judge(&self, answer: &Message, id: u16) -> Result<(), Reason> {
        let metadata = &answer.metadata;
        if metadata.id != id || metadata.message_type != hickory_proto::op::MessageType::Response {
            return Err(Reason::DnsMalformed(Cause("not an answer to the query".into())));
        }
        if metadata.response_code != ResponseCode::NoError {
            return Err(Reason::DnsCode { code: code_name(metadata.response_code) });
        }
        let Some(expected) = &self.expected else { return Ok(()) };
        let of_type = answer.answers.iter().filter(|record| record.record_type() == self.question.kind);
        let got: Arc<[Arc<str>]> = of_type.map(|record| record.data.to_string().into()).collect();
        match got.iter().any(|text| same_content(text, expected)) {
            true => Ok(()),
            false => Err(Reason::DnsAnswer { got, expected: Arc::clone(expected) }),
        }
    }
}

/// The final dot of a name and quotes around a text may be left out.
fn same_content(got: &str, expected: &str) -> bool {
    let bare = |text: &str| text.trim().trim_end_matches('.').trim_matches('"').to_ascii_lowercase();
    bare(got) == bare(expected)
}

/// As `dig` prints it.
fn code_name(code: ResponseCode) -> Arc<str> {
    match code {
        ResponseCode::FormErr => "FORMERR".into(),
        ResponseCode::ServFail => "SERVFAIL".into(),
        ResponseCode::NXDomain => "NXDOMAIN".into(),
        ResponseCode::NotImp => "NOTIMP".into(),
        ResponseCode::Refused => "REFUSED".into(),
        other => other.to_str().into(),
    }
}

fn decode(bytes: &[u8]) -> Result<Message, Reason> {
    Message::from_vec(bytes).map_err(|error| Reason::DnsMalformed(Cause::of(&error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_known_by_name_and_number() {
        for kind in ["A", "ns", "CNAME", "SOA", "MX", "TXT", "AAAA", "RRSIG", "DNSKEY", "SRV", "TYPE65280"] {
            assert!(Question::new("example.org", kind).is_ok(), "{kind}");
        }
        assert!(Question::new("example.org", "WHAT").is_err());
        assert!(Question::new("a..b", "A").is_err());
        assert_eq!(Question::new(".", "soa").unwrap(), Question::default());
    }

    #[test]
    fn content_is_compared_as_people_write_it() {
        assert!(same_content("Example.Org.", "example.org"));
        assert!(same_content("\"v=spf1\"", "v=spf1"));
        assert!(!same_content("10.0.0.1", "10.0.0.10"));
    }
}
