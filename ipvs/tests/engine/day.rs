//! A day of a director in virtual time: thousands of clients that come, talk, end in every way there is, or just vanish,
//! while operators change services and servers. Another director hears of it all.

mod books;
mod clients;
mod operators;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use buoy_ipvs::engine::connections::{Limits, StateTimeouts};
use buoy_ipvs::engine::process::{Engine, Settings};
use buoy_ipvs::engine::reassembly;
use buoy_ipvs::sync::{PersistMode, SendRules, Threshold};

use self::books::Books;
use self::clients::Client;
use self::operators::Operators;
use crate::site::Site;

const CLIENTS: u16 = 3000;
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Between two looks at everything.
const LOOK: Duration = Duration::from_secs(1800);
/// The longest that anything is kept without packets: an established connection, then its template.
const QUIET: Duration = Duration::from_secs(900 + 360 + 180 + 60);

/// A director, its backup, and what should be counted.
struct World {
    site: Site,
    backup: Engine,
    books: Books,
    random: fastrand::Rng,
}

impl World {
    fn new() -> Self {
        let rules = SendRules {
            threshold: Threshold::new(2, 0).expect("a threshold"),
            refresh: Duration::from_secs(60),
            retries: 1,
            persistence: PersistMode::default(),
            ..SendRules::default()
        };
        let settings = Settings { sync: Some(rules), ..Settings::default() };
        let site = Site::new(settings, 1 << 17, reassembly::Limits::default());
        let backup = Engine::new(Settings::default(), Limits { connections: 1 << 17 }, 8, site.now);
        Self { site, backup, books: Books::default(), random: fastrand::Rng::with_seed(11) }
    }

    /// What the engine has to tell goes to the backup; ended flows would be taken out of the kernel.
    fn relay(&mut self) {
        let moment = self.backup.moment(self.site.now);
        while let Some(record) = self.site.engine.poll_told() {
            self.backup.handle_record(&record, moment);
            self.books.records += 1;
        }
        while let Some(gone) = self.site.engine.poll_gone() {
            assert!(gone.connection.is_offloaded());
            self.books.offloaded -= 1;
        }
    }

    fn pass_to(&mut self, end: Instant) {
        self.site.pass_to(end);
        while self.backup.poll_timeout() <= end {
            self.backup.handle_timeout(self.site.now.max(self.backup.poll_timeout()));
        }
        self.relay();
    }

    fn look(&self) {
        let now = self.site.now;
        self.site.engine.check(now).expect("a sound engine");
        self.backup.check(now).expect("a sound backup");
        self.site.check_counts();
        self.books.check(&self.site.engine);
        assert!(!is_anything_stuck(&self.site.engine, now));
    }
}

/// Whether something is to be kept longer than its state says.
fn is_anything_stuck(engine: &Engine, now: Instant) -> bool {
    let timeouts = StateTimeouts::default();
    let (listed, rest) = engine.list(Default::default(), u32::MAX, now);
    assert_eq!((listed.len(), rest), (engine.connections(), None));
    listed.iter().any(|entry| {
        let longest = entry.state.map_or(operators::PERSISTENCE, |state| timeouts.of(state).duration());
        // What controls others is kept for a minute more, again and again.
        entry.expires > longest.max(Duration::from_secs(60))
    })
}

#[test]
fn a_day_leaves_nothing_behind_and_every_packet_is_counted_once() {
    let mut world = World::new();
    let mut operators = Operators::start(&mut world);
    let mut clients: Vec<_> = (0..CLIENTS).map(Client::new).collect();
    let mut next: BinaryHeap<_> = (0..clients.len())
        .map(|number| Reverse((world.site.now + Duration::from_millis(number as u64 * 97), number)))
        .collect();
    let start = world.site.now;
    let (mut act, mut look) = (start + Duration::from_secs(30), start + LOOK);
    let mut most = 0;
    while let Some(Reverse((at, number))) = next.pop().filter(|Reverse((at, _))| *at < start + DAY) {
        world.pass_to(at);
        if at >= act {
            act = at + operators.act(&mut world);
        }
        if at >= look {
            look += LOOK;
            world.look();
            most = most.max(world.site.engine.connections());
        }
        let pause = clients[number].act(&mut world);
        next.push(Reverse((at + pause, number)));
    }
    world.look();
    let quiet = world.site.now + QUIET;
    world.pass_to(quiet);
    world.look();
    let books = &world.books;
    assert!(world.site.sent > 1_000_000 && most > 500, "{} packets, {most} connections", world.site.sent);
    assert!(books.kept > 500_000 && books.moved > 100 && books.refused > 100, "{books:?}");
    assert!(books.records > 100_000 && books.unknown_answers > 1_000, "{books:?}");
    let counts = world.site.engine.counts();
    assert_eq!(counts.inserted, counts.expired + counts.removed, "{counts:?}");
    for engine in [&world.site.engine, &world.backup] {
        assert_eq!((engine.connections(), engine.local_ports()), (0, 0));
        for (server, counters) in engine.statistics().servers {
            assert_eq!((counters.active, counters.inactive, counters.persistent), (0, 0, 0), "{server:?}");
        }
    }
    assert_eq!(world.books.offloaded, 0);
    // Nobody kept a place who is in no service.
    assert_eq!(world.site.engine.claims(), operators.claims(&world.site));
}
