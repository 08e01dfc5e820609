//! The schedulers without hashes and chance, written once more: plainly, slowly, and with all counters of its own.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

struct Model {
    scheduler: Scheduler,
    /// The newest first.
    list: Vec<ModelServer>,
    /// The name of the last choice of rr or wrr.
    last: Option<char>,
    level: u32,
}

#[derive(Clone, Copy)]
struct ModelServer {
    name: char,
    weight: u32,
    upper: u32,
    lower: u32,
    active: u32,
    inactive: u32,
    overloaded: bool,
}

impl ModelServer {
    fn takes(&self) -> bool {
        self.weight > 0 && !self.overloaded
    }

    fn load(&self) -> u32 {
        256 * self.active + self.inactive
    }

    /// Weights are divisors of 60 here, so that every quotient is whole.
    fn for_its_weight(&self, cost: u32) -> u32 {
        60 / self.weight * cost
    }
}

impl Model {
    fn step(&self) -> u32 {
        let divides = |step: &u32| self.list.iter().all(|server| server.weight % step == 0);
        if self.top_weight() == 0 { 1 } else { (1..=60).rev().find(divides).expect("1 divides all") }
    }

    fn top_weight(&self) -> u32 {
        self.list.iter().map(|server| server.weight).max().unwrap_or(0)
    }

    fn top(&self) -> u32 {
        (self.top_weight() + 1).saturating_sub(self.step())
    }

    fn changed(&mut self) {
        if self.scheduler != Scheduler::Wrr {
            return;
        }
        self.last = None;
        let (top, step) = (self.top(), self.step());
        if self.level > top || self.level == 0 {
            self.level = top;
        } else if step > 1 {
            self.level = self.level - self.level % step + 1;
        }
    }

    fn add(&mut self, server: ModelServer) {
        self.list.insert(0, server);
        self.changed();
    }

    fn remove(&mut self, position: usize) -> ModelServer {
        let gone = self.list.remove(position);
        if self.last == Some(gone.name) {
            self.last = position.checked_sub(1).map(|before| self.list[before].name);
        }
        self.changed();
        gone
    }

    fn edit(&mut self, position: usize, weight: u32, upper: u32, lower: u32) {
        let server = &mut self.list[position];
        server.overloaded &= upper != 0 && upper <= server.upper;
        (server.weight, server.upper, server.lower) = (weight, upper, lower);
        self.changed();
    }

    fn pick(&mut self) -> Option<char> {
        let candidates = || self.list.iter().filter(|server| server.takes());
        // The first of those for which nothing is less.
        let least = |cost: fn(&ModelServer) -> u32| {
            candidates().find(|one| candidates().all(|other| cost(one) <= cost(other))).map(|s| s.name)
        };
        let delay = || least(|server| server.for_its_weight(server.active + 1));
        match self.scheduler {
            Scheduler::Rr => {
                let after = self.last.and_then(|name| self.list.iter().position(|s| s.name == name));
                let mut circle = self.list.clone();
                circle.rotate_left(after.map_or(0, |position| position + 1) % self.list.len().max(1));
                let next = circle.iter().find(|server| server.takes())?.name;
                self.last = Some(next);
                Some(next)
            }
            Scheduler::Wrr => self.pick_by_levels(),
            Scheduler::Lc => least(ModelServer::load),
            Scheduler::Wlc => least(|server| server.for_its_weight(server.load())),
            Scheduler::Sed => delay(),
            Scheduler::Nq => candidates().find(|s| s.active == 0).map(|s| s.name).or_else(delay),
            Scheduler::Fo => least(|server| 60 - server.weight),
            Scheduler::Ovf => {
                let rest = || candidates().filter(|server| server.active <= server.weight);
                rest().find(|one| rest().all(|other| one.weight >= other.weight)).map(|s| s.name)
            }
            other => panic!("no model of {other}"),
        }
    }

    /// Level by level, as the kernel does.
    fn pick_by_levels(&mut self) -> Option<char> {
        let (top, step) = (self.top(), self.step());
        let begun = (self.last, self.level);
        for _ in 0..=2 * top {
            let after = self.last.and_then(|name| self.list.iter().position(|s| s.name == name));
            let mut rest = self.list.iter().skip(after.map_or(0, |position| position + 1));
            if let Some(server) = rest.find(|s| !s.overloaded && s.weight > 0 && s.weight >= self.level) {
                self.last = Some(server.name);
                return self.last;
            }
            self.last = None;
            self.level = if self.level > step { self.level - step } else { top };
        }
        (self.last, self.level) = match begun {
            (Some(_), level) if level <= step => begun,
            _ => (None, top),
        };
        None
    }
}

#[derive(Clone, Debug)]
enum Step {
    Add {
        weight: u32,
        upper: u32,
    },
    Remove(usize),
    /// What was removed last.
    Restore,
    Edit {
        position: usize,
        weight: u32,
        upper: u32,
        lower: u32,
    },
    Connect(bool),
    /// One of the connections ends.
    Close(usize),
}

fn any_step() -> impl Strategy<Value = Step> {
    let weights = proptest::sample::select(vec![0_u32, 1, 2, 3, 4, 5, 6, 10, 12, 30, 60]);
    let add = (weights.clone(), 0_u32..4).prop_map(|(weight, upper)| Step::Add { weight, upper });
    let edit = (any::<usize>(), weights, 0_u32..6, 0_u32..3).prop_map(|(position, weight, upper, lower)| {
        Step::Edit { position, weight, upper, lower: lower.min(upper) }
    });
    prop_oneof![
        2 => add,
        1 => any::<usize>().prop_map(Step::Remove),
        1 => Just(Step::Restore),
        2 => edit,
        12 => any::<bool>().prop_map(Step::Connect),
        5 => any::<usize>().prop_map(Step::Close),
    ]
}

