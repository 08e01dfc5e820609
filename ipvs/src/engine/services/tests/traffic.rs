use super::*;

#[test]
fn from_its_upper_threshold_on_a_server_gets_nothing_until_it_is_below_the_lower() {
    let mut lab = Lab::with(Scheduler::Rr, &[]);
    let limited = RealServer { upper_threshold: 4, lower_threshold: 2, ..server(1, 1) };
    lab.make(Change::AddServer(WEB, limited));
    let index = lab.place(1);
    let open = |lab: &mut Lab, step: fn(&mut Services, ServerIndex)| {
        step(&mut lab.services, index);
        lab.pick().is_some()
    };
    let bound: Vec<_> =
        (0..4).map(|_| open(&mut lab, |services, index| services.bind(index, Counted::Inactive))).collect();
    assert_eq!(bound, [true, true, true, false]);
    // Whatever they count as, the number is the same.
    lab.services.recount(index, Counted::Inactive, Counted::Active);
    assert_eq!((lab.counters(1).active, lab.counters(1).inactive), (1, 3));
    let unbound: Vec<_> =
        (0..3).map(|_| open(&mut lab, |services, index| services.unbind(index, Counted::Inactive))).collect();
    assert_eq!(unbound, [false, false, true]);
}

#[test]
fn templates_are_counted_apart() {
    let mut lab = Lab::with(Scheduler::Rr, &[1]);
    let index = lab.place(1);
    lab.services.bind(index, Counted::Template);
    lab.services.bind(index, Counted::Template);
    lab.services.bind(index, Counted::Inactive);
    lab.services.unbind(index, Counted::Template);
    let counters = lab.counters(1);
    assert_eq!((counters.persistent, counters.active, counters.inactive), (1, 0, 1));
    assert_eq!(lab.services.seen(index).map(|server| server.load()), Some(1));
}

#[test]
fn a_connection_of_another_director_finds_its_server_by_port() {
    let mut lab = Lab::with(Scheduler::Rr, &[1]);
    let keeps_port = RealServer { id: RealServerId { port: 0, ..server_id(1) }, ..server(1, 1) };
    lab.make(Change::AddServer(WEB, keeps_port));
    for (last, port, first, found) in [
        ("10.2.0.1", 80, PortFirst::Own, Some(80)),
        ("10.2.0.1", 80, PortFirst::Every, Some(0)),
        ("10.2.0.1", 81, PortFirst::Own, Some(0)),
        ("10.2.0.1", 0, PortFirst::Own, Some(0)),
        ("10.2.0.2", 80, PortFirst::Own, None),
        ("10.2.0.2", 80, PortFirst::Every, None),
    ] {
        let index = lab.services.find_server(lab.web(), address(last), port, first);
        let there = index.and_then(|index| lab.services.settings(index)).map(|server| server.id.port);
        assert_eq!(there, found, "{last} {port} {first:?}");
    }
    lab.make(Change::RemoveServer(WEB, keeps_port.id));
    let index = lab.services.find_server(lab.web(), address("10.2.0.1"), 80, PortFirst::Every);
    assert_eq!(index, Some(lab.place(1)));
}

#[test]
fn clients_of_one_network_are_one() {
    for (client, prefix_len, network) in [
        ("10.1.2.3", 32, "10.1.2.3"),
        ("10.1.2.3", 24, "10.1.2.0"),
        ("10.1.2.3", 9, "10.0.0.0"),
        ("10.1.2.3", 0, "0.0.0.0"),
    ] {
        let mut lab = Lab::new();
        lab.make(Change::AddService(persistent(VirtualService::new(WEB, Scheduler::Rr), prefix_len)));
        let found = lab.services.client_network(lab.web(), address(client));
        assert_eq!(found, Some(address(network)), "{client}/{prefix_len}");
    }
    for (client, prefix_len, network) in [
        ("2001:db8:1:2:3:4:5:6", 128, "2001:db8:1:2:3:4:5:6"),
        ("2001:db8:1:2:3:4:5:6", 64, "2001:db8:1:2::"),
        ("2001:db8:1:2:3:4:5:6", 33, "2001:db8::"),
        ("8001::1", 1, "8000::"),
    ] {
        let mut lab = Lab::new();
        let id = ServiceId::FwMark { family: Family::V6, mark: mark(1) };
        lab.make(Change::AddService(persistent(VirtualService::new(id, Scheduler::Rr), prefix_len)));
        let index = lab.services.index_of(&id).unwrap();
        let found = lab.services.client_network(index, address(client));
        assert_eq!(found, Some(address(network)), "{client}/{prefix_len}");
    }
    let lab = Lab::with(Scheduler::Rr, &[]);
    assert_eq!(lab.services.client_network(lab.web(), address("10.1.2.3")), None);
}

#[test]
fn local_ports_come_from_the_addresses_of_the_service_in_turns_and_go_back() {
    let mut lab = Lab::with(Scheduler::Rr, &[1]);
    let index = lab.place(1);
    assert_eq!(lab.services.take_local(index, 6, 80), Err(NoLocalPort::NoAddress));
    let local_addresses = LocalAddresses::from_iter(["10.0.0.8", "2001:db8::9", "10.0.0.9"].map(ip));
    lab.make(Change::EditService(VirtualService {
        local_addresses,
        ..VirtualService::new(WEB, Scheduler::Rr)
    }));
    let lent: Vec<_> = (0..4).map(|_| lab.services.take_local(index, 6, 80).unwrap()).collect();
    let turns: Vec<_> = lent.iter().map(|local| local.address.to_string()).collect();
    assert_eq!(turns, ["10.0.0.8", "10.0.0.9", "10.0.0.8", "10.0.0.9"]);
    lab.make(Change::RemoveServer(WEB, server_id(1)));
    assert_eq!(lab.services.take_local(index, 6, 80), Err(NoLocalPort::NoAddress));
    // Connections outlive their server.
    let target = Target { protocol: 6, address: server_id(1).address.into(), port: 80 };
    assert!(lent.iter().all(|local| lab.services.release_local(&target, *local)));
    assert!(!lab.services.release_local(&target, lent[0]));
    assert_eq!((lab.services.local_ports().in_use(), lab.services.local_ports().exhausted()), (0, 0));
}
