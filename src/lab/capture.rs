//! What the wire carried: frames with the kernel's time stamps, taken from an interface of a lab host.

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, IoSliceMut, PipeReader, PipeWriter, Write, pipe};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::{RcvBufForce, ReceiveTimestampns};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, recvmsg,
    setsockopt, socket,
};
use nix::sys::time::TimeSpec;
use socket2::{SockFilter, SockRef};

use super::Host;

mod frame;
mod takeover;

pub use frame::{Advertisement, Announcement, Mac, Message};
pub use takeover::Takeover;

/// A running capture of VRRP, ARP and neighbour discovery frames. It ends when dropped.
pub struct Capture {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// Closing it wakes the thread.
    stop: Option<PipeWriter>,
}

/// A frame as it passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// When the kernel had it, by the real-time clock.
    pub at: SystemTime,
    pub direction: Direction,
    pub bytes: Vec<u8>,
    pub message: Message,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    In,
    Out,
}

#[derive(Debug, Default)]
struct Shared {
    taken: Mutex<Taken>,
    grown: Condvar,
}

#[derive(Debug, Default)]
struct Taken {
    frames: Vec<Frame>,
    /// Frames that came after [`LIMIT`].
    dropped: usize,
}

/// Frames kept. A thousand routers at 10 ms for ten seconds make a million; what comes after is counted only.
const LIMIT: usize = 1_000_000;

const SNAP_LENGTH: usize = 2048;

/// `PACKET_OUTGOING` of packet(7).
const PACKET_OUTGOING: u8 = 4;

impl Capture {
    /// Takes the frames that `interface` of `host` receives and sends.
    ///
    /// # Errors
    /// When there is no such interface, or packet sockets are refused.
    pub fn start(host: &Host, interface: &str) -> Result<Self> {
        let index = host.link(interface)?.index;
        let socket = host.run(move || open(index)).context("opening a packet socket")?;
        let (stopped, stop) = pipe().context("pipe of a capture")?;
        let shared = Arc::new(Shared::default());
        let taking = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name(format!("{}-capture", host.name()))
            .spawn(move || taking.take(&socket, &stopped, index))
            .context("starting a capture thread")?;
        Ok(Self { shared, thread: Some(thread), stop: Some(stop) })
    }

    /// The frames so far, in the order seen.
    pub fn frames(&self) -> Vec<Frame> {
        self.shared.lock().frames.clone()
    }

    /// The VRRP advertisements so far, with their times.
    pub fn advertisements(&self) -> Vec<(SystemTime, Advertisement)> {
        let taken = self.shared.lock();
        taken.frames.iter().filter_map(|frame| Some((frame.at, frame.advertisement()?.clone()))).collect()
    }

    /// For every virtual router, the first change of master after `since`.
    pub fn takeovers_since(&self, since: SystemTime) -> Vec<Takeover> {
        takeover::takeovers(&self.shared.lock().frames, since)
    }

    /// How many frames were not kept because the capture was full.
    pub fn dropped(&self) -> usize {
        self.shared.lock().dropped
    }

