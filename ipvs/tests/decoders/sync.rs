//! Any datagram of a sync master: each of its bytes is part of a record or has a cause for not being one, and each
//! record is written to bytes that read the same.

use buoy_ipvs::sync::{Extent, Message, Records, SyncId, Version};

pub(crate) fn check(datagram: &[u8]) {
    check_as_it_is(datagram);
    // Most inputs are no message at all, so their headers are put right.
    let Ok(size) = u16::try_from(datagram.len()) else { return };
    let mut datagram = datagram.to_vec();
    let Some(header) = datagram.first_chunk_mut::<4>() else { return };
    header[2..].copy_from_slice(&size.to_be_bytes());
    check_as_it_is(&datagram);
    let Some(header) = datagram.first_chunk_mut::<8>() else { return };
    header[0] = 0;
    header[5..].copy_from_slice(&[1, 0, 0]);
    check_as_it_is(&datagram);
}

fn check_as_it_is(datagram: &[u8]) {
    let mut records = match Records::read(datagram, SyncId::ANY) {
        Ok(records) => records,
        Err(discard) => {
            assert_eq!(discard.extent(), Extent::Datagram);
            return;
        }
    };
    let (version, id) = (records.version(), records.sync_id());
    let (header, shortest) = match version {
        Version::V0 => (4, 24),
        Version::V1 => (8, 36),
    };
    let mut read = header;
    while let Some(record) = records.next() {
        let before = read;
        read = datagram.len() - records.unread();
        match record.map_err(|discard| discard.extent()) {
            Ok(record) => {
                assert!(read >= before + shortest, "{record:?}");
                let mut message = Message::new(version, id, 0);
                message.push(&record).expect("a record that was read fits into its version");
                let mut again = Records::read(message.bytes(), id).expect("a message");
                assert_eq!(again.next(), Some(Ok(record)));
                assert_eq!(again.next(), None);
            }
            Err(Extent::Record) => assert!(read >= before + shortest),
            Err(Extent::Rest) => assert_eq!(read, datagram.len()),
            Err(Extent::Datagram) => panic!("a cause that is for whole datagrams only"),
        }
    }
    assert_eq!((records.unread(), records.next()), (0, None));
}
