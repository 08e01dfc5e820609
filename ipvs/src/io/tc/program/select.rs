//! Whether the engine takes a packet of no known flow. Its addresses and ports are in the stack, as the key of a flow.

use Register::{Frame, R0, R3, R6, R8, R9};
use Size::{Byte, Double, Half, Word};

use super::{KINDS, SELECTORS, Writer, skb, stack};
use crate::io::bpf::{Assembler, Condition, Instruction, Operation, Register, Size};
use crate::io::flow::key;
use crate::io::selector::{self, Kind};

impl Writer {
    /// Whether a selector names the packet.
    pub(super) fn select(&mut self) {
        let load_kinds = |program: &mut Assembler| {
            program.push(Instruction::LoadMapValue { destination: R8, map: KINDS }).load(Word, R8, R8, 0);
        };
        self.program.label("select");
        load_kinds(&mut self.program);
        for kind in [Kind::DestinationPort, Kind::DestinationAnyPort, Kind::SourcePort, Kind::SourceAnyPort] {
            self.select_kind(kind);
        }
        self.program.jump("select mark").label("select unread");
        load_kinds(&mut self.program);
        for kind in [Kind::DestinationUnread, Kind::SourceUnread] {
            self.select_kind(kind);
        }
        let field = |offset: i16| stack::SELECTOR + offset;
        self.program
            .label("select mark")
            .arithmetic(Operation::And, R8, Kind::Mark.bit())
            .jump_if(Condition::Equal, R8, 0, "pass")
            .load(Word, R3, R6, skb::MARK)
            .jump_if(Condition::Equal, R3, 0, "pass")
            .store(Double, Frame, field(selector::key::ADDRESS.offset()), 0)
            .store(Double, Frame, field(selector::key::ADDRESS.offset() + 8), 0)
            .store(Word, Frame, field(selector::key::MARK.offset()), R3)
            .store(Half, Frame, field(selector::key::PORT.offset()), 0)
            .store(Byte, Frame, field(selector::key::PROTOCOL.offset()), 0)
            .store(Byte, Frame, field(selector::key::KIND.offset()), Kind::Mark as i32)
            .lookup(SELECTORS, stack::SELECTOR)
            .jump_if(Condition::Equal, R0, 0, "pass")
            .jump("engine");
    }

    fn select_kind(&mut self, kind: Kind) {
        let next = format!("after {kind:?}");
        let (address, port) = match kind {
            Kind::DestinationPort => (key::DESTINATION, Some(key::DESTINATION_PORT)),
            Kind::SourcePort => (key::SOURCE, Some(key::SOURCE_PORT)),
            Kind::DestinationAnyPort | Kind::DestinationUnread => (key::DESTINATION, None),
            Kind::SourceAnyPort | Kind::SourceUnread | Kind::Mark => (key::SOURCE, None),
        };
        let field = |offset: i16| stack::SELECTOR + offset;
        self.program.set(R3, R8).arithmetic(Operation::And, R3, kind.bit()).jump_if(
            Condition::Equal,
            R3,
            0,
            next.clone(),
        );
        for half in [0, 8] {
            self.program.load(Double, R3, Frame, stack::KEY + address.offset() + half).store(
                Double,
                Frame,
                field(selector::key::ADDRESS.offset() + half),
                R3,
            );
        }
        match port {
            Some(port) => self.program.load(Half, R3, Frame, stack::KEY + port.offset()),
            None => self.program.set(R3, 0),
        };
        self.program
            .store(Half, Frame, field(selector::key::PORT.offset()), R3)
            .store(Byte, Frame, field(selector::key::PROTOCOL.offset()), R9)
            .store(Byte, Frame, field(selector::key::KIND.offset()), kind as i32)
            .lookup(SELECTORS, stack::SELECTOR)
            .jump_if(Condition::NotEqual, R0, 0, "engine")
            .label(next);
    }
}
