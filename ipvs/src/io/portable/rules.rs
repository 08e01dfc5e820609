//! The rules: which packets are taken, as [`tc`](crate::io::tc) takes them, and how they get to the TAP.
//!
//! ```text
//! in-INTERFACE ─ to this host ─┬─ v4 ─┬─ v4_ports ──┐
//!                              │      ├─ v4_icmp ─┐ ├─ mark ─ take
//!                              │      └─ v4_unread┘─┘
//!                              └─ v6 ─ ...
//! ```
//!
//! What falls out at the end of a chain passes. Selectors are elements of sets, a set for each kind and family, so that a
//! rule never changes.

use super::expression::{Comparison, INTERFACE, MARK, PACKET_TYPE, PROTOCOL, Register, Rule};
use super::nftables::{
    APPEND, Batch, CREATE, DELETE_CHAIN, DELETE_ELEMENTS, EXCLUSIVE, NEW_CHAIN, NEW_ELEMENTS, NEW_RULE,
    NEW_SET, NEW_TABLE,
};
use crate::engine::packet::protocol;
use crate::io::selector::{End, Ports, Selector};
use crate::io::tap::tag;
use crate::virtual_service::Family;

/// `NFT_TABLE_F_OWNER`: only the socket that made it may change it, and it is gone with that.
const OWNED: u32 = 2;
const INGRESS: u32 = 0;
/// After other filters, which have a priority around zero as a rule.
const PRIORITY: u32 = 1000;

/// `PACKET_HOST` (`linux/if_packet.h`), one byte in a register.
const TO_THIS_HOST: [u8; 1] = [0];

/// What a packet of a family looks like, and the names of its chains and sets.
struct Headers {
    name: &'static str,
    ethertype: [u8; 2],
    address_length: u32,
    source: u32,
    destination: u32,
    protocol: u32,
    transport: u32,
    icmp: u8,
}

const V4: Headers = Headers {
    name: "v4",
    ethertype: [0x08, 0x00],
    address_length: 4,
    source: 12,
    destination: 16,
    protocol: 9,
    transport: 20,
    icmp: protocol::ICMP,
};
const V6: Headers = Headers {
    name: "v6",
    ethertype: [0x86, 0xdd],
    address_length: 16,
    source: 8,
    destination: 24,
    protocol: 6,
    transport: 40,
    icmp: protocol::ICMPV6,
};

/// Kinds of selectors with an address, and whether they name a port.
const PORTS: [(&str, End, bool); 4] = [
    ("destination_port", End::Destination, true),
    ("destination_any_port", End::Destination, false),
    ("source_port", End::Source, true),
    ("source_any_port", End::Source, false),
];
const UNREAD: [(&str, End, bool); 2] =
    [("destination_unread", End::Destination, false), ("source_unread", End::Source, false)];
const MARKS: &str = "marks";

/// Numbers of types by which `nft list` shows keys.
const TYPE_IPV4: u32 = 7;
const TYPE_IPV6: u32 = 8;
const TYPE_PROTOCOL: u32 = 12;
const TYPE_SERVICE: u32 = 13;
const TYPE_MARK: u32 = 19;

/// The set that a selector is an element of, and as what.
pub(super) fn element(selector: &Selector) -> (String, Vec<u8>) {
    let (end, address, protocol, ports) = match *selector {
        Selector::Mark(mark) => return (MARKS.to_owned(), mark.to_ne_bytes().to_vec()),
        Selector::Address { end, address, protocol, ports } => (end, address, protocol, ports),
    };
    let bits = address.bits().to_be_bytes();
    let (headers, address) = match address.family() {
        Family::V4 => (&V4, bits.last_chunk::<4>().map_or(&bits[..], |address| &address[..])),
        Family::V6 => (&V6, &bits[..]),
    };
    let mut key = address.to_vec();
    key.extend([protocol, 0, 0, 0]);
    let ports = match ports {
        Ports::One(port) => {
            key.extend(port.to_be_bytes());
            key.extend([0, 0]);
            "port"
        }
        Ports::Any => "any_port",
        Ports::Unread => "unread",
    };
    let end = match end {
        End::Source => "source",
        End::Destination => "destination",
    };
    (format!("{}_{end}_{ports}", headers.name), key)
}

/// One transaction on the table of that name.
pub(super) struct Rules<'t> {
    pub(super) table: &'t str,
    pub(super) batch: Batch,
}

impl<'t> Rules<'t> {
    pub(super) fn on(table: &'t str) -> Self {
        Self { table, batch: Batch::new() }
    }

