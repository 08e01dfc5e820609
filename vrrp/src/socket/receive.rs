use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant, SystemTime};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SetSockOpt, SockaddrIn6, SockaddrLike, recvmmsg,
    sockopt,
};
use nix::sys::time::TimeSpec;
use socket2::{InterfaceIndexOrAddress, SockFilter, Socket};

use super::{Carrier, During, Interface, SocketError, Step, bind_to_device, open};
use crate::clock::Clock;
use crate::identity::Family;
use crate::packet::Ipv4View;

/// Packets read by one call. Enough that a burst costs few system calls, and few enough that handling
/// them takes well under a millisecond.
const BATCH: usize = 64;
/// Packets read by a call that has no reason to expect a burst.
const FEW: usize = 8;
/// The longest advertisement: 255 IPv6 addresses make 4,088 bytes; over IPv4 the headers are included.
const PACKET_MAX: usize = 4160;
const IPV6_HEADER_LEN: usize = 40;
/// A classic BPF program that accepts nothing.
const DROP: SockFilter = SockFilter::new((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, 0);

/// Which packets a receive socket takes. Routers with an equal value can share a socket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Listen {
    /// Those to a multicast group, heard on `interface`.
    Group { group: IpAddr, interface: Interface },
    /// Those to one of our addresses, which need not exist yet. Without an interface they may come in
    /// anywhere.
    Unicast { local: IpAddr, interface: Option<Interface> },
}

/// A raw socket for advertisements of one address family.
#[derive(Debug)]
pub struct ReceiveSocket {
    socket: Socket,
    family: Family,
    /// No packet that is still to be read came earlier: when the queue was last seen empty, or the arrival of
    /// the packet read last. The two clocks are paired anew for each batch, which alone could put a packet
    /// some microseconds ahead of the one it was queued behind.
    not_before: Instant,
    burst: bool,
    lost: u32,
    unreadable: u64,
}

/// Whether a socket may hold more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drain {
    Empty,
    /// The batch is full: handle it and receive again.
    More,
}

/// Buffers for one call of [`ReceiveSocket::receive`], to be used for any number of sockets in turn.
pub struct ReceiveBatch {
    buffers: Box<[[u8; PACKET_MAX]; BATCH]>,
    packets: Vec<Metadata>,
}

/// A received packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received<'a> {
    pub source: IpAddr,
    pub destination: IpAddr,
    /// TTL or hop limit; 255 cannot have crossed a router.
    pub hop_limit: u8,
    /// When the kernel took it in.
    pub arrived: Instant,
    /// What follows the IP header: the advertisement, or the authentication header and the advertisement.
    pub pdu: &'a [u8],
    /// Length of the IP header.
    pub carrier_len: usize,
    /// The whole packet, to check an authentication header; IPv4 only.
    pub ipv4: Option<Ipv4View<'a>>,
}

#[derive(Debug)]
struct Metadata {
    slot: usize,
    /// Of the buffer; the IPv4 header lies ahead of it.
    pdu: Range<usize>,
    source: IpAddr,
    destination: IpAddr,
    hop_limit: u8,
    arrived: Instant,
}

impl Listen {
    pub fn family(&self) -> Family {
        match self {
            Self::Group { group: address, .. } | Self::Unicast { local: address, .. } => Family::of(*address),
        }
    }

    fn interface(&self) -> Option<&Interface> {
        match self {
            Self::Group { interface, .. } => Some(interface),
            Self::Unicast { interface, .. } => interface.as_ref(),
        }
    }
}

impl ReceiveSocket {
    /// Opens a socket with room for `buffer` bytes of queued packets, as the kernel counts them (a small
    /// packet counts about 800). More than `net.core.rmem_max` takes CAP_NET_ADMIN; without it the socket
    /// gets what it may have.
    pub fn open(listen: &Listen, carrier: Carrier, buffer: usize) -> Result<Self, SocketError> {
        let not_before = Instant::now();
        let family = listen.family();
        let socket = open(family, carrier.protocol())?;
        // From here on it hears its protocol on every interface, until it is told which packets it is for.
        socket.attach_filter(&[DROP]).during(Step::AttachFilter)?;
        set_options(&socket, family)?;
        if let Some(interface) = listen.interface() {
            bind_to_device(&socket, interface)?;
        }
        // The bound address is what the kernel selects packets by, a group like any other.
        let address = match listen {
            Listen::Group { group, interface } => {
                join(&socket, *group, interface)?;
                *group
            }
            Listen::Unicast { local, .. } => *local,
        };
        bind(&socket, address, listen.interface())?;
        discard_queued(&socket)?;
        socket.detach_filter().during(Step::AttachFilter)?;
        let socket = Self { socket, family, not_before, burst: false, lost: 0, unreadable: 0 };
        socket.set_buffer(buffer)?;
        Ok(socket)
    }

