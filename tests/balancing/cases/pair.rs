//! Two directors: virtual addresses, services and connections follow the role.

use std::net::{IpAddr, SocketAddr};

use ::buoy::lab::Program;
use buoy_ipvs::SyncRole;

use crate::client::Held;
use crate::director::{Director, tcp, virtual_server};
use crate::site::{SOON, Site, Way, back_address, ip, wait_until};

with_both_programs!(connections_outlive_the_director_that_took_them);

const CONNECTIONS: usize = 50;

fn to() -> SocketAddr {
    SocketAddr::new(Way::Masquerade.vip(), 80)
}

/// The same file on both. The servers' way back is an address of the master, too.
fn configuration(site: &Site) -> String {
    let services = virtual_server(
        &format!("{} 80", to().ip()),
        "protocol TCP\n    lb_algo rr\n    lvs_method NAT\n    delay_loop 1\n    warmup 0\n    retry 1\n    \
         delay_before_retry 1",
        &site.servers,
        |_| "TCP_CHECK {\n        connect_timeout 1\n        }".to_owned(),
    );
    format!(
        "global_defs {{\n    lvs_sync_daemon eth1 web id 7\n}}\n\
         vrrp_instance web {{\n    state BACKUP\n    interface eth0\n    virtual_router_id 7\n    version 3\n    \
         advert_int 0.5\n    @one priority 150\n    @two priority 100\n    virtual_ipaddress {{\n        {}/24\n        \
         {}/24 dev eth1\n    }}\n}}\n{services}",
        to().ip(),
        back_address(1),
    )
}

struct Pair {
    one: Director,
    two: Director,
}

impl Pair {
    /// Waits until the one is master, with the addresses and the sync daemon of a master, and the other is backup.
    #[track_caller]
    fn wait_for_master(&mut self, name: &str) {
        let vip: IpAddr = to().ip();
        let held = |director: &mut Director| {
            let roles: Vec<SyncRole> = director.sync_daemons().iter().map(|daemon| daemon.role).collect();
            (director.host.holds(vip).expect("addresses"), roles)
        };
        let (master, backup) =
            if name == "one" { (&mut self.one, &mut self.two) } else { (&mut self.two, &mut self.one) };
        let (master_state, backup_state) = ((true, vec![SyncRole::Master]), (false, vec![SyncRole::Backup]));
        let begun = std::time::Instant::now();
        loop {
            let now = (held(master), held(backup));
            if now == (master_state.clone(), backup_state.clone()) {
                return;
            }
            assert!(
                begun.elapsed() < SOON,
                "{name} is not master: {now:?}: {}\n{}",
                master.story(),
                backup.story()
            );
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

fn ask_all(held: &mut [Held], pair: &Pair) {
    for held in held {
        let answer = held.ask("still?");
        assert!(
            matches!(&answer, Ok(name) if *name == held.name),
            "{}: {answer:?}: {}\n{}",
            held.name,
            pair.one.story(),
            pair.two.story()
        );
    }
}

/// The ways to take both networks from a director.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Interfaces,
    /// Without a word: it goes on believing that it is master.
    Switches,
}

impl Cut {
    fn make(self, site: &Site, director: &Director) {
        match self {
            Self::Interfaces => {
                for interface in ["eth0", "eth1"] {
                    director.host.set_down(interface).expect("down");
                }
            }
            Self::Switches => port(site, &format!("{} nomaster", director.host.name())),
        }
    }

    fn heal(self, site: &Site, director: &Director) {
        match self {
            Self::Interfaces => {
                for interface in ["eth0", "eth1"] {
                    director.host.set_up(interface).expect("up");
                }
            }
            Self::Switches => port(site, &format!("{} master switch", director.host.name())),
        }
    }
}

/// Changes a port of both switches.
fn port(site: &Site, change: &str) {
    for switch in [&site.front, &site.back] {
        ip(switch.host(), &format!("link set {change}\n"));
    }
}

/// Waits until so many servers are dead for a silence that may be the director's own, which it calls no fault.
#[track_caller]
fn wait_for_doubt(director: &Director, servers: usize) {
    let balancing = || director.status().balancing.expect("virtual servers");
    wait_until(SOON, || balancing().doubted == servers, || director.story());
    let settings = balancing().settings;
    let orphans = settings.iter().find(|setting| setting.name == "expire_nodest_conn").expect("a setting");
    let expected = if servers > 0 { 0 } else { 1 };
    assert_eq!((orphans.value, orphans.as_wanted), (Some(expected), true), "{}", director.story());
}

fn connections_outlive_the_director_that_took_them(program: Program) {
    let site = Site::new();
    let [one, two] = [("one", 2), ("two", 3)].map(|(name, number)| {
        let mut director = Director::at(site.router(name, number), program.clone());
        director.start(&configuration(&site));
        director
    });
    let mut pair = Pair { one, two };
    pair.wait_for_master("one");
    let all: Vec<_> = site.servers.iter().collect();
    for director in [&mut pair.one, &mut pair.two] {
        director.wait_for_servers(tcp(to()), &all, SOON);
    }
    let mut held: Vec<Held> =
        (0..CONNECTIONS).map(|_| site.client.hold(to()).expect("a connection")).collect();
    // The backup has them all before the master goes.
    let known = |director: &Director| director.ipvsadm(&["-Lnc"]).matches("ESTABLISHED").count();
    wait_until(SOON, || known(&pair.two) >= CONNECTIONS, || pair.two.story());
    ask_all(&mut held, &pair);

    // Its interfaces go down, then the switches know it no more: the other one takes over, with everything.
    for cut in [Cut::Interfaces, Cut::Switches] {
        cut.make(&site, &pair.one);
        wait_until(SOON, || pair.two.host.holds(to().ip()).expect("addresses"), || pair.two.story());
        ask_all(&mut held, &pair);
        site.client.tally(6, to());
        // It takes all servers for dead, and for all it knows they are.
        pair.one.wait_for_servers(tcp(to()), &[], SOON);
        if pair.one.is_buoy() {
            wait_for_doubt(&pair.one, all.len());
        }
        ask_all(&mut held, &pair);
        cut.heal(&site, &pair.one);
        ask_all(&mut held, &pair);
        pair.wait_for_master("one");
        ask_all(&mut held, &pair);
        pair.one.wait_for_servers(tcp(to()), &all, SOON);
        if pair.one.is_buoy() {
            wait_for_doubt(&pair.one, 0);
        }
        site.client.tally(6, to());
        ask_all(&mut held, &pair);
        eprintln!("{CONNECTIONS} connections outlived {cut:?}");
    }

    // An orderly stop hands over, too.
    if !pair.one.is_buoy() {
        // It resets whoever sends it anything while it stops.
        held.iter().for_each(Held::acknowledge);
    }
    pair.one.stop();
    wait_until(SOON, || pair.two.host.holds(to().ip()).expect("addresses"), || pair.two.story());
    ask_all(&mut held, &pair);
    site.client.tally(6, to());
    eprintln!("{CONNECTIONS} connections outlived five changes of the master");
}
