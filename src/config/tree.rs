//! Statements and blocks as they are written, every word with its place.
//!
//! All nodes lie in one vector in the order of the file, a block before its content, each knowing where its
//! content ends: a file of half a million lines is a handful of allocations.

use crate::config::finding::{Code, Finding, Findings};
use crate::config::schema::Keyword;
use crate::config::source::{Sources, Word};

pub(crate) type NodeId = usize;
/// A word by its number in the whole tree.
pub(crate) type WordId = u32;

/// A statement, or a block with its content.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node {
    first_word: WordId,
    word_count: u32,
    /// Everything behind the first word as it is written, quotes included.
    pub(crate) rest: Word,
    /// Index behind the last node of the content.
    end: u32,
    pub(crate) is_block: bool,
    /// Taken out: a finding has said why.
    pub(crate) ignored: bool,
    /// What the word means here; set by the check.
    pub(crate) keyword: Option<&'static Keyword>,
}

/// Deepest nesting of blocks. keepalived's own grammar needs six levels.
const MAX_DEPTH: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Tree {
    nodes: Vec<Node>,
    words: Vec<Word>,
}

impl Tree {
    pub(crate) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id]
    }

    pub(crate) fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id]
    }

    /// All words of a node; the first is the keyword.
    pub(crate) fn words(&self, id: NodeId) -> &[Word] {
        let node = &self.nodes[id];
        let first = node.first_word as usize;
        self.words.get(first..first + node.word_count as usize).unwrap_or(&[])
    }

    pub(crate) fn first_word(&self, id: NodeId) -> WordId {
        self.nodes[id].first_word
    }

    /// All words of a node with their numbers.
    pub(crate) fn numbered_words(&self, id: NodeId) -> impl Iterator<Item = (WordId, Word)> + '_ {
        (self.first_word(id)..).zip(self.words(id).iter().copied())
    }

    /// The node that a word is of.
    pub(crate) fn node_of(&self, word: WordId) -> Option<NodeId> {
        self.nodes.partition_point(|node| node.first_word <= word).checked_sub(1)
    }

    /// Leaves out the words of a node from this number of its words on.
    pub(crate) fn truncate(&mut self, id: NodeId, words: usize) {
        let node = &mut self.nodes[id];
        node.word_count = node.word_count.min(u32::try_from(words).unwrap_or(u32::MAX));
    }

    /// Gives a node other words.
    pub(crate) fn set_words(&mut self, id: NodeId, words: &[Word], rest: Word) {
        let node = &mut self.nodes[id];
        node.first_word = u32::try_from(self.words.len()).unwrap_or(u32::MAX);
        node.word_count = u32::try_from(words.len()).unwrap_or(u32::MAX);
        node.rest = rest;
        self.words.extend_from_slice(words);
    }

    /// The words behind the keyword.
    pub(crate) fn values(&self, id: NodeId) -> &[Word] {
        self.words(id).get(1..).unwrap_or(&[])
    }

    /// The keyword itself.
    pub(crate) fn head(&self, id: NodeId) -> Word {
        self.words(id).first().copied().unwrap_or(self.nodes[id].rest)
    }

    pub(crate) fn roots(&self) -> Children<'_> {
        Children { tree: self, next: 0, end: self.nodes.len() }
    }

    pub(crate) fn children(&self, id: NodeId) -> Children<'_> {
        Children { tree: self, next: id + 1, end: self.nodes[id].end as usize }
    }
}

/// The nodes of one block, those within inner blocks left out.
#[derive(Clone, Debug)]
pub(crate) struct Children<'t> {
    tree: &'t Tree,
    next: NodeId,
    end: NodeId,
}

impl Iterator for Children<'_> {
    type Item = NodeId;

    fn next(&mut self) -> Option<NodeId> {
        let id = self.next;
        if id >= self.end {
            return None;
        }
        self.next = (self.tree.nodes[id].end as usize).max(id + 1);
        Some(id)
    }
}

/// Builds a tree from the stream of statements and braces that the reader sees.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    tree: Tree,
    open: Vec<NodeId>,
    /// The statement that an opening brace would belong to.
    last: Option<NodeId>,
    too_deep: usize,
}

impl Builder {
    pub(crate) fn statement(&mut self, words: &[Word], rest: Word) {
        if self.too_deep > 0 {
            return;
        }
        let id = self.tree.nodes.len();
        let offset = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        self.tree.nodes.push(Node {
            first_word: offset(self.tree.words.len()),
            word_count: offset(words.len()),
            rest,
            end: offset(id + 1),
            is_block: false,
            ignored: false,
            keyword: None,
        });
        self.tree.words.extend_from_slice(words);
        self.last = Some(id);
    }

    pub(crate) fn open(&mut self, brace: Word, sources: &Sources, findings: &mut Findings) {
        if self.too_deep > 0 || self.open.len() >= MAX_DEPTH {
            if self.too_deep == 0 {
                let span = sources.span(brace);
                findings.push(Finding::error(Code::Brace, span, "blocks are nested too deeply"));
            }
            self.too_deep += 1;
            return;
        }
        if self.last.is_none() {
            let span = sources.span(brace);
            findings.push(
                Finding::warning(Code::Brace, span, "an opening brace that belongs to no word")
                    .assume("the block is skipped"),
            );
            self.statement(&[brace], brace.part(1, 1));
            if let Some(id) = self.last {
                self.tree.nodes[id].ignored = true;
            }
        }
        if let Some(id) = self.last.take() {
            self.tree.nodes[id].is_block = true;
            self.open.push(id);
        }
    }

    /// Whether the next statement stands directly in a block of that name which stands in no other.
    pub(crate) fn is_within(&self, name: &str, sources: &Sources) -> bool {
        matches!(self.open.as_slice(), [id] if sources.text(self.tree.head(*id)) == name)
    }

    pub(crate) fn close(&mut self, brace: Word, sources: &Sources, findings: &mut Findings) {
        self.last = None;
        if self.too_deep > 0 {
            self.too_deep -= 1;
            return;
        }
        match self.open.pop() {
            Some(id) => self.end_block(id),
            None => findings.push(
                Finding::warning(Code::Brace, sources.span(brace), "a closing brace without a block")
                    .assume("it is ignored"),
            ),
        }
    }

    fn end_block(&mut self, id: NodeId) {
        self.tree.nodes[id].end = u32::try_from(self.tree.nodes.len()).unwrap_or(u32::MAX);
    }

    /// Says which blocks are still open, and closes them.
    pub(crate) fn finish(mut self, sources: &Sources, findings: &mut Findings) -> Tree {
        while let Some(id) = self.open.pop() {
            self.end_block(id);
            let head = self.tree.head(id);
            let message = format!("the file ends inside the block `{}`", sources.text(head));
            findings.push(Finding::error(Code::Unclosed, sources.span(head), message));
        }
        self.tree
    }
}
