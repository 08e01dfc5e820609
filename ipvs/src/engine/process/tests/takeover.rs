//! A master that dies, and the director that goes on in its place.

use super::*;
use crate::engine::forward::Endpoint;
use crate::real_server::{Tunnel, TunnelChecksum};
use crate::sync::{Batch, Records, SendRules, SyncId, Version};
use crate::virtual_service::LocalAddresses;

const ID: SyncId = SyncId(7);
/// Per service.
const CLIENTS: u16 = 100;

fn site(sync: Option<SendRules>) -> Site {
    let now = Instant::now();
    // Nothing is the same that need not be.
    let seed = if sync.is_some() { 7 } else { 8 };
    let settings = Settings { sync, ..Settings::default() };
    let engine = Engine::new(settings, Limits { connections: 5_000 }, seed, now);
    let local = ["10.9.0.1", "2001:db8:9::1", "10.2.0.1"].map(address).to_vec();
    Site { engine, host: Host { local, ..Host::default() }, now }
}

/// Five methods in either family, with three servers each: services, and the port that clients address.
fn services() -> Vec<(VirtualService, [RealServer; 3])> {
    let gue = Tunnel::Gue { port: 6080, checksum: TunnelChecksum::None };
    let ways = [
        Forwarding::Masquerade,
        Forwarding::Direct,
        Forwarding::Tunnel(Tunnel::Ipip),
        Forwarding::Tunnel(gue),
        Forwarding::FullNat,
    ];
    let families = [("10.9.0.1", "10.2.0.", "10.2.0.1"), ("2001:db8:9::1", "2001:db8:2::", "2001:db8:2::1")];
    let mut services = Vec::new();
    for (number, forwarding) in (0..).zip(ways) {
        for (vip, network, local) in families {
            let port = 80 + number;
            let local_addresses: LocalAddresses =
                [ip(local)].into_iter().filter(|_| forwarding == Forwarding::FullNat).collect();
            // Weights of chance: the choice of the backup would be another one.
            let service = VirtualService {
                local_addresses,
                ..VirtualService::new(id(Protocol::Tcp, vip, port), Scheduler::Twos)
            };
            let servers = [11, 12, 13].map(|last| server(&format!("{network}{last}"), 80, forwarding, 1));
            services.push((service, servers));
        }
    }
    services
}

fn configure(site: &mut Site) {
    for (service, servers) in services() {
        site.apply(Change::AddService(service.clone()));
        servers.into_iter().for_each(|server| site.apply(Change::AddServer(service.id, server)));
    }
}

fn packets(flags: u8) -> impl Iterator<Item = Build> {
    services().into_iter().flat_map(move |(service, _)| {
        let ServiceId::Address { address, port, .. } = service.id else { panic!("{service:?}") };
        (0..CLIENTS).map(move |client| {
            let from = if address.is_ipv4() { "10.1.0.9" } else { "2001:db8:1::9" };
            let to = Endpoint { address: address.into(), port };
            Build { flags, ..Build::new(TCP, end(from, 3_000 + client), to) }
        })
    })
}

/// What a packet becomes, whatever number the engine gives to those that it makes.
fn forwarded(site: &mut Site, packet: &Build) -> (Verdict, Vec<u8>) {
    let Out { verdict, mut bytes } = site.send(packet);
    let verdict = match verdict {
        Verdict::Forward { to, outcome, .. } => Verdict::Forward { to, outcome, connection: None },
        other => panic!("{packet:?} is not forwarded: {other:?}"),
    };
    let view = View::read(&bytes).expect("a packet");
    if view.protocol != TCP && bytes[0] >> 4 == 4 {
        // The identification, and the checksum over it.
        [4, 5, 10, 11].into_iter().for_each(|at: usize| bytes[at] = 0);
    }
    (verdict, bytes)
}

/// The datagrams in which the master tells of all that it has to tell.
fn datagrams(master: &mut Site) -> Vec<Vec<u8>> {
    let mut batch = Batch::new(Version::V1, ID, 1472);
    let mut datagrams = Vec::new();
    while let Some(record) = master.engine.poll_told() {
        let full = batch.push(&record, master.now).expect("version 1 has all records");
        datagrams.extend(full.map(|message| message.bytes().to_vec()));
    }
    datagrams.extend(batch.take().map(|message| message.bytes().to_vec()));
    datagrams
}

#[test]
fn a_thousand_connections_of_a_dead_master_go_on_to_the_same_servers_byte_by_byte() {
    let (mut master, mut backup) = (site(Some(SendRules::ENGINE)), site(None));
    configure(&mut master);
    configure(&mut backup);
    packets(SYN).for_each(|packet| drop(forwarded(&mut master, &packet)));
    let before: Vec<_> = packets(ACK).map(|packet| forwarded(&mut master, &packet)).collect();
    assert_eq!(before.len(), 1_000);

    let datagrams = datagrams(&mut master);
    drop(master);
    heard(&mut backup, &datagrams);
    assert_eq!(backup.engine.connections(), 1_000);

    for (packet, before) in packets(ACK).zip(before) {
        assert!(forwarded(&mut backup, &packet) == before, "{packet:?}");
    }
    assert_eq!(backup.engine.connections(), 1_000, "none was made anew");
    assert_eq!(backup.engine.totals().connections, 0);
}

fn heard(backup: &mut Site, datagrams: &[Vec<u8>]) {
    let moment = backup.engine.moment(backup.now);
    for record in datagrams.iter().flat_map(|datagram| Records::read(datagram, ID).expect("a message")) {
        assert_eq!(backup.engine.handle_record(&record.expect("a record"), moment), Told::Taken);
    }
}

#[test]
fn one_lost_datagram_costs_no_connection_that_has_another_packet_in_its_time() {
    for lost in [0, 1] {
        let (mut master, mut backup) = (site(Some(SendRules::ENGINE)), site(None));
        configure(&mut master);
        configure(&mut backup);
        packets(SYN).for_each(|packet| drop(forwarded(&mut master, &packet)));
        let mut before = Vec::new();
        for round in 0..2 {
            before = packets(ACK).map(|packet| forwarded(&mut master, &packet)).collect();
            let datagrams = datagrams(&mut master);
            assert!(datagrams.len() > 30);
            if round != lost {
                heard(&mut backup, &datagrams);
            }
            [&mut master, &mut backup].into_iter().for_each(|site| site.pass(Duration::from_secs(4)));
        }
        for (packet, before) in packets(ACK).zip(before) {
            assert!(forwarded(&mut backup, &packet) == before, "{packet:?}");
        }
    }
}