    /// Makes room for `buffer` bytes, as for [`open`](Self::open).
    pub fn set_buffer(&self, buffer: usize) -> Result<(), SocketError> {
        if sockopt::RcvBufForce.set(&self.socket, &buffer).is_err() {
            self.socket.set_recv_buffer_size(buffer).during(Step::SetOption("SO_RCVBUF"))?;
        }
        Ok(())
    }

    /// Reads what is there, at most one batch, and samples `clock`. The packets are in `batch` afterwards, in
    /// the order of their arrival; those of an earlier call are gone.
    pub fn receive(&mut self, batch: &mut ReceiveBatch, clock: &mut Clock) -> Result<Drain, SocketError> {
        batch.packets.clear();
        let before = Instant::now();
        let (room, received) = match (self.family, self.burst) {
            (Family::V4, false) => (FEW, self.receive_up_to::<(), FEW>(batch, clock)),
            (Family::V4, true) => (BATCH, self.receive_up_to::<(), BATCH>(batch, clock)),
            (Family::V6, false) => (FEW, self.receive_up_to::<SockaddrIn6, FEW>(batch, clock)),
            (Family::V6, true) => (BATCH, self.receive_up_to::<SockaddrIn6, BATCH>(batch, clock)),
        };
        let received = match received {
            Err(Errno::EAGAIN) => 0,
            Err(Errno::EINTR) => return Ok(Drain::More),
            other => other.during(Step::Receive)?,
        };
        self.burst = received == room;
        if self.burst {
            return Ok(Drain::More);
        }
        self.not_before = self.not_before.max(before);
        Ok(Drain::Empty)
    }

    /// Packets that the kernel dropped because the buffer was full, since the socket was opened (modulo
    /// 2^32), as known with the last packet received.
    pub fn lost(&self) -> u32 {
        self.lost
    }

    /// Packets that were left out because their IP header makes no sense or because they are too long for any
    /// advertisement.
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }

    // The kernel shortens the control and address lengths in the headers it fills, and nix offers no way
    // to put them back: headers that are used again would lose control messages that not every packet has.
    // So they are made anew for each call, which costs three small allocations.
    fn receive_up_to<S: SockaddrLike + Copy + Into<Sender>, const N: usize>(
        &mut self,
        batch: &mut ReceiveBatch,
        clock: &mut Clock,
    ) -> nix::Result<usize> {
        let control = cmsg_space!(TimeSpec, u32, libc::in6_pktinfo, libc::c_int);
        let mut headers = MultiHeaders::<S>::preallocate(N, Some(control));
        let buffers = batch.buffers.first_chunk_mut::<N>().ok_or(Errno::EINVAL)?;
        let mut slices = buffers.each_mut().map(|buffer| [IoSliceMut::new(buffer)]);
        let fd = self.socket.as_raw_fd();
        let messages = recvmmsg(fd, &mut headers, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None)?;
        clock.sample();
        let mut received = 0;
        for (slot, message) in messages.enumerate() {
            received += 1;
            match self.metadata(slot, &message, clock) {
                Some(metadata) => batch.packets.push(metadata),
                None => self.unreadable += 1,
            }
        }
        Ok(received)
    }

    fn metadata<S: Copy + Into<Sender>>(
        &mut self,
        slot: usize,
        message: &RecvMsg<'_, '_, S>,
        clock: &Clock,
    ) -> Option<Metadata> {
        let control = Control::of(message)?;
        self.lost = control.lost.unwrap_or(self.lost);
        let arrived = clock.instant_of(control.arrived?, self.not_before);
        self.not_before = self.not_before.max(arrived);
        if message.flags.contains(MsgFlags::MSG_TRUNC) {
            return None;
        }
        let bytes = message.iovs().next().unwrap_or_default();
        if self.family == Family::V4 {
            let ip = Ipv4View::parse(bytes).ok()?;
            return Some(Metadata {
                slot,
                pdu: ip.header_len()..ip.packet().len(),
                source: ip.source().into(),
                destination: ip.destination().into(),
                hop_limit: ip.ttl(),
                arrived,
            });
        }
        let Sender(source) = message.address?.into();
        Some(Metadata {
            slot,
            pdu: 0..bytes.len(),
            source: source?.into(),
            destination: control.destination?.into(),
            hop_limit: control.hop_limit?,
            arrived,
        })
    }
}

impl AsFd for ReceiveSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Default for ReceiveBatch {
    fn default() -> Self {
        let buffers = vec![[0; PACKET_MAX]; BATCH].into_boxed_slice();
        let buffers = buffers.try_into().expect("the vector has as many elements as the array");
        Self { buffers, packets: Vec::with_capacity(BATCH) }
    }
}

impl std::fmt::Debug for ReceiveBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.packets()).finish()
    }
}

