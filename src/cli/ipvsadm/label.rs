//! How addresses with ports are written.

use std::net::IpAddr;

use buoy_ipvs::{ListedService, Protocol};

use super::names::Names;

/// Longer names of IPv4 hosts, with their port, are cut off in listings of services.
const NARROW: usize = 28;
/// The same for IPv6, wherever it is written.
const NARROW_V6: usize = 59;

/// Writes addresses and ports by name or by number.
#[derive(Debug)]
pub(super) struct Labels<'a> {
    names: Option<&'a mut Names>,
}

impl<'a> Labels<'a> {
    pub(super) fn new(names: &'a mut Names, numeric: bool) -> Self {
        Self { names: (!numeric).then_some(names) }
    }

    /// `10.0.0.1:80`, `web:http`, `[2001:db8::1]:80`. Ports have names only where there is a protocol.
    pub(super) fn endpoint(&mut self, address: IpAddr, port: u16, protocol: Option<Protocol>) -> String {
        let (host, service) = match &mut self.names {
            None => (None, None),
            Some(names) => {
                let service =
                    protocol.and_then(|protocol| names.service_of(port, protocol)).map(str::to_owned);
                (names.host_of(address).map(str::to_owned), service)
            }
        };
        let host = host.unwrap_or_else(|| address.to_string());
        let service = service.unwrap_or_else(|| port.to_string());
        match address {
            IpAddr::V4(_) => format!("{host}:{service}"),
            IpAddr::V6(_) => cut_off(format!("[{host}]:{service}"), NARROW_V6),
        }
    }

    /// As [`Self::endpoint`], as far as it fits its column.
    pub(super) fn narrow(&mut self, address: IpAddr, port: u16, protocol: Option<Protocol>) -> String {
        let endpoint = self.endpoint(address, port, protocol);
        if address.is_ipv4() { cut_off(endpoint, NARROW) } else { endpoint }
    }
}

fn cut_off(text: String, len: usize) -> String {
    if text.len() <= len { text } else { text.chars().take(len).collect() }
}

/// The protocol whose names the ports of a service and its servers have; none for a mark.
pub(super) fn protocol_of(service: &ListedService) -> Option<Protocol> {
    match service.mark {
        Some(_) => None,
        None => u8::try_from(service.protocol).ok().and_then(Protocol::from_number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_off_where_ipvsadm_cuts_them_off() {
        let names = || {
            Names::with_services("http 80/tcp\n")
                .with_host("10.0.0.1", Some("a.very.long.host.name.example.com"))
                .with_host("10.0.0.2", None)
                .with_host("2001:db8::1", Some("v6.very.long.host.name.example.com"))
                .with_host(
                    "2001:db8::7",
                    Some("thisname.has.exactly.very.many.characters.in.it.and.even.more.than.sixtyfour"),
                )
        };
        for (address, numeric, full, narrow) in [
            ("10.0.0.1", true, "10.0.0.1:80", "10.0.0.1:80"),
            ("10.0.0.1", false, "a.very.long.host.name.example.com:http", "a.very.long.host.name.exampl"),
            ("10.0.0.2", false, "10.0.0.2:http", "10.0.0.2:http"),
            (
                "2001:db8::1",
                false,
                "[v6.very.long.host.name.example.com]:http",
                "[v6.very.long.host.name.example.com]:http",
            ),
            (
                "2001:db8::7",
                false,
                "[thisname.has.exactly.very.many.characters.in.it.and.even.m",
                "[thisname.has.exactly.very.many.characters.in.it.and.even.m",
            ),
        ] {
            let mut names = names();
            let mut labels = Labels::new(&mut names, numeric);
            let address = address.parse().expect("an address");
            assert_eq!(labels.endpoint(address, 80, Some(Protocol::Tcp)), full);
            assert_eq!(labels.narrow(address, 80, Some(Protocol::Tcp)), narrow);
        }
        let mut names = names();
        let mut labels = Labels::new(&mut names, false);
        assert_eq!(labels.endpoint("10.0.0.2".parse().expect("an address"), 80, None), "10.0.0.2:80");
    }
}
