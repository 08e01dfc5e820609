//! Virtual servers on a real IPVS, with real traffic: from a client through the director to servers that say who
//! they are.
//!
//! The cases are ignored tests; the others start a kernel and run them in it. Most are run twice: with keepalived as the
//! director, which shows that the laboratory is right, and with Buoy.

mod cases;
mod client;
mod director;
#[path = "../../ipvs/tests/kernel/machine.rs"]
mod machine;
mod server;
mod site;
mod world;

use buoy::lab::find_program;

/// Runs the cases of these names in a kernel that has IPVS, where the programs that they need are installed.
fn run_cases(filters: &[&str]) {
    for program in ["keepalived", "ipvsadm", "ip", "tc"] {
        if find_program(program).is_none() {
            assert!(std::env::var_os("BUOY_TESTS_REQUIRE_PEERS").is_none(), "{program} is not installed");
            eprintln!("skipped: {program} is not installed");
            return;
        }
    }
    machine::run_cases(filters, "");
}

#[test]
fn traffic_goes_where_keepalived_says() {
    run_cases(&["forwarding::keepalived::", "scheduling::keepalived::"]);
}

#[test]
fn failures_are_outlived_with_keepalived() {
    run_cases(&[
        "failing::keepalived::",
        "quorum::keepalived::",
        "continuity::keepalived::",
        "pair::keepalived::",
    ]);
}

#[test]
fn traffic_goes_where_buoy_says() {
    run_cases(&["forwarding::buoy::", "scheduling::buoy::", "listing::"]);
}

#[test]
fn failures_are_outlived_with_buoy() {
    run_cases(&["failing::buoy::", "quorum::buoy::", "draining::", "pair::buoy::"]);
}

#[test]
fn buoy_ipvsadm_does_and_says_what_ipvsadm_does_and_says() {
    run_cases(&["ipvsadm::buoy_alone::"]);
}

#[test]
fn buoy_ipvsadm_refuses_what_ipvsadm_refuses() {
    run_cases(&["ipvsadm::mistakes::"]);
}

#[test]
fn services_go_on_whatever_becomes_of_buoy() {
    run_cases(&["continuity::buoy"]);
}

#[test]
fn both_programs_leave_the_same_table() {
    run_cases(&["same_tables::"]);
}

#[test]
fn operators_and_agents_are_obeyed() {
    run_cases(&["operators::", "agents::", "panic::", "timeouts::buoy_alone::"]);
}

#[test]
fn what_is_rare_is_forwarded_and_checked() {
    run_cases(&["detours::", "sctp::", "families::", "timeouts::keepalived::", "timeouts::buoy::"]);
}
