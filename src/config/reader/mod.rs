//! From files to a [`Tree`]: lines, comments, conditions, definitions, repetitions, includes, words, braces.
//!
//! A line without any of the special characters goes straight from the file to its words. Every other line
//! becomes a [`Fragment`] first, in this order: comment stripped, body line of an open definition collected,
//! `@` condition decided, definition recorded, repetition unrolled, references expanded.

mod definition;
mod fragment;
mod include;
mod repetition;
mod words;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use self::definition::{Definition, Definitions, Endless, Surroundings};
use self::fragment::Fragment;
use self::include::{Insistence, Match};
use self::words::{Stage, Token, TokenKind};
use super::finding::{Code, Finding, Findings, nearest};
use super::source::{Sources, Span, Word};
use super::tree::{Builder, Tree};

pub(crate) use self::include::check_words as include_check_words;
#[cfg(test)]
pub(crate) use self::words::is_script_word;
pub(crate) use self::words::{
    ScriptWord, arguments, is_expanded, is_open, open_quote, plain_command, quoted, quoted_command,
    reference, script_words,
};

/// Longest line keepalived reads, without its newline.
pub(crate) const MAX_LINE: usize = 1_023;
/// Deepest nesting of includes.
const MAX_INCLUDE_DEPTH: usize = 32;
/// Most files one configuration may read, counting repetitions.
const MAX_FILES: usize = 10_000;
/// Most bytes of all files together.
const MAX_BYTES: usize = 256 << 20;
/// Most bytes that definitions and repetitions may produce.
const MAX_PRODUCED: usize = 64 << 20;
/// Most lines that definitions and repetitions may produce: more than forty thousand real servers need.
const MAX_PRODUCED_LINES: usize = 500_000;
const TOO_MUCH: &str = "definitions and repetitions produce more text than any configuration needs";
/// Deepest nesting of definitions and repetitions.
const MAX_EXPANSION_DEPTH: usize = 32;

/// What the command line says about reading.
#[derive(Clone, Debug)]
pub(crate) struct Manner {
    /// What `@ID` is compared with.
    pub(crate) config_id: String,
    /// Every include insists on everything.
    pub(crate) all_include_checks: bool,
}

/// Reads the text of `file`, which is in `sources` already, and everything it includes.
pub(crate) fn read(file: u32, manner: Manner, sources: &mut Sources, findings: &mut Findings) -> Tree {
    let path = sources.shared_path(file);
    let mut reader = Reader {
        bytes: sources.shared_text(file).len(),
        sources,
        findings,
        builder: Builder::default(),
        definitions: Definitions::default(),
        around: Surroundings { directory: String::new(), config_id: manner.config_id },
        insist_always: if manner.all_include_checks { Insistence::EVERYTHING } else { Insistence::NOTHING },
        include_check: Insistence::NOTHING,
        open_definition: None,
        including: vec![std::fs::canonicalize(&path).unwrap_or_else(|_| path.to_path_buf())],
        files: 1,
        produced_lines: 0,
        depth: 0,
        stopped: false,
        conditions: Conditions::default(),
        tokens: Vec::new(),
        words: Vec::new(),
    };
    reader.file(file);
    reader.close_definition();
    reader.tell_conditions();
    let Reader { builder, sources, findings, stopped, .. } = reader;
    if stopped {
        // Half of what was meant would only produce findings of its own, perhaps a great many.
        return Tree::default();
    }
    builder.finish(sources, findings)
}

/// The words of an entry that stands in a string of TOML, as byte ranges; nothing when there is something else in it:
/// a brace, or a quote that is never closed.
pub(crate) fn split_words(text: &str) -> Option<Vec<std::ops::Range<usize>>> {
    let mut tokens = Vec::new();
    words::split(text, Stage::Expanded, &mut tokens);
    let word = |token: Token| (token.kind == TokenKind::Word).then_some(token.start..token.end);
    tokens.into_iter().map(word).collect()
}

/// What was odd about the bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Oddity {
    NotUtf8,
    ByteOrderMark,
}

impl Oddity {
    pub(crate) fn finding(self, span: Span, file: &str) -> Finding {
        match self {
            Self::NotUtf8 => Finding::warning(Code::NotUtf8, span, format!("{file} is not UTF-8"))
                .assume("the odd bytes are replaced"),
            Self::ByteOrderMark => {
                let message = format!("{file} begins with a byte order mark, which belongs to no word");
                Finding::warning(Code::NotUtf8, span, message).assume("it is skipped").taken_as_written()
            }
        }
    }
}

