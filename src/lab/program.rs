use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A program that can be a director: it reads a keepalived configuration and takes keepalived's options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    Buoy(PathBuf),
    Keepalived(PathBuf),
}

impl Program {
    /// Tells by the file name which of the two a program is.
    pub fn at(path: PathBuf) -> Self {
        match path.file_name() {
            Some(name) if name == "keepalived" => Self::Keepalived(path),
            _ => Self::Buoy(path),
        }
    }

    /// The keepalived installed on this machine.
    pub fn keepalived() -> Option<Self> {
        find_program("keepalived").map(Self::Keepalived)
    }

    /// A command that runs the program in the foreground, logging to its output, with `config` as its
    /// configuration, `id` as its answer to `@id` conditions, and everything it writes in `directory`.
    /// Started by [`super::Host::spawn`], it dies with its starter.
    ///
    /// keepalived runs VRRP only; [`Program::balancing_command`] runs all of it.
    pub fn command(&self, config: &Path, directory: &Path, id: &str) -> Command {
        let mut command = self.balancing_command(config, directory, id);
        if let Self::Keepalived(_) = self {
            command.arg("-P");
        }
        command
    }

    /// [`Program::command`] with virtual servers.
    pub fn balancing_command(&self, config: &Path, directory: &Path, id: &str) -> Command {
        let mut command = match self {
            Self::Buoy(path) => {
                let mut command = Command::new(path);
                command.arg("run").arg("--die-with-parent").arg("--control").arg(directory.join("control"));
                command
            }
            Self::Keepalived(path) => {
                // Without -D: keepalived then logs less before it sends, and is 0.4 ms quicker to take over.
                let mut command = dying_with_parent(path);
                command.arg("-r").arg(directory.join("vrrp.pid"));
                command.arg("-c").arg(directory.join("checkers.pid"));
                command
            }
        };
        command.args(["-n", "-l", "-i", id]).arg("-f").arg(config).arg("-p").arg(directory.join("pid"));
        command
    }
}

/// Looks for a program where the shell of an administrator would.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(system).map(|folder| folder.join(name)).find(|program| program.is_file())
}

/// A program that knows nothing of its parent's death is told by util-linux's `setpriv`, where there is one.
/// `setpriv` then becomes the program, under the same process id.
pub(super) fn dying_with_parent(program: &Path) -> Command {
    match find_program("setpriv") {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "KILL", "--"]).arg(program);
            command
        }
        None => Command::new(program),
    }
}
