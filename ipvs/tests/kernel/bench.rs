//! Short ways to make services and servers, and to look at them with other eyes.

use std::net::IpAddr;
use std::process::Command;
use std::time::Duration;

use buoy_ipvs::kernel::ModuleLoading;
use buoy_ipvs::{
    Change, Forwarding, FwMark, KernelPlane, Persistence, Plane, Protocol, RealServer, RealServerId,
    Scheduler, ServiceId, SyncRole, Table, VirtualService, Weight,
};

/// The kernel's plane with nothing in it.
pub(crate) fn empty_plane() -> KernelPlane {
    let mut plane = KernelPlane::open(ModuleLoading::Allowed).unwrap();
    plane.flush().unwrap();
    for role in [SyncRole::Master, SyncRole::Backup] {
        if plane.sync_daemons().unwrap().iter().any(|daemon| daemon.role == role) {
            plane.stop_sync(role).unwrap();
        }
    }
    plane
}

pub(crate) fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn id(protocol: Protocol, text: &str, port: u16) -> ServiceId {
    ServiceId::Address { protocol, address: address(text), port }
}

pub(crate) fn tcp(port: u16) -> ServiceId {
    id(Protocol::Tcp, "10.0.0.1", port)
}

pub(crate) fn tcp6(port: u16) -> ServiceId {
    id(Protocol::Tcp, "2001:db8::1", port)
}

pub(crate) fn mark(family: buoy_ipvs::Family, mark: u32) -> ServiceId {
    ServiceId::FwMark { family, mark: FwMark::new(mark).unwrap() }
}

pub(crate) fn service(id: ServiceId) -> VirtualService {
    VirtualService::new(id, Scheduler::Wlc)
}

pub(crate) fn persistent(seconds: u64, prefix_len: u8) -> Persistence {
    Persistence { timeout: Duration::from_secs(seconds), prefix_len, engine: None }
}

pub(crate) fn server(text: &str, forwarding: Forwarding) -> RealServer {
    let id = RealServerId { address: address(text), port: 80 };
    RealServer::new(id, forwarding, Weight::ONE)
}

/// Makes the plane hold `table`, and checks that it does.
#[track_caller]
pub(crate) fn hold(plane: &mut KernelPlane, table: &Table) {
    let changes = plane.snapshot().unwrap().table.changes_to(table);
    assert_eq!(plane.apply(&changes).unwrap(), []);
    let snapshot = plane.snapshot().unwrap();
    assert_eq!(&snapshot.table, table);
    assert_eq!(snapshot.foreign, []);
}

/// The words in which the plane refuses `change`.
#[track_caller]
pub(crate) fn refusal(plane: &mut impl Plane, change: Change) -> String {
    match plane.apply(&[change]).unwrap().as_slice() {
        [refusal] => refusal.to_string(),
        refusals => panic!("{refusals:?}"),
    }
}

#[track_caller]
pub(crate) fn ipvsadm(arguments: &str) -> String {
    run("ipvsadm", arguments)
}

#[track_caller]
pub(crate) fn run(program: &str, arguments: &str) -> String {
    let output = Command::new(program).args(arguments.split_whitespace()).output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments}: {words}");
    String::from_utf8(output.stdout).unwrap()
}

/// The lines of `ipvsadm -Sn`, sorted.
#[track_caller]
pub(crate) fn saved() -> Vec<String> {
    let mut lines: Vec<_> = ipvsadm("-Sn").lines().map(|line| line.trim().to_owned()).collect();
    lines.sort();
    lines
}

/// The number of the generic netlink family.
pub(crate) fn family_number() -> u16 {
    let family = run("genl", "ctrl get name IPVS");
    let number = family.split("ID: 0x").nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap();
    u16::from_str_radix(number, 16).unwrap()
}
