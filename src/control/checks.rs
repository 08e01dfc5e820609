//! From the checks of real servers to their health: which checks there are to be, and what their results, taken together,
//! say about each server. Pure: configuration and reports in, commands for the checkers and health out.
//!
//! A check is what it asks. Asked as before, at whatever cadence and wherever it stands in the file, it keeps what is
//! believed of it over a reload; anything else is another check, of which nothing is known. What a server's checks say:
//!
//! | one of them                              | counts as                                             |
//! |------------------------------------------|-------------------------------------------------------|
//! | has decided                              | up or down                                            |
//! | has not, and `alpha` wants a success     | down                                                  |
//! | was made and could not tell              | nothing (an agent that is not there, a trouble here)  |
//! | was not made yet                         | open: it may bring nobody in, and takes nobody out    |
//!
//! The server is down with the first that is down; else it stays as it is while one is open; else it is up. So a reload
//! moves a server only when what held it down is gone or something new has failed, and no check that never decides holds it.

use std::collections::BTreeMap;
use std::sync::Arc;

use buoy_healthcheck::Health as Belief;
use buoy_healthcheck::driver::Command;
use buoy_healthcheck::{Administrative, CheckId, CheckSettings, Report};
use buoy_ipvs::RealServerId;

use super::pool::{Health, Standing};

/// One real server of one virtual server: the address alone may stand behind many.
pub type ServerKey = (Arc<str>, RealServerId);

/// Keeps the checks of all real servers.
#[derive(Debug, Default)]
pub struct Ledger {
    servers: BTreeMap<ServerKey, Vec<CheckId>>,
    checks: BTreeMap<CheckId, Check>,
    next: u64,
}

#[derive(Debug)]
struct Check {
    server: ServerKey,
    settings: Arc<CheckSettings>,
    /// The last one, decided or not.
    report: Option<Report>,
}

/// What follows from other checks than before.
#[derive(Debug, Default)]
pub struct Reconfigured {
    /// What the checkers are to do.
    pub commands: Vec<Command>,
    /// What is known of the servers that have other checks now: one that failed may be gone.
    pub health: Vec<(ServerKey, Health)>,
}

impl Ledger {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes over the checks that there are to be.
    pub fn configure(
        &mut self,
        wanted: impl IntoIterator<Item = (ServerKey, Vec<CheckSettings>)>,
    ) -> Reconfigured {
        let mut commands = Vec::new();
        let mut changed = Vec::new();
        let mut old = std::mem::take(&mut self.servers);
        for (server, settings) in wanted {
            let before = old.remove(&server).unwrap_or_default();
            let kept = self.matched(&before, &settings);
            for surplus in before.iter().filter(|id| !kept.contains(&Some(**id))) {
                self.remove(*surplus, &mut commands);
            }
            let asked_before = |(id, settings): (&Option<CheckId>, &CheckSettings)| {
                id.and_then(|id| self.checks.get(&id)).is_some_and(|check| *check.settings == *settings)
            };
            if before.len() != settings.len() || !kept.iter().zip(&settings).all(asked_before) {
                changed.push(server.clone());
            }
            let mut ids = Vec::with_capacity(settings.len());
            for (kept, settings) in kept.into_iter().zip(settings) {
                let settings = Arc::new(settings);
                let id = self.put(kept, &server, Arc::clone(&settings));
                commands.push(Command::Replace { id, settings });
                ids.push(id);
            }
            self.servers.insert(server, ids);
        }
        for id in old.into_values().flatten() {
            self.remove(id, &mut commands);
        }
        let health = changed.into_iter().filter_map(|server| Some((server.clone(), self.health(&server)?)));
        let health = health.collect();
        Reconfigured { commands, health }
    }

    /// Which of the checks of a server each of its new settings is for: one that asks the same, at best as often.
    fn matched(&self, before: &[CheckId], settings: &[CheckSettings]) -> Vec<Option<CheckId>> {
        let mut free: Vec<(CheckId, &CheckSettings)> =
            before.iter().filter_map(|id| Some((*id, &*self.checks.get(id)?.settings))).collect();
        let mut take = |same: &dyn Fn(&CheckSettings) -> bool| {
            let found = free.iter().position(|(_, settings)| same(settings))?;
            Some(free.remove(found).0)
        };
        let mut matched: Vec<Option<CheckId>> =
            settings.iter().map(|wanted| take(&|settings| settings == wanted)).collect();
        for (matched, wanted) in matched.iter_mut().zip(settings) {
            *matched = matched.or_else(|| take(&|settings| settings.probe == wanted.probe));
        }
        matched
    }

