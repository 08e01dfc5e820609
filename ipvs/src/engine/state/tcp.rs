//! What becomes of a TCP connection when a packet of it passes (IPVS, `net.ipv4.vs.secure_tcp` included).
//!
//! The director sees packets, not sockets, and behind direct routing and tunnels those of the client only; so these are
//! not the states of RFC 9293, though most have their names.

use std::fmt;
use std::time::Duration;

use super::Direction;

/// In the kernel's order, which is that of the sync protocol's state numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum TcpState {
    /// Before the first packet has been looked at.
    #[default]
    None,
    Established,
    /// The real server has sent a SYN first.
    SynSent,
    SynReceived,
    FinWait,
    TimeWait,
    Close,
    CloseWait,
    LastAck,
    Listen,
    /// The real server has answered a SYN, under `secure_tcp`.
    SynAck,
}

use TcpState::{
    Close as CL, CloseWait as CW, Established as ES, FinWait as FW, LastAck as LA, Listen as LI, None as NO,
    SynAck as SA, SynReceived as SR, SynSent as SS, TimeWait as TW,
};

impl TcpState {
    pub const ALL: [Self; 11] = [NO, ES, SS, SR, FW, TW, CL, CW, LA, LI, SA];

    /// The number that the sync protocol has for it.
    pub const fn number(self) -> u8 {
        self as u8
    }

    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// What follows when `event` comes from `direction`.
    #[must_use]
    pub fn after(self, event: TcpEvent, direction: Direction, table: TcpTable) -> Self {
        let table = match table {
            TcpTable::Normal => &NORMAL,
            TcpTable::Secure => &SECURE,
        };
        let row = match direction {
            Direction::Input => table.input.of(event),
            Direction::Output => table.output.of(event),
            Direction::InputOnly => table.input_only.of(event),
        };
        // There are as many columns as states.
        row.get(usize::from(self.number())).copied().unwrap_or(CL)
    }

    /// How long a connection in this state is kept without a packet, unless configured otherwise.
    pub const fn default_timeout(self) -> Duration {
        Duration::from_secs(match self {
            NO => 2,
            ES => 900,
            SS | FW | TW | LI | SA => 120,
            SR | CW => 60,
            CL => 10,
            LA => 30,
        })
    }

    /// Whether the connection counts as active.
    pub const fn is_active(self) -> bool {
        matches!(self, ES | SS | SR | SA)
    }
}

/// As `ipvsadm -Lc` prints it.
impl fmt::Display for TcpState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            NO => "NONE",
            ES => "ESTABLISHED",
            SS => "SYN_SENT",
            SR => "SYN_RECV",
            FW => "FIN_WAIT",
            TW => "TIME_WAIT",
            CL => "CLOSE",
            CW => "CLOSE_WAIT",
            LA => "LAST_ACK",
            LI => "LISTEN",
            SA => "SYNACK",
        })
    }
}

/// What a segment says, by the first flag that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpEvent {
    Rst,
    Syn,
    Fin,
    Ack,
    /// None of them: no segment that TCP has.
    Nothing,
}

impl TcpEvent {
    /// From the flags of the header (RFC 9293, 3.1).
    pub const fn of(flags: u8) -> Self {
        const FIN: u8 = 0x01;
        const SYN: u8 = 0x02;
        const RST: u8 = 0x04;
        const ACK: u8 = 0x10;
        if flags & RST != 0 {
            Self::Rst
        } else if flags & SYN != 0 {
            Self::Syn
        } else if flags & FIN != 0 {
            Self::Fin
        } else if flags & ACK != 0 {
            Self::Ack
        } else {
            Self::Nothing
        }
    }
}

/// Which transitions hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TcpTable {
    #[default]
    Normal,
    /// `secure_tcp` is on: a connection is established when the real server says so.
    Secure,
}

type Row = [TcpState; 11];

/// What follows each state on one event; the columns are the states in their order.
struct Rows {
    syn: Row,
    fin: Row,
    ack: Row,
    rst: Row,
}

impl Rows {
    const fn of(&self, event: TcpEvent) -> &Row {
        match event {
            TcpEvent::Syn => &self.syn,
            TcpEvent::Fin => &self.fin,
            TcpEvent::Ack => &self.ack,
            TcpEvent::Rst => &self.rst,
            TcpEvent::Nothing => &[CL; 11],
        }
    }
}

struct Table {
    input: Rows,
    output: Rows,
    input_only: Rows,
}

