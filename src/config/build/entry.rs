//! Reading the words of one line of a list: an address, a route, a rule.

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use buoy_vrrp::Family;

use super::Build;
use super::names::List;
use crate::config::finding::{Code, Finding, Severity, nearest};
use crate::config::settings::{Text, Words};
use crate::config::source::Span;
use crate::config::value;
use crate::host::desired::Prefix;

/// A place in the words of an entry.
pub(super) struct Cursor<'w> {
    all: &'w [Text],
    words: std::slice::Iter<'w, Text>,
    /// Where the options begin that were met so far.
    options: Vec<usize>,
    /// What an option without its value is: keepalived dies of one in a route or rule and of no other.
    missing: Severity,
}

/// Spellings of one option, for every option of which a line takes only one.
pub(super) type Once = &'static [&'static [&'static str]];

/// Why a line is dropped.
pub(super) type Unusable = Box<Finding>;

pub(super) fn unusable(word: &Text, message: impl Into<String>) -> Unusable {
    Box::new(Finding::warning(Code::BadValue, word.span, message).assume("the line is ignored"))
}

/// A number that cannot be, or a name that is not in the lists of this machine: it may be in those of another.
fn unknown_name(word: &Text, message: String) -> Unusable {
    let finding = unusable(word, message);
    let number = word.value.starts_with(|c: char| c.is_ascii_digit());
    if number { finding } else { Box::new(finding.taken_as_written()) }
}

impl<'w> Cursor<'w> {
    pub(super) fn new(words: &'w Words) -> Self {
        Self { all: words, words: words.iter(), options: Vec::new(), missing: Severity::Warning }
    }

    pub(super) fn of_route_or_rule(words: &'w Words) -> Self {
        Self { missing: Severity::Error, ..Self::new(words) }
    }

    /// The next word, as the beginning of an option.
    pub(super) fn option(&mut self) -> Option<&'w Text> {
        self.options.push(self.position());
        self.next()
    }

    fn position(&self) -> usize {
        self.all.len() - self.words.len()
    }

    pub(super) fn next(&mut self) -> Option<&'w Text> {
        self.words.next()
    }

    /// The words from `option` up to here.
    pub(super) fn since(&self, option: &Text) -> &'w [Text] {
        let end = self.position();
        let start = self.all.iter().position(|word| word.at == option.at).unwrap_or(end);
        self.all.get(start..end).unwrap_or(&[])
    }

    /// The words of an option that stood before `option` and says the same.
    fn before(&self, option: &Text, once: Once) -> Option<&'w [Text]> {
        let same = once.iter().find(|spellings| spellings.contains(&&*option.value))?;
        self.options.windows(2).rev().find_map(|bounds| {
            let [start, end] = bounds else { return None };
            let words = self.all.get(*start..*end)?;
            same.contains(&&*words.first()?.value).then_some(words)
        })
    }

    pub(super) fn peek(&self) -> Option<&'w Text> {
        self.words.as_slice().first()
    }

    /// The next word if it is one of these.
    pub(super) fn accept(&mut self, of: &[&str]) -> Option<&'w Text> {
        self.peek().filter(|w| of.contains(&&*w.value))?;
        self.next()
    }

    /// The value behind an option.
    pub(super) fn value(&mut self, option: &Text) -> Result<&'w Text, Unusable> {
        self.next().ok_or_else(|| {
            let message = format!("`{}` without its value", option.value);
            match self.missing {
                Severity::Error => Box::new(Finding::error(Code::MissingValue, option.span, message)),
                _ => unusable(option, message),
            }
        })
    }

    pub(super) fn parsed<T: FromStr>(&mut self, option: &Text, what: &str) -> Result<T, Unusable> {
        let word = self.value(option)?;
        word.value.parse().map_err(|_| unusable(word, format!("`{}` is not {what}", word.value)))
    }

    /// A number in any base, within bounds.
    pub(super) fn number(&mut self, option: &Text, min: u64, max: u64) -> Result<u64, Unusable> {
        let word = self.value(option)?;
        match value::any_base(&word.value) {
            Some(n) if (min..=max).contains(&n) => Ok(n),
            _ => {
                Err(unusable(word, format!("{}: `{}` is not within {min}..{max}", option.value, word.value)))
            }
        }
    }

    pub(super) fn number32(&mut self, option: &Text, min: u32, max: u32) -> Result<u32, Unusable> {
        let n = self.number(option, u64::from(min), u64::from(max))?;
        Ok(u32::try_from(n).unwrap_or(max))
    }

    pub(super) fn number16(&mut self, option: &Text, min: u16, max: u16) -> Result<u16, Unusable> {
        let n = self.number(option, u64::from(min), u64::from(max))?;
        Ok(u16::try_from(n).unwrap_or(max))
    }

    pub(super) fn number8(&mut self, option: &Text) -> Result<u8, Unusable> {
        Ok(u8::try_from(self.number(option, 0, 255)?).unwrap_or(u8::MAX))
    }

    pub(super) fn ip(&mut self, option: &Text) -> Result<IpAddr, Unusable> {
        self.parsed(option, "an IP address")
    }

    /// `ADDRESS[/LEN]`, or one of the words for everything.
    pub(super) fn prefix(
        &mut self,
        option: &Text,
        family: Option<Family>,
    ) -> Result<Option<Prefix>, Unusable> {
        let word = self.value(option)?;
        if matches!(&*word.value, "all" | "any" | "default") {
            return Ok(None);
        }
        let (ip, len) = value::prefix(&word.value)
            .ok_or_else(|| unusable(word, format!("`{}` is not an address or network", word.value)))?;
        let len = len.ok_or_else(|| unusable(word, "a prefix length that cannot be"))?;
        if family.is_some_and(|f| f != Family::of(ip)) {
            return Err(unusable(word, "addresses of both families on one line"));
        }
        Ok(Some(Prefix { ip: value::network(ip, len), len }))
    }
}

