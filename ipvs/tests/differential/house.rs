//! A director with its wires, inside of a kernel that has IPVS, and its twin, which has none: what the twin does with a
//! packet is what any host does.
//!
//! The wires are TAPs of the test. The kernel does all that a packet makes it do before the write of its frame
//! returns, so that nobody has to wait for what comes out.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use buoy_ipvs::engine::buffer::{Checksum, Offload, Packet};
use buoy_ipvs::engine::checksum::Sum;
use buoy_ipvs::engine::packet::{View, protocol};
use buoy_ipvs::io::tap::{Frames, Tap};
use buoy_ipvs::io::virtio::Header;
use buoy_ipvs::kernel::ModuleLoading;
use buoy_ipvs::{
    Change, Entry, Family, Forwarding, KernelPlane, Plane, Protocol, RealServer, RealServerId, Scheduler,
    ServiceId, VirtualService, Weight,
};
use nix::sched::{CloneFlags, unshare};

use crate::place::{
    CLIENT_HOSTS, LOCAL_SERVER, NARROW, Network, Place, SERVER_HOSTS, SERVICE_HOSTS, SLOTS, link_address,
    neighbours,
};
use crate::{listing, packet};

/// The mark of what comes by [`Wire::Marked`].
pub(crate) const MARK: u32 = 7;

/// Where a packet comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    Clients,
    Servers,
    /// From clients, and the firewall marks it.
    Marked,
}

/// A packet that came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Emitted {
    /// The link-layer address of the next hop.
    pub(crate) to: [u8; 6],
    /// From the IP header on.
    pub(crate) bytes: Vec<u8>,
}

/// A host with three wires, in a namespace of its own.
pub(crate) struct Stack {
    taps: [Tap; 3],
    frames: RefCell<Frames>,
}

const ETHERNET: usize = 14;
/// Of every TAP.
const OWN: [u8; 6] = [2, 3, 0, 0, 0, 0];
const SENDER: [u8; 6] = [2, 9, 9, 9, 9, 9];

impl Stack {
    /// The namespace is this thread's from now on.
    fn new() -> Self {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let taps = ["clients", "servers", "marked"].map(|name| Tap::create(name).unwrap());
        for (key, value) in SYSCTLS {
            fs::write(format!("/proc/sys/net/{key}"), value).unwrap_or_else(|error| panic!("{key}: {error}"));
        }
        batch("ip", &Self::configuration());
        batch(
            "tc",
            &format!(
                "qdisc add dev marked clsact\n\
                 filter add dev marked ingress matchall action skbedit mark {MARK}\n"
            ),
        );
        Self { taps, frames: RefCell::new(Frames::new(16)) }
    }

    fn configuration() -> String {
        let mut lines = "link set lo up\n".to_owned();
        for (family, length) in [(Family::V4, 16), (Family::V6, 64)] {
            let at = |network| Place { network, host: 0, family }.address(0);
            let nodad = if family == Family::V6 { "nodad" } else { "" };
            for (network, narrow, device) in [
                (Network::Clients, Network::NarrowClients, "clients"),
                (Network::Servers, Network::NarrowServers, "servers"),
            ] {
                let (own, behind) = (at(network), at(narrow));
                writeln!(lines, "address add {own}/{length} dev {device} {nodad}").unwrap();
                // Without a lock IPv6 forwards by what the device takes.
                let lock = if family == Family::V6 { "lock" } else { "" };
                writeln!(lines, "route add {} dev {device} mtu {lock} {NARROW} src {own}", net(behind))
                    .unwrap();
            }
            for slot in 0..=SLOTS {
                for host in SERVICE_HOSTS.into_iter().chain([LOCAL_SERVER]) {
                    let service = Place { network: Network::Services, host, family }.address(slot);
                    writeln!(lines, "address add {service} dev lo {nodad}").unwrap();
                }
            }
        }
        for (address, network) in (0..SLOTS).flat_map(neighbours) {
            let device = match network {
                Network::Clients | Network::NarrowClients => "clients",
                _ => "servers",
            };
            let link = link_address(address).map(|byte| format!("{byte:02x}")).join(":");
            writeln!(lines, "neighbour add {address} lladdr {link} dev {device} nud permanent").unwrap();
        }
        lines
    }

    /// What comes out when a packet comes in.
    pub(crate) fn play(&self, wire: Wire, packet: &[u8]) -> Vec<Emitted> {
        let kind = if packet[0] >> 4 == 4 { [0x08, 0x00] } else { [0x86, 0xdd] };
        let (offload, packet) = as_received(packet);
        let frame = [&OWN[..], &SENDER, &kind, &packet].concat();
        let _one_at_a_time = listing::still();
        self.taps[wire as usize].send(&header_of(offload), &frame).unwrap();
        self.emitted()
    }