/// Both, side by side.
struct Pair {
    lab: Lab,
    model: Model,
    /// Servers that were removed, whose connections go on.
    removed: Vec<ModelServer>,
    connections: Vec<(char, Counted)>,
}

impl Pair {
    fn new(scheduler: Scheduler) -> Self {
        let model = Model { scheduler, list: Vec::new(), last: None, level: 0 };
        Self { lab: Lab::new(scheduler, &[]), model, removed: Vec::new(), connections: Vec::new() }
    }

    fn play(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match *step {
            Step::Add { weight, upper } if self.lab.servers.len() < 26 => self.add(weight, upper),
            Step::Remove(position) if !self.model.list.is_empty() => {
                let gone = self.model.remove(position % self.model.list.len());
                self.lab.remove(gone.name);
                self.removed.push(gone);
            }
            Step::Restore => {
                if let Some(server) = self.removed.pop() {
                    self.model.add(server);
                    self.lab.restore(server.name);
                }
            }
            Step::Edit { position, weight, upper, lower } if !self.model.list.is_empty() => {
                let position = position % self.model.list.len();
                self.model.edit(position, weight, upper, lower);
                self.lab.edit(self.model.list[position].name, |server| {
                    server.weight = Weight::clamped(weight.into());
                    (server.upper_threshold, server.lower_threshold) = (upper, lower);
                });
            }
            Step::Connect(active) => self.connect(active)?,
            Step::Close(number) if !self.connections.is_empty() => {
                let (name, counted) = self.connections.swap_remove(number % self.connections.len());
                self.close(name, counted);
            }
            _ => {}
        }
        Ok(())
    }

    fn add(&mut self, weight: u32, upper: u32) {
        let name = char::from(b'A' + u8::try_from(self.lab.servers.len()).expect("at most 26"));
        let (active, inactive, overloaded) = (0, 0, false);
        self.model.add(ModelServer { name, weight, upper: 0, lower: 0, active, inactive, overloaded });
        self.lab.add(weight);
        self.model.edit(0, weight, upper, 0);
        self.lab.edit(name, |server| server.upper_threshold = upper);
    }

    fn connect(&mut self, active: bool) -> Result<(), TestCaseError> {
        let expected = self.model.pick();
        prop_assert_eq!(self.lab.choice(), expected);
        let Some(name) = expected else { return Ok(()) };
        let server = self.model.list.iter_mut().find(|server| server.name == name).expect("it was chosen");
        server.inactive += 1;
        server.overloaded |= server.upper != 0 && server.active + server.inactive >= server.upper;
        self.lab.server(name).bind(Counted::Inactive);
        if active {
            server.inactive -= 1;
            server.active += 1;
            self.lab.server(name).recount(Counted::Inactive, Counted::Active);
        }
        self.connections.push((name, if active { Counted::Active } else { Counted::Inactive }));
        Ok(())
    }

    fn close(&mut self, name: char, counted: Counted) {
        self.lab.server(name).unbind(counted);
        let mut all = self.model.list.iter_mut().chain(&mut self.removed);
        let server = all.find(|server| server.name == name).expect("it has a connection");
        match counted {
            Counted::Active => server.active -= 1,
            _ => server.inactive -= 1,
        }
        let connections = server.active + server.inactive;
        let still = match (server.upper, server.lower) {
            (0, 0) => false,
            (upper, 0) => 4 * connections >= 3 * upper,
            (_, lower) => connections >= lower,
        };
        server.overloaded &= still;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn choices_are_those_of_the_model(
        scheduler in proptest::sample::select(vec![
            Scheduler::Rr,
            Scheduler::Wrr,
            Scheduler::Lc,
            Scheduler::Wlc,
            Scheduler::Sed,
            Scheduler::Nq,
            Scheduler::Fo,
            Scheduler::Ovf,
        ]),
        steps in vec(any_step(), 0..120),
    ) {
        let mut pair = Pair::new(scheduler);
        for step in &steps {
            pair.play(step)?;
        }
    }
}

proptest! {
    /// All of them: whatever happens, nothing panics, and who is chosen is in the list.
    #[test]
    fn who_is_chosen_is_in_the_service(
        scheduler in proptest::sample::select(Scheduler::ALL.to_vec()),
        (flag_1, flag_2) in any::<(bool, bool)>(),
        steps in vec((any_step(), any::<u32>()), 0..80),
    ) {
        let mut lab = Lab::with_flags(scheduler, &[], flag_1, flag_2);
        let mut removed = Vec::new();
        for (step, client) in steps {
            let listed = lab.order.len();
            match step {
                Step::Add { weight, .. } if lab.servers.len() < 26 => lab.add(weight),
                Step::Remove(position) if listed > 0 => {
                    let name = letter(lab.order[position % listed]);
                    lab.remove(name);
                    removed.push(name);
                }
                Step::Restore => removed.pop().into_iter().for_each(|name| lab.restore(name)),
                Step::Edit { position, weight, upper, lower } if listed > 0 => {
                    lab.edit(letter(lab.order[position % listed]), |server| {
                        server.weight = Weight::clamped(weight.into());
                        (server.upper_threshold, server.lower_threshold) = (upper, lower);
                    });
                }
                Step::Close(minutes) => {
                    lab.now += Duration::from_secs(60 * (minutes as u64 % 2000));
                    lab.scheduling.handle_timeout(lab.now);
                }
                _ => {
                    lab.request.source = Address::v4(client);
                    lab.request.destination = Address::v4(client % 8);
                    if let Some(index) = lab.pick() {
                        prop_assert!(lab.order.contains(&index), "{}", scheduler);
                        lab.server(letter(index)).bind(Counted::Active);
                    }
                }
            }
        }
    }
}
