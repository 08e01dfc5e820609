//! What the fuzz targets check, held against their corpora by any compiler: every kept input, every
//! prefix of it and every byte of it changed.

mod advertisement;
mod authentication_header;
mod claim;

use std::fs;
use std::path::Path;

fn replay(target: &str, check: impl Fn(&[u8])) {
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
}

#[test]
fn corpus_of_advertisements_is_refused_or_consistent() {
    replay("advertisement", advertisement::check);
}

#[test]
fn corpus_of_authentication_headers_is_never_believed_by_a_stranger() {
    replay("authentication_header", authentication_header::check);
}

#[test]
fn corpus_of_claims_can_be_announced_the_same_way() {
    replay("claim", claim::check);
}
