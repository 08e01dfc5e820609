//! The socket to the kernel. The kernel carries out a request within the `send` and queues its answers; what comes
//! later is asked for by each `recv` of a dump.

use std::io;
use std::process::Command;
use std::time::Duration;

use netlink_packet_core::{
    DecodeError, Emitable, NLA_TYPE_MASK, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE,
    NLMSG_ERROR, NetlinkBuffer, NetlinkHeader, NetlinkMessage, NlasIterator, ParseableParametrized,
    parse_i32, parse_u16,
};
use netlink_packet_generic::ctrl::nlas::GenlCtrlAttrs;
use netlink_packet_generic::ctrl::{GenlCtrl, GenlCtrlCmd};
use netlink_packet_generic::{GenlFamily, GenlHeader, GenlMessage};
use netlink_sys::protocols::NETLINK_GENERIC;
use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;
use nix::libc;
use socket2::SockRef;

use super::message::Message;
use super::{ModuleLoading, PLANE};
use crate::plane::PlaneError;
use crate::table::Change;

const NETLINK_HEADER_LEN: usize = 16;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
/// A refusal takes 1 KiB of receive buffer (208 KiB at least): so many fit even when every message of a send is
/// refused. None of our messages is longer than 512 bytes, which keeps a send below the kernel's limit too.
const MESSAGES_PER_SEND: usize = 128;
/// The kernel fills at most 32 KiB for one read of a dump.
const READ_BUFFER: usize = 64 * 1024;
/// Answers are there when the send returns, save those that never come: the kernel does not answer a request that a
/// signal interrupted (stopping a sync daemon that has just started).
const PATIENCE: Duration = Duration::from_millis(20);
/// A dump is repeated when the kernel says that the table changed meanwhile; a table that never rests is taken as read.
const DUMP_ATTEMPTS: usize = 8;

/// What came in answer to one request.
struct Answers {
    /// Bodies of the messages, or why the kernel would not.
    outcome: Result<Vec<Vec<u8>>, Errno>,
    /// The table changed while they were made.
    interrupted: bool,
}

pub(super) struct Handle {
    socket: Socket,
    family: u16,
    sequence: u32,
    received: Vec<u8>,
}

impl Handle {
    pub(super) fn open(loading: ModuleLoading) -> Result<Self, PlaneError> {
        let mut handle =
            Self { socket: open_socket().map_err(io_error)?, family: 0, sequence: 0, received: Vec::new() };
        handle.received.reserve_exact(READ_BUFFER);
        if handle.resolve()? {
            return Ok(handle);
        }
        let failure = match loading {
            ModuleLoading::Allowed => load_module().err(),
            ModuleLoading::Never => return Err(missing(None)),
        };
        if handle.resolve()? { Ok(handle) } else { Err(missing(failure.as_deref())) }
    }

    /// Finds out the number that the family has now. `false` if there is no such family; asking makes the kernel load
    /// its module, where it can.
    fn resolve(&mut self) -> Result<bool, PlaneError> {
        let name = GenlCtrlAttrs::FamilyName(Message::family_name().to_owned());
        let request = GenlMessage::from_payload(GenlCtrl { cmd: GenlCtrlCmd::GetFamily, nlas: vec![name] });
        match self.request(request, NLM_F_ACK)?.outcome {
            Ok(bodies) => {
                self.family = bodies.iter().find_map(|body| family_id(body)).ok_or_else(|| {
                    nonsense(DecodeError::from("a generic netlink family without a number"))
                })?;
                Ok(true)
            }
            Err(Errno::ENOENT) => Ok(false),
            Err(errno) => Err(io_error(errno.into())),
        }
    }

    /// Has the kernel make `changes` in their order. Tells those that it refused, by their place.
    pub(super) fn carry_out(&mut self, changes: &[&Change]) -> Result<Vec<(usize, Errno)>, PlaneError> {
        let mut refused = Vec::new();
        for (number, batch) in changes.chunks(MESSAGES_PER_SEND).enumerate() {
            let begin = number * MESSAGES_PER_SEND;
            let mut outcome = self.carry_out_batch(batch)?;
            let nothing_done = outcome.len() == batch.len();
            if nothing_done && outcome.iter().all(|(_, errno)| *errno == Errno::ENOENT) && self.has_moved()? {
                outcome = self.carry_out_batch(batch)?;
            }
            refused.extend(outcome.into_iter().map(|(place, errno)| (begin + place, errno)));
        }
        Ok(refused)
    }

