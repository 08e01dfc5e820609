//! From the words of an operator to a virtual server and one of its real servers.
//!
//! A virtual server is meant by its name as in logs (`TCP 10.0.0.1:80`, `FWM 7`), by one of its addresses with or without
//! protocol and port (`10.0.0.1:80`, `tcp:10.0.0.1:80`, `10.0.0.1:80/tcp`, `[2001:db8::1]:80`), by a mark (`fwm:7`, `7`),
//! or by the name of its group (`web`, `web/tcp`); a real server by its address, whose port may be left out. Whatever the
//! case of the letters; a word that may mean several is refused with those that it may mean.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use buoy_ipvs::{Family, Protocol, RealServerId, ServiceId};

use super::service::Service;

/// Names that an error tells; more are counted.
const TOLD: usize = 10;

/// Why words mean nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotFound {
    #[error("there are no virtual servers")]
    NoServices,
    #[error("no virtual server is `{word}`; there are {known}")]
    Service { word: String, known: Names },
    #[error("`{word}` may mean {meant}: give one of these names")]
    SeveralServices { word: String, meant: Names },
    #[error("virtual server {service} has no real servers")]
    NoServers { service: Arc<str> },
    #[error("virtual server {service} has no real server `{word}`; it has {known}")]
    Server { service: Arc<str>, word: String, known: Names },
    #[error("`{word}` of virtual server {service} may mean {meant}: give the port too")]
    SeveralServers { service: Arc<str>, word: String, meant: Names },
}

/// The first names of a list, and how many more there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    told: Vec<String>,
    more: usize,
}

impl Names {
    fn of(names: impl IntoIterator<Item = impl fmt::Display>) -> Self {
        let mut names = names.into_iter();
        let told = names.by_ref().take(TOLD).map(|name| name.to_string()).collect();
        Self { told, more: names.count() }
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told.join(", "))?;
        match self.more {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// A virtual server that can be meant.
#[derive(Clone, Debug)]
pub struct Known<'s> {
    pub settings: &'s Service,
    /// A reload has removed it.
    pub leaving: bool,
    /// Servers of it that a reload has removed and that drain still.
    pub removed: Vec<RealServerId>,
}

impl Known<'_> {
    /// Those that are configured.
    fn servers(&self) -> impl Iterator<Item = RealServerId> {
        let configured = (!self.leaving).then_some(&self.settings.servers);
        configured.into_iter().flatten().map(|server| server.id)
    }
}

/// The virtual server and the real server that two words mean: of what a reload has removed only what nothing else can be.
pub fn find(
    services: &[Known<'_>],
    service: &str,
    server: &str,
) -> Result<(Arc<str>, RealServerId), NotFound> {
    let known = find_service(services, service.trim())?;
    find_server(known, server.trim()).map(|server| (Arc::clone(&known.settings.name), server))
}

fn find_service<'k, 's>(services: &'k [Known<'s>], word: &str) -> Result<&'k Known<'s>, NotFound> {
    let meanings = Meaning::of(word);
    let named = |known: &&Known<'_>| known.settings.name.eq_ignore_ascii_case(word);
    let meant = |known: &&Known<'_>| meanings.iter().any(|meaning| meaning.is(known.settings));
    // A name in full is meant as such, whatever else it might be.
    if let Some(exact) = services.iter().find(|known| *known.settings.name == *word) {
        return Ok(exact);
    }
    for leaving in [false, true] {
        let candidates = || services.iter().filter(|known| known.leaving == leaving);
        let mut found: Vec<&Known<'_>> = candidates().filter(named).collect();
        if found.is_empty() {
            found = candidates().filter(meant).collect();
        }
        match found.as_slice() {
            [] => {}
            [one] => return Ok(one),
            several => {
                let meant = Names::of(several.iter().map(|known| &known.settings.name));
                return Err(NotFound::SeveralServices { word: word.to_owned(), meant });
            }
        }
    }
    if services.is_empty() {
        return Err(NotFound::NoServices);
    }
    let known = Names::of(services.iter().map(|known| &known.settings.name));
    Err(NotFound::Service { word: word.to_owned(), known })
}

fn find_server(known: &Known<'_>, word: &str) -> Result<RealServerId, NotFound> {
    let place = Place::of(word);
    let is = |id: &RealServerId| place.is_some_and(|place| place.is(id.address, id.port));
    let (service, word) = (Arc::clone(&known.settings.name), word.to_owned());
    for servers in [known.servers().collect(), known.removed.clone()] {
        let found: Vec<RealServerId> = servers.into_iter().filter(is).collect();
        match found.as_slice() {
            [] => {}
            [one] => return Ok(*one),
            several => {
                return Err(NotFound::SeveralServers { service, word, meant: Names::of(several) });
            }
        }
    }
    let mut all = known.servers().chain(known.removed.iter().copied()).peekable();
    if all.peek().is_none() {
        return Err(NotFound::NoServers { service });
    }
    Err(NotFound::Server { service, word, known: Names::of(all) })
}

