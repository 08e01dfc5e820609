//! The engine at work: packets come in by one of the tiers, the engine says what becomes of them, and they go where the
//! kernel's routes and neighbours say.
//!
//! A [`Director`] belongs to one thread and waits for nobody but the kernel. [`EnginePlane`] has such a thread, and is a
//! [`Plane`](crate::Plane) for whoever programs it.
//!
//! *What is done twice or late:* packets for a neighbour that is not known yet wait until it is, some hundred of them for
//! a few seconds. Counters of flows that the kernel forwards by itself are read once a second. ICMP errors that routers
//! send about packets to a masqueraded server, and that are addressed to its client, pass untouched: nothing about them
//! says that they are ours.

mod flows;
mod frame;
mod plane;
mod selectors;
mod sync;
mod waiting;

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::poll::PollFlags;
use thiserror::Error;

use super::bpf::{AttachError, Attachment, MapError};
use super::next_hop::{NextHop, NextHopIndex, NextHops};
use super::portable::{SendError, Sender, Sent, Steering, SteeringError};
use super::selector::{Selector, Selectors};
use super::support::{Tier, support};
use super::sync::{Daemons, Master};
use super::tap::{Arrival, Departure, Frames, Tap, TapError};
use super::tc::{Capacities, Maps, ProgramError, Programs};
use super::virtio::Header;
use super::ways::{Changed, Kind, LinkLayer, NextHopWriter, Way, Ways, WaysError};
use crate::engine::address::Address;
use crate::engine::buffer::{HEADROOM, Offload, Packet};
use crate::engine::connections::{ConnectionIndex, Limits};
use crate::engine::forward::{Outcome, Path, fragment, segment};
use crate::engine::packet::{Fragment, View};
use crate::engine::process::{Engine, Moment, Read, Route, Routes, Settings, Verdict};
use crate::engine::reassembly::{self, Reassembly};
use crate::engine::state::Direction;
use crate::real_server::Forwarding;
use crate::table::Change;
use crate::virtual_service::FwMark;
use flows::{Flows, Offer};
use frame::Link;
pub use plane::{Condition, EngineHandle, EnginePlane};
use waiting::{Held, Waiting};

/// How a director is set up.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub settings: Settings,
    /// Entries of the table at most.
    pub connections: u32,
    /// `None` takes the faster one of those that can be.
    pub tier: Option<Tier>,
    /// Connections whose packets the kernel forwards by itself, at most; with two flows each, 340 bytes of the kernel's
    /// memory, which it takes at once. The engine forwards the others.
    pub offloaded: u32,
    /// Packets of a client after which the kernel takes over.
    pub offload_after: u32,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            settings: Settings::default(),
            connections: 1 << 20,
            tier: None,
            offloaded: 1 << 16,
            offload_after: 3,
        }
    }
}

