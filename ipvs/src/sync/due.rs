//! Which entries a master tells of, and when: once they matter, and then often enough for them to live on at the backup,
//! seldom enough for the wire.

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use super::record::ConnectionState;
use crate::engine::state::{SctpState, TcpState};

/// The rules of `net.ipv4.vs.sync_*`, for the entries of one director. The defaults are those of the kernel.
///
/// They are asked for an entry at each packet that its *client* sends, after the packet has changed its state; a change
/// that the real server causes is told of at the next packet of the client, if [`changes`](Self::changes) does not say
/// otherwise. The entry's controller, if it has one, is
/// asked for next, and then that one's: a template as one that has had a packet ([`Progress::count_packet`]), the
/// control connection of FTP [at the threshold](Occasion::AtThreshold). With messages of version 0, a controller is
/// only asked for where the entry was told of.
///
/// The backup's copy dies without records. With the defaults it lives on where 50 packets of the client come within a
/// timeout; with `period` 0 and a `refresh` it does wherever the original does, up to a `refresh` before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendRules {
    pub threshold: Threshold,
    /// `sync_refresh_period`: told again when the time of its end has moved by this, or by the larger of 10 s and half
    /// its timeout. Zero is never; then templates are told of at every packet.
    pub refresh: Duration,
    /// `sync_retries`: how often it is told again meanwhile, an eighth of `refresh` after the last time, lest one
    /// datagram that is lost makes a connection lost. The kernel has 0 to 3.
    pub retries: u8,
    /// `sync_persist_mode`
    pub persistence: PersistMode,
    /// Whose doings are told of at once. The kernel has no choice here.
    pub changes: Changes,
}

impl SendRules {
    /// For an engine that is master, where the operator has not asked for rules of the kernel: what was told is told
    /// again with the packets that come half a minute later or more, and once more four seconds after that; a change of
    /// state is told of at once, whoever causes it.
    ///
    /// A connection is told of when it is established, one of UDP with its first packet, and its copy ends not earlier
    /// than 30 s before itself; with the kernel's defaults, a copy ends where fewer than 50 packets come in its timeout.
    /// Where timeouts are under 10 s, a copy may be gone for a moment: but for the repetition, nothing is told twice
    /// within 10 s.
    ///
    /// A million connections that are never quiet are 60,000 records per second, which take 17 Mbit/s; with the kernel's
    /// defaults it is as much where each has three packets per second.
    pub const ENGINE: Self = Self {
        threshold: Threshold { packets: 3, period: 0 },
        refresh: Duration::from_secs(30),
        retries: 1,
        persistence: PersistMode::Both,
        changes: Changes::OfBoth,
    };
}

impl Default for SendRules {
    fn default() -> Self {
        Self {
            threshold: Threshold::default(),
            refresh: Duration::ZERO,
            retries: 0,
            persistence: PersistMode::default(),
            changes: Changes::default(),
        }
    }
}

/// `sync_threshold`: a connection is told of at packet `packets`, and at every `period`-th after that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threshold {
    packets: u32,
    period: u32,
}

impl Threshold {
    /// `None` where `packets` never comes in a period. Period 0 tells of it once, or as often as it is refreshed.
    pub const fn new(packets: u32, period: u32) -> Option<Self> {
        if period == 0 || packets < period { Some(Self { packets, period }) } else { None }
    }

    pub const fn packets(self) -> u32 {
        self.packets
    }
}

impl Default for Threshold {
    fn default() -> Self {
        Self { packets: 3, period: 50 }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PersistMode {
    /// Templates and their connections.
    #[default]
    Both,
    /// Only templates: connections of persistent services come to the same server by them, and are reset.
    TemplatesOnly,
}

/// Which changes of state are told of at once. What a backup gets is the same kind of record at any rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Changes {
    /// Those that a packet of the client causes, or finds: a server that has ended a connection of a client that is gone
    /// is never heard of, and its copy lives on as an established one.
    #[default]
    OfClients,
    /// Those of servers, too, in connections that were told of.
    OfBoth,
}

/// An entry that could be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Candidate {
    /// It is gone before anybody could use it, but its template is not.
    OnePacket,
    Template,
    Connection(ConnectionState),
    /// Its controller, or that one's, is a template.
    Persistent(ConnectionState),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// A packet that was counted.
    Packet,
    /// So many packets that were counted together, because somebody else has forwarded them. None is no occasion.
    Packets(u32),
    /// A packet of the real server, after it has changed the state. It is not counted, and the controller is not asked
    /// for.
    Answer,
    /// As if the packets were as many as the threshold: for the control connection of FTP when its data flows, and for
    /// an entry that lives on because of those that it controls.
    AtThreshold,
}

/// What was told of one entry; its packets are counted whether or not anybody listens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    packets: u32,
    state: Option<ConnectionState>,
    last: Option<Told>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    /// When the entry would have expired.
    end: Instant,
    retries: u8,
}

impl Progress {
    /// As it was remembered: packets of the client, the state that was told of, and of the last time when the entry would
    /// have expired and which retry that was.
    pub fn new(packets: u32, state: Option<ConnectionState>, last: Option<(Instant, u8)>) -> Self {
        Self { packets, state, last: last.map(|(end, retries)| Told { end, retries }) }
    }

