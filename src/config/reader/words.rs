//! From a line to its words and braces, and from the rest of a script line to a command.

use super::{definition, include};

/// A piece of a line, as byte offsets into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    pub(super) start: usize,
    pub(super) end: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    Word,
    Open,
    Close,
    /// The quote that opens the word just before has no partner.
    Unterminated,
}

/// Whether comments and definitions are still in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// As it stands in the file.
    Raw,
    /// Comments stripped, definitions expanded: every character is meant.
    Expanded,
}

pub(super) const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\x0c' | b'\n' | b'\x0b')
}

/// Splits a line. `false` says that a raw line has to go through expansion first.
pub(super) fn split(line: &str, stage: Stage, tokens: &mut Vec<Token>) -> bool {
    tokens.clear();
    let bytes = line.as_bytes();
    let mut at = 0;
    // The braces of a file name are its own.
    let mut file_name = false;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b if is_blank(b) => at += 1,
            b'#' | b'!' if stage == Stage::Raw => return true,
            b'@' if stage == Stage::Raw && tokens.is_empty() => return false,
            b'{' | b'}' if !file_name => {
                let kind = if byte == b'{' { TokenKind::Open } else { TokenKind::Close };
                tokens.push(Token { kind, start: at, end: at + 1 });
                at += 1;
            }
            b'"' => {
                let in_script =
                    tokens.first().and_then(|t| line.get(t.start..t.end)).is_some_and(is_script_word);
                let end = closing_quote(bytes, at + 1, in_script);
                let Some(quoted) = line.get(at + 1..end.unwrap_or(bytes.len())) else { return true };
                if stage == Stage::Raw && quoted.contains('$') {
                    return false;
                }
                let quoted_end = at + 1 + quoted.trim_end_matches(['\r', '\n']).len();
                tokens.push(Token { kind: TokenKind::Word, start: at + 1, end: quoted_end });
                if end.is_none() {
                    tokens.push(Token { kind: TokenKind::Unterminated, start: at, end: at + 1 });
                }
                at = end.map_or(bytes.len(), |e| e + 1);
            }
            _ => {
                let Some(end) = word_end(bytes, at, stage, file_name) else { return false };
                file_name |= tokens.is_empty() && line.get(at..end).and_then(include::keyword).is_some();
                tokens.push(Token { kind: TokenKind::Word, start: at, end });
                at = end;
            }
        }
    }
    true
}

/// End of the unquoted word at `at`; `None` when a raw word has something to expand.
fn word_end(bytes: &[u8], mut at: usize, stage: Stage, file_name: bool) -> Option<usize> {
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b if is_blank(b) => break,
            b'{' | b'}' if file_name => at += 1,
            b'"' | b'{' | b'}' => break,
            b'#' | b'!' if stage == Stage::Raw => break,
            b'$' | b'\\' | b'~' if stage == Stage::Raw => return None,
            // A reference that nothing defines stays as it is written, braces included.
            b'$' if bytes.get(at + 1) == Some(&b'{') => {
                at = bytes.get(at..)?.iter().position(|&b| b == b'}').map_or(bytes.len(), |n| at + n + 1);
            }
            _ => at += 1,
        }
    }
    Some(at)
}

/// The double quote that ends a quoted text. Only script lines know `\"`.
fn closing_quote(bytes: &[u8], from: usize, escapes: bool) -> Option<usize> {
    let mut at = from;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' if escapes => at += 2,
            b'"' => return Some(at),
            _ => at += 1,
        }
    }
    None
}

/// The keywords whose value is a command line.
pub(crate) fn is_script_word(word: &str) -> bool {
    match word {
        "script" | "misc_path" | "quorum_up" | "quorum_down" | "startup_script" | "shutdown_script" => true,
        "notify_fifo" | "notify_priority_changes" => false,
        _ => {
            word.starts_with("notify") && word.split('_').all(|part| part != "email")
                || word.ends_with("_fifo_script")
        }
    }
}

/// Text without its comment, `\#` and `\!` resolved, as ranges to be joined.
pub(super) fn without_comment(line: &str) -> Vec<std::ops::Range<usize>> {
    let bytes = line.as_bytes();
    let mut parts = Vec::new();
    let (mut from, mut at, mut quoted) = (0, 0, false);
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => {
                quoted = !quoted;
                at += 1;
            }
            // Inside quotes a backslash is left for whoever reads the command line.
            b'\\' if quoted => at += if escapes_in(line) { 2 } else { 1 },
            b'\\' if matches!(bytes.get(at + 1), Some(b'#' | b'!')) => {
                parts.push(from..at);
                from = at + 1;
                at += 2;
            }
            b'#' | b'!' if !quoted => break,
            _ => at += 1,
        }
    }
    parts.push(from..at.min(line.len()));
    parts
}

fn escapes_in(line: &str) -> bool {
    line.split_ascii_whitespace().next().is_some_and(is_script_word)
}

/// A word of a script line: its value, and where it stands in the text it was taken from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ScriptWord {
    pub(crate) text: String,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// First split of a script line: the command line, then user and group. Single and double quotes, adjacent
/// pieces joined; backslashes are kept for the second split.
pub(crate) fn script_words(rest: &str) -> Vec<ScriptWord> {
    split_script(rest).0
}

/// Where the quote stands that the first split of a script line finds no end of.
pub(crate) fn open_quote(rest: &str) -> Option<usize> {
    split_script(rest).1
}

