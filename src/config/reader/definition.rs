//! Definitions (`$NAME=VALUE`) and the references to them.

use std::collections::HashMap;
use std::ops::Range;

use super::fragment::Fragment;

/// What a name stands for.
#[derive(Clone, Debug)]
pub(super) enum Definition {
    Text(String),
    /// Body lines, comments already stripped.
    Lines(Vec<Fragment>),
}

/// Values that only the reader knows.
#[derive(Clone, Debug)]
pub(super) struct Surroundings {
    /// Directory of the file being read.
    pub(super) directory: String,
    pub(super) config_id: String,
}

#[derive(Debug, Default)]
pub(super) struct Definitions {
    by_name: HashMap<String, Definition>,
    random: Option<u64>,
}

/// One reference: its range in the line, and the name and arguments between the braces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) range: Range<usize>,
    pub(super) name: Range<usize>,
    arguments: Range<usize>,
}

/// A line that grew past its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Endless;

/// Replacements in one line before the definitions are taken to be endless.
const MAX_REPLACEMENTS: usize = 1_000;
/// Longest line after expansion, in bytes.
const MAX_EXPANDED_LINE: usize = 64 * 1024;

impl Definitions {
    /// Returns what the name stood for before.
    pub(super) fn set(&mut self, name: &str, definition: Definition) -> Option<Definition> {
        self.by_name.insert(name.to_owned(), definition)
    }

    /// Puts back what [`set`](Self::set) returned.
    pub(super) fn restore(&mut self, name: &str, before: Option<Definition>) {
        match before {
            Some(definition) => self.by_name.insert(name.to_owned(), definition),
            None => self.by_name.remove(name),
        };
    }

    pub(super) fn is_defined(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// `random_seed`: makes `${_RANDOM}` repeatable.
    pub(super) fn seed(&mut self, seed: u64) {
        self.random = Some(seed);
    }

    /// The body when the whole line is one reference to a definition of several lines.
    pub(super) fn body(&self, line: &str) -> Option<(String, Vec<Fragment>)> {
        let reference = references(line).next()?;
        if reference.range != (0..line.len()) {
            return None;
        }
        let name = &line[reference.name];
        match self.by_name.get(name)? {
            Definition::Lines(lines) => Some((name.to_owned(), lines.clone())),
            Definition::Text(_) => None,
        }
    }

    /// Expands until nothing changes. Names that nothing defines stay as they are written.
    pub(super) fn expand(&mut self, line: Fragment, around: &Surroundings) -> Result<Fragment, Endless> {
        let mut line = line;
        let mut replacements = 0;
        loop {
            let found = references(line.text()).find_map(|r| {
                let value =
                    self.value(&line.text()[r.name.clone()], &line.text()[r.arguments.clone()], around)?;
                Some((r.range, value))
            });
            let Some((range, value)) = found else { return Ok(line) };
            replacements += 1;
            if replacements > MAX_REPLACEMENTS || line.text().len() + value.len() > MAX_EXPANDED_LINE {
                return Err(Endless);
            }
            line = line.replaced(range, &value);
        }
    }

    fn value(&mut self, name: &str, arguments: &str, around: &Surroundings) -> Option<String> {
        match name {
            "_PWD" => Some(around.directory.clone()),
            "_INSTANCE" => Some(around.config_id.clone()),
            "_HASH" => Some("#".to_owned()),
            "_BANG" => Some("!".to_owned()),
            "_ENV" => Some(std::env::var(arguments.trim()).unwrap_or_default()),
            "_RANDOM" => Some(self.random_between(arguments).to_string()),
            name => match self.by_name.get(name)? {
                Definition::Text(text) => Some(text.clone()),
                Definition::Lines(_) => None,
            },
        }
    }

    fn random_between(&mut self, arguments: &str) -> u64 {
        let mut bounds = arguments.split_ascii_whitespace().map_while(|w| w.parse::<u64>().ok());
        let min = bounds.next().unwrap_or(0);
        let max = bounds.next().unwrap_or(32_767).max(min);
        let state = self.random.get_or_insert_with(|| {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            now.map_or(1, |d| d.as_secs() ^ u64::from(d.subsec_nanos()))
        });
        // splitmix64: enough to spread timers, and repeatable with `random_seed`.
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        match (max - min).checked_add(1) {
            Some(width) => min + z % width,
            None => z,
        }
    }
}

/// Whether a line holds a reference to one of the names that every configuration knows.
pub(super) fn has_built_in(line: &str) -> bool {
    const NAMES: [&str; 6] = ["_PWD", "_INSTANCE", "_HASH", "_BANG", "_ENV", "_RANDOM"];
    references(line).any(|reference| line.get(reference.name).is_some_and(|name| NAMES.contains(&name)))
}

/// The references in a line, from left to right.
pub(super) fn references(line: &str) -> impl Iterator<Item = Reference> + '_ {
    line.match_indices('$').filter_map(|(at, _)| reference_at(line, at))
}

fn reference_at(line: &str, at: usize) -> Option<Reference> {
    let behind = line.get(at + 1..)?;
    if let Some(inner) = behind.strip_prefix('{') {
        let end = inner.find('}')?;
        let name = name_len(inner);
        let arguments = inner.get(name..end)?;
        let built_in = inner.starts_with('_');
        if name == 0 || !(arguments.is_empty() || built_in && arguments.starts_with([' ', '\t'])) {
            return None;
        }
        let start = at + 2;
        return Some(Reference {
            range: at..start + end + 1,
            name: start..start + name,
            arguments: start + name..start + end,
        });
    }
    let name = name_len(behind);
    let follows = behind.get(name..)?.chars().next();
    let ends = follows.is_none_or(|c| c.is_ascii_whitespace() || matches!(c, ',' | ')'));
    (name > 0 && ends).then(|| {
        let end = at + 1 + name;
        Reference { range: at..end, name: at + 1..end, arguments: end..end }
    })
}

/// Length of the name at the start of `text`: letters, digits and underscore.
pub(super) fn name_len(text: &str) -> usize {
    text.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count()
}

/// `$NAME=VALUE` split into its name and the offset of its value.
pub(super) fn definition(line: &str) -> Option<(&str, usize)> {
    let behind = line.strip_prefix('$')?;
    let len = name_len(behind);
    let name = behind.get(..len).filter(|n| !n.is_empty())?;
    behind.get(len..)?.starts_with('=').then_some((name, len + 2))
}
