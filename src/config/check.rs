//! The tree against the schema: is every word known, where it stands, with a value it can have?
//!
//! Afterwards every node either carries its keyword and can be read without surprise, or is marked ignored
//! and a finding has said why.

use std::collections::HashSet;
use std::time::Duration;

use super::finding::{Code, Finding, Findings, Severity, nearest};
use super::reader::{is_open, open_quote, script_words};
use super::schema::{
    Block, Complaint, Content, Entries, Form, Keyword, ROOT, Support, Title, What, endpoint, group_member,
    local_address, service, sync_instance, today,
};
use super::source::{Sources, Word};
use super::tree::{NodeId, Tree};
use super::value::{self, NumberError};
use super::write::Syntax;

/// Checks the whole tree.
pub(crate) fn check(tree: &mut Tree, syntax: Syntax, sources: &Sources, findings: &mut Findings) {
    let roots: Vec<NodeId> = tree.roots().collect();
    let mut checker =
        Checker { tree, syntax, sources, findings, defined: HashSet::new(), references: Vec::new() };
    checker.words(&roots, &ROOT);
    checker.resolve();
}

struct Checker<'a> {
    tree: &'a mut Tree,
    syntax: Syntax,
    sources: &'a Sources,
    findings: &'a mut Findings,
    /// Blocks that have a name, by kind.
    defined: HashSet<(&'static str, String)>,
    references: Vec<Reference>,
}

/// A name that a block has to carry. It may stand further down.
struct Reference {
    to: &'static str,
    name: Word,
    /// What is left out when there is none.
    of: NodeId,
    assumed: &'static str,
}

