//! The host's network: whatever happens to interfaces is a state that heals; what was deleted comes back.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, SystemTime};

use buoy::lab::InterfaceAddress;
use futures::TryStreamExt;
use rtnetlink::packet_route::address::{AddressAttribute, AddressHeaderFlags};
use rtnetlink::packet_route::link::LinkFlags;
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use rtnetlink::{LinkUnspec, RouteMessageBuilder};

use crate::bench::{Conf, Director, SOON, alone, ip, pair, stays, vip};
use crate::lab::wait_until;

fn wait_for_fault(director: &Director, text: &str) {
    let faulted = || {
        let first = director.first();
        first.state == "FAULT" && first.faults.iter().any(|fault| fault.contains(text))
    };
    wait_until(SOON, faulted, || format!("fault {text:?}: {:#?}", director.first()));
}

fn address(text: &str) -> InterfaceAddress {
    text.parse().expect("an address")
}

fn rename(director: &Director, from: &str, to: &str) {
    director.host.set_down(from).expect("down");
    let link = director.host.link(from).expect("a link");
    let message = LinkUnspec::new_with_index(link.index).name(to.to_owned()).up().build();
    director
        .host
        .netlink(move |netlink| async move { netlink.link().set(message).execute().await })
        .expect("renaming");
}

#[test]
fn an_interface_may_be_missing_without_address_down_unplugged_renamed_or_recreated_and_all_of_it_heals() {
    let mut one = alone();
    one.start(Conf::owner().to_string().replace("eth0", "eth1"));
    wait_for_fault(&one, "interface eth1 does not exist");
    one.wait_for_log("FAULT: interface eth1 does not exist");

    let cable = one.switch.connect(&one.host, "eth1").expect("a cable");
    wait_for_fault(&one, "interface eth1 has no address to send from");
    one.host.add_address("eth1", address("192.0.2.11/24")).expect("an address");
    one.wait_for_state("MASTER");
    one.wait_for_vip();

    one.host.set_down("eth1").expect("down");
    wait_for_fault(&one, "interface eth1 is down");
    one.wait_for_log("MASTER -> FAULT: interface eth1 is down");
    one.host.set_up("eth1").expect("up");
    one.wait_for_vip();

    cable.unplug().expect("unplugging");
    wait_for_fault(&one, "interface eth1 is down");
    cable.plug().expect("plugging");
    one.wait_for_vip();

    one.host.remove_address(ip("192.0.2.11")).expect("removing");
    wait_for_fault(&one, "interface eth1 has no address to send from");
    one.host.add_address("eth1", address("192.0.2.12/24")).expect("an address");
    one.wait_for_vip();
    assert_eq!(one.first().source, Some(ip("192.0.2.12")));

    rename(&one, "eth1", "eth7");
    wait_for_fault(&one, "interface eth1 does not exist");
    wait_until(SOON, || !one.holds(vip()), || "the address is off the renamed interface".to_owned());
    rename(&one, "eth7", "eth1");
    one.wait_for_vip();

    one.host.delete_link("eth1").expect("deleting");
    wait_for_fault(&one, "interface eth1 does not exist");
    one.switch.connect(&one.host, "eth1").expect("a cable");
    one.host.add_address("eth1", address("192.0.2.11/24")).expect("an address");
    one.wait_for_vip();
    one.wait_for_state("MASTER");
    one.wait_for_log("over: interface eth1");
    let busy = one.election_time();
    assert!(busy < Duration::from_millis(500), "the election slept meanwhile: {busy:?} of work");
    one.stop();
    assert!(!one.holds(vip()));
}

