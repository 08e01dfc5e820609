//! How long the kernel keeps idle connections.

use ::buoy::lab::Program;

use crate::director::{Director, buoy, virtual_server};
use crate::site::{SOON, Site, Way, wait_until};

with_both_programs!(timeouts_are_those_of_the_configuration);

with_buoy_alone!(timeouts_are_kept_and_put_back);

const KERNEL: &str = "900 120 300";

/// TCP, TCP after a FIN, UDP; in seconds.
fn timeouts(director: &Director) -> String {
    let text = director.ipvsadm(&["-L", "--timeout"]);
    let numbers = text.trim().strip_prefix("Timeout (tcp tcpfin udp): ");
    numbers.unwrap_or_else(|| panic!("timeouts, not {text:?}")).to_owned()
}

#[track_caller]
fn wait_for_timeouts(director: &Director, wanted: &str) {
    let story = || format!("{wanted}, but {}: {}", timeouts(director), director.story());
    let took = wait_until(SOON, || timeouts(director) == wanted, story);
    eprintln!("{wanted} after {took:?}");
}

fn configuration(site: &Site, line: &str) -> String {
    let words = "protocol TCP\n    lb_algo rr\n    lvs_method NAT";
    let service = virtual_server(&format!("{} 80", Way::Masquerade.vip()), words, &site.servers, |_| {
        "weight 1".to_owned()
    });
    format!("global_defs {{\n    {line}\n}}\n{service}")
}

fn timeouts_are_those_of_the_configuration(program: Program) {
    let site = Site::new();
    let mut director = Director::new(&site, program);
    assert_eq!(timeouts(&director), KERNEL);
    director.start(&configuration(&site, "lvs_timeouts tcp 777 tcpfin 11 udp 66"));
    wait_for_timeouts(&director, "777 11 66");
}

fn timeouts_are_kept_and_put_back() {
    let site = Site::new();
    let mut director = Director::new(&site, buoy());
    director.ipvsadm(&["--set", "800", "90", "200"]);
    director.start(&configuration(&site, "lvs_timeouts tcp 777 udp 66"));
    wait_for_timeouts(&director, "777 90 66");
    director.ipvsadm(&["--set", "1", "2", "3"]);
    wait_for_timeouts(&director, "777 90 66");
    director.reload(&configuration(&site, "lvs_timeouts tcpfin 11"));
    wait_for_timeouts(&director, "800 11 200");
    director.reload(&configuration(&site, ""));
    wait_for_timeouts(&director, "800 90 200");
    director.reload(&configuration(&site, "lvs_timeouts tcp 5 tcpfin 6 udp 7"));
    wait_for_timeouts(&director, "5 6 7");
    director.stop();
    assert_eq!(timeouts(&director), "800 90 200");
}
