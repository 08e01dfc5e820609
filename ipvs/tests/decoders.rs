//! What the fuzz targets check, held against their corpora by any compiler: every kept input, every prefix of it and every
//! byte of it changed, and bytes without any sense.

#[path = "decoders/assembler.rs"]
mod assembler;
#[path = "decoders/ipvs.rs"]
mod ipvs;

use std::fs;
use std::path::Path;

use proptest::prelude::{any, proptest};

/// How many inputs the corpus has.
fn check_corpus(name: &str, check: impl Fn(&[u8])) -> usize {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name);
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
    inputs
}

#[test]
fn corpus_of_kernel_messages_is_refused_or_means_the_same_when_written() {
    assert!(check_corpus("ipvs", ipvs::check) > 0, "the corpus is there");
    proptest!(|(bytes in proptest::collection::vec(any::<u8>(), 0..200))| ipvs::check(&bytes));
}

#[test]
fn corpus_of_programs_is_refused_or_assembled() {
    assert!(check_corpus("assembler", assembler::check) > 0, "the corpus is there");
    proptest!(|(bytes in proptest::collection::vec(any::<u8>(), 0..400))| assembler::check(&bytes));
}
