//! Known answers and traces come from a Linux 6.1.176.

mod hashes;
mod model;
mod properties;
mod traces;

use std::time::{Duration, Instant};

use super::*;
use crate::real_server::{Forwarding, RealServer, RealServerId, Weight};

/// A service whose servers are letters in the order in which they are added, A first. Their addresses are 10.2.0.11 and
/// following ones.
struct Lab {
    servers: Vec<Server>,
    order: Vec<ServerIndex>,
    settings: Vec<RealServer>,
    scheduling: Scheduling,
    flags: SchedulerFlags,
    request: Request,
    now: Instant,
}

/// What happens to the counters of a server that a connection goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Connection {
    /// Is active from its SYN on.
    Tcp,
    /// Is never active.
    Udp,
}

use Connection::{Tcp, Udp};

fn address(text: &str) -> Address {
    text.parse::<std::net::IpAddr>().expect("an address").into()
}

fn number(name: char) -> usize {
    usize::try_from(u32::from(name) - u32::from('A')).expect("a letter")
}

fn letter(index: ServerIndex) -> char {
    char::from(b'A' + u8::try_from(index.get()).expect("few servers"))
}

impl Lab {
    /// Servers are added one by one to a service that has the scheduler already.
    fn new(scheduler: Scheduler, weights: &[u32]) -> Self {
        let now = Instant::now();
        let mut lab = Self {
            servers: Vec::new(),
            order: Vec::new(),
            settings: Vec::new(),
            scheduling: Scheduling::new(scheduler, Family::V4, Pool::new(&[], &[]), 7, now),
            flags: SchedulerFlags::NONE,
            request: Request {
                source: address("10.1.0.9"),
                source_port: 3001,
                destination: address("10.9.0.1"),
            },
            now,
        };
        weights.iter().for_each(|weight| lab.add(*weight));
        lab
    }

    fn with_flags(scheduler: Scheduler, weights: &[u32], flag_1: bool, flag_2: bool) -> Self {
        let flags = SchedulerFlags { flag_1, flag_2, flag_3: false };
        Self { flags, ..Self::new(scheduler, weights) }
    }

    /// What the scheduler is told is what the engine does.
    fn add(&mut self, weight: u32) {
        let number = u32::try_from(self.servers.len()).expect("few servers");
        let id = RealServerId {
            address: Address::v4(u32::from_be_bytes([10, 2, 0, 11]) + number).into(),
            port: 80,
        };
        let settings = RealServer::new(id, Forwarding::Masquerade, Weight::clamped(weight.into()));
        self.servers.push(Server::new(&settings));
        self.settings.push(settings);
        self.list(ServerIndex::new(number));
    }

    fn list(&mut self, index: ServerIndex) {
        self.order.insert(0, index);
        self.scheduling.added(Pool::new(&self.order, &self.servers));
    }

    fn server(&mut self, name: char) -> &mut Server {
        let index = number(name);
        &mut self.servers[index]
    }

    fn remove(&mut self, name: char) {
        let position = self.order.iter().position(|index| letter(*index) == name).expect("a server");
        self.order.remove(position);
        self.scheduling.removed(Pool::new(&self.order, &self.servers), position);
    }

    /// After [`Self::remove`].
    fn restore(&mut self, name: char) {
        let index = u32::try_from(number(name)).expect("few servers");
        self.list(ServerIndex::new(index));
    }

    fn edit(&mut self, name: char, change: impl FnOnce(&mut RealServer)) {
        let index = number(name);
        change(&mut self.settings[index]);
        self.servers[index].edit(&self.settings[index]);
        self.scheduling.edited(Pool::new(&self.order, &self.servers));
    }

    fn set_weight(&mut self, name: char, weight: i64) {
        self.edit(name, |server| server.weight = Weight::clamped(weight));
    }

    /// Upper thresholds of all servers.
    fn limit(&mut self, upper: u32) {
        for index in self.order.clone() {
            self.edit(letter(index), |server| server.upper_threshold = upper);
        }
    }

    /// Makes servers overloaded, with a connection at each of them.
    fn overload(&mut self, names: &str) {
        for name in names.chars() {
            self.edit(name, |server| server.upper_threshold = 1);
            self.server(name).bind(Counted::Inactive);
        }
    }

    fn pick(&mut self) -> Option<ServerIndex> {
        self.scheduling.pick(Pool::new(&self.order, &self.servers), &self.request, self.flags, self.now)
    }

    fn choice(&mut self) -> Option<char> {
        self.pick().map(letter)
    }

    /// Where the client with this address goes.
    fn choice_for(&mut self, source: Address) -> Option<char> {
        self.request.source = source;
        self.choice()
    }

    /// So many connections, and where they go; `-` is nowhere.
    fn connect(&mut self, connection: Connection, count: usize) -> String {
        let each = |_| {
            let Some(index) = self.pick() else { return '-' };
            let server = self.server(letter(index));
            server.bind(Counted::Inactive);
            if connection == Tcp {
                server.recount(Counted::Inactive, Counted::Active);
            }
            letter(index)
        };
        (0..count).map(each).collect()
    }
}
