//! Sockets of sync daemons.
#![expect(unsafe_code, reason = "socket options that no safe crate offers")]

use std::io::{self, Read};
use std::mem::{size_of, size_of_val};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr::from_ref;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBufForce;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};

use super::interface::Interface;
use crate::plane::{SyncDaemon, SyncRole};

/// What waits in the kernel for a backup that does something else: 100,000 records, which is more than what a master with
/// a million connections tells in a second.
const RECEIVE_BUFFER: usize = 4 << 20;

/// The socket of a sync daemon. It does not wait, and is bound to its interface.
#[derive(Debug)]
pub struct SyncSocket(Socket);

impl SyncSocket {
    /// A master's is connected to the group, from an address of the interface and any port. A backup's is a member of the
    /// group and bound to it: datagrams to an address of this host are none of its own.
    pub(super) fn open(daemon: &SyncDaemon, interface: Interface) -> io::Result<Self> {
        let group = daemon.group.unwrap_or(SyncDaemon::DEFAULT_GROUP);
        let port = daemon.port.unwrap_or(SyncDaemon::DEFAULT_PORT);
        let to = match group {
            IpAddr::V4(_) => SocketAddr::new(group, port),
            IpAddr::V6(group) => SocketAddrV6::new(group, port, 0, interface.index).into(),
        };
        let socket = Socket::new(Domain::for_address(to), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        socket.bind_device(Some(daemon.interface.as_bytes()))?;
        let socket = Self(socket);
        match daemon.role {
            SyncRole::Master => {
                socket.send_to_group(group, interface, daemon.ttl.unwrap_or(SyncDaemon::DEFAULT_TTL))?;
                socket.0.connect(&to.into())?;
                socket.check_source()?;
            }
            SyncRole::Backup => {
                socket.0.set_reuse_address(true)?;
                socket.lengthen_buffer()?;
                socket.0.bind(&to.into())?;
                socket.join(group, interface)?;
            }
        }
        Ok(socket)
    }

    fn send_to_group(&self, group: IpAddr, interface: Interface, ttl: u8) -> io::Result<()> {
        let Self(socket) = self;
        match group {
            IpAddr::V4(_) => {
                socket.set_multicast_ttl_v4(ttl.into())?;
                socket.set_multicast_loop_v4(false)?;
                // A message that is longer than the interface takes leaves in fragments, as those of the kernel.
                self.set_option(libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, &libc::IP_PMTUDISC_DONT)
            }
            IpAddr::V6(_) => {
                socket.set_multicast_if_v6(interface.index)?;
                socket.set_multicast_hops_v6(ttl.into())?;
                socket.set_multicast_loop_v6(false)
            }
        }
    }

    /// Whether the interface has an address to send from: the stack of IPv4 would send from 0.0.0.0.
    fn check_source(&self) -> io::Result<()> {
        let source = self.0.local_addr()?.as_socket_ipv4();
        if source.is_some_and(|source| *source.ip() == Ipv4Addr::UNSPECIFIED) {
            return Err(Errno::EADDRNOTAVAIL.into());
        }
        Ok(())
    }

    fn join(&self, group: IpAddr, interface: Interface) -> io::Result<()> {
        match group {
            IpAddr::V4(group) => {
                self.0.join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(interface.index))
            }
            IpAddr::V6(group) => self.0.join_multicast_v6(&group, interface.index),
        }
    }

    fn lengthen_buffer(&self) -> io::Result<()> {
        // Without the privilege for it: as long as the host allows.
        setsockopt(&self.0, RcvBufForce, &RECEIVE_BUFFER)
            .or_else(|_| self.0.set_recv_buffer_size(RECEIVE_BUFFER))
    }

    /// Where a master sends from, or what a backup is bound to.
    ///
    /// # Errors
    /// The kernel says no.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()?.as_socket().ok_or_else(|| Errno::EAFNOSUPPORT.into())
    }

    /// Sends a message to the group.
    pub(super) fn send(&self, message: &[u8]) -> io::Result<()> {
        self.0.send(message).map(drop)
    }

    /// Reads one datagram, and says how long it is. What is longer than the buffer is cut off, as by the kernel's backup.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.0).read(buffer)
    }

    /// Datagrams that came while the buffer was full, since the socket was opened.
    pub(super) fn dropped(&self) -> io::Result<u32> {
        /// `SK_MEMINFO_DROPS` (`linux/sock_diag.h`), the last of them.
        const DROPS: usize = 8;
        let mut numbers = [0_u32; DROPS + 1];
        let mut length = libc::socklen_t::try_from(size_of_val(&numbers)).unwrap_or(0);
        // SAFETY: the kernel writes at most `length` bytes, which is the size of what is borrowed here.
        let outcome = unsafe {
            libc::getsockopt(
                self.0.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_MEMINFO,
                numbers.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        if outcome < 0 { Err(io::Error::last_os_error()) } else { Ok(numbers[DROPS]) }
    }

    fn set_option(&self, level: libc::c_int, name: libc::c_int, value: &libc::c_int) -> io::Result<()> {
        let length = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or(0);
        let pointer = from_ref(value).cast();
        // SAFETY: the kernel reads `length` bytes, which is the size of what is borrowed here.
        let outcome = unsafe { libc::setsockopt(self.0.as_raw_fd(), level, name, pointer, length) };
        if outcome < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

impl AsFd for SyncSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
