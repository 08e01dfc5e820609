//! Thousands of reloads with random changes, some of them mistakes: what a daemon is like after that.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use buoy::api::client::{self, Client};
use buoy::api::{Reply, Request};
use buoy::lab::Host;

use crate::Effort;
use crate::contestant::{Contestants, wait_until};
use crate::director::Director;
use crate::listing;
use crate::report::{Report, Target};
use crate::usage::{self, mib};

mod site;

use site::Site;

/// One reload of so many is a mistake.
const MISTAKES: u32 = 20;
const SEED: u64 = 7;

pub(crate) fn measure(contestants: &Contestants, effort: Effort, report: &mut Report) -> Result<()> {
    // It takes thousands until the heap of every thread has once held the most that it will.
    let (count, settled, limit) = match effort {
        Effort::Full => (15_000, 5_000, Duration::from_secs(600)),
        Effort::Quick => (1_500, 500, Duration::from_secs(120)),
    };
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut site = Site::new(&mut random);
    let (first, services) = (site.configuration(), site.services());
    let host = Host::new("director")?;
    let director = Director::start(&contestants.buoy, &host, &first)?;
    let control = director.control();
    let answers = || Ok(client::status(&control).is_ok());
    wait_until("the daemon answers", Duration::from_secs(30), Duration::from_millis(20), answers)?;
    let go_to = |configuration: &str, services: usize| -> Result<()> {
        director.configure(configuration.as_bytes())?;
        ensure!(reload(&control)?, "a good configuration is refused:\n{configuration}");
        let held = || Ok(listing::services(&host)? == services);
        wait_until("IPVS has the services", Duration::from_secs(30), Duration::from_millis(200), held)
    };
    // What a heap has once been used for it keeps: the most comes first, and memory is compared in the same place.
    let most = Site::largest(&mut random);
    go_to(&most.configuration(), most.services())?;
    let memory = || -> Result<f64> {
        go_to(&first, services)?;
        Ok(mib(usage::memory(&director.process)?.proportional))
    };
    let begin = Instant::now();
    let (mut made, mut refused, mut early, mut before) = (0, 0_u32, None, None);
    while made < count && begin.elapsed() < limit {
        site.change(&mut random);
        let mut text = site.configuration().into_bytes();
        if random.u32(0..MISTAKES) == 0 {
            site::damage(&mut text, &mut random);
        }
        director.configure(&text)?;
        refused += u32::from(!reload(&control)?);
        made += 1;
        if made == settled / 5 {
            early = Some(memory()?);
        }
        if made == settled {
            before = Some(memory()?);
        }
    }
    let took = begin.elapsed();
    let before = before.with_context(|| format!("only {made} reloads were made in {limit:?}"))?;
    let growth = memory()? - before;
    let settling = before - early.unwrap_or(before);
    let panics: u64 = client::status(&control)?.daemon.restarts.values().sum();
    let log = director.process.log();
    if let Some(line) = log.iter().find(|line| line.text.contains("panic")) {
        bail!("the log has: {}", line.text);
    }
    let what = format!("{made} random reloads, {refused} of them refused");
    report.add(format!("{what}: panics"), "", f64::from(u32::try_from(panics)?), Target::AtMost(0.0));
    report.add(format!("{what}: memory gained since reload {settled}"), "MiB", growth, Target::AtMost(1.0));
    report.add(format!("{what}: the same from {} to there", settled / 5), "MiB", settling, Target::None);
    report.add(format!("{what}: memory at reload {settled}"), "MiB", before, Target::None);
    let each = took.as_secs_f64() * 1000.0 / f64::from(made);
    report.add(format!("{what}: time of one, file included"), "ms", each, Target::None);
    Ok(())
}

/// Whether the configuration is taken.
fn reload(control: &std::path::Path) -> Result<bool> {
    match Client::ask(control, &Request::Reload)?.next_reply()? {
        Some(Reply::Done { .. }) => Ok(true),
        Some(Reply::Refused { .. }) => Ok(false),
        other => bail!("a reload is answered by {other:?}"),
    }
}
