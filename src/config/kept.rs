//! Blocks that are parsed, checked word by word and kept as they are written, for the parts of the daemon
//! that give them their effect.
//!
//! Children stand in the order of the manual, those of one keyword in the order of the file. Old spellings are
//! replaced, switches are `true` or `false`, numbers and times are plain decimals, and a command is one word
//! (still to be split into arguments), then user and group.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    pub keyword: Arc<str>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub words: Vec<Arc<str>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<Block>,
}
