//! How late a backup takes over, past the time that the protocol has it wait, when its master falls silent.
//!
//! The master is a source of advertisements here, which stops without a word. What counts is the silence on the
//! wire: from the kernel's stamp on the last advertisement of the source to that on the first one of the backup.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use buoy::config::{self, LoadOptions};
use buoy::lab::capture::{Capture, Takeover};
use buoy::lab::{Host, Process};
use buoy_vrrp::{
    AdvertisementFrame, Family, Interface, MULTICAST_V4, Priority, RouterSettings, SendSocket, Version,
};

use crate::Effort;
use crate::contestant::{Contestant, Contestants, Pair};
use crate::instance::{GLOBAL, Instance, start};
use crate::report::{Report, Target};
use crate::sample::Sample;

const BACKUP: u8 = 100;

pub(crate) fn measure(contestants: &Contestants, effort: Effort, report: &mut Report) -> Result<()> {
    for centiseconds in [10, 1] {
        let interval = Duration::from_millis(10) * centiseconds;
        let rounds = match effort {
            Effort::Full => 20,
            Effort::Quick => 5,
        };
        let duels = Pair {
            buoy: Duel::set(&contestants.buoy, interval)?,
            keepalived: Duel::set(&contestants.keepalived, interval)?,
        };
        let mut takeovers = Pair { buoy: Vec::new(), keepalived: Vec::new() };
        for _ in 0..rounds {
            takeovers.buoy.push(duels.buoy.fall_silent()?);
            takeovers.keepalived.push(duels.keepalived.fall_silent()?);
        }
        let sample = |figure: fn(&Takeover) -> f64| -> Result<Pair<Sample>> {
            let of = |all: &[Takeover]| Sample::of(all.iter().map(figure)).context("no runs");
            Ok(Pair { buoy: of(&takeovers.buoy)?, keepalived: of(&takeovers.keepalived)? })
        };
        let advert = format!("advert {} s", interval.as_secs_f64());
        let silence = sample(|takeover| takeover.silence.as_secs_f64() * 1000.0)?;
        let what = format!("failover when the master falls silent, {advert}, median of {rounds}");
        report.add(what, "ms", silence.map(Sample::median), Target::None);
        let late = sample(lateness)?;
        let what = format!("the same past the protocol's timer, {advert}");
        report.add(format!("{what}, median of {rounds}"), "ms", late.map(Sample::median), Target::Keepalived);
        report.add(format!("{what}, worst of {rounds}"), "ms", late.map(Sample::worst), Target::Keepalived);
    }
    Ok(())
}

/// A backup and its master, on a cable of their own.
struct Duel {
    source: SendSocket,
    /// What the source says.
    words: std::cell::RefCell<AdvertisementFrame>,
    interval: Duration,
    capture: Capture,
    _backup: Process,
    _hosts: [Host; 2],
}

impl Duel {
    fn set(contestant: &Contestant, interval: Duration) -> Result<Self> {
        let (backup, master) = (Host::new("backup")?, Host::new("master")?);
        backup.connect("eth0", &master, "eth0")?;
        backup.add_address("eth0", "192.0.2.2/24".parse()?)?;
        master.add_address("eth0", "192.0.2.1/24".parse()?)?;
        let interface = Interface { index: master.link("eth0")?.index, name: "eth0".into() };
        let source = master.run(move || SendSocket::open(Family::V4, Some(&interface)))?;
        let address = "192.0.2.100/24";
        let mut configuration = GLOBAL.to_owned();
        let instance =
            Instance { interface: "eth0", vrid: 51, priority: BACKUP, interval, address, excluded: &[] };
        instance.write(&mut configuration);
        let mut settings = settings(&configuration)?;
        settings.priority = Priority::new(200);
        let words = AdvertisementFrame::new(&settings, "192.0.2.1".parse()?, MULTICAST_V4.into())?;
        let capture = Capture::start(&backup, "eth0")?;
        let started = SystemTime::now();
        let process = start(contestant, &backup, &configuration)?;
        capture
            .wait_for(started, Duration::from_secs(20), |frame| frame.announcement().is_some())
            .with_context(|| format!("{} alone on its cable does not become master", contestant.name))?;
        Ok(Self {
            source,
            words: words.into(),
            interval,
            capture,
            _backup: process,
            _hosts: [backup, master],
        })
    }

    /// Lets the source speak for a while, then stop.
    fn fall_silent(&self) -> Result<Takeover> {
        let last_word = {
            let mut words = self.words.borrow_mut();
            for _ in 0..9 {
                self.source.send(words.next_packet())?;
                std::thread::sleep(self.interval);
            }
            let before = SystemTime::now();
            self.source.send(words.next_packet())?;
            before
        };
        let limit = self.interval * 8 + Duration::from_secs(5);
        let ours = "192.0.2.2".parse::<std::net::IpAddr>()?;
        self.capture.wait_for(last_word, limit, |frame| {
            frame.advertisement().is_some_and(|advertisement| advertisement.source == ours)
        })?;
        self.capture.takeovers_since(last_word).pop().context("a takeover was captured")
    }
}

/// Past the protocol's timer, in milliseconds.
fn lateness(takeover: &Takeover) -> f64 {
    (takeover.silence.as_secs_f64() - takeover.timer().as_secs_f64()) * 1000.0
}

/// The settings of the only router of a configuration.
fn settings(configuration: &str) -> Result<RouterSettings> {
    let options = LoadOptions { known_interface: &|_| true, ..LoadOptions::default() };
    let loaded = config::load_text("source.conf".as_ref(), configuration, &options);
    let plan = loaded.plan.context("the configuration of the source is refused")?;
    let router = plan.routers.into_iter().next().context("the configuration has a router")?;
    debug_assert_eq!(router.election.version, Version::V3);
    Ok(router.election)
}
