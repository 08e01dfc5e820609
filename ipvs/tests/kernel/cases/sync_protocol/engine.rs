//! A director of the kernel and one of the engine, whose tables are the same in the end.

mod director;
mod packet;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use buoy_ipvs::sync::Version;
use buoy_ipvs::{KernelPlane, Plane, SyncDaemon, SyncRole};

use self::director::Director;
use self::packet::{ACK, FIN, SYN, tcp, udp};
use super::ID;
use super::listing::{Key, Value, listing};
use super::network::{Client, Network, sysctl};
use crate::bench::{empty_plane, ipvsadm};
use crate::machine::inside;

/// Services with one server each, in arguments of ipvsadm.
const SERVICES: [(&str, &str, &str); 9] = [
    ("-t 10.70.1.2:80", "-s rr", "10.70.0.2:80 -m"),
    ("-t 10.70.1.1:80", "-s rr", "10.70.0.2:80 -g"),
    ("-u 10.70.1.1:53", "-s rr", "10.70.0.2:53 -m"),
    ("-t 10.70.1.1:81", "-s rr -p 300 -M 255.255.255.0", "10.70.0.2:80 -m"),
    ("-f 7", "-s rr -p 200", "10.70.0.2:0 -m"),
    ("-t [fd70:1::1]:80", "-s rr", "[fd70::2]:80 -m"),
    ("-u [fd70:1::1]:53", "-s rr", "[fd70::2]:53 -m"),
    ("-t [fd70:1::1]:81", "-s rr -p 300 -M 64", "[fd70::2]:80 -m"),
    ("-f 8 -6", "-s rr -p 200", "[fd70::2]:0 -m"),
];
/// What clients address, and the mark of their packets; all those are of TCP.
const ADDRESSED: [(&str, Option<u32>); 7] = [
    ("10.70.1.2:80", None),
    ("10.70.1.1:80", None),
    ("10.70.1.1:81", None),
    ("10.70.1.3:80", Some(7)),
    ("[fd70:1::1]:80", None),
    ("[fd70:1::1]:81", None),
    ("[fd70:1::3]:80", Some(8)),
];
const OF_UDP: [&str; 2] = ["10.70.1.1:53", "[fd70:1::1]:53"];
/// Connections to each of them.
const CLIENTS: u16 = 4;

/// The kernel with all services and no connections of its own.
fn kernel() -> KernelPlane {
    let plane = empty_plane();
    for (service, options, server) in SERVICES {
        ipvsadm(&format!("-A {service} {options}"));
        ipvsadm(&format!("-a {service} -r {server}"));
    }
    plane
}

/// By what version 0 has words for.
fn told_of(table: BTreeMap<Key, (Value, u64)>, version: Version) -> BTreeMap<Key, (Value, u64)> {
    table.into_iter().filter(|((_, client, ..), _)| version == Version::V1 || client.is_ipv4()).collect()
}

/// Whether they have the same entries, in the same states, that end at the same time but for what datagrams take.
fn is_same(
    ours: &BTreeMap<Key, (Value, u64)>,
    theirs: &BTreeMap<Key, (Value, u64)>,
    version: Version,
) -> bool {
    ours.len() == theirs.len()
        && ours.iter().zip(theirs).all(|(ours, theirs)| {
            let (key, (value, ends)) = ours;
            let (their_key, (their_value, they_end)) = theirs;
            // Version 0 does not say when.
            let in_time = version == Version::V0 || ends.abs_diff(*they_end) <= 10;
            key == their_key && value == their_value && in_time
        })
}

/// Waits until both tables are the same. `step` drives our director.
fn assert_same(version: Version, mut step: impl FnMut() -> BTreeMap<Key, (Value, u64)>) -> usize {
    let begin = Instant::now();
    loop {
        let (ours, theirs) = (told_of(step(), version), told_of(listing(), version));
        if !ours.is_empty() && is_same(&ours, &theirs, version) {
            return ours.len();
        }
        let ours_alone: Vec<_> = ours.iter().filter(|(key, value)| theirs.get(*key) != Some(value)).collect();
        let theirs_alone: Vec<_> =
            theirs.iter().filter(|(key, value)| ours.get(*key) != Some(value)).collect();
        assert!(begin.elapsed() < Duration::from_secs(20), "ours: {ours_alone:?}\ntheirs: {theirs_alone:?}");
    }
}

#[test]
#[ignore = "runs in a kernel of its own"]
fn version_0_of_the_kernel_is_heard() {
    if inside() {
        engine_is_backup(Version::V0);
    }
}

#[test]
#[ignore = "runs in a kernel of its own"]
fn version_1_of_the_kernel_is_heard() {
    if inside() {
        engine_is_backup(Version::V1);
    }
}

#[test]
#[ignore = "runs in a kernel of its own"]
fn version_0_of_the_engine_is_heard() {
    if inside() {
        kernel_is_backup(Version::V0);
    }
}

