//! A script is played to both, and what they do is compared step by step.

mod counters;
mod ways;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use buoy_ipvs::engine::buffer::{HEADROOM, Offload, Packet};
use buoy_ipvs::engine::connections::Limits;
use buoy_ipvs::engine::forward::{Outcome, fragment};
use buoy_ipvs::engine::packet::View;
use buoy_ipvs::engine::process::{Engine, Orphans, Verdict};
use buoy_ipvs::{Change, FwMark, Plane};

use crate::compare::{Expected, Masked, compare};
use crate::house::{Emitted, House, MARK, Wire, as_received, totals};
use crate::listing::{self, Listing};
use crate::place::{Network, is_local, link_address, network_of};
use crate::script::{Script, Setting, Step, change_in};
use ways::Ways;

/// Where they differ.
#[derive(Debug)]
pub(crate) struct Disagreement {
    /// The step after which they did.
    pub(crate) step: usize,
    pub(crate) what: String,
}

/// What has been compared.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) scripts: usize,
    pub(crate) steps: usize,
    pub(crate) packets: usize,
    pub(crate) emitted: usize,
    pub(crate) listings: usize,
    pub(crate) entries: usize,
    pub(crate) counters: usize,
    pub(crate) masked: Masked,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.scripts += other.scripts;
        self.steps += other.steps;
        self.packets += other.packets;
        self.emitted += other.emitted;
        self.listings += other.listings;
        self.entries += other.entries;
        self.counters += other.counters;
        self.masked.add(&other.masked);
    }
}

/// One script on its way.
struct Game<'a> {
    house: &'a mut House,
    slot: u8,
    engine: Engine,
    ways: Ways,
    tally: Tally,
    before: [u64; 5],
    /// Servers that were removed while that ends their connections.
    removed: BTreeSet<IpAddr>,
    /// Lengths of answers to clients that had a connection there. If another was to take its place it is just about to end,
    /// and the kernel may count the answer for it.
    last_answers: Vec<u64>,
    /// The host answered to a packet of a connection that gave way to none. Where the kernel sees that answer pass before it
    /// has ended the connection, it goes on.
    unsure: bool,
    /// What the engine listed after the last step.
    listed: Listing,
}

/// Plays a script where nobody has played before.
pub(crate) fn play(house: &mut House, slot: u8, script: &Script) -> Result<Tally, Disagreement> {
    Setting::DEFAULTS.iter().for_each(|setting| setting.tell());
    let now = Instant::now();
    let engine =
        Engine::new(Setting::defaults(script.secure), Limits { connections: 1000 }, u64::from(slot), now);
    house.plane.set_timeouts(engine.timeouts()).unwrap();
    let before = totals();
    let mut game = Game {
        house,
        slot,
        engine,
        ways: Ways::default(),
        tally: Tally::default(),
        before,
        removed: BTreeSet::new(),
        last_answers: Vec::new(),
        unsure: false,
        listed: Listing::new(),
    };
    let outcome = game.play(script);
    let tally = game.tally;
    house.clear();
    outcome.map(|()| Tally { scripts: 1, ..tally })
}

