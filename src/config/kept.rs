//! Words of the root and of `global_defs` that are checked and kept as they are written, for the parts of the daemon
//! that give them their effect.
//!
//! Old spellings are replaced, switches are `true` or `false`, and numbers and times are plain decimals.

use std::sync::Arc;

use serde::Serialize;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Kept {
    pub keyword: Arc<str>,
    pub words: Vec<Arc<str>>,
}
