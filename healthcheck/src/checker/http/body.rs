//! What a body has to be: fed piece by piece, with bounded memory.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use md5::{Digest, Md5};
use regex::bytes::{Regex, RegexBuilder};
use serde::{Serialize, Serializer};
use thiserror::Error;

use super::page::{Md5Digest, Page};
use crate::outcome::Reason;

/// So much of a body is searched for a pattern, in bytes: what an attempt may hold in memory.
pub const PATTERN_REACH: usize = 1 << 20;

/// Memory of a compiled pattern, in bytes.
const PATTERN_SIZE: usize = 1 << 20;

/// A regular expression that the body is searched for.
///
/// Of the PCRE2 language what a search in linear time can have: all but look-around and back-references, so that no body
/// can make a pattern run away.
#[derive(Clone, Debug)]
pub struct Pattern {
    source: Arc<str>,
    options: PatternOptions,
    /// Shared by all copies, and with it the memory that searches need.
    regex: Arc<Regex>,
    /// `$` may also stand before a line break that ends the body, as in Perl.
    before_final_break: bool,
}

/// Changes to what a pattern means (`regex_options` and its neighbours).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct PatternOptions {
    pub wanted: PatternWanted,
    /// First offset of the body where a match may start (`regex_min_offset`).
    pub min_offset: u64,
    /// Last such offset (`regex_max_offset`).
    pub max_offset: Option<u64>,
    /// `caseless`
    pub caseless: bool,
    /// `multiline`
    pub multiline: bool,
    /// `dotall`
    pub dotall: bool,
    /// `extended`
    pub extended: bool,
    /// `ungreedy`
    pub ungreedy: bool,
    /// `utf` or `ucp`: characters rather than bytes.
    pub unicode: bool,
    /// `anchored`
    pub anchored: bool,
    /// `endanchored`
    pub end_anchored: bool,
    /// `literal`: no character is special.
    pub literal: bool,
    /// `dollar_endonly`: `$` does not stand before a line break that ends the body.
    pub dollar_end_only: bool,
    /// `firstline`: a match starts in the first line from the first offset on.
    pub first_line: bool,
}

/// Whether the pattern has to be there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PatternWanted {
    #[default]
    Present,
    /// `regex_no_match`
    Absent,
}

/// A pattern that is none, or asks for what is not there: look-around and back-references.
#[derive(Debug, Error)]
#[error("the regular expression is not usable")]
pub struct PatternUnusable(#[from] regex::Error);

impl Pattern {
    /// # Errors
    /// Malformed, too large, or outside the supported language.
    pub fn new(source: &str, options: PatternOptions) -> Result<Self, PatternUnusable> {
        let mut text = if options.literal { regex::escape(source) } else { source.to_owned() };
        if options.anchored || options.end_anchored {
            let start = if options.anchored { r"\A" } else { "" };
            let end = if options.end_anchored { r"\z" } else { "" };
            // An extended pattern may end in a comment, which a line break ends.
            let end_of_text = if options.extended && !options.literal { "\n" } else { "" };
            text = format!("{start}(?:{text}{end_of_text}){end}");
        }
        let regex = RegexBuilder::new(&text)
            .case_insensitive(options.caseless)
            .multi_line(options.multiline)
            .dot_matches_new_line(options.dotall)
            .ignore_whitespace(options.extended && !options.literal)
            .swap_greed(options.ungreedy)
            .unicode(options.unicode)
            .size_limit(PATTERN_SIZE)
            .dfa_size_limit(PATTERN_SIZE)
            .build()?;
        let PatternOptions { literal, multiline, end_anchored, dollar_end_only, .. } = options;
        let before_final_break =
            source.contains('$') && !(literal || multiline || end_anchored || dollar_end_only);
        Ok(Self { source: source.into(), options, regex: Arc::new(regex), before_final_break })
    }

    fn found(&self, body: &[u8]) -> bool {
        self.found_in(body)
            || self.before_final_break && body.strip_suffix(b"\n").is_some_and(|body| self.found_in(body))
    }

    fn found_in(&self, body: &[u8]) -> bool {
        let offset = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let min = offset(self.options.min_offset);
        let Some(searched) = body.get(min..) else { return false };
        let line = || searched.iter().position(|b| *b == b'\n').map_or(usize::MAX, |at| min + at);
        let last = if self.options.first_line { line() } else { usize::MAX };
        let max = self.options.max_offset.map_or(usize::MAX, offset).min(last);
        // Of all matches from there on the leftmost is the one that may be early enough.
        self.regex.find_at(body, min).is_some_and(|found| found.start() <= max)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source && self.options == other.options
    }
}

impl Eq for Pattern {}

impl Hash for Pattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.source.hash(state);
        self.options.hash(state);
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.source)
    }
}