impl ReceiveBatch {
    /// The packets of the last [`ReceiveSocket::receive`].
    pub fn packets(&self) -> impl ExactSizeIterator<Item = Received<'_>> {
        self.packets.iter().map(|packet| {
            let buffer = self.buffers.get(packet.slot).map_or(&[][..], |b| &b[..]);
            let whole = buffer.get(..packet.pdu.end).unwrap_or_default();
            let ipv4 = packet.source.is_ipv4().then(|| Ipv4View::parse(whole).ok()).flatten();
            Received {
                source: packet.source,
                destination: packet.destination,
                hop_limit: packet.hop_limit,
                arrived: packet.arrived,
                pdu: whole.get(packet.pdu.start..).unwrap_or_default(),
                carrier_len: if ipv4.is_some() { packet.pdu.start } else { IPV6_HEADER_LEN },
                ipv4,
            }
        })
    }
}

/// The sender's address, where the socket tells it: IPv4 packets carry it themselves.
struct Sender(Option<Ipv6Addr>);

impl From<()> for Sender {
    fn from((): ()) -> Self {
        Self(None)
    }
}

impl From<SockaddrIn6> for Sender {
    fn from(address: SockaddrIn6) -> Self {
        Self(Some(address.ip()))
    }
}

#[derive(Default)]
struct Control {
    arrived: Option<SystemTime>,
    lost: Option<u32>,
    destination: Option<Ipv6Addr>,
    hop_limit: Option<u8>,
}

impl Control {
    fn of<S>(message: &RecvMsg<'_, '_, S>) -> Option<Self> {
        let mut control = Self::default();
        for item in message.cmsgs().ok()? {
            match item {
                ControlMessageOwned::ScmTimestampns(at) => {
                    control.arrived = SystemTime::UNIX_EPOCH.checked_add(Duration::from(at));
                }
                ControlMessageOwned::RxqOvfl(lost) => control.lost = Some(lost),
                ControlMessageOwned::Ipv6PacketInfo(info) => {
                    control.destination = Some(info.ipi6_addr.s6_addr.into());
                }
                ControlMessageOwned::Ipv6HopLimit(limit) => control.hop_limit = u8::try_from(limit).ok(),
                _ => {}
            }
        }
        Some(control)
    }
}

fn set_options(socket: &Socket, family: Family) -> Result<(), SocketError> {
    sockopt::ReceiveTimestampns.set(&socket, &true).during(Step::SetOption("SO_TIMESTAMPNS"))?;
    sockopt::RxqOvfl.set(&socket, &1).during(Step::SetOption("SO_RXQ_OVFL"))?;
    match family {
        Family::V4 => {
            socket.set_freebind_v4(true).during(Step::SetOption("IP_FREEBIND"))?;
            // Otherwise the socket also hears groups that others joined.
            socket.set_multicast_all_v4(false).during(Step::SetOption("IP_MULTICAST_ALL"))
        }
        Family::V6 => {
            socket.set_freebind_v6(true).during(Step::SetOption("IPV6_FREEBIND"))?;
            socket.set_multicast_all_v6(false).during(Step::SetOption("IPV6_MULTICAST_ALL"))?;
            socket.set_recv_hoplimit_v6(true).during(Step::SetOption("IPV6_RECVHOPLIMIT"))?;
            let info = sockopt::Ipv6RecvPacketInfo.set(&socket, &true);
            info.during(Step::SetOption("IPV6_RECVPKTINFO"))
        }
    }
}

fn join(socket: &Socket, group: IpAddr, interface: &Interface) -> Result<(), SocketError> {
    let joined = match group {
        IpAddr::V4(group) => {
            socket.join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(interface.index))
        }
        IpAddr::V6(group) => socket.join_multicast_v6(&group, interface.index),
    };
    joined.during(Step::JoinGroup { group, interface: interface.name.clone() })
}

fn bind(socket: &Socket, address: IpAddr, interface: Option<&Interface>) -> Result<(), SocketError> {
    let to = match address {
        IpAddr::V4(_) => SocketAddr::new(address, 0),
        IpAddr::V6(a) => SocketAddrV6::new(a, 0, 0, scope(a, interface)).into(),
    };
    socket.bind(&to.into()).during(Step::BindToAddress(address))
}

/// Empties the queue of a socket that takes in nothing new.
fn discard_queued(socket: &Socket) -> Result<(), SocketError> {
    loop {
        match socket.recv(&mut []) {
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e).during(Step::Receive),
        }
    }
}

/// Addresses of link scope are told apart by their interface.
pub(super) fn scope(address: Ipv6Addr, interface: Option<&Interface>) -> u32 {
    let multicast_link = address.is_multicast() && address.segments()[0] & 0xf == 2;
    match interface {
        Some(interface) if multicast_link || address.is_unicast_link_local() => interface.index,
        _ => 0,
    }
}
