//! All of it without any right outside a user namespace: no eBPF, and no network but one's own.

use std::process::Command;

use crate::host::may_run;

/// Set inside.
const INSIDE: &str = "BUOY_TEST_IN_USER_NAMESPACE";

pub(crate) fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

#[test]
fn everything_works_in_a_user_namespace() {
    if is_inside() || !may_run() {
        return;
    }
    let program = std::env::current_exe().unwrap();
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net"])
        .arg(program)
        // What is compared with needs eBPF.
        .args(["--skip", "same_as_tc", "--skip", "user_namespace::", "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let said =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("16 passed") && !said.contains("skipped:"), "{said}");
}
