//! The listening side of rtnetlink: multicast notifications, and complete readings of the kernel's tables.

use std::future::poll_fn;
use std::io;

use netlink_packet_core::{NlasIterator, Parseable, ParseableParametrized};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::{LinkAttribute, LinkHeader, LinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{AsyncSocket, SocketAddr, TokioSocket};
use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};
use rtnetlink::MulticastGroup;
use socket2::{SockFilter, SockRef};

use super::kernel::Kernel;
use super::links::Links;
use super::netlink::{Frame, Requester, frames, refusal, rtm};
use super::route::{self, HeldRoute};
use super::rule::{self, HeldRule};

const LINK_HEADER_LEN: usize = 16;
const READ_BUFFER: usize = 64 * 1024;

/// One notification.
#[derive(Debug)]
pub(super) enum Notice {
    Link(LinkMessage),
    LinkGone(u32),
    Address(AddressMessage),
    AddressGone(AddressMessage),
    /// The routes of this family and protocol (`rtm_family`, `rtm_protocol`) are not what they were.
    Routes {
        family: u8,
        protocol: u8,
    },
    Rules,
}

/// What a drain of the socket came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Drained {
    /// Every notification was seen.
    All,
    /// The kernel dropped some; only a complete reading tells the state.
    Overrun,
}

pub(super) struct Monitor {
    socket: TokioSocket,
    received: Vec<u8>,
    /// `received` holds what ended the wait; it comes first.
    ended_wait: Option<Drained>,
    own_port: u32,
    routes: bool,
    rules: bool,
}

impl Monitor {
    /// Listens to links and addresses. Notifications caused by `refresher` (renewed leases) are not wanted at
    /// all, and those about routes and rules caused by `own_port` are skipped.
    pub(super) fn open(buffer_bytes: usize, own_port: u32, refresher: u32) -> io::Result<Self> {
        let mut asynchronous = TokioSocket::new(NETLINK_ROUTE)?;
        let socket = asynchronous.socket_mut();
        SockRef::from(&*socket).attach_filter(&without_added_addresses_of(refresher))?;
        socket.bind(&SocketAddr::new(0, 0))?;
        if setsockopt(&*socket, sockopt::RcvBufForce, &buffer_bytes).is_err() {
            SockRef::from(&*socket).set_recv_buffer_size(buffer_bytes)?;
        }
        let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
        for group in groups {
            socket.add_membership(group as u32)?;
        }
        let received = Vec::with_capacity(READ_BUFFER);
        Ok(Self { socket: asynchronous, received, ended_wait: None, own_port, routes: false, rules: false })
    }

    /// Listen to routes too; on a router with full tables that is a lot, so only when routes are wanted.
    pub(super) fn follow_routes(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.routes, true) {
            return Ok(());
        }
        self.join(&[MulticastGroup::Ipv4Route, MulticastGroup::Ipv6Route])
    }

    pub(super) fn follow_rules(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.rules, true) {
            return Ok(());
        }
        self.join(&[MulticastGroup::Ipv4Rule, MulticastGroup::Ipv6Rule])
    }

    /// Waits for notifications; call `drain` then. Cancel-safe: what was read is kept.
    pub(super) async fn readable(&mut self) -> io::Result<()> {
        if self.ended_wait.is_some() {
            return Ok(());
        }
        self.received.clear();
        let (socket, received) = (&mut self.socket, &mut self.received);
        let ended = poll_fn(|context| socket.poll_recv(context, received)).await;
        self.ended_wait = Some(match ended {
            Ok(()) => Drained::All,
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Drained::Overrun,
            Err(error) => return Err(error),
        });
        Ok(())
    }

    /// Hands every queued notification to `each`, in the kernel's order, without waiting.
    pub(super) fn drain(&mut self, mut each: impl FnMut(Notice)) -> io::Result<Drained> {
        let mut drained = Drained::All;
        match self.ended_wait.take() {
            Some(Drained::All) => notices(&self.received, self.own_port).for_each(&mut each),
            Some(Drained::Overrun) => drained = Drained::Overrun,
            None => {}
        }
        loop {
            self.received.clear();
            match self.socket.socket_ref().recv(&mut self.received, libc::MSG_DONTWAIT) {
                Ok(_) => notices(&self.received, self.own_port).for_each(&mut each),
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => return Ok(drained),
                    Some(libc::EINTR) => {}
                    Some(libc::ENOBUFS) => drained = Drained::Overrun,
                    _ => return Err(error),
                },
            }
        }
    }

    fn join(&self, groups: &[MulticastGroup]) -> io::Result<()> {
        groups.iter().try_for_each(|group| self.socket.socket_ref().add_membership(*group as u32))
    }
}

