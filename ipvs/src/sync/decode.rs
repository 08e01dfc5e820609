//! From a datagram to records.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;

use super::discard::{Discard, EngineName, Extent};
use super::record::{
    CallId, Connection, ConnectionState, Endpoint, Ends, Method, RecordFlags, SequenceShift, Subject,
    SyncRecord, Template, TemplateProtocol,
};
use super::wire::{self, Cursor, WireAddress, flag, option};
use super::{SyncId, Version};
use crate::virtual_service::{FwMark, Protocol};

/// What a datagram tells: each record, or why it is not taken. It borrows the datagram and has nothing else.
///
/// ```
/// use buoy_ipvs::sync::{Discard, DiscardCounters, Records, SyncId, SyncRecord};
///
/// fn take(datagram: &[u8], ours: SyncId, counters: &mut DiscardCounters, mut apply: impl FnMut(SyncRecord<'_>)) {
///     match Records::read(datagram, ours) {
///         Ok(records) => records.for_each(|record| match record {
///             Ok(record) => apply(record),
///             Err(discard) => counters.count(&discard),
///         }),
///         Err(discard) => counters.count(&discard),
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Records<'a> {
    version: Version,
    sync_id: SyncId,
    /// Records that should still come.
    count: u8,
    rest: &'a [u8],
}

impl<'a> Records<'a> {
    /// Reads the header of what a master has sent; `ours` is the backup's id.
    ///
    /// The datagram must have been received whole: one that is longer than the buffer is to be dropped, as the kernel
    /// drops what is longer than its `sync_maxlen`. A buffer that is too short makes it a [`Discard::SizeMismatch`].
    ///
    /// # Errors
    /// Nothing in it is for us.
    pub fn read(datagram: &'a [u8], ours: SyncId) -> Result<Self, Discard> {
        let Some((&[first, sync_id, high, low], rest)) = datagram.split_first_chunk::<{ wire::HEADER_V0 }>()
        else {
            return Err(Discard::NoHeader(datagram.len()));
        };
        let size = u16::from_be_bytes([high, low]);
        if usize::from(size) != datagram.len() {
            return Err(Discard::SizeMismatch { size, datagram: datagram.len() });
        }
        let sync_id = SyncId(sync_id);
        if !ours.takes(sync_id) {
            return Err(Discard::OtherSyncId(sync_id));
        }
        match (first, rest.split_first_chunk::<{ wire::HEADER_V1 - wire::HEADER_V0 }>()) {
            (0, Some((&[count, wire::VERSION_1, 0, 0], rest))) => {
                Ok(Self { version: Version::V1, sync_id, count, rest })
            }
            _ => Ok(Self { version: Version::V0, sync_id, count: first, rest }),
        }
    }

    pub const fn version(&self) -> Version {
        self.version
    }

    /// That of the master.
    pub const fn sync_id(&self) -> SyncId {
        self.sync_id
    }

    /// Bytes that no record and no cause has accounted for yet.
    pub const fn unread(&self) -> usize {
        self.rest.len()
    }

