//! The program, in both its forms.
//!
//! `R6` is the packet's context (`struct __sk_buff`), `R7` its first byte, `R9` the protocol of its transport. `R8` is the
//! end of the packet until that has been compared, the entry of its flow after that.

mod rewrite;
mod select;

use Register::{Frame, R0, R1, R2, R3, R4, R5, R6, R7, R8, R9};
use Size::{Byte, Double, Half, Word};

use crate::engine::packet::protocol;
use crate::io::bpf::{Assembler, Condition, Helper, Operation, Register, Size};
use crate::io::flow::{Mode, key, value};
use crate::io::layout::MAPPED;
use crate::io::next_hop;
use crate::io::tap::tag;

/// Names of the maps.
pub(super) const FLOWS: &str = "flows";
pub(super) const NEXT_HOPS: &str = "next_hops";
pub(super) const SELECTORS: &str = "selectors";
pub(super) const KINDS: &str = "kinds";

/// Where the program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// On an interface of the director; what is for the engine goes to the TAP with that index.
    Interface { tap: u32 },
    /// On the TAP.
    Tap,
}

/// `struct __sk_buff` (`linux/bpf.h`)
mod skb {
    pub(super) const LEN: i16 = 0;
    pub(super) const PKT_TYPE: i16 = 4;
    pub(super) const MARK: i16 = 8;
    pub(super) const IFINDEX: i16 = 40;
    pub(super) const DATA: i16 = 76;
    pub(super) const DATA_END: i16 = 80;
    pub(super) const GSO_SIZE: i16 = 176;
}

/// What is returned of a packet (`linux/pkt_cls.h`); both hooks read it alike. A redirected one has a number of the
/// helper's.
mod verdict {
    /// To the next program or filter, and to the stack if there is none.
    pub(super) const UNSPEC: i32 = -1;
    pub(super) const SHOT: i32 = 2;
}

/// `PACKET_HOST` (`linux/if_packet.h`)
const TO_THIS_HOST: i32 = 0;
const ETHERNET: i16 = 14;
const ETHERTYPE: i16 = 12;
/// The longest headers that are looked at: Ethernet, IPv6, TCP.
const HEADERS: i32 = 74;
const TCP_HEADER: i16 = 20;
const UDP_HEADER: i16 = 8;
const TCP_FLAGS: i16 = 13;
const FIN_SYN_RST: i32 = 0x07;

const TCP: i32 = protocol::TCP as i32;
const UDP: i32 = protocol::UDP as i32;

/// Places in the stack, as offsets from its end.
mod stack {
    /// The key of the flow.
    pub(super) const KEY: i16 = -40;
    /// The key of a selector.
    pub(super) const SELECTOR: i16 = -64;
    pub(super) const NEXT_HOP: i16 = -72;
    /// The interface of the next hop.
    pub(super) const INTERFACE: i16 = -80;
    pub(super) const ADDRESS_CHANGE: i16 = -88;
}

/// Sixteen bits as they stand in a packet, as an instruction loads them.
const fn loaded(bytes: [u8; 2]) -> i32 {
    u16::from_ne_bytes(bytes) as i32
}

/// Where things are in packets of a family.
struct Headers {
    family: Family,
    /// Begin of labels.
    name: &'static str,
    transport: i16,
    protocol: i16,
    /// TTL or hop limit.
    ttl: i16,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

const V4: Headers = Headers { family: Family::V4, name: "v4", transport: 34, protocol: 23, ttl: 22 };
const V6: Headers = Headers { family: Family::V6, name: "v6", transport: 54, protocol: 20, ttl: 21 };

const V4_VERSION: i16 = 14;
const V4_WITHOUT_OPTIONS: i32 = 0x45;
const V4_FRAGMENT: i16 = 20;
const V4_SOURCE: i16 = 26;
const V4_DESTINATION: i16 = 30;
const V6_SOURCE: i16 = 22;
const V6_DESTINATION: i16 = 38;

/// The program for that side.
pub fn write(side: Side) -> Assembler {
    let mut writer = Writer { program: Assembler::default(), side };
    writer.begin();
    writer.family(&V6);
    writer.family(&V4);
    writer.end();
    writer.program
}

struct Writer {
    program: Assembler,
    side: Side,
}

impl Writer {
    fn begin(&mut self) {
        self.program
            .set(R6, R1)
            .load(Word, R7, R6, skb::DATA)
            .load(Word, R8, R6, skb::DATA_END)
            // Headers may lie in pages that programs do not see. Where the packet has no more than what is seen, there
            // is nothing to pull.
            .set(R2, R7)
            .add(R2, HEADERS)
            .jump_if(Condition::LessOrEqual, R2, R8, "linear")
            .load(Word, R2, R6, skb::LEN)
            .set(R3, R8)
            .arithmetic(Operation::Subtract, R3, R7)
            .jump_if(Condition::LessOrEqual, R2, R3, "linear")
            .jump_if(Condition::LessOrEqual, R2, HEADERS, "pull")
            .set(R2, HEADERS)
            .label("pull")
            .set(R1, R6)
            .call(Helper::SkbPullData)
            .load(Word, R7, R6, skb::DATA)
            .load(Word, R8, R6, skb::DATA_END)
            .label("linear");
        self.require(ETHERNET, "pass");
        match self.side {
            Side::Interface { .. } => {
                self.program.load(Word, R3, R6, skb::PKT_TYPE).jump_if(
                    Condition::NotEqual,
                    R3,
                    TO_THIS_HOST,
                    "pass",
                );
            }
            Side::Tap => self.send_to_next_hop(),
        }
        self.program
            .load(Half, R3, R7, ETHERTYPE)
            .jump_if(Condition::Equal, R3, loaded([0x08, 0x00]), V4.name)
            .jump_if(Condition::NotEqual, R3, loaded([0x86, 0xdd]), "pass");
    }

