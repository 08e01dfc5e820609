//! Tunnels to servers of the other family.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use ::buoy::lab::Program;

use crate::client::Tally;
use crate::director::{Director, tcp};
use crate::server::PORT;
use crate::site::{SOON, Site, Way};

with_both_programs!(tunnels_lead_to_servers_of_either_family);

fn tunnels_lead_to_servers_of_either_family(program: Program) {
    let site = Site::new();
    let mut director = Director::new(&site, program);
    let [a, b, c] = &site.servers[..] else { panic!("three servers") };
    let vips = [Way::Ipip.vip(), Way::Ipip.vip6()];
    let services: [(IpAddr, [IpAddr; 3]); 2] =
        [(vips[0], [a.address6, b.address, c.address6]), (vips[1], [a.address, b.address6, c.address])];
    let mut text = String::new();
    for (vip, servers) in services {
        write!(
            text,
            "virtual_server {vip} {PORT} {{\n    protocol TCP\n    lb_algo rr\n    lvs_method TUN\n"
        )
        .expect("a string takes everything");
        for server in servers {
            writeln!(text, "    real_server {server} {PORT} {{\n        weight 1\n    }}")
                .expect("a string takes everything");
        }
        text += "}\n";
    }
    director.start(&text);
    for (vip, servers) in services {
        let to = SocketAddr::new(vip, PORT);
        director.wait_for_table(SOON, "its servers", |table| {
            let held = table.entry(&tcp(to)).map(|entry| entry.servers.keys().map(|id| id.address));
            let mut wanted = servers.to_vec();
            wanted.sort();
            held.is_some_and(|held| held.collect::<Vec<_>>() == wanted)
        });
        let each: Tally = ["a", "b", "c"].map(|name| (name.to_owned(), 2)).into();
        assert_eq!(site.client.tally(6, to), each, "{vip}: {}", director.story());
        let mut held = site.client.hold(to).expect("a connection");
        held.ask(&"x".repeat(40_000)).unwrap_or_else(|error| panic!("{vip}: {error}"));
    }
}
