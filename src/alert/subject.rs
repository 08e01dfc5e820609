use std::fmt;
use std::sync::Arc;

use buoy_ipvs::RealServerId;

/// What an alert is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// An instance or a sync group.
    Vrrp(buoy_vrrp::Subject),
    /// A virtual server, by the name that logs give it.
    Service(Arc<str>),
    /// A real server of such a service.
    Server(Arc<str>, RealServerId),
}

impl Subject {
    pub(super) const fn topic(&self) -> Topic {
        match self {
            Self::Vrrp(_) => Topic::Election,
            Self::Service(_) | Self::Server(..) => Topic::Services,
        }
    }
}

impl From<buoy_vrrp::Subject> for Subject {
    fn from(subject: buoy_vrrp::Subject) -> Self {
        Self::Vrrp(subject)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vrrp(subject) => f.write_str(subject.name()),
            Self::Service(service) => f.write_str(service),
            Self::Server(service, server) => write!(f, "{server} of {service}"),
        }
    }
}

/// Two streams of news. A table full of servers that fail at once neither delays what the election says nor
/// pushes it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Topic {
    /// Instances and sync groups.
    Election,
    /// Virtual servers and what is behind them.
    Services,
}

impl Topic {
    pub(super) const ALL: [Self; 2] = [Self::Election, Self::Services];
}

/// One of something for each topic.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PerTopic<T> {
    pub(super) election: T,
    pub(super) services: T,
}

impl<T> PerTopic<T> {
    pub(super) const fn of(&self, topic: Topic) -> &T {
        match topic {
            Topic::Election => &self.election,
            Topic::Services => &self.services,
        }
    }

    pub(super) const fn of_mut(&mut self, topic: Topic) -> &mut T {
        match topic {
            Topic::Election => &mut self.election,
            Topic::Services => &mut self.services,
        }
    }
}
