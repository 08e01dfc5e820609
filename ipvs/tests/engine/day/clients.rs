//! Clients, one connection after the other.

use std::time::Duration;

use buoy_ipvs::engine::address::Address;
use buoy_ipvs::engine::connections::ConnectionIndex;
use buoy_ipvs::engine::forward::Endpoint;
use buoy_ipvs::engine::packet::protocol;
use buoy_ipvs::engine::process::{Discard, Verdict};
use buoy_ipvs::sync::Method;
use buoy_ipvs::{Family, FwMark};

use super::World;
use super::books::Side;
use super::operators::{ADDRESSED, is_of};
use crate::packets::{ACK, Build, FIN, RST, SYN, is_intact};
use crate::site::{Fate, Out};

pub(super) struct Client {
    number: u16,
    port: u16,
    flow: Option<Flow>,
}

/// What a client knows of its connection.
struct Flow {
    number: usize,
    client: Endpoint,
    at: Step,
    /// Where its last packet went.
    server: Address,
    answers: Option<(Endpoint, Endpoint)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Opened,
    Talking { left: u8 },
    Closing,
}

impl Client {
    pub(super) const fn new(number: u16) -> Self {
        Self { number, port: 1024, flow: None }
    }

    /// Sends what comes next, and says how long it takes until the packet after that.
    pub(super) fn act(&mut self, world: &mut World) -> Duration {
        let Some(mut flow) = self.flow.take() else { return self.begin(world) };
        let (protocol, ..) = ADDRESSED[flow.number];
        let stays = match (protocol, flow.at) {
            (protocol::UDP, Step::Opened | Step::Talking { .. }) => flow.talk(world, 0, 0),
            (_, Step::Opened) => flow.talk(world, ACK, ACK),
            (_, Step::Talking { left: 1.. }) => flow.talk(world, ACK, ACK),
            (_, Step::Talking { left: 0 }) => flow.close(world),
            (_, Step::Closing) => {
                flow.ask(world, ACK);
                false
            }
        };
        if !stays {
            return pause(world);
        }
        flow.at = match flow.at {
            Step::Opened => Step::Talking { left: world.random.u8(..10) },
            Step::Talking { left: 1.. } if protocol == protocol::UDP && world.random.u8(..4) == 0 => {
                return pause(world);
            }
            Step::Talking { left } => match left.checked_sub(1) {
                Some(left) => Step::Talking { left },
                None => Step::Closing,
            },
            Step::Closing => Step::Closing,
        };
        let is_closing = flow.at == Step::Closing;
        self.flow = Some(flow);
        // Sometimes it thinks for long, but never as long as a connection lasts.
        Duration::from_millis(match world.random.u8(..20) {
            0 if !is_closing => world.random.u64(10_000..250_000),
            _ => world.random.u64(5..8_000),
        })
    }

    fn begin(&mut self, world: &mut World) -> Duration {
        let number = world.random.usize(..ADDRESSED.len());
        let (_, _, service) = ADDRESSED[number];
        // Ports come again, and so meet connections that have not ended yet.
        self.port = if self.port >= 1025 { 1024 } else { self.port + 1 };
        let address = match service.address.family() {
            Family::V4 => Address::v4(0x0a64_0000 + u32::from(self.number)),
            Family::V6 => Address::v6(0x2001_0db8_0001 << 80 | u128::from(self.number)),
        };
        let client = Endpoint { address, port: self.port };
        let unknown = Address::UNSPECIFIED;
        let mut flow = Flow { number, client, at: Step::Opened, server: unknown, answers: None };
        let out = flow.send(world, SYN);
        match out.fate {
            Fate::Of(Verdict::Forward { connection, .. }) => {
                flow.learn(world, &out, connection);
            }
            // Nobody takes it, or the service is not there.
            Fate::Of(Verdict::Answer { why: Discard::NoServer, .. } | Verdict::Pass) => {
                world.books.refused += 1;
                return pause(world);
            }
            other => panic!("{other:?}"),
        }
        flow.answer(world, SYN | ACK);
        self.flow = Some(flow);
        Duration::from_millis(world.random.u64(1..200))
    }
}

fn pause(world: &mut World) -> Duration {
    let longest = if world.random.bool() { 20_000 } else { 2_400_000 };
    Duration::from_millis(world.random.u64(100..longest))
}

impl Flow {
    fn service(&self) -> (u8, Option<FwMark>, Endpoint) {
        ADDRESSED[self.number]
    }

