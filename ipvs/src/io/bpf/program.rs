//! Programs for the traffic control hooks of interfaces.
#![expect(unsafe_code, reason = "bpf(2) reads programs and writes its log through pointers")]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use thiserror::Error;

use super::assembler::Code;
use super::syscall::{self, Command, ProgLoad, bpf_fd};

/// `BPF_PROG_TYPE_SCHED_CLS`
const SCHED_CLS: u32 = 3;
/// As in the manifest, in the words that the kernel knows. No helper in use is for programs under the GPL only.
const LICENSE: &CStr = c"Dual MIT/GPL";
/// `BPF_F_ANY_ALIGNMENT`, on processors that read and write at any address: there it does no harm, and some kernels do not
/// know that they run on one (user-mode Linux).
const ANY_ALIGNMENT: u32 =
    if cfg!(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "powerpc64")) { 2 } else { 0 };
/// What the verifier says about a program of a few hundred instructions fits.
const LOG_SIZE: usize = 1 << 20;
/// The end of it says why.
const LOG_LINES: usize = 30;

/// A program that the kernel has checked and translated.
#[derive(Debug)]
pub struct Program {
    fd: OwnedFd,
}

#[derive(Debug, Error)]
pub enum LoadError {
    /// No permission, or no such programs in this kernel.
    #[error("the kernel loads no program")]
    Refused(#[source] io::Error),
    /// With the last lines of what the kernel's verifier says.
    #[error("the kernel rejects the program {name}: {log}")]
    Rejected {
        name: &'static str,
        log: String,
        #[source]
        source: io::Error,
    },
}

impl Program {
    /// # Errors
    /// What the verifier says about it, or that this kernel has none.
    pub fn load(name: &'static str, code: &Code) -> Result<Self, LoadError> {
        let source = match Self::try_load(name, code, &mut []) {
            Ok(program) => return Ok(program),
            Err(error) => error,
        };
        if !matches!(source.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::PermissionDenied) {
            return Err(LoadError::Refused(source));
        }
        // Once more, with an ear for the reasons: writing them down every time would cost time.
        let mut log = vec![0; LOG_SIZE];
        match Self::try_load(name, code, &mut log) {
            Ok(program) => Ok(program),
            Err(source) => match last_lines(&log) {
                words if words.is_empty() => Err(LoadError::Refused(source)),
                log => Err(LoadError::Rejected { name, log, source }),
            },
        }
    }

    fn try_load(name: &str, code: &Code, log: &mut [u8]) -> io::Result<Self> {
        let slots = code.slots();
        let mut attributes = ProgLoad {
            prog_type: SCHED_CLS,
            insn_cnt: u32::try_from(slots.len()).unwrap_or(u32::MAX),
            insns: slots.as_ptr() as u64,
            license: LICENSE.as_ptr() as u64,
            prog_flags: ANY_ALIGNMENT,
            prog_name: syscall::object_name(name),
            ..ProgLoad::default()
        };
        if !log.is_empty() {
            attributes.log_level = 1;
            attributes.log_size = u32::try_from(log.len()).unwrap_or(u32::MAX);
            attributes.log_buf = log.as_mut_ptr() as u64;
        }
        // SAFETY: there are `insn_cnt` slots of eight bytes; the license ends with a NUL; `log` is borrowed mutably for
        // `log_size` bytes. All outlive the call, which answers with a descriptor.
        unsafe { bpf_fd(Command::ProgLoad, &mut attributes) }.map(|fd| Self { fd })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The last lines of a text that ends with a NUL.
fn last_lines(log: &[u8]) -> String {
    let text = log.split(|byte| *byte == 0).next().unwrap_or_default();
    let text = String::from_utf8_lossy(text);
    let lines: Vec<&str> = text.trim().lines().collect();
    lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_log_the_end_is_told() {
        let mut log: Vec<u8> = (0..100).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
        log.extend([0; 10]);
        let words = last_lines(&log);
        assert!(words.starts_with("line 70\n") && words.ends_with("\nline 99"), "{words}");
        assert_eq!(last_lines(&[0; 4]), "");
        assert_eq!(last_lines(&[]), "");
    }
}
