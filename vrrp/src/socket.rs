//! The raw sockets that carry advertisements, and the packet sockets that carry announcements.
//!
//! Everything here is non-blocking and belongs to one thread that polls the descriptors. Sockets live in
//! the network namespace of the thread that opened them.

mod announce;
mod receive;
mod send;

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use socket2::{Domain, Socket};
use thiserror::Error;

use crate::identity::Family;
use crate::packet::{PROTOCOL_AH, PROTOCOL_VRRP};

pub use announce::AnnounceSocket;
pub use receive::{Drain, Listen, ReceiveBatch, ReceiveSocket, Received};
pub use send::SendSocket;

/// An interface by both of its names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interface {
    pub index: u32,
    pub name: Arc<str>,
}

/// What a receive socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Carrier {
    /// Advertisements directly in IP.
    Plain,
    /// Advertisements behind an authentication header; IPv4 only.
    AuthenticationHeader,
}

impl Carrier {
    fn protocol(self) -> socket2::Protocol {
        socket2::Protocol::from(i32::from(match self {
            Self::Plain => PROTOCOL_VRRP,
            Self::AuthenticationHeader => PROTOCOL_AH,
        }))
    }
}

/// A step that failed, with the operating system's reason.
#[derive(Debug, Error)]
#[error("cannot {step}")]
pub struct SocketError {
    pub step: Step,
    #[source]
    pub source: io::Error,
}

/// What was being done to a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Needs CAP_NET_RAW.
    Open,
    BindToDevice(Arc<str>),
    BindToAddress(IpAddr),
    JoinGroup {
        group: IpAddr,
        interface: Arc<str>,
    },
    /// Options of the socket API; a failure means that the kernel lacks one.
    SetOption(&'static str),
    AttachFilter,
    Receive,
    Send,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.write_str("open a raw socket"),
            Self::BindToDevice(name) => write!(f, "bind to interface {name}"),
            Self::BindToAddress(address) => write!(f, "bind to address {address}"),
            Self::JoinGroup { group, interface } => write!(f, "join group {group} on {interface}"),
            Self::SetOption(option) => write!(f, "set socket option {option}"),
            Self::AttachFilter => f.write_str("attach a packet filter"),
            Self::Receive => f.write_str("receive"),
            Self::Send => f.write_str("send"),
        }
    }
}

/// Names the step in front of an I/O error.
trait During<T> {
    fn during(self, step: Step) -> Result<T, SocketError>;
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, step: Step) -> Result<T, SocketError> {
        self.map_err(|source| SocketError { step, source: source.into() })
    }
}

fn open(family: Family, protocol: socket2::Protocol) -> Result<Socket, SocketError> {
    let domain = match family {
        Family::V4 => Domain::IPV4,
        Family::V6 => Domain::IPV6,
    };
    let socket = Socket::new(domain, socket2::Type::RAW.nonblocking(), Some(protocol));
    socket.during(Step::Open)
}

/// `TC_PRIO_INTERACTIVE`, the highest that takes no capability: queueing disciplines let such packets go
/// ahead of ordinary traffic.
const PRIORITY: u32 = 6;

fn set_priority(socket: &Socket) -> Result<(), SocketError> {
    socket.set_priority(PRIORITY).during(Step::SetOption("SO_PRIORITY"))
}

fn bind_to_device(socket: &Socket, interface: &Interface) -> Result<(), SocketError> {
    let bound = socket.bind_device(Some(interface.name.as_bytes()));
    bound.during(Step::BindToDevice(interface.name.clone()))
}
