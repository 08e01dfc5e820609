//! The engine does with every packet what the kernel's IPVS does with it.
//!
//! Scripts of changes, packets and errors of ICMP are made out of a seed, and played to both: to the kernel of user-mode
//! Linux by frames on its wires, and to the engine in the same process. After each step these have to agree: whether a
//! change is refused and why, the packets that come out with every byte of theirs and their next hop, and the list of
//! connections with their states and times; at the end of a script also the counters. What the engine leaves to its host
//! is compared with what a host without IPVS does. A script on which they disagree is made as short as it still shows
//! that, and printed.
//!
//! `BUOY_DIFFERENTIAL_SCRIPTS` is how many are played, `BUOY_DIFFERENTIAL_SEED` the number of the first one.
//!
//! What is left out of comparisons is said in [`compare`]; what scripts leave out, because the engine is to differ from
//! this kernel, in [`generate`].

mod compare;
mod generate;
mod house;
mod listing;
#[path = "../kernel/machine.rs"]
#[expect(dead_code, reason = "it also runs the cases of other programs")]
mod machine;
mod packet;
mod place;
mod play;
mod run;
mod script;
mod shrink;

use std::time::Duration;

const SCRIPTS: &str = "BUOY_DIFFERENTIAL_SCRIPTS";
const SEED: &str = "BUOY_DIFFERENTIAL_SEED";

#[test]
fn engine_and_kernel_agree_on_generated_scripts() {
    const LIMIT: Duration = Duration::from_secs(3600);
    // What is set when user-mode Linux boots its programs find in their environment. Other kernels have other versions
    // of IPVS.
    let options = [(SCRIPTS, number(SCRIPTS, 2000)), (SEED, number(SEED, 1))];
    let options: Vec<_> = options.iter().map(|(name, value)| format!("{name}={value}")).collect();
    machine::run(&["--ignored", "--exact", "scripts", "--nocapture"], &options.join(" "), LIMIT);
}

#[test]
#[ignore = "runs in a kernel of its own"]
fn scripts() {
    if machine::inside() {
        let first = number(SEED, 1);
        run::scripts(first..first + number(SCRIPTS, 2000));
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .map_or(default, |value| value.parse().unwrap_or_else(|error| panic!("{name}: {error}")))
}
