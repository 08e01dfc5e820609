//! Command lines: their arguments, who runs them, and whether they are fit to be run.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::{Build, ScriptUser};
use crate::config::finding::Code;
use crate::config::plan::{Command, User};
use crate::config::reader::arguments;
use crate::config::settings::{Text, Words};

/// The user keepalived's scripts run as when it exists and nothing is configured.
const SCRIPT_USER: &str = "keepalived_script";
/// What the kernel follows before it gives up (path_resolution(7)).
const MOST_LINKS: u32 = 40;

/// What this machine has said so far of users and programs: thousands of checks may run the same one.
#[derive(Debug, Default)]
pub(super) struct Machine {
    users: HashMap<String, Option<(u32, u32)>>,
    groups: HashMap<String, Option<u32>>,
    programs: HashMap<Arc<str>, Option<PathBuf>>,
    weak: HashMap<PathBuf, Option<PathBuf>>,
}

impl Machine {
    /// Numbers of a user and of its group.
    fn user(&mut self, name: &str) -> Option<(u32, u32)> {
        if let Some(known) = self.users.get(name) {
            return *known;
        }
        let found = nix::unistd::User::from_name(name).ok().flatten();
        let ids = found.map(|user| (user.uid.as_raw(), user.gid.as_raw()));
        *self.users.entry(name.to_owned()).or_insert(ids)
    }

    fn group(&mut self, name: &str) -> Option<u32> {
        if let Some(known) = self.groups.get(name) {
            return *known;
        }
        let found = nix::unistd::Group::from_name(name).ok().flatten();
        *self.groups.entry(name.to_owned()).or_insert(found.map(|group| group.gid.as_raw()))
    }

    fn program(&mut self, name: &Arc<str>) -> Option<PathBuf> {
        self.programs.entry(Arc::clone(name)).or_insert_with(|| locate(name)).clone()
    }

    fn weak_component(&mut self, path: &Path) -> Option<PathBuf> {
        if let Some(known) = self.weak.get(path) {
            return known.clone();
        }
        self.weak.entry(path.to_owned()).or_insert_with(|| weak_component(path)).clone()
    }
}

impl Build<'_> {
    /// A script line: command, then user and group. A finding has said why when there is nothing.
    pub(super) fn command(&mut self, words: &Words) -> Option<Command> {
        let (command, identity) = words.split_first()?;
        let (names, more) = identity.split_at(identity.len().min(2));
        if let Some(extra) = more.first() {
            self.extra(extra, "words behind user and group");
            let kept: Vec<&str> = words.iter().take(1 + names.len()).map(|word| &*word.value).collect();
            self.edits.command(command.at, &kept);
        }
        let user = match names {
            [] => self.default_user(command)?,
            names => Some(self.identity(names, "the script is not run")?),
        };
        self.runnable(command, user)
    }

    /// A script whose user is configured beside it (`vrrp_script`).
    pub(super) fn command_of(&mut self, words: &Words, user: Option<&Words>) -> Option<Command> {
        let (command, more) = words.split_first()?;
        if let Some(extra) = more.first() {
            self.extra(extra, "words behind the command");
            self.edits.command(command.at, &[&command.value]);
        }
        let user = match user {
            Some(names) => Some(self.user(names, "the script is not run")?),
            None => self.default_user(command)?,
        };
        self.runnable(command, user)
    }

    /// User and group of a line whose quotes let them hold anything; what nobody can be called is not written.
    pub(super) fn identity(&mut self, names: &[Text], otherwise: &str) -> Option<User> {
        let Some(name) = impossible_name(names) else { return self.user(names, otherwise) };
        let message = format!("nobody can be called `{}`", name.value);
        self.warn(Code::BadValue, name.span, &message, otherwise);
        self.leave_out(name);
        None
    }

    fn extra(&mut self, extra: &Text, message: &str) {
        let assumed = "they are ignored; arguments belong inside the quotes";
        self.warn(Code::ExtraWords, extra.span, message, assumed);
    }

    /// `USER [GROUP]` or `USER:GROUP`, with what follows when there is no such user.
    pub(super) fn user(&mut self, names: &[Text], otherwise: &str) -> Option<User> {
        let first = names.first()?;
        let (name, group) = match (first.value.split_once(':'), names.get(1)) {
            (Some((name, group)), None) => (name, Some(group)),
            (_, group) => (&*first.value, group.map(|g| &*g.value)),
        };
        let Some((uid, gid)) = self.machine.user(name) else {
            self.doubt(Code::Undefined, first.span, &format!("there is no user `{name}`"), otherwise);
            return None;
        };
        let gid = match group {
            None => gid,
            Some(group) => match self.machine.group(group) {
                Some(gid) => gid,
                None => {
                    let span = names.get(1).unwrap_or(first).span;
                    self.doubt(Code::Undefined, span, &format!("there is no group `{group}`"), otherwise);
                    return None;
                }
            },
        };
        Some(User { name: Arc::from(name), uid, gid })
    }

    /// `script_user`, else keepalived's own; `None` outside says that the script may not be run.
    #[expect(clippy::option_option, reason = "outer: may it run at all; inner: as whom, if not as ourselves")]
    fn default_user(&mut self, command: &Text) -> Option<Option<User>> {
        match &self.script_user {
            ScriptUser::Set(user) => return Some(Some(user.clone())),
            ScriptUser::Missing => {
                let message = "there is no user for this script: `script_user` names none that exists";
                self.doubt(Code::Script, command.span, message, "the script is not run");
                return None;
            }
            ScriptUser::Unset => {}
        }
        if let Some((uid, gid)) = self.machine.user(SCRIPT_USER) {
            return Some(Some(User { name: Arc::from(SCRIPT_USER), uid, gid }));
        }
        if self.script_security {
            let message = "`enable_script_security` needs a user for this script: there is no `script_user`, \
                           and no user `keepalived_script`";
            self.doubt(Code::ScriptSecurity, command.span, message, "the script is not run");
            return None;
        }
        Some(None)
    }

    fn runnable(&mut self, command: &Text, user: Option<User>) -> Option<Command> {
        let mut argv: Vec<Arc<str>> = arguments(&command.value).into_iter().map(Arc::from).collect();
        let Some(program) = argv.first_mut().filter(|p| !p.is_empty()) else {
            self.doubt(Code::Script, command.span, "an empty command", "nothing is run");
            return None;
        };
        // `</path` asks only whether a file can be opened.
        if self.options.inspect_files && !program.starts_with('<') {
            *program = self.fit(command, program, user.as_ref())?;
        }
        Some(Command { argv, user })
    }

    /// What to run for `program`, which is looked up in PATH once and for all if root is to run it: what was inspected is
    /// what is run. A finding has said why when there is nothing.
    fn fit(&mut self, command: &Text, program: &Arc<str>, user: Option<&User>) -> Option<Arc<str>> {
        let Some(path) = self.machine.program(program) else {
            let message = format!("`{program}` does not exist or is not executable");
            self.doubt(Code::Script, command.span, &message, "it is not run");
            return None;
        };
        let as_root = user.map_or_else(|| nix::unistd::geteuid().is_root(), |u| u.uid == 0);
        if !as_root {
            return Some(Arc::clone(program));
        }
        let pinned = path.to_str().map_or_else(|| Arc::clone(program), Arc::from);
        if !self.script_security && !self.said_insecure {
            self.said_insecure = true;
            let message = "scripts run as root without `enable_script_security`";
            self.doubt(Code::ScriptSecurity, command.span, message, "they are run");
        }
        let Some(weak) = self.machine.weak_component(&path) else { return Some(pinned) };
        let message = format!("`{program}` runs as root, and others than root may change {}", weak.display());
        let assumed = if self.script_security { "it is not run" } else { "it is run all the same" };
        self.doubt(Code::ScriptSecurity, command.span, &message, assumed);
        (!self.script_security).then_some(pinned)
    }
}

