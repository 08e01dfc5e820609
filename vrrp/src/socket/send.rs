use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::libc;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, sendmmsg};
use socket2::Socket;

use super::receive::scope;
use super::{During, Interface, SocketError, Step, bind_to_device, open, set_priority};
use crate::identity::Family;
use crate::packet::Outgoing;

/// Frames handed to the kernel by one call.
const BATCH: usize = 64;

/// A raw socket that sends whole IP packets, as [`AdvertisementFrame`](crate::AdvertisementFrame) makes them.
#[derive(Debug)]
pub struct SendSocket {
    socket: Socket,
    interface: Option<Interface>,
}

impl SendSocket {
    /// Opens a socket that sends out of `interface`, or, without one, where the routes lead.
    pub fn open(family: Family, interface: Option<&Interface>) -> Result<Self, SocketError> {
        // This protocol includes the IP header and receives nothing.
        let socket = open(family, libc::IPPROTO_RAW.into())?;
        set_priority(&socket)?;
        match family {
            Family::V4 => {
                socket.set_multicast_loop_v4(false).during(Step::SetOption("IP_MULTICAST_LOOP"))?;
            }
            Family::V6 => {
                socket.set_multicast_loop_v6(false).during(Step::SetOption("IPV6_MULTICAST_LOOP"))?;
            }
        }
        if let Some(interface) = interface {
            bind_to_device(&socket, interface)?;
        }
        Ok(Self { socket, interface: interface.cloned() })
    }

    /// Sends one packet. A full send buffer is an error of kind `WouldBlock`: an advertisement that has to
    /// wait is worth less than the next one.
    pub fn send(&self, outgoing: Outgoing<'_>) -> Result<(), SocketError> {
        let to = self.socket_address(outgoing.destination).into();
        let flags = flags(outgoing.destination).bits();
        self.socket.send_to_with_flags(outgoing.packet, &to, flags).during(Step::Send)?;
        Ok(())
    }

    /// Sends packets in their order with few system calls. One that fails is reported to `failed` with its
    /// place and does not keep the others back.
    pub fn send_batch(&self, packets: &[Outgoing<'_>], mut failed: impl FnMut(usize, SocketError)) {
        // A call has one set of flags, so a change of destination kind starts another.
        let mut done = 0;
        for run in packets.chunk_by(|a, b| flags(a.destination) == flags(b.destination)) {
            for chunk in run.chunks(BATCH) {
                self.send_chunk(chunk, |at, error| failed(done + at, error));
                done += chunk.len();
            }
        }
    }

    fn send_chunk(&self, chunk: &[Outgoing<'_>], mut failed: impl FnMut(usize, SocketError)) {
        let mut at = 0;
        while let Some(rest) = chunk.get(at..).filter(|rest| !rest.is_empty()) {
            match self.send_some(rest) {
                Ok(sent) if sent > 0 => at += sent,
                Err(nix::errno::Errno::EINTR) => {}
                Ok(_) => {
                    let source = io::ErrorKind::WriteZero.into();
                    failed(at, SocketError { step: Step::Send, source });
                    at += 1;
                }
                Err(errno) => {
                    failed(at, SocketError { step: Step::Send, source: errno.into() });
                    at += 1;
                }
            }
        }
    }

    /// Sends the first packets of `chunk`; an error is that of the very first.
    fn send_some(&self, chunk: &[Outgoing<'_>]) -> nix::Result<usize> {
        let Some(first) = chunk.first() else { return Ok(0) };
        let packets: Vec<[IoSlice<'_>; 1]> = chunk.iter().map(|o| [IoSlice::new(o.packet)]).collect();
        let to = |o: &Outgoing<'_>| Some(SockaddrStorage::from(self.socket_address(o.destination)));
        let addresses: Vec<Option<SockaddrStorage>> = chunk.iter().map(to).collect();
        let mut headers = MultiHeaders::preallocate(chunk.len(), None);
        let flags = flags(first.destination) | MsgFlags::MSG_DONTWAIT;
        let fd = self.socket.as_raw_fd();
        let sent = sendmmsg(fd, &mut headers, packets.iter(), &addresses, [], flags)?;
        Ok(sent.count())
    }

    fn socket_address(&self, destination: IpAddr) -> SocketAddr {
        match destination {
            IpAddr::V4(_) => SocketAddr::new(destination, 0),
            IpAddr::V6(a) => SocketAddrV6::new(a, 0, 0, scope(a, self.interface.as_ref())).into(),
        }
    }
}

impl AsFd for SendSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Multicast stays on the link whatever the routes say.
fn flags(destination: IpAddr) -> MsgFlags {
    let bits = if destination.is_multicast() { libc::MSG_DONTROUTE } else { 0 };
    // nix has no name for this flag.
    MsgFlags::from_bits_retain(bits)
}
