//! A client, a director, and two servers, each a network namespace. The director is the router of all of them, and the
//! services' addresses are its own.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use buoy_ipvs::io::director::Setup;
use buoy_ipvs::io::support::Tier;
use buoy_ipvs::{
    Change, EnginePlane, Forwarding, Plane, Protocol, RealServer, RealServerId, Scheduler, ServiceId,
    VirtualService, Weight,
};

use crate::host::Host;

/// Longer than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const VIPS: [&str; 2] = ["10.9.0.1", "fd09::1"];
pub(crate) const SERVERS: [[&str; 2]; 2] = [["10.2.0.11", "fd02::11"], ["10.2.0.12", "fd02::12"]];
pub(crate) const PORT: u16 = 8080;

pub(crate) struct Lan {
    pub(crate) client: Host,
    pub(crate) director: Host,
    pub(crate) servers: [Host; 2],
    pub(crate) plane: EnginePlane,
}

impl Lan {
    pub(crate) fn new(tier: Tier) -> Self {
        let (client, director, servers) = (Host::new(), Host::new(), [Host::new(), Host::new()]);
        // As many distributions have it.
        director.sysctl("net/ipv4/conf/all/rp_filter", "1");
        director.ip("link add lan type bridge");
        director.ip("link set lan up");
        plug(&director, "dc", &client, false);
        for (number, server) in servers.iter().enumerate() {
            plug(&director, &format!("ds{number}"), server, true);
        }
        let give = |host: &Host, address: &str, device: &str| host.add_address(ip(address), device);
        for (host, address, device) in [
            (&director, "10.1.0.254", "dc"),
            (&director, "fd01::fe", "dc"),
            (&director, "10.2.0.254", "lan"),
            (&director, "fd02::fe", "lan"),
            (&client, "10.1.0.7", "eth0"),
            (&client, "fd01::7", "eth0"),
        ] {
            give(host, address, device);
        }
        for vip in VIPS {
            let length = if ip(vip).is_ipv4() { 32 } else { 128 };
            director.ip(&format!("address add {vip}/{length} dev lo"));
        }
        for (server, addresses) in servers.iter().zip(SERVERS) {
            addresses.into_iter().for_each(|address| give(server, address, "eth0"));
            server.ip("route add default via 10.2.0.254 dev eth0");
            server.ip("route add default via fd02::fe dev eth0");
        }
        client.ip("route add default via 10.1.0.254 dev eth0");
        client.ip("route add default via fd01::fe dev eth0");
        client.wait_for("eth0");
        director.wait_for("dc");
        servers.iter().for_each(|server| server.wait_for("eth0"));
        let setup = Setup { tier: Some(tier), connections: 10_000, offloaded: 1000, ..Setup::default() };
        let plane = director.run(|| EnginePlane::open(setup)).expect("the engine starts");
        Self { client, director, servers, plane }
    }

    pub(crate) fn apply(&mut self, changes: &[Change]) {
        assert_eq!(self.plane.apply(changes).expect("it answers"), []);
    }

    /// A service of either family, by both servers.
    pub(crate) fn serve(&mut self, protocol: Protocol, family: usize, forwarding: Forwarding) -> ServiceId {
        self.serve_as(VirtualService::new(service(protocol, family), Scheduler::Rr), family, forwarding)
    }

    pub(crate) fn serve_as(
        &mut self,
        service: VirtualService,
        family: usize,
        forwarding: Forwarding,
    ) -> ServiceId {
        let id = service.id;
        let mut changes = vec![Change::AddService(service)];
        // The newest is the first.
        for number in [1, 0] {
            changes.push(Change::AddServer(id, server(number, family, forwarding)));
        }
        self.apply(&changes);
        id
    }

    /// Starts programs on both servers that say their number and then repeat what they hear, until the end of it.
    pub(crate) fn listen(&self, family: usize, address: Option<&'static str>) {
        for (number, host) in self.servers.iter().enumerate() {
            echo_on(host, SocketAddr::new(ip(address.unwrap_or(SERVERS[number][family])), PORT), number);
        }
    }

