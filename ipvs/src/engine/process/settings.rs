//! How the engine behaves where operators may choose: the settings that the kernel has in `net.ipv4.vs`.

use crate::engine::forward::fullnat::Toa;
use crate::engine::forward::tunnel::PathMtuDiscovery;
use crate::engine::state::TcpTable;
use crate::sync::SendRules;

/// The defaults are those of the kernel, but for `orphans`: clients of a server that is gone should not wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `expire_nodest_conn`
    pub orphans: Orphans,
    /// `expire_quiescent_template`
    pub quiescent: Quiescent,
    /// `conn_reuse_mode`
    pub reuse: Reuse,
    /// `sloppy_tcp`
    pub sloppy_tcp: bool,
    /// `sloppy_sctp`
    pub sloppy_sctp: bool,
    /// `secure_tcp`
    pub tcp_table: TcpTable,
    /// `pmtu_disc`: of tunnels.
    pub pmtu: PathMtuDiscovery,
    /// Whether servers behind full NAT are told who their clients are.
    pub toa: Toa,
    /// Which entries a master tells its backup of; `None` while it is no master. [`SendRules::ENGINE`] is better than the
    /// kernel's rules.
    pub sync: Option<SendRules>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            orphans: Orphans::Expire,
            quiescent: Quiescent::Keep,
            reuse: Reuse::Ended,
            sloppy_tcp: false,
            sloppy_sctp: false,
            tcp_table: TcpTable::Normal,
            pmtu: PathMtuDiscovery::On,
            toa: Toa::Off,
            sync: None,
        }
    }
}

/// Connections whose server was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Orphans {
    /// Their packets are dropped, and they live again with the server.
    Keep,
    /// They end with their next packet, which is taken for one without a connection.
    Expire,
}

/// Templates whose server gets no new connections, because its weight is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quiescent {
    /// Their clients go there all the same.
    Keep,
    /// Their clients get another server.
    Expire,
}

/// Which connections a new one from the same port of a client takes the place of, so that it is scheduled anew. Those of
/// persistent clients are none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// None: it goes to the same server.
    Never,
    /// Those that have ended.
    Ended,
    /// And those of which only the client's half is seen, once it has said that it is at its end.
    HalfEnded,
}
