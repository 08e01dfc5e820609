use std::fmt;
use std::sync::Arc;

use buoy_ipvs::RealServerId;

use super::subject::Subject;

/// A real server came or went, or a virtual server gained or lost its quorum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceChange {
    /// By the name that logs give it.
    pub service: Arc<str>,
    /// `None` where it is about the quorum.
    pub server: Option<RealServerId>,
    pub up: bool,
    /// In words, as a person understands it.
    pub reason: Arc<str>,
}

impl ServiceChange {
    pub(super) fn subject(&self) -> Subject {
        let service = Arc::clone(&self.service);
        match self.server {
            Some(server) => Subject::Server(service, server),
            None => Subject::Service(service),
        }
    }

    /// What it was before: there are only two states.
    pub const fn from(&self) -> &'static str {
        word(!self.up)
    }

    pub const fn to(&self) -> &'static str {
        word(self.up)
    }
}

const fn word(up: bool) -> &'static str {
    if up { "UP" } else { "DOWN" }
}

/// `real server 10.1.0.1:80 of TCP 10.0.0.1:80 is down: connection refused`
impl fmt::Display for ServiceChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service, server, up, reason } = self;
        match (server, up) {
            (Some(server), true) => write!(f, "real server {server} of {service} is up: {reason}"),
            (Some(server), false) => write!(f, "real server {server} of {service} is down: {reason}"),
            (None, true) => write!(f, "virtual server {service} gained its quorum: {reason}"),
            (None, false) => write!(f, "virtual server {service} lost its quorum: {reason}"),
        }
    }
}
