//! The kernel's IPVS does what the plane says, and the plane says what the kernel's IPVS does.
//!
//! The cases are the ignored tests; the others start a kernel and run them in it.

mod bench;
mod cases;
mod machine;

#[test]
fn cases_hold_in_a_kernel_with_ipvs() {
    machine::run_cases(
        &["cases::table::", "cases::refusals::", "cases::counters::", "cases::sync::", "cases::hooks::"],
        "",
    );
}

#[test]
fn sync_datagrams_are_taken_as_by_a_kernel_that_has_no_other_connections() {
    machine::run_cases(&["cases::sync_protocol::backup::"], "");
}

#[test]
fn directors_of_the_kernel_and_of_the_engine_are_backups_of_each_other() {
    // What one of them has heard is still there for the next.
    for master in ["kernel", "engine"] {
        for version in [0, 1] {
            let case = format!("cases::sync_protocol::engine::version_{version}_of_the_{master}");
            machine::run_cases(&[&case], "");
        }
    }
}

#[test]
fn cases_without_ipv6_or_with_a_module_that_goes_hold_in_a_kernel_of_their_own() {
    machine::run_cases(&["cases::without_ipv6::", "cases::module::"], "ipv6.disable=1");
}

#[test]
#[ignore = "prints golden messages anew"]
fn record_golden_messages() {
    machine::run_cases(&["cases::golden::record"], "");
}

#[test]
#[ignore = "prints golden datagrams anew"]
fn record_golden_datagrams() {
    machine::run_cases(&["cases::sync_protocol::golden::"], "");
}

#[test]
fn a_kernel_without_ipvs_is_named_with_its_cure() {
    use buoy_ipvs::kernel::ModuleLoading;
    use buoy_ipvs::{KernelPlane, PlaneError};
    match KernelPlane::open(ModuleLoading::Allowed) {
        Ok(_) => eprintln!("skipped: this kernel has IPVS"),
        Err(error @ PlaneError::Missing { .. }) => {
            let words = error.to_string();
            assert!(words.starts_with("this kernel has no IPVS (modprobe: "), "{words}");
            assert!(words.ends_with("load its module (`modprobe ip_vs`) or run a kernel with CONFIG_IP_VS"));
        }
        Err(error) => panic!("{error}"),
    }
}
