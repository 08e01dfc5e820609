//! Real servers as attributes (`IPVS_DEST_ATTR_*`).

use netlink_packet_core::{DecodeError, DefaultNla, Nla, NlaBuffer, Parseable};

use super::attribute::nested;
use super::service::{address, address_bytes, family_of, number_of};
use super::statistics::{self, StatisticsAttribute};
use super::value::{Reader, Value};
use crate::listing::ListedServer;
use crate::plane::{Counters, Foreign};
use crate::real_server::{Forwarding, RealServer, RealServerId, Tunnel, TunnelChecksum, Weight};
use crate::virtual_service::{Family, ServiceId};

const IPVS_DEST_ATTR_ADDR: u16 = 1;
const IPVS_DEST_ATTR_PORT: u16 = 2;
const IPVS_DEST_ATTR_FWD_METHOD: u16 = 3;
const IPVS_DEST_ATTR_WEIGHT: u16 = 4;
const IPVS_DEST_ATTR_U_THRESH: u16 = 5;
const IPVS_DEST_ATTR_L_THRESH: u16 = 6;
const IPVS_DEST_ATTR_ACTIVE_CONNS: u16 = 7;
const IPVS_DEST_ATTR_INACT_CONNS: u16 = 8;
const IPVS_DEST_ATTR_PERSIST_CONNS: u16 = 9;
const IPVS_DEST_ATTR_STATS: u16 = 10;
const IPVS_DEST_ATTR_ADDR_FAMILY: u16 = 11;
const IPVS_DEST_ATTR_STATS64: u16 = 12;
const IPVS_DEST_ATTR_TUN_TYPE: u16 = 13;
const IPVS_DEST_ATTR_TUN_PORT: u16 = 14;
const IPVS_DEST_ATTR_TUN_FLAGS: u16 = 15;

const IP_VS_CONN_F_MASQ: u32 = 0;
const IP_VS_CONN_F_LOCALNODE: u32 = 1;
const IP_VS_CONN_F_TUNNEL: u32 = 2;
const IP_VS_CONN_F_DROUTE: u32 = 3;
const IP_VS_CONN_F_BYPASS: u32 = 4;
/// Of LVS-FNAT. Linux has none, and is not told of it.
const IP_VS_CONN_F_FULLNAT: u32 = 5;

const IP_VS_CONN_F_TUNNEL_TYPE_IPIP: u8 = 0;
const IP_VS_CONN_F_TUNNEL_TYPE_GUE: u8 = 1;
const IP_VS_CONN_F_TUNNEL_TYPE_GRE: u8 = 2;

const IP_VS_TUNNEL_ENCAP_FLAG_NOCSUM: u16 = 0;
const IP_VS_TUNNEL_ENCAP_FLAG_CSUM: u16 = 1;
const IP_VS_TUNNEL_ENCAP_FLAG_REMCSUM: u16 = 2;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerAttribute {
    /// IPv4 in the first four bytes.
    Address([u8; 16]),
    Port(u16),
    ForwardingMethod(u32),
    /// Signed for the kernel, though never negative.
    Weight(u32),
    UpperThreshold(u32),
    LowerThreshold(u32),
    ActiveConnections(u32),
    InactiveConnections(u32),
    PersistentConnections(u32),
    Statistics(Vec<StatisticsAttribute>),
    /// Absent before Linux 3.18: that of the service.
    Family(u16),
    Statistics64(Vec<StatisticsAttribute>),
    TunnelType(u8),
    TunnelPort(u16),
    TunnelFlags(u16),
    Other(DefaultNla),
}

impl ServerAttribute {
    fn value(&self) -> Value<'_> {
        match self {
            Self::Address(address) => Value::Bytes(address),
            Self::Port(port) | Self::TunnelPort(port) => Value::Port(*port),
            Self::ForwardingMethod(value)
            | Self::Weight(value)
            | Self::UpperThreshold(value)
            | Self::LowerThreshold(value)
            | Self::ActiveConnections(value)
            | Self::InactiveConnections(value)
            | Self::PersistentConnections(value) => Value::U32(*value),
            Self::Statistics(attributes) | Self::Statistics64(attributes) => Value::Statistics(attributes),
            Self::Family(value) | Self::TunnelFlags(value) => Value::U16(*value),
            Self::TunnelType(value) => Value::U8(*value),
            Self::Other(attribute) => Value::Other(attribute),
        }
    }
}

