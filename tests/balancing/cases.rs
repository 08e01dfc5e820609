//! The cases. Each runs in a kernel that has IPVS, and makes its own laboratory there.

use std::time::Instant;

/// Makes two tests of each function, one for each program.
macro_rules! with_both_programs {
    ($($name:ident),+ $(,)?) => {
        mod keepalived {
            $(#[test]
            #[ignore = "runs in a kernel of its own"]
            fn $name() {
                crate::cases::timed(|| super::$name(crate::director::keepalived()));
            })+
        }

        mod buoy {
            $(#[test]
            #[ignore = "runs in a kernel of its own"]
            fn $name() {
                crate::cases::timed(|| super::$name(crate::director::buoy()));
            })+
        }
    };
}

/// Makes a test of each function, for what keepalived does not do.
macro_rules! with_buoy_alone {
    ($($name:ident),+ $(,)?) => {
        mod buoy_alone {
            $(#[test]
            #[ignore = "runs in a kernel of its own"]
            fn $name() {
                crate::cases::timed(super::$name);
            })+
        }
    };
}

mod agents;
mod continuity;
mod detours;
mod draining;
mod failing;
mod families;
mod forwarding;
mod ipvsadm;
mod listing;
mod operators;
mod pair;
mod panic;
mod quorum;
mod same_tables;
mod scheduling;
mod sctp;
mod timeouts;

/// Runs a case where it may run, and says how long it took.
fn timed(case: impl FnOnce()) {
    if crate::machine::inside() {
        let begun = Instant::now();
        case();
        eprintln!("passed in {:?}", begun.elapsed());
    }
}
