//! A director, which is also the client, and across a link a real server that listens to the sync group.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{
    IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket,
};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use buoy_ipvs::SyncDaemon;
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::gettid;
use socket2::{Domain, Protocol, Socket, Type};

use crate::bench::run;

const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 81);
const FAR_END: &str = "sync-far";

/// The real server's namespace, which lives as long as its sockets do.
pub(super) struct Network {
    far: File,
    group: UdpSocket,
    tcp: TcpListener,
    _udp: [UdpSocket; 2],
    /// Connections that stay open.
    open: RefCell<Vec<[TcpStream; 2]>>,
    /// Of the next client.
    port: Cell<u16>,
}

impl Network {
    /// The director's end of the link.
    pub(super) const LINK: &str = "sync-near";
    /// The real server's end.
    pub(super) const FAR_LINK: &str = FAR_END;

    pub(super) fn new() -> Self {
        if std::fs::exists(format!("/sys/class/net/{}", Self::LINK)).unwrap() {
            run("ip", &format!("link delete {}", Self::LINK));
        }
        run("ip", &format!("link add {} type veth peer name {FAR_END}", Self::LINK));
        let (tell_place, place) = mpsc::channel();
        let (tell_moved, moved) = mpsc::channel();
        let far = thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            tell_place.send(format!("/proc/{}/task/{}/ns/net", std::process::id(), gettid())).unwrap();
            moved.recv().unwrap();
            Self::far_end()
        });
        run("ip", &format!("link set {FAR_END} netns {}", place.recv().unwrap()));
        for arguments in [
            "link set sync-near up",
            "address add 10.70.0.1/24 dev sync-near",
            "address add fd70::1/64 dev sync-near nodad",
            "route add 10.70.1.0/24 dev sync-near",
            "-6 route add fd70:1::/64 dev sync-near",
        ] {
            run("ip", arguments);
        }
        tell_moved.send(()).unwrap();
        let network = far.join().unwrap();
        network.wait_for_the_link();
        network
    }

    fn far_end() -> Self {
        for arguments in [
            "link set lo up",
            "link set sync-far up",
            "address add 10.70.0.2/24 dev sync-far",
            "address add fd70::2/64 dev sync-far nodad",
            // For direct routing.
            "address add 10.70.1.1/32 dev lo",
        ] {
            run("ip", arguments);
        }
        let group = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).unwrap();
        group.set_reuse_address(true).unwrap();
        group.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, SyncDaemon::DEFAULT_PORT).into()).unwrap();
        group.join_multicast_v4(&GROUP, &Ipv4Addr::new(10, 70, 0, 2)).unwrap();
        group.set_multicast_if_v4(&Ipv4Addr::new(10, 70, 0, 2)).unwrap();
        group.set_multicast_loop_v4(false).unwrap();
        Self {
            far: File::open("/proc/thread-self/ns/net").unwrap(),
            group: group.into(),
            tcp: TcpListener::bind("[::]:80").unwrap(),
            _udp: ["[::]:53", "[::]:5060"].map(|address| UdpSocket::bind(address).unwrap()),
            open: RefCell::default(),
            port: Cell::new(3001),
        }
    }

    /// Does `work` where the real server is.
    pub(super) fn at_the_far_end<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        let far = &self.far;
        let inside = || {
            setns(far, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        };
        thread::scope(|scope| scope.spawn(inside).join()).unwrap()
    }

    /// Until packets pass in both families.
    fn wait_for_the_link(&self) {
        let begin = Instant::now();
        for address in ["10.70.0.2:80", "[fd70::2]:80"] {
            let address: SocketAddr = address.parse().unwrap();
            while TcpStream::connect_timeout(&address, Duration::from_millis(500)).is_err() {
                assert!(begin.elapsed() < Duration::from_secs(20), "{address} does not answer");
                thread::sleep(Duration::from_millis(50));
            }
            self.tcp.accept().unwrap();
        }
    }

    /// Three packets of a client, and its connection stays.
    pub(super) fn open_tcp(&self, client: Client) {
        let (near, far) = self.connect(client);
        self.open.borrow_mut().push([near, far]);
    }

    /// As [`open_tcp`](Self::open_tcp), and then the client closes it, and the server.
    pub(super) fn tcp(&self, client: Client) {
        let (near, far) = self.connect(client);
        near.shutdown(Shutdown::Write).unwrap();
        thread::sleep(Duration::from_millis(100));
        drop(far);
        thread::sleep(Duration::from_millis(100));
    }

    fn connect(&self, client: Client) -> (TcpStream, TcpStream) {
        let socket = self.socket(client, Type::STREAM);
        socket.connect(&client.service.into()).unwrap();
        let mut near = TcpStream::from(socket);
        let (mut far, _) = self.tcp.accept().unwrap();
        near.write_all(b"?").unwrap();
        // What is left unread makes the end a reset.
        far.read_exact(&mut [0]).unwrap();
        (near, far)
    }

    /// A socket at the next port.
    fn socket(&self, client: Client, kind: Type) -> Socket {
        let socket = Socket::new(Domain::for_address(client.service), kind, None).unwrap();
        if let Some(mark) = client.mark {
            socket.set_mark(mark).unwrap();
        }
        let address: IpAddr = match client.service {
            SocketAddr::V4(_) => Ipv4Addr::new(10, 70, 0, 1).into(),
            SocketAddr::V6(_) => Ipv6Addr::new(0xfd70, 0, 0, 0, 0, 0, 0, 1).into(),
        };
        let port = self.port.replace(self.port.get() + 1);
        socket.bind(&SocketAddr::new(address, port).into()).unwrap();
        socket
    }

    pub(super) fn udp(&self, client: Client, datagram: &[u8], count: usize) {
        let socket = UdpSocket::from(self.socket(client, Type::DGRAM));
        socket.connect(client.service).unwrap();
        (0..count).for_each(|_| assert_eq!(socket.send(datagram).unwrap(), datagram.len()));
    }

    /// What comes within `time`.
    pub(super) fn datagrams(&self, time: Duration) -> Vec<Vec<u8>> {
        let begin = Instant::now();
        let mut datagrams = Vec::new();
        while let Some(left) = time.checked_sub(begin.elapsed()).filter(|left| !left.is_zero()) {
            self.group.set_read_timeout(Some(left)).unwrap();
            let mut datagram = vec![0; usize::from(u16::MAX)];
            match self.group.recv(&mut datagram) {
                Ok(len) => {
                    datagram.truncate(len);
                    datagrams.push(datagram);
                }
                Err(error) => assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)),
            }
        }
        datagrams
    }

    /// To the director's backup daemon.
    pub(super) fn send(&self, datagram: &[u8]) {
        let sent = self.group.send_to(datagram, (GROUP, SyncDaemon::DEFAULT_PORT)).unwrap();
        assert_eq!(sent, datagram.len());
    }
}

/// What a client addresses, and the mark of its packets.
#[derive(Clone, Copy)]
pub(super) struct Client {
    service: SocketAddr,
    mark: Option<u32>,
}

impl Client {
    pub(super) fn of(service: &str) -> Self {
        Self { service: service.parse().unwrap(), mark: None }
    }

    pub(super) fn marked(self, mark: u32) -> Self {
        Self { mark: Some(mark), ..self }
    }
}

/// Sets one of `net.ipv4.vs`.
pub(super) fn sysctl(name: &str, value: &str) {
    let mut file = File::create(format!("/proc/sys/net/ipv4/vs/{name}")).unwrap();
    file.write_all(value.as_bytes()).unwrap();
}
