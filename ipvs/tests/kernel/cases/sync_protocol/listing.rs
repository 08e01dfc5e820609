//! The connections of the kernel, in words that ours have, too.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

/// What an entry is found by: protocol, client and service.
pub(super) type Key = (String, IpAddr, u16, IpAddr, u16);
/// The real server of an entry, and its state.
pub(super) type Value = (IpAddr, u16, String);

/// What is in the kernel's table, with the seconds that are left.
pub(super) fn listing() -> BTreeMap<Key, (Value, u64)> {
    let text = std::fs::read("/proc/net/ip_vs_conn").unwrap();
    String::from_utf8_lossy(&text).lines().filter_map(listed_entry).collect()
}

/// `None` for the title, and for what a Call-ID with a line feed has left.
fn listed_entry(line: &str) -> Option<(Key, (Value, u64))> {
    let address = |text: &str| match u32::from_str_radix(text, 16) {
        Ok(bits) => Some(IpAddr::V4(Ipv4Addr::from_bits(bits))),
        Err(_) => text.parse().ok(),
    };
    let mut fields = line.split_whitespace();
    let protocol = fields.next()?.to_owned();
    let mut end = || Some((address(fields.next()?)?, u16::from_str_radix(fields.next()?, 16).ok()?));
    let ((client, client_port), (service, service_port)) = (end()?, end()?);
    let (server, server_port) = end()?;
    let state = fields.next()?.to_owned();
    let expires = fields.next()?.parse().ok()?;
    Some(((protocol, client, client_port, service, service_port), ((server, server_port, state), expires)))
}

/// As the kernel calls it.
pub(super) fn protocol_name(protocol: u8) -> String {
    match protocol {
        0 => "IP".to_owned(),
        1 => "ICMP".to_owned(),
        6 => "TCP".to_owned(),
        17 => "UDP".to_owned(),
        58 => "ICMPv6".to_owned(),
        132 => "SCTP".to_owned(),
        other => format!("IP_{other}"),
    }
}