#[rustfmt::skip]
static NORMAL: Table = Table {
    input: Rows {
        syn: [SR, ES, ES, SR, SR, SR, SR, SR, SR, SR, SR],
        fin: [CL, CW, SS, TW, TW, TW, CL, CW, LA, LI, TW],
        ack: [ES, ES, SS, ES, FW, TW, CL, CW, CL, LI, ES],
        rst: [CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, SR],
    },
    output: Rows {
        syn: [SS, ES, SS, SR, SS, SS, SS, SS, SS, LI, SR],
        fin: [TW, FW, SS, TW, FW, TW, CL, TW, LA, LI, TW],
        ack: [ES, ES, SS, ES, FW, TW, CL, CW, LA, ES, ES],
        rst: [CL, CL, SS, CL, CL, TW, CL, CL, CL, CL, CL],
    },
    input_only: Rows {
        syn: [SR, ES, ES, SR, SR, SR, SR, SR, SR, SR, SR],
        fin: [CL, FW, SS, TW, FW, TW, CL, CW, LA, LI, TW],
        ack: [ES, ES, SS, ES, FW, TW, CL, CW, CL, LI, ES],
        rst: [CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, CL],
    },
};

#[rustfmt::skip]
static SECURE: Table = Table {
    input: Rows {
        syn: [SR, ES, ES, SR, SR, SR, SR, SR, SR, SR, SA],
        fin: [CL, CW, SS, TW, TW, TW, CL, CW, LA, LI, SA],
        ack: [ES, ES, SS, SR, FW, TW, CL, CW, CL, LI, SA],
        rst: [CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, CL],
    },
    output: Rows {
        syn: [SS, ES, SS, SA, SS, SS, SS, SS, SS, LI, SA],
        fin: [TW, FW, SS, TW, FW, TW, CL, TW, LA, LI, TW],
        ack: [ES, ES, SS, ES, FW, TW, CL, CW, LA, ES, ES],
        rst: [CL, CL, SS, CL, CL, TW, CL, CL, CL, CL, CL],
    },
    input_only: Rows {
        syn: [SA, ES, ES, SR, SA, SA, SA, SA, SA, SA, SA],
        fin: [CL, FW, SS, TW, FW, TW, CL, CW, LA, LI, TW],
        ack: [ES, ES, SS, ES, FW, TW, CL, CW, CL, LI, ES],
        rst: [CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, CL],
    },
};

#[cfg(test)]
mod tests {
    use super::*;

    /// The states that a connection goes through.
    fn play(table: TcpTable, packets: &[(Direction, TcpEvent)]) -> Vec<TcpState> {
        let step = |state: &mut TcpState, &(direction, event): &(Direction, TcpEvent)| {
            *state = state.after(event, direction, table);
            Some(*state)
        };
        packets.iter().scan(NO, step).collect()
    }

    use Direction::{Input, InputOnly, Output};
    use TcpEvent::{Ack, Fin, Nothing, Rst, Syn};

    #[test]
    fn life_of_a_translated_connection() {
        let packets = [
            (Input, Syn),
            (Output, Syn),
            (Input, Ack),
            (Output, Ack),
            (Input, Fin),
            (Output, Fin),
            (Input, Ack),
        ];
        assert_eq!(play(TcpTable::Normal, &packets), [SR, SR, ES, ES, CW, TW, TW]);
        assert_eq!(play(TcpTable::Secure, &packets), [SR, SA, SA, ES, CW, TW, TW]);
        let closed_by_server = [(Input, Syn), (Input, Ack), (Output, Fin), (Input, Fin)];
        assert_eq!(play(TcpTable::Normal, &closed_by_server), [SR, ES, FW, TW]);
    }

    #[test]
    fn of_a_direct_connection_only_half_is_seen() {
        let packets = [(InputOnly, Syn), (InputOnly, Ack), (InputOnly, Fin), (InputOnly, Ack)];
        assert_eq!(play(TcpTable::Normal, &packets), [SR, ES, FW, FW]);
        let reset = [(InputOnly, Syn), (InputOnly, Rst), (InputOnly, Ack), (InputOnly, Rst)];
        assert_eq!(play(TcpTable::Normal, &reset), [SR, SR, ES, CL]);
    }

    #[test]
    fn a_segment_without_flags_closes() {
        for state in TcpState::ALL {
            for direction in [Input, Output, InputOnly] {
                assert_eq!(state.after(Nothing, direction, TcpTable::Normal), CL);
            }
        }
    }

    #[test]
    fn the_first_flag_that_counts_is_the_event() {
        for (flags, event) in
            [(0x14, Rst), (0x06, Rst), (0x12, Syn), (0x03, Syn), (0x11, Fin), (0x18, Ack), (0x08, Nothing)]
        {
            assert_eq!(TcpEvent::of(flags), event, "{flags:#x}");
        }
    }

    #[test]
    fn numbers_are_those_of_the_sync_protocol() {
        for (number, state) in (0_u16..).zip(TcpState::ALL) {
            assert_eq!((TcpState::from_number(number), u16::from(state.number())), (Some(state), number));
        }
        assert_eq!(TcpState::from_number(11), None);
    }
}
