//! Where a probe goes and what it leaves from: the socket options that every network checker shares.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream as StdTcpStream};
use std::sync::Arc;
use std::time::Duration;

use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};
use serde::Serialize;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};

use crate::connector::Connector;
use crate::deadline::{Failure, Limits};
use crate::outcome::{Cause, Reason, Step, Trouble};

const FIRST_UNPRIVILEGED_PORT: u16 = 1024;

/// The far end of a probe, and how its socket is made.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Target {
    /// `connect_ip` and `connect_port`, else address and port of the real server. A link-local address needs its scope
    /// here or an `interface`.
    pub address: SocketAddr,
    /// `bindto`: the source address, of the family of `address`.
    pub bind: Option<IpAddr>,
    /// Without `bind`: the source address is the one that packets to this address have, of the family of `address`. For
    /// a probe that is forwarded, on this host, to another address than it names: the source must not be that name,
    /// which whoever answers takes for itself.
    pub towards: Option<IpAddr>,
    /// `bind_port`: the source port. One fixed port lets one attempt be made at a time.
    pub bind_port: Option<u16>,
    /// `bind_if`: the interface that packets leave and arrive by.
    pub interface: Option<Arc<str>>,
    /// `fwmark`: the mark on each packet; zero sets none.
    pub mark: u32,
}

impl Target {
    pub fn new(address: SocketAddr) -> Self {
        Self { address, bind: None, towards: None, bind_port: None, interface: None, mark: 0 }
    }

    /// A connected stream.
    pub(crate) async fn connect(&self, limits: &Limits) -> Result<TcpStream, Failure> {
        let socket = self.stream_socket().map_err(|error| self.socket_failure(error))?;
        let socket = TcpSocket::from_std_stream(StdTcpStream::from(socket));
        let connecting = limits.step(Step::Connect, socket.connect(self.address)).await?;
        let stream = connecting.map_err(|error| connect_failure(Step::Connect, &error))?;
        self.judge(|| stream.local_addr())?;
        Ok(stream)
    }

    /// Connects and closes.
    pub(crate) async fn reach(&self, connector: &Connector, limits: &Limits) -> Result<(), Failure> {
        let socket = self.stream_socket().map_err(|error| self.socket_failure(error))?;
        let connecting = limits.step(Step::Connect, connector.connect(&socket, self.address)).await?;
        connecting.map_err(|error| connect_failure(Step::Connect, &error))?;
        self.judge(|| socket.local_addr()?.as_socket().ok_or_else(|| io::ErrorKind::Unsupported.into()))
    }

    /// Whether a connection is one to a server.
    fn judge(&self, local: impl FnOnce() -> io::Result<SocketAddr>) -> Result<(), Failure> {
        if self.may_meet_itself() && local().is_ok_and(|local| self.is_named_by(local)) {
            return Err(Reason::Refused.into());
        }
        Ok(())
    }

    /// Without a listener, a port of this host can connect to itself, if it is one of those that the kernel gives to
    /// whoever asks for none.
    fn may_meet_itself(&self) -> bool {
        self.bind_port.is_some() || self.address.port() >= FIRST_UNPRIVILEGED_PORT
    }

    fn is_named_by(&self, local: SocketAddr) -> bool {
        (local.ip(), local.port()) == (self.address.ip(), self.address.port())
    }

    /// A datagram socket that hears its peer only, and what routers say about it.
    pub(crate) async fn datagrams(&self) -> Result<UdpSocket, Failure> {
        let socket = self.socket(Type::DGRAM, Protocol::UDP).map_err(|error| self.socket_failure(error))?;
        report_errors(&socket, self.address).map_err(trouble)?;
        let socket = UdpSocket::from_std(socket.into()).map_err(trouble)?;
        socket.connect(self.address).await.map_err(|error| connect_failure(Step::Query, &error))?;
        Ok(socket)
    }

