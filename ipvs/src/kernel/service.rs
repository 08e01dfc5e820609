//! Virtual services as attributes (`IPVS_SVC_ATTR_*`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use netlink_packet_core::{DecodeError, DefaultNla, Nla, NlaBuffer, Parseable};

use super::attribute::nested;
use super::statistics::{self, StatisticsAttribute};
use super::value::{Flags, Reader, Value};
use crate::listing::ListedService;
use crate::plane::{Counters, Foreign};
use crate::scheduler::{Scheduler, SchedulerFlags};
use crate::virtual_service::{
    Family, FwMark, LocalAddresses, Persistence, PersistenceEngine, Protocol, ServiceId, VirtualService,
};

const IPVS_SVC_ATTR_AF: u16 = 1;
const IPVS_SVC_ATTR_PROTOCOL: u16 = 2;
const IPVS_SVC_ATTR_ADDR: u16 = 3;
const IPVS_SVC_ATTR_PORT: u16 = 4;
const IPVS_SVC_ATTR_FWMARK: u16 = 5;
const IPVS_SVC_ATTR_SCHED_NAME: u16 = 6;
const IPVS_SVC_ATTR_FLAGS: u16 = 7;
const IPVS_SVC_ATTR_TIMEOUT: u16 = 8;
const IPVS_SVC_ATTR_NETMASK: u16 = 9;
const IPVS_SVC_ATTR_STATS: u16 = 10;
const IPVS_SVC_ATTR_PE_NAME: u16 = 11;
const IPVS_SVC_ATTR_STATS64: u16 = 12;

const IP_VS_SVC_F_PERSISTENT: u32 = 0x1;
const IP_VS_SVC_F_ONEPACKET: u32 = 0x4;
const IP_VS_SVC_F_SCHED1: u32 = 0x8;
const IP_VS_SVC_F_SCHED2: u32 = 0x10;
const IP_VS_SVC_F_SCHED3: u32 = 0x20;
/// The flags that are ours to set. 0x2 is the kernel's own, and bits of newer kernels stay as they are.
const OUR_FLAGS: u32 = IP_VS_SVC_F_PERSISTENT
    | IP_VS_SVC_F_ONEPACKET
    | IP_VS_SVC_F_SCHED1
    | IP_VS_SVC_F_SCHED2
    | IP_VS_SVC_F_SCHED3;

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// The scheduler of a service that has none.
const NO_SCHEDULER: &str = "none";

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceAttribute {
    Family(u16),
    Protocol(u16),
    /// IPv4 in the first four bytes.
    Address([u8; 16]),
    Port(u16),
    /// Stands for protocol, address and port.
    FwMark(u32),
    Scheduler(String),
    Flags(Flags),
    /// Persistence timeout in seconds.
    Timeout(u32),
    /// IPv4: a mask in network byte order. IPv6: a prefix length in the machine's byte order.
    Netmask([u8; 4]),
    Statistics(Vec<StatisticsAttribute>),
    PersistenceEngine(String),
    Statistics64(Vec<StatisticsAttribute>),
    Other(DefaultNla),
}

impl ServiceAttribute {
    fn value(&self) -> Value<'_> {
        match self {
            Self::Family(value) | Self::Protocol(value) => Value::U16(*value),
            Self::Address(address) => Value::Bytes(address),
            Self::Port(port) => Value::Port(*port),
            Self::FwMark(value) | Self::Timeout(value) => Value::U32(*value),
            Self::Scheduler(name) | Self::PersistenceEngine(name) => Value::Text(name),
            Self::Flags(flags) => Value::Flags(*flags),
            Self::Netmask(mask) => Value::Bytes(mask),
            Self::Statistics(attributes) | Self::Statistics64(attributes) => Value::Statistics(attributes),
            Self::Other(attribute) => Value::Other(attribute),
        }
    }
}

impl Nla for ServiceAttribute {
    fn value_len(&self) -> usize {
        self.value().len()
    }

