use super::{Error, HEADER, Message, is_error};
use crate::engine::buffer::{Checksum, Packet, get, put};
use crate::engine::forward::is_valid;
use crate::engine::packet::{Fragment, Malformed, View};

/// The packet that an error is about, as far as it is quoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// Where it begins in the error, and where the error ends: what lies behind that is padding of the link.
    pub(super) at: usize,
    pub(super) end: usize,
    pub(super) message: Message,
    /// Of its own first byte on. It ends no later than the quotation does.
    pub view: View,
}

/// Why there is no packet to find a connection by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoQuote {
    /// Another message, or another protocol. IPVS lets it pass.
    #[error("no error of ICMP")]
    NoError,
    #[error("a fragment of an error")]
    Fragment,
    #[error("cut off before it quotes anything")]
    Truncated,
    #[error("what it quotes is no packet")]
    Malformed(#[from] Malformed),
    #[error("it quotes a packet of another family")]
    Family,
}

/// Headers are found within so many bytes.
const READ: usize = 512;

impl Quote {
    /// Reads an error. Its quoted packet may have no ports: of another protocol, a later fragment, or cut off.
    ///
    /// # Errors
    /// It is none, or none that could be about a connection.
    pub fn read(packet: &Packet<'_>, view: &View) -> Result<Self, NoQuote> {
        let bytes = packet.bytes();
        if !is_error(bytes, view) {
            return Err(NoQuote::NoError);
        }
        if view.fragment != Fragment::Whole {
            return Err(NoQuote::Fragment);
        }
        let payload = view.payload(bytes);
        let [kind, code, _, _, r, e, s, t] = get(payload, 0).ok_or(NoQuote::Truncated)?;
        let quoted = payload.get(HEADER..).ok_or(NoQuote::Truncated)?;
        let quoted = read_quoted(quoted)?;
        if quoted.family != view.family {
            return Err(NoQuote::Family);
        }
        let message = Message { kind, code, rest: u32::from_be_bytes([r, e, s, t]) };
        Ok(Self { at: view.transport + HEADER, end: view.end, message, view: quoted })
    }

    /// Whether the checksum of the error is right, without which nobody should do anything about it. An error that is about
    /// no connection is not ours to judge, so this comes after looking for one. The host's own has none yet.
    pub fn is_intact(packet: &Packet<'_>, view: &View) -> bool {
        packet.offload().checksum != Checksum::Complete || is_valid(packet.bytes(), view)
    }

    /// What it says, if anything is to be done about it: of a way that takes less, above all.
    pub const fn error(&self) -> Option<Error> {
        self.message.error(self.view.family)
    }
}

/// Reads the headers of a packet of which the end is missing.
pub(super) fn read_quoted(quoted: &[u8]) -> Result<View, Malformed> {
    let mut copy = [0; READ];
    let length = quoted.len().min(READ);
    let copied = copy.get_mut(..length).zip(quoted.get(..length)).ok_or(Malformed::Truncated)?;
    copied.0.copy_from_slice(copied.1);
    let (place, counted) = match quoted.first().ok_or(Malformed::Truncated)? >> 4 {
        4 => (2, length),
        _ => (4, length.saturating_sub(40)),
    };
    let counted = u16::try_from(counted).unwrap_or(u16::MAX);
    put(copied.0, place, counted.to_be_bytes()).ok_or(Malformed::Truncated)?;
    View::read(copied.0)
}