/// The tests of a body that is on its way.
#[derive(Debug)]
pub(super) struct BodyTest<'a> {
    page: &'a Page,
    length: u64,
    md5: Option<Md5>,
    searched: Vec<u8>,
}

impl<'a> BodyTest<'a> {
    pub(super) fn new(page: &'a Page) -> Self {
        Self { page, length: 0, md5: page.digest.map(|_| Md5::new()), searched: Vec::new() }
    }

    pub(super) fn feed(&mut self, piece: &[u8]) -> Result<(), Reason> {
        self.length = self.length.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        if self.length > self.page.body_limit {
            return Err(Reason::BodyTooLong { limit: self.page.body_limit });
        }
        if let Some(md5) = &mut self.md5 {
            md5.update(piece);
        }
        if self.page.pattern.is_some() {
            let room = PATTERN_REACH.saturating_sub(self.searched.len());
            self.searched.extend_from_slice(piece.get(..room).unwrap_or(piece));
        }
        Ok(())
    }

    /// The body is complete.
    pub(super) fn finish(self) -> Result<(), Reason> {
        if let (Some(expected), Some(md5)) = (self.page.digest, self.md5) {
            let got = Md5Digest(md5.finalize().into());
            if got != expected {
                let (got, expected) = (got.to_string().into(), expected.to_string().into());
                return Err(Reason::Digest { got, expected });
            }
        }
        let Some(pattern) = &self.page.pattern else { return Ok(()) };
        let found = pattern.found(&self.searched);
        let searched = u64::try_from(self.searched.len()).unwrap_or(u64::MAX);
        let source = Arc::clone(&pattern.source);
        match (pattern.options.wanted, found) {
            (PatternWanted::Absent, true) => Err(Reason::PatternPresent { pattern: source }),
            (PatternWanted::Present, true) => Ok(()),
            (_, false) if searched < self.length => Err(Reason::PatternBeyond { pattern: source, searched }),
            (PatternWanted::Present, false) => Err(Reason::PatternAbsent { pattern: source }),
            (PatternWanted::Absent, false) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(source: &str, options: PatternOptions) -> Option<Pattern> {
        Some(Pattern::new(source, options).unwrap())
    }

    fn page() -> Page {
        Page::new("x".parse().unwrap(), "/".parse().unwrap())
    }

    fn test(page: &Page, pieces: &[&[u8]]) -> Result<(), Reason> {
        let mut test = BodyTest::new(page);
        pieces.iter().try_for_each(|piece| test.feed(piece))?;
        test.finish()
    }

    #[test]
    fn digest_is_that_of_all_pieces() {
        // printf 'hello world' | md5sum
        let digest = Some("5eb63bbbe01eeed093cb22bb8f5acdc3".parse().unwrap());
        let page = Page { digest, ..page() };
        assert_eq!(test(&page, &[b"hello ", b"", b"world"]), Ok(()));
        assert!(matches!(test(&page, &[b"hello"]), Err(Reason::Digest { .. })));
    }

    #[test]
    fn match_may_lie_across_pieces_and_starts_within_the_offsets() {
        let at = |min_offset, max_offset| PatternOptions { min_offset, max_offset, ..Default::default() };
        let cases = [
            (at(0, None), true),
            (at(6, Some(6)), true),
            (at(7, None), false),
            (at(0, Some(5)), false),
            (at(99, None), false),
        ];
        for (options, good) in cases {
            let page = Page { pattern: pattern("wor+ld", options), ..page() };
            assert_eq!(test(&page, &[b"hello wo", b"rld"]).is_ok(), good, "{options:?}");
        }
    }

    #[test]
    fn options_change_the_meaning() {
        let none = PatternOptions::default();
        let cases = [
            ("HELLO", PatternOptions { caseless: true, ..none }, true),
            ("HELLO", none, false),
            ("^b", none, false),
            ("^b", PatternOptions { multiline: true, ..none }, true),
            ("a.b", none, false),
            ("a.b", PatternOptions { dotall: true, ..none }, true),
            ("a.b", PatternOptions { literal: true, ..none }, false),
            ("h e # comment", PatternOptions { extended: true, ..none }, true),
            ("h e # comment", PatternOptions { extended: true, anchored: true, ..none }, true),
            ("a", PatternOptions { anchored: true, ..none }, false),
            ("b|hello", PatternOptions { end_anchored: true, ..none }, true),
            ("hello", PatternOptions { end_anchored: true, ..none }, false),
            ("b", PatternOptions { wanted: PatternWanted::Absent, ..none }, false),
            ("c", PatternOptions { wanted: PatternWanted::Absent, ..none }, true),
            ("a", PatternOptions { first_line: true, ..none }, true),
            ("b", PatternOptions { first_line: true, ..none }, false),
            ("b", PatternOptions { first_line: true, min_offset: 8, ..none }, true),
        ];
        for (source, options, good) in cases {
            let page = Page { pattern: pattern(source, options), ..page() };
            assert_eq!(test(&page, &[b"hello a\nb"]).is_ok(), good, "{source} {options:?}");
        }
    }

    #[test]
    fn dollar_may_stand_before_a_final_line_break() {
        let none = PatternOptions::default();
        let cases = [
            ("OK$", none, "OK\n", true),
            ("OK$", none, "OK", true),
            ("OK$", none, "OK\n\n", false),
            ("OK$", none, "OK\r\n", false),
            ("OK$", PatternOptions { dollar_end_only: true, ..none }, "OK\n", false),
            ("OK$", PatternOptions { end_anchored: true, ..none }, "OK\n", false),
            ("OK$", PatternOptions { multiline: true, ..none }, "OK\nmore", true),
            ("OK$", PatternOptions { wanted: PatternWanted::Absent, ..none }, "OK\n", false),
            ("^$", none, "\n", true),
        ];
        for (source, options, body, good) in cases {
            let page = Page { pattern: pattern(source, options), ..page() };
            assert_eq!(test(&page, &[body.as_bytes()]).is_ok(), good, "{source} {options:?} {body:?}");
        }
    }

    #[test]
    fn what_cannot_be_searched_in_linear_time_is_refused() {
        for source in ["(a)\\1", "(?=a)", "(?<!a)b", "("] {
            assert!(Pattern::new(source, PatternOptions::default()).is_err(), "{source}");
        }
    }

    #[test]
    fn memory_and_length_are_bounded() {
        let page = Page { pattern: pattern("needle", PatternOptions::default()), ..page() };
        let piece = vec![b'x'; 1 << 20];
        let mut test = BodyTest::new(&page);
        for _ in 0..16 {
            test.feed(&piece).unwrap();
        }
        assert_eq!(test.searched.len(), PATTERN_REACH);
        assert_eq!(test.feed(b"x"), Err(Reason::BodyTooLong { limit: 16 << 20 }));
        assert!(matches!(test.finish(), Err(Reason::PatternBeyond { searched: 1_048_576, .. })));
    }
}
