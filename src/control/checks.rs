//! From the checks of real servers to their health: which checks there are to be, and what their results, taken together,
//! say about each server. Pure: configuration and reports in, commands for the checkers and health out.

use std::collections::BTreeMap;
use std::sync::Arc;

use buoy_healthcheck::Health as Belief;
use buoy_healthcheck::driver::Command;
use buoy_healthcheck::{Administrative, CheckId, CheckSettings, Report};
use buoy_ipvs::RealServerId;

use super::pool::Health;

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
    settings: CheckSettings,
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

    /// Takes over the checks that there are to be. What is asked as before keeps what is believed of it, wherever it
    /// stands now; what was changed in its place keeps its health until its first result.
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
                id.and_then(|id| self.checks.get(&id)).is_some_and(|check| check.settings == *settings)
            };
            if before.len() != settings.len() || !kept.iter().zip(&settings).all(asked_before) {
                changed.push(server.clone());
            }
            let mut ids = Vec::with_capacity(settings.len());
            for (kept, settings) in kept.into_iter().zip(settings) {
                let id = self.put(kept, &server, settings.clone());
                commands.push(Command::Replace { id, settings: Box::new(settings) });
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

    /// Which of the checks of a server each of its new settings is for: the one with equal settings, else the one in the
    /// same place, if no other setting has it.
    fn matched(&self, before: &[CheckId], settings: &[CheckSettings]) -> Vec<Option<CheckId>> {
        let mut free: Vec<Option<CheckId>> = before.iter().copied().map(Some).collect();
        let equal = |id: &Option<CheckId>, settings: &CheckSettings| {
            id.and_then(|id| self.checks.get(&id)).is_some_and(|check| check.settings == *settings)
        };
        let mut matched: Vec<Option<CheckId>> = settings
            .iter()
            .map(|settings| free.iter_mut().find(|id| equal(id, settings)).and_then(Option::take))
            .collect();
        for (matched, in_place) in matched.iter_mut().zip(free) {
            *matched = matched.or(in_place);
        }
        matched
    }

    /// Notes settings for a check that there is, or for a new one.
    fn put(&mut self, kept: Option<CheckId>, server: &ServerKey, settings: CheckSettings) -> CheckId {
        if let Some((id, check)) = kept.and_then(|id| Some((id, self.checks.get_mut(&id)?))) {
            if check.settings.probe != settings.probe
                && let Some(report) = &mut check.report
            {
                // As the checkers have it: another question keeps the health, but nothing has decided it.
                report.decided = false;
            }
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

    /// What is known of each server whose checks have decided.
    pub fn known(&self) -> impl Iterator<Item = (ServerKey, Health)> {
        self.servers.keys().filter_map(|server| Some((server.clone(), self.health(server)?)))
    }

    /// What a report makes of its server. `None` while none of its checks has decided.
    pub fn handle_report(&mut self, report: Report) -> Option<(ServerKey, Health)> {
        let check = self.checks.get_mut(&report.id)?;
        check.report = Some(report);
        let server = check.server.clone();
        self.health(&server).map(|health| (server, health))
    }

    /// From the first check that has decided on, the others count as they began: one that never decides (an agent that is
    /// not there, a trouble of this host) holds its server neither up nor down, except with `alpha`.
    fn health(&self, server: &ServerKey) -> Option<Health> {
        let checks = || self.servers.get(server).into_iter().flatten().filter_map(|id| self.checks.get(id));
        let reports = || checks().filter_map(|check| check.report.as_ref());
        let decided = || reports().filter(|report| report.decided);
        // One that fails without being given up yet is what people want to read of.
        let told = decided().find(|report| report.failures > 0).or_else(|| decided().next())?;
        let failed = decided()
            .find(|report| report.health == Belief::Down)
            .map(words)
            .or_else(|| checks().find(|check| check.belief() == Belief::Down).map(Check::words));
        Some(Health {
            up: failed.is_none(),
            reason: failed.unwrap_or_else(|| words(told)),
            advice: reports().filter_map(|report| report.weight).collect(),
            resting: reports().any(|report| {
                matches!(report.administrative, Some(Administrative::Drain | Administrative::Maintenance))
            }),
        })
    }
}

impl Check {
    fn belief(&self) -> Belief {
        self.report.as_ref().map_or(self.settings.cadence.start, |report| report.health)
    }

    fn words(&self) -> Arc<str> {
        let tried = self.report.as_ref().filter(|report| report.last.is_some());
        tried.map_or_else(|| "not checked yet".into(), words)
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
        assert_eq!(ledger.handle_report(up(0)), Some((server(1), Health::up("up"))));
        assert_eq!(ledger.handle_report(up(1)), Some((server(1), Health::up("up"))));
        assert_eq!(ledger.handle_report(down(1)), Some((server(1), Health::down("connection refused"))));
        assert_eq!(ledger.handle_report(up(0)), Some((server(1), Health::down("connection refused"))));
        assert_eq!(ledger.handle_report(up(1)), Some((server(1), Health::up("up"))));
    }

    #[test]
    fn nothing_is_said_of_a_server_until_a_check_has_decided() {
        let mut ledger = Ledger::new();
        configure(&mut ledger, &[(1, &["a", "b"])]);
        assert_eq!(ledger.handle_report(undecided(0, Belief::Up)), None);
        assert_eq!(ledger.handle_report(undecided(1, Belief::Down)), None);
        assert_eq!(ledger.handle_report(up(9)), None, "a check that is no more");
    }

    #[test]
    fn a_check_that_never_decides_holds_its_server_neither_up_nor_down() {
        let mut ledger = Ledger::new();
        configure(&mut ledger, &[(1, &["tcp", "agent"])]);
        assert_eq!(ledger.handle_report(undecided(1, Belief::Up)), None);
        for _ in 0..2 {
            assert_eq!(ledger.handle_report(down(0)), Some((server(1), Health::down("connection refused"))));
            assert_eq!(ledger.handle_report(up(0)), Some((server(1), Health::up("up"))));
        }
    }

    #[test]
    fn with_alpha_each_check_has_to_succeed_before_its_server_is_up() {
        let mut ledger = Ledger::new();
        let alpha = |name| {
            let cadence = Cadence { start: Belief::Down, ..Cadence::default() };
            CheckSettings { cadence, ..check(name) }
        };
        ledger.configure([(server(1), vec![alpha("a"), alpha("b")])]);
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
        assert!(health.up && health.resting);
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
    fn a_check_that_moves_is_known_by_its_settings_and_one_that_changes_by_its_place() {
        let mut ledger = Ledger::new();
        configure(&mut ledger, &[(1, &["a", "b", "c"])]);
        assert_eq!(configure(&mut ledger, &[(1, &["b", "c"])]), ["drop 0", "check 1", "check 2"]);
        assert_eq!(configure(&mut ledger, &[(1, &["c", "b"])]), ["check 2", "check 1"]);
        assert_eq!(configure(&mut ledger, &[(1, &["d", "b"])]), ["check 2", "check 1"]);
        assert_eq!(configure(&mut ledger, &[(1, &["b", "b"])]), ["drop 2", "check 1", "check 3"]);
        assert_eq!(configure(&mut ledger, &[(1, &["b", "b"])]), ["check 1", "check 3"]);
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
    fn a_changed_check_keeps_its_server_down_until_it_has_decided() {
        let mut ledger = Ledger::new();
        configure(&mut ledger, &[(1, &["a", "b"]), (2, &["a"])]);
        for report in [down(0), up(1), down(2)] {
            ledger.handle_report(report);
        }
        let changed = reconfigure(&mut ledger, &[(1, &["c", "b"]), (2, &["c"])]);
        let still = Health::down("connection refused");
        assert_eq!(changed.health, [(server(1), still)], "nothing has decided about the other one");
        assert_eq!(ledger.handle_report(up(0)), Some((server(1), Health::up("up"))));
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
