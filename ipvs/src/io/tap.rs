//! The TAP device between the kernel and the engine: where packets come that need a decision, and where they go back.
//!
//! Frames keep what the kernel knows about them (segmentation offload, checksums that are not made yet) in a
//! [`virtio::Header`](Header). Their link-layer addresses mean nothing there; in their place stands a tag.
#![expect(unsafe_code, reason = "no safe crate offers the ioctls of TAP devices")]

mod netlink;

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::libc;
use socket2::{Domain, Socket, Type};
use thiserror::Error;

use super::virtio::Header;

/// A tag in place of the link-layer addresses of a frame: two times two bytes that say what it is, and a number of four
/// bytes in the machine's order. The first byte is that of addresses that no vendor gives away.
pub(super) mod tag {
    /// The number is the interface that the frame came in by.
    pub(in crate::io) const INTERFACE: [u8; 2] = [0x02, 0x00];
    /// In place of the second address: the number is the mark that it came in with.
    pub(in crate::io) const MARK: [u8; 2] = [0x02, 0x01];
    /// The number is the next hop that the frame is to go to.
    pub(in crate::io) const NEXT_HOP: [u8; 2] = [0x02, 0x02];
    /// Where the number begins.
    pub(in crate::io) const NUMBER: i16 = 2;
    /// Where the second address begins.
    pub(in crate::io) const SECOND: i16 = 6;
}

/// The IPv4 dummy address (RFC 7600, 4.8), which nobody sends to.
const DUMMY: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 8);
/// The TAP's own address: frames to it go to the host's stack.
const ADDRESS: [u8; 6] = [0x02, 0x03, 0, 0, 0, 0];

/// Where a frame came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The index of the interface that it came in by.
    pub interface: u32,
    /// Its mark.
    pub mark: u32,
}

/// Where a frame goes that is written to the TAP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// Where its flow says, rewritten as its flow says. Lost if there is no such flow any more. Frames that were read are
    /// such frames, as they are.
    ByFlow,
    /// To a next hop, as it is.
    NextHop(super::next_hop::NextHopIndex),
    /// To the stack of this host, as if the TAP had received it.
    Host,
}

impl Arrival {
    /// What the tag of a frame says. `None`: it does not come from our program, but from the stack of this host.
    pub fn of(frame: &[u8]) -> Option<Self> {
        let &[a, b, i, n, t, f, c, d, m, a_, r, k] = frame.first_chunk::<12>()?;
        ([a, b] == tag::INTERFACE && [c, d] == tag::MARK).then(|| Self {
            interface: u32::from_ne_bytes([i, n, t, f]),
            mark: u32::from_ne_bytes([m, a_, r, k]),
        })
    }
}

impl Departure {
    /// Tags a frame. Does nothing to what is none, for want of room.
    pub fn put(self, frame: &mut [u8]) {
        let Some(place) = frame.first_chunk_mut::<6>() else { return };
        let tagged = |[a, b]: [u8; 2], number: u32| {
            let [c, d, e, f] = number.to_ne_bytes();
            [a, b, c, d, e, f]
        };
        *place = match self {
            Self::ByFlow => tagged(tag::INTERFACE, 0),
            Self::NextHop(index) => tagged(tag::NEXT_HOP, index.0),
            Self::Host => ADDRESS,
        };
    }
}

/// A TAP device, gone when this is.
#[derive(Debug)]
pub struct Tap {
    file: File,
    name: String,
    index: u32,
}

#[derive(Debug, Error)]
pub enum TapError {
    #[error("cannot open /dev/net/tun")]
    Open(#[source] io::Error),
    #[error("{0:?} is no name of an interface")]
    Name(String),
    #[error("cannot {doing} the TAP device {name}")]
    Configure {
        doing: &'static str,
        name: String,
        #[source]
        source: io::Error,
    },
}

/// `struct ifreq` (`linux/if.h`)
#[repr(C, align(8))]
struct InterfaceRequest {
    name: [u8; libc::IFNAMSIZ],
    value: [u8; 24],
}

/// What the kernel may leave to us (`linux/if_tun.h`): checksums, and cutting packets of TCP, with ECN or without.
const TUN_F_TCP: libc::c_uint = 0x01 | 0x02 | 0x04 | 0x08;
/// And datagrams. Since Linux 6.2.
const TUN_F_USO: libc::c_uint = 0x20 | 0x40;
/// Frames that wait to be read. What comes when so many wait is lost; at a million new connections per second it is what
/// comes in ten milliseconds.
const QUEUE: u32 = 10_000;

impl Tap {
    /// Makes the device, in the network namespace of this thread, and sets it up. In `name` the kernel replaces `%d` by
    /// a number.
    ///
    /// # Errors
    /// The name is taken, or the kernel does not permit it.
    pub fn create(name: &str) -> Result<Self, TapError> {
        let bad_name = || TapError::Name(name.to_owned());
        let mut request = InterfaceRequest::new(name).ok_or_else(bad_name)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC);
        let file = options.open("/dev/net/tun").map_err(TapError::Open)?;
        let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | libc::IFF_TUN_EXCL;
        // All of them are within 16 bits.
        request.set(&(flags as u16).to_ne_bytes());
        request.make(file.as_fd(), libc::TUNSETIFF).map_err(|source| TapError::Configure {
            doing: "make",
            name: name.to_owned(),
            source,
        })?;
        let name = request.name().ok_or_else(bad_name)?;
        let index = nix::net::if_::if_nametoindex(name.as_str());
        let mut tap = Self { file, name, index: 0 };
        tap.index = tap.done("find", index.map_err(io::Error::from))?;
        tap.configure()?;
        Ok(tap)
    }

