//! Connections in ipvsadm's columns.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use buoy_ipvs::Protocol;

use super::label::Labels;

/// One connection or persistence template, as a plane tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Connection {
    /// `TCP`, `UDP`, `SCTP`, `IP` for the template of a mark.
    pub(super) protocol: String,
    pub(super) client: (IpAddr, u16),
    /// For the template of a mark, the mark as an address.
    pub(super) virtual_service: (IpAddr, u16),
    pub(super) server: (IpAddr, u16),
    pub(super) state: String,
    /// Seconds that are left of it.
    pub(super) expires: u64,
    /// The persistence engine and what it knows of the connection.
    pub(super) engine: Option<(String, String)>,
}

impl Connection {
    /// A line of `/proc/net/ip_vs_conn`; `None` for its heading and for what makes no sense.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let protocol = words.next()?.to_owned();
        let mut endpoint = || Some((address(words.next()?)?, u16::from_str_radix(words.next()?, 16).ok()?));
        let (client, virtual_service, server) = (endpoint()?, endpoint()?, endpoint()?);
        let state = words.next()?.to_owned();
        let expires = words.next()?.parse().ok()?;
        let engine = words.next().map(|name| {
            let data: Vec<&str> = words.collect();
            (name.to_owned(), data.join(" "))
        });
        Some(Self { protocol, client, virtual_service, server, state, expires, engine })
    }

    fn named_protocol(&self) -> Option<Protocol> {
        match self.protocol.as_str() {
            "TCP" => Some(Protocol::Tcp),
            "UDP" => Some(Protocol::Udp),
            "SCTP" => Some(Protocol::Sctp),
            _ => None,
        }
    }
}

/// The kernel writes IPv4 in 8 hexadecimal digits and IPv6 in full.
fn address(word: &str) -> Option<IpAddr> {
    if word.contains(':') {
        return word.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    }
    u32::from_str_radix(word, 16).ok().map(|bits| Ipv4Addr::from_bits(bits).into())
}

pub(super) fn write_heading(out: &mut impl Write, engines: bool) -> io::Result<()> {
    let more = if engines { "        pe name          pe_data" } else { "" };
    writeln!(
        out,
        "IPVS connection entries\n\
         pro expire state       source             virtual            destination{more}"
    )
}

pub(super) fn write_connection(
    out: &mut impl Write,
    connection: &Connection,
    engines: bool,
    labels: &mut Labels<'_>,
) -> io::Result<()> {
    let protocol = connection.named_protocol();
    let mut endpoint = |(address, port)| labels.endpoint(address, port, protocol);
    let (client, virtual_service) = (endpoint(connection.client), endpoint(connection.virtual_service));
    let server = endpoint(connection.server);
    let expires = format!("{:02}:{:02}", connection.expires / 60, connection.expires % 60);
    write!(
        out,
        "{:<3} {expires:<6} {:<11} {client:<18} {virtual_service:<18} ",
        connection.protocol, connection.state
    )?;
    match connection.engine.as_ref().filter(|_| engines) {
        Some((name, data)) => writeln!(out, "{server:<16} {name:<18} {data}"),
        None => writeln!(out, "{server}"),
    }
}

#[cfg(test)]
mod tests;
