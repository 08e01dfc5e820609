//! Changes of nftables over netlink: messages are gathered, and the kernel carries out all of them or none.
//!
//! Numbers are those of `linux/netfilter/nf_tables.h`. Those in attributes are big-endian; what stands in registers is as
//! in packets, or in the machine's order where it comes from the packet's metadata.

use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::sockopt::{SndBuf, SndBufForce};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket,
};

pub(super) const NEW_TABLE: u8 = 0;
pub(super) const NEW_CHAIN: u8 = 3;
pub(super) const DELETE_CHAIN: u8 = 5;
pub(super) const NEW_RULE: u8 = 6;
pub(super) const NEW_SET: u8 = 9;
pub(super) const NEW_ELEMENTS: u8 = 12;
pub(super) const DELETE_ELEMENTS: u8 = 14;

/// `NLM_F_REQUEST`, `NLM_F_ACK` (`linux/netlink.h`)
const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;
/// `NLM_F_EXCL`, `NLM_F_CREATE`, `NLM_F_APPEND`: what is there already is an error; what is not is made; at the end.
pub(super) const EXCLUSIVE: u16 = 0x200;
pub(super) const CREATE: u16 = 0x400;
pub(super) const APPEND: u16 = 0x800;

const NLMSG_ERROR: u16 = 2;
/// `NFNL_MSG_BATCH_BEGIN`, `NFNL_MSG_BATCH_END` (`linux/netfilter/nfnetlink.h`)
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const SUBSYSTEM: u8 = 10;
const NFPROTO_NETDEV: u8 = 5;
const NFPROTO_UNSPEC: u8 = 0;
const NLA_F_NESTED: u16 = 0x8000;
/// Length, type, flags, sequence, port.
const HEADER: usize = 16;

/// Netlink attributes that are being written.
#[derive(Debug, Default)]
pub(super) struct Attributes(Vec<u8>);

impl Attributes {
    pub(super) fn bytes(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        self.header(kind, value.len());
        self.0.extend(value);
        self.pad();
        self
    }

    pub(super) fn number(&mut self, kind: u16, value: u32) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// A string, which ends with a NUL.
    pub(super) fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        self.bytes(kind, &[value.as_bytes(), &[0]].concat())
    }

    pub(super) fn nested(&mut self, kind: u16, write: impl FnOnce(&mut Self)) -> &mut Self {
        let mut inner = Self::default();
        write(&mut inner);
        self.bytes(kind | NLA_F_NESTED, &inner.0)
    }

    fn header(&mut self, kind: u16, length: usize) {
        // What does not fit the kernel refuses: it is then longer than it says.
        let length = u16::try_from(length.saturating_add(4)).unwrap_or(u16::MAX);
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
    }

    fn pad(&mut self) {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }
}

/// Messages that are carried out together.
#[derive(Debug)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    /// That of the last message.
    sequence: u32,
}

impl Batch {
    pub(super) fn new() -> Self {
        let mut batch = Self { bytes: Vec::new(), sequence: 0 };
        batch.push(BATCH_BEGIN, REQUEST, NFPROTO_UNSPEC, &Attributes::default());
        batch
    }

    pub(super) fn message(&mut self, kind: u8, flags: u16, write: impl FnOnce(&mut Attributes)) {
        let mut attributes = Attributes::default();
        write(&mut attributes);
        let kind = u16::from_be_bytes([SUBSYSTEM, kind]);
        self.push(kind, REQUEST | ACKNOWLEDGE | flags, NFPROTO_NETDEV, &attributes);
    }

    fn push(&mut self, kind: u16, flags: u16, family: u8, attributes: &Attributes) {
        // `struct nfgenmsg`: the family, a version, and of the marks of a batch the subsystem.
        let subsystem = if family == NFPROTO_UNSPEC { SUBSYSTEM } else { 0 };
        let length = HEADER.saturating_add(4).saturating_add(attributes.0.len());
        self.sequence = self.sequence.wrapping_add(1);
        self.bytes.extend(u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(flags.to_ne_bytes());
        self.bytes.extend(self.sequence.to_ne_bytes());
        self.bytes.extend([0; 4]);
        self.bytes.extend([family, 0, 0, subsystem]);
        self.bytes.extend(&attributes.0);
    }
}

/// A socket of nftables. What it owns is gone with it.
#[derive(Debug)]
pub(super) struct Channel(OwnedFd);

/// Room for the largest batch, where the kernel permits it.
const SEND_BUFFER: usize = 1 << 20;

impl Channel {
    pub(super) fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let protocol = SockProtocol::NetlinkNetFilter;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
        // Only the initial user namespace may have more than the limit.
        setsockopt(&socket, SndBufForce, &SEND_BUFFER)
            .or_else(|_| setsockopt(&socket, SndBuf, &SEND_BUFFER))?;
        Ok(Self(socket))
    }

