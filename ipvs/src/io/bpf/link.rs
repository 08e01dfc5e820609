//! Programs on the ingress of interfaces.
#![expect(unsafe_code, reason = "bpf(2) takes pointers")]

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use thiserror::Error;

use super::clsact::Filter;
use super::program::Program;
use super::syscall::{self, Command, LinkCreate, LinkUpdate, bpf, bpf_fd, number};

/// `BPF_TCX_INGRESS`
const TCX_INGRESS: u32 = 46;
/// `BPF_LINK_TYPE_TCX`
const LINK_TYPE_TCX: u32 = 11;

/// What a program hangs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Linux 6.6 and later. The program is gone when its owner is.
    Tcx,
    /// A filter of the queueing discipline `clsact`. It stays when its owner is killed; the next one takes its place.
    Clsact,
}

/// A program on the ingress of an interface, for as long as this lives or is pinned. Other programs may be there too:
/// those of tcx that came earlier run earlier, filters run later.
#[derive(Debug)]
pub struct Attachment {
    interface: u32,
    by: By,
}

#[derive(Debug)]
enum By {
    Link(OwnedFd),
    Filter(Filter),
}

#[derive(Debug, Error)]
pub enum AttachError {
    #[error("cannot attach a program to interface {interface} by {hook:?}")]
    Attach {
        interface: u32,
        hook: Hook,
        #[source]
        source: io::Error,
    },
    #[error("cannot replace the program of interface {interface}")]
    Replace {
        interface: u32,
        #[source]
        source: io::Error,
    },
    #[error("cannot pin the attachment of interface {interface} to {}", path.display())]
    Pin {
        interface: u32,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot open the attachment {}", path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is no attachment to the ingress of an interface", path.display())]
    Different { path: PathBuf },
}

impl Attachment {
    /// By tcx, or by `clsact` where the kernel has no tcx. `interface` is one of the network namespace of this thread.
    ///
    /// # Errors
    /// There is no such interface, or the kernel permits it not.
    pub fn new(program: &Program, interface: u32) -> Result<Self, AttachError> {
        match Self::by(Hook::Tcx, program, interface) {
            // What an unknown kind of attachment is answered with.
            Err(AttachError::Attach { source, .. })
                if source.raw_os_error() == Some(Errno::EINVAL as i32) =>
            {
                Self::by(Hook::Clsact, program, interface)
            }
            outcome => outcome,
        }
    }

    /// By that hook and no other.
    ///
    /// # Errors
    /// There is no such interface, or the kernel has no such hook or does not permit it.
    pub fn by(hook: Hook, program: &Program, interface: u32) -> Result<Self, AttachError> {
        let by = match hook {
            Hook::Tcx => link(program, interface).map(By::Link),
            Hook::Clsact => Filter::new(program, interface).map(By::Filter),
        };
        match by {
            Ok(by) => Ok(Self { interface, by }),
            Err(source) => Err(AttachError::Attach { interface, hook, source }),
        }
    }

    /// What was pinned there by [`Self::pin`].
    ///
    /// # Errors
    /// There is none.
    pub fn open(path: &Path) -> Result<Self, AttachError> {
        let failed = |source| AttachError::Open { path: path.to_owned(), source };
        let fd = syscall::open(path).map_err(failed)?;
        let info = syscall::link_info(fd.as_fd()).map_err(failed)?;
        if info.link_type != LINK_TYPE_TCX || info.attach_type != TCX_INGRESS {
            return Err(AttachError::Different { path: path.to_owned() });
        }
        Ok(Self { interface: info.ifindex, by: By::Link(fd) })
    }

    /// Puts another program in the place of this one. No packet passes between them.
    ///
    /// # Errors
    /// The interface is gone.
    pub fn replace(&mut self, program: &Program) -> Result<(), AttachError> {
        let outcome = match &self.by {
            By::Link(fd) => {
                let mut attributes = LinkUpdate {
                    link_fd: number(fd.as_fd()),
                    new_prog_fd: number(program.fd()),
                    ..LinkUpdate::default()
                };
                // SAFETY: no pointers in it.
                unsafe { bpf(Command::LinkUpdate, &mut attributes) }.map(drop)
            }
            By::Filter(filter) => filter.replace(program),
        };
        outcome.map_err(|source| AttachError::Replace { interface: self.interface, source })
    }

    /// Keeps the program where it is under a name in a file system of type `bpf`, when this and its owner are gone.
    ///
    /// # Errors
    /// No such file system, the name is taken, or the hook is not tcx (`EOPNOTSUPP`).
    pub fn pin(&self, path: &Path) -> Result<(), AttachError> {
        let outcome = match &self.by {
            By::Link(fd) => syscall::pin(fd.as_fd(), path),
            By::Filter(_) => Err(Errno::EOPNOTSUPP.into()),
        };
        outcome.map_err(|source| AttachError::Pin {
            interface: self.interface,
            path: path.to_owned(),
            source,
        })
    }

    pub const fn hook(&self) -> Hook {
        match self.by {
            By::Link(_) => Hook::Tcx,
            By::Filter(_) => Hook::Clsact,
        }
    }

    /// The index of the interface; zero if it was gone when the attachment was opened.
    pub const fn interface(&self) -> u32 {
        self.interface
    }
}

fn link(program: &Program, interface: u32) -> io::Result<OwnedFd> {
    let mut attributes = LinkCreate {
        prog_fd: number(program.fd()),
        target_ifindex: interface,
        attach_type: TCX_INGRESS,
        ..LinkCreate::default()
    };
    // SAFETY: no pointers in it; the command answers with a descriptor.
    unsafe { bpf_fd(Command::LinkCreate, &mut attributes) }
}
