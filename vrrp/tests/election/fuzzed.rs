//! What the fuzz target of the election checks, with inputs that any compiler can play: those the fuzzer kept, and
//! random ones.

use std::path::Path;

use crate::operations;

const RANDOM_INPUTS: u64 = 20_000;

#[test]
fn kept_operations_keep_every_promise() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/election");
    let mut inputs = 0;
    for entry in std::fs::read_dir(corpus).expect("the corpus is there") {
        operations::check(&std::fs::read(entry.expect("readable").path()).expect("readable"));
        inputs += 1;
    }
    assert!(inputs > 0);
}

#[test]
fn random_operations_keep_every_promise() {
    for seed in 0..RANDOM_INPUTS {
        let mut state = seed;
        let mut byte = || {
            // splitmix64
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) >> 32) as u8
        };
        let mut input: Vec<u8> = vec![0; 200 + usize::from(byte())];
        input.iter_mut().for_each(|b| *b = byte());
        let failed = std::panic::catch_unwind(|| operations::check(&input)).is_err();
        assert!(!failed, "seed {seed}: {input:02x?}");
    }
}
