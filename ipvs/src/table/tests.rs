use proptest::prelude::*;

use super::*;
use crate::real_server::{Forwarding, Weight};
use crate::scheduler::Scheduler;
use crate::virtual_service::Protocol;

fn service(port: u16) -> ServiceId {
    ServiceId::Address { protocol: Protocol::Tcp, address: [10, 0, 0, 1].into(), port }
}

fn server(last: u8, weight: i64) -> RealServer {
    let id = RealServerId { address: [10, 1, 0, last].into(), port: 80 };
    RealServer::new(id, Forwarding::Direct, Weight::clamped(weight))
}

fn table(services: &[(u16, Scheduler, &[RealServer])]) -> Table {
    services
        .iter()
        .map(|(port, scheduler, servers)| Entry {
            service: VirtualService::new(service(*port), *scheduler),
            servers: servers.iter().map(|server| (server.id, *server)).collect(),
        })
        .collect()
}

#[test]
fn equal_tables_need_no_change_and_one_weight_needs_one() {
    let one = table(&[(80, Scheduler::Wlc, &[server(1, 1), server(2, 1)])]);
    assert_eq!(one.changes_to(&one), []);
    let two = table(&[(80, Scheduler::Wlc, &[server(1, 1), server(2, 5)])]);
    assert_eq!(one.changes_to(&two), [Change::EditServer(service(80), server(2, 5))]);
}

#[test]
fn a_service_goes_with_its_servers_in_one_change_and_comes_with_one_for_each() {
    let held = table(&[(80, Scheduler::Wlc, &[server(1, 1), server(2, 1)])]);
    let wanted = table(&[(443, Scheduler::Mh, &[server(1, 1)])]);
    let added = VirtualService::new(service(443), Scheduler::Mh);
    assert_eq!(
        held.changes_to(&wanted),
        [
            Change::AddService(added),
            Change::AddServer(service(443), server(1, 1)),
            Change::RemoveService(service(80))
        ]
    );
}

#[test]
fn a_change_that_does_not_apply_changes_nothing() {
    let mut held = table(&[(80, Scheduler::Wlc, &[server(1, 1)])]);
    let before = held.clone();
    for change in [
        Change::AddService(VirtualService::new(service(80), Scheduler::Rr)),
        Change::EditService(VirtualService::new(service(81), Scheduler::Rr)),
        Change::RemoveService(service(81)),
        Change::AddServer(service(80), server(1, 9)),
        Change::AddServer(service(81), server(1, 9)),
        Change::EditServer(service(80), server(2, 9)),
        Change::RemoveServer(service(80), server(2, 1).id),
    ] {
        assert!(!held.apply(&change), "{change}");
    }
    assert_eq!(held, before);
}

fn any_table() -> impl Strategy<Value = Table> {
    let servers = proptest::collection::btree_map(1_u8..6, 0_i64..3, 0..5);
    let services = proptest::collection::btree_map(1_u16..5, (0_usize..3, servers), 0..4);
    services.prop_map(|services| {
        services
            .into_iter()
            .map(|(port, (scheduler, servers))| Entry {
                service: VirtualService::new(service(port), Scheduler::ALL[scheduler]),
                servers: servers
                    .into_iter()
                    .map(|(last, weight)| server(last, weight))
                    .map(|server| (server.id, server))
                    .collect(),
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn changes_lead_to_what_is_desired_and_what_stays_is_there_all_the_way(
        held in any_table(),
        desired in any_table(),
    ) {
        let stays = |now: &Table| {
            held.entries().all(|(id, entry)| {
                entry.servers.keys().all(|server| {
                    desired.server(id, server).is_none() || now.server(id, server).is_some()
                })
            })
        };
        let mut now = held.clone();
        for change in held.changes_to(&desired) {
            prop_assert!(now.apply(&change), "{}", change);
            prop_assert!(stays(&now), "{}", change);
        }
        prop_assert_eq!(now, desired);
    }
}
