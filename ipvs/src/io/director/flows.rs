//! Flows that the kernel forwards by itself, and what they tell of their connections.

use std::collections::HashMap;
use std::time::Instant;

use crate::engine::address::Address;
use crate::engine::connections::{Connection, ConnectionIndex, PacketKey};
use crate::engine::process::{Engine, Gone};
use crate::engine::state::{Direction, TcpState};
use crate::io::bpf::MapError;
use crate::io::flow::{Counted, Flow, FlowKey, FlowMap, Mode};
use crate::io::next_hop::NextHopIndex;
use crate::sync::{ConnectionState, Endpoint, Method};

/// Entries that are read at a time.
const BATCH: usize = 1024;

/// One direction of a connection, as the kernel forwards it.
#[derive(Clone, Copy, Debug)]
struct Way {
    key: FlowKey,
    next_hop: NextHopIndex,
    /// What of its packets the connection knows already.
    told: (u64, u64),
}

/// Both directions, or one where answers go elsewhere.
#[derive(Clone, Copy, Debug)]
struct Installed {
    request: Way,
    reply: Option<Way>,
}

/// What is installed, by connection.
#[derive(Debug)]
pub(super) struct Flows {
    map: FlowMap,
    installed: HashMap<ConnectionIndex, Installed>,
    /// Connections that were not installed because the map was full.
    refused: u64,
}

/// What a connection's packets become, before anybody knows the way.
pub(super) struct Offer {
    request: (FlowKey, FlowKey, Mode),
    reply: Option<(FlowKey, FlowKey, Mode)>,
    pub(super) server: Address,
    pub(super) client: Address,
}

impl Offer {
    /// `None` where the kernel cannot forward it, or it is too early.
    pub(super) fn of(connection: &Connection, least_packets: u32) -> Option<Self> {
        if !is_steady(connection) || connection.packets() < least_packets {
            return None;
        }
        let key = |source: Endpoint<Address>, destination: Endpoint<Address>| FlowKey {
            source: source.address,
            destination: destination.address,
            source_port: source.port,
            destination_port: destination.port,
            protocol: connection.protocol(),
        };
        let (client, service) = (connection.client(), connection.service());
        let server = connection.server();
        let seen = connection.local().unwrap_or(client);
        let asked = key(client, service);
        let (request, reply) = match connection.method() {
            Method::Masquerade => (
                (asked, key(seen, server), Mode::MasqueradeRequest),
                Some((key(server, seen), key(service, client), Mode::MasqueradeReply)),
            ),
            Method::Direct => ((asked, asked, Mode::Direct), None),
            _ => return None,
        };
        Some(Self { request, reply, server: server.address, client: client.address })
    }

    pub(super) const fn is_answered_here(&self) -> bool {
        self.reply.is_some()
    }
}

/// Whether packets of a connection change nothing any more but its time.
pub(super) fn is_steady(connection: &Connection) -> bool {
    matches!(connection.state(), Some(ConnectionState::Tcp(TcpState::Established) | ConnectionState::Udp))
        && !connection.is_template()
        && !connection.has_no_client_port()
}

impl Flows {
    pub(super) fn new(map: FlowMap) -> Self {
        Self { map, installed: HashMap::new(), refused: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.installed.len()
    }

    pub(super) const fn refused(&self) -> u64 {
        self.refused
    }

    /// Has the kernel forward a connection. Gives back the next hops if it will not.
    pub(super) fn install(
        &mut self,
        connection: ConnectionIndex,
        offer: &Offer,
        to_server: NextHopIndex,
        to_client: Option<NextHopIndex>,
    ) -> Result<(), [Option<NextHopIndex>; 2]> {
        let way = |(from, to, mode): &(FlowKey, FlowKey, Mode), next_hop| {
            (Way { key: *from, next_hop, told: (0, 0) }, Flow::new(*mode, from, to, next_hop))
        };
        let request = way(&offer.request, to_server);
        let reply = offer.reply.as_ref().zip(to_client).map(|(reply, next_hop)| way(reply, next_hop));
        let flows = [Some(&request), reply.as_ref()].into_iter().flatten();
        if let Err(_full) = self.map.set_all(flows.map(|(way, flow)| (&way.key, flow))) {
            let keys = [Some(request.0.key), reply.as_ref().map(|reply| reply.0.key)];
            // Half of a connection is of no use, and does no harm either: its packets go where they should.
            drop(self.map.remove_all(keys.iter().flatten()));
            self.refused += 1;
            return Err([Some(to_server), to_client]);
        }
        let reply = reply.map(|(way, _)| way);
        self.installed.insert(connection, Installed { request: request.0, reply });
        Ok(())
    }

    /// Takes a connection back from the kernel; says what it has forwarded since it was asked last, and which next hops
    /// are held no more.
    pub(super) fn withdraw(&mut self, connection: ConnectionIndex) -> Option<Withdrawn> {
        let Installed { request, reply } = self.installed.remove(&connection)?;
        let last = |way: &Way| {
            let counted = self.map.take(&way.key).ok().flatten().map(|flow| flow.counted);
            since(counted.unwrap_or_default(), way.told)
        };
        Some(Withdrawn {
            request: last(&request),
            reply: reply.as_ref().map(last).unwrap_or_default(),
            next_hops: [Some(request.next_hop), reply.map(|reply| reply.next_hop)],
        })
    }

    /// Reads all counters, and tells the engine what is new.
    ///
    /// # Errors
    /// The kernel says no.
    pub(super) fn sweep(&mut self, engine: &mut Engine, now: Instant) -> Result<(), MapError> {
        let moment = engine.moment(now);
        let mut walk = self.map.walk(BATCH);
        while let Some(batch) = walk.next_batch()? {
            for (key, flow) in batch {
                let Some(found) = engine.find(&packet_key(&key)) else { continue };
                let Some(installed) = self.installed.get_mut(&found.connection) else { continue };
                let output = found.direction == Direction::Output;
                let way = if output { installed.reply.as_mut() } else { Some(&mut installed.request) };
                let Some(way) = way.filter(|way| way.key == key) else { continue };
                let (packets, bytes) = since(flow.counted, way.told);
                way.told = (flow.counted.packets, flow.counted.bytes);
                if packets > 0 {
                    engine.forwarded(found.connection, found.direction, packets, bytes, moment);
                }
            }
        }
        Ok(())
    }

    pub(super) fn all(&self) -> Vec<ConnectionIndex> {
        self.installed.keys().copied().collect()
    }

    pub(super) fn forget(&mut self, gone: &Gone) -> Option<Withdrawn> {
        self.withdraw(gone.index)
    }
}

/// What is left of a connection that the kernel forwards no more.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Withdrawn {
    pub(super) request: (u64, u64),
    pub(super) reply: (u64, u64),
    pub(super) next_hops: [Option<NextHopIndex>; 2],
}

const fn since(counted: Counted, told: (u64, u64)) -> (u64, u64) {
    (counted.packets.saturating_sub(told.0), counted.bytes.saturating_sub(told.1))
}

const fn packet_key(key: &FlowKey) -> PacketKey {
    PacketKey {
        source: key.source,
        destination: key.destination,
        source_port: key.source_port,
        destination_port: key.destination_port,
        protocol: key.protocol,
    }
}
