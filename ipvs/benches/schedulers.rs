//! What does a choice cost with 4, 64 and 1,024 servers, and what a change of them?
//!
//! `cargo bench -p buoy-ipvs --bench schedulers`. Each choice is for another client and destination, and counts at its
//! server as a connection that does not end. A change is a server that goes and comes back.

use std::hint::black_box;
use std::time::{Duration, Instant};

use buoy_ipvs::engine::address::Address;
use buoy_ipvs::engine::scheduler::{Counted, Pool, Request, Scheduling, Server, ServerIndex};
use buoy_ipvs::{Family, Forwarding, RealServer, RealServerId, Scheduler, SchedulerFlags, Weight};

const SIZES: [u32; 3] = [4, 64, 1024];
/// Measured so often; the best counts.
const REPETITIONS: u32 = 5;

struct Service {
    servers: Vec<Server>,
    order: Vec<ServerIndex>,
    scheduling: Scheduling,
}

impl Service {
    /// Weights are from 1 to 8.
    fn new(scheduler: Scheduler, size: u32) -> Self {
        let server = |number: u32| {
            let id = RealServerId { address: Address::v4(0x0a02_0000 + number).into(), port: 80 };
            Server::new(&RealServer::new(
                id,
                Forwarding::Masquerade,
                Weight::clamped(i64::from(number % 8) + 1),
            ))
        };
        let servers: Vec<_> = (0..size).map(server).collect();
        let order: Vec<_> = (0..size).rev().map(ServerIndex::new).collect();
        let pool = Pool::new(&order, &servers);
        let scheduling = Scheduling::new(scheduler, Family::V4, pool, 7, Instant::now());
        Self { servers, order, scheduling }
    }

    fn picks(&mut self, count: u32) -> Duration {
        let start = Instant::now();
        for number in 0..count {
            let client = number.wrapping_mul(0x9e37_79b9);
            let request = Request {
                source: Address::v4(client),
                source_port: 1024,
                destination: Address::v4(0x0a09_0000 | client >> 20),
            };
            let pool = Pool::new(&self.order, &self.servers);
            let chosen = self.scheduling.pick(pool, black_box(&request), SchedulerFlags::NONE, start);
            if let Some(server) = chosen.and_then(|index| self.servers.get_mut(index.get() as usize)) {
                server.bind(Counted::Inactive);
            }
        }
        start.elapsed()
    }

    fn changes(&mut self, count: u32) -> Duration {
        let start = Instant::now();
        for number in 0..count {
            let position = number as usize % self.order.len();
            let index = self.order.remove(position);
            self.scheduling.removed(Pool::new(&self.order, &self.servers), position);
            self.order.insert(0, index);
            self.scheduling.added(Pool::new(&self.order, &self.servers));
        }
        start.elapsed()
    }
}

fn best(count: u32, mut measured: impl FnMut(u32) -> Duration) -> f64 {
    let times = (0..REPETITIONS).map(|_| measured(count).as_secs_f64() * 1e9 / f64::from(count));
    times.fold(f64::INFINITY, f64::min)
}

fn main() {
    println!("{:>10}{:>33}{:>36}", "", "ns a choice", "ns a change");
    println!("{:>10}{:>11}{:>11}{:>11}   {:>11}{:>11}{:>11}", "servers", 4, 64, 1024, 4, 64, 1024);
    for scheduler in Scheduler::ALL {
        let picks = SIZES.map(|size| {
            let mut service = Service::new(scheduler, size);
            best(2_000_000 / (size + 16), |count| service.picks(count))
        });
        let changes = SIZES.map(|size| {
            let mut service = Service::new(scheduler, size);
            best(200, |count| service.changes(count))
        });
        let row = |of: [f64; 3]| of.map(|ns| format!("{ns:>11.1}")).concat();
        println!("{:>10}{}   {}", scheduler.name(), row(picks), row(changes));
    }
}
