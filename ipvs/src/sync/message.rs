//! From records to a datagram.

use std::net::{Ipv4Addr, Ipv6Addr};

use thiserror::Error;

use super::record::{
    CallId, Connection, Endpoint, Ends, SequenceShift, Subject, SyncRecord, Template, Tuple,
};
use super::wire::{self, WireAddress, flag, option};
use super::{SyncId, Version};

/// Records for one datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    version: Version,
    sync_id: SyncId,
    count: u8,
    max_len: usize,
    bytes: Vec<u8>,
}

/// Why a record is not in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotPushed {
    /// It goes into the next one.
    #[error("the message is full")]
    Full,
    /// It has IPv6, a Call-ID or a local endpoint, and would mean something else without.
    #[error("version 0 cannot tell of it")]
    NotInVersion0,
}

impl Message {
    /// The longest payload of UDP over IPv4.
    pub const MAX_LEN: u16 = u16::MAX - 20 - 8;

    /// Without records yet. `max_len` counts the whole message; backups drop what is longer than their own.
    ///
    /// The first record always fits: the kernel, too, makes its buffer longer for it.
    pub fn new(version: Version, sync_id: SyncId, max_len: u16) -> Self {
        let max_len = usize::from(max_len.min(Self::MAX_LEN));
        let header = wire::header_len(version);
        let mut bytes = Vec::with_capacity(max_len.max(header + wire::RECORD_V1));
        bytes.resize(header, 0);
        let mut message = Self { version, sync_id, count: 0, max_len, bytes };
        message.write_header();
        message
    }

    /// Adds a record.
    ///
    /// # Errors
    /// The message is as it was.
    pub fn push(&mut self, record: &SyncRecord<'_>) -> Result<(), NotPushed> {
        let wire = WireRecord::new(record, self.version).ok_or(NotPushed::NotInVersion0)?;
        let padding = match self.version {
            Version::V0 => 0,
            Version::V1 => self.bytes.len().next_multiple_of(4) - self.bytes.len(),
        };
        let len = self.bytes.len() + padding + wire.len;
        // More than 255 would be counted from zero again, which the kernel lets happen.
        let count = self.count.checked_add(1).ok_or(NotPushed::Full)?;
        if len > self.max_len && self.count > 0 {
            return Err(NotPushed::Full);
        }
        self.bytes.resize(self.bytes.len() + padding, 0);
        match self.version {
            Version::V0 => wire.put_v0(&mut self.bytes),
            Version::V1 => wire.put_v1(&mut self.bytes),
        }
        self.count = count;
        self.write_header();
        Ok(())
    }

    fn write_header(&mut self) {
        // It is at most MAX_LEN, or one record.
        let [high, low] = u16::try_from(self.bytes.len()).unwrap_or(u16::MAX).to_be_bytes();
        let (count, SyncId(id)) = (self.count, self.sync_id);
        match self.version {
            Version::V0 => self.overwrite([count, id, high, low]),
            Version::V1 => self.overwrite([0, id, high, low, count, wire::VERSION_1, 0, 0]),
        }
    }

    fn overwrite<const N: usize>(&mut self, header: [u8; N]) {
        if let Some(bytes) = self.bytes.first_chunk_mut() {
            *bytes = header;
        }
    }

    pub const fn version(&self) -> Version {
        self.version
    }

    /// Number of records.
    pub const fn count(&self) -> u8 {
        self.count
    }

    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The datagram.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Forgets the records and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.truncate(wire::header_len(self.version));
        self.count = 0;
        self.write_header();
    }
}

/// A record, and what of it needs to be known before it is written.
struct WireRecord<'r> {
    record: &'r SyncRecord<'r>,
    protocol: u8,
    flags: u32,
    state: u8,
    sequences: Option<[SequenceShift; 2]>,
    call_id: Option<CallId<'r>>,
    /// Without padding.
    len: usize,
}

impl<'r> WireRecord<'r> {
    /// `None` if this version cannot tell of it.
    fn new(record: &'r SyncRecord<'r>, version: Version) -> Option<Self> {
        let common = record.method.flags() | record.flags.flags();
        let mut wire = match &record.subject {
            Subject::Connection(connection) => Self::of_connection(record, connection, common),
            Subject::Template(template) => Self::of_template(record, template, common),
        };
        wire.len = match version {
            Version::V0 => wire.len_v0()?,
            Version::V1 => wire.len_v1(),
        };
        Some(wire)
    }

    fn of_connection(record: &'r SyncRecord<'r>, connection: &Connection, common: u32) -> Self {
        let Connection { state, no_client_port, in_sequence, out_sequence } = *connection;
        let flag_if = |set: bool, flag: u32| if set { flag } else { 0 };
        let shifted = in_sequence.is_some() || out_sequence.is_some();
        let sequences = [in_sequence.unwrap_or_default(), out_sequence.unwrap_or_default()];
        Self {
            record,
            protocol: state.protocol().number(),
            flags: common
                | flag_if(no_client_port, flag::NO_CPORT)
                | flag_if(in_sequence.is_some(), flag::IN_SEQ)
                | flag_if(out_sequence.is_some(), flag::OUT_SEQ),
            state: state.number(),
            sequences: shifted.then_some(sequences),
            call_id: None,
            len: 0,
        }
    }

