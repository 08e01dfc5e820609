//! What is put there is there.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use buoy_ipvs::{
    Change, Family, Forwarding, LocalAddresses, Persistence, PersistenceEngine, Plane, Protocol, Scheduler,
    SchedulerFlags, Table, Tunnel, TunnelChecksum, VirtualService, Weight,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::bench::{empty_plane, hold, id, ipvsadm, mark, persistent, saved, server, service, tcp, tcp6};
use crate::machine::inside;

/// Absent from some kernels.
fn usual_schedulers() -> impl Iterator<Item = Scheduler> {
    Scheduler::of_kernel().filter(|scheduler| *scheduler != Scheduler::Twos)
}

const CHECKSUMS: [TunnelChecksum; 3] = [TunnelChecksum::None, TunnelChecksum::Full, TunnelChecksum::Remote];

fn tunnels() -> Vec<Tunnel> {
    let gue = CHECKSUMS.map(|checksum| Tunnel::Gue { port: 6080, checksum });
    let gre = [TunnelChecksum::None, TunnelChecksum::Full].map(|checksum| Tunnel::Gre { checksum });
    [Tunnel::Ipip].into_iter().chain(gue).chain(gre).collect()
}

#[test]
#[ignore = "runs in a kernel of its own"]
fn every_scheduler_is_held_with_every_flag() {
    if !inside() {
        return;
    }
    let mut plane = empty_plane();
    let mut table = Table::new();
    let mut port = 0;
    for scheduler in usual_schedulers().map(Some).chain([None]) {
        for bits in 0..8 {
            port += 1;
            let flags =
                SchedulerFlags { flag_1: bits & 1 != 0, flag_2: bits & 2 != 0, flag_3: bits & 4 != 0 };
            table.set_service(VirtualService { scheduler, flags, ..service(tcp(port)) });
        }
    }
    hold(&mut plane, &table);
    assert!(saved().contains(&"-A -t 10.0.0.1:4 -s rr -b flag-1,flag-2".to_owned()), "{:?}", saved());
}

#[test]
#[ignore = "runs in a kernel of its own"]
fn every_forwarding_method_is_held_in_both_families() {
    if !inside() {
        return;
    }
    let mut plane = empty_plane();
    let mut table = Table::new();
    let methods = [Forwarding::Masquerade, Forwarding::Direct, Forwarding::Local, Forwarding::Bypass];
    let methods = methods.into_iter().chain(tunnels().into_iter().map(Forwarding::Tunnel));
    table.set_service(service(tcp(80)));
    table.set_service(service(tcp6(80)));
    for (number, forwarding) in methods.enumerate() {
        assert!(table.set_server(&tcp(80), server(&format!("10.1.0.{}", number + 1), forwarding)));
        assert!(table.set_server(&tcp6(80), server(&format!("2001:db8:1::{}", number + 1), forwarding)));
    }
    // A server on the director itself keeps the method that it was given.
    assert!(table.set_server(&tcp(80), server("127.0.0.1", Forwarding::Masquerade)));
    assert!(table.set_server(&tcp6(80), server("::1", Forwarding::Direct)));
    hold(&mut plane, &table);
}

#[test]
#[ignore = "runs in a kernel of its own"]
fn tunnels_cross_families() {
    if !inside() {
        return;
    }
    let mut plane = empty_plane();
    let mut table = Table::new();
    table.set_service(service(tcp(80)));
    table.set_service(service(tcp6(80)));
    assert!(table.set_server(&tcp(80), server("2001:db8:1::1", Forwarding::Tunnel(Tunnel::Ipip))));
    assert!(table.set_server(&tcp6(80), server("10.1.0.1", Forwarding::Tunnel(Tunnel::Ipip))));
    hold(&mut plane, &table);
    hold(&mut plane, &Table::new());
}

#[test]
#[ignore = "runs in a kernel of its own"]
fn persistence_is_held_with_masks_and_engine() {
    if !inside() {
        return;
    }
    let mut plane = empty_plane();
    let mut table = Table::new();
    for (port, prefix_len) in [(1, 0), (2, 1), (3, 24), (4, 32)] {
        table.set_service(VirtualService {
            persistence: Some(persistent(u64::from(port) * 100, prefix_len)),
            ..service(tcp(port))
        });
    }
    for (port, prefix_len) in [(1, 1), (2, 64), (3, 128)] {
        table.set_service(VirtualService {
            persistence: Some(Persistence { timeout: Persistence::MAX_TIMEOUT, ..persistent(1, prefix_len) }),
            ..service(tcp6(port))
        });
    }
    table.set_service(VirtualService {
        persistence: Some(Persistence { engine: PersistenceEngine::new("sip"), ..persistent(300, 32) }),
        one_packet: true,
        ..service(id(Protocol::Udp, "10.0.0.1", 5060))
    });
    table.set_service(VirtualService { one_packet: true, ..service(id(Protocol::Udp, "10.0.0.1", 53)) });
    table.set_service(service(id(Protocol::Sctp, "10.0.0.1", 36412)));
    hold(&mut plane, &table);
    let lines = saved();
    for line in [
        "-A -t 10.0.0.1:3 -s wlc -p 300 -M 255.255.255.0",
        "-A -t [2001:db8::1]:2 -s wlc -p 4294967 -M 64",
        "-A -u 10.0.0.1:5060 -s wlc -p 300 --pe sip -o",
        "-A -u 10.0.0.1:53 -s wlc -o",
        "--sctp-service 10.0.0.1:36412 -s wlc",
    ] {
        assert!(lines.iter().any(|held| held.contains(line)), "{line} in {lines:?}");
    }
}

