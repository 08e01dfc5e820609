//! `AGENT_CHECK`: HAProxy's agent protocol, one line by which a server tells how it fares.
//!
//! ```text
//! 75% up            weight in percent, and alive
//! drain             no new connections
//! down #disk full   dead, with the reason
//! ```
//!
//! Words may come in any order, separated by blanks or commas. An agent that cannot be reached says nothing about its
//! server, which other checks look after.

use std::sync::Arc;

use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::smtp::shown;
use crate::deadline::{Deadlines, Failure, Limits};
use crate::outcome::{Administrative, AgentWord, Findings, Outcome, Reason, Step, Trouble};
use crate::target::Target;
use crate::weight::WeightAdvice;

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct AgentCheck {
    /// With the port of the agent.
    pub target: Target,
    pub deadlines: Deadlines,
    /// Sent before listening, as it is (`agent-send`).
    pub send: Option<Arc<[u8]>>,
}

/// An agent's line has to fit, in bytes.
const LINE_LIMIT: usize = 1024;

/// Largest weight that counts, in percent.
const MOST_PERCENT: u32 = 25_600;

impl AgentCheck {
    pub(crate) async fn attempt(&self) -> Outcome {
        match self.ask(&Limits::start(self.deadlines)).await {
            Ok(line) => judge(&line),
            Err(Failure::Server(reason)) => Outcome::Undecided(Trouble::AgentAbsent(Box::new(reason))),
            Err(Failure::Here(trouble)) => Outcome::Undecided(trouble),
        }
    }

    async fn ask(&self, limits: &Limits) -> Result<Vec<u8>, Failure> {
        let mut stream = self.target.connect(limits).await?;
        if let Some(send) = &self.send {
            let sent = limits.step(Step::Query, stream.write_all(send)).await?;
            sent.map_err(|error| Reason::of_io(Step::Query, &error))?;
        }
        let mut line = Vec::with_capacity(LINE_LIMIT);
        while line.len() < LINE_LIMIT && !line.contains(&b'\n') {
            let read = limits.step(Step::Reply, stream.read_buf(&mut line)).await?;
            if read.map_err(|error| Reason::of_io(Step::Reply, &error))? == 0 {
                break;
            }
        }
        Ok(line)
    }
}

fn judge(line: &[u8]) -> Outcome {
    let line = line.split(|b| *b == b'\n').next().unwrap_or_default();
    match parse_line(line) {
        None => {
            Outcome::Undecided(Trouble::AgentAbsent(Box::new(Reason::AgentMalformed(shown(line).into()))))
        }
        Some(Says { life: Some(Life::Dead(word)), text, .. }) => Outcome::Down(Reason::Agent { word, text }),
        Some(Says { life, weight, administrative, .. }) => {
            let findings =
                Findings { weight: weight.map(WeightAdvice::Percent), administrative, certificate: None };
            if life.is_some() { Outcome::Up(findings) } else { Outcome::Advice(findings) }
        }
    }
}

/// What an agent's line says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Says {
    pub life: Option<Life>,
    /// In percent of the configured weight.
    pub weight: Option<u32>,
    pub administrative: Option<Administrative>,
    /// What follows `#`.
    pub text: Option<Arc<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    Alive,
    Dead(AgentWord),
}

/// Reads one line without its end. `None` if no word of it is known; unknown words beside known ones, such as
/// `maxconn:30`, are passed over. Of contradicting words the last one counts.
pub fn parse_line(line: &[u8]) -> Option<Says> {
    let line = String::from_utf8_lossy(line);
    let (words, text) = match line.split_once('#') {
        None => (line.as_ref(), None),
        Some((words, text)) => (words, Some(shown(text.trim().as_bytes()))),
    };
    let mut says = Says { text: text.filter(|t| !t.is_empty()).map(Arc::from), ..Says::default() };
    let mut known = false;
    for word in words.split([' ', '\t', ',', '\r', '\0']).filter(|word| !word.is_empty()) {
        known |= says.hear(&word.to_ascii_lowercase());
    }
    known.then_some(says)
}

impl Says {
    fn hear(&mut self, word: &str) -> bool {
        match word {
            "up" => self.life = Some(Life::Alive),
            "down" => self.life = Some(Life::Dead(AgentWord::Down)),
            "stopped" => self.life = Some(Life::Dead(AgentWord::Stopped)),
            "fail" => self.life = Some(Life::Dead(AgentWord::Fail)),
            "ready" => self.administrative = Some(Administrative::Ready),
            "drain" => self.administrative = Some(Administrative::Drain),
            "maint" => self.administrative = Some(Administrative::Maintenance),
            _ => {
                let Some(percent) = percent(word) else { return false };
                self.weight = Some(percent);
            }
        }
        true
    }
}

fn percent(word: &str) -> Option<u32> {
    let digits = word.strip_suffix('%')?;
    let fits = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    fits.then(|| digits.parse().map_or(MOST_PERCENT, |n: u32| n.min(MOST_PERCENT)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_say_what_haproxy_says_they_do() {
        let none = Says::default();
        let dead = |word| Says { life: Some(Life::Dead(word)), ..none.clone() };
        let cases: &[(&str, Option<Says>)] = &[
            ("up", Some(Says { life: Some(Life::Alive), ..none.clone() })),
            ("75%", Some(Says { weight: Some(75), ..none.clone() })),
            ("up 50%\r", Some(Says { life: Some(Life::Alive), weight: Some(50), ..none.clone() })),
            (
                "READY,UP",
                Some(Says {
                    life: Some(Life::Alive),
                    administrative: Some(Administrative::Ready),
                    ..none.clone()
                }),
            ),
            ("drain", Some(Says { administrative: Some(Administrative::Drain), ..none.clone() })),
            ("maint", Some(Says { administrative: Some(Administrative::Maintenance), ..none.clone() })),
            ("stopped", Some(dead(AgentWord::Stopped))),
            (
                "fail # out of # coffee ",
                Some(Says { text: Some("out of # coffee".into()), ..dead(AgentWord::Fail) }),
            ),
            ("down maxconn:30", Some(dead(AgentWord::Down))),
            ("99999999999%", Some(Says { weight: Some(MOST_PERCENT), ..none.clone() })),
            ("", None),
            ("# up", None),
            ("-5%", None),
            ("+5%", None),
            ("%", None),
            ("HTTP/1.1 400 Bad Request", None),
        ];
        for (line, says) in cases {
            assert_eq!(&parse_line(line.as_bytes()), says, "{line:?}");
        }
    }

    #[test]
    fn nonsense_is_no_word_about_the_server() {
        assert!(matches!(judge(b"\xff\xfe\n"), Outcome::Undecided(Trouble::AgentAbsent(_))));
        assert!(matches!(judge(b"down\nup\n"), Outcome::Down(_)));
        assert!(matches!(judge(b"10%\n"), Outcome::Advice(_)));
    }
}
