use std::path::Path;

use proptest::prelude::{any, proptest};
use proptest::test_runner::Config;

use crate::operations::check;

#[test]
fn kept_operations_keep_the_promises_of_connections_and_leave_nothing_behind() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/engine");
    let mut inputs = 0;
    for entry in std::fs::read_dir(corpus).expect("the corpus is there") {
        let input = std::fs::read(entry.expect("a file").path()).expect("a file that can be read");
        inputs += 1;
        check(&input);
        for at in 0..input.len() {
            check(&input[..at]);
            for value in [0, 0x80, 0xff, input[at] ^ 1, input[at].wrapping_add(4)] {
                let mut changed = input.clone();
                changed[at] = value;
                check(&changed);
            }
        }
    }
    assert!(inputs > 0);
}

proptest! {
    #![proptest_config(Config { cases: 2000, ..Config::default() })]

    #[test]
    fn any_operations_keep_the_promises_of_connections_and_leave_nothing_behind(
        bytes in proptest::collection::vec(any::<u8>(), 0..600)
    ) {
        check(&bytes);
    }
}
