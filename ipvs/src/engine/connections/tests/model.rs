//! The table against a list that is searched from end to end.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

use super::*;
use crate::engine::connections::indexing::ALIKE;

const LIMIT: u32 = 16;

#[derive(Clone, Debug)]
struct Known {
    index: ConnectionIndex,
    kind: Kind,
    request: PacketKey,
    reply: PacketKey,
    /// When it came to be found by answers; the latest is.
    answers_since: Option<usize>,
    /// Abandoned templates are found by nobody.
    findable: bool,
    timeout: Ticks,
    expires: Tick,
    controller: Option<ConnectionIndex>,
    assured: bool,
}

#[derive(Clone, Copy, Debug)]
enum How {
    Masquerade,
    FullNat,
    Direct,
    WithoutClientPort,
    Template,
}

#[derive(Clone, Debug)]
enum Step {
    Insert { client: u8, port: u16, service: u8, server: u8, how: How, controller: Option<u8> },
    Touch { which: u8, ticks: u64 },
    ExpireNow(u8),
    Remove(u8),
    Abandon(u8),
    Learn { which: u8, port: u16 },
    Assure(u8),
    Relieve,
    Pass { ticks: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let how = prop_oneof![
        4 => Just(How::Masquerade),
        2 => Just(How::FullNat),
        2 => Just(How::Direct),
        1 => Just(How::WithoutClientPort),
        2 => Just(How::Template),
    ];
    let ticks = || prop_oneof![0..5_u64, 0..700_u64, 0..40_000_u64];
    let insert = (0..3_u8, 0..3_u16, 0..2_u8, 0..2_u8, how, prop::option::of(any::<u8>()));
    prop_oneof![
        12 => insert.prop_map(|(client, port, service, server, how, controller)| {
            Step::Insert { client, port, service, server, how, controller }
        }),
        6 => (any::<u8>(), ticks()).prop_map(|(which, ticks)| Step::Touch { which, ticks }),
        1 => any::<u8>().prop_map(Step::ExpireNow),
        2 => any::<u8>().prop_map(Step::Remove),
        1 => any::<u8>().prop_map(Step::Abandon),
        1 => (any::<u8>(), 0..3_u16).prop_map(|(which, port)| Step::Learn { which, port }),
        1 => any::<u8>().prop_map(Step::Assure),
        2 => Just(Step::Relieve),
        4 => ticks().prop_map(|ticks| Step::Pass { ticks }),
    ]
}

/// Some pretend to be a service or a server.
fn client(number: u8, port: u16) -> Endpoint<Address> {
    match (number, port) {
        (2, 1) => service(0),
        (2, 2) => server(0),
        _ => Endpoint::new(Address::v4(0x0a01_0000 + u32::from(number)), port),
    }
}

fn service(number: u8) -> Endpoint<Address> {
    Endpoint::new(Address::v4(0x0a09_0000 + u32::from(number)), 80)
}

fn server(number: u8) -> Endpoint<Address> {
    Endpoint::new(Address::v4(0x0a02_0000 + u32::from(number)), 8080)
}

/// Shared by clients, as no allocator of ports would: so that answers look alike.
fn local(port: u16) -> Endpoint<Address> {
    Endpoint::new(Address::v4(0x0a03_0000), port)
}

fn between(source: Endpoint<Address>, destination: Endpoint<Address>) -> PacketKey {
    PacketKey {
        source: source.address,
        destination: destination.address,
        source_port: source.port,
        destination_port: destination.port,
        protocol: 6,
    }
}

struct Pair {
    table: Connections,
    now: Instant,
    known: Vec<Known>,
    indexed: usize,
}

impl Pair {
    fn new() -> Self {
        let now = Instant::now();
        let table = Connections::with_limits(Limits { connections: LIMIT }, 7, now);
        Self { table, now, known: Vec::new(), indexed: 0 }
    }

    fn tick(&self) -> Tick {
        self.table.tick(self.now)
    }

    fn position(&self, index: ConnectionIndex) -> Option<usize> {
        self.known.iter().position(|known| known.index == index)
    }

    /// One of those that are there.
    fn choose(&self, which: u8) -> Option<usize> {
        usize::from(which).checked_rem(self.known.len())
    }

    fn controls(&self, index: ConnectionIndex) -> usize {
        self.known.iter().filter(|known| known.controller == Some(index)).count()
    }

    fn find_exactly(&self, key: PacketKey, kind: Kind) -> Option<&Known> {
        self.known.iter().find(|known| known.findable && known.kind == kind && known.request == key)
    }

    fn lookup(&self, key: PacketKey) -> Option<(ConnectionIndex, bool)> {
        let request = self.find_exactly(key, Kind::Connection).map(|known| (known.index, true));
        let replies = self.known.iter().filter(|known| known.answers_since.is_some() && known.reply == key);
        let reply = replies.max_by_key(|known| known.answers_since).map(|known| (known.index, false));
        let any_port = PacketKey { source_port: 0, ..key };
        let late = self.find_exactly(any_port, Kind::WithoutClientPort).map(|known| (known.index, true));
        request.or(reply).or(late)
    }