/// A complete reading of links and addresses.
pub(super) fn snapshot(requester: &mut Requester) -> io::Result<(Vec<LinkMessage>, Vec<AddressMessage>)> {
    let mut links = Vec::new();
    requester.dump(rtm::GETLINK, &LinkMessage::default(), |frame| {
        links.extend(parse_link(frame.payload));
    })?;
    let mut addresses = Vec::new();
    requester.dump(rtm::GETADDR, &AddressMessage::default(), |frame| {
        addresses.extend(AddressMessage::parse(frame.payload).ok());
    })?;
    Ok((links, addresses))
}

/// What a table of interfaces comes to that hears this buffer of notifications and replies, all the other readers of
/// such bytes included. For the fuzz target `rtnetlink`.
#[doc(hidden)]
pub fn hear(received: &[u8]) -> Links {
    let mut kernel = Kernel::default();
    for notice in notices(received, u32::MAX) {
        kernel.note(&notice);
    }
    for frame in frames(received) {
        refusal(&frame);
        if let Some(route) = HeldRoute::read(frame.payload) {
            route::satisfies(&route, &route);
        }
        if let Some(rule) = HeldRule::read(frame.payload) {
            rule::satisfies(&rule, &rule);
        }
    }
    kernel.links
}

fn notices(received: &[u8], own_port: u32) -> impl Iterator<Item = Notice> {
    frames(received).filter_map(move |frame| notice(&frame, own_port))
}

fn notice(frame: &Frame<'_>, own_port: u32) -> Option<Notice> {
    match frame.kind {
        rtm::NEWLINK => parse_link(frame.payload).map(Notice::Link),
        rtm::DELLINK => parse_link(frame.payload).map(|message| Notice::LinkGone(message.header.index)),
        rtm::NEWADDR => AddressMessage::parse(frame.payload).ok().map(Notice::Address),
        rtm::DELADDR => AddressMessage::parse(frame.payload).ok().map(Notice::AddressGone),
        _ if frame.port == own_port => None,
        rtm::NEWROUTE | rtm::DELROUTE => {
            Some(Notice::Routes { family: *frame.payload.first()?, protocol: *frame.payload.get(5)? })
        }
        rtm::NEWRULE | rtm::DELRULE => Some(Notice::Rules),
        _ => None,
    }
}

/// Attribute by attribute, so that one which the crate cannot read does not hide the interface. Messages of other
/// families under the same number tell of bridge ports; wireless events carry no state.
fn parse_link(payload: &[u8]) -> Option<LinkMessage> {
    let mut message = LinkMessage::default();
    message.header = LinkHeader::parse(payload).ok()?;
    let family = message.header.interface_family;
    if family != AddressFamily::Unspec {
        return None;
    }
    message.attributes = NlasIterator::new(payload.get(LINK_HEADER_LEN..)?)
        .map_while(Result::ok)
        .filter_map(|attribute| LinkAttribute::parse_with_param(&attribute, family).ok())
        .collect();
    let wireless = |attribute: &LinkAttribute| matches!(attribute, LinkAttribute::Wireless(_));
    (!message.attributes.iter().any(wireless)).then_some(message)
}

/// Classic BPF over `struct nlmsghdr`: drop RTM_NEWADDR (offset 4) of one port (offset 12). BPF reads big-endian,
/// netlink writes host order.
fn without_added_addresses_of(port: u32) -> [SockFilter; 6] {
    let code = |code: u32| u16::try_from(code).expect("BPF codes are 16 bits");
    let load_half = code(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS);
    let load_word = code(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS);
    let equal = code(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K);
    let finish = code(libc::BPF_RET | libc::BPF_K);
    [
        SockFilter::new(load_half, 0, 0, 4),
        SockFilter::new(equal, 0, 3, u32::from(rtm::NEWADDR.to_be())),
        SockFilter::new(load_word, 0, 0, 12),
        SockFilter::new(equal, 0, 1, port.to_be()),
        SockFilter::new(finish, 0, 0, 0),
        SockFilter::new(finish, 0, 0, u32::MAX),
    ]
}