    fn carry_out_batch(&mut self, batch: &[&Change]) -> Result<Vec<(usize, Errno)>, PlaneError> {
        let mut bytes = Vec::new();
        let first = self.sequence.wrapping_add(1);
        for (place, change) in batch.iter().enumerate() {
            // The kernel works in order, so one acknowledgement speaks for all that it did not refuse.
            let flags = if place + 1 == batch.len() { NLM_F_ACK } else { 0 };
            bytes.extend(self.frame(GenlMessage::from_payload(Message::change(change)), flags));
        }
        self.send(&bytes)?;
        self.refusals(first)
    }

    /// Reads answers up to the one for the last message sent. `first` is the sequence number of the first of them.
    fn refusals(&mut self, first: u32) -> Result<Vec<(usize, Errno)>, PlaneError> {
        let awaited = self.sequence;
        let mut refused = Vec::new();
        loop {
            self.receive()?;
            for frame in frames(&self.received) {
                let frame = frame.map_err(nonsense)?;
                // What is older answers a request that was given up.
                let place = frame.sequence.wrapping_sub(first);
                if frame.kind != NLMSG_ERROR || place > awaited.wrapping_sub(first) {
                    continue;
                }
                if let Some(errno) = error_of(frame.payload).map_err(nonsense)? {
                    refused.push((place as usize, errno));
                }
                if frame.sequence == awaited {
                    return Ok(refused);
                }
            }
        }
    }

    /// One request: the messages that answer it, or why the kernel would not.
    pub(super) fn ask(&mut self, message: &Message) -> Result<Result<Vec<Message>, Errno>, PlaneError> {
        loop {
            match self.request(GenlMessage::from_payload(message.clone()), NLM_F_ACK)?.outcome {
                Err(Errno::ENOENT) if self.has_moved()? => {}
                outcome => return decode(outcome),
            }
        }
    }

    /// As [`Self::ask`], for what is answered by a message for each entry.
    pub(super) fn dump(&mut self, message: &Message) -> Result<Result<Vec<Message>, Errno>, PlaneError> {
        let mut attempts = 1;
        loop {
            let answers = self.request(GenlMessage::from_payload(message.clone()), NLM_F_DUMP)?;
            match answers.outcome {
                Ok(_) if answers.interrupted && attempts < DUMP_ATTEMPTS => attempts += 1,
                Err(Errno::ENOENT) if self.has_moved()? => {}
                outcome => return decode(outcome),
            }
        }
    }

    /// After an answer that may mean that there is no such family: whether it has another number by now, as it has
    /// when its module was loaded again.
    fn has_moved(&mut self) -> Result<bool, PlaneError> {
        let before = self.family;
        if self.resolve()? { Ok(self.family != before) } else { Err(missing(None)) }
    }

    /// Sends one request and reads all that answers it.
    fn request<F>(&mut self, message: GenlMessage<F>, flags: u16) -> Result<Answers, PlaneError>
    where
        F: GenlFamily + Emitable + std::fmt::Debug,
    {
        let bytes = self.frame(message, flags);
        self.send(&bytes)?;
        let mut bodies = Vec::new();
        let mut interrupted = false;
        loop {
            self.receive()?;
            for frame in frames(&self.received) {
                let frame = frame.map_err(nonsense)?;
                // What has another number answers a request that was given up.
                if frame.sequence != self.sequence {
                    continue;
                }
                interrupted |= frame.flags & NLM_F_DUMP_INTR != 0;
                if frame.kind == NLMSG_ERROR || frame.kind == NLMSG_DONE {
                    let outcome = match error_of(frame.payload).map_err(nonsense)? {
                        Some(errno) => Err(errno),
                        None => Ok(bodies),
                    };
                    return Ok(Answers { outcome, interrupted });
                }
                bodies.push(frame.payload.to_vec());
            }
        }
    }