/// Decodes a file, saying what had to be replaced.
pub(crate) fn decode(bytes: Vec<u8>) -> (String, Option<Oddity>) {
    match String::from_utf8(bytes) {
        Ok(text) => match text.strip_prefix('\u{feff}') {
            Some(behind) => (behind.to_owned(), Some(Oddity::ByteOrderMark)),
            None => (text, None),
        },
        Err(e) => (String::from_utf8_lossy(e.as_bytes()).into_owned(), Some(Oddity::NotUtf8)),
    }
}

struct Reader<'a> {
    sources: &'a mut Sources,
    findings: &'a mut Findings,
    builder: Builder,
    definitions: Definitions,
    around: Surroundings,
    /// `-e`, which no `include_check` takes back.
    insist_always: Insistence,
    /// What `include_check` says here. It is a setting of the including file and of those it includes from there
    /// on: what an included file changes ends with it.
    include_check: Insistence,
    /// `$NAME=\` whose body lines are being collected.
    open_definition: Option<(String, Vec<Fragment>)>,
    /// Canonical paths of the files being read, outermost first.
    including: Vec<PathBuf>,
    files: usize,
    bytes: usize,
    /// Lines that came out of definitions and repetitions.
    produced_lines: usize,
    depth: usize,
    /// A limit was reached; nothing more is read.
    stopped: bool,
    conditions: Conditions,
    tokens: Vec<Token>,
    words: Vec<Word>,
}

