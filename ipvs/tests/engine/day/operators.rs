//! People who change services and servers all day long.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use buoy_ipvs::engine::address::Address;
use buoy_ipvs::engine::forward::Endpoint;
use buoy_ipvs::engine::packet::protocol;
use buoy_ipvs::engine::services::Claim;
use buoy_ipvs::{
    Change, Family, Forwarding, FwMark, Persistence, Protocol, RealServer, Scheduler, ServiceId, Tunnel,
    VirtualService, Weight,
};

use super::World;
use crate::packets::end;
use crate::site::{Site, id, ip, own, server};

pub(super) const PERSISTENCE: Duration = Duration::from_secs(360);
/// What marks packets, and where they go.
pub(super) const MARK: u32 = 7;

/// A service with all the servers that it ever has.
struct Kept {
    service: VirtualService,
    servers: Vec<RealServer>,
    /// Which of them are there now; `None` while the service is not.
    there: Option<Vec<bool>>,
}

pub(super) struct Operators(Vec<Kept>);

/// What clients address: protocol, mark, endpoint.
pub(super) static ADDRESSED: LazyLock<[(u8, Option<FwMark>, Endpoint); 7]> = LazyLock::new(|| {
    let tcp = |address| (protocol::TCP, None, end(address, 80));
    [
        tcp("10.9.0.1"),
        tcp("10.9.0.2"),
        tcp("10.9.0.3"),
        tcp("2001:db8:9::1"),
        (protocol::UDP, None, end("10.9.0.1", 53)),
        (protocol::UDP, None, end("10.9.0.4", 514)),
        (protocol::TCP, FwMark::new(MARK), end("10.9.0.7", 8443)),
    ]
});

/// Which of them each server is for, by its address.
static SERVERS: LazyLock<BTreeMap<Address, usize>> = LazyLock::new(|| {
    let of = |(number, kept): (usize, Kept)| kept.servers.into_iter().map(move |server| (server, number));
    services()
        .into_iter()
        .enumerate()
        .flat_map(of)
        .map(|(server, number)| (server.id.address.into(), number))
        .collect()
});

fn services() -> Vec<Kept> {
    let persistent = |prefix_len| Some(Persistence { timeout: PERSISTENCE, prefix_len, engine: None });
    let new = |id, scheduler| VirtualService::new(id, scheduler);
    let local_addresses = [ip("10.2.0.1"), ip("10.2.0.2")].into_iter().collect();
    let mark = FwMark::new(MARK).expect("not zero");
    let four = |network: &str, port, forwarding| {
        (1..=4).map(|host| server(&format!("{network}{host}"), port, forwarding, host)).collect::<Vec<_>>()
    };
    let masquerade = Forwarding::Masquerade;
    let mut web = four("10.2.1.", 8080, masquerade);
    web[3] = RealServer { upper_threshold: 60, lower_threshold: 40, ..web[3] };
    [
        (new(id(Protocol::Tcp, "10.9.0.1", 80), Scheduler::Wlc), web),
        (
            VirtualService {
                persistence: persistent(24),
                local_addresses,
                ..new(id(Protocol::Tcp, "10.9.0.2", 80), Scheduler::Wrr)
            },
            four("10.2.2.", 8080, Forwarding::FullNat),
        ),
        (
            new(id(Protocol::Tcp, "10.9.0.3", 80), Scheduler::Mh),
            four("10.2.3.", 0, Forwarding::Tunnel(Tunnel::Ipip)),
        ),
        (
            new(id(Protocol::Tcp, "2001:db8:9::1", 80), Scheduler::Wsh),
            four("2001:db8:22::", 8080, masquerade),
        ),
        (new(id(Protocol::Udp, "10.9.0.1", 53), Scheduler::Rr), four("10.2.5.", 53, masquerade)),
        (
            VirtualService { one_packet: true, ..new(id(Protocol::Udp, "10.9.0.4", 514), Scheduler::Wrr) },
            four("10.2.6.", 514, masquerade),
        ),
        (
            VirtualService {
                persistence: persistent(32),
                ..new(ServiceId::FwMark { family: Family::V4, mark }, Scheduler::Lc)
            },
            four("10.2.7.", 0, masquerade),
        ),
    ]
    .map(|(service, servers)| Kept { service, servers, there: None })
    .into()
}