#[test]
fn a_renamed_interface_of_the_master_does_not_keep_the_address_without_a_lease() {
    let mut one = alone();
    one.start(Conf::owner().global("vip_lease 0"));
    one.wait_for_vip();
    let link = one.host.link("eth0").expect("a link");
    let message = LinkUnspec::new_with_index(link.index).name("ethX".to_owned()).build();
    one.host
        .netlink(move |netlink| async move { netlink.link().set(message).execute().await })
        .expect("renaming");
    wait_until(SOON, || !one.holds(vip()), || "the address is off the renamed interface".to_owned());
    one.wait_for_log("its interface was renamed; removing it");
    wait_for_fault(&one, "interface eth0 does not exist");
    assert!(one.holds(ip("192.0.2.1")), "its own address stays");
    rename(&one, "ethX", "eth0");
    one.wait_for_vip();
    one.stop();
    assert!(!one.holds(vip()));
}

#[test]
fn a_virtual_address_that_somebody_adds_to_the_backup_is_removed_and_said_once() {
    let (mut one, mut two) = pair();
    one.start(Conf::new(200));
    one.wait_for_vip();
    two.start(Conf::new(100));
    two.wait_for_state("BACKUP");
    for _ in 0..2 {
        two.host.add_address("eth0", address("192.0.2.100/24")).expect("adding");
        wait_until(SOON, || !two.holds(vip()), || "the backup has no address".to_owned());
    }
    let said = "put there by somebody else, while this router is not master; removing it";
    two.wait_for_log(said);
    assert_eq!(two.log().iter().filter(|line| line.contains(said)).count(), 1, "{:#?}", two.log());
    assert!(one.holds(vip()) && two.first().state == "BACKUP");
    // Taking over is no contradiction.
    one.kill();
    two.wait_for_vip();
    two.wait_for_state("MASTER");
    assert_eq!(two.log().iter().filter(|line| line.contains(said)).count(), 1, "{:#?}", two.log());
}

#[test]
fn a_virtual_address_under_another_prefix_is_no_less_unwanted_and_said_too() {
    let (mut one, mut two) = pair();
    one.start(Conf::new(200));
    one.wait_for_vip();
    two.start(Conf::new(100));
    two.wait_for_state("BACKUP");
    two.host.add_address("eth0", address("192.0.2.100/32")).expect("adding");
    wait_until(SOON, || !two.holds(vip()), || "the backup has no address".to_owned());
    two.wait_for_log("put there by somebody else, while this router is not master; removing it");
    one.host.add_address("eth0", address("192.0.2.100/32")).expect("adding");
    one.wait_for_log("there under another prefix than the configured one; removing it");
    let prefixes = || {
        let vip = AddressAttribute::Address(vip());
        let held = one.addresses().into_iter().filter(|held| held.attributes.contains(&vip));
        held.map(|held| held.header.prefix_len).collect::<Vec<u8>>()
    };
    wait_until(SOON, || prefixes() == [24], || format!("the configured one alone: {:?}", prefixes()));
    assert_eq!(one.first().state, "MASTER");
    one.stop();
    two.stop();
}

#[test]
fn a_deleted_virtual_mac_interface_is_put_back_with_its_addresses_and_one_line_about_it() {
    let mut one = alone();
    one.start(Conf::owner().words("use_vmac"));
    let held = || one.address(vip()).is_some_and(|held| held.header.index == vmac(&one));
    wait_until(SOON, held, || "the address is on the virtual MAC".to_owned());
    let page = String::from_utf8(one.buoy(&["status"]).stdout).expect("text");
    assert!(page.contains("192.0.2.100/24 dev vrrp.51"), "{page}");
    for times in 1..=3 {
        let before = vmac(&one);
        one.host.delete_link("vrrp.51").expect("deleting");
        let back = || vmac(&one) != before && held();
        wait_until(SOON, back, || "the interface is back, with the address".to_owned());
        let said = "virtual MAC interface vrrp.51 was deleted or renamed by somebody; put back";
        let lines = || one.log().iter().filter(|line| line.contains(said)).count();
        wait_until(SOON, || lines() == times, || format!("{times} lines: {:#?}", one.log()));
    }
    let log = one.log();
    assert!(!log.iter().any(|line| line.contains("could not set up")), "{log:#?}");
    // Deleted along with its parent, it is nobody's doing.
    one.host.delete_link("eth0").expect("deleting");
    one.switch.connect(&one.host, "eth0").expect("a cable");
    one.host.add_address("eth0", address("192.0.2.1/24")).expect("an address");
    wait_until(SOON, held, || "the interface is back".to_owned());
    let lines = one.log().iter().filter(|line| line.contains("by somebody; put back")).count();
    assert_eq!(lines, 3, "{:#?}", one.log());
    one.stop();
}