/// What a word may mean that is no name as in logs.
#[derive(Clone, Copy, Debug)]
enum Meaning<'w> {
    Place { protocol: Option<Protocol>, place: Place },
    Mark { mark: u32, family: Option<Family> },
    Group { protocol: Option<Protocol>, name: &'w str },
}

impl<'w> Meaning<'w> {
    fn of(word: &'w str) -> Vec<Self> {
        let (protocol, rest) = split_protocol(word);
        let place = Place::of(rest).map(|place| Self::Place { protocol, place });
        let group = Some(Self::Group { protocol, name: rest });
        [place, mark(word), group].into_iter().flatten().collect()
    }

    fn is(&self, service: &Service) -> bool {
        let mut ids = service.members.iter().map(|member| member.id);
        match *self {
            Self::Place { protocol: wanted, place } => ids.any(|id| match id {
                ServiceId::Address { protocol, address, port } => {
                    wanted.is_none_or(|wanted| wanted == protocol) && place.is(address, port)
                }
                ServiceId::FwMark { .. } => false,
            }),
            Self::Mark { mark: wanted, family: of } => ids.any(|id| match id {
                ServiceId::FwMark { family, mark } => {
                    mark.get() == wanted && of.is_none_or(|of| of == family)
                }
                ServiceId::Address { .. } => false,
            }),
            Self::Group { protocol: wanted, name } => match split_protocol(&service.name) {
                (Some(protocol), group) => {
                    wanted.is_none_or(|wanted| wanted == protocol) && group.eq_ignore_ascii_case(name)
                }
                (None, _) => false,
            },
        }
    }
}

/// An address, with a port where one is given.
#[derive(Clone, Copy, Debug)]
struct Place {
    address: IpAddr,
    port: Option<u16>,
}

impl Place {
    fn of(word: &str) -> Option<Self> {
        if let Ok(both) = word.parse::<SocketAddr>() {
            return Some(Self { address: both.ip(), port: Some(both.port()) });
        }
        let bare = word.strip_prefix('[').and_then(|word| word.strip_suffix(']')).unwrap_or(word);
        bare.parse().ok().map(|address| Self { address, port: None })
    }

    fn is(self, address: IpAddr, port: u16) -> bool {
        self.address == address && self.port.is_none_or(|wanted| wanted == port)
    }
}

/// `tcp:REST`, `tcp REST`, `REST/tcp`, `REST tcp`.
fn split_protocol(word: &str) -> (Option<Protocol>, &str) {
    for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
        let is = |part: &str| part.eq_ignore_ascii_case(&protocol.to_string());
        let before = word.split_once([':', ' ']).filter(|(first, _)| is(first)).map(|(_, rest)| rest);
        let behind = word.rsplit_once(['/', ' ']).filter(|(_, last)| is(last)).map(|(rest, _)| rest);
        if let Some(rest) = before.or(behind) {
            return (Some(protocol), rest.trim());
        }
    }
    (None, word)
}

/// `fwm 7`, `fwm:7`, `fwmark 7`, `7`; behind it `IPv4` or `IPv6`.
fn mark<'w>(word: &str) -> Option<Meaning<'w>> {
    let mut parts = word.split([':', ' ']).filter(|part| !part.is_empty()).peekable();
    parts.next_if(|part| ["fwm", "fwmark"].iter().any(|name| part.eq_ignore_ascii_case(name)));
    let mark = parts.next()?.parse().ok()?;
    let family = match parts.next() {
        None => None,
        Some(word) => Some(
            [Family::V4, Family::V6]
                .into_iter()
                .find(|family| word.eq_ignore_ascii_case(&family.to_string()))?,
        ),
    };
    parts.next().is_none().then_some(Meaning::Mark { mark, family })
}

#[cfg(test)]
mod tests {
    use buoy_ipvs::{Forwarding, FwMark, Scheduler, VirtualService, Weight};

    use super::*;
    use crate::control::Server;

    fn place(protocol: Protocol, socket: &str) -> ServiceId {
        let socket: SocketAddr = socket.parse().expect("an address and a port");
        ServiceId::Address { protocol, address: socket.ip(), port: socket.port() }
    }

