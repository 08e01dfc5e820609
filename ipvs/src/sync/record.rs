//! One entry of a connection table, as directors tell each other of it.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::ops::BitOr;

use super::wire::flag;
use crate::engine::address::Address;
use crate::engine::state::{SctpState, TcpState};
use crate::virtual_service::{Family, FwMark, Protocol};

/// A connection or a template that one director has, for another to have it, too. It borrows nothing but a Call-ID.
///
/// Real servers of another family than their service have no records: the kernel refuses them beside a sync daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncRecord<'a> {
    pub subject: Subject<'a>,
    pub tuple: Tuple,
    /// A backup that knows the real server takes the method from there.
    pub method: Method,
    pub flags: RecordFlags,
    /// That the first packet had. Not in version 0.
    pub mark: Option<FwMark>,
    /// Seconds for which the entry lives without a packet; `None` leaves it to the backup. Not in version 0.
    pub timeout: Option<NonZeroU32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject<'a> {
    Connection(Connection),
    Template(Template<'a>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    pub state: ConnectionState,
    /// The client's port is not known yet (passive FTP), and comes with its first packet.
    pub no_client_port: bool,
    /// How sequence numbers of the client are shifted. Kernels before 6.1.189 and 6.12.111 fill this with whatever was
    /// in their memory.
    pub in_sequence: Option<SequenceShift>,
    /// How sequence numbers of the real server are shifted.
    pub out_sequence: Option<SequenceShift>,
}

impl Connection {
    /// With a client's port and no shift.
    pub const fn new(state: ConnectionState) -> Self {
        Self { state, no_client_port: false, in_sequence: None, out_sequence: None }
    }
}

/// By which a client comes to the same real server again (persistence).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Template<'a> {
    pub protocol: TemplateProtocol,
    /// A connection of it was established.
    pub assured: bool,
    /// Of persistence by the engine `sip`. Not in version 0.
    pub call_id: Option<CallId<'a>>,
}

/// The state of a connection, which says the protocol, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionState {
    Tcp(TcpState),
    Udp,
    Sctp(SctpState),
}

impl ConnectionState {
    pub fn from_number(protocol: Protocol, number: u16) -> Option<Self> {
        match protocol {
            Protocol::Tcp => TcpState::from_number(number).map(Self::Tcp),
            Protocol::Udp => (number == 0).then_some(Self::Udp),
            Protocol::Sctp => SctpState::from_number(number).map(Self::Sctp),
        }
    }

    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp(state) => state.number(),
            Self::Udp => 0,
            Self::Sctp(state) => state.number(),
        }
    }

    pub const fn protocol(self) -> Protocol {
        match self {
            Self::Tcp(_) => Protocol::Tcp,
            Self::Udp => Protocol::Udp,
            Self::Sctp(_) => Protocol::Sctp,
        }
    }
}

/// The IP protocol in the key of a template. The kernel takes any, as templates have no states of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TemplateProtocol(pub u8);

impl TemplateProtocol {
    /// Of services by firewall mark. The mark is in the first four bytes of the virtual address, and whatever follows
    /// counts for nothing.
    pub const IP: Self = Self(0);
}

impl From<Protocol> for TemplateProtocol {
    fn from(protocol: Protocol) -> Self {
        Self(protocol.number())
    }
}

/// Who talks to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tuple {
    V4(Ends<Ipv4Addr>),
    V6(Ends<Ipv6Addr>),
}

impl Tuple {
    pub const fn family(&self) -> Family {
        match self {
            Self::V4(_) => Family::V4,
            Self::V6(_) => Family::V6,
        }
    }

    /// As the engine's tables have it. IPv4 mapped into IPv6, which no packet has, becomes IPv4.
    pub fn ends(&self) -> Ends<Address> {
        match *self {
            Self::V4(ends) => ends.map(Address::from),
            Self::V6(ends) => ends.map(Address::from),
        }
    }

    pub(super) const fn has_local(&self) -> bool {
        match self {
            Self::V4(ends) => ends.local.is_some(),
            Self::V6(ends) => ends.local.is_some(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends<A> {
    /// Of a template: port 0, and the address as far as the netmask goes.
    pub client: Endpoint<A>,
    /// What the client addresses.
    pub service: Endpoint<A>,
    pub server: Endpoint<A>,
    /// What the real server sees as its client under full NAT; the method then is masquerading. Not in version 0, and
    /// kernels skip it.
    pub local: Option<Endpoint<A>>,
}

impl<A> Ends<A> {
    fn map<B>(self, address: impl Fn(A) -> B) -> Ends<B> {
        let map = |end: Endpoint<A>| Endpoint { address: address(end.address), port: end.port };
        Ends {
            client: map(self.client),
            service: map(self.service),
            server: map(self.server),
            local: self.local.map(map),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint<A> {
    pub address: A,
    pub port: u16,
}

impl<A> Endpoint<A> {
    pub const fn new(address: A, port: u16) -> Self {
        Self { address, port }
    }
}

/// How packets get to the real server (`IP_VS_CONN_F_FWD_MASK`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    #[default]
    Masquerade,
    /// The real server is the director itself.
    Local,
    Tunnel,
    Direct,
    /// Past all real servers to where the client wanted to go.
    Bypass,
    /// A number that has no meaning. It is taken, as a backup that knows the real server needs no method.
    Unassigned,
}

impl Method {
    pub(super) const fn from_flags(flags: u32) -> Self {
        match flags & flag::FWD_MASK {
            0 => Self::Masquerade,
            1 => Self::Local,
            2 => Self::Tunnel,
            3 => Self::Direct,
            4 => Self::Bypass,
            _ => Self::Unassigned,
        }
    }

    pub(super) const fn flags(self) -> u32 {
        match self {
            Self::Masquerade => 0,
            Self::Local => 1,
            Self::Tunnel => 2,
            Self::Direct => 3,
            Self::Bypass => 4,
            Self::Unassigned => flag::FWD_MASK,
        }
    }
}

/// What else is known of an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordFlags(u32);

impl RecordFlags {
    pub const NONE: Self = Self(0);
    /// What the real server answers does not pass the director.
    pub const NO_OUTPUT: Self = Self(flag::NOOUTPUT);
    /// It counts as inactive at its real server.
    pub const INACTIVE: Self = Self(flag::INACTIVE);
    /// The sender has it from another director. Whoever takes a record sets this, so it is nothing that a backup
    /// depends on.
    pub const SYNC: Self = Self(flag::SYNC);

    const ALL: u32 = flag::NOOUTPUT | flag::INACTIVE | flag::SYNC;

    pub const fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    pub(super) const fn from_flags(flags: u32) -> Self {
        Self(flags & Self::ALL)
    }

    pub(super) const fn flags(self) -> u32 {
        self.0
    }
}

impl BitOr for RecordFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// By how much the director shifts sequence numbers of TCP, because an application module made the stream longer or
/// shorter. All are modulo 2^32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SequenceShift {
    /// Where `delta` begins to hold.
    pub init: u32,
    pub delta: u32,
    /// What holds up to `init`.
    pub previous_delta: u32,
}

/// What the persistence engine `sip` tells calls apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallId<'a>(&'a [u8]);

impl<'a> CallId<'a> {
    /// `None` where it is empty, or longer than the 255 bytes that the kernel keeps.
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        (1..=usize::from(u8::MAX)).contains(&bytes.len()).then_some(Self(bytes))
    }

    pub const fn bytes(self) -> &'a [u8] {
        self.0
    }
}
