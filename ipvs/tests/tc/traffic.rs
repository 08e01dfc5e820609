//! Connections of real hosts: a client and a server, each a network namespace, and a director between them that knows
//! no routes. Its engine does what little is needed: it writes down flows, and writes packets back.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use buoy_ipvs::engine::packet::protocol;
use buoy_ipvs::io::flow::FlowKey;
use buoy_ipvs::io::selector::{End, Ports, Selector};
use buoy_ipvs::io::tap::{Arrival, Frames};
use nix::poll::{PollFd, PollFlags, poll};

use crate::bench::{Director, TO_CLIENT, TO_SERVER};
use crate::host::{Host, may_run};
use crate::packet::read;

const SERVICES: [&str; 2] = ["192.0.2.1:80", "[2001:db8:2::1]:80"];
const SERVERS: [&str; 2] = ["10.2.0.5:8080", "[fd02::5]:8080"];
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(10);
const BULK: usize = 64 << 20;

struct Lan {
    director: Director,
    client: Host,
    server: Host,
}

impl Lan {
    fn new() -> Self {
        let mut lan = Self { director: Director::new(), client: Host::new(), server: Host::new() };
        let sides = [
            ("dc", "02:01:00:00:00:07", TO_CLIENT, [2, 1, 0, 0, 0, 7], "1", "7"),
            ("ds", "02:01:00:00:00:05", TO_SERVER, [2, 1, 0, 0, 0, 5], "2", "5"),
        ];
        for (name, mac, index, bytes, net, host) in sides {
            let end = if name == "dc" { &lan.client } else { &lan.server };
            lan.director.host.ip(&format!(
                "link add {name} address 02:08:00:00:00:01 type veth peer name eth0 address {mac} netns {}",
                end.path()
            ));
            lan.director.host.ip(&format!("link set {name} up"));
            end.ip("link set eth0 up");
            for address in [format!("10.{net}.0.{host}"), format!("fd0{net}::{host}")] {
                end.add_address(address.parse().unwrap(), "eth0");
            }
            for gateway in [format!("10.{net}.0.254"), format!("fd0{net}::fe")] {
                end.ip(&format!("neighbor add {gateway} lladdr 02:08:00:00:00:01 dev eth0"));
                end.ip(&format!("route add default via {gateway} dev eth0"));
            }
            end.wait_for("eth0");
            lan.director.host.wait_for(name);
            let interface = lan.director.host.index_of(name);
            lan.director.next_hop(index, interface, bytes);
            lan.director.forward_from(interface);
        }
        for service in SERVICES.map(|service| service.parse::<SocketAddr>().unwrap()) {
            for protocol in [protocol::TCP, protocol::UDP] {
                let address = service.ip().into();
                let ports = Ports::One(service.port());
                let selector = Selector::Address { end: End::Destination, address, protocol, ports };
                lan.director.maps.selectors.insert(selector).unwrap();
            }
        }
        lan
    }

    /// Does `work` while the engine runs. How many packets it has seen comes out too.
    fn with_engine<R: Send>(&self, work: impl FnOnce(&Self) -> R + Send) -> (R, usize) {
        let (done, seen) = (AtomicBool::new(false), AtomicUsize::new(0));
        thread::scope(|scope| {
            let engine = scope.spawn(|| {
                let mut frames = Frames::new(64);
                while !done.load(Ordering::Relaxed) {
                    seen.fetch_add(self.engine_turn(&mut frames), Ordering::Relaxed);
                }
            });
            let outcome = scope.spawn(|| work(self)).join();
            done.store(true, Ordering::Relaxed);
            engine.join().unwrap();
            (outcome.unwrap(), seen.load(Ordering::Relaxed))
        })
    }

    fn engine_turn(&self, frames: &mut Frames) -> usize {
        let engine = &self.director.engine;
        poll(&mut [PollFd::new(engine.as_fd(), PollFlags::POLLIN)], 20_u8).unwrap();
        engine.receive(frames).unwrap();
        let mut seen = 0;
        for frame in frames.iter().filter(|frame| Arrival::of(frame.bytes()).is_some()) {
            let request = read(frame.bytes()).key();
            // An entry that is written anew counts anew.
            let known = self.director.maps.flows.get(&request).unwrap().is_some();
            if let Some(forwarded) = scheduled(&request).filter(|_| !known) {
                self.director.masquerade(&request, &forwarded);
            }
            engine.send(&frame.header(), frame.bytes()).unwrap();
            seen += 1;
        }
        seen
    }
}