impl Operators {
    pub(super) fn start(world: &mut World) -> Self {
        world.site.host.local.extend(own());
        world.site.host.local.extend(ADDRESSED.map(|(_, _, end)| end.address));
        let mut operators = Self(services());
        for number in 0..operators.0.len() {
            operators.add_service(number, world);
        }
        operators
    }

    /// Does something, and says how long it takes until the next thing.
    pub(super) fn act(&mut self, world: &mut World) -> Duration {
        let number = world.random.usize(..self.0.len());
        let place = world.random.usize(..4);
        let Kept { service, servers, there } = &mut self.0[number];
        let Some(there) = there else {
            self.add_service(number, world);
            return Duration::from_secs(10);
        };
        let is_there = there[place];
        match world.random.u8(..20) {
            0 => self.remove_service(number, world),
            1..6 if is_there => {
                there[place] = false;
                let (service, server) = (service.id, servers[place].id);
                world.books.server_removed(&world.site.engine, service, server);
                apply(world, &Change::RemoveServer(service, server));
            }
            6 | 7 => {
                let scheduler = Scheduler::ALL[world.random.usize(..Scheduler::ALL.len())];
                let edited = VirtualService { scheduler: Some(scheduler), ..service.clone() };
                apply(world, &Change::EditService(edited));
            }
            _ if !is_there => {
                there[place] = true;
                let (service, server) = (service.id, servers[place]);
                apply(world, &Change::AddServer(service, server));
                world.books.server_added(&world.site.engine, service, server.id);
            }
            // A drain, the end of one, or another share.
            _ => {
                let weight = Weight::clamped([0, 0, 1, 4][world.random.usize(..4)]);
                let upper_threshold = [0, 0, 50][world.random.usize(..3)];
                let lower_threshold = upper_threshold / 2;
                let edited = RealServer { weight, upper_threshold, lower_threshold, ..servers[place] };
                apply(world, &Change::EditServer(service.id, edited));
            }
        }
        Duration::from_secs(world.random.u64(5..90))
    }

    fn add_service(&mut self, number: usize, world: &mut World) {
        let Kept { service, servers, there } = &mut self.0[number];
        apply(world, &Change::AddService(service.clone()));
        world.books.service_added(service.id);
        for server in servers.iter() {
            apply(world, &Change::AddServer(service.id, *server));
            world.books.server_added(&world.site.engine, service.id, server.id);
        }
        *there = Some(vec![true; servers.len()]);
    }

    fn remove_service(&mut self, number: usize, world: &mut World) {
        let Kept { service, there, .. } = &mut self.0[number];
        *there = None;
        world.books.service_removed(&service.id);
        apply(world, &Change::RemoveService(service.id));
    }

    /// What the engine has to see if nothing is left but what there is.
    pub(super) fn claims(&self, site: &Site) -> Vec<Claim> {
        let mut anew = Site::new(*site.engine.settings(), 1, Default::default());
        for Kept { service, servers, there } in &self.0 {
            let Some(there) = there else { continue };
            let servers: Vec<_> =
                servers.iter().zip(there).filter(|(_, there)| **there).map(|(server, _)| *server).collect();
            anew.service(service, &servers);
        }
        anew.engine.claims()
    }
}

fn apply(world: &mut World, change: &Change) {
    world.site.apply(change);
    world.backup.apply(change, world.site.now).expect("as on the master");
}

/// Whose server it is does not change.
pub(super) fn is_of(server: Address, number: usize) -> bool {
    SERVERS.get(&server) == Some(&number)
}
