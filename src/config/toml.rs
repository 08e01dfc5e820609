//! TOML, the second front end: tables and keys become the same tree of words.
//!
//! Tables carry the names of the blocks (`[global]` is `global_defs`), arrays of tables are blocks that may
//! stand more than once, keys are keywords. Lists are arrays of strings, one entry each in keepalived's
//! words; switches are booleans; a command with its user is an array.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeFloat, DeInteger, DeString, DeTable, DeValue};

use super::finding::{Code, Finding, Findings, nearest};
use super::reader::{is_expanded, quoted, quoted_command, reference, split_words};
use super::schema::{Block, Content, Form, Keyword, ROOT, Title};
use super::source::{Place, Sources, Span, Word};
use super::tree::{Builder, Tree};

/// Key of the entries of a list that has a title.
pub(super) const ENTRIES: &str = "entries";

/// Reads the text of `file`, which is in `sources` already.
pub(super) fn read(file: u32, sources: &mut Sources, findings: &mut Findings) -> Tree {
    let text = sources.shared_text(file);
    let (root, errors) = DeTable::parse_recoverable(&text);
    let mut reader = Reader { file, text: &text, sources, findings, builder: Builder::default(), refused: 0 };
    for error in errors {
        let span = error.span().map(|range| reader.place(range));
        reader.findings.push(Finding::error(
            Code::TomlSyntax,
            span,
            error.message().trim_end_matches('.').to_owned(),
        ));
    }
    reader.block(root.get_ref(), &ROOT);
    let Reader { builder, sources, findings, .. } = reader;
    builder.finish(sources, findings)
}

struct Reader<'a> {
    file: u32,
    text: &'a str,
    sources: &'a mut Sources,
    findings: &'a mut Findings,
    builder: Builder,
    /// How many values were of no use.
    refused: usize,
}

type Key<'i> = Spanned<DeString<'i>>;
type Value<'i> = Spanned<DeValue<'i>>;