#[test]
#[ignore = "runs in a kernel of its own"]
fn version_1_of_the_engine_is_heard() {
    if inside() {
        kernel_is_backup(Version::V1);
    }
}

fn engine_is_backup(version: Version) {
    // IPVS first, as it brings IPv6.
    let mut plane = kernel();
    let network = Network::new();
    let number = match version {
        Version::V0 => "0",
        Version::V1 => "1",
    };
    sysctl("sync_version", number);
    let table = plane.snapshot().unwrap().table;
    let start = |id| {
        let daemon = SyncDaemon::new(SyncRole::Backup, Network::FAR_LINK, id);
        let mut director = Director::new(&table);
        network.at_the_far_end(|| director.daemons.start(&daemon, Version::V1)).unwrap();
        director
    };
    let (mut backup, mut of_others) = (start(ID), start(ID + 1));
    plane.start_sync(&SyncDaemon::new(SyncRole::Master, Network::LINK, ID)).unwrap();
    let client = |(address, mark): (&str, Option<u32>)| {
        let client = Client::of(address);
        mark.map_or(client, |mark| client.marked(mark))
    };
    for addressed in ADDRESSED {
        (0..CLIENTS).for_each(|_| network.open_tcp(client(addressed)));
        network.tcp(client(addressed));
    }
    for address in OF_UDP {
        (0..CLIENTS).for_each(|_| network.udp(Client::of(address), b"?", 3));
    }
    let entries = assert_same(version, || {
        backup.receive();
        of_others.receive();
        backup.table()
    });
    println!("version {number}: {entries} entries of the kernel, and the engine has them all");
    assert_eq!(of_others.table(), BTreeMap::new());
    let discards: Vec<_> = of_others.daemons.backup().unwrap().statistics().discards.iter().collect();
    assert!(matches!(discards[..], [("other_sync_id", 1..)]), "{discards:?}");
    assert_eq!(backup.daemons.backup().unwrap().statistics().discards.iter().count(), 0);
    backup.assert_counts_as(&mut plane, version);
    println!("and forwards {} of them", backup.forwards_what_is_established());
    plane.stop_sync(SyncRole::Master).unwrap();
}

fn kernel_is_backup(version: Version) {
    let mut plane = kernel();
    let network = Network::new();
    plane.start_sync(&SyncDaemon::new(SyncRole::Backup, Network::LINK, ID)).unwrap();
    let table = plane.snapshot().unwrap().table;
    let start = |id| {
        let daemon = SyncDaemon::new(SyncRole::Master, Network::FAR_LINK, id);
        let mut director = Director::new(&table);
        network.at_the_far_end(|| director.daemons.start(&daemon, version)).unwrap();
        director
    };
    // What it tells comes first, and nobody takes it.
    let mut of_others = start(ID + 1);
    let stranger: SocketAddr = "10.70.0.99:9".parse().unwrap();
    for flags in [SYN, ACK, ACK] {
        of_others.process(tcp(stranger, "10.70.1.2:80".parse().unwrap(), flags), None);
    }
    assert_eq!(of_others.tell(), 1);

    let mut master = start(ID);
    let mut port = 3_000;
    let mut client = |service: SocketAddr| {
        port += 1;
        let host = if service.is_ipv4() { "10.70.0.1" } else { "fd70::1" };
        SocketAddr::new(host.parse().unwrap(), port)
    };
    // Version 0 has no words for it, and version 1 has words that the kernel skips.
    let full_nat = (version == Version::V1).then(|| {
        master.add_full_nat("10.70.1.4:80", "10.70.0.2:80", "10.70.0.77");
        ("10.70.1.4:80", None)
    });
    for (address, mark) in ADDRESSED.into_iter().chain(full_nat) {
        let service = address.parse().unwrap();
        for number in 0..=CLIENTS {
            let client = client(service);
            let ended = [SYN, ACK, FIN | ACK];
            let flags = if number == CLIENTS { ended } else { [SYN, ACK, ACK] };
            for flags in flags {
                master.process(tcp(client, service, flags), mark);
            }
        }
    }
    for address in OF_UDP {
        let service = address.parse().unwrap();
        for _ in 0..CLIENTS {
            let client = client(service);
            for _ in 0..3 {
                master.process(udp(client, service), None);
            }
        }
    }
    // One that its server ends, of which the client has not heard yet.
    let (service, server) = ("10.70.1.2:80".parse().unwrap(), "10.70.0.2:80".parse().unwrap());
    let client = client(service);
    for flags in [SYN, ACK] {
        master.process(tcp(client, service, flags), None);
    }
    master.process(tcp(server, client, FIN | ACK), None);
    let told = master.tell();
    let entries = assert_same(version, || master.table());
    println!("{version:?}: {told} records of the engine, and the kernel has all {entries} entries");
    master.assert_counts_as(&mut plane, version);
    plane.stop_sync(SyncRole::Backup).unwrap();
}