    fn service(name: &str, members: &[ServiceId], servers: &[&str]) -> Service {
        let server = |socket: &&str| {
            let socket: SocketAddr = socket.parse().expect("an address and a port");
            Server {
                id: RealServerId { address: socket.ip(), port: socket.port() },
                forwarding: Forwarding::Direct,
                weight: Weight::ONE,
                upper_threshold: 0,
                lower_threshold: 0,
                inhibit_on_failure: false,
                alpha: false,
                mark: None,
            }
        };
        Service {
            name: name.into(),
            members: members.iter().map(|id| VirtualService::new(*id, Scheduler::Rr)).collect(),
            servers: servers.iter().map(server).collect(),
            quorum: 1,
            hysteresis: 0,
            sorry: None,
            panic_threshold: 0,
            drain_deadline: None,
        }
    }

    fn by_id(id: ServiceId) -> Service {
        service(&id.to_string(), &[id], &["10.1.0.1:80"])
    }

    fn all() -> Vec<Service> {
        let mark = |family, mark| ServiceId::FwMark { family, mark: FwMark::new(mark).expect("not 0") };
        vec![
            by_id(place(Protocol::Tcp, "10.0.0.1:80")),
            by_id(place(Protocol::Tcp, "10.0.0.1:443")),
            by_id(place(Protocol::Tcp, "10.0.0.2:53")),
            by_id(place(Protocol::Udp, "10.0.0.2:53")),
            by_id(place(Protocol::Tcp, "[2001:db8::1]:80")),
            by_id(mark(Family::V4, 7)),
            by_id(mark(Family::V6, 7)),
            by_id(mark(Family::V4, 8)),
            service(
                "web TCP",
                &[place(Protocol::Tcp, "10.0.9.1:80"), place(Protocol::Tcp, "10.0.9.2:80")],
                &["10.1.0.1:80", "10.1.0.1:81", "10.1.0.2:80", "[2001:db8::9]:80"],
            ),
            service("mail TCP", &[place(Protocol::Tcp, "10.0.9.3:25")], &[]),
            service("mail UDP", &[place(Protocol::Udp, "10.0.9.3:25")], &[]),
            service("marks", &[mark(Family::V4, 9)], &["10.1.0.1:80"]),
        ]
    }

