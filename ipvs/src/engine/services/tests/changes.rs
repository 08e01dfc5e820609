use proptest::prelude::*;

use super::*;
use crate::engine::scheduler::{Pool, Scheduling};
use crate::memory::MemoryPlane;
use crate::plane::Plane;
use crate::real_server::{Tunnel, TunnelChecksum};
use crate::scheduler::SchedulerFlags;
use crate::virtual_service::PersistenceEngine;

#[test]
fn the_newest_server_is_the_first_and_an_edit_moves_none() {
    let mut lab = Lab::with(Scheduler::Rr, &[1, 2, 3]);
    assert_eq!(lab.list(), [3, 2, 1]);
    lab.make(Change::EditServer(WEB, server(1, 5)));
    assert_eq!(lab.list(), [3, 2, 1]);
    lab.make(Change::RemoveServer(WEB, server_id(2)));
    lab.make(Change::AddServer(WEB, server(2, 1)));
    assert_eq!(lab.list(), [2, 3, 1]);
}

#[test]
fn a_service_keeps_what_its_scheduler_remembers_until_it_gets_another() {
    let mut lab = Lab::with(Scheduler::Rr, &[1, 2, 3]);
    assert_eq!(lab.picks(2), [3, 2]);
    lab.make(Change::EditService(persistent(VirtualService::new(WEB, Scheduler::Rr), 32)));
    assert_eq!(lab.picks(2), [1, 3]);
    lab.make(Change::EditService(VirtualService::new(WEB, Scheduler::Wrr)));
    lab.make(Change::EditService(VirtualService::new(WEB, Scheduler::Rr)));
    assert_eq!(lab.picks(2), [3, 2]);
}

#[test]
fn what_schedulers_remember_is_forgotten_in_time() {
    let mut lab = Lab::with(Scheduler::Lblc, &[1, 2]);
    let first = lab.pick().unwrap();
    // The other one has fewer connections, but the destination is known.
    lab.services.bind(lab.place(first), Counted::Inactive);
    lab.pass(Duration::from_secs(23 * 60 * 60));
    assert_eq!(lab.pick(), Some(first));
    lab.pass(Duration::from_secs(25 * 60 * 60));
    assert_eq!(lab.pick(), Some(3 - first));
}

#[test]
fn without_a_scheduler_nothing_is_chosen() {
    let mut lab = Lab::with(Scheduler::Rr, &[1]);
    let none = VirtualService { scheduler: None, ..VirtualService::new(WEB, Scheduler::Rr) };
    lab.make(Change::EditService(none));
    assert_eq!(lab.pick(), None);
    lab.make(Change::EditService(VirtualService::new(WEB, Scheduler::Lc)));
    assert_eq!(lab.pick(), Some(1));
}

#[test]
fn flags_count_from_the_next_connection_on() {
    let mut lab = Lab::with(Scheduler::Sh, &[1, 2]);
    let chosen = lab.pick().unwrap();
    lab.make(Change::EditServer(WEB, server(chosen, 0)));
    assert_eq!(lab.pick(), None);
    let flags = SchedulerFlags { flag_1: true, ..SchedulerFlags::NONE };
    lab.make(Change::EditService(VirtualService { flags, ..VirtualService::new(WEB, Scheduler::Sh) }));
    assert_eq!(lab.pick(), Some(3 - chosen));
}

#[test]
fn what_only_the_engine_has_is_not_refused_and_what_it_has_not_is() {
    let mut lab = Lab::with(Scheduler::Wsh, &[]);
    lab.make(Change::AddServer(WEB, RealServer { forwarding: Forwarding::FullNat, ..server(1, 1) }));
    let with = |local: &str| VirtualService {
        local_addresses: LocalAddresses::from_iter([ip(local)]),
        ..VirtualService::new(WEB, Scheduler::Wdh)
    };
    lab.make(Change::EditService(with("10.0.0.9")));
    let group = ip("224.0.0.1");
    assert_eq!(lab.apply(&Change::EditService(with("224.0.0.1"))), Err(Reason::NotUnicast(group)));
    let sip = PersistenceEngine::new("sip").unwrap();
    let mut service = persistent(VirtualService::new(WEB, Scheduler::Wdh), 32);
    service.persistence.as_mut().unwrap().engine = Some(sip.clone());
    let reason = lab.apply(&Change::EditService(service)).unwrap_err();
    assert_eq!(reason, Reason::KernelOnly(sip));
    assert_eq!(
        reason.to_string(),
        "Buoy's own engine has no persistence engine `sip`: leave it out, or have the kernel forward"
    );
    // None of the refused is there.
    assert_eq!(lab.services.service(lab.web()), Some(&with("10.0.0.9")));
}

