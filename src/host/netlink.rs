//! The request side of rtnetlink. The kernel answers within `sendmsg`, so requests are made synchronously:
//! many messages in one buffer, then the replies, which name only what failed.

use std::borrow::Borrow;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use netlink_packet_core::{
    Emitable, NLA_TYPE_MASK, NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_DUMP, NLM_F_DUMP_INTR,
    NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer, NetlinkHeader, NlasIterator,
};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;
use nix::libc;
use socket2::SockRef;

const NETLINK_HEADER_LEN: usize = 16;
/// One error reply takes about 1 KiB of receive buffer; so many of them still fit when all messages of a send
/// are refused.
const MESSAGES_PER_SEND: usize = 128;
/// Stays below the smallest usual send buffer (208 KiB) with the kernel's own overhead.
const BYTES_PER_SEND: usize = 64 * 1024;
/// The kernel fills at most 32 KiB per read of a dump.
const READ_BUFFER: usize = 64 * 1024;
const RECEIVE_BUFFER: usize = 1024 * 1024;
/// Replies are there when the send returns; this bound only guards against a reply that never was.
const REPLY_TIMEOUT: Duration = Duration::from_secs(2);
/// A dump is restarted when the kernel's table changed under it; a table that never rests is taken as read.
const DUMP_ATTEMPTS: usize = 8;

const NLMSGERR_ATTR_MSG: u16 = 1;

/// `RTM_*` message numbers (linux/rtnetlink.h).
pub(super) mod rtm {
    pub(crate) const NEWLINK: u16 = 16;
    pub(crate) const DELLINK: u16 = 17;
    pub(crate) const GETLINK: u16 = 18;
    pub(crate) const NEWADDR: u16 = 20;
    pub(crate) const DELADDR: u16 = 21;
    pub(crate) const GETADDR: u16 = 22;
    pub(crate) const NEWROUTE: u16 = 24;
    pub(crate) const DELROUTE: u16 = 25;
    pub(crate) const GETROUTE: u16 = 26;
    pub(crate) const NEWRULE: u16 = 32;
    pub(crate) const DELRULE: u16 = 33;
    pub(crate) const GETRULE: u16 = 34;
}

/// One message to the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// `RTM_*`.
    pub(super) kind: u16,
    /// `NLM_F_*` besides REQUEST and ACK.
    pub(super) flags: u16,
    /// Family header and attributes.
    pub(super) payload: Vec<u8>,
}

impl Request {
    pub(super) fn new(kind: u16, flags: u16, message: &impl Emitable) -> Self {
        Self { kind, flags, payload: emit(message) }
    }
}

pub(super) fn emit(message: &impl Emitable) -> Vec<u8> {
    let mut bytes = vec![0; message.buffer_len()];
    message.emit(&mut bytes);
    bytes
}

/// Why the kernel refused a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) errno: Errno,
    /// The kernel's own words (extended acknowledgement), where it had any.
    pub(super) reason: Option<String>,
}

impl Refusal {
    /// One of the kernel's ways to say that there was nothing to remove.
    pub(super) fn is_absence(&self) -> bool {
        matches!(self.errno, Errno::EADDRNOTAVAIL | Errno::ESRCH | Errno::ENOENT | Errno::ENODEV)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.errno.desc())?;
        match &self.reason {
            Some(reason) => write!(f, " ({})", reason.trim_end_matches('.')),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Refusal {}

/// One received message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'a> {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    /// The socket whose request caused the message.
    pub(super) port: u32,
    pub(super) payload: &'a [u8],
}

/// The messages of one received buffer; ends at the first malformed length.
pub(super) fn frames(mut bytes: &[u8]) -> impl Iterator<Item = Frame<'_>> {
    std::iter::from_fn(move || {
        let frame = NetlinkBuffer::new_checked(bytes).ok()?;
        let length = usize::try_from(frame.length()).ok()?;
        let payload = bytes.get(NETLINK_HEADER_LEN..length)?;
        let (kind, flags) = (frame.message_type(), frame.flags());
        let (sequence, port) = (frame.sequence_number(), frame.port_number());
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Frame { kind, flags, sequence, port, payload })
    })
}