/// The index of the virtual MAC interface; 0 while there is none.
fn vmac(director: &Director) -> u32 {
    director.host.link("vrrp.51").map_or(0, |link| link.index)
}

#[test]
fn after_a_kill_a_start_with_another_configuration_leaves_nothing_of_the_former() {
    let mut one = alone();
    let words = "use_vmac\n    virtual_routes {\n        198.51.100.0/24 dev eth0\n    }\n    \
                 virtual_rules {\n        from 198.51.100.0/24 table 100\n    }";
    one.start(Conf::owner().global("vip_lease 0").words(words));
    one.wait_for_vip();
    let routes = || routes_to(&one, Ipv4Addr::new(198, 51, 100, 0)).len();
    wait_until(SOON, || routes() == 1, || "the route is there".to_owned());
    one.kill();
    let has_vmac = |one: &Director| one.host.link("vrrp.51").is_ok();
    assert!(one.holds(vip()) && has_vmac(&one));
    one.start(
        Conf::owner()
            .instance("other", 52, 100, &["192.0.2.200/24"])
            .to_string()
            .replace("VI_1", "new")
            .replace("192.0.2.100", "192.0.2.150"),
    );
    wait_until(SOON, || !one.holds(vip()), || "the former address is gone".to_owned());
    wait_until(SOON, || one.holds(ip("192.0.2.150")), || "the new one is there".to_owned());
    assert!(!has_vmac(&one));
    assert_eq!(routes_to(&one, Ipv4Addr::new(198, 51, 100, 0)), []);
    assert_eq!(
        one.log().iter().filter(|line| line.contains("rule IPv4 preference")).count(),
        1,
        "{:#?}",
        one.log()
    );
    one.stop();
}

#[test]
fn nft_is_not_run_unless_no_accept_is_configured() {
    let mut one = alone();
    let called = one.path("called").display().to_string();
    one.script("nft", &format!("echo \"$@\" >> {called}; cat > /dev/null"));
    let folder = one.path("").display().to_string();
    let command = |one: &Director| {
        let mut command = one.command();
        command.env("PATH", format!("{folder}:/usr/sbin:/usr/bin:/sbin:/bin"));
        command
    };
    one.configure(Conf::owner());
    one.spawn(command(&one));
    one.wait_for_vip();
    one.stop();
    assert_eq!(one.lines("called"), [] as [String; 0]);
    one.configure(Conf::new(200).words("no_accept"));
    one.spawn(command(&one));
    one.wait_for_vip();
    one.stop();
    assert_eq!(one.lines("called"), ["-f -", "-f -"], "once to guard and once to clean up");
}

/// Routes to this network, as the kernel tells them.
fn routes_to(director: &Director, network: Ipv4Addr) -> Vec<RouteMessage> {
    let wanted = RouteAttribute::Destination(RouteAddress::Inet(network));
    let all: Vec<RouteMessage> = director
        .host
        .netlink(|netlink| async move {
            netlink.route().get(RouteMessageBuilder::<Ipv4Addr>::new().build()).execute().try_collect().await
        })
        .expect("dump of routes");
    all.into_iter().filter(|route| route.attributes.contains(&wanted)).collect()
}

