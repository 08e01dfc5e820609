//! What operators and the reconciler do with the engine, and what they see of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Engine, Gone, Moment};
use crate::engine::address::Address;
use crate::engine::connections::{Connection, ConnectionIndex, Counts, Cursor, Found, PacketKey};
use crate::engine::services::Claim;
use crate::engine::state::Direction;
use crate::plane::{Counters, Statistics, Timeouts};
use crate::refusal::Reason;
use crate::sync::{ConnectionState, Endpoint};
use crate::table::{Change, Table};
use crate::virtual_service::ServiceId;

/// A connection or template, as `ipvsadm -Lc` lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// IP protocol number; 0 of a template of a mark.
    pub protocol: u8,
    /// `None` of a template.
    pub state: Option<ConnectionState>,
    /// Of a template: one of its connections was established.
    pub assured: bool,
    pub client: Endpoint<Address>,
    pub service: Endpoint<Address>,
    pub server: Endpoint<Address>,
    /// The time that is left.
    pub expires: Duration,
}

impl Engine {
    /// Makes one change.
    ///
    /// # Errors
    /// It is refused, and nothing is changed.
    pub fn apply(&mut self, change: &Change, now: Instant) -> Result<(), Reason> {
        self.services.apply(change, now)?;
        if let Change::AddService(service) = change
            && let Some(own) = self.own_timeouts.get(&service.id)
        {
            self.services.set_timeouts(&service.id, *own)?;
        }
        Ok(())
    }

    /// Removes all services. Their connections end one by one, with their next packet or in their time.
    pub fn flush(&mut self, now: Instant) {
        self.services.flush(now);
    }

    pub fn table(&self) -> Table {
        self.services.table()
    }

    /// Which packets the engine has to see. To be asked for again after every change, and from time to time: servers that
    /// were removed are among them as long as they have connections.
    pub fn claims(&self) -> Vec<Claim> {
        self.services.claims()
    }

    pub fn statistics(&self) -> Statistics {
        self.services.statistics()
    }

    /// Of all services together.
    pub fn totals(&self) -> Counters {
        self.services.totals()
    }

    /// # Errors
    /// There is no such service.
    pub fn zero(&mut self, service: Option<&ServiceId>) -> Result<(), Reason> {
        self.services.zero(service)
    }

    pub fn timeouts(&self) -> Timeouts {
        self.timeouts.settings()
    }

    /// What is `None` stays.
    ///
    /// # Errors
    /// One of them is not possible.
    pub fn set_timeouts(&mut self, timeouts: &Timeouts) -> Result<(), Reason> {
        if !timeouts.are_possible() {
            return Err(Reason::Timeout);
        }
        self.timeouts.set(timeouts);
        Ok(())
    }

    /// Gives connections of these services timeouts of their own, and those of no others; also of services that come
    /// later. What is not possible is left out.
    pub fn set_service_timeouts(&mut self, timeouts: BTreeMap<ServiceId, Timeouts>) {
        let timeouts = timeouts.into_iter().filter(|(_, own)| own.are_possible()).collect();
        let before = std::mem::replace(&mut self.own_timeouts, timeouts);
        let none = before.keys().map(|id| (*id, Timeouts::default()));
        for (id, own) in none.chain(self.own_timeouts.iter().map(|(id, own)| (*id, *own))) {
            // Those that are not there get theirs when they come.
            let _later = self.services.set_timeouts(&id, own);
        }
    }

    /// Entries of the table, templates included.
    pub const fn connections(&self) -> usize {
        self.connections.len()
    }

    pub const fn counts(&self) -> Counts {
        self.connections.counts()
    }

    /// The entries of the next `slots` places, and where those after them begin.
    pub fn list(&self, from: Cursor, slots: u32, now: Instant) -> (Vec<Listed>, Option<Cursor>) {
        let tick = self.connections.tick(now);
        let (page, next) = self.connections.page(from, slots);
        let listed = page.map(|(_, entry)| Listed {
            protocol: entry.protocol(),
            state: entry.state(),
            assured: entry.is_assured(),
            client: entry.client(),
            service: entry.service(),
            server: entry.server(),
            expires: entry.remaining(tick),
        });
        (listed.collect(), next)
    }

    /// One of the table; `None` where it is no more.
    pub fn connection(&self, index: ConnectionIndex) -> Option<&Connection> {
        self.connections.get(index)
    }

    /// The connection that packets of that key belong to.
    pub fn find(&self, key: &PacketKey) -> Option<Found> {
        self.connections.lookup(*key)
    }

    /// Whether packets of a connection go on: its server was not removed.
    pub fn goes_on(&self, connection: ConnectionIndex) -> bool {
        let server = self.connections.get(connection).and_then(Connection::server_index);
        server.is_none_or(|server| self.services.is_available(server))
    }

    /// The kernel forwards packets of this connection by itself from now on, or does so no more.
    pub fn set_offloaded(&mut self, connection: ConnectionIndex, offloaded: bool) {
        if let Some(entry) = self.connections.get_mut(connection) {
            entry.set_offloaded(offloaded);
        }
    }

    /// What the kernel had forwarded of a connection that is gone, in packets and bytes, since it was asked last.
    pub fn account_gone(&mut self, gone: &Gone, requests: (u64, u64), replies: (u64, u64)) {
        let Some(server) = gone.connection.server_index() else { return };
        self.services.count_in_many(server, requests.0, requests.1);
        self.services.count_out_many(server, replies.0, replies.1);
    }

    /// What the kernel has forwarded by itself: of one direction, since it was asked last.
    pub fn forwarded(
        &mut self,
        connection: ConnectionIndex,
        direction: Direction,
        packets: u64,
        bytes: u64,
        moment: Moment,
    ) {
        let Some(entry) = self.connections.get_mut(connection) else { return };
        let server = entry.server_index();
        let input = direction != Direction::Output;
        if !input {
            entry.answered();
        }
        if let Some(server) = server {
            if input {
                self.services.count_in_many(server, packets, bytes);
            } else {
                self.services.count_out_many(server, packets, bytes);
            }
        }
        if packets > 0 {
            if input {
                self.count_forwarded(connection, u32::try_from(packets).unwrap_or(u32::MAX), moment);
            }
            self.connections.touch(connection, moment.tick);
        }
    }
}
