//! What the kernel refuses, in words; and that the plane in memory refuses the same.

use std::time::Duration;

use buoy_ipvs::{
    Change, Forwarding, MemoryPlane, Persistence, PersistenceEngine, Plane, RealServerId, Scheduler,
    SchedulerFlags, SyncDaemon, SyncRole, Timeouts, Tunnel, TunnelChecksum, VirtualService,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::bench::{address, empty_plane, ipvsadm, persistent, refusal, run, server, service, tcp, tcp6};
use crate::machine::inside;

#[test]
#[ignore = "runs in a kernel of its own"]
fn refusals_have_their_reason_in_words() {
    if !inside() {
        return;
    }
    let mut plane = empty_plane();
    let direct = |text| server(text, Forwarding::Direct);
    let adding = [Change::AddService(service(tcp(80))), Change::AddServer(tcp(80), direct("10.1.0.1"))];
    assert_eq!(plane.apply(&adding).unwrap(), []);
    let with = |persistence| VirtualService { persistence: Some(persistence), ..service(tcp(81)) };
    let engine = |name| Persistence { engine: PersistenceEngine::new(name), ..persistent(1, 32) };
    let gone = RealServerId { address: address("10.1.0.2"), port: 80 };
    let mut thresholds = direct("10.1.0.3");
    thresholds.lower_threshold = 5;
    let mut limits = direct("10.1.0.3");
    limits.upper_threshold = u32::MAX;
    let cases = [
        (
            Change::AddService(service(tcp(80))),
            "cannot add virtual service TCP 10.0.0.1:80: it is there already",
        ),
        (
            Change::EditService(service(tcp(81))),
            "cannot change virtual service TCP 10.0.0.1:81: there is no such virtual service",
        ),
        (
            Change::RemoveService(tcp6(81)),
            "cannot remove virtual service TCP [2001:db8::1]:81: there is no such virtual service",
        ),
        (
            Change::AddService(with(engine("nope"))),
            "cannot add virtual service TCP 10.0.0.1:81: no scheduler `wlc` or no persistence engine `nope` in this \
             kernel: module ip_vs_wlc or ip_vs_pe_nope is missing",
        ),
        (
            Change::AddService(with(persistent(0, 32))),
            "cannot add virtual service TCP 10.0.0.1:81: the persistence timeout has to be whole seconds from 1 to \
             4294967",
        ),
        (
            Change::AddService(with(persistent(1, 33))),
            "cannot add virtual service TCP 10.0.0.1:81: a persistence prefix of 33 bits is none of IPv4",
        ),
        (
            Change::AddServer(tcp(80), direct("10.1.0.1")),
            "cannot add real server 10.1.0.1:80 of TCP 10.0.0.1:80, weight 1: it is there already",
        ),
        (
            Change::AddServer(tcp(81), direct("10.1.0.1")),
            "cannot add real server 10.1.0.1:80 of TCP 10.0.0.1:81, weight 1: there is no such virtual service",
        ),
        (
            Change::EditServer(tcp(80), direct("10.1.0.2")),
            "cannot change real server 10.1.0.2:80 of TCP 10.0.0.1:80, weight 1: the virtual service has no such \
             real server",
        ),
        (
            Change::RemoveServer(tcp(80), gone),
            "cannot remove real server 10.1.0.2:80 of TCP 10.0.0.1:80: the virtual service has no such real server",
        ),
        (
            Change::AddServer(tcp(80), direct("2001:db8:1::1")),
            "cannot add real server [2001:db8:1::1]:80 of TCP 10.0.0.1:80, weight 1: only a tunnel reaches a real \
             server of the other address family: use the forwarding method `tunnel`",
        ),
        (
            Change::AddServer(tcp(80), direct("224.0.0.1")),
            "cannot add real server 224.0.0.1:80 of TCP 10.0.0.1:80, weight 1: 224.0.0.1 is not the address of a \
             host that packets can be sent to",
        ),
        (
            Change::AddServer(tcp(80), thresholds),
            "cannot add real server 10.1.0.3:80 of TCP 10.0.0.1:80, weight 1: the lower threshold 5 is above the \
             upper threshold 0",
        ),
        (
            Change::AddServer(tcp(80), limits),
            "cannot add real server 10.1.0.3:80 of TCP 10.0.0.1:80, weight 1: the upper threshold 4294967295 is \
             above 2147483647",
        ),
        (
            Change::AddServer(
                tcp(80),
                server(
                    "10.1.0.3",
                    Forwarding::Tunnel(Tunnel::Gue { port: 0, checksum: TunnelChecksum::None }),
                ),
            ),
            "cannot add real server 10.1.0.3:80 of TCP 10.0.0.1:80, weight 1: a GUE tunnel needs a port other than 0",
        ),
        (
            Change::AddServer(
                tcp(80),
                server("10.1.0.3", Forwarding::Tunnel(Tunnel::Gre { checksum: TunnelChecksum::Remote })),
            ),
            "cannot add real server 10.1.0.3:80 of TCP 10.0.0.1:80, weight 1: GRE knows no remote checksum offload: \
             use a full checksum or none",
        ),
    ];
    let before = plane.snapshot().unwrap();
    for (change, words) in cases {
        assert_eq!(refusal(&mut plane, change), words);
    }
    assert_eq!(plane.snapshot().unwrap(), before);
}

#[test]
#[ignore = "runs in a kernel of its own"]
fn a_scheduler_that_the_kernel_lacks_is_named_with_its_module() {
    if !inside() {
        return;
    }
    let mut plane = empty_plane();
    let twos = VirtualService { scheduler: Some(Scheduler::Twos), ..service(tcp(80)) };
    // Debian's user-mode Linux has none, other kernels do.
    if plane.apply(&[Change::AddService(twos.clone())]).unwrap().is_empty() {
        return;
    }
    assert_eq!(
        refusal(&mut plane, Change::AddService(twos.clone())),
        "cannot add virtual service TCP 10.0.0.1:80: no scheduler `twos` in this kernel: module ip_vs_twos is missing"
    );
    // A refused edit leaves the service as it was.
    assert_eq!(plane.apply(&[Change::AddService(service(tcp(80)))]).unwrap(), []);
    let before = plane.snapshot().unwrap();
    refusal(&mut plane, Change::EditService(twos));
    assert_eq!(plane.snapshot().unwrap(), before);
}

#[test]
#[ignore = "runs in a kernel of its own"]
fn foreign_entries_are_told_of_and_left_alone() {
    if !inside() {
        return;
    }
    let mut plane = empty_plane();
    foreign::add_service_of_protocol(47);
    ipvsadm("-A -t 10.0.0.1:80 -s rr");
    foreign::add_server_with_method(7);
    let snapshot = plane.snapshot().unwrap();
    assert_eq!(snapshot.table.entry(&tcp(80)).map(|entry| entry.servers.len()), Some(0));
    let mut words: Vec<_> = snapshot.foreign.iter().map(ToString::to_string).collect();
    words.sort();
    assert_eq!(
        words,
        [
            "protocol 47 10.0.0.9:0 (protocol number 47)",
            "real server 10.1.0.9:80 of TCP 10.0.0.1:80 (forwarding method 7)"
        ]
    );
    let refused = refusal(&mut plane, Change::AddServer(tcp(80), server("10.1.0.9", Forwarding::Direct)));
    assert!(refused.ends_with("it is there already"), "{refused}");
    assert_eq!(plane.statistics().unwrap().services.len(), 1);
}

/// Makes what neither ipvsadm nor Buoy would.
mod foreign {
    use buoy_ipvs::kernel::{Attribute, Message, server, service};
    use buoy_ipvs::{Change, Forwarding};
    use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage};
    use netlink_packet_generic::GenlMessage;
    use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_GENERIC};

    use crate::bench::{self, family_number, tcp};

    pub(super) fn add_service_of_protocol(number: u16) {
        let id = bench::id(buoy_ipvs::Protocol::Tcp, "10.0.0.9", 0);
        let mut message = Message::change(&Change::AddService(bench::service(id)));
        for attribute in &mut message.attributes {
            let Attribute::Service(attributes) = attribute else { continue };
            for attribute in attributes {
                if let service::ServiceAttribute::Protocol(protocol) = attribute {
                    *protocol = number;
                }
            }
        }
        send(message);
    }

    pub(super) fn add_server_with_method(number: u32) {
        let made = bench::server("10.1.0.9", Forwarding::Direct);
        let mut message = Message::change(&Change::AddServer(tcp(80), made));
        for attribute in &mut message.attributes {
            let Attribute::Server(attributes) = attribute else { continue };
            for attribute in attributes {
                if let server::ServerAttribute::ForwardingMethod(method) = attribute {
                    *method = number;
                }
            }
        }
        send(message);
    }

    fn send(message: Message) {
        let mut message = GenlMessage::from_payload(message);
        message.set_resolved_family_id(family_number());
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_ACK;
        let mut message = NetlinkMessage::new(header, message.into());
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        let socket = Socket::new(NETLINK_GENERIC).unwrap();
        socket.connect(&SocketAddr::new(0, 0)).unwrap();
        socket.send(&bytes, 0).unwrap();
        let (answer, _) = socket.recv_from_full().unwrap();
        assert_eq!(answer[16..20], [0; 4], "the kernel takes it");
    }
}

