//! Whatever other directors tell, what is counted and lent is what there is.

use proptest::prelude::*;

use super::*;
use crate::engine::state::SctpState;
use crate::sync::{
    self, Endpoint, Ends, Method, RecordFlags, SendRules, Subject, SyncRecord, Template, Tuple,
};
use crate::virtual_service::Persistence;

#[derive(Clone, Debug)]
enum Step {
    Record(SyncRecord<'static>),
    /// Of a client, from a port, with flags.
    Packet(u16, u8),
    Remove(usize),
    Add(usize),
    Pass(u16),
}

const SERVERS: [&str; 2] = ["10.2.0.11", "10.2.0.12"];

fn record() -> impl Strategy<Value = SyncRecord<'static>> {
    let end = |address: [u8; 4], port| Endpoint::new(address.into(), port);
    let state = prop_oneof![
        (0..11_usize).prop_map(|state| ConnectionState::Tcp(TcpState::ALL[state])),
        (0..14_usize).prop_map(|state| ConnectionState::Sctp(SctpState::ALL[state])),
        Just(ConnectionState::Udp),
    ];
    let subject = prop_oneof![
        4 => (state, prop::bool::weighted(0.1)).prop_map(|(state, no_client_port)| {
            Subject::Connection(sync::Connection { no_client_port, ..sync::Connection::new(state) })
        }),
        1 => (any::<bool>(), prop_oneof![Just(0), Just(6), any::<u8>()]).prop_map(|(assured, protocol)| {
            Subject::Template(Template { protocol: sync::TemplateProtocol(protocol), assured, call_id: None })
        }),
    ];
    let local = prop::option::of(prop_oneof![0..3_u16, 1_025..1_028_u16]);
    let ends = (3_000..3_004_u16, prop_oneof![Just(80_u16), Just(81)], 11..14_u8, local).prop_map(
        move |(client, service, server, local)| {
            Tuple::V4(Ends {
                client: end([10, 1, 0, 9], client),
                service: end([10, 9, 0, 1], service),
                server: end([10, 2, 0, server], 8080),
                local: local.map(|port| end([10, 2, 0, 1], port)),
            })
        },
    );
    let method = prop_oneof![Just(Method::Masquerade), Just(Method::Direct), Just(Method::Tunnel)];
    let flags =
        prop_oneof![Just(RecordFlags::NONE), Just(RecordFlags::INACTIVE), Just(RecordFlags::NO_OUTPUT)];
    (subject, ends, method, flags, 0..600_u32).prop_map(|(subject, tuple, method, flags, seconds)| {
        SyncRecord { subject, tuple, method, flags, mark: None, timeout: std::num::NonZeroU32::new(seconds) }
    })
}

fn step() -> impl Strategy<Value = Step> {
    let flags = prop_oneof![Just(SYN), Just(ACK), Just(FIN | ACK), Just(RST)];
    prop_oneof![
        8 => record().prop_map(Step::Record),
        4 => (3_000..3_004_u16, flags).prop_map(|(port, flags)| Step::Packet(port, flags)),
        1 => (0..2_usize).prop_map(Step::Remove),
        1 => (0..2_usize).prop_map(Step::Add),
        1 => (0..200_u16).prop_map(Step::Pass),
    ]
}

/// Behind full NAT on port 80, and persistent on port 81.
fn site() -> Site {
    let mut site = Site::with(Settings { sync: Some(SendRules::ENGINE), ..Settings::default() });
    let full_nat = VirtualService { local_addresses: [ip("10.2.0.1")].into_iter().collect(), ..web() };
    site.service(&full_nat, &SERVERS.map(|address| (address, 8080, Forwarding::FullNat)));
    let timeout = Duration::from_secs(300);
    let persistent = VirtualService {
        persistence: Some(Persistence { timeout, prefix_len: 32, engine: None }),
        ..VirtualService::new(id(Protocol::Tcp, "10.9.0.1", 81), Scheduler::Rr)
    };
    site.service(&persistent, &SERVERS.map(|address| (address, 8080, Forwarding::Masquerade)));
    site
}

fn check(site: &Site) {
    let engine = &site.engine;
    let entries = || engine.connections.iter().map(|(_, entry)| entry);
    let lent = entries().filter(|entry| entry.local().is_some()).count();
    assert_eq!(engine.services.local_ports().in_use(), lent);
    let mut counted = BTreeMap::new();
    for entry in entries() {
        // Of servers that were removed there are no statistics.
        let server = entry.server_index().filter(|server| engine.services.is_available(*server));
        let service = server.and_then(|server| engine.services.service_of(server));
        let Some((server, service)) = server.zip(service) else { continue };
        let key =
            (engine.services.service(service).unwrap().id, engine.services.settings(server).unwrap().id);
        let counts: &mut (u32, u32, u32) = counted.entry(key).or_default();
        match (entry.is_template(), entry.counted()) {
            (true, _) => counts.2 += 1,
            (false, crate::engine::scheduler::Counted::Active) => counts.0 += 1,
            (false, _) => counts.1 += 1,
        }
    }
    for (key, counters) in engine.statistics().servers {
        let expected = counted.remove(&key).unwrap_or_default();
        assert_eq!((counters.active, counters.inactive, counters.persistent), expected, "{key:?}");
    }
    assert!(counted.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn what_is_counted_and_lent_is_what_there_is(steps in prop::collection::vec(step(), 1..120)) {
        let mut site = site();
        for step in steps {
            match step {
                Step::Record(record) => {
                    let moment = site.engine.moment(site.now);
                    let before = site.engine.connections();
                    if site.engine.handle_record(&record, moment) != Told::Taken {
                        prop_assert!(site.engine.connections() <= before);
                    }
                }
                Step::Packet(port, flags) => drop(site.send(&tcp(port, flags))),
                Step::Remove(server) | Step::Add(server) => {
                    let there = RealServerId { address: ip(SERVERS[server]), port: 8080 };
                    let change = match step {
                        Step::Remove(_) => Change::RemoveServer(web().id, there),
                        _ => Change::AddServer(web().id, super::server(SERVERS[server], 8080, Forwarding::FullNat, 1)),
                    };
                    // It may be there already, or not.
                    drop(site.engine.apply(&change, site.now));
                }
                Step::Pass(seconds) => site.pass(Duration::from_secs(seconds.into())),
            }
            check(&site);
            while site.engine.poll_told().is_some() {}
        }
        site.pass(Duration::from_secs(1_500));
        prop_assert_eq!(site.engine.connections(), 0);
        check(&site);
    }
}