    /// Sends frames that the engine has made to the next hop that it has named.
    fn send_to_next_hop(&mut self) {
        self.program
            .load(Half, R3, R7, 0)
            .jump_if(Condition::NotEqual, R3, loaded(tag::NEXT_HOP), "by flow")
            .load(Word, R3, R7, tag::NUMBER)
            .store(Word, Frame, stack::NEXT_HOP, R3);
        self.find_next_hop();
        self.set_link_addresses();
        self.redirect();
        self.program.label("by flow");
    }

    /// Jumps unless the packet has so many bytes.
    fn require(&mut self, bytes: i16, otherwise: &'static str) {
        self.program.set(R2, R7).add(R2, i32::from(bytes)).jump_if(Condition::Greater, R2, R8, otherwise);
    }

    /// From the header of IP to the verdict, for packets of known flows.
    fn family(&mut self, headers: &Headers) {
        self.program.label(headers.name);
        self.require(headers.transport, "pass");
        self.program.load(Byte, R9, R7, headers.protocol);
        self.read_addresses(headers);
        self.read_ports(headers);
        self.program.lookup(FLOWS, stack::KEY).jump_if(Condition::Equal, R0, 0, "select").set(R8, R0);
        self.choose(headers);
        self.program.load(Word, R3, R8, value::NEXT_HOP.offset()).store(Word, Frame, stack::NEXT_HOP, R3);
        self.find_next_hop();
        self.check_length(headers);
        self.set_link_addresses();
        self.rewrite(headers);
        self.count();
        self.update_checksums(headers);
        self.redirect();
    }

    fn read_addresses(&mut self, headers: &Headers) {
        let key = |field: i16| stack::KEY + field;
        let (source, destination) = (key(key::SOURCE.offset()), key(key::DESTINATION.offset()));
        match headers.family {
            Family::V4 => {
                let [.., a, b, c, d] = MAPPED;
                let mapped = i32::from_ne_bytes([a, b, c, d]);
                for (place, field) in [(source, V4_SOURCE), (destination, V4_DESTINATION)] {
                    self.program
                        .store(Double, Frame, place, 0)
                        .store(Word, Frame, place + 8, mapped)
                        .load(Word, R3, R7, field)
                        .store(Word, Frame, place + 12, R3);
                }
            }
            Family::V6 => {
                for (place, field) in [(source, V6_SOURCE), (destination, V6_DESTINATION)] {
                    self.program
                        .load(Double, R3, R7, field)
                        .store(Double, Frame, place, R3)
                        .load(Double, R3, R7, field + 8)
                        .store(Double, Frame, place + 8, R3);
                }
            }
        }
        self.program.store(Word, Frame, key(key::SOURCE_PORT.offset()), 0).set(R3, R9);
        if headers.family == Family::V6 {
            self.program.arithmetic(Operation::Or, R3, key::IPV6);
        }
        self.program.store(Word, Frame, key(key::PROTOCOL.offset()), R3);
    }

    /// Goes on with whole packets of TCP and UDP only.
    fn read_ports(&mut self, headers: &Headers) {
        let label = |place: &str| format!("{} {place}", headers.name);
        if headers.family == Family::V4 {
            self.program
                .load(Byte, R3, R7, V4_VERSION)
                .jump_if(Condition::NotEqual, R3, V4_WITHOUT_OPTIONS, "select unread")
                .load(Half, R3, R7, V4_FRAGMENT)
                // All but "don't fragment" and the reserved bit.
                .jump_if(Condition::AnyBit, R3, loaded([0x3f, 0xff]), "select unread");
        }
        self.program.jump_if(Condition::Equal, R9, UDP, label("udp")).jump_if(
            Condition::Equal,
            R9,
            TCP,
            label("tcp"),
        );
        self.require_icmp_error(headers);
        self.program.label(label("tcp"));
        self.require(headers.transport + TCP_HEADER, "select unread");
        self.program.label(label("udp"));
        self.require(headers.transport + UDP_HEADER, "select unread");
        self.program.load(Word, R3, R7, headers.transport).store(
            Word,
            Frame,
            stack::KEY + key::SOURCE_PORT.offset(),
            R3,
        );
    }