    fn kind(&self) -> u16 {
        match self {
            Self::Family(_) => IPVS_SVC_ATTR_AF,
            Self::Protocol(_) => IPVS_SVC_ATTR_PROTOCOL,
            Self::Address(_) => IPVS_SVC_ATTR_ADDR,
            Self::Port(_) => IPVS_SVC_ATTR_PORT,
            Self::FwMark(_) => IPVS_SVC_ATTR_FWMARK,
            Self::Scheduler(_) => IPVS_SVC_ATTR_SCHED_NAME,
            Self::Flags(_) => IPVS_SVC_ATTR_FLAGS,
            Self::Timeout(_) => IPVS_SVC_ATTR_TIMEOUT,
            Self::Netmask(_) => IPVS_SVC_ATTR_NETMASK,
            Self::Statistics(_) => IPVS_SVC_ATTR_STATS,
            Self::PersistenceEngine(_) => IPVS_SVC_ATTR_PE_NAME,
            Self::Statistics64(_) => IPVS_SVC_ATTR_STATS64,
            Self::Other(attribute) => attribute.kind(),
        }
    }

    fn emit_value(&self, buffer: &mut [u8]) {
        self.value().emit(buffer);
    }
}

impl<T: AsRef<[u8]> + ?Sized> Parseable<NlaBuffer<&T>> for ServiceAttribute {
    fn parse(attribute: &NlaBuffer<&T>) -> Result<Self, DecodeError> {
        let value = Reader::new(attribute);
        Ok(match attribute.kind() {
            IPVS_SVC_ATTR_AF => Self::Family(value.u16()?),
            IPVS_SVC_ATTR_PROTOCOL => Self::Protocol(value.u16()?),
            IPVS_SVC_ATTR_ADDR => Self::Address(value.address()?),
            IPVS_SVC_ATTR_PORT => Self::Port(value.port()?),
            IPVS_SVC_ATTR_FWMARK => Self::FwMark(value.u32()?),
            IPVS_SVC_ATTR_SCHED_NAME => Self::Scheduler(value.text()),
            IPVS_SVC_ATTR_FLAGS => Self::Flags(value.flags()?),
            IPVS_SVC_ATTR_TIMEOUT => Self::Timeout(value.u32()?),
            IPVS_SVC_ATTR_NETMASK => Self::Netmask(value.array()?),
            IPVS_SVC_ATTR_STATS => Self::Statistics(nested(value.bytes())?),
            IPVS_SVC_ATTR_PE_NAME => Self::PersistenceEngine(value.text()),
            IPVS_SVC_ATTR_STATS64 => Self::Statistics64(nested(value.bytes())?),
            _ => Self::Other(value.other(attribute.kind())),
        })
    }
}

/// What tells the kernel which service is meant.
pub fn identify(id: &ServiceId) -> Vec<ServiceAttribute> {
    let mut attributes = vec![ServiceAttribute::Family(number_of(id.family()))];
    match id {
        ServiceId::FwMark { mark, .. } => attributes.push(ServiceAttribute::FwMark(mark.get())),
        ServiceId::Address { protocol, address, port } => attributes.extend([
            ServiceAttribute::Protocol(u16::from(protocol.number())),
            ServiceAttribute::Address(address_bytes(*address)),
            ServiceAttribute::Port(*port),
        ]),
    }
    attributes
}

/// All that the kernel wants to know of a service, in the order in which it tells it itself.
pub fn describe(service: &VirtualService) -> Vec<ServiceAttribute> {
    let mut attributes = identify(&service.id);
    let scheduler = service.scheduler.map_or(NO_SCHEDULER, Scheduler::name);
    attributes.push(ServiceAttribute::Scheduler(scheduler.to_owned()));
    let persistence = service.persistence.as_ref();
    if let Some(engine) = persistence.and_then(|persistence| persistence.engine.as_ref()) {
        attributes.push(ServiceAttribute::PersistenceEngine(engine.name().to_owned()));
    }
    let family = service.id.family();
    let timeout = persistence.map_or(0, |p| u32::try_from(p.timeout.as_secs()).unwrap_or(u32::MAX));
    let prefix_len = persistence.map_or(family.bits(), |persistence| persistence.prefix_len);
    attributes.extend([
        ServiceAttribute::Flags(Flags { bits: flags_of(service), mask: OUR_FLAGS }),
        ServiceAttribute::Timeout(timeout),
        ServiceAttribute::Netmask(netmask(family, prefix_len)),
    ]);
    attributes
}

