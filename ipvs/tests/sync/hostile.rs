//! What others send to the group.

use std::net::{Ipv4Addr, UdpSocket};

use buoy_ipvs::sync::SyncId;
use buoy_ipvs::{SyncDaemon, SyncRole};

use crate::bench::{Bench, records};
use crate::host::may_run;

/// A socket of somebody on the wire.
fn stranger(bench: &Bench) -> UdpSocket {
    bench.near.run(|| {
        let socket = UdpSocket::bind((Ipv4Addr::new(10, 80, 0, 1), 0)).unwrap();
        socket.connect((Ipv4Addr::new(224, 0, 0, 81), SyncDaemon::DEFAULT_PORT)).unwrap();
        socket
    })
}

#[test]
fn a_flood_of_garbage_is_counted_and_does_no_harm() {
    if !may_run() {
        return;
    }
    let mut bench = Bench::new(|daemon| daemon);
    let stranger = stranger(&bench);
    let mut random = fastrand::Rng::with_seed(7);
    let mut heard = Vec::new();
    let rounds = 50_u16;
    for round in 1..=rounds {
        for _ in 0..400 {
            // A fourth of them with a good header.
            let mut garbage: Vec<u8> = (0..random.usize(..1_472)).map(|_| random.u8(..)).collect();
            if random.u8(..4) == 0 && garbage.len() >= 8 {
                let [high, low] = u16::try_from(garbage.len()).unwrap().to_be_bytes();
                garbage[..8].copy_from_slice(&[0, 7, high, low, 40, 1, 0, 0]);
            }
            stranger.send(&garbage).unwrap();
        }
        bench.tell(&records(round));
        let before = heard.len();
        let is_ours = |heard: &[buoy_ipvs::sync::SyncRecord<'_>]| {
            heard.iter().skip(before).any(|record| record.tuple == records(round)[1].tuple)
        };
        bench.receive_until(is_ours, &mut heard);
    }
    let backup = bench.backup.backup().unwrap();
    let statistics = backup.statistics();
    let all = u64::from(rounds) * 401;
    assert_eq!(statistics.datagrams + u64::from(backup.overrun().unwrap()), all);
    let causes: u64 = statistics.discards.iter().map(|(_, count)| count).sum();
    assert!(causes >= u64::from(rounds) * 390, "{statistics:?}");
    let ours = heard.iter().filter(|record| (1..=rounds).flat_map(records).any(|told| told == **record));
    assert_eq!(ours.count(), 2 * usize::from(rounds));
}

#[test]
fn directors_of_another_pair_are_not_heard_but_by_those_who_hear_everybody() {
    if !may_run() {
        return;
    }
    for (backup_id, heard, others) in [(7, 2, 0), (8, 0, 1), (SyncId::ANY.0, 2, 0)] {
        let mut bench = Bench::new(|daemon| match daemon.role {
            SyncRole::Master => daemon,
            SyncRole::Backup => SyncDaemon { sync_id: backup_id, ..daemon },
        });
        bench.tell(&records(3_001));
        let records = bench.datagrams(1);
        let counted: u64 =
            bench.backup.backup().unwrap().statistics().discards.iter().map(|(_, count)| count).sum();
        assert_eq!((records, counted), (heard, others), "{backup_id}");
    }
}

#[test]
fn a_message_longer_than_the_backup_takes_is_counted() {
    if !may_run() {
        return;
    }
    let mut bench = Bench::new(|daemon| match daemon.role {
        SyncRole::Master => daemon,
        SyncRole::Backup => SyncDaemon { max_len: Some(1), ..daemon },
    });
    assert_eq!(bench.backup.running()[0].max_len, Some(1_024), "no backup takes less");
    bench.tell(&(1..=20).flat_map(records).collect::<Vec<_>>());
    let sent = bench.master.master().unwrap().statistics();
    let taken = bench.datagrams(sent.datagrams);
    let causes: Vec<_> = bench.backup.backup().unwrap().statistics().discards.iter().collect();
    assert_eq!((sent.datagrams, taken, causes), (2, 0, vec![("size_mismatch", 2)]));
}

#[test]
fn what_is_sent_to_the_host_itself_or_to_other_groups_is_not_heard() {
    if !may_run() {
        return;
    }
    let mut bench = Bench::new(|daemon| daemon);
    let stranger = stranger(&bench);
    stranger.set_broadcast(true).unwrap();
    for to in [[10, 80, 0, 2], [224, 0, 0, 82], [10, 80, 0, 255]] {
        stranger.send_to(&[0; 50], (Ipv4Addr::from(to), SyncDaemon::DEFAULT_PORT)).unwrap();
    }
    bench.tell(&records(3_001));
    assert_eq!(bench.hear(2), records(3_001));
    assert_eq!(bench.backup.backup().unwrap().statistics().datagrams, 1);
}
