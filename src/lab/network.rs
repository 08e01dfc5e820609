//! Interfaces, addresses and routes of hosts; switches and the cables that lead to them.

use std::collections::BTreeSet;
use std::net::{AddrParseError, IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::ParseIntError;
use std::os::fd::AsRawFd;
use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use futures::TryStreamExt;
use rtnetlink::packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage, MacVlanMode};
use rtnetlink::{
    Handle, LinkBridge, LinkMacVlan, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder,
};
use thiserror::Error;

use super::Host;

/// An address with the prefix length of its network, written `192.0.2.1/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InterfaceAddress {
    pub ip: IpAddr,
    pub prefix_len: u8,
}

#[derive(Debug, Error)]
pub enum BadInterfaceAddress {
    #[error("no prefix length (want ADDRESS/LENGTH)")]
    NoPrefix,
    #[error("bad address")]
    Address(#[from] AddrParseError),
    #[error("bad prefix length")]
    Prefix(#[from] ParseIntError),
}

impl FromStr for InterfaceAddress {
    type Err = BadInterfaceAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (ip, prefix_len) = text.split_once('/').ok_or(BadInterfaceAddress::NoPrefix)?;
        Ok(Self { ip: ip.parse()?, prefix_len: prefix_len.parse()? })
    }
}

/// What the kernel says about an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: String,
    pub flags: LinkFlags,
    pub mac: Vec<u8>,
    /// Held down by a routing daemon (FRR does this to the macvlan of a backup).
    pub proto_down: bool,
}

impl Link {
    /// Administratively up, with carrier.
    pub fn is_running(&self) -> bool {
        self.flags.contains(LinkFlags::Up | LinkFlags::LowerUp)
    }
}

impl Host {
    /// # Errors
    /// When there is no such interface.
    pub fn link(&self, interface: &str) -> Result<Link> {
        let name = interface.to_owned();
        self.netlink(move |netlink| async move { link_by_name(&netlink, name).await }).map(Link::from)
    }

    /// # Errors
    /// When the kernel refuses a dump of its interfaces.
    pub fn links(&self) -> Result<Vec<Link>> {
        self.netlink(|netlink| async move { netlink.link().get().execute().try_collect::<Vec<_>>().await })
            .map(|links| links.into_iter().map(Link::from).collect())
    }

    /// # Errors
    /// When there is no such interface.
    pub fn set_up(&self, interface: &str) -> Result<()> {
        self.set_link(interface, LinkMessageBuilder::up)
    }

    /// # Errors
    /// When there is no such interface.
    pub fn set_down(&self, interface: &str) -> Result<()> {
        self.set_link(interface, LinkMessageBuilder::down)
    }

