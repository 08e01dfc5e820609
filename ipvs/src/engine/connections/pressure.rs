//! Which entries go when the table is nearly full, so that those that carry traffic stay.
//!
//! IPVS's `drop_entry` walks a part of its table every second. Here the packet that needs the place looks for it, in a
//! few slots all over the table: no more work than that, no attacker who knows where it looks, and nothing is lost while
//! there is room.

use std::time::Duration;

use super::connection::Connection;
use super::{Cause, Connections, Ended};
use crate::engine::state::{SctpState, TcpState};
use crate::engine::wheel::Tick;
use crate::sync::ConnectionState;

/// The last sixteenth of the table is for those that are to stay.
const RESERVE: u32 = 16;
/// Slots that are looked at for one new connection, while there is room and when there is none.
const FEW: u32 = 16;
const MANY: u32 = 64;

/// What is lost with an entry, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Worth {
    /// Nobody has answered yet: half-open TCP and SCTP, UDP that goes one way.
    Attempt,
    /// Both sides have said that it is over.
    Ending,
    /// Few packets, and long ago. If it lives it can go on, at a server that may know nothing of it.
    Idle,
    /// A client that may come to another server next time.
    Template,
    /// It carries traffic, or a client depends on it.
    Lasting,
}

impl Worth {
    fn of(connection: &Connection, now: Tick) -> Self {
        use ConnectionState::{Sctp, Tcp, Udp};
        if connection.controls() > 0 || connection.is_assured() {
            return Self::Lasting;
        }
        match connection.state() {
            None => Self::Template,
            Some(Tcp(TcpState::None | TcpState::SynReceived | TcpState::SynAck)) => Self::Attempt,
            Some(Sctp(SctpState::None | SctpState::Init1 | SctpState::Init)) => Self::Attempt,
            Some(Udp) if is_one_way(connection) => Self::Attempt,
            Some(Tcp(TcpState::TimeWait | TcpState::Close | TcpState::LastAck)) => Self::Ending,
            Some(Sctp(SctpState::Closed | SctpState::Rejected)) => Self::Ending,
            Some(Tcp(TcpState::Established) | Sctp(SctpState::Established) | Udp)
                if is_idle(connection, now) =>
            {
                Self::Idle
            }
            Some(Tcp(_) | Sctp(_) | Udp) => Self::Lasting,
        }
    }
}

const FEW_PACKETS: u32 = 8;

/// A stream that never gets answers, such as syslog's, has more packets than that soon.
const fn is_one_way(connection: &Connection) -> bool {
    !connection.is_answered() && !connection.has_no_output() && connection.packets() <= FEW_PACKETS
}

/// As IPVS has it, but for its dice.
fn is_idle(connection: &Connection, now: Tick) -> bool {
    const LONG: Duration = Duration::from_secs(60);
    connection.packets() <= FEW_PACKETS && connection.idle(now) >= LONG
}

impl Connections {
    /// To be called before every [`insert`](Self::insert): evicts an entry if the table is nearly full and one is found
    /// that is worth less than a new connection. While there is still room, only attempts that nobody has answered and
    /// connections that are over go; when there is none, also connections that long are idle and had few packets, and
    /// then templates whose clients have no connection and never had one established. Established connections that are
    /// in use stay.
    pub fn relieve(&mut self, now: Tick) -> Option<Ended> {
        let most = self.slots.most();
        let (looked_at, worth_less_than) = match most.saturating_sub(self.slots.len()) {
            0 => (MANY, Worth::Lasting),
            room if room < most / RESERVE => (FEW, Worth::Idle),
            _ => return None,
        };
        let mut least: Option<(Worth, u32)> = None;
        for slot in self.sample(looked_at) {
            let Some(connection) = self.slots.get(slot) else { continue };
            let worth = Worth::of(connection, now);
            if worth < least.map_or(worth_less_than, |(least, _)| least) {
                least = Some((worth, slot));
            }
            if worth == Worth::Attempt {
                break;
            }
        }
        let (_, slot) = least?;
        self.counts.evicted += 1;
        self.end(slot, Cause::Evicted, now)
    }

    /// So many slots, or all if there are fewer: one from each of as many equal parts of the table, since entries of one
    /// kind often lie together.
    fn sample(&mut self, count: u32) -> impl Iterator<Item = u32> + use<> {
        let end = self.slots.end().max(1);
        let count = count.min(end);
        let part = end / count;
        let mut random = self.random.fork();
        let start = random.u32(0..end);
        (0..count).map(move |number| {
            let offset = number * part + random.u32(0..part);
            // No wrap: the table has far fewer than half of 32 bits.
            (start + offset) % end
        })
    }
}

#[cfg(test)]
mod tests;