impl Reader<'_> {
    fn file(&mut self, file: u32) {
        let text = self.sources.shared_text(file);
        let path = self.sources.shared_path(file);
        let include_check = self.include_check;
        let outer = std::mem::replace(&mut self.around.directory, directory_of(&path).display().to_string());
        let mut start = 0;
        for line in text.split_inclusive('\n') {
            if self.stopped {
                break;
            }
            self.line(line, file, start);
            start += line.len();
        }
        self.around.directory = outer;
        self.include_check = include_check;
    }

    fn line(&mut self, line: &str, file: u32, start: usize) {
        let line = line.strip_suffix('\n').unwrap_or(line);
        let span = || Span::new(file, offset(start), offset(start + line.len()));
        if line.len() > MAX_LINE {
            let message = format!("a line of {} bytes; {MAX_LINE} is the most", line.len());
            self.warn(Finding::warning(Code::LineTooLong, span(), message).assume("the line is ignored"));
            return;
        }
        if line.contains('\0') {
            let finding = Finding::warning(Code::NulByte, span(), "a line with a NUL byte");
            self.warn(finding.assume("the line is ignored"));
            return;
        }
        let mut tokens = std::mem::take(&mut self.tokens);
        if self.open_definition.is_none() && words::split(line, Stage::Raw, &mut tokens) {
            self.emit(line, &tokens, |from, to| {
                Word::in_file(file, offset(start + from), offset(start + to))
            });
            self.tokens = tokens;
            return;
        }
        self.tokens = tokens;
        let raw = Fragment::copied(line, file, start);
        let parts = words::without_comment(line).into_iter().map(|range| raw.slice(range));
        let stripped = parts.reduce(|joined, part| joined.joined(&part)).unwrap_or_default();
        self.fragment(self.continued(&raw, stripped));
    }

    /// A comment does not swallow the backslash by which a definition goes on: keepalived keeps it.
    fn continued(&self, raw: &Fragment, stripped: Fragment) -> Fragment {
        let in_definition =
            self.open_definition.is_some() || definition::definition(stripped.text().trim_start()).is_some();
        let end = raw.text().trim_end().len();
        if in_definition && raw.text()[..end].ends_with('\\') && !stripped.text().trim_end().ends_with('\\') {
            return stripped.joined(&raw.slice(end - 1..end));
        }
        stripped
    }

    /// A line whose comment has been stripped.
    fn fragment(&mut self, line: Fragment) {
        if self.stopped {
            return;
        }
        let mut line = line.trimmed();
        if let Some((_, body)) = &mut self.open_definition {
            let text = line.text();
            match text.strip_suffix('\\') {
                Some(kept) => body.push(line.slice(0..kept.len())),
                None => {
                    if !text.is_empty() {
                        body.push(line);
                    }
                    self.close_definition();
                }
            }
            return;
        }
        if let Some(behind) = line.text().strip_prefix('@') {
            let Some(kept) = condition(behind, &self.around.config_id) else {
                self.conditions.leave_out(behind, &line);
                return;
            };
            self.conditions.met |= !behind.starts_with('^');
            let from = line.text().len() - kept;
            line = line.slice(from..line.text().len()).trimmed();
        }
        if line.text().is_empty() {
            return;
        }
        if let Some((name, value_at)) = definition::definition(line.text()) {
            let name = name.to_owned();
            let value = line.text().get(value_at..).unwrap_or_default();
            if let Some(first) = value.strip_suffix('\\') {
                let first = line.slice(value_at..value_at + first.len()).trimmed();
                let body = if first.text().is_empty() { Vec::new() } else { vec![first] };
                self.open_definition = Some((name, body));
            } else {
                let value = value.to_owned();
                self.definitions.set(&name, Definition::Text(value));
            }
            return;
        }
        self.expanded(line);
    }

    fn close_definition(&mut self) {
        if let Some((name, body)) = self.open_definition.take() {
            self.definitions.set(&name, Definition::Lines(body));
        }
    }

    fn expanded(&mut self, line: Fragment) {
        if let Some((name, body)) = self.definitions.body(line.text()) {
            let span = line.span();
            self.deeper(span, &format!("`${name}` contains itself or nests too deeply"), |reader| {
                for line in body {
                    if !reader.one_more_line(span) {
                        return;
                    }
                    reader.fragment(line);
                }
                // A definition that was opened inside the body ends with it.
                reader.close_definition();
            });
            return;
        }
        if let Some(generator) = repetition::find(line.text()) {
            self.repeat(&line, &generator);
            return;
        }
        let span = line.span();
        match self.definitions.expand(line, &self.around) {
            Ok(line) => match repetition::find(line.text()) {
                Some(generator) => self.repeat(&line, &generator),
                None => self.produce(&line),
            },
            Err(Endless) => self.stop(span, "the definitions of this line expand without end"),
        }
    }

    fn repeat(&mut self, line: &Fragment, generator: &repetition::Generator) {
        let span = line.slice(generator.range.clone()).span();
        let arguments = line.slice(generator.arguments.clone());
        let Ok(arguments) = self.definitions.expand(arguments, &self.around) else {
            self.stop(span, "the definitions of this line expand without end");
            return;
        };
        let repeated = match generator.rows(arguments.text()) {
            Ok(rows) => rows,
            Err(e) => {
                let finding = Finding::warning(
                    Code::Definition,
                    span,
                    format!("a repetition that cannot be used: {e}"),
                );
                self.warn(finding.assume("the line is ignored"));
                return;
            }
        };
        let behind = line.slice(generator.range.end..line.text().len());
        let template = line.slice(0..generator.range.start).joined(&behind).trimmed();
        let mut before = Vec::new();
        for row in &repeated.rows {
            if !self.one_more_line(span) {
                break;
            }
            for (name, value) in repeated.names.iter().zip(row) {
                before.push((name, self.definitions.set(name, Definition::Text(value.clone()))));
            }
            self.deeper(span, "repetitions nest too deeply", |reader| reader.expanded(template.clone()));
            for (name, definition) in before.drain(..).rev() {
                self.definitions.restore(name, definition);
            }
        }
    }

    /// Counts what definitions and repetitions unroll, whether or not anything comes of it.
    fn one_more_line(&mut self, span: Option<Span>) -> bool {
        self.produced_lines += 1;
        if self.produced_lines > MAX_PRODUCED_LINES {
            self.stop(span, TOO_MUCH);
        }
        !self.stopped
    }

    fn deeper(&mut self, span: Option<Span>, complaint: &str, work: impl FnOnce(&mut Self)) {
        if self.depth >= MAX_EXPANSION_DEPTH {
            self.stop(span, complaint);
            return;
        }
        self.depth += 1;
        work(self);
        self.depth -= 1;
    }

    /// A finished line.
    fn produce(&mut self, line: &Fragment) {
        if self.sources.produced_len() + line.text().len() > MAX_PRODUCED {
            self.stop(line.span(), TOO_MUCH);
            return;
        }
        let mut tokens = std::mem::take(&mut self.tokens);
        words::split(line.text(), Stage::Expanded, &mut tokens);
        let script = tokens.first().is_some_and(|t| words::is_script_word(&line.text()[t.start..t.end]));
        if !script {
            self.tell_undefined(line);
        }
        let whole = self.sources.produce(line.parts());
        self.emit(line.text(), &tokens, |from, to| whole.part(from, to));
        self.tokens = tokens;
    }

    /// What nothing defines stays as it is written, which is seldom what was meant. The shell of a command has names of
    /// its own.
    fn tell_undefined(&mut self, line: &Fragment) {
        for reference in definition::references(line.text()) {
            let Some(name) = line.text().get(reference.name.clone()) else { continue };
            let message = match self.definitions.is_defined(name) {
                true => format!("`${name}` is several lines, and has to stand alone on its own"),
                false => format!("there is no definition of `{name}`"),
            };
            let near = nearest(name, self.definitions.names().filter(|known| *known != name));
            let finding = Finding::warning(Code::Definition, line.slice(reference.range).span(), message);
            let finding = finding.nearest(near).assume("it is taken as it is written");
            self.findings.push(finding);
        }
    }

    /// Hands words and braces to the builder.
    fn emit(&mut self, line: &str, tokens: &[Token], word: impl Fn(usize, usize) -> Word) {
        let mut opened = false;
        let mut first = 0;
        for (at, token) in tokens.iter().enumerate() {
            let here = word(token.start, token.end);
            match token.kind {
                TokenKind::Word => continue,
                TokenKind::Unterminated => {
                    let finding = Finding::warning(
                        Code::UnterminatedQuote,
                        self.sources.span(here),
                        "a quote that is never closed",
                    );
                    self.warn(finding.assume("it ends with the line"));
                    continue;
                }
                TokenKind::Open | TokenKind::Close => {}
            }
            self.statement(line, tokens.get(first..at).unwrap_or(&[]), &word);
            first = at + 1;
            if token.kind == TokenKind::Close {
                self.builder.close(here, self.sources, self.findings);
                continue;
            }
            if opened {
                let finding = Finding::warning(
                    Code::Brace,
                    self.sources.span(here),
                    "a second block opened on the same line",
                );
                self.warn(finding.assume("it is read as written; keepalived loses its place here"));
            }
            opened = true;
            self.builder.open(here, self.sources, self.findings);
        }
        self.statement(line, tokens.get(first..).unwrap_or(&[]), &word);
    }

    fn statement(&mut self, line: &str, tokens: &[Token], word: &impl Fn(usize, usize) -> Word) {
        let of_words = tokens.iter().filter(|t| t.kind == TokenKind::Word);
        let mut words = std::mem::take(&mut self.words);
        words.clear();
        words.extend(of_words.clone().map(|t| word(t.start, t.end)));
        let mut of_words = of_words;
        if let (Some(keyword), behind) = (of_words.next(), of_words.next()) {
            let name = line.get(keyword.start..keyword.end).unwrap_or_default();
            let rest = behind.map_or(word(keyword.end, keyword.end), |t| {
                let last =
                    tokens.iter().rev().find(|t| t.kind == TokenKind::Word).map_or(t.end, |last| last.end);
                let closing = usize::from(line.as_bytes().get(last) == Some(&b'"'));
                word(start_with_quote(line, t.start, keyword.end), last + closing)
            });
            match include::keyword(name) {
                Some(insist) => self.include(&words, insist.and(self.include_check).and(self.insist_always)),
                None => {
                    if self.builder.is_within("global_defs", self.sources) {
                        self.obey(name, &words);
                    }
                    self.builder.statement(&words, rest);
                }
            }
        }
        self.words = words;
    }

    /// Settings of the reader itself. They hold from here on; the check says what is wrong with their values.
    fn obey(&mut self, name: &str, words: &[Word]) {
        let values = || words.iter().skip(1).map(|w| self.sources.text(*w));
        match name {
            "random_seed" => {
                if let Some(seed) = values().next().and_then(|word| word.parse().ok()) {
                    self.definitions.seed(seed);
                }
            }
            "include_check" => {
                let words: Vec<&str> = values().collect();
                self.include_check = self.include_check.changed(&words).unwrap_or(self.include_check);
            }
            _ => {}
        }
    }

    fn include(&mut self, words: &[Word], insist: Insistence) {
        let Some((keyword, [pattern, more @ ..])) = words.split_first() else {
            if let Some(keyword) = words.first() {
                let span = self.sources.span(*keyword);
                self.warn(Finding::error(Code::MissingValue, span, "an include without a file name"));
            }
            return;
        };
        let span = self.sources.span(keyword.until(*pattern));
        if let (Some(first), Some(last)) = (more.first(), more.last()) {
            let extra = self.sources.span(first.until(*last));
            let finding = Finding::warning(Code::ExtraWords, extra, "an include takes one file name");
            self.warn(finding.assume("the other words are ignored"));
        }
        let pattern = self.sources.text(*pattern).to_owned();
        for found in include::resolve(&pattern, Path::new(&self.around.directory), insist) {
            match found {
                Match::File(path) => self.include_file(&path, span, insist),
                Match::Nothing { name, insisted } => {
                    self.not_included(span, insisted, format!("nothing to include: there is no `{name}`"));
                }
                Match::Unfit(path, why) => {
                    self.not_included(span, insist.readable, format!("{} {why}", path.display()));
                }
                Match::BadPattern(why) => {
                    let message = format!("a pattern that cannot be used: {why}");
                    self.warn(Finding::warning(Code::Include, span, message).assume("nothing is included"));
                }
            }
        }
    }

    /// keepalived refuses a configuration that lacks what an include insists on (status 6, observed).
    fn not_included(&mut self, span: Span, insisted: bool, message: String) {
        self.warn(if insisted {
            Finding::error(Code::Include, span, message)
        } else {
            Finding::warning(Code::Include, span, message).assume("the configuration goes on without it")
        });
    }

    fn include_file(&mut self, path: &Path, span: Span, insist: Insistence) {
        if self.stopped {
            return;
        }
        let canonical = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        if self.including.contains(&canonical) {
            let message = format!("{} includes itself", path.display());
            self.findings.push(Finding::error(Code::IncludeLoop, span, message));
            return;
        }
        self.files += 1;
        if self.including.len() >= MAX_INCLUDE_DEPTH || self.files > MAX_FILES {
            self.stop(
                Some(span),
                "includes nest too deeply, or name more files than any configuration needs",
            );
            return;
        }
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(e) => {
                self.not_included(span, insist.readable, format!("{} cannot be read: {e}", path.display()));
                return;
            }
        };
        self.bytes += bytes.len();
        if self.bytes > MAX_BYTES {
            self.stop(Some(span), "the files together are larger than any configuration needs to be");
            return;
        }
        let (text, oddity) = decode(bytes);
        if let Some(oddity) = oddity {
            self.warn(oddity.finding(span, &path.display().to_string()));
        }
        let file = self.sources.add(path, text);
        self.including.push(canonical);
        // The vectors of the including line are in use: the file gets its own.
        let words = std::mem::take(&mut self.words);
        let tokens = std::mem::take(&mut self.tokens);
        self.file(file);
        self.words = words;
        self.tokens = tokens;
        self.including.pop();
    }

    fn warn(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    fn stop(&mut self, span: Option<Span>, complaint: &str) {
        if !self.stopped {
            self.findings.push(Finding::error(Code::ExpansionLimit, span, complaint));
        }
        self.stopped = true;
    }
}

