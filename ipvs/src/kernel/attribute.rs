//! The attributes of a message: what it is about (`IPVS_CMD_ATTR_*`).

use netlink_packet_core::{
    DecodeError, DefaultNla, Emitable, ErrorContext, Nla, NlaBuffer, NlasIterator, Parseable,
};

use super::daemon::DaemonAttribute;
use super::server::ServerAttribute;
use super::service::ServiceAttribute;
use super::value::Reader;

const IPVS_CMD_ATTR_SERVICE: u16 = 1;
const IPVS_CMD_ATTR_DEST: u16 = 2;
const IPVS_CMD_ATTR_DAEMON: u16 = 3;
const IPVS_CMD_ATTR_TIMEOUT_TCP: u16 = 4;
const IPVS_CMD_ATTR_TIMEOUT_TCP_FIN: u16 = 5;
const IPVS_CMD_ATTR_TIMEOUT_UDP: u16 = 6;

/// One thing that a message is about. Timeouts are in seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attribute {
    Service(Vec<ServiceAttribute>),
    Server(Vec<ServerAttribute>),
    Daemon(Vec<DaemonAttribute>),
    TimeoutTcp(u32),
    TimeoutTcpFin(u32),
    TimeoutUdp(u32),
    Other(DefaultNla),
}

impl Nla for Attribute {
    fn value_len(&self) -> usize {
        match self {
            Self::Service(attributes) => attributes.as_slice().buffer_len(),
            Self::Server(attributes) => attributes.as_slice().buffer_len(),
            Self::Daemon(attributes) => attributes.as_slice().buffer_len(),
            Self::TimeoutTcp(_) | Self::TimeoutTcpFin(_) | Self::TimeoutUdp(_) => 4,
            Self::Other(attribute) => attribute.value_len(),
        }
    }

    fn kind(&self) -> u16 {
        match self {
            Self::Service(_) => IPVS_CMD_ATTR_SERVICE,
            Self::Server(_) => IPVS_CMD_ATTR_DEST,
            Self::Daemon(_) => IPVS_CMD_ATTR_DAEMON,
            Self::TimeoutTcp(_) => IPVS_CMD_ATTR_TIMEOUT_TCP,
            Self::TimeoutTcpFin(_) => IPVS_CMD_ATTR_TIMEOUT_TCP_FIN,
            Self::TimeoutUdp(_) => IPVS_CMD_ATTR_TIMEOUT_UDP,
            Self::Other(attribute) => attribute.kind(),
        }
    }

    fn emit_value(&self, buffer: &mut [u8]) {
        match self {
            Self::Service(attributes) => attributes.as_slice().emit(buffer),
            Self::Server(attributes) => attributes.as_slice().emit(buffer),
            Self::Daemon(attributes) => attributes.as_slice().emit(buffer),
            Self::TimeoutTcp(seconds) | Self::TimeoutTcpFin(seconds) | Self::TimeoutUdp(seconds) => {
                buffer.copy_from_slice(&seconds.to_ne_bytes());
            }
            Self::Other(attribute) => attribute.emit_value(buffer),
        }
    }
}

impl<T: AsRef<[u8]> + ?Sized> Parseable<NlaBuffer<&T>> for Attribute {
    fn parse(attribute: &NlaBuffer<&T>) -> Result<Self, DecodeError> {
        let value = Reader::new(attribute);
        Ok(match attribute.kind() {
            IPVS_CMD_ATTR_SERVICE => Self::Service(nested(value.bytes()).context("virtual service")?),
            IPVS_CMD_ATTR_DEST => Self::Server(nested(value.bytes()).context("real server")?),
            IPVS_CMD_ATTR_DAEMON => Self::Daemon(nested(value.bytes()).context("sync daemon")?),
            IPVS_CMD_ATTR_TIMEOUT_TCP => Self::TimeoutTcp(value.u32()?),
            IPVS_CMD_ATTR_TIMEOUT_TCP_FIN => Self::TimeoutTcpFin(value.u32()?),
            IPVS_CMD_ATTR_TIMEOUT_UDP => Self::TimeoutUdp(value.u32()?),
            _ => Self::Other(value.other(attribute.kind())),
        })
    }
}

/// Attributes one after the other.
pub(super) fn nested<A>(bytes: &[u8]) -> Result<Vec<A>, DecodeError>
where
    A: for<'a> Parseable<NlaBuffer<&'a [u8]>>,
{
    NlasIterator::new(bytes)
        .map(|attribute| {
            let attribute = attribute?;
            A::parse(&attribute).with_context(|| format!("attribute {}", attribute.kind()))
        })
        .collect()
}
