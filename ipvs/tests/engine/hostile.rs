//! What attackers send: memory is bounded, established connections carry on, and every packet has a reason for what
//! became of it.

mod floods;
mod fragments;

use std::time::Duration;

use buoy_ipvs::engine::address::Address;
use buoy_ipvs::engine::forward::Endpoint;
use buoy_ipvs::engine::process::{Discard, Settings};
use buoy_ipvs::engine::reassembly::Limits;
use buoy_ipvs::{Forwarding, LocalAddresses, Protocol, Scheduler, Tunnel, VirtualService};

use crate::flow::Flow;
use crate::packets::{ACK, Build, RST, SYN, end};
use crate::site::{Site, id, ip, own, server};

const CONNECTIONS: u32 = 4096;
const FRAGMENTS: Limits = Limits { bytes: 256 << 10, datagrams: 256, fragments: 64 };
/// Packets of a flood.
const FLOOD: u32 = 200_000;
/// Between two looks at the flows.
const BURST: u32 = 2_000;
/// How long a burst takes: a hundred thousand packets in a second.
const BURST_TIME: Duration = Duration::from_millis(20);

/// A director under attack, with flows of honest clients.
struct Target {
    site: Site,
    flows: Vec<Flow>,
    random: fastrand::Rng,
}

impl Target {
    fn new() -> Self {
        Self::with(Settings::default())
    }

    fn with(settings: Settings) -> Self {
        let mut site = Site::new(settings, CONNECTIONS, FRAGMENTS);
        site.host.local.extend(own());
        add_services(&mut site);
        let mut target = Self { site, flows: Vec::new(), random: fastrand::Rng::with_seed(3) };
        for number in 0..40_u16 {
            let client = end("10.1.0.9", 3000 + number);
            for service in ["10.9.0.1", "10.9.0.2", "10.9.0.3", "10.9.0.4"] {
                let flow = Flow::establish(&mut target.site, client, end(service, 80));
                target.flows.push(flow);
            }
            let (client, service) = (end("2001:db8:1::9", 3000 + number), end("2001:db8:9::1", 80));
            target.flows.push(Flow::establish(&mut target.site, client, service));
        }
        target.carry_on();
        target
    }

    fn carry_on(&mut self) {
        for flow in &self.flows {
            assert!(flow.carries_on(&mut self.site), "{flow:?}");
        }
    }

    /// So many packets, while the flows go on and nothing grows.
    fn flood(&mut self, packets: u32, mut packet: impl FnMut(&mut fastrand::Rng) -> Vec<u8>) {
        for number in 0..packets {
            let bytes = packet(&mut self.random);
            self.site.send_bytes(&bytes, None);
            if number % BURST == 0 {
                self.site.pass(BURST_TIME);
                self.carry_on();
                assert!(self.site.engine.connections() <= CONNECTIONS as usize);
                assert!(self.site.reassembly.bytes() <= FRAGMENTS.bytes);
                assert!(self.site.reassembly.len() <= FRAGMENTS.datagrams);
            }
        }
        self.carry_on();
        self.site.check_counts();
        self.site.engine.check(self.site.now).expect("a sound engine");
    }

    /// Packets of the flood that this has become of.
    fn fate(&self, name: &str) -> u64 {
        self.site.tally.of(name)
    }
}

fn add_services(site: &mut Site) {
    let local_addresses: LocalAddresses = [ip("10.2.0.1")].into_iter().collect();
    let tcp = |address| VirtualService::new(id(Protocol::Tcp, address, 80), Scheduler::Wlc);
    let fnat = VirtualService { local_addresses, ..tcp("10.9.0.2") };
    let masquerade = |address, port| server(address, port, Forwarding::Masquerade, 1);
    site.service(&tcp("10.9.0.1"), &[masquerade("10.2.0.11", 8080), masquerade("10.2.0.12", 8080)]);
    site.service(&fnat, &[server("10.2.0.21", 8080, Forwarding::FullNat, 1)]);
    site.service(&tcp("10.9.0.3"), &[server("10.2.0.31", 0, Forwarding::Tunnel(Tunnel::Ipip), 1)]);
    site.service(&tcp("10.9.0.4"), &[server("10.2.0.41", 80, Forwarding::Direct, 1)]);
    site.service(&tcp("10.9.0.5"), &[]);
    site.service(&tcp("2001:db8:9::1"), &[masquerade("2001:db8:2::11", 8080)]);
    let dns = VirtualService::new(id(Protocol::Udp, "10.9.0.1", 53), Scheduler::Rr);
    site.service(&dns, &[masquerade("10.2.0.13", 53)]);
    let sctp = VirtualService::new(id(Protocol::Sctp, "10.9.0.1", 90), Scheduler::Rr);
    site.service(&sctp, &[masquerade("10.2.0.14", 90)]);
}

fn anyone(random: &mut fastrand::Rng) -> Endpoint {
    let network = [0x0b00_0000, 0x5000_0000, 0xc000_0000][random.usize(..3)];
    // Port 20 is for data of active FTP, which begins nothing.
    Endpoint { address: Address::v4(network + random.u32(..1 << 24)), port: random.u16(21..) }
}

fn any_service(random: &mut fastrand::Rng) -> Endpoint {
    let services = ["10.9.0.1", "10.9.0.2", "10.9.0.3", "10.9.0.4"];
    end(services[random.usize(..services.len())], 80)
}