    /// An entry is found by answers from now on, and the fifth that looks like it no more.
    fn answer(&mut self, position: usize) {
        let (kind, reply, request) =
            (self.known[position].kind, self.known[position].reply, self.known[position].request);
        if kind != Kind::Connection || reply == request {
            return;
        }
        let alike =
            self.known.iter_mut().filter(|known| known.answers_since.is_some() && known.reply == reply);
        let mut alike: Vec<_> = alike.collect();
        if alike.len() == ALIKE {
            alike.sort_by_key(|known| known.answers_since);
            alike[0].answers_since = None;
        }
        self.indexed += 1;
        self.known[position].answers_since = Some(self.indexed);
    }

    fn ended(&mut self, position: usize, by_force: bool) {
        let now = self.tick();
        let gone = self.known.remove(position);
        let Some(controller) = gone.controller else { return };
        if !by_force || self.controls(controller) > 0 {
            return;
        }
        let position = self.position(controller).expect("controllers end last");
        let controller = &mut self.known[position];
        if !controller.assured {
            controller.timeout = Ticks::default();
            controller.expires = now;
        }
    }

    fn play(&mut self, step: Step) -> TestCaseResult {
        let now = self.tick();
        match step {
            Step::Insert { client: from, port, service: to, server: at, how, controller } => {
                let controller = controller.and_then(|which| self.choose(which));
                let controller = controller.map(|position| self.known[position].index);
                let entry = entry(from, port, to, at, how);
                self.insert(entry, controller)?;
            }
            Step::Touch { which, ticks } => {
                let Some(position) = self.choose(which) else { return Ok(()) };
                let known = &mut self.known[position];
                known.timeout = Ticks::of(Duration::from_millis(100 * ticks));
                known.expires = now.plus(known.timeout);
                self.table.get_mut(known.index).expect("an entry").set_timeout(known.timeout);
                self.table.touch(known.index, now);
            }
            Step::ExpireNow(which) => {
                let Some(position) = self.choose(which) else { return Ok(()) };
                let known = &mut self.known[position];
                known.timeout = Ticks::default();
                known.expires = now;
                self.table.expire_now(known.index, now);
            }
            Step::Remove(which) => {
                let Some(position) = self.choose(which) else { return Ok(()) };
                let index = self.known[position].index;
                let removed = self.table.remove(index, now);
                prop_assert_eq!(removed.is_none(), self.controls(index) > 0);
                if let Some(removed) = removed {
                    prop_assert_eq!(removed.request().source, self.known[position].request.source);
                    self.ended(position, false);
                }
            }
            Step::Abandon(which) => {
                let Some(position) = self.choose(which) else { return Ok(()) };
                self.table.abandon_template(self.known[position].index);
                self.known[position].findable &= self.known[position].kind != Kind::Template;
            }
            Step::Learn { which, port } => self.learn(which, port)?,
            Step::Assure(which) => {
                let Some(position) = self.choose(which) else { return Ok(()) };
                let known = &mut self.known[position];
                known.assured = known.kind == Kind::Template;
                self.table.get_mut(known.index).expect("an entry").assure();
            }
            Step::Relieve => {
                let few = self.known.len() < LIMIT as usize - LIMIT as usize / 16;
                if let Some(ended) = self.table.relieve(now) {
                    prop_assert!(!few);
                    let position = self.position(ended.index).expect("one that is known");
                    prop_assert!(self.controls(ended.index) == 0 && !self.known[position].assured);
                    self.ended(position, true);
                }
            }
            Step::Pass { ticks } => self.pass(Duration::from_millis(100 * ticks))?,
        }
        Ok(())
    }

    fn insert(&mut self, entry: Connection, controller: Option<ConnectionIndex>) -> TestCaseResult {
        let now = self.tick();
        let (request, reply, kind, timeout) = (entry.request(), entry.reply(), entry.kind(), entry.timeout);
        let inserted = self.table.insert(entry, controller, now);
        let there = self.find_exactly(request, kind).map(|known| known.index);
        let index = match (there, inserted) {
            (Some(there), inserted) => {
                prop_assert_eq!(inserted, Err(NotInserted::Exists(there)));
                return Ok(());
            }
            (None, inserted) if self.known.len() == LIMIT as usize => {
                prop_assert_eq!(inserted, Err(NotInserted::Full));
                return Ok(());
            }
            (None, inserted) => inserted.expect("room"),
        };
        prop_assert_eq!(self.position(index), None);
        if let Some(controller) = controller.and_then(|controller| self.position(controller))
            && self.known[controller].kind == Kind::Template
        {
            self.known[controller].expires = now.plus(self.known[controller].timeout);
        }
        self.known.push(Known {
            index,
            kind,
            request,
            reply,
            answers_since: None,
            findable: true,
            timeout,
            expires: now.plus(timeout),
            controller,
            assured: false,
        });
        self.answer(self.known.len() - 1);
        Ok(())
    }