    /// Connects; says which server answers.
    pub(crate) fn connect(&self, family: usize) -> std::io::Result<(TcpStream, usize)> {
        let vip = SocketAddr::new(ip(VIPS[family]), PORT);
        self.client.run(|| {
            let mut stream = TcpStream::connect_timeout(&vip, PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            let mut number = [0];
            stream.read_exact(&mut number)?;
            Ok((stream, usize::from(number[0] - b'0')))
        })
    }

    /// Asks by one datagram from a port of its own.
    pub(crate) fn ask(&self, socket: &UdpSocket, family: usize) -> usize {
        let vip = SocketAddr::new(ip(VIPS[family]), PORT);
        let mut answer = [0; 100];
        socket.set_read_timeout(Some(PATIENCE)).expect("it is possible");
        socket.send_to(b"hello", vip).expect("it is sent");
        let (length, from) = socket.recv_from(&mut answer).expect("an answer");
        assert_eq!(from, vip, "from the service");
        assert_eq!(&answer[1..length], b"hello");
        usize::from(answer[0] - b'0')
    }

    pub(crate) fn datagrams(&self, family: usize) -> UdpSocket {
        let any = ["0.0.0.0:0", "[::]:0"];
        self.client.run(|| UdpSocket::bind(any[family])).expect("a port")
    }
}

/// Starts programs there that say a number and then repeat what they hear.
pub(crate) fn echo_on(host: &Host, address: SocketAddr, number: usize) {
    host.run(move || {
        let listener = TcpListener::bind(address).expect("an address of its own");
        let datagrams = UdpSocket::bind(address).expect("an address of its own");
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || echo(stream, number));
            }
        });
        thread::spawn(move || {
            let mut buffer = [0; 2048];
            while let Ok((length, from)) = datagrams.recv_from(&mut buffer) {
                let mut answer = number.to_string().into_bytes();
                answer.extend(&buffer[..length]);
                drop(datagrams.send_to(&answer, from));
            }
        });
    });
}

fn plug(director: &Host, name: &str, host: &Host, bridged: bool) {
    director.ip(&format!("link add {name} type veth peer name eth0 netns {}", host.path()));
    if bridged {
        director.ip(&format!("link set {name} master lan"));
    }
    director.ip(&format!("link set {name} up"));
    host.ip("link set eth0 up");
}

fn echo(mut stream: TcpStream, number: usize) {
    if stream.write_all(number.to_string().as_bytes()).is_err() {
        return;
    }
    let mut buffer = vec![0; 1 << 14];
    while let Ok(length) = stream.read(&mut buffer) {
        if length == 0 || stream.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}

/// Sends and receives `size` bytes at once, and compares them.
pub(crate) fn transfer(stream: &TcpStream, size: usize) {
    let pattern = |place: usize| (place.wrapping_mul(2_654_435_761) >> 13) as u8;
    thread::scope(|scope| {
        let mut writer = stream;
        scope.spawn(move || {
            let chunk = 1 << 16;
            for start in (0..size).step_by(chunk) {
                let bytes: Vec<u8> = (start..(start + chunk).min(size)).map(pattern).collect();
                writer.write_all(&bytes).expect("it is written");
            }
        });
        let (mut reader, mut place) = (stream, 0);
        let mut buffer = vec![0; 1 << 16];
        while place < size {
            let length = reader.read(&mut buffer).expect("it is read");
            assert_ne!(length, 0, "the end at {place}");
            for (offset, byte) in buffer[..length].iter().enumerate() {
                assert_eq!(*byte, pattern(place + offset), "at {}", place + offset);
            }
            place += length;
        }
    });
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub(crate) fn service(protocol: Protocol, family: usize) -> ServiceId {
    ServiceId::Address { protocol, address: ip(VIPS[family]), port: PORT }
}

pub(crate) fn server(number: usize, family: usize, forwarding: Forwarding) -> RealServer {
    let id = RealServerId { address: ip(SERVERS[number][family]), port: PORT };
    RealServer::new(id, forwarding, Weight::ONE)
}

/// Until it is so.
pub(crate) fn wait_until(what: &str, mut so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !so() {
        assert!(begin.elapsed() < PATIENCE, "never {what}");
        thread::sleep(Duration::from_millis(20));
    }
}
