//! keepalived's syntax.

use std::fmt::Write;

use super::{meant, title, understood};
use crate::config::reader::{MAX_LINE, quoted, quoted_command};
use crate::config::schema::{Block, Content, Form, ROOT, today};
use crate::config::source::Sources;
use crate::config::tree::{NodeId, Tree};

pub(super) fn write(tree: &Tree, sources: &Sources) -> String {
    let mut writer = Writer { tree, sources, out: String::new(), depth: 0, definitions: 0 };
    writer.words(meant(tree, tree.roots()), &ROOT);
    writer.out
}

struct Writer<'t> {
    tree: &'t Tree,
    sources: &'t Sources,
    out: String,
    depth: usize,
    /// How many were written for lines that would have been too long.
    definitions: usize,
}

impl Writer<'_> {
    fn words(&mut self, nodes: impl Iterator<Item = NodeId>, block: &'static Block) {
        for id in nodes {
            let Some(keyword) = self.tree.node(id).keyword.map(|k| today(k, block)) else { continue };
            match keyword.form {
                Form::Block(inner) => self.block(id, keyword.name, inner),
                form => {
                    let words = understood(self.tree, self.sources, id, form);
                    let script = matches!(form, Form::Script | Form::OptScript);
                    let write = |(at, word): (usize, &String)| {
                        if script && at == 0 { quoted_command(word) } else { quoted(word) }
                    };
                    let words: Vec<String> = words.iter().enumerate().map(write).collect();
                    self.line(keyword.name, &words);
                }
            }
        }
    }

    fn block(&mut self, id: NodeId, name: &str, block: &'static Block) {
        if self.depth == 0 && !self.out.is_empty() {
            self.out.push('\n');
        }
        let mut title: Vec<String> =
            title(self.tree, self.sources, id, block).into_iter().map(quoted).collect();
        title.push("{".to_owned());
        self.line(name, &title);
        self.depth += 1;
        let children = meant(self.tree, self.tree.children(id));
        match block.content {
            Content::Words(_) => self.words(children, block),
            Content::Entries(_) => {
                for child in children {
                    let words: Vec<String> =
                        self.tree.words(child).iter().map(|w| quoted(self.sources.text(*w))).collect();
                    self.line("", &words);
                }
            }
        }
        self.depth -= 1;
        self.line("}", &[]);
    }

    fn line(&mut self, name: &str, words: &[String]) {
        let mut line = "    ".repeat(self.depth);
        line.push_str(name);
        for (at, word) in words.iter().enumerate() {
            if at > 0 || !name.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        while line.len() > MAX_LINE {
            line = self.shortened(&line);
        }
        self.out.push_str(&line);
        self.out.push('\n');
    }

    /// A line too long to be read is put together again from definitions, which stand before it.
    fn shortened(&mut self, line: &str) -> String {
        let mut short = String::new();
        let mut rest = line;
        while !rest.is_empty() {
            let mut parts = (1..=MOST_IN_DEFINITION).rev().filter_map(|len| rest.get(..len));
            let part = parts.next().unwrap_or(rest);
            rest = rest.get(part.len()..).unwrap_or_default();
            self.definitions += 1;
            let mut value = without_comments(part);
            // A blank at the end would be cut off, and a backslash would continue the line.
            if value.ends_with(|c: char| c.is_whitespace() || c == '\\') {
                let _ = writeln!(self.out, "${NOTHING}=");
                let _ = write!(value, "${{{NOTHING}}}");
            }
            let _ = writeln!(self.out, "$LONG_LINE_{}={value}", self.definitions);
            let _ = write!(short, "${{LONG_LINE_{}}}", self.definitions);
        }
        short
    }
}

/// The name of an empty definition.
const NOTHING: &str = "LONG_LINE_0";
/// Longest part of a long line that one definition holds, where every character may become two.
const MOST_IN_DEFINITION: usize = 400;

/// Comment signs that stand in no quotes here, whatever they stand in where the text comes from, are escaped.
fn without_comments(part: &str) -> String {
    let mut quoted = false;
    let mut out = String::new();
    for c in part.chars() {
        quoted ^= c == '"';
        if matches!(c, '#' | '!') && !quoted {
            out.push('\\');
        }
        out.push(c);
    }
    out
}
