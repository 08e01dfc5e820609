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
    /// `None` until a result has decided.
    report: Option<Report>,
}

impl Ledger {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes over the checks that there are to be. What stays in its place keeps what is believed of it; equal settings
    /// change nothing.
    pub fn configure(
        &mut self,
        wanted: impl IntoIterator<Item = (ServerKey, Vec<CheckSettings>)>,
    ) -> Vec<Command> {
        let mut commands = Vec::new();
        let mut old = std::mem::take(&mut self.servers);
        for (server, settings) in wanted {
            let mut ids = old.remove(&server).unwrap_or_default();
            for surplus in ids.drain(settings.len().min(ids.len())..) {
                self.remove(surplus, &mut commands);
            }
            for (place, settings) in settings.into_iter().enumerate() {
                let id = match ids.get(place) {
                    Some(id) => *id,
                    None => {
                        let id = CheckId(self.next);
                        self.next += 1;
                        self.checks.insert(id, Check { server: server.clone(), report: None });
                        ids.push(id);
                        id
                    }
                };
                commands.push(Command::Replace { id, settings: Box::new(settings) });
            }
            self.servers.insert(server, ids);
        }
        for id in old.into_values().flatten() {
            self.remove(id, &mut commands);
        }
        commands
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

    /// What a report makes of its server. `None` while that cannot be told: a check without a result says nothing, unless
    /// another one is down already.
    pub fn handle_report(&mut self, report: Report) -> Option<(ServerKey, Health)> {
        let check = self.checks.get_mut(&report.id)?;
        check.report = report.decided.then_some(report);
        let server = check.server.clone();
        self.health(&server).map(|health| (server, health))
    }

    fn health(&self, server: &ServerKey) -> Option<Health> {
        let checks = self.servers.get(server)?.iter().filter_map(|id| self.checks.get(id));
        let reports: Vec<Option<&Report>> = checks.map(|check| check.report.as_ref()).collect();
        let known = || reports.iter().copied().flatten();
        let advice = known().filter_map(|report| report.weight).collect();
        let resting = known().any(|report| {
            matches!(report.administrative, Some(Administrative::Drain | Administrative::Maintenance))
        });
        if let Some(failed) = known().find(|report| report.health == Belief::Down) {
            return Some(Health { up: false, reason: words(failed), advice, resting });
        }
        if reports.iter().any(Option::is_none) {
            return None;
        }
        // One that fails without being given up yet is what people want to read of.
        let told = known().find(|report| report.failures > 0).or_else(|| known().next())?;
        Some(Health { up: true, reason: words(told), advice, resting })
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

    use buoy_healthcheck::{Cadence, Findings, Outcome, Probe, Reason, WeightAdvice};

    use super::*;

    fn server(last: u8) -> ServerKey {
        ("web".into(), RealServerId { address: [10, 1, 0, last].into(), port: 80 })
    }

    fn check(name: &str) -> CheckSettings {
        CheckSettings { probe: Probe::External(name.into()), cadence: Cadence::default() }
    }

    fn configure(ledger: &mut Ledger, wanted: &[(u8, &[&str])]) -> Vec<String> {
        let wanted = wanted
            .iter()
            .map(|(last, checks)| (server(*last), checks.iter().map(|name| check(name)).collect::<Vec<_>>()));
        let commands = ledger.configure(wanted.collect::<Vec<_>>());
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
        assert_eq!(ledger.handle_report(up(0)), None, "the other one has not spoken");
        assert_eq!(ledger.handle_report(up(1)), Some((server(1), Health::up("up"))));
        assert_eq!(ledger.handle_report(down(1)), Some((server(1), Health::down("connection refused"))));
        assert_eq!(ledger.handle_report(up(0)), Some((server(1), Health::down("connection refused"))));
        assert_eq!(ledger.handle_report(up(1)), Some((server(1), Health::up("up"))));
    }

    #[test]
    fn a_failure_decides_before_the_others_have_spoken_and_what_is_undecided_says_nothing() {
        let mut ledger = Ledger::new();
        configure(&mut ledger, &[(1, &["a", "b"])]);
        assert_eq!(ledger.handle_report(Report { decided: false, ..up(0) }), None);
        assert_eq!(ledger.handle_report(down(1)), Some((server(1), Health::down("connection refused"))));
        assert_eq!(ledger.handle_report(up(9)), None, "a check that is no more");
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
    fn a_reload_keeps_what_stays_in_its_place_and_drops_the_rest() {
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
