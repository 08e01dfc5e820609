use std::fs;
use std::io;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};
use thiserror::Error;

/// Why an ordinary user cannot have a laboratory here, and what to do about it.
#[derive(Debug, Error)]
pub enum NamespaceRefused {
    #[error("this process already runs several threads; a user namespace must come first")]
    TooLate,
    #[error(
        "the kernel has user namespaces switched off for ordinary users; run as root, or allow them with \
         `sysctl -w kernel.unprivileged_userns_clone=1 user.max_user_namespaces=10000`"
    )]
    SwitchedOff(#[source] Errno),
    #[error(
        "AppArmor keeps user namespaces without rights here; run as root, or allow them with \
         `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`"
    )]
    AppArmor,
    #[error("this kernel was built without user namespaces; run as root")]
    NotBuilt(#[source] Errno),
    #[error("entering a user namespace failed; run as root")]
    Failed(#[source] Errno),
    #[error("mapping the user to root failed ({path}); run as root")]
    Map { path: &'static str, source: io::Error },
}

/// Makes an ordinary user root over network namespaces of its own. Does nothing for root.
///
/// Call it first thing in `main`: the kernel moves only a process of a single thread.
///
/// # Errors
/// When the kernel does not allow it; the message names the cure.
pub fn become_root_in_user_namespace() -> Result<(), NamespaceRefused> {
    let (uid, gid) = (geteuid(), getegid());
    if uid.is_root() {
        return Ok(());
    }
    unshare(CloneFlags::CLONE_NEWUSER).map_err(|errno| match errno {
        // EINVAL also means "not built in", but then the namespace file is missing too.
        Errno::EINVAL if fs::exists("/proc/self/ns/user").unwrap_or(false) => NamespaceRefused::TooLate,
        Errno::EINVAL => NamespaceRefused::NotBuilt(errno),
        Errno::EPERM | Errno::ENOSPC | Errno::EUSERS => NamespaceRefused::SwitchedOff(errno),
        errno => NamespaceRefused::Failed(errno),
    })?;
    // user_namespaces(7): an unprivileged process has to give up setgroups before it may map its group.
    for (path, line) in [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("0 {uid} 1")),
        ("/proc/self/gid_map", format!("0 {gid} 1")),
    ] {
        fs::write(path, line).map_err(|source| match source.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EACCES | Errno::EPERM) if restricted_by_apparmor() => NamespaceRefused::AppArmor,
            _ => NamespaceRefused::Map { path, source },
        })?;
    }
    Ok(())
}

/// Ubuntu 23.10 and later let the namespace come into being and take its capabilities away.
fn restricted_by_apparmor() -> bool {
    fs::read_to_string("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
        .is_ok_and(|value| value.trim() == "1")
}
