//! The texts a configuration was read from, and places in them.
//!
//! Words of a configuration are ranges, not strings: of a file, or of the text that definitions, repetitions
//! and escapes have produced. The latter remembers where each part of it came from, so that every word has a
//! place in a file.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// A place in a file: byte range and index into [`Sources`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    pub file: u32,
    pub start: u32,
    pub end: u32,
}

impl Span {
    pub const fn new(file: u32, start: u32, end: u32) -> Self {
        Self { file, start, end }
    }
}

/// A word: a range of a file's text, or of the produced text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    text: u32,
    start: u32,
    end: u32,
}

/// The produced text takes the place of a file in a [`Word`].
const PRODUCED: u32 = u32::MAX;

impl Word {
    pub(crate) const fn in_file(file: u32, start: u32, end: u32) -> Self {
        Self { text: file, start, end }
    }

    /// The part of this word between two byte offsets relative to its start.
    pub(crate) fn part(self, start: usize, end: usize) -> Self {
        let at = |n: usize| self.start.saturating_add(u32::try_from(n).unwrap_or(u32::MAX)).min(self.end);
        Self { text: self.text, start: at(start), end: at(end) }
    }

    /// From the start of this word to the end of `last`, which has to lie behind it in the same text.
    pub(crate) fn until(self, last: Self) -> Self {
        Self { text: self.text, start: self.start, end: last.end.max(self.start) }
    }
}

/// Line and column, both counted from 1; columns are characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    pub line: usize,
    pub column: usize,
}

/// One file.
#[derive(Clone, Debug)]
pub struct Source {
    path: Arc<Path>,
    text: Arc<str>,
    /// Offsets at which lines begin; made when the first place is asked for.
    lines: OnceLock<Vec<usize>>,
}

impl Source {
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// Line and column of a byte offset.
    pub fn position(&self, offset: u32) -> Position {
        let (line, text, start) = self.line(offset);
        let before = (offset as usize).saturating_sub(start);
        let column = text.char_indices().take_while(|(at, _)| *at < before).count() + 1;
        Position { line, column }
    }

    /// The line that holds a byte offset: its number from 1, its text, and the offset of its start.
    pub fn line(&self, offset: u32) -> (usize, &str, usize) {
        let starts = self.lines.get_or_init(|| {
            let behind = self.text.match_indices('\n').map(|(at, _)| at + 1);
            std::iter::once(0).chain(behind).collect()
        });
        let number = starts.partition_point(|start| *start <= offset as usize).max(1);
        let start = starts.get(number - 1).copied().unwrap_or(0);
        let end = starts.get(number).copied().unwrap_or(self.text.len());
        let text = self.text.get(start..end).unwrap_or_default();
        (number, text.trim_end_matches(['\n', '\r']), start)
    }
}

/// Where a stretch of produced text came from.
#[derive(Clone, Copy, Debug)]
struct Origin {
    /// Offset in the produced text at which the stretch begins.
    start: u32,
    place: Place,
}

/// How produced text relates to a file.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    /// Copied: byte for byte from this offset on.
    Copied { file: u32, start: u32 },
    /// Put in place of what stands here.
    Instead(Span),
}

/// All files of one configuration, and the text produced from them.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    files: Vec<Source>,
    produced: String,
    origins: Vec<Origin>,
}

impl Sources {
    pub fn files(&self) -> &[Source] {
        &self.files
    }

    pub fn file(&self, span: Span) -> Option<&Source> {
        self.files.get(span.file as usize)
    }

    pub(crate) fn add(&mut self, path: &Path, text: String) -> u32 {
        self.files.push(Source { path: Arc::from(path), text: Arc::from(text), lines: OnceLock::new() });
        u32::try_from(self.files.len() - 1).unwrap_or(PRODUCED - 1)
    }

    pub(crate) fn shared_text(&self, file: u32) -> Arc<str> {
        self.files.get(file as usize).map_or_else(|| Arc::from(""), |s| Arc::clone(&s.text))
    }

    pub(crate) fn shared_path(&self, file: u32) -> Arc<Path> {
        self.files
            .get(file as usize)
            .map_or_else(|| Arc::from(PathBuf::new().as_path()), |s| Arc::clone(&s.path))
    }

    /// Bytes of produced text so far; the reader bounds it.
    pub(crate) fn produced_len(&self) -> usize {
        self.produced.len()
    }

    /// Appends produced text, given in parts with their places.
    pub(crate) fn produce<'a>(&mut self, parts: impl IntoIterator<Item = (&'a str, Place)>) -> Word {
        let start = self.end_of_produced();
        for (text, place) in parts {
            self.origins.push(Origin { start: self.end_of_produced(), place });
            self.produced.push_str(text);
        }
        Word { text: PRODUCED, start, end: self.end_of_produced() }
    }

    fn end_of_produced(&self) -> u32 {
        u32::try_from(self.produced.len()).unwrap_or(u32::MAX)
    }

    /// The characters of a word.
    pub fn text(&self, word: Word) -> &str {
        let text = match word.text {
            PRODUCED => self.produced.as_str(),
            file => self.files.get(file as usize).map_or("", |s| &*s.text),
        };
        text.get(word.start as usize..word.end as usize).unwrap_or("")
    }

    /// Where a word stands, or where that stands which produced it.
    pub fn span(&self, word: Word) -> Span {
        if word.text != PRODUCED {
            return Span::new(word.text, word.start, word.end);
        }
        match (self.place_of(word.start), self.place_of(word.end.saturating_sub(1).max(word.start))) {
            (Some((Place::Copied { file, start }, offset)), Some((Place::Copied { file: last, .. }, _)))
                if file == last =>
            {
                let start = start + offset;
                Span::new(file, start, start + (word.end - word.start))
            }
            (Some((Place::Copied { file, start }, offset)), _) => {
                Span::new(file, start + offset, start + offset + 1)
            }
            (Some((Place::Instead(span), _)), _) => span,
            (None, _) => Span::new(0, 0, 0),
        }
    }

    fn place_of(&self, at: u32) -> Option<(Place, u32)> {
        let after = self.origins.partition_point(|o| o.start <= at);
        let origin = self.origins.get(after.checked_sub(1)?)?;
        Some((origin.place, at - origin.start))
    }

    /// Line and column of the start of a span.
    pub fn position(&self, span: Span) -> Option<Position> {
        self.file(span).map(|f| f.position(span.start))
    }
}
