//! The checkers: each makes one attempt and says what it found.

pub mod agent;
pub mod command;
pub mod dns;
pub mod file;
pub mod http;
pub mod ping;
pub mod smtp;
pub mod tcp;
pub mod udp;

use std::num::NonZeroU32;

use serde::Serialize;

use crate::connector::Connector;
use crate::outcome::{Outcome, Trouble};
use crate::target::Target;

/// What to do to find out whether a server lives. Two equal probes ask the same question.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// `TCP_CHECK`
    Tcp(tcp::TcpCheck),
    /// `HTTP_GET` and `SSL_GET`
    Http(http::HttpCheck),
    /// `SMTP_CHECK`
    Smtp(smtp::SmtpCheck),
    /// `DNS_CHECK`
    Dns(dns::DnsCheck),
    /// `UDP_CHECK`
    Udp(udp::UdpCheck),
    /// `PING_CHECK`
    Ping(ping::PingCheck),
    /// `FILE_CHECK`, read at every turn
    File(file::FileCheck),
    /// `MISC_CHECK`
    Command(command::CommandCheck),
    /// `AGENT_CHECK`
    Agent(agent::AgentCheck),
    /// Told by others, under this name: a BFD session, a file that is followed. Never due.
    External(std::sync::Arc<str>),
}

impl Probe {
    /// How many parts take turns, one per attempt.
    pub fn parts(&self) -> NonZeroU32 {
        match self {
            Self::Http(check) => check.parts(),
            Self::Tcp(_)
            | Self::Smtp(_)
            | Self::Dns(_)
            | Self::Udp(_)
            | Self::Ping(_)
            | Self::File(_)
            | Self::Command(_)
            | Self::Agent(_)
            | Self::External(_) => NonZeroU32::MIN,
        }
    }

    /// Makes one attempt at a part, counted from zero. Ends within the deadlines of the check; dropping it closes what
    /// it had opened. Must run inside a tokio runtime with its drivers enabled.
    pub async fn attempt(&self, part: u32) -> Outcome {
        self.attempt_by(part, None).await
    }

    pub(crate) async fn attempt_by(&self, part: u32, connector: Option<&Connector>) -> Outcome {
        match self {
            Self::Tcp(check) => check.attempt(connector).await,
            // Kilobytes, which attempts of other kinds should not have to carry along.
            Self::Http(check) => Box::pin(check.attempt(part)).await,
            Self::Smtp(check) => Box::pin(check.attempt()).await,
            Self::Dns(check) => Box::pin(check.attempt()).await,
            Self::Udp(check) => Box::pin(check.attempt()).await,
            Self::Ping(check) => Box::pin(check.attempt()).await,
            Self::File(check) => Box::pin(check.attempt()).await,
            Self::Command(check) => Box::pin(check.attempt()).await,
            Self::Agent(check) => Box::pin(check.attempt()).await,
            Self::External(_) => Outcome::Undecided(Trouble::NothingKnown),
        }
    }

    /// Whether an attempt that ended so was answered, by somebody other than this host.
    pub(crate) fn is_answered_by_another(&self, outcome: &Outcome) -> bool {
        let answered = match outcome {
            Outcome::Up(_) | Outcome::Advice(_) => !self.takes_silence_for_success(),
            Outcome::Down(reason) => !reason.is_silence(),
            Outcome::Undecided(Trouble::AgentAbsent(reason)) => !reason.is_silence(),
            Outcome::Undecided(_) => false,
        };
        answered && self.target().is_some_and(Target::is_elsewhere)
    }

    fn takes_silence_for_success(&self) -> bool {
        matches!(self, Self::Udp(check) if check.reply.is_none())
    }

    /// Whom it asks over the network.
    fn target(&self) -> Option<&Target> {
        match self {
            Self::Tcp(check) => Some(&check.target),
            Self::Http(check) => Some(&check.target),
            Self::Smtp(check) => Some(&check.target),
            Self::Dns(check) => Some(&check.target),
            Self::Udp(check) => Some(&check.target),
            Self::Ping(check) => Some(&check.target),
            Self::Agent(check) => Some(&check.target),
            Self::File(_) | Self::Command(_) | Self::External(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deadline::Deadlines;
    use crate::outcome::{Findings, Reason};

    /// A target that is nobody's, or this host.
    fn tcp(address: &str) -> Probe {
        let target = Target::new(address.parse().unwrap());
        Probe::Tcp(tcp::TcpCheck { target, deadlines: Deadlines::default() })
    }

    #[test]
    fn this_host_a_file_and_silence_are_no_answer_of_another() {
        let up = || Outcome::Up(Findings::default());
        assert!(!tcp("127.0.0.1:80").is_answered_by_another(&up()));
        assert!(!Probe::External("bfd".into()).is_answered_by_another(&up()));
        let udp = udp::UdpCheck {
            target: Target::new("192.0.2.1:53".parse().unwrap()),
            deadlines: Deadlines::default(),
            payload: udp::UdpCheck::default_payload(),
            reply: None,
        };
        assert!(!Probe::Udp(udp).is_answered_by_another(&up()));
        let silence =
            Reason::TimedOut { step: crate::outcome::Step::Connect, after: Deadlines::default().step };
        let silences = [
            Outcome::Down(silence.clone()),
            Outcome::Undecided(Trouble::AgentAbsent(Box::new(silence))),
            Outcome::Undecided(Trouble::NothingKnown),
        ];
        for outcome in silences {
            assert!(!tcp("192.0.2.1:80").is_answered_by_another(&outcome), "{outcome:?}");
        }
    }
}
