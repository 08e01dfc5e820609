use std::net::IpAddr;

use buoy_ipvs::{
    Counters, Entry, Family, Forwarding, FwMark, ListedServer, MemoryPlane, Persistence, Plane, PlaneError,
    PlaneInfo, Protocol, RealServer, RealServerId, Scheduler, SchedulerFlags, ServiceId, Table, Tunnel,
    TunnelChecksum, VirtualService, Weight,
};
use proptest::prelude::*;

use super::connections::Connection;
use super::*;

/// The kernel's rules in memory, shown in the order of names.
impl Source for MemoryPlane {
    fn plane_info(&mut self) -> Result<PlaneInfo, PlaneError> {
        Ok(PlaneInfo { version: [1, 2, 1], connection_buckets: 4096 })
    }

    fn services(&mut self) -> Result<Vec<ListedService>, PlaneError> {
        Ok(self.snapshot()?.table.into_iter().map(listed).collect())
    }

    fn connections(&mut self, each: &mut dyn FnMut(&Connection) -> io::Result<()>) -> io::Result<()> {
        let line = "UDP 0A000003 0202 0A000002 0035 0A000003 0035 UDP 29";
        each(&Connection::parse(line).expect("a connection"))
    }
}

fn listed(entry: Entry) -> ListedService {
    let VirtualService { id, scheduler, flags, persistence, one_packet, local_addresses: _ } = entry.service;
    let unspecified: IpAddr = match id.family() {
        Family::V4 => std::net::Ipv4Addr::UNSPECIFIED.into(),
        Family::V6 => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let (mark, protocol, address, port) = match id {
        ServiceId::Address { protocol, address, port } => (None, protocol, address, port),
        ServiceId::FwMark { mark, .. } => (Some(mark), Protocol::Tcp, unspecified, 0),
    };
    let bits = persistence.as_ref().map_or(id.family().bits(), |persistence| persistence.prefix_len);
    ListedService {
        family: id.family(),
        mark,
        protocol: protocol.number().into(),
        address,
        port,
        scheduler: scheduler.map_or("none", Scheduler::name).to_owned(),
        flags,
        persistent: persistence.is_some(),
        timeout: persistence.as_ref().map_or(0, |p| u32::try_from(p.timeout.as_secs()).expect("a few")),
        netmask: match id.family() {
            Family::V4 => u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0),
            Family::V6 => bits.into(),
        },
        engine: persistence.and_then(|p| p.engine).map_or(String::new(), |engine| engine.name().to_owned()),
        one_packet,
        counters: Counters::default(),
        servers: entry.servers.into_values().map(listed_server).collect(),
    }
}

fn listed_server(server: RealServer) -> ListedServer {
    ListedServer {
        id: server.id,
        forwarding: Some(server.forwarding),
        weight: server.weight.get(),
        upper_threshold: server.upper_threshold,
        lower_threshold: server.lower_threshold,
        counters: Counters::default(),
    }
}

fn names() -> Names {
    Names::with_services("http 80/tcp\n")
}

fn printed(plane: &mut MemoryPlane, line: &str) -> (u8, String) {
    let words = line.split_whitespace().map(str::to_owned);
    let Ok(Request::Do(command)) = command::parse(words, &names()) else { panic!("{line} is no command") };
    let mut out = Vec::new();
    let status = carry_out(plane, command, &mut names(), &mut out).expect("nothing is refused");
    (status, String::from_utf8(out).expect("text"))
}

