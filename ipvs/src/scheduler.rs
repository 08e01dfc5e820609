use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// How a real server is chosen for a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheduler {
    /// Round robin.
    Rr,
    /// Weighted round robin.
    Wrr,
    /// Least connections.
    Lc,
    /// Weighted least connections.
    Wlc,
    /// Locality-based least connections: by destination address.
    Lblc,
    /// The same with a set of servers for each destination.
    Lblcr,
    /// Destination hashing.
    Dh,
    /// Source hashing.
    Sh,
    /// Shortest expected delay.
    Sed,
    /// Never queue.
    Nq,
    /// Weighted fail over: the heaviest.
    Fo,
    /// Weighted overflow: the heaviest with fewer active connections than its weight.
    Ovf,
    /// Maglev hashing.
    Mh,
    /// The better of two random choices.
    Twos,
    /// Weighted destination hashing that moves few; of Buoy's own engine.
    Wdh,
    /// Weighted source hashing that moves few; of Buoy's own engine.
    Wsh,
}

impl Scheduler {
    pub const ALL: [Self; 16] = [
        Self::Rr,
        Self::Wrr,
        Self::Lc,
        Self::Wlc,
        Self::Lblc,
        Self::Lblcr,
        Self::Dh,
        Self::Sh,
        Self::Sed,
        Self::Nq,
        Self::Fo,
        Self::Ovf,
        Self::Mh,
        Self::Twos,
        Self::Wdh,
        Self::Wsh,
    ];

    /// The kernel's name for those that it has, which their modules `ip_vs_NAME` have too.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rr => "rr",
            Self::Wrr => "wrr",
            Self::Lc => "lc",
            Self::Wlc => "wlc",
            Self::Lblc => "lblc",
            Self::Lblcr => "lblcr",
            Self::Dh => "dh",
            Self::Sh => "sh",
            Self::Sed => "sed",
            Self::Nq => "nq",
            Self::Fo => "fo",
            Self::Ovf => "ovf",
            Self::Mh => "mh",
            Self::Twos => "twos",
            Self::Wdh => "wdh",
            Self::Wsh => "wsh",
        }
    }

    /// The scheduler itself, or the one to use in its stead where the kernel forwards.
    pub const fn nearest_in_kernel(self) -> Self {
        match self {
            Self::Wdh => Self::Dh,
            Self::Wsh => Self::Sh,
            other => other,
        }
    }

    /// Those that Linux has.
    pub fn of_kernel() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|scheduler| scheduler.nearest_in_kernel() == *scheduler)
    }
}

impl fmt::Display for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "no scheduler is called `{0}`; there are rr, wrr, lc, wlc, lblc, lblcr, dh, sh, sed, nq, fo, ovf, mh, twos, wdh \
     and wsh"
)]
pub struct UnknownScheduler(pub String);

impl FromStr for Scheduler {
    type Err = UnknownScheduler;

    fn from_str(name: &str) -> Result<Self, UnknownScheduler> {
        let known = Self::ALL.into_iter().find(|scheduler| scheduler.name() == name);
        known.ok_or_else(|| UnknownScheduler(name.to_owned()))
    }
}

/// Switches of a scheduler (`IP_VS_SVC_F_SCHED1` to `3`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SchedulerFlags {
    /// `flag-1`. For sh, mh, wdh and wsh: another server where the chosen one takes nothing (`sh-fallback`,
    /// `mh-fallback`).
    pub flag_1: bool,
    /// `flag-2`. For sh, mh and wsh: the source port counts too (`sh-port`, `mh-port`).
    pub flag_2: bool,
    /// `flag-3`.
    pub flag_3: bool,
}

impl SchedulerFlags {
    pub const NONE: Self = Self { flag_1: false, flag_2: false, flag_3: false };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scheduler_is_found_by_its_name() {
        for scheduler in Scheduler::ALL {
            assert_eq!(scheduler.name().parse(), Ok(scheduler));
        }
        assert_eq!(Scheduler::of_kernel().count(), 14);
        assert_eq!("RR".parse::<Scheduler>(), Err(UnknownScheduler("RR".to_owned())));
    }
}
