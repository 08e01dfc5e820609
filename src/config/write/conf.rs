//! keepalived's syntax.

use super::{meant, title, today, understood};
use crate::config::reader::{quoted, quoted_command};
use crate::config::schema::{Block, Content, Form, ROOT};
use crate::config::source::Sources;
use crate::config::tree::{NodeId, Tree};

pub(super) fn write(tree: &Tree, sources: &Sources) -> String {
    let mut writer = Writer { tree, sources, out: String::new(), depth: 0 };
    writer.words(meant(tree, tree.roots()), &ROOT);
    writer.out
}

struct Writer<'t> {
    tree: &'t Tree,
    sources: &'t Sources,
    out: String,
    depth: usize,
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
        let indent = "    ".repeat(self.depth);
        self.out.push_str(&indent);
        self.out.push_str(name);
        for (at, word) in words.iter().enumerate() {
            if at > 0 || !name.is_empty() {
                self.out.push(' ');
            }
            self.out.push_str(word);
        }
        self.out.push('\n');
    }
}