    /// The table with everything in it that does not depend on an interface. Packets go to the device with that index.
    pub(super) fn create(&mut self, device: u32) {
        let table = self.table;
        self.batch.message(NEW_TABLE, CREATE | EXCLUSIVE, |attributes| {
            attributes.text(1, table).number(2, OWNED);
        });
        self.set(MARKS, TYPE_MARK, 4);
        self.chain("take");
        self.chain("mark");
        self.rule("take", |rule| rule.take(device));
        self.rule("mark", |rule| {
            rule.meta(Register::FIRST, MARK).lookup(MARKS).goto("take");
        });
        for headers in [&V4, &V6] {
            self.sets(headers);
            self.family(headers);
        }
    }

    /// From now on what comes in by the interface is looked at.
    pub(super) fn attach(&mut self, chain: &str, interface: &str) {
        let table = self.table;
        self.batch.message(NEW_CHAIN, CREATE | EXCLUSIVE, |attributes| {
            attributes.text(1, table).text(3, chain).text(7, "filter").nested(4, |hook| {
                hook.number(1, INGRESS).number(2, PRIORITY).text(3, interface);
            });
        });
        for headers in [&V4, &V6] {
            self.rule(chain, |rule| {
                rule.meta(Register::FIRST, PACKET_TYPE)
                    .compare(Comparison::Equal, &TO_THIS_HOST)
                    .meta(Register::FIRST, PROTOCOL)
                    .compare(Comparison::Equal, &headers.ethertype)
                    // The last bytes of the header of IP: packets without them pass.
                    .load(Register::FIRST, headers.transport - 4, 4)
                    .goto(headers.name);
            });
        }
    }

    /// Rules go with their chain.
    pub(super) fn detach(&mut self, chain: &str) {
        let table = self.table;
        self.batch.message(DELETE_CHAIN, 0, |attributes| {
            attributes.text(1, table).text(3, chain);
        });
    }

    pub(super) fn insert(&mut self, set: &str, keys: &[Vec<u8>]) {
        self.elements(NEW_ELEMENTS, CREATE, set, keys);
    }

    pub(super) fn remove(&mut self, set: &str, keys: &[Vec<u8>]) {
        self.elements(DELETE_ELEMENTS, 0, set, keys);
    }

    fn elements(&mut self, kind: u8, flags: u16, set: &str, keys: &[Vec<u8>]) {
        let table = self.table;
        self.batch.message(kind, flags, |attributes| {
            attributes.text(1, table).text(2, set).nested(3, |list| {
                for key in keys {
                    list.nested(1, |element| {
                        element.nested(1, |data| {
                            data.bytes(1, key);
                        });
                    });
                }
            });
        });
    }

    fn sets(&mut self, headers: &Headers) {
        let address = if headers.address_length == 4 { TYPE_IPV4 } else { TYPE_IPV6 };
        for (name, _, with_port) in PORTS.into_iter().chain(UNREAD) {
            let (kind, length) = (address << 6 | TYPE_PROTOCOL, headers.address_length + 4);
            let (kind, length) =
                if with_port { (kind << 6 | TYPE_SERVICE, length + 4) } else { (kind, length) };
            self.set(&format!("{}_{name}", headers.name), kind, length);
        }
    }

    fn set(&mut self, name: &str, kind: u32, length: u32) {
        let table = self.table;
        // The kernel wants a number that is the set's in this transaction, which nobody asks for later.
        self.batch.message(NEW_SET, CREATE | EXCLUSIVE, |attributes| {
            attributes
                .text(1, table)
                .text(2, name)
                .number(3, 0)
                .number(4, kind)
                .number(5, length)
                .number(10, 1);
        });
    }

