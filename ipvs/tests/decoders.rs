//! What the fuzz target checks, held against its corpus by any compiler: every kept input, every prefix of it and every
//! byte of it changed, and bytes without any sense.

#[path = "decoders/ipvs.rs"]
mod ipvs;

use std::fs;
use std::path::Path;

use proptest::prelude::{any, proptest};

#[test]
fn corpus_of_kernel_messages_is_refused_or_means_the_same_when_written() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/ipvs");
    let mut inputs = 0;
    for entry in fs::read_dir(corpus).unwrap() {
        let input = fs::read(entry.unwrap().path()).unwrap();
        inputs += 1;
        ipvs::check(&input);
        (0..input.len()).for_each(|len| ipvs::check(&input[..len]));
        for at in 0..input.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff, input[at] ^ 1, input[at].wrapping_add(4)] {
                let mut changed = input.clone();
                changed[at] = value;
                ipvs::check(&changed);
            }
        }
    }
    assert!(inputs > 0, "the corpus is there");
    proptest!(|(bytes in proptest::collection::vec(any::<u8>(), 0..200))| ipvs::check(&bytes));
}