/// Lines that begin with `@ID`.
#[derive(Debug, Default)]
struct Conditions {
    /// Some were for this identity.
    met: bool,
    /// Identities of the others.
    others: BTreeSet<String>,
    left_out: usize,
    first: Option<Span>,
}

impl Conditions {
    fn leave_out(&mut self, behind: &str, line: &Fragment) {
        let id = behind.split_ascii_whitespace().next().unwrap_or_default();
        if !id.starts_with('^') {
            self.others.insert(format!("`@{id}`"));
            self.left_out += 1;
            self.first = self.first.or_else(|| line.span());
        }
    }
}

impl Reader<'_> {
    /// A file that is made for others than this director is worth a word: perhaps `-i` was forgotten or mistyped.
    fn tell_conditions(&mut self) {
        let Conditions { met, others, left_out, first } = &self.conditions;
        if *met || *left_out == 0 {
            return;
        }
        let others = others.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let id = &self.around.config_id;
        let message = format!("lines for {others} do not count: this is `{id}` (-i chooses another)");
        self.findings.push(Finding::note(Code::Condition, *first, message));
    }
}

/// Decides the condition behind `@`; `Some(n)` keeps the last `n` bytes of the line.
fn condition(behind: &str, config_id: &str) -> Option<usize> {
    let (wanted, text) = match behind.strip_prefix('^') {
        Some(text) => (false, text),
        None => (true, behind),
    };
    let end = text.find(|c: char| c.is_ascii_whitespace()).unwrap_or(text.len());
    let (id, rest) = text.split_at(end);
    ((id == config_id) == wanted).then_some(rest.len())
}

/// A quoted word starts at its quote when the line is taken as it is written.
fn start_with_quote(line: &str, start: usize, least: usize) -> usize {
    match start.checked_sub(1) {
        Some(before) if before >= least && line.as_bytes().get(before) == Some(&b'"') => before,
        _ => start,
    }
}

fn directory_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

fn offset(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