/// The first name that nobody can have.
pub(super) fn impossible_name(names: &[Text]) -> Option<&Text> {
    let odd = |c: char| c.is_ascii_whitespace() || c.is_ascii_control() || "\"'\\$".contains(c);
    names.iter().find(|name| name.value.is_empty() || name.value.contains(odd))
}

/// The executable file that a command names.
fn locate(program: &str) -> Option<PathBuf> {
    let executable = |path: &Path| {
        std::fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
    };
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|p| executable(p));
    }
    let path = std::env::var_os("PATH")
        .unwrap_or_else(|| "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into());
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|p| executable(p))
}

/// The first component on the way to `path` that someone other than root may replace: a directory, a symbolic link or
/// what it points to. The way is walked as the kernel walks it, so that links as such are no harm: on systems with a
/// merged `/usr` they stand in every path.
fn weak_component(path: &Path) -> Option<PathBuf> {
    let Ok(absolute) = std::path::absolute(path) else { return Some(path.to_owned()) };
    let mut ahead = components(&absolute);
    let mut here = PathBuf::from("/");
    let mut links = 0;
    if replaceable(&here) {
        return Some(here);
    }
    while let Some(name) = ahead.pop() {
        if name == ".." {
            here.pop();
            continue;
        }
        here.push(name);
        if replaceable(&here) {
            return Some(here);
        }
        let Ok(target) = std::fs::read_link(&here) else { continue };
        links += 1;
        if links > MOST_LINKS {
            return Some(here);
        }
        if target.is_absolute() {
            here = PathBuf::from("/");
        } else {
            here.pop();
        }
        ahead.extend(components(&target));
    }
    None
}

/// The names in a path, the last one first.
fn components(path: &Path) -> Vec<OsString> {
    let names = path.components().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
    names.rev().map(|part| part.as_os_str().to_owned()).collect()
}

/// Whether others than root may change what the path stands for, given that its directory is root's alone. In a sticky
/// directory what belongs to root is safe. A link has no mode of its own.
fn replaceable(path: &Path) -> bool {
    let Ok(meta) = std::fs::symlink_metadata(path) else { return true };
    let mode = meta.permissions().mode();
    let sticky = meta.is_dir() && mode & 0o1000 != 0;
    let writable = mode & 0o002 != 0 || mode & 0o020 != 0 && meta.gid() != 0;
    meta.uid() != 0 || !meta.is_symlink() && writable && !sticky
}

#[cfg(test)]
mod tests;