    /// What has come out.
    pub(crate) fn emitted(&self) -> Vec<Emitted> {
        let mut frames = self.frames.borrow_mut();
        let mut emitted = Vec::new();
        for tap in &self.taps {
            tap.receive(&mut frames).unwrap();
            for frame in frames.iter() {
                let bytes = frame.bytes();
                // Neighbours and groups of IPv6 are none of our business.
                if bytes.len() > ETHERNET && bytes[0] & 1 == 0 {
                    emitted.push(Emitted {
                        to: bytes[..6].try_into().unwrap(),
                        bytes: finished(&frame.header(), &bytes[ETHERNET..]),
                    });
                }
            }
        }
        emitted
    }
}

/// Linux before 6.1.183 takes no error of ICMPv6 for valid that it has to sum up itself. So everybody gets those that are as
/// from a device that sums, with the sum still to be made.
pub(crate) fn as_received(packet: &[u8]) -> (Offload, Vec<u8>) {
    let mut bytes = packet.to_vec();
    let Some(view) = View::read(packet).ok().filter(|view| view.protocol == protocol::ICMPV6) else {
        return (Offload::default(), bytes);
    };
    let message = view.payload(packet);
    let pseudo = Sum::of_pseudo_header(view.source, view.destination, view.protocol, message.len());
    if pseudo.plus(Sum::of(message)).checksum() != 0 {
        return (Offload::default(), bytes);
    }
    let place = view.transport + 2;
    bytes[place..place + 2].copy_from_slice(&pseudo.folded().to_be_bytes());
    (Offload { checksum: Checksum::Partial { start: view.transport, offset: 2 }, segment: None }, bytes)
}

fn header_of(offload: Offload) -> Header {
    let Checksum::Partial { start, offset } = offload.checksum else { return Header::default() };
    Header {
        flags: Header::NEEDS_CHECKSUM,
        checksum_start: u16::try_from(ETHERNET + start).unwrap(),
        checksum_offset: u16::try_from(offset).unwrap(),
        ..Header::default()
    }
}

/// A packet with the checksum that it will have on the wire.
fn finished(header: &Header, packet: &[u8]) -> Vec<u8> {
    let checksum = header.partial_checksum().map_or(Checksum::Complete, |partial| Checksum::Partial {
        start: partial.start - ETHERNET,
        offset: partial.place - partial.start,
    });
    let mut bytes = packet.to_vec();
    let end = bytes.len();
    let mut packet = Packet::new(&mut bytes, 0, end, Offload { checksum, segment: None }).unwrap();
    packet.complete_checksum().unwrap();
    bytes
}

/// The network of an address.
fn net(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => format!("10.{}.0.0/16", address.octets()[1]),
        IpAddr::V6(address) => format!("fd{:02x}::/64", address.octets()[1]),
    }
}

