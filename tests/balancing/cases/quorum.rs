//! Quorum, its scripts, and sorry servers.

use std::net::SocketAddr;

use ::buoy::lab::Program;
use buoy_ipvs::{ServiceId, Table};

use crate::director::{Director, real, tcp, virtual_server, wait_for_lines};
use crate::server::{PORT, Server};
use crate::site::{SOON, Site, Way};

with_both_programs!(quorum_gained_and_lost_runs_scripts_and_turns_to_the_sorry_server);

/// The weight of each server of a service, absent ones aside.
fn weights(table: &Table, service: ServiceId, servers: &[Server]) -> Vec<(String, u32)> {
    let entry = |server: &Server| {
        let weight = table.server(&service, &real(server))?.weight.get();
        Some((server.name.clone(), weight))
    };
    servers.iter().filter_map(entry).collect()
}

fn owned(weights: &[(&str, u32)]) -> Vec<(String, u32)> {
    weights.iter().map(|(name, weight)| ((*name).to_owned(), *weight)).collect()
}

fn quorum_gained_and_lost_runs_scripts_and_turns_to_the_sorry_server(program: Program) {
    let mut site = Site::new();
    site.add_server("sorry");
    let mut director = Director::new(&site, program);
    let [up, down] = ["up", "down"].map(|word| {
        let line = format!("echo {word} >> {}", director.path("quorum").display());
        director.script(&format!("quorum-{word}"), &line)
    });
    let vip = Way::Masquerade.vip();
    let (plain, inhibited) = (SocketAddr::new(vip, 80), SocketAddr::new(vip, 81));
    let sorry = format!("sorry_server {} {PORT}", site.servers[3].address);
    let common = format!(
        "protocol TCP\n    lb_algo rr\n    lvs_method NAT\n    delay_loop 1\n    warmup 0\n    retry 0\n    \
         quorum 2\n    {sorry}"
    );
    let scripts = format!("quorum_up {up}\n    quorum_down {down}");
    let check = |_| "weight 1\n        TCP_CHECK {\n        connect_timeout 1\n        }".to_owned();
    let text = [
        "global_defs {\n    script_user root\n    enable_script_security\n}\n".to_owned(),
        virtual_server(&format!("{vip} 80"), &format!("{common}\n    {scripts}"), &site.servers[..3], check),
        virtual_server(
            &format!("{vip} 81"),
            &format!("{common}\n    sorry_server_inhibit\n    inhibit_on_failure"),
            &site.servers[..3],
            check,
        ),
    ];
    director.start(&text.concat());
    let mut expect = |site: &Site, what: &str, first: &[(&str, u32)], second: &[(&str, u32)]| {
        let (first, second) = (owned(first), owned(second));
        let took = director.wait_for_table(SOON, what, |table| {
            let weights = |service| weights(table, tcp(service), &site.servers);
            weights(plain) == first && weights(inhibited) == second
        });
        eprintln!("{what}: after {took:?}");
        let lines = |count| wait_for_lines(&director.path("quorum"), count, || director.story());
        match what {
            "all live" => assert_eq!(lines(1), ["up"]),
            "two live" => assert_eq!(lines(1), ["up"]),
            "one lives" => assert_eq!(lines(2), ["up", "down"]),
            _ => assert_eq!(lines(3), ["up", "down", "up"]),
        }
    };
    let all = [("a", 1), ("b", 1), ("c", 1), ("sorry", 0)];
    expect(&site, "all live", &all[..3], &all);
    site.server("a").kill();
    let two = [("a", 0), ("b", 1), ("c", 1), ("sorry", 0)];
    expect(&site, "two live", &two[1..3], &two);
    site.server("b").kill();
    let none = [("a", 0), ("b", 0), ("c", 0), ("sorry", 1)];
    expect(&site, "one lives", &none[3..], &none);
    for service in [plain, inhibited] {
        assert_eq!(site.client.ask(None, service).expect("an answer"), "sorry");
    }
    site.server("a").start();
    let back = [("a", 1), ("b", 0), ("c", 1), ("sorry", 0)];
    expect(&site, "two live again", &[("a", 1), ("c", 1)], &back);
    for service in [plain, inhibited] {
        let tally = site.client.tally(4, service);
        assert_eq!(tally.keys().collect::<Vec<_>>(), ["a", "c"]);
    }
}