    /// Has everything carried out, or nothing. The kernel has done so when this returns.
    pub(super) fn commit(&self, mut batch: Batch) -> io::Result<()> {
        let last = batch.sequence;
        batch.push(BATCH_END, REQUEST, NFPROTO_UNSPEC, &Attributes::default());
        send(self.0.as_raw_fd(), &batch.bytes, MsgFlags::empty())?;
        // The kernel answers before `send` returns: there is nothing to wait for.
        let (mut outcome, mut complete) = (Ok(()), false);
        let mut buffer = vec![0; 1 << 16];
        loop {
            let length = match recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Err(nix::Error::EAGAIN) => break,
                // Acknowledgements were too many; what happened to the rest nobody knows.
                Err(error) => return Err(error.into()),
                Ok(length) => length,
            };
            for (sequence, answer) in Answers(buffer.get(..length).unwrap_or_default()) {
                complete |= sequence == last;
                if outcome.is_ok() && answer != 0 {
                    outcome = Err(io::Error::from_raw_os_error(answer.saturating_neg()));
                }
            }
        }
        if outcome.is_ok() && !complete {
            return Err(io::Error::new(ErrorKind::UnexpectedEof, "nftables does not answer"));
        }
        outcome
    }
}

/// Sequence numbers with what the kernel says to them: zero, or a negative number of an error.
struct Answers<'a>(&'a [u8]);

impl Iterator for Answers<'_> {
    type Item = (u32, i32);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let header: &[u8; HEADER] = self.0.first_chunk()?;
            let &[a, b, c, d, e, f, _, _, g, h, i, j, ..] = header;
            let length = usize::try_from(u32::from_ne_bytes([a, b, c, d])).ok()?.max(HEADER);
            let error = self.0.get(HEADER..).and_then(|body| body.first_chunk()).copied();
            self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
            if u16::from_ne_bytes([e, f]) == NLMSG_ERROR {
                return Some((u32::from_ne_bytes([g, h, i, j]), i32::from_ne_bytes(error?)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn attributes_are_padded_and_nested() {
        let mut attributes = Attributes::default();
        attributes.nested(3, |inner| {
            inner.text(1, "dc").number(2, 7);
        });
        let mut expected = [20_u16.to_ne_bytes(), (3 | NLA_F_NESTED).to_ne_bytes()].concat();
        expected.extend([7_u16.to_ne_bytes(), 1_u16.to_ne_bytes(), [b'd', b'c'], [0, 0]].concat());
        expected.extend([8_u16.to_ne_bytes(), 2_u16.to_ne_bytes(), [0, 0], [0, 7]].concat());
        assert_eq!(attributes.0, expected);
    }

    #[test]
    fn answers_tell_of_errors_and_of_whom() {
        let answer = |kind: u16, sequence: u32, error: i32| {
            let mut bytes = 36_u32.to_ne_bytes().to_vec();
            bytes.extend(kind.to_ne_bytes());
            bytes.extend([0, 0]);
            bytes.extend(sequence.to_ne_bytes());
            bytes.extend([0; 4]);
            bytes.extend(error.to_ne_bytes());
            bytes.resize(36, 0);
            bytes
        };
        let bytes = [answer(NLMSG_ERROR, 2, 0), answer(99, 3, -5), answer(NLMSG_ERROR, 4, -17)].concat();
        assert_eq!(Answers(&bytes).collect::<Vec<_>>(), [(2, 0), (4, -17)]);
        assert_eq!(Answers(&bytes[..19]).count(), 0);
    }

    proptest! {
        #[test]
        fn any_answer_is_read_to_its_end(bytes: Vec<u8>) {
            prop_assert!(Answers(&bytes).count() <= bytes.len() / HEADER);
        }
    }
}
