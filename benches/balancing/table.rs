//! A large table without checks: 2,500 services with 16 servers each.

use std::fmt::Write;
use std::net::Ipv4Addr;

pub(crate) const SERVICES: usize = 2_500;
pub(crate) const SERVERS: usize = 40_000;
const SERVERS_PER_SERVICE: usize = SERVERS / SERVICES;

/// The weight of one of its servers; all others have 1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weighed {
    pub(crate) service: Ipv4Addr,
    pub(crate) server: Ipv4Addr,
    pub(crate) weight: u32,
}

pub(crate) fn configuration(weighed: Option<Weighed>) -> String {
    let mut text = String::new();
    for service in 0..SERVICES {
        let address = nth(Ipv4Addr::new(10, 0, 0, 0), service);
        // Writing to a string cannot fail.
        write!(
            text,
            "virtual_server {address} 80 {{\n    lvs_sched wrr\n    lvs_method NAT\n    protocol TCP\n"
        )
        .ok();
        for server in 0..SERVERS_PER_SERVICE {
            let server = nth(Ipv4Addr::new(10, 100, 0, 0), service * SERVERS_PER_SERVICE + server);
            let weight =
                weighed.filter(|w| w.service == address && w.server == server).map_or(1, |w| w.weight);
            write!(text, "    real_server {server} 80 {{\n        weight {weight}\n    }}\n").ok();
        }
        text.push_str("}\n");
    }
    text
}

/// The address of a number, from 1 to 200 in the last place.
pub(crate) fn nth(network: Ipv4Addr, number: usize) -> Ipv4Addr {
    let [a, b, c, _] = network.octets();
    let octet = |value: usize| u8::try_from(value % 256).unwrap_or_default();
    let (high, low) = (number / 200, number % 200);
    Ipv4Addr::new(a, b.wrapping_add(octet(high / 256)), c.wrapping_add(octet(high)), octet(low + 1))
}
