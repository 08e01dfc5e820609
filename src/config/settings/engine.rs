use serde::Deserialize;

use super::Text;

/// `engine` in `global_defs`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Engine {
    pub(crate) connections: Option<i64>,
    pub(crate) tier: Option<Text>,
    pub(crate) toa: Option<bool>,
    pub(crate) sloppy_tcp: Option<bool>,
    pub(crate) sloppy_sctp: Option<bool>,
    pub(crate) secure_tcp: Option<bool>,
    pub(crate) pmtu_disc: Option<bool>,
    pub(crate) conn_reuse_mode: Option<i64>,
    pub(crate) expire_quiescent_template: Option<bool>,
}