impl Reader<'_> {
    fn block(&mut self, table: &DeTable<'_>, block: &'static Block) {
        let mut keys: Vec<(&Key<'_>, &Value<'_>)> = table.iter().collect();
        // Blocks that others refer to come first; otherwise the order of the file.
        keys.sort_by_key(|(key, _)| (rank(key.get_ref()), key.span().start));
        for (key, value) in keys {
            let name = match key.get_ref().as_ref() {
                "global" => "global_defs",
                name => name,
            };
            if block.title.key() == Some(name) {
                continue;
            }
            let Some((_, keyword)) = block.find(name) else {
                let known = block.keywords().map(|k| k.name);
                let message = format!("unknown key `{name}` in `{}`", block.name);
                let span = self.place(key.span());
                self.findings
                    .push(Finding::error(Code::UnknownWord, span, message).nearest(nearest(name, known)));
                continue;
            };
            let head = self.word(keyword.name, key.span());
            match keyword.form {
                Form::Block(inner) => self.blocks(head, inner, value),
                _ => self.statements(head, keyword, value),
            }
        }
    }

    fn blocks(&mut self, head: Word, block: &'static Block, value: &Value<'_>) {
        match (block.content, value.get_ref()) {
            (Content::Entries(_), DeValue::Array(_) | DeValue::String(_)) if block.title == Title::None => {
                self.open(head, &[]);
                self.entries(value, block);
                self.close(head);
            }
            (_, DeValue::Table(table)) => self.table(head, block, table),
            (_, DeValue::Array(tables)) => {
                for value in tables.iter() {
                    match value.get_ref() {
                        DeValue::Table(table) => self.table(head, block, table),
                        _ => self.wrong(value, "a table"),
                    }
                }
            }
            (Content::Entries(_), _) => self.wrong(value, "an array of strings"),
            _ => self.wrong(value, "a table, or an array of tables"),
        }
    }

    fn table(&mut self, head: Word, block: &'static Block, table: &DeTable<'_>) {
        let mut title = Vec::new();
        if let Some((_, value)) =
            block.title.key().and_then(|key| table.iter().find(|(k, _)| k.get_ref() == key))
        {
            match (block.title, value.get_ref()) {
                (Title::Name, DeValue::String(name)) => title.extend(self.plain_word(name, value)),
                (_, DeValue::String(text)) => title = self.split(text, value),
                _ => self.wrong(value, "a string"),
            }
        }
        self.open(head, &title);
        match block.content {
            Content::Words(_) => self.block(table, block),
            Content::Entries(_) => {
                for (key, value) in table.iter() {
                    match key.get_ref().as_ref() {
                        ENTRIES => self.entries(value, block),
                        name if block.title.key() == Some(name) => {}
                        name => {
                            let message = format!("unknown key `{name}` in `{}`", block.name);
                            let span = self.place(key.span());
                            let known = [ENTRIES].into_iter().chain(block.title.key());
                            let finding = Finding::error(Code::UnknownWord, span, message);
                            self.findings.push(finding.nearest(nearest(name, known)));
                        }
                    }
                }
            }
        }
        self.close(head);
    }

    /// Every string is one entry, in the words of keepalived.
    fn entries(&mut self, value: &Value<'_>, block: &'static Block) {
        let items: Vec<&Value<'_>> = match value.get_ref() {
            DeValue::Array(items) => items.iter().collect(),
            _ => vec![value],
        };
        for item in items {
            match item.get_ref() {
                DeValue::String(text) => {
                    let refused = self.refused;
                    let words = self.split(text, item);
                    match words.first() {
                        None if self.refused > refused => {}
                        Some(first) => self.builder.statement(&words, first.part(0, 0)),
                        None => {
                            let message = format!("an empty entry in `{}`", block.name);
                            let span = self.place(item.span());
                            self.findings.push(Finding::error(Code::BadValue, span, message));
                        }
                    }
                }
                _ => self.wrong(item, "a string"),
            }
        }
    }

    fn statements(&mut self, head: Word, keyword: &'static Keyword, value: &Value<'_>) {
        match value.get_ref() {
            DeValue::Array(items) if keyword.repeats => {
                for item in items.iter() {
                    self.statement(head, keyword, item);
                }
            }
            _ => self.statement(head, keyword, value),
        }
    }

    fn statement(&mut self, head: Word, keyword: &'static Keyword, value: &Value<'_>) {
        let form = keyword.form;
        let refused = self.refused;
        let optional = matches!(
            form,
            Form::OptText | Form::OptInt(..) | Form::OptSeconds(..) | Form::OptWords(_) | Form::OptScript
        );
        let number =
            matches!(form, Form::Int(..) | Form::IntElse(..) | Form::Clamped(..) | Form::Seconds(..));
        let words = match (form, value.get_ref()) {
            (Form::Flag, DeValue::Boolean(false)) => return,
            (Form::Flag, DeValue::Boolean(true)) => Vec::new(),
            (Form::Flag, _) => return self.wrong(value, "true or false"),
            (_, DeValue::Boolean(false)) if optional => return,
            (_, DeValue::Boolean(true)) if optional => Vec::new(),
            (Form::Bool, DeValue::Boolean(on)) => {
                vec![self.word(if *on { "true" } else { "false" }, value.span())]
            }
            (Form::Bool, _) => return self.wrong(value, "true or false"),
            (_, DeValue::Integer(n)) => vec![self.word(&decimal(n), value.span())],
            (_, DeValue::Float(n)) => match without_exponent(n) {
                Some(text) => vec![self.word(&text, value.span())],
                None => return self.wrong(value, "a number"),
            },
            (_, DeValue::String(_)) if number => return self.wrong(value, "a number"),
            (Form::Script | Form::OptScript, DeValue::String(command)) if !fits(command) => {
                return self.too_long(value);
            }
            (Form::Script | Form::OptScript, DeValue::String(command)) => {
                let rest = self.word(&quoted_command(command), value.span());
                self.builder.statement(&[head, rest], rest);
                return;
            }
            (Form::Script | Form::OptScript, DeValue::Array(items)) => {
                let strings: Option<Vec<&str>> = items.iter().map(|item| item.get_ref().as_str()).collect();
                let Some((command, identity)) = strings.as_deref().and_then(<[&str]>::split_first) else {
                    return self.wrong(value, "an array of command, user and group");
                };
                if !fits(command) {
                    return self.too_long(value);
                }
                if identity.iter().any(|word| !is_word(word)) {
                    return self.no_word(value);
                }
                let identity: String = identity.iter().map(|word| format!(" {}", quoted(word))).collect();
                let rest = self.word(&(quoted_command(command) + &identity), value.span());
                self.builder.statement(&[head, rest], rest);
                return;
            }
            (Form::Words(_) | Form::OptWords(_) | Form::Texts | Form::Weight(_), DeValue::String(text)) => {
                self.split(text, value)
            }
            (_, DeValue::String(text)) => self.plain_word(text, value).into_iter().collect(),
            (_, DeValue::Array(items)) => {
                let mut words = Vec::new();
                for item in items.iter() {
                    match item.get_ref() {
                        DeValue::String(text) => words.extend(self.plain_word(text, item)),
                        DeValue::Integer(n) => words.push(self.word(&decimal(n), item.span())),
                        _ => return self.wrong(item, "a string"),
                    }
                }
                words
            }
            _ => return self.wrong(value, "a string, a number or a switch"),
        };
        // A word that cannot be used has been told.
        if self.refused > refused {
            return;
        }
        let all: Vec<Word> = std::iter::once(head).chain(words).collect();
        self.builder.statement(&all, head.part(0, 0));
    }

    fn open(&mut self, head: Word, title: &[Word]) {
        let words: Vec<Word> = std::iter::once(head).chain(title.iter().copied()).collect();
        self.builder.statement(&words, head.part(0, 0));
        self.builder.open(head, self.sources, self.findings);
    }

    fn close(&mut self, head: Word) {
        self.builder.close(head, self.sources, self.findings);
    }

    fn wrong(&mut self, value: &Value<'_>, expected: &str) {
        self.refuse(value, Code::BadValue, format!("{expected} is expected here"));
    }

    fn refuse(&mut self, value: &Value<'_>, code: Code, message: String) {
        let span = self.place(value.span());
        self.findings.push(Finding::error(code, span, message));
        self.refused += 1;
    }

    fn place(&self, range: Range<usize>) -> Span {
        let offset = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Span::new(self.file, offset(range.start), offset(range.end))
    }

    /// A word that stands for what is written at `range`.
    fn word(&mut self, text: &str, range: Range<usize>) -> Word {
        let span = self.place(range.clone());
        if self.text.get(range) == Some(text) {
            return Word::in_file(self.file, span.start, span.end);
        }
        self.sources.produce([(text, Place::Instead(span))])
    }

    /// The content of a string, in its place when it has no escapes.
    fn content(&mut self, text: &str, value: &Value<'_>) -> Word {
        let inner = value.span().start + 1..value.span().end.saturating_sub(1);
        if self.text.get(inner.clone()) == Some(text) {
            return self.word(text, inner);
        }
        self.word(text, value.span())
    }

    /// A string that is one word.
    fn plain_word(&mut self, text: &str, value: &Value<'_>) -> Option<Word> {
        if !fits(text) {
            self.too_long(value);
            return None;
        }
        if !is_word(text) {
            self.no_word(value);
            return None;
        }
        self.tell_reference(text, value);
        Some(self.content(text, value))
    }

    /// There are no definitions here, and whoever writes the word in the other syntax is told of that there too.
    fn tell_reference(&mut self, text: &str, value: &Value<'_>) {
        if let Some(name) = reference(text) {
            let message = format!("there is no definition of `{name}`: TOML has none");
            let span = self.place(value.span());
            let finding =
                Finding::warning(Code::Definition, span, message).assume("it is taken as it is written");
            self.findings.push(finding.taken_as_written());
        }
    }

    fn no_word(&mut self, value: &Value<'_>) {
        let message = "this word may hold neither double quotes nor line breaks, nor what keepalived's syntax would \
                       expand, like `${_HASH}`";
        self.refuse(value, Code::BadValue, message.to_owned());
    }

    fn too_long(&mut self, value: &Value<'_>) {
        let message = format!("this may have {MOST_BYTES} bytes at most, and no NUL");
        self.refuse(value, Code::LineTooLong, message);
    }

    fn split(&mut self, text: &str, value: &Value<'_>) -> Vec<Word> {
        if !fits(text) {
            self.too_long(value);
            return Vec::new();
        }
        let whole = self.content(text, value);
        let Some(ranges) = split_words(text) else {
            self.wrong(value, "words without braces, and with every quote closed,");
            return Vec::new();
        };
        if ranges.iter().any(|range| !text.get(range.clone()).is_some_and(is_word)) {
            self.no_word(value);
            return Vec::new();
        }
        self.tell_reference(text, value);
        ranges.into_iter().map(|range| whole.part(range.start, range.end)).collect()
    }
}

