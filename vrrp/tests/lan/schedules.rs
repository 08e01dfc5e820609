//! Random schedules of trouble on a simulated LAN, and what has to hold whatever happens.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use crate::network::{Lan, Rng, Wire, settings};
use buoy_vrrp::{GroupSettings, Preempt, Priority, State, Version, master_down, skew};

const SCHEDULES: u64 = 100_000;

/// Seeds that once failed. Played first, for ever.
const KEPT_SEEDS: &str = include_str!("failing-seeds.txt");
const KEPT_IN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lan/failing-seeds.txt");

/// A LAN drawn from a seed.
struct Schedule {
    lan: Lan,
    rng: Rng,
    interval: Duration,
    version: Version,
    priorities: Vec<u8>,
    nopreempt: bool,
    make_before_break: bool,
    grouped: bool,
    dead: Vec<bool>,
}

/// What the wire takes for a packet at most, without jitter.
const WIRE: Duration = Duration::from_micros(51);

impl Schedule {
    fn draw(seed: u64) -> Self {
        let mut rng = Rng(seed);
        let lan = Lan::seeded(rng.next());
        let hosts = 2 + usize::try_from(rng.below(3)).expect("few");
        let grouped = rng.chance(30);
        let interval = [10, 100, 1000, 3000][usize::try_from(rng.below(4)).expect("small")];
        let version = if interval >= 1000 && rng.chance(30) { Version::V2 } else { Version::V3 };
        let mut schedule = Self {
            lan,
            interval: Duration::from_millis(interval),
            version,
            priorities: Vec::new(),
            nopreempt: rng.chance(25),
            make_before_break: rng.chance(80),
            grouped,
            dead: Vec::new(),
            rng,
        };
        for _ in 0..hosts {
            let priority = 1 + u8::try_from(schedule.rng.below(254)).expect("below 254");
            schedule.add_host(priority);
        }
        schedule.lan.start_all();
        schedule
    }

    fn add_host(&mut self, priority: u8) {
        let mut inside = settings("inside", 1, priority);
        inside.version = self.version;
        inside.advert_interval = self.interval;
        inside.preempt = match (self.nopreempt, self.rng.chance(10)) {
            (true, _) => Preempt::No,
            (false, true) => Preempt::After(self.interval * 5),
            (false, false) => Preempt::Yes,
        };
        inside.make_before_break = self.make_before_break;
        let mut outside = inside.clone();
        outside.name = "outside".into();
        outside.vrid = buoy_vrrp::Vrid::new(2).expect("not zero");
        if self.grouped {
            let group = GroupSettings {
                name: "VG".into(),
                members: vec!["inside".into(), "outside".into()],
                tracking_weight: false,
            };
            self.lan.add_host(vec![inside, outside], &[group]);
        } else {
            self.lan.add_host(vec![inside], &[]);
        }
        self.priorities.push(priority);
        self.dead.push(false);
    }

    fn alive(&self) -> Vec<usize> {
        (0..self.dead.len()).filter(|h| !self.dead[*h]).collect()
    }

    fn masters(&self) -> Vec<usize> {
        self.lan.masters().into_iter().filter(|m| !self.dead[*m]).collect()
    }

    fn the_master(&self, when: &str) -> Result<usize, String> {
        match self.masters().as_slice() {
            [one] => Ok(*one),
            masters => Err(format!("{when} the masters are {masters:?} of {:?}", self.alive())),
        }
    }

    fn moves(&self) -> Vec<usize> {
        (0..self.dead.len()).map(|h| self.lan.transitions(h)).collect()
    }

    fn nothing_moved(&self, since: &[usize], what: &str) -> Result<(), String> {
        let now = self.moves();
        if now.starts_with(since) {
            Ok(())
        } else {
            Err(format!("{what}: {since:?} transitions, then {now:?}"))
        }
    }

    fn down(&self, priority: u8) -> Duration {
        master_down(self.version, Priority::new(priority), self.interval, 3)
    }

    fn skew(&self, priority: u8) -> Duration {
        skew(self.version, Priority::new(priority), self.interval)
    }

    fn best_of(&self, hosts: &[usize]) -> u8 {
        hosts.iter().map(|h| self.priorities[*h]).max().unwrap_or(1)
    }

