//! Every word that keepalived knows: in which block it stands, what may follow it, and what Buoy does with it.
//!
//! Source: keepalived.conf(5) of 2.4, and the behaviour of keepalived itself where the manual is silent.

mod checker;
mod engine;
mod entry;
mod global;
mod virtual_server;
mod vrrp;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::OnceLock;

pub(crate) use self::entry::Entries;
pub(crate) use self::global::sync_instance;
pub(crate) use self::virtual_server::{endpoint, group_member, local_address, service};

/// The words that stand outside of any block.
pub(crate) static ROOT: Block = Block::words("configuration", Title::None, &[global::ROOT]);

/// One keyword in one block.
#[derive(Debug)]
pub(crate) struct Keyword {
    pub(crate) name: &'static str,
    pub(crate) form: Form,
    pub(crate) support: Support,
    /// The spelling to use today, for an old one.
    pub(crate) instead: Option<&'static str>,
    /// May stand more than once in its block.
    pub(crate) repeats: bool,
}

/// What becomes of a keyword.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Support {
    /// It has a setting.
    On,
    /// Known, without effect in this version.
    Off,
    /// Known, and there is nothing here that it could change, for this reason.
    Moot(&'static str),
    /// It is for the reader of keepalived's syntax, which obeys it on the way.
    Reader,
    /// A word of the LVS-FNAT or DPVS forks.
    Fork,
}

/// Why a value cannot be used as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Complaint {
    /// The word of the value; behind the last one when one is missing.
    pub(crate) at: usize,
    pub(crate) what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Bad(String),
    /// This word and all behind it belong to nothing.
    Extra,
    /// It is for the LVS-FNAT and DPVS forks.
    Fork(String),
}

fn bad(at: usize, why: String) -> Complaint {
    Complaint { at, what: What::Bad(why) }
}

pub(crate) type Check = fn(&[&str]) -> Result<(), Complaint>;

/// What follows a keyword.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form {
    /// Nothing.
    Flag,
    /// `on off true false yes no`, or nothing for on.
    Bool,
    /// An integer within bounds.
    Int(i64, i64),
    /// An integer that is brought within bounds.
    Clamped(i64, i64),
    /// An integer, or this one when the written one is out of bounds.
    IntElse(i64, i64, i64),
    /// An integer, or nothing.
    OptInt(i64, i64),
    /// A weight up to so much in both directions, then perhaps `reverse`.
    Weight(i64),
    /// Seconds with a fraction; the bounds are microseconds.
    Seconds(u64, u64),
    /// Seconds or nothing.
    OptSeconds(u64, u64),
    /// One word.
    Text,
    /// One word or nothing.
    OptText,
    /// Any number of words, at least one.
    Texts,
    /// One of these.
    Choice(&'static [&'static str]),
    /// One of these, in upper or lower case.
    ChoiceAnyCase(&'static [&'static str]),
    /// An IP address.
    Ip,
    /// A command line, then user and group.
    Script,
    /// The same or nothing.
    OptScript,
    /// Words that a function looks at.
    Words(Check),
    /// The same or nothing.
    OptWords(Check),
    Block(&'static Block),
}

/// What stands between a block's keyword and its brace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Title {
    None,
    /// A name of its own, unique among blocks of this keyword.
    Name,
    /// `IP [PORT]`, `fwmark N` or `group NAME`.
    Service,
    /// `IP [PORT]`.
    Server,
}

impl Title {
    /// The key that holds it in TOML.
    pub(crate) const fn key(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Name => Some("name"),
            Self::Service => Some("service"),
            Self::Server => Some("server"),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) name: &'static str,
    pub(crate) title: Title,
    pub(crate) content: Content,
    index: OnceLock<Index>,
}

type Index = HashMap<&'static str, (usize, &'static Keyword)>;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Content {
    Words(&'static [&'static [Keyword]]),
    Entries(Entries),
}

impl Block {
    const fn words(name: &'static str, title: Title, words: &'static [&'static [Keyword]]) -> Self {
        Self { name, title, content: Content::Words(words), index: OnceLock::new() }
    }

    const fn entries(name: &'static str, title: Title, entries: Entries) -> Self {
        Self { name, title, content: Content::Entries(entries), index: OnceLock::new() }
    }

    /// The keyword of that name in this block, and its number among them.
    pub(crate) fn find(&'static self, name: &str) -> Option<(usize, &'static Keyword)> {
        let index =
            self.index.get_or_init(|| self.keywords().enumerate().map(|(n, k)| (k.name, (n, k))).collect());
        index.get(name).copied()
    }

    pub(crate) fn keywords(&self) -> impl Iterator<Item = &'static Keyword> + use<> {
        let lists: &'static [&'static [Keyword]] = match self.content {
            Content::Words(lists) => lists,
            Content::Entries(_) => &[],
        };
        lists.iter().flat_map(|list| list.iter())
    }
}

const fn word(name: &'static str, form: Form, support: Support) -> Keyword {
    Keyword { name, form, support, instead: None, repeats: false }
}

const fn on(name: &'static str, form: Form) -> Keyword {
    word(name, form, Support::On)
}

const fn off(name: &'static str, form: Form) -> Keyword {
    word(name, form, Support::Off)
}

const fn moot(name: &'static str, form: Form, why: &'static str) -> Keyword {
    word(name, form, Support::Moot(why))
}

const fn reader(name: &'static str, form: Form) -> Keyword {
    word(name, form, Support::Reader)
}

const fn fork(name: &'static str) -> Keyword {
    word(name, Form::OptWords(anything), Support::Fork)
}

/// The spelling to use today, and what it stands for.
pub(crate) fn today(keyword: &'static Keyword, block: &'static Block) -> &'static Keyword {
    keyword.instead.and_then(|name| block.find(name)).map_or(keyword, |(_, k)| k)
}

/// An old spelling; `instead` is the one to use.
const fn old(keyword: Keyword, instead: &'static str) -> Keyword {
    Keyword { instead: Some(instead), ..keyword }
}

/// A keyword that may stand more than once in its block.
const fn many(keyword: Keyword) -> Keyword {
    Keyword { repeats: true, ..keyword }
}

fn anything(_: &[&str]) -> Result<(), Complaint> {
    Ok(())
}
