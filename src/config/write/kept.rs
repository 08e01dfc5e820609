//! The words a plan keeps for parts of the daemon that are still to come.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{meant, understood};
use crate::config::kept::Kept;
use crate::config::schema::{Block, Form, Keyword, ROOT, Support, today};
use crate::config::source::Sources;
use crate::config::tree::{NodeId, Tree};

/// In the order of the schema: that of different keywords in a file means nothing. Of each the last one counts.
pub(in crate::config) fn kept(tree: &Tree, sources: &Sources) -> Vec<Kept> {
    let mut global: Vec<NodeId> = Vec::new();
    for id in meant(tree, tree.roots()) {
        if tree.node(id).keyword.is_some_and(|keyword| keyword.name == "global_defs") {
            global.extend(meant(tree, tree.children(id)));
        }
    }
    let mut all = of_block(tree, sources, meant(tree, tree.roots()), &ROOT);
    if let Some((_, Keyword { form: Form::Block(block), .. })) = ROOT.find("global_defs") {
        all.extend(of_block(tree, sources, global.into_iter(), block));
    }
    all
}

fn of_block(
    tree: &Tree,
    sources: &Sources,
    nodes: impl Iterator<Item = NodeId>,
    block: &'static Block,
) -> Vec<Kept> {
    let mut last: BTreeMap<usize, (&'static Keyword, NodeId)> = BTreeMap::new();
    for id in nodes {
        let Some(keyword) = tree.node(id).keyword.filter(|k| is_kept(k)) else { continue };
        let keyword = today(keyword, block);
        if let Some((number, _)) = block.find(keyword.name) {
            last.insert(number, (keyword, id));
        }
    }
    let words = |(keyword, id): (&'static Keyword, NodeId)| Kept {
        keyword: Arc::from(keyword.name),
        words: understood(tree, sources, id, keyword.form).into_iter().map(Arc::from).collect(),
    };
    last.into_values().map(words).collect()
}

fn is_kept(keyword: &Keyword) -> bool {
    keyword.support == Support::Later && !keyword.typed
}