    fn stream_socket(&self) -> io::Result<Socket> {
        let socket = self.socket(Type::STREAM, Protocol::TCP)?;
        if self.bind_port.is_some() {
            // An orderly close would keep the one port from being used again for a minute.
            socket.set_linger(Some(Duration::ZERO))?;
        }
        Ok(socket)
    }

    /// A bound, not yet connected socket that does not block.
    pub(crate) fn socket(&self, kind: Type, protocol: Protocol) -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(self.address), kind.nonblocking(), Some(protocol))?;
        if self.mark != 0 {
            socket.set_mark(self.mark).map_err(|error| told("cannot set the mark", &error))?;
        }
        if let Some(interface) = &self.interface {
            socket
                .bind_device(Some(interface.as_bytes()))
                .map_err(|error| told(&format!("cannot bind to {interface}"), &error))?;
        }
        self.bind(&socket, kind)?;
        Ok(socket)
    }

    fn bind(&self, socket: &Socket, kind: Type) -> io::Result<()> {
        let source = match (self.bind, self.towards) {
            (None, Some(peer)) => Some(self.source_towards(peer)?),
            (bind, _) => bind,
        };
        if source.is_none() && self.bind_port.is_none() {
            return Ok(());
        }
        let any = match self.address {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let mut from = SocketAddr::new(source.unwrap_or(any), self.bind_port.unwrap_or(0));
        if let (SocketAddr::V6(from), SocketAddr::V6(to)) = (&mut from, self.address) {
            from.set_scope_id(to.scope_id());
        }
        if self.bind_port.is_some() {
            socket.set_reuse_address(true)?;
        } else if kind != Type::RAW {
            // The port is then chosen when the peer is known, and need not be free of other peers.
            setsockopt(socket, sockopt::IpBindAddressNoPort, &true)?;
        }
        socket.bind(&from.into()).map_err(|error| told(&format!("cannot bind to {from}"), &error))
    }

    /// The source address of packets to `peer`, as the routing table has it now.
    fn source_towards(&self, peer: IpAddr) -> io::Result<IpAddr> {
        let name = self.address.ip();
        self.route(name).map_err(|error| told(&format!("cannot send to {name}"), &error))?;
        let source = self.route(peer)?;
        if source == name {
            let message = format!("packets to {peer} would leave with {name}: name another source");
            return Err(io::Error::other(message));
        }
        Ok(source)
    }

    /// Whether whoever answers is not this very host.
    pub(crate) fn is_elsewhere(&self) -> bool {
        let peer = self.towards.unwrap_or(self.address.ip());
        // Packets to an address of this host leave with that address.
        !peer.is_loopback() && self.route(peer).is_ok_and(|source| source != peer)
    }

    /// Looks up a route; sends nothing.
    fn route(&self, to: IpAddr) -> io::Result<IpAddr> {
        let to = SocketAddr::new(to, self.address.port());
        let socket = Socket::new(Domain::for_address(to), Type::DGRAM, Some(Protocol::UDP))?;
        if let Some(interface) = &self.interface {
            socket.bind_device(Some(interface.as_bytes()))?;
        }
        socket.connect(&to.into())?;
        let source = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::Unsupported)?;
        Ok(source.ip())
    }

    /// That no route leads to the server is as if a router had said so.
    fn socket_failure(&self, error: io::Error) -> Failure {
        match error.raw_os_error() {
            Some(_) if self.towards.is_some() => connect_failure(Step::Connect, &error),
            _ => trouble(error),
        }
    }
}

/// Has the socket report ICMP errors that the kernel else keeps to itself: host and network unreachable.
pub(crate) fn report_errors(socket: &Socket, peer: SocketAddr) -> nix::Result<()> {
    match peer {
        SocketAddr::V4(_) => setsockopt(socket, sockopt::Ipv4RecvErr, &true),
        SocketAddr::V6(_) => setsockopt(socket, sockopt::Ipv6RecvErr, &true),
    }
}

