mod changes;
mod counters;
mod lookup;
mod removal;
mod traffic;

use std::net::IpAddr;
use std::time::Duration;

use super::*;
use crate::engine::scheduler::Counted;
use crate::real_server::{Forwarding, Weight};
use crate::scheduler::Scheduler;
use crate::virtual_service::{Family, LocalAddresses, Persistence, Protocol};

const VIP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 9, 0, 1));
const WEB: ServiceId = ServiceId::Address { protocol: Protocol::Tcp, address: VIP, port: 80 };

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn address(text: &str) -> Address {
    ip(text).into()
}

fn mark(number: u32) -> FwMark {
    FwMark::new(number).expect("not zero")
}

fn server_id(last: u8) -> RealServerId {
    RealServerId { address: [10, 2, 0, last].into(), port: 80 }
}

/// By masquerade.
fn server(last: u8, weight: i64) -> RealServer {
    RealServer::new(server_id(last), Forwarding::Masquerade, Weight::clamped(weight))
}

fn persistent(service: VirtualService, prefix_len: u8) -> VirtualService {
    let persistence = Persistence { timeout: Duration::from_secs(300), prefix_len, engine: None };
    VirtualService { persistence: Some(persistence), ..service }
}

/// Services, and the time that passes for them.
struct Lab {
    services: Services,
    now: Instant,
}

impl Lab {
    fn new() -> Self {
        let now = Instant::now();
        Self { services: Services::new(7, now), now }
    }

    /// One service of that scheduler, with servers of weight 1 that are added in this order.
    fn with(scheduler: Scheduler, servers: &[u8]) -> Self {
        let mut lab = Self::new();
        lab.make(Change::AddService(VirtualService::new(WEB, scheduler)));
        servers.iter().for_each(|last| lab.make(Change::AddServer(WEB, server(*last, 1))));
        lab
    }

    fn apply(&mut self, change: &Change) -> Result<(), Reason> {
        self.services.apply(change, self.now)
    }

    fn make(&mut self, change: Change) {
        assert_eq!(self.apply(&change), Ok(()), "{change}");
    }

    /// The time passes, and what is due is done on time.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.services.poll_timeout() <= end {
            self.now = self.services.poll_timeout();
            self.services.handle_timeout(self.now);
        }
        self.now = end;
    }

    fn web(&self) -> ServiceIndex {
        self.services.index_of(&WEB).expect("the service")
    }

    fn place(&self, last: u8) -> ServerIndex {
        let address = Address::from(server_id(last).address);
        self.services.find_server(self.web(), address, 80, PortFirst::Own).expect("a server")
    }

    /// The last numbers of the addresses of the servers.
    fn list(&self) -> Vec<u8> {
        self.services.servers(self.web()).map(|index| self.last(index)).collect()
    }

    fn last(&self, index: ServerIndex) -> u8 {
        match self.services.settings(index).expect("a server").id.address {
            IpAddr::V4(address) => address.octets()[3],
            IpAddr::V6(address) => address.octets()[15],
        }
    }

    fn pick(&mut self) -> Option<u8> {
        let request =
            Request { source: address("10.1.0.9"), source_port: 3001, destination: Address::from(VIP) };
        let picked = self.services.pick(self.web(), &request, self.now);
        picked.map(|index| self.last(index))
    }

    fn picks(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.pick().expect("a server")).collect()
    }

    fn counters(&self, last: u8) -> Counters {
        self.services.statistics().servers[&(WEB, server_id(last))]
    }
}