    fn configure(&self) -> Result<(), TapError> {
        let offloads = self.set_offloads(TUN_F_TCP | TUN_F_USO).or_else(|_| self.set_offloads(TUN_F_TCP));
        self.done("set offloads of", offloads)?;
        self.keep_quiet();
        self.be_believed();
        self.done("set the queue of", netlink::set_length(self.index, QUEUE))?;
        let socket = self.done("configure", Socket::new(Domain::UNIX, Type::DGRAM, None))?;
        let mut address = libc::ARPHRD_ETHER.to_ne_bytes().to_vec();
        address.extend(ADDRESS);
        let up = libc::IFF_UP | libc::IFF_RUNNING | libc::IFF_NOARP | libc::IFF_BROADCAST;
        // All of them are within 16 bits.
        let up = (up as u16).to_ne_bytes();
        for (doing, request, value) in [
            ("set the address of", libc::SIOCSIFHWADDR, address.as_slice()),
            ("set up", libc::SIOCSIFFLAGS, &up),
        ] {
            let outcome = InterfaceRequest::new(&self.name)
                .ok_or_else(|| io::Error::from(ErrorKind::InvalidInput))
                .and_then(|mut interface| {
                    interface.set(value);
                    interface.make(socket.as_fd(), request)
                });
            self.done(doing, outcome)?;
        }
        Ok(())
    }

