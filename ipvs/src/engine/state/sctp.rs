//! What becomes of an SCTP association when a packet of it passes (IPVS).

use std::fmt;
use std::time::Duration;

use super::Direction;

/// In the kernel's order, which is that of the sync protocol's state numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum SctpState {
    /// Before the first packet has been looked at.
    #[default]
    None,
    Init1,
    Init,
    CookieSent,
    CookieReplied,
    CookieWait,
    Cookie,
    CookieEchoed,
    Established,
    ShutdownSent,
    ShutdownReceived,
    ShutdownAckSent,
    Rejected,
    Closed,
}

use SctpState::{
    Closed as CL, Cookie as CO, CookieEchoed as CE, CookieReplied as CR, CookieSent as CS, CookieWait as CW,
    Established as ES, Init as IN, Init1 as I1, None as NO, Rejected as RJ, ShutdownAckSent as SA,
    ShutdownReceived as SR, ShutdownSent as SS,
};

impl SctpState {
    pub const ALL: [Self; 14] = [NO, I1, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL];

    /// The number that the sync protocol has for it.
    pub const fn number(self) -> u8 {
        self as u8
    }

    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// What follows when `event` comes from `direction`.
    #[must_use]
    pub fn after(self, event: SctpEvent, direction: Direction) -> Self {
        let table = match direction {
            Direction::Input => &INPUT,
            Direction::Output => &OUTPUT,
            Direction::InputOnly => &INPUT_ONLY,
        };
        // There are as many rows as events, and as many columns as states.
        let row = table.get(usize::from(event as u8));
        row.and_then(|row| row.get(usize::from(self.number()))).copied().unwrap_or(CL)
    }

    /// How long an association in this state is kept without a packet.
    pub const fn default_timeout(self) -> Duration {
        Duration::from_secs(match self {
            NO => 2,
            I1 | RJ => 4,
            ES => 900,
            IN | CS | CR | CW | CO | CE | SS | SR | SA | CL => 61,
        })
    }

    /// Whether the association counts as active.
    pub const fn is_active(self) -> bool {
        matches!(self, ES)
    }
}

/// As `ipvsadm -Lc` prints it.
impl fmt::Display for SctpState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            NO => "NONE",
            I1 => "INIT1",
            IN => "INIT",
            CS => "C-SENT",
            CR => "C-REPLIED",
            CW => "C-WAIT",
            CO => "COOKIE",
            CE => "C-ECHOED",
            ES => "ESTABLISHED",
            SS => "S-SENT",
            SR => "S-RECEIVED",
            SA => "S-ACK-SENT",
            RJ => "REJECTED",
            CL => "CLOSED",
        })
    }
}

/// What a packet says, by its first chunk; see [`SctpEvent::of`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SctpEvent {
    /// Data, and everything that changes nothing.
    Data,
    Init,
    InitAck,
    CookieEcho,
    CookieAck,
    Shutdown,
    ShutdownAck,
    ShutdownComplete,
    Error,
    Abort,
}

impl SctpEvent {
    /// From the chunks behind the common header of 12 bytes (RFC 9260, 3). `None` without a chunk.
    pub fn of(chunks: &[u8]) -> Option<Self> {
        let &[kind, _, high, low] = chunks.first_chunk::<4>()?;
        let event = Self::of_kind(kind);
        if matches!(event, Self::CookieEcho | Self::CookieAck) {
            // An ABORT behind it counts.
            let length = usize::from(u16::from_be_bytes([high, low])).next_multiple_of(4);
            if chunks.get(length).is_some_and(|kind| Self::of_kind(*kind) == Self::Abort) {
                return Some(Self::Abort);
            }
        }
        Some(event)
    }

    const fn of_kind(kind: u8) -> Self {
        match kind {
            1 => Self::Init,
            2 => Self::InitAck,
            6 => Self::Abort,
            7 => Self::Shutdown,
            8 => Self::ShutdownAck,
            9 => Self::Error,
            10 => Self::CookieEcho,
            11 => Self::CookieAck,
            14 => Self::ShutdownComplete,
            _ => Self::Data,
        }
    }
}

/// What follows each state: a row for each event, a column for each state, both in their order.
type Table = [[SctpState; 14]; 10];

#[rustfmt::skip]
static INPUT: Table = [
    [ES, I1, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL], // data
    [I1, IN, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, IN, IN], // init
    [CW, CW, CW, CS, CR, CO, CO, CE, ES, SS, SR, SA, RJ, CL], // init ack
    [CR, IN, IN, CR, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL], // cookie echo
    [ES, I1, IN, CS, CR, CW, CO, ES, ES, SS, SR, SA, RJ, CL], // cookie ack
    [SR, I1, IN, CS, CR, CW, CO, CE, SR, SS, SR, SA, RJ, CL], // shutdown
    [CL, IN, IN, CS, CR, CW, CO, CE, ES, CL, SR, CL, RJ, CL], // shutdown ack
    [CL, CL, CL, CS, CR, CW, CO, CE, ES, SS, SR, CL, RJ, CL], // shutdown complete
    [CL, I1, IN, CS, CR, CW, CO, CL, ES, SS, SR, SA, RJ, CL], // error
    [CL, CL, CL, CL, CL, RJ, CL, CL, CL, CL, CL, CL, CL, CL], // abort
];