    fn some_time(&mut self, longest_in_intervals: u64) -> Duration {
        let percent = 1 + self.rng.below(longest_in_intervals * 100);
        self.interval * u32::try_from(percent).expect("small") / 100
    }

    /// Anything may happen; only what holds at every moment is checked.
    fn trouble(&mut self) -> Result<(), String> {
        for _ in 0..self.rng.below(12) {
            let host = usize::try_from(self.rng.below(self.dead.len() as u64)).expect("few");
            let span = self.interval * u32::try_from(1 + self.rng.below(8)).expect("small");
            let expendable = !self.dead[host] && self.alive().len() > 1;
            let lan = &mut self.lan;
            let router = usize::try_from(self.rng.below(2)).expect("small");
            match self.rng.below(14) {
                0 if expendable => {
                    lan.kill(host);
                    self.dead[host] = true;
                }
                1 if expendable => {
                    lan.stop(host);
                    self.dead[host] = true;
                }
                2 => lan.unplug(host),
                3 => lan.plug(host),
                4 => lan.pause(host, span),
                5 => lan.freeze(host, span),
                6 => lan.set_side(host, 1),
                7 => lan.set_side(host, 0),
                // One segment of a sync group fails, noticed or not.
                9 => lan.sever(host, router, true),
                10 => lan.sever(host, router, false),
                11 => lan.set_carrier(host, router, false),
                12 => lan.set_carrier(host, router, true),
                8 => {
                    lan.wire = Wire {
                        loss_percent: self.rng.below(60),
                        duplicate_percent: self.rng.below(30),
                        jitter: self.interval * u32::try_from(self.rng.below(3)).expect("small") / 2,
                    }
                }
                _ => {}
            }
            lan.run_for(span);
            self.check_always()?;
        }
        Ok(())
    }

    /// Every cable plugged, one segment, a perfect wire; and time for every wait there is.
    fn quiet(&mut self) -> Result<(), String> {
        self.lan.wire = Wire::default();
        for host in 0..self.dead.len() {
            self.lan.set_side(host, 0);
            for router in 0..2 {
                self.lan.sever(host, router, false);
            }
            if !self.dead[host] {
                self.lan.plug(host);
            }
        }
        // Pauses that still run (8 intervals), delayed packets, a preempt delay (5), and then every wait twice.
        self.lan.run_for(self.interval * 16 + self.down(1) * 4);
        let master = self.the_master("after convergence")?;
        if !self.nopreempt && self.priorities[master] != self.best_of(&self.alive()) {
            return Err(format!("host {master} leads with {:?}", self.priorities));
        }
        let before = self.moves();
        self.lan.forget_overlap();
        self.lan.run_for(self.interval * 20);
        self.nothing_moved(&before, "quiet")?;
        if self.lan.longest_overlap > Duration::ZERO {
            return Err(format!("two masters in quiet for {:?}", self.lan.longest_overlap));
        }
        self.check_always()
    }

    fn check_always(&self) -> Result<(), String> {
        self.lan.violation.clone().map_or(Ok(()), Err)
    }

    /// The best of the others is master as soon as its down time after the last advertisement is over.
    fn master_dies(&mut self) -> Result<(), String> {
        let master = self.the_master("before its death")?;
        self.lan.kill(master);
        self.dead[master] = true;
        let best = self.best_of(&self.alive());
        // The last advertisement may still be on the wire, and so may the one that settles equal priorities.
        self.lan.run_for(self.down(best) + WIRE * 2);
        let successor = self.the_master("one down time after the death of the master")?;
        if self.priorities[successor] != best {
            return Err(format!("host {successor} succeeded, with {:?}", self.priorities));
        }
        Ok(())
    }

    /// With make before break somebody holds the addresses at every moment; without it the gap is the successor's
    /// skew.
    fn master_stops(&mut self) -> Result<(), String> {
        let master = self.the_master("before its stop")?;
        self.lan.forget_gap();
        self.lan.stop(master);
        self.dead[master] = true;
        let best = self.best_of(&self.alive());
        self.lan.run_for(self.skew(best) + WIRE * 2);
        self.the_master("one skew after the stop of the master")?;
        self.lan.run_for(self.interval * 3);
        let allowed = if self.make_before_break { Duration::ZERO } else { self.skew(best) + WIRE * 2 };
        if self.lan.longest_gap > allowed {
            return Err(format!("nobody held the addresses for {:?}", self.lan.longest_gap));
        }
        if !self.lan.hosts[master].election.is_stopped() {
            return Err("the stopped master still holds".to_owned());
        }
        Ok(())
    }

