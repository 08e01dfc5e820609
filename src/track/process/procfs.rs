//! Reading `/proc` (proc(5)).

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::matching::{Facts, by_command_line, matches};
use crate::config::plan::TrackProcess;

/// Every running process that is tracked, with the indices of the entries that track it.
///
/// # Errors
/// `/proc` cannot be listed. A process that ends meanwhile is no error.
pub(super) fn scan(processes: &[TrackProcess]) -> io::Result<BTreeMap<u32, BTreeSet<usize>>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let matches = examine(pid, processes);
        if !matches.is_empty() {
            found.insert(pid, matches);
        }
    }
    Ok(found)
}

/// The entries that track `pid`; none when it has gone.
pub(super) fn examine(pid: u32, processes: &[TrackProcess]) -> BTreeSet<usize> {
    let Some(facts) = facts(pid, processes.iter().any(by_command_line)) else { return BTreeSet::new() };
    let tracked = processes.iter().enumerate().filter(|(_, wanted)| matches(wanted, &facts));
    tracked.map(|(index, _)| index).collect()
}

fn facts(pid: u32, with_command_line: bool) -> Option<Facts> {
    let (name, zombie) = parse_stat(&std::fs::read(format!("/proc/{pid}/stat")).ok()?)?;
    let words = match with_command_line {
        true => parse_command_line(&std::fs::read(format!("/proc/{pid}/cmdline")).ok()?),
        false => Vec::new(),
    };
    Some(Facts { name, words, zombie })
}

/// `PID (NAME) STATE ...`, where the name may contain blanks and parentheses.
fn parse_stat(stat: &[u8]) -> Option<(Vec<u8>, bool)> {
    let open = stat.iter().position(|&byte| byte == b'(')?;
    let close = stat.iter().rposition(|&byte| byte == b')')?;
    let name = stat.get(open + 1..close)?.to_vec();
    let state = stat.get(close + 2)?;
    Some((name, matches!(state, b'Z' | b'X')))
}

/// Words, each ended by a zero byte.
fn parse_command_line(line: &[u8]) -> Vec<Vec<u8>> {
    let line = line.strip_suffix(b"\0").unwrap_or(line);
    if line.is_empty() {
        return Vec::new();
    }
    line.split(|&byte| byte == 0).map(<[u8]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_contain_parentheses_and_blanks() {
        let parsed = parse_stat(b"42 (a) b) c) S 1 42 42");
        assert_eq!(parsed, Some((b"a) b) c".to_vec(), false)));
    }

    #[test]
    fn state_z_is_a_zombie() {
        assert_eq!(parse_stat(b"42 (sh) Z 1"), Some((b"sh".to_vec(), true)));
    }

    #[test]
    fn cut_off_lines_are_nobody() {
        for line in [&b"42 (sh)"[..], b"42 sh S", b")(", b""] {
            assert_eq!(parse_stat(line), None, "{line:?}");
        }
    }

    #[test]
    fn command_lines_keep_empty_words() {
        assert_eq!(parse_command_line(b"a\0\0b\0"), [b"a".to_vec(), Vec::new(), b"b".to_vec()]);
        assert!(parse_command_line(b"").is_empty());
    }

    #[test]
    fn no_bytes_make_it_panic() {
        use proptest::prelude::*;
        proptest!(|(bytes in proptest::collection::vec(prop_oneof![Just(b'('), Just(b')'), any::<u8>()], 0..30))| {
            parse_stat(&bytes);
            parse_command_line(&bytes);
        });
    }
}
