//! Is this process one of those that are tracked?

use crate::config::plan::{ParamMatch, TrackProcess};

/// The kernel keeps this many bytes of a command name.
const COMM_LEN: usize = 15;

/// What `/proc` tells about a process.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// Command name, at most 15 bytes.
    pub(super) name: Vec<u8>,
    /// The words of the command line; empty for kernel threads and zombies.
    pub(super) words: Vec<Vec<u8>>,
    pub(super) zombie: bool,
}

/// Parameters or `param_match` imply the command line; else the command name is compared.
pub(super) fn by_command_line(wanted: &TrackProcess) -> bool {
    wanted.full_command || wanted.param_match != ParamMatch::None || !wanted.parameters.is_empty()
}

pub(super) fn matches(wanted: &TrackProcess, facts: &Facts) -> bool {
    if !by_command_line(wanted) {
        let base = wanted.command.rsplit('/').next().unwrap_or_default().as_bytes();
        return !facts.zombie && facts.name == base.get(..COMM_LEN).unwrap_or(base);
    }
    let Some((command, parameters)) = facts.words.split_first() else { return false };
    command == wanted.command.as_bytes() && parameters_match(wanted, parameters)
}

fn parameters_match(wanted: &TrackProcess, actual: &[Vec<u8>]) -> bool {
    let configured = || wanted.parameters.iter().map(|word| word.as_bytes());
    let leading = |count| configured().take(count).eq(actual.iter().take(count).map(Vec::as_slice));
    let count = wanted.parameters.len();
    match wanted.param_match {
        ParamMatch::None if count == 0 => true,
        ParamMatch::None | ParamMatch::Exact => actual.len() == count && leading(count),
        ParamMatch::Partial => actual.len() >= count && leading(count),
        ParamMatch::Initial => match (wanted.parameters.last(), actual.get(count.saturating_sub(1))) {
            (None, _) => true,
            (Some(last), Some(word)) => leading(count - 1) && word.starts_with(last.as_bytes()),
            (Some(_), None) => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn wanted(command: &str, parameters: &[&str], param_match: ParamMatch) -> TrackProcess {
        TrackProcess {
            name: "p".into(),
            command: command.into(),
            parameters: parameters.iter().map(|&word| word.into()).collect(),
            param_match,
            quorum: 1,
            quorum_max: None,
            fork_delay: Duration::ZERO,
            terminate_delay: Duration::ZERO,
            full_command: false,
        }
    }

    fn running(name: &str, words: &[&str]) -> Facts {
        let words = words.iter().map(|word| word.as_bytes().to_vec()).collect();
        Facts { name: name.into(), words, zombie: false }
    }

    #[test]
    fn a_name_is_compared_in_its_first_15_bytes_and_without_directory() {
        let by_name = wanted("/usr/sbin/a-very-long-daemon-name", &[], ParamMatch::None);
        assert!(matches(&by_name, &running("a-very-long-dae", &["whatever"])));
        assert!(!matches(&by_name, &running("a-very-long-da", &["whatever"])));
    }

    #[test]
    fn a_zombie_has_no_name_worth_counting() {
        let zombie = Facts { name: b"nginx".to_vec(), zombie: true, ..Facts::default() };
        assert!(!matches(&wanted("nginx", &[], ParamMatch::None), &zombie));
    }

    #[test]
    fn full_command_compares_the_path_as_it_was_started() {
        let mut full = wanted("/usr/sbin/nginx", &[], ParamMatch::None);
        full.full_command = true;
        assert!(matches(&full, &running("nginx", &["/usr/sbin/nginx", "-g", "x"])));
        assert!(!matches(&full, &running("nginx", &["nginx"])));
    }

    #[test]
    fn parameters_are_compared_as_param_match_says() {
        let cases: &[(ParamMatch, &[&str], &[&str], bool)] = &[
            (ParamMatch::None, &[], &["-a"], true),
            (ParamMatch::None, &["-a"], &["-a"], true),
            (ParamMatch::None, &["-a"], &["-a", "-b"], false),
            (ParamMatch::Exact, &[], &[], true),
            (ParamMatch::Exact, &[], &["-a"], false),
            (ParamMatch::Exact, &["-a", "b"], &["-a", "b"], true),
            (ParamMatch::Exact, &["-a", "b"], &["-a"], false),
            (ParamMatch::Partial, &["-a"], &["-a", "more"], true),
            (ParamMatch::Partial, &["-a"], &["-ab"], false),
            (ParamMatch::Partial, &["-a", "b"], &["-a"], false),
            (ParamMatch::Initial, &["-a", "/etc"], &["-a", "/etc/x", "more"], true),
            (ParamMatch::Initial, &["-a", "/etc"], &["-ab", "/etc/x"], false),
            (ParamMatch::Initial, &["-a", "/etc"], &["-a"], false),
            (ParamMatch::Initial, &[], &["any"], true),
        ];
        for (how, configured, actual, expected) in cases {
            let wanted = wanted("run", configured, *how);
            let words: Vec<&str> = std::iter::once("run").chain(actual.iter().copied()).collect();
            let facts = running("run", &words);
            assert_eq!(matches(&wanted, &facts), *expected, "{how:?} {configured:?} against {actual:?}");
        }
    }

    #[test]
    fn a_process_without_command_line_does_not_match_one() {
        assert!(!matches(&wanted("run", &[], ParamMatch::Exact), &running("run", &[])));
    }
}
