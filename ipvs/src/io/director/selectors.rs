//! Which packets the engine is to see, as selectors.

use std::collections::BTreeSet;

use crate::engine::address::Address;
use crate::engine::packet::protocol;
use crate::engine::services::Claim;
use crate::io::selector::{End, Ports, Selector};
use crate::virtual_service::{Family, Protocol};

/// The fragment header of IPv6.
const FRAGMENT: u8 = 44;
const ALL: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];

/// Of all that services claim, and of errors about tunnels, which come to the addresses that those leave from.
pub(super) fn of_claims(
    claims: impl IntoIterator<Item = Claim>,
    tunnel_sources: impl IntoIterator<Item = Address>,
) -> BTreeSet<Selector> {
    let mut selectors = BTreeSet::new();
    for claim in claims {
        match claim {
            Claim::Request { protocol, address, port } => {
                add(&mut selectors, End::Destination, address, protocol, port);
            }
            Claim::Answer { protocol, address, port } => {
                add(&mut selectors, End::Source, address, protocol, port);
            }
            Claim::Local(address) => {
                for protocol in ALL {
                    add(&mut selectors, End::Destination, address, protocol, None);
                }
            }
            Claim::Mark(mark) => {
                selectors.insert(Selector::Mark(mark.get()));
            }
        }
    }
    for address in tunnel_sources {
        selectors.insert(unread(End::Destination, address, icmp(address)));
    }
    selectors
}

fn add(
    selectors: &mut BTreeSet<Selector>,
    end: End,
    address: Address,
    protocol: Protocol,
    port: Option<u16>,
) {
    let ports = port.map_or(Ports::Any, Ports::One);
    if protocol != Protocol::Sctp {
        selectors.insert(Selector::Address { end, address, protocol: protocol.number(), ports });
    }
    // Fragments, packets with options, and errors about packets that went the other way.
    selectors.insert(unread(end, address, protocol.number()));
    selectors.insert(unread(end, address, icmp(address)));
    if address.family() == Family::V6 {
        selectors.insert(unread(end, address, FRAGMENT));
    }
}

const fn unread(end: End, address: Address, protocol: u8) -> Selector {
    Selector::Address { end, address, protocol, ports: Ports::Unread }
}

const fn icmp(address: Address) -> u8 {
    match address.family() {
        Family::V4 => protocol::ICMP,
        Family::V6 => protocol::ICMPV6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virtual_service::FwMark;

    #[test]
    fn a_service_is_a_port_and_what_nobody_reads_before_the_engine() {
        let address = Address::v4(0x0a09_0001);
        let claim = Claim::Request { protocol: Protocol::Tcp, address, port: Some(80) };
        let end = End::Destination;
        let expected = [
            Selector::Address { end, address, protocol: 6, ports: Ports::One(80) },
            unread(end, address, 6),
            unread(end, address, protocol::ICMP),
        ];
        assert_eq!(of_claims([claim], []), expected.into());
    }

    #[test]
    fn marks_local_addresses_and_sources_of_tunnels_are_selected() {
        let local = Address::v6(0x2001_0db8 << 96 | 1);
        let mark = FwMark::new(7).expect("not zero");
        let selectors = of_claims([Claim::Mark(mark), Claim::Local(local)], [Address::v4(0x0a02_0001)]);
        assert!(selectors.contains(&Selector::Mark(7)));
        assert!(selectors.contains(&unread(End::Destination, Address::v4(0x0a02_0001), protocol::ICMP)));
        for protocol in [6, 17] {
            let any =
                Selector::Address { end: End::Destination, address: local, protocol, ports: Ports::Any };
            assert!(selectors.contains(&any));
        }
        assert!(selectors.contains(&unread(End::Destination, local, 132)));
    }
}
