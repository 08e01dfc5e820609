use proptest::prelude::*;

use super::*;

/// In which an idle removed server is noted, and then forgotten.
const FORGOTTEN: Duration = Duration::from_secs(60 + 120);

#[test]
fn a_removed_server_keeps_its_place_and_counts_nothing() {
    let mut lab = Lab::with(Scheduler::Rr, &[1, 2]);
    let index = lab.place(1);
    lab.services.bind(index, Counted::Inactive);
    lab.services.count_in(index, 100);
    lab.make(Change::RemoveServer(WEB, server_id(1)));
    assert!(!lab.services.is_available(index));
    assert_eq!(lab.services.settings(index), Some(&server(1, 1)));
    lab.services.count_in(index, 100);
    lab.services.count_connection(index);
    assert_eq!(lab.services.totals().bytes_in, 100);
    assert_eq!(lab.picks(3), [2, 2, 2]);
    let address = server_id(1).address.into();
    assert_eq!(lab.services.find_server(lab.web(), address, 80, PortFirst::Own), None);
}

#[test]
fn a_server_that_comes_back_is_the_same_with_its_connections_and_counters() {
    let mut lab = Lab::with(Scheduler::Rr, &[1, 2]);
    let index = lab.place(1);
    for counted in [Counted::Inactive, Counted::Inactive, Counted::Template] {
        lab.services.bind(index, counted);
    }
    lab.services.recount(index, Counted::Inactive, Counted::Active);
    lab.services.count_in(index, 100);
    lab.make(Change::EditServer(WEB, server(1, 7)));
    lab.make(Change::RemoveServer(WEB, server_id(1)));
    // Connections end also while it is away.
    lab.services.unbind(index, Counted::Inactive);
    lab.pass(Duration::from_secs(10_000));
    lab.make(Change::AddServer(WEB, server(1, 0)));
    assert_eq!(lab.place(1), index);
    assert!(lab.services.is_available(index));
    let counters = lab.counters(1);
    assert_eq!((counters.active, counters.inactive, counters.persistent), (1, 0, 1));
    assert_eq!((counters.packets_in, counters.bytes_in), (1, 100));
    assert_eq!(lab.services.seen(index).map(|server| (server.weight(), server.last_weight())), Some((0, 7)));
    assert_eq!(lab.list(), [1, 2]);
}

#[test]
fn in_a_new_service_a_server_has_its_connections_and_counts_from_zero() {
    let mut lab = Lab::with(Scheduler::Rr, &[1]);
    let index = lab.place(1);
    lab.services.bind(index, Counted::Inactive);
    lab.services.count_in(index, 100);
    lab.make(Change::RemoveService(WEB));
    assert!(!lab.services.is_available(index));
    lab.make(Change::AddService(VirtualService::new(WEB, Scheduler::Rr)));
    lab.make(Change::AddServer(WEB, server(1, 1)));
    assert_eq!(lab.place(1), index);
    assert_eq!(lab.counters(1), Counters { inactive: 1, ..Counters::default() });
}

#[test]
fn an_overloaded_server_is_so_when_it_comes_back() {
    let mut lab = Lab::with(Scheduler::Rr, &[]);
    let limited = RealServer { upper_threshold: 1, ..server(1, 1) };
    lab.make(Change::AddServer(WEB, limited));
    let index = lab.place(1);
    lab.services.bind(index, Counted::Inactive);
    lab.make(Change::RemoveServer(WEB, server_id(1)));
    lab.make(Change::AddServer(WEB, limited));
    assert_eq!(lab.pick(), None);
    lab.services.unbind(index, Counted::Inactive);
    assert_eq!(lab.pick(), Some(1));
}

#[test]
fn the_same_server_of_another_service_is_another() {
    let other = ServiceId::FwMark { family: Family::V4, mark: mark(1) };
    let mut lab = Lab::with(Scheduler::Rr, &[1]);
    let index = lab.place(1);
    lab.services.bind(index, Counted::Inactive);
    lab.make(Change::RemoveServer(WEB, server_id(1)));
    lab.make(Change::AddService(VirtualService::new(other, Scheduler::Rr)));
    lab.make(Change::AddServer(other, server(1, 1)));
    let there = lab.services.index_of(&other).unwrap();
    assert_ne!(lab.services.servers(there).next(), Some(index));
}