    /// Notes settings for a check that there is, or for a new one.
    fn put(&mut self, kept: Option<CheckId>, server: &ServerKey, settings: Arc<CheckSettings>) -> CheckId {
        if let Some((id, check)) = kept.and_then(|id| Some((id, self.checks.get_mut(&id)?))) {
            check.settings = settings;
            return id;
        }
        let id = CheckId(self.next);
        self.next += 1;
        self.checks.insert(id, Check { server: server.clone(), settings, report: None });
        id
    }

    fn remove(&mut self, id: CheckId, commands: &mut Vec<Command>) {
        self.checks.remove(&id);
        commands.push(Command::Remove(id));
    }

    /// All checks with the virtual servers that they are for.
    pub fn checks(&self) -> impl Iterator<Item = (&Arc<str>, CheckId)> {
        self.servers.iter().flat_map(|((service, _), ids)| ids.iter().map(move |id| (service, *id)))
    }

    /// Whose check it is.
    pub fn server_of(&self, id: CheckId) -> Option<&ServerKey> {
        self.checks.get(&id).map(|check| &check.server)
    }

    /// What is known of each server of which a check was made.
    pub fn known(&self) -> impl Iterator<Item = (ServerKey, Health)> {
        self.servers.keys().filter_map(|server| Some((server.clone(), self.health(server)?)))
    }

    /// What a report makes of its server. `None` while none of its checks was made.
    pub fn handle_report(&mut self, report: Report) -> Option<(ServerKey, Health)> {
        let check = self.checks.get_mut(&report.id)?;
        check.report = Some(report);
        let server = check.server.clone();
        self.health(&server).map(|health| (server, health))
    }

    fn health(&self, server: &ServerKey) -> Option<Health> {
        let checks = || self.servers.get(server).into_iter().flatten().filter_map(|id| self.checks.get(id));
        let reports = || checks().filter_map(Check::made);
        reports().next()?;
        let (standing, reason) = verdict(checks);
        Some(Health {
            standing,
            doubted: reports().any(|report| report.doubted),
            reason,
            advice: reports().filter_map(|report| report.weight).collect(),
            resting: reports().any(|report| {
                matches!(report.administrative, Some(Administrative::Drain | Administrative::Maintenance))
            }),
        })
    }
}

