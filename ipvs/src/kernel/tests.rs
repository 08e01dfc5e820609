use std::collections::BTreeMap;
use std::net::IpAddr;

use netlink_packet_core::{Emitable, NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR};
use proptest::prelude::*;

use super::handle::{error_of, frames, message_of};
use super::*;
use crate::real_server::{Forwarding, RealServerId, Tunnel, TunnelChecksum, Weight};
use crate::scheduler::{Scheduler, SchedulerFlags};
use crate::virtual_service::{FwMark, LocalAddresses, Persistence, PersistenceEngine, Protocol};

const GOLDEN: &str = include_str!("../../tests/golden/messages.txt");

#[derive(Clone, Debug, Default)]
struct Exchange {
    asked: Vec<Vec<u8>>,
    answered: Vec<Vec<u8>>,
}

/// What ipvsadm and the kernel said to each other at each command.
fn exchanges() -> BTreeMap<&'static str, Exchange> {
    let mut exchanges = BTreeMap::<_, Exchange>::new();
    let mut command = "";
    for line in GOLDEN.lines() {
        if let Some(next) = line.strip_prefix("# ipvsadm ") {
            command = next;
        } else if let Some((direction @ ("<" | ">"), hex)) = line.split_once(' ') {
            let bytes = (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap());
            let exchange = exchanges.entry(command).or_default();
            let side = if direction == ">" { &mut exchange.asked } else { &mut exchange.answered };
            side.push(bytes.collect());
        }
    }
    assert_eq!(exchanges.len(), 18);
    exchanges
}

fn emitted(message: &Message) -> Vec<u8> {
    let mut bytes = vec![0; message.buffer_len()];
    message.emit(&mut bytes);
    bytes
}

/// The request of a command after its question for the kernel's version.
fn asked(command: &str) -> Message {
    message_of(exchanges()[command].asked.last().unwrap()).unwrap()
}

fn answered(command: &str) -> Vec<Message> {
    const IPVS_CMD_SET_INFO: u8 = 14;
    let answers =
        exchanges()[command].answered.iter().map(|body| message_of(body).unwrap()).collect::<Vec<_>>();
    answers.into_iter().filter(|answer| answer.command != IPVS_CMD_SET_INFO).collect()
}

/// libnl marks nested attributes, the kernel does not; it understands both.
fn without_nested_marks(mut body: Vec<u8>) -> Vec<u8> {
    let mut at = 4;
    while at + 4 <= body.len() {
        body[at + 3] &= 0x7f;
        at += usize::from(u16::from_le_bytes([body[at], body[at + 1]])).next_multiple_of(4);
    }
    body
}

#[test]
fn every_golden_message_is_written_as_it_was_read() {
    for (command, Exchange { asked, answered }) in exchanges() {
        for body in asked.into_iter().chain(answered) {
            let message = message_of(&body).unwrap();
            let mut written = vec![message.command, 1, 0, 0];
            written.extend(emitted(&message));
            assert_eq!(written, without_nested_marks(body), "{command}");
        }
    }
}

fn service_id(protocol: Protocol, address: &str, port: u16) -> ServiceId {
    ServiceId::Address { protocol, address: address.parse().unwrap(), port }
}

fn web() -> ServiceId {
    service_id(Protocol::Tcp, "10.0.0.1", 80)
}

fn server(address: &str, port: u16, forwarding: Forwarding, weight: i64) -> RealServer {
    let id = RealServerId { address: address.parse().unwrap(), port };
    RealServer::new(id, forwarding, Weight::clamped(weight))
}

fn voice() -> VirtualService {
    let persistence = Persistence {
        timeout: Duration::from_secs(300),
        prefix_len: 24,
        engine: PersistenceEngine::new("sip"),
    };
    VirtualService {
        persistence: Some(persistence),
        one_packet: true,
        ..VirtualService::new(service_id(Protocol::Udp, "10.0.0.1", 5060), Scheduler::Wrr)
    }
}

fn secure() -> VirtualService {
    VirtualService {
        persistence: Some(Persistence { timeout: Duration::from_secs(60), prefix_len: 64, engine: None }),
        flags: SchedulerFlags { flag_1: true, flag_2: true, flag_3: false },
        ..VirtualService::new(service_id(Protocol::Tcp, "2001:db8::1", 443), Scheduler::Mh)
    }
}

