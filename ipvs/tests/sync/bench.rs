//! A master on the near host, a backup on the far one.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use buoy_ipvs::engine::state::TcpState;
use buoy_ipvs::io::sync::Daemons;
use buoy_ipvs::sync::{
    Batch, Connection, ConnectionState, Endpoint, Ends, Method, RecordFlags, Subject, SyncRecord, Tuple,
    Version,
};
use buoy_ipvs::{SyncDaemon, SyncRole};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::host::{Host, pair};

pub(crate) struct Bench {
    pub(crate) near: Host,
    pub(crate) far: Host,
    pub(crate) master: Daemons,
    pub(crate) backup: Daemons,
}

impl Bench {
    /// Daemons with what `settings` makes of every default, and sync id 7.
    pub(crate) fn new(settings: impl Fn(SyncDaemon) -> SyncDaemon) -> Self {
        let (near, far) = pair();
        let (mut master, mut backup) = (Daemons::new(), Daemons::new());
        let [as_backup, as_master] =
            [SyncRole::Backup, SyncRole::Master].map(|role| settings(SyncDaemon::new(role, "wire", 7)));
        far.run(|| backup.start(&as_backup, Version::V1)).unwrap();
        near.run(|| master.start(&as_master, Version::V1)).unwrap();
        Self { near, far, master, backup }
    }

    /// Tells of them, and has them leave at once.
    pub(crate) fn tell(&mut self, records: &[SyncRecord<'static>]) {
        let master = self.master.master_mut().unwrap();
        let now = Instant::now();
        records.iter().for_each(|record| master.tell(record, now));
        assert!(master.poll_timeout().is_some());
        master.handle_timeout(now + Batch::LONGEST_WAIT);
        assert!(master.poll_timeout().is_none() && !master.is_blocked());
    }

    /// What the backup hears until it has heard of so many.
    pub(crate) fn hear(&mut self, count: usize) -> Vec<SyncRecord<'static>> {
        let mut heard = Vec::new();
        self.receive_until(|heard| heard.len() >= count, &mut heard);
        heard
    }

    /// Waits until the backup has had so many datagrams. Returns how many records were in them.
    pub(crate) fn datagrams(&mut self, count: u64) -> usize {
        let mut records = 0;
        let backup = self.backup.backup_mut().unwrap();
        let begin = Instant::now();
        while backup.statistics().datagrams < count {
            assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", backup.statistics());
            poll(&mut [PollFd::new(backup.as_fd(), PollFlags::POLLIN)], PollTimeout::from(100_u8)).unwrap();
            backup.receive(|_| records += 1).unwrap();
        }
        records
    }

    pub(crate) fn receive_until(
        &mut self,
        is_enough: impl Fn(&[SyncRecord<'static>]) -> bool,
        heard: &mut Vec<SyncRecord<'static>>,
    ) {
        let backup = self.backup.backup_mut().unwrap();
        let begin = Instant::now();
        while !is_enough(heard) {
            assert!(
                begin.elapsed() < Duration::from_secs(10),
                "{} records, {:?}",
                heard.len(),
                backup.statistics()
            );
            poll(&mut [PollFd::new(backup.as_fd(), PollFlags::POLLIN)], PollTimeout::from(100_u8)).unwrap();
            backup.receive(|record| heard.push(owned(record))).unwrap();
        }
    }
}

/// Those of this test borrow nothing.
fn owned(record: &SyncRecord<'_>) -> SyncRecord<'static> {
    let Subject::Connection(connection) = record.subject else { panic!("{record:?}") };
    SyncRecord {
        subject: Subject::Connection(connection),
        tuple: record.tuple,
        method: record.method,
        flags: record.flags,
        mark: record.mark,
        timeout: record.timeout,
    }
}

/// Of one client, in either family.
pub(crate) fn records(client: u16) -> [SyncRecord<'static>; 2] {
    let v4 = |last, port| Endpoint::new(Ipv4Addr::new(10, 1, 0, last), port);
    let v6 = |last, port| Endpoint::new(Ipv6Addr::new(0xfd81, 0, 0, 0, 0, 0, 0, last), port);
    let record = |tuple, local| SyncRecord {
        subject: Subject::Connection(Connection::new(ConnectionState::Tcp(TcpState::Established))),
        tuple,
        method: Method::Masquerade,
        flags: if local { RecordFlags::SYNC } else { RecordFlags::NONE },
        mark: None,
        timeout: NonZeroU32::new(900),
    };
    [
        record(
            Tuple::V4(Ends { client: v4(9, client), service: v4(1, 80), server: v4(2, 80), local: None }),
            false,
        ),
        record(
            Tuple::V6(Ends {
                client: v6(9, client),
                service: v6(1, 80),
                server: v6(2, 80),
                local: Some(v6(3, 1_025)),
            }),
            true,
        ),
    ]
}

pub(crate) fn many(clients: u16) -> Vec<SyncRecord<'static>> {
    (1..=clients).flat_map(records).collect()
}
