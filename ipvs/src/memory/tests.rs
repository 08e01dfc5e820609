use super::*;
use crate::real_server::{Forwarding, Weight};
use crate::virtual_service::{LocalAddresses, Protocol};

const WEB: ServiceId = ServiceId::Address {
    protocol: Protocol::Tcp,
    address: std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)),
    port: 80,
};

fn server() -> RealServer {
    let id = RealServerId { address: [10, 1, 0, 1].into(), port: 80 };
    RealServer::new(id, Forwarding::Direct, Weight::ONE)
}

#[test]
fn changes_are_made_in_order_and_refusals_keep_nothing_from_being_done() {
    let mut plane = MemoryPlane::new();
    plane.schedulers.remove(&Scheduler::Mh);
    let refusals = plane
        .apply(&[
            Change::AddServer(WEB, server()),
            Change::AddService(VirtualService::new(WEB, Scheduler::Mh)),
            Change::AddService(VirtualService::new(WEB, Scheduler::Rr)),
            Change::AddServer(WEB, server()),
            Change::AddServer(WEB, server()),
        ])
        .unwrap();
    let told: Vec<_> = refusals.iter().map(|refusal| (refusal.index, refusal.reason.clone())).collect();
    assert_eq!(told, [(0, Reason::NoService), (1, Reason::NoScheduler(Scheduler::Mh)), (4, Reason::Exists)]);
    assert!(refusals[0].reason.is_drift() && !refusals[1].reason.is_drift());
    assert_eq!(plane.table.server(&WEB, &server().id), Some(&server()));
    assert_eq!(plane.told.len(), 5);
}

#[test]
fn schedulers_of_the_engine_are_refused_with_what_to_use_instead() {
    let mut plane = MemoryPlane::new();
    let refusals = [Scheduler::Wsh, Scheduler::Wdh]
        .map(|scheduler| plane.apply(&[Change::AddService(VirtualService::new(WEB, scheduler))]).unwrap());
    assert_eq!(
        refusals.concat().iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "cannot add virtual service TCP 10.0.0.1:80: only Buoy's own engine has scheduler `wsh`: use `sh`, or have \
             the engine forward",
            "cannot add virtual service TCP 10.0.0.1:80: only Buoy's own engine has scheduler `wdh`: use `dh`, or have \
             the engine forward",
        ]
    );
}

#[test]
fn full_nat_is_refused_with_what_to_use_instead() {
    let mut plane = MemoryPlane::new();
    let local_addresses = LocalAddresses::from_iter([[10, 0, 0, 9].into()]);
    let service = VirtualService { local_addresses, ..VirtualService::new(WEB, Scheduler::Rr) };
    let refusals = plane
        .apply(&[
            Change::AddService(service),
            Change::AddService(VirtualService::new(WEB, Scheduler::Rr)),
            Change::AddServer(WEB, RealServer { forwarding: Forwarding::FullNat, ..server() }),
        ])
        .unwrap();
    assert_eq!(
        refusals.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "cannot add virtual service TCP 10.0.0.1:80: only Buoy's own engine has local addresses, for the \
             forwarding method `fullnat`: leave them out, or have the engine forward",
            "cannot add real server 10.1.0.1:80 of TCP 10.0.0.1:80, weight 1: only Buoy's own engine has the \
             forwarding method `fullnat`: use `masquerade`, or have the engine forward",
        ]
    );
}

#[test]
fn a_foreign_service_is_in_the_way_and_not_in_the_table() {
    let mut plane = MemoryPlane::new();
    let foreign = Foreign {
        what: WEB.to_string(),
        why: "scheduler `fancy`".to_owned(),
        service: Some(WEB),
        server: None,
    };
    plane.foreign.push(foreign.clone());
    let refusals = plane.apply(&[Change::AddService(VirtualService::new(WEB, Scheduler::Rr))]).unwrap();
    assert_eq!(refusals[0].reason, Reason::Exists);
    let snapshot = plane.snapshot().unwrap();
    assert!(snapshot.table.is_empty());
    assert_eq!(snapshot.foreign, [foreign]);
}

#[test]
fn counters_of_what_is_there_start_at_zero_again() {
    let mut plane = MemoryPlane::new();
    let adding =
        [Change::AddService(VirtualService::new(WEB, Scheduler::Rr)), Change::AddServer(WEB, server())];
    assert_eq!(plane.apply(&adding).unwrap(), []);
    let key = (WEB, server().id);
    let counted = Counters { connections: 5, active: 2, ..Counters::default() };
    plane.statistics.servers.insert(key, counted);
    assert_eq!(plane.statistics().unwrap().servers[&key], counted);
    plane.zero(Some(&WEB)).unwrap();
    let zeroed = Counters { active: 2, ..Counters::default() };
    assert_eq!(plane.statistics().unwrap().servers[&key], zeroed);
    plane.flush().unwrap();
    assert_eq!(plane.statistics().unwrap(), Statistics::default());
    assert!(plane.zero(Some(&WEB)).is_err());
}

#[test]
fn an_absent_plane_says_so_whatever_it_is_asked() {
    let mut plane = MemoryPlane { present: false, ..MemoryPlane::new() };
    assert!(matches!(plane.snapshot(), Err(PlaneError::Missing { .. })));
    assert!(matches!(plane.apply(&[]), Err(PlaneError::Missing { .. })));
    assert!(matches!(
        plane.start_sync(&SyncDaemon::new(SyncRole::Master, "eth0", 1)),
        Err(PlaneError::Missing { .. })
    ));
}

#[test]
fn a_daemon_is_met_by_one_that_runs_with_the_defaults_it_leaves_open() {
    let wanted = SyncDaemon::new(SyncRole::Backup, "eth0", 3);
    let mut plane = MemoryPlane::new();
    plane.start_sync(&wanted).unwrap();
    let running = plane.sync_daemons().unwrap().remove(0);
    assert!(wanted.is_met_by(&running));
    // On an interface with longer frames the kernel chooses another length.
    assert!(wanted.is_met_by(&SyncDaemon { max_len: Some(8972), ..running.clone() }));
    for other in [
        SyncDaemon { max_len: Some(1500), ..wanted.clone() },
        SyncDaemon { group: Some([224, 0, 0, 82].into()), ..wanted.clone() },
        SyncDaemon { sync_id: 4, ..wanted.clone() },
        SyncDaemon { ttl: Some(2), ..wanted.clone() },
    ] {
        assert!(!other.is_met_by(&running), "{other:?}");
    }
}