    fn next_v1(&mut self) -> Result<SyncRecord<'a>, Discard> {
        let left = self.rest.len();
        let head = self.rest.first_chunk::<{ wire::RECORD_V1 }>().ok_or(Discard::RecordMissing { left })?;
        let version_and_size = u16::from_be_bytes([head[2], head[3]]);
        let size = usize::from(version_and_size & wire::SIZE_MASK);
        let record = self.rest.get(..size).ok_or(Discard::RecordBeyondEnd { size, left })?;
        let version = version_and_size >> wire::VERSION_SHIFT;
        if version != 0 {
            return Err(Discard::RecordVersion(version));
        }
        // The last record is not padded.
        self.rest = self.rest.get(size.next_multiple_of(4)..).unwrap_or_default();
        match head[0] {
            kind if kind & wire::TYPE_IPV6 != 0 => read_v1::<Ipv6Addr>(record),
            0 => read_v1::<Ipv4Addr>(record),
            kind => Err(Discard::RecordType(kind)),
        }
    }

    fn next_v0(&mut self) -> Result<SyncRecord<'a>, Discard> {
        let left = self.rest.len();
        let (record, after) =
            self.rest.split_first_chunk::<{ wire::RECORD_V0 }>().ok_or(Discard::RecordMissing { left })?;
        let fields = Fields::take_v0(&mut Cursor(record)).ok_or(Discard::RecordTooShort(left))?;
        self.rest = after;
        let mut options = Options::default();
        if fields.flags & (flag::IN_SEQ | flag::OUT_SEQ) != 0 {
            let size = wire::RECORD_V0 + wire::SEQUENCES;
            let (data, after) = after.split_first_chunk().ok_or(Discard::RecordBeyondEnd { size, left })?;
            options.sequences = wire::take_sequences(data, u32::from_ne_bytes);
            self.rest = after;
        }
        fields.record(options)
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<SyncRecord<'a>, Discard>;

    fn next(&mut self) -> Option<Self::Item> {
        let Some(count) = self.count.checked_sub(1) else {
            let bytes = std::mem::take(&mut self.rest).len();
            return (bytes > 0).then_some(Err(Discard::Surplus { bytes }));
        };
        self.count = count;
        let record = match self.version {
            Version::V0 => self.next_v0(),
            Version::V1 => self.next_v1(),
        };
        if record.as_ref().is_err_and(|discard| discard.extent() != Extent::Record) {
            self.count = 0;
            self.rest = &[];
        }
        Some(record)
    }
}

impl std::iter::FusedIterator for Records<'_> {}

fn read_v1<A: WireAddress>(record: &[u8]) -> Result<SyncRecord<'_>, Discard> {
    let mut bytes = Cursor(record);
    let fields = Fields::<A>::take_v1(&mut bytes).ok_or(Discard::RecordTooShort(record.len()))?;
    fields.record(Options::read(bytes.0)?)
}

/// The fixed part of a record.
struct Fields<A> {
    protocol: u8,
    flags: u32,
    state: u16,
    client: Endpoint<A>,
    service: Endpoint<A>,
    server: Endpoint<A>,
    mark: u32,
    timeout: u32,
}

impl<A: WireAddress> Fields<A> {
    fn take_v1(bytes: &mut Cursor<'_>) -> Option<Self> {
        let [_kind, protocol, _, _] = bytes.take()?;
        let (flags, state) = (bytes.u32()?, bytes.u16()?);
        let [client, service, server] = [bytes.u16()?, bytes.u16()?, bytes.u16()?];
        let (mark, timeout) = (bytes.u32()?, bytes.u32()?);
        let mut end = |port| Some(Endpoint { address: A::take(bytes)?, port });
        let (client, service, server) = (end(client)?, end(service)?, end(server)?);
        Some(Self { protocol, flags, state, client, service, server, mark, timeout })
    }