    fn of_template(record: &'r SyncRecord<'r>, template: &Template<'r>, common: u32) -> Self {
        Self {
            record,
            protocol: template.protocol.0,
            flags: common | flag::TEMPLATE,
            state: u8::from(template.assured),
            sequences: None,
            call_id: template.call_id,
            len: 0,
        }
    }

    fn len_v0(&self) -> Option<usize> {
        let told = matches!(self.record.tuple, Tuple::V4(_))
            && self.call_id.is_none()
            && !self.record.tuple.has_local();
        let sequences = self.sequences.map_or(0, |_| wire::SEQUENCES);
        told.then_some(wire::RECORD_V0 + sequences)
    }

    fn len_v1(&self) -> usize {
        const HEAD: usize = 2;
        let (fixed, address) = match self.record.tuple {
            Tuple::V4(_) => (<Ipv4Addr as WireAddress>::RECORD, 4),
            Tuple::V6(_) => (<Ipv6Addr as WireAddress>::RECORD, 16),
        };
        let sequences = self.sequences.map_or(0, |_| HEAD + wire::SEQUENCES);
        let engine = self.call_id.map_or(0, |id| HEAD + id.bytes().len() + HEAD + wire::ENGINE_SIP.len());
        let local = if self.record.tuple.has_local() { HEAD + 2 + address } else { 0 };
        fixed + sequences + engine + local
    }

    fn put_v1(&self, bytes: &mut Vec<u8>) {
        match &self.record.tuple {
            Tuple::V4(ends) => self.put_v1_of(ends, bytes),
            Tuple::V6(ends) => self.put_v1_of(ends, bytes),
        }
    }

    fn put_v1_of<A: WireAddress>(&self, ends: &Ends<A>, bytes: &mut Vec<u8>) {
        let three = [ends.client, ends.service, ends.server];
        bytes.extend_from_slice(&[A::TYPE, self.protocol]);
        // The longest record has 354 bytes, which leaves the version 0.
        bytes.extend_from_slice(&(u16::try_from(self.len).unwrap_or(0) & wire::SIZE_MASK).to_be_bytes());
        bytes.extend_from_slice(&self.flags.to_be_bytes());
        bytes.extend_from_slice(&[0, self.state]);
        three.iter().for_each(|end| bytes.extend_from_slice(&end.port.to_be_bytes()));
        let mark = self.record.mark.map_or(0, |mark| mark.get());
        let timeout = self.record.timeout.map_or(0, |timeout| timeout.get());
        bytes.extend_from_slice(&mark.to_be_bytes());
        bytes.extend_from_slice(&timeout.to_be_bytes());
        three.iter().for_each(|end| end.address.put(bytes));
        if let Some(sequences) = self.sequences {
            put_option_head(option::SEQ_DATA, wire::SEQUENCES, bytes);
            wire::put_sequences(sequences, u32::to_be_bytes, bytes);
        }
        if let Some(id) = self.call_id {
            put_option_head(option::PE_DATA, id.bytes().len(), bytes);
            bytes.extend_from_slice(id.bytes());
            put_option_head(option::PE_NAME, wire::ENGINE_SIP.len(), bytes);
            bytes.extend_from_slice(wire::ENGINE_SIP);
        }
        if let Some(Endpoint { address, port }) = ends.local {
            put_option_head(option::LOCAL_ENDPOINT | option::IGNORABLE, 2 + size_of::<A>(), bytes);
            bytes.extend_from_slice(&port.to_be_bytes());
            address.put(bytes);
        }
    }

    /// Of IPv4 only.
    fn put_v0(&self, bytes: &mut Vec<u8>) {
        let Tuple::V4(Ends { client, service, server, .. }) = self.record.tuple else { return };
        let three = [client, service, server];
        bytes.extend_from_slice(&[0, self.protocol]);
        three.iter().for_each(|end| bytes.extend_from_slice(&end.port.to_be_bytes()));
        three.iter().for_each(|end| end.address.put(bytes));
        let [.., high, low] = self.flags.to_be_bytes();
        bytes.extend_from_slice(&[high, low, 0, self.state]);
        if let Some(sequences) = self.sequences {
            wire::put_sequences(sequences, u32::to_ne_bytes, bytes);
        }
    }
}

/// Data of options has at most 255 bytes: that is the most that a Call-ID has.
fn put_option_head(kind: u8, len: usize, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&[kind, u8::try_from(len).unwrap_or(u8::MAX)]);
}
