use netlink_packet_route::AddressFamily;
use netlink_packet_route::link::{LinkHeader, MacVlanMode};

use super::*;

fn link(index: u32, name: &str) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header = LinkHeader { index, flags: LinkFlags::Up | LinkFlags::Running, ..LinkHeader::default() };
    message.attributes = vec![LinkAttribute::IfName(name.to_owned()), LinkAttribute::Mtu(1500)];
    message
}

fn address(index: u32, ip: &str, flags: AddressFlags) -> AddressMessage {
    let ip: IpAddr = ip.parse().unwrap();
    let mut message = AddressMessage::default();
    message.header.family = if ip.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.header.prefix_len = 24;
    message.header.index = index;
    message.attributes = vec![AddressAttribute::Address(ip), AddressAttribute::Flags(flags)];
    message
}

fn names(events: &[HostEvent]) -> Vec<String> {
    let name = |event: &HostEvent| match event {
        HostEvent::Link(link) => format!("link {}", link.name),
        HostEvent::LinkGone { name, .. } => format!("gone {name}"),
        HostEvent::Addresses { name, addresses, .. } => format!("{} on {name}", addresses.len()),
        HostEvent::ItemLost { item, .. } => format!("lost {item}"),
    };
    events.iter().map(name).collect()
}

fn table() -> Links {
    let mut links = Links::default();
    links.resync(
        &[link(1, "lo"), link(2, "eth0")],
        &[
            address(2, "192.0.2.9", AddressFlags::Permanent),
            address(2, "192.0.2.1", AddressFlags::Permanent | AddressFlags::Secondary),
            address(2, "198.51.100.1", AddressFlags::Permanent),
            address(2, "fe80::2", AddressFlags::Tentative),
            address(2, "2001:db8::1", AddressFlags::Permanent),
        ],
    );
    links
}

#[test]
fn a_snapshot_is_reported_once() {
    let mut links = table();
    assert_eq!(names(&links.poll_events()), ["link lo", "link eth0", "5 on eth0"]);
    assert!(links.poll_events().is_empty());
}

#[test]
fn a_repeated_message_is_no_event() {
    let mut links = table();
    links.poll_events();
    links.handle_link(&link(2, "eth0"));
    links.handle_address(&address(2, "192.0.2.9", AddressFlags::Permanent));
    assert!(links.poll_events().is_empty());
}

#[test]
fn many_address_changes_are_one_event() {
    let mut links = table();
    links.poll_events();
    for host in 1..=50 {
        links.handle_address(&address(1, &format!("10.0.0.{host}"), AddressFlags::empty()));
    }
    links.handle_address_gone(&address(1, "10.0.0.1", AddressFlags::empty()));
    assert_eq!(names(&links.poll_events()), ["49 on lo"]);
}

#[test]
fn a_second_snapshot_reports_only_the_difference() {
    let mut links = table();
    links.poll_events();
    links.resync(&[link(2, "eth0"), link(3, "eth1")], &[address(2, "192.0.2.9", AddressFlags::Permanent)]);
    assert_eq!(names(&links.poll_events()), ["gone lo", "link eth1", "1 on eth0"]);
}

#[test]
fn a_rename_is_gone_and_new_and_keeps_the_addresses() {
    let mut links = table();
    links.poll_events();
    links.handle_link(&link(2, "wan"));
    assert_eq!(names(&links.poll_events()), ["gone eth0", "link wan", "5 on wan"]);
    assert!(links.by_name("eth0").is_none());
}

#[test]
fn a_name_taken_over_by_a_new_interface_is_gone_and_new() {
    let mut links = table();
    links.poll_events();
    links.handle_link(&link(7, "eth0"));
    // The late farewell of the old one does not hit the new one.
    links.handle_link_gone(2);
    assert_eq!(names(&links.poll_events()), ["gone eth0", "link eth0"]);
    assert_eq!(links.by_name("eth0").unwrap().index, 7);
}

#[test]
fn messages_about_unknown_interfaces_are_ignored() {
    let mut links = table();
    links.poll_events();
    links.handle_address(&address(99, "10.0.0.1", AddressFlags::empty()));
    links.handle_address_gone(&address(99, "10.0.0.1", AddressFlags::empty()));
    links.handle_link_gone(99);
    links.handle_address(&AddressMessage::default());
    links.handle_link(&LinkMessage::default());
    assert!(links.poll_events().is_empty());
}

#[test]
fn a_source_is_neither_secondary_nor_tentative_nor_a_vip() {
    let mut links = table();
    let source = |links: &Links, family, vips: &[&str]| {
        let vips = vips.iter().map(|vip| vip.parse().unwrap()).collect();
        links.usable_source("eth0", family, &vips).map(|ip| ip.to_string())
    };
    assert_eq!(source(&links, Family::V4, &[]).as_deref(), Some("192.0.2.9"));
    assert_eq!(source(&links, Family::V4, &["192.0.2.9"]).as_deref(), Some("198.51.100.1"));
    assert_eq!(source(&links, Family::V6, &[]), None);
    links.handle_address(&address(2, "fe80::2", AddressFlags::Permanent));
    assert_eq!(source(&links, Family::V6, &[]).as_deref(), Some("fe80::2"));
    assert_eq!(source(&links, Family::V6, &["fe80::2"]), None);
}

#[test]
fn a_stacked_link_carries_only_with_its_parent() {
    let mut links = table();
    let mut vmac = link(5, "vrrp.51");
    vmac.attributes.extend([
        LinkAttribute::Link(2),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::MacVlan),
            LinkInfo::Data(InfoData::MacVlan(vec![InfoMacVlan::Mode(MacVlanMode::Private)])),
        ]),
    ]);
    links.handle_link(&vmac);
    assert_eq!(links.by_index(5).unwrap().kind, LinkKind::Macvlan { parent: Some(2), mode: 1 });
    assert!(links.carries("vrrp.51"));
    let mut down = link(2, "eth0");
    down.header.flags = LinkFlags::Up;
    links.handle_link(&down);
    assert!(!links.carries("vrrp.51") && !links.carries("eth0"));
}

#[test]
fn a_vrf_is_found_through_its_member() {
    let mut links = table();
    let mut vrf = link(8, "red");
    vrf.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Vrf),
        LinkInfo::Data(InfoData::Vrf(vec![InfoVrf::TableId(1010)])),
    ]));
    let mut member = link(2, "eth0");
    member.attributes.push(LinkAttribute::Controller(8));
    links.handle_link(&vrf);
    links.handle_link(&member);
    assert_eq!(links.vrf_of("eth0"), Some((&"red".into(), 1010)));
    assert_eq!(links.vrf_of("lo"), None);
}
