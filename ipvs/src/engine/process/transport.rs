//! What a packet says to the state machine of its protocol.

use crate::engine::packet::{View, protocol};
use crate::engine::state::{Direction, SctpEvent, TcpEvent, TcpTable};
use crate::sync::ConnectionState;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Tcp(TcpEvent),
    Sctp(SctpEvent),
    /// UDP, and protocols that ride on it.
    Datagram,
    /// Cut off in its header, of SCTP in that of the first chunk: it says nothing.
    Truncated,
}

/// What a header has without options, and where in it TCP's flags are; behind that of SCTP the chunks begin.
const TCP: usize = 20;
const TCP_FLAGS: usize = 13;
const UDP: usize = 8;
const SCTP: usize = 12;

impl Event {
    pub(super) fn of(packet: &[u8], view: &View) -> Self {
        let payload = view.payload(packet);
        match view.protocol {
            protocol::TCP => match payload.first_chunk::<TCP>() {
                Some(header) => Self::Tcp(TcpEvent::of(header[TCP_FLAGS])),
                None => Self::Truncated,
            },
            protocol::UDP if payload.len() < UDP => Self::Truncated,
            protocol::SCTP => match payload.get(SCTP..).and_then(SctpEvent::of) {
                Some(event) => Self::Sctp(event),
                None => Self::Truncated,
            },
            _ => Self::Datagram,
        }
    }

    /// Whether a client begins a connection with it, also where it has one.
    pub(super) const fn begins(self) -> bool {
        matches!(self, Self::Tcp(TcpEvent::Syn) | Self::Sctp(SctpEvent::Init))
    }

    pub(super) fn after(
        self,
        state: ConnectionState,
        direction: Direction,
        table: TcpTable,
    ) -> ConnectionState {
        match (state, self) {
            (ConnectionState::Tcp(state), Self::Tcp(event)) => {
                ConnectionState::Tcp(state.after(event, direction, table))
            }
            (ConnectionState::Sctp(state), Self::Sctp(event)) => {
                ConnectionState::Sctp(state.after(event, direction))
            }
            (state, _) => state,
        }
    }
}
