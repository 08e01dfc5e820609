//! Where connections go, all the way through the engine: shares of long connections, and who moves when a server goes.

use buoy_ipvs::engine::address::Address;
use buoy_ipvs::engine::forward::Endpoint;
use buoy_ipvs::engine::process::Settings;
use buoy_ipvs::{Change, Forwarding, Protocol, RealServer, Scheduler, VirtualService};

use crate::flow::Flow;
use crate::packets::end;
use crate::site::{Site, id, own, server};

const CLIENTS: u32 = 4000;

struct Farm {
    site: Site,
    service: VirtualService,
    servers: Vec<RealServer>,
}

impl Farm {
    fn new(scheduler: Scheduler, weights: &[i64]) -> Self {
        let mut site = Site::new(Settings::default(), 1 << 16, Default::default());
        site.host.local.extend(own());
        let service = VirtualService::new(id(Protocol::Tcp, "10.9.0.1", 80), scheduler);
        let servers: Vec<_> = (1..)
            .zip(weights)
            .map(|(host, weight)| server(&format!("10.2.1.{host}"), 80, Forwarding::Masquerade, *weight))
            .collect();
        site.service(&service, &servers);
        Self { site, service, servers }
    }

    /// A connection of each client. Those of another round come from other ports.
    fn connect(&mut self, round: u16) -> Vec<Flow> {
        let client = |number| Endpoint { address: Address::v4(0x0a40_0000 + number * 7), port: 2000 + round };
        let site = &mut self.site;
        (0..CLIENTS).map(|number| Flow::establish(site, client(number), end("10.9.0.1", 80))).collect()
    }

    /// As the engine counts them.
    fn shares(&self) -> Vec<u64> {
        let statistics = self.site.engine.statistics();
        let of = |server: &RealServer| statistics.servers[&(self.service.id, server.id)].connections;
        self.servers.iter().map(of).collect()
    }
}

#[test]
fn weights_are_shares_of_long_connections() {
    let weights = [1, 2, 3, 4];
    for scheduler in [Scheduler::Wrr, Scheduler::Wlc, Scheduler::Sed, Scheduler::Nq] {
        let mut farm = Farm::new(scheduler, &weights);
        farm.connect(0);
        for (share, weight) in farm.shares().into_iter().zip(weights) {
            let expected = u64::from(CLIENTS) / 10 * weight as u64;
            assert!(share.abs_diff(expected) <= 4, "{scheduler}: {share} of weight {weight}");
        }
    }
}

/// Those of a hash are those of chance.
#[test]
fn weights_are_shares_of_clients_too() {
    let weights = [1, 2, 3, 4];
    for scheduler in [Scheduler::Mh, Scheduler::Sh, Scheduler::Wsh, Scheduler::Twos] {
        let mut farm = Farm::new(scheduler, &weights);
        farm.connect(0);
        for (share, weight) in farm.shares().into_iter().zip(weights) {
            let expected = u64::from(CLIENTS) / 10 * weight as u64;
            assert!(share.abs_diff(expected) < u64::from(CLIENTS) / 20, "{scheduler}: {share} of {weight}");
        }
    }
}

/// Clients of other servers that move when one of ten goes, in thousandths.
#[test]
fn when_a_server_goes_new_connections_of_others_move_as_little_as_the_scheduler_promises_and_old_ones_never()
{
    for (scheduler, least, most) in [
        (Scheduler::Mh, 0, 60),
        (Scheduler::Wsh, 0, 0),
        (Scheduler::Wdh, 0, 0),
        (Scheduler::Sh, 700, 1000),
        (Scheduler::Dh, 0, 1000),
    ] {
        let mut farm = Farm::new(scheduler, &[1; 10]);
        let before = farm.connect(0);
        // Not one that has all of them, where destinations are hashed.
        let first = before[0].server.address;
        let gone = farm.servers.iter().map(|server| server.id).find(|id| Address::from(id.address) != first);
        let gone = gone.expect("ten servers");
        farm.site.apply(&Change::RemoveServer(farm.service.id, gone));
        let after = farm.connect(1);
        let others: Vec<_> = before
            .iter()
            .zip(&after)
            .filter(|(before, _)| before.server.address != gone.address.into())
            .collect();
        let moved = others.iter().filter(|(before, after)| before.server != after.server).count();
        let share = moved * 1000 / others.len();
        assert!((least..=most).contains(&share), "{scheduler}: {share} of 1000");
        assert!(after.iter().all(|flow| flow.server.address != gone.address.into()), "{scheduler}");
        assert!(others.iter().all(|(before, _)| before.carries_on(&mut farm.site)), "{scheduler}");
    }
}
