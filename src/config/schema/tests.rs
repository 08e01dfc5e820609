//! The keyword table of the manual against the schema.

use std::collections::HashSet;

use super::{Block, Content, Form, ROOT, Support};
use crate::config::reader;

/// Block, keyword and class of every word of keepalived 2.4.
const KEYWORDS: &str = include_str!("../../../tests/config/keywords.tsv");

fn rows() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    KEYWORDS.lines().skip(1).map(|line| {
        let mut columns = line.split('\t');
        let mut column = || columns.next().expect("three columns");
        (column(), column(), column())
    })
}

/// The block at a path like `virtual_server/real_server`.
fn block(path: &str) -> Option<&'static Block> {
    let inner = |block: &'static Block, name: &str| match block.find(name)?.1.form {
        Form::Block(inner) => Some(inner),
        _ => None,
    };
    path.split('/').try_fold(&ROOT, inner)
}

/// Placeholders of the table: what stands there is a value, not a word.
fn is_placeholder(keyword: &str) -> bool {
    matches!(keyword, "ADDR PORT" | "A-LAST" | "A-B" | "A/LEN")
        || keyword.bytes().all(|b| b.is_ascii_uppercase()) && !matches!(keyword, "SSL" | "MII")
}

/// Inner words of routes, which a parser of their own reads.
const ENCAP: [&str; 4] = ["ip", "ip6", "mpls", "ila"];

fn is_known(path: &str, keyword: &str) -> bool {
    match path {
        "(root)" => ROOT.find(keyword).is_some(),
        "(preprocessor)" => true,
        _ if is_placeholder(keyword) => true,
        path if path.ends_with("/encap") => ENCAP.contains(&keyword),
        path => {
            let path = path.strip_suffix("/nexthop").unwrap_or(path);
            let Some(block) = block(path) else { return false };
            match block.content {
                Content::Words(_) => block.find(keyword).is_some(),
                Content::Entries(entries) => entries.options().any(|option| option == keyword),
            }
        }
    }
}

#[test]
fn every_row_of_the_keyword_table_is_known() {
    let unknown: Vec<_> = rows().filter(|(path, keyword, _)| !is_known(path, keyword)).collect();
    assert_eq!(rows().count(), 845);
    assert!(unknown.is_empty(), "{unknown:#?}");
}

#[test]
fn core_and_common_words_have_their_effect() {
    let without_effect: Vec<_> = rows()
        .filter(|(_, _, class)| matches!(*class, "core" | "common"))
        .filter_map(|(path, keyword, _)| {
            let block = if path == "(root)" { &ROOT } else { block(path)? };
            let (_, keyword) = block.find(keyword)?;
            matches!(keyword.support, Support::Off | Support::Fork).then_some((path, keyword.name))
        })
        .collect();
    assert!(without_effect.is_empty(), "{without_effect:#?}");
}

fn all_blocks() -> Vec<&'static Block> {
    let mut found: Vec<&'static Block> = vec![&ROOT];
    let mut at = 0;
    while let Some(block) = found.get(at).copied() {
        at += 1;
        for keyword in block.keywords() {
            if let Form::Block(inner) = keyword.form
                && !found.iter().any(|known| std::ptr::eq(*known, inner))
            {
                found.push(inner);
            }
        }
    }
    found
}

#[test]
fn no_block_has_a_word_twice_nor_more_than_the_check_can_count() {
    for block in all_blocks() {
        let names: Vec<&str> = block.keywords().map(|k| k.name).collect();
        let distinct: HashSet<&&str> = names.iter().collect();
        assert_eq!(names.len(), distinct.len(), "{}", block.name);
        assert!(names.len() <= 256, "{}", block.name);
    }
}

#[test]
fn every_script_word_of_the_schema_is_one_to_the_reader() {
    for keyword in all_blocks().iter().flat_map(|block| block.keywords()) {
        let script = matches!(keyword.form, Form::Script | Form::OptScript);
        let fifo = keyword.name.ends_with("notify_fifo");
        assert_eq!(script && !fifo, reader::is_script_word(keyword.name), "{}", keyword.name);
    }
}

#[test]
fn the_readme_names_every_word_with_an_effect_and_none_without() {
    let readme = include_str!("../../../README.md");
    let section = readme.split("## Configuration words").nth(1).and_then(|rest| rest.split("\n## ").next());
    let section = section.expect("the README has a section about the words");
    let named = |word: &str| section.contains(&format!("`{word}`")) || section.contains(&format!("`{word} "));
    for block in all_blocks() {
        for keyword in block.keywords().filter(|k| k.instead.is_none()) {
            let elsewhere = all_blocks().into_iter().flat_map(Block::keywords);
            let effective = elsewhere.filter(|k| k.name == keyword.name).any(|k| k.support == Support::On);
            match keyword.support {
                Support::On => assert!(named(keyword.name), "`{}` of `{}`", keyword.name, block.name),
                Support::Off => {
                    assert!(effective || !named(keyword.name), "`{}` has no effect", keyword.name)
                }
                Support::Moot(_) | Support::Reader | Support::Fork => {}
            }
        }
    }
}
