//! A large table goes into IPVS, then one weight changes.

use std::ops::Range;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use buoy::api::{Action, Request, client};
use buoy::lab::{Host, Program};
use buoy_ipvs::kernel::ModuleLoading;
use buoy_ipvs::{KernelPlane, Plane};

use crate::Effort;
use crate::contestant::{Contestant, Contestants, Pair, wait_until};
use crate::director::Director;
use crate::listing::{self, First};
use crate::report::{Report, Target};
use crate::sample::Sample;
use crate::table::{SERVERS, SERVICES, Weighed, configuration};
use crate::usage::{Meter, Spent};

pub(crate) fn measure(contestants: &Contestants, effort: Effort, report: &mut Report) -> Result<()> {
    let (rounds, weights) = match effort {
        Effort::Full => (3, 5),
        Effort::Quick => (1, 3),
    };
    let seen = contestants.in_turns(rounds, |contestant| observe(contestant, weights))?;
    let mut add = |measure: String, unit, target, figure: fn(&Observed) -> f64| -> Result<()> {
        let median = |all: &Vec<Observed>| Sample::of(all.iter().map(figure)).context("no runs");
        let samples = Pair { buoy: median(&seen.buoy)?, keepalived: median(&seen.keepalived)? };
        report.add(measure, unit, samples.map(Sample::median), target);
        Ok(())
    };
    let what = format!("{SERVICES} services with {SERVERS} servers");
    add(format!("{what}: own CPU from start until IPVS has them"), "s", Target::AtMost(1.0), |o| o.load.own)?;
    add(format!("{what}: the same with the kernel's part"), "s", Target::None, |o| o.load.cpu)?;
    add(format!("{what}: time of the same"), "s", Target::None, |o| o.load.time)?;
    let weight = format!("{what}, a reload with one other weight");
    add(format!("{weight}: until IPVS has it"), "s", Target::None, |o| o.reload.time)?;
    add(format!("{weight}: CPU of the same"), "s", Target::None, |o| o.reload.cpu)?;
    let told = |figure: fn(&Spending) -> f64| {
        Sample::of(seen.buoy.iter().filter_map(|o| o.told.as_ref()).map(figure)).context("no runs")
    };
    let weight = format!("{what}, one other weight by the control socket");
    let time = told(|told| told.time * 1000.0)?.median();
    report.add(format!("{weight}: until IPVS has it"), "ms", time, Target::AtMost(50.0));
    report.add(
        format!("{weight}: CPU of the same"),
        "ms",
        told(|told| told.cpu * 1000.0)?.median(),
        Target::None,
    );
    Ok(())
}

struct Observed {
    load: Spending,
    reload: Spending,
    /// A weight by the control socket, which keepalived does not have.
    told: Option<Spending>,
}

/// Seconds until something is done.
#[derive(Clone, Copy, Debug)]
struct Spending {
    cpu: f64,
    /// What of it was not the kernel's.
    own: f64,
    time: f64,
}

impl From<Spent> for Spending {
    fn from(Spent { used, own, elapsed }: Spent) -> Self {
        Self { cpu: used.as_secs_f64(), own: own.as_secs_f64(), time: elapsed.as_secs_f64() }
    }
}

fn observe(contestant: &Contestant, weights: u32) -> Result<Observed> {
    let host = Host::new("director")?;
    let director = Director::start(contestant, &host, &configuration(None))?;
    let begin = Meter::read(&director.process)?;
    let complete = || Ok(listing::entries(&host)? == SERVICES + SERVERS);
    wait_until("the table is complete", Duration::from_secs(240), Duration::from_secs(1), complete)
        .with_context(|| director.story(&host))?;
    let load = Meter::read(&director.process)?.since(&begin).into();
    let write = |weighed: Weighed| director.configure(configuration(Some(weighed)).as_bytes());
    let tell = |Weighed { service, server, weight }: Weighed| {
        let (service, server) = (format!("{service}:80"), format!("{server}:80"));
        let request = Request::Administer { service, server, action: Action::Weight { weight } };
        client::command(&director.control(), &request).map(drop)
    };
    let reload = weigh(&host, &director, 2..2 + weights, write, |_| director.reload())?;
    let told = match contestant.program {
        Program::Buoy(_) => Some(weigh(&host, &director, 100..100 + weights * 4, |_| Ok(()), tell)?),
        Program::Keepalived(_) => None,
    };
    drop(director);
    clear(&host)?;
    Ok(Observed { load, reload, told })
}

/// The kernel's listing is cut short by services of other namespaces, and those of a host may outlive it.
fn clear(host: &Host) -> Result<()> {
    host.run(|| KernelPlane::open(ModuleLoading::Never)?.flush()).context("emptying the table")
}

/// Gives a server one weight after the other; the middle of what that took.
fn weigh(
    host: &Host,
    director: &Director,
    weights: Range<u32>,
    prepare: impl Fn(Weighed) -> Result<()>,
    give: impl Fn(Weighed) -> Result<()>,
) -> Result<Spending> {
    let (mut times, mut cpu, mut all_own) = (Vec::new(), Vec::new(), Vec::new());
    for weight in weights {
        quiet(director)?;
        let First { service, server, .. } = listing::first(host)?;
        let weighed = Weighed { service, server, weight };
        prepare(weighed)?;
        let before = Meter::read(&director.process)?;
        give(weighed)?;
        let given = || Ok(listing::first(host)? == First { service, server, weight });
        wait_until("the weight is given", Duration::from_secs(60), Duration::from_millis(1), given)?;
        let Spending { cpu: used, own, time } = Meter::read(&director.process)?.since(&before).into();
        times.push(time);
        cpu.push(used);
        all_own.push(own);
    }
    let median = |numbers| Ok::<_, anyhow::Error>(Sample::of(numbers).context("no weights")?.median());
    Ok(Spending { cpu: median(cpu)?, own: median(all_own)?, time: median(times)? })
}

/// Waits until the program has nothing left to do.
fn quiet(director: &Director) -> Result<()> {
    let rest = || {
        let before = Meter::read(&director.process)?;
        sleep(Duration::from_millis(500));
        Ok(Meter::read(&director.process)?.since(&before).used < Duration::from_millis(20))
    };
    wait_until("the program rests", Duration::from_secs(60), Duration::ZERO, rest)
}