fn told(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

pub(crate) fn trouble(error: impl Into<io::Error>) -> Failure {
    Failure::Here(Trouble::Socket(Cause::of(&error.into())))
}

/// What an error of `connect` or `send` means: some say that this host has run out of something.
pub(crate) fn connect_failure(step: Step, error: &io::Error) -> Failure {
    match error.raw_os_error() {
        Some(
            libc::EADDRINUSE
            | libc::EADDRNOTAVAIL
            | libc::EAFNOSUPPORT
            | libc::EINVAL
            | libc::EMFILE
            | libc::ENFILE
            | libc::ENOBUFS
            | libc::ENOMEM
            | libc::ENODEV
            // Too many sockets are watched (`fs.epoll.max_user_watches`).
            | libc::ENOSPC,
        ) => Failure::Here(Trouble::Socket(Cause::of(error))),
        // The kernel's own patience with an unanswered SYN ended before ours.
        Some(libc::ETIMEDOUT) => Reason::Unreachable(Cause::of(error)).into(),
        _ => Reason::of_io(step, error).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn towards(address: &str, peer: &str) -> Target {
        Target { towards: Some(peer.parse().unwrap()), ..Target::new(address.parse().unwrap()) }
    }

    #[tokio::test]
    async fn source_is_that_of_packets_to_whoever_answers() {
        let listener = std::net::TcpListener::bind("127.0.0.5:0").unwrap();
        let address = listener.local_addr().unwrap();
        let target = towards(&address.to_string(), "127.0.0.7");
        let limits = Limits::start(crate::Deadlines::default());
        let stream = target.connect(&limits).await.unwrap();
        // The kernel's own choice would be 127.0.0.5.
        assert_eq!(stream.local_addr().unwrap().ip().to_string(), "127.0.0.1");
    }

    #[tokio::test]
    async fn name_of_the_target_is_never_the_source() {
        let target = towards("127.0.0.1:9", "127.0.0.7");
        let limits = Limits::start(crate::Deadlines::default());
        let failure = target.connect(&limits).await.unwrap_err();
        let Failure::Here(Trouble::Socket(cause)) = failure else { panic!("{failure:?}") };
        assert_eq!(cause.0.as_ref(), "packets to 127.0.0.7 would leave with 127.0.0.1: name another source");
    }

    #[test]
    fn this_host_answering_itself_is_nobody_else() {
        assert!(!Target::new("127.0.0.1:80".parse().unwrap()).is_elsewhere());
        assert!(!Target::new("[::1]:80".parse().unwrap()).is_elsewhere());
        // Where there is no route there is no answer; where there is one, it leads elsewhere.
        let far = Target::new("192.0.2.1:80".parse().unwrap());
        assert_eq!(far.is_elsewhere(), far.route(far.address.ip()).is_ok());
        assert!(!Target { towards: Some("127.0.0.7".parse().unwrap()), ..far }.is_elsewhere());
    }

    #[test]
    fn what_this_host_has_run_out_of_is_not_held_against_the_server() {
        let of = |code| connect_failure(Step::Connect, &io::Error::from_raw_os_error(code));
        for code in
            [libc::EMFILE, libc::ENFILE, libc::EADDRNOTAVAIL, libc::EADDRINUSE, libc::ENOMEM, libc::ENOSPC]
        {
            assert!(matches!(of(code), Failure::Here(Trouble::Socket(_))), "{code}");
        }
        assert!(matches!(of(libc::ECONNREFUSED), Failure::Server(Reason::Refused)));
        for code in [libc::EHOSTUNREACH, libc::ENETUNREACH, libc::ENETDOWN, libc::ETIMEDOUT] {
            assert!(matches!(of(code), Failure::Server(Reason::Unreachable(_))), "{code}");
        }
        // What a packet filter or a prohibiting route says.
        for code in [libc::EACCES, libc::EPERM] {
            assert!(matches!(of(code), Failure::Server(Reason::Connection { .. })), "{code}");
        }
    }
}
