use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use buoy_ipvs::engine::address::Address;
use buoy_ipvs::engine::buffer::{HEADROOM, Offload, Packet};
use buoy_ipvs::engine::connections::{Cursor, Limits};
use buoy_ipvs::engine::forward::Path;
use buoy_ipvs::engine::process::{Engine, Route, Routes, Settings, Told, Verdict};
use buoy_ipvs::io::sync::Daemons;
use buoy_ipvs::sync::{Batch, ConnectionState, SendRules, Version};
use buoy_ipvs::{
    Change, Counters, Forwarding, FwMark, KernelPlane, Plane, Protocol, RealServer, RealServerId, Scheduler,
    ServiceId, Table, VirtualService, Weight,
};

use super::super::listing::{Key, Value, protocol_name};
use super::packet::{ACK, tcp};

/// A director of the engine.
pub(super) struct Director {
    engine: Engine,
    pub(super) daemons: Daemons,
}

/// Services are addresses of this host, all else is on its link.
struct Host;

impl Routes for Host {
    fn route(&mut self, to: Address) -> Route {
        let (services, source): (_, IpAddr) = match IpAddr::from(to) {
            IpAddr::V4(to) => (to.octets()[..3] == [10, 70, 1], "10.70.0.77".parse().unwrap()),
            IpAddr::V6(to) => (to.segments()[..2] == [0xfd70, 1], "fd70::77".parse().unwrap()),
        };
        if services { Route::Local } else { Route::Via(Path { mtu: 1500, source: source.into() }) }
    }

    fn lower_mtu(&mut self, to: Address, mtu: usize) {
        panic!("{to:?} has an MTU of {mtu}");
    }
}

impl Director {
    /// With these services, and no daemon.
    pub(super) fn new(table: &Table) -> Self {
        let now = Instant::now();
        let settings = Settings { sync: Some(SendRules::ENGINE), ..Settings::default() };
        let mut engine = Engine::new(settings, Limits { connections: 1_000 }, 7, now);
        for change in Table::new().changes_to(table) {
            engine.apply(&change, now).unwrap();
        }
        Self { engine, daemons: Daemons::new() }
    }

    /// A service that the kernel cannot have.
    pub(super) fn add_full_nat(&mut self, service: &str, server: &str, local: &str) {
        let (service, server): (SocketAddr, SocketAddr) = (service.parse().unwrap(), server.parse().unwrap());
        let id = ServiceId::Address { protocol: Protocol::Tcp, address: service.ip(), port: service.port() };
        let local_addresses = [local.parse().unwrap()].into_iter().collect();
        let service = VirtualService { local_addresses, ..VirtualService::new(id, Scheduler::Rr) };
        let server = RealServerId { address: server.ip(), port: server.port() };
        let server = RealServer::new(server, Forwarding::FullNat, Weight::ONE);
        for change in [Change::AddService(service), Change::AddServer(id, server)] {
            self.engine.apply(&change, Instant::now()).unwrap();
        }
    }

    /// A packet comes, and goes where this returns.
    pub(super) fn process(&mut self, packet: Vec<u8>, mark: Option<u32>) -> IpAddr {
        let read = self.engine.read(&packet).unwrap();
        let mut buffer = [vec![0; HEADROOM], packet].concat();
        let end = buffer.len();
        let mut packet = Packet::new(&mut buffer, HEADROOM, end, Offload::default()).unwrap();
        let moment = self.engine.moment(Instant::now());
        let verdict = self.engine.process(&mut packet, &read, mark.and_then(FwMark::new), &mut Host, moment);
        match verdict {
            Verdict::Forward { to, .. } => to.into(),
            other => panic!("{other:?}"),
        }
    }

    /// Tells of all that there is to tell, at once. Returns of how many entries.
    pub(super) fn tell(&mut self) -> usize {
        let master = self.daemons.master_mut().unwrap();
        let (now, mut records) = (Instant::now(), 0);
        while let Some(record) = self.engine.poll_told() {
            master.tell(&record, now);
            records += 1;
        }
        master.handle_timeout(now + Batch::LONGEST_WAIT);
        let statistics = master.statistics();
        assert_eq!(statistics.records + statistics.untellable, records as u64);
        records
    }

    /// Takes what others tell.
    pub(super) fn receive(&mut self) {
        let now = Instant::now();
        let Self { engine, daemons } = self;
        engine.handle_timeout(now);
        let moment = engine.moment(now);
        let backup = daemons.backup_mut().unwrap();
        backup
            .receive(|record| assert_eq!(engine.handle_record(record, moment), Told::Taken, "{record:?}"))
            .unwrap();
    }

    /// Clients of established connections go on. Returns how many.
    pub(super) fn forwards_what_is_established(&mut self) -> usize {
        let entries = self.engine.connections();
        let mut forwarded = 0;
        for ((_, client, client_port, service, port), ((server, _, state), _)) in self.table() {
            if state != "ESTABLISHED" {
                continue;
            }
            let packet = tcp(SocketAddr::new(client, client_port), SocketAddr::new(service, port), ACK);
            assert_eq!(self.process(packet, None), server);
            forwarded += 1;
        }
        assert_eq!(self.engine.connections(), entries, "none began anew");
        forwarded
    }

    /// As the kernel lists it.
    pub(super) fn table(&self) -> BTreeMap<Key, (Value, u64)> {
        let (listed, next) = self.engine.list(Cursor::default(), u32::MAX, Instant::now());
        assert!(next.is_none());
        let entry = |listed: buoy_ipvs::engine::process::Listed| {
            let state = match listed.state {
                Some(ConnectionState::Tcp(state)) => state.to_string(),
                Some(ConnectionState::Sctp(state)) => state.to_string(),
                Some(ConnectionState::Udp) => "UDP".to_owned(),
                None if listed.assured => "ASSURED".to_owned(),
                None => "NONE".to_owned(),
            };
            let [client, service, server] = [listed.client, listed.service, listed.server]
                .map(|end| (IpAddr::from(end.address), end.port));
            let key = (protocol_name(listed.protocol), client.0, client.1, service.0, service.1);
            (key, ((server.0, server.1, state), listed.expires.as_secs()))
        };
        listed.into_iter().map(entry).collect()
    }

    /// Its servers have as many connections and templates as those of the kernel.
    pub(super) fn assert_counts_as(&self, plane: &mut KernelPlane, version: Version) {
        let (ours, theirs) = (self.engine.statistics().servers, plane.statistics().unwrap().servers);
        for (server, theirs) in theirs {
            // Version 0 has neither IPv6 nor marks, by which the kernel finds the servers of entries.
            let untold = server.1.address.is_ipv6() || matches!(server.0, ServiceId::FwMark { .. });
            if version == Version::V0 && untold {
                continue;
            }
            let counts = |counters: &Counters| (counters.active, counters.inactive, counters.persistent);
            assert_eq!(counts(&ours[&server]), counts(&theirs), "{server:?}");
        }
    }
}
