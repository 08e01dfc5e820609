//! `UDP_CHECK`: a datagram that nobody refuses, or that is answered as it should be.

use std::str::FromStr;
use std::sync::Arc;

use serde::Serialize;
use thiserror::Error;

use crate::deadline::{Deadlines, Failure, Limits};
use crate::outcome::{Findings, Outcome, Reason, Step};
use crate::target::{Target, connect_failure};

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct UdpCheck {
    pub target: Target,
    /// Silence for the time of a step is a failure with `reply`, success without.
    pub deadlines: Deadlines,
    /// `payload`: what is sent.
    pub payload: Arc<[u8]>,
    /// `require_reply`
    pub reply: Option<WantedReply>,
}

/// What the answer has to be.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct WantedReply {
    /// Equal over the shorter of both lengths; empty takes anything.
    pub pattern: BytePattern,
    /// `min_reply_length`
    pub min_length: u16,
    /// `max_reply_length`
    pub max_length: u16,
}

impl Default for WantedReply {
    fn default() -> Self {
        Self { pattern: BytePattern::default(), min_length: 0, max_length: 255 }
    }
}

/// Bytes of which some half bytes may be anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct BytePattern(Arc<[(u8, u8)]>);

/// Hexadecimal digits in pairs were expected, `x` for any.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{0:?} is not a sequence of hexadecimal bytes")]
pub struct NotBytes(String);

impl FromStr for BytePattern {
    type Err = NotBytes;

    /// Two digits a byte, blanks between bytes allowed, `x` for any digit: `12 3x xx`.
    fn from_str(text: &str) -> Result<Self, NotBytes> {
        let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
        let (pairs, []) = digits.as_chunks::<2>() else { return Err(NotBytes(text.to_owned())) };
        let bytes = pairs.iter().map(|[high, low]| {
            let ((high, high_mask), (low, low_mask)) = (half(*high)?, half(*low)?);
            Some((high << 4 | low, high_mask << 4 | low_mask))
        });
        bytes.collect::<Option<_>>().map(Self).ok_or_else(|| NotBytes(text.to_owned()))
    }
}

/// Value and mask of each byte.
impl FromIterator<(u8, u8)> for BytePattern {
    fn from_iter<I: IntoIterator<Item = (u8, u8)>>(bytes: I) -> Self {
        Self(bytes.into_iter().map(|(value, mask)| (value & mask, mask)).collect())
    }
}

/// Value and mask of a digit.
fn half(digit: u8) -> Option<(u8, u8)> {
    match digit {
        b'x' | b'X' => Some((0, 0)),
        _ => char::from(digit).to_digit(16).and_then(|d| u8::try_from(d).ok()).map(|d| (d, 0xf)),
    }
}

impl BytePattern {
    /// The first byte that differs, over the shorter of both lengths.
    fn difference(&self, bytes: &[u8]) -> Option<usize> {
        self.0.iter().zip(bytes).position(|((value, mask), byte)| byte & mask != *value)
    }
}

impl UdpCheck {
    /// What is sent where no payload is configured.
    pub fn default_payload() -> Arc<[u8]> {
        Arc::from(*b"Buoy health check: please ignore")
    }

    pub(crate) async fn attempt(&self) -> Outcome {
        match self.ask(&Limits::start(self.deadlines)).await {
            Ok(()) => Outcome::Up(Findings::default()),
            Err(failure) => failure.into(),
        }
    }

    async fn ask(&self, limits: &Limits) -> Result<(), Failure> {
        let socket = self.target.datagrams().await?;
        let sent = limits.step(Step::Query, socket.send(&self.payload)).await?;
        sent.map_err(|error| connect_failure(Step::Query, &error))?;
        // One byte more than is good, to tell what is too long.
        let most = self.reply.as_ref().map_or(0, |reply| usize::from(reply.max_length));
        let mut answer = vec![0; most + 1];
        let received = match limits.step(Step::Reply, socket.recv(&mut answer)).await {
            Err(Reason::TimedOut { .. } | Reason::TooSlow { .. }) if self.reply.is_none() => return Ok(()),
            received => received?,
        };
        let length = received.map_err(|error| Reason::of_io(Step::Reply, &error))?;
        let Some(wanted) = &self.reply else { return Ok(()) };
        Ok(wanted.judge(answer.get(..length).unwrap_or(&answer))?)
    }
}

impl WantedReply {
    fn judge(&self, answer: &[u8]) -> Result<(), Reason> {
        let (min, max) = (usize::from(self.min_length), usize::from(self.max_length));
        if !(min..=max).contains(&answer.len()) {
            return Err(Reason::ReplyLength { got: answer.len(), min, max });
        }
        match self.pattern.difference(answer) {
            None => Ok(()),
            Some(at) => Err(Reason::ReplyDiffers { at }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pattern_compares_what_it_names_over_the_shorter_length() {
        let cases: &[(&str, &[u8], Option<usize>)] = &[
            ("", b"anything", None),
            ("61 62", b"abc", None),
            ("6162", b"a", None),
            ("616x", b"ao", None),
            ("61x3", b"ab", Some(1)),
            ("xxxx63", b"abd", Some(2)),
        ];
        for (pattern, bytes, difference) in cases {
            assert_eq!(pattern.parse::<BytePattern>().unwrap().difference(bytes), *difference, "{pattern}");
        }
        let masked: BytePattern = [(0x61, 0xff), (0x6f, 0xf0)].into_iter().collect();
        assert_eq!(masked, "616x".parse().unwrap());
        for bad in ["6", "6g", "0x1"] {
            assert!(bad.parse::<BytePattern>().is_err(), "{bad}");
        }
    }

    #[test]
    fn length_of_the_answer_has_bounds() {
        let wanted = WantedReply { min_length: 2, max_length: 3, ..WantedReply::default() };
        for (length, good) in [(1, false), (2, true), (3, true), (4, false)] {
            assert_eq!(wanted.judge(&vec![0; length]).is_ok(), good, "{length}");
        }
    }
}
