//! Which files an `include` line names.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// What an include must not go without: by its keyword, by `include_check`, or by `-e`.
///
/// A name that is missing and a file that is not read are always worth a word; where they are insisted on there
/// is no configuration without them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Insistence {
    /// What matches has to be a file that can be read.
    pub(super) readable: bool,
    /// A plain name has to exist.
    exists: bool,
    /// A wildcard has to match something.
    wildcard: bool,
    /// Every alternative of a brace has to match something.
    alternatives: bool,
}

impl Insistence {
    pub(super) const NOTHING: Self =
        Self { readable: false, exists: false, wildcard: false, alternatives: false };
    pub(super) const EVERYTHING: Self =
        Self { readable: true, exists: true, wildcard: true, alternatives: true };

    pub(super) const fn and(self, other: Self) -> Self {
        Self {
            readable: self.readable || other.readable,
            exists: self.exists || other.exists,
            wildcard: self.wildcard || other.wildcard,
            alternatives: self.alternatives || other.alternatives,
        }
    }

    /// After an `include_check` with these words. Without words it is everything; `+` adds to what was insisted on
    /// before and `-` takes away from it; a first word without a sign starts anew.
    ///
    /// # Errors
    /// The first word that is no check, by its number.
    pub(super) fn changed(self, words: &[&str]) -> Result<Self, (usize, String)> {
        let mut now = match words.first() {
            None => return Ok(Self::EVERYTHING),
            Some(first) if first.starts_with(['+', '-']) => self,
            Some(_) => Self::NOTHING,
        };
        for (at, word) in words.iter().enumerate() {
            let name = word.strip_prefix(['+', '-']).unwrap_or(word);
            let check = match name {
                // The program knows the first, its manual the second.
                "read" | "readable" => &mut now.readable,
                "match" => &mut now.exists,
                "wildcard_match" => &mut now.wildcard,
                "brace_match" => &mut now.alternatives,
                _ => {
                    let known = "`read`, `match`, `wildcard_match`, `brace_match`";
                    return Err((at, format!("`{name}` is not one of {known}")));
                }
            };
            *check = !word.starts_with('-');
        }
        Ok(now)
    }
}

/// What can be wrong with the words of `include_check`.
pub(crate) fn check_words(words: &[&str]) -> Result<(), (usize, String)> {
    Insistence::NOTHING.changed(words).map(drop)
}

/// The six spellings of the keyword.
pub(super) fn keyword(word: &str) -> Option<Insistence> {
    let nothing = Insistence::NOTHING;
    match word {
        "include" => Some(nothing),
        "includer" => Some(Insistence { readable: true, ..nothing }),
        "includem" => Some(Insistence { exists: true, ..nothing }),
        "includew" => Some(Insistence { wildcard: true, ..nothing }),
        "includeb" => Some(Insistence { alternatives: true, ..nothing }),
        "includea" => Some(Insistence::EVERYTHING),
        _ => None,
    }
}

/// The outcome of one alternative of the pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Match {
    File(PathBuf),
    /// Nothing is there, and that is worth a word.
    Nothing {
        name: String,
        insisted: bool,
    },
    /// Something is there that is not read.
    Unfit(PathBuf, &'static str),
    BadPattern(String),
}

/// The files that `pattern` names, in sorted order for every brace alternative.
pub(super) fn resolve(pattern: &str, directory: &Path, insist: Insistence) -> Vec<Match> {
    let alternatives = brace_alternatives(pattern);
    let braced = alternatives.len() > 1;
    let mut matches = Vec::new();
    for alternative in alternatives {
        let path = directory.join(&alternative);
        let wild = alternative.contains(['*', '?', '[']);
        let found = match (wild, path.to_str()) {
            (true, Some(pattern)) => match glob::glob(pattern) {
                Ok(paths) => paths.filter_map(Result::ok).collect(),
                Err(e) => {
                    matches.push(Match::BadPattern(format!("{alternative}: {e}")));
                    continue;
                }
            },
            _ if path.exists() => vec![path],
            _ => Vec::new(),
        };
        let reported = !wild || insist.wildcard || braced && insist.alternatives;
        if found.is_empty() && reported {
            // As keepalived 2.2.7 has it, which lets a wildcard within braces be.
            let insisted = match (braced, wild) {
                (true, true) => false,
                (true, false) => insist.alternatives,
                (false, true) => insist.wildcard,
                (false, false) => insist.exists || insist.wildcard,
            };
            matches.push(Match::Nothing { name: alternative, insisted });
        }
        matches.extend(found.into_iter().map(fit));
    }
    matches
}

/// keepalived reads regular files without any execute bit, so that a script is not taken for configuration.
fn fit(path: PathBuf) -> Match {
    match std::fs::metadata(&path) {
        Ok(meta) if meta.is_dir() => Match::Unfit(path, "is a directory"),
        Ok(meta) if !meta.is_file() => Match::Unfit(path, "is not a regular file"),
        Ok(meta) if meta.permissions().mode() & 0o111 != 0 => Match::Unfit(path, "is executable"),
        _ => Match::File(path),
    }
}

/// Most alternatives one pattern may have.
const MAX_ALTERNATIVES: usize = 4_096;

/// Expands `{a,b}` as the shell does; braces without a comma stay.
fn brace_alternatives(pattern: &str) -> Vec<String> {
    let mut done = Vec::new();
    let mut open = vec![pattern.to_owned()];
    while let Some(text) = open.pop() {
        match first_brace(&text) {
            Some((start, end, items)) if open.len() + done.len() + items.len() <= MAX_ALTERNATIVES => {
                let expanded = items.iter().map(|item| format!("{}{item}{}", &text[..start], &text[end..]));
                open.extend(expanded.rev());
            }
            _ => done.push(text),
        }
    }
    done
}

/// The first brace group with a comma: its range and its items.
fn first_brace(text: &str) -> Option<(usize, usize, Vec<String>)> {
    for (start, _) in text.match_indices('{') {
        let mut depth = 0_usize;
        let mut items = vec![String::new()];
        for (at, c) in text[start..].char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            match (c, depth) {
                ('{', 1) => {}
                ('}', 0) if items.len() > 1 => return Some((start, start + at + 1, items)),
                ('}', 0) => break,
                (',', 1) => items.push(String::new()),
                (c, _) => {
                    if let Some(item) = items.last_mut() {
                        item.push(c);
                    }
                }
            }
        }
    }
    None
}
