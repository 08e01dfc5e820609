//! What is made of datagrams.

use crate::sync::{DiscardCounters, Records, SyncId, SyncRecord};

/// What became of all that a backup has received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackupStatistics {
    /// Datagrams that were received, and bytes in them, whether or not they were any good.
    pub datagrams: u64,
    pub bytes: u64,
    /// Records that were taken out of them.
    pub records: u64,
    /// Causes for which datagrams, their rest or single records were not taken.
    pub discards: DiscardCounters,
}

#[derive(Debug)]
pub(super) struct Intake {
    sync_id: SyncId,
    pub(super) statistics: BackupStatistics,
}

impl Intake {
    pub(super) fn new(sync_id: SyncId) -> Self {
        Self { sync_id, statistics: BackupStatistics::default() }
    }

    /// Hands out the records of a datagram.
    pub(super) fn read(&mut self, datagram: &[u8], take: &mut impl FnMut(&SyncRecord<'_>)) {
        self.statistics.datagrams += 1;
        self.statistics.bytes += datagram.len() as u64;
        let records = match Records::read(datagram, self.sync_id) {
            Ok(records) => records,
            Err(discard) => return self.statistics.discards.count(&discard),
        };
        for record in records {
            match record {
                Ok(record) => {
                    self.statistics.records += 1;
                    take(&record);
                }
                Err(discard) => self.statistics.discards.count(&discard),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Of UDP, from a golden datagram, with sync id 171.
    const DATAGRAM: [u8; 44] = [
        0, 0xab, 0, 44, 1, 1, 0, 0, 0, 17, 0, 36, 0, 0, 1, 0, 0, 0, 0x0b, 0xb9, 0, 53, 0, 53, 0, 0, 0, 0, 0,
        0, 1, 44, 10, 1, 0, 9, 10, 9, 0, 1, 10, 2, 0, 11,
    ];

    #[test]
    fn records_are_counted_and_handed_out() {
        let mut intake = Intake::new(SyncId(171));
        let mut ports = Vec::new();
        intake.read(&DATAGRAM, &mut |record| ports.push(record.tuple.ends().client.port));
        assert_eq!(ports, [3001]);
        let expected =
            BackupStatistics { datagrams: 1, bytes: 44, records: 1, ..BackupStatistics::default() };
        assert_eq!(intake.statistics, expected);
    }

    #[test]
    fn whatever_is_not_taken_is_counted_by_its_cause() {
        let mut intake = Intake::new(SyncId(172));
        let mut broken = DATAGRAM;
        broken[1] = 172;
        broken[9] = 99;
        for datagram in [&DATAGRAM[..], &DATAGRAM[..40], &DATAGRAM[..3], &broken] {
            intake.read(datagram, &mut |record| panic!("{record:?} was taken"));
        }
        let causes: Vec<_> = intake.statistics.discards.iter().collect();
        let once = ["no_header", "other_sync_id", "size_mismatch", "unknown_protocol"];
        assert_eq!(causes, once.map(|cause| (cause, 1)));
        assert_eq!((intake.statistics.datagrams, intake.statistics.records), (4, 0));
    }

    proptest! {
        #[test]
        fn every_datagram_is_records_or_a_cause(
            id: u8,
            datagrams in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..20),
        ) {
            let mut intake = Intake::new(SyncId(id));
            let mut taken = 0;
            datagrams.iter().for_each(|datagram| intake.read(datagram, &mut |_| taken += 1));
            let BackupStatistics { datagrams: count, bytes, records, discards } = intake.statistics;
            prop_assert_eq!((count, records), (datagrams.len() as u64, taken));
            prop_assert_eq!(bytes, datagrams.iter().map(Vec::len).sum::<usize>() as u64);
            // A message of no records is none.
            let empty = datagrams.iter().filter(|datagram| Records::read(datagram, SyncId(id)).is_ok_and(|all| all.count() == 0));
            let causes: u64 = discards.iter().map(|(_, count)| count).sum();
            prop_assert!(causes + records + empty.count() as u64 >= count);
        }
    }
}
