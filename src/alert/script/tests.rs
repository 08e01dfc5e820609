use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::time::timeout;

use super::*;
use crate::alert::change::ServiceChange;
use crate::alert::fixture::{group, instance, plan, quorum, router, server_change, shell, tcp_service};
use crate::alert::settings::Settings;
use crate::config::plan::Plan;

const LONG: Duration = Duration::from_secs(20);
/// What is to pass in a test.
const SHORT: Duration = Duration::from_millis(200);

/// Hooks at work, whose scripts write to one file.
struct Bench {
    directory: TempDir,
    hooks: Arc<Hooks>,
    phase: watch::Sender<Phase>,
    task: tokio::task::JoinHandle<()>,
}

impl Bench {
    fn new() -> Self {
        Self::with_limits(Limits { overtaken: LONG, stop: LONG, settled: LONG })
    }

    fn with_limits(limits: Limits) -> Self {
        let hooks = Arc::new(Hooks::with_limits(limits));
        let phase = watch::Sender::new(Phase::Open);
        let (working, watching) = (Arc::clone(&hooks), phase.subscribe());
        let task = tokio::spawn(async move { working.run(watching).await });
        Self { directory: tempfile::tempdir().expect("temporary directory"), hooks, phase, task }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A script that writes what it was called with, prefixed by `word`.
    fn writes(&self, word: &str) -> Option<Command> {
        Some(shell(&format!("echo {word} \"$@\" >> {}", self.path("log").display())))
    }

    /// A script that writes `word`, and then runs until the file `word` exists.
    fn holds(&self, word: &str) -> Option<Command> {
        let wait = format!("until [ -e {} ]; do sleep 0.01; done", self.path(word).display());
        Some(shell(&format!("echo {word} \"$@\" >> {}; {wait}", self.path("log").display())))
    }

    fn release(&self, word: &str) {
        std::fs::write(self.path(word), "").expect("written");
    }

    fn lines(&self) -> Vec<String> {
        lines(&self.path("log"))
    }

    async fn until_lines(&self, count: usize) -> Vec<String> {
        let poll = async {
            while self.lines().len() < count {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(LONG, poll).await.unwrap_or_else(|_| panic!("{count} lines, not {:?}", self.lines()));
        self.lines()
    }

    fn announce(&self, plan: &Plan, subject: &buoy_vrrp::Subject, state: State) {
        let settings = Settings::new(plan, None);
        self.hooks.announce(subject, &settings.subjects[subject], state, Priority::new(150));
    }

    fn announce_change(&self, plan: &Plan, change: &ServiceChange) {
        let settings = Settings::new(plan, None);
        let wishes = settings.services[&change.service].wishes(change).expect("is known");
        let scripts = wishes.scripts.as_deref().expect("has scripts");
        self.hooks.announce_change(change.subject(), scripts, change.up);
    }

    async fn finish(self) -> Vec<String> {
        self.phase.send_replace(Phase::Flushing);
        timeout(LONG, self.task).await.expect("ends").expect("without panic");
        lines(&self.directory.path().join("log"))
    }
}

fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

fn with_instance(notify: crate::config::plan::Notify) -> Plan {
    let mut router = router("VI_1");
    router.notify = notify;
    Plan { routers: vec![router], ..plan() }
}

#[tokio::test]
async fn the_specific_script_comes_first_then_the_general_one_with_four_arguments() {
    let bench = Bench::new();
    let plan = with_instance(crate::config::plan::Notify {
        master: bench.writes("specific"),
        any: bench.writes("general"),
        ..Default::default()
    });
    bench.announce(&plan, &instance("VI_1"), State::Master);
    assert_eq!(bench.finish().await, ["specific", "general INSTANCE VI_1 MASTER 150"]);
}

#[tokio::test]
async fn scripts_of_servers_and_quorums_get_no_arguments() {
    let bench = Bench::new();
    let mut service = tcp_service(&["10.1.0.1:80"]);
    service.servers[0].notify_up = bench.writes("server up");
    service.servers[0].notify_down = bench.writes("server down");
    service.quorum_up = bench.writes("quorum up");
    service.quorum_down = bench.writes("quorum down");
    let plan = Plan { services: vec![service], ..plan() };
    let changes = [
        server_change("10.1.0.1:80", true, ""),
        server_change("10.1.0.1:80", false, ""),
        quorum(true, ""),
        quorum(false, ""),
    ];
    for (told, change) in (1..).zip(&changes) {
        bench.announce_change(&plan, change);
        bench.until_lines(told).await;
    }
    assert_eq!(bench.finish().await, ["server up", "server down", "quorum up", "quorum down"]);
}

#[tokio::test]
async fn the_newest_state_of_a_server_takes_the_place_of_what_waits_even_without_a_script() {
    let bench = Bench::new();
    let mut service = tcp_service(&["10.1.0.1:80", "10.1.0.2:80"]);
    service.servers[0].notify_down = bench.holds("down");
    service.servers[1].notify_up = bench.writes("other");
    let plan = Plan { services: vec![service], ..plan() };
    bench.announce_change(&plan, &server_change("10.1.0.1:80", false, ""));
    bench.until_lines(1).await;
    bench.announce_change(&plan, &server_change("10.1.0.1:80", false, ""));
    assert_eq!(bench.hooks.len(), 1);
    bench.announce_change(&plan, &server_change("10.1.0.1:80", true, ""));
    assert_eq!(bench.hooks.len(), 0);
    bench.announce_change(&plan, &server_change("10.1.0.2:80", true, ""));
    bench.until_lines(2).await;
    bench.release("down");
    assert_eq!(bench.finish().await, ["down", "other"]);
}

#[tokio::test]
async fn at_the_end_a_script_about_a_server_has_as_long_as_one_for_stop() {
    let bench = Bench::with_limits(Limits { overtaken: LONG, stop: SHORT, settled: LONG });
    let mut service = tcp_service(&["10.1.0.1:80"]);
    service.servers[0].notify_down = bench.holds("down");
    let plan = Plan { services: vec![service], ..plan() };
    bench.announce_change(&plan, &server_change("10.1.0.1:80", false, "the daemon stops"));
    assert_eq!(bench.finish().await, ["down"]);
}

#[tokio::test]
async fn a_script_that_ran_when_the_hooks_failed_is_run_again_unless_there_is_newer_news() {
    let mut bench = Bench::new();
    let notify = |word| crate::config::plan::Notify { any: bench.holds(word), ..Default::default() };
    let (one, two) = (instance("VI_1"), instance("VI_2"));
    let mut plan = with_instance(notify("one"));
    plan.routers.push(router("VI_2"));
    plan.routers[1].notify = notify("two");
    bench.announce(&plan, &one, State::Master);
    bench.announce(&plan, &two, State::Master);
    bench.until_lines(2).await;
    // Aborting drops the run as a panic does.
    bench.task.abort();
    (&mut bench.task).await.expect_err("aborted");
    bench.announce(&plan, &two, State::Fault);
    let (working, watching) = (Arc::clone(&bench.hooks), bench.phase.subscribe());
    bench.task = tokio::spawn(async move { working.run(watching).await });
    let mut again = bench.until_lines(4).await.split_off(2);
    again.sort();
    assert_eq!(again, ["one INSTANCE VI_1 MASTER 150", "two INSTANCE VI_2 FAULT 150"]);
    bench.release("one");
    bench.release("two");
    assert_eq!(bench.finish().await.len(), 4, "and that is all");
}

#[tokio::test]
async fn a_group_has_priority_0() {
    let bench = Bench::new();
    let mut group = group("G");
    group.notify.any = bench.writes("general");
    let plan = Plan { groups: vec![group], ..plan() };
    bench.announce(&plan, &buoy_vrrp::Subject::Group("G".into()), State::Backup);
    assert_eq!(bench.finish().await, ["general GROUP G BACKUP 0"]);
}

#[tokio::test]
async fn while_a_script_runs_only_the_newest_state_waits() {
    let bench = Bench::new();
    let plan = with_instance(crate::config::plan::Notify {
        backup: bench.holds("first"),
        any: bench.writes("general"),
        ..Default::default()
    });
    let subject = instance("VI_1");
    bench.announce(&plan, &subject, State::Backup);
    bench.until_lines(1).await;
    for state in [State::Master, State::Fault, State::Master] {
        bench.announce(&plan, &subject, state);
    }
    bench.release("first");
    let expected = ["first", "general INSTANCE VI_1 BACKUP 150", "general INSTANCE VI_1 MASTER 150"];
    assert_eq!(bench.finish().await, expected);
}

#[tokio::test]
async fn a_state_without_script_still_withdraws_one_that_waits() {
    let bench = Bench::new();
    let plan = with_instance(crate::config::plan::Notify {
        backup: bench.holds("first"),
        master: bench.writes("master"),
        ..Default::default()
    });
    let subject = instance("VI_1");
    bench.announce(&plan, &subject, State::Backup);
    bench.until_lines(1).await;
    bench.announce(&plan, &subject, State::Master);
    bench.announce(&plan, &subject, State::Fault);
    bench.release("first");
    assert_eq!(bench.finish().await, ["first"]);
}

#[tokio::test]
async fn a_slow_script_of_one_instance_does_not_hold_up_another() {
    let bench = Bench::new();
    let mut plan =
        with_instance(crate::config::plan::Notify { any: bench.holds("slow"), ..Default::default() });
    plan.routers.push(router("VI_2"));
    plan.routers[1].notify.any = bench.writes("quick");
    bench.announce(&plan, &instance("VI_1"), State::Master);
    bench.until_lines(1).await;
    bench.announce(&plan, &instance("VI_2"), State::Master);
    let lines = bench.until_lines(2).await;
    assert_eq!(lines[1], "quick INSTANCE VI_2 MASTER 150");
    bench.release("slow");
    bench.finish().await;
}

#[tokio::test]
async fn a_script_that_hangs_is_ended_once_a_newer_state_has_waited_and_the_rest_of_its_job_is_left_out() {
    let bench = Bench::with_limits(Limits { overtaken: SHORT, stop: LONG, settled: LONG });
    let plan = with_instance(crate::config::plan::Notify {
        master: bench.holds("hangs"),
        any: bench.writes("general"),
        ..Default::default()
    });
    bench.announce(&plan, &instance("VI_1"), State::Master);
    bench.until_lines(1).await;
    bench.announce(&plan, &instance("VI_1"), State::Fault);
    bench.announce(&plan, &instance("VI_1"), State::Backup);
    assert_eq!(bench.until_lines(2).await, ["hangs", "general INSTANCE VI_1 BACKUP 150"]);
    assert_eq!(bench.finish().await.len(), 2, "and nothing of MASTER and FAULT");
}

#[tokio::test]
async fn a_script_runs_as_long_as_it_likes_while_no_newer_state_waits() {
    let bench = Bench::with_limits(Limits { overtaken: SHORT, stop: LONG, settled: LONG });
    let notify = |master| crate::config::plan::Notify {
        master: bench.holds(master),
        backup: bench.writes("backup of"),
        ..Default::default()
    };
    let mut plan = with_instance(notify("alone"));
    for (name, word) in [("VI_2", "withdrawn"), ("VI_3", "overtaken")] {
        plan.routers.push(router(name));
        plan.routers.last_mut().expect("one").notify = notify(word);
    }
    let general = bench.writes("general");
    plan.routers.iter_mut().for_each(|router| router.notify.any.clone_from(&general));
    let (alone, withdrawn, overtaken) = (instance("VI_1"), instance("VI_2"), instance("VI_3"));
    for subject in [&alone, &withdrawn, &overtaken] {
        bench.announce(&plan, subject, State::Master);
    }
    bench.until_lines(3).await;
    bench.announce(&plan, &withdrawn, State::Backup);
    // A state without scripts.
    let settings = Settings::new(&plan, None);
    let mut silent = settings.subjects[&withdrawn].clone();
    silent.notify = Arc::default();
    bench.hooks.announce(&withdrawn, &silent, State::Fault, Priority::new(150));
    // Its end tells that the time of the others would have been over too.
    bench.announce(&plan, &overtaken, State::Backup);
    bench.until_lines(5).await;
    bench.release("alone");
    bench.release("withdrawn");
    let lines = bench.finish().await;
    let generals: BTreeSet<&str> =
        lines.iter().map(String::as_str).filter(|line| line.starts_with("general")).collect();
    let expected =
        ["VI_1 MASTER", "VI_2 MASTER", "VI_3 BACKUP"].map(|of| format!("general INSTANCE {of} 150"));
    assert_eq!(generals, expected.iter().map(String::as_str).collect(), "{lines:?}");
}

#[tokio::test]
async fn scripts_that_run_for_long_do_not_keep_other_subjects_from_theirs() {
    let bench = Bench::with_limits(Limits { overtaken: LONG, stop: LONG, settled: SHORT });
    let count = MAX_RUNNING + 1;
    let routers = (0..count).map(|number| {
        let mut router = router(&format!("VI_{number}"));
        router.notify.any = bench.holds("held");
        router
    });
    let plan = Plan { routers: routers.collect(), ..plan() };
    for router in &plan.routers {
        bench.announce(&plan, &buoy_vrrp::Subject::Instance(Arc::clone(router.name())), State::Master);
    }
    bench.until_lines(count).await;
    bench.release("held");
    bench.finish().await;
}

#[tokio::test]
async fn at_the_end_a_busy_script_is_cut_short_and_stop_scripts_run() {
    let bench =
        Bench::with_limits(Limits { overtaken: LONG * 100, stop: Duration::from_millis(200), settled: LONG });
    let plan = with_instance(crate::config::plan::Notify {
        master: bench.holds("busy"),
        stop: bench.holds("stop"),
        any: bench.writes("general"),
        ..Default::default()
    });
    let subject = instance("VI_1");
    bench.announce(&plan, &subject, State::Master);
    bench.until_lines(1).await;
    bench.announce(&plan, &subject, State::Stop);
    let lines = bench.finish().await;
    assert_eq!(lines.last().map(String::as_str), Some("general INSTANCE VI_1 STOP 150"));
    assert!(lines.contains(&"stop".to_owned()));
}

#[tokio::test]
async fn deletion_runs_the_script_of_notify_deleted_only_if_there_is_one() {
    let bench = Bench::new();
    let mut plan = with_instance(crate::config::plan::Notify {
        fault: bench.writes("fault"),
        any: bench.writes("general"),
        ..Default::default()
    });
    plan.routers[0].notify_deleted = Some(bench.writes("deleted"));
    bench.announce(&plan, &instance("VI_1"), State::Deleted);
    assert_eq!(bench.finish().await, ["deleted", "general INSTANCE VI_1 DELETED 150"]);
}

#[tokio::test]
async fn lower_priorities_heard_in_a_row_make_one_more_run_at_most() {
    let bench = Bench::new();
    let plan = with_instance(crate::config::plan::Notify {
        master_rx_lower_pri: bench.holds("lower"),
        ..Default::default()
    });
    let settings = Settings::new(&plan, None);
    let subject = instance("VI_1");
    let hear = || bench.hooks.lower_priority_heard(&subject, &settings.subjects[&subject]);
    hear();
    bench.until_lines(1).await;
    (0..10).for_each(|_| hear());
    bench.release("lower");
    assert_eq!(bench.finish().await, ["lower", "lower"]);
}

#[tokio::test]
async fn more_subjects_than_may_run_at_once_all_get_their_turn() {
    let bench = Bench::new();
    let count = MAX_RUNNING + 20;
    let routers = (0..count).map(|number| {
        let mut router = router(&format!("VI_{number}"));
        router.notify.any = bench.writes("general");
        router
    });
    let plan = Plan { routers: routers.collect(), ..plan() };
    for router in &plan.routers {
        bench.announce(&plan, &buoy_vrrp::Subject::Instance(Arc::clone(router.name())), State::Master);
    }
    assert_eq!(bench.finish().await.len(), count);
}

#[tokio::test]
async fn a_second_owner_has_the_master_script_run_once_more() {
    let bench = Bench::new();
    let plan = with_instance(crate::config::plan::Notify {
        master: bench.holds("master"),
        any: bench.writes("general"),
        ..Default::default()
    });
    let (settings, subject) = (Settings::new(&plan, None), instance("VI_1"));
    bench.announce(&plan, &subject, State::Master);
    bench.until_lines(1).await;
    (0..10).for_each(|_| bench.hooks.own_again(&subject, &settings.subjects[&subject]));
    bench.release("master");
    assert_eq!(bench.finish().await, ["master", "general INSTANCE VI_1 MASTER 150", "master"]);
}

#[tokio::test]
async fn a_newer_state_comes_instead_of_another_run_for_a_second_owner() {
    let bench = Bench::new();
    let plan = with_instance(crate::config::plan::Notify {
        master: bench.holds("master"),
        backup: bench.writes("backup"),
        ..Default::default()
    });
    let (settings, subject) = (Settings::new(&plan, None), instance("VI_1"));
    bench.announce(&plan, &subject, State::Master);
    bench.until_lines(1).await;
    bench.hooks.own_again(&subject, &settings.subjects[&subject]);
    bench.announce(&plan, &subject, State::Backup);
    bench.hooks.own_again(&subject, &settings.subjects[&subject]);
    bench.release("master");
    assert_eq!(bench.finish().await, ["master", "backup"]);
}
