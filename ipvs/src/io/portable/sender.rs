//! Frames out, by a packet socket: one for all interfaces.
#![expect(unsafe_code, reason = "no safe crate offers the addresses and options of packet sockets")]

use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::AsRawFd;

use nix::libc;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{SndBuf, SndBufForce};
use socket2::{Domain, SockAddr, SockAddrStorage, Socket, Type};
use thiserror::Error;

use crate::io::next_hop::NextHop;
use crate::io::virtio::Header;

/// Sends frames, merged or with half-made checksums as their [`Header`] says.
#[derive(Debug)]
pub struct Sender(Socket);

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    Sent,
    /// The interface or the socket has no room. The frame is lost, as it is in a router whose queue is full.
    Full,
}

#[derive(Debug, Error)]
pub enum SendError {
    #[error("cannot open a packet socket")]
    Open(#[source] io::Error),
    #[error("cannot send by interface {interface}")]
    Send {
        interface: u32,
        #[source]
        source: io::Error,
    },
    #[error("a frame without link-layer addresses")]
    Truncated,
}

/// Bytes that may wait in queues of interfaces, where the kernel permits it.
const QUEUE: usize = 8 << 20;
const ADDRESSES: usize = 12;
/// `PACKET_VNET_HDR` (`linux/if_packet.h`)
const PACKET_VNET_HDR: libc::c_int = 15;

impl Sender {
    /// For the interfaces in the network namespace of this thread.
    ///
    /// # Errors
    /// The kernel does not permit it (`CAP_NET_RAW`).
    pub fn open() -> Result<Self, SendError> {
        // Of no protocol: nothing is received.
        let socket = Socket::new(Domain::PACKET, Type::RAW, None).map_err(SendError::Open)?;
        socket.set_nonblocking(true).map_err(SendError::Open)?;
        expect_headers(&socket).map_err(SendError::Open)?;
        // Only the initial user namespace may have more than the limit.
        setsockopt(&socket, SndBufForce, &QUEUE)
            .or_else(|_| setsockopt(&socket, SndBuf, &QUEUE))
            .map_err(|error| SendError::Open(error.into()))?;
        Ok(Self(socket))
    }

    /// Sends a frame to a next hop. Its link-layer addresses are not read: those of the next hop go in their place.
    /// Does not wait.
    ///
    /// # Errors
    /// The interface is down or gone, the frame is longer than its MTU and not to be cut (`EMSGSIZE`), or contradicts
    /// its header (`EINVAL`). It is lost.
    pub fn send(&self, next_hop: &NextHop, header: &Header, frame: &[u8]) -> Result<Sent, SendError> {
        let packet = frame.get(ADDRESSES..).ok_or(SendError::Truncated)?;
        let header = header.to_bytes();
        let parts: [&[u8]; 4] = [&header, &next_hop.destination, &next_hop.source, packet];
        let parts = parts.map(IoSlice::new);
        let address = address_of(next_hop);
        loop {
            match self.0.send_to_vectored(&parts, &address) {
                Ok(_) => return Ok(Sent::Sent),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Sent::Full),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => return Ok(Sent::Full),
                Err(source) => return Err(SendError::Send { interface: next_hop.interface, source }),
            }
        }
    }
}

/// Has a header of [`Header::SIZE`] bytes before each frame.
fn expect_headers(socket: &Socket) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the option takes one `int`, which lives through the call and is as long as is said.
    let outcome = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            PACKET_VNET_HDR,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if outcome < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Of no protocol: the kernel reads in the frame what it is.
fn address_of(next_hop: &NextHop) -> SockAddr {
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: `sockaddr_ll` is an address of Linux, and the storage is all zeros, which are valid in it.
    let link = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    // A constant within 16 bits.
    link.sll_family = libc::AF_PACKET as u16;
    link.sll_ifindex = next_hop.interface.cast_signed();
    // SAFETY: the storage holds an address of that family, which is so long.
    unsafe { SockAddr::new(storage, size_of::<libc::sockaddr_ll>() as libc::socklen_t) }
}