/// Longest text: a line of keepalived's syntax, which a configuration can be converted to, holds little more even when
/// it is put together from definitions, and escapes make it longer.
const MOST_BYTES: usize = 8 * 1024;

fn fits(text: &str) -> bool {
    text.len() <= MOST_BYTES && !text.contains('\0')
}

/// Whether a text can be one word in keepalived's syntax.
fn is_word(text: &str) -> bool {
    !text.contains(['"', '\n', '\r']) && !is_expanded(text)
}

/// An integer of any base in decimal.
fn decimal(n: &DeInteger<'_>) -> String {
    i128::from_str_radix(n.as_str(), n.radix()).map_or_else(|_| n.to_string(), |n| n.to_string())
}

/// A number with a fraction as the other syntax has it.
fn without_exponent(n: &DeFloat<'_>) -> Option<String> {
    let text = n.as_str().trim_start_matches('+');
    if !text.contains(['e', 'E']) {
        return (!text.contains(['i', 'n'])).then(|| text.to_owned());
    }
    // Beyond this no setting has any use for the number.
    text.parse().ok().filter(|n: &f64| n.abs() < 1e15).map(|n| n.to_string())
}

/// Blocks that others refer to come before those, wherever they stand in the file.
pub(super) fn rank(name: &str) -> u8 {
    match name {
        "global" | "global_defs" => 0,
        "vrrp_script" | "vrrp_track_process" | "track_file" | "vrrp_track_file" | "track_group" => 1,
        _ => 2,
    }
}