/// What becomes of packets to a service.
fn scheduled(request: &FlowKey) -> Option<FlowKey> {
    let pairs = SERVICES.into_iter().zip(SERVERS);
    let mut pairs = pairs.map(|(service, server)| -> (SocketAddr, SocketAddr) {
        (service.parse().unwrap(), server.parse().unwrap())
    });
    let (_, server) = pairs.find(|(service, _)| IpAddr::from(request.destination) == service.ip())?;
    Some(FlowKey { destination: server.ip().into(), destination_port: server.port(), ..*request })
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn unspecified(like: SocketAddr) -> SocketAddr {
    address(if like.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })
}

#[test]
fn datagrams_are_answered_through_the_director() {
    if !may_run() {
        return;
    }
    let lan = Lan::new();
    for (service, server) in SERVICES.map(address).into_iter().zip(SERVERS.map(address)) {
        let at_server = lan.server.run(|| UdpSocket::bind(server)).unwrap();
        let at_client = lan.client.run(|| UdpSocket::bind(unspecified(service))).unwrap();
        for socket in [&at_server, &at_client] {
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
        }
        at_client.connect(service).unwrap();
        let ((), seen) = lan.with_engine(|_| {
            let mut buffer = [0; 2048];
            for number in 0..200_u32 {
                let request = [number.to_be_bytes().as_slice(), &[7; 1000]].concat();
                at_client.send(&request).unwrap();
                let (length, from) = at_server.recv_from(&mut buffer).unwrap();
                assert_eq!(buffer[..length], request);
                at_server.send_to(&buffer[..length], from).unwrap();
                // A connected socket gets what comes from the service alone.
                let length = at_client.recv(&mut buffer).unwrap();
                assert_eq!(buffer[..length], request);
            }
        });
        assert_eq!(seen, 1, "{service}");
    }
}

#[test]
fn streams_pass_merged_and_their_states_are_seen() {
    if !may_run() {
        return;
    }
    let lan = Lan::new();
    for (service, server) in SERVICES.map(address).into_iter().zip(SERVERS.map(address)) {
        let listener = lan.server.run(|| TcpListener::bind(server)).unwrap();
        let sent: Vec<u8> = (0..BULK).map(|i| u8::try_from(i % 251).unwrap()).collect();
        let (client, seen) = lan.with_engine(|lan| {
            thread::scope(|scope| {
                let echo = scope.spawn(|| {
                    let mut stream = listener.accept().unwrap().0;
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    let mut received = Vec::new();
                    stream.read_to_end(&mut received).unwrap();
                    stream.write_all(&received).unwrap();
                });
                let mut stream = lan.client.run(|| TcpStream::connect_timeout(&service, PATIENCE)).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                let client = stream.local_addr().unwrap();
                stream.write_all(&sent).unwrap();
                stream.shutdown(std::net::Shutdown::Write).unwrap();
                let mut received = Vec::new();
                stream.read_to_end(&mut received).unwrap();
                assert!(received == sent, "the payload came back changed");
                echo.join().unwrap();
                client
            })
        });
        // Two with SYN, two with FIN; a few may be sent twice.
        assert!((4..=20).contains(&seen), "{service}: the engine saw {seen} packets");
        let request = FlowKey {
            source: client.ip().into(),
            destination: service.ip().into(),
            source_port: client.port(),
            destination_port: service.port(),
            protocol: protocol::TCP,
        };
        let answer = scheduled(&request).unwrap().reversed();
        for key in [request, answer] {
            let counted = lan.director.maps.flows.get(&key).unwrap().unwrap().counted;
            assert!(counted.bytes > BULK as u64, "{counted:?}");
            // Far more in each than a packet on a wire has.
            assert!(counted.bytes / counted.packets > 4000, "{service}: {counted:?}");
        }
    }
}

#[test]
fn what_is_for_the_director_itself_is_answered_by_it() {
    if !may_run() {
        return;
    }
    let lan = Lan::new();
    for own in ["10.1.0.254:7", "[fd01::fe]:7"].map(address) {
        lan.director.host.add_address(own.ip(), "dc");
        let echo = lan.director.host.run(|| UdpSocket::bind(own)).unwrap();
        let client = lan.client.run(|| UdpSocket::bind(unspecified(own))).unwrap();
        for socket in [&echo, &client] {
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
        }
        client.send_to(b"hello", own).unwrap();
        let mut buffer = [0; 16];
        let (length, from) = echo.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"hello");
        echo.send_to(b"welcome", from).unwrap();
        let (length, from) = client.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from), (b"welcome".as_slice(), own));
    }
}
