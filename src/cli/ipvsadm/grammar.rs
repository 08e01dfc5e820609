//! The options of ipvsadm: what they are called, what they take, and how words are split into them.

use std::collections::VecDeque;

use super::mistake::Mistake;

/// What is to be done. Exactly one is given, before every modifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    AddService,
    EditService,
    DeleteService,
    Flush,
    Restore,
    Save,
    AddServer,
    EditServer,
    DeleteServer,
    List,
    Zero,
    Set,
    StartDaemon,
    StopDaemon,
    Help,
    Version,
}

/// What a verb is done to, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Modifier {
    TcpService,
    UdpService,
    SctpService,
    MarkService,
    Ipv6,
    Scheduler,
    SchedulerFlags,
    Persistent,
    Netmask,
    Engine,
    OnePacket,
    RealServer,
    Gatewaying,
    Ipip,
    Masquerading,
    Weight,
    UpperThreshold,
    LowerThreshold,
    TunnelType,
    TunnelPort,
    TunnelNoChecksum,
    TunnelChecksum,
    TunnelRemoteChecksum,
    Numeric,
    Connection,
    Timeout,
    Daemon,
    Stats,
    Rate,
    Thresholds,
    PersistentConnections,
    TunnelInfo,
    Exact,
    Sort,
    NoSort,
    SyncId,
    SyncMaxLen,
    McastInterface,
    McastGroup,
    McastPort,
    McastTtl,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Do(Verb),
    With(Modifier),
}

/// Whether an option has a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    Nothing,
    /// The rest of the word or the next word, whatever it looks like.
    Value,
    /// The rest of the word, or the next word unless that is an option.
    Perhaps,
}

struct Known {
    letter: Option<char>,
    long: &'static str,
    meaning: Meaning,
    takes: Takes,
}

const fn verb(letter: Option<char>, long: &'static str, verb: Verb, takes: Takes) -> Known {
    Known { letter, long, meaning: Meaning::Do(verb), takes }
}

const fn modifier(letter: Option<char>, long: &'static str, modifier: Modifier, takes: Takes) -> Known {
    Known { letter, long, meaning: Meaning::With(modifier), takes }
}

const OPTIONS: [Known; 58] = [
    verb(Some('A'), "add-service", Verb::AddService, Takes::Nothing),
    verb(Some('E'), "edit-service", Verb::EditService, Takes::Nothing),
    verb(Some('D'), "delete-service", Verb::DeleteService, Takes::Nothing),
    verb(Some('C'), "clear", Verb::Flush, Takes::Nothing),
    verb(Some('R'), "restore", Verb::Restore, Takes::Nothing),
    verb(Some('S'), "save", Verb::Save, Takes::Nothing),
    verb(Some('a'), "add-server", Verb::AddServer, Takes::Nothing),
    verb(Some('e'), "edit-server", Verb::EditServer, Takes::Nothing),
    verb(Some('d'), "delete-server", Verb::DeleteServer, Takes::Nothing),
    verb(Some('L'), "list", Verb::List, Takes::Nothing),
    verb(Some('l'), "list", Verb::List, Takes::Nothing),
    verb(Some('Z'), "zero", Verb::Zero, Takes::Nothing),
    verb(None, "set", Verb::Set, Takes::Nothing),
    verb(None, "start-daemon", Verb::StartDaemon, Takes::Value),
    verb(None, "stop-daemon", Verb::StopDaemon, Takes::Value),
    verb(Some('h'), "help", Verb::Help, Takes::Nothing),
    verb(Some('v'), "version", Verb::Version, Takes::Nothing),
    modifier(Some('t'), "tcp-service", Modifier::TcpService, Takes::Value),
    modifier(Some('u'), "udp-service", Modifier::UdpService, Takes::Value),
    modifier(None, "sctp-service", Modifier::SctpService, Takes::Value),
    modifier(Some('f'), "fwmark-service", Modifier::MarkService, Takes::Value),
    modifier(Some('6'), "ipv6", Modifier::Ipv6, Takes::Nothing),
    modifier(Some('s'), "scheduler", Modifier::Scheduler, Takes::Value),
    modifier(Some('b'), "sched-flags", Modifier::SchedulerFlags, Takes::Value),
    modifier(Some('p'), "persistent", Modifier::Persistent, Takes::Perhaps),
    modifier(Some('M'), "netmask", Modifier::Netmask, Takes::Value),
    modifier(None, "pe", Modifier::Engine, Takes::Value),
    modifier(Some('o'), "ops", Modifier::OnePacket, Takes::Nothing),
    modifier(Some('r'), "real-server", Modifier::RealServer, Takes::Value),
    modifier(Some('g'), "gatewaying", Modifier::Gatewaying, Takes::Nothing),
    modifier(Some('i'), "ipip", Modifier::Ipip, Takes::Nothing),
    modifier(Some('m'), "masquerading", Modifier::Masquerading, Takes::Nothing),
    modifier(Some('w'), "weight", Modifier::Weight, Takes::Value),
    modifier(Some('x'), "u-threshold", Modifier::UpperThreshold, Takes::Value),
    modifier(Some('y'), "l-threshold", Modifier::LowerThreshold, Takes::Value),
    modifier(None, "tun-type", Modifier::TunnelType, Takes::Value),
    modifier(None, "tun-port", Modifier::TunnelPort, Takes::Value),
    modifier(None, "tun-nocsum", Modifier::TunnelNoChecksum, Takes::Nothing),
    modifier(None, "tun-csum", Modifier::TunnelChecksum, Takes::Nothing),
    modifier(None, "tun-remcsum", Modifier::TunnelRemoteChecksum, Takes::Nothing),
    modifier(Some('n'), "numeric", Modifier::Numeric, Takes::Nothing),
    modifier(Some('c'), "connection", Modifier::Connection, Takes::Nothing),
    modifier(None, "timeout", Modifier::Timeout, Takes::Nothing),
    modifier(None, "daemon", Modifier::Daemon, Takes::Nothing),
    modifier(None, "stats", Modifier::Stats, Takes::Nothing),
    modifier(None, "rate", Modifier::Rate, Takes::Nothing),
    modifier(None, "thresholds", Modifier::Thresholds, Takes::Nothing),
    modifier(None, "persistent-conn", Modifier::PersistentConnections, Takes::Nothing),
    modifier(None, "tun-info", Modifier::TunnelInfo, Takes::Nothing),
    modifier(None, "exact", Modifier::Exact, Takes::Nothing),
    modifier(None, "sort", Modifier::Sort, Takes::Nothing),
    modifier(None, "nosort", Modifier::NoSort, Takes::Nothing),
    modifier(None, "syncid", Modifier::SyncId, Takes::Value),
    modifier(None, "sync-maxlen", Modifier::SyncMaxLen, Takes::Value),
    modifier(None, "mcast-interface", Modifier::McastInterface, Takes::Value),
    modifier(None, "mcast-group", Modifier::McastGroup, Takes::Value),
    modifier(None, "mcast-port", Modifier::McastPort, Takes::Value),
    modifier(None, "mcast-ttl", Modifier::McastTtl, Takes::Value),
];