    pub const fn state(&self) -> Option<ConnectionState> {
        self.state
    }

    /// When the entry would have expired as it was told of last, and which retry that was.
    pub fn last(&self) -> Option<(Instant, u8)> {
        self.last.map(|told| (told.end, told.retries))
    }

    /// Of an entry that came from another director: to be told of when its packets reach the next period, or on a
    /// change of state.
    pub const fn of_copy(state: Option<ConnectionState>, rules: &SendRules) -> Self {
        Self { packets: rules.threshold.packets, state, last: None }
    }

    /// A packet of the client has passed.
    pub const fn count_packet(&mut self) {
        self.packets = self.packets.wrapping_add(1);
    }

    pub const fn packets(&self) -> u32 {
        self.packets
    }
}

/// No timeout is longer, and no clock ends before it.
const LONGEST: Duration = Duration::from_secs(u32::MAX as u64);

/// What the state of an entry says.
enum Standing {
    Never,
    /// The other director has to know this at once.
    Changed,
    Usual,
}

impl SendRules {
    /// Whether an entry is to be told of now, which `progress` then remembers. `timeout` is what its state has.
    #[must_use]
    pub fn is_due(
        &self,
        entry: Candidate,
        progress: &mut Progress,
        occasion: Occasion,
        timeout: Duration,
        now: Instant,
    ) -> bool {
        let timeout = timeout.min(LONGEST);
        let end = now + timeout;
        let retries = match self.standing(entry, progress) {
            Standing::Never => None,
            Standing::Changed if occasion == Occasion::Answer && !self.tells_of_answers(progress) => None,
            Standing::Changed => Some(0),
            Standing::Usual if !self.reaches(entry, progress, occasion) => None,
            Standing::Usual => self.retries_of(progress, timeout, now, end),
        };
        let Some(retries) = retries else { return false };
        progress.last = Some(Told { end, retries });
        progress.state = entry.state();
        true
    }

    /// What nobody has heard of is not told of at its end: a server that refuses a flood would make another one of it.
    fn tells_of_answers(&self, progress: &Progress) -> bool {
        self.changes == Changes::OfBoth && progress.state.is_some()
    }

    fn standing(&self, entry: Candidate, progress: &Progress) -> Standing {
        use ConnectionState::{Sctp, Tcp};
        let state = match entry {
            Candidate::OnePacket => return Standing::Never,
            Candidate::Template => return Standing::Usual,
            Candidate::Persistent(_) if self.persistence == PersistMode::TemplatesOnly => {
                return Standing::Never;
            }
            Candidate::Connection(state) | Candidate::Persistent(state) => state,
        };
        match state {
            ConnectionState::Udp | Tcp(TcpState::Established) | Sctp(SctpState::Established) => {
                Standing::Usual
            }
            Tcp(TcpState::FinWait | TcpState::Close | TcpState::CloseWait | TcpState::TimeWait)
            | Sctp(
                SctpState::ShutdownSent
                | SctpState::ShutdownReceived
                | SctpState::ShutdownAckSent
                | SctpState::Closed,
            ) => {
                if progress.state == Some(state) {
                    Standing::Usual
                } else {
                    Standing::Changed
                }
            }
            Tcp(_) | Sctp(_) => Standing::Never,
        }
    }

    /// Whether its packets are as many as they have to be.
    fn reaches(&self, entry: Candidate, progress: &Progress, occasion: Occasion) -> bool {
        let counted = match occasion {
            Occasion::Packets(0) | Occasion::Answer => return false,
            Occasion::AtThreshold => return true,
            Occasion::Packet => 1,
            Occasion::Packets(counted) => counted,
        };
        let Threshold { packets: threshold, period } = self.threshold;
        // How many packets ago it was told of, or would have been, and whether the last ones include that.
        let since = match progress.packets.checked_rem(period) {
            Some(_) if entry == Candidate::Template => return true,
            Some(packets) if packets >= threshold => Some(packets - threshold),
            Some(packets) => Some(packets + (period - threshold)),
            None if self.refresh.is_zero() => progress.packets.checked_sub(threshold),
            None => return true,
        };
        since.is_some_and(|since| since < counted)
    }

    /// How many retries there were, this one included, if the other director does not know well enough when the entry
    /// ends.
    fn retries_of(&self, progress: &Progress, timeout: Duration, now: Instant, end: Instant) -> Option<u8> {
        const LEAST: Duration = Duration::from_secs(10);
        let Some(last) = progress.last.filter(|_| !self.refresh.is_zero()) else { return Some(0) };
        let moved = end.saturating_duration_since(last.end).max(last.end.saturating_duration_since(end));
        if moved >= self.refresh.min(LEAST.max(timeout / 2)) {
            return Some(0);
        }
        let is_time = now + timeout >= last.end + self.refresh.min(LONGEST) / 8;
        (last.retries < self.retries && is_time).then_some(last.retries.saturating_add(1))
    }
}

impl Candidate {
    const fn state(self) -> Option<ConnectionState> {
        match self {
            Self::Connection(state) | Self::Persistent(state) => Some(state),
            Self::OnePacket | Self::Template => None,
        }
    }
}