#[test]
fn a_removed_server_is_forgotten_within_three_minutes_after_its_last_connection() {
    let mut lab = Lab::with(Scheduler::Rr, &[1, 2]);
    let index = lab.place(1);
    lab.services.bind(index, Counted::Inactive);
    lab.services.count_in(index, 100);
    lab.make(Change::RemoveServer(WEB, server_id(1)));
    lab.pass(Duration::from_secs(24 * 60 * 60));
    assert!(lab.services.settings(index).is_some());
    lab.services.unbind(index, Counted::Inactive);
    lab.pass(FORGOTTEN - Duration::from_millis(1));
    assert!(lab.services.settings(index).is_some());
    lab.pass(Duration::from_millis(1));
    assert_eq!(lab.services.settings(index), None);
    // Another server gets the place, and nothing of the old one.
    lab.make(Change::AddServer(WEB, server(3, 1)));
    assert_eq!(lab.place(3), index);
    assert_eq!(lab.counters(3), Counters::default());
    lab.make(Change::AddServer(WEB, server(1, 1)));
    assert_eq!(lab.counters(1), Counters::default());
}

#[derive(Clone, Debug)]
enum Step {
    Add(u8, u8),
    Remove(u8, u8),
    AddService(u8),
    RemoveService(u8),
    Begin(u8, u8),
    End(prop::sample::Index),
    Pass(u16),
}

fn any_step() -> impl Strategy<Value = Step> {
    let (service, server) = (0..2_u8, 0..3_u8);
    prop_oneof![
        4 => (service.clone(), server.clone()).prop_map(|(service, server)| Step::Add(service, server)),
        2 => (service.clone(), server.clone()).prop_map(|(service, server)| Step::Remove(service, server)),
        2 => service.clone().prop_map(Step::AddService),
        1 => service.clone().prop_map(Step::RemoveService),
        4 => (service, server).prop_map(|(service, server)| Step::Begin(service, server)),
        4 => any::<prop::sample::Index>().prop_map(Step::End),
        1 => (0..400_u16).prop_map(Step::Pass),
    ]
}

proptest! {
    /// Whatever comes and goes, a connection has the server that it began with, that server counts its connections, and
    /// no place is used that nothing needs.
    #[test]
    fn connections_keep_their_servers(steps in prop::collection::vec(any_step(), 0..150)) {
        let id = |service: u8| ServiceId::Address { protocol: Protocol::Udp, address: VIP, port: service.into() };
        let mut lab = Lab::new();
        let mut connections: Vec<(ServerIndex, u8, u8)> = Vec::new();
        for step in steps {
            match step {
                // Some do not apply.
                Step::Add(service, last) => drop(lab.apply(&Change::AddServer(id(service), server(last, 1)))),
                Step::Remove(service, last) => {
                    drop(lab.apply(&Change::RemoveServer(id(service), server_id(last))));
                }
                Step::AddService(service) => {
                    drop(lab.apply(&Change::AddService(VirtualService::new(id(service), Scheduler::Wlc))));
                }
                Step::RemoveService(service) => drop(lab.apply(&Change::RemoveService(id(service)))),
                Step::Begin(service, last) => {
                    let index = lab.services.index_of(&id(service)).and_then(|index| {
                        let address = server_id(last).address.into();
                        lab.services.find_server(index, address, 80, PortFirst::Own)
                    });
                    if let Some(index) = index {
                        lab.services.bind(index, Counted::Inactive);
                        connections.push((index, service, last));
                    }
                }
                Step::End(which) if !connections.is_empty() => {
                    let (index, ..) = connections.swap_remove(which.index(connections.len()));
                    lab.services.unbind(index, Counted::Inactive);
                }
                Step::End(_) => {}
                Step::Pass(seconds) => lab.pass(Duration::from_secs(seconds.into())),
            }
            for (index, service, last) in &connections {
                prop_assert_eq!(lab.services.settings(*index).map(|server| server.id), Some(server_id(*last)));
                let alike = connections.iter().filter(|(other, ..)| other == index).count();
                let counted = lab.services.seen(*index).map(|server| server.inactive());
                prop_assert_eq!(counted, u32::try_from(alike).ok());
                let there = lab.services.table().server(&id(*service), &server_id(*last)).is_some();
                prop_assert_eq!(lab.services.is_available(*index), there);
            }
            let table = lab.services.table();
            for ((service, server), counters) in lab.services.statistics().servers {
                let alike = connections.iter().filter(|(_, other, last)| {
                    id(*other) == service && server_id(*last) == server
                });
                prop_assert_eq!(counters.inactive as usize, alike.count());
                prop_assert!(table.server(&service, &server).is_some());
            }
        }
        for (index, ..) in connections.drain(..) {
            lab.services.unbind(index, Counted::Inactive);
        }
        lab.pass(FORGOTTEN);
        let needed: usize = lab.services.table().entries().map(|(_, entry)| entry.servers.len()).sum();
        prop_assert_eq!(lab.services.servers.len(), needed);
    }
}