impl Checker<'_> {
    fn words(&mut self, nodes: &[NodeId], block: &'static Block) {
        let mut seen = Vec::new();
        let mut titles = HashSet::new();
        for &id in nodes {
            if self.tree.node(id).ignored {
                continue;
            }
            let head = self.tree.head(id);
            let Some((_, keyword)) = block.find(self.sources.text(head)) else {
                self.unknown(id, head, block);
                continue;
            };
            self.tree.node_mut(id).keyword = Some(keyword);
            self.define(id, keyword);
            if let Some(Form::Block(inner)) = self.supported(id, keyword, block) {
                self.block(id, keyword, inner, &mut titles);
            } else if !self.tree.node(id).ignored {
                self.statement(id, keyword);
            }
            if !keyword.repeats && !self.tree.node(id).ignored {
                self.only_once(&mut seen, id, today(keyword, block));
            }
        }
    }

    /// Of the statements of one keyword the last one counts.
    fn only_once(&mut self, seen: &mut Vec<(&'static str, NodeId)>, id: NodeId, keyword: &'static Keyword) {
        let Some((_, before)) = seen.iter_mut().find(|(name, _)| *name == keyword.name) else {
            seen.push((keyword.name, id));
            return;
        };
        let span = self.sources.span(self.tree.head(id));
        let message = format!("`{}` stands more than once in this block", keyword.name);
        let value = |id: NodeId| self.tree.values(id).first().map(|word| self.sources.text(*word));
        let assumed = if matches!(keyword.form, Form::Block(_)) && keyword.support == Support::On {
            "what they say counts together"
        } else if keyword.name == "state" && value(*before) == Some("MASTER") && value(id) != Some("MASTER") {
            // keepalived never takes MASTER back.
            self.tree.node_mut(id).ignored = true;
            "MASTER"
        } else {
            let outdone = std::mem::replace(before, id);
            self.tree.node_mut(outdone).ignored = true;
            "the last one counts"
        };
        self.findings.push(Finding::warning(Code::Duplicate, span, message).assume(assumed));
    }

    fn define(&mut self, id: NodeId, keyword: &'static Keyword) {
        if let Form::Block(block) = keyword.form
            && block.title == Title::Name
            && let Some(name) = self.tree.values(id).first()
        {
            self.defined.insert((block.name, self.sources.text(*name).to_owned()));
        }
    }

    /// Leaves out what refers to nothing.
    fn resolve(&mut self) {
        for Reference { to, name, of, assumed } in std::mem::take(&mut self.references) {
            let text = self.sources.text(name);
            if self.tree.node(of).ignored || self.defined.contains(&(to, text.to_owned())) {
                continue;
            }
            let known = self.defined.iter().filter(|(kind, _)| *kind == to).map(|(_, name)| name.as_str());
            let finding = Finding::warning(
                Code::Undefined,
                self.sources.span(name),
                format!("there is no {to} `{text}`"),
            );
            self.findings.push(finding.nearest(nearest(text, known)).assume(assumed));
            self.tree.node_mut(of).ignored = true;
        }
    }

    /// Names that the blocks of a virtual service mention.
    fn refer(&mut self, id: NodeId, block: &'static Block) {
        let value = |keyword: &str| {
            let of = |child: &NodeId| self.tree.node(*child).keyword.is_some_and(|k| k.name == keyword);
            let child = self.tree.children(id).filter(|child| !self.tree.node(*child).ignored).find(of)?;
            self.tree.values(child).first().copied()
        };
        let (to, name) = match block.name {
            "FILE_CHECK" => ("track_file", value("track_file")),
            _ => return,
        };
        let assumed = "the check is not made";
        self.references.extend(name.map(|name| Reference { to, name, of: id, assumed }));
    }

    fn unknown(&mut self, id: NodeId, head: Word, block: &'static Block) {
        let name = self.sources.text(head);
        let span = self.sources.span(head);
        let is_block = self.tree.node(id).is_block;
        let (code, what, assumed) = if is_block {
            (Code::UnknownBlock, "block", "the whole block is skipped")
        } else {
            (Code::UnknownWord, "word", "the line is ignored")
        };
        let known = block.keywords().map(|k| k.name);
        let place = if std::ptr::eq(block, &raw const ROOT) { "here" } else { block.name };
        let message = if place == "here" {
            format!("unknown {what} `{name}` outside of any block")
        } else {
            format!("unknown {what} `{name}` in `{place}`")
        };
        let finding = Finding::warning(code, span, message).nearest(nearest(name, known)).assume(assumed);
        self.findings.push(finding);
        self.tree.node_mut(id).ignored = true;
    }

    /// Says what the keyword itself deserves; the form to check when it is used.
    fn supported(&mut self, id: NodeId, keyword: &'static Keyword, block: &'static Block) -> Option<Form> {
        let span = self.sources.span(self.tree.head(id));
        let name = keyword.name;
        match keyword.support {
            Support::Off => {
                let finding = Finding::warning(
                    Code::NotSupported,
                    span,
                    format!("keepalived word, not supported by this version: `{name}`"),
                );
                self.findings.push(finding.assume("it has no effect"));
                self.tree.node_mut(id).ignored = true;
                return None;
            }
            Support::Fork => {
                let finding = Finding::warning(
                    Code::ForkWord,
                    span,
                    format!("`{name}` is a word of the LVS-FNAT and DPVS forks of keepalived"),
                );
                self.findings.push(finding.assume("it has no effect"));
                self.tree.node_mut(id).ignored = true;
                return None;
            }
            Support::Moot(why) if keyword.instead.is_none() => {
                let message = format!("`{name}` has no effect here: {why}");
                self.findings.push(Finding::note(Code::NoEffect, span, message));
            }
            Support::Reader if self.syntax == Syntax::Toml => {
                let message =
                    format!("`{name}` has no effect in TOML, which has no includes and no `$_RANDOM`");
                self.findings.push(Finding::note(Code::NoEffect, span, message));
            }
            Support::On | Support::Moot(_) | Support::Reader => {}
        }
        if let Some(instead) = keyword.instead {
            let message = format!("`{name}` is an old word; today one writes {instead}");
            let finding = Finding::warning(Code::Deprecated, span, message);
            let effect = if matches!(keyword.support, Support::Moot(_)) {
                "it has no effect"
            } else {
                "it is read as that"
            };
            let finding = finding.assume(effect);
            let replaced = matches!(keyword.support, Support::Moot(_)) || block.find(instead).is_some();
            self.findings.push(if replaced { finding } else { finding.taken_as_written() });
        }
        if matches!(keyword.support, Support::Moot(_)) {
            self.tree.node_mut(id).ignored = keyword.instead.is_some();
        }
        let is_block = self.tree.node(id).is_block;
        match keyword.form {
            form @ Form::Block(_) if is_block => Some(form),
            Form::Block(_) => {
                let finding = Finding::warning(Code::Brace, span, format!("`{name}` without its block"));
                self.findings.push(finding.assume("the line is ignored"));
                self.tree.node_mut(id).ignored = true;
                None
            }
            form => {
                if is_block {
                    let finding = Finding::warning(Code::Brace, span, format!("`{name}` has no block"));
                    self.findings.push(finding.assume("the whole block is skipped"));
                    self.tree.node_mut(id).ignored = true;
                }
                Some(form)
            }
        }
    }

    fn block(
        &mut self,
        id: NodeId,
        keyword: &'static Keyword,
        block: &'static Block,
        titles: &mut HashSet<(&'static str, String)>,
    ) {
        if !self.title(id, keyword, block, titles) {
            self.tree.node_mut(id).ignored = true;
            return;
        }
        let children: Vec<NodeId> = self.tree.children(id).collect();
        match block.content {
            Content::Words(_) => self.words(&children, block),
            Content::Entries(entries) => self.entries(&children, entries),
        }
        self.completeness(id, block);
        self.refer(id, block);
    }

    /// What stands before the brace; `false` when the block cannot be used.
    fn title(
        &mut self,
        id: NodeId,
        keyword: &'static Keyword,
        block: &'static Block,
        titles: &mut HashSet<(&'static str, String)>,
    ) -> bool {
        let head = self.tree.head(id);
        let values = self.tree.values(id);
        let most = match block.title {
            Title::None => 0,
            Title::Name => 1,
            Title::Service | Title::Server => 2,
        };
        if let (Some(first), Some(last)) = (values.get(most), values.last()) {
            let span = self.sources.span(first.until(*last));
            let message = format!("extra words after `{}`", keyword.name);
            self.findings.push(Finding::warning(Code::ExtraWords, span, message).assume("they are ignored"));
            self.tree.truncate(id, 1 + most);
        }
        let values = self.tree.values(id);
        let words: Vec<&str> = values.iter().map(|w| self.sources.text(*w)).collect();
        let check = match block.title {
            Title::None => return true,
            _ if words.is_empty() => {
                let message =
                    format!("`{}` without its {}", keyword.name, block.title.key().unwrap_or("name"));
                self.findings.push(Finding::error(Code::MissingValue, self.sources.span(head), message));
                return false;
            }
            Title::Name => Ok(()),
            Title::Service => service(&words),
            Title::Server => endpoint(&words),
        };
        if let Err(complaint) = check {
            let span = self.sources.span(values.get(complaint.at).copied().unwrap_or(head));
            let (code, why) = told(complaint.what);
            self.findings.push(Finding::warning(code, span, why).assume("the whole block is skipped"));
            return false;
        }
        if let (Title::Service, ["group", _], Some(name)) = (block.title, words.as_slice(), values.get(1)) {
            let reference = Reference {
                to: "virtual_server_group",
                name: *name,
                of: id,
                assumed: "the service is not offered",
            };
            self.references.push(reference);
        }
        // Two services of one address may be of two protocols.
        let first_of_its_name = block.title == Title::Service || titles.insert((block.name, words.join(" ")));
        if !first_of_its_name {
            let span = self.sources.span(values.first().copied().unwrap_or(head));
            let message = format!("a second `{} {}`", keyword.name, words.join(" "));
            let finding = Finding::warning(Code::Duplicate, span, message);
            self.findings.push(finding.assume("the whole block is skipped"));
        }
        first_of_its_name
    }

    /// Blocks of entries whose reader is still to come are checked here.
    fn entries(&mut self, nodes: &[NodeId], entries: Entries) {
        let mut seen = HashSet::new();
        for &id in nodes {
            if self.tree.node(id).is_block {
                let span = self.sources.span(self.tree.head(id));
                let finding = Finding::warning(Code::UnknownBlock, span, "a block within a list");
                self.findings.push(finding.assume("the whole block is skipped"));
                self.tree.node_mut(id).ignored = true;
                continue;
            }
            let check = match entries {
                Entries::GroupMembers => group_member,
                Entries::LocalAddresses => local_address,
                _ => continue,
            };
            let words: Vec<&str> = self.tree.words(id).iter().map(|w| self.sources.text(*w)).collect();
            let checked = check(&words);
            if let Err(Complaint { at, what: What::Extra }) = checked {
                let first = self.tree.words(id).get(at).copied().unwrap_or(self.tree.head(id));
                let finding = Finding::warning(Code::ExtraWords, self.sources.span(first), EXTRA);
                self.findings.push(finding.assume("they are ignored"));
                self.tree.truncate(id, at);
                continue;
            }
            let complaint = match checked {
                Err(Complaint { at, what }) => {
                    let (code, why) = told(what);
                    Some((at, code, why))
                }
                Ok(()) if !seen.insert(words.join(" ")) => {
                    Some((0, Code::Duplicate, format!("`{}` stands here more than once", words.join(" "))))
                }
                Ok(()) => None,
            };
            if let Some((at, code, why)) = complaint {
                let word = self.tree.words(id).get(at).copied().unwrap_or(self.tree.head(id));
                let finding = Finding::warning(code, self.sources.span(word), why);
                self.findings.push(finding.assume("the line is ignored"));
                self.tree.node_mut(id).ignored = true;
            }
        }
    }

    /// What keepalived says about virtual services that lack something.
    fn completeness(&mut self, id: NodeId, block: &'static Block) {
        let has = |names: &[&str]| {
            self.tree
                .children(id)
                .map(|child| self.tree.node(child))
                .any(|node| !node.ignored && node.keyword.is_some_and(|k| names.contains(&k.name)))
        };
        let by_mark = self.tree.values(id).first().is_some_and(|w| self.sources.text(*w) == "fwmark");
        let missing: &[(&[&str], &str, &str)] = match block.name {
            "virtual_server" => &[
                (&["protocol"], "no `protocol`", "UDP"),
                (&["lb_algo", "lvs_sched"], "no `lb_algo`", "wlc"),
                (&["lb_kind", "lvs_method"], "no `lb_kind`", "NAT"),
                (&["real_server"], "no real server", "the service is not offered"),
            ],
            "HTTP_GET" | "SSL_GET" => &[(&["url"], "no `url`", "the check is not made")],
            "url" => &[(&["path"], "no `path`", "/")],
            "MISC_CHECK" => &[(&["misc_path"], "no `misc_path`", "the check is not made")],
            "FILE_CHECK" => &[(&["track_file"], "no `track_file`", "the check is not made")],
            _ => &[],
        };
        let mut found = Vec::new();
        for (names, message, assumed) in missing {
            let needless = by_mark && names.contains(&"protocol");
            if !needless && !has(names) {
                let finding = Finding::warning(Code::MissingSetting, None, *message).assume(*assumed);
                found.push(finding.taken_as_written());
            }
        }
        if by_mark && block.name == "virtual_server" && has(&["protocol"]) {
            let message = "a service by mark takes every protocol";
            found.push(Finding::warning(Code::Conflict, None, message).assume("`protocol` is ignored"));
            let children: Vec<NodeId> = self.tree.children(id).collect();
            for child in children {
                let protocol = self.tree.node(child).keyword.is_some_and(|k| k.name == "protocol");
                self.tree.node_mut(child).ignored |= protocol;
            }
        }
        let span = self.sources.span(self.tree.head(id));
        for mut finding in found {
            finding.span = Some(span);
            self.findings.push(finding);
        }
    }

    fn statement(&mut self, id: NodeId, keyword: &'static Keyword) {
        let problem = match keyword.form {
            Form::Script | Form::OptScript => {
                let optional = matches!(keyword.form, Form::OptScript);
                self.quotes(id);
                self.script(id, optional)
            }
            form => {
                let words = self.tree.values(id);
                self.value(form, words)
            }
        };
        let Some(problem) = problem else {
            if keyword.name == "lvs_sync_daemon" {
                self.sync_daemon(id);
            }
            return;
        };
        let values = self.tree.values(id);
        let head = self.tree.head(id);
        let span = match problem.at {
            None => self.sources.span(head),
            Some(at) => match (values.get(at), values.last()) {
                (Some(first), Some(last)) if problem.code == Code::ExtraWords => {
                    self.sources.span(first.until(*last))
                }
                (Some(word), _) => self.sources.span(*word),
                _ => self.sources.span(head),
            },
        };
        let message = match problem.code {
            Code::MissingValue => format!("`{}` without its value", keyword.name),
            _ => format!("{}: {}", keyword.name, problem.message),
        };
        let mut finding = Finding::new(problem.severity, problem.code, span, message);
        finding.assumed = problem.assumed;
        finding.nearest = problem.nearest;
        self.findings.push(finding);
        if problem.unusable {
            self.tree.node_mut(id).ignored = true;
        } else if problem.code == Code::ExtraWords {
            self.tree.truncate(id, 1 + problem.at.unwrap_or(0));
        }
    }

    fn sync_daemon(&mut self, id: NodeId) {
        let values = self.tree.values(id);
        let words: Vec<&str> = values.iter().map(|w| self.sources.text(*w)).collect();
        let name = sync_instance(&words).and_then(|at| values.get(at)).copied();
        let to = "vrrp_instance";
        let assumed = "the line is ignored";
        self.references.extend(name.map(|name| Reference { to, name, of: id, assumed }));
    }

    /// Quotes of a command line that are never closed.
    fn quotes(&mut self, id: NodeId) {
        let rest = self.tree.node(id).rest;
        let text = self.sources.text(rest);
        let open = open_quote(text).filter(|at| text.as_bytes().get(*at) == Some(&b'\''));
        if let Some(at) = open {
            let span = self.sources.span(rest.part(at, at + 1));
            let finding = Finding::warning(Code::UnterminatedQuote, span, "a quote that is never closed");
            self.findings.push(finding.assume("it ends with the line"));
        }
        let command = script_words(text).into_iter().next();
        if let Some(command) = command.filter(|command| is_open(&command.text)) {
            let span = self.sources.span(rest.part(command.start, command.end));
            let message = "a quote in this command is never closed";
            let finding = Finding::warning(Code::UnterminatedQuote, span, message);
            self.findings.push(finding.assume("it ends with the command"));
        }
    }

    fn script(&self, id: NodeId, optional: bool) -> Option<Problem> {
        let rest = self.tree.node(id).rest;
        match script_words(self.sources.text(rest)).first() {
            None if optional => None,
            Some(command) if !command.text.trim().is_empty() => None,
            _ => Some(Problem::missing()),
        }
    }

    fn value(&self, form: Form, words: &[Word]) -> Option<Problem> {
        let first = words.first().map(|w| self.sources.text(*w));
        let single =
            |problem: Option<Problem>| problem.or_else(|| (words.len() > 1).then(|| Problem::extra(1)));
        match (form, first) {
            (Form::Flag, None) => None,
            // `nopreempt off` reads like a switch, and is not one.
            (Form::Flag, Some(_)) => Some(Problem::extra(0)),
            (
                Form::Bool | Form::OptText | Form::OptInt(..) | Form::OptSeconds(..) | Form::OptWords(_),
                None,
            ) => None,
            (_, None) => Some(Problem::missing()),
            (_, Some("")) => Some(Problem::bad(0, "an empty word".to_owned())),
            (Form::Bool, Some(word)) => single(value::boolean(word).is_none().then(|| {
                Problem::bad(0, format!("`{word}` is not one of `on`, `off`, `true`, `false`, `yes`, `no`"))
            })),
            (Form::Int(min, max) | Form::OptInt(min, max), Some(word)) => single(integer(word, min, max)),
            (Form::Clamped(min, max), Some(word)) => {
                single(integer(word, min, max).map(|p| p.clamped(min, max)))
            }
            (Form::IntElse(min, max, default), Some(word)) => {
                single(integer(word, min, max).map(|p| p.replaced(default)))
            }
            (Form::Seconds(min, max) | Form::OptSeconds(min, max), Some(word)) => {
                single(seconds(word, min, max))
            }
            (Form::Weight(most), Some(word)) => integer(word, -most, most).or_else(|| {
                let reverse = words.get(1).map(|w| self.sources.text(*w));
                match reverse {
                    None | Some("reverse" | "noreverse") => (words.len() > 2).then(|| Problem::extra(2)),
                    Some(_) => Some(Problem::extra(1)),
                }
            }),
            (Form::Text | Form::OptText, Some(_)) => single(None),
            (Form::Choice(of), Some(word)) => {
                single((!of.contains(&word)).then(|| Problem::not_one_of(word, of)))
            }
            (Form::ChoiceAnyCase(of), Some(word)) => {
                let known = of.iter().any(|o| o.eq_ignore_ascii_case(word));
                single((!known).then(|| Problem::not_one_of(word, of)))
            }
            (Form::Ip, Some(word)) => single(
                word.parse::<std::net::IpAddr>()
                    .is_err()
                    .then(|| Problem::bad(0, format!("`{word}` is not an IP address"))),
            ),
            (Form::Words(check) | Form::OptWords(check), Some(_)) => {
                let words: Vec<&str> = words.iter().map(|w| self.sources.text(*w)).collect();
                check(&words).err().map(|complaint| match complaint.what {
                    _ if complaint.at >= words.len() => Problem::missing(),
                    What::Extra => Problem::extra(complaint.at),
                    what => {
                        let (code, why) = told(what);
                        Problem { code, ..Problem::bad(complaint.at, why) }
                    }
                })
            }
            (Form::Texts | Form::Script | Form::OptScript | Form::Block(_), Some(_)) => None,
        }
    }
}

const EXTRA: &str = "words that belong to nothing";

/// A complaint in words.
fn told(what: What) -> (Code, String) {
    match what {
        What::Bad(why) => (Code::BadValue, why),
        What::Extra => (Code::ExtraWords, EXTRA.to_owned()),
        What::Fork(why) => (Code::ForkWord, why),
    }
}

/// What is wrong with a statement.
struct Problem {
    severity: Severity,
    code: Code,
    /// The word of the value; `None` is the keyword.
    at: Option<usize>,
    message: String,
    nearest: Option<String>,
    assumed: Option<String>,
    unusable: bool,
}

impl Problem {
    fn missing() -> Self {
        Self {
            severity: Severity::Error,
            code: Code::MissingValue,
            at: None,
            message: String::new(),
            nearest: None,
            assumed: None,
            unusable: true,
        }
    }

    fn bad(at: usize, message: String) -> Self {
        Self {
            severity: Severity::Warning,
            code: Code::BadValue,
            at: Some(at),
            message,
            nearest: None,
            assumed: Some("the line is ignored, the default stays".to_owned()),
            unusable: true,
        }
    }

    fn extra(at: usize) -> Self {
        Self {
            code: Code::ExtraWords,
            assumed: Some("they are ignored".to_owned()),
            unusable: false,
            ..Self::bad(at, EXTRA.to_owned())
        }
    }

    fn not_one_of(word: &str, of: &[&'static str]) -> Self {
        let list = of.iter().map(|o| format!("`{o}`")).collect::<Vec<_>>().join(", ");
        Self {
            nearest: nearest(word, of.iter().copied()).map(str::to_owned),
            ..Self::bad(0, format!("`{word}` is not one of {list}"))
        }
    }

    fn clamped(self, min: i64, max: i64) -> Self {
        if self.code != Code::OutOfRange {
            return self;
        }
        Self { assumed: Some(format!("the nearest of {min}..{max}")), unusable: false, ..self }
    }

    fn replaced(self, default: i64) -> Self {
        if !self.unusable {
            return self;
        }
        Self { assumed: Some(default.to_string()), unusable: false, ..self }
    }

    fn trailing(taken: String) -> Self {
        Self {
            assumed: Some(taken.clone()),
            unusable: false,
            ..Self::bad(0, format!("a number followed by something else; {taken} is the number"))
        }
    }
}

fn integer(word: &str, min: i64, max: i64) -> Option<Problem> {
    let (n, trailing) = match value::integer(word) {
        Ok(n) => (n, false),
        Err(NumberError::Trailing(n)) => (n, true),
        Err(NumberError::None) => return Some(Problem::bad(0, format!("`{word}` is not a number"))),
    };
    if !(min..=max).contains(&n) {
        return Some(Problem {
            code: Code::OutOfRange,
            ..Problem::bad(0, format!("`{word}` is not within {min}..{max}"))
        });
    }
    trailing.then(|| Problem::trailing(n.to_string()))
}

fn seconds(word: &str, min: u64, max: u64) -> Option<Problem> {
    let (duration, trailing) = match value::seconds(word) {
        Ok(duration) => (duration, false),
        Err(Some(duration)) => (duration, true),
        Err(None) => return Some(Problem::bad(0, format!("`{word}` is not a number of seconds"))),
    };
    let (min, max) = (Duration::from_micros(min), Duration::from_micros(max));
    if !(min..=max).contains(&duration) {
        let bounds = format!("{}..{}", value::format_seconds(min), value::format_seconds(max));
        return Some(Problem {
            code: Code::OutOfRange,
            ..Problem::bad(0, format!("`{word}` is not within {bounds} seconds"))
        });
    }
    trailing.then(|| Problem::trailing(value::format_seconds(duration)))
}