#[test]
#[ignore = "runs in a kernel of its own"]
fn marks_of_both_families_are_services_of_their_own() {
    if !inside() {
        return;
    }
    let mut plane = empty_plane();
    let mut table = Table::new();
    for number in [1, u32::MAX] {
        for (family, real) in [(Family::V4, "10.1.0.1"), (Family::V6, "2001:db8:1::1")] {
            let id = mark(family, number);
            table.set_service(service(id));
            assert!(table.set_server(&id, server(real, Forwarding::Direct)));
        }
    }
    hold(&mut plane, &table);
    let mut without = table.clone();
    without.remove_service(&mark(Family::V6, 1)).unwrap();
    hold(&mut plane, &without);
}

#[test]
#[ignore = "runs in a kernel of its own"]
fn edits_change_all_that_is_not_identity() {
    if !inside() {
        return;
    }
    let mut plane = empty_plane();
    let mut table = Table::new();
    table.set_service(service(tcp(80)));
    assert!(table.set_server(&tcp(80), server("10.1.0.1", Forwarding::Masquerade)));
    hold(&mut plane, &table);

    table.set_service(VirtualService {
        scheduler: Some(Scheduler::Mh),
        flags: SchedulerFlags { flag_2: true, ..SchedulerFlags::NONE },
        persistence: Some(persistent(60, 24)),
        one_packet: true,
        ..service(tcp(80))
    });
    let mut edited = server("10.1.0.1", Forwarding::Tunnel(Tunnel::Gre { checksum: TunnelChecksum::Full }));
    edited.weight = Weight::MAX;
    edited.upper_threshold = i32::MAX.unsigned_abs();
    edited.lower_threshold = i32::MAX.unsigned_abs();
    assert!(table.set_server(&tcp(80), edited));
    hold(&mut plane, &table);

    // And back: nothing of the old settings stays behind.
    table.set_service(VirtualService { scheduler: None, ..service(tcp(80)) });
    edited = server("10.1.0.1", Forwarding::Direct);
    edited.weight = Weight::ZERO;
    assert!(table.set_server(&tcp(80), edited));
    hold(&mut plane, &table);

    table.remove_server(&tcp(80), &edited.id).unwrap();
    hold(&mut plane, &table);
    hold(&mut plane, &Table::new());
}

#[test]
#[ignore = "runs in a kernel of its own"]
fn what_ipvsadm_made_is_seen_and_what_it_saves_is_what_was_made() {
    if !inside() {
        return;
    }
    let mut plane = empty_plane();
    for arguments in [
        "-A -t 10.0.0.1:80 -s mh -p 360 -M 255.255.255.0 -b mh-port,mh-fallback",
        "-a -t 10.0.0.1:80 -r 10.1.0.1:8080 -m -w 7 -x 100 -y 50",
        "-a -t 10.0.0.1:80 -r 10.1.0.2:80 -i -w 1 --tun-type gue --tun-port 6080 --tun-remcsum",
        "-A -f 7 -6 -s sh",
        "-a -f 7 -6 -r [2001:db8:1::1]:0 -g -w 0",
    ] {
        ipvsadm(arguments);
    }
    let made = saved();
    let snapshot = plane.snapshot().unwrap();
    assert_eq!(snapshot.foreign, []);
    let mut expected = Table::new();
    expected.set_service(VirtualService {
        scheduler: Some(Scheduler::Mh),
        flags: SchedulerFlags { flag_1: true, flag_2: true, flag_3: false },
        persistence: Some(persistent(360, 24)),
        ..service(tcp(80))
    });
    let mut first = server("10.1.0.1", Forwarding::Masquerade);
    first.id.port = 8080;
    first.weight = Weight::clamped(7);
    first.upper_threshold = 100;
    first.lower_threshold = 50;
    assert!(expected.set_server(&tcp(80), first));
    let gue = Tunnel::Gue { port: 6080, checksum: TunnelChecksum::Remote };
    assert!(expected.set_server(&tcp(80), server("10.1.0.2", Forwarding::Tunnel(gue))));
    let seven = mark(Family::V6, 7);
    expected.set_service(VirtualService { scheduler: Some(Scheduler::Sh), ..service(seven) });
    let mut only = server("2001:db8:1::1", Forwarding::Direct);
    only.id.port = 0;
    only.weight = Weight::ZERO;
    assert!(expected.set_server(&seven, only));
    assert_eq!(snapshot.table, expected);

    // The same table made by the plane is the same to ipvsadm.
    plane.flush().unwrap();
    assert_eq!(saved(), [] as [String; 0]);
    hold(&mut plane, &expected);
    assert_eq!(saved(), made);
}

