//! What goes over the wire, and how.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use buoy_ipvs::engine::packet::View;
use buoy_ipvs::io::sync::Daemons;
use buoy_ipvs::sync::{Batch, Version};
use buoy_ipvs::{SyncDaemon, SyncRole};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Protocol, Socket, Type};

use crate::bench::{Bench, many, records};
use crate::host::{may_run, pair};

fn group(text: &str) -> impl Fn(SyncDaemon) -> SyncDaemon {
    let group = text.parse().unwrap();
    move |daemon| SyncDaemon { group: Some(group), ..daemon }
}

#[test]
fn what_a_master_tells_a_backup_hears_by_groups_of_either_family() {
    if !may_run() {
        return;
    }
    for text in ["224.0.0.81", "239.1.2.3", "ff02::81", "ff05::81"] {
        let mut bench = Bench::new(group(text));
        let told = many(500);
        bench.tell(&told);
        assert!(bench.hear(told.len()) == told, "{text}");
        let (sent, heard) =
            (bench.master.master().unwrap().statistics(), bench.backup.backup().unwrap().statistics());
        assert_eq!((sent.records, heard.records), (1_000, 1_000));
        assert_eq!((sent.datagrams, sent.bytes), (heard.datagrams, heard.bytes));
        assert_eq!(
            (sent.failed, sent.displaced, sent.untellable, heard.discards.iter().count()),
            (0, 0, 0, 0)
        );
        assert_eq!(bench.backup.backup().unwrap().overrun().unwrap(), 0);
    }
}

/// IP packets as they come to a host.
struct Tap(Socket);

impl Tap {
    fn new() -> Self {
        // `ETH_P_ALL` in network order, as that kind of socket has it.
        let all = i32::from(3_u16.to_be());
        let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(Protocol::from(all))).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Self(socket)
    }

    /// The next packet to that address.
    fn packet_to(&self, group: IpAddr) -> (Vec<u8>, View) {
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(10) {
            let mut bytes = vec![0; 2_000];
            let length = std::io::Read::read(&mut &self.0, &mut bytes).unwrap();
            bytes.truncate(length);
            if let Ok(view) = View::read(&bytes)
                && IpAddr::from(view.destination) == group
                && view.ports.is_some()
            {
                return (bytes, view);
            }
        }
        panic!("nothing was sent to {group}");
    }
}

#[test]
fn datagrams_leave_as_those_of_the_kernel_do() {
    if !may_run() {
        return;
    }
    for (text, source, ttl) in
        [("224.0.0.81", "10.80.0.1", None), ("239.1.2.3", "10.80.0.1", Some(7)), ("ff05::81", "", Some(3))]
    {
        let mut bench = Bench::new(|daemon| SyncDaemon { ttl, port: Some(9_000), ..group(text)(daemon) });
        let tap = bench.far.run(Tap::new);
        bench.tell(&records(3_001));
        let (bytes, view) = tap.packet_to(text.parse().unwrap());
        assert_eq!((view.ttl, view.ports.unwrap().destination), (ttl.unwrap_or(1), 9_000));
        let local = bench.master.master().unwrap().socket().local_address().unwrap();
        assert_eq!((IpAddr::from(view.source), view.ports.unwrap().source), (local.ip(), local.port()));
        if view.source == IpAddr::V4(Ipv4Addr::new(10, 80, 0, 1)).into() {
            assert_eq!(bytes[6] & 0x40, 0, "it may be fragmented");
        }
        assert!(source.is_empty() || local.ip().to_string() == source);
    }
}

#[test]
fn messages_longer_than_the_interface_takes_come_through_in_fragments() {
    if !may_run() {
        return;
    }
    for text in ["224.0.0.81", "ff02::81"] {
        let mut bench = Bench::new(|daemon| SyncDaemon { max_len: Some(9_000), ..group(text)(daemon) });
        let told = many(100);
        bench.tell(&told);
        assert!(bench.hear(told.len()) == told, "{text}");
        // 255 records at most, of 36 and 92 bytes.
        assert!(bench.master.master().unwrap().statistics().datagrams <= 2);
    }
}

#[test]
fn a_backup_takes_messages_as_long_as_its_interface_and_a_master_sends_what_every_backup_takes() {
    if !may_run() {
        return;
    }
    let (near, _far) = pair();
    near.ip("link set wire mtu 9000");
    let mut daemons = Daemons::new();
    near.run(|| {
        for role in [SyncRole::Master, SyncRole::Backup] {
            daemons.start(&SyncDaemon::new(role, "wire", 7), Version::V1).unwrap();
        }
    });
    let lengths: Vec<_> = daemons.running().iter().map(|daemon| daemon.max_len).collect();
    assert_eq!(lengths, [Some(1_472), Some(8_972)]);
}

#[test]
fn a_backup_that_does_something_else_finds_a_hundred_thousand_records_when_it_comes_back() {
    if !may_run() {
        return;
    }
    let mut bench = Bench::new(|daemon| daemon);
    let told: Vec<_> =
        (0..100_000).map(|number: u32| records(u16::try_from(number % 60_000).unwrap())[0]).collect();
    bench.tell(&told);
    assert!(bench.hear(told.len()) == told);
    assert_eq!(bench.backup.backup().unwrap().overrun().unwrap(), 0);
}

