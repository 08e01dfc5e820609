//! What becomes of connections when packets of them pass.

mod sctp;
mod tcp;

pub use sctp::{SctpEvent, SctpState};
pub use tcp::{TcpEvent, TcpState, TcpTable};

/// Where a packet goes, and what else of its connection passes here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the real server.
    Input,
    /// From the real server to the client.
    Output,
    /// From the client; what the server answers goes elsewhere (direct routing, tunnels).
    InputOnly,
}
