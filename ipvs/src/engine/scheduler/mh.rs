use super::Request;
use super::hash::siphash_1_3;
use super::pool::{Pool, ServerIndex};
use super::server::Server;
use super::wrr::greatest_common_divisor;
use crate::engine::address::Address;
use crate::scheduler::SchedulerFlags;
use crate::virtual_service::Family;

/// Places of the table, a prime (Linux: `CONFIG_IP_VS_MH_TAB_INDEX` 12).
const PLACES: u32 = 4093;
/// A server takes fewer than 2 to this power places in a row.
const TURN_BITS: u32 = 6;

/// Maglev hashing (Eisenbud et al., NSDI 2016): each client has its server, and few clients move when servers come and
/// go: when one of 20 servers goes, its own and 2 % of the others. A weight of 0 moves nobody: the table is made from
/// the last weights that were not 0.
///
/// A service has at most as many servers with places as there are places: the oldest. Linux keeps the table of before
/// they were more, in which removed servers may stay.
#[derive(Clone, Debug)]
pub(super) struct Maglev {
    family: Family,
    /// As many as places, or none.
    table: Vec<ServerIndex>,
}

/// A server's own order of the places, and how many it takes in a row.
struct Preference {
    index: ServerIndex,
    next: u32,
    skip: u32,
    turns: u32,
}

impl Maglev {
    /// `family` is that of the service: the addresses of servers are hashed as if they were of it.
    pub(super) fn new(family: Family, pool: Pool<'_>) -> Self {
        let mut maglev = Self { family, table: Vec::new() };
        maglev.changed(pool);
        maglev
    }

    /// A server came, went, or has another weight.
    pub(super) fn changed(&mut self, pool: Pool<'_>) {
        self.table = populate(self.preferences(pool));
    }

    /// Flag 1 looks further where the client's server takes nothing, flag 2 hashes the source port too.
    pub(super) fn pick(
        &self,
        pool: Pool<'_>,
        request: &Request,
        flags: SchedulerFlags,
    ) -> Option<ServerIndex> {
        let port = if flags.flag_2 { u32::from(request.source_port) } else { 0 };
        let client = request.source.folded().wrapping_add(port);
        let place = first_hash(client) % PLACES;
        match pool.if_usable(self.at(place)?) {
            None if flags.flag_1 && pool.usable().next().is_some() => {
                let mut further = (0..PLACES).map(|offset| (offset + place) % PLACES);
                further.find_map(|offset| {
                    pool.if_usable(self.at(first_hash(client.wrapping_add(offset)) % PLACES)?)
                })
            }
            usable => usable,
        }
    }

    fn at(&self, place: u32) -> Option<ServerIndex> {
        self.table.get(usize::try_from(place).ok()?).copied()
    }

    fn preferences(&self, pool: Pool<'_>) -> Vec<Preference> {
        let places = usize::try_from(PLACES).unwrap_or(usize::MAX);
        let servers = pool.iter().skip(pool.len().saturating_sub(places));
        let weights = servers.clone().map(|(_, server)| server.last_weight()).filter(|weight| *weight > 0);
        let Some(unit) = weights.clone().reduce(greatest_common_divisor) else { return Vec::new() };
        let heaviest = weights.max().unwrap_or(unit) / unit;
        let shift = (u32::BITS - heaviest.leading_zeros()).saturating_sub(TURN_BITS);
        let weighty = servers.filter(|(_, server)| server.last_weight() > 0);
        let preference = |(index, server): (ServerIndex, &Server)| {
            let (next, skip) = self.sequence(server);
            Preference { index, next, skip, turns: ((server.last_weight() / unit) >> shift).max(1) }
        };
        weighty.map(preference).collect()
    }

    /// Where a server's order of the places begins, and how it goes on.
    fn sequence(&self, server: &Server) -> (u32, u32) {
        let id = server.id();
        let address = Address::from(id.address);
        let folded = match (self.family, address.family()) {
            // As the kernel takes them: only the first of four words.
            (Family::V4, Family::V6) => (address.bits() >> 96) as u32,
            _ => address.folded(),
        };
        let value = folded.wrapping_add(u32::from(id.port));
        (first_hash(value) % PLACES, second_hash(value) % (PLACES - 1) + 1)
    }

    #[cfg(test)]
    pub(super) fn table(&self) -> &[ServerIndex] {
        &self.table
    }
}

fn first_hash(value: u32) -> u32 {
    siphash_1_3(value, 2_654_435_761)
}

fn second_hash(value: u32) -> u32 {
    siphash_1_3(value, 2_654_446_892)
}

/// Has the servers take places in turns until there are none.
fn populate(mut preferences: Vec<Preference>) -> Vec<ServerIndex> {
    if preferences.is_empty() {
        return Vec::new();
    }
    let mut free = PLACES;
    let mut table = vec![None; usize::try_from(PLACES).unwrap_or_default()];
    while free > 0 {
        for preference in &mut preferences {
            for _ in 0..preference.turns.min(free) {
                preference.take(&mut table);
                free -= 1;
            }
        }
    }
    table.into_iter().flatten().collect()
}

impl Preference {
    /// Takes the next place that is free. The number of places is prime: the sequence goes through all of them.
    fn take(&mut self, table: &mut [Option<ServerIndex>]) {
        for _ in 0..PLACES {
            let place = usize::try_from(self.next).ok().and_then(|next| table.get_mut(next));
            if let Some(place @ None) = place {
                *place = Some(self.index);
                return;
            }
            self.next += self.skip;
            if self.next >= PLACES {
                self.next -= PLACES;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::real_server::{Forwarding, RealServer, RealServerId, Weight};

    #[test]
    fn sequences_are_those_of_the_kernel() {
        let sequence = |last| {
            let id = RealServerId { address: [10, 2, 0, last].into(), port: 80 };
            let server = Server::new(&RealServer::new(id, Forwarding::Masquerade, Weight::ONE));
            Maglev { family: Family::V4, table: Vec::new() }.sequence(&server)
        };
        assert_eq!([11, 12, 13].map(sequence), [(1475, 967), (1266, 965), (2964, 2203)]);
    }
}
