//! Five hundred addresses of one router: how soon all are announced, and what that does to the advertisements.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use buoy::lab::Host;
use buoy::lab::capture::{Capture, Direction};

use crate::Effort;
use crate::contestant::{Contestant, Contestants, Pair, wait_until};
use crate::instance::{GLOBAL, Instance, start};
use crate::report::{Report, Target};
use crate::sample::Sample;

const ADDRESSES: usize = 500;
const INTERVAL: Duration = Duration::from_millis(100);

pub(crate) fn measure(contestants: &Contestants, effort: Effort, report: &mut Report) -> Result<()> {
    let rounds = match effort {
        Effort::Full => 5,
        Effort::Quick => 1,
    };
    let seen = contestants.in_turns(rounds, become_master)?;
    let worst = |pick: fn(&Observed) -> f64| -> Result<Pair<f64>> {
        let worst = |all: &Vec<Observed>| Sample::of(all.iter().map(pick)).context("no runs");
        Ok(Pair { buoy: worst(&seen.buoy)?.worst(), keepalived: worst(&seen.keepalived)?.worst() })
    };
    let what = format!("{ADDRESSES} VIPs of a router, worst of {rounds}");
    report.add(
        format!("{what}: all added and announced"),
        "ms",
        worst(|o| o.announced)?,
        Target::AtMost(200.0),
    );
    report.add(format!("{what}: latest advertisement"), "ms", worst(|o| o.late)?, Target::AtMost(10.0));
    Ok(())
}

/// In milliseconds.
struct Observed {
    /// From the first advertisement until the last address has been announced once; an address is announced
    /// when the kernel has it.
    announced: f64,
    /// How late the latest advertisement was meanwhile.
    late: f64,
}

/// Starts a lonely director.
fn become_master(contestant: &Contestant) -> Result<Observed> {
    let (host, peer) = (Host::new("master")?, Host::new("peer")?);
    host.connect("eth0", &peer, "eth0")?;
    host.add_address("eth0", "10.0.0.1/16".parse()?)?;
    let capture = Capture::start(&host, "eth0")?;
    let vips = (0..ADDRESSES).map(|n| format!("10.0.{}.{}/16", 1 + n / 200, 1 + n % 200));
    let vips: Vec<String> = vips.collect();
    let (address, excluded) = vips.split_first().context("there are addresses")?;
    let mut configuration = GLOBAL.to_owned();
    let instance =
        Instance { interface: "eth0", vrid: 51, priority: 200, interval: INTERVAL, address, excluded };
    instance.write(&mut configuration);
    let _process = start(contestant, &host, &configuration)?;
    let announced = || {
        let mut first: BTreeMap<IpAddr, SystemTime> = BTreeMap::new();
        for frame in capture.frames() {
            if let (Direction::Out, Some(announcement)) = (frame.direction, frame.announcement()) {
                first.entry(announcement.address).or_insert(frame.at);
            }
        }
        first
    };
    let all = || Ok(announced().len() >= ADDRESSES);
    wait_until("all addresses are announced", Duration::from_secs(30), Duration::from_millis(250), all)?;
    let times: Vec<SystemTime> = capture.advertisements().into_iter().map(|(at, _)| at).collect();
    let began = *times.first().context("it advertises")?;
    let ended = announced().into_values().max().unwrap_or(began);
    let late = times.iter().zip(times.iter().skip(1)).map(|(earlier, later)| {
        let apart = later.duration_since(*earlier).unwrap_or_default();
        apart.saturating_sub(INTERVAL).as_secs_f64() * 1000.0
    });
    Ok(Observed {
        announced: ended.duration_since(began).unwrap_or_default().as_secs_f64() * 1000.0,
        late: late.fold(0.0, f64::max),
    })
}