    /// Waits for a frame later than `after` that `wanted` accepts.
    ///
    /// # Errors
    /// When none has come within `limit`; the message lists what did.
    pub fn wait_for(
        &self,
        after: SystemTime,
        limit: Duration,
        wanted: impl Fn(&Frame) -> bool,
    ) -> Result<Frame> {
        let deadline = Instant::now() + limit;
        let mut taken = self.shared.lock();
        loop {
            let fresh = || taken.frames.iter().filter(|frame| frame.at > after);
            if let Some(frame) = fresh().find(|frame| wanted(frame)) {
                return Ok(frame.clone());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let seen: String = fresh().map(|frame| format!("\n    {frame}")).collect();
                anyhow::bail!("no such frame within {limit:?}; seen:{seen}");
            }
            taken = self.shared.grown.wait_timeout(taken, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Writes the frames so far as a pcap file with nanosecond times, for tshark.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_pcap(&self, path: &Path) -> Result<()> {
        let write = || -> io::Result<()> {
            let mut file = BufWriter::new(File::create(path)?);
            write_pcap(&mut file, &self.shared.lock().frames)?;
            file.flush()
        };
        write().with_context(|| format!("writing {}", path.display()))
    }
}

impl fmt::Debug for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Capture").field("frames", &self.shared.lock().frames.len()).finish_non_exhaustive()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

impl Frame {
    pub fn advertisement(&self) -> Option<&Advertisement> {
        match &self.message {
            Message::Advertisement(advertisement) => Some(advertisement),
            Message::Announcement(_) | Message::Other => None,
        }
    }

    pub fn announcement(&self) -> Option<&Announcement> {
        match &self.message {
            Message::Announcement(announcement) => Some(announcement),
            Message::Advertisement(_) | Message::Other => None,
        }
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let arrow = match self.direction {
            Direction::In => "<-",
            Direction::Out => "->",
        };
        write!(f, "{}.{:06} {arrow} ", at.as_secs(), at.subsec_micros())?;
        match &self.message {
            Message::Advertisement(advertisement) => write!(f, "{advertisement:?}"),
            Message::Announcement(announcement) => write!(f, "{announcement:?}"),
            Message::Other => write!(f, "{} other bytes", self.bytes.len()),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, socket: &OwnedFd, stopped: &PipeReader, index: u32) {
        let mut buffer = vec![0; SNAP_LENGTH];
        loop {
            let mut ready = [socket.as_fd(), stopped.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            match poll(&mut ready, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) => return,
            }
            let [_, stop] = ready.map(|fd| fd.any().unwrap_or(false));
            if stop {
                return;
            }
            while let Ok((seen_on, frame)) = receive(socket, &mut buffer) {
                if let (true, Some(frame)) = (seen_on == index, frame) {
                    self.keep(frame);
                }
            }
        }
    }

    fn keep(&self, frame: Frame) {
        let mut taken = self.lock();
        if taken.frames.len() < LIMIT {
            taken.frames.push(frame);
            self.grown.notify_all();
        } else {
            taken.dropped += 1;
        }
    }
}

fn open(index: u32) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)?;
    // The kernel leaves out the other interfaces from here on; what came before is left out by the reader.
    SockRef::from(&socket).attach_filter(&only_interface(index))?;
    setsockopt(&socket, ReceiveTimestampns, &true)?;
    // Room for a burst while other threads have the processor. Beyond the limit of an ordinary user only
    // real root may go; the default then has to do.
    setsockopt(&socket, RcvBufForce, &(8 << 20)).ok();
    Ok(socket)
}

/// A classic BPF program that accepts the whole of a frame on the interface with this index, and nothing else.
fn only_interface(index: u32) -> [SockFilter; 4] {
    const LOAD_WORD: u16 = 0x20;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    /// `SKF_AD_OFF + SKF_AD_IFINDEX` of linux/filter.h: beside the frame, not in it.
    const INTERFACE_INDEX: u32 = 0xffff_f000 + 8;
    [
        SockFilter::new(LOAD_WORD, 0, 0, INTERFACE_INDEX),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, index),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
}

/// The next frame: the interface it was on, and the frame if it is of a kind that is kept.
fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> nix::Result<(u32, Option<Frame>)> {
    let mut control = cmsg_space!(TimeSpec);
    let (length, address, stamp) = {
        let mut parts = [IoSliceMut::new(buffer)];
        let message =
            recvmsg::<LinkAddr>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty())?;
        let stamp = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::ScmTimestampns(stamp) => Some(Duration::from(stamp)),
            _ => None,
        });
        (message.bytes, message.address, stamp)
    };
    let index = address.and_then(|address| u32::try_from(address.ifindex()).ok()).unwrap_or_default();
    let bytes = buffer.get(..length).unwrap_or_default();
    let frame = frame::decode(bytes).map(|message| Frame {
        at: stamp.map_or_else(SystemTime::now, |stamp| SystemTime::UNIX_EPOCH + stamp),
        direction: match address.map(|address| address.pkttype()) {
            Some(PACKET_OUTGOING) => Direction::Out,
            _ => Direction::In,
        },
        bytes: bytes.to_vec(),
        message,
    });
    Ok((index, frame))
}

/// The classic pcap format: <https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-04.html>.
fn write_pcap(file: &mut impl Write, frames: &[Frame]) -> io::Result<()> {
    const NANOSECOND_MAGIC: u32 = 0xa1b2_3c4d;
    const LINKTYPE_ETHERNET: u32 = 1;
    file.write_all(&NANOSECOND_MAGIC.to_le_bytes())?;
    for version in [2_u16, 4] {
        file.write_all(&version.to_le_bytes())?;
    }
    for field in [0, 0, u32::try_from(SNAP_LENGTH).unwrap_or(u32::MAX), LINKTYPE_ETHERNET] {
        file.write_all(&field.to_le_bytes())?;
    }
    for frame in frames {
        let at = frame.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let length = u32::try_from(frame.bytes.len()).unwrap_or(u32::MAX);
        // The format has 32 bits for the seconds.
        let seconds = u32::try_from(at.as_secs()).unwrap_or(u32::MAX);
        for field in [seconds, at.subsec_nanos(), length, length] {
            file.write_all(&field.to_le_bytes())?;
        }
        file.write_all(&frame.bytes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
