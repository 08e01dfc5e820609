//! Connections of real hosts: a client and a server, each a network namespace, and a director between them that knows
//! no routes. Its engine masquerades each packet.

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use buoy_ipvs::Family;
use buoy_ipvs::engine::checksum::{Change, Sum};
use buoy_ipvs::engine::packet::{View, protocol};
use buoy_ipvs::io::next_hop::NextHop;
use buoy_ipvs::io::portable::{Sender, Steering};
use buoy_ipvs::io::selector::{End, Ports, Selector};
use buoy_ipvs::io::tap::{Arrival, Departure, Frame, Frames, Tap};
use nix::poll::{PollFd, PollFlags, poll};

use crate::host::{Host, may_run};

const SERVICES: [&str; 2] = ["192.0.2.1:80", "[2001:db8:2::1]:80"];
const SERVERS: [&str; 2] = ["10.2.0.5:8080", "[fd02::5]:8080"];
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(10);
const BULK: usize = 16 << 20;
const ETHERNET: usize = 14;

struct Lan {
    host: Host,
    engine: Tap,
    steering: Steering,
    sender: Sender,
    to_client: NextHop,
    to_server: NextHop,
    client: Host,
    server: Host,
}

/// What the engine has seen.
#[derive(Default)]
struct Counters {
    packets: AtomicUsize,
    bytes: AtomicUsize,
}

impl Lan {
    fn new() -> Self {
        let [host, client, server] = [(); 3].map(|()| Host::new());
        let engine = host.run(|| Tap::create("engine%d")).unwrap();
        let mut steering = host.run(|| Steering::create(&engine)).unwrap();
        let sender = host.run(Sender::open).unwrap();
        let [to_client, to_server] =
            [("dc", &client, "1", 7), ("ds", &server, "2", 5)].map(|(name, end, net, number)| {
                host.ip(&format!(
                    "link add {name} address 02:08:00:00:00:01 type veth \
                     peer name eth0 address 02:01:00:00:00:0{number} netns {}",
                    end.path()
                ));
                host.ip(&format!("link set {name} up"));
                end.ip("link set eth0 up");
                for address in [format!("10.{net}.0.{number}"), format!("fd0{net}::{number}")] {
                    end.add_address(address.parse().unwrap(), "eth0");
                }
                for gateway in [format!("10.{net}.0.254"), format!("fd0{net}::fe")] {
                    end.ip(&format!("neighbor add {gateway} lladdr 02:08:00:00:00:01 dev eth0"));
                    end.ip(&format!("route add default via {gateway} dev eth0"));
                }
                end.wait_for("eth0");
                host.wait_for(name);
                let interface = host.index_of(name);
                host.run(|| steering.attach(interface)).unwrap();
                let (destination, source) = ([2, 1, 0, 0, 0, number], [2, 8, 0, 0, 0, 1]);
                NextHop { interface, destination, source, mtu: 1500 }
            });
        let mut selectors = Vec::new();
        for (service, server) in SERVICES.into_iter().zip(SERVERS) {
            for (end, socket) in [(End::Destination, address(service)), (End::Source, address(server))] {
                selectors.extend([protocol::TCP, protocol::UDP].map(|protocol| {
                    let ports = Ports::One(socket.port());
                    Selector::Address { end, address: socket.ip().into(), protocol, ports }
                }));
            }
        }
        steering.change(&selectors, &[]).unwrap();
        Self { host, engine, steering, sender, to_client, to_server, client, server }
    }

    /// Does `work` while the engine runs.
    fn with_engine<R: Send>(&self, work: impl FnOnce() -> R + Send) -> (R, Counters) {
        let (done, counters) = (AtomicBool::new(false), Counters::default());
        let outcome = thread::scope(|scope| {
            let engine = scope.spawn(|| {
                let mut frames = Frames::new(64);
                while !done.load(Ordering::Relaxed) {
                    self.engine_turn(&mut frames, &counters);
                }
            });
            let outcome = scope.spawn(work).join();
            done.store(true, Ordering::Relaxed);
            engine.join().unwrap();
            outcome
        });
        (outcome.unwrap(), counters)
    }

