//! Whatever becomes of the director's program, its services go on.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ::buoy::lab::Program;
use buoy_ipvs::Weight;

use crate::client::{Load, failures};
use crate::director::{Director, buoy, real, tcp, virtual_server};
use crate::server::Server;
use crate::site::{SOON, Site, Way, wait_until};

with_both_programs!(
    no_question_fails_while_the_file_is_read_again,
    no_question_fails_over_a_kill_and_a_restart
);

with_buoy_alone!(
    no_question_fails_while_servers_come_and_go_by_reloads,
    no_question_fails_over_a_kill_of_the_master_of_the_address,
    a_flushed_table_is_repaired,
    what_the_kernel_lacks_is_named_and_the_rest_serves,
    nothing_is_left_by_an_orderly_stop_but_what_others_made,
);

fn to() -> SocketAddr {
    SocketAddr::new(Way::Masquerade.vip(), 80)
}

/// Three servers in turns, the first with this weight.
fn configuration(site: &Site, weight: u32) -> String {
    configuration_at(to().ip(), &site.servers, weight)
}

fn configuration_at(vip: IpAddr, servers: &[Server], weight: u32) -> String {
    let words = "protocol TCP\n    lb_algo wrr\n    lvs_method NAT\n    delay_loop 1\n    warmup 0";
    let server = |number| {
        let weight = if number == 0 { weight } else { 1 };
        format!("weight {weight}\n        TCP_CHECK {{\n        connect_timeout 3\n        }}")
    };
    virtual_server(&format!("{vip} 80"), words, servers, server)
}

fn running(program: Program) -> (Site, Director) {
    let site = Site::new();
    let mut director = Director::new(&site, program);
    director.start(&configuration(&site, 1));
    let all: Vec<_> = site.servers.iter().collect();
    director.wait_for_servers(tcp(to()), &all, SOON);
    (site, director)
}

#[track_caller]
fn assert_none_failed(load: Load, director: &Director) -> usize {
    let answers = load.end();
    let failed = failures(&answers);
    assert!(failed.is_empty(), "{} of {}: {failed:?}: {}", failed.len(), answers.len(), director.story());
    answers.len()
}

fn no_question_fails_while_the_file_is_read_again(program: Program) {
    let (site, mut director) = running(program);
    let load = site.client.load(to());
    load.wait_for_answers(30);
    let first = real(&site.servers[0]);
    for weight in [5, 1, 9, 2, 7, 1] {
        director.reload(&configuration(&site, weight));
        let wanted = Weight::clamped(weight.into());
        director.wait_for_table(SOON, "the new weight", |table| {
            table.server(&tcp(to()), &first).is_some_and(|server| server.weight == wanted)
        });
        load.wait_for_answers(20);
    }
    let asked = assert_none_failed(load, &director);
    eprintln!("6 reloads: none of {asked} questions failed");
}

fn no_question_fails_over_a_kill_and_a_restart(program: Program) {
    let (mut site, mut director) = running(program);
    let load = site.client.load(to());
    load.wait_for_answers(30);
    for _ in 0..2 {
        director.kill();
        load.wait_for_answers(60);
        director.start_again();
        let begun = Instant::now();
        director.wait_until_it_runs();
        eprintln!("running {:?} after the start", begun.elapsed());
        load.wait_for_answers(60);
    }
    let asked = assert_none_failed(load, &director);
    eprintln!("2 kills: none of {asked} questions failed");
    // And it is the new one that drives.
    site.server("a").kill();
    let left = [&site.servers[1], &site.servers[2]];
    director.wait_for_servers(tcp(to()), &left, SOON);
}

fn no_question_fails_while_servers_come_and_go_by_reloads() {
    let (site, mut director) = running(buoy());
    let load = site.client.load(to());
    load.wait_for_answers(30);
    for count in [2, 3, 1, 3] {
        let servers = &site.servers[..count];
        director.reload(&configuration_at(to().ip(), servers, 1));
        director.wait_for_servers(tcp(to()), &servers.iter().collect::<Vec<_>>(), SOON);
        load.wait_for_answers(20);
    }
    let asked = assert_none_failed(load, &director);
    eprintln!("2 servers left and came back: none of {asked} questions failed");
}

fn no_question_fails_over_a_kill_of_the_master_of_the_address() {
    let site = Site::new();
    let mut director = Director::new(&site, buoy());
    let to: SocketAddr = "192.0.2.150:80".parse().expect("an address");
    let instance = format!(
        "vrrp_instance web {{\n    interface eth0\n    virtual_router_id 7\n    version 3\n    advert_int 0.1\n    \
         virtual_ipaddress {{\n        {}/24\n    }}\n}}\n",
        to.ip()
    );
    director.start(&(instance + &configuration_at(to.ip(), &site.servers, 1)));
    let all: Vec<_> = site.servers.iter().collect();
    director.wait_for_servers(tcp(to), &all, SOON);
    director.wait_for_log("-> MASTER");
    let load = site.client.load(to);
    load.wait_for_answers(30);
    director.kill();
    load.wait_for_answers(60);
    director.start_again();
    director.wait_for_log("-> MASTER");
    load.wait_for_answers(60);
    let answers = load.end();
    let longest = answers.iter().map(|answer| answer.answered - answer.asked).max().expect("answers");
    let failed = failures(&answers);
    assert!(failed.is_empty(), "{} of {}: {failed:?}: {}", failed.len(), answers.len(), director.story());
    eprintln!(
        "a kill of the master: none of {} questions failed, the slowest took {longest:?}",
        answers.len()
    );
}

fn what_the_kernel_lacks_is_named_and_the_rest_serves() {
    let site = Site::new();
    let mut director = Director::new(&site, buoy());
    let odd = virtual_server(
        &format!("{} 81", to().ip()),
        "protocol TCP\n    lb_algo twos\n    lvs_method NAT",
        &site.servers,
        |_| "weight 1".to_owned(),
    );
    director.start(&(odd + &configuration(&site, 1)));
    let all: Vec<_> = site.servers.iter().collect();
    director.wait_for_servers(tcp(to()), &all, SOON);
    site.client.tally(3, to());
    if director.table().entries().len() == 2 {
        eprintln!("this kernel lacks nothing");
        return;
    }
    let refused = || director.status().balancing.map(|balancing| balancing.refused).unwrap_or_default();
    let named = |words: &String| words.contains(&format!("TCP {}:81", to().ip())) && words.contains("twos");
    wait_until(SOON, || refused().iter().any(named), || format!("{:?}: {}", refused(), director.story()));
    eprintln!("{:?}", refused());
}

fn a_flushed_table_is_repaired() {
    let (site, mut director) = running(buoy());
    let table = director.table();
    director.ipvsadm(&["-C"]);
    let took = director.wait_for_table(SOON, "the table as it was", |now| *now == table);
    assert!(took < Duration::from_secs(5) + Duration::from_millis(500), "repaired after {took:?}");
    site.client.tally(3, to());
    eprintln!("repaired after {took:?}");
}

fn nothing_is_left_by_an_orderly_stop_but_what_others_made() {
    let (_site, mut director) = running(buoy());
    director.ipvsadm(&["-A", "-t", "192.0.2.200:80", "-s", "rr"]);
    director.ipvsadm(&["-a", "-t", "192.0.2.200:80", "-r", "10.1.0.99:80", "-m"]);
    director.stop();
    let left = director.table();
    assert_eq!(left.entries().len(), 1, "{left:?}");
    assert!(left.entry(&tcp("192.0.2.200:80".parse().expect("an address"))).is_some(), "{left:?}");
}