impl Nla for ServerAttribute {
    fn value_len(&self) -> usize {
        self.value().len()
    }

    fn kind(&self) -> u16 {
        match self {
            Self::Address(_) => IPVS_DEST_ATTR_ADDR,
            Self::Port(_) => IPVS_DEST_ATTR_PORT,
            Self::ForwardingMethod(_) => IPVS_DEST_ATTR_FWD_METHOD,
            Self::Weight(_) => IPVS_DEST_ATTR_WEIGHT,
            Self::UpperThreshold(_) => IPVS_DEST_ATTR_U_THRESH,
            Self::LowerThreshold(_) => IPVS_DEST_ATTR_L_THRESH,
            Self::ActiveConnections(_) => IPVS_DEST_ATTR_ACTIVE_CONNS,
            Self::InactiveConnections(_) => IPVS_DEST_ATTR_INACT_CONNS,
            Self::PersistentConnections(_) => IPVS_DEST_ATTR_PERSIST_CONNS,
            Self::Statistics(_) => IPVS_DEST_ATTR_STATS,
            Self::Family(_) => IPVS_DEST_ATTR_ADDR_FAMILY,
            Self::Statistics64(_) => IPVS_DEST_ATTR_STATS64,
            Self::TunnelType(_) => IPVS_DEST_ATTR_TUN_TYPE,
            Self::TunnelPort(_) => IPVS_DEST_ATTR_TUN_PORT,
            Self::TunnelFlags(_) => IPVS_DEST_ATTR_TUN_FLAGS,
            Self::Other(attribute) => attribute.kind(),
        }
    }

    fn emit_value(&self, buffer: &mut [u8]) {
        self.value().emit(buffer);
    }
}

impl<T: AsRef<[u8]> + ?Sized> Parseable<NlaBuffer<&T>> for ServerAttribute {
    fn parse(attribute: &NlaBuffer<&T>) -> Result<Self, DecodeError> {
        let value = Reader::new(attribute);
        Ok(match attribute.kind() {
            IPVS_DEST_ATTR_ADDR => Self::Address(value.address()?),
            IPVS_DEST_ATTR_PORT => Self::Port(value.port()?),
            IPVS_DEST_ATTR_FWD_METHOD => Self::ForwardingMethod(value.u32()?),
            IPVS_DEST_ATTR_WEIGHT => Self::Weight(value.u32()?),
            IPVS_DEST_ATTR_U_THRESH => Self::UpperThreshold(value.u32()?),
            IPVS_DEST_ATTR_L_THRESH => Self::LowerThreshold(value.u32()?),
            IPVS_DEST_ATTR_ACTIVE_CONNS => Self::ActiveConnections(value.u32()?),
            IPVS_DEST_ATTR_INACT_CONNS => Self::InactiveConnections(value.u32()?),
            IPVS_DEST_ATTR_PERSIST_CONNS => Self::PersistentConnections(value.u32()?),
            IPVS_DEST_ATTR_STATS => Self::Statistics(nested(value.bytes())?),
            IPVS_DEST_ATTR_ADDR_FAMILY => Self::Family(value.u16()?),
            IPVS_DEST_ATTR_STATS64 => Self::Statistics64(nested(value.bytes())?),
            IPVS_DEST_ATTR_TUN_TYPE => Self::TunnelType(value.u8()?),
            IPVS_DEST_ATTR_TUN_PORT => Self::TunnelPort(value.port()?),
            IPVS_DEST_ATTR_TUN_FLAGS => Self::TunnelFlags(value.u16()?),
            _ => Self::Other(value.other(attribute.kind())),
        })
    }
}