/// All options as they are written in full.
#[cfg(test)]
pub(super) fn names() -> impl Iterator<Item = String> {
    OPTIONS.iter().map(|option| format!("--{}", option.long))
}

impl Verb {
    pub(super) fn name(self) -> &'static str {
        let known = OPTIONS.iter().find(|option| option.meaning == Meaning::Do(self));
        known.map_or("", |option| option.long)
    }
}

impl Modifier {
    /// What it says. Two that say the same exclude each other.
    pub(super) fn subject(self) -> &'static str {
        match self {
            Self::TcpService | Self::UdpService | Self::SctpService | Self::MarkService => "service-address",
            Self::Gatewaying | Self::Ipip | Self::Masquerading => "forwarding-method",
            other => {
                let known = OPTIONS.iter().find(|option| option.meaning == Meaning::With(other));
                known.map_or("", |option| option.long)
            }
        }
    }
}

/// One thing that a command line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Option {
        meaning: Meaning,
        /// As it was written: `-t`, `--tcp-service`.
        written: String,
        value: Option<String>,
    },
    /// A word that belongs to no option.
    Stray(String),
}

/// Splits words into options as ipvsadm does: letters may share a word, values may be glued to their letter or stand
/// behind `=`, and names have no short forms. `--` ends the options.
pub(super) struct Words {
    left: VecDeque<String>,
    /// The word whose letters are being read, and those that are left of it.
    letters: Option<(String, String)>,
    options_are_over: bool,
}

impl Words {
    pub(super) fn new(words: impl IntoIterator<Item = String>) -> Self {
        Self { left: words.into_iter().collect(), letters: None, options_are_over: false }
    }

