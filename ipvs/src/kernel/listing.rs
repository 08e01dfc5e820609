//! What the kernel holds in its own order, for those who show it.

use netlink_packet_core::{DecodeError, DefaultNla, Nla, parse_u32};

use super::attribute::Attribute;
use super::handle::nonsense;
use super::message::Message;
use super::{KernelPlane, refused, server, service};
use crate::listing::{ListedService, PlaneInfo};
use crate::plane::PlaneError;

const IPVS_INFO_ATTR_VERSION: u16 = 1;
const IPVS_INFO_ATTR_CONN_TAB_SIZE: u16 = 2;

impl KernelPlane {
    /// All services with their servers and counters, foreign ones included: services in the order of the kernel's hash
    /// table, servers from the newest to the oldest.
    pub fn listing(&mut self) -> Result<Vec<ListedService>, PlaneError> {
        let services =
            self.handle.dump(&Message::services())?.map_err(|e| refused("read the services", e))?;
        let told = services.iter().flat_map(|message| &message.attributes);
        told.filter_map(|attribute| match attribute {
            Attribute::Service(attributes) => Some(self.listed(attributes)),
            _ => None,
        })
        .collect()
    }

    fn listed(&mut self, told: &[service::ServiceAttribute]) -> Result<ListedService, PlaneError> {
        let mut listed = service::list(told).map_err(nonsense)?;
        let servers =
            self.handle.dump(&Message::servers_of(told))?.map_err(|e| refused("read the servers", e))?;
        for attribute in servers.iter().flat_map(|message| &message.attributes) {
            if let Attribute::Server(attributes) = attribute {
                listed.servers.push(server::list(listed.family, attributes).map_err(nonsense)?);
            }
        }
        Ok(listed)
    }

    /// What the kernel's IPVS says of itself.
    pub fn info(&mut self) -> Result<PlaneInfo, PlaneError> {
        let answer =
            self.handle.ask(&Message::info())?.map_err(|e| refused("read the version of IPVS", e))?;
        let attributes = answer.iter().flat_map(|message| &message.attributes);
        let others = attributes.filter_map(|attribute| match attribute {
            Attribute::Other(attribute) => Some(attribute),
            _ => None,
        });
        info_of(others).map_err(nonsense)
    }
}

/// Attributes of information have numbers of their own.
fn info_of<'a>(attributes: impl Iterator<Item = &'a DefaultNla>) -> Result<PlaneInfo, DecodeError> {
    let (mut version, mut connection_buckets) = (None, None);
    for attribute in attributes {
        let mut value = vec![0; attribute.value_len()];
        attribute.emit_value(&mut value);
        match attribute.kind() {
            IPVS_INFO_ATTR_VERSION => version = Some(parse_u32(&value)?),
            IPVS_INFO_ATTR_CONN_TAB_SIZE => connection_buckets = Some(parse_u32(&value)?),
            _ => {}
        }
    }
    let [_, major, minor, patch] = version.ok_or("information without a version")?.to_be_bytes();
    Ok(PlaneInfo {
        version: [major, minor, patch],
        connection_buckets: connection_buckets.ok_or("information without the size of the table")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_and_the_size_are_read_from_what_the_kernel_says() {
        // Linux 6.1: attributes 1 and 2 of the answer to IPVS_CMD_GET_INFO.
        let told = [
            DefaultNla::new(IPVS_INFO_ATTR_VERSION, 0x01_02_01_u32.to_ne_bytes().to_vec()),
            DefaultNla::new(IPVS_INFO_ATTR_CONN_TAB_SIZE, 4096_u32.to_ne_bytes().to_vec()),
        ];
        let info = PlaneInfo { version: [1, 2, 1], connection_buckets: 4096 };
        assert_eq!(info_of(told.iter()).unwrap(), info);
        assert!(info_of(told[..1].iter()).is_err());
        assert!(info_of(told[1..].iter()).is_err());
        let short = [DefaultNla::new(IPVS_INFO_ATTR_VERSION, vec![1])];
        assert!(info_of(short.iter()).is_err());
    }
}
