use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::checker::Probe;
use crate::checker::command::{CommandCheck, CommandEnd, RunCommand};
use crate::outcome::Reason;
use crate::verdict::{Cadence, Health};

const SEC: Duration = Duration::from_secs(1);

/// A command that takes its time, exits with a status that the test sets, and counts who runs it at once.
#[derive(Default)]
struct Server {
    status: AtomicUsize,
    takes: Duration,
    running: AtomicUsize,
    most: AtomicUsize,
    runs: AtomicUsize,
}

struct Running(Arc<Server>);

impl Running {
    fn start(server: Arc<Server>) -> Self {
        let running = server.running.fetch_add(1, Ordering::SeqCst) + 1;
        server.most.fetch_max(running, Ordering::SeqCst);
        server.runs.fetch_add(1, Ordering::SeqCst);
        Self(server)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl RunCommand for Arc<Server> {
    fn run(&self, _limit: Duration) -> Pin<Box<dyn Future<Output = CommandEnd> + Send>> {
        let running = Running::start(Arc::clone(self));
        Box::pin(async move {
            tokio::time::sleep(running.0.takes).await;
            match running.0.status.load(Ordering::SeqCst) {
                666 => panic!("a defect"),
                status => CommandEnd::Exited(i32::try_from(status).unwrap_or(-1)),
            }
        })
    }
}

fn check(name: &str, server: &Arc<Server>) -> Arc<CheckSettings> {
    let command = CommandCheck {
        identity: name.into(),
        command: Arc::new(Arc::clone(server)),
        limit: SEC * 5,
        dynamic: false,
    };
    let cadence = Cadence { interval: SEC, warmup: SEC, down_interval: SEC, ..Cadence::default() };
    Arc::new(CheckSettings { probe: Probe::Command(command), cadence })
}

fn start(concurrency: usize) -> (Checks, Reports) {
    let (checks, reports, driver) = driver(DriverSettings { concurrency, seed: 0 });
    tokio::spawn(driver.run());
    (checks, reports)
}

async fn add(checks: &Checks, id: u64, settings: Arc<CheckSettings>) {
    checks.send(Command::Replace { id: CheckId(id), settings }).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn death_and_recovery_are_reported_with_their_reason() {
    let server = Arc::new(Server::default());
    let (checks, mut reports) = start(8);
    add(&checks, 1, check("a", &server)).await;
    let mut next = async || reports.recv().await.unwrap();
    let first = next().await;
    assert_eq!((first.health, first.decided), (Health::Up, false));
    let first = next().await;
    assert_eq!((first.health, first.decided, first.transitions), (Health::Up, true, 0));
    server.status.store(3, Ordering::SeqCst);
    assert_eq!((next().await.health, "retry"), (Health::Up, "retry"));
    let dead = next().await;
    assert_eq!((dead.health, dead.transitions), (Health::Down, 1));
    assert_eq!(dead.last.unwrap().0, Outcome::Down(Reason::CommandExited(3)));
    server.status.store(0, Ordering::SeqCst);
    assert_eq!(next().await.health, Health::Up);
}

#[tokio::test(start_paused = true)]
async fn no_more_attempts_run_than_allowed_and_none_is_forgotten() {
    let server = Arc::new(Server { takes: SEC / 2, ..Server::default() });
    let (checks, _reports) = start(3);
    for id in 0..20 {
        add(&checks, id, check(&id.to_string(), &server)).await;
    }
    tokio::time::sleep(SEC * 60).await;
    assert_eq!(server.most.load(Ordering::SeqCst), 3);
    let snapshot = checks.snapshot().await.unwrap();
    assert!(snapshot.reports.iter().all(|report| report.decided));
    assert!(snapshot.lateness.max() > SEC, "it says that they ran late");
}

#[tokio::test(start_paused = true)]
async fn attempts_of_many_checks_never_come_in_bursts() {
    let server = Arc::new(Server { takes: SEC / 100, ..Server::default() });
    let (checks, _reports) = start(1_000);
    for id in 0..500 {
        add(&checks, id, check(&id.to_string(), &server)).await;
    }
    tokio::time::sleep(SEC * 20).await;
    assert!(server.runs.load(Ordering::SeqCst) > 500 * 17);
    // Five are expected under way at a time.
    assert!(server.most.load(Ordering::SeqCst) < 20, "{server:?}", server = server.most);
}

#[tokio::test(start_paused = true)]
async fn equal_checks_are_made_once() {
    let server = Arc::new(Server::default());
    let (checks, _reports) = start(8);
    for id in 0..10 {
        add(&checks, id, check("same", &server)).await;
    }
    let snapshot = checks.snapshot().await.unwrap();
    assert_eq!((snapshot.reports.len(), snapshot.probes), (10, 1));
    tokio::time::sleep(SEC * 10).await;
    assert!(server.runs.load(Ordering::SeqCst) <= 11);
}

#[tokio::test(start_paused = true)]
async fn removed_check_drops_its_attempt_and_is_not_heard_again() {
    let server = Arc::new(Server { takes: SEC * 1_000, ..Server::default() });
    let (checks, mut reports) = start(8);
    add(&checks, 1, check("a", &server)).await;
    tokio::time::sleep(SEC * 5).await;
    assert_eq!(server.running.load(Ordering::SeqCst), 1);
    checks.send(Command::Remove(CheckId(1))).await.unwrap();
    checks.snapshot().await.unwrap();
    tokio::time::sleep(SEC).await;
    assert_eq!(server.running.load(Ordering::SeqCst), 0);
    assert_eq!(reports.try_recv(), None);
}

#[tokio::test(start_paused = true)]
async fn suspended_check_rests_and_goes_on() {
    let server = Arc::new(Server::default());
    let (checks, _reports) = start(8);
    add(&checks, 1, check("a", &server)).await;
    checks.send(Command::Suspend(CheckId(1))).await.unwrap();
    tokio::time::sleep(SEC * 30).await;
    assert_eq!(server.runs.load(Ordering::SeqCst), 0);
    checks.send(Command::Resume(CheckId(1))).await.unwrap();
    tokio::time::sleep(SEC * 10).await;
    assert!(server.runs.load(Ordering::SeqCst) >= 8);
}

#[tokio::test(start_paused = true)]
async fn slow_reader_finds_the_latest_of_each_check_and_that_it_flapped() {
    let server = Arc::new(Server::default());
    let (checks, mut reports) = start(8);
    add(&checks, 1, check("a", &server)).await;
    for status in [0, 1, 0, 1, 0] {
        server.status.store(status, Ordering::SeqCst);
        tokio::time::sleep(SEC * 10).await;
    }
    let report = reports.recv().await.unwrap();
    assert_eq!((report.health, report.transitions), (Health::Up, 4));
    assert!(report.transition.is_some());
    assert_eq!(reports.try_recv(), None);
}

#[tokio::test(start_paused = true)]
async fn panic_of_a_checker_is_contained_and_no_word_about_the_server() {
    let server = Arc::new(Server::default());
    server.status.store(666, Ordering::SeqCst);
    let (checks, _reports) = start(8);
    add(&checks, 1, check("a", &server)).await;
    tokio::time::sleep(SEC * 10).await;
    let report = checks.snapshot().await.unwrap().reports.remove(0);
    assert_eq!((report.health, report.decided), (Health::Up, false));
    assert!(matches!(report.last, Some((Outcome::Undecided(Trouble::Defect(_)), _))));
    assert!(server.runs.load(Ordering::SeqCst) > 5, "it is tried again");
}

#[tokio::test(start_paused = true)]
async fn driver_ends_with_its_last_handle_and_takes_its_attempts_along() {
    let server = Arc::new(Server { takes: SEC * 1_000, ..Server::default() });
    let (checks, mut reports) = start(8);
    add(&checks, 1, check("a", &server)).await;
    tokio::time::sleep(SEC * 5).await;
    drop(checks);
    while reports.recv().await.is_some() {}
    tokio::time::sleep(SEC).await;
    assert_eq!(server.running.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn attempts_due_within_moments_begin_together_and_a_lone_one_in_time() {
    let server = Arc::new(Server { takes: SEC / 1_000, ..Server::default() });
    let (checks, _reports) = start(1_000);
    add(&checks, 0, check("alone", &server)).await;
    tokio::time::sleep(SEC * 10).await;
    assert!(checks.snapshot().await.unwrap().lateness.max() <= SEC / 500, "only as late as the timer");
    for id in 1..2_000 {
        add(&checks, id, check(&id.to_string(), &server)).await;
    }
    tokio::time::sleep(SEC * 10).await;
    // Twenty come due in the ten milliseconds between two starts.
    assert!(server.most.load(Ordering::SeqCst) >= 10);
    assert!(checks.snapshot().await.unwrap().lateness.max() <= TOGETHER + SEC / 500);
}

#[tokio::test(start_paused = true)]
async fn after_a_stall_the_checks_that_are_due_come_in_portions() {
    let server = Arc::new(Server { takes: SEC / 1_000, ..Server::default() });
    let (checks, _reports) = start(10_000);
    for id in 0..2_000 {
        add(&checks, id, check(&id.to_string(), &server)).await;
    }
    tokio::time::sleep(SEC * 10).await;
    let runs = server.runs.load(Ordering::SeqCst);
    // Nobody is polled meanwhile.
    tokio::time::advance(SEC * 5).await;
    tokio::time::sleep(SEC / 2).await;
    assert!(server.runs.load(Ordering::SeqCst) - runs >= 2_000, "all of them were due");
    assert_eq!(server.most.load(Ordering::SeqCst), CROWD);
}
