//! Too many dead servers are taken for a broken check: the last good ones stay.

use std::net::SocketAddr;

use crate::director::{Director, buoy, tcp, virtual_server};
use crate::server::Server;
use crate::site::{SOON, Site, Way, wait_until};

with_buoy_alone!(the_last_good_servers_stay_while_too_few_pass_their_checks);

fn names<'s>(servers: impl IntoIterator<Item = &'s Server>) -> Vec<&'s str> {
    servers.into_iter().map(|server| server.name.as_str()).collect()
}

fn the_last_good_servers_stay_while_too_few_pass_their_checks() {
    let mut site = Site::new();
    let mut director = Director::new(&site, buoy());
    let to = SocketAddr::new(Way::Masquerade.vip(), 80);
    let words = "protocol TCP\n    lb_algo rr\n    lvs_method NAT\n    delay_loop 0.2\n    warmup 0\n    panic_threshold 50";
    let check = |_| "TCP_CHECK {\n        connect_timeout 1\n        }".to_owned();
    director.start(&virtual_server(&format!("{} 80", to.ip()), words, &site.servers, check));
    let all: Vec<_> = site.servers.iter().collect();
    director.wait_for_servers(tcp(to), &all, SOON);
    assert_eq!(names(all), ["a", "b", "c"]);

    // Two of three are enough to be believed.
    site.server("a").kill();
    director.wait_for_servers(tcp(to), &[&site.servers[1], &site.servers[2]], SOON);
    assert!(!director.status().services[0].panic);

    // One of three is not, and none neither.
    site.server("b").kill();
    director.wait_for_log("only 1 of 3 real servers pass their checks, fewer than panic_threshold allows");
    let good = [&site.servers[1], &site.servers[2]];
    director.wait_for_servers(tcp(to), &good, SOON);
    let answers: Vec<_> = (0..6).map(|_| site.client.ask(None, to).ok()).collect();
    let answered = answers.iter().flatten().collect::<Vec<_>>();
    assert_eq!(answered, ["c"; 3], "the last good servers have equal shares: {answers:?}");
    site.server("c").kill();
    let up = |director: &Director| director.status().services[0].servers.iter().filter(|s| s.up).count();
    wait_until(SOON, || up(&director) == 0, || director.story());
    let status = &director.status().services[0];
    assert!(status.panic && status.quorum.reached, "{status:?}");
    director.wait_for_servers(tcp(to), &[&site.servers[1], &site.servers[2]], SOON);

    // A server that was dead before counts again as soon as it lives.
    site.server("a").start();
    let all: Vec<_> = site.servers.iter().collect();
    director.wait_for_servers(tcp(to), &all, SOON);
    assert!(director.status().services[0].panic);
    site.server("b").start();
    director.wait_for_log("2 of 3 real servers pass their checks, they decide again");
    director.wait_for_servers(tcp(to), &[&site.servers[0], &site.servers[1]], SOON);
    let tally = site.client.tally(6, to);
    assert_eq!(tally.keys().collect::<Vec<_>>(), ["a", "b"]);
    assert!(!director.status().services[0].panic);
}
