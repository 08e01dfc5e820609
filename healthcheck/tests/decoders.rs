//! What the fuzz targets check, held against their corpora by any compiler: every kept input, every prefix of it and
//! every byte of it changed, and bytes without any sense.

#[path = "decoders/agent_line.rs"]
mod agent_line;
#[path = "decoders/file_number.rs"]
mod file_number;
#[path = "decoders/smtp_reply.rs"]
mod smtp_reply;

use std::fs;
use std::path::Path;

use proptest::prelude::{any, proptest};

fn replay(target: &str, check: impl Fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let mut inputs = 0;
    for entry in fs::read_dir(corpus).expect("the corpus") {
        let input = fs::read(entry.expect("an entry").path()).expect("an input");
        inputs += 1;
        check(&input);
        (0..input.len()).for_each(|len| check(&input[..len]));
        for at in 0..input.len() {
            for value in [0, b'\n', b' ', b'#', b'9', 0x80, 0xff, input[at] ^ 1] {
                let mut changed = input.clone();
                changed[at] = value;
                check(&changed);
            }
        }
    }
    assert!(inputs > 0, "the corpus is there");
    proptest!(|(bytes in proptest::collection::vec(any::<u8>(), 0..200))| check(&bytes));
}

#[test]
fn corpus_of_agent_lines_means_the_same_however_its_words_are_spaced() {
    replay("agent_line", agent_line::check);
}

#[test]
fn corpus_of_smtp_replies_is_the_same_in_pieces() {
    replay("smtp_reply", smtp_reply::check);
}

#[test]
fn corpus_of_file_numbers_stays_within_its_type() {
    replay("file_number", file_number::check);
}