#[test]
#[ignore = "runs in a kernel of its own"]
fn timeouts_that_do_not_fit_are_refused_and_others_kept() {
    if !inside() {
        return;
    }
    let mut plane = empty_plane();
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    let new = Timeouts { tcp: seconds(1000), tcp_fin: seconds(100), udp: seconds(200) };
    plane.set_timeouts(new).unwrap();
    assert_eq!(plane.timeouts().unwrap(), new);
    assert_eq!(run("ipvsadm", "-Ln --timeout").trim(), "Timeout (tcp tcpfin udp): 1000 100 200");
    plane.set_timeouts(Timeouts { udp: seconds(300), ..Timeouts::default() }).unwrap();
    assert_eq!(plane.timeouts().unwrap(), Timeouts { udp: seconds(300), ..new });
    for bad in [0, u64::from(u32::MAX), u64::MAX] {
        let refused = plane.set_timeouts(Timeouts { tcp: seconds(bad), ..Timeouts::default() }).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "cannot set the timeouts: a timeout has to be whole seconds, at least 1, that fit 31 bits of the \
             kernel's clock ticks"
        );
    }
    plane.set_timeouts(Timeouts { tcp: seconds(900), tcp_fin: seconds(120), udp: seconds(300) }).unwrap();
}

#[test]
#[ignore = "runs in a kernel of its own"]
fn nobody_without_the_capability_is_let_in() {
    if !inside() {
        return;
    }
    let program = std::env::current_exe().unwrap();
    let name = "cases::refusals::without_the_capability";
    let user = ["--reuid=65534", "--clear-groups", "--inh-caps=-all"];
    let output = std::process::Command::new("setpriv")
        .args(user)
        .arg(program)
        .args(["--ignored", "--exact", name])
        .env(UNPRIVILEGED, "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

const UNPRIVILEGED: &str = "BUOY_TESTS_UNPRIVILEGED";

#[test]
#[ignore = "runs as another user, started by another case"]
fn without_the_capability() {
    if std::env::var_os(UNPRIVILEGED).is_none() {
        return;
    }
    let mut plane = buoy_ipvs::KernelPlane::open(buoy_ipvs::kernel::ModuleLoading::Never).unwrap();
    let words = "no permission to change IPVS: CAP_NET_ADMIN is needed";
    assert_eq!(plane.flush().unwrap_err().to_string(), words);
    assert_eq!(plane.snapshot().unwrap_err().to_string(), words);
    assert_eq!(plane.apply(&[Change::RemoveService(tcp(1))]).unwrap_err().to_string(), words);
}

/// The plane in memory stands in for the kernel: whatever is done to both, they refuse and hold the same.
#[test]
#[ignore = "runs in a kernel of its own"]
fn the_plane_in_memory_follows_the_rules_of_the_kernel() {
    if !inside() {
        return;
    }
    let mut runner = TestRunner::new(Config { cases: 60, failure_persistence: None, ..Config::default() });
    let has_twos = {
        let twos = VirtualService { scheduler: Some(Scheduler::Twos), ..service(tcp(80)) };
        empty_plane().apply(&[Change::AddService(twos)]).unwrap().is_empty()
    };
    let steps = (proptest::collection::vec(any_change(), 0..40), any::<bool>());
    runner
        .run(&steps, |(changes, sync)| {
            let mut real = empty_plane();
            let mut memory = MemoryPlane::new();
            memory.interfaces = ["lo".to_owned()].into();
            if !has_twos {
                memory.schedulers.remove(&Scheduler::Twos);
            }
            let daemon = SyncDaemon::new(SyncRole::Backup, "lo", 1);
            if sync {
                real.start_sync(&daemon).unwrap();
                memory.start_sync(&daemon).unwrap();
            }
            prop_assert_eq!(real.apply(&changes).unwrap(), memory.apply(&changes).unwrap());
            prop_assert_eq!(real.snapshot().unwrap(), memory.snapshot().unwrap());
            if !sync {
                let started = |plane: &mut dyn Plane| plane.start_sync(&daemon).map_err(|e| e.to_string());
                prop_assert_eq!(started(&mut real), started(&mut memory));
            }
            Ok(())
        })
        .unwrap();
}

fn any_change() -> impl Strategy<Value = Change> {
    let ids = prop_oneof![(1_u16..3).prop_map(tcp), (1_u16..3).prop_map(tcp6)];
    let schedulers = proptest::sample::select(vec![
        Some(Scheduler::Rr),
        Some(Scheduler::Twos),
        Some(Scheduler::Wsh),
        None,
    ]);
    let engines = proptest::sample::select(vec!["", "sip", "nope"]);
    let persistence =
        proptest::option::of((0_u64..3, proptest::sample::select(vec![0_u8, 32, 33, 128]), engines));
    let services =
        (ids.clone(), schedulers, persistence).prop_map(|(id, scheduler, persistence)| VirtualService {
            scheduler,
            flags: SchedulerFlags::NONE,
            persistence: persistence.map(|(seconds, len, engine)| Persistence {
                engine: PersistenceEngine::new(engine),
                ..persistent(seconds, len)
            }),
            ..VirtualService::new(id, Scheduler::Rr)
        });
    let addresses = proptest::sample::select(vec![
        "10.1.0.1",
        "10.1.0.2",
        "0.0.0.0",
        "0.0.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "240.0.0.1",
        "127.0.0.1",
        "2001:db8:1::1",
        "::1",
        "::",
        "ff02::1",
        "fe80::1",
    ]);
    let methods = proptest::sample::select(vec![
        Forwarding::Masquerade,
        Forwarding::Tunnel(Tunnel::Ipip),
        Forwarding::Tunnel(Tunnel::Gue { port: 0, checksum: TunnelChecksum::None }),
        Forwarding::Tunnel(Tunnel::Gre { checksum: TunnelChecksum::Remote }),
    ]);
    let servers = (addresses, methods, 0_u32..3, 0_u32..3).prop_map(|(text, forwarding, upper, lower)| {
        let mut server = server(text, forwarding);
        server.upper_threshold = upper;
        server.lower_threshold = lower;
        server
    });
    prop_oneof![
        3 => services.clone().prop_map(Change::AddService),
        1 => services.prop_map(Change::EditService),
        1 => ids.clone().prop_map(Change::RemoveService),
        6 => (ids.clone(), servers.clone()).prop_map(|(id, server)| Change::AddServer(id, server)),
        2 => (ids.clone(), servers.clone()).prop_map(|(id, server)| Change::EditServer(id, server)),
        2 => (ids, servers).prop_map(|(id, server)| Change::RemoveServer(id, server.id)),
    ]
}
