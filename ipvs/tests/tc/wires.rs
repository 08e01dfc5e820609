//! Frames in, frames out. The wires of the director are TAPs of the test: what is written to one comes in there, what is
//! read from it was sent there. A last program behind ours catches what has passed.

mod decisions;
mod forwarding;

use buoy_ipvs::engine::packet::protocol;
use buoy_ipvs::io::bpf::{Assembler, Attachment, Program, Register, Size};
use buoy_ipvs::io::flow::FlowKey;
use buoy_ipvs::io::next_hop::NextHop;
use buoy_ipvs::io::selector::{End, Ports, Selector};
use buoy_ipvs::io::tap::{Arrival, Frames, Tap};
use buoy_ipvs::io::virtio::{Header, PartialChecksum};

use crate::bench::{Director, TO_CLIENT, TO_SERVER, catcher};
use crate::packet::{Checksum, Packet, pseudo_header, read, udp};

const CLIENT: &str = "198.51.100.7:40000";
const SERVICE: &str = "192.0.2.1:80";
const SERVER: &str = "10.0.0.5:8080";
const CLIENT_6: &str = "[2001:db8:1::7]:40000";
const SERVICE_6: &str = "[2001:db8:2::1]:80";
const SERVER_6: &str = "[fd00::5]:8080";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wire {
    Client,
    Server,
    Engine,
    /// Behind our program.
    Passed,
}

struct Wires {
    director: Director,
    client: Tap,
    server: Tap,
    passed: Tap,
    _catchers: Vec<Attachment>,
    to_client: NextHop,
    to_server: NextHop,
}

#[derive(Debug)]
struct Seen {
    wire: Wire,
    header: Header,
    frame: Vec<u8>,
}

impl Wires {
    fn new() -> Self {
        Self::with_mark(None)
    }

    /// Where a program before ours gives every packet that mark.
    fn with_mark(mark: Option<i32>) -> Self {
        let mut director = Director::new();
        director.host.sysctl("net/ipv6/conf/all/disable_ipv6", "1");
        let tap = |name| director.host.run(|| Tap::create(name)).unwrap();
        let [client, server, passed] = ["client", "server", "passed"].map(tap);
        let attach = |program: &Program, tap: &Tap| {
            director.host.run(|| Attachment::new(program, tap.index())).unwrap()
        };
        let mut others = Vec::new();
        if let Some(mark) = mark {
            others.push(attach(&marker(mark), &client));
        }
        for interface in [client.index(), server.index()] {
            director.forward_from(interface);
        }
        let attach = |program: &Program, tap: &Tap| {
            director.host.run(|| Attachment::new(program, tap.index())).unwrap()
        };
        let catcher = catcher(passed.index());
        others.extend([&client, &server, &director.engine].map(|tap| attach(&catcher, tap)));
        let to_client = director.next_hop(TO_CLIENT, client.index(), [2, 1, 0, 0, 0, 7]);
        let to_server = director.next_hop(TO_SERVER, server.index(), [2, 1, 0, 0, 0, 5]);
        Self { director, client, server, passed, _catchers: others, to_client, to_server }
    }

    fn tap(&self, wire: Wire) -> &Tap {
        match wire {
            Wire::Client => &self.client,
            Wire::Server => &self.server,
            Wire::Engine => &self.director.engine,
            Wire::Passed => &self.passed,
        }
    }

    /// What comes of a frame. The kernel does all of it before the write returns.
    fn play(&self, from: Wire, header: Header, frame: &[u8]) -> Vec<Seen> {
        self.tap(from).send(&header, frame).unwrap();
        let mut frames = Frames::new(4);
        let mut seen = Vec::new();
        for wire in [Wire::Client, Wire::Server, Wire::Engine, Wire::Passed] {
            self.tap(wire).receive(&mut frames).unwrap();
            seen.extend(frames.iter().map(|frame| Seen {
                wire,
                header: frame.header(),
                frame: frame.bytes().to_vec(),
            }));
        }
        seen
    }

