use super::answer::{Silence, check, report};
use super::quote::{Quote, read_quoted};
use super::{Error, Message};
use crate::engine::address::Address;
use crate::engine::buffer::{Packet, get, word};
use crate::engine::packet::{Fragment, Malformed, View, protocol};
use crate::virtual_service::Family;

/// An error about a packet that the director has put into a tunnel, from the server or a router before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunnelled {
    /// Where the tunnel goes.
    pub server: Address,
    pub carrier: Carrier,
    /// The packet inside, of its own first byte on; it ends no later than the quotation does. Its destination is the
    /// service.
    pub view: View,
    /// What the tunnel puts before packets, in bytes.
    pub overhead: usize,
    message: Message,
    family: Family,
    /// Where the packet inside begins in the error, and where the error ends.
    at: usize,
    end: usize,
}

/// What says which tunnel it was, of several to one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    Ipip,
    Gre,
    Gue { port: u16 },
}

/// Why it is not about a tunnel of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTunnelled {
    /// Nor does a later fragment of one say what is in it.
    #[error("no packet of a tunnel")]
    OtherProtocol,
    /// Many routers quote but eight bytes behind the IP header.
    #[error("cut off before the packet inside")]
    Truncated,
    /// Another version, another protocol inside, or flags that we do not set.
    #[error("a header that is not of our making")]
    Foreign,
    #[error("what is inside is no packet")]
    Malformed(#[from] Malformed),
}

impl Tunnelled {
    /// Reads what is quoted in an error to the director. Whether there is such a tunnel and such a connection is for
    /// the caller to find out: anyone may send it.
    ///
    /// # Errors
    /// It quotes no packet of a tunnel, or not enough of it.
    pub fn read(packet: &Packet<'_>, quote: &Quote) -> Result<Self, NotTunnelled> {
        let quoted = packet.bytes().get(quote.at..quote.end).ok_or(NotTunnelled::Truncated)?;
        let outer = &quote.view;
        if outer.fragment == Fragment::Later {
            return Err(NotTunnelled::OtherProtocol);
        }
        let payload = quoted.get(outer.transport..).unwrap_or_default();
        let (carrier, length, inside) = match outer.protocol {
            protocol::IPIP | protocol::IPV6 => (Carrier::Ipip, 0, family_of(outer.protocol)),
            protocol::GRE => read_gre(payload)?,
            protocol::UDP => read_gue(payload)?,
            _ => return Err(NotTunnelled::OtherProtocol),
        };
        let overhead = outer.transport + length;
        let inner = quoted.get(overhead..).filter(|inner| !inner.is_empty());
        let view = read_quoted(inner.ok_or(NotTunnelled::Truncated)?)?;
        if inside != Some(view.family) {
            return Err(NotTunnelled::Foreign);
        }
        Ok(Self {
            server: outer.destination,
            carrier,
            view,
            overhead,
            message: quote.message,
            family: outer.family,
            at: quote.at + overhead,
            end: quote.end,
        })
    }

    /// What it says. Of [`Error::TooBig`] it is the way to the server that takes less from now on.
    pub const fn error(&self) -> Option<Error> {
        self.message.error(self.family)
    }

    /// Makes of it the error that the client gets from the service, about its own packet. `mtu` is that of the way to
    /// the server, as it is known now; the client hears of what is left of it.
    ///
    /// # Errors
    /// The client is not told. The packet is as it was.
    pub fn relay(&self, packet: &mut Packet<'_>, mtu: usize, identification: u16) -> Result<(), Silence> {
        let quoted = packet.bytes().get(self.at..).unwrap_or_default();
        check(quoted, &self.view)?;
        let message = match self.error() {
            Some(Error::TooBig { .. }) if !self.view.dont_fragment => return Err(Silence::MayBeCut),
            Some(Error::TooBig { .. }) => {
                Error::TooBig { mtu: mtu.saturating_sub(self.overhead) }.message(self.view.family)
            }
            // Word for word, but for what stands in the last four bytes.
            _ if self.family == self.view.family => Message { rest: 0, ..self.message },
            Some(error) => error.message(self.view.family),
            None => return Err(Silence::Meaningless),
        };
        packet.truncate(self.end);
        packet.shrink_at(0, self.at);
        report(packet, &self.view, message, self.view.destination, identification)
    }
}

type Read = (Carrier, usize, Option<Family>);

fn read_gre(payload: &[u8]) -> Result<Read, NotTunnelled> {
    let [flags, version, high, low] = get(payload, 0).ok_or(NotTunnelled::Truncated)?;
    let length = match (flags, version) {
        (0, 0) => 4,
        (0x80, 0) => 8,
        _ => return Err(NotTunnelled::Foreign),
    };
    let inside = match u16::from_be_bytes([high, low]) {
        0x0800 => Some(Family::V4),
        0x86dd => Some(Family::V6),
        _ => None,
    };
    Ok((Carrier::Gre, length, inside))
}

fn read_gue(payload: &[u8]) -> Result<Read, NotTunnelled> {
    let port = word(payload, 2).ok_or(NotTunnelled::Truncated)?;
    let [first, protocol] = get(payload, 8).ok_or(NotTunnelled::Truncated)?;
    // Version and control bit; then how many words are optional.
    if first & 0xe0 != 0 {
        return Err(NotTunnelled::Foreign);
    }
    let length = 8 + 4 + usize::from(first & 0x1f) * 4;
    Ok((Carrier::Gue { port }, length, family_of(protocol)))
}

const fn family_of(protocol: u8) -> Option<Family> {
    match protocol {
        protocol::IPIP => Some(Family::V4),
        protocol::IPV6 => Some(Family::V6),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