fn marked() -> VirtualService {
    let id = ServiceId::FwMark { family: crate::Family::V4, mark: FwMark::new(7).unwrap() };
    VirtualService::new(id, Scheduler::Sh)
}

fn limited() -> RealServer {
    let server = server("10.1.0.1", 8080, Forwarding::Masquerade, 7);
    RealServer { upper_threshold: 100, lower_threshold: 50, ..server }
}

fn gue() -> RealServer {
    let tunnel = Tunnel::Gue { port: 6080, checksum: TunnelChecksum::Remote };
    server("10.1.0.2", 80, Forwarding::Tunnel(tunnel), 2)
}

fn gre() -> RealServer {
    server("10.1.0.3", 80, Forwarding::Tunnel(Tunnel::Gre { checksum: TunnelChecksum::Full }), 3)
}

/// What a message that changes something means.
fn read_change(message: &Message) -> (u8, Option<ReadService>, Option<ReadServer>) {
    let service = service_of(message).ok();
    let id = service.as_ref().and_then(|service| match service {
        ReadService::Known(service, _) => Some(service.id),
        ReadService::Foreign(_) => None,
    });
    (message.command, service, id.and_then(|id| server_of(&id, message).ok()))
}

#[test]
fn services_are_asked_for_as_ipvsadm_does() {
    for (command, change) in [
        ("-A -t 10.0.0.1:80 -s rr", Change::AddService(VirtualService::new(web(), Scheduler::Rr))),
        ("-A -u 10.0.0.1:5060 -s wrr -p 300 -M 255.255.255.0 --pe sip -o", Change::AddService(voice())),
        ("-A -t [2001:db8::1]:443 -s mh -p 60 -M 64 -b mh-port,mh-fallback", Change::AddService(secure())),
        ("-A -f 7 -s sh", Change::AddService(marked())),
        ("-E -t 10.0.0.1:80 -s wlc", Change::EditService(VirtualService::new(web(), Scheduler::Wlc))),
    ] {
        assert_eq!(read_change(&asked(command)), read_change(&Message::change(&change)), "{command}");
    }
    let removed = Message::change(&Change::RemoveService(marked().id));
    assert_eq!(asked("-D -f 7").command, removed.command);
    assert_eq!(removed.attributes, [Attribute::Service(service::identify(&marked().id))]);
}

#[test]
fn servers_are_asked_for_as_ipvsadm_does() {
    let secured = server("2001:db8:1::1", 443, Forwarding::Direct, 0);
    for (command, change) in [
        ("-a -t 10.0.0.1:80 -r 10.1.0.1:8080 -m -w 7 -x 100 -y 50", Change::AddServer(web(), limited())),
        (
            "-a -t 10.0.0.1:80 -r 10.1.0.2:80 -i -w 2 --tun-type gue --tun-port 6080 --tun-remcsum",
            Change::AddServer(web(), gue()),
        ),
        (
            "-a -t 10.0.0.1:80 -r 10.1.0.3:80 -i -w 3 --tun-type gre --tun-csum",
            Change::AddServer(web(), gre()),
        ),
        ("-a -t [2001:db8::1]:443 -r [2001:db8:1::1]:443 -g -w 0", Change::AddServer(secure().id, secured)),
        (
            "-e -t 10.0.0.1:80 -r 10.1.0.1:8080 -m -w 8",
            Change::EditServer(web(), server("10.1.0.1", 8080, Forwarding::Masquerade, 8)),
        ),
    ] {
        let (asked, ours) = (read_change(&asked(command)), read_change(&Message::change(&change)));
        assert_eq!((asked.0, asked.2), (ours.0, ours.2), "{command}");
    }
    let removed = Message::change(&Change::RemoveServer(web(), gre().id));
    assert_eq!(asked("-d -t 10.0.0.1:80 -r 10.1.0.3:80").command, removed.command);
}

