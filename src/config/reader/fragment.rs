//! A line while it is being worked on: text of which every part knows where it came from.

use std::ops::Range;

use crate::config::source::Place;

#[derive(Clone, Debug, Default)]
pub(super) struct Fragment {
    text: String,
    /// Ascending starts; the first is 0 unless the text is empty.
    parts: Vec<(usize, Place)>,
}

impl Fragment {
    /// `text` as it stands in `file` at `start`.
    pub(super) fn copied(text: &str, file: u32, start: usize) -> Self {
        let mut fragment = Self::default();
        fragment.push(text, Place::Copied { file, start: offset(start) });
        fragment
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn push(&mut self, text: &str, place: Place) {
        if !text.is_empty() {
            self.parts.push((self.text.len(), place));
            self.text.push_str(text);
        }
    }

    fn push_fragment(&mut self, other: &Self) {
        for (text, place) in other.parts() {
            self.push(text, place);
        }
    }

    /// The parts in order.
    pub(super) fn parts(&self) -> impl Iterator<Item = (&str, Place)> {
        let ends = self.parts.iter().skip(1).map(|(start, _)| *start).chain([self.text.len()]);
        self.parts.iter().zip(ends).map(|((start, place), end)| (&self.text[*start..end], *place))
    }

    /// A part of it. The range has to lie on character boundaries.
    pub(super) fn slice(&self, range: Range<usize>) -> Self {
        let mut out = Self::default();
        let mut start = 0;
        for (text, place) in self.parts() {
            let from = range.start.clamp(start, start + text.len()) - start;
            let to = range.end.clamp(start, start + text.len()) - start;
            if from < to {
                out.push(&text[from..to], moved(place, from));
            }
            start += text.len();
        }
        out
    }

    pub(super) fn trimmed(&self) -> Self {
        let from = self.text.len() - self.text.trim_start().len();
        self.slice(from..self.text.trim_end().len().max(from))
    }

    /// Puts `text` in place of a range; its place is that of the range.
    pub(super) fn replaced(&self, range: Range<usize>, text: &str) -> Self {
        let place = self.slice(range.clone()).whole_place();
        let mut out = self.slice(0..range.start);
        if let Some(place) = place {
            out.push(text, place);
        }
        out.push_fragment(&self.slice(range.end..self.text.len()));
        out
    }

    /// Joins two of them.
    pub(super) fn joined(mut self, other: &Self) -> Self {
        self.push_fragment(other);
        self
    }

    /// One place for all of it.
    pub(super) fn whole_place(&self) -> Option<Place> {
        let (text, place) = self.parts().next()?;
        Some(match place {
            Place::Copied { file, start } => {
                let len = if self.parts.len() == 1 { self.text.len() } else { text.len() };
                Place::Instead(crate::config::source::Span::new(file, start, start + offset(len)))
            }
            Place::Instead(span) => Place::Instead(span),
        })
    }

    pub(super) fn span(&self) -> Option<crate::config::source::Span> {
        match self.whole_place()? {
            Place::Instead(span) => Some(span),
            Place::Copied { .. } => None,
        }
    }
}

fn moved(place: Place, by: usize) -> Place {
    match place {
        Place::Copied { file, start } => Place::Copied { file, start: start + offset(by) },
        Place::Instead(span) => Place::Instead(span),
    }
}

fn offset(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