    /// Two masters end one another within an interval, and twice what a packet takes.
    ///
    /// Each advertises at least once per interval. The first advertisement to get through comes from the better one,
    /// and the other yields; or from the other, and the better one answers at once.
    fn overlap_is_bounded(&self, what: &str) -> Result<(), String> {
        let bound = self.interval + (WIRE + self.lan.wire.jitter) * 2;
        let overlap = self.lan.longest_overlap;
        if overlap > bound { Err(format!("{what}: two masters for {overlap:?}")) } else { Ok(()) }
    }

    /// One segment of the master's group fails and it notices: the whole group moves, as soon as the down time of the
    /// segment on which no resignation can be heard is over.
    fn one_segment_of_a_group_fails(&mut self) -> Result<(), String> {
        let master = self.the_master("before its segment fails")?;
        let router = usize::try_from(self.rng.below(2)).expect("small");
        self.lan.sever(master, router, true);
        self.lan.set_carrier(master, router, false);
        let others: Vec<usize> = self.alive().into_iter().filter(|h| *h != master).collect();
        let best = self.best_of(&others);
        self.lan.run_for(self.down(best) + WIRE * 2);
        let successor = self.the_master("after the failure of one segment")?;
        let states = |host| [0, 1].map(|router| self.lan.router_state(host, router));
        if states(master) != [State::Fault; 2] || states(successor) != [State::Master; 2] {
            return Err(format!(
                "host {master} is {:?}, {successor} {:?}",
                states(master),
                states(successor)
            ));
        }
        Ok(())
    }

    /// Members that hear a master on one segment and none on the other stay where they are.
    fn one_segment_of_a_group_is_severed(&mut self) -> Result<(), String> {
        let master = self.the_master("before its segment is severed")?;
        let before = self.moves();
        let router = usize::try_from(self.rng.below(2)).expect("small");
        self.lan.sever(master, router, true);
        self.lan.run_for(self.down(1) * 3 + self.interval * 10);
        self.nothing_moved(&before, "one severed segment of two")
    }

    fn partition_heals(&mut self) -> Result<(), String> {
        self.lan.wire.jitter = self.interval * u32::try_from(self.rng.below(3)).expect("small") / 4;
        let split = usize::try_from(self.rng.below(self.dead.len() as u64)).expect("few");
        for host in split..self.dead.len() {
            self.lan.set_side(host, 1);
        }
        let time = self.down(1) * 2 + self.some_time(2);
        self.lan.run_for(time);
        for host in 0..self.dead.len() {
            self.lan.set_side(host, 0);
        }
        self.lan.forget_overlap();
        self.lan.run_for(self.interval * 12 + self.down(1) * 2);
        self.overlap_is_bounded("after the partition")?;
        self.the_master("after the partition").map(|_| ())
    }

    /// The whole machine of the master stands still and loses all packets.
    fn master_freezes(&mut self) -> Result<(), String> {
        let master = self.the_master("before it freezes")?;
        let time = self.some_time(20);
        self.lan.freeze(master, time);
        self.lan.run_for(time.saturating_sub(Duration::from_nanos(1)));
        let deposed = self.masters().len() > 1;
        self.lan.forget_overlap();
        self.lan.run_for(self.interval * 12 + self.down(1) * 2);
        self.overlap_is_bounded("after the freeze")?;
        let now = self.the_master("after the freeze")?;
        if self.nopreempt && deposed && now == master {
            return Err(format!("host {master} took the addresses back from its successor"));
        }
        Ok(())
    }

    /// A backup that is stopped for whatever time moves nothing: the master lives, and its advertisements queue up.
    fn backup_pauses(&mut self) -> Result<(), String> {
        let master = self.the_master("before the pause")?;
        let before = self.moves();
        for host in self.alive() {
            if host != master && self.rng.chance(70) {
                let time = self.some_time(60);
                self.lan.pause(host, time);
            }
        }
        self.lan.run_for(self.interval * 61 + self.down(1) * 2);
        self.nothing_moved(&before, "pause of a backup")
    }