#[test]
fn timeouts_of_a_service_last_until_its_removal() {
    let mut lab = Lab::with(Scheduler::Rr, &[]);
    let timeouts = Timeouts { tcp: Some(Duration::from_secs(60)), ..Timeouts::default() };
    let web = lab.web();
    assert_eq!(lab.services.set_timeouts(&WEB, timeouts), Ok(()));
    lab.make(Change::EditService(VirtualService::new(WEB, Scheduler::Lc)));
    assert_eq!(lab.services.timeouts(web), timeouts);
    let none = Timeouts { udp: Some(Duration::ZERO), ..Timeouts::default() };
    assert_eq!(lab.services.set_timeouts(&WEB, none), Err(Reason::Timeout));
    lab.make(Change::RemoveService(WEB));
    assert_eq!(lab.services.set_timeouts(&WEB, timeouts), Err(Reason::NoService));
    lab.make(Change::AddService(VirtualService::new(WEB, Scheduler::Rr)));
    assert_eq!(lab.services.timeouts(lab.web()), Timeouts::default());
}

#[test]
fn flushed_services_leave_nothing_behind_but_their_servers() {
    let mut lab = Lab::with(Scheduler::Lblc, &[1, 2]);
    lab.make(Change::AddService(VirtualService::new(
        ServiceId::FwMark { family: Family::V4, mark: mark(1) },
        Scheduler::Rr,
    )));
    lab.services.flush(lab.now);
    assert!(lab.services.table().is_empty());
    assert_eq!(lab.services.statistics(), Statistics::default());
    assert_eq!((lab.services.index_of(&WEB), lab.services.claims()), (None, vec![]));
    lab.make(Change::AddService(VirtualService::new(WEB, Scheduler::Rr)));
    assert_eq!(lab.list(), []);
}

fn any_id() -> impl Strategy<Value = ServiceId> {
    let address = |protocol, address, port| ServiceId::Address { protocol, address: ip(address), port };
    prop::sample::select(vec![
        WEB,
        address(Protocol::Tcp, "10.9.0.1", 0),
        address(Protocol::Udp, "10.9.0.1", 80),
        address(Protocol::Sctp, "2001:db8::1", 80),
        ServiceId::FwMark { family: Family::V4, mark: mark(1) },
        ServiceId::FwMark { family: Family::V6, mark: mark(1) },
    ])
}

fn any_service() -> impl Strategy<Value = VirtualService> {
    let schedulers: Vec<_> = Scheduler::of_kernel().map(Some).chain([None]).collect();
    let persistence = prop::option::weighted(
        0.3,
        (prop::sample::select(vec![0_u64, 1, 300, 5_000_000]), prop::sample::select(vec![0_u8, 24, 64, 129])),
    );
    (any_id(), prop::sample::select(schedulers), persistence, any::<bool>(), any::<bool>()).prop_map(
        |(id, scheduler, persistence, flag_1, one_packet)| VirtualService {
            scheduler,
            flags: SchedulerFlags { flag_1, ..SchedulerFlags::NONE },
            persistence: persistence.map(|(seconds, prefix_len)| Persistence {
                timeout: Duration::from_secs(seconds),
                prefix_len,
                engine: None,
            }),
            one_packet,
            ..VirtualService::new(id, Scheduler::Rr)
        },
    )
}

fn any_server() -> impl Strategy<Value = RealServer> {
    let addresses = prop::sample::select(vec![
        "10.2.0.1",
        "10.2.0.2",
        "10.2.0.3",
        "2001:db8::11",
        "2001:db8::12",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "127.0.0.1",
        "::",
        "ff02::1",
        "fe80::1",
        "::1",
    ]);
    let gue = |port| Forwarding::Tunnel(Tunnel::Gue { port, checksum: TunnelChecksum::None });
    let methods = prop::sample::select(vec![
        Forwarding::Masquerade,
        Forwarding::Direct,
        Forwarding::Local,
        Forwarding::Tunnel(Tunnel::Ipip),
        Forwarding::Tunnel(Tunnel::Gre { checksum: TunnelChecksum::Remote }),
        gue(0),
        gue(6080),
    ]);
    let ports = prop::sample::select(vec![0_u16, 80]);
    let upper = prop::sample::select(vec![0_u32, 2, u32::MAX]);
    (addresses, ports, methods, 0..4_i64, upper, prop::sample::select(vec![0_u32, 0, 1, 3])).prop_map(
        |(address, port, forwarding, weight, upper_threshold, lower_threshold)| RealServer {
            upper_threshold,
            lower_threshold,
            ..RealServer::new(
                RealServerId { address: ip(address), port },
                forwarding,
                Weight::clamped(weight),
            )
        },
    )
}