#[test]
fn commands_are_carried_out() {
    let mut plane = MemoryPlane::new();
    for (line, saved) in [
        ("-A -t 10.0.0.1:80 -s rr", "-A -t 10.0.0.1:80 -s rr\n"),
        (
            "-a -t 10.0.0.1:80 -r 10.1.0.1 -m",
            "-A -t 10.0.0.1:80 -s rr\n-a -t 10.0.0.1:80 -r 10.1.0.1:80 -m -w 1\n",
        ),
        (
            "-e -t 10.0.0.1:80 -r 10.1.0.1 -m -w 5",
            "-A -t 10.0.0.1:80 -s rr\n-a -t 10.0.0.1:80 -r 10.1.0.1:80 -m -w 5\n",
        ),
        ("-d -t 10.0.0.1:80 -r 10.1.0.1", "-A -t 10.0.0.1:80 -s rr\n"),
        ("-E -t 10.0.0.1:80", "-A -t 10.0.0.1:80 -s wlc\n"),
        ("-Z -t 10.0.0.1:80", "-A -t 10.0.0.1:80 -s wlc\n"),
        ("-C", ""),
    ] {
        assert_eq!(printed(&mut plane, line), (0, String::new()), "{line}");
        assert_eq!(printed(&mut plane, "-Sn"), (0, saved.to_owned()), "{line}");
    }
    printed(&mut plane, "--set 33 0 35");
    assert_eq!(printed(&mut plane, "-L --timeout").1, "Timeout (tcp tcpfin udp): 33 120 35\n");
    printed(&mut plane, "--start-daemon master");
    assert!(printed(&mut plane, "-L --daemon").1.starts_with("master sync daemon (mcast=eth0, syncid=0, "));
    printed(&mut plane, "--stop-daemon master");
    assert_eq!(printed(&mut plane, "-L --daemon").1, "");
    assert!(printed(&mut plane, "-Lnc").1.ends_with("10.0.0.3:514       10.0.0.2:53        10.0.0.3:53\n"));
}

#[test]
fn a_service_that_is_not_there_is_not_listed() {
    let mut plane = MemoryPlane::new();
    printed(&mut plane, "-A -t 10.0.0.1:80");
    assert_eq!(printed(&mut plane, "-Ln -t 10.0.0.1:81"), (NOT_THERE, String::new()));
    let (status, listing) = printed(&mut plane, "-L -t 10.0.0.1:http");
    assert_eq!((status, listing.lines().count()), (0, 3), "{listing}");
    assert_eq!(printed(&mut plane, "-Ln").1.lines().count(), 4);
}

#[test]
fn lines_are_restored_until_one_makes_no_sense() {
    for (input, status, services) in [
        ("", 0, 0),
        ("-A -t 10.0.0.1:80\n\n ipvsadm -A -t 10.0.0.1:81\r\n", 0, 2),
        ("-A -t 10.0.0.1:80\n-A -t 10.0.0.1:80\n-A -t 10.0.0.1:81\n", 0, 2),
        ("-A -t 10.0.0.1:80\n-A -t 10.0.0.1:80\n", REFUSED, 1),
        ("-A -t 10.0.0.1:80\n-A -t nowhere:x\n-A -t 10.0.0.1:81\n", 2, 1),
        ("-A -t 10.0.0.1:80\n# more\n-A -t 10.0.0.1:81\n", 255, 1),
        ("-A -t 10.0.0.1:80\n-R\n-A -t 10.0.0.1:81\n", 255, 1),
        // ipvsadm saves the mark 4294967295 as -1.
        ("-A -f -1 -s wlc\n-a -f -1 -r 10.1.0.1:0 -m -w 1\n", 0, 1),
    ] {
        let mut plane = MemoryPlane::new();
        assert_eq!(restore(&mut plane, input.as_bytes(), &mut names()), status, "{input:?}");
        assert_eq!(plane.table.entries().count(), services, "{input:?}");
    }
    let mut plane = MemoryPlane::new();
    restore(&mut plane, &b"-A -f -1 -6\n"[..], &mut names());
    let mark = FwMark::new(u32::MAX).expect("not zero");
    assert!(plane.table.entry(&ServiceId::FwMark { family: Family::V6, mark }).is_some());
}

#[test]
fn the_help_names_every_option() {
    for option in grammar::names() {
        assert!(HELP.contains(&option), "{option}");
    }
}

fn any_address(family: Family) -> BoxedStrategy<IpAddr> {
    match family {
        Family::V4 => {
            (0x0a00_0000_u32..0x0aff_ffff).prop_map(|bits| std::net::Ipv4Addr::from_bits(bits).into()).boxed()
        }
        Family::V6 => (0_u16..=u16::MAX, 1_u16..=u16::MAX)
            .prop_map(|(a, b)| std::net::Ipv6Addr::new(0x2001, 0xdb8, a, 0, 0, 0, 0, b).into())
            .boxed(),
    }
}

