//! A thousand virtual routers on two directors: what they cost, and how they move when the master is killed.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use buoy::lab::capture::{Capture, Takeover};
use buoy::lab::{Host, Process};

use crate::Effort;
use crate::contestant::{Contestant, Contestants, Pair, wait_until};
use crate::instance::{GLOBAL, Instance, start};
use crate::report::{Report, Target};
use crate::sample::Sample;
use crate::usage::{self, Memory, Meter, Spent, mib};

const LINKS: u8 = 4;
const ROUTERS_PER_LINK: u8 = 250;

/// Both announce again five seconds after becoming master; from then on a crowd is quiet.
const SETTLE: Duration = Duration::from_secs(7);

pub(crate) fn measure(contestants: &Contestants, effort: Effort, report: &mut Report) -> Result<()> {
    let (rounds, length, settle) = match effort {
        Effort::Full => (2, Duration::from_secs(12), SETTLE),
        Effort::Quick => (1, Duration::from_secs(3), Duration::from_secs(1)),
    };
    let intervals: &[u64] = match effort {
        Effort::Full => &[1000, 100],
        Effort::Quick => &[100],
    };
    for milliseconds in intervals {
        let interval = Duration::from_millis(*milliseconds);
        let observe = |contestant: &Contestant| Crowd::gather(contestant, interval)?.observe(settle, length);
        let seen = contestants.in_turns(rounds, observe)?;
        let what = format!("1,000 routers, advert {} s", interval.as_secs_f64());
        let mut add = |measure: &str, unit, target, figure: fn(&Observed) -> f64| -> Result<()> {
            let median = |all: &Vec<Observed>| Sample::of(all.iter().map(figure)).context("no runs");
            let samples = Pair { buoy: median(&seen.buoy)?, keepalived: median(&seen.keepalived)? };
            report.add(format!("{what}: {measure}"), unit, samples.map(Sample::median), target);
            Ok(())
        };
        add("CPU of the master", "%", Target::HalfIfPossible, |o| o.percent[0])?;
        add("CPU of the backup", "%", Target::HalfIfPossible, |o| o.percent[1])?;
        add("resident memory of the master", "MiB", Target::Keepalived, |o| mib(o.memory[0].resident))?;
        add("resident memory of the backup", "MiB", Target::Keepalived, |o| mib(o.memory[1].resident))?;
        add("the same, shared pages counted once, master", "MiB", Target::None, |o| {
            mib(o.memory[0].proportional)
        })?;
        add("the same, shared pages counted once, backup", "MiB", Target::None, |o| {
            mib(o.memory[1].proportional)
        })?;
        add("last master to speak after kill -9, past the timer", "ms", Target::Keepalived, |o| o.spoken)?;
        add("last VIP announced after kill -9, past the timer", "ms", Target::Keepalived, |o| o.announced)?;
    }
    Ok(())
}

/// Two directors with their cables, the master alone in charge.
struct Crowd {
    interval: Duration,
    hosts: [Host; 2],
    processes: [Process; 2],
}

/// The two directors in the order master, backup; times in milliseconds.
#[derive(Clone, Copy, Debug)]
struct Observed {
    percent: [f64; 2],
    memory: [Memory; 2],
    spoken: f64,
    announced: f64,
}

impl Crowd {
    fn gather(contestant: &Contestant, interval: Duration) -> Result<Self> {
        let hosts = [Host::new("master")?, Host::new("backup")?];
        let [master, backup] = &hosts;
        for link in 0..LINKS {
            let interface = interface(link);
            master.connect(&interface, backup, &interface)?;
            master.add_address(&interface, format!("10.{link}.0.1/16").parse()?)?;
            backup.add_address(&interface, format!("10.{link}.0.2/16").parse()?)?;
        }
        let limit = Duration::from_secs(60);
        let stronger = start(contestant, master, &configuration(200, interval))?;
        let all_up = || Ok(vips_held(master)? == usize::from(LINKS) * usize::from(ROUTERS_PER_LINK));
        wait_until("the master has all addresses", limit, Duration::from_millis(200), all_up)?;
        let weaker = start(contestant, backup, &configuration(100, interval))?;
        // Longer than a backup waits for a master that is not there.
        sleep(interval * 5 + Duration::from_secs(1));
        ensure!(vips_held(backup)? == 0, "the weaker {} leaves the stronger alone", contestant.name);
        Ok(Self { interval, hosts, processes: [stronger, weaker] })
    }