    /// Deletes an interface; of a veth pair both ends go.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn delete_link(&self, interface: &str) -> Result<()> {
        let index = self.link(interface)?.index;
        self.netlink(move |netlink| async move { netlink.link().del(index).execute().await })
    }

    /// Adds an address; an IPv6 one is usable at once.
    ///
    /// # Errors
    /// When there is no such interface, or it has the address already.
    pub fn add_address(&self, interface: &str, address: InterfaceAddress) -> Result<()> {
        let index = self.link(interface)?.index;
        self.netlink(move |netlink| async move {
            let mut request = netlink.address().add(index, address.ip, address.prefix_len);
            request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
            request.execute().await
        })
        .with_context(|| format!("adding {} to {interface}", address.ip))
    }

    /// Removes an address wherever it is.
    ///
    /// # Errors
    /// When the kernel refuses; an address that is not there is no error.
    pub fn remove_address(&self, ip: IpAddr) -> Result<()> {
        self.netlink(move |netlink| async move {
            for message in addresses(&netlink).await? {
                if local_address(&message) == Some(ip) {
                    netlink.address().del(message).execute().await?;
                }
            }
            Ok(())
        })
    }

    /// All addresses of the host, loopback included.
    ///
    /// # Errors
    /// When the kernel refuses a dump of its addresses.
    pub fn addresses(&self) -> Result<BTreeSet<IpAddr>> {
        self.netlink(|netlink| async move { addresses(&netlink).await })
            .map(|messages| messages.iter().filter_map(local_address).collect())
    }

    /// Whether some interface that is up and has a carrier has the address, so that the host answers for it.
    ///
    /// # Errors
    /// When the kernel refuses a dump of its addresses or interfaces.
    pub fn holds(&self, ip: IpAddr) -> Result<bool> {
        self.netlink(move |netlink| async move {
            let holders: BTreeSet<u32> = addresses(&netlink)
                .await?
                .iter()
                .filter(|message| local_address(message) == Some(ip))
                .map(|message| message.header.index)
                .collect();
            if holders.is_empty() {
                return Ok(false);
            }
            let links: Vec<LinkMessage> = netlink.link().get().execute().try_collect().await?;
            Ok(links.iter().any(|link| {
                holders.contains(&link.header.index)
                    && link.header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp)
            }))
        })
    }

    /// Sends everything that is not local to `gateway`.
    ///
    /// # Errors
    /// When the gateway is not on a network of this host.
    pub fn set_default_route(&self, gateway: IpAddr) -> Result<()> {
        self.netlink(move |netlink| async move {
            let route = match gateway {
                IpAddr::V4(gateway) => RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway).build(),
                IpAddr::V6(gateway) => RouteMessageBuilder::<Ipv6Addr>::new().gateway(gateway).build(),
            };
            netlink.route().add(route).replace().execute().await
        })
        .with_context(|| format!("default route via {gateway}"))
    }

    /// Adds a macvlan in bridge mode with the given MAC address on top of `base` and takes it up. FRR's vrrpd
    /// wants one such interface for every virtual router.
    ///
    /// # Errors
    /// When `base` does not exist or the name is taken.
    pub fn add_macvlan(&self, name: &str, base: &str, mac: [u8; 6]) -> Result<()> {
        let base = self.link(base)?.index;
        let name = name.to_owned();
        self.netlink(move |netlink| async move {
            let macvlan = LinkMacVlan::new(&name, base, MacVlanMode::Bridge).address(mac.to_vec()).up();
            netlink.link().add(macvlan.build()).execute().await
        })
    }

    /// Joins two hosts by a cable of their own: `interface` here, `peer_interface` there, both up.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn connect(&self, interface: &str, peer: &Host, peer_interface: &str) -> Result<Cable> {
        lay_cable(self, interface, peer, peer_interface)?;
        Ok(Cable { near: self.clone(), port: interface.to_owned(), bridge: None })
    }

    fn set_link(
        &self,
        interface: &str,
        change: impl FnOnce(LinkMessageBuilder<LinkUnspec>) -> LinkMessageBuilder<LinkUnspec>,
    ) -> Result<()> {
        let index = self.link(interface).with_context(|| format!("interface {interface}"))?.index;
        let message = change(LinkUnspec::new_with_index(index)).build();
        self.netlink(move |netlink| async move { netlink.link().set(message).execute().await })
    }
}

/// A switch: a bridge in a namespace of its own. Its ports are named after the hosts behind them, which makes
/// it a good place for a [`super::capture::Capture`].
#[derive(Clone, Debug)]
pub struct Switch {
    host: Host,
    bridge: u32,
}

impl Switch {
    /// # Errors
    /// See [`Host::new`]; also when the kernel has no bridge.
    pub fn new(name: &str) -> Result<Self> {
        let host = Host::new(name)?;
        // A switch has no addresses of its own and is not to answer or solicit anything.
        host.sysctl("net/ipv6/conf/default/disable_ipv6", "1").ok();
        host.netlink(|netlink| async move {
            // Snooping would need a querier on the LAN to be right; a plain switch floods multicast.
            let bridge = LinkBridge::new(BRIDGE).mcast_snooping(false).up().build();
            netlink.link().add(bridge).execute().await
        })
        .context("making a bridge")?;
        let bridge = host.link(BRIDGE)?.index;
        Ok(Self { host, bridge })
    }

    /// The switch as a host, for captures on a port.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Plugs a new interface of `host` into a new port, both up and forwarding. The port is called like the
    /// host; a second one of the same host gets a number.
    ///
    /// # Errors
    /// When the host has an interface of that name.
    pub fn connect(&self, host: &Host, interface: &str) -> Result<Cable> {
        let taken: BTreeSet<String> = self.host.links()?.into_iter().map(|link| link.name).collect();
        let stem: String = host.name().chars().take(11).collect();
        let port = std::iter::once(stem.clone())
            .chain((2..).map(|n| format!("{stem}.{n}")))
            .find(|port| !taken.contains(port))
            .expect("the numbers are endless");
        lay_cable(&self.host, &port, host, interface)?;
        let cable = Cable { near: self.host.clone(), port, bridge: Some(self.bridge) };
        cable.restore()?;
        Ok(cable)
    }
}

