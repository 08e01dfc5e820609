//! What is tracked, and by whom with which weight.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use buoy_vrrp::{Target, Tracker};

use super::Build;
use super::entry::Cursor;
use crate::config::finding::{Code, Finding, nearest};
use crate::config::plan::{ParamMatch, TrackFile, TrackProcess, TrackScript};
use crate::config::settings::{File, Instance, Process, Script, SyncGroup, Text, Words};
use crate::config::value::{self, NumberError};

/// A kind of tracked object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Interface,
    Script,
    File,
    Process,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Interface => "interface",
            Self::Script => "script",
            Self::File => "file",
            Self::Process => "process",
        }
    }

    /// Largest weight that takes effect.
    const fn most(self) -> i32 {
        match self {
            Self::Interface | Self::Script => 253,
            Self::File | Self::Process => 254,
        }
    }

    fn target(self, name: Arc<str>) -> Target {
        match self {
            Self::Interface => Target::Interface(name),
            Self::Script => Target::Script(name),
            Self::File => Target::File(name),
            Self::Process => Target::Process(name),
        }
    }
}

/// A definition that can be tracked.
#[derive(Clone, Copy, Debug)]
struct Defined {
    order: u64,
    weight: i32,
    reverse: bool,
    usable: Usable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Usable {
    Yes,
    /// This machine lacks what it needs.
    NotHere,
    /// It lacks what makes it a definition.
    No,
}

/// All definitions by kind and name.
#[derive(Debug, Default)]
pub(super) struct Definitions(HashMap<(Kind, Arc<str>), Defined>);

impl Definitions {
    /// Weight of a file that can be tracked, and whether it is reversed.
    pub(super) fn file(&self, name: &Arc<str>) -> Option<(i32, bool)> {
        let file = self.0.get(&(Kind::File, Arc::clone(name)))?;
        (file.usable == Usable::Yes).then_some((file.weight, file.reverse))
    }
}

/// The `track_*` lists of an instance or a group.
pub(super) struct Lists<'s> {
    order: u64,
    lists: [(Kind, &'s [Words]); 4],
}

impl<'s> From<&'s Instance> for Lists<'s> {
    fn from(i: &'s Instance) -> Self {
        Self {
            order: i.order,
            lists: lists(&i.track_interface, &i.track_script, &i.track_file, &i.track_process),
        }
    }
}

impl<'s> From<&'s SyncGroup> for Lists<'s> {
    fn from(g: &'s SyncGroup) -> Self {
        Self {
            order: g.order,
            lists: lists(&g.track_interface, &g.track_script, &g.track_file, &g.track_process),
        }
    }
}

impl<'s> Lists<'s> {
    /// The entry of a target.
    pub(super) fn entry(&self, target: &Target) -> Option<&[Text]> {
        let entries = self.lists.iter().flat_map(|(kind, list)| list.iter().map(|words| (*kind, words)));
        let named = |(kind, words): (Kind, &'s Words)| {
            let name = words.first()?;
            (kind.target(Arc::clone(&name.value)) == *target).then_some(words.as_slice())
        };
        entries.filter_map(named).next()
    }
}