    fn long(&mut self, word: &str) -> Result<Said, Mistake> {
        let name = word.trim_start_matches('-');
        let (name, value) = match name.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (name, None),
        };
        let known = OPTIONS.iter().find(|option| option.long == name);
        let known = known.ok_or_else(|| Mistake::UnknownOption(word.to_owned()))?;
        if known.takes == Takes::Nothing && value.is_some() {
            return Err(Mistake::ValueOfNone(word.to_owned()));
        }
        self.option(known, word, value)
    }

    fn letter(&mut self, word: String, letters: &str) -> Result<Said, Mistake> {
        let mut chars = letters.chars();
        let letter = chars.next();
        let rest = chars.as_str();
        let known = OPTIONS.iter().find(|option| option.letter.is_some() && option.letter == letter);
        let known = known.ok_or_else(|| Mistake::UnknownOption(word.clone()))?;
        if known.takes == Takes::Nothing {
            let written = format!("-{}", letter.unwrap_or_default());
            self.letters = (!rest.is_empty()).then(|| (word, rest.to_owned()));
            return Ok(Said::Option { meaning: known.meaning, written, value: None });
        }
        let glued = (!rest.is_empty()).then(|| rest.strip_prefix('=').unwrap_or(rest).to_owned());
        self.option(known, &word, glued)
    }

    /// An option with its value: the one that its own word has, or the next word.
    fn option(&mut self, known: &Known, word: &str, value: Option<String>) -> Result<Said, Mistake> {
        let value = match (known.takes, value) {
            (Takes::Nothing, _) => None,
            (_, Some(value)) => Some(value),
            (Takes::Value, None) => {
                let next = self.left.pop_front();
                Some(next.ok_or_else(|| Mistake::MissingValue(word.to_owned()))?)
            }
            (Takes::Perhaps, None) => {
                let is_value = self.left.front().is_some_and(|next| !next.starts_with('-'));
                if is_value { self.left.pop_front() } else { None }
            }
        };
        Ok(Said::Option { meaning: known.meaning, written: word.to_owned(), value })
    }
}

impl Iterator for Words {
    type Item = Result<Said, Mistake>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some((word, letters)) = self.letters.take() {
            return Some(self.letter(word, &letters));
        }
        let word = self.left.pop_front()?;
        if self.options_are_over || word == "-" || !word.starts_with('-') {
            return Some(Ok(Said::Stray(word)));
        }
        if word == "--" {
            self.options_are_over = true;
            return self.next();
        }
        if word.starts_with("--") {
            return Some(self.long(&word));
        }
        let letters = word.trim_start_matches('-').to_owned();
        Some(self.letter(word, &letters))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What a line says, in short: `t=10.0.0.1:80`.
    fn said(line: &str) -> Vec<String> {
        Words::new(line.split_whitespace().map(str::to_owned))
            .map(|said| match said {
                Ok(Said::Option { meaning, value, .. }) => {
                    let name = match meaning {
                        Meaning::Do(verb) => format!("{verb:?}"),
                        Meaning::With(modifier) => format!("{modifier:?}"),
                    };
                    value.map_or(name.clone(), |value| format!("{name}={value}"))
                }
                Ok(Said::Stray(word)) => format!("stray {word}"),
                Err(mistake) => mistake.to_string(),
            })
            .collect()
    }

    #[test]
    fn words_are_split_as_by_ipvsadm() {
        for (line, expected) in [
            ("-Ln", vec!["List", "Numeric"]),
            ("-lnc --stats", vec!["List", "Numeric", "Connection", "Stats"]),
            ("-At10.0.0.1:80 -srr", vec!["AddService", "TcpService=10.0.0.1:80", "Scheduler=rr"]),
            ("-A -t=10.0.0.1:80 -p=5", vec!["AddService", "TcpService=10.0.0.1:80", "Persistent=5"]),
            ("--add-service --tcp-service=x", vec!["AddService", "TcpService=x"]),
            ("-A -p -s rr", vec!["AddService", "Persistent", "Scheduler=rr"]),
            ("-A -p 60 -o", vec!["AddService", "Persistent=60", "OnePacket"]),
            ("-A -p60", vec!["AddService", "Persistent=60"]),
            ("-A -pt x", vec!["AddService", "Persistent=t", "stray x"]),
            ("-a -mw6", vec!["AddServer", "Masquerading", "Weight=6"]),
            ("-A -f -1", vec!["AddService", "MarkService=-1"]),
            ("--set 1 2 3", vec!["Set", "stray 1", "stray 2", "stray 3"]),
            ("--start-daemon master", vec!["StartDaemon=master"]),
            ("-L -- -n", vec!["List", "stray -n"]),
            ("-L -", vec!["List", "stray -"]),
        ] {
            assert_eq!(said(line), expected, "{line}");
        }
    }

    #[test]
    fn what_is_no_option_is_named() {
        for (line, mistake) in [
            ("-Lz", "unknown option `-Lz`"),
            ("--lis", "unknown option `--lis`"),
            ("-A -t", "option `-t` needs a value"),
            ("-Lnx", "option `-Lnx` needs a value"),
            ("--start-daemon", "option `--start-daemon` needs a value"),
            ("-L --numeric=5", "option `--numeric=5` takes no value"),
            ("-Ä", "unknown option `-Ä`"),
        ] {
            assert_eq!(said(line).last().map(String::as_str), Some(mistake), "{line}");
        }
    }

    #[test]
    fn no_two_options_are_called_alike() {
        let letters: Vec<char> = OPTIONS.iter().filter_map(|option| option.letter).collect();
        assert_eq!(letters.iter().collect::<BTreeSet<_>>().len(), letters.len());
        let names: BTreeSet<_> = OPTIONS.iter().map(|option| option.long).collect();
        // `-L` and `-l` are one.
        assert_eq!(names.len(), OPTIONS.len() - 1);
    }
}