/// What one check says of its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word<'r> {
    Up(&'r Report),
    /// `None` without a report, with `alpha`.
    Down(Option<&'r Report>),
    Nothing(&'r Report),
    Open,
}

fn verdict<'c, C: Iterator<Item = &'c Check>>(checks: impl Fn() -> C) -> (Standing, Arc<str>) {
    let said = || checks().map(Check::word);
    // A failure says more than that nothing has succeeded.
    let failed = said().find(|word| matches!(word, Word::Down(Some(report)) if report.decided));
    if let Some(Word::Down(report)) = failed.or_else(|| said().find(|word| matches!(word, Word::Down(_)))) {
        return (Standing::Down, report.map_or_else(|| "not checked yet".into(), words));
    }
    let ups = || {
        said().filter_map(|word| match word {
            Word::Up(report) => Some(report),
            Word::Down(_) | Word::Nothing(_) | Word::Open => None,
        })
    };
    // One that fails without being given up yet is what people want to read of.
    let up = ups().find(|report| report.failures > 0).or_else(|| ups().next()).map(words);
    let nothing = said().find_map(|word| match word {
        Word::Nothing(report) => Some(words(report)),
        Word::Up(_) | Word::Down(_) | Word::Open => None,
    });
    let reason = match (&up, nothing) {
        (Some(up), None) => Arc::clone(up),
        (Some(up), Some(why)) => format!("{up}; a check cannot tell: {why}").into(),
        (None, Some(why)) => format!("no check can tell: {why}").into(),
        (None, None) => "not checked yet".into(),
    };
    let standing = match up {
        _ if said().any(|word| word == Word::Open) => Standing::Open,
        Some(_) => Standing::Up,
        None => Standing::Unknown,
    };
    (standing, reason)
}

impl Check {
    /// Its last report, if it was made at all.
    fn made(&self) -> Option<&Report> {
        self.report.as_ref().filter(|report| report.decided || report.last.is_some())
    }

    fn word(&self) -> Word<'_> {
        match (self.made(), self.settings.cadence.start) {
            (Some(report), _) if report.decided => match report.health {
                Belief::Up => Word::Up(report),
                Belief::Down => Word::Down(Some(report)),
            },
            (report, Belief::Down) => Word::Down(report),
            (Some(report), Belief::Up) => Word::Nothing(report),
            (None, Belief::Up) => Word::Open,
        }
    }
}

fn words(report: &Report) -> Arc<str> {
    let last = report.last.as_ref().map(|(outcome, _)| outcome.to_string()).unwrap_or_default();
    match report.failures {
        0 => last.into(),
        1 => format!("failed once so far: {last}").into(),
        failures => format!("failed {failures} times so far: {last}").into(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use buoy_healthcheck::{Cadence, Findings, Outcome, Probe, Reason, Trouble, WeightAdvice};

    use super::*;

    fn server(last: u8) -> ServerKey {
        ("web".into(), RealServerId { address: [10, 1, 0, last].into(), port: 80 })
    }

    fn check(name: &str) -> CheckSettings {
        CheckSettings { probe: Probe::External(name.into()), cadence: Cadence::default() }
    }

    fn reconfigure(ledger: &mut Ledger, wanted: &[(u8, &[&str])]) -> Reconfigured {
        let wanted = wanted
            .iter()
            .map(|(last, checks)| (server(*last), checks.iter().map(|name| check(name)).collect::<Vec<_>>()));
        ledger.configure(wanted.collect::<Vec<_>>())
    }

    fn configure(ledger: &mut Ledger, wanted: &[(u8, &[&str])]) -> Vec<String> {
        let commands = reconfigure(ledger, wanted).commands;
        let word = |command: &Command| match command {
            Command::Replace { id, .. } => format!("check {}", id.0),
            Command::Remove(id) => format!("drop {}", id.0),
            other => format!("{other:?}"),
        };
        commands.iter().map(word).collect()
    }

    fn report(id: u64, outcome: Outcome) -> Report {
        let health = if matches!(outcome, Outcome::Down(_)) { Belief::Down } else { Belief::Up };
        Report {
            id: CheckId(id),
            health,
            decided: true,
            since: Instant::now(),
            transitions: 0,
            transition: None,
            failures: 0,
            doubted: false,
            weight: None,
            administrative: None,
            certificate: None,
            last: Some((outcome, Instant::now())),
        }
    }

    fn undecided(id: u64, health: Belief) -> Report {
        let outcome = Outcome::Undecided(Trouble::NothingKnown);
        Report { decided: false, health, ..report(id, outcome) }
    }

    /// As the checkers tell when they are given a check.
    fn begun(id: u64) -> Report {
        Report { last: None, ..undecided(id, Belief::Up) }
    }

    fn health(standing: Standing, reason: &str) -> Health {
        Health { standing, ..Health::up(reason) }
    }

    fn open(reason: &str) -> Health {
        health(Standing::Open, reason)
    }

    fn unknown() -> Health {
        health(Standing::Unknown, "no check can tell: nothing known yet")
    }

    fn up(id: u64) -> Report {
        report(id, Outcome::Up(Findings::default()))
    }

    fn down(id: u64) -> Report {
        report(id, Outcome::Down(Reason::Refused))
    }

    #[test]
    fn a_server_is_up_when_all_its_checks_are_and_down_with_the_first_that_is() {
        let mut ledger = Ledger::new();
        assert_eq!(configure(&mut ledger, &[(1, &["a", "b"])]), ["check 0", "check 1"]);
        assert_eq!(ledger.handle_report(up(0)), Some((server(1), open("up"))), "the other one may fail");
        assert_eq!(ledger.handle_report(up(1)), Some((server(1), Health::up("up"))));
        assert_eq!(ledger.handle_report(down(1)), Some((server(1), Health::down("connection refused"))));
        assert_eq!(ledger.handle_report(up(0)), Some((server(1), Health::down("connection refused"))));
        assert_eq!(ledger.handle_report(up(1)), Some((server(1), Health::up("up"))));
    }

    #[test]
    fn nothing_is_said_of_a_server_until_a_check_was_made() {
        let mut ledger = Ledger::new();
        configure(&mut ledger, &[(1, &["a", "b"])]);
        assert_eq!(ledger.handle_report(begun(0)), None);
        assert_eq!(ledger.handle_report(begun(1)), None);
        assert_eq!(ledger.handle_report(up(9)), None, "a check that is no more");
        let other = Some((server(1), open("no check can tell: nothing known yet")));
        assert_eq!(ledger.handle_report(undecided(0, Belief::Up)), other);
        assert_eq!(ledger.handle_report(undecided(1, Belief::Up)), Some((server(1), unknown())));
    }

    #[test]
    fn a_check_that_never_decides_holds_its_server_neither_up_nor_down() {
        let mut ledger = Ledger::new();
        configure(&mut ledger, &[(1, &["tcp", "agent"])]);
        ledger.handle_report(undecided(1, Belief::Up));
        for _ in 0..2 {
            assert_eq!(ledger.handle_report(down(0)), Some((server(1), Health::down("connection refused"))));
            let up_by_one = Health::up("up; a check cannot tell: nothing known yet");
            assert_eq!(ledger.handle_report(up(0)), Some((server(1), up_by_one)));
        }
    }

    #[test]
    fn a_server_is_held_down_by_nobody_when_all_that_is_left_is_a_check_that_never_decides() {
        let mut ledger = Ledger::new();
        configure(&mut ledger, &[(1, &["tcp", "agent"])]);
        ledger.handle_report(undecided(1, Belief::Up));
        ledger.handle_report(down(0));
        assert_eq!(reconfigure(&mut ledger, &[(1, &["agent"])]).health, [(server(1), unknown())]);
    }

    #[test]
    fn a_check_that_never_decides_in_the_place_of_a_failed_one_holds_nothing_down_once_it_was_made() {
        let mut ledger = Ledger::new();
        configure(&mut ledger, &[(1, &["tcp"])]);
        ledger.handle_report(down(0));
        let changed = reconfigure(&mut ledger, &[(1, &["agent"])]);
        assert_eq!(changed.health, [], "it stays as it is");
        assert_eq!(ledger.handle_report(begun(1)), None);
        assert_eq!(ledger.handle_report(undecided(1, Belief::Up)), Some((server(1), unknown())));
    }

    #[test]
    fn with_alpha_each_check_has_to_succeed_before_its_server_is_up() {
        let mut ledger = Ledger::new();
        let alpha = |name| {
            let cadence = Cadence { start: Belief::Down, ..Cadence::default() };
            CheckSettings { cadence, ..check(name) }
        };
        ledger.configure([(server(1), vec![alpha("a"), alpha("b")])]);
        assert_eq!(ledger.handle_report(Report { health: Belief::Down, ..begun(1) }), None);
        assert_eq!(ledger.handle_report(up(0)), Some((server(1), Health::down("not checked yet"))));
        let trouble = Health::down(&Trouble::NothingKnown.to_string());
        assert_eq!(ledger.handle_report(undecided(1, Belief::Down)), Some((server(1), trouble)));
        assert_eq!(ledger.handle_report(up(1)), Some((server(1), Health::up("up"))));
    }

    #[test]
    fn a_failure_that_does_not_count_yet_is_told() {
        let mut ledger = Ledger::new();
        configure(&mut ledger, &[(1, &["a"])]);
        let failing = Report { health: Belief::Up, failures: 2, ..down(0) };
        let expected = Health::up("failed 2 times so far: connection refused");
        assert_eq!(ledger.handle_report(failing), Some((server(1), expected)));
    }

    #[test]
    fn a_death_is_doubted_while_a_check_that_found_it_is() {
        let mut ledger = Ledger::new();
        configure(&mut ledger, &[(1, &["a", "b"])]);
        let doubted = |report| Report { doubted: true, ..report };
        let health =
            ledger.handle_report(doubted(down(0))).map(|(_, health)| (health.standing, health.doubted));
        assert_eq!(health, Some((Standing::Down, true)));
        let health = ledger.handle_report(down(1)).map(|(_, health)| (health.standing, health.doubted));
        assert_eq!(health, Some((Standing::Down, true)), "a command, which cannot know");
        let health = ledger.handle_report(down(0)).map(|(_, health)| (health.standing, health.doubted));
        assert_eq!(health, Some((Standing::Down, false)));
    }

    #[test]
    fn weights_add_up_over_checks_and_an_agent_may_ask_for_rest() {
        let mut ledger = Ledger::new();
        configure(&mut ledger, &[(1, &["a", "b"])]);
        ledger.handle_report(Report { weight: Some(WeightAdvice::Add(5)), ..up(0) });
        let agent = Report {
            weight: Some(WeightAdvice::Percent(50)),
            administrative: Some(Administrative::Drain),
            ..up(1)
        };
        let (_, health) = ledger.handle_report(agent).expect("both have spoken");
        assert_eq!(health.advice, [WeightAdvice::Add(5), WeightAdvice::Percent(50)]);
        assert!(health.standing == Standing::Up && health.resting);
        let (_, health) = ledger
            .handle_report(Report { administrative: Some(Administrative::Ready), ..up(1) })
            .expect("known");
        assert!(!health.resting);
    }

    #[test]
    fn a_reload_keeps_what_stays_and_drops_the_rest() {
        let mut ledger = Ledger::new();
        configure(&mut ledger, &[(1, &["a", "b"]), (2, &["a"])]);
        ledger.handle_report(up(0));
        assert_eq!(
            configure(&mut ledger, &[(1, &["a"]), (3, &["a"])]),
            ["drop 1", "check 0", "check 3", "drop 2"]
        );
        assert_eq!(ledger.handle_report(down(2)), None);
        assert_eq!(ledger.handle_report(down(0)), Some((server(1), Health::down("connection refused"))));
        assert_eq!(configure(&mut ledger, &[(1, &["a", "c"])]), ["check 0", "check 4", "drop 3"]);
    }

    #[test]
    fn a_check_is_known_by_what_it_asks_and_not_by_its_place() {
        let mut ledger = Ledger::new();
        configure(&mut ledger, &[(1, &["a", "b", "c"])]);
        assert_eq!(configure(&mut ledger, &[(1, &["b", "c"])]), ["drop 0", "check 1", "check 2"]);
        assert_eq!(configure(&mut ledger, &[(1, &["c", "b"])]), ["check 2", "check 1"]);
        assert_eq!(configure(&mut ledger, &[(1, &["d", "b"])]), ["drop 2", "check 3", "check 1"]);
        assert_eq!(configure(&mut ledger, &[(1, &["b", "b"])]), ["drop 3", "check 1", "check 4"]);
        assert_eq!(configure(&mut ledger, &[(1, &["b", "b"])]), ["check 1", "check 4"]);
    }

    #[test]
    fn a_check_at_another_cadence_is_the_same() {
        let mut ledger = Ledger::new();
        configure(&mut ledger, &[(1, &["a", "b"])]);
        for report in [down(0), up(1)] {
            ledger.handle_report(report);
        }
        let often = |name| {
            let cadence = Cadence { interval: std::time::Duration::from_secs(1), ..Cadence::default() };
            CheckSettings { cadence, ..check(name) }
        };
        let changed = ledger.configure([(server(1), vec![often("b"), often("a")])]);
        assert_eq!(changed.health, [(server(1), Health::down("connection refused"))]);
        assert_eq!(ledger.handle_report(up(0)), Some((server(1), Health::up("up"))));
    }

    #[test]
    fn a_server_is_back_when_its_failing_check_is_gone_and_others_are_not_told_anew() {
        let mut ledger = Ledger::new();
        configure(&mut ledger, &[(1, &["a", "b"]), (2, &["a"])]);
        for report in [down(0), up(1), up(2)] {
            ledger.handle_report(report);
        }
        let back = reconfigure(&mut ledger, &[(1, &["b"]), (2, &["a"]), (3, &["a"])]);
        assert_eq!(back.health, [(server(1), Health::up("up"))]);
        assert_eq!(reconfigure(&mut ledger, &[(1, &["b"]), (2, &["a"])]).health, []);
    }

    #[test]
    fn a_changed_check_moves_no_server_until_it_was_made() {
        let mut ledger = Ledger::new();
        configure(&mut ledger, &[(1, &["a", "b"]), (2, &["a"]), (3, &["a"])]);
        for report in [down(0), up(1), down(2), up(3)] {
            ledger.handle_report(report);
        }
        let changed = reconfigure(&mut ledger, &[(1, &["c", "b"]), (2, &["c", "d"]), (3, &["a", "c"])]);
        assert_eq!(changed.health, [(server(1), open("up")), (server(3), open("up"))]);
        assert_eq!(ledger.handle_report(up(4)), Some((server(1), Health::up("up"))));
        assert_eq!(ledger.handle_report(up(5)), Some((server(2), open("up"))), "one is still to be made");
        assert_eq!(ledger.handle_report(down(6)), Some((server(2), Health::down("connection refused"))));
        assert_eq!(ledger.handle_report(down(7)), Some((server(3), Health::down("connection refused"))));
    }

    #[test]
    fn what_is_known_can_be_told_again() {
        let mut ledger = Ledger::new();
        configure(&mut ledger, &[(1, &["a"]), (2, &["a"])]);
        ledger.handle_report(down(1));
        let known: Vec<_> = ledger.known().collect();
        assert_eq!(known, [(server(2), Health::down("connection refused"))]);
        assert_eq!(ledger.checks().map(|(_, id)| id.0).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(ledger.server_of(CheckId(1)), Some(&server(2)));
    }
}
