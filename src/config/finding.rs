//! What is to be said about a configuration: one value per oddity, with its place.

use std::fmt;

use serde::Serialize;

use crate::config::source::Span;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Said for completeness; changes no exit status and is not raised by `--strict`.
    Note,
    /// keepalived reports it and runs on, and so does Buoy, with what the finding says was assumed.
    Warning,
    /// There is no plan.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// The kind of a finding. The names are stable: scripts may look for them in the JSON form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// A file cannot be read or is no configuration at all.
    Unreadable,
    LineTooLong,
    NulByte,
    NotUtf8,
    UnterminatedQuote,
    /// A brace too many, one that belongs to nothing, or two blocks opened on one line.
    Brace,
    /// The file ends inside a block.
    Unclosed,
    Include,
    IncludeLoop,
    Definition,
    /// Definitions, repetitions or includes that grow without end.
    ExpansionLimit,
    UnknownWord,
    UnknownBlock,
    MissingValue,
    BadValue,
    OutOfRange,
    ExtraWords,
    Duplicate,
    Deprecated,
    /// Known to keepalived, without effect in this version.
    NotSupported,
    /// A word of the LVS-FNAT or DPVS forks of keepalived.
    ForkWord,
    /// A name that nothing in the configuration carries.
    Undefined,
    MissingInterface,
    MissingSetting,
    Conflict,
    Script,
    ScriptSecurity,
    /// A certificate or a key that cannot be used.
    Certificate,
    TomlSyntax,
    /// Known, and there is nothing that it could change.
    NoEffect,
    /// Nothing but blank lines and comments.
    Empty,
    /// Lines are for other directors only.
    Condition,
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// One oddity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub severity: Severity,
    pub code: Code,
    /// Lower case, no full stop.
    pub message: String,
    pub span: Option<Span>,
    /// The known word that was perhaps meant.
    pub nearest: Option<String>,
    /// What Buoy does instead.
    pub assumed: Option<String>,
    /// See [`Finding::taken_as_written`].
    as_written: bool,
}

impl Finding {
    pub fn new(
        severity: Severity,
        code: Code,
        span: impl Into<Option<Span>>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            code,
            message: message.into(),
            span: span.into(),
            nearest: None,
            assumed: None,
            as_written: false,
        }
    }

    pub fn error(code: Code, span: impl Into<Option<Span>>, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, span, message)
    }

    pub fn warning(code: Code, span: impl Into<Option<Span>>, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, span, message)
    }

    pub fn note(code: Code, span: impl Into<Option<Span>>, message: impl Into<String>) -> Self {
        Self::new(Severity::Note, code, span, message)
    }

    #[must_use]
    pub fn assume(mut self, what: impl Into<String>) -> Self {
        self.assumed = Some(what.into());
        self
    }

    /// The text is taken as it stands: what is odd is that it is so, or that this machine lacks something. There is
    /// nothing to be written otherwise, so that it is no error in TOML either.
    #[must_use]
    pub(super) fn taken_as_written(mut self) -> Self {
        self.as_written = true;
        self
    }

    /// Whether what is read is not what is written.
    pub(super) fn is_amended(&self) -> bool {
        self.severity == Severity::Warning && !self.as_written
    }

    #[must_use]
    pub fn nearest(mut self, word: Option<impl Into<String>>) -> Self {
        self.nearest = word.map(Into::into);
        self
    }
}

/// The findings of one configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    list: Vec<Finding>,
    unlisted: usize,
}

/// A file of rubbish has a finding on every line; nobody reads more than this many.
const MOST_FINDINGS: usize = 10_000;

impl Findings {
    pub fn push(&mut self, finding: Finding) {
        // An error is always kept: it decides whether there is a plan.
        if self.list.len() >= MOST_FINDINGS && finding.severity < Severity::Error {
            self.unlisted += 1;
        } else {
            self.list.push(finding);
        }
    }

    /// In file order where the finding has a place; those of the whole configuration come last.
    pub fn iter(&self) -> std::slice::Iter<'_, Finding> {
        self.list.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// How many warnings were left out because there were too many.
    pub fn unlisted(&self) -> usize {
        self.unlisted
    }

    /// The worst severity present.
    pub fn worst(&self) -> Option<Severity> {
        self.list.iter().map(|f| f.severity).max()
    }

    pub fn has(&self, code: Code) -> bool {
        self.list.iter().any(|f| f.code == code)
    }

    pub fn count(&self, severity: Severity) -> usize {
        self.list.iter().filter(|f| f.severity == severity).count()
    }

    /// Makes errors of the warnings that are chosen.
    pub(crate) fn make_errors(&mut self, chosen: impl Fn(&Finding) -> bool) {
        for finding in &mut self.list {
            if finding.severity == Severity::Warning && chosen(finding) {
                finding.severity = Severity::Error;
            }
        }
    }

    pub(crate) fn sort(&mut self) {
        self.list.sort_by_key(|f| (f.span.is_none(), f.span));
    }
}

impl<'a> IntoIterator for &'a Findings {
    type Item = &'a Finding;
    type IntoIter = std::slice::Iter<'a, Finding>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// The word of `known` that is nearest to `word`, if one is near enough to be meant.
pub(super) fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    // A typo is one or two letters, more only in long words; comparing case-insensitively finds `STATE`.
    let lower = word.to_lowercase();
    // Names of one or two letters are all alike.
    let allowed = match word.chars().count() {
        0..=2 => 0,
        letters => (letters / 4).clamp(1, 4),
    };
    known
        .into_iter()
        .map(|k| (strsim::damerau_levenshtein(&lower, &k.to_lowercase()), k))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, k)| k)
}
