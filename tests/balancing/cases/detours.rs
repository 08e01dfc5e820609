//! Checks by way of the service: a server without the virtual address is no server.

use std::net::{IpAddr, SocketAddr};

use buoy_ipvs::{Family, Protocol, RealServerId, ServiceId};

use crate::client::Tally;
use crate::director::{Director, buoy, serving, tcp, udp, virtual_server};
use crate::server::{PORT, Server};
use crate::site::{SOON, Site, Way, ip, wait_until};

with_buoy_alone!(a_server_without_the_virtual_address_is_found_dead_though_its_own_answers);

/// How a service forwards, its address, and where servers have that.
struct Service {
    protocol: Protocol,
    way: Way,
    vip: IpAddr,
    device: &'static str,
}

impl Service {
    /// TCP by every way that needs the address on servers, and UDP by one.
    fn all() -> Vec<Self> {
        let v4 = Way::ALL.iter().filter_map(|way| Some((*way, way.vip(), way.device()?)));
        let v6 = Way::ALL.iter().filter_map(|way| Some((*way, way.vip6(), way.device6()?)));
        let both = v4.chain(v6).flat_map(|(way, vip, device)| {
            let udp = (way == Way::Direct).then_some(Protocol::Udp);
            let protocols = [Some(Protocol::Tcp), udp].into_iter().flatten();
            protocols.map(move |protocol| Self { protocol, way, vip, device })
        });
        both.collect()
    }

    fn id(&self) -> ServiceId {
        if self.protocol == Protocol::Udp { udp(self.to()) } else { tcp(self.to()) }
    }

    #[track_caller]
    fn tally(&self, site: &Site, count: usize) -> Tally {
        match self.protocol {
            Protocol::Udp => site.client.tally_datagrams(count, self.to()),
            _ => site.client.tally(count, self.to()),
        }
    }

    fn to(&self) -> SocketAddr {
        SocketAddr::new(self.vip, PORT)
    }

    fn real(&self, server: &Server) -> RealServerId {
        RealServerId { address: self.own(server), port: PORT }
    }

    fn own(&self, server: &Server) -> IpAddr {
        if self.vip.is_ipv4() { server.address } else { server.address6 }
    }

    fn configuration(&self, servers: &[Server]) -> String {
        let words = format!(
            "protocol {}\n    lb_algo rr\n    {}\n    delay_loop 0.5\n    delay_before_retry 0.2\n    warmup 0",
            self.protocol,
            self.way.words()
        );
        let common = "check_vip\n        connect_timeout 1";
        // One of them does more than connect.
        let check = match (self.protocol, self.way) {
            (Protocol::Udp, _) => {
                format!("UDP_CHECK {{\n        require_reply\n        {common}\n        }}")
            }
            (_, Way::Ipip) => {
                let url = "url {\n            path /\n            status_code 200\n        }";
                format!("HTTP_GET {{\n        {url}\n        {common}\n        }}")
            }
            _ => format!("TCP_CHECK {{\n        {common}\n        }}"),
        };
        virtual_server(&format!("{} {PORT}", self.vip), &words, servers, |_| check.clone())
    }
}

/// Waits until every service has exactly these servers, by a check of each that has come to a result.
#[track_caller]
fn wait_for(director: &mut Director, services: &[Service], servers: &[&Server]) {
    let checked = |director: &Director| {
        let status = director.status();
        status.services.len() == services.len()
            && status.services.iter().flat_map(|s| &s.servers).all(|server| server.reason_age.is_some())
    };
    wait_until(SOON, || checked(director), || director.story());
    let took = director.wait_for_table(SOON, "the servers with the address", |table| {
        services.iter().all(|service| {
            let wanted: Vec<_> = servers.iter().map(|server| service.real(server)).collect();
            serving(table, &service.id()) == wanted
        })
    });
    eprintln!("{} servers in all services after {took:?}", servers.len());
}

fn a_server_without_the_virtual_address_is_found_dead_though_its_own_answers() {
    let site = Site::new();
    let mut director = Director::new(&site, buoy());
    let services = Service::all();
    let text: Vec<String> = services.iter().map(|service| service.configuration(&site.servers)).collect();
    director.start(&text.concat());
    director.wait_until_it_runs();
    let (all, left) = (site.servers.iter().collect::<Vec<_>>(), [&site.servers[1], &site.servers[2]]);
    wait_for(&mut director, &services, &all);
    let dead: Vec<String> = director.log().into_iter().filter(|line| line.contains(" is down: ")).collect();
    assert_eq!(dead, Vec::<String>::new(), "no check was made before IPVS could forward it");
    let mut asked = 0;
    let mut ask = |names: &[&str]| {
        for service in &services {
            let tally = service.tally(&site, 6);
            assert_eq!(tally.keys().collect::<Vec<_>>(), names, "{:?} to {}", service.way, service.vip);
            assert!(tally.values().all(|count| *count == 6 / names.len()), "{tally:?}");
        }
        asked += 6;
    };
    ask(&["a", "b", "c"]);

    let addresses = |verb: &str| {
        // A service of another protocol has the same address.
        for service in services.iter().filter(|service| service.protocol == Protocol::Tcp) {
            let len = if service.vip.is_ipv4() { 32 } else { 128 };
            let nodad = if service.vip.is_ipv6() && verb == "add" { " nodad" } else { "" };
            let line = format!("address {verb} {}/{len} dev {}{nodad}\n", service.vip, service.device);
            ip(&site.servers[0].host, &line);
        }
    };
    addresses("del");
    wait_for(&mut director, &services, &left);
    for service in &services {
        let own = SocketAddr::new(service.own(&site.servers[0]), PORT);
        assert_eq!(site.client.ask(None, own).expect("an answer"), "a", "its own address answers");
    }
    ask(&["b", "c"]);
    addresses("add");
    wait_for(&mut director, &services, &all);
    ask(&["a", "b", "c"]);

    // The checks have gone by marks, clients by their services alone.
    let table = director.table();
    let marks: Vec<ServiceId> =
        table.entries().map(|(id, _)| *id).filter(|id| matches!(id, ServiceId::FwMark { .. })).collect();
    assert_eq!(marks.len(), services.len() * site.servers.len());
    assert!([Family::V4, Family::V6].iter().all(|family| marks.iter().any(|id| id.family() == *family)));
    let mut counted = || {
        let statistics = director.statistics();
        let connections = |id: &ServiceId| statistics.services.get(id).map_or(0, |c| c.connections);
        let of_clients: Vec<u64> = services.iter().map(|service| connections(&service.id())).collect();
        (of_clients, marks.iter().all(|id| connections(id) > 0))
    };
    let expected = (vec![asked; services.len()], true);
    wait_until(SOON, || counted() == expected, || format!("{expected:?}"));
}
