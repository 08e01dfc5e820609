//! `ipvsadm` and `buoy status --json` tell the same.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use ::buoy::api::ServiceStatus;

use crate::director::{Director, buoy, virtual_server};
use crate::server::PORT;
use crate::site::{SOON, Site, Way, wait_until};

with_buoy_alone!(ipvsadm_and_the_status_tell_the_same);

/// What either says of a service, its servers by address.
#[derive(Debug, Default, PartialEq)]
struct Listed {
    scheduler: String,
    /// `persistent 300`, `ops`
    flags: Vec<String>,
    servers: BTreeMap<String, ListedServer>,
}

#[derive(Debug, Default, PartialEq)]
struct ListedServer {
    forwarding: String,
    weight: u64,
    active: u64,
    inactive: u64,
    persistent: u64,
    /// Connections, packets in and out, bytes in and out.
    totals: Vec<u64>,
}

type Listing = BTreeMap<String, Listed>;

/// What `ipvsadm` prints, put together: `-Ln`, `-Ln --stats` and `-Lnc`.
fn ipvsadm(director: &Director) -> Listing {
    let mut listing = Listing::new();
    fill(&mut listing, &director.ipvsadm(&["-Ln"]), |server, columns| {
        if let [forwarding, weight, active, inactive] = columns {
            server.forwarding = (*forwarding).to_owned();
            [server.weight, server.active, server.inactive] = [weight, active, inactive].map(|n| number(n));
        }
    });
    fill(&mut listing, &director.ipvsadm(&["-Ln", "--stats", "--exact"]), |server, columns| {
        server.totals = columns.iter().map(|column| number(column)).collect();
    });
    for line in director.ipvsadm(&["-Lnc"]).lines() {
        let columns: Vec<&str> = line.split_whitespace().collect();
        // A template has the client's port 0.
        if let [protocol, _, _, client, service, server] = columns[..]
            && client.ends_with(":0")
        {
            let listed = listing.get_mut(&format!("{protocol} {service}")).expect("a service that is listed");
            listed.servers.get_mut(server).expect("a server that is listed").persistent += 1;
        }
    }
    listing
}

fn fill(listing: &mut Listing, text: &str, mut note: impl FnMut(&mut ListedServer, &[&str])) {
    let mut service = None;
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["->", address, ref columns @ ..] if address.contains(char::is_numeric) => {
                let listed: &mut Listed =
                    listing.entry(service.clone().expect("a service first")).or_default();
                note(listed.servers.entry(address.to_owned()).or_default(), columns);
            }
            [protocol @ ("TCP" | "UDP"), address, ref more @ ..] => {
                let name = format!("{protocol} {address}");
                let listed = listing.entry(name.clone()).or_default();
                if let [scheduler, flags @ ..] = more
                    && scheduler.starts_with(char::is_alphabetic)
                {
                    listed.scheduler = (*scheduler).to_owned();
                    listed.flags = flags.iter().map(|word| (*word).to_owned()).collect();
                }
                service = Some(name);
            }
            _ => {}
        }
    }
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("a number, not {text:?}"))
}

fn status(services: &[ServiceStatus]) -> Listing {
    let listed = |service: &ServiceStatus| {
        let persistence = service.persistence.as_deref().map(|words| words.replace(" s", ""));
        let persistence = persistence.into_iter().flat_map(|seconds| ["persistent".to_owned(), seconds]);
        let servers = service.servers.iter().map(|server| {
            let (now, totals) = (server.connections.unwrap_or_default(), server.totals.unwrap_or_default());
            let listed = ListedServer {
                forwarding: server.forwarding.clone(),
                weight: server.weight.unwrap_or_default().into(),
                active: now.active,
                inactive: now.inactive,
                persistent: now.persistent,
                totals: vec![
                    totals.connections,
                    totals.packets_in,
                    totals.packets_out,
                    totals.bytes_in,
                    totals.bytes_out,
                ],
            };
            (server.address.clone(), listed)
        });
        let listed = Listed {
            scheduler: service.scheduler.clone().unwrap_or_default(),
            flags: persistence.chain(service.flags.iter().cloned()).collect(),
            servers: servers.collect(),
        };
        (service.name.clone(), listed)
    };
    services.iter().map(listed).collect()
}

fn ipvsadm_and_the_status_tell_the_same() {
    let site = Site::new();
    let mut director = Director::new(&site, buoy());
    let vip = |way: Way| format!("{} {PORT}", way.vip());
    let text: String = [
        (vip(Way::Masquerade), "TCP", "rr", "lvs_method NAT"),
        (vip(Way::Masquerade), "UDP", "wlc", "lvs_method NAT"),
        (vip(Way::Direct), "TCP", "sh", "lvs_method DR\n    persistence_timeout 300"),
        (vip(Way::Direct), "UDP", "rr", "lvs_method DR\n    ops"),
        (vip(Way::Ipip), "TCP", "wrr", "lvs_method TUN"),
        (format!("{} {PORT}", Way::Masquerade.vip6()), "TCP", "lc", "lvs_method NAT"),
    ]
    .into_iter()
    .map(|(head, protocol, scheduler, words)| {
        let words = format!("protocol {protocol}\n    lb_algo {scheduler}\n    {words}");
        virtual_server(&head, &words, &site.servers, |number| format!("weight {}", number + 1))
    })
    .collect();
    director.start(&text);
    director.wait_for_table(SOON, "all services", |table| {
        table.entries().len() == 6 && table.entries().all(|(_, entry)| entry.servers.len() == 3)
    });
    let to = |address| SocketAddr::new(address, PORT);
    let mut held = Vec::new();
    for address in [Way::Masquerade.vip(), Way::Direct.vip(), Way::Ipip.vip(), Way::Masquerade.vip6()] {
        held.extend((0..4).map(|_| site.client.hold(to(address)).expect("a connection")));
        site.client.tally(5, to(address));
    }
    site.client.tally_datagrams(7, to(Way::Masquerade.vip()));
    site.client.tally_from_one_port(7, to(Way::Direct.vip()));
    // The kernel shows its counters as they were up to two seconds ago.
    let same = || {
        let (theirs, ours) = (ipvsadm(&director), status(&director.status().services));
        let counted =
            |listed: &Listed| listed.servers.values().any(|s| s.totals.first().is_some_and(|n| *n > 0));
        theirs.len() == 6 && theirs.values().all(counted) && theirs == ours
    };
    wait_until(SOON, same, || {
        let (theirs, ours) = (ipvsadm(&director), status(&director.status().services));
        format!("ipvsadm: {theirs:#?}\nstatus: {ours:#?}\n{}", director.story())
    });
    let listing = ipvsadm(&director);
    let connections: u64 =
        listing.values().flat_map(|l| l.servers.values()).map(|s| s.active + s.inactive).sum();
    assert!(connections >= 4 * 9 + 7, "{listing:#?}");
    let persistent = &listing[&format!("TCP {}:{PORT}", Way::Direct.vip())];
    assert_eq!(persistent.servers.values().map(|server| server.persistent).sum::<u64>(), 1);
    eprintln!("{} services with {connections} connections are told alike", listing.len());
}
