//! The kernel's module comes and goes. Only in a kernel that is nobody else's.

use buoy_ipvs::{Change, Plane, SyncDaemon, SyncRole};

use crate::bench::{empty_plane, hold, refusal, run, service, tcp};
use crate::machine::inside;

fn modprobe(arguments: &str) {
    let program = std::fs::read_to_string("/proc/sys/kernel/modprobe").unwrap();
    run(program.trim(), arguments);
}

#[test]
#[ignore = "runs in a kernel of its own"]
fn a_plane_outlives_the_module_that_it_was_opened_with() {
    if !inside() {
        return;
    }
    let mut plane = empty_plane();
    let adding = [Change::AddService(service(tcp(80)))];
    let mut table = buoy_ipvs::Table::new();
    table.set_service(service(tcp(80)));

    hold(&mut plane, &table);
    plane.flush().unwrap();
    modprobe("-r ip_vs_wlc ip_vs");
    assert_eq!(plane.apply(&adding).unwrap(), []);
    hold(&mut plane, &table);
    plane.flush().unwrap();
    modprobe("-r ip_vs_wlc ip_vs");
    assert!(plane.snapshot().unwrap().table.is_empty());
    modprobe("-r ip_vs");
    plane.start_sync(&SyncDaemon::new(SyncRole::Backup, "lo", 1)).unwrap();
    plane.stop_sync(SyncRole::Backup).unwrap();

    // And where it cannot be loaded again, that is what is said.
    modprobe("-r ip_vs");
    let loader = std::fs::read_to_string("/proc/sys/kernel/modprobe").unwrap();
    std::fs::write("/proc/sys/kernel/modprobe", "/bin/false").unwrap();
    let missing = plane.apply(&adding).unwrap_err().to_string();
    std::fs::write("/proc/sys/kernel/modprobe", loader).unwrap();
    assert!(missing.starts_with("this kernel has no IPVS; load its module"), "{missing}");
}

#[test]
#[ignore = "runs in a kernel of its own"]
fn a_scheduler_without_module_is_named() {
    if !inside() {
        return;
    }
    let mut plane = empty_plane();
    modprobe("-r ip_vs_wlc");
    let loader = std::fs::read_to_string("/proc/sys/kernel/modprobe").unwrap();
    std::fs::write("/proc/sys/kernel/modprobe", "/bin/false").unwrap();
    let refused = refusal(&mut plane, Change::AddService(service(tcp(80))));
    std::fs::write("/proc/sys/kernel/modprobe", loader).unwrap();
    assert!(refused.ends_with("no scheduler `wlc` in this kernel: module ip_vs_wlc is missing"), "{refused}");
}