    fn set_offloads(&self, offloads: libc::c_uint) -> io::Result<()> {
        // SAFETY: its argument is a number, no pointer.
        let outcome =
            unsafe { libc::ioctl(self.file.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(offloads)) };
        if outcome < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// The host is to have no IPv6 address of its own there, nor look for routers. Where it cannot be told so there is
    /// no IPv6; a frame too many does no harm.
    fn keep_quiet(&self) {
        let setting = format!("/proc/sys/net/ipv6/conf/{}/addr_gen_mode", self.name);
        drop(std::fs::write(setting, "1"));
    }

    /// What is given back to the host comes from hosts that are reached by other interfaces, which a host with strict
    /// reverse-path filtering would take for forged. Of what is set for all interfaces and for this one the larger
    /// number counts: 2 is loose. Loose filtering takes nothing from an interface without an address.
    fn be_believed(&self) {
        let all = std::fs::read_to_string("/proc/sys/net/ipv4/conf/all/rp_filter").unwrap_or_default();
        if all.trim() == "1" {
            let setting = format!("/proc/sys/net/ipv4/conf/{}/rp_filter", self.name);
            drop(std::fs::write(setting, "2"));
        }
        drop(netlink::add_address(self.index, DUMMY));
    }

    fn done<T>(&self, doing: &'static str, outcome: io::Result<T>) -> Result<T, TapError> {
        outcome.map_err(|source| TapError::Configure { doing, name: self.name.clone(), source })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The index of the interface.
    pub const fn index(&self) -> u32 {
        self.index
    }

    /// Reads frames until there is room for no more or none is left. Does not wait.
    ///
    /// # Errors
    /// The kernel says no: the device was removed.
    pub fn receive(&self, frames: &mut Frames) -> io::Result<()> {
        frames.filled = 0;
        while let Some(frame) = frames.frames.get_mut(frames.filled) {
            let mut parts = [
                IoSliceMut::new(&mut frame.header),
                IoSliceMut::new(frame.bytes.get_mut(ROOM..).unwrap_or_default()),
            ];
            match (&self.file).read_vectored(&mut parts) {
                Ok(length) => {
                    frame.length = length.saturating_sub(Header::SIZE);
                    frames.filled += 1;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes one frame.
    ///
    /// # Errors
    /// The frame contradicts its header (`EINVAL`), or the kernel has no memory for it. The frame is lost.
    pub fn send(&self, header: &Header, frame: &[u8]) -> io::Result<()> {
        let header = header.to_bytes();
        loop {
            match (&self.file).write_vectored(&[IoSlice::new(&header), IoSlice::new(frame)]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                outcome => return outcome.map(drop),
            }
        }
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl InterfaceRequest {
    fn new(name: &str) -> Option<Self> {
        let mut request = Self { name: [0; libc::IFNAMSIZ], value: [0; 24] };
        // A NUL has to follow.
        let fits = !name.is_empty() && name.len() < request.name.len() && !name.contains('\0');
        request.name.get_mut(..name.len()).filter(|_| fits)?.copy_from_slice(name.as_bytes());
        Some(request)
    }

    /// What does not fit is left out.
    fn set(&mut self, value: &[u8]) {
        for (place, byte) in self.value.iter_mut().zip(value) {
            *place = *byte;
        }
    }

    fn name(&self) -> Option<String> {
        let name = self.name.split(|byte| *byte == 0).next()?;
        std::str::from_utf8(name).ok().map(str::to_owned)
    }

    /// `request` is one that takes a `struct ifreq`.
    fn make(&mut self, fd: BorrowedFd<'_>, request: libc::Ioctl) -> io::Result<()> {
        let pointer: *mut Self = self;
        // SAFETY: it has the size of `struct ifreq`, which is all that these requests read and write, holds no
        // pointers, and is borrowed mutably.
        let outcome = unsafe { libc::ioctl(fd.as_raw_fd(), request, pointer) };
        if outcome < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

const _: () = assert!(size_of::<InterfaceRequest>() == size_of::<libc::ifreq>());

/// Room for frames that are read together.
#[derive(Debug)]
pub struct Frames {
    frames: Vec<Frame>,
    filled: usize,
}

/// A frame from the TAP.
#[derive(Debug)]
pub struct Frame {
    header: [u8; Header::SIZE],
    bytes: Vec<u8>,
    length: usize,
}

/// The longest frame: Ethernet, a VLAN tag, and as much as the kernel merges by default.
const LONGEST: usize = 14 + 4 + 65_536;
/// Room in front of a frame, for headers that forwarding puts before it.
const ROOM: usize = crate::engine::buffer::HEADROOM;

impl Frames {
    /// Room for so many.
    pub fn new(capacity: usize) -> Self {
        let frame = || Frame { header: [0; Header::SIZE], bytes: vec![0; ROOM + LONGEST], length: 0 };
        Self { frames: std::iter::repeat_with(frame).take(capacity).collect(), filled: 0 }
    }

    /// What was read last.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Frame> {
        self.frames.iter().take(self.filled)
    }

    /// What was read last.
    pub fn iter_mut(&mut self) -> impl ExactSizeIterator<Item = &mut Frame> {
        self.frames.iter_mut().take(self.filled)
    }
}

impl Frame {
    pub const fn header(&self) -> Header {
        Header::from_bytes(&self.header)
    }

    /// From the link-layer addresses on.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(ROOM..ROOM + self.length).unwrap_or_default()
    }

    /// From the link-layer addresses on.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(ROOM..ROOM + self.length).unwrap_or_default()
    }

    /// The buffer that it is in, and where in it the frame is: in front there is room for more headers.
    pub fn buffer(&mut self) -> (&mut [u8], std::ops::Range<usize>) {
        (&mut self.bytes, ROOM..ROOM + self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::next_hop::NextHopIndex;

    #[test]
    fn tags_say_where_frames_come_from() {
        let mut frame = vec![0x02, 0x00];
        frame.extend(7_u32.to_ne_bytes());
        frame.extend([0x02, 0x01]);
        frame.extend(9_u32.to_ne_bytes());
        frame.extend([0x08, 0x00]);
        assert_eq!(Arrival::of(&frame), Some(Arrival { interface: 7, mark: 9 }));
        assert_eq!(Arrival::of(&frame[..11]), None);
        // What the host's stack sends by itself.
        frame[0] = 0x33;
        assert_eq!(Arrival::of(&frame), None);
    }

    #[test]
    fn tags_say_where_frames_go() {
        let mut frame = [0xee; 14];
        Departure::NextHop(NextHopIndex(5)).put(&mut frame);
        assert_eq!((frame[..2].to_vec(), frame[2..6].to_vec()), (vec![2, 2], 5_u32.to_ne_bytes().to_vec()));
        Departure::Host.put(&mut frame);
        assert_eq!(frame[..6], ADDRESS);
        Departure::ByFlow.put(&mut frame);
        assert_eq!(frame[..6], [2, 0, 0, 0, 0, 0]);
        assert_eq!(frame[6..], [0xee; 8]);
        Departure::Host.put(&mut frame[..5]);
    }

    #[test]
    fn names_that_do_not_fit_are_refused() {
        for name in ["", "sixteen-letters-", "nul\0"] {
            assert!(InterfaceRequest::new(name).is_none(), "{name:?}");
        }
        let request = InterfaceRequest::new("fifteen-letters").unwrap();
        assert_eq!(request.name().as_deref(), Some("fifteen-letters"));
    }
}