fn flags_of(service: &VirtualService) -> u32 {
    let SchedulerFlags { flag_1, flag_2, flag_3 } = service.flags;
    let flags = [
        (service.persistence.is_some(), IP_VS_SVC_F_PERSISTENT),
        (service.one_packet, IP_VS_SVC_F_ONEPACKET),
        (flag_1, IP_VS_SVC_F_SCHED1),
        (flag_2, IP_VS_SVC_F_SCHED2),
        (flag_3, IP_VS_SVC_F_SCHED3),
    ];
    flags.into_iter().filter(|(set, _)| *set).fold(0, |all, (_, flag)| all | flag)
}

fn netmask(family: Family, prefix_len: u8) -> [u8; 4] {
    match family {
        Family::V4 => {
            let host_bits = 32_u32.saturating_sub(prefix_len.into());
            u32::MAX.checked_shl(host_bits).unwrap_or(0).to_be_bytes()
        }
        Family::V6 => u32::from(prefix_len).to_ne_bytes(),
    }
}

/// The prefix length, if the mask is one.
fn prefix_len(family: Family, netmask: [u8; 4]) -> Option<u8> {
    match family {
        Family::V4 => {
            let mask = u32::from_be_bytes(netmask);
            let len = u8::try_from(mask.leading_ones()).ok()?;
            (mask.count_ones() == mask.leading_ones()).then_some(len)
        }
        Family::V6 => u8::try_from(u32::from_ne_bytes(netmask)).ok().filter(|len| *len <= Family::V6.bits()),
    }
}

/// A service as the kernel tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadService {
    Known(VirtualService, Counters),
    Foreign(Foreign),
}

/// Makes sense of what the kernel tells of a service. An error if what belongs to every service is missing.
pub fn read(attributes: &[ServiceAttribute]) -> Result<ReadService, DecodeError> {
    let raw = Raw::collect(attributes);
    let family = family_of(raw.family.ok_or("a service without an address family")?)?;
    let id = match raw.mark.and_then(FwMark::new) {
        Some(mark) => ServiceId::FwMark { family, mark },
        None => {
            let number = raw.protocol.ok_or("a service without a protocol")?;
            let address = address(family, raw.address.ok_or("a service without an address")?);
            let port = raw.port.ok_or("a service without a port")?;
            let Some(protocol) = u8::try_from(number).ok().and_then(Protocol::from_number) else {
                return Ok(ReadService::Foreign(Foreign {
                    what: format!("protocol {number} {}", std::net::SocketAddr::new(address, port)),
                    why: format!("protocol number {number}"),
                    service: None,
                    server: None,
                }));
            };
            ServiceId::Address { protocol, address, port }
        }
    };
    Ok(match raw.settings(id) {
        Ok(service) => ReadService::Known(service, raw.counters),
        Err(why) => {
            ReadService::Foreign(Foreign { what: id.to_string(), why, service: Some(id), server: None })
        }
    })
}

/// What of `told` tells the kernel which service is meant.
pub(super) fn identity(told: &[ServiceAttribute]) -> Vec<ServiceAttribute> {
    let identifies = |attribute: &&ServiceAttribute| {
        matches!(
            attribute,
            ServiceAttribute::Family(_)
                | ServiceAttribute::Protocol(_)
                | ServiceAttribute::Address(_)
                | ServiceAttribute::Port(_)
                | ServiceAttribute::FwMark(_)
        )
    };
    told.iter().filter(identifies).cloned().collect()
}

/// All that the kernel tells of a service, whether or not there are words for it; without its servers. An error if what
/// belongs to every service is missing.
pub(super) fn list(attributes: &[ServiceAttribute]) -> Result<ListedService, DecodeError> {
    let raw = Raw::collect(attributes);
    let family = family_of(raw.family.ok_or("a service without an address family")?)?;
    let has = |flag| raw.flags & flag != 0;
    let netmask = raw.netmask.ok_or("a service without a netmask")?;
    Ok(ListedService {
        family,
        mark: raw.mark.and_then(FwMark::new),
        protocol: raw.protocol.unwrap_or_default(),
        address: address(family, raw.address.unwrap_or_default()),
        port: raw.port.unwrap_or_default(),
        scheduler: raw.scheduler.to_owned(),
        flags: raw.scheduler_flags(),
        persistent: has(IP_VS_SVC_F_PERSISTENT),
        timeout: raw.timeout,
        netmask: match family {
            Family::V4 => u32::from_be_bytes(netmask),
            Family::V6 => u32::from_ne_bytes(netmask),
        },
        engine: raw.engine.to_owned(),
        one_packet: has(IP_VS_SVC_F_ONEPACKET),
        counters: raw.counters,
        servers: Vec::new(),
    })
}