#[test]
fn a_wire_that_is_slow_loses_nothing_that_the_master_can_keep() {
    if !may_run() {
        return;
    }
    let mut bench = Bench::new(|daemon| daemon);
    let delay = |what: &str| bench.near.command("tc", &format!("qdisc {what}"));
    // Of the socket's buffer, which is 200 KiB at most, nothing gets through for now.
    delay("add dev wire root tbf rate 8kbit burst 2000 limit 10000000");
    let told = many(5_000);
    let (master, now) = (bench.master.master_mut().unwrap(), Instant::now());
    told.iter().for_each(|record| master.tell(record, now));
    assert!(master.is_blocked());
    delay("delete dev wire root");
    master.handle_timeout(now + Batch::LONGEST_WAIT);
    let begin = Instant::now();
    while master.is_blocked() {
        assert!(begin.elapsed() < Duration::from_secs(10));
        poll(&mut [PollFd::new(master.as_fd(), PollFlags::POLLOUT)], PollTimeout::from(100_u8)).unwrap();
        master.handle_writable();
    }
    let statistics = master.statistics();
    assert_eq!((statistics.records, statistics.displaced, statistics.failed), (10_000, 0, 0));
}

#[test]
fn a_master_that_stops_sends_what_it_has() {
    if !may_run() {
        return;
    }
    let mut bench = Bench::new(|daemon| daemon);
    let told = records(3_001);
    let master = bench.master.master_mut().unwrap();
    told.iter().for_each(|record| master.tell(record, Instant::now()));
    bench.master.stop(SyncRole::Master).unwrap();
    assert_eq!(bench.hear(2), told);
}

#[test]
fn a_director_of_both_roles_does_not_hear_itself() {
    if !may_run() {
        return;
    }
    for text in ["224.0.0.81", "ff02::81"] {
        let mut bench = Bench::new(group(text));
        let backup = group(text)(SyncDaemon::new(SyncRole::Backup, "wire", 7));
        bench.near.run(|| bench.master.start(&backup, Version::V1)).unwrap();
        bench.tell(&records(3_001));
        assert_eq!(bench.hear(2), records(3_001));
        let backup = bench.master.backup_mut().unwrap();
        assert_eq!((backup.receive(|_| ()).unwrap(), backup.statistics().datagrams), (0, 0), "{text}");
    }
}

#[test]
fn messages_of_version_0_have_what_that_knows() {
    if !may_run() {
        return;
    }
    let mut bench = Bench::new(|daemon| daemon);
    bench.master.master_mut().unwrap().set_version(Version::V0);
    bench.tell(&records(3_001));
    let heard = bench.hear(1);
    assert_eq!((heard[0].tuple, heard[0].timeout), (records(3_001)[0].tuple, None));
    assert_eq!(bench.master.master().unwrap().statistics().untellable, 1, "of IPv6");
}

#[test]
fn an_interface_that_cannot_send_is_named() {
    if !may_run() {
        return;
    }
    let (near, _far) = pair();
    let start = |settings: &dyn Fn(SyncDaemon) -> SyncDaemon| {
        let master = settings(SyncDaemon::new(SyncRole::Master, "wire", 7));
        near.run(|| Daemons::new().start(&master, Version::V1).map_err(|error| error.to_string()))
    };
    let refused = "cannot start the master sync daemon: interface wire cannot send to the multicast group: it needs \
                   to be up, with an address of that family";
    for undo in ["address flush dev wire", "link set wire down"] {
        start(&|daemon| daemon).unwrap();
        near.ip(undo);
        assert_eq!(start(&|daemon| daemon), Err(refused.to_owned()), "{undo}");
        near.ip("address replace 10.80.0.1/24 dev wire");
    }
    assert_eq!(start(&group("ff02::81")), Err(refused.to_owned()));
}

#[test]
fn a_wire_that_is_cut_loses_what_is_sent_meanwhile_and_nothing_else() {
    if !may_run() {
        return;
    }
    let mut bench = Bench::new(|daemon| daemon);
    bench.tell(&records(1));
    assert_eq!(bench.hear(2), records(1));
    bench.near.ip("link set wire down");
    bench.tell(&records(2));
    let master = bench.master.master().unwrap();
    assert_eq!(master.statistics().failed, 2);
    assert!(master.failure().is_some());
    bench.near.ip("link set wire up");
    let begin = Instant::now();
    let mut heard = Vec::new();
    // It takes a moment until the wire is one again.
    while heard.is_empty() {
        assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", bench.master.master().unwrap().failure());
        bench.tell(&records(3));
        bench.backup.backup_mut().unwrap().receive(|record| heard.push(record.tuple)).unwrap();
    }
    assert!(bench.master.master().unwrap().failure().is_none());
    assert_eq!(heard[..2], records(3).map(|record| record.tuple));
}
