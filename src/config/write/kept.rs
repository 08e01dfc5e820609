//! The blocks a plan keeps for parts of the daemon that are still to come.

use std::collections::HashMap;
use std::sync::Arc;

use super::{meant, title, understood};
use crate::config::kept::Block as Kept;
use crate::config::schema::{Block, Content, Form, Keyword, ROOT, Support, today};
use crate::config::source::Sources;
use crate::config::tree::{NodeId, Tree};

pub(in crate::config) fn kept(tree: &Tree, sources: &Sources) -> Vec<Kept> {
    let mut keeper = Keeper { tree, sources, known: HashMap::new() };
    let mut all = Vec::new();
    let mut global: Vec<NodeId> = Vec::new();
    for id in in_order(tree, meant(tree, tree.roots()), &ROOT) {
        let Some(keyword) = tree.node(id).keyword else { continue };
        if is_kept(keyword) {
            all.extend(keeper.node(id, &ROOT));
        } else if keyword.name == "global_defs" {
            global.extend(meant(tree, tree.children(id)));
        }
    }
    if let Some((_, Keyword { name, form: Form::Block(block), .. })) = ROOT.find("global_defs") {
        let children: Vec<Kept> = in_order(tree, global.into_iter(), block)
            .into_iter()
            .filter(|child| tree.node(*child).keyword.is_some_and(is_kept))
            .filter_map(|child| keeper.node(child, block))
            .collect();
        if !children.is_empty() {
            all.push(Kept { keyword: keeper.shared(name), words: Vec::new(), children });
        }
    }
    all
}

fn is_kept(keyword: &Keyword) -> bool {
    keyword.support == Support::Later && !keyword.typed
}

/// The order of the schema: that of different keywords in a file means nothing. Of a keyword that may stand
/// only once the last one counts.
fn in_order(tree: &Tree, nodes: impl Iterator<Item = NodeId>, block: &'static Block) -> Vec<NodeId> {
    let number = |id: NodeId| {
        let keyword = today(tree.node(id).keyword?, block);
        Some((block.find(keyword.name)?.0, keyword.repeats, id))
    };
    let mut known: Vec<(usize, bool, NodeId)> = nodes.filter_map(number).collect();
    known.sort_by_key(|(number, _, id)| (*number, *id));
    let mut kept: Vec<(usize, bool, NodeId)> = Vec::with_capacity(known.len());
    for node in known {
        match kept.last_mut() {
            Some(last) if last.0 == node.0 && !node.1 => *last = node,
            _ => kept.push(node),
        }
    }
    kept.into_iter().map(|(.., id)| id).collect()
}

struct Keeper<'t> {
    tree: &'t Tree,
    sources: &'t Sources,
    /// The same words come again and again in a file with thousands of real servers.
    known: HashMap<&'t str, Arc<str>>,
}

impl<'t> Keeper<'t> {
    fn node(&mut self, id: NodeId, within: &'static Block) -> Option<Kept> {
        let keyword = today(self.tree.node(id).keyword?, within);
        let name = self.shared(keyword.name);
        let Form::Block(block) = keyword.form else {
            let all = self.tree.values(id).iter().map(|w| self.sources.text(*w));
            let words = match keyword.form {
                Form::Texts | Form::Words(_) | Form::OptWords(_) => all.map(|w| self.shared(w)).collect(),
                Form::Text | Form::OptText => all.take(1).map(|w| self.shared(w)).collect(),
                form => understood(self.tree, self.sources, id, form).into_iter().map(Arc::from).collect(),
            };
            return Some(Kept { keyword: name, words, children: Vec::new() });
        };
        let words = title(self.tree, self.sources, id, block).into_iter().map(|w| self.shared(w)).collect();
        let children = meant(self.tree, self.tree.children(id));
        let children = match block.content {
            Content::Words(_) => {
                let children = in_order(self.tree, children, block);
                children.into_iter().filter_map(|child| self.node(child, block)).collect()
            }
            Content::Entries(_) => children.filter_map(|child| self.entry(child)).collect(),
        };
        Some(Kept { keyword: name, words, children })
    }

    /// An entry's first word stands for its keyword.
    fn entry(&mut self, id: NodeId) -> Option<Kept> {
        let (first, more) = self.tree.words(id).split_first()?;
        let keyword = self.shared(self.sources.text(*first));
        let words = more.iter().map(|w| self.sources.text(*w)).map(|w| self.shared(w)).collect();
        Some(Kept { keyword, words, children: Vec::new() })
    }

    fn shared(&mut self, word: &'t str) -> Arc<str> {
        Arc::clone(self.known.entry(word).or_insert_with(|| Arc::from(word)))
    }
}
