use super::*;
use crate::engine::packet::protocol::{SCTP, TCP, UDP};

fn id(protocol: Protocol, address: &str, port: u16) -> ServiceId {
    ServiceId::Address { protocol, address: ip(address), port }
}

fn marked(family: Family, number: u32) -> ServiceId {
    ServiceId::FwMark { family, mark: mark(number) }
}

#[test]
fn a_mark_comes_first_then_the_very_port_then_every_port() {
    let services = [
        id(Protocol::Tcp, "10.9.0.1", 80),
        id(Protocol::Udp, "10.9.0.1", 80),
        id(Protocol::Tcp, "10.9.0.1", 0),
        id(Protocol::Tcp, "10.9.0.1", 21),
        id(Protocol::Sctp, "2001:db8::1", 80),
        marked(Family::V4, 1),
        marked(Family::V6, 2),
    ];
    let mut lab = Lab::new();
    for id in services {
        lab.make(Change::AddService(VirtualService::new(id, Scheduler::Rr)));
    }
    let every_port = Some(services[2]);
    for (protocol, destination, port, number, found) in [
        (TCP, "10.9.0.1", 80, 0, Some(services[0])),
        (UDP, "10.9.0.1", 80, 0, Some(services[1])),
        (SCTP, "10.9.0.1", 80, 0, None),
        (UDP, "10.9.0.1", 81, 0, None),
        (TCP, "10.9.0.2", 80, 0, None),
        // Not the service on port 21, as in the kernel.
        (TCP, "10.9.0.1", 2000, 0, every_port),
        (TCP, "10.9.0.1", 0, 0, every_port),
        (SCTP, "2001:db8::1", 80, 0, Some(services[4])),
        (SCTP, "2001:db8::1", 81, 0, None),
        (TCP, "2001:db8::1", 80, 0, None),
        // A mark stands for a service of its family, whatever else there is, and the rest counts where it does not.
        (TCP, "10.9.0.1", 80, 1, Some(services[5])),
        (UDP, "192.0.2.1", 9, 1, Some(services[5])),
        (TCP, "10.9.0.1", 80, 2, Some(services[0])),
        (SCTP, "2001:db8::1", 80, 1, Some(services[4])),
        (TCP, "2001:db8::2", 1, 2, Some(services[6])),
        (TCP, "10.9.0.1", 81, 3, every_port),
    ] {
        let index = lab.services.find(protocol, address(destination), port, FwMark::new(number));
        let there = index.and_then(|index| lab.services.service(index)).map(|service| service.id);
        assert_eq!(there, found, "{protocol} {destination} {port} mark {number}");
    }
}

#[test]
fn services_that_went_are_not_found() {
    let mut lab = Lab::new();
    let every_port = id(Protocol::Tcp, "10.9.0.1", 0);
    for id in [WEB, every_port] {
        lab.make(Change::AddService(VirtualService::new(id, Scheduler::Rr)));
    }
    let find = |lab: &Lab, port| lab.services.find(TCP, VIP.into(), port, None);
    assert_eq!(find(&lab, 80), lab.services.index_of(&WEB));
    lab.make(Change::RemoveService(WEB));
    assert_eq!(find(&lab, 80), lab.services.index_of(&every_port));
    lab.make(Change::RemoveService(every_port));
    assert_eq!(find(&lab, 80), None);
    // The first place is free again.
    lab.make(Change::AddService(VirtualService::new(every_port, Scheduler::Rr)));
    assert_eq!(find(&lab, 80), lab.services.index_of(&every_port));
}

#[test]
fn a_service_on_every_port_takes_connections_only_if_it_is_persistent() {
    let mut lab = Lab::new();
    let every_port = id(Protocol::Tcp, "10.9.0.1", 0);
    let request = Request { source: address("10.1.0.9"), source_port: 1, destination: VIP.into() };
    let service = VirtualService::new(every_port, Scheduler::Rr);
    lab.make(Change::AddService(service.clone()));
    lab.make(Change::AddServer(every_port, server(1, 1)));
    let index = lab.services.index_of(&every_port).unwrap();
    assert_eq!(lab.services.pick(index, &request, lab.now), None);
    lab.make(Change::EditService(persistent(service, 32)));
    assert!(lab.services.pick(index, &request, lab.now).is_some());
}

#[test]
fn claims_are_what_clients_send_and_masqueraded_servers_answer() {
    let mut lab = Lab::with(Scheduler::Rr, &[1]);
    let (web, other) = (Address::from(VIP), address("10.2.0.3"));
    let seven = marked(Family::V4, 7);
    let every_port = id(Protocol::Udp, "10.9.0.1", 0);
    let direct = RealServer { forwarding: Forwarding::Direct, ..server(2, 1) };
    let any_port = RealServer { id: RealServerId { port: 0, ..server_id(3) }, ..server(3, 1) };
    lab.make(Change::AddServer(WEB, direct));
    lab.make(Change::AddServer(WEB, any_port));
    for id in [seven, every_port] {
        lab.make(Change::AddService(VirtualService::new(id, Scheduler::Rr)));
        lab.make(Change::AddServer(id, server(3, 1)));
    }
    let answer = |protocol, address, port| Claim::Answer { protocol, address, port };
    assert_eq!(
        lab.services.claims(),
        [
            Claim::Request { protocol: Protocol::Tcp, address: web, port: Some(80) },
            Claim::Request { protocol: Protocol::Udp, address: web, port: None },
            answer(Protocol::Tcp, address("10.2.0.1"), Some(80)),
            answer(Protocol::Tcp, other, None),
            answer(Protocol::Tcp, other, Some(80)),
            answer(Protocol::Udp, other, None),
            answer(Protocol::Sctp, other, None),
            Claim::Mark(mark(7)),
        ]
    );
}

#[test]
fn full_nat_claims_its_local_addresses_too() {
    let mut lab = Lab::new();
    let local_addresses = LocalAddresses::from_iter([ip("10.0.0.9"), ip("2001:db8::9")]);
    lab.make(Change::AddService(VirtualService {
        local_addresses,
        ..VirtualService::new(WEB, Scheduler::Rr)
    }));
    lab.make(Change::AddServer(WEB, RealServer { forwarding: Forwarding::FullNat, ..server(1, 1) }));
    assert_eq!(
        lab.services.claims(),
        [
            Claim::Request { protocol: Protocol::Tcp, address: VIP.into(), port: Some(80) },
            Claim::Answer { protocol: Protocol::Tcp, address: address("10.2.0.1"), port: Some(80) },
            Claim::Local(address("10.0.0.9")),
        ]
    );
}

#[test]
fn connections_that_go_on_are_claimed_after_the_method_has_changed_and_the_service_has_gone() {
    let mut lab = Lab::with(Scheduler::Rr, &[1]);
    let claimed = lab.services.claims();
    let index = lab.place(1);
    lab.services.bind(index, Counted::Inactive);
    let direct = RealServer { forwarding: Forwarding::Direct, ..server(1, 1) };
    lab.make(Change::EditServer(WEB, direct));
    assert_eq!(lab.services.claims(), claimed);
    lab.make(Change::RemoveService(WEB));
    assert_eq!(lab.services.claims(), claimed);
    lab.services.unbind(index, Counted::Inactive);
    assert_eq!(lab.services.claims(), []);
    lab.make(Change::AddService(VirtualService::new(WEB, Scheduler::Rr)));
    lab.make(Change::AddServer(WEB, direct));
    assert_eq!(lab.services.claims(), claimed[..1]);
}
