//! TOML.

use std::fmt::Write;

use super::{meant, title, understood};
use crate::config::reader::quoted;
use crate::config::schema::{Block, Content, Form, Keyword, ROOT, Title, today};
use crate::config::source::Sources;
use crate::config::toml::{ENTRIES, rank};
use crate::config::tree::{NodeId, Tree};

pub(super) fn write(tree: &Tree, sources: &Sources) -> String {
    let mut writer = Writer { tree, sources, out: String::new() };
    writer.block("", &meant(tree, tree.roots()).collect::<Vec<_>>(), &ROOT);
    writer.out
}

struct Writer<'t> {
    tree: &'t Tree,
    sources: &'t Sources,
    out: String,
}

/// All nodes of one keyword in a block.
type Fields = Vec<(&'static Keyword, Vec<NodeId>)>;

impl Writer<'_> {
    /// Keys first, then tables: a key behind a table's head would belong to that table.
    fn block(&mut self, path: &str, nodes: &[NodeId], block: &'static Block) {
        let fields = self.fields(nodes, block);
        for (keyword, nodes) in &fields {
            match keyword.form {
                Form::Block(inner) if is_list(inner) => self.list(keyword.name, nodes, inner),
                Form::Block(_) => {}
                form => self.statement(keyword, nodes, form),
            }
        }
        for (keyword, nodes) in &fields {
            if let Form::Block(inner) = keyword.form
                && !is_list(inner)
            {
                self.tables(path, keyword, nodes, inner);
            }
        }
    }

    fn fields(&self, nodes: &[NodeId], block: &'static Block) -> Fields {
        let mut fields: Fields = Vec::new();
        for &id in nodes {
            let Some(keyword) = self.tree.node(id).keyword.map(|k| today(k, block)) else { continue };
            match fields.iter_mut().find(|(known, _)| std::ptr::eq(*known, keyword)) {
                Some((_, same)) => same.push(id),
                None => fields.push((keyword, vec![id])),
            }
        }
        fields.sort_by_key(|(keyword, _)| rank(keyword.name));
        fields
    }

    fn tables(&mut self, path: &str, keyword: &Keyword, nodes: &[NodeId], block: &'static Block) {
        let children = |id: NodeId| meant(self.tree, self.tree.children(id)).collect::<Vec<_>>();
        if keyword.name == "global_defs" {
            let all: Vec<NodeId> = nodes.iter().flat_map(|id| children(*id)).collect();
            self.head("[global]");
            self.block("global", &all, block);
            return;
        }
        let path = if path.is_empty() { key(keyword.name) } else { format!("{path}.{}", key(keyword.name)) };
        // What several blocks of a keyword say that may stand once counts together.
        let each = if keyword.repeats { nodes.chunks(1) } else { nodes.chunks(nodes.len().max(1)) };
        for nodes in each {
            let inner: Vec<NodeId> = nodes.iter().flat_map(|id| children(*id)).collect();
            let Some(&id) = nodes.first() else { continue };
            self.head(&if keyword.repeats { format!("[[{path}]]") } else { format!("[{path}]") });
            if let Some(key) = block.title.key() {
                let words = title(self.tree, self.sources, id, block);
                self.key_value(key, &string(&words.join(" ")));
            }
            match block.content {
                Content::Words(_) => self.block(&path, &inner, block),
                Content::Entries(entries) => {
                    let lines = self.lines(&inner, entries.many_per_line());
                    self.key_value(ENTRIES, &array(&lines));
                }
            }
        }
    }

    fn list(&mut self, name: &str, nodes: &[NodeId], block: &'static Block) {
        let Content::Entries(entries) = block.content else { return };
        let children: Vec<NodeId> =
            nodes.iter().flat_map(|id| meant(self.tree, self.tree.children(*id))).collect();
        let lines = self.lines(&children, entries.many_per_line());
        self.key_value(name, &array(&lines));
    }

    fn lines(&self, nodes: &[NodeId], many_per_line: bool) -> Vec<String> {
        let words = |id: &NodeId| -> Vec<String> {
            self.tree.words(*id).iter().map(|w| quoted(self.sources.text(*w))).collect()
        };
        if many_per_line {
            nodes.iter().flat_map(words).collect()
        } else {
            nodes.iter().map(|id| words(id).join(" ")).collect()
        }
    }

    fn statement(&mut self, keyword: &Keyword, nodes: &[NodeId], form: Form) {
        let written: Vec<String> = nodes
            .iter()
            .map(|id| value(&understood(self.tree, self.sources, *id, form), form, keyword.repeats))
            .collect();
        match (keyword.repeats, written.last()) {
            (true, _) => self.key_value(keyword.name, &format!("[{}]", written.join(", "))),
            (false, Some(last)) => self.key_value(keyword.name, last),
            (false, None) => {}
        }
    }

    fn head(&mut self, head: &str) {
        if !self.out.is_empty() {
            self.out.push('\n');
        }
        let _ = writeln!(self.out, "{head}");
    }

    fn key_value(&mut self, name: &str, value: &str) {
        let _ = writeln!(self.out, "{} = {value}", key(name));
    }
}

/// Lists without a title are keys; those with one are tables.
fn is_list(block: &Block) -> bool {
    matches!(block.content, Content::Entries(_)) && block.title == Title::None
}

fn value(words: &[String], form: Form, one_string: bool) -> String {
    let numeric = |word: &str| word.parse::<i64>().is_ok_and(|n| n.to_string() == word);
    match (form, words) {
        (Form::Bool, [word, ..]) => matches!(word.as_str(), "on" | "true" | "yes").to_string(),
        (_, []) => "true".to_owned(),
        (Form::Seconds(..) | Form::OptSeconds(..), [word, ..]) => word.clone(),
        (Form::Text | Form::OptText, [word, ..]) => string(word),
        (_, words) if one_string => string(&words.iter().map(|w| quoted(w)).collect::<Vec<_>>().join(" ")),
        (Form::Words(_) | Form::OptWords(_) | Form::Texts | Form::Weight(_), words)
            if words.iter().any(|w| *w != quoted(w)) =>
        {
            array(words)
        }
        (Form::Words(_) | Form::OptWords(_) | Form::Texts | Form::Weight(_), [_, _, ..]) => {
            string(&words.join(" "))
        }
        (Form::Script | Form::OptScript, [word]) => string(word),
        (_, [word]) if numeric(word) => word.clone(),
        (_, [word]) => string(word),
        (_, words) => array(words),
    }
}

fn string(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn array(items: &[String]) -> String {
    match items {
        [] | [_] => format!("[{}]", items.iter().map(|i| string(i)).collect::<String>()),
        items => {
            let lines: String = items.iter().map(|i| format!("    {},\n", string(i))).collect();
            format!("[\n{lines}]")
        }
    }
}

/// Keywords are bare keys, all of them.
fn key(name: &str) -> String {
    name.to_owned()
}
