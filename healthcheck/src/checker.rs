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

use crate::outcome::{Outcome, Trouble};

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
        match self {
            Self::Tcp(check) => check.attempt().await,
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
}
