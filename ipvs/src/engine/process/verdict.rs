//! What becomes of packets, and why some go no further.

use std::fmt;

use crate::engine::address::Address;
use crate::engine::connections::ConnectionIndex;
use crate::engine::forward::{Outcome, Undeliverable};

/// What to do with a packet that has been processed. Where it goes by itself, routes say how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is none of ours: the stack of this host gets it as it came.
    Pass,
    /// As it is now, it goes towards `to`.
    Forward {
        to: Address,
        outcome: Outcome,
        /// That it belongs to; `None` where none was kept.
        connection: Option<ConnectionIndex>,
    },
    /// As it is now, it goes to the stack of this host: the real server is here.
    Deliver {
        connection: Option<ConnectionIndex>,
    },
    /// It has become an answer to whoever sent it, and goes towards `to`.
    Answer {
        to: Address,
        why: Discard,
    },
    /// Nothing has been done with it so far: it is to be cut into its segments, and each of them is a packet.
    Segment,
    Drop(Discard),
}

/// Why a packet goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Discard {
    /// No server takes the connection: its client is told that nobody is there.
    NoServer,
    /// The server of its connection was removed.
    ServerGone,
    /// The table is full, and nothing in it is worth less.
    TableFull,
    /// All local ports of full NAT are in use, or there are no local addresses.
    NoLocalPort,
    /// There is no way to where it should go.
    NoRoute,
    TimeExceeded,
    TooBig,
    Loopback,
    Truncated,
    /// An error of ICMP whose checksum is wrong.
    BadError,
    /// What the method cannot do: a mixture of families, no room for headers, a tunnel on too narrow a way.
    Impossible,
}

impl Discard {
    pub const ALL: [Self; 11] = [
        Self::NoServer,
        Self::ServerGone,
        Self::TableFull,
        Self::NoLocalPort,
        Self::NoRoute,
        Self::TimeExceeded,
        Self::TooBig,
        Self::Loopback,
        Self::Truncated,
        Self::BadError,
        Self::Impossible,
    ];

    /// As metrics and the status name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoServer => "no_server",
            Self::ServerGone => "server_gone",
            Self::TableFull => "table_full",
            Self::NoLocalPort => "no_local_port",
            Self::NoRoute => "no_route",
            Self::TimeExceeded => "time_exceeded",
            Self::TooBig => "too_big",
            Self::Loopback => "loopback",
            Self::Truncated => "truncated",
            Self::BadError => "bad_icmp_error",
            Self::Impossible => "impossible",
        }
    }
}

impl fmt::Display for Discard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl From<Undeliverable> for Discard {
    fn from(why: Undeliverable) -> Self {
        match why {
            Undeliverable::TimeExceeded => Self::TimeExceeded,
            Undeliverable::TooBig { .. } | Undeliverable::ErrorTooBig => Self::TooBig,
            Undeliverable::Loopback => Self::Loopback,
            Undeliverable::Truncated => Self::Truncated,
            Undeliverable::NarrowTunnel { .. }
            | Undeliverable::SctpFragment
            | Undeliverable::Family
            | Undeliverable::NoRoom(_)
            | Undeliverable::Unsegmented => Self::Impossible,
        }
    }
}

/// Packets that went no further, by the reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Discards([u64; Discard::ALL.len()]);

impl Discards {
    pub(super) fn count(&mut self, why: Discard) {
        if let Some(count) = self.0.get_mut(why as usize) {
            *count += 1;
        }
    }

    pub fn get(&self, why: Discard) -> u64 {
        self.0.get(why as usize).copied().unwrap_or_default()
    }

    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    pub fn iter(&self) -> impl Iterator<Item = (Discard, u64)> {
        Discard::ALL.into_iter().map(|why| (why, self.get(why)))
    }
}
