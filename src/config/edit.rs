//! How a text has to be written so that it says what its plan does.
//!
//! keepalived's syntax forgives, TOML does not. Wherever the plan takes something otherwise than it is written, an
//! edit goes with the finding: the text that is written afterwards has the same plan, and no such finding.

use std::collections::BTreeMap;

use super::reader::{quoted, quoted_command};
use super::source::{Place, Sources, Word};
use super::tree::{NodeId, Tree, WordId};

#[derive(Debug, Default)]
pub(super) struct Edits(Vec<(WordId, Edit)>);

#[derive(Debug)]
enum Edit {
    /// The statement or entry of this word goes.
    LeaveOut,
    /// These words stand in the place of this one.
    Instead(Vec<String>),
    /// These words follow the last one of this statement or entry.
    Behind(Vec<String>),
    /// The command line of this statement, then user and group.
    Command(Vec<String>),
}

impl Edits {
    pub(super) fn leave_out(&mut self, at: WordId) {
        self.0.push((at, Edit::LeaveOut));
    }

    pub(super) fn instead(&mut self, at: WordId, words: &[&str]) {
        self.0.push((at, Edit::Instead(owned(words))));
    }

    pub(super) fn behind(&mut self, at: WordId, words: &[&str]) {
        self.0.push((at, Edit::Behind(owned(words))));
    }

    pub(super) fn command(&mut self, at: WordId, words: &[&str]) {
        self.0.push((at, Edit::Command(owned(words))));
    }

    pub(super) fn apply(self, tree: &mut Tree, sources: &mut Sources) {
        let mut of_node: BTreeMap<NodeId, BTreeMap<WordId, Vec<Edit>>> = BTreeMap::new();
        for (at, edit) in self.0 {
            if let Some(id) = tree.node_of(at) {
                of_node.entry(id).or_default().entry(at).or_default().push(edit);
            }
        }
        for (id, edits) in of_node {
            rewrite(id, edits, tree, sources);
        }
    }
}

fn rewrite(id: NodeId, mut edits: BTreeMap<WordId, Vec<Edit>>, tree: &mut Tree, sources: &mut Sources) {
    if edits.values().flatten().any(|edit| matches!(edit, Edit::LeaveOut)) {
        tree.node_mut(id).ignored = true;
        return;
    }
    let span = sources.span(tree.head(id));
    let produce = |sources: &mut Sources, text: &str| sources.produce([(text, Place::Instead(span))]);
    let mut words: Vec<Word> = Vec::new();
    let mut behind = Vec::new();
    let mut rest = tree.node(id).rest;
    for (at, word) in tree.numbered_words(id) {
        let mut kept = vec![word];
        for edit in edits.remove(&at).into_iter().flatten() {
            match edit {
                Edit::LeaveOut => {}
                Edit::Instead(texts) => kept = texts.iter().map(|text| produce(sources, text)).collect(),
                Edit::Behind(texts) => behind.extend(texts),
                Edit::Command(texts) => {
                    let write = |(n, text): (usize, &String)| {
                        if n == 0 { quoted_command(text) } else { quoted(text) }
                    };
                    let line: Vec<String> = texts.iter().enumerate().map(write).collect();
                    rest = produce(sources, &line.join(" "));
                }
            }
        }
        words.extend(kept);
    }
    words.extend(behind.iter().map(|text| produce(sources, text)));
    if words.is_empty() {
        tree.node_mut(id).ignored = true;
    }
    tree.set_words(id, &words, rest);
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