fn any_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        2 => any_service().prop_map(Change::AddService),
        1 => any_service().prop_map(Change::EditService),
        1 => any_id().prop_map(Change::RemoveService),
        6 => (any_id(), any_server()).prop_map(|(id, server)| Change::AddServer(id, server)),
        2 => (any_id(), any_server()).prop_map(|(id, server)| Change::EditServer(id, server)),
        2 => (any_id(), any_server()).prop_map(|(id, server)| Change::RemoveServer(id, server.id)),
    ]
}

/// Where servers are and what changes do to the order, as simply as it can be said.
fn follow(order: &mut BTreeMap<ServiceId, Vec<RealServerId>>, change: &Change) {
    match change {
        Change::AddService(service) => drop(order.insert(service.id, Vec::new())),
        Change::RemoveService(id) => drop(order.remove(id)),
        Change::AddServer(id, server) => order.entry(*id).or_default().insert(0, server.id),
        Change::RemoveServer(id, server) => order.entry(*id).or_default().retain(|known| known != server),
        Change::EditService(_) | Change::EditServer(..) => {}
    }
}

proptest! {
    #[test]
    fn changes_are_made_and_refused_as_by_the_kernel(
        changes in prop::collection::vec(any_change(), 0..120),
    ) {
        let (mut lab, mut kernel) = (Lab::new(), MemoryPlane::new());
        let mut order = BTreeMap::new();
        for change in changes {
            let refusals = kernel.apply(std::slice::from_ref(&change)).unwrap();
            let reason = refusals.into_iter().next().map(|refusal| refusal.reason);
            prop_assert_eq!(lab.apply(&change).err(), reason.clone(), "{}", change);
            if reason.is_none() {
                follow(&mut order, &change);
            }
            prop_assert_eq!(lab.services.table(), kernel.table.clone());
            for (id, servers) in &order {
                let index = lab.services.index_of(id).unwrap();
                prop_assert_eq!(lab.services.service(index).map(|service| service.id), Some(*id));
                let settings = lab.services.servers(index).map(|server| lab.services.settings(server).unwrap());
                prop_assert_eq!(&settings.map(|settings| settings.id).collect::<Vec<_>>(), servers);
                for server in lab.services.servers(index) {
                    prop_assert_eq!(lab.services.service_of(server), Some(index));
                }
            }
            lab.pass(Duration::from_secs(7));
        }
        prop_assert_eq!(lab.services.statistics(), kernel.statistics().unwrap());
    }

    /// These choose by nothing but their servers, so that one which was told of all changes chooses as a new one.
    #[test]
    fn schedulers_are_told_of_every_change(
        scheduler in prop::sample::select(vec![
            Scheduler::Dh, Scheduler::Sh, Scheduler::Mh, Scheduler::Wdh, Scheduler::Wsh, Scheduler::Wlc,
        ]),
        changes in prop::collection::vec((0..3_u8, 1..6_u8, 1..5_i64), 1..25),
        clients in prop::collection::vec(any::<u32>(), 20),
    ) {
        let mut lab = Lab::with(scheduler, &[]);
        for (kind, last, weight) in changes {
            let change = match kind {
                0 => Change::AddServer(WEB, server(last, weight)),
                1 => Change::EditServer(WEB, server(last, weight)),
                _ => Change::RemoveServer(WEB, server_id(last)),
            };
            // Some do not apply.
            drop(lab.apply(&change));
        }
        let (web, now) = (lab.web(), lab.now);
        let order: Vec<_> = lab.services.servers(web).collect();
        let seen = lab.services.servers.seen().to_vec();
        let pool = Pool::new(&order, &seen);
        let mut fresh = Scheduling::new(scheduler, Family::V4, pool, 7, now);
        for client in clients {
            let request = Request {
                source: Address::v4(client),
                source_port: 1,
                destination: Address::v4(client.rotate_left(9)),
            };
            let expected = fresh.pick(pool, &request, SchedulerFlags::NONE, now);
            prop_assert_eq!(lab.services.pick(web, &request, now), expected);
        }
    }
}