    fn play_one(&self, from: Wire, header: Header, frame: &[u8]) -> Seen {
        let mut seen = self.play(from, header, frame);
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen.remove(0)
    }

    #[track_caller]
    fn expect_passed(&self, what: &str, from: Wire, frame: &[u8]) {
        let seen = self.play_one(from, Header::default(), frame);
        assert_eq!((seen.wire, seen.frame.as_slice()), (Wire::Passed, frame), "{what}");
    }

    /// From the client's side.
    #[track_caller]
    fn expect_engine(&self, what: &str, frame: &[u8]) {
        self.expect_engine_with(what, frame, 0);
    }

    #[track_caller]
    fn expect_engine_with(&self, what: &str, frame: &[u8], mark: u32) {
        let seen = self.play_one(Wire::Client, Header::default(), frame);
        assert_eq!((seen.wire, &seen.frame[12..]), (Wire::Engine, &frame[12..]), "{what}");
        let arrival = Arrival { interface: self.client.index(), mark };
        assert_eq!(Arrival::of(&seen.frame), Some(arrival), "{what}");
    }

    /// The packet arrives where it goes, as `expected` and with one hop less to live.
    #[track_caller]
    fn expect_forwarded(&self, packet: &Packet, from: Wire, to: Wire, expected: &FlowKey) -> Seen {
        let header = header_of(packet);
        let seen = self.play_one(from, header, &packet.frame());
        self.check_forwarded(&seen, packet, to, expected);
        seen
    }

    #[track_caller]
    fn check_forwarded(&self, seen: &Seen, packet: &Packet, to: Wire, expected: &FlowKey) {
        let next_hop = if to == Wire::Server { self.to_server } else { self.to_client };
        let found = read(&seen.frame);
        assert_eq!((seen.wire, found.key()), (to, *expected));
        assert_eq!((found.to, found.from), (next_hop.destination, next_hop.source));
        assert_eq!(found.view.ttl, packet.ttl - 1);
        assert_eq!(found.vlan, packet.vlans.first().copied());
        assert_eq!(&seen.frame[seen.frame.len() - packet.payload.len()..], packet.payload);
        if packet.checksum == Checksum::Partial {
            let transport = &seen.frame[seen.frame.len() - (found.view.end - found.view.transport)..];
            let partial = seen.header.partial_checksum().expect("the checksum is still to be made");
            let place = partial.place - partial.start;
            let stands = u16::from_be_bytes([transport[place], transport[place + 1]]);
            assert_eq!(stands, pseudo_header(&found.view, transport.len()).folded());
            assert_eq!(partial, partial_checksum_of(packet));
        } else {
            assert!(found.sums_are_right, "{:x?}", seen.frame);
        }
    }
}

/// Gives every packet a mark.
fn marker(mark: i32) -> Program {
    let mut program = Assembler::default();
    program
        // A context takes what is in a register.
        .set(Register::R2, mark)
        .store(Size::Word, Register::R1, 8, Register::R2)
        .set(Register::R0, -1)
        .exit();
    Program::load("marker", &program.assemble(&[]).unwrap()).unwrap()
}

fn partial_checksum_of(packet: &Packet) -> PartialChecksum {
    let start = 14 + 4 * packet.vlans.len() + if packet.source.is_ipv4() { 20 } else { 40 };
    PartialChecksum { start, place: start + if packet.protocol == protocol::TCP { 16 } else { 6 } }
}

fn header_of(packet: &Packet) -> Header {
    if packet.checksum != Checksum::Partial {
        return Header::default();
    }
    let PartialChecksum { start, place } = partial_checksum_of(packet);
    Header {
        flags: Header::NEEDS_CHECKSUM,
        checksum_start: u16::try_from(start).unwrap(),
        checksum_offset: u16::try_from(place - start).unwrap(),
        ..Header::default()
    }
}

fn service(protocol: u8, ports: Ports) -> Selector {
    let address = udp(CLIENT, SERVICE).key().destination;
    Selector::Address { end: End::Destination, address, protocol, ports }
}
