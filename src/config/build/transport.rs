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
use crate::config::settings::{AuthType, Global, Instance, Text, Words};
use crate::config::value;

/// RFC 9568 §5.1.1.2.
const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
/// RFC 9568 §5.1.2.2.
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);

impl Build<'_> {
    pub(super) fn transport(&mut self, i: &Instance, g: &Global, family: Family, strict: bool) -> Transport {
        let bounded = i.unicast_peer.iter().any(|words| words.len() > 1);
        let peers = self.peers(i, family);
        let fault_without_peers =
            i.unicast_fault_no_peer && (i.unicast_src_ip.is_some() || !i.unicast_peer.is_empty());
        if peers.is_empty() && !fault_without_peers {
            let unicast_words = [i.unicast_src_ip.as_ref().map(|w| w.span), i.unicast_ttl.map(|w| w.span)];
            let stray = unicast_words.into_iter().flatten().next();
            if stray.is_some() || !i.unicast_peer.is_empty() {
                let span = stray.or_else(|| i.unicast_peer.first().and_then(span_of)).unwrap_or(i.name.span);
                self.warn(
                    Code::Conflict,
                    span,
                    "unicast options without a usable `unicast_peer`",
                    "multicast",
                );
            }
            return Transport::Multicast { group: self.group_address(i, g, family) };
        }
        if strict && i.interface.is_some() {
            let message = "unicast peers in strict mode on an interface that can multicast";
            let span = i.unicast_peer.first().and_then(span_of).unwrap_or(i.name.span);
            self.findings.push(Finding::error(Code::Conflict, span, message));
        }
        Transport::Unicast(Unicast {
            peers,
            ttl: i.unicast_ttl.and_then(|t| u8::try_from(t.value).ok()).unwrap_or(255),
            check_source: i.check_unicast_src || g.vrrp_check_unicast_src || bounded,
        })
    }

    fn peers(&mut self, i: &Instance, family: Family) -> Vec<UnicastPeer> {
        let mut peers: Vec<UnicastPeer> = Vec::new();
        for words in &i.unicast_peer {
            let read = self.peer(words, family, &peers);
            match read {
                Ok(Some(peer)) => peers.push(peer),
                Ok(None) => {}
                Err(finding) => self.findings.push(*finding),
            }
        }
        peers
    }

    fn peer(
        &mut self,
        words: &Words,
        family: Family,
        before: &[UnicastPeer],
    ) -> Result<Option<UnicastPeer>, Unusable> {
        let mut cursor = Cursor::new(words);
        let Some(first) = cursor.next() else { return Ok(None) };
        let address: IpAddr = first
            .value
            .parse()
            .map_err(|_| unusable(first, format!("`{}` is not an IP address", first.value)))?;
        let mut peer = UnicastPeer { address, min_ttl: 0, max_ttl: 255 };
        while let Some(option) = cursor.next() {
            match &*option.value {
                "min_ttl" => peer.min_ttl = self.or_without(cursor.number8(option)).unwrap_or(0),
                "max_ttl" => peer.max_ttl = self.or_without(cursor.number8(option)).unwrap_or(255),
                _ => {
                    let unknown = self.unknown_option(option, Entries::Peers.options());
                    self.or_without::<()>(Err(unknown));
                }
            }
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
            self.warn(
                Code::Conflict,
                first.span,
                "`min_ttl` is above `max_ttl`",
                "nothing of this peer is accepted",
            );
        }
        Ok(Some(peer))
    }

    fn group_address(&mut self, i: &Instance, g: &Global, family: Family) -> IpAddr {
        let (global, default) = match family {
            Family::V4 => (&g.vrrp_mcast_group4, IpAddr::V4(GROUP_V4)),
            Family::V6 => (&g.vrrp_mcast_group6, IpAddr::V6(GROUP_V6)),
        };
        for written in [&i.mcast_dst_ip, global].into_iter().flatten() {
            match written.value.parse::<IpAddr>() {
                Ok(ip) if ip.is_multicast() && Family::of(ip) == family => return ip,
                _ => {
                    let message = format!("`{}` is not a multicast address of {family}", written.value);
                    self.warn(Code::BadValue, written.span, &message, "the next more general setting");
                }
            }
        }
        default
    }

    /// The configured source address of advertisements.
    pub(super) fn source(&mut self, i: &Instance, family: Family, unicast: bool) -> Option<IpAddr> {
        let written = if unicast {
            i.unicast_src_ip.as_ref().or(i.mcast_src_ip.as_ref())
        } else {
            i.mcast_src_ip.as_ref()
        };
        let source = written.and_then(|word| {
            let ip = word.value.parse::<IpAddr>().ok().filter(|ip| Family::of(*ip) == family);
            if ip.is_none() {
                let message = format!("a source address that is not {family}, as the addresses are");
                self.warn(Code::Conflict, word.span, &message, "the first address of the interface");
            }
            ip
        });
        if source.is_none()
            && let Some(word) = i.track_src_ip
        {
            self.warn(
                Code::Conflict,
                word.span,
                "`track_src_ip` without a source address",
                "nothing is tracked",
            );
        }
        source
    }

    pub(super) fn vmac(&mut self, i: &Instance, strict: bool, unicast: bool) -> Option<Vmac> {
        let Some(words) = &i.use_vmac else {
            if let Some(word) = i.vmac_xmit_base {
                self.warn(
                    Code::Conflict,
                    word.span,
                    "`vmac_xmit_base` without `use_vmac`",
                    "it has no effect",
                );
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
            mac = None;
        }
        let mut xmit_base = i.vmac_xmit_base.is_some() || unicast;
        if let Some(word) = i.vmac_xmit_base.filter(|_| strict && !unicast) {
            self.warn(
                Code::Conflict,
                word.span,
                "`vmac_xmit_base` is not for strict mode",
                "it has no effect",
            );
            xmit_base = false;
        }
        let group = written.group.and_then(|word| {
            let number = self.names.number(List::InterfaceGroups, &word.value);
            if number.is_none() {
                let message = format!("`{}` is not a known interface group", word.value);
                self.warn(Code::Undefined, word.span, &message, "the group of the parent");
            }
            number
        });
        Some(Vmac { name: written.name, mac, xmit_base, group })
    }

    /// The password, for VRRPv2 only.
    pub(super) fn authentication(&mut self, i: &Instance, version: Version, strict: bool) -> Authentication {
        let Some(block) = &i.authentication else { return Authentication::None };
        let span = block.span;
        if version == Version::V3 {
            self.warn(Code::Conflict, span, "VRRPv3 has no authentication", "none");
            return Authentication::None;
        }
        if strict {
            self.warn(Code::Conflict, span, "strict mode has no authentication", "none");
            return Authentication::None;
        }
        let (Some(kind), Some(password)) = (block.value.auth_type, &block.value.auth_pass) else {
            self.warn(
                Code::MissingSetting,
                span,
                "`authentication` needs both `auth_type` and `auth_pass`",
                "none",
            );
            return Authentication::None;
        };
        let bytes = password.value.as_bytes();
        if bytes.len() > 8 {
            self.warn(
                Code::OutOfRange,
                password.span,
                "a password has at most 8 characters",
                "the first 8 of them",
            );
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
    mac: Option<Vec<u8>>,
    group: Option<&'w Text>,
}

pub(super) fn vmac_words(words: &Words) -> VmacWords<'_> {
    let mut vmac = VmacWords::default();
    let mut cursor = Cursor::new(words);
    while let Some(word) = cursor.next() {
        match &*word.value {
            "name" => vmac.name = cursor.next().map(|w| Arc::clone(&w.value)),
            "group" => vmac.group = cursor.next(),
            "netlink_notify_msg" => {}
            text => match value::mac(text) {
                Some(mac) => vmac.mac = Some(mac),
                None => vmac.name = Some(Arc::clone(&word.value)),
            },
        }
    }
    vmac
}
