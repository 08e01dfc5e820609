//! `TCP_CHECK`: the server takes a connection, which is closed at once.

use serde::Serialize;

use crate::deadline::{Deadlines, Limits};
use crate::outcome::{Findings, Outcome};
use crate::target::Target;

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct TcpCheck {
    pub target: Target,
    pub deadlines: Deadlines,
}

impl TcpCheck {
    pub(crate) async fn attempt(&self) -> Outcome {
        match self.target.connect(&Limits::start(self.deadlines)).await {
            Ok(_closed) => Outcome::Up(Findings::default()),
            Err(failure) => failure.into(),
        }
    }
}
