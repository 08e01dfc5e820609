//! What the daemon's fuzz targets check, held against their corpora by any compiler: every kept input, every
//! prefix of it and every byte of it changed, and bytes without any sense.

#[path = "decoders/control_request.rs"]
mod control_request;
#[path = "decoders/process_event.rs"]
mod process_event;
#[path = "decoders/rtnetlink.rs"]
mod rtnetlink;

use std::fs;
use std::path::Path;

use proptest::prelude::{any, proptest};

fn replay(target: &str, check: impl Fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut inputs = 0;
    for entry in fs::read_dir(corpus).expect("the corpus") {
        let input = fs::read(entry.expect("an entry").path()).expect("an input");
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
    proptest!(|(bytes in proptest::collection::vec(any::<u8>(), 0..200))| check(&bytes));
}

#[test]
fn corpus_of_process_events_depends_on_nothing_beyond_the_message() {
    replay("process_event", process_event::check);
}

#[test]
fn corpus_of_rtnetlink_messages_leaves_a_consistent_table_of_interfaces() {
    replay("rtnetlink", rtnetlink::check);
}

#[test]
fn corpus_of_control_requests_is_refused_or_means_the_same_when_sent_again() {
    replay("control_request", control_request::check);
}
