//! Why datagrams and records are not taken.

use std::collections::BTreeMap;
use std::fmt;

use thiserror::Error;

use super::SyncId;
use super::wire::ENGINE_NAME_MAX;
use crate::virtual_service::Protocol;

/// What a master does wrong, with its data. Lengths are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Discard {
    #[error("{0} bytes are no message")]
    NoHeader(usize),
    /// Somebody else's datagram, or one that was cut off because our buffer is shorter than their messages.
    #[error("a message of {size} bytes in a datagram of {datagram}")]
    SizeMismatch { size: u16, datagram: usize },
    #[error("sync id {}", .0.0)]
    OtherSyncId(SyncId),

    #[error("{left} bytes where a record should begin")]
    RecordMissing { left: usize },
    #[error("a record of {size} bytes in the last {left}")]
    RecordBeyondEnd { size: usize, left: usize },
    #[error("record version {0}")]
    RecordVersion(u16),
    #[error("record type {0:#x}")]
    RecordType(u8),
    #[error("a record of {0} bytes is shorter than its fixed part")]
    RecordTooShort(usize),
    #[error("an option ends behind its record")]
    OptionBeyondEnd,
    #[error("option {0:#x} is empty")]
    OptionEmpty(u8),
    #[error("option {0:#x} comes twice")]
    OptionTwice(u8),
    #[error("sequence numbers of {0} bytes")]
    SequenceLength(usize),
    #[error("the name of a persistence engine has {0} bytes")]
    EngineNameTooLong(usize),
    /// The master has put more into one message than it can count: its maximal length is too long.
    #[error("{bytes} bytes after the last record")]
    Surplus { bytes: usize },

    #[error("option {0:#x} is not known")]
    UnknownOption(u8),
    #[error("protocol {0}")]
    UnknownProtocol(u8),
    #[error("{protocol} has no state {state}")]
    UnknownState { protocol: Protocol, state: u16 },
    #[error("templates have no state {0}")]
    UnknownTemplateState(u16),
    #[error("a one-packet entry")]
    OnePacket,
    #[error("a template without a client port")]
    TemplateWithoutClientPort,
    #[error("data of a persistence engine without its name")]
    UnnamedEngine,
    #[error("persistence engine `{0}` is not known")]
    UnknownEngine(EngineName),
}

/// How much is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    Datagram,
    /// Whatever follows what was read up to now.
    Rest,
    /// One record; those that follow are read.
    Record,
}

impl Discard {
    pub const fn extent(&self) -> Extent {
        match self {
            Self::NoHeader(_) | Self::SizeMismatch { .. } | Self::OtherSyncId(_) => Extent::Datagram,
            Self::RecordMissing { .. }
            | Self::RecordBeyondEnd { .. }
            | Self::RecordVersion(_)
            | Self::RecordType(_)
            | Self::RecordTooShort(_)
            | Self::OptionBeyondEnd
            | Self::OptionEmpty(_)
            | Self::OptionTwice(_)
            | Self::SequenceLength(_)
            | Self::EngineNameTooLong(_)
            | Self::Surplus { .. } => Extent::Rest,
            Self::UnknownOption(_)
            | Self::UnknownProtocol(_)
            | Self::UnknownState { .. }
            | Self::UnknownTemplateState(_)
            | Self::OnePacket
            | Self::TemplateWithoutClientPort
            | Self::UnnamedEngine
            | Self::UnknownEngine(_) => Extent::Record,
        }
    }

    /// Name of the cause in statistics.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::NoHeader(_) => "no_header",
            Self::SizeMismatch { .. } => "size_mismatch",
            Self::OtherSyncId(_) => "other_sync_id",
            Self::RecordMissing { .. } => "record_missing",
            Self::RecordBeyondEnd { .. } => "record_beyond_end",
            Self::RecordVersion(_) => "record_version",
            Self::RecordType(_) => "record_type",
            Self::RecordTooShort(_) => "record_too_short",
            Self::OptionBeyondEnd => "option_beyond_end",
            Self::OptionEmpty(_) => "option_empty",
            Self::OptionTwice(_) => "option_twice",
            Self::SequenceLength(_) => "sequence_length",
            Self::EngineNameTooLong(_) => "engine_name_too_long",
            Self::Surplus { .. } => "surplus",
            Self::UnknownOption(_) => "unknown_option",
            Self::UnknownProtocol(_) => "unknown_protocol",
            Self::UnknownState { .. } => "unknown_state",
            Self::UnknownTemplateState(_) => "unknown_template_state",
            Self::OnePacket => "one_packet",
            Self::TemplateWithoutClientPort => "template_without_client_port",
            Self::UnnamedEngine => "unnamed_engine",
            Self::UnknownEngine(_) => "unknown_engine",
        }
    }
}

/// The name of a persistence engine as a record has it: up to its end or to a NUL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineName([u8; ENGINE_NAME_MAX]);

impl EngineName {
    pub(super) fn new(name: &[u8]) -> Self {
        let mut bytes = [0; ENGINE_NAME_MAX];
        bytes.iter_mut().zip(name).for_each(|(byte, of_name)| *byte = *of_name);
        Self(bytes)
    }
}

impl fmt::Display for EngineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.split(|byte| *byte == 0).next().unwrap_or_default().escape_ascii().fmt(f)
    }
}

/// How often what was not taken, by cause.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiscardCounters(BTreeMap<&'static str, u64>);

impl DiscardCounters {
    pub fn count(&mut self, discard: &Discard) {
        let count = self.0.entry(discard.name()).or_default();
        *count = count.saturating_add(1);
    }

    /// Causes that occurred, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().map(|(name, count)| (*name, *count))
    }
}
