//! `virtual_server_group`: addresses, ranges of them, and marks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use buoy_ipvs::{Family, FwMark, Protocol, ServiceId};

use super::Build;
use super::entry::span_of;
use crate::config::finding::Code;
use crate::config::settings::{AddressGroup, Words};
use crate::config::value;

/// Most addresses of one line.
const MOST_IN_RANGE: u32 = 1 << 16;

/// One line of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Member {
    Addresses(Range),
    /// Without a family that of the virtual server.
    Mark {
        mark: FwMark,
        family: Option<Family>,
    },
}

/// Consecutive addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) first: IpAddr,
    pub(super) count: u32,
    pub(super) port: u16,
}

impl Member {
    pub(super) fn ids(self, protocol: Protocol, family: Family) -> impl Iterator<Item = ServiceId> {
        let (range, mark) = match self {
            Self::Addresses(range) => (Some(range), None),
            Self::Mark { mark, family: own } => {
                (None, Some(ServiceId::FwMark { family: own.unwrap_or(family), mark }))
            }
        };
        let addresses = range.into_iter().flat_map(move |range| {
            let id = move |address| ServiceId::Address { protocol, address, port: range.port };
            (0..range.count).map(move |n| id(nth(range.first, n)))
        });
        addresses.chain(mark)
    }
}

/// The address that stands so many behind the first one.
pub(super) fn nth(first: IpAddr, n: u32) -> IpAddr {
    match first {
        IpAddr::V4(ip) => IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits().saturating_add(n))),
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits().saturating_add(u128::from(n)))),
    }
}

impl Build<'_> {
    pub(super) fn service_group(&mut self, group: &AddressGroup) -> Vec<Member> {
        group.entries.iter().filter_map(|words| self.member(words)).collect()
    }

    fn member(&mut self, words: &Words) -> Option<Member> {
        let (first, more) = words.split_first()?;
        if &*first.value == "fwmark" {
            let mark = more.first().and_then(|w| w.value.parse().ok()).and_then(FwMark::new)?;
            let family = more.get(1).map(|w| if &*w.value == "inet6" { Family::V6 } else { Family::V4 });
            return Some(Member::Mark { mark, family });
        }
        let port = more.first().and_then(|w| w.value.parse().ok()).unwrap_or(0);
        match range(&first.value) {
            Ok((first, count)) => Some(Member::Addresses(Range { first, count, port })),
            Err(message) => {
                self.warn(Code::BadValue, span_of(words), &message, "the line is ignored");
                self.leave_out(first);
                None
            }
        }
    }
}

/// First address and number of addresses of `A`, `A-LAST`, `A-B` or `A/LEN`.
pub(super) fn range(word: &str) -> Result<(IpAddr, u32), String> {
    let unusable = || format!("`{word}` is no range of addresses");
    let address = |text: &str| text.parse::<IpAddr>().map_err(|_| unusable());
    if let Some((first, last)) = word.split_once('-') {
        let first = address(first)?;
        let last = last_of(first, last).ok_or_else(unusable)?;
        let count = match (first, last) {
            (IpAddr::V4(a), IpAddr::V4(b)) => b.to_bits().checked_sub(a.to_bits()).map(u128::from),
            (IpAddr::V6(a), IpAddr::V6(b)) => b.to_bits().checked_sub(a.to_bits()),
            _ => None,
        };
        let behind = count.ok_or_else(|| format!("the range `{word}` ends before it begins"))?;
        return bounded(word, behind).map(|count| (first, count));
    }
    let Some((ip, len)) = word.split_once('/') else { return Ok((address(word)?, 1)) };
    let ip = address(ip)?;
    let len: u8 = len.parse().map_err(|_| unusable())?;
    let bits = Family::of(ip).bits().checked_sub(len).ok_or_else(unusable)?;
    let behind = 1_u128.checked_shl(bits.into()).map_or(u128::MAX, |count| count - 1);
    bounded(word, behind).map(|count| (value::network(ip, len), count))
}

/// The end of a range: a full address, or its last octet or group.
fn last_of(first: IpAddr, last: &str) -> Option<IpAddr> {
    if let Ok(address) = last.parse() {
        return Some(address);
    }
    match first {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            Some(Ipv4Addr::new(a, b, c, last.parse().ok()?).into())
        }
        IpAddr::V6(ip) => {
            let last = u16::from_str_radix(last, 16).ok()?;
            Some(Ipv6Addr::from_bits(ip.to_bits() & !0xffff | u128::from(last)).into())
        }
    }
}

fn bounded(word: &str, behind_first: u128) -> Result<u32, String> {
    let count =
        u32::try_from(behind_first).ok().and_then(|n| n.checked_add(1)).filter(|n| *n <= MOST_IN_RANGE);
    count.ok_or_else(|| format!("`{word}` is of more than {MOST_IN_RANGE} addresses"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_have_their_first_address_and_their_number() {
        for (word, wanted) in [
            ("192.0.2.1", Some(("192.0.2.1", 1))),
            ("192.0.2.2-9", Some(("192.0.2.2", 8))),
            ("192.0.2.2-192.0.3.1", Some(("192.0.2.2", 256))),
            ("192.0.2.17/28", Some(("192.0.2.16", 16))),
            ("192.0.2.17/32", Some(("192.0.2.17", 1))),
            ("10.0.0.0/16", Some(("10.0.0.0", 65_536))),
            ("2001:db8::1-f", Some(("2001:db8::1", 15))),
            ("2001:db8::/124", Some(("2001:db8::", 16))),
            ("192.0.2.9-2", None),
            ("192.0.2.9-300", None),
            ("192.0.2.9-2001:db8::1", None),
            ("10.0.0.0/15", None),
            ("0.0.0.0/0", None),
            ("2001:db8::/64", None),
            ("::/0", None),
        ] {
            let wanted = wanted.map(|(ip, count): (&str, u32)| (ip.parse().expect("an address"), count));
            assert_eq!(range(word).ok(), wanted, "{word}");
        }
    }
}
