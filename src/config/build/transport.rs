//! How a virtual router talks: multicast or unicast, its source, its own MAC address, its authentication.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use buoy_vrrp::{Authentication, Family, Transport, Unicast, UnicastPeer, Version};

use super::Build;
use super::entry::{Cursor, Unusable, span_of, unusable};
use super::names::List;
use crate::config::finding::{Code, Finding};
use crate::config::plan::Vmac;
use crate::config::schema::Entries;
use crate::config::settings::{AuthType, Global, Instance, Located, Text, Words};
use crate::config::value;

/// RFC 9568 §5.1.1.2.
const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
/// RFC 9568 §5.1.2.2.
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);

impl Build<'_> {
    pub(super) fn transport(&mut self, i: &Instance, g: &Global, family: Family, strict: bool) -> Transport {
        let written_peers = i.unicast_peer.as_deref().unwrap_or_default();
        let (peers, bounded) = self.peers(written_peers, family);
        let source = self.source_word(i.unicast_src_ip.as_ref(), family).is_some();
        let fault_without_peers = i.unicast_fault_no_peer.is_some() && (source || i.unicast_peer.is_some());
        if peers.is_empty() && !fault_without_peers {
            self.multicast_only(i, written_peers);
            return Transport::Multicast { group: self.group_address(i, g, family) };
        }
        if let Some(word) = &i.mcast_dst_ip {
            self.without_effect(word, "`mcast_dst_ip` in an instance with unicast peers");
        }
        if strict && i.interface.is_some() {
            let message = "unicast peers in strict mode on an interface that can multicast";
            let span = written_peers.first().and_then(span_of).unwrap_or(i.name.span);
            self.findings.push(Finding::error(Code::Conflict, span, message));
        }
        Transport::Unicast(Unicast {
            peers,
            ttl: i.unicast_ttl.and_then(|t| u8::try_from(t.value).ok()).unwrap_or(255),
            check_source: i.check_unicast_src.is_some() || g.vrrp_check_unicast_src || bounded,
        })
    }

    /// Says which words are of no use without peers.
    fn multicast_only(&mut self, i: &Instance, written_peers: &[Words]) {
        let stray = i.unicast_src_ip.as_ref().map(|w| w.span).or_else(|| i.unicast_ttl.map(|w| w.span));
        if let Some(span) = stray.or_else(|| written_peers.first().and_then(span_of)) {
            let message = "unicast options without a usable `unicast_peer`";
            self.warn(Code::Conflict, span, message, "multicast");
            i.unicast_src_ip.iter().for_each(|word| self.leave_out(word));
            i.unicast_ttl.iter().for_each(|word| self.leave_out(word));
        }
        if let Some(word) = &i.check_unicast_src {
            self.without_effect(word, "`check_unicast_src` in an instance without unicast peers");
        }
        if let Some(word) = &i.unicast_fault_no_peer {
            self.without_effect(word, "`unicast_fault_no_peer` in an instance without unicast options");
        }
    }

    /// The peers, and whether any bounds its distance.
    fn peers(&mut self, lines: &[Words], family: Family) -> (Vec<UnicastPeer>, bool) {
        let mut peers: Vec<UnicastPeer> = Vec::new();
        let mut bounded = false;
        for words in lines {
            let read = self.peer(words, family, &peers);
            if let Some((peer, bounds)) = self.or_nothing(words, read).flatten() {
                peers.push(peer);
                bounded |= bounds;
            }
        }
        (peers, bounded)
    }

    fn peer(
        &mut self,
        words: &Words,
        family: Family,
        before: &[UnicastPeer],
    ) -> Result<Option<(UnicastPeer, bool)>, Unusable> {
        let mut cursor = Cursor::new(words);
        let Some(first) = cursor.next() else { return Ok(None) };
        let address: IpAddr = first
            .value
            .parse()
            .map_err(|_| unusable(first, format!("`{}` is not an IP address", first.value)))?;
        let mut peer = UnicastPeer { address, min_ttl: 0, max_ttl: 255 };
        let mut bounded = false;
        while let Some(option) = cursor.option() {
            let bound = match &*option.value {
                "min_ttl" => &mut peer.min_ttl,
                "max_ttl" => &mut peer.max_ttl,
                _ => {
                    let unknown = self.unknown_option(option, Entries::Peers.options());
                    self.or_without::<()>(&cursor, option, Err(unknown));
                    continue;
                }
            };
            let read = cursor.number8(option);
            let Some(ttl) = self.or_without(&cursor, option, read) else { continue };
            *bound = ttl;
            bounded = true;
            self.once(&cursor, option, &[&["min_ttl"], &["max_ttl"]]);
        }
        if Family::of(address) != family {
            return Err(unusable(first, format!("a peer that is not {family}, as the addresses are")));
        }
        if before.iter().any(|p| p.address == address) {
            let finding =
                Finding::warning(Code::Duplicate, first.span, format!("`{address}` is a peer already"));
            return Err(Box::new(finding.assume("the line is ignored")));
        }
        if peer.min_ttl > peer.max_ttl {
            let message = "`min_ttl` is above `max_ttl`";
            self.doubt(Code::Conflict, first.span, message, "nothing of this peer is accepted");
        }
        Ok(Some((peer, bounded)))
    }

    fn group_address(&mut self, i: &Instance, g: &Global, family: Family) -> IpAddr {
        let (global, default) = match family {
            Family::V4 => (&g.vrrp_mcast_group4, IpAddr::V4(GROUP_V4)),
            Family::V6 => (&g.vrrp_mcast_group6, IpAddr::V6(GROUP_V6)),
        };
        for (written, shared) in [(&i.mcast_dst_ip, false), (global, true)] {
            let Some(written) = written else { continue };
            match written.value.parse::<IpAddr>() {
                Ok(ip) if ip.is_multicast() && Family::of(ip) == family => return ip,
                _ => {
                    // Once is enough for the one that all instances share.
                    if !shared || self.bad_groups.insert(Arc::clone(&written.value)) {
                        let message = format!("`{}` is not a multicast address of {family}", written.value);
                        self.warn(Code::BadValue, written.span, &message, "the next more general setting");
                    }
                    self.leave_out(written);
                }
            }
        }
        default
    }

    /// The configured source address of advertisements.
    pub(super) fn source(&mut self, i: &Instance, family: Family, unicast: bool) -> Option<IpAddr> {
        let words = [i.unicast_src_ip.as_ref().filter(|_| unicast), i.mcast_src_ip.as_ref()];
        let mut source = None;
        for word in words.into_iter().flatten() {
            match (source, self.source_word(Some(word), family)) {
                (None, Some(ip)) => source = Some(ip),
                (None, None) => {
                    let message = format!("a source address that is not {family}, as the addresses are");
                    self.warn(Code::Conflict, word.span, &message, "it is ignored");
                    self.leave_out(word);
                }
                (Some(_), _) => self.without_effect(word, "`mcast_src_ip` beside `unicast_src_ip`"),
            }
        }
        if source.is_none()
            && let Some(word) = i.track_src_ip
        {
            let message = "`track_src_ip` without a source address";
            self.warn(Code::Conflict, word.span, message, "nothing is tracked");
            self.leave_out(&word);
        }
        source
    }

    fn source_word(&self, word: Option<&Text>, family: Family) -> Option<IpAddr> {
        word?.value.parse::<IpAddr>().ok().filter(|ip| Family::of(*ip) == family)
    }

    /// A setting that nothing heeds where it stands.
    pub(super) fn without_effect<T>(&mut self, setting: &Located<T>, message: &str) {
        self.warn(Code::Conflict, setting.span, message, "it has no effect");
        self.leave_out(setting);
    }

    pub(super) fn vmac(&mut self, i: &Instance, strict: bool, unicast: bool) -> Option<Vmac> {
        let Some(words) = &i.use_vmac else {
            if let Some(word) = i.vmac_xmit_base {
                self.without_effect(&word, "`vmac_xmit_base` without `use_vmac`");
            }
            return None;
        };
        let written = vmac_words(words);
        if let Some(word) = words.iter().find(|word| &*word.value == "netlink_notify_msg") {
            let message = "`netlink_notify_msg` has no effect here: the kernel announces a VMAC by itself";
            self.findings.push(Finding::note(Code::NoEffect, word.span, message));
        }
        let mut mac = written.mac.and_then(|octets| match octets.as_slice() {
            [a, b, c, d, e, f] => Some([*a, *b, *c, *d, *e, *f]),
            [a, b, c, d, e] => {
                let vrid = i.virtual_router_id.and_then(|v| u8::try_from(v.value).ok()).unwrap_or(0);
                Some([*a, *b, *c, *d, *e, vrid])
            }
            _ => None,
        });
        if strict && mac.is_some() {
            let message = "strict mode knows only the virtual MAC of the RFC";
            self.warn(Code::Conflict, span_of(words), message, "that one");
            let macs = words.iter().filter(|word| value::mac(&word.value).is_some());
            macs.for_each(|word| self.write_instead(word, &[]));
            mac = None;
        }
        let mut xmit_base = i.vmac_xmit_base.is_some() || unicast;
        if let Some(word) = i.vmac_xmit_base.filter(|_| strict && !unicast) {
            self.without_effect(&word, "`vmac_xmit_base` is not for strict mode");
            xmit_base = false;
        }
        let group = written.group.and_then(|word| {
            let number = self.names.number(List::InterfaceGroups, &word.value);
            if number.is_none() {
                let message = format!("`{}` is not a known interface group", word.value);
                self.doubt(Code::Undefined, word.span, &message, "the group of the parent");
            }
            number
        });
        Some(Vmac { name: written.name, mac, xmit_base, group })
    }

    /// The password, for VRRPv2 only.
    pub(super) fn authentication(&mut self, i: &Instance, version: Version, strict: bool) -> Authentication {
        let Some(last) = i.authentication.last() else { return Authentication::None };
        let kind = i.authentication.iter().rev().find_map(|block| block.value.auth_type);
        let password = i.authentication.iter().rev().find_map(|block| block.value.auth_pass.as_ref());
        let refused = match (kind, password) {
            _ if version == Version::V3 => Err((Code::Conflict, "VRRPv3 has no authentication")),
            _ if strict => Err((Code::Conflict, "strict mode has no authentication")),
            (Some(kind), Some(password)) => Ok((kind, password)),
            _ => Err((Code::MissingSetting, "`authentication` needs both `auth_type` and `auth_pass`")),
        };
        let (kind, password) = match refused {
            Ok(complete) => complete,
            Err((code, message)) => {
                self.warn(code, last.span, message, "none");
                i.authentication.iter().for_each(|block| self.leave_out(block));
                return Authentication::None;
            }
        };
        let bytes = password.value.as_bytes();
        if bytes.len() > 8 {
            let message = "a password has at most 8 characters";
            match password.value.get(..8) {
                Some(cut) => {
                    self.warn(Code::OutOfRange, password.span, message, "the first 8 of them");
                    self.write_instead(password, &[cut]);
                }
                // The cut goes through a character: no text is eight bytes of it.
                None => self.doubt(Code::OutOfRange, password.span, message, "its first 8 bytes"),
            }
        }
        let mut key = [0; 8];
        for (to, from) in key.iter_mut().zip(bytes) {
            *to = *from;
        }
        match kind {
            AuthType::Pass => Authentication::Password(key),
            AuthType::Ah => Authentication::AuthenticationHeader(key),
        }
    }
}

/// The words of `use_vmac`, sorted out.
#[derive(Debug, Default)]
pub(super) struct VmacWords<'w> {
    pub(super) name: Option<Arc<str>>,
    /// The words that name it.
    pub(super) naming: Vec<&'w Text>,
    mac: Option<Vec<u8>>,
    group: Option<&'w Text>,
}

pub(super) fn vmac_words(words: &Words) -> VmacWords<'_> {
    let mut vmac = VmacWords::default();
    let mut cursor = Cursor::new(words);
    while let Some(word) = cursor.next() {
        match &*word.value {
            "name" => {
                let name = cursor.next();
                vmac.name = name.map(|w| Arc::clone(&w.value));
                vmac.naming.extend([Some(word), name].into_iter().flatten());
            }
            "group" => vmac.group = cursor.next(),
            "netlink_notify_msg" => {}
            text => match value::mac(text) {
                Some(mac) => vmac.mac = Some(mac),
                None => {
                    vmac.name = Some(Arc::clone(&word.value));
                    vmac.naming.push(word);
                }
            },
        }
    }
    vmac
}
