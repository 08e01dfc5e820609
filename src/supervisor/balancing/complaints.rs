//! What the log says about single attempts: failures where all are asked for, trouble of this host's own, certificates
//! that end soon. Changes of a server are told elsewhere.

use std::collections::BTreeMap;
use std::time::SystemTime;

use buoy_healthcheck::{CheckId, Outcome, Report};

use super::checks_thread::words;
use crate::control::checks::ServerKey;

/// Days before the end of a certificate at which it is told.
const WARNINGS: [i64; 4] = [30, 14, 7, 1];

/// What has been told of each check, so that it is told once.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    told: BTreeMap<CheckId, Told>,
}

#[derive(Debug, Default)]
struct Told {
    trouble: Option<String>,
    certificate: Option<(SystemTime, i64)>,
}

/// Something to be said.
#[derive(Debug, PartialEq, Eq)]
enum Complaint {
    /// An attempt failed.
    Failure(String),
    /// This host cannot make the check.
    Trouble(String),
    /// It can again.
    Works,
    Certificate {
        days: i64,
    },
}

impl Complaints {
    /// Forgets checks that are no more.
    pub(super) fn retain(&mut self, stays: impl Fn(CheckId) -> bool) {
        self.told.retain(|id, _| stays(*id));
    }

    /// Logs what has to be said about a report. `all` failures are told, or only what they lead to.
    pub(super) fn look(&mut self, server: &ServerKey, report: &Report, all: bool) {
        for complaint in self.complaints(report, all, SystemTime::now()) {
            let server = words(server);
            match complaint {
                Complaint::Failure(why) => tracing::info!("{server}: a check failed: {why}"),
                Complaint::Trouble(why) => {
                    tracing::warn!("{server} cannot be checked, it stays as it is: {why}");
                }
                Complaint::Works => tracing::info!("{server} is checked again"),
                Complaint::Certificate { days: ..0 } => {
                    tracing::warn!("{server}: its certificate has expired");
                }
                Complaint::Certificate { days } => {
                    tracing::warn!("{server}: its certificate ends in {days} days");
                }
            }
        }
    }

    fn complaints(&mut self, report: &Report, all: bool, now: SystemTime) -> Vec<Complaint> {
        let mut complaints = Vec::new();
        let last = report.last.as_ref().map(|(outcome, _)| outcome);
        if let (true, Some(Outcome::Down(reason))) = (all, last) {
            complaints.push(Complaint::Failure(reason.to_string()));
        }
        let trouble = match last {
            Some(Outcome::Undecided(trouble)) => Some(trouble.to_string()),
            _ => None,
        };
        if trouble.is_none() && report.certificate.is_none() && !self.told.contains_key(&report.id) {
            return complaints;
        }
        let told = self.told.entry(report.id).or_default();
        if trouble != told.trouble {
            complaints.push(trouble.clone().map_or(Complaint::Works, Complaint::Trouble));
            told.trouble = trouble;
        }
        if let Some(certificate) = report.certificate {
            let days = certificate.days_left(now);
            // The narrowest of the limits that it is within.
            let limit = WARNINGS.into_iter().chain([-1]).filter(|limit| days <= *limit).min();
            let step = limit.map(|limit| (certificate.not_after, limit));
            if step.is_some() && step != told.certificate {
                complaints.push(Complaint::Certificate { days });
            }
            told.certificate = step;
        }
        complaints
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use buoy_healthcheck::{CertificateExpiry, Findings, Health, Reason, Trouble};

    use super::*;

    fn report(outcome: Outcome, certificate: Option<CertificateExpiry>) -> Report {
        Report {
            id: CheckId(1),
            health: Health::Up,
            decided: true,
            since: Instant::now(),
            transitions: 0,
            transition: None,
            failures: 0,
            weight: None,
            administrative: None,
            certificate,
            last: Some((outcome, Instant::now())),
        }
    }

    fn up() -> Outcome {
        Outcome::Up(Findings::default())
    }

    #[test]
    fn failures_are_told_where_all_are_asked_for() {
        let mut complaints = Complaints::default();
        let failed = report(Outcome::Down(Reason::Refused), None);
        assert_eq!(complaints.complaints(&failed, false, SystemTime::now()), []);
        let told = [Complaint::Failure("connection refused".into())];
        assert_eq!(complaints.complaints(&failed, true, SystemTime::now()), told);
        assert_eq!(complaints.complaints(&failed, true, SystemTime::now()), told);
    }

    #[test]
    fn trouble_of_this_host_is_told_once_and_its_end_too() {
        let mut complaints = Complaints::default();
        let now = SystemTime::now();
        let trouble = report(Outcome::Undecided(Trouble::NothingKnown), None);
        let words = Trouble::NothingKnown.to_string();
        assert_eq!(complaints.complaints(&trouble, false, now), [Complaint::Trouble(words)]);
        assert_eq!(complaints.complaints(&trouble, false, now), []);
        assert_eq!(complaints.complaints(&report(up(), None), false, now), [Complaint::Works]);
        assert_eq!(complaints.complaints(&report(up(), None), false, now), []);
    }

    #[test]
    fn a_certificate_is_told_at_a_few_steps_before_its_end_and_anew_when_it_is_another() {
        let mut complaints = Complaints::default();
        let now = SystemTime::now();
        let days = |days: u64| Duration::from_secs(days * 86_400 + 60);
        let mut told = |not_after: SystemTime, now| {
            let certificate = Some(CertificateExpiry { not_after });
            complaints.complaints(&report(up(), certificate), false, now)
        };
        assert_eq!(told(now + days(31), now), []);
        assert_eq!(told(now + days(31), now + days(2)), [Complaint::Certificate { days: 29 }]);
        assert_eq!(told(now + days(31), now + days(3)), []);
        assert_eq!(told(now + days(31), now + days(18)), [Complaint::Certificate { days: 13 }]);
        assert_eq!(told(now + days(31), now + days(32)), [Complaint::Certificate { days: -2 }]);
        assert_eq!(told(now + days(31), now + days(33)), []);
        assert_eq!(told(now + days(400), now + days(33)), []);
        assert_eq!(told(now + days(34), now + days(33)), [Complaint::Certificate { days: 1 }]);
    }
}