/// Routers forward for both sides, and answer as often as they are asked.
const SYSCTLS: [(&str, &str); 16] = [
    ("ipv4/ip_forward", "1"),
    ("ipv4/icmp_ratelimit", "0"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/clients/rp_filter", "0"),
    ("ipv4/conf/servers/rp_filter", "0"),
    ("ipv4/conf/marked/rp_filter", "0"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/clients/send_redirects", "0"),
    ("ipv4/conf/servers/send_redirects", "0"),
    ("ipv6/conf/all/forwarding", "1"),
    ("ipv6/conf/all/accept_dad", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/clients/accept_dad", "0"),
    ("ipv6/conf/servers/accept_dad", "0"),
    ("ipv6/icmp/ratelimit", "0"),
    ("ipv6/auto_flowlabels", "0"),
];

fn batch(program: &str, lines: &str) {
    let mut child = Command::new(program).args(["-batch", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{program} -batch");
}

/// What the whole kernel has to be told, once. The device node of TAPs comes with their module.
pub(crate) fn prepare_kernel() {
    // Of services without servers it would say so each time.
    fs::write("/proc/sys/kernel/printk", "1").unwrap();
    let modprobe = fs::read_to_string("/proc/sys/kernel/modprobe").unwrap();
    let status = Command::new(modprobe.trim()).args(["-a", "tun", "ip_vs"]).status().unwrap();
    assert!(status.success(), "modprobe: {status}");
    for (key, value) in [("icmp_msgs_per_sec", "10000000"), ("icmp_msgs_burst", "10000000")] {
        fs::write(format!("/proc/sys/net/ipv4/{key}"), value).unwrap();
    }
}

/// The director and its twin.
pub(crate) struct House {
    pub(crate) director: Stack,
    pub(crate) twin: Stack,
    pub(crate) plane: KernelPlane,
    /// The next slot that no script has had.
    next_slot: u8,
}

impl House {
    /// The namespace of the director is this thread's from now on. `secure`: it has `secure_tcp`.
    pub(crate) fn new(secure: bool) -> Self {
        let twin = Stack::new();
        let director = Stack::new();
        let mut plane = KernelPlane::open(ModuleLoading::Allowed).unwrap();
        let changes: Vec<_> = anchors().into_iter().flat_map(|anchor| anchor.changes()).collect();
        assert_eq!(plane.apply(&changes).unwrap(), []);
        if secure {
            set("secure_tcp", "3");
        }
        Self { director, twin, plane, next_slot: 0 }
    }

    /// `None`: all have been used.
    pub(crate) fn take_slot(&mut self) -> Option<u8> {
        let slot = (self.next_slot < SLOTS).then_some(self.next_slot)?;
        self.next_slot += 1;
        Some(slot)
    }

    /// Leaves nothing of a script. Connections go with their servers if the kernel is told so, some time later; that it
    /// has done it shows in one of our own, whose server is removed last.
    pub(crate) fn clear(&mut self) {
        set("expire_nodest_conn", "1");
        let [anchor, _] = anchors();
        self.director.play(Wire::Clients, &anchor.client().bytes(SLOTS));
        let remaining = anchors().map(|anchor| Entry { service: anchor.service, servers: BTreeMap::new() });
        let table = self.plane.snapshot().unwrap().table;
        let mut changes = table.changes_to(&remaining.into_iter().collect());
        let ours = |change: &Change| change.service() == &anchor.service.id;
        changes.sort_by_key(ours);
        assert_eq!(self.plane.apply(&changes).unwrap(), []);
        let begin = Instant::now();
        while !listing::of_kernel(SLOTS).is_empty() {
            assert!(begin.elapsed() < Duration::from_secs(20), "connections without servers do not end");
            thread::sleep(Duration::from_millis(2));
        }
        assert_eq!(self.plane.apply(&anchor.changes()[1..]).unwrap(), []);
        for stack in [&self.director, &self.twin] {
            stack.emitted();
        }
    }
}

/// A service that stays: without any of a family the kernel has no eyes for it, not even for its connections.
struct Anchor {
    service: VirtualService,
    server: RealServer,
    family: Family,
}

fn anchors() -> [Anchor; 2] {
    [Family::V4, Family::V6].map(|family| {
        let at = |network, host| Place { network, host, family }.address(SLOTS);
        let address = at(Network::Services, SERVICE_HOSTS[0]);
        let id = ServiceId::Address { protocol: Protocol::Udp, address, port: ANCHOR_PORT };
        let server = RealServerId { address: at(Network::Servers, SERVER_HOSTS[0]), port: ANCHOR_PORT };
        Anchor {
            service: VirtualService::new(id, Scheduler::Rr),
            server: RealServer::new(server, Forwarding::Masquerade, Weight::ONE),
            family,
        }
    })
}

const ANCHOR_PORT: u16 = 9;

impl Anchor {
    fn changes(&self) -> [Change; 2] {
        let id = self.service.id;
        [Change::AddService(self.service.clone()), Change::AddServer(id, self.server)]
    }

    fn client(&self) -> packet::Packet {
        let end = |network, host| packet::End {
            place: Place { network, host, family: self.family },
            port: ANCHOR_PORT,
        };
        packet::Packet {
            source: end(Network::Clients, CLIENT_HOSTS[0]),
            destination: end(Network::Services, SERVICE_HOSTS[0]),
            protocol: protocol::UDP,
            says: 0,
            ttl: 64,
            class: 0,
            dont_fragment: true,
            sum: packet::Sum::Right,
            payload: 0,
            marked: false,
            shape: packet::Shape::Plain,
        }
    }
}

/// Sets one of `net.ipv4.vs` for the namespace of this thread.
pub(crate) fn set(name: &str, value: &str) {
    fs::write(format!("/proc/sys/net/ipv4/vs/{name}"), value)
        .unwrap_or_else(|error| panic!("{name}: {error}"));
}

/// What all services have counted: connections, packets and bytes in and out. Unlike other counters of the kernel they
/// are those of now.
pub(crate) fn totals() -> [u64; 5] {
    let text = fs::read_to_string("/proc/thread-self/net/ip_vs_stats_percpu").unwrap();
    let mut totals = [0; 5];
    for line in text.lines().skip(2) {
        let mut fields = line.split_whitespace();
        if fields.next().is_none_or(|cpu| u16::from_str_radix(cpu, 16).is_err()) {
            break;
        }
        // Connections, packets in and out, bytes in and out.
        for (total, field) in totals.iter_mut().zip(fields) {
            *total += u64::from_str_radix(field, 16).unwrap();
        }
    }
    totals
}
