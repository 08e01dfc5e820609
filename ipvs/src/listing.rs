use std::net::IpAddr;

use crate::plane::Counters;
use crate::real_server::{Forwarding, RealServerId};
use crate::scheduler::SchedulerFlags;
use crate::virtual_service::{Family, FwMark, Protocol, ServiceId};

/// A virtual service as its plane lists it: in the plane's order, and in its own words where a
/// [`VirtualService`](crate::VirtualService) has none (another scheduler, a netmask with gaps).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedService {
    pub family: Family,
    /// Stands for protocol, address and port, which then say nothing.
    pub mark: Option<FwMark>,
    /// The IP protocol number.
    pub protocol: u16,
    pub address: IpAddr,
    pub port: u16,
    /// `none` for a service without one.
    pub scheduler: String,
    pub flags: SchedulerFlags,
    pub persistent: bool,
    /// Persistence timeout in seconds.
    pub timeout: u32,
    /// IPv4: a mask, which may have gaps. IPv6: a prefix length.
    pub netmask: u32,
    /// Name of the persistence engine; empty without one.
    pub engine: String,
    pub one_packet: bool,
    pub counters: Counters,
    pub servers: Vec<ListedServer>,
}

impl ListedService {
    /// What a [`Table`](crate::Table) calls it; `None` for a protocol that has no name.
    pub fn id(&self) -> Option<ServiceId> {
        match self.mark {
            Some(mark) => Some(ServiceId::FwMark { family: self.family, mark }),
            None => {
                let protocol = Protocol::from_number(u8::try_from(self.protocol).ok()?)?;
                Some(ServiceId::Address { protocol, address: self.address, port: self.port })
            }
        }
    }

    /// Whether clients of more than one address are taken for one.
    pub fn has_netmask(&self) -> bool {
        self.netmask
            != match self.family {
                Family::V4 => u32::MAX,
                Family::V6 => Family::V6.bits().into(),
            }
    }
}

/// A real server as its plane lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedServer {
    pub id: RealServerId,
    /// `None` for a method or a tunnel that there is no word for.
    pub forwarding: Option<Forwarding>,
    pub weight: u32,
    pub upper_threshold: u32,
    pub lower_threshold: u32,
    pub counters: Counters,
}

/// What a plane says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaneInfo {
    /// Version of IPVS: major, minor, patch.
    pub version: [u8; 3],
    /// Buckets of the connection table.
    pub connection_buckets: u32,
}
