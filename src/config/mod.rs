//! Configuration: text -> tree with positions -> typed settings -> validated plan.
//!
//! [`load`] is the way in. Both syntaxes, keepalived's and TOML, become the same tree of words with places;
//! from there on there is one check against the schema, one set of settings and one plan. Nothing is ignored
//! without a [`Finding`]; whether there is a plan depends on none of them being an error.

mod build;
mod check;
mod diagnostic;
mod edit;
mod finding;
pub mod plan;
mod reader;
mod schema;
mod settings;
mod source;
mod toml;
mod tree;
mod value;
mod write;

#[cfg(test)]
mod tests;

use std::path::Path;

pub use self::diagnostic::{for_people, json, lines};
pub use self::finding::{Code, Finding, Findings, Severity};
pub use self::source::{Position, Source, Sources, Span};
pub use self::write::Syntax;

use self::plan::Plan;
use self::reader::Manner;
use self::tree::Tree;

/// How a configuration is to be read.
#[expect(missing_debug_implementations, reason = "it holds a function")]
pub struct LoadOptions<'a> {
    /// What `@ID` is compared with (`-i`); the host name up to its first dot when `None`.
    pub config_id: Option<&'a str>,
    /// Every warning is an error.
    pub strict: bool,
    /// Whether an interface of that name exists.
    pub known_interface: &'a dyn Fn(&str) -> bool,
    /// Look at scripts (do they exist, and may others than root change them?), certificates and keys.
    pub inspect_files: bool,
    /// Every include insists on what it names, whatever its keyword and `include_check` say (`-e`).
    pub all_include_checks: bool,
}

impl Default for LoadOptions<'_> {
    fn default() -> Self {
        Self {
            config_id: None,
            strict: false,
            known_interface: &interface_exists,
            inspect_files: true,
            all_include_checks: false,
        }
    }
}

/// A configuration that was read.
#[derive(Debug)]
pub struct Loaded {
    /// Absent when a finding is an error.
    pub plan: Option<Plan>,
    pub findings: Findings,
    /// Every file read, for showing findings in their place.
    pub sources: Sources,
    /// The file could not be read, or holds nothing that looks like a configuration.
    pub unusable: bool,
    tree: Tree,
}

/// Whether the network namespace of this process has an interface of that name.
pub fn interface_exists(name: &str) -> bool {
    nix::net::if_::if_nametoindex(name).is_ok()
}

/// Reads a file and what it includes; TOML when its name ends in `.toml`.
pub fn load(path: &Path, options: &LoadOptions<'_>) -> Loaded {
    match std::fs::read(path) {
        Ok(bytes) => load_bytes(path, bytes, options),
        Err(e) => {
            let mut findings = Findings::default();
            let message = format!("{} cannot be read: {e}", path.display());
            findings.push(Finding::error(Code::Unreadable, None, message));
            Loaded {
                plan: None,
                findings,
                sources: Sources::default(),
                unusable: true,
                tree: Tree::default(),
            }
        }
    }
}

/// Reads a text as if it were the file `path`.
pub fn load_text(path: &Path, text: &str, options: &LoadOptions<'_>) -> Loaded {
    load_bytes(path, text.as_bytes().to_vec(), options)
}

fn load_bytes(path: &Path, bytes: Vec<u8>, options: &LoadOptions<'_>) -> Loaded {
    let mut sources = Sources::default();
    let mut findings = Findings::default();
    let (text, oddity) = reader::decode(bytes);
    let file = sources.add(path, text);
    if let Some(oddity) = oddity {
        findings.push(oddity.finding(Span::new(file, 0, 0), "the file"));
    }
    let syntax = Syntax::of(path);
    let in_toml = syntax == Syntax::Toml;
    let mut tree = if in_toml {
        toml::read(file, &mut sources, &mut findings)
    } else {
        let manner = Manner {
            config_id: options.config_id.map_or_else(short_host_name, str::to_owned),
            all_include_checks: options.all_include_checks,
        };
        reader::read(file, manner, &mut sources, &mut findings)
    };
    if tree.is_empty() && findings.is_empty() {
        findings.push(Finding::note(Code::Empty, None, format!("{} holds no configuration", path.display())));
    }
    check::check(&mut tree, syntax, &sources, &mut findings);
    let unusable = nothing_known(&tree) && !findings.is_empty();
    if unusable {
        let message = format!("{} is no configuration: not one word in it is known", path.display());
        findings.push(Finding::error(Code::Unreadable, None, message));
    }
    let mut loaded = Loaded { plan: None, findings, sources, unusable, tree };
    loaded.build(options, in_toml);
    loaded
}

impl Loaded {
    fn build(&mut self, options: &LoadOptions<'_>, in_toml: bool) {
        let Self { findings, sources, tree, .. } = self;
        match settings::read(tree, sources) {
            Ok(settings) => {
                let services = settings::virtual_servers(tree, sources);
                let (plan, edits) = build::plan(&settings, services, options, findings);
                if options.strict || plan.global.config_strict {
                    findings.make_errors(|_| true);
                } else if in_toml {
                    findings.make_errors(Finding::is_amended);
                }
                if findings.worst() < Some(Severity::Error) {
                    edits.apply(tree, sources);
                    self.plan = Some(plan);
                }
            }
            Err(e) => findings.push(Finding::error(Code::BadValue, None, e.to_string())),
        }
        self.findings.sort();
    }

    /// Whether there is not one statement in it: no file at all would say as much.
    pub fn is_empty(&self) -> bool {
        self.tree.is_empty()
    }

    /// The configuration in the other syntax, or the same one tidied.
    ///
    /// Where there is a plan, what is written has the same one, in either syntax. What a finding says is ignored is
    /// left out, and what was assumed is written, unless it is this machine that lacks something.
    pub fn write(&self, syntax: Syntax) -> String {
        write::write(&self.tree, &self.sources, syntax)
    }
}

/// Not one known word at the top: this is some other kind of file.
fn nothing_known(tree: &Tree) -> bool {
    !tree.is_empty() && tree.roots().all(|id| tree.node(id).keyword.is_none())
}

fn short_host_name() -> String {
    let name = build::host_name();
    name.split('.').next().unwrap_or_default().to_owned()
}