/// The attributes of a message body as number and bytes; a malformed tail is left out.
pub(super) fn attributes(body: &[u8]) -> impl Iterator<Item = (u16, Vec<u8>)> {
    NlasIterator::new(body)
        .map_while(Result::ok)
        .map(|attribute| (attribute.kind() & NLA_TYPE_MASK, attribute.value().to_vec()))
}

/// The socket that asks for things.
pub(super) struct Requester {
    socket: Socket,
    port: u32,
    sequence: u32,
    changes: Arc<AtomicU64>,
    received: Vec<u8>,
}

impl Requester {
    /// `changes` counts every message that asks the kernel to change something.
    pub(super) fn open(changes: Arc<AtomicU64>) -> io::Result<Self> {
        Self::open_to(NETLINK_ROUTE, changes)
    }

    /// Asks another part of the kernel (`NETLINK_*`).
    pub(super) fn open_to(protocol: isize, changes: Arc<AtomicU64>) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        let port = socket.bind_auto()?.port_number();
        socket.connect(&SocketAddr::new(0, 0))?;
        socket.set_cap_ack(true)?;
        socket.set_ext_ack(true)?;
        // Filtered dumps; kernels before 4.20 dump everything, which the callers sort out themselves.
        socket.set_netlink_get_strict_chk(true).or_else(ignore_unsupported)?;
        let options = SockRef::from(&socket);
        options.set_recv_buffer_size(RECEIVE_BUFFER)?;
        options.set_read_timeout(Some(REPLY_TIMEOUT))?;
        Ok(Self { socket, port, sequence: 0, changes, received: Vec::with_capacity(READ_BUFFER) })
    }

    /// What the kernel writes into notifications that this socket caused.
    pub(super) fn port(&self) -> u32 {
        self.port
    }

    /// Sends `requests` in order and returns the refused ones by position. An error means that the fate of the
    /// requests is not known: read the tables again.
    pub(super) fn change(&mut self, requests: &[impl Borrow<Request>]) -> io::Result<Vec<(usize, Refusal)>> {
        let mut refused = Vec::new();
        let mut start = 0;
        while let Some(rest) = requests.get(start..).filter(|rest| !rest.is_empty()) {
            let sent = self.send_some(rest)?;
            self.collect(start, sent, &mut refused)?;
            start += sent;
        }
        Ok(refused)
    }

    /// Every message of a dump as `each` sees it.
    pub(super) fn dump(
        &mut self,
        kind: u16,
        message: &impl Emitable,
        mut each: impl FnMut(Frame<'_>),
    ) -> io::Result<()> {
        let request = Request::new(kind, NLM_F_DUMP, message);
        let mut collected: Vec<Vec<u8>> = Vec::new();
        for _ in 0..DUMP_ATTEMPTS {
            collected.clear();
            if self.dump_once(&request, &mut collected)? {
                break;
            }
        }
        for buffer in &collected {
            frames(buffer).filter(|frame| frame.kind > NLMSG_DONE).for_each(&mut each);
        }
        Ok(())
    }

    /// Whether the dump is consistent.
    fn dump_once(&mut self, request: &Request, collected: &mut Vec<Vec<u8>>) -> io::Result<bool> {
        let mut bytes = Vec::new();
        self.sequence = self.sequence.wrapping_add(1);
        append(&mut bytes, request, request.flags, self.sequence);
        self.socket.send(&bytes, 0)?;
        let mut consistent = true;
        loop {
            self.receive()?;
            let mut done = false;
            for frame in frames(&self.received).filter(|frame| frame.sequence == self.sequence) {
                consistent &= frame.flags & NLM_F_DUMP_INTR == 0;
                match frame.kind {
                    NLMSG_DONE => done = true,
                    NLMSG_ERROR => {
                        if let Some(refusal) = refusal(&frame) {
                            return Err(io::Error::other(refusal));
                        }
                    }
                    _ => {}
                }
            }
            collected.push(self.received.clone());
            if done {
                return Ok(consistent);
            }
        }
    }

    fn send_some(&mut self, requests: &[impl Borrow<Request>]) -> io::Result<usize> {
        let count = fitting(requests);
        let mut bytes = Vec::new();
        for (position, request) in requests.iter().take(count).map(Borrow::borrow).enumerate() {
            self.sequence = self.sequence.wrapping_add(1);
            // Errors are reported unasked, so only the last message needs an acknowledgement.
            let flags = if position + 1 == count { request.flags | NLM_F_ACK } else { request.flags };
            append(&mut bytes, request, flags, self.sequence);
        }
        self.changes.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.socket.send(&bytes, 0)?;
        Ok(count)
    }

    fn collect(&mut self, start: usize, sent: usize, refused: &mut Vec<(usize, Refusal)>) -> io::Result<()> {
        let last = self.sequence;
        loop {
            self.receive()?;
            for frame in frames(&self.received).filter(|frame| frame.kind == NLMSG_ERROR) {
                let behind = usize::try_from(last.wrapping_sub(frame.sequence)).unwrap_or(usize::MAX);
                if behind >= sent {
                    continue;
                }
                if let Some(refusal) = refusal(&frame) {
                    refused.push((start + sent - 1 - behind, refusal));
                }
                if behind == 0 {
                    return Ok(());
                }
            }
        }
    }

    fn receive(&mut self) -> io::Result<()> {
        loop {
            self.received.clear();
            match self.socket.recv(&mut self.received, 0) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn ignore_unsupported(error: io::Error) -> io::Result<()> {
    if error.raw_os_error() == Some(libc::ENOPROTOOPT) { Ok(()) } else { Err(error) }
}

/// How many of the first requests go into one send: at least one.
fn fitting(requests: &[impl Borrow<Request>]) -> usize {
    let mut bytes = 0;
    let within = requests.iter().map(Borrow::borrow).take(MESSAGES_PER_SEND).take_while(|request| {
        bytes += NETLINK_HEADER_LEN + request.payload.len();
        bytes <= BYTES_PER_SEND
    });
    within.count().max(1)
}

fn append(bytes: &mut Vec<u8>, request: &Request, flags: u16, sequence: u32) {
    let length = NETLINK_HEADER_LEN + request.payload.len();
    let mut header = NetlinkHeader::default();
    header.length = u32::try_from(length).unwrap_or(u32::MAX);
    header.message_type = request.kind;
    header.flags = flags | NLM_F_REQUEST;
    header.sequence_number = sequence;
    bytes.extend(emit(&header));
    bytes.extend(&request.payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// `None` for an acknowledgement.
pub(super) fn refusal(frame: &Frame<'_>) -> Option<Refusal> {
    let code = i32::from_ne_bytes(frame.payload.get(..4)?.try_into().ok()?);
    if code == 0 {
        return None;
    }
    let reason = (frame.flags & NLM_F_ACK_TLVS != 0).then(|| extended_reason(frame)).flatten();
    Some(Refusal { errno: Errno::from_raw(code.wrapping_neg()), reason })
}

fn extended_reason(frame: &Frame<'_>) -> Option<String> {
    let original = frame.payload.get(4..)?;
    let echoed = if frame.flags & NLM_F_CAPPED != 0 {
        NETLINK_HEADER_LEN
    } else {
        usize::try_from(u32::from_ne_bytes(original.get(..4)?.try_into().ok()?)).ok()?.next_multiple_of(4)
    };
    let (_, text) = attributes(original.get(echoed..)?).find(|(kind, _)| *kind == NLMSGERR_ATTR_MSG)?;
    Some(String::from_utf8_lossy(&text).trim_end_matches('\0').to_owned())
}

#[cfg(test)]
mod tests;