impl Game<'_> {
    fn play(&mut self, script: &Script) -> Result<(), Disagreement> {
        for (number, step) in script.steps.iter().enumerate() {
            self.step(step).map_err(|what| Disagreement { step: number, what })?;
            self.tally.steps += 1;
            if self.unsure {
                self.tally.masked.unfinished += 1;
                return Ok(());
            }
        }
        let last = script.steps.len().saturating_sub(1);
        let waits = script.steps.iter().any(|step| matches!(step, Step::Wait(_)));
        self.counters(waits).map_err(|what| Disagreement { step: last, what })
    }

    /// Whether a packet may belong to a connection that the kernel has given up and the engine has not: the engine ends it
    /// with the next packet of its client.
    fn is_of_removed(&self, step: &Step) -> bool {
        match step {
            Step::Packet(packet) => self.removed.contains(&packet.source.place.address(self.slot)),
            Step::Error(_) => !self.removed.is_empty(),
            _ => false,
        }
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        self.catch_up();
        if self.is_of_removed(step) {
            return Ok(());
        }
        match step {
            Step::Change(change) => self.change(change)?,
            Step::Set(setting) => {
                setting.tell();
                self.engine.set_settings(setting.of(*self.engine.settings()));
            }
            Step::Timeouts(timeouts) => {
                let engine = self.engine.set_timeouts(timeouts).map_err(|reason| reason.to_string());
                self.house.plane.set_timeouts(*timeouts).unwrap();
                engine?;
            }
            Step::Packet(packet) => {
                let wire = match network_of(packet.source.place.address(self.slot)) {
                    _ if packet.marked => Wire::Marked,
                    Some(Network::Clients | Network::NarrowClients) => Wire::Clients,
                    _ => Wire::Servers,
                };
                self.packet(wire, &packet.bytes(self.slot), false)?;
            }
            Step::Error(error) => {
                let wire = match error.from.network {
                    Network::Clients | Network::NarrowClients => Wire::Clients,
                    _ => Wire::Servers,
                };
                self.packet(wire, &error.bytes(self.slot), error.tunnel.is_some())?;
            }
            Step::Wait(time) => self.wait(*time),
        }
        if self.unsure { Ok(()) } else { self.listing(matches!(step, Step::Wait(_))) }
    }

    fn change(&mut self, change: &Change) -> Result<(), String> {
        let change = change_in(change, self.slot);
        if self.revives(&change) {
            return Ok(());
        }
        self.remember_removed(&change);
        let engine = self.engine.apply(&change, Instant::now());
        let kernel = self.house.plane.apply(std::slice::from_ref(&change)).unwrap();
        match (engine, kernel.as_slice()) {
            (Ok(()), []) => Ok(()),
            (Err(engine), [kernel]) if engine == kernel.reason => Ok(()),
            (engine, kernel) => Err(format!("{change}: kernel {kernel:?}, engine {engine:?}")),
        }
    }

    /// Whether a change brings back what the kernel has given up for good: with `expire_nodest_conn` it ends connections
    /// when their server is removed, the engine with their next packet.
    fn revives(&mut self, change: &Change) -> bool {
        let listed = listing::of_engine(&self.engine, Instant::now());
        matches!(change, Change::AddServer(_, server) if self.removed.contains(&server.id.address)
            && listing::has_server(&listed, server.id.address))
    }

    /// Remembers whose connections the kernel gives up.
    fn remember_removed(&mut self, change: &Change) {
        if self.engine.settings().orphans != Orphans::Expire {
            return;
        }
        match change {
            Change::RemoveServer(_, server) => {
                self.removed.insert(server.address);
            }
            Change::RemoveService(id) => {
                let table = self.engine.table();
                let servers = table.entry(id).into_iter().flat_map(|entry| entry.servers.keys());
                self.removed.extend(servers.map(|server| server.address));
            }
            _ => {}
        }
    }

    /// Leaves out what the kernel has given up, or is about to.
    fn without_orphans(&mut self, mut listing: Listing) -> Listing {
        let before = listing.len();
        listing.retain(|key, _| !self.removed.contains(&key.server().0));
        self.tally.masked.orphans += before - listing.len();
        listing
    }

    fn catch_up(&mut self) {
        let now = Instant::now();
        while self.engine.poll_timeout() <= now {
            self.engine.handle_timeout(now);
        }
        while self.engine.poll_gone().is_some() {}
    }

    fn packet(&mut self, wire: Wire, bytes: &[u8], tunnelled: bool) -> Result<(), String> {
        self.tally.packets += 1;
        let seen = self.house.director.play(wire, bytes);
        let mark = FwMark::new(MARK).filter(|_| wire == Wire::Marked);
        let (verdict, expected) = self.process(wire, bytes, mark, tunnelled)?;
        self.tally.emitted += seen.len();
        compare(&expected, &seen, &mut self.tally.masked)
            .map_err(|difference| format!("the engine says {verdict}; {difference}"))
    }

    /// What the engine makes of a packet, and what is to come out then.
    fn process(
        &mut self,
        wire: Wire,
        bytes: &[u8],
        mark: Option<FwMark>,
        tunnelled: bool,
    ) -> Result<(String, Vec<Expected>), String> {
        let Ok(read) = self.engine.read(bytes) else { return Ok(("malformed".to_owned(), Vec::new())) };
        let mut buffer = vec![0; HEADROOM];
        let (offload, received) = as_received(bytes);
        buffer.extend(received);
        let end = buffer.len();
        let mut packet = Packet::new(&mut buffer, HEADROOM, end, offload).unwrap();
        let moment = self.engine.moment(Instant::now());
        let verdict = self.engine.process(&mut packet, &read, mark, &mut self.ways, moment);
        if matches!(verdict, Verdict::Answer { .. }) && listing::has_connection(&self.listed, &read.view) {
            self.last_answers.push(packet.len() as u64);
        }
        let expected = match verdict {
            Verdict::Pass => {
                let expected = self.of_twin(wire, bytes);
                let answered = expected.iter().any(|packet| packet.made);
                self.unsure |= answered && listing::has_connection(&self.listed, &read.view);
                expected
            }
            Verdict::Deliver { .. } => {
                packet.complete_checksum().unwrap();
                let delivered = packet.bytes().to_vec();
                self.of_twin(wire, &delivered)
            }
            Verdict::Forward { to, outcome, .. } => {
                // Only tunnels, and what is said of them, begin here.
                let source = View::read(packet.bytes()).unwrap().source.into();
                let made = tunnelled || (is_local(source) && network_of(source) != Some(Network::Services));
                if tunnelled {
                    let said = packet.bytes().to_vec();
                    self.told_by_host(&said);
                }
                self.on_wire(&mut packet, outcome)?
                    .into_iter()
                    .map(|bytes| Expected { to: link_address(to.into()), bytes, made })
                    .collect()
            }
            Verdict::Answer { to, .. } => {
                let bytes = packet.bytes().to_vec();
                self.told_by_host(&bytes);
                vec![Expected { to: link_address(to.into()), bytes, made: true }]
            }
            Verdict::Drop(_) => Vec::new(),
            Verdict::Segment => return Err("the engine wants a whole packet cut".to_owned()),
        };
        Ok((format!("{verdict:?}"), expected))
    }

    fn on_wire(&self, packet: &mut Packet<'_>, outcome: Outcome) -> Result<Vec<Vec<u8>>, String> {
        packet.complete_checksum().map_err(|error| error.to_string())?;
        let Outcome::Fragments { mtu } = outcome else { return Ok(vec![packet.bytes().to_vec()]) };
        let view = View::read(packet.bytes()).map_err(|error| error.to_string())?;
        let (mut fragments, mut scratch) = (Vec::new(), Vec::new());
        fragment::cut(packet, &view, mtu, 0, &mut scratch, |fragment| fragments.push(fragment.to_vec()))
            .map_err(|error| error.to_string())?;
        Ok(fragments)
    }

    /// What any host does with a packet. What it says itself the kernel's IPVS sees, and so does the engine here.
    fn of_twin(&mut self, wire: Wire, bytes: &[u8]) -> Vec<Expected> {
        let emitted = self.house.twin.play(wire, bytes);
        let mut expected = Vec::new();
        for Emitted { to, bytes } in emitted {
            let made = View::read(&bytes).is_ok_and(|view| is_local(view.source.into()));
            if made {
                self.told_by_host(&bytes);
            }
            expected.push(Expected { to, bytes, made });
        }
        expected
    }

    fn told_by_host(&mut self, bytes: &[u8]) {
        let Ok(read) = self.engine.read(bytes) else { return };
        let mut buffer = vec![0; HEADROOM];
        buffer.extend(bytes);
        let end = buffer.len();
        let mut packet = Packet::new(&mut buffer, HEADROOM, end, Offload::default()).unwrap();
        let moment = self.engine.moment(Instant::now());
        self.engine.process(&mut packet, &read, None, &mut self.ways, moment);
    }

    /// Lets time pass, and some more if something is just about to end: clocks differ by a little.
    fn wait(&mut self, time: Duration) {
        const NEAR: Duration = Duration::from_millis(300);
        let mut end = Instant::now() + time;
        loop {
            self.catch_up();
            let now = Instant::now();
            let listed = listing::of_engine(&self.engine, now);
            if let Some(soonest) = listing::soonest(&listed).filter(|soonest| now + *soonest < end + NEAR) {
                end = end.max(now + soonest + NEAR);
            }
            if now >= end {
                return;
            }
            thread::sleep(self.engine.poll_timeout().min(end).saturating_duration_since(now));
        }
    }

    fn listing(&mut self, waited: bool) -> Result<(), String> {
        /// What the kernel ends at once is gone with the next tick of its clock; and its timers come late by up to an eighth
        /// of what they are set to.
        const AGAIN: Duration = Duration::from_millis(200);
        const LATE: Duration = Duration::from_millis(1500);
        let patience = if waited { LATE } else { AGAIN };
        let begin = Instant::now();
        loop {
            let mut kernel = listing::of_kernel(self.slot);
            kernel.retain(|key, _| !self.removed.contains(&key.server().0));
            self.catch_up();
            let engine = self.without_orphans(listing::of_engine(&self.engine, Instant::now()));
            let patient = begin.elapsed() <= patience;
            let differences = listing::differences(&kernel, &engine, !patient);
            if differences.is_empty() {
                self.tally.listings += 1;
                self.tally.entries += kernel.len();
                self.listed = engine;
                return Ok(());
            }
            if !patient {
                return Err(differences.join("\n      "));
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}
