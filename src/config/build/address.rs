//! Addresses of virtual routers and static ones.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::Build;
use super::entry::{Cursor, Once, Unusable, unusable};
use super::names::List;
use crate::config::finding::{Code, Finding};
use crate::config::schema::Entries;
use crate::config::settings::{Text, Words};
use crate::config::value;
use crate::host::desired::Address;

/// Of these a line takes one.
const ONCE: Once =
    &[&["brd", "broadcast"], &["scope"], &["label"], &["peer"], &["preferred_lft"], &["track_group"]];

/// An address line, and the track group of a static one.
pub(super) struct AddressLine {
    pub(super) address: Address,
    pub(super) track_group: Option<Text>,
}

impl Build<'_> {
    /// Reads one line; a finding has said why when there is nothing.
    pub(super) fn address(
        &mut self,
        words: &Words,
        dev: Option<&Arc<str>>,
        entries: Entries,
    ) -> Option<AddressLine> {
        let line = self.address_line(words, dev, entries);
        self.or_nothing(words, line)
    }

    fn address_line(
        &mut self,
        words: &Words,
        dev: Option<&Arc<str>>,
        entries: Entries,
    ) -> Result<AddressLine, Unusable> {
        let mut cursor = Cursor::new(words);
        let Some(first) = cursor.next() else {
            return Err(Box::new(Finding::warning(
                Code::BadValue,
                None,
                "an empty line in a list of addresses",
            )));
        };
        let (ip, prefix_len) = self.address_and_length(first)?;
        let mut track_group = None;
        let mut has_dev = false;
        let mut broadcast = None;
        let mut preferred = None;
        let mut address = Address {
            ip,
            prefix_len,
            dev: dev.map_or_else(|| Arc::from(""), Arc::clone),
            broadcast: None,
            scope: None,
            label: None,
            peer: None,
            home: false,
            dad: false,
            mngtmpaddr: false,
            noprefixroute: false,
            autojoin: false,
            preferred: None,
            tracked: true,
            own_vmac: false,
        };
        while let Some(option) = cursor.option() {
            match &*option.value {
                "dev" if has_dev => return Err(unusable(option, "an address is on one interface")),
                "dev" => {
                    address.dev = self.dev(&mut cursor, option)?;
                    has_dev = true;
                }
                "brd" | "broadcast" => {
                    let word = cursor.value(option)?;
                    if ip.is_ipv6() {
                        self.no_such_family(&cursor, option, "IPv6 has no broadcast addresses");
                        continue;
                    }
                    broadcast = Some(word);
                }
                "scope" => {
                    let scope = self.named(&mut cursor, option, List::Scopes, 255);
                    let Some(scope) = self.or_without(&cursor, option, scope) else { continue };
                    if ip.is_ipv6() {
                        self.no_such_family(&cursor, option, "IPv6 addresses have no scope of their own");
                    } else {
                        address.scope = u8::try_from(scope).ok();
                    }
                }
                "label" => {
                    let label = cursor.value(option)?;
                    if label.value.len() > 15 {
                        return Err(unusable(label, "a label has at most 15 characters"));
                    }
                    address.label = Some(Arc::clone(&label.value));
                }
                "peer" => {
                    let word = cursor.value(option)?;
                    let peer = value::prefix(&word.value).filter(|(peer, _)| peer.is_ipv4() == ip.is_ipv4());
                    let peer = peer.ok_or_else(|| {
                        unusable(word, format!("`{}` is not an address of the same family", word.value))
                    });
                    let Some((peer, len)) = self.or_without(&cursor, option, peer) else { continue };
                    address.peer = Some(peer);
                    address.prefix_len = self.peer_length(first, word, (peer, len));
                }
                "home" | "-nodad" | "mngtmpaddr" if ip.is_ipv4() => {
                    let message = format!("`{}` is for IPv6 addresses", option.value);
                    self.no_such_family(&cursor, option, &message);
                }
                "home" => address.home = true,
                "-nodad" => address.dad = true,
                "mngtmpaddr" => address.mngtmpaddr = true,
                "noprefixroute" => address.noprefixroute = true,
                "autojoin" => address.autojoin = true,
                "no_track" => address.tracked = false,
                "use_vmac" if entries == Entries::VirtualAddresses => address.own_vmac = true,
                "track_group" if entries == Entries::StaticAddresses => {
                    track_group = Some(cursor.value(option)?.clone())
                }
                "preferred_lft" => {
                    preferred = if cursor.accept(&["forever"]).is_some() {
                        Some(None)
                    } else {
                        let seconds = cursor.number32(option, 0, u32::MAX);
                        let Some(seconds) = self.or_without(&cursor, option, seconds) else { continue };
                        Some(Some(seconds))
                    };
                }
                _ => {
                    let unknown = self.unknown_option(option, entries.options());
                    self.or_without::<()>(&cursor, option, Err(unknown));
                }
            }
            self.once(&cursor, option, ONCE);
        }
        address.broadcast = broadcast.map(|word| broadcast_of(ip, address.prefix_len, word)).transpose()?;
        // A host address of IPv6 is never to be chosen as a source.
        let host = (ip.is_ipv6() && address.prefix_len == 128).then_some(0);
        address.preferred = preferred.unwrap_or(host);
        if address.dev.is_empty() {
            return Err(unusable(
                first,
                "no interface for this address: neither `dev` nor one of its instance",
            ));
        }
        Ok(AddressLine { address, track_group })
    }

    /// The length of an address with a peer is the peer's: that of a host when it has none.
    fn peer_length(&mut self, first: &Text, word: &Text, (peer, len): (IpAddr, Option<u8>)) -> u8 {
        let host = if peer.is_ipv4() { 32 } else { 128 };
        let assumed = format!("{peer}/{host}");
        if len.is_none() {
            self.warn(Code::OutOfRange, word.span, "a prefix length that cannot be", &assumed);
            self.write_instead(word, &[&assumed]);
        }
        let len = len.unwrap_or(host);
        if let Some((ip, written)) = first.value.split_once('/')
            && written.parse() != Ok(len)
        {
            let message = "an address with a peer has the prefix length of the peer";
            self.warn(Code::Conflict, first.span, message, &format!("/{len}"));
            self.write_instead(first, &[ip]);
        }
        len
    }

    fn no_such_family(&mut self, cursor: &Cursor<'_>, option: &Text, message: &str) {
        self.warn(Code::Conflict, option.span, message, "the option is ignored");
        self.ignore_option(cursor, option);
    }
}

/// An address, or the one of all ones or all zeros in the host part.
fn broadcast_of(ip: IpAddr, prefix_len: u8, word: &Text) -> Result<Ipv4Addr, Unusable> {
    let host = u32::MAX.checked_shr(u32::from(prefix_len)).unwrap_or(0);
    match (ip, &*word.value) {
        (IpAddr::V4(ip), "+") => Ok(Ipv4Addr::from_bits(ip.to_bits() | host)),
        (IpAddr::V4(ip), "-") => Ok(Ipv4Addr::from_bits(ip.to_bits() & !host)),
        (_, text) => {
            text.parse().map_err(|_| unusable(word, format!("`{text}` is not an IPv4 address, `+` or `-`")))
        }
    }
}