    fn engine_turn(&self, frames: &mut Frames, counters: &Counters) {
        poll(&mut [PollFd::new(self.engine.as_fd(), PollFlags::POLLIN)], 20_u8).unwrap();
        self.engine.receive(frames).unwrap();
        for frame in frames.iter_mut() {
            let Some(arrival) = Arrival::of(frame.bytes()) else { continue };
            let from_client = arrival.interface == self.to_client.interface;
            assert!(from_client || arrival.interface == self.to_server.interface, "{arrival:?}");
            counters.packets.fetch_add(1, Ordering::Relaxed);
            counters.bytes.fetch_add(frame.bytes().len(), Ordering::Relaxed);
            let next_hop = if from_client { &self.to_server } else { &self.to_client };
            masquerade(frame, from_client);
            // What does not fit is lost, and sent again.
            let _sent = self.sender.send(next_hop, &frame.header(), frame.bytes()).unwrap();
        }
    }
}

/// Puts the server in place of the service, or the other way round.
fn masquerade(frame: &mut Frame, request: bool) {
    let half_made = frame.header().partial_checksum().is_some();
    let packet = &mut frame.bytes_mut()[ETHERNET..];
    let view = View::read(packet).unwrap();
    let v4 = view.family == Family::V4;
    let pair = [SERVICES, SERVERS].map(|sockets| address(sockets[usize::from(!v4)]));
    let [old, new] = if request { pair } else { [pair[1], pair[0]] };
    let (end, length) = if v4 { (20, 4) } else { (40, 16) };
    let place = if request { end - length } else { end - 2 * length };
    match new.ip() {
        IpAddr::V4(ip) => packet[place..place + 4].copy_from_slice(&ip.octets()),
        IpAddr::V6(ip) => packet[place..place + 16].copy_from_slice(&ip.octets()),
    }
    let addresses = [old, new].map(|socket| Sum::of_address(socket.ip().into()));
    if v4 {
        edit(packet, 10, |sum| Change::of(addresses[0], addresses[1]).apply(sum));
    }
    let port = view.transport + if request { 2 } else { 0 };
    packet[port..port + 2].copy_from_slice(&new.port().to_be_bytes());
    let ports = [old, new].map(|socket| Sum::of_word(socket.port()));
    let place = view.transport + if view.protocol == protocol::TCP { 16 } else { 6 };
    edit(packet, place, |sum| {
        if half_made {
            // Of the pseudo-header alone, in which no ports are.
            Sum::of_word(sum).minus(addresses[0]).plus(addresses[1]).folded()
        } else {
            Change::of(addresses[0], addresses[1]).and(Change::of(ports[0], ports[1])).apply(sum)
        }
    });
}

fn edit(packet: &mut [u8], place: usize, change: impl FnOnce(u16) -> u16) {
    let word = u16::from_be_bytes([packet[place], packet[place + 1]]);
    packet[place..place + 2].copy_from_slice(&change(word).to_be_bytes());
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn unspecified(like: SocketAddr) -> SocketAddr {
    address(if like.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })
}

