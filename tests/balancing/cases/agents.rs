//! Agents of servers say how much they take.

use std::net::SocketAddr;

use buoy_ipvs::Weight;

use crate::client::Tally;
use crate::director::{Director, buoy, real, tcp, virtual_server};
use crate::server::AGENT_PORT;
use crate::site::{SOON, Site, Way};

with_buoy_alone!(a_server_takes_what_its_agent_says);

fn a_server_takes_what_its_agent_says() {
    let site = Site::new();
    let mut director = Director::new(&site, buoy());
    let to = SocketAddr::new(Way::Masquerade.vip(), 80);
    let words = "protocol TCP\n    lb_algo wrr\n    lvs_method NAT\n    delay_loop 0.2\n    warmup 0";
    let checks = |_| {
        format!(
            "weight 4\n        TCP_CHECK {{\n        connect_timeout 3\n        }}\n        \
             AGENT_CHECK {{\n        connect_port {AGENT_PORT}\n        connect_timeout 3\n        retry 0\n        }}"
        )
    };
    director.start(&virtual_server(&format!("{} 80", to.ip()), words, &site.servers, checks));
    let a = real(&site.servers[0]);
    let tally = |counts: [usize; 3]| -> Tally {
        let counts = ["a", "b", "c"].into_iter().zip(counts).filter(|(_, count)| *count > 0);
        counts.map(|(name, count)| (name.to_owned(), count)).collect()
    };
    for (line, weight, shares) in [
        ("up 100%", Some(4), [4, 4, 4]),
        ("75%", Some(3), [3, 4, 4]),
        ("50% up # half of it is broken", Some(2), [2, 4, 4]),
        // Nothing to be understood: it stays as it was.
        ("", Some(2), [2, 4, 4]),
        ("drain", Some(0), [0, 4, 4]),
        // The rest is over, at the weight that was said last.
        ("ready", Some(2), [2, 4, 4]),
        ("maint", Some(0), [0, 4, 4]),
        ("ready 200%", Some(8), [8, 4, 4]),
        ("down # on fire", None, [0, 4, 4]),
        ("up 100%", Some(4), [4, 4, 4]),
    ] {
        site.servers[0].say(line);
        if line.is_empty() {
            director.wait_for_log("cannot be checked, it stays as it is");
        }
        let wanted = weight.map(Weight::clamped);
        let took = director.wait_for_table(SOON, line, |table| {
            table.server(&tcp(to), &a).map(|server| server.weight) == wanted
        });
        eprintln!("{line:?} after {took:?}");
        assert_eq!(site.client.tally(shares.iter().sum(), to), tally(shares), "{line}: {}", director.story());
    }
    director.wait_for_log("on fire");
}