#[derive(Debug, Error)]
pub enum DirectorError {
    #[error("this host has no way to bring packets to the engine: with eBPF {tc}; without {portable}")]
    NoTier { tc: String, portable: String },
    #[error("cannot make a TAP device")]
    Tap(#[from] TapError),
    #[error("cannot make maps of eBPF")]
    Maps(#[from] MapError),
    #[error("cannot load programs of eBPF")]
    Programs(#[from] ProgramError),
    #[error("cannot attach programs of eBPF")]
    Attachment(#[from] AttachError),
    #[error("cannot steer packets")]
    Steering(#[from] SteeringError),
    #[error("cannot send packets")]
    Sender(#[from] SendError),
    #[error("cannot see routes and neighbours")]
    Ways(#[from] WaysError),
    #[error("cannot hear of other directors")]
    Sync(#[source] std::io::Error),
    #[error("cannot wait for packets")]
    Wait(#[source] std::io::Error),
    #[error("cannot start its thread")]
    Thread(#[source] std::io::Error),
}

const TAP: &str = "buoy%d";
const NEXT_HOPS: u32 = 4096;
const SELECTORS: u32 = 1 << 18;
/// Frames that are read before the first of them is processed.
const BATCH: usize = 32;
const SWEEP: Duration = Duration::from_secs(1);

/// Where next hops are written to: the array of the programs, or nowhere.
#[derive(Debug)]
struct Places(Option<Arc<NextHops>>);

impl NextHopWriter for Places {
    fn write(&mut self, index: NextHopIndex, next_hop: Option<&NextHop>) -> Result<(), MapError> {
        match &self.0 {
            Some(places) => places.set(index, next_hop),
            None => Ok(()),
        }
    }
}

#[derive(Debug)]
enum Io {
    Tc {
        programs: Programs,
        attached: BTreeMap<u32, Attachment>,
        selectors: Selectors,
        flows: Flows,
        _tap: Attachment,
    },
    Portable {
        steering: Steering,
        sender: Sender,
    },
}

/// What has become of frames that the engine did not take, and of those that it could not send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameCounts {
    pub received: u64,
    /// Of the host's own stack, or no IP.
    pub foreign: u64,
    /// Given to the host's stack.
    pub passed: u64,
    pub sent: u64,
    /// The way out was full, or refused them.
    pub unsent: u64,
    /// Their neighbour did not become known in time, or too many others waited.
    pub unresolved: u64,
}

/// The engine with its ways in and out.
#[derive(Debug)]
pub struct Director {
    pub(super) engine: Engine,
    setup: Setup,
    ways: Ways<Places>,
    io: Io,
    tap: Tap,
    frames: Frames,
    selected: BTreeSet<Selector>,
    reassembly: Reassembly,
    waiting: Waiting,
    daemons: Daemons,
    counts: FrameCounts,
    next_sweep: Instant,
    /// Of the last call.
    now: Instant,
    trouble: Option<String>,
    identification: u32,
}

/// Routes as the engine asks for them.
struct Asked<'a>(&'a mut Ways<Places>);

impl Routes for Asked<'_> {
    fn route(&mut self, to: Address) -> Route {
        let Some(way) = self.0.way_to(to, 0, None) else { return Route::Unreachable };
        match way.kind {
            Kind::Local => Route::Local,
            Kind::Unicast => {
                let mtu = usize::try_from(way.mtu).unwrap_or(usize::MAX);
                Route::Via(Path { mtu, source: way.source.unwrap_or(Address::UNSPECIFIED) })
            }
            Kind::Unreachable | Kind::Blackhole | Kind::Prohibit => Route::Unreachable,
        }
    }

    fn lower_mtu(&mut self, to: Address, mtu: usize) {
        self.0.learn_path_mtu(to, u32::try_from(mtu).unwrap_or(u32::MAX));
    }
}

impl Director {
    /// Connections that the kernel was not given because it had no room.
    pub fn not_offloaded(&self) -> u64 {
        match &self.io {
            Io::Tc { flows, .. } => flows.refused(),
            Io::Portable { .. } => 0,
        }
    }

    /// Takes packets of this thread's network namespace, once there are services.
    ///
    /// # Errors
    /// The kernel does not permit it, or cannot do it.
    pub fn open(setup: Setup, now: Instant) -> Result<Self, DirectorError> {
        let tier = match setup.tier {
            Some(tier) => tier,
            None => best_tier()?,
        };
        let tap = Tap::create(TAP)?;
        let (io, places) = match tier {
            Tier::Tc => {
                let flows = setup.offloaded.saturating_mul(2).max(2);
                let capacities = Capacities { flows, next_hops: NEXT_HOPS, selectors: SELECTORS };
                let maps = Maps::create(capacities)?;
                let programs = Programs::load(&maps, tap.index())?;
                let Maps { flows, next_hops, selectors } = maps;
                let attachment = programs.attach_tap(tap.index())?;
                let flows = Flows::new(flows);
                let io = Io::Tc { programs, attached: BTreeMap::new(), selectors, flows, _tap: attachment };
                (io, Places(Some(Arc::new(next_hops))))
            }
            Tier::Portable => {
                let steering = Steering::create(&tap)?;
                (Io::Portable { steering, sender: Sender::open()? }, Places(None))
            }
        };
        let limits = Limits { connections: setup.connections };
        let mut director = Self {
            engine: Engine::new(setup.settings, limits, fastrand::u64(..), now),
            setup,
            ways: Ways::open(NEXT_HOPS, places, now)?,
            io,
            tap,
            frames: Frames::new(BATCH),
            selected: BTreeSet::new(),
            reassembly: Reassembly::new(reassembly::Limits::default(), HEADROOM + 18),
            waiting: Waiting::default(),
            daemons: Daemons::new(),
            counts: FrameCounts::default(),
            next_sweep: now + SWEEP,
            now,
            trouble: None,
            identification: fastrand::u32(..),
        };
        director.attach()?;
        Ok(director)
    }

    pub const fn tier(&self) -> Tier {
        match self.io {
            Io::Tc { .. } => Tier::Tc,
            Io::Portable { .. } => Tier::Portable,
        }
    }

    pub const fn engine(&self) -> &Engine {
        &self.engine
    }

    pub const fn engine_mut(&mut self) -> &mut Engine {
        &mut self.engine
    }

    pub const fn frame_counts(&self) -> FrameCounts {
        self.counts
    }

    /// What went wrong last, if anything did.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Remembers an error, with its causes.
    fn note(&mut self, error: &DirectorError) {
        let causes = std::iter::successors(std::error::Error::source(error), |error| error.source());
        self.trouble = Some(causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}")));
    }

    /// Connections that the kernel forwards by itself.
    pub fn offloaded(&self) -> usize {
        match &self.io {
            Io::Tc { flows, .. } => flows.len(),
            Io::Portable { .. } => 0,
        }
    }

    /// What to wait for: frames, what the kernel says of routes, what other directors tell, and room to tell them.
    pub fn descriptors(&self) -> [Option<(BorrowedFd<'_>, PollFlags)>; 4] {
        let blocked = self.daemons.master().filter(|master| master.is_blocked());
        [
            Some((self.tap.as_fd(), PollFlags::POLLIN)),
            Some((self.ways.as_fd(), PollFlags::POLLIN)),
            self.daemons.backup().map(|backup| (backup.as_fd(), PollFlags::POLLIN)),
            blocked.map(|master| (master.as_fd(), PollFlags::POLLOUT)),
        ]
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next.
    pub fn poll_timeout(&self) -> Instant {
        let master = self.daemons.master().and_then(Master::poll_timeout);
        let others =
            [self.reassembly.poll_timeout(), self.waiting.poll_timeout(), master].into_iter().flatten();
        let own = self.next_sweep.min(self.engine.poll_timeout()).min(self.ways.poll_timeout());
        others.fold(own, Instant::min)
    }

    /// Looks at everything that has come, a batch at most. `true` if there may be more.
    ///
    /// # Errors
    /// The TAP is gone.
    pub fn handle_frames(&mut self, now: Instant) -> Result<bool, DirectorError> {
        self.now = now;
        let mut frames = std::mem::replace(&mut self.frames, Frames::new(0));
        let received = self.tap.receive(&mut frames).map_err(DirectorError::Wait);
        let count = frames.iter().len();
        if received.is_ok() {
            self.handle_batch(&mut frames, now);
        }
        self.frames = frames;
        self.tell(now);
        received.map(|()| count == BATCH)
    }

    fn handle_batch(&mut self, frames: &mut Frames, now: Instant) {
        let moment = self.engine.moment(now);
        let mut reads = [const { None::<Read> }; BATCH];
        for (frame, place) in frames.iter().zip(&mut reads) {
            let packet = Link::of(frame.bytes()).and_then(|link| frame.bytes().get(link.length()..));
            *place = packet.and_then(|packet| self.engine.read(packet).ok());
        }
        self.engine.approach(&mut reads);
        for (frame, read) in frames.iter_mut().zip(reads) {
            self.counts.received += 1;
            let header = frame.header();
            let Some(arrival) = Arrival::of(frame.bytes()) else {
                self.counts.foreign += 1;
                continue;
            };
            let (Some(link), Some(read)) = (Link::of(frame.bytes()), read) else {
                self.pass(&header, frame.bytes_mut());
                continue;
            };
            let mark = FwMark::new(arrival.mark);
            if read.view.fragment != Fragment::Whole {
                self.collect(
                    link,
                    frame.bytes().get(link.length()..).unwrap_or_default(),
                    &read.view,
                    mark,
                    now,
                );
                continue;
            }
            let (buffer, range) = frame.buffer();
            let offload = frame::offload(&header, link.length());
            let start = range.start + link.length();
            if let Some(packet) = Packet::new(buffer, start, range.end, offload) {
                self.handle_packet(packet, link, &read, mark, moment);
            }
        }
    }

    /// A fragment waits for the others of its packet.
    fn collect(&mut self, link: Link, packet: &[u8], view: &View, mark: Option<FwMark>, now: Instant) {
        // What is refused is counted there.
        let Ok(Some(mut whole)) = self.reassembly.take(packet, view, now) else { return };
        let moment = self.engine.moment(now);
        let Ok(read) = self.engine.read(whole.packet()) else { return };
        let (start, end) = (whole.start, whole.buffer.len());
        if let Some(packet) = Packet::new(&mut whole.buffer, start, end, Offload::default()) {
            self.handle_packet(packet, link, &read, mark, moment);
        }
    }

    fn handle_packet(
        &mut self,
        mut packet: Packet<'_>,
        link: Link,
        read: &Read,
        mark: Option<FwMark>,
        moment: Moment,
    ) {
        let mut routes = Asked(&mut self.ways);
        let verdict = self.engine.process(&mut packet, read, mark, &mut routes, moment);
        match verdict {
            Verdict::Pass | Verdict::Deliver { .. } => self.hand_over(packet, link),
            Verdict::Forward { to, outcome, connection } => {
                self.send(packet, link, to, outcome);
                if let Some(connection) = connection {
                    self.follow(connection, moment);
                }
            }
            Verdict::Answer { to, .. } => self.send(packet, link, to, Outcome::Whole),
            Verdict::Segment => self.segment(&packet, link, &read.view, mark, moment),
            Verdict::Drop(_) => {}
        }
        self.settle();
    }

    /// Each segment of a packet by itself.
    fn segment(
        &mut self,
        packet: &Packet<'_>,
        link: Link,
        view: &View,
        mark: Option<FwMark>,
        moment: Moment,
    ) {
        let mut scratch = Vec::new();
        // What is no such packet is lost: whoever made it contradicts himself.
        let _whole = segment::cut(packet, view, &mut scratch, |segment, _| {
            if let Ok(read) = self.engine.read(segment.bytes()) {
                self.handle_packet(segment, link, &read, mark, moment);
            }
        });
    }

    /// To the stack of this host.
    fn hand_over(&mut self, mut packet: Packet<'_>, link: Link) {
        let Ok(view) = View::read(packet.bytes()) else { return };
        let payload = header_bytes(view.payload(packet.bytes()));
        if link.put(&mut packet, view.family, Departure::Host).is_err() {
            return;
        }
        let header = frame::header(packet.offload(), &view, link.length(), &payload);
        self.pass(&header, packet.bytes_mut());
    }

    fn pass(&mut self, header: &Header, frame: &mut [u8]) {
        Departure::Host.put(frame);
        match self.tap.send(header, frame) {
            Ok(()) => self.counts.passed += 1,
            Err(_lost) => self.counts.unsent += 1,
        }
    }

    /// Towards an address.
    fn send(&mut self, mut packet: Packet<'_>, link: Link, to: Address, outcome: Outcome) {
        let Ok(view) = View::read(packet.bytes()) else { return };
        let Outcome::Fragments { mtu } = outcome else {
            let payload = header_bytes(view.payload(packet.bytes()));
            if link.put(&mut packet, view.family, Departure::Host).is_err() {
                return;
            }
            let header = frame::header(packet.offload(), &view, link.length(), &payload);
            return self.send_frame(&header, packet.bytes_mut(), to);
        };
        if packet.offload().segment.is_some() {
            let mut scratch = Vec::new();
            let _whole = segment::cut(&packet, &view, &mut scratch, |segment, _| {
                let outcome = if segment.len() > mtu { outcome } else { Outcome::Whole };
                self.send(segment, link, to, outcome);
            });
            return;
        }
        self.identification = self.identification.wrapping_add(1);
        let identification = self.identification;
        let mut scratch = Vec::new();
        let cut = fragment::cut(&mut packet, &view, mtu, identification, &mut scratch, |fragment| {
            let mut frame = link.around(fragment, view.family, Departure::Host);
            self.send_frame(&Header::default(), &mut frame, to);
        });
        if cut.is_err() {
            self.counts.unsent += 1;
        }
    }

    fn send_frame(&mut self, header: &Header, frame: &mut [u8], to: Address) {
        let Some(way) = self.ways.way_to(to, 0, None) else {
            self.counts.unresolved += 1;
            return;
        };
        match way.link_layer {
            LinkLayer::Known(index) => self.send_to(header, frame, index),
            LinkLayer::Pending => {
                let held = Held { header: *header, frame: frame.to_vec(), to };
                let now = self.now;
                if self.waiting.push(held, now, now).is_err() {
                    self.counts.unresolved += 1;
                }
            }
            // By an interface without link-layer addresses: the host's stack knows how.
            LinkLayer::Absent => self.pass(header, frame),
        }
    }

    fn send_to(&mut self, header: &Header, frame: &mut [u8], index: NextHopIndex) {
        let sent = match &self.io {
            Io::Tc { .. } => {
                Departure::NextHop(index).put(frame);
                self.tap.send(header, frame).is_ok()
            }
            Io::Portable { sender, .. } => match self.ways.next_hops().get(index) {
                Some(next_hop) => matches!(sender.send(next_hop, header, frame), Ok(Sent::Sent)),
                None => false,
            },
        };
        if sent {
            self.counts.sent += 1;
        } else {
            self.counts.unsent += 1;
        }
    }

    /// Hands a connection to the kernel when it is steady, and takes it back when it is no more.
    fn follow(&mut self, connection: ConnectionIndex, moment: Moment) {
        let Some(entry) = self.engine.connection(connection) else { return };
        if entry.is_offloaded() {
            if !flows::is_steady(entry) {
                self.withdraw(connection, moment);
            }
            return;
        }
        let Io::Tc { flows, .. } = &mut self.io else { return };
        let Some(offer) = Offer::of(entry, self.setup.offload_after) else { return };
        let known = |way: Option<Way>| {
            way.filter(|way| way.kind == Kind::Unicast && matches!(way.link_layer, LinkLayer::Known(_)))
        };
        let Some(to_server) = known(self.ways.way_to(offer.server, 0, None)) else { return };
        let Some(server_hop) = self.ways.hold(&to_server) else { return };
        let mut client_hop = None;
        if offer.is_answered_here() {
            let way = known(self.ways.way_to(offer.client, 0, None));
            client_hop = way.and_then(|way| self.ways.hold(&way));
            if client_hop.is_none() {
                self.ways.release(server_hop);
                return;
            }
        }
        match flows.install(connection, &offer, server_hop, client_hop) {
            Ok(()) => self.engine.set_offloaded(connection, true),
            Err(held) => held.into_iter().flatten().for_each(|hop| self.ways.release(hop)),
        }
    }

    fn withdraw(&mut self, connection: ConnectionIndex, moment: Moment) {
        let Io::Tc { flows, .. } = &mut self.io else { return };
        let Some(withdrawn) = flows.withdraw(connection) else { return };
        withdrawn.next_hops.into_iter().flatten().for_each(|hop| self.ways.release(hop));
        for (direction, (packets, bytes)) in
            [(Direction::Input, withdrawn.request), (Direction::Output, withdrawn.reply)]
        {
            if packets > 0 {
                self.engine.forwarded(connection, direction, packets, bytes, moment);
            }
        }
        self.engine.set_offloaded(connection, false);
    }

    /// Takes back what has ended meanwhile.
    fn settle(&mut self) {
        while let Some(gone) = self.engine.poll_gone() {
            let Io::Tc { flows, .. } = &mut self.io else { continue };
            let Some(withdrawn) = flows.forget(&gone) else { continue };
            withdrawn.next_hops.into_iter().flatten().for_each(|hop| self.ways.release(hop));
            self.engine.account_gone(&gone, withdrawn.request, withdrawn.reply);
        }
    }

    /// Takes in what the kernel says of routes, neighbours and interfaces.
    ///
    /// # Errors
    /// It cannot be listened to any more.
    pub fn handle_ways(&mut self, now: Instant) -> Result<(), DirectorError> {
        let changed = self.ways.handle_readable()?;
        self.handle_changes(&changed, now)
    }

    fn handle_changes(&mut self, changed: &[Changed], now: Instant) -> Result<(), DirectorError> {
        if changed.is_empty() {
            return Ok(());
        }
        let moment = self.engine.moment(now);
        if changed.iter().any(|change| matches!(change, Changed::Routes | Changed::Addresses)) {
            // They go by the engine once, and by their new ways from then on.
            for connection in self.installed() {
                self.withdraw(connection, moment);
            }
            self.attach()?;
            self.select()?;
        }
        self.retry(now);
        Ok(())
    }

    fn installed(&self) -> Vec<ConnectionIndex> {
        match &self.io {
            Io::Tc { flows, .. } => flows.all(),
            Io::Portable { .. } => Vec::new(),
        }
    }

    /// Tries those that waited for a neighbour.
    fn retry(&mut self, now: Instant) {
        for (begun, Held { header, mut frame, to }) in self.waiting.take() {
            let way = self.ways.way_to(to, 0, None);
            match way.map(|way| way.link_layer) {
                Some(LinkLayer::Known(index)) => self.send_to(&header, &mut frame, index),
                _ => {
                    let held = Held { header, frame, to };
                    if self.waiting.push(held, begun, now).is_err() {
                        self.counts.unresolved += 1;
                    }
                }
            }
        }
    }

    /// Does what time has brought.
    ///
    /// # Errors
    /// The kernel cannot be asked any more.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), DirectorError> {
        if now >= self.next_sweep {
            self.next_sweep = now + SWEEP;
            if let Io::Tc { flows, .. } = &mut self.io {
                flows.sweep(&mut self.engine, now)?;
            }
            self.attach()?;
            self.select()?;
        }
        self.engine.handle_timeout(now);
        self.settle();
        self.handle_sync_timeout(now);
        self.reassembly.handle_timeout(now);
        if self.ways.poll_timeout() <= now {
            let changed = self.ways.handle_timeout(now)?;
            self.handle_changes(&changed, now)?;
        }
        self.retry(now);
        Ok(())
    }

    /// Makes changes in their order. Says which were refused, and why.
    ///
    /// # Errors
    /// The packets of the services cannot be had.
    pub fn apply(
        &mut self,
        changes: &[Change],
        now: Instant,
    ) -> Result<Vec<Result<(), crate::Reason>>, DirectorError> {
        let outcomes: Vec<_> = changes.iter().map(|change| self.engine.apply(change, now)).collect();
        let other = changes
            .iter()
            .zip(&outcomes)
            .any(|(change, outcome)| outcome.is_ok() && !matches!(change, Change::EditService(_)));
        if other {
            self.select()?;
        }
        if changes.iter().any(|change| matches!(change, Change::RemoveServer(..) | Change::RemoveService(_)))
        {
            self.give_up_orphans(now);
        }
        Ok(outcomes)
    }

    /// Removes all services.
    ///
    /// # Errors
    /// The host cannot be given back its packets.
    pub fn flush(&mut self, now: Instant) -> Result<(), DirectorError> {
        self.engine.flush(now);
        self.give_up_orphans(now);
        self.select()
    }

    /// Connections of servers that were removed are the engine's again, which drops or ends them.
    fn give_up_orphans(&mut self, now: Instant) {
        let moment = self.engine.moment(now);
        for connection in self.installed() {
            if !self.engine.goes_on(connection) {
                self.withdraw(connection, moment);
            }
        }
    }

    /// Has the packets of all services brought here, and no others.
    fn select(&mut self) -> Result<(), DirectorError> {
        let mut sources = BTreeSet::new();
        for entry in self.engine.table() {
            for server in entry.servers.values() {
                if let Forwarding::Tunnel(_) = server.forwarding {
                    let way = self.ways.way_to(server.id.address.into(), 0, None);
                    sources.extend(way.and_then(|way| way.source));
                }
            }
        }
        let wanted = selectors::of_claims(self.engine.claims(), sources);
        if wanted == self.selected {
            return Ok(());
        }
        let added: Vec<Selector> = wanted.difference(&self.selected).copied().collect();
        let removed: Vec<Selector> = self.selected.difference(&wanted).copied().collect();
        match &mut self.io {
            Io::Tc { selectors, .. } => {
                for selector in added {
                    selectors.insert(selector)?;
                }
                for selector in &removed {
                    selectors.remove(selector)?;
                }
            }
            Io::Portable { steering, .. } => steering.change(&added, &removed)?,
        }
        self.selected = wanted;
        Ok(())
    }

    /// Looks at packets of all interfaces that have come since.
    fn attach(&mut self) -> Result<(), DirectorError> {
        let own = self.tap.index();
        let there: BTreeSet<u32> = self.ways.interfaces().filter(|index| *index != own).collect();
        match &mut self.io {
            Io::Tc { programs, attached, .. } => {
                attached.retain(|index, _| there.contains(index));
                for index in there {
                    if attached.contains_key(&index) {
                        continue;
                    }
                    match programs.attach(index) {
                        Ok(attachment) => drop(attached.insert(index, attachment)),
                        // It may have gone meanwhile.
                        Err(error) if self.ways.interfaces().any(|other| other == index) => {
                            return Err(error.into());
                        }
                        Err(_) => {}
                    }
                }
            }
            Io::Portable { steering, .. } => {
                let gone: Vec<u32> = steering.interfaces().filter(|index| !there.contains(index)).collect();
                for index in gone {
                    steering.detach(index)?;
                }
                for index in there {
                    match steering.attach(index) {
                        Err(error)
                            if nix::net::if_::if_indextoname(index).is_ok_and(|name| !name.is_empty()) =>
                        {
                            return Err(error.into());
                        }
                        _ => {}
                    }
                }
            }
        }
        Ok(())
    }
}

fn best_tier() -> Result<Tier, DirectorError> {
    let support = support();
    support.best().ok_or_else(|| {
        let why = |obstacle: Result<(), super::support::Obstacle>| match obstacle {
            Ok(()) => String::new(),
            Err(error) => match std::error::Error::source(&error) {
                Some(source) => format!("{error}: {source}"),
                None => error.to_string(),
            },
        };
        DirectorError::NoTier { tc: why(support.tc), portable: why(support.portable) }
    })
}

/// What is needed of a transport header to say how long it is.
fn header_bytes(payload: &[u8]) -> [u8; 20] {
    let mut bytes = [0; 20];
    for (place, byte) in bytes.iter_mut().zip(payload) {
        *place = *byte;
    }
    bytes
}
