//! Which packets can be of any service.

use std::slice;

use crate::engine::address::Address;
use crate::real_server::RealServerId;
use crate::virtual_service::{FwMark, Protocol, ServiceId};

/// Packets that the engine has to see. All others are none of its business, whatever they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Claim {
    /// From clients: what is sent there, with the errors of ICMP that quote it. Every port if `None`.
    Request { protocol: Protocol, address: Address, port: Option<u16> },
    /// From servers whose answers pass here: what comes from there. Every port if `None`.
    Answer { protocol: Protocol, address: Address, port: Option<u16> },
    /// To an address of the director that stands for clients: answers, and errors of ICMP.
    Local(Address),
    /// With that mark, which stands for a service.
    Mark(FwMark),
}

/// What is sent to a service.
pub(super) fn of_service(id: &ServiceId) -> Claim {
    match id {
        ServiceId::FwMark { mark, .. } => Claim::Mark(*mark),
        ServiceId::Address { protocol, address, port } => {
            Claim::Request { protocol: *protocol, address: (*address).into(), port: some_port(*port) }
        }
    }
}

/// What a server answers to connections of a service.
pub(super) fn of_server(id: &ServiceId, server: &RealServerId) -> impl Iterator<Item = Claim> {
    const ALL: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
    let (protocols, port) = match id {
        // The port that the client addressed may stay, whatever port the server has.
        ServiceId::FwMark { .. } => (ALL.as_slice(), None),
        ServiceId::Address { protocol, port, .. } => {
            let own = some_port(server.port).or(some_port(*port));
            (slice::from_ref(protocol), some_port(*port).and(own))
        }
    };
    let address = server.address.into();
    protocols.iter().map(move |protocol| Claim::Answer { protocol: *protocol, address, port })
}

fn some_port(port: u16) -> Option<u16> {
    (port != 0).then_some(port)
}