    /// Every process runs only now and then, none is away for longer than an interval.
    fn everybody_starves(&mut self) -> Result<(), String> {
        let before = self.moves();
        for _ in 0..20 {
            for host in self.alive() {
                if self.rng.chance(60) {
                    let time = self.some_time(1);
                    self.lan.pause(host, time);
                }
            }
            self.lan.run_for(self.interval);
            assert!(self.lan.all_run(), "no pause runs into the next");
        }
        self.lan.run_for(self.down(1) * 2);
        self.nothing_moved(&before, "starvation")
    }

    /// A better router joins: it takes over exactly when it may.
    fn better_one_joins(&mut self) -> Result<(), String> {
        let old = self.the_master("before the newcomer")?;
        let before = self.moves();
        self.add_host(254);
        let newcomer = self.dead.len() - 1;
        self.lan.start_host(newcomer);
        self.lan.run_for(self.interval * 12 + self.down(1));
        let now = self.the_master("after the newcomer")?;
        if self.nopreempt || self.priorities[old] == 254 {
            if now != old {
                return Err(format!("{newcomer} displaced {old}"));
            }
            return self.nothing_moved(&before, "nopreempt");
        }
        if now == newcomer { Ok(()) } else { Err(format!("{now} leads although {newcomer} is better")) }
    }
}

fn play(seed: u64) -> Result<(), String> {
    let mut schedule = Schedule::draw(seed);
    schedule.trouble()?;
    schedule.quiet()?;
    let several = schedule.alive().len() > 1;
    let grouped = schedule.grouped;
    match schedule.rng.below(9) {
        0 if several => schedule.master_dies(),
        1 if several => schedule.master_stops(),
        2 => schedule.partition_heals(),
        3 => schedule.master_freezes(),
        4 => schedule.backup_pauses(),
        5 => schedule.everybody_starves(),
        6 if grouped && several => schedule.one_segment_of_a_group_fails(),
        7 if grouped && several => schedule.one_segment_of_a_group_is_severed(),
        _ => schedule.better_one_joins(),
    }?;
    schedule.check_always()
}

#[test]
fn one_master_after_convergence_whatever_happened_before() {
    for seed in seeds(KEPT_SEEDS).chain(0..SCHEDULES) {
        if let Err(what) = play(seed) {
            let kept = match keep(seed, &what, Path::new(KEPT_IN)) {
                Ok(()) => format!("kept in {KEPT_IN}"),
                Err(error) => format!("to be added to {KEPT_IN}, which cannot be written: {error}"),
            };
            panic!("seed {seed} # {what}\n{kept}");
        }
    }
}

/// Adds a seed that failed to those that are played first, once.
fn keep(seed: u64, what: &str, file: &Path) -> io::Result<()> {
    let known = fs::read_to_string(file)?;
    if seeds(&known).any(|kept| kept == seed) {
        return Ok(());
    }
    let reason = what.lines().next().unwrap_or_default();
    writeln!(OpenOptions::new().append(true).open(file)?, "{seed} # {reason}")
}

fn seeds(kept: &str) -> impl Iterator<Item = u64> {
    kept.lines().filter_map(|line| line.split('#').next()?.trim().parse().ok())
}

#[test]
fn a_seed_that_failed_is_kept_once_and_played_again() {
    let file = std::env::temp_dir().join(format!("buoy-seeds-{}.txt", std::process::id()));
    fs::write(&file, "# Seeds\n7 # before\n").expect("written");
    let kept = [(9, "two masters\nat once"), (7, "again"), (9, "again")]
        .iter()
        .try_for_each(|(seed, what)| keep(*seed, what, &file));
    let text = fs::read_to_string(&file);
    fs::remove_file(&file).expect("removed");
    kept.expect("kept");
    let text = text.expect("read");
    assert_eq!(text, "# Seeds\n7 # before\n9 # two masters\n");
    assert_eq!(seeds(&text).collect::<Vec<_>>(), [7, 9]);
}