#[test]
#[ignore = "runs in a kernel of its own"]
fn any_table_is_held_as_it_is() {
    if !inside() {
        return;
    }
    let plane = RefCell::new(empty_plane());
    let mut runner = TestRunner::new(Config { cases: 60, failure_persistence: None, ..Config::default() });
    runner
        .run(&any_table(), |table| {
            let mut plane = plane.borrow_mut();
            let changes = plane.snapshot().unwrap().table.changes_to(&table);
            prop_assert_eq!(plane.apply(&changes).unwrap(), []);
            prop_assert_eq!(plane.snapshot().unwrap().table, table);
            Ok(())
        })
        .unwrap();
}

#[test]
#[ignore = "runs in a kernel of its own"]
fn thousands_of_changes_are_made_in_order_and_told_of() {
    if !inside() {
        return;
    }
    let mut plane = empty_plane();
    let mut table = Table::new();
    for port in 1..=2500 {
        table.set_service(service(tcp(port)));
        for number in 1..=16 {
            assert!(table.set_server(&tcp(port), server(&format!("10.1.0.{number}"), Forwarding::Direct)));
        }
    }
    let changes = Table::new().changes_to(&table);
    let loaded = timed(|| assert_eq!(plane.apply(&changes).unwrap(), []));
    let read = timed(|| assert_eq!(plane.snapshot().unwrap().table, table));
    println!(
        "2500 services with 40000 servers, the kernel's work included: loaded in {loaded:?}, read in {read:?}"
    );
    let mut edited = server("10.1.0.7", Forwarding::Direct);
    edited.weight = Weight::clamped(9);
    let edit = [Change::EditServer(tcp(1000), edited)];
    let changed = timed(|| assert_eq!(plane.apply(&edit).unwrap(), []));
    println!("one weight changed in {changed:?}");

    // Once more: every change is refused, in its place.
    let refusals = plane.apply(&changes).unwrap();
    assert_eq!(refusals.len(), changes.len());
    assert!(refusals.iter().enumerate().all(|(place, refusal)| refusal.index == place));
    // One that is possible among others that are not.
    let [edit] = edit;
    let refusals = plane.apply(&[changes[0].clone(), edit, changes[1].clone()]).unwrap();
    assert_eq!(refusals.iter().map(|refusal| refusal.index).collect::<Vec<_>>(), [0, 2]);
}

fn timed(work: impl FnOnce()) -> Duration {
    let begin = Instant::now();
    work();
    begin.elapsed()
}

fn any_table() -> impl Strategy<Value = Table> {
    let entry = (any_service(), proptest::collection::vec(any_server(), 0..5));
    proptest::collection::vec(entry, 0..6).prop_map(|entries| {
        let mut table = Table::new();
        for (service, servers) in entries {
            let id = service.id;
            table.set_service(service);
            for (number, forwarding, weight, upper, lower) in servers {
                let text = match id.family() {
                    Family::V4 => format!("10.1.0.{number}"),
                    Family::V6 => format!("2001:db8:1::{number}"),
                };
                let mut server = server(&text, forwarding);
                server.weight = Weight::clamped(weight);
                server.upper_threshold = upper;
                server.lower_threshold = lower.min(upper);
                assert!(table.set_server(&id, server));
            }
        }
        table
    })
}

fn any_service() -> impl Strategy<Value = VirtualService> {
    let ids = prop_oneof![
        (1_u16..6).prop_map(tcp),
        (1_u16..6).prop_map(tcp6),
        (1_u16..6).prop_map(|port| id(Protocol::Udp, "10.0.0.2", port)),
        (1_u32..4).prop_map(|number| mark(Family::V4, number)),
        (1_u32..4).prop_map(|number| mark(Family::V6, number)),
    ];
    let schedulers = proptest::sample::select(usual_schedulers().map(Some).chain([None]).collect::<Vec<_>>());
    let flags = any::<[bool; 3]>();
    let persistence = proptest::option::of((1_u64..5000, 1_u8..=128, any::<bool>()));
    (ids, schedulers, flags, persistence, any::<bool>()).prop_map(
        |(id, scheduler, flags, keep, one_packet)| {
            let [flag_1, flag_2, flag_3] = flags;
            let persistence = keep.map(|(seconds, len, sip)| Persistence {
                engine: PersistenceEngine::new(if sip { "sip" } else { "" }),
                ..persistent(seconds, len.min(id.family().bits()))
            });
            VirtualService {
                id,
                scheduler,
                flags: SchedulerFlags { flag_1, flag_2, flag_3 },
                persistence,
                one_packet,
                local_addresses: LocalAddresses::NONE,
            }
        },
    )
}

fn any_server() -> impl Strategy<Value = (u8, Forwarding, i64, u32, u32)> {
    let methods = [Forwarding::Masquerade, Forwarding::Direct].into_iter();
    let methods = methods.chain(tunnels().into_iter().map(Forwarding::Tunnel)).collect::<Vec<_>>();
    (1_u8..5, proptest::sample::select(methods), 0_i64..300, 0_u32..1000, 0_u32..1000)
}