    fn family(&mut self, headers: &Headers) {
        let name = headers.name;
        let [icmp, ports, unread] = ["icmp", "ports", "unread"].map(|part| format!("{name}_{part}"));
        for chain in [name, &icmp, &ports, &unread] {
            self.chain(chain);
        }
        if name == V4.name {
            self.rule(name, |rule| {
                rule.load(Register::FIRST, 0, 1).compare(Comparison::NotEqual, &[0x45]).goto(&unread);
            });
            self.rule(name, |rule| {
                // All but "don't fragment" and the reserved bit.
                rule.load(Register::FIRST, 6, 2)
                    .mask(&[0x3f, 0xff])
                    .compare(Comparison::NotEqual, &[0, 0])
                    .goto(&unread);
            });
        }
        // With the last bytes of its header, without which ports are not looked at.
        for (protocol, last) in [(protocol::TCP, 16), (protocol::UDP, 4)] {
            self.rule(name, |rule| {
                rule.protocol(headers, protocol)
                    .load(Register::FIRST, headers.transport + last, 4)
                    .goto(&ports);
            });
        }
        self.rule(name, |rule| {
            rule.protocol(headers, headers.icmp).goto(&icmp);
        });
        self.rule(name, |rule| {
            rule.goto(&unread);
        });
        let errors: &[(Comparison, u8)] = if name == V4.name {
            // Destination unreachable, source quench, time exceeded, parameter problem (RFC 792).
            &[3, 4, 11, 12].map(|kind| (Comparison::Equal, kind))
        } else {
            // RFC 4443, 2.1.
            &[(Comparison::Less, 128)]
        };
        for (comparison, kind) in errors {
            self.rule(&icmp, |rule| {
                rule.load(Register::FIRST, headers.transport, 1).compare(*comparison, &[*kind]).goto(&unread);
            });
        }
        for (chain, kinds) in [(&ports, &PORTS[..]), (&unread, &UNREAD[..])] {
            for (set, end, with_port) in kinds {
                self.rule(chain, |rule| {
                    rule.key(headers, *end, *with_port).lookup(&format!("{name}_{set}")).goto("take");
                });
            }
            self.rule(chain, |rule| {
                rule.goto("mark");
            });
        }
    }

    fn chain(&mut self, name: &str) {
        let table = self.table;
        self.batch.message(NEW_CHAIN, CREATE | EXCLUSIVE, |attributes| {
            attributes.text(1, table).text(3, name);
        });
    }

    fn rule(&mut self, chain: &str, write: impl FnOnce(&mut Rule)) {
        let table = self.table;
        self.batch.message(NEW_RULE, CREATE | APPEND, |attributes| {
            attributes.text(1, table).text(2, chain).nested(4, |expressions| {
                let mut rule = Rule(std::mem::take(expressions));
                write(&mut rule);
                *expressions = rule.0;
            });
        });
    }
}

impl Rule {
    /// Goes on with packets of that protocol, as the header of IP names it.
    fn protocol(&mut self, headers: &Headers, protocol: u8) -> &mut Self {
        self.load(Register::FIRST, headers.protocol, 1).compare(Comparison::Equal, &[protocol])
    }

    /// Reads what elements of sets consist of.
    fn key(&mut self, headers: &Headers, end: End, with_port: bool) -> &mut Self {
        let (address, port) = match end {
            End::Source => (headers.source, headers.transport),
            End::Destination => (headers.destination, headers.transport + 2),
        };
        let after = Register::FIRST.after(headers.address_length);
        self.load(Register::FIRST, address, headers.address_length);
        self.load(after, headers.protocol, 1);
        if with_port {
            self.load(after.after(4), port, 2);
        }
        self
    }

    /// To the TAP, with a word on where it came from in place of the link-layer addresses.
    fn take(&mut self, device: u32) {
        let [number, second] = [tag::NUMBER, tag::SECOND].map(|place| u32::from(place.unsigned_abs()));
        for (place, word, key) in [(0, tag::INTERFACE, INTERFACE), (second, tag::MARK, MARK)] {
            self.immediate(Register::FIRST, &word).store(Register::FIRST, place, 2);
            self.meta(Register::FIRST, key).store(Register::FIRST, place + number, 4);
        }
        self.forward_to(device);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::address::Address;

    fn selector() -> impl Strategy<Value = Selector> {
        let end = prop::sample::select(vec![End::Source, End::Destination]);
        let ports = prop_oneof![any::<u16>().prop_map(Ports::One), Just(Ports::Any), Just(Ports::Unread)];
        let address = prop_oneof![any::<u32>().prop_map(Address::v4), any::<u128>().prop_map(Address::v6)];
        prop_oneof![
            (end, address, any::<u8>(), ports).prop_map(|(end, address, protocol, ports)| {
                Selector::Address { end, address, protocol, ports }
            }),
            any::<u32>().prop_map(Selector::Mark),
        ]
    }

    #[test]
    fn elements_stand_as_registers_do() {
        let address = Address::v4(0xc000_0201);
        let ports = Ports::One(80);
        let selector = Selector::Address { end: End::Destination, address, protocol: 6, ports };
        let (set, key) = element(&selector);
        assert_eq!(set, "v4_destination_port");
        assert_eq!(key, [192, 0, 2, 1, 6, 0, 0, 0, 0, 80, 0, 0]);
    }

    proptest! {
        #[test]
        fn selectors_differ_as_their_elements(a in selector(), b in selector()) {
            prop_assert_eq!(a == b, element(&a) == element(&b));
        }
    }
}
