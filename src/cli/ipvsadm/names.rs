//! Names of hosts and ports, as the machine's resolver and /etc/services know them.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

use buoy_ipvs::Protocol;

const SERVICES: &str = "/etc/services";

/// Looks names up, each once.
#[derive(Debug)]
pub(super) struct Names {
    /// What is known of addresses so far; `None` for one that has no name.
    hosts: BTreeMap<IpAddr, Option<String>>,
    services: Services,
    /// Whether the resolver is asked for what is not known.
    asks: bool,
}

impl Names {
    /// Those of this machine. Where it has no /etc/services, ports have no names.
    pub(super) fn of_host() -> Self {
        let services = fs::read_to_string(SERVICES).unwrap_or_default();
        Self { asks: true, ..Self::with_services(&services) }
    }

    /// Those of a text like /etc/services, and of no host.
    pub(super) fn with_services(text: &str) -> Self {
        Self { hosts: BTreeMap::new(), services: Services::parse(text), asks: false }
    }

    /// And this name of an address.
    #[cfg(test)]
    pub(super) fn with_host(mut self, address: &str, name: Option<&str>) -> Self {
        self.hosts.insert(address.parse().expect("an address"), name.map(str::to_owned));
        self
    }

    /// The name of an address.
    pub(super) fn host_of(&mut self, address: IpAddr) -> Option<&str> {
        let asks = self.asks;
        let ask = || if asks { dns_lookup::lookup_addr(&address).ok() } else { None };
        self.hosts.entry(address).or_insert_with(ask).as_deref()
    }

    pub(super) fn service_of(&self, port: u16, protocol: Protocol) -> Option<&str> {
        self.services.names.get(&(port, protocol)).map(String::as_str)
    }

    /// An address and perhaps a port: `10.0.0.1:80`, `web:http`, `[2001:db8::1]:80`, `2001:db8::1`. Names of hosts stand
    /// for IPv4 addresses. `None` if it is nothing of that.
    pub(super) fn endpoint(&self, word: &str, protocol: Protocol) -> Option<(IpAddr, Option<u16>)> {
        if let Some(rest) = word.strip_prefix('[') {
            let (address, port) = rest.split_once("]:")?;
            let address: Ipv6Addr = address.parse().ok()?;
            return Some((address.into(), Some(self.port(port, protocol)?)));
        }
        if let Ok(address) = word.parse::<Ipv6Addr>() {
            return Some((address.into(), None));
        }
        let (host, port) = match word.split_once(':') {
            Some((host, port)) => (host, Some(self.port(port, protocol)?)),
            None => (word, None),
        };
        Some((self.address(host)?.into(), port))
    }

    fn address(&self, host: &str) -> Option<Ipv4Addr> {
        if host.is_empty() {
            return None;
        }
        let known = self.hosts.iter().find(|(_, name)| name.as_deref() == Some(host));
        if let Some((IpAddr::V4(address), _)) = known {
            return Some(*address);
        }
        if let Ok(address) = host.parse() {
            return Some(address);
        }
        if !self.asks {
            return None;
        }
        (host, 0).to_socket_addrs().ok()?.find_map(|address| match address {
            SocketAddr::V4(address) => Some(*address.ip()),
            SocketAddr::V6(_) => None,
        })
    }

    fn port(&self, word: &str, protocol: Protocol) -> Option<u16> {
        let by_name = || self.services.ports.get(&(word.to_owned(), protocol)).copied();
        word.trim_start().parse().ok().or_else(by_name)
    }
}

#[derive(Debug, Default)]
struct Services {
    /// The first name of each port.
    names: BTreeMap<(u16, Protocol), String>,
    ports: BTreeMap<(String, Protocol), u16>,
}

impl Services {
    /// Lines like `http 80/tcp www # web`; others are nobody's business.
    fn parse(text: &str) -> Self {
        let mut services = Self::default();
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            let (Some(name), Some(port)) = (words.next(), words.next()) else { continue };
            let Some((number, protocol)) = port.split_once('/') else { continue };
            let protocol = match protocol {
                "tcp" => Protocol::Tcp,
                "udp" => Protocol::Udp,
                "sctp" => Protocol::Sctp,
                _ => continue,
            };
            let Ok(number) = number.parse() else { continue };
            services.names.entry((number, protocol)).or_insert_with(|| name.to_owned());
            for name in [name].into_iter().chain(words) {
                services.ports.entry((name.to_owned(), protocol)).or_insert(number);
            }
        }
        services
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# a comment
http\t\t80/tcp\t\twww\t# WorldWideWeb HTTP
http-too 80/tcp
domain 53/tcp
domain 53/udp # dns
amqp 5672/sctp
odd 7/ddp
broken x/tcp
lonely
";

    fn names() -> Names {
        Names::with_services(TEXT).with_host("10.0.0.9", Some("web"))
    }

    #[test]
    fn ports_have_the_name_of_their_protocol() {
        let names = names();
        for (port, protocol, name) in [
            (80, Protocol::Tcp, Some("http")),
            (80, Protocol::Udp, None),
            (53, Protocol::Udp, Some("domain")),
            (5672, Protocol::Sctp, Some("amqp")),
            (7, Protocol::Tcp, None),
        ] {
            assert_eq!(names.service_of(port, protocol), name, "{port}/{protocol}");
        }
    }

    #[test]
    fn endpoints_are_read_as_operators_write_them() {
        let names = names();
        for (word, expected) in [
            ("10.0.0.1:80", Some(("10.0.0.1", Some(80)))),
            ("10.0.0.1", Some(("10.0.0.1", None))),
            ("10.0.0.1:www", Some(("10.0.0.1", Some(80)))),
            ("10.0.0.1:+80", Some(("10.0.0.1", Some(80)))),
            ("web:domain", Some(("10.0.0.9", Some(53)))),
            ("[2001:db8::1]:http", Some(("2001:db8::1", Some(80)))),
            ("2001:db8::1", Some(("2001:db8::1", None))),
            ("::1:80", Some(("::1:80", None))),
            ("10.0.0.1:", None),
            ("10.0.0.1:amqp", None),
            ("10.0.0.1:65536", None),
            ("10.0.0.1:-1", None),
            ("10.0.0.1:80:90", None),
            ("[::1]", None),
            ("[::1]:", None),
            ("[::1:80", None),
            ("[10.0.0.1]:80", None),
            ("", None),
            (":80", None),
        ] {
            let expected = expected.map(|(address, port)| (address.parse().expect("an address"), port));
            assert_eq!(names.endpoint(word, Protocol::Tcp), expected, "{word}");
        }
        assert_eq!(names.endpoint("10.0.0.1:http", Protocol::Udp), None, "the name of another protocol");
    }
}