    fn learn(&mut self, which: u8, port: u16) -> TestCaseResult {
        let Some(position) = self.choose(which) else { return Ok(()) };
        let known = &self.known[position];
        let key = PacketKey { source_port: port, ..known.request };
        let can = known.kind == Kind::WithoutClientPort && self.find_exactly(key, Kind::Connection).is_none();
        prop_assert_eq!(self.table.learn_client_port(known.index, port), can);
        if can {
            let known = &mut self.known[position];
            known.kind = Kind::Connection;
            known.request = key;
            known.reply.destination_port = port;
            self.answer(position);
        }
        Ok(())
    }

    fn pass(&mut self, time: Duration) -> TestCaseResult {
        let until = self.now + time;
        while let Some(next) = self.table.poll_timeout().filter(|next| *next <= until) {
            self.now = self.now.max(next);
            while let Some(expired) = self.table.expire(self.now) {
                self.expired(&expired)?;
            }
        }
        self.now = until;
        let now = self.tick();
        prop_assert!(self.known.iter().all(|known| known.expires > now), "{:?} at {now:?}", self.known);
        Ok(())
    }

    fn expired(&mut self, expired: &Expired) -> TestCaseResult {
        let now = self.tick();
        let index = match expired {
            Expired::Ended(ended) => ended.index,
            Expired::Extended(index) => *index,
        };
        let position = self.position(index).expect("one that is known");
        let controls = self.controls(index) > 0;
        let known = &mut self.known[position];
        prop_assert_eq!(known.expires, now, "to the tick");
        match expired {
            Expired::Ended(ended) => {
                let forced = known.timeout == Ticks::default();
                prop_assert_eq!(ended.cause, if forced { Cause::Forced } else { Cause::TimedOut });
                prop_assert!(!controls);
                self.ended(position, forced);
            }
            Expired::Extended(_) => {
                prop_assert!(controls);
                known.timeout = Ticks::of(seconds(60));
                known.expires = now.plus(known.timeout);
            }
        }
        Ok(())
    }

    /// Everything that could be asked.
    fn compare(&self) -> TestCaseResult {
        prop_assert_eq!(self.table.check(), Ok(()));
        prop_assert_eq!(self.table.len(), self.known.len());
        let mut keys = Vec::new();
        for (from, port, to) in (0..3).flat_map(|a| (0..3).flat_map(move |b| (0..2).map(move |c| (a, b, c))))
        {
            let request = between(client(from, port), service(to));
            let template = self.find_exactly(PacketKey { source_port: 0, ..request }, Kind::Template);
            let key = TemplateKey::of_service(Protocol::Tcp, service(to), client(from, port).address, 32);
            prop_assert_eq!(self.table.find_template(&key), template.map(|known| known.index));
            let replies = [(server(to), client(from, port)), (server(to), local(port))];
            keys.extend(replies.map(|(source, destination)| between(source, destination)));
            keys.extend([request, request.reversed()]);
        }
        for key in keys {
            let found = self.table.lookup(key);
            let found = found.map(|found| (found.connection, found.direction != Direction::Output));
            prop_assert_eq!(found, self.lookup(key), "{:?}", key);
        }
        let controls: BTreeMap<_, _> =
            self.known.iter().map(|known| (known.index, self.controls(known.index))).collect();
        let listed: BTreeMap<_, _> =
            self.table.iter().map(|(index, entry)| (index, entry.controls() as usize)).collect();
        prop_assert_eq!(listed, controls);
        Ok(())
    }
}

fn entry(from: u8, port: u16, to: u8, at: u8, how: How) -> Connection {
    let local = matches!(how, How::FullNat).then(|| local(port));
    let ends = Ends { client: client(from, port), service: service(to), server: server(at), local };
    match how {
        How::Masquerade | How::FullNat => Connection::new(Protocol::Tcp, &ends, Method::Masquerade),
        How::Direct => Connection::new(Protocol::Tcp, &ends, Method::Direct),
        How::WithoutClientPort => {
            Connection::new(Protocol::Tcp, &ends, Method::Masquerade).without_client_port()
        }
        How::Template => {
            let key = TemplateKey::of_service(Protocol::Tcp, ends.service, ends.client.address, 32);
            Connection::template(&key, ends.server, Method::Masquerade, seconds(300))
        }
    }
}

proptest! {
    #[test]
    fn the_table_is_what_a_list_would_be(steps in prop::collection::vec(step(), 1..120)) {
        let mut pair = Pair::new();
        for step in steps {
            pair.play(step)?;
            pair.compare()?;
        }
        // Longer than anything was touched to live.
        pair.pass(seconds(86_400))?;
        prop_assert!(pair.table.is_empty());
        pair.compare()?;
    }
}
