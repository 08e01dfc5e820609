//! The flavours of VRRP that two programs have to have in common, as configuration.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use buoy::lab::InterfaceAddress;
use buoy::lab::capture::Mac;

/// One way to run a virtual router; the configuration is the same for Buoy and keepalived.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flavour {
    pub(crate) version: u8,
    pub(crate) family: Family,
    pub(crate) delivery: Delivery,
    pub(crate) authentication: Option<&'static str>,
    /// Speak from and answer with the virtual MAC address.
    pub(crate) vmac: bool,
    /// In milliseconds.
    pub(crate) interval: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    Multicast,
    Unicast,
}

/// Priorities of the first and the second director.
pub(crate) const HIGH: u8 = 200;
pub(crate) const LOW: u8 = 100;

pub(crate) const VRID: u8 = 51;

impl Flavour {
    pub(crate) const V2: Self = Self {
        version: 2,
        family: Family::V4,
        delivery: Delivery::Multicast,
        authentication: None,
        vmac: false,
        interval: 1000,
    };
    pub(crate) const V3: Self = Self { version: 3, interval: 200, ..Self::V2 };

    /// The address to watch.
    pub(crate) fn vip(&self) -> IpAddr {
        match self.addresses() {
            [.., last] => last.ip,
            [] => unreachable!("every family has addresses"),
        }
    }

    /// What the virtual router advertises, in this order.
    pub(crate) fn addresses(&self) -> &'static [InterfaceAddress] {
        const V4: InterfaceAddress =
            InterfaceAddress { ip: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 100)), prefix_len: 24 };
        const LINK_LOCAL: InterfaceAddress = InterfaceAddress {
            ip: IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x100)),
            prefix_len: 64,
        };
        const GLOBAL: InterfaceAddress = InterfaceAddress {
            ip: IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x100)),
            prefix_len: 64,
        };
        match self.family {
            Family::V4 => &[V4],
            // RFC 9568 §5.2.9: the first address of an IPv6 virtual router is link-local.
            Family::V6 => &[LINK_LOCAL, GLOBAL],
        }
    }

    /// What the virtual router is reached by, where it has a MAC address of its own (RFC 9568 §7.3).
    pub(crate) fn virtual_mac(&self) -> Mac {
        let family = match self.family {
            Family::V4 => 1,
            Family::V6 => 2,
        };
        Mac([0, 0, 0x5e, 0, family, VRID])
    }

    /// For the director with this number (1 or 2) and priority.
    pub(crate) fn configuration(&self, number: u8, priority: u8) -> String {
        let peer = 3 - number;
        let interval = f64::from(self.interval) / 1000.0;
        let network = match self.family {
            Family::V4 => "192.0.2.",
            Family::V6 => "2001:db8::",
        };
        let addresses: String = self
            .addresses()
            .iter()
            .map(|address| format!("        {}/{}\n", address.ip, address.prefix_len))
            .collect();
        let unicast = match self.delivery {
            Delivery::Multicast => String::new(),
            Delivery::Unicast => format!(
                "    unicast_src_ip {network}{number}\n    unicast_peer {{\n        {network}{peer}\n    }}\n"
            ),
        };
        let authentication = self.authentication.map_or_else(String::new, |kind| {
            format!("    authentication {{\n        auth_type {kind}\n        auth_pass s3cret\n    }}\n")
        });
        let vmac = if self.vmac { "    use_vmac\n" } else { "" };
        format!(
            "global_defs {{\n    vrrp_version {version}\n}}\n\
             vrrp_instance VI_1 {{\n    state BACKUP\n    interface eth0\n    virtual_router_id {VRID}\n    \
             priority {priority}\n    advert_int {interval}\n{vmac}{unicast}{authentication}    \
             virtual_ipaddress {{\n{addresses}    }}\n}}\n",
            version = self.version,
        )
    }

    /// Time from the last advertisement of the master to the takeover by a backup of this priority: three
    /// intervals and the skew (RFC 3768 §6.1, RFC 9568 §6.1).
    pub(crate) fn master_down(&self, priority: u8) -> Duration {
        self.interval() * 3 + self.skew(priority)
    }

    pub(crate) fn skew(&self, priority: u8) -> Duration {
        let unit = match self.version {
            2 => Duration::from_secs(1),
            _ => self.interval(),
        };
        unit * (256 - u32::from(priority)) / 256
    }

    pub(crate) fn interval(&self) -> Duration {
        Duration::from_millis(self.interval.into())
    }

    /// Ample time for any single change of master on a busy machine.
    pub(crate) fn patience(&self) -> Duration {
        self.interval() * 6 + Duration::from_secs(8)
    }
}
