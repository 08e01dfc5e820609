//! `TCP_CHECK`: the server takes a connection, which is closed at once.

use serde::Serialize;

use crate::connector::Connector;
use crate::deadline::{Deadlines, Limits};
use crate::outcome::{Findings, Outcome};
use crate::target::Target;

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct TcpCheck {
    pub target: Target,
    pub deadlines: Deadlines,
}

impl TcpCheck {
    pub(crate) async fn attempt(&self, connector: Option<&Connector>) -> Outcome {
        let limits = Limits::start(self.deadlines);
        let reached = match connector {
            Some(connector) => self.target.reach(connector, &limits).await,
            None => self.target.connect(&limits).await.map(drop),
        };
        match reached {
            Ok(()) => Outcome::Up(Findings::default()),
            Err(failure) => failure.into(),
        }
    }
}