    fn record(self, options: Options<'_, A>) -> Result<SyncRecord<'_>, Discard> {
        let flags = self.flags;
        let no_client_port = flags & flag::NO_CPORT != 0;
        let is_template = flags & flag::TEMPLATE != 0;
        if flags & flag::ONE_PACKET != 0 {
            return Err(Discard::OnePacket);
        }
        if is_template && no_client_port {
            return Err(Discard::TemplateWithoutClientPort);
        }
        let subject = if is_template {
            let assured = match self.state {
                0 => false,
                1 => true,
                state => return Err(Discard::UnknownTemplateState(state)),
            };
            let protocol = TemplateProtocol(self.protocol);
            Subject::Template(Template { protocol, assured, call_id: options.call_id()? })
        } else {
            let protocol =
                Protocol::from_number(self.protocol).ok_or(Discard::UnknownProtocol(self.protocol))?;
            let state = ConnectionState::from_number(protocol, self.state)
                .ok_or(Discard::UnknownState { protocol, state: self.state })?;
            // Only templates keep it, but it has to be right everywhere.
            options.call_id()?;
            let [in_sequence, out_sequence] = options.sequences.unwrap_or_default();
            Subject::Connection(Connection {
                state,
                no_client_port,
                in_sequence: (flags & flag::IN_SEQ != 0).then_some(in_sequence),
                out_sequence: (flags & flag::OUT_SEQ != 0).then_some(out_sequence),
            })
        };
        let Self { client, service, server, .. } = self;
        Ok(SyncRecord {
            subject,
            tuple: A::tuple(Ends { client, service, server, local: options.local }),
            method: Method::from_flags(flags),
            flags: RecordFlags::from_flags(flags),
            mark: FwMark::new(self.mark),
            timeout: NonZeroU32::new(self.timeout),
        })
    }
}

impl Fields<Ipv4Addr> {
    fn take_v0(bytes: &mut Cursor<'_>) -> Option<Self> {
        let [_reserved, protocol] = bytes.take()?;
        let [client, service, server] = [bytes.u16()?, bytes.u16()?, bytes.u16()?];
        let mut end = |port| Some(Endpoint { address: Ipv4Addr::take(bytes)?, port });
        let (client, service, server) = (end(client)?, end(service)?, end(server)?);
        let (flags, state) = (u32::from(bytes.u16()?), bytes.u16()?);
        Some(Self { protocol, flags, state, client, service, server, mark: 0, timeout: 0 })
    }
}

/// What follows the fixed part.
struct Options<'a, A> {
    sequences: Option<[SequenceShift; 2]>,
    engine_data: Option<&'a [u8]>,
    engine_name: Option<&'a [u8]>,
    local: Option<Endpoint<A>>,
}

impl<A> Default for Options<'_, A> {
    fn default() -> Self {
        Self { sequences: None, engine_data: None, engine_name: None, local: None }
    }
}

impl<'a, A: WireAddress> Options<'a, A> {
    fn read(mut bytes: &'a [u8]) -> Result<Self, Discard> {
        let mut options = Self::default();
        while !bytes.is_empty() {
            let (&[kind, length], after) = bytes.split_first_chunk().ok_or(Discard::OptionBeyondEnd)?;
            if length == 0 {
                return Err(Discard::OptionEmpty(kind));
            }
            let (data, after) =
                after.split_at_checked(usize::from(length)).ok_or(Discard::OptionBeyondEnd)?;
            options.add(kind, data)?;
            bytes = after;
        }
        Ok(options)
    }

    fn add(&mut self, kind: u8, data: &'a [u8]) -> Result<(), Discard> {
        let ignorable = kind & option::IGNORABLE != 0;
        match kind & !option::IGNORABLE {
            option::SEQ_DATA => {
                let data = data.try_into().map_err(|_| Discard::SequenceLength(data.len()))?;
                once(&mut self.sequences, kind, wire::take_sequences(data, u32::from_be_bytes))
            }
            option::PE_DATA => once(&mut self.engine_data, kind, Some(data)),
            option::PE_NAME if data.len() > wire::ENGINE_NAME_MAX => {
                Err(Discard::EngineNameTooLong(data.len()))
            }
            option::PE_NAME => once(&mut self.engine_name, kind, Some(data)),
            option::LOCAL_ENDPOINT if ignorable => {
                // The kernel skips this, however often it comes and whatever is in it.
                self.local = self.local.or_else(|| wire::take_local(data));
                Ok(())
            }
            _ if ignorable => Ok(()),
            _ => Err(Discard::UnknownOption(kind)),
        }
    }

    fn call_id(&self) -> Result<Option<CallId<'a>>, Discard> {
        let Some(data) = self.engine_data else { return Ok(None) };
        let name = self.engine_name.ok_or(Discard::UnnamedEngine)?;
        // The kernel reads it as a string of C.
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        if name != wire::ENGINE_SIP {
            return Err(Discard::UnknownEngine(EngineName::new(name)));
        }
        Ok(CallId::new(data))
    }
}

fn once<T>(place: &mut Option<T>, kind: u8, value: Option<T>) -> Result<(), Discard> {
    if place.is_some() {
        return Err(Discard::OptionTwice(kind));
    }
    *place = value;
    Ok(())
}
