//! Who is where. Every script has a slot, and in it addresses of its own, so that the next script finds no connections
//! of theirs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use buoy_ipvs::Family;

/// Scripts that one house has room for.
pub(crate) const SLOTS: u8 = 100;
/// Bytes that ways take.
pub(crate) const WIDE: usize = 1500;
pub(crate) const NARROW: usize = 1300;

/// A network of the house, by its number in addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    Clients = 1,
    Servers = 2,
    /// There is no way there.
    Nowhere = 3,
    /// Servers behind a link that takes less.
    NarrowServers = 4,
    /// And such clients.
    NarrowClients = 5,
    /// Addresses of the director.
    Services = 9,
}

impl Network {
    const ALL: [Self; 6] = [
        Self::Clients,
        Self::Servers,
        Self::Nowhere,
        Self::NarrowServers,
        Self::NarrowClients,
        Self::Services,
    ];
}

/// A host, or an address of the director.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) network: Network,
    pub(crate) host: u8,
    pub(crate) family: Family,
}

impl Place {
    /// The director's own address on the way to servers: tunnels begin there.
    pub(crate) const fn tunnel(family: Family) -> Self {
        Self { network: Network::Servers, host: 0, family }
    }

    pub(crate) fn address(self, slot: u8) -> IpAddr {
        let network = self.network as u8;
        match (self.family, self.host) {
            (Family::V4, 0) => Ipv4Addr::new(10, network, 0, 1).into(),
            (Family::V6, 0) => Ipv6Addr::new(0xfd00 | u16::from(network), 0, 0, 0, 0, 0, 0, 1).into(),
            (Family::V4, host) => Ipv4Addr::new(10, network, slot + 1, host).into(),
            (Family::V6, host) => {
                let (network, slot) = (0xfd00 | u16::from(network), u16::from(slot) + 1);
                Ipv6Addr::new(network, 0, 0, 0, 0, 0, slot, host.into()).into()
            }
        }
    }
}

/// What an address tells of its place.
pub(crate) fn network_of(address: IpAddr) -> Option<Network> {
    let number = match address {
        IpAddr::V4(address) => address.octets()[1],
        IpAddr::V6(address) => address.octets()[1],
    };
    Network::ALL.into_iter().find(|network| *network as u8 == number)
}

/// Whether it is one of the director's.
pub(crate) fn is_local(address: IpAddr) -> bool {
    let host = |network, family| Place { network, host: 0, family }.address(0);
    let own = [Network::Clients, Network::Servers]
        .into_iter()
        .flat_map(|network| [host(network, Family::V4), host(network, Family::V6)]);
    network_of(address) == Some(Network::Services) || own.into_iter().any(|own| own == address)
}

/// The link-layer address of a host.
pub(crate) fn link_address(address: IpAddr) -> [u8; 6] {
    match address {
        IpAddr::V4(address) => {
            let [_, network, slot, host] = address.octets();
            [2, 4, network, slot, host, 0]
        }
        IpAddr::V6(address) => {
            let octets = address.octets();
            [2, 6, octets[1], octets[13], octets[15], 0]
        }
    }
}

pub(crate) const CLIENT_HOSTS: [u8; 3] = [9, 10, 200];
pub(crate) const SERVER_HOSTS: [u8; 4] = [11, 12, 13, 14];
pub(crate) const SERVICE_HOSTS: [u8; 2] = [1, 2];
/// An address of the director that is a server.
pub(crate) const LOCAL_SERVER: u8 = 3;

/// Hosts that can be reached.
pub(crate) fn neighbours(slot: u8) -> impl Iterator<Item = (IpAddr, Network)> {
    let hosts = [
        (Network::Clients, &CLIENT_HOSTS[..]),
        (Network::NarrowClients, &CLIENT_HOSTS[..1]),
        (Network::Servers, &SERVER_HOSTS[..]),
        (Network::NarrowServers, &SERVER_HOSTS[..2]),
    ];
    hosts.into_iter().flat_map(move |(network, hosts)| {
        hosts.iter().flat_map(move |host| {
            [Family::V4, Family::V6]
                .map(|family| (Place { network, host: *host, family }.address(slot), network))
        })
    })
}