    fn observe(self, settle: Duration, length: Duration) -> Result<Observed> {
        let Self { interval, hosts: [_master, backup], processes: [mut stronger, weaker] } = self;
        sleep(settle);
        let begin = [Meter::read(&stronger)?, Meter::read(&weaker)?];
        sleep(length);
        let percent = [
            percent(Meter::read(&stronger)?.since(&begin[0])),
            percent(Meter::read(&weaker)?.since(&begin[1])),
        ];
        let memory = [usage::memory(&stronger)?, usage::memory(&weaker)?];

        let captures = (0..LINKS).map(|link| Capture::start(&backup, &interface(link)));
        let captures = captures.collect::<Result<Vec<_>>>()?;
        sleep(interval * 2 + Duration::from_millis(200));
        let killed = SystemTime::now();
        stronger.kill();
        let all_up = || Ok(vips_held(&backup)? == usize::from(LINKS) * usize::from(ROUTERS_PER_LINK));
        let limit = Duration::from_secs(30);
        wait_until("the backup has all addresses", limit, Duration::from_millis(200), all_up)?;
        sleep(Duration::from_secs(1));
        let (mut spoken, mut announced) = (f64::MIN, f64::MIN);
        for (link, capture) in (0..LINKS).zip(&captures) {
            ensure!(capture.dropped() == 0, "the capture is complete");
            let takeovers = capture.takeovers_since(killed);
            let announcements = first_announcements(capture, killed);
            ensure!(
                takeovers.len() == usize::from(ROUTERS_PER_LINK),
                "{} takeovers were captured on a link of {ROUTERS_PER_LINK} routers",
                takeovers.len()
            );
            for takeover in &takeovers {
                let vip = vip(link, takeover.to.vrid).parse::<IpAddr>()?;
                let at = announcements.get(&vip).with_context(|| format!("{vip} was never announced"))?;
                spoken = spoken.max(past_the_timer(takeover, takeover.at));
                announced = announced.max(past_the_timer(takeover, *at));
            }
        }
        Ok(Observed { percent, memory, spoken, announced })
    }
}

fn first_announcements(capture: &Capture, since: SystemTime) -> BTreeMap<IpAddr, SystemTime> {
    let mut first = BTreeMap::new();
    for frame in capture.frames().iter().filter(|frame| frame.at > since) {
        if let Some(announcement) = frame.announcement() {
            first.entry(announcement.address).or_insert(frame.at);
        }
    }
    first
}

fn past_the_timer(takeover: &Takeover, at: SystemTime) -> f64 {
    let last_word = takeover.at - takeover.silence;
    let waited = at.duration_since(last_word).unwrap_or_default();
    (waited.as_secs_f64() - takeover.timer().as_secs_f64()) * 1000.0
}

fn vips_held(host: &Host) -> Result<usize> {
    let is_vip = |address: &&IpAddr| matches!(address, IpAddr::V4(v4) if v4.octets()[2] == 1);
    Ok(host.addresses()?.iter().filter(is_vip).count())
}

fn configuration(priority: u8, interval: Duration) -> String {
    let mut configuration = GLOBAL.to_owned();
    for link in 0..LINKS {
        for vrid in 1..=ROUTERS_PER_LINK {
            let (interface, address) = (interface(link), format!("{}/16", vip(link, vrid)));
            let (interface, address, excluded) = (interface.as_str(), address.as_str(), &[][..]);
            Instance { interface, vrid, priority, interval, address, excluded }.write(&mut configuration);
        }
    }
    configuration
}

fn interface(link: u8) -> String {
    format!("eth{link}")
}

fn vip(link: u8, vrid: u8) -> String {
    format!("10.{link}.1.{vrid}")
}

/// Of one processor.
fn percent(Spent { used, elapsed, .. }: Spent) -> f64 {
    100.0 * used.as_secs_f64() / elapsed.as_secs_f64()
}