#[test]
fn the_kernel_lists_what_it_was_told() {
    let mut services = Vec::new();
    let mut servers = Vec::new();
    for message in answered("-Ln") {
        if let Ok(ReadService::Known(service, counters)) = service_of(&message) {
            assert_eq!(counters, Counters::default());
            services.push(service);
        }
        // They do not tell their service: those of IPv6 say so.
        if let Ok(ReadServer::Known(server, _)) = server_of(&web(), &message) {
            servers.push(server);
        }
    }
    services.sort_by_key(|service| service.id);
    assert_eq!(services, [VirtualService::new(web(), Scheduler::Wlc), secure(), voice(), marked()]);
    servers.sort_by_key(|server| server.id);
    let edited = server("10.1.0.1", 8080, Forwarding::Masquerade, 8);
    assert_eq!(servers, [edited, gue(), gre(), server("2001:db8:1::1", 443, Forwarding::Direct, 0)]);
}

#[test]
fn services_and_servers_are_described_in_the_order_and_form_of_the_kernel() {
    let described = [VirtualService::new(web(), Scheduler::Wlc), secure(), voice(), marked()];
    for message in answered("-Ln") {
        match message.attributes.as_slice() {
            [Attribute::Service(told)] => {
                let Ok(ReadService::Known(service, _)) = service::read(told) else { panic!("{told:?}") };
                assert!(described.contains(&service));
                let ours = service::describe(&service);
                let comparable = |attribute: &&service::ServiceAttribute| {
                    use service::ServiceAttribute::{Flags, Statistics, Statistics64};
                    !matches!(attribute, Flags(_) | Statistics(_) | Statistics64(_))
                };
                let told: Vec<_> = told.iter().filter(comparable).collect();
                assert_eq!(told, ours.iter().filter(comparable).collect::<Vec<_>>());
            }
            [Attribute::Server(told)] => {
                let Ok(ReadServer::Known(server, _)) = server::read(&web(), told) else { panic!("{told:?}") };
                use server::ServerAttribute::*;
                let told = told.iter().filter(|attribute| {
                    !matches!(
                        attribute,
                        ActiveConnections(_)
                            | InactiveConnections(_)
                            | PersistentConnections(_)
                            | Statistics(_)
                            | Statistics64(_)
                    )
                });
                assert_eq!(told.cloned().collect::<Vec<_>>(), server::describe(&server));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn timeouts_and_daemons_are_told_as_they_were_set() {
    let timeouts = [Attribute::TimeoutTcp(900), Attribute::TimeoutTcpFin(120), Attribute::TimeoutUdp(300)];
    assert_eq!(asked("--set 900 120 300"), Message::set_timeouts(timeouts.to_vec()));
    assert_eq!(answered("-Ln --timeout")[0].attributes, timeouts);

    let master = SyncDaemon {
        max_len: Some(1400),
        port: Some(9000),
        ttl: Some(3),
        ..SyncDaemon::new(SyncRole::Master, "lo", 7)
    };
    let read = |message: &Message| match message.attributes.as_slice() {
        [Attribute::Daemon(attributes)] => daemon::read(attributes).unwrap(),
        other => panic!("{other:?}"),
    };
    let start = asked(
        "--start-daemon master --mcast-interface lo --syncid 7 --sync-maxlen 1400 --mcast-port 9000 --mcast-ttl 3",
    );
    assert_eq!(read(&start), master);
    assert_eq!(start.command, Message::start(&master).command);
    let running = read(&answered("-Ln --daemon")[0]);
    assert!(master.is_met_by(&running));
    assert_eq!(running, SyncDaemon { group: Some(SyncDaemon::DEFAULT_GROUP), ..master });
    assert_eq!(asked("--stop-daemon master").command, Message::stop(SyncRole::Master).command);
}

#[test]
fn what_a_kernel_leaves_out_or_adds_does_no_harm() {
    // Before Linux 3.18 no server had a family of its own, before 4.1 counters were narrow, before 5.3 all tunnels IPIP.
    let old = [
        server::ServerAttribute::Address(service::address_bytes([10, 1, 0, 1].into())),
        server::ServerAttribute::Port(80),
        server::ServerAttribute::ForwardingMethod(2),
        server::ServerAttribute::Weight(1),
        server::ServerAttribute::Statistics(vec![StatisticsAttribute::U32(1, 77)]),
        server::ServerAttribute::Other(netlink_packet_core::DefaultNla::new(99, vec![1, 2, 3])),
    ];
    let expected = server("10.1.0.1", 80, Forwarding::Tunnel(Tunnel::Ipip), 1);
    let counters = Counters { connections: 77, ..Counters::default() };
    assert_eq!(server::read(&web(), &old).unwrap(), ReadServer::Known(expected, counters));
    assert!(server::read(&web(), &old[1..]).is_err());

    let mut service = service::describe(&VirtualService::new(web(), Scheduler::Rr));
    service.push(service::ServiceAttribute::Flags(Flags { bits: 0xffff_ffc2, mask: u32::MAX }));
    let expected = VirtualService::new(web(), Scheduler::Rr);
    assert_eq!(service::read(&service).unwrap(), ReadService::Known(expected, Counters::default()));
}

#[test]
fn entries_without_words_are_foreign() {
    let why = |attributes: &[service::ServiceAttribute]| match service::read(attributes).unwrap() {
        ReadService::Foreign(foreign) => foreign.to_string(),
        ReadService::Known(service, _) => panic!("{service:?}"),
    };
    let mut new_scheduler = service::describe(&VirtualService::new(web(), Scheduler::Rr));
    new_scheduler.push(service::ServiceAttribute::Scheduler("fancy".to_owned()));
    assert_eq!(why(&new_scheduler), "TCP 10.0.0.1:80 (scheduler `fancy`)");
    let mut holes = service::describe(&voice());
    holes.push(service::ServiceAttribute::Netmask([255, 0, 255, 0]));
    assert_eq!(why(&holes), "UDP 10.0.0.1:5060 (persistence netmask 255.0.255.0)");
    let mut protocol = service::describe(&VirtualService::new(secure().id, Scheduler::Rr));
    protocol.push(service::ServiceAttribute::Protocol(50));
    assert_eq!(why(&protocol), "protocol 50 [2001:db8::1]:443 (protocol number 50)");

    let mut tunnel = server::describe(&gue());
    tunnel.push(server::ServerAttribute::TunnelType(9));
    match server::read(&web(), &tunnel).unwrap() {
        ReadServer::Foreign(foreign) => {
            assert_eq!(foreign.to_string(), "real server 10.1.0.2:80 of TCP 10.0.0.1:80 (tunnel type 9)");
            assert_eq!((foreign.service, foreign.server), (Some(web()), Some(gue().id)));
        }
        ReadServer::Known(server, _) => panic!("{server:?}"),
    }
}

fn framed(kind: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(u32::try_from(16 + payload.len()).unwrap().to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend([7_u32.to_ne_bytes(), [0; 4]].concat());
    bytes.extend(payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

#[test]
fn datagrams_are_taken_apart_and_what_is_cut_off_is_an_error() {
    let services = asked("-A -f 7 -s sh");
    let mut body = vec![services.command, 1, 0, 0];
    body.extend(emitted(&services));
    let mut datagram = framed(30, NLM_F_DUMP_INTR, &body);
    datagram.extend(framed(NLMSG_ERROR, 0, &(-17_i32).to_ne_bytes()));
    datagram.extend(framed(NLMSG_DONE, 0, &[]));
    let seen: Vec<_> = frames(&datagram).map(Result::unwrap).collect();
    assert_eq!(seen.iter().map(|frame| frame.kind).collect::<Vec<_>>(), [30, NLMSG_ERROR, NLMSG_DONE]);
    assert_eq!((seen[0].flags, seen[0].sequence), (NLM_F_DUMP_INTR, 7));
    assert_eq!(error_of(seen[1].payload).unwrap(), Some(Errno::EEXIST));
    assert_eq!(error_of(seen[2].payload).unwrap(), None);
    assert!(error_of(&[0, 0]).is_err());
    assert_eq!(messages(&datagram).map(Result::unwrap).collect::<Vec<_>>(), [services]);
    for len in 1..datagram.len() {
        // Cut between messages there are fewer of them; cut within one it is an error, and the last thing heard.
        let read: Vec<_> = frames(&datagram[..len]).collect();
        assert!(read.iter().rev().skip(1).all(Result::is_ok), "{len}");
    }
}

fn any_address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from)]
}

fn any_service() -> impl Strategy<Value = VirtualService> {
    let protocols = proptest::sample::select(vec![Protocol::Tcp, Protocol::Udp, Protocol::Sctp]);
    let family = proptest::sample::select(vec![crate::Family::V4, crate::Family::V6]);
    let ids =
        prop_oneof![
            (protocols, any_address(), any::<u16>())
                .prop_map(|(protocol, address, port)| ServiceId::Address { protocol, address, port }),
            (family, 1..=u32::MAX)
                .prop_map(|(family, mark)| ServiceId::FwMark { family, mark: FwMark::new(mark).unwrap() }),
        ];
    let schedulers = proptest::option::of(proptest::sample::select(Scheduler::ALL.to_vec()));
    let persistence = proptest::option::of((any::<u32>(), 0_u8..=128, "[a-z]{0,16}"));
    (ids, schedulers, any::<[bool; 4]>(), persistence).prop_map(
        |(id, scheduler, [flag_1, flag_2, flag_3, one_packet], persistence)| VirtualService {
            id,
            scheduler,
            flags: SchedulerFlags { flag_1, flag_2, flag_3 },
            persistence: persistence.map(|(seconds, len, engine)| Persistence {
                timeout: Duration::from_secs(seconds.into()),
                prefix_len: len.min(id.family().bits()),
                engine: PersistenceEngine::new(&engine),
            }),
            one_packet,
            local_addresses: LocalAddresses::NONE,
        },
    )
}

fn any_server() -> impl Strategy<Value = RealServer> {
    let checksums = [TunnelChecksum::None, TunnelChecksum::Full, TunnelChecksum::Remote];
    let checksum = proptest::sample::select(checksums.to_vec());
    let plain = [
        Forwarding::Masquerade,
        Forwarding::Direct,
        Forwarding::Local,
        Forwarding::Bypass,
        Forwarding::Tunnel(Tunnel::Ipip),
    ];
    let methods = prop_oneof![
        proptest::sample::select(plain.to_vec()),
        checksum.clone().prop_map(|checksum| Forwarding::Tunnel(Tunnel::Gre { checksum })),
        (any::<u16>(), checksum)
            .prop_map(|(port, checksum)| Forwarding::Tunnel(Tunnel::Gue { port, checksum })),
    ];
    (any_address(), any::<u16>(), methods, any::<i64>(), any::<[u32; 2]>()).prop_map(
        |(address, port, forwarding, weight, [upper_threshold, lower_threshold])| RealServer {
            upper_threshold,
            lower_threshold,
            ..RealServer::new(RealServerId { address, port }, forwarding, Weight::clamped(weight))
        },
    )
}

/// A message as the other side reads it.
fn sent(message: &Message) -> Message {
    let mut body = vec![message.command, 1, 0, 0];
    body.extend(emitted(message));
    message_of(&body).unwrap()
}

proptest! {
    #[test]
    fn any_service_is_read_as_it_was_described(service in any_service()) {
        let message = sent(&Message::change(&Change::AddService(service.clone())));
        prop_assert_eq!(service_of(&message).unwrap(), ReadService::Known(service, Counters::default()));
    }

    #[test]
    fn any_server_is_read_as_it_was_described(service in any_service(), server in any_server()) {
        let message = sent(&Message::change(&Change::AddServer(service.id, server)));
        prop_assert_eq!(server_of(&service.id, &message).unwrap(), ReadServer::Known(server, Counters::default()));
    }

    #[test]
    fn any_daemon_is_read_as_it_was_described(
        backup in any::<bool>(),
        interface in "[a-z0-9]{1,15}",
        sync_id in any::<u8>(),
        max_len in any::<Option<u16>>(),
        group in proptest::option::of(any_address()),
        port in any::<Option<u16>>(),
        ttl in any::<Option<u8>>(),
    ) {
        let role = if backup { SyncRole::Backup } else { SyncRole::Master };
        let daemon = SyncDaemon { max_len, group, port, ttl, ..SyncDaemon::new(role, &interface, sync_id) };
        let message = sent(&Message::start(&daemon));
        match message.attributes.as_slice() {
            [Attribute::Daemon(attributes)] => prop_assert_eq!(daemon::read(attributes).unwrap(), daemon),
            other => prop_assert!(false, "{:?}", other),
        }
    }
}
