//! Rules are expressions: what is read of a packet, compared, looked up or done. As they stand in messages.

use super::nftables::Attributes;

/// Expressions in their order. What does not hold, or reads beyond the packet, ends the rule.
pub(super) struct Rule(pub(super) Attributes);

impl Rule {
    fn expression(&mut self, name: &str, write: impl FnOnce(&mut Attributes)) -> &mut Self {
        self.0.nested(1, |expression| {
            expression.text(1, name).nested(2, write);
        });
        self
    }

    pub(super) fn meta(&mut self, to: Register, key: u32) -> &mut Self {
        self.expression("meta", |data| {
            data.number(1, to.0).number(2, key);
        })
    }

    /// From the header of IP.
    pub(super) fn load(&mut self, to: Register, offset: u32, length: u32) -> &mut Self {
        self.expression("payload", |data| {
            data.number(1, to.0).number(2, NETWORK).number(3, offset).number(4, length);
        })
    }

    /// Into the link-layer header.
    pub(super) fn store(&mut self, from: Register, offset: u32, length: u32) -> &mut Self {
        self.expression("payload", |data| {
            data.number(5, from.0).number(2, LINK).number(3, offset).number(4, length).number(6, 0);
        })
    }

    pub(super) fn immediate(&mut self, to: Register, value: &[u8]) -> &mut Self {
        self.expression("immediate", |data| {
            data.number(1, to.0).nested(2, |data| {
                data.bytes(1, value);
            });
        })
    }

    pub(super) fn mask(&mut self, mask: &[u8]) -> &mut Self {
        let length = u32::try_from(mask.len()).unwrap_or(u32::MAX);
        self.expression("bitwise", |data| {
            data.number(1, Register::FIRST.0).number(2, Register::FIRST.0).number(3, length);
            for (kind, value) in [(4, mask), (5, &vec![0; mask.len()])] {
                data.nested(kind, |data| {
                    data.bytes(1, value);
                });
            }
        })
    }

    pub(super) fn compare(&mut self, comparison: Comparison, value: &[u8]) -> &mut Self {
        self.expression("cmp", |data| {
            data.number(1, Register::FIRST.0).number(2, comparison as u32).nested(3, |data| {
                data.bytes(1, value);
            });
        })
    }

    pub(super) fn lookup(&mut self, set: &str) -> &mut Self {
        self.expression("lookup", |data| {
            data.text(1, set).number(2, Register::FIRST.0);
        })
    }

    /// To the device with that index. Nothing comes after it.
    pub(super) fn forward_to(&mut self, device: u32) {
        self.immediate(Register::FIRST, &device.to_ne_bytes()).expression("fwd", |data| {
            data.number(1, Register::FIRST.0);
        });
    }

    pub(super) fn goto(&mut self, chain: &str) {
        /// `NFT_GOTO`, which is -4.
        const GOTO: u32 = u32::MAX - 3;
        self.expression("immediate", |data| {
            data.number(1, 0).nested(2, |data| {
                data.nested(2, |verdict| {
                    verdict.number(1, GOTO).text(2, chain);
                });
            });
        });
    }
}

/// Where expressions keep values: registers of four bytes that follow each other.
#[derive(Clone, Copy)]
pub(super) struct Register(u32);

impl Register {
    /// `NFT_REG32_00`
    pub(super) const FIRST: Self = Self(8);

    /// The one so many bytes further.
    pub(super) const fn after(self, bytes: u32) -> Self {
        Self(self.0 + bytes / 4)
    }
}

/// Headers that bytes of packets are counted from.
const LINK: u32 = 0;
const NETWORK: u32 = 1;

/// Keys of `meta`.
pub(super) const PROTOCOL: u32 = 1;
pub(super) const MARK: u32 = 3;
pub(super) const INTERFACE: u32 = 4;
pub(super) const PACKET_TYPE: u32 = 19;
#[derive(Clone, Copy)]
pub(super) enum Comparison {
    Equal = 0,
    NotEqual = 1,
    Less = 2,
}
