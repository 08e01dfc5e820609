//! How long a service pauses for its clients when the director that has it stops in good order.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use buoy::lab::capture::{Capture, Direction, Frame};
use buoy::lab::probe::{Echo, Probe, SETTLE};
use buoy::lab::{Host, Switch};
use nix::sys::signal::Signal;

use crate::Effort;
use crate::contestant::{Contestant, Contestants, Pair, wait_until};
use crate::instance::{GLOBAL, Instance, start};
use crate::report::{Report, Target};
use crate::sample::Sample;

const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 100));
const ECHO_PORT: u16 = 7;
const INTERVAL: Duration = Duration::from_millis(100);

pub(crate) fn measure(contestants: &Contestants, effort: Effort, report: &mut Report) -> Result<()> {
    let rounds = match effort {
        Effort::Full => 10,
        Effort::Quick => 2,
    };
    let gaps = contestants.in_turns(rounds, stop)?;
    let sample = |pick: fn(&Gaps) -> f64| -> Result<Pair<Sample>> {
        let of = |all: &[Gaps]| Sample::of(all.iter().map(pick)).context("no runs");
        Ok(Pair { buoy: of(&gaps.buoy)?, keepalived: of(&gaps.keepalived)? })
    };
    let what = "service gap of an orderly stop, advert 0.1 s";
    let (handover, undisturbed) = (sample(|gaps| gaps.handover)?, sample(|gaps| gaps.undisturbed)?);
    let target = Target::AtMost(3.0);
    report.add(format!("{what}, median of {rounds}"), "ms", handover.map(Sample::median), target);
    report.add(format!("{what}, worst of {rounds}"), "ms", handover.map(Sample::worst), Target::None);
    let what = "the same without a stop: what this machine does to the probe";
    report.add(format!("{what}, median"), "ms", undisturbed.map(Sample::median), Target::None);
    report.add(format!("{what}, worst"), "ms", undisturbed.map(Sample::worst), Target::None);
    Ok(())
}

/// The longest gaps between two answers, in milliseconds.
struct Gaps {
    /// From the signal until shortly after the successor has announced the address.
    handover: f64,
    /// In the time before.
    undisturbed: f64,
}

/// About as long as a hand-over takes.
const BEFORE: Duration = Duration::from_millis(130);

fn stop(contestant: &Contestant) -> Result<Gaps> {
    let switch = Switch::new("switch")?;
    let client = host(&switch, "client", "192.0.2.10/24")?;
    let master = host(&switch, "master", "192.0.2.1/24")?;
    let backup = host(&switch, "backup", "192.0.2.2/24")?;
    let _echoes = [Echo::start(&master, ECHO_PORT)?, Echo::start(&backup, ECHO_PORT)?];
    let mut stopping = start(contestant, &master, &configuration(200))?;
    let _staying = start(contestant, &backup, &configuration(100))?;
    let alone = || Ok(master.holds(VIP)? && !backup.holds(VIP)?);
    let pause = Duration::from_millis(10);
    wait_until("the stronger director has the address", Duration::from_secs(20), pause, alone)?;
    let probe = Probe::start(&client, VIP, ECHO_PORT)?;
    let capture = Capture::start(&backup, "eth0")?;
    // Long enough for a peer that started late to have found its place.
    std::thread::sleep(INTERVAL * 10);
    let since = SystemTime::now();
    let undisturbed = probe.report_since(since - BEFORE).longest_gap;
    let since = SystemTime::now();
    stopping.signal(Signal::SIGTERM)?;
    let announced = |frame: &Frame| frame.direction == Direction::Out && frame.announcement().is_some();
    capture.wait_for(since, Duration::from_secs(10), announced)?;
    // Answers may be on their way; a gap that is still open is counted as far as it got.
    std::thread::sleep(SETTLE);
    let handover = probe.report_since(since).longest_gap;
    stopping.wait(Duration::from_secs(10))?;
    let milliseconds = |gap: Duration| gap.as_secs_f64() * 1000.0;
    Ok(Gaps { handover: milliseconds(handover), undisturbed: milliseconds(undisturbed) })
}

fn host(switch: &Switch, name: &str, address: &str) -> Result<Host> {
    let host = Host::new(name)?;
    switch.connect(&host, "eth0")?;
    host.add_address("eth0", address.parse()?)?;
    Ok(host)
}

fn configuration(priority: u8) -> String {
    let mut configuration = GLOBAL.to_owned();
    let address = format!("{VIP}/24");
    let instance = Instance {
        interface: "eth0",
        vrid: 51,
        priority,
        interval: INTERVAL,
        address: &address,
        excluded: &[],
    };
    instance.write(&mut configuration);
    configuration
}
