//! Writing a configuration: in keepalived's syntax, and in TOML.

mod conf;
mod toml;

use std::path::Path;

use super::reader::{ScriptWord, plain_command, script_words};
use super::schema::{Block, Form, Title};
use super::source::Sources;
use super::tree::{NodeId, Tree};
use super::value::{self, NumberError};

/// The two syntaxes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    /// keepalived's blocks.
    Conf,
    Toml,
}

impl Syntax {
    /// By the name of the file.
    pub fn of(path: &Path) -> Self {
        if path.extension().is_some_and(|e| e == "toml") { Self::Toml } else { Self::Conf }
    }
}

pub(super) fn write(tree: &Tree, sources: &Sources, syntax: Syntax) -> String {
    match syntax {
        Syntax::Conf => conf::write(tree, sources),
        Syntax::Toml => toml::write(tree, sources),
    }
}

/// The nodes that mean something.
fn meant(tree: &Tree, nodes: impl Iterator<Item = NodeId>) -> impl Iterator<Item = NodeId> {
    nodes.filter(|id| !tree.node(*id).ignored)
}

/// The words of a title, without those that belong to nothing.
fn title<'s>(tree: &Tree, sources: &'s Sources, id: NodeId, block: &Block) -> Vec<&'s str> {
    let most = match block.title {
        Title::None => 0,
        Title::Name => 1,
        Title::Service | Title::Server => 2,
    };
    tree.values(id).iter().take(most).map(|w| sources.text(*w)).collect()
}

/// The words of a value as they were understood.
fn understood(tree: &Tree, sources: &Sources, id: NodeId, form: Form) -> Vec<String> {
    if matches!(form, Form::Script | Form::OptScript) {
        let rest = sources.text(tree.node(id).rest);
        let write =
            |(at, word): (usize, ScriptWord)| if at == 0 { plain_command(&word.text) } else { word.text };
        return script_words(rest).into_iter().enumerate().map(write).collect();
    }
    let words = tree.values(id).iter().map(|w| sources.text(*w));
    let integer = |word: &str| match value::integer(word) {
        Ok(n) | Err(NumberError::Trailing(n)) => Some(n),
        Err(NumberError::None) => None,
    };
    let one = |word: &str| match form {
        Form::Int(..) | Form::OptInt(..) => integer(word).map_or_else(|| word.to_owned(), |n| n.to_string()),
        Form::IntElse(min, max, default) => {
            integer(word).filter(|n| (min..=max).contains(n)).unwrap_or(default).to_string()
        }
        Form::Clamped(min, max) => integer(word).unwrap_or(min).clamp(min, max).to_string(),
        Form::Seconds(..) | Form::OptSeconds(..) => match value::seconds(word) {
            Ok(time) | Err(Some(time)) => value::format_seconds(time),
            Err(None) => word.to_owned(),
        },
        _ => word.to_owned(),
    };
    match form {
        Form::Flag => Vec::new(),
        Form::Bool => {
            // A switch without a word is on.
            let on = words.map(|word| value::boolean(word).unwrap_or(true)).next().unwrap_or(true);
            vec![on.to_string()]
        }
        Form::Weight(_) => {
            let mut words = words;
            let number = words.next().map(|w| integer(w).map_or_else(|| w.to_owned(), |n| n.to_string()));
            number.into_iter().chain(words.take(1).map(str::to_owned)).collect()
        }
        Form::Texts | Form::Words(_) | Form::OptWords(_) => words.map(str::to_owned).collect(),
        _ => words.take(1).map(one).collect(),
    }
}
