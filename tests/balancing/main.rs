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

#[test]
fn traffic_goes_where_keepalived_says() {
    machine::run_cases(&["forwarding::keepalived::", "scheduling::keepalived::"], "");
}

#[test]
fn failures_are_outlived_with_keepalived() {
    machine::run_cases(
        &["failing::keepalived::", "quorum::keepalived::", "continuity::keepalived::", "pair::keepalived::"],
        "",
    );
}

#[test]
fn traffic_goes_where_buoy_says() {
    machine::run_cases(&["forwarding::buoy::", "scheduling::buoy::", "listing::"], "");
}

#[test]
fn failures_are_outlived_with_buoy() {
    machine::run_cases(
        &["failing::buoy::", "quorum::buoy::", "continuity::buoy", "draining::buoy", "pair::buoy"],
        "",
    );
}

#[test]
fn both_programs_leave_the_same_table() {
    machine::run_cases(&["same_tables::"], "");
}
