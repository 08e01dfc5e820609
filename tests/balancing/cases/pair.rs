//! Two directors: virtual addresses, services and connections follow the role.

use std::net::{IpAddr, SocketAddr};

use ::buoy::lab::Program;
use buoy_ipvs::SyncRole;

use crate::client::Held;
use crate::director::{Director, tcp, virtual_server};
use crate::site::{SOON, Site, Way, back_address, wait_until};

with_both_programs!(connections_outlive_the_director_that_took_them);

const CONNECTIONS: usize = 50;

fn to() -> SocketAddr {
    SocketAddr::new(Way::Masquerade.vip(), 80)
}

/// The same file on both. The servers' way back is an address of the master, too. The checks outlast the outages here: a
/// director that finds its servers dead forgets the connections to them.
fn configuration(site: &Site) -> String {
    let services = virtual_server(
        &format!("{} 80", to().ip()),
        "protocol TCP\n    lb_algo rr\n    lvs_method NAT\n    delay_loop 1\n    warmup 0\n    retry 30",
        &site.servers,
        |_| "TCP_CHECK {\n        connect_timeout 3\n        }".to_owned(),
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

    // Its cables are cut: the other one takes over, with everything.
    for interface in ["eth0", "eth1"] {
        pair.one.host.set_down(interface).expect("down");
    }
    wait_until(SOON, || pair.two.host.holds(to().ip()).expect("addresses"), || pair.two.story());
    ask_all(&mut held, &pair);
    site.client.tally(6, to());
    for interface in ["eth0", "eth1"] {
        pair.one.host.set_up(interface).expect("up");
    }
    pair.wait_for_master("one");
    ask_all(&mut held, &pair);
    site.client.tally(6, to());

    // An orderly stop hands over, too.
    pair.one.stop();
    wait_until(SOON, || pair.two.host.holds(to().ip()).expect("addresses"), || pair.two.story());
    ask_all(&mut held, &pair);
    site.client.tally(6, to());
    eprintln!("{CONNECTIONS} connections outlived three changes of the master");
}
