//! What this host lets the engine do. Found out by doing it, for rights, configuration and version of a kernel say less
//! than its answers.

use thiserror::Error;

use super::bpf::{AttachError, MapError};
use super::portable::{SendError, Sender, Steering, SteeringError};
use super::tap::{Tap, TapError};
use super::tc::{Capacities, Maps, ProgramError, Programs};

/// How packets come to the engine, and leave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// Programs of [`tc`](super::tc) and a TAP.
    Tc,
    /// Rules of nftables and a TAP, without eBPF: [`portable`](super::portable).
    Portable,
}

/// For each tier, nothing, or why it cannot be.
#[derive(Debug)]
pub struct Support {
    pub tc: Result<(), Obstacle>,
    pub portable: Result<(), Obstacle>,
}

/// What failed first. Its source says how the kernel put it.
#[derive(Debug, Error)]
pub enum Obstacle {
    #[error("no TAP devices")]
    Tap(#[from] TapError),
    #[error("no maps of eBPF")]
    Maps(#[from] MapError),
    #[error("no programs of eBPF")]
    Programs(#[from] ProgramError),
    #[error("no programs on interfaces")]
    Attachment(#[from] AttachError),
    #[error("no steering by nftables")]
    Steering(#[from] SteeringError),
    #[error("no packet sockets")]
    Sender(#[from] SendError),
}

/// In it the kernel puts a number.
const NAME: &str = "buoyprobe%d";
const CAPACITIES: Capacities = Capacities { flows: 1, next_hops: 1, selectors: 1 };

/// Tries each tier on an interface made for that in the network namespace of this thread. Nothing is left of it.
pub fn support() -> Support {
    Support { tc: tc(), portable: portable() }
}

impl Support {
    /// The faster one of those that can be.
    pub const fn best(&self) -> Option<Tier> {
        match (&self.tc, &self.portable) {
            (Ok(()), _) => Some(Tier::Tc),
            (Err(_), Ok(())) => Some(Tier::Portable),
            (Err(_), Err(_)) => None,
        }
    }
}

fn tc() -> Result<(), Obstacle> {
    let tap = Tap::create(NAME)?;
    let maps = Maps::create(CAPACITIES)?;
    let programs = Programs::load(&maps, tap.index())?;
    programs.attach(tap.index())?;
    Ok(())
}

fn portable() -> Result<(), Obstacle> {
    let tap = Tap::create(NAME)?;
    let mut steering = Steering::create(&tap)?;
    steering.attach(tap.index())?;
    Sender::open()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn the_faster_tier_is_the_best_that_there_is() {
        let no = || Err(Obstacle::Tap(TapError::Open(io::Error::from(io::ErrorKind::NotFound))));
        for (tc, portable, best) in [
            (Ok(()), Ok(()), Some(Tier::Tc)),
            (Ok(()), no(), Some(Tier::Tc)),
            (no(), Ok(()), Some(Tier::Portable)),
            (no(), no(), None),
        ] {
            assert_eq!(Support { tc, portable }.best(), best);
        }
    }
}
