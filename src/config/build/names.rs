//! The names iproute2 gives to tables, protocols, scopes, realms and service classes.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// A list of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum List {
    Tables,
    Protocols,
    Scopes,
    Realms,
    ServiceClasses,
    InterfaceGroups,
}

impl List {
    const fn file(self) -> &'static str {
        match self {
            Self::Tables => "rt_tables",
            Self::Protocols => "rt_protos",
            Self::Scopes => "rt_scopes",
            Self::Realms => "rt_realms",
            Self::ServiceClasses => "rt_dsfield",
            Self::InterfaceGroups => "group",
        }
    }

    /// What holds where the files are missing (linux/rtnetlink.h).
    const fn built_in(self) -> &'static [(&'static str, u32)] {
        match self {
            Self::Tables => &[("unspec", 0), ("default", 253), ("main", 254), ("local", 255)],
            Self::Protocols => &[
                ("unspec", 0),
                ("redirect", 1),
                ("kernel", 2),
                ("boot", 3),
                ("static", 4),
                ("gated", 8),
                ("ra", 9),
                ("mrt", 10),
                ("zebra", 11),
                ("bird", 12),
                ("dnrouted", 13),
                ("xorp", 14),
                ("ntk", 15),
                ("dhcp", 16),
                ("mrouted", 17),
                ("keepalived", 18),
                ("babel", 42),
                ("ovn", 84),
                ("openr", 99),
                ("bgp", 186),
                ("isis", 187),
                ("ospf", 188),
                ("rip", 189),
                ("eigrp", 192),
            ],
            Self::Scopes => &[
                ("global", 0),
                ("universe", 0),
                ("site", 200),
                ("link", 253),
                ("host", 254),
                ("nowhere", 255),
            ],
            Self::Realms => &[("unknown", 0), ("cosmos", 0)],
            Self::ServiceClasses | Self::InterfaceGroups => &[("default", 0)],
        }
    }
}

#[derive(Debug)]
pub(super) struct Names {
    /// Later directories win.
    directories: Vec<PathBuf>,
    lists: RefCell<HashMap<List, HashMap<String, u32>>>,
}

impl Names {
    pub(super) fn new(usr: Option<&str>, etc: Option<&str>) -> Self {
        let directories = vec![
            PathBuf::from(usr.unwrap_or("/usr/share/iproute2")),
            PathBuf::from(etc.unwrap_or("/etc/iproute2")),
        ];
        Self { directories, lists: RefCell::default() }
    }

    /// The number of a name, or the number itself in any base.
    pub(super) fn number(&self, list: List, word: &str) -> Option<u32> {
        if word.starts_with(|c: char| c.is_ascii_digit()) {
            return crate::config::value::any_base(word).and_then(|n| u32::try_from(n).ok());
        }
        let mut lists = self.lists.borrow_mut();
        let names = lists.entry(list).or_insert_with(|| self.load(list));
        names.get(word).copied()
    }

    fn load(&self, list: List) -> HashMap<String, u32> {
        let mut names: HashMap<String, u32> =
            list.built_in().iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
        for directory in &self.directories {
            let file = directory.join(list.file());
            let mut files: Vec<PathBuf> = std::fs::read_dir(file.with_extension("d"))
                .map(|entries| entries.filter_map(|e| e.ok().map(|e| e.path())).collect())
                .unwrap_or_default();
            files.retain(|f| f.extension().is_some_and(|e| e == "conf"));
            files.sort();
            files.insert(0, file);
            for file in files {
                names.extend(names_in(&file));
            }
        }
        names
    }
}

fn names_in(file: &Path) -> Vec<(String, u32)> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            let mut words = line.split('#').next()?.split_ascii_whitespace();
            let number = crate::config::value::any_base(words.next()?)?;
            Some((words.next()?.to_owned(), u32::try_from(number).ok()?))
        })
        .collect()
}
