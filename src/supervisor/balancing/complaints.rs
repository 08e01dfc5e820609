//! What the log says about single attempts: failures where all are asked for, trouble of this host's own, certificates
//! that end soon. Changes of a server are told elsewhere.

use std::collections::BTreeMap;
use std::time::SystemTime;

use buoy_healthcheck::{CertificateExpiry, CheckId, Outcome, Report};

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
    /// Of the server's present certificate, if the check sees one.
    expiry: Option<CertificateExpiry>,
    /// The end of the certificate that was last told of, and at which of the [`WARNINGS`].
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
            complaint.log(server);
        }
    }

    /// Logs which certificates have come closer to their end: a check that goes on as before makes no report.
    pub(super) fn look_at_certificates<'k>(&mut self, server_of: impl Fn(CheckId) -> Option<&'k ServerKey>) {
        for (id, complaint) in self.certificates(SystemTime::now()) {
            if let Some(server) = server_of(id) {
                complaint.log(server);
            }
        }
    }

    fn certificates(&mut self, now: SystemTime) -> Vec<(CheckId, Complaint)> {
        self.told.iter_mut().filter_map(|(id, told)| Some((*id, told.certificate(now)?))).collect()
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
        told.expiry = report.certificate;
        complaints.extend(told.certificate(now));
        complaints
    }
}

impl Told {
    /// What has to be said of the certificate and has not been.
    fn certificate(&mut self, now: SystemTime) -> Option<Complaint> {
        let expiry = self.expiry?;
        let days = expiry.days_left(now);
        // The narrowest of the limits that it is within.
        let limit = WARNINGS.into_iter().chain([-1]).filter(|limit| days <= *limit).min();
        let step = limit.map(|limit| (expiry.not_after, limit));
        let news = step.is_some() && step != self.certificate;
        self.certificate = step;
        news.then_some(Complaint::Certificate { days })
    }
}

impl Complaint {
    fn log(self, server: &ServerKey) {
        let server = words(server);
        match self {
            Self::Failure(why) => tracing::info!("{server}: a check failed: {why}"),
            Self::Trouble(why) => {
                tracing::warn!("{server} cannot be checked, it stays as it is: {why}");
            }
            Self::Works => tracing::info!("{server} is checked again"),
            Self::Certificate { days: ..0 } => tracing::warn!("{server}: its certificate has expired"),
            Self::Certificate { days } => tracing::warn!("{server}: its certificate ends in {days} days"),
        }
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
            doubted: false,
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

    #[test]
    fn a_certificate_is_told_of_as_time_goes_by_without_another_report() {
        let mut complaints = Complaints::default();
        let now = SystemTime::now();
        let day = Duration::from_secs(86_400);
        let certificate = CertificateExpiry { not_after: now + day * 31 + day / 2 };
        assert_eq!(complaints.complaints(&report(up(), Some(certificate)), false, now), []);
        let mut told = Vec::new();
        for hours in 0..40 * 24 {
            let later = now + Duration::from_secs(hours * 3_600);
            told.extend(complaints.certificates(later).into_iter().map(|(_, complaint)| complaint));
        }
        let steps = [30, 14, 7, 1, -1].map(|days| Complaint::Certificate { days });
        assert_eq!(told, steps);
        complaints.complaints(&report(up(), None), false, now);
        assert_eq!(complaints.certificates(now + day * 60), [], "a check that sees none any more");
    }
}
