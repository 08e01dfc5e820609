//! Addresses of virtual routers and static ones.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::Build;
use super::entry::{Cursor, Unusable, unusable};
use super::names::List;
use crate::config::finding::{Code, Finding};
use crate::config::schema::Entries;
use crate::config::settings::{Text, Words};
use crate::config::value;
use crate::host::desired::Address;

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
        line.map_err(|finding| self.findings.push(*finding)).ok()
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
            // A host address of IPv6 is never to be chosen as a source.
            preferred: (ip.is_ipv6() && prefix_len == 128).then_some(0),
            tracked: true,
            own_vmac: false,
        };
        while let Some(option) = cursor.next() {
            match &*option.value {
                "dev" => address.dev = self.dev(&mut cursor, option)?,
                "brd" | "broadcast" => self.broadcast(&mut address, &mut cursor, option)?,
                "scope" => {
                    let scope = self.named(&mut cursor, option, List::Scopes, 255);
                    let Some(scope) = self.or_without(scope) else { continue };
                    if ip.is_ipv6() {
                        self.no_such_family(option, "IPv6 addresses have no scope of their own");
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
                    let Some((peer, len)) = self.or_without(peer) else { continue };
                    address.peer = Some(peer);
                    if let Some(len) = len.filter(|_| word.value.contains('/')) {
                        address.prefix_len = len;
                    }
                }
                "home" | "-nodad" | "mngtmpaddr" if ip.is_ipv4() => {
                    self.no_such_family(option, &format!("`{}` is for IPv6 addresses", option.value));
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
                    if cursor.accept(&["forever"]).is_some() {
                        address.preferred = None;
                        continue;
                    }
                    let seconds = cursor.number32(option, 0, u32::MAX);
                    address.preferred = self.or_without(seconds).or(address.preferred);
                }
                _ => {
                    let unknown = self.unknown_option(option, entries.options());
                    self.or_without::<()>(Err(unknown));
                }
            }
        }
        if address.dev.is_empty() {
            return Err(unusable(
                first,
                "no interface for this address: neither `dev` nor one of its instance",
            ));
        }
        Ok(AddressLine { address, track_group })
    }

    fn broadcast(
        &mut self,
        address: &mut Address,
        cursor: &mut Cursor<'_>,
        option: &Text,
    ) -> Result<(), Unusable> {
        let word = cursor.value(option)?;
        let IpAddr::V4(ip) = address.ip else {
            self.no_such_family(option, "IPv6 has no broadcast addresses");
            return Ok(());
        };
        let host = u32::MAX.checked_shr(u32::from(address.prefix_len)).unwrap_or(0);
        address.broadcast = Some(match &*word.value {
            "+" => Ipv4Addr::from_bits(ip.to_bits() | host),
            "-" => Ipv4Addr::from_bits(ip.to_bits() & !host),
            text => text
                .parse()
                .map_err(|_| unusable(word, format!("`{text}` is not an IPv4 address, `+` or `-`")))?,
        });
        Ok(())
    }

    fn no_such_family(&mut self, option: &Text, message: &str) {
        self.findings
            .push(Finding::warning(Code::Conflict, option.span, message).assume("the option is ignored"));
    }
}