fn bind(host: &Host, to: SocketAddr) -> UdpSocket {
    let socket = host.run(|| UdpSocket::bind(to)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Asks `count` times, and expects each answer before the next question.
fn converse(asking: &UdpSocket, answering: &UdpSocket, to: SocketAddr, count: u32) {
    let mut buffer = [0; 2048];
    asking.connect(to).unwrap();
    for number in 0..count {
        let request = [number.to_be_bytes().as_slice(), &[7; 1000]].concat();
        asking.send(&request).unwrap();
        let (length, from) = answering.recv_from(&mut buffer).unwrap();
        assert_eq!(buffer[..length], request);
        answering.send_to(&buffer[..length], from).unwrap();
        // A connected socket gets what comes from there alone.
        let length = asking.recv(&mut buffer).unwrap();
        assert_eq!(buffer[..length], request);
    }
}

#[test]
fn datagrams_are_answered_through_the_director() {
    if !may_run() {
        return;
    }
    let lan = Lan::new();
    for (service, server) in SERVICES.map(address).into_iter().zip(SERVERS.map(address)) {
        let at_server = bind(&lan.server, server);
        let at_client = bind(&lan.client, unspecified(service));
        let ((), counters) = lan.with_engine(|| converse(&at_client, &at_server, service, 200));
        assert_eq!(counters.packets.into_inner(), 400, "{service}");
    }
}

#[test]
fn streams_pass_merged() {
    if !may_run() {
        return;
    }
    let lan = Lan::new();
    for (service, server) in SERVICES.map(address).into_iter().zip(SERVERS.map(address)) {
        let listener = lan.server.run(|| TcpListener::bind(server)).unwrap();
        let sent: Vec<u8> = (0..BULK).map(|i| u8::try_from(i % 251).unwrap()).collect();
        let ((), counters) = lan.with_engine(|| {
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
                stream.write_all(&sent).unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
                let mut received = Vec::new();
                stream.read_to_end(&mut received).unwrap();
                assert!(received == sent, "the payload came back changed");
                echo.join().unwrap();
            });
        });
        let (packets, bytes) = (counters.packets.into_inner(), counters.bytes.into_inner());
        assert!(bytes > 2 * BULK, "{service}: the engine saw {bytes} bytes");
        // Acknowledgements included: far more in each than a packet on a wire has.
        assert!(bytes / packets > 4000, "{service}: {bytes} bytes in {packets} packets");
    }
}

#[test]
fn what_is_written_for_the_host_is_answered_by_it() {
    if !may_run() {
        return;
    }
    let lan = Lan::new();
    for service in SERVICES.map(address) {
        lan.host.add_address(service.ip(), "dc");
        let echo = bind(&lan.host, service);
        let client = bind(&lan.client, unspecified(service));
        client.send_to(b"hello", service).unwrap();
        let mut frames = Frames::new(8);
        let mut taken = 0;
        while taken == 0 {
            poll(&mut [PollFd::new(lan.engine.as_fd(), PollFlags::POLLIN)], 10_000_u16).unwrap();
            lan.engine.receive(&mut frames).unwrap();
            for frame in frames.iter_mut().filter(|frame| Arrival::of(frame.bytes()).is_some()) {
                Departure::Host.put(frame.bytes_mut());
                lan.engine.send(&frame.header(), frame.bytes()).unwrap();
                taken += 1;
            }
        }
        let mut buffer = [0; 16];
        let length = echo.recv_from(&mut buffer).unwrap().0;
        assert_eq!((&buffer[..length], taken), (b"hello".as_slice(), 1));
    }
}

#[test]
fn nothing_else_is_lost_while_selectors_change() {
    if !may_run() {
        return;
    }
    let mut lan = Lan::new();
    let own = address("10.1.0.254:7");
    lan.host.add_address(own.ip(), "dc");
    let (echo, client) = (bind(&lan.host, own), bind(&lan.client, unspecified(own)));
    let others: Vec<Selector> = (1000..1050)
        .map(|port| Selector::Address {
            end: End::Destination,
            address: own.ip().into(),
            protocol: protocol::UDP,
            ports: Ports::One(port),
        })
        .collect();
    let (done, changes) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let steering = &mut lan.steering;
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                steering.change(&others, &[]).unwrap();
                steering.change(&[], &others).unwrap();
                changes.fetch_add(2, Ordering::Relaxed);
            }
        });
        // A datagram that is lost is not sent again.
        let outcome = scope.spawn(|| converse(&client, &echo, own, 2000)).join();
        done.store(true, Ordering::Relaxed);
        outcome.unwrap();
    });
    assert!(changes.into_inner() >= 10, "hardly anything changed meanwhile");
    let listener = lan.host.run(|| TcpListener::bind(own)).unwrap();
    let mut stream = lan.client.run(|| TcpStream::connect_timeout(&own, PATIENCE)).unwrap();
    stream.write_all(b"hello").unwrap();
    drop(stream);
    let mut heard = String::new();
    listener.accept().unwrap().0.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "hello");
}