#[test]
fn an_address_and_a_route_that_somebody_deletes_are_put_back_and_reported() {
    const NETWORK: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 0);
    let mut one = alone();
    one.start(Conf::owner().words("virtual_routes {\n        198.51.100.0/24 via 192.0.2.9 dev eth0\n    }"));
    one.wait_for_vip();
    let has_route = || !routes_to(&one, NETWORK).is_empty();
    wait_until(SOON, has_route, || "the route is there".to_owned());
    one.host.remove_address(vip()).expect("removing");
    one.wait_for_log(
        "deleted by somebody else: put back instance=VI_1 item=\"address 192.0.2.100/24 dev eth0\"",
    );
    one.wait_for_vip();
    let route = routes_to(&one, NETWORK).pop().expect("the route survives or is back");
    one.host
        .netlink(move |netlink| async move { netlink.route().del(route).execute().await })
        .expect("removing");
    one.wait_for_log("198.51.100.0/24 via 192.0.2.9");
    wait_until(SOON, has_route, || "the route is back".to_owned());
    assert_eq!(one.first().state, "MASTER", "it stays master all the time");
    one.stop();
    assert_eq!(routes_to(&one, NETWORK), []);
}

#[test]
fn what_an_earlier_run_left_on_a_backup_is_removed_at_start() {
    let (mut one, mut two) = pair();
    one.start(Conf::new(200));
    one.wait_for_vip();
    two.host.add_address("eth0", address("192.0.2.100/24")).expect("left behind");
    two.host.add_address("eth0", address("192.0.2.77/24")).expect("of somebody else");
    two.start(Conf::new(100));
    wait_until(SOON, || !two.holds(vip()), || "the backup has no address".to_owned());
    assert_eq!(two.first().state, "BACKUP");
    assert!(one.holds(vip()) && two.holds(ip("192.0.2.77")), "nothing else is touched");
}

#[test]
fn what_is_right_already_is_adopted_without_a_change() {
    let mut one = alone();
    let conf =
        || Conf::owner().global("vip_lease 0").block("static_ipaddress {\n    192.0.2.50/24 dev eth0\n}");
    one.start(conf());
    one.wait_for_vip();
    one.wait_for_state("MASTER");
    wait_until(SOON, || one.holds(ip("192.0.2.50")), || "the static address".to_owned());
    assert_eq!(one.status().daemon.netlink_changes, 2);
    let before = history(&one, ip("192.0.2.50"));
    one.kill();
    assert!(one.holds(vip()) && one.holds(ip("192.0.2.50")), "killed, it leaves both");
    one.start(conf());
    one.wait_for_state("MASTER");
    one.wait_for_vip();
    // A router begins as backup, which has no addresses: they leave and come back. The static one stays as it is.
    assert_eq!(one.status().daemon.netlink_changes, 2, "{:#?}", one.log());
    assert_eq!(history(&one, ip("192.0.2.50")), before);
    one.stop();
    assert!(!one.holds(ip("192.0.2.50")), "a static address goes with the daemon");
}

/// When the kernel's address was made and last changed.
fn history(director: &Director, address: IpAddr) -> (u32, u32) {
    let message = director.address(address).expect("the address");
    let times = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::CacheInfo(info) => Some((info.cstamp, info.tstamp)),
        _ => None,
    });
    times.expect("the kernel tells its times")
}

#[test]
fn told_not_to_release_it_leaves_its_addresses_for_ever_and_says_nothing() {
    let mut one = alone();
    one.configure(Conf::owner().global("vip_lease 2"));
    let mut command = one.command();
    command.arg("--dont-release-vrrp");
    one.spawn(command);
    one.wait_for_vip();
    let capture = one.capture();
    one.stop();
    let message = one.address(vip()).expect("it is still there");
    assert!(message.header.flags.contains(AddressHeaderFlags::Permanent), "{message:?}");
    let words: Vec<u8> =
        capture.frames().iter().filter_map(|f| f.advertisement().map(|a| a.priority)).collect();
    assert!(!words.contains(&0), "{words:?}");
}

