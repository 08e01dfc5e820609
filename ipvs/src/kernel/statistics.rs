//! Counters (`IPVS_STATS_ATTR_*`), which the kernel sends in two widths.

use netlink_packet_core::{DecodeError, DefaultNla, Nla, NlaBuffer, Parseable};

use super::value::{Reader, Value};
use crate::plane::Counters;

const IPVS_STATS_ATTR_CONNS: u16 = 1;
const IPVS_STATS_ATTR_INPKTS: u16 = 2;
const IPVS_STATS_ATTR_OUTPKTS: u16 = 3;
const IPVS_STATS_ATTR_INBYTES: u16 = 4;
const IPVS_STATS_ATTR_OUTBYTES: u16 = 5;
const IPVS_STATS_ATTR_CPS: u16 = 6;
const IPVS_STATS_ATTR_INPPS: u16 = 7;
const IPVS_STATS_ATTR_OUTPPS: u16 = 8;
const IPVS_STATS_ATTR_INBPS: u16 = 9;
const IPVS_STATS_ATTR_OUTBPS: u16 = 10;

/// One counter, by its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatisticsAttribute {
    U32(u16, u32),
    U64(u16, u64),
    /// Padding, and what newer kernels may have.
    Other(DefaultNla),
}

impl StatisticsAttribute {
    fn value(&self) -> Value<'_> {
        match self {
            Self::U32(_, count) => Value::U32(*count),
            Self::U64(_, count) => Value::U64(*count),
            Self::Other(attribute) => Value::Other(attribute),
        }
    }
}

impl Nla for StatisticsAttribute {
    fn value_len(&self) -> usize {
        self.value().len()
    }

    fn kind(&self) -> u16 {
        match self {
            Self::U32(kind, _) | Self::U64(kind, _) => *kind,
            Self::Other(attribute) => attribute.kind(),
        }
    }

    fn emit_value(&self, buffer: &mut [u8]) {
        self.value().emit(buffer);
    }
}

impl<T: AsRef<[u8]> + ?Sized> Parseable<NlaBuffer<&T>> for StatisticsAttribute {
    fn parse(attribute: &NlaBuffer<&T>) -> Result<Self, DecodeError> {
        let kind = attribute.kind();
        let value = Reader::new(attribute);
        Ok(match (kind, attribute.value_length()) {
            (IPVS_STATS_ATTR_CONNS..=IPVS_STATS_ATTR_OUTBPS, 4) => Self::U32(kind, value.u32()?),
            (IPVS_STATS_ATTR_CONNS..=IPVS_STATS_ATTR_OUTBPS, 8) => Self::U64(kind, value.u64()?),
            _ => Self::Other(value.other(attribute.kind())),
        })
    }
}

/// Counters without those of connections that exist now, which are attributes of a real server.
pub(super) fn read(attributes: &[StatisticsAttribute]) -> Counters {
    let mut counters = Counters::default();
    for attribute in attributes {
        let (kind, count) = match attribute {
            StatisticsAttribute::U32(kind, count) => (*kind, u64::from(*count)),
            StatisticsAttribute::U64(kind, count) => (*kind, *count),
            StatisticsAttribute::Other(_) => continue,
        };
        let counter = match kind {
            IPVS_STATS_ATTR_CONNS => &mut counters.connections,
            IPVS_STATS_ATTR_INPKTS => &mut counters.packets_in,
            IPVS_STATS_ATTR_OUTPKTS => &mut counters.packets_out,
            IPVS_STATS_ATTR_INBYTES => &mut counters.bytes_in,
            IPVS_STATS_ATTR_OUTBYTES => &mut counters.bytes_out,
            IPVS_STATS_ATTR_CPS => &mut counters.connections_per_second,
            IPVS_STATS_ATTR_INPPS => &mut counters.packets_in_per_second,
            IPVS_STATS_ATTR_OUTPPS => &mut counters.packets_out_per_second,
            IPVS_STATS_ATTR_INBPS => &mut counters.bytes_in_per_second,
            IPVS_STATS_ATTR_OUTBPS => &mut counters.bytes_out_per_second,
            _ => continue,
        };
        *counter = count;
    }
    counters
}