/// A cable. Dropping the value changes nothing.
#[derive(Clone, Debug)]
pub struct Cable {
    near: Host,
    port: String,
    bridge: Option<u32>,
}

impl Cable {
    /// Name of the interface at the near end: the port of the switch, or the interface of the host on which
    /// [`Host::connect`] was called.
    pub fn port(&self) -> &str {
        &self.port
    }

    /// Cuts the cable: the far end loses its carrier.
    ///
    /// # Errors
    /// When the cable is gone because its host is.
    pub fn unplug(&self) -> Result<()> {
        self.near.set_down(&self.port).context("unplugging a cable")
    }

    /// Undoes [`Cable::unplug`].
    ///
    /// # Errors
    /// When the cable is gone because its host is.
    pub fn plug(&self) -> Result<()> {
        self.near.set_up(&self.port).context("plugging a cable")
    }

    /// Makes the switch drop everything from and to this cable while the carrier stays, as a broken switch or
    /// a wrong VLAN does. A cable without a switch is unplugged.
    ///
    /// # Errors
    /// When the cable is gone because its host is.
    pub fn isolate(&self) -> Result<()> {
        match self.bridge {
            Some(_) => self.near.set_link(&self.port, LinkMessageBuilder::nocontroller),
            None => self.unplug(),
        }
        .context("isolating a cable")
    }

    /// Undoes [`Cable::isolate`].
    ///
    /// # Errors
    /// When the cable is gone because its host is.
    pub fn restore(&self) -> Result<()> {
        match self.bridge {
            Some(bridge) => self.near.set_link(&self.port, |port| port.controller(bridge)),
            None => self.plug(),
        }
        .context("restoring a cable")
    }
}

const BRIDGE: &str = "switch";

/// A veth pair with both ends in place and up.
fn lay_cable(near: &Host, near_name: &str, far: &Host, far_name: &str) -> Result<()> {
    // The far end is born in the near namespace, under a name that nothing there has.
    static SERIAL: AtomicU32 = AtomicU32::new(0);
    let passing = format!("cable{}", SERIAL.fetch_add(1, Ordering::Relaxed));
    let pair = LinkVeth::new(near_name, &passing).up().build();
    near.netlink(move |netlink| async move { netlink.link().add(pair).execute().await })
        .with_context(|| format!("making the interface {near_name} of {}", near.name()))?;
    let (namespace, name) = (far.as_raw_fd(), far_name.to_owned());
    near.set_link(&passing, |end| end.name(name).setns_by_fd(namespace))
        .with_context(|| format!("moving the interface {far_name} to {}", far.name()))?;
    far.set_up(far_name)
}

async fn link_by_name(netlink: &Handle, name: String) -> Result<LinkMessage, rtnetlink::Error> {
    netlink.link().get().match_name(name).execute().try_next().await?.ok_or(rtnetlink::Error::RequestFailed)
}

async fn addresses(netlink: &Handle) -> Result<Vec<AddressMessage>, rtnetlink::Error> {
    netlink.address().get().execute().try_collect().await
}

/// The address itself: `IFA_LOCAL` where there is one (IPv4, point to point), else `IFA_ADDRESS`.
fn local_address(message: &AddressMessage) -> Option<IpAddr> {
    let find = |pick: fn(&AddressAttribute) -> Option<IpAddr>| message.attributes.iter().find_map(pick);
    find(|attribute| match attribute {
        AddressAttribute::Local(ip) => Some(*ip),
        _ => None,
    })
    .or_else(|| {
        find(|attribute| match attribute {
            AddressAttribute::Address(ip) => Some(*ip),
            _ => None,
        })
    })
}

impl From<LinkMessage> for Link {
    fn from(message: LinkMessage) -> Self {
        let mut link = Self {
            index: message.header.index,
            name: String::new(),
            flags: message.header.flags,
            mac: Vec::new(),
            proto_down: false,
        };
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name = name,
                LinkAttribute::Address(mac) => link.mac = mac,
                LinkAttribute::ProtoDown(down) => link.proto_down = down != 0,
                _ => {}
            }
        }
        link
    }
}