impl Build<'_> {
    /// An address with its prefix length. One that cannot be is that of a host, as keepalived has it.
    pub(super) fn address_and_length(&mut self, word: &Text) -> Result<(IpAddr, u8), Unusable> {
        let (ip, len) = value::prefix(&word.value)
            .ok_or_else(|| unusable(word, format!("`{}` is not an address or network", word.value)))?;
        let host = if ip.is_ipv4() { 32 } else { 128 };
        let len = len.unwrap_or_else(|| {
            let assumed = format!("{ip}/{host}");
            self.warn(Code::OutOfRange, word.span, "a prefix length that cannot be", &assumed);
            self.write_instead(word, &[&assumed]);
            host
        });
        Ok((ip, len))
    }

    /// What was read, or nothing where the whole entry is of no use.
    pub(super) fn or_nothing<T>(&mut self, entry: &Words, read: Result<T, Unusable>) -> Option<T> {
        let finding = match read {
            Ok(value) => return Some(value),
            Err(finding) => finding,
        };
        if finding.is_amended() {
            entry.first().into_iter().for_each(|first| self.leave_out(first));
        }
        self.findings.push(*finding);
        None
    }

    /// An option that cannot be used, in a line that keepalived keeps all the same.
    pub(super) fn or_without<T>(
        &mut self,
        cursor: &Cursor<'_>,
        option: &Text,
        read: Result<T, Unusable>,
    ) -> Option<T> {
        let finding = match read {
            Ok(value) => return Some(value),
            Err(finding) => finding.assume("the line stands without it"),
        };
        if finding.is_amended() {
            self.ignore_option(cursor, option);
        }
        self.findings.push(finding);
        None
    }

    /// An option that was read and has no effect.
    pub(super) fn ignore_option(&mut self, cursor: &Cursor<'_>, option: &Text) {
        cursor.since(option).iter().for_each(|word| self.write_instead(word, &[]));
    }

    /// Says so when the line has this option already.
    pub(super) fn once(&mut self, cursor: &Cursor<'_>, option: &Text, once: Once) {
        if let Some(before) = cursor.before(option, once) {
            let message = format!("`{}` stands more than once in this line", option.value);
            self.warn(Code::Duplicate, option.span, &message, "the last one counts");
            before.iter().for_each(|word| self.write_instead(word, &[]));
        }
    }

    /// A number or a name of iproute2's lists.
    pub(super) fn named(
        &self,
        cursor: &mut Cursor<'_>,
        option: &Text,
        list: List,
        max: u32,
    ) -> Result<u32, Unusable> {
        let word = cursor.value(option)?;
        self.names
            .number(list, &word.value)
            .filter(|n| *n <= max)
            .ok_or_else(|| unknown_name(word, format!("`{}` is not a known {}", word.value, option.value)))
    }

    /// `[SRC/]DST`.
    pub(super) fn realms(&self, cursor: &mut Cursor<'_>, option: &Text) -> Result<u32, Unusable> {
        let word = cursor.value(option)?;
        let (from, to) = word.value.split_once('/').unwrap_or(("0", &word.value));
        let number = |name: &str| self.names.number(List::Realms, name).filter(|n| *n <= 0xffff);
        match (number(from), number(to)) {
            (Some(from), Some(to)) => Ok(from << 16 | to),
            _ => Err(unknown_name(word, format!("`{}` is not a pair of realms", word.value))),
        }
    }

    /// An interface name; a missing one is said once.
    pub(super) fn dev(&mut self, cursor: &mut Cursor<'_>, option: &Text) -> Result<Arc<str>, Unusable> {
        let word = cursor.value(option)?;
        self.interface(word);
        Ok(Arc::clone(&word.value))
    }

    pub(super) fn unknown_option(
        &mut self,
        word: &Text,
        known: impl Iterator<Item = &'static str>,
    ) -> Unusable {
        let finding =
            Finding::warning(Code::UnknownWord, word.span, format!("unknown option `{}`", word.value));
        Box::new(finding.nearest(nearest(&word.value, known)).assume("the line is ignored"))
    }
}

/// The place of a whole entry.
pub(super) fn span_of(words: &Words) -> Option<Span> {
    let (first, last) = (words.first()?.span, words.last()?.span);
    Some(if first.file == last.file && first.start <= last.end {
        Span::new(first.file, first.start, last.end)
    } else {
        first
    })
}
