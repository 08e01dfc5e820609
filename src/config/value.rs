//! From a word to a value.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// Exactly the words keepalived takes.
pub(crate) fn boolean(word: &str) -> Option<bool> {
    match word {
        "on" | "true" | "yes" => Some(true),
        "off" | "false" | "no" => Some(false),
        _ => None,
    }
}

/// Why a number cannot be taken as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NumberError {
    /// Not a number at all.
    None,
    /// A number followed by something else: the number alone.
    Trailing(i64),
}

/// A decimal integer.
pub(crate) fn integer(word: &str) -> Result<i64, NumberError> {
    if let Ok(n) = word.parse() {
        return Ok(n);
    }
    let digits = word.strip_prefix('-').unwrap_or(word).bytes().take_while(u8::is_ascii_digit).count();
    let sign = usize::from(word.starts_with('-'));
    match word.get(..sign + digits).map(str::parse::<i64>) {
        Some(Ok(n)) if digits > 0 => Err(NumberError::Trailing(n)),
        _ => Err(NumberError::None),
    }
}

/// Seconds with a fraction, exact to a microsecond.
pub(crate) fn seconds(word: &str) -> Result<Duration, Option<Duration>> {
    let taken = word.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
    let number = word.get(..taken).unwrap_or_default();
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return Err(None);
    }
    let secs = if whole.is_empty() { 0 } else { whole.parse::<u64>().map_err(|_| None)? };
    let mut micros = 0;
    for at in 0..6 {
        micros = micros * 10 + fraction.as_bytes().get(at).map_or(0, |b| u32::from(b - b'0'));
    }
    if fraction.as_bytes().get(6).is_some_and(|b| *b >= b'5') {
        micros += 1;
    }
    let value =
        Duration::from_secs(secs).checked_add(Duration::from_micros(u64::from(micros))).ok_or(None)?;
    if taken == word.len() { Ok(value) } else { Err(Some(value)) }
}

/// Six octets, or five as keepalived takes them, the last being the VRID's place.
pub(crate) fn mac(word: &str) -> Option<Vec<u8>> {
    let octets: Option<Vec<u8>> =
        word.split(':').map(|o| if o.len() <= 2 { u8::from_str_radix(o, 16).ok() } else { None }).collect();
    octets.filter(|o| matches!(o.len(), 5 | 6))
}

/// `ADDRESS[/LEN]`; without a length that of a host. An inner `None` is a length that cannot be.
pub(crate) fn prefix(word: &str) -> Option<(IpAddr, Option<u8>)> {
    let (ip, len) = match word.split_once('/') {
        Some((ip, len)) => (ip, Some(len)),
        None => (word, None),
    };
    let ip: IpAddr = ip.parse().ok()?;
    let most = if ip.is_ipv4() { 32 } else { 128 };
    let len = match len {
        None => most,
        Some(len) => match len.parse::<u8>() {
            Ok(len) if len <= most => len,
            Ok(_) => return Some((ip, None)),
            Err(_) => return Some((ip, mask_len(len, ip))),
        },
    };
    Some((ip, Some(len)))
}

/// Length of a netmask written as an address.
fn mask_len(mask: &str, of: IpAddr) -> Option<u8> {
    let mask = mask.parse::<Ipv4Addr>().ok().filter(|_| of.is_ipv4())?.to_bits();
    (mask.leading_ones() == mask.count_ones()).then(|| u8::try_from(mask.count_ones()).unwrap_or(32))
}

/// The address with its host part cleared.
pub(crate) fn network(ip: IpAddr, len: u8) -> IpAddr {
    match ip {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(len.min(32))).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask))
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(len.min(128))).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
        }
    }
}

/// A number in any base C writes: `0x1f`, `017`, `31`.
pub(crate) fn any_base(word: &str) -> Option<u64> {
    if let Some(hex) = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        return u64::from_str_radix(hex, 16).ok();
    }
    match word.strip_prefix('0') {
        Some(octal) if !octal.is_empty() => u64::from_str_radix(octal, 8).ok(),
        _ => word.parse().ok(),
    }
}

/// Seconds as they are written: no more digits than needed.
pub(crate) fn format_seconds(value: Duration) -> String {
    let micros = value.subsec_micros();
    if micros == 0 {
        return value.as_secs().to_string();
    }
    let text = format!("{}.{micros:06}", value.as_secs());
    text.trim_end_matches('0').to_owned()
}
