//! What becomes of a packet that is forwarded: `R8` points to its flow, and at first `R0` to its next hop.

use Register::{Frame, R0, R1, R2, R3, R4, R5, R6, R7, R8, R9};
use Size::{Byte, Double, Half, Word};

use super::{
    ETHERNET, Family, Headers, TCP, V4_DESTINATION, V4_SOURCE, V6_DESTINATION, V6_SOURCE, Writer, skb, stack,
};
use crate::io::bpf::{Condition, Helper, Operation, Register, Size};
use crate::io::flow::value;
use crate::io::next_hop;

const V4_CHECKSUM: i16 = 24;

/// Flags of the helper (`linux/bpf.h`).
const PSEUDO_HEADER: i32 = 0x10;
/// A checksum of zero means that there is none, and stays; one that becomes zero is written as its other zero.
const ZERO_IS_NONE: i32 = 0x20;

/// What counting down the byte that is `word`'s one adds to the sum of a header.
const fn one_less(word: [u8; 2]) -> i32 {
    !u16::from_ne_bytes(word) as i32
}

impl Writer {
    pub(super) fn set_link_addresses(&mut self) {
        for word in [0, 4, 8] {
            self.program
                .load(Word, R3, R0, next_hop::value::DESTINATION.offset() + word)
                .store(Word, R7, word, R3);
        }
    }

    /// Addresses, ports and TTL, and the checksum of IPv4.
    pub(super) fn rewrite(&mut self, headers: &Headers) {
        self.program.load(Byte, R3, R7, headers.ttl).add(R3, -1).store(Byte, R7, headers.ttl, R3);
        let (source, destination) = (value::SOURCE.offset(), value::DESTINATION.offset());
        match headers.family {
            Family::V4 => {
                self.update_v4_checksum();
                for (place, field) in [(source, V4_SOURCE), (destination, V4_DESTINATION)] {
                    self.program.load(Word, R3, R8, place + 12).store(Word, R7, field, R3);
                }
            }
            Family::V6 => {
                for (place, field) in [(source, V6_SOURCE), (destination, V6_DESTINATION)] {
                    for half in [0, 8] {
                        self.program.load(Double, R3, R8, place + half).store(Double, R7, field + half, R3);
                    }
                }
            }
        }
        self.program.load(Word, R3, R8, value::SOURCE_PORT.offset()).store(Word, R7, headers.transport, R3);
    }

    /// RFC 1624, equation 3.
    fn update_v4_checksum(&mut self) {
        self.program
            .load(Half, R3, R7, V4_CHECKSUM)
            .arithmetic(Operation::ExclusiveOr, R3, 0xffff)
            .load(Word, R4, R8, value::ADDRESS_CHANGE.offset())
            .add(R3, R4)
            // The TTL is the first byte of its word.
            .add(R3, one_less([1, 0]));
        for _ in 0..2 {
            self.program
                .set(R4, R3)
                .arithmetic(Operation::ShiftRight, R4, 16)
                .arithmetic(Operation::And, R3, 0xffff)
                .add(R3, R4);
        }
        self.program.arithmetic(Operation::ExclusiveOr, R3, 0xffff).store(Half, R7, V4_CHECKSUM, R3);
    }

    pub(super) fn count(&mut self) {
        self.program
            .set(R3, 1)
            .atomic_add(R8, value::PACKETS.offset(), R3)
            .load(Word, R3, R6, skb::LEN)
            .add(R3, -i32::from(ETHERNET))
            .atomic_add(R8, value::BYTES.offset(), R3)
            .call(Helper::CoarseTime)
            .store(Double, R8, value::LAST_SEEN.offset(), R0);
    }

    /// Those of the transport. By helpers, which know the state that a checksum is in; after them neither `R7` nor `R8` is
    /// what it was.
    pub(super) fn update_checksums(&mut self, headers: &Headers) {
        let label = |place: &str| format!("{} {place}", headers.name);
        let field = |offset: i16| i32::from(headers.transport + offset);
        self.program
            .load(Word, R4, R8, value::ADDRESS_CHANGE.offset())
            .store(Double, Frame, stack::ADDRESS_CHANGE, R4)
            .load(Word, R8, R8, value::PORT_CHANGE.offset())
            .jump_if(Condition::Equal, R9, TCP, label("tcp checksum"))
            .set(R7, field(6))
            .set(R9, ZERO_IS_NONE)
            .jump(label("address checksum"))
            .label(label("tcp checksum"))
            .set(R7, field(16))
            .set(R9, 0)
            .label(label("address checksum"))
            .jump_if(Condition::Equal, R4, 0, label("port checksum"))
            .set(R1, R6)
            .set(R2, R7)
            .set(R3, 0)
            .set(R5, R9)
            .arithmetic(Operation::Or, R5, PSEUDO_HEADER)
            .call(Helper::L4ChecksumReplace)
            .label(label("port checksum"))
            .jump_if(Condition::Equal, R8, 0, label("checked"))
            .set(R1, R6)
            .set(R2, R7)
            .set(R3, 0)
            .set(R4, R8)
            .set(R5, R9)
            .call(Helper::L4ChecksumReplace)
            .label(label("checked"));
        if headers.family == Family::V6 {
            // The sum that an interface may have made of the whole packet: the helper takes the change of addresses out
            // of it, which is right for IPv4 alone, whose header has a checksum to make up for it. The hop limit is the
            // second byte of its word.
            self.program
                .set(R1, R6)
                .load(Double, R2, Frame, stack::ADDRESS_CHANGE)
                .add(R2, one_less([0, 1]))
                .call(Helper::ChecksumUpdate);
        }
    }
}