    /// The bytes of a message under the next sequence number.
    fn frame<F>(&mut self, mut message: GenlMessage<F>, flags: u16) -> Vec<u8>
    where
        F: GenlFamily + Emitable + std::fmt::Debug,
    {
        self.sequence = self.sequence.wrapping_add(1);
        message.set_resolved_family_id(self.family);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, message.into());
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        bytes
    }

    fn send(&self, bytes: &[u8]) -> Result<(), PlaneError> {
        loop {
            match self.socket.send(bytes, 0) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(io_error(error)),
            }
        }
    }

    fn receive(&mut self) -> Result<(), PlaneError> {
        loop {
            self.received.clear();
            match self.socket.recv(&mut self.received, libc::MSG_TRUNC) {
                Ok(len) if len > self.received.len() => {
                    let what = format!("{len} bytes at once");
                    return Err(PlaneError::Nonsense { plane: PLANE, what });
                }
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(PlaneError::Silent(PLANE, PATIENCE));
                }
                Err(error) => return Err(io_error(error)),
            }
        }
    }
}

fn open_socket() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_GENERIC)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    // Refusals do not repeat the request.
    socket.set_cap_ack(true)?;
    SockRef::from(&socket).set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// One received message.
pub(crate) struct Frame<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    pub(crate) payload: &'a [u8],
}

/// The messages of one datagram. Ends at the first that is malformed.
pub(crate) fn frames(mut bytes: &[u8]) -> impl Iterator<Item = Result<Frame<'_>, DecodeError>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let whole = std::mem::take(&mut bytes);
        let header = match NetlinkBuffer::new_checked(whole) {
            Ok(header) => header,
            Err(error) => return Some(Err(error)),
        };
        // Checked against what is there, so it fits.
        let length = header.length() as usize;
        let payload = whole.get(NETLINK_HEADER_LEN..length).unwrap_or_default();
        bytes = whole.get(length.next_multiple_of(4)..).unwrap_or_default();
        let (kind, flags, sequence) = (header.message_type(), header.flags(), header.sequence_number());
        Some(Ok(Frame { kind, flags, sequence, payload }))
    })
}

/// The outcome that an acknowledgement or the end of a dump tells.
pub(crate) fn error_of(payload: &[u8]) -> Result<Option<Errno>, DecodeError> {
    // The end of a dump may come without a number.
    if payload.is_empty() {
        return Ok(None);
    }
    let code = parse_i32(payload.get(..4).ok_or("an acknowledgement that is cut off")?)?;
    Ok((code != 0).then(|| Errno::from_raw(code.wrapping_neg())))
}

fn decode(outcome: Result<Vec<Vec<u8>>, Errno>) -> Result<Result<Vec<Message>, Errno>, PlaneError> {
    match outcome {
        Ok(bodies) => {
            let messages = bodies.iter().map(|body| message_of(body)).collect::<Result<_, _>>();
            messages.map(Ok).map_err(nonsense)
        }
        Err(errno) => Ok(Err(errno)),
    }
}

/// The message in the body of a netlink message: a generic netlink header and attributes.
pub(super) fn message_of(body: &[u8]) -> Result<Message, DecodeError> {
    let header = GenlHeader::parse(body)?;
    Message::parse_with_param(body.get(header.buffer_len()..).unwrap_or_default(), header)
}

/// The family's number in an answer of the controller.
fn family_id(body: &[u8]) -> Option<u16> {
    let header = GenlHeader::parse(body).ok()?;
    NlasIterator::new(body.get(header.buffer_len()..)?)
        .map_while(Result::ok)
        .find(|attribute| attribute.kind() & NLA_TYPE_MASK == CTRL_ATTR_FAMILY_ID)
        .and_then(|attribute| parse_u16(attribute.value()).ok())
}

/// Why not, in words, if it cannot be loaded.
fn load_module() -> Result<(), String> {
    let output = Command::new("modprobe").arg("ip_vs").output().map_err(|e| format!("modprobe: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(words.trim().lines().last().unwrap_or("modprobe failed without a word").to_owned())
}

fn missing(loading: Option<&str>) -> PlaneError {
    let what = match loading {
        Some(failure) => format!("this kernel has no IPVS ({failure})"),
        None => "this kernel has no IPVS".to_owned(),
    };
    let cure = "load its module (`modprobe ip_vs`) or run a kernel with CONFIG_IP_VS".to_owned();
    PlaneError::Missing { what, cure }
}

fn io_error(source: io::Error) -> PlaneError {
    PlaneError::Io { plane: PLANE, source }
}

pub(super) fn nonsense(error: DecodeError) -> PlaneError {
    PlaneError::Nonsense { plane: PLANE, what: error.to_string() }
}