#[derive(Default)]
struct Raw<'a> {
    family: Option<u16>,
    mark: Option<u32>,
    protocol: Option<u16>,
    address: Option<[u8; 16]>,
    port: Option<u16>,
    scheduler: &'a str,
    engine: &'a str,
    flags: u32,
    timeout: u32,
    netmask: Option<[u8; 4]>,
    counters: Counters,
}

impl<'a> Raw<'a> {
    fn collect(attributes: &'a [ServiceAttribute]) -> Self {
        let mut raw = Self::default();
        let mut wide = false;
        for attribute in attributes {
            match attribute {
                ServiceAttribute::Family(number) => raw.family = Some(*number),
                ServiceAttribute::Protocol(number) => raw.protocol = Some(*number),
                ServiceAttribute::Address(address) => raw.address = Some(*address),
                ServiceAttribute::Port(port) => raw.port = Some(*port),
                ServiceAttribute::FwMark(mark) => raw.mark = Some(*mark),
                ServiceAttribute::Scheduler(name) => raw.scheduler = name,
                ServiceAttribute::Flags(flags) => raw.flags = flags.bits,
                ServiceAttribute::Timeout(seconds) => raw.timeout = *seconds,
                ServiceAttribute::Netmask(mask) => raw.netmask = Some(*mask),
                ServiceAttribute::PersistenceEngine(name) => raw.engine = name,
                ServiceAttribute::Statistics64(counters) => {
                    raw.counters = statistics::read(counters);
                    wide = true;
                }
                ServiceAttribute::Statistics(counters) if !wide => raw.counters = statistics::read(counters),
                ServiceAttribute::Statistics(_) | ServiceAttribute::Other(_) => {}
            }
        }
        raw
    }

    /// The service, or what there is no word for.
    fn settings(&self, id: ServiceId) -> Result<VirtualService, String> {
        let scheduler = match self.scheduler {
            NO_SCHEDULER | "" => None,
            name => Some(name.parse::<Scheduler>().map_err(|_| format!("scheduler `{name}`"))?),
        };
        let has = |flag| self.flags & flag != 0;
        Ok(VirtualService {
            id,
            scheduler,
            flags: self.scheduler_flags(),
            persistence: has(IP_VS_SVC_F_PERSISTENT).then(|| self.persistence(id.family())).transpose()?,
            one_packet: has(IP_VS_SVC_F_ONEPACKET),
            local_addresses: LocalAddresses::NONE,
        })
    }

    const fn scheduler_flags(&self) -> SchedulerFlags {
        SchedulerFlags {
            flag_1: self.flags & IP_VS_SVC_F_SCHED1 != 0,
            flag_2: self.flags & IP_VS_SVC_F_SCHED2 != 0,
            flag_3: self.flags & IP_VS_SVC_F_SCHED3 != 0,
        }
    }

    fn persistence(&self, family: Family) -> Result<Persistence, String> {
        let prefix_len = match self.netmask {
            None => family.bits(),
            Some(mask) => prefix_len(family, mask)
                .ok_or_else(|| format!("persistence netmask {}", Ipv4Addr::from(mask)))?,
        };
        let engine = match self.engine {
            "" => None,
            name => Some(PersistenceEngine::new(name).ok_or_else(|| format!("persistence engine `{name}`"))?),
        };
        Ok(Persistence { timeout: Duration::from_secs(self.timeout.into()), prefix_len, engine })
    }
}

pub(super) const fn number_of(family: Family) -> u16 {
    match family {
        Family::V4 => AF_INET,
        Family::V6 => AF_INET6,
    }
}

pub(super) fn family_of(number: u16) -> Result<Family, DecodeError> {
    match number {
        AF_INET => Ok(Family::V4),
        AF_INET6 => Ok(Family::V6),
        other => Err(DecodeError::from(format!("address family {other}"))),
    }
}

pub(super) fn address_bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        }
        IpAddr::V6(address) => address.octets(),
    }
}

pub(super) fn address(family: Family, bytes: [u8; 16]) -> IpAddr {
    let [a, b, c, d, ..] = bytes;
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
        Family::V6 => IpAddr::V6(Ipv6Addr::from(bytes)),
    }
}