fn any_service() -> impl Strategy<Value = VirtualService> {
    let family = prop_oneof![Just(Family::V4), Just(Family::V6)];
    let id = family.prop_flat_map(|family| {
        let protocol = prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp), Just(Protocol::Sctp)];
        prop_oneof![
            (protocol, any_address(family), 1..=u16::MAX)
                .prop_map(|(protocol, address, port)| ServiceId::Address { protocol, address, port }),
            (1..=u32::MAX).prop_map(move |mark| {
                ServiceId::FwMark { family, mark: FwMark::new(mark).expect("not zero") }
            }),
        ]
    });
    let scheduler =
        proptest::option::of(proptest::sample::select(Scheduler::of_kernel().collect::<Vec<_>>()));
    let persistence = proptest::option::of((1_u64..=2_678_400, 1_u8..=32));
    (id, scheduler, persistence, any::<[bool; 4]>()).prop_map(|(id, scheduler, persistence, flags)| {
        let [flag_1, flag_2, flag_3, one_packet] = flags;
        // Neither has a name for the third flag of these.
        let nameless = matches!(scheduler, Some(Scheduler::Sh | Scheduler::Mh));
        VirtualService {
            id,
            scheduler,
            flags: SchedulerFlags { flag_1, flag_2, flag_3: flag_3 && !nameless },
            persistence: persistence.map(|(seconds, prefix_len)| Persistence {
                timeout: std::time::Duration::from_secs(seconds),
                prefix_len,
                engine: None,
            }),
            one_packet: one_packet
                && !matches!(id, ServiceId::Address { protocol: Protocol::Tcp | Protocol::Sctp, .. }),
            local_addresses: buoy_ipvs::LocalAddresses::NONE,
        }
    })
}

fn any_server(service: ServiceId) -> impl Strategy<Value = RealServer> {
    let checksum = proptest::sample::select(vec![TunnelChecksum::None, TunnelChecksum::Full]);
    let forwarding = prop_oneof![
        Just(Forwarding::Masquerade),
        Just(Forwarding::Direct),
        Just(Forwarding::Tunnel(Tunnel::Ipip)),
        (1..=u16::MAX, checksum.clone())
            .prop_map(|(port, checksum)| Forwarding::Tunnel(Tunnel::Gue { port, checksum })),
        checksum.prop_map(|checksum| Forwarding::Tunnel(Tunnel::Gre { checksum })),
    ];
    let limits = (0_u32..=1000).prop_flat_map(|upper| (Just(upper), 0..=upper));
    (any_address(service.family()), any::<u16>(), forwarding, 0..=i64::from(i32::MAX), limits).prop_map(
        move |(address, port, forwarding, weight, (upper, lower))| {
            // Only NAT changes ports.
            let port = match (service, forwarding) {
                (ServiceId::FwMark { .. }, _) | (_, Forwarding::Masquerade) => port,
                (ServiceId::Address { port, .. }, _) => port,
            };
            let mut server =
                RealServer::new(RealServerId { address, port }, forwarding, Weight::clamped(weight));
            (server.upper_threshold, server.lower_threshold) = (upper, lower);
            server
        },
    )
}

fn any_table() -> impl Strategy<Value = Table> {
    let entry = any_service().prop_flat_map(|service| {
        let servers = proptest::collection::vec(any_server(service.id), 0..4);
        servers.prop_map(move |servers| Entry {
            service: service.clone(),
            servers: servers.into_iter().map(|server| (server.id, server)).collect(),
        })
    });
    proptest::collection::vec(entry, 0..6).prop_map(|entries| entries.into_iter().collect())
}

proptest! {
    #[test]
    fn what_is_saved_is_restored(table in any_table()) {
        let mut plane = MemoryPlane::new();
        plane.table = table.clone();
        let (_, saved) = printed(&mut plane, "-Sn");
        let mut other = MemoryPlane::new();
        prop_assert_eq!(restore(&mut other, saved.as_bytes(), &mut names()), 0, "{}", saved);
        prop_assert_eq!(other.table, table, "{}", saved);
    }

    #[test]
    fn no_words_panic(words in proptest::collection::vec("(-{0,2}[A-Za-z0-9=,:.\\[\\]-]{0,12}|\\PC{0,6})", 0..8)) {
        drop(command::parse(words, &names()));
    }
}