/// What tells the kernel which server of a service is meant.
pub fn identify(id: &RealServerId) -> Vec<ServerAttribute> {
    vec![
        ServerAttribute::Address(address_bytes(id.address)),
        ServerAttribute::Port(id.port),
        ServerAttribute::Family(number_of(Family::of(id.address))),
    ]
}

/// All that the kernel wants to know of a server, in the order in which it tells it itself.
pub fn describe(server: &RealServer) -> Vec<ServerAttribute> {
    let (tunnel_type, port, checksum) = match server.forwarding {
        Forwarding::Tunnel(Tunnel::Gue { port, checksum }) => (IP_VS_CONN_F_TUNNEL_TYPE_GUE, port, checksum),
        Forwarding::Tunnel(Tunnel::Gre { checksum }) => (IP_VS_CONN_F_TUNNEL_TYPE_GRE, 0, checksum),
        _ => (IP_VS_CONN_F_TUNNEL_TYPE_IPIP, 0, TunnelChecksum::None),
    };
    vec![
        ServerAttribute::Address(address_bytes(server.id.address)),
        ServerAttribute::Port(server.id.port),
        ServerAttribute::ForwardingMethod(method_of(server.forwarding)),
        ServerAttribute::Weight(server.weight.get()),
        ServerAttribute::TunnelType(tunnel_type),
        ServerAttribute::TunnelPort(port),
        ServerAttribute::TunnelFlags(flags_of(checksum)),
        ServerAttribute::UpperThreshold(server.upper_threshold),
        ServerAttribute::LowerThreshold(server.lower_threshold),
        ServerAttribute::Family(number_of(Family::of(server.id.address))),
    ]
}

const fn method_of(forwarding: Forwarding) -> u32 {
    match forwarding {
        Forwarding::Masquerade => IP_VS_CONN_F_MASQ,
        Forwarding::Local => IP_VS_CONN_F_LOCALNODE,
        Forwarding::Tunnel(_) => IP_VS_CONN_F_TUNNEL,
        Forwarding::Direct => IP_VS_CONN_F_DROUTE,
        Forwarding::Bypass => IP_VS_CONN_F_BYPASS,
        Forwarding::FullNat => IP_VS_CONN_F_FULLNAT,
    }
}

const fn flags_of(checksum: TunnelChecksum) -> u16 {
    match checksum {
        TunnelChecksum::None => IP_VS_TUNNEL_ENCAP_FLAG_NOCSUM,
        TunnelChecksum::Full => IP_VS_TUNNEL_ENCAP_FLAG_CSUM,
        TunnelChecksum::Remote => IP_VS_TUNNEL_ENCAP_FLAG_REMCSUM,
    }
}

/// A server as the kernel tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadServer {
    Known(RealServer, Counters),
    Foreign(Foreign),
}

/// Makes sense of what the kernel tells of a server of `service`. An error if what belongs to every server is missing.
pub fn read(service: &ServiceId, attributes: &[ServerAttribute]) -> Result<ReadServer, DecodeError> {
    let raw = Raw::collect(attributes);
    let id = raw.id(service.family())?;
    Ok(match raw.forwarding() {
        Ok(forwarding) => {
            let server = RealServer {
                id,
                forwarding,
                weight: Weight::clamped(raw.weight.into()),
                upper_threshold: raw.upper_threshold,
                lower_threshold: raw.lower_threshold,
            };
            ReadServer::Known(server, raw.counters)
        }
        Err(why) => ReadServer::Foreign(Foreign {
            what: format!("real server {id} of {service}"),
            why,
            service: Some(*service),
            server: Some(id),
        }),
    })
}

/// All that the kernel tells of a server in a service of `family`, whether or not there are words for it. An error if
/// what belongs to every server is missing.
pub(super) fn list(family: Family, attributes: &[ServerAttribute]) -> Result<ListedServer, DecodeError> {
    let raw = Raw::collect(attributes);
    Ok(ListedServer {
        id: raw.id(family)?,
        forwarding: raw.forwarding().ok(),
        weight: raw.weight,
        upper_threshold: raw.upper_threshold,
        lower_threshold: raw.lower_threshold,
        counters: raw.counters,
    })
}