    fn configured(services: &[Service]) -> Vec<Known<'_>> {
        let known = |settings| Known { settings, leaving: false, removed: Vec::new() };
        services.iter().map(known).collect()
    }

    #[track_caller]
    fn found(word: &str) -> String {
        match find_service(&configured(&all()), word) {
            Ok(known) => known.settings.name.to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_service_is_known_by_its_name_address_mark_or_group() {
        for (words, name) in [
            (
                ["TCP 10.0.0.1:80", "tcp 10.0.0.1:80", "10.0.0.1:80", "tcp:10.0.0.1:80", "10.0.0.1:80/TCP"]
                    .as_slice(),
                "TCP 10.0.0.1:80",
            ),
            (&["UDP 10.0.0.2:53", "udp:10.0.0.2", "10.0.0.2/udp", "10.0.0.2:53 udp"], "UDP 10.0.0.2:53"),
            (
                &["[2001:db8::1]:80", "[2001:DB8:0::1]", "2001:db8::1", "tcp:[2001:db8::1]:80"],
                "TCP [2001:db8::1]:80",
            ),
            (&["FWM 7"], "FWM 7"),
            (&["fwm 7 ipv6", "fwm:7:ipv6", "7 IPv6", "fwmark 7 ipv6"], "FWM 7 IPv6"),
            (&["fwm 8", "FWM:8", "8", "fwmark 8", "8 ipv4"], "FWM 8"),
            (&["web", "WEB", "web tcp", "web/tcp", "tcp:web", "10.0.9.2", "10.0.9.2:80/tcp"], "web TCP"),
            (&["mail/udp", "mail udp"], "mail UDP"),
            (&["marks", "9"], "marks"),
        ] {
            for word in words {
                assert_eq!(found(word), name, "{word}");
            }
        }
    }

    #[test]
    fn a_word_that_may_mean_several_services_is_refused_with_what_it_may_mean() {
        for (word, meant) in [
            ("10.0.0.1", "TCP 10.0.0.1:80, TCP 10.0.0.1:443"),
            ("10.0.0.2:53", "TCP 10.0.0.2:53, UDP 10.0.0.2:53"),
            ("7", "FWM 7, FWM 7 IPv6"),
            ("mail", "mail TCP, mail UDP"),
        ] {
            assert_eq!(found(word), format!("`{word}` may mean {meant}: give one of these names"));
        }
    }

    #[test]
    fn a_word_that_means_none_is_refused_with_some_of_those_that_there_are() {
        let expected = "no virtual server is `10.0.0.9:80`; there are TCP 10.0.0.1:80, TCP 10.0.0.1:443, \
                        TCP 10.0.0.2:53, UDP 10.0.0.2:53, TCP [2001:db8::1]:80, FWM 7, FWM 7 IPv6, FWM 8, web TCP, \
                        mail TCP and 2 more";
        assert_eq!(found("10.0.0.9:80"), expected);
        let absurd = [
            "",
            " ",
            ":",
            "/",
            "tcp",
            "tcp:",
            "/tcp",
            "tcp web tcp",
            "fwm",
            "fwm 7 8",
            "fwm 7 ipv5",
            "fwm -1",
            "10.0.0.1:99",
            "udp:10.0.0.1:80",
            "web/udp",
            "we",
            "4294967296",
            "[10.0.0.1",
            "é:é",
        ];
        for word in absurd {
            assert!(found(word).starts_with("no virtual server is"), "{word:?}: {}", found(word));
        }
        let none = find(&[], "web", "x").expect_err("nobody");
        assert_eq!(none.to_string(), "there are no virtual servers");
    }

    #[test]
    fn names_that_differ_in_case_alone_are_told_apart_by_it() {
        let services = ["web TCP", "Web TCP"].map(|name| service(name, &[], &[]));
        let services = configured(&services);
        let found = |word| find_service(&services, word).map(|known| known.settings.name.to_string());
        assert_eq!(found("Web TCP"), Ok("Web TCP".to_owned()));
        assert!(matches!(found("WEB TCP"), Err(NotFound::SeveralServices { .. })));
    }

    #[test]
    fn a_server_is_known_by_its_address_and_by_its_port_where_that_is_needed() {
        let services = all();
        let services = configured(&services);
        let found = |service, server| match find(&services, service, server) {
            Ok((service, server)) => format!("{server} of {service}"),
            Err(error) => error.to_string(),
        };
        assert_eq!(found("web", "10.1.0.2"), "10.1.0.2:80 of web TCP");
        assert_eq!(found("web", " 10.1.0.1:81 "), "10.1.0.1:81 of web TCP");
        assert_eq!(found("web", "2001:DB8::9"), "[2001:db8::9]:80 of web TCP");
        assert_eq!(found("web", "[2001:db8::9]:80"), "[2001:db8::9]:80 of web TCP");
        assert_eq!(
            found("web", "10.1.0.1"),
            "`10.1.0.1` of virtual server web TCP may mean 10.1.0.1:80, 10.1.0.1:81: give the port too"
        );
        assert_eq!(
            found("10.0.0.1:80", "www"),
            "virtual server TCP 10.0.0.1:80 has no real server `www`; it has 10.1.0.1:80"
        );
        assert_eq!(found("mail/udp", "10.1.0.1"), "virtual server mail UDP has no real servers");
    }

    #[test]
    fn what_a_reload_has_removed_is_meant_where_nothing_that_is_configured_can_be() {
        let vip = place(Protocol::Tcp, "10.0.0.1:80");
        let (old, new) = (by_id(vip), service("web TCP", &[vip], &["10.1.0.2:80", "10.1.0.3:80"]));
        let id = |last, port| RealServerId { address: [10, 1, 0, last].into(), port };
        let services = [
            Known { settings: &old, leaving: true, removed: vec![id(5, 80)] },
            Known { settings: &new, leaving: false, removed: vec![id(2, 81), id(4, 80), id(4, 81)] },
        ];
        let found = |service, server| match find(&services, service, server) {
            Ok((service, server)) => format!("{server} of {service}"),
            Err(error) => error.to_string(),
        };
        assert_eq!(found("10.0.0.1:80", "10.1.0.2"), "10.1.0.2:80 of web TCP");
        assert_eq!(found("10.0.0.1:80", "10.1.0.2:81"), "10.1.0.2:81 of web TCP");
        assert_eq!(found("TCP 10.0.0.1:80", "10.1.0.5"), "10.1.0.5:80 of TCP 10.0.0.1:80");
        assert_eq!(
            found("web", "10.1.0.4"),
            "`10.1.0.4` of virtual server web TCP may mean 10.1.0.4:80, 10.1.0.4:81: give the port too"
        );
        assert_eq!(
            found("web", "10.1.0.9"),
            "virtual server web TCP has no real server `10.1.0.9`; it has 10.1.0.2:80, 10.1.0.3:80, 10.1.0.2:81, \
             10.1.0.4:80, 10.1.0.4:81"
        );
        assert_eq!(
            found("TCP 10.0.0.1:80", "10.1.0.1"),
            "virtual server TCP 10.0.0.1:80 has no real server `10.1.0.1`; it has 10.1.0.5:80",
            "one that is gone already"
        );
    }
}
