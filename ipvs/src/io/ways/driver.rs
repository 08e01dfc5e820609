//! The sockets around a [`Topology`].

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use netlink_packet_core::{NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;
use nix::libc;
use socket2::SockRef;
use thiserror::Error;

use super::answers::{Question, Route};
use super::message::Event;
use super::next_hop_table::NextHopTable;
use super::topology::{Effect, Lookup, Topology};
use super::{Changed, Way, message};
use crate::engine::address::Address;
use crate::io::bpf::MapError;
use crate::io::next_hop::{NextHop, NextHopIndex, NextHops};
use crate::kernel::{error_of, frames};

/// Links, neighbours, addresses, routes and rules of both families, and next-hop objects (`RTNLGRP_*`).
const GROUPS: [u32; 9] = [1, 3, 5, 7, 8, 9, 11, 19, 32];
/// The kernel answers within the send, dumps aside, which it prepares for each read: what takes longer is lost.
const PATIENCE: Duration = Duration::from_millis(20);
/// The kernel fills at most 32 KiB for one read of a dump.
const READ_BUFFER: usize = 64 * 1024;
/// Bytes of events that wait until they are read: a table of routes that is replaced at once is some thousand messages
/// of 100 bytes, each of which the kernel counts as 768 and more.
const EVENT_BUFFER: usize = 4 << 20;
/// So many datagrams are read before others get their turn.
const DATAGRAMS_AT_ONCE: usize = 256;
/// A dump is repeated when routes changed meanwhile; those that never rest are taken as read, as the events about it
/// follow.
const DUMP_ATTEMPTS: usize = 4;

/// Where next hops are written to.
pub trait NextHopWriter {
    /// # Errors
    /// It was not written.
    fn write(&mut self, index: NextHopIndex, next_hop: Option<&NextHop>) -> Result<(), MapError>;
}

impl<T: std::ops::Deref<Target = NextHops>> NextHopWriter for T {
    fn write(&mut self, index: NextHopIndex, next_hop: Option<&NextHop>) -> Result<(), MapError> {
        self.set(index, next_hop)
    }
}

#[derive(Debug, Error)]
pub enum WaysError {
    #[error("cannot listen to routes and neighbours of the kernel")]
    Socket(#[source] io::Error),
    #[error("cannot read routes and neighbours of the kernel")]
    Dump(#[source] io::Error),
    #[error("cannot write a next hop")]
    Write(#[source] MapError),
}

/// The ways from this host, in the network namespace that it was opened in. Belongs to one thread, which waits until its
/// descriptor is readable or [`Self::poll_timeout`] has come.
pub struct Ways<W> {
    topology: Topology,
    events: Socket,
    questions: Socket,
    writer: W,
    sequence: u32,
    received: Vec<u8>,
    asked: u64,
    /// Events were lost: nothing is taken for granted until a new dump.
    overrun: bool,
    opened: Instant,
}

impl<W: NextHopWriter> Ways<W> {
    /// Reads all that the kernel has. `capacity` is the length of the array that `writer` writes to. Entries that are not
    /// empty have to be [adopted](Self::adopt).
    ///
    /// # Errors
    /// The kernel says no.
    pub fn open(capacity: u32, writer: W, now: Instant) -> Result<Self, WaysError> {
        let events = open_events().map_err(WaysError::Socket)?;
        let questions = open_questions().map_err(WaysError::Socket)?;
        let mut ways = Self {
            topology: Topology::new(capacity, now),
            events,
            questions,
            writer,
            sequence: 0,
            received: Vec::with_capacity(READ_BUFFER),
            asked: 0,
            overrun: false,
            opened: now,
        };
        ways.dump()?;
        ways.topology.take_changed();
        Ok(ways)
    }

    /// The way to an address for packets with that mark, and from that address if it is one of this host. Waits for the
    /// kernel where it has to be asked, in microseconds. `None` if it did not answer in time; ask again with the next packet.
    pub fn way_to(&mut self, destination: Address, mark: u32, from: Option<Address>) -> Option<Way> {
        let way = match self.topology.look_up(destination, mark, from) {
            Lookup::Known(way) => way,
            Lookup::Ask(_) => self.ask_way(destination, mark, from)?,
        };
        // What cannot be written stays to be written, and the next call that may fail tells why.
        drop(self.carry_out());
        Some(way)
    }

    /// See [`Topology::hold`].
    pub fn hold(&mut self, way: &Way) -> Option<NextHopIndex> {
        let index = self.topology.hold(way);
        drop(self.carry_out());
        index
    }

    /// See [`Topology::release`].
    pub fn release(&mut self, index: NextHopIndex) {
        self.topology.release(index);
    }

    /// See [`Topology::adopt`].
    pub fn adopt(&mut self, index: NextHopIndex, next_hop: NextHop) -> bool {
        self.topology.adopt(index, next_hop)
    }

    /// See [`Topology::learn_path_mtu`].
    pub fn learn_path_mtu(&mut self, destination: Address, mtu: u32) {
        self.topology.learn_path_mtu(destination, mtu);
    }

    /// Whether it is an address of this host.
    pub fn is_local(&self, address: Address) -> bool {
        self.topology.is_local(address)
    }

    /// Interfaces with Ethernet headers that are not loopback, by their index.
    pub fn interfaces(&self) -> impl Iterator<Item = u32> {
        self.topology.interfaces()
    }

    /// What the array holds, for those who write frames themselves.
    pub const fn next_hops(&self) -> &NextHopTable {
        self.topology.next_hops()
    }

    /// Questions for routes that the kernel was asked.
    pub const fn questions_asked(&self) -> u64 {
        self.asked
    }

    /// Takes in what the kernel tells, and says what it means for ways that were handed out. Call it again if the
    /// descriptor is readable still.
    ///
    /// # Errors
    /// The kernel could not be listened to, or a next hop not be written. What was read before counts; the next call goes
    /// on from there.
    pub fn handle_readable(&mut self) -> Result<Vec<Changed>, WaysError> {
        self.read_events()?;
        self.catch_up()
    }

    /// When to call [`Self::handle_timeout`]. May be earlier after any other call.
    pub fn poll_timeout(&self) -> Instant {
        if self.overrun { self.opened } else { self.topology.poll_timeout() }
    }

    /// Says what has changed, as [`Self::handle_readable`] does: lookups read events too.
    ///
    /// # Errors
    /// The kernel could not be asked, or a next hop not be written: tried anew by the next call, which had better come
    /// later, although [`Self::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<Vec<Changed>, WaysError> {
        self.topology.handle_timeout(now);
        self.catch_up()
    }

    fn ask_way(&mut self, destination: Address, mark: u32, from: Option<Address>) -> Option<Way> {
        // An answer counts for all addresses within the prefixes that are known, so that these have to be of now.
        drop(self.read_events());
        match self.topology.look_up(destination, mark, from) {
            Lookup::Known(way) => Some(way),
            Lookup::Ask(question) => {
                let route = self.ask(&question)?;
                Some(self.topology.answer(&question, route))
            }
        }
    }

    fn read_events(&mut self) -> Result<(), WaysError> {
        for _ in 0..DATAGRAMS_AT_ONCE {
            match receive(&self.events, &mut self.received) {
                Ok(()) => self.take_in(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // There were more than there is room for.
                Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => {
                    self.overrun = true;
                    self.topology.handle(Event::Unreadable);
                }
                Err(error) => return Err(WaysError::Socket(error)),
            }
        }
        Ok(())
    }

    fn catch_up(&mut self) -> Result<Vec<Changed>, WaysError> {
        if self.overrun || self.topology.wants_dump() {
            self.dump()?;
        }
        self.carry_out()?;
        Ok(self.topology.take_changed())
    }

    fn take_in(&mut self) {
        for frame in frames(&self.received).map_while(Result::ok) {
            if let Some(event) = message::event(frame.kind, frame.payload) {
                self.topology.handle(event);
            }
        }
    }

    fn carry_out(&mut self) -> Result<(), WaysError> {
        while let Some(effect) = self.topology.poll_effect() {
            match effect {
                Effect::Write { index, next_hop } => {
                    self.writer.write(index, next_hop.as_ref()).map_err(WaysError::Write)?;
                    self.topology.written(index);
                }
                Effect::Resolve { interface, neighbour } => {
                    let sequence = self.next_sequence();
                    // In vain if the interface is gone, as the next event will say.
                    drop(self.request(&message::resolve(interface, neighbour, sequence)));
                }
            }
        }
        Ok(())
    }

    /// `None` if the answer is none, or did not come.
    fn ask(&mut self, question: &Question) -> Option<Route> {
        let sequence = self.next_sequence();
        self.asked += 1;
        match self.request(&message::ask_route(question, sequence)) {
            Ok(answer) => answer,
            Err(error) => message::no_route(Errno::from_raw(error.raw_os_error()?)),
        }
    }

    /// Sends one request, and waits for its answer or acknowledgement.
    fn request(&mut self, bytes: &[u8]) -> io::Result<Option<Route>> {
        send(&self.questions, bytes)?;
        loop {
            receive(&self.questions, &mut self.received)?;
            for frame in frames(&self.received) {
                let frame = frame.map_err(malformed)?;
                // What has another number answers a request that was given up.
                if frame.sequence != self.sequence {
                    continue;
                }
                return match frame.kind {
                    NLMSG_ERROR => {
                        error_of(frame.payload).map_err(malformed)?.map_or(Ok(None), |e| Err(e.into()))
                    }
                    _ => Ok(message::answer(frame.payload)),
                };
            }
        }
    }

    /// Begins anew from what the kernel has now. Events that it has told of meanwhile are read afterwards.
    fn dump(&mut self) -> Result<(), WaysError> {
        let outcome = self.read_all();
        if outcome.is_err() {
            self.topology.handle(Event::Unreadable);
        }
        self.topology.end_dump();
        self.overrun = outcome.is_err();
        outcome.map_err(WaysError::Dump)
    }

    fn read_all(&mut self) -> io::Result<()> {
        for _ in 0..DUMP_ATTEMPTS {
            self.topology.begin_dump();
            let mut interrupted = false;
            for request in message::dumps() {
                let sequence = self.next_sequence();
                interrupted |= self.read_dump(&message::ask_dump(request, sequence))?;
            }
            if !interrupted {
                break;
            }
        }
        Ok(())
    }

    /// Tells whether something changed while it was made.
    fn read_dump(&mut self, request: &[u8]) -> io::Result<bool> {
        send(&self.questions, request)?;
        let mut interrupted = false;
        loop {
            receive(&self.questions, &mut self.received)?;
            for frame in frames(&self.received) {
                let frame = frame.map_err(malformed)?;
                if frame.sequence != self.sequence {
                    continue;
                }
                interrupted |= frame.flags & NLM_F_DUMP_INTR != 0;
                if frame.kind == NLMSG_ERROR || frame.kind == NLMSG_DONE {
                    return match error_of(frame.payload).map_err(malformed)? {
                        Some(errno) => Err(errno.into()),
                        None => Ok(interrupted),
                    };
                }
                if let Some(event) = message::event(frame.kind, frame.payload) {
                    self.topology.handle(event);
                }
            }
        }
    }

    const fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }
}

impl<W> AsFd for Ways<W> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }
}

impl<W> fmt::Debug for Ways<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ways").field("asked", &self.asked).finish_non_exhaustive()
    }
}

fn open_events() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    // From the kernel alone.
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.set_non_blocking(true)?;
    // Beyond what the host allows, if it lets us; less than asked for only means new dumps more often.
    let room = EVENT_BUFFER;
    if nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::RcvBufForce, &room).is_err() {
        SockRef::from(&socket).set_recv_buffer_size(room)?;
    }
    for group in GROUPS {
        match socket.add_membership(group) {
            // Older kernels have fewer groups, and none of what those tell of.
            Err(error) if error.raw_os_error() != Some(Errno::EINVAL as i32) => return Err(error),
            _ => {}
        }
    }
    Ok(socket)
}

fn open_questions() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.set_cap_ack(true)?;
    SockRef::from(&socket).set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

fn send(socket: &Socket, bytes: &[u8]) -> io::Result<()> {
    loop {
        match socket.send(bytes, 0) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn receive(socket: &Socket, into: &mut Vec<u8>) -> io::Result<()> {
    loop {
        into.clear();
        match socket.recv(into, libc::MSG_TRUNC) {
            Ok(len) if len > into.len() => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{len} bytes at once")));
            }
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn malformed(error: netlink_packet_core::DecodeError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
