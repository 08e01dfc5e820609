use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkHeader, LinkMessage};

use super::*;
use crate::alert::fixture::{plan, router};

const SOURCE: &str = "192.0.2.1";

/// A host with eth0, if it is `there`, and the addresses on it.
fn links(there: bool, flags: LinkFlags, addresses: &[&str]) -> Links {
    let mut link = LinkMessage::default();
    link.header = LinkHeader { index: 2, flags, ..LinkHeader::default() };
    link.attributes = vec![LinkAttribute::IfName("eth0".to_owned()), LinkAttribute::Mtu(1500)];
    let address = |ip: &&str| {
        let ip: IpAddr = ip.parse().expect("an address");
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.prefix_len = 24;
        message.header.index = 2;
        message.attributes =
            vec![AddressAttribute::Address(ip), AddressAttribute::Flags(AddressFlags::Permanent)];
        message
    };
    let addresses: Vec<AddressMessage> = addresses.iter().map(address).collect();
    let mut links = Links::default();
    let all = if there { vec![link] } else { Vec::new() };
    links.resync(&all, if there { &addresses } else { &[] });
    links
}

fn up() -> LinkFlags {
    LinkFlags::Up | LinkFlags::Running | LinkFlags::Multicast
}

fn watch(change: impl FnOnce(&mut Router)) -> Watch {
    let mut one = router("VI_1");
    change(&mut one);
    Watch::new(Arc::new(Plan { routers: vec![one], ..plan() }), Vmacs::default(), vec!["VI_1".into()])
}

/// What the election is told, in words.
fn told(watch: &mut Watch, links: &Links) -> Vec<String> {
    let words = |command: &Command| match command {
        Command::Endpoint { endpoint: Some(endpoint), .. } => format!("speaks from {}", endpoint.source),
        Command::Endpoint { endpoint: None, .. } => "is mute".to_owned(),
        Command::Fault { fault, present: true, .. } => format!("+ {fault}"),
        Command::Fault { fault, present: false, .. } => format!("- {fault}"),
        other => format!("{other:?}"),
    };
    watch.refresh(links, Instant::now()).iter().map(words).collect()
}

#[test]
fn a_router_resigns_before_it_loses_its_voice_and_not_where_there_is_nothing_to_speak_through() {
    let mut watch = watch(|_| {});
    assert_eq!(told(&mut watch, &links(true, up(), &[SOURCE])), ["speaks from 192.0.2.1"]);
    assert_eq!(
        told(&mut watch, &links(true, up(), &[])),
        ["+ interface eth0 has no address to send from", "is mute"]
    );
    assert_eq!(
        told(&mut watch, &links(true, up(), &[SOURCE])),
        ["speaks from 192.0.2.1", "- interface eth0 has no address to send from"]
    );
    let gone = told(&mut watch, &links(false, up(), &[]));
    assert_eq!(gone, ["is mute", "+ interface eth0 does not exist"]);
    assert_eq!(told(&mut watch, &links(false, up(), &[])), [""; 0], "told once");
}

#[test]
fn an_interface_without_carrier_is_a_fault_unless_the_primary_is_not_tracked() {
    let down = LinkFlags::Up | LinkFlags::Multicast;
    for (ignored, expected) in [
        (false, vec!["speaks from 192.0.2.1", "+ interface eth0 is down"]),
        (true, vec!["speaks from 192.0.2.1"]),
    ] {
        let mut watch = watch(|router| router.dont_track_primary = ignored);
        assert_eq!(told(&mut watch, &links(true, down, &[SOURCE])), expected);
    }
}

#[test]
fn a_tracked_source_address_has_to_be_on_the_interface_and_another_configured_one_need_not() {
    let configured: IpAddr = "192.0.2.7".parse().expect("an address");
    for tracked in [false, true] {
        let mut watch = watch(|router| (router.source, router.track_source) = (Some(configured), tracked));
        let mut expected = vec!["speaks from 192.0.2.7"];
        expected.extend(tracked.then_some("+ source address 192.0.2.7 is not on the interface"));
        assert_eq!(told(&mut watch, &links(true, up(), &[SOURCE])), expected);
        let healed = told(&mut watch, &links(true, up(), &[SOURCE, "192.0.2.7"]));
        let expected: Vec<&str> =
            tracked.then_some("- source address 192.0.2.7 is not on the interface").into_iter().collect();
        assert_eq!(healed, expected);
    }
}

#[test]
fn multicast_needs_an_interface_that_does_it() {
    let mut watch = watch(|_| {});
    let flags = LinkFlags::Up | LinkFlags::Running;
    let told = told(&mut watch, &links(true, flags, &[SOURCE]));
    assert_eq!(told, ["speaks from 192.0.2.1", "+ interface eth0 has no multicast"]);
}

#[test]
fn a_delay_ends_before_the_first_takeover_on_its_interface() {
    let seconds = Duration::from_secs;
    let mut slow = router("slow");
    slow.election.advert_interval = seconds(10);
    let quick = router("quick");
    let delays = |routers, down, up| {
        let link_delays = [("eth0".into(), (down, up)), ("eth1".into(), (down, up))].into();
        let safe = safe_delays(&Plan { routers, link_delays, ..plan() });
        assert_eq!(safe["eth1"], (down, up), "no router advertises there");
        safe["eth0"]
    };
    let bound = seconds(2) - seconds(1) / 256;
    assert_eq!(delays(vec![slow.clone(), quick.clone()], seconds(6), seconds(6)), (bound, bound));
    assert_eq!(delays(vec![slow.clone(), quick.clone()], seconds(6), seconds(5)), (bound, seconds(5)));
    assert_eq!(delays(vec![slow], seconds(6), seconds(6)), (seconds(6), seconds(6)));
    let mut hasty = quick;
    hasty.election.down_timer_adverts = 1;
    assert_eq!(delays(vec![hasty], seconds(6), seconds(0)), (Duration::ZERO, Duration::ZERO));
}