const fn lists<'s>(
    interfaces: &'s [Words],
    scripts: &'s [Words],
    files: &'s [Words],
    processes: &'s [Words],
) -> [(Kind, &'s [Words]); 4] {
    [(Kind::Interface, interfaces), (Kind::Script, scripts), (Kind::File, files), (Kind::Process, processes)]
}

impl Build<'_> {
    pub(super) fn scripts(&mut self, scripts: &[Script]) -> Vec<TrackScript> {
        let mut built = Vec::new();
        for script in scripts {
            let name = &script.name;
            let built_script = self.script(script);
            self.define(
                Kind::Script,
                name.value.clone(),
                script.order,
                script.weight.as_ref(),
                0,
                match (&built_script, &script.script) {
                    (Some(_), _) => Usable::Yes,
                    (None, Some(_)) => Usable::NotHere,
                    (None, None) => Usable::No,
                },
            );
            built.extend(built_script);
        }
        built
    }

    fn script(&mut self, script: &Script) -> Option<TrackScript> {
        let name = &script.name;
        let Some(line) = &script.script else {
            let message = format!("`vrrp_script {}` has no `script`", name.value);
            let finding = Finding::warning(Code::MissingSetting, name.span, message);
            self.findings.push(finding.assume("it is dropped, and nothing tracks it"));
            self.leave_out(name);
            return None;
        };
        let command = self.command_of(line, script.user.as_ref())?;
        let second = Duration::from_secs(1);
        let written = script.interval.map_or(second, |s| s.value.0);
        let interval = if written.is_zero() { second } else { written };
        if let Some(s) = script.interval.filter(|s| s.value.0.is_zero()) {
            self.warn(Code::OutOfRange, s.span, "an interval of 0", "1 second");
            self.write_instead(&s, &["1"]);
        }
        let mut timeout = script.timeout.map_or(interval, |s| s.value.0);
        if let Some(s) = script.timeout.filter(|s| s.value.0.is_zero()) {
            timeout = second;
            self.warn(Code::OutOfRange, s.span, "a timeout of 0", "1 second");
            self.write_instead(&s, &["1"]);
        }
        Some(TrackScript {
            name: Arc::clone(&name.value),
            command,
            interval,
            timeout,
            rise: count(script.rise, 1),
            fall: count(script.fall, 1),
            init_fail: script.init_fail,
        })
    }

    pub(super) fn files(&mut self, files: &[File]) -> Vec<TrackFile> {
        let mut built = Vec::new();
        for file in files {
            let name = Arc::clone(&file.name.value);
            let usable = if file.file.is_some() { Usable::Yes } else { Usable::No };
            self.define(Kind::File, Arc::clone(&name), file.order, file.weight.as_ref(), 1, usable);
            let Some(path) = &file.file else {
                let message = format!("`track_file {name}` has no `file`");
                let finding = Finding::warning(Code::MissingSetting, file.name.span, message);
                self.findings.push(finding.assume("it is dropped, and nothing tracks it"));
                self.leave_out(&file.name);
                continue;
            };
            let init = file.init_file.as_ref().map(|words| {
                let value = words.iter().find_map(|w| w.value.parse().ok()).unwrap_or(0);
                (value, words.iter().any(|w| &*w.value == "overwrite"))
            });
            built.push(TrackFile { name, path: path.value.as_ref().into(), init });
        }
        built
    }

    pub(super) fn processes(&mut self, processes: &[Process]) -> Vec<TrackProcess> {
        let mut built = Vec::new();
        for process in processes {
            let name = Arc::clone(&process.name.value);
            let usable = if process.process.is_some() { Usable::Yes } else { Usable::No };
            self.define(Kind::Process, Arc::clone(&name), process.order, process.weight.as_ref(), 0, usable);
            let Some((command, parameters)) = process.process.as_ref().and_then(|w| w.split_first()) else {
                let message = format!("`vrrp_track_process {name}` has no `process`");
                let finding = Finding::warning(Code::MissingSetting, process.name.span, message);
                self.findings.push(finding.assume("it is dropped, and nothing tracks it"));
                self.leave_out(&process.name);
                continue;
            };
            let param_match = match process.param_match.as_deref() {
                None if parameters.is_empty() => ParamMatch::None,
                None | Some([]) => ParamMatch::Exact,
                Some([word, ..]) => match &*word.value {
                    "initial" => ParamMatch::Initial,
                    "partial" => ParamMatch::Partial,
                    text => {
                        let message = format!("`{text}` is not `initial` or `partial`");
                        self.warn(Code::BadValue, word.span, &message, "exact");
                        self.write_instead(word, &[]);
                        ParamMatch::Exact
                    }
                },
            };
            let quorum = u32::try_from(process.quorum.map_or(1, |q| q.value)).unwrap_or(1);
            let mut quorum_max = process.quorum_max.and_then(|q| u32::try_from(q.value).ok());
            if let (Some(written), Some(max)) = (process.quorum_max, quorum_max)
                && max < quorum
            {
                let message = format!("`quorum_max` {max} is below the quorum of {quorum}");
                self.warn(Code::Conflict, written.span, &message, "no upper limit");
                self.leave_out(&written);
                quorum_max = None;
            }
            let delay = process.delay.map_or(Duration::ZERO, |d| d.0);
            built.push(TrackProcess {
                name,
                command: Arc::clone(&command.value),
                parameters: parameters.iter().map(|p| Arc::clone(&p.value)).collect(),
                param_match,
                quorum,
                quorum_max,
                fork_delay: process.fork_delay.map_or(delay, |d| d.0),
                terminate_delay: process.terminate_delay.map_or(delay, |d| d.0),
                full_command: process.full_command || param_match != ParamMatch::None,
            });
        }
        built
    }

    fn define(
        &mut self,
        kind: Kind,
        name: Arc<str>,
        order: u64,
        weight: Option<&Words>,
        default: i32,
        usable: Usable,
    ) {
        let (weight, reverse) = match weight.map(Vec::as_slice) {
            Some([number, more @ ..]) => {
                let written = weight_of(&number.value).unwrap_or(default);
                (self.bounded(kind, written, number), more.iter().any(|w| &*w.value == "reverse"))
            }
            _ => (default, false),
        };
        self.tracked.0.insert((kind, name), Defined { order, weight, reverse, usable });
    }

    fn bounded(&mut self, kind: Kind, weight: i32, word: &Text) -> i32 {
        let most = kind.most();
        if weight.abs() <= most {
            return weight;
        }
        let message = format!("a weight of {weight}; {most} is the most for a tracked {}", kind.name());
        let cut = weight.clamp(-most, most);
        self.warn(Code::OutOfRange, word.span, &message, &cut.to_string());
        self.write_instead(word, &[&cut.to_string()]);
        cut
    }

    /// The trackers of an instance or a group.
    pub(super) fn trackers(&mut self, lists: &Lists<'_>) -> Vec<Tracker> {
        let mut trackers: Vec<Tracker> = Vec::new();
        for (kind, list) in lists.lists {
            for words in list {
                let Some(tracker) = self.tracker(kind, words, lists.order) else { continue };
                if trackers.iter().any(|t| t.target == tracker.target) {
                    let message = format!("{} is tracked twice", tracker.target);
                    let first = words.first();
                    self.warn(Code::Duplicate, first.map(|w| w.span), &message, "the first entry counts");
                    first.into_iter().for_each(|first| self.leave_out(first));
                } else {
                    trackers.push(tracker);
                }
            }
        }
        trackers
    }

    fn tracker(&mut self, kind: Kind, words: &Words, order: u64) -> Option<Tracker> {
        let mut cursor = Cursor::new(words);
        let name = cursor.next()?;
        let defined = if kind == Kind::Interface {
            self.interface(name);
            Defined { order: 0, weight: 0, reverse: false, usable: Usable::Yes }
        } else {
            self.definition(kind, name, order)?
        };
        let (mut weight, mut reverse) = (defined.weight, defined.reverse);
        while let Some(option) = cursor.next() {
            match &*option.value {
                "weight" => {
                    let Some(word) = cursor.next() else {
                        let message = "`weight` without its value";
                        self.warn(Code::BadValue, option.span, message, "the line is ignored");
                        self.leave_out(name);
                        return None;
                    };
                    match weight_of(&word.value).filter(|w| w.unsigned_abs() <= 254) {
                        Some(written) => {
                            if word.value.parse::<i32>().is_err() {
                                let message = "weight: a number followed by something else";
                                self.warn(Code::BadValue, word.span, message, &written.to_string());
                                self.write_instead(word, &[&written.to_string()]);
                            }
                            weight = self.bounded(kind, written, word);
                        }
                        None => {
                            let message = "weight: not a number within -254..254";
                            self.warn(Code::BadValue, word.span, message, &format!("weight {weight}"));
                            self.write_instead(word, &[&weight.to_string()]);
                        }
                    }
                }
                "reverse" => reverse = true,
                "noreverse" => reverse = false,
                text => {
                    let known = ["weight", "reverse", "noreverse"];
                    let message = format!("unknown option `{text}`");
                    let finding = Finding::warning(Code::UnknownWord, option.span, message);
                    self.findings.push(finding.nearest(nearest(text, known)).assume("the line is ignored"));
                    self.leave_out(name);
                    return None;
                }
            }
        }
        if defined.usable != Usable::Yes {
            if defined.usable == Usable::No {
                self.leave_out(name);
            }
            return None;
        }
        Some(Tracker { target: kind.target(Arc::clone(&name.value)), weight, reverse })
    }

    fn definition(&mut self, kind: Kind, name: &Text, order: u64) -> Option<Defined> {
        let found = self.tracked.0.get(&(kind, Arc::clone(&name.value))).copied();
        let message = match found {
            Some(defined) if defined.order < order => return Some(defined),
            Some(_) => {
                format!("the {} `{}` is defined further down; it has to come first", kind.name(), name.value)
            }
            None => format!("there is no {} `{}`", kind.name(), name.value),
        };
        let known = self.tracked.0.keys().filter(|(k, _)| *k == kind).map(|(_, n)| &**n);
        let near = nearest(&name.value, known.filter(|n| *n != &*name.value)).map(str::to_owned);
        let finding = Finding::warning(Code::Undefined, name.span, message);
        self.findings.push(finding.nearest(near).assume("it is not tracked"));
        self.leave_out(name);
        None
    }
}

/// The number at the start of a word, as keepalived takes it.
pub(super) fn weight_of(word: &str) -> Option<i32> {
    match value::integer(word) {
        Ok(n) | Err(NumberError::Trailing(n)) => i32::try_from(n).ok(),
        Err(NumberError::None) => None,
    }
}

pub(super) fn count(written: Option<i64>, default: u32) -> u32 {
    written.and_then(|n| u32::try_from(n).ok()).unwrap_or(default)
}
