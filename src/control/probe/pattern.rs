//! Patterns of HTTP checks: those that are equal are compiled once.

use std::collections::HashMap;
use std::sync::Arc;

use buoy_healthcheck::Cause;
use buoy_healthcheck::checker::http::{Pattern, PatternOptions, PatternWanted};

use crate::config::plan::PagePattern;

/// What has become of each pattern of a plan.
#[derive(Debug, Default)]
pub struct Patterns(HashMap<PagePattern, Result<Pattern, PatternUnusable>>);

/// Why a pattern cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternUnusable {
    #[error("regex option `{name}`, which {why}")]
    Option { name: Arc<str>, why: &'static str },
    #[error("regex {pattern:?}: {why}")]
    Regex { pattern: Arc<str>, why: String },
}

impl Patterns {
    /// # Errors
    /// It cannot be used.
    pub fn add(&mut self, written: &PagePattern) -> Result<(), PatternUnusable> {
        let made = match self.0.get(written) {
            Some(known) => known,
            None => self.0.entry(written.clone()).or_insert_with(|| compile(written)),
        };
        made.as_ref().map(|_usable| ()).map_err(Clone::clone)
    }

    pub(super) fn get(&self, written: &PagePattern) -> Result<Pattern, PatternUnusable> {
        self.0.get(written).cloned().unwrap_or_else(|| compile(written))
    }
}

fn compile(written: &PagePattern) -> Result<Pattern, PatternUnusable> {
    let mut options = PatternOptions {
        wanted: if written.no_match { PatternWanted::Absent } else { PatternWanted::Present },
        min_offset: u64::from(written.min_offset),
        max_offset: written.max_offset.map(u64::from),
        ..PatternOptions::default()
    };
    for name in &written.options {
        set(&mut options, name).map_err(|why| PatternUnusable::Option { name: Arc::clone(name), why })?;
    }
    Pattern::new(&written.pattern, options).map_err(|error| PatternUnusable::Regex {
        pattern: Arc::clone(&written.pattern),
        why: why(&Cause::of(&error).to_string()),
    })
}

/// Of a drawing of the pattern what is wrong with it, and what to do.
fn why(error: &str) -> String {
    let last = error.lines().last().unwrap_or_default().trim();
    let why = last.strip_prefix("error: ").unwrap_or(last);
    match why.ends_with("not supported") {
        true => format!("{why}: write it without, or look with a MISC_CHECK"),
        false => why.to_owned(),
    }
}

/// Takes an option of PCRE2 by its name.
fn set(options: &mut PatternOptions, name: &str) -> Result<(), &'static str> {
    match name {
        "caseless" => options.caseless = true,
        "multiline" => options.multiline = true,
        "dotall" => options.dotall = true,
        "extended" => options.extended = true,
        "ungreedy" => options.ungreedy = true,
        "utf" | "ucp" => options.unicode = true,
        "anchored" => options.anchored = true,
        "endanchored" => options.end_anchored = true,
        "literal" => options.literal = true,
        "dollar_endonly" => options.dollar_end_only = true,
        "firstline" => options.first_line = true,
        // They speed a search up or slow it down, forbid what is not used, allow offsets, or are about what no pattern
        // here can have. None changes what is found.
        "alt_circumflex"
        | "alt_verbnames"
        | "auto_callout"
        | "dupnames"
        | "match_unset_backref"
        | "never_backslash_c"
        | "never_ucp"
        | "never_utf"
        | "no_auto_capture"
        | "no_auto_possess"
        | "no_dotstar_anchor"
        | "no_start_optimize"
        | "use_offset_limit" => {}
        "allow_empty_class" | "alt_bsux" => {
            return Err("gives the pattern another grammar than is known here");
        }
        _ => return Err("nobody knows"),
    }
    Ok(())
}
