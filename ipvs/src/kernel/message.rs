//! Messages of the generic netlink family `IPVS` (`linux/ip_vs.h`).

use netlink_packet_core::{DecodeError, Emitable, ParseableParametrized};
use netlink_packet_generic::{GenlFamily, GenlHeader};

use super::attribute::{Attribute, nested};
use super::service::ServiceAttribute;
use super::{daemon, server, service};
use crate::plane::{SyncDaemon, SyncRole};
use crate::table::Change;
use crate::virtual_service::ServiceId;

const IPVS_CMD_NEW_SERVICE: u8 = 1;
const IPVS_CMD_SET_SERVICE: u8 = 2;
const IPVS_CMD_DEL_SERVICE: u8 = 3;
const IPVS_CMD_GET_SERVICE: u8 = 4;
const IPVS_CMD_NEW_DEST: u8 = 5;
const IPVS_CMD_SET_DEST: u8 = 6;
const IPVS_CMD_DEL_DEST: u8 = 7;
const IPVS_CMD_GET_DEST: u8 = 8;
const IPVS_CMD_NEW_DAEMON: u8 = 9;
const IPVS_CMD_DEL_DAEMON: u8 = 10;
const IPVS_CMD_GET_DAEMON: u8 = 11;
const IPVS_CMD_SET_CONFIG: u8 = 12;
const IPVS_CMD_GET_CONFIG: u8 = 13;
const IPVS_CMD_SET_INFO: u8 = 14;
const IPVS_CMD_GET_INFO: u8 = 15;
const IPVS_CMD_ZERO: u8 = 16;
const IPVS_CMD_FLUSH: u8 = 17;

/// `IPVS_GENL_VERSION`.
const VERSION: u8 = 1;

/// A message to or from the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// `IPVS_CMD_*`.
    pub command: u8,
    pub attributes: Vec<Attribute>,
}

impl Message {
    const fn new(command: u8, attributes: Vec<Attribute>) -> Self {
        Self { command, attributes }
    }

    pub fn change(change: &Change) -> Self {
        let service = |id| Attribute::Service(service::identify(id));
        match change {
            Change::AddService(new) => {
                Self::new(IPVS_CMD_NEW_SERVICE, vec![Attribute::Service(service::describe(new))])
            }
            Change::EditService(edited) => {
                Self::new(IPVS_CMD_SET_SERVICE, vec![Attribute::Service(service::describe(edited))])
            }
            Change::RemoveService(id) => Self::new(IPVS_CMD_DEL_SERVICE, vec![service(id)]),
            Change::AddServer(id, new) => {
                Self::new(IPVS_CMD_NEW_DEST, vec![service(id), Attribute::Server(server::describe(new))])
            }
            Change::EditServer(id, edited) => {
                Self::new(IPVS_CMD_SET_DEST, vec![service(id), Attribute::Server(server::describe(edited))])
            }
            Change::RemoveServer(id, removed) => {
                Self::new(IPVS_CMD_DEL_DEST, vec![service(id), Attribute::Server(server::identify(removed))])
            }
        }
    }

    /// Asks for all services in a dump.
    pub const fn services() -> Self {
        Self::new(IPVS_CMD_GET_SERVICE, Vec::new())
    }

    /// Asks for all servers of a service in a dump, newest first. A missing service has none.
    pub fn servers(service: &ServiceId) -> Self {
        Self::new(IPVS_CMD_GET_DEST, vec![Attribute::Service(service::identify(service))])
    }

    /// As [`Self::servers`], for a service that the kernel has told of.
    pub(super) fn servers_of(told: &[ServiceAttribute]) -> Self {
        Self::new(IPVS_CMD_GET_DEST, vec![Attribute::Service(service::identity(told))])
    }

    /// Asks the kernel's IPVS for what it is.
    pub const fn info() -> Self {
        Self::new(IPVS_CMD_GET_INFO, Vec::new())
    }

    /// Asks for the sync daemons in a dump, the master first.
    pub const fn daemons() -> Self {
        Self::new(IPVS_CMD_GET_DAEMON, Vec::new())
    }

    pub fn start(daemon: &SyncDaemon) -> Self {
        Self::new(IPVS_CMD_NEW_DAEMON, vec![Attribute::Daemon(daemon::describe(daemon))])
    }

    pub fn stop(role: SyncRole) -> Self {
        Self::new(IPVS_CMD_DEL_DAEMON, vec![Attribute::Daemon(daemon::identify(role))])
    }

    /// Asks for the timeouts.
    pub const fn timeouts() -> Self {
        Self::new(IPVS_CMD_GET_CONFIG, Vec::new())
    }

    /// Sets the timeouts that `attributes` hold.
    pub const fn set_timeouts(attributes: Vec<Attribute>) -> Self {
        Self::new(IPVS_CMD_SET_CONFIG, attributes)
    }

    pub fn zero(service: Option<&ServiceId>) -> Self {
        let attributes = service.map(|id| Attribute::Service(service::identify(id)));
        Self::new(IPVS_CMD_ZERO, attributes.into_iter().collect())
    }

    pub const fn flush() -> Self {
        Self::new(IPVS_CMD_FLUSH, Vec::new())
    }
}

impl GenlFamily for Message {
    fn family_name() -> &'static str {
        "IPVS"
    }

    fn command(&self) -> u8 {
        self.command
    }

    fn version(&self) -> u8 {
        VERSION
    }
}

impl Emitable for Message {
    fn buffer_len(&self) -> usize {
        self.attributes.as_slice().buffer_len()
    }

    fn emit(&self, buffer: &mut [u8]) {
        self.attributes.as_slice().emit(buffer);
    }
}

impl ParseableParametrized<[u8], GenlHeader> for Message {
    fn parse_with_param(bytes: &[u8], header: GenlHeader) -> Result<Self, DecodeError> {
        let attributes = match header.cmd {
            // Its attributes have numbers of their own (`IPVS_INFO_ATTR_*`).
            IPVS_CMD_SET_INFO => nested(bytes)?.into_iter().map(Attribute::Other).collect(),
            _ => nested(bytes)?,
        };
        Ok(Self { command: header.cmd, attributes })
    }
}
