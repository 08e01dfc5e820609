//! Connection sync daemons as attributes (`IPVS_DAEMON_ATTR_*`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{DecodeError, DefaultNla, Nla, NlaBuffer, Parseable};

use super::value::{Reader, Value};
use crate::plane::{SyncDaemon, SyncRole};

const IPVS_DAEMON_ATTR_STATE: u16 = 1;
const IPVS_DAEMON_ATTR_MCAST_IFN: u16 = 2;
const IPVS_DAEMON_ATTR_SYNC_ID: u16 = 3;
const IPVS_DAEMON_ATTR_SYNC_MAXLEN: u16 = 4;
const IPVS_DAEMON_ATTR_MCAST_GROUP: u16 = 5;
const IPVS_DAEMON_ATTR_MCAST_GROUP6: u16 = 6;
const IPVS_DAEMON_ATTR_MCAST_PORT: u16 = 7;
const IPVS_DAEMON_ATTR_MCAST_TTL: u16 = 8;

const IP_VS_STATE_MASTER: u32 = 1;
const IP_VS_STATE_BACKUP: u32 = 2;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DaemonAttribute {
    State(u32),
    Interface(String),
    SyncId(u32),
    MaxLen(u16),
    Group([u8; 4]),
    Group6([u8; 16]),
    /// In the machine's byte order, unlike all other ports of this family.
    Port(u16),
    Ttl(u8),
    Other(DefaultNla),
}

impl DaemonAttribute {
    fn value(&self) -> Value<'_> {
        match self {
            Self::State(value) | Self::SyncId(value) => Value::U32(*value),
            Self::Interface(name) => Value::Text(name),
            Self::MaxLen(value) | Self::Port(value) => Value::U16(*value),
            Self::Group(address) => Value::Bytes(address),
            Self::Group6(address) => Value::Bytes(address),
            Self::Ttl(value) => Value::U8(*value),
            Self::Other(attribute) => Value::Other(attribute),
        }
    }
}

impl Nla for DaemonAttribute {
    fn value_len(&self) -> usize {
        self.value().len()
    }

    fn kind(&self) -> u16 {
        match self {
            Self::State(_) => IPVS_DAEMON_ATTR_STATE,
            Self::Interface(_) => IPVS_DAEMON_ATTR_MCAST_IFN,
            Self::SyncId(_) => IPVS_DAEMON_ATTR_SYNC_ID,
            Self::MaxLen(_) => IPVS_DAEMON_ATTR_SYNC_MAXLEN,
            Self::Group(_) => IPVS_DAEMON_ATTR_MCAST_GROUP,
            Self::Group6(_) => IPVS_DAEMON_ATTR_MCAST_GROUP6,
            Self::Port(_) => IPVS_DAEMON_ATTR_MCAST_PORT,
            Self::Ttl(_) => IPVS_DAEMON_ATTR_MCAST_TTL,
            Self::Other(attribute) => attribute.kind(),
        }
    }

    fn emit_value(&self, buffer: &mut [u8]) {
        self.value().emit(buffer);
    }
}

impl<T: AsRef<[u8]> + ?Sized> Parseable<NlaBuffer<&T>> for DaemonAttribute {
    fn parse(attribute: &NlaBuffer<&T>) -> Result<Self, DecodeError> {
        let value = Reader::new(attribute);
        Ok(match attribute.kind() {
            IPVS_DAEMON_ATTR_STATE => Self::State(value.u32()?),
            IPVS_DAEMON_ATTR_MCAST_IFN => Self::Interface(value.text()),
            IPVS_DAEMON_ATTR_SYNC_ID => Self::SyncId(value.u32()?),
            IPVS_DAEMON_ATTR_SYNC_MAXLEN => Self::MaxLen(value.u16()?),
            IPVS_DAEMON_ATTR_MCAST_GROUP => Self::Group(value.array()?),
            IPVS_DAEMON_ATTR_MCAST_GROUP6 => Self::Group6(value.array()?),
            IPVS_DAEMON_ATTR_MCAST_PORT => Self::Port(value.u16()?),
            IPVS_DAEMON_ATTR_MCAST_TTL => Self::Ttl(value.u8()?),
            _ => Self::Other(value.other(attribute.kind())),
        })
    }
}

/// What tells the kernel which daemon is meant.
pub fn identify(role: SyncRole) -> Vec<DaemonAttribute> {
    vec![DaemonAttribute::State(match role {
        SyncRole::Master => IP_VS_STATE_MASTER,
        SyncRole::Backup => IP_VS_STATE_BACKUP,
    })]
}

/// All that is to be said of a daemon, in the order in which the kernel tells it.
pub fn describe(daemon: &SyncDaemon) -> Vec<DaemonAttribute> {
    let mut attributes = identify(daemon.role);
    attributes.extend([
        DaemonAttribute::Interface(daemon.interface.to_string()),
        DaemonAttribute::SyncId(daemon.sync_id.into()),
    ]);
    attributes.extend(daemon.max_len.map(DaemonAttribute::MaxLen));
    attributes.extend(daemon.port.map(DaemonAttribute::Port));
    attributes.extend(daemon.ttl.map(DaemonAttribute::Ttl));
    attributes.extend(daemon.group.map(|group| match group {
        IpAddr::V4(group) => DaemonAttribute::Group(group.octets()),
        IpAddr::V6(group) => DaemonAttribute::Group6(group.octets()),
    }));
    attributes
}

/// Makes sense of what the kernel tells of a daemon. An error if what belongs to every daemon is missing.
pub fn read(attributes: &[DaemonAttribute]) -> Result<SyncDaemon, DecodeError> {
    let mut role = None;
    let mut daemon = SyncDaemon::new(SyncRole::Master, "", 0);
    for attribute in attributes {
        match attribute {
            DaemonAttribute::State(IP_VS_STATE_MASTER) => role = Some(SyncRole::Master),
            DaemonAttribute::State(IP_VS_STATE_BACKUP) => role = Some(SyncRole::Backup),
            DaemonAttribute::State(other) => {
                return Err(DecodeError::from(format!("a sync daemon of role {other}")));
            }
            DaemonAttribute::Interface(name) => daemon.interface = name.as_str().into(),
            // Datagrams carry the lowest byte, whatever number the daemon was given.
            DaemonAttribute::SyncId(number) => [daemon.sync_id, ..] = number.to_le_bytes(),
            DaemonAttribute::MaxLen(len) => daemon.max_len = Some(*len),
            DaemonAttribute::Group(group) => daemon.group = Some(Ipv4Addr::from(*group).into()),
            DaemonAttribute::Group6(group) => daemon.group = Some(Ipv6Addr::from(*group).into()),
            DaemonAttribute::Port(port) => daemon.port = Some(*port),
            DaemonAttribute::Ttl(ttl) => daemon.ttl = Some(*ttl),
            DaemonAttribute::Other(_) => {}
        }
    }
    daemon.role = role.ok_or("a sync daemon without a role")?;
    if daemon.interface.is_empty() {
        return Err(DecodeError::from("a sync daemon without an interface"));
    }
    Ok(daemon)
}