#[derive(Default)]
struct Raw {
    address: Option<[u8; 16]>,
    port: Option<u16>,
    family: Option<u16>,
    method: u32,
    weight: u32,
    upper_threshold: u32,
    lower_threshold: u32,
    tunnel_type: u8,
    tunnel_port: u16,
    tunnel_flags: u16,
    counters: Counters,
}

impl Raw {
    fn collect(attributes: &[ServerAttribute]) -> Self {
        let mut raw = Self::default();
        let (mut active, mut inactive, mut persistent) = (0, 0, 0);
        let mut wide = false;
        for attribute in attributes {
            match attribute {
                ServerAttribute::Address(address) => raw.address = Some(*address),
                ServerAttribute::Port(port) => raw.port = Some(*port),
                ServerAttribute::ForwardingMethod(method) => raw.method = *method,
                ServerAttribute::Weight(weight) => raw.weight = *weight,
                ServerAttribute::UpperThreshold(threshold) => raw.upper_threshold = *threshold,
                ServerAttribute::LowerThreshold(threshold) => raw.lower_threshold = *threshold,
                ServerAttribute::ActiveConnections(count) => active = *count,
                ServerAttribute::InactiveConnections(count) => inactive = *count,
                ServerAttribute::PersistentConnections(count) => persistent = *count,
                ServerAttribute::Family(number) => raw.family = Some(*number),
                ServerAttribute::TunnelType(number) => raw.tunnel_type = *number,
                ServerAttribute::TunnelPort(port) => raw.tunnel_port = *port,
                ServerAttribute::TunnelFlags(flags) => raw.tunnel_flags = *flags,
                ServerAttribute::Statistics64(counters) => {
                    raw.counters = statistics::read(counters);
                    wide = true;
                }
                ServerAttribute::Statistics(counters) if !wide => raw.counters = statistics::read(counters),
                ServerAttribute::Statistics(_) | ServerAttribute::Other(_) => {}
            }
        }
        raw.counters = Counters { active, inactive, persistent, ..raw.counters };
        raw
    }

    fn id(&self, of_service: Family) -> Result<RealServerId, DecodeError> {
        let family = match self.family {
            None | Some(0) => of_service,
            Some(number) => family_of(number)?,
        };
        Ok(RealServerId {
            address: address(family, self.address.ok_or("a real server without an address")?),
            port: self.port.ok_or("a real server without a port")?,
        })
    }

    /// How it is reached, or what there is no word for.
    fn forwarding(&self) -> Result<Forwarding, String> {
        match self.method {
            IP_VS_CONN_F_MASQ => Ok(Forwarding::Masquerade),
            IP_VS_CONN_F_LOCALNODE => Ok(Forwarding::Local),
            IP_VS_CONN_F_TUNNEL => self.tunnel().map(Forwarding::Tunnel),
            IP_VS_CONN_F_DROUTE => Ok(Forwarding::Direct),
            IP_VS_CONN_F_BYPASS => Ok(Forwarding::Bypass),
            other => Err(format!("forwarding method {other}")),
        }
    }

    fn tunnel(&self) -> Result<Tunnel, String> {
        // An IPIP tunnel ignores port and flags.
        if self.tunnel_type == IP_VS_CONN_F_TUNNEL_TYPE_IPIP {
            return Ok(Tunnel::Ipip);
        }
        let checksum = match self.tunnel_flags {
            IP_VS_TUNNEL_ENCAP_FLAG_NOCSUM => TunnelChecksum::None,
            IP_VS_TUNNEL_ENCAP_FLAG_CSUM => TunnelChecksum::Full,
            IP_VS_TUNNEL_ENCAP_FLAG_REMCSUM => TunnelChecksum::Remote,
            other => return Err(format!("tunnel flags {other:#x}")),
        };
        match self.tunnel_type {
            IP_VS_CONN_F_TUNNEL_TYPE_GUE => Ok(Tunnel::Gue { port: self.tunnel_port, checksum }),
            IP_VS_CONN_F_TUNNEL_TYPE_GRE => Ok(Tunnel::Gre { checksum }),
            other => Err(format!("tunnel type {other}")),
        }
    }
}
