//! `~SEQ`, `~SEQx` and `~LST`: one line for every value.

use std::ops::Range;

/// A generator in a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Generator {
    /// The whole of it in the line.
    pub(super) range: Range<usize>,
    kind: Kind,
    /// What stands between the parentheses.
    pub(super) arguments: Range<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Decimal,
    Hexadecimal,
    List,
}

/// The names a generator sets, and a row of values for every line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rows {
    pub(super) names: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
}

/// Why a generator cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadGenerator {
    #[error("it has to be ~SEQ(NAME,[START,[STEP,]]END) or ~LST(NAME,VALUE,...)")]
    Form,
    #[error("its numbers are not integers, or its step leads away from the end")]
    Numbers,
    #[error("it makes more than 65536 lines")]
    TooMany,
}

/// Most lines one generator may make.
const MAX_ROWS: usize = 65_536;

/// The leftmost generator outside double quotes.
pub(super) fn find(line: &str) -> Option<Generator> {
    let mut quoted = false;
    for (at, c) in line.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '~' if !quoted => {
                if let Some(generator) = generator_at(line, at) {
                    return Some(generator);
                }
            }
            _ => {}
        }
    }
    None
}

fn generator_at(line: &str, at: usize) -> Option<Generator> {
    let behind = line.get(at..)?;
    let (kind, word) = [(Kind::Hexadecimal, "~SEQx("), (Kind::Decimal, "~SEQ("), (Kind::List, "~LST(")]
        .into_iter()
        .find(|(_, word)| behind.starts_with(word))?;
    let end = behind.find(')')?;
    Some(Generator { range: at..at + end + 1, kind, arguments: at + word.len()..at + end })
}

impl Generator {
    /// The values, from arguments whose definitions have been expanded.
    pub(super) fn rows(&self, arguments: &str) -> Result<Rows, BadGenerator> {
        let items = items(arguments).ok_or(BadGenerator::Form)?;
        let (names, values) = items.split_first().ok_or(BadGenerator::Form)?;
        if values.is_empty()
            || names.iter().any(|n| n.is_empty() || super::definition::name_len(n) != n.len())
        {
            return Err(BadGenerator::Form);
        }
        if self.kind == Kind::List {
            if values.len() > MAX_ROWS {
                return Err(BadGenerator::TooMany);
            }
            let row = |value: &Vec<String>| {
                (0..names.len()).map(|i| value.get(i).cloned().unwrap_or_default()).collect()
            };
            return Ok(Rows { names: names.clone(), rows: values.iter().map(row).collect() });
        }
        if names.len() != 1 || values.len() > 3 || values.iter().any(|v| v.len() != 1) {
            return Err(BadGenerator::Form);
        }
        let words: Vec<&str> = values.iter().flatten().map(String::as_str).collect();
        let rows = self.sequence(&words)?.into_iter().map(|n| vec![n]).collect();
        Ok(Rows { names: names.clone(), rows })
    }

    fn sequence(&self, words: &[&str]) -> Result<Vec<String>, BadGenerator> {
        let hex = self.kind == Kind::Hexadecimal;
        let parse = |word: &str| {
            let parsed = if hex { i64::from_str_radix(word, 16) } else { word.parse() };
            parsed.ok().filter(|n| !hex || *n >= 0).ok_or(BadGenerator::Numbers)
        };
        let (start, step, end) = match *words {
            [end] => {
                let end = parse(end)?;
                (if end < 0 { -1 } else { 1 }, None, end)
            }
            [start, end] => (parse(start)?, None, parse(end)?),
            [start, step, end] => (parse(start)?, Some(parse_step(step, hex)?), parse(end)?),
            _ => return Err(BadGenerator::Form),
        };
        let step = step.unwrap_or(if end < start { -1 } else { 1 });
        if step == 0 || (end > start && step < 0) || (end < start && step > 0) {
            return Err(BadGenerator::Numbers);
        }
        if (end.abs_diff(start) / step.unsigned_abs()) as usize >= MAX_ROWS {
            return Err(BadGenerator::TooMany);
        }
        let numbers = std::iter::successors(Some(start), |n| n.checked_add(step));
        let numbers = numbers.take_while(|n| if step > 0 { *n <= end } else { *n >= end });
        Ok(numbers.map(|n| if hex { format!("{n:x}") } else { n.to_string() }).collect())
    }
}

fn parse_step(word: &str, hex: bool) -> Result<i64, BadGenerator> {
    let parsed = if hex { i64::from_str_radix(word, 16) } else { word.parse() };
    parsed.map_err(|_| BadGenerator::Numbers)
}

/// Items separated by commas; an item in braces is a tuple.
fn items(arguments: &str) -> Option<Vec<Vec<String>>> {
    let mut items = Vec::new();
    let mut rest = arguments.trim();
    loop {
        let (item, behind) = match rest.strip_prefix('{') {
            Some(inner) => {
                let (tuple, behind) = inner.split_once('}')?;
                (tuple.split(',').map(|w| w.trim().to_owned()).collect(), behind.trim_start())
            }
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                let (word, behind) = rest.split_at(end);
                (vec![word.trim().to_owned()], behind)
            }
        };
        items.push(item);
        match behind.strip_prefix(',') {
            Some(next) => rest = next.trim_start(),
            None => return behind.is_empty().then_some(items),
        }
    }
}
