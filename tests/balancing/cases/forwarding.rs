//! Every forwarding method carries TCP and UDP, small and large, in both families.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use ::buoy::lab::Program;

use crate::client::Tally;
use crate::director::{Director, virtual_server};
use crate::server::PORT;
use crate::site::{SOON, Site, Way};

with_both_programs!(every_forwarding_method_carries_traffic);

fn evenly(site: &Site, each: usize) -> Tally {
    site.servers.iter().map(|server| (server.name.clone(), each)).collect()
}

fn every_forwarding_method_carries_traffic(program: Program) {
    let begun = Instant::now();
    let site = Site::new();
    let mut director = Director::new(&site, program);
    eprintln!("a site in {:?}", begun.elapsed());
    let ways = Way::ALL.map(|way| (way, way.vip())).into_iter();
    let ways: Vec<(Way, IpAddr)> = ways.chain(Way::ALL6.map(|way| (way, way.vip6()))).collect();
    let mut text = String::new();
    for (way, vip) in &ways {
        for protocol in ["TCP", "UDP"] {
            let words = format!("protocol {protocol}\n    lb_algo rr\n    {}", way.words());
            text +=
                &virtual_server(&format!("{vip} {PORT}"), &words, &site.servers, |_| "weight 1".to_owned());
        }
    }
    director.start(&text);
    let complete = |table: &buoy_ipvs::Table| {
        table.entries().len() == 2 * ways.len() && table.entries().all(|(_, entry)| entry.servers.len() == 3)
    };
    let took = director.wait_for_table(SOON, "all services", complete);
    eprintln!("programmed in {took:?}");
    for (way, vip) in ways {
        let to = SocketAddr::new(vip, PORT);
        let begun = Instant::now();
        assert_eq!(site.client.tally(6, to), evenly(&site, 2), "{way:?}: {}", director.story());
        assert_eq!(site.client.tally_datagrams(6, to), evenly(&site, 2), "{way:?}: {}", director.story());
        let mut held = site.client.hold(to).expect("a connection");
        let name = held.ask(&"x".repeat(40_000)).unwrap_or_else(|error| panic!("{way:?}: {error}"));
        assert_eq!(name, held.name);
        eprintln!(
            "{way:?} to {vip}: TCP and UDP evenly, 40,000 bytes there and back, in {:?}",
            begun.elapsed()
        );
    }
    director.stop();
}
