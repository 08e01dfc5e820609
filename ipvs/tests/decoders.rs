//! What the fuzz targets check, held against their corpora by any compiler: every kept input, every prefix of it and every
//! byte of it changed, and bytes without any sense.

#[path = "decoders/assembler.rs"]
mod assembler;
#[path = "decoders/ipvs.rs"]
mod ipvs;
#[path = "decoders/packet.rs"]
mod packet;
#[path = "decoders/sync.rs"]
mod sync;

use std::fs;
use std::path::Path;

use proptest::prelude::{any, proptest};

#[test]
fn corpus_of_kernel_messages_is_refused_or_means_the_same_when_written() {
    replay("ipvs", ipvs::check);
}

#[test]
fn corpus_of_programs_is_refused_or_assembled() {
    replay("assembler", assembler::check);
}

#[test]
fn corpus_of_packets_is_read_within_its_bytes() {
    replay("packet", packet::check);
}

#[test]
fn corpus_of_sync_datagrams_is_discarded_for_a_cause_or_means_the_same_when_written() {
    replay("sync", sync::check);
}

fn replay(target: &str, check: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let mut inputs = 0;
    for entry in fs::read_dir(corpus).unwrap() {
        let input = fs::read(entry.unwrap().path()).unwrap();
        inputs += 1;
        check(&input);
        (0..input.len()).for_each(|len| check(&input[..len]));
        for at in 0..input.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff, input[at] ^ 1, input[at].wrapping_add(4)] {
                let mut changed = input.clone();
                changed[at] = value;
                check(&changed);
            }
        }
    }
    assert!(inputs > 0, "the corpus is there");
    proptest!(|(bytes in proptest::collection::vec(any::<u8>(), 0..400))| check(&bytes));
}