    /// Passes what is ICMP but no error; all else that comes here has no ports.
    fn require_icmp_error(&mut self, headers: &Headers) {
        let icmp = match headers.family {
            Family::V4 => protocol::ICMP,
            Family::V6 => protocol::ICMPV6,
        };
        self.program.jump_if(Condition::NotEqual, R9, i32::from(icmp), "select unread");
        self.require(headers.transport + 1, "pass");
        self.program.load(Byte, R3, R7, headers.transport);
        match headers.family {
            Family::V4 => {
                // Destination unreachable, source quench, time exceeded, parameter problem (RFC 792).
                for error in [3, 4, 11, 12] {
                    self.program.jump_if(Condition::Equal, R3, error, "select unread");
                }
            }
            Family::V6 => {
                // RFC 4443, 2.1.
                self.program.jump_if(Condition::Less, R3, 128, "select unread");
            }
        }
        self.program.jump("pass");
    }

    /// Leaves to the engine what is not for the kernel to forward.
    fn choose(&mut self, headers: &Headers) {
        self.program
            .load(Word, R3, R8, value::MODE.offset())
            .jump_if(Condition::Less, R3, Mode::FIRST_FORWARDED, "engine")
            .jump_if(Condition::Greater, R3, Mode::LAST_FORWARDED, "engine")
            .load(Byte, R3, R7, headers.ttl)
            .jump_if(Condition::LessOrEqual, R3, 1, "engine");
        // From the TAP comes what the engine has seen.
        if self.side != Side::Tap {
            let stateless = format!("{} stateless", headers.name);
            self.program
                .jump_if(Condition::NotEqual, R9, TCP, stateless.clone())
                .load(Byte, R3, R7, headers.transport + TCP_FLAGS)
                .jump_if(Condition::AnyBit, R3, FIN_SYN_RST, "engine")
                .label(stateless);
        }
    }

    /// `R0` points to the next hop whose number is in the stack.
    fn find_next_hop(&mut self) {
        self.program
            .lookup(NEXT_HOPS, stack::NEXT_HOP)
            .jump_if(Condition::Equal, R0, 0, "engine")
            .load(Word, R3, R0, next_hop::value::INTERFACE.offset())
            .jump_if(Condition::Equal, R3, 0, "engine")
            .store(Double, Frame, stack::INTERFACE, R3);
    }

    /// Nobody compares the lengths of redirected packets with the MTU.
    fn check_length(&mut self, headers: &Headers) {
        let label = |place: &str| format!("{} {place}", headers.name);
        self.program
            .load(Word, R4, R0, next_hop::value::MTU.offset())
            .add(R4, i32::from(ETHERNET))
            .load(Word, R3, R6, skb::GSO_SIZE)
            .jump_if(Condition::NotEqual, R3, 0, label("merged"))
            .load(Word, R3, R6, skb::LEN)
            .jump_if(Condition::Greater, R3, R4, "engine")
            .jump(label("fits"))
            // What is sent of a merged packet is its headers and so many bytes at a time.
            .label(label("merged"))
            .set(R5, i32::from(UDP_HEADER))
            .jump_if(Condition::NotEqual, R9, TCP, label("header"))
            .load(Byte, R5, R7, headers.transport + 12)
            .arithmetic(Operation::ShiftRight, R5, 4)
            .arithmetic(Operation::ShiftLeft, R5, 2)
            .label(label("header"))
            .add(R3, R5)
            .add(R3, i32::from(headers.transport))
            .jump_if(Condition::Greater, R3, R4, "engine")
            .label(label("fits"));
    }

    fn redirect(&mut self) {
        self.program.load(Double, R1, Frame, stack::INTERFACE).set(R2, 0).call(Helper::Redirect).exit();
    }

    /// What becomes of packets that are not forwarded.
    fn end(&mut self) {
        match self.side {
            Side::Interface { tap } => {
                self.select();
                self.hand_to_engine(tap);
            }
            Side::Tap => {
                self.program
                    // The engine has written what only the engine can forward.
                    .label("engine")
                    .set(R0, verdict::SHOT)
                    .exit()
                    .label("select")
                    .label("select unread");
            }
        }
        self.program.label("pass").set(R0, verdict::UNSPEC).exit();
    }

    /// To the TAP, with a word on where it came from in place of the link-layer addresses.
    fn hand_to_engine(&mut self, tap: u32) {
        self.program
            .label("engine")
            .store(Half, R7, 0, loaded(tag::INTERFACE))
            .load(Word, R3, R6, skb::IFINDEX)
            .store(Word, R7, tag::NUMBER, R3)
            .store(Half, R7, tag::SECOND, loaded(tag::MARK))
            .load(Word, R3, R6, skb::MARK)
            .store(Word, R7, tag::SECOND + tag::NUMBER, R3)
            .set(R1, tap.cast_signed())
            .set(R2, 0)
            .call(Helper::Redirect)
            .exit();
    }
}