    fn send(&self, world: &mut World, flags: u8) -> Out {
        let (protocol, mark, service) = self.service();
        let build = Build { flags, ..Build::new(protocol, self.client, service) };
        let bytes = build.with(b"request").bytes();
        let made = connections_made(world);
        let out = world.site.send_bytes(&bytes, mark);
        if let Some(server) = out.to() {
            assert!(is_of(server, self.number), "{server} is of another service");
            world.books.packet(server, Side::Client, bytes.len());
            if connections_made(world) != made {
                world.books.connection(server);
            }
        }
        world.relay();
        out
    }

    /// How its server has it, from its first packet.
    fn learn(&mut self, world: &mut World, out: &Out, connection: Option<ConnectionIndex>) {
        let Some(to) = out.to() else { return };
        self.server = to;
        let entry = connection.and_then(|connection| world.site.engine.connection(connection));
        let masqueraded = entry.is_none_or(|entry| entry.method() == Method::Masquerade);
        let is_new = entry.is_some_and(|entry| !entry.is_offloaded());
        self.answers = out.view().ports.filter(|_| masqueraded).map(|ports| {
            let server = Endpoint { address: to, port: ports.destination };
            (server, Endpoint { address: out.view().source, port: ports.source })
        });
        assert!(!masqueraded || is_intact(&out.bytes));
        if let Some(connection) = connection.filter(|_| world.random.u8(..8) == 0) {
            world.site.engine.set_offloaded(connection, true);
            world.books.offloaded += u64::from(is_new);
        }
    }

    /// A packet of a connection that there is: it goes to its server as long as that is there. Says whether it went on.
    fn ask(&mut self, world: &mut World, flags: u8) -> bool {
        let (.., service) = self.service();
        let one_packet = service.port == 514;
        let present = world.books.is_present(self.server);
        let out = self.send(world, flags);
        match out.to() {
            Some(to) if one_packet || to == self.server => {
                world.books.kept += 1;
                if one_packet && let Fate::Of(Verdict::Forward { connection, .. }) = out.fate {
                    self.learn(world, &out, connection);
                }
                true
            }
            other => {
                assert!(
                    one_packet || !present,
                    "{} went to {other:?} instead of {}",
                    self.client.address,
                    self.server
                );
                world.books.moved += 1;
                false
            }
        }
    }

    /// What the server says, where that passes here.
    fn answer(&self, world: &mut World, flags: u8) {
        let Some((server, client)) = self.answers else { return };
        let (protocol, _, service) = self.service();
        let build = Build { flags, ..Build::new(protocol, server, client) };
        let bytes = build.with(b"answer!").bytes();
        let out = world.site.send_bytes(&bytes, None);
        match out.fate {
            Fate::Of(Verdict::Forward { to, .. }) => {
                world.books.packet(server.address, Side::Server, bytes.len());
                let ports = out.view().ports.expect("ports");
                assert_eq!((to, ports.destination), (self.client.address, self.client.port));
                assert_eq!((out.view().source, ports.source), (service.address, service.port));
                assert!(is_intact(&out.bytes));
            }
            Fate::Of(Verdict::Pass) => {
                // Nothing is kept of datagrams that are scheduled one by one.
                assert!(service.port == 514 || !world.books.is_present(server.address), "{server:?}");
                world.books.unknown_answers += 1;
            }
            other => panic!("{other:?}"),
        }
    }

    fn talk(&mut self, world: &mut World, flags: u8, answer: u8) -> bool {
        let goes_on = self.ask(world, flags);
        if goes_on {
            self.answer(world, answer);
        }
        goes_on
    }

    /// One of the ways in which connections end. Says whether a packet is left to send.
    fn close(&mut self, world: &mut World) -> bool {
        match world.random.u8(..10) {
            0..5 => self.talk(world, FIN | ACK, FIN | ACK),
            5 => {
                self.answer(world, FIN | ACK);
                self.ask(world, FIN | ACK)
            }
            6 => {
                self.ask(world, RST | ACK);
                false
            }
            7 => {
                self.answer(world, RST | ACK);
                false
            }
            // The client's FIN is lost, or the server's is, and nobody sends another.
            8 => {
                self.answer(world, FIN | ACK);
                false
            }
            _ => false,
        }
    }
}

/// By the engine's own totals: what a packet adds to them is checked against nothing else.
fn connections_made(world: &World) -> u64 {
    world.site.engine.totals().connections
}
