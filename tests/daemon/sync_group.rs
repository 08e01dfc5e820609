//! A sync group over two LANs: its members move together, and the log says which one made them.

use std::fmt::Write as _;

use buoy::lab::{Cable, Switch};

use crate::bench::{Director, SOON, ip, pair};
use crate::lab::wait_until;

const INSIDE: &str = "192.0.2.100";
const OUTSIDE: &str = "198.51.100.100";

/// One instance on each LAN, in a group. The members have different priorities on purpose: a group is not decided
/// by one of them alone.
fn grouped(priorities: [u8; 2]) -> String {
    let members = [("inside", "eth0", 51, INSIDE), ("outside", "eth1", 52, OUTSIDE)];
    let mut conf = "global_defs {\n    vrrp_version 3\n}\n\
                    vrrp_sync_group gateway {\n    group {\n        inside\n        outside\n    }\n}\n"
        .to_owned();
    for ((name, interface, vrid, address), priority) in members.iter().zip(priorities) {
        write!(
            conf,
            "vrrp_instance {name} {{\n    state BACKUP\n    interface {interface}\n    virtual_router_id {vrid}\n    \
             priority {priority}\n    advert_int 0.1\n    virtual_ipaddress {{\n        {address}/24\n    }}\n}}\n"
        )
        .expect("a string takes everything");
    }
    conf
}

/// Whether a director holds both addresses; `None` while it holds one of them.
fn owns(director: &Director) -> Option<bool> {
    let (inside, outside) = (director.holds(ip(INSIDE)), director.holds(ip(OUTSIDE)));
    (inside == outside).then_some(inside)
}

/// States of both members and of the group.
fn states(director: &Director) -> Vec<String> {
    let status = director.status();
    let members = status.instances.into_iter().map(|instance| instance.state);
    members.chain(status.groups.into_iter().map(|group| group.state)).collect()
}

fn all_are(director: &Director, state: &str) -> bool {
    states(director) == [state; 3]
}

fn wait_for_roles(one: (&Director, &str), two: (&Director, &str)) {
    let settled = || {
        [one, two]
            .iter()
            .all(|(director, state)| all_are(director, state) && owns(director) == Some(*state == "MASTER"))
    };
    wait_until(SOON, settled, || {
        format!("{} and {}: {:?}, {:?}", one.1, two.1, states(one.0), states(two.0))
    });
}

/// Two directors on two LANs, and the cable of the first one to the second LAN.
fn two_lans() -> (Director, Director, Cable) {
    let (one, two) = pair();
    let outside = Switch::new("outside").expect("making a switch");
    let cable = outside.connect(&one.host, "eth1").expect("a cable");
    outside.connect(&two.host, "eth1").expect("a cable");
    for (director, number) in [(&one, 1), (&two, 2)] {
        let address = format!("198.51.100.{number}/24").parse().expect("an address");
        director.host.add_address("eth1", address).expect("an address");
    }
    (one, two, cable)
}

#[test]
fn a_link_that_fails_takes_both_members_along_and_its_return_brings_both_back() {
    let (mut one, mut two, outside) = two_lans();
    one.start(grouped([200, 190]));
    wait_until(SOON, || all_are(&one, "MASTER"), || format!("{:?}", states(&one)));
    two.start(grouped([100, 110]));
    wait_for_roles((&one, "MASTER"), (&two, "BACKUP"));

    outside.unplug().expect("unplugging");
    wait_for_roles((&one, "FAULT"), (&two, "MASTER"));
    one.wait_for_log("instance outside: MASTER -> FAULT: interface eth1 is down");
    one.wait_for_log("instance inside: MASTER -> FAULT: ");
    one.wait_for_log("group gateway: MASTER -> FAULT: ");
    two.wait_for_log("group gateway: BACKUP -> MASTER: ");
    let log = one.log();
    let told =
        log.iter().find(|line| line.contains("instance inside: MASTER -> FAULT: ")).expect("just seen");
    assert!(told.contains("outside") && told.contains("gateway"), "member and group are named: {told}");

    outside.plug().expect("plugging");
    wait_for_roles((&one, "MASTER"), (&two, "BACKUP"));
    one.wait_for_log("over: interface eth1 is down");

    one.stop();
    assert_eq!(owns(&one), Some(false), "nothing is left behind");
    wait_until(
        SOON,
        || all_are(&two, "MASTER") && owns(&two) == Some(true),
        || format!("{:?}", states(&two)),
    );
    let log = one.log();
    for member in ["inside", "outside"] {
        let line = format!("instance {member}: MASTER -> STOP: orderly stop");
        assert!(log.iter().any(|told| told.contains(&line)), "{line}: {log:#?}");
    }
    two.stop();
    assert_eq!(owns(&two), Some(false));
}
