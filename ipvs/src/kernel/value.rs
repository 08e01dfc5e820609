//! What attributes carry. Numbers are in the machine's byte order unless they are called ports.

use netlink_packet_core::{
    DecodeError, DefaultNla, Emitable, Nla, NlaBuffer, parse_u8, parse_u16, parse_u16_be,
};
use netlink_packet_core::{parse_u32, parse_u64};

use super::statistics::StatisticsAttribute;

/// The value of an attribute, to be written.
pub(super) enum Value<'a> {
    U8(u8),
    U16(u16),
    U32(u32),
    U64(u64),
    /// A number in network byte order.
    Port(u16),
    Bytes(&'a [u8]),
    /// Written with a NUL behind it.
    Text(&'a str),
    /// `struct ip_vs_flags`.
    Flags(Flags),
    Statistics(&'a [StatisticsAttribute]),
    Other(&'a DefaultNla),
}

/// Bits to set, and which bits are meant: what the mask leaves out stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags {
    pub bits: u32,
    pub mask: u32,
}

impl Value<'_> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::U8(_) => 1,
            Self::U16(_) | Self::Port(_) => 2,
            Self::U32(_) => 4,
            Self::U64(_) | Self::Flags(_) => 8,
            Self::Bytes(bytes) => bytes.len(),
            Self::Text(text) => text.len() + 1,
            Self::Statistics(attributes) => attributes.buffer_len(),
            Self::Other(attribute) => attribute.value_len(),
        }
    }

    /// `buffer` has exactly [`Self::len`] bytes.
    pub(super) fn emit(&self, buffer: &mut [u8]) {
        match self {
            Self::U8(value) => buffer.copy_from_slice(&[*value]),
            Self::U16(value) => buffer.copy_from_slice(&value.to_ne_bytes()),
            Self::U32(value) => buffer.copy_from_slice(&value.to_ne_bytes()),
            Self::U64(value) => buffer.copy_from_slice(&value.to_ne_bytes()),
            Self::Port(value) => buffer.copy_from_slice(&value.to_be_bytes()),
            Self::Bytes(bytes) => buffer.copy_from_slice(bytes),
            Self::Text(text) => {
                let (letters, nul) = buffer.split_at_mut(text.len());
                letters.copy_from_slice(text.as_bytes());
                nul.fill(0);
            }
            Self::Flags(flags) => {
                let (bits, mask) = buffer.split_at_mut(4);
                bits.copy_from_slice(&flags.bits.to_ne_bytes());
                mask.copy_from_slice(&flags.mask.to_ne_bytes());
            }
            Self::Statistics(attributes) => attributes.emit(buffer),
            Self::Other(attribute) => attribute.emit_value(buffer),
        }
    }
}

/// The value of an attribute, to be read. A longer one than expected is refused: it is not what we think it is.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new<T: AsRef<[u8]> + ?Sized>(attribute: &'a NlaBuffer<&T>) -> Self {
        Self(attribute.value())
    }

    pub(super) fn u8(&self) -> Result<u8, DecodeError> {
        parse_u8(self.0)
    }

    pub(super) fn u16(&self) -> Result<u16, DecodeError> {
        parse_u16(self.0)
    }

    pub(super) fn u32(&self) -> Result<u32, DecodeError> {
        parse_u32(self.0)
    }

    pub(super) fn u64(&self) -> Result<u64, DecodeError> {
        parse_u64(self.0)
    }

    pub(super) fn port(&self) -> Result<u16, DecodeError> {
        parse_u16_be(self.0)
    }

    pub(super) fn array<const N: usize>(&self) -> Result<[u8; N], DecodeError> {
        self.0.try_into().map_err(|_| DecodeError::from(format!("{} bytes instead of {N}", self.0.len())))
    }

    /// Up to 16 bytes with zeros behind them, as the kernel reads an address.
    pub(super) fn address(&self) -> Result<[u8; 16], DecodeError> {
        let mut address = [0; 16];
        let start = address
            .get_mut(..self.0.len())
            .ok_or_else(|| DecodeError::from(format!("an address of {} bytes", self.0.len())))?;
        start.copy_from_slice(self.0);
        Ok(address)
    }

    /// Up to the first NUL. What is not UTF-8 is replaced: no name we know has such bytes.
    pub(super) fn text(&self) -> String {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(self.0.len());
        String::from_utf8_lossy(self.0.get(..end).unwrap_or_default()).into_owned()
    }

    pub(super) fn flags(&self) -> Result<Flags, DecodeError> {
        let [a, b, c, d, e, f, g, h] = self.array()?;
        Ok(Flags { bits: u32::from_ne_bytes([a, b, c, d]), mask: u32::from_ne_bytes([e, f, g, h]) })
    }

    /// An attribute that means nothing to us. Marks (nested, byte order) go: they are for those who know it.
    pub(super) fn other(&self, kind: u16) -> DefaultNla {
        DefaultNla::new(kind, self.0.to_vec())
    }

    pub(super) fn bytes(&self) -> &'a [u8] {
        self.0
    }
}
