//! Checking a large configuration: 40,000 real servers in 400 services.

use std::fmt::Write;
use std::fs;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::Effort;
use crate::contestant::{Contestants, Pair};
use crate::report::{Report, Target};
use crate::sample::Sample;

const SERVICES: u32 = 400;
const SERVERS: u32 = 100;

pub(crate) fn measure(contestants: &Contestants, effort: Effort, report: &mut Report) -> Result<()> {
    let rounds = match effort {
        Effort::Full => 9,
        Effort::Quick => 3,
    };
    let folder = tempfile::Builder::new().prefix("buoy-bench-").tempdir().context("making a folder")?;
    let file = folder.path().join("large.conf");
    fs::write(&file, configuration()).context("writing a configuration")?;
    let times = contestants.in_turns(rounds, |contestant| {
        let mut command = Command::new(contestant.path());
        match contestant.name {
            "buoy" => command.arg("check").arg(&file),
            _ => command.arg("-t").arg("-f").arg(&file),
        };
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let began = Instant::now();
        let status = command.status().with_context(|| format!("running {}", contestant.name))?;
        let took = began.elapsed();
        ensure!(status.success(), "{} finds nothing wrong with the file, but: {status}", contestant.name);
        Ok(took.as_secs_f64())
    })?;
    let sample = |times: &Vec<f64>| Sample::of(times.iter().copied()).context("no runs");
    let samples = Pair { buoy: sample(&times.buoy)?, keepalived: sample(&times.keepalived)? };
    let what = format!("checking {} real servers in {SERVICES} services", SERVICES * SERVERS);
    report.add(
        format!("{what}, median of {rounds}"),
        "s",
        samples.map(Sample::median),
        Target::HalfIfPossible,
    );
    report.add(format!("{what}, best of {rounds}"), "s", samples.map(Sample::best), Target::HalfIfPossible);
    Ok(())
}

fn configuration() -> String {
    let mut text = String::new();
    for service in 0..SERVICES {
        let (high, low) = (service / 200, 1 + service % 200);
        // Writing to a string cannot fail.
        write!(
            text,
            "virtual_server 10.0.{high}.{low} 80 {{\n    delay_loop 6\n    lb_algo wrr\n    lb_kind NAT\n    \
             protocol TCP\n"
        )
        .ok();
        for server in 1..=SERVERS {
            let (third, fourth) = (service % 250, server);
            write!(
                text,
                "    real_server 10.{}.{third}.{fourth} 80 {{\n        weight 1\n        TCP_CHECK {{\n            \
                 connect_timeout 3\n        }}\n    }}\n",
                1 + service / 250
            )
            .ok();
        }
        text.push_str("}\n");
    }
    text
}