#[test]
fn an_address_where_no_advertisements_leave_is_announced_again_every_period() {
    let mut one = alone();
    let capture = one.capture();
    // The advertisements leave the parent, the address is on the virtual MAC: switches hear that one too rarely.
    let words = "use_vmac\n    vmac_xmit_base\n    garp_extra_if 1\n    garp_master_delay 0\n    garp_master_repeat 1";
    one.start(Conf::owner().words(words));
    let mut after = SystemTime::UNIX_EPOCH;
    for _ in 0..3 {
        let announced = capture.wait_for(after, SOON, |frame| {
            frame.announcement().is_some_and(|a| a.address == vip() && a.mac.0[..5] == [0, 0, 0x5e, 0, 1])
        });
        after = announced.expect("announced from the virtual MAC").at;
    }
    one.stop();
}

#[test]
fn an_instance_follows_the_interface_of_a_static_address_that_names_it() {
    let mut one = alone();
    let statics = "track_group uplinks {\n    group {\n        VI_1\n    }\n}\n\
                   static_ipaddress {\n    198.18.0.1/32 dev eth1 track_group uplinks\n}";
    one.start(Conf::owner().block(statics));
    wait_for_fault(&one, "interface eth1 does not exist");
    let cable = one.switch.connect(&one.host, "eth1").expect("a cable");
    one.wait_for_vip();
    wait_until(SOON, || one.holds(ip("198.18.0.1")), || "the static address".to_owned());
    cable.unplug().expect("unplugging");
    wait_for_fault(&one, "interface eth1 is down");
    one.stop();
}

#[test]
fn a_short_outage_of_a_delayed_interface_is_none_and_a_long_one_is_over_before_a_backup_takes_over() {
    let mut one = alone();
    let delays = |times: &str| format!("interface_up_down_delays {{\n    eth0 {times}\n}}");
    one.start(Conf::owner().interval("20").block(&delays("15")));
    one.wait_for_vip();
    one.cable.unplug().expect("unplugging");
    let running = || one.host.link("eth0").expect("a link").flags.contains(LinkFlags::Running);
    wait_until(SOON, || !running(), || "no carrier".to_owned());
    stays(Duration::from_millis(300), || one.first().state == "MASTER", "the outage does not count yet");
    one.cable.plug().expect("plugging");
    assert_eq!(
        one.reload(Conf::owner().block(&delays("200 200"))),
        "0 instances added, 1 changed, 0 removed; other settings changed"
    );
    one.wait_for_log("interface_up_down_delays: eth0 counts as down after 0.199");
    one.cable.unplug().expect("unplugging");
    wait_for_fault(&one, "interface eth0 is down");
    one.cable.plug().expect("plugging");
    one.wait_for_state("MASTER");
    let faults = one.log().iter().filter(|line| line.contains("MASTER -> FAULT")).count();
    assert_eq!(faults, 1, "{:#?}", one.log());
    one.stop();
}

#[test]
fn an_address_that_is_not_settled_yet_is_a_state_that_heals() {
    let mut one = alone();
    // Duplicate address detection takes a second for each of its probes.
    for (knob, value) in [("accept_dad", "1"), ("dad_transmits", "5")] {
        one.host.sysctl(&format!("net/ipv6/conf/eth0/{knob}"), value).expect("a sysctl");
    }
    one.start(Conf::owner().to_string().replace("192.0.2.100/24", "fe80::100/64"));
    let held = || one.holds(ip("fe80::100"));
    wait_until(SOON, held, || format!("the address: {:#?}", one.log()));
    one.host.set_down("eth0").expect("down");
    wait_for_fault(&one, "interface eth0 is down");
    one.host.set_up("eth0").expect("up");
    wait_for_fault(&one, "interface eth0 has no address to send from");
    one.wait_for_state("MASTER");
    wait_until(SOON, held, || format!("the address again: {:#?}", one.log()));
    one.stop();
}