fn split_script(rest: &str) -> (Vec<ScriptWord>, Option<usize>) {
    let mut open = None;
    let mut words = Vec::new();
    let mut chars = rest.char_indices().peekable();
    while let Some(&(start, first)) = chars.peek() {
        if first.is_ascii_whitespace() {
            chars.next();
            continue;
        }
        let mut text = String::new();
        let mut end = start;
        let mut quote = None;
        let mut quoted_from = None;
        while let Some(&(at, c)) = chars.peek() {
            if quote.is_none() && c.is_ascii_whitespace() {
                break;
            }
            chars.next();
            end = at + c.len_utf8();
            match (quote, c) {
                (None, '"' | '\'') => {
                    quote = Some(c);
                    quoted_from = Some(at);
                }
                (Some(q), c) if q == c => quote = None,
                (_, '\\') => {
                    text.push('\\');
                    if let Some((at, next)) =
                        chars.next_if(|(_, n)| quote.is_some() || !n.is_ascii_whitespace())
                    {
                        text.push(next);
                        end = at + next.len_utf8();
                    }
                }
                (_, c) => text.push(c),
            }
        }
        open = open.or(quoted_from.filter(|_| quote.is_some()));
        words.push(ScriptWord { text, start, end });
    }
    (words, open)
}

/// Second split: the command line into its arguments, with quotes and C escapes.
pub(crate) fn arguments(command: &str) -> Vec<String> {
    split_command(command).0
}

/// Whether the second split meets a quote without an end.
pub(crate) fn is_open(command: &str) -> bool {
    split_command(command).1
}

fn split_command(command: &str) -> (Vec<String>, bool) {
    let mut open = false;
    let mut argv = Vec::new();
    let mut chars = command.chars().peekable();
    loop {
        while chars.next_if(char::is_ascii_whitespace).is_some() {}
        if chars.peek().is_none() {
            return (argv, open);
        }
        let mut argument = String::new();
        let mut quote = None;
        while let Some(c) = chars.next_if(|c| quote.is_some() || !c.is_ascii_whitespace()) {
            match (quote, c) {
                (None, '"' | '\'') => quote = Some(c),
                (Some(q), c) if q == c => quote = None,
                (q, '\\') if q != Some('\'') => argument.extend(escaped(&mut chars)),
                (_, c) => argument.push(c),
            }
        }
        open |= quote.is_some();
        argv.push(argument);
    }
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

/// The character behind a backslash, by the rules of C and `$'...'` of the shell.
fn escaped(chars: &mut Chars<'_>) -> Option<char> {
    let c = chars.next()?;
    Some(match c {
        'a' => '\x07',
        'b' => '\x08',
        'E' | 'e' => '\x1b',
        'f' => '\x0c',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\x0b',
        'x' => char::from(number(chars, 16, 2, 0)),
        'c' => {
            let control = chars.next()?;
            char::from(u8::try_from(control).ok()? & 0x1f)
        }
        '0'..='7' => char::from(number(chars, 8, 2, c.to_digit(8)?)),
        c => c,
    })
}

fn number(chars: &mut Chars<'_>, radix: u32, digits: usize, first: u32) -> u8 {
    let mut value = first;
    for _ in 0..digits {
        match chars.peek().and_then(|c| c.to_digit(radix)) {
            Some(digit) => value = value * radix + digit,
            None => break,
        }
        chars.next();
    }
    u8::try_from(value & 0xff).unwrap_or(u8::MAX)
}

/// A command as it can stand on one line between double quotes: as it is written, or with escapes throughout where
/// something in it would end the quotes or the line, or be expanded.
pub(crate) fn plain_command(command: &str) -> String {
    let mut bare = command.chars();
    let mut plain = !is_open(command) && !command.contains("$_") && !command.contains("${_");
    while let Some(c) = bare.next() {
        plain &= match c {
            '\\' => bare.next().is_some_and(|c| !matches!(c, '\n' | '\r')),
            c => !matches!(c, '"' | '\n' | '\r'),
        };
    }
    if plain { command.to_owned() } else { command_line(&arguments(command)) }
}

fn command_line(argv: &[String]) -> String {
    let argument = |text: &String| {
        let mut out = String::new();
        for c in text.chars() {
            match c {
                '"' | '\'' | '\\' | ' ' => out.extend(['\\', c]),
                c if c == '$' || c.is_ascii_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
                c => out.push(c),
            }
        }
        if out.is_empty() { "''".to_owned() } else { out }
    };
    argv.iter().map(argument).collect::<Vec<_>>().join(" ")
}

/// A word as it has to be written so that the reader gives it back.
pub(crate) fn quoted(word: &str) -> String {
    let plain = !word.is_empty()
        && !word.starts_with('@')
        && !word
            .bytes()
            .any(|b| is_blank(b) || matches!(b, b'"' | b'{' | b'}' | b'#' | b'!' | b'$' | b'\\' | b'~'));
    if plain { word.to_owned() } else { format!("\"{word}\"") }
}

/// A command line as one word of a script line.
pub(crate) fn quoted_command(command: &str) -> String {
    format!("\"{}\"", plain_command(command))
}

/// Whether a word would be expanded where it is read, in whichever way it is written.
pub(crate) fn is_expanded(word: &str) -> bool {
    definition::has_built_in(&quoted(word))
}

/// The name that a text refers to even when it stands between double quotes.
pub(crate) fn reference(text: &str) -> Option<String> {
    let line = format!("\"{text}\"");
    let name = definition::references(&line).next()?.name;
    line.get(name).map(str::to_owned)
}