#[rustfmt::skip]
static OUTPUT: Table = [
    [ES, I1, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL], // data
    [CW, CW, CW, CW, CW, CW, CW, CW, ES, CW, CW, CW, CW, CW], // init
    [CS, CS, CS, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL], // init ack
    [CE, CE, CE, CE, CE, CE, CE, CE, ES, SS, SR, SA, RJ, CL], // cookie echo
    [ES, ES, ES, ES, ES, ES, ES, ES, ES, SS, SR, SA, RJ, CL], // cookie ack
    [SS, SS, SS, SS, SS, SS, SS, SS, SS, SS, SR, SA, RJ, CL], // shutdown
    [SA, SA, SA, SA, SA, CW, CO, CE, ES, SA, SA, SA, RJ, CL], // shutdown ack
    [CL, I1, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL], // shutdown complete
    [CL, CL, CL, CL, CL, CW, CO, CE, ES, SS, SR, SA, RJ, CL], // error
    [CL, RJ, CL, CL, CL, CL, CL, CL, CL, CL, CL, CL, CL, CL], // abort
];

#[rustfmt::skip]
static INPUT_ONLY: Table = [
    [ES, I1, IN, CS, CR, ES, CO, CE, ES, SS, SR, SA, RJ, CL], // data
    [I1, IN, IN, IN, IN, IN, CO, CE, ES, SS, SR, SA, IN, IN], // init
    [CE, CE, CE, CE, CE, CE, CO, CE, ES, SS, SR, SA, RJ, CL], // init ack
    [ES, ES, ES, ES, ES, ES, CO, CE, ES, SS, SR, SA, RJ, CL], // cookie echo
    [ES, I1, IN, ES, ES, CW, ES, ES, ES, SS, SR, SA, RJ, CL], // cookie ack
    [SR, I1, IN, CS, CR, CW, CO, CE, SR, SS, SR, SA, RJ, CL], // shutdown
    [CL, IN, IN, CS, CR, CW, CO, CE, CL, CL, SR, CL, RJ, CL], // shutdown ack
    [CL, CL, CL, CL, CL, CW, CO, CE, ES, SS, CL, CL, RJ, CL], // shutdown complete
    [CL, I1, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL], // error
    [CL, CL, CL, CL, CL, RJ, CL, CL, CL, CL, CL, CL, CL, CL], // abort
];

#[cfg(test)]
mod tests {
    use super::*;

    use Direction::{Input, Output};

    #[test]
    fn life_of_an_association() {
        let packets = [
            (Input, SctpEvent::Init, I1),
            (Output, SctpEvent::InitAck, CS),
            (Input, SctpEvent::CookieEcho, CR),
            (Output, SctpEvent::CookieAck, ES),
            (Input, SctpEvent::Data, ES),
            (Input, SctpEvent::Shutdown, SR),
            (Output, SctpEvent::ShutdownAck, SA),
            (Input, SctpEvent::ShutdownComplete, CL),
        ];
        let mut state = SctpState::default();
        for (direction, event, expected) in packets {
            state = state.after(event, direction);
            assert_eq!(state, expected, "{event:?}");
        }
    }

    #[test]
    fn the_first_chunk_is_the_event_and_an_abort_behind_a_cookie() {
        let event = |chunks: &[u8]| SctpEvent::of(chunks);
        assert_eq!(event(&[1, 0, 0, 20]), Some(SctpEvent::Init));
        assert_eq!(event(&[0, 3, 0, 16]), Some(SctpEvent::Data));
        assert_eq!(event(&[0xc0, 0, 0, 4]), Some(SctpEvent::Data));
        assert_eq!(event(&[11, 0, 0, 4, 6, 0, 0, 4]), Some(SctpEvent::Abort));
        assert_eq!(event(&[11, 0, 0, 4, 0, 3, 0, 16]), Some(SctpEvent::CookieAck));
        assert_eq!(event(&[10, 0, 0, 5, 9, 0, 0, 0, 6, 0, 0, 4]), Some(SctpEvent::Abort));
        assert_eq!(event(&[0, 3, 0, 16, 6, 0, 0, 4]), Some(SctpEvent::Data));
        assert_eq!(event(&[1, 0, 0]), None);
        assert_eq!(event(&[10, 0, 0xff, 0xff]), Some(SctpEvent::CookieEcho));
    }

    #[test]
    fn numbers_are_those_of_the_sync_protocol() {
        for (number, state) in (0_u16..).zip(SctpState::ALL) {
            assert_eq!((SctpState::from_number(number), u16::from(state.number())), (Some(state), number));
        }
        assert_eq!(SctpState::from_number(14), None);
    }
}
