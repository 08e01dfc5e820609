use std::path::Path;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use super::*;
use crate::alert::fixture::{plan, shell};
use crate::config::plan::{Command, ParamMatch};

type Seen = (Target, Observation);

fn script(name: &str, command: Command) -> TrackScript {
    TrackScript {
        name: name.into(),
        command,
        interval: Duration::from_millis(20),
        timeout: Duration::from_secs(20),
        rise: 1,
        fall: 1,
        init_fail: false,
    }
}

fn with_scripts(scripts: &[TrackScript]) -> Plan {
    Plan { scripts: scripts.to_vec(), ..plan() }
}

fn target(name: &str) -> Target {
    Target::Script(name.into())
}

/// A running set, and what its sink gets.
struct Running {
    set: Arc<Set>,
    task: tokio::task::JoinHandle<()>,
    seen: mpsc::UnboundedReceiver<Seen>,
}

impl Running {
    fn of(plan: &Plan) -> Self {
        let (sender, seen) = mpsc::unbounded_channel();
        let sink: Sink = Arc::new(move |target, observation| drop(sender.send((target, observation))));
        let set = Set::new(plan, sink);
        let task = tokio::spawn(Arc::clone(&set).run());
        Self { set, task, seen }
    }

    async fn next(&mut self) -> (Target, Reading, String) {
        let next = timeout(Duration::from_secs(20), self.seen.recv());
        let (target, seen) = next.await.expect("something is observed").expect("the set lives");
        (target, seen.reading, seen.evidence.to_string())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let poll = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(20), poll).await.unwrap_or_else(|_| panic!("waiting for: {what}"));
}

fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn only_changes_of_a_script_are_told_with_their_evidence() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let flag = directory.path().join("ok");
    let check = script("s", shell(&format!("[ -e {} ] || exit 7", flag.display())));
    let mut running = Running::of(&with_scripts(&[check]));
    assert_eq!(running.next().await, (target("s"), Reading::Down, "exit status 7".into()));
    std::fs::write(&flag, "").expect("written");
    assert_eq!(running.next().await, (target("s"), Reading::Up, "exit status 0".into()));
    std::fs::remove_file(&flag).expect("removed");
    assert_eq!(running.next().await, (target("s"), Reading::Down, "exit status 7".into()));
    assert!(running.seen.try_recv().is_err());
}

#[tokio::test]
async fn a_run_that_hangs_is_a_failure_and_its_group_is_killed() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let pids = directory.path().join("pids");
    let mut check = script("s", shell(&format!("sleep 1000 & echo $! >> {}; wait", pids.display())));
    check.timeout = Duration::from_millis(300);
    check.interval = Duration::from_secs(1000);
    let mut running = Running::of(&with_scripts(&[check]));
    assert_eq!(running.next().await, (target("s"), Reading::Down, "timed out after 0.3 s".into()));
    let pid = lines(&pids).first().cloned().expect("the script ran");
    until("the sleeper is killed", || !Path::new("/proc").join(&pid).exists()).await;
}

#[tokio::test]
async fn dropping_the_future_kills_what_runs_and_running_again_goes_on() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let pids = directory.path().join("pids");
    let check = script("s", shell(&format!("echo $$ >> {}; exec sleep 1000", pids.display())));
    let running = Running::of(&with_scripts(&[check]));
    until("the first run", || lines(&pids).len() == 1).await;
    running.task.abort();
    let first = lines(&pids).remove(0);
    until("it is killed", || !Path::new("/proc").join(&first).exists()).await;
    let again = tokio::spawn(Arc::clone(&running.set).run());
    until("the second run", || lines(&pids).len() == 2).await;
    again.abort();
}

#[tokio::test]
async fn runs_do_not_overlap() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (lock, log) = (directory.path().join("lock"), directory.path().join("log"));
    let check = format!(
        "mkdir {lock} || echo overlap >> {log}; sleep 0.05; rmdir {lock}; echo done >> {log}",
        lock = lock.display(),
        log = log.display()
    );
    let running = Running::of(&with_scripts(&[script("s", shell(&check))]));
    until("five runs", || lines(&log).len() >= 5).await;
    drop(running);
    assert!(!lines(&log).contains(&"overlap".to_owned()));
}

#[tokio::test]
async fn init_fail_is_told_before_the_first_run() {
    let mut check = script("s", shell("exit 0"));
    check.init_fail = true;
    check.rise = 2;
    let mut running = Running::of(&with_scripts(&[check]));
    let (_, reading, evidence) = running.next().await;
    assert_eq!((reading, evidence.as_str()), (Reading::Down, "assumed failed until it succeeds (init_fail)"));
    assert_eq!(running.next().await.1, Reading::Up);
}

#[tokio::test]
async fn a_command_that_cannot_start_is_a_failure() {
    let command = Command { argv: vec!["/no/such".into()], user: None };
    let mut running = Running::of(&with_scripts(&[script("s", command)]));
    let expected = "cannot start: No such file or directory".into();
    assert_eq!(running.next().await, (target("s"), Reading::Down, expected));
}

#[tokio::test]
async fn an_open_test_needs_no_program() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let flag = directory.path().join("flag");
    let command = Command { argv: vec![format!("<{}", flag.display()).into()], user: None };
    let mut running = Running::of(&with_scripts(&[script("s", command)]));
    let expected = "cannot open the file: No such file or directory".into();
    assert_eq!(running.next().await, (target("s"), Reading::Down, expected));
    std::fs::write(&flag, "").expect("written");
    assert_eq!(running.next().await, (target("s"), Reading::Up, "file opens".into()));
}

#[tokio::test]
async fn a_reload_leaves_an_unchanged_script_running() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let pids = directory.path().join("pids");
    let mut check = script("s", shell(&format!("echo $$ >> {}; exec sleep 1000", pids.display())));
    check.timeout = Duration::from_secs(1000);
    let other = script("other", shell("exit 0"));
    let mut running = Running::of(&with_scripts(&[check.clone()]));
    until("the first run", || lines(&pids).len() == 1).await;
    running.set.apply(&with_scripts(&[check, other]));
    assert_eq!(running.next().await.0, target("other"));
    let first = lines(&pids).remove(0);
    assert_eq!(lines(&pids).len(), 1);
    assert!(Path::new("/proc").join(first).exists());
}

#[tokio::test]
async fn a_reload_with_other_counts_keeps_the_reading() {
    let mut check = script("s", shell("exit 1"));
    let mut running = Running::of(&with_scripts(&[check.clone()]));
    assert_eq!(running.next().await.1, Reading::Down);
    check.rise = 3;
    running.set.apply(&with_scripts(&[check]));
    assert_eq!(running.set.observations()[&target("s")].reading, Reading::Down);
    assert!(running.seen.try_recv().is_err());
}

#[tokio::test]
async fn a_changed_command_keeps_its_observation_until_its_first_result_decides() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let flag = directory.path().join("flag");
    let mut check = script("s", shell("exit 1"));
    check.rise = 100;
    let mut running = Running::of(&with_scripts(&[check.clone()]));
    assert_eq!(running.next().await.1, Reading::Down);
    check.command = shell(&format!("until [ -e {} ]; do sleep 0.01; done", flag.display()));
    running.set.apply(&with_scripts(&[check]));
    assert_eq!(running.set.observations()[&target("s")].reading, Reading::Down);
    std::fs::write(&flag, "").expect("written");
    assert_eq!(running.next().await.1, Reading::Up);
}

#[tokio::test]
async fn a_removed_script_is_forgotten() {
    let mut running = Running::of(&with_scripts(&[script("s", shell("exit 1"))]));
    assert_eq!(running.next().await.1, Reading::Down);
    running.set.apply(&plan());
    assert!(running.set.observations().is_empty());
    running.set.apply(&with_scripts(&[script("s", shell("exit 1"))]));
    assert_eq!(running.next().await.1, Reading::Down);
}

#[tokio::test]
async fn a_panic_of_the_sink_comes_out_and_a_new_run_keeps_the_verdicts() {
    let sink: Sink = Arc::new(|_, _| panic!("planted"));
    let set = Set::new(&with_scripts(&[script("s", shell("exit 1"))]), sink);
    let ended = tokio::spawn(Arc::clone(&set).run()).await;
    assert!(ended.expect_err("ends by the panic").is_panic());
    assert_eq!(set.observations()[&target("s")].reading, Reading::Down);
}

#[tokio::test]
async fn what_a_panic_of_the_sink_kept_from_being_told_is_told_by_the_next_run() {
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let fails = std::sync::atomic::AtomicBool::new(true);
    let sink: Sink = Arc::new(move |_, observation| {
        assert!(!fails.swap(false, std::sync::atomic::Ordering::Relaxed), "planted");
        told.send(observation.reading).expect("heard");
    });
    // One run only: what is told was seen by the run that panicked.
    let mut once = script("s", shell("exit 1"));
    once.interval = Duration::from_secs(1000);
    let set = Set::new(&with_scripts(&[once]), sink);
    let ended = tokio::spawn(Arc::clone(&set).run()).await;
    assert!(ended.expect_err("ends by the panic").is_panic());
    let again = tokio::spawn(Arc::clone(&set).run());
    assert_eq!(heard.recv().await, Some(Reading::Down));
    again.abort();
}

#[tokio::test]
async fn a_file_is_initialised_at_start_only() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("weight");
    let file = TrackFile { name: "f".into(), path: path.clone(), init: Some((5, true)) };
    let mut plan = Plan { files: vec![file], ..plan() };
    let mut running = Running::of(&plan);
    assert_eq!(running.next().await, (Target::File("f".into()), Reading::Number(5), "contains 5".into()));
    std::fs::write(&path, "6").expect("written");
    assert_eq!(running.next().await.1, Reading::Number(6));
    plan.files[0].init = Some((7, true));
    running.set.apply(&plan);
    plan.files[0].name = "g".into();
    running.set.apply(&plan);
    assert_eq!(running.next().await, (Target::File("g".into()), Reading::Number(6), "contains 6".into()));
}

/// With the connector where the kernel permits it, else by polling: the reports are the same.
#[tokio::test]
async fn a_process_is_counted_from_its_start_to_its_end() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let program = directory.path().join("buoy-tracked");
    // By another process: ours may be forking in another test while a file is open for writing.
    let copied = std::process::Command::new("cp").arg("/bin/sleep").arg(&program).status();
    assert!(copied.expect("cp runs").success());
    let process = TrackProcess {
        name: "p".into(),
        command: program.to_str().expect("utf-8").into(),
        parameters: vec!["1000".into()],
        param_match: ParamMatch::None,
        quorum: 1,
        quorum_max: None,
        fork_delay: Duration::ZERO,
        terminate_delay: Duration::ZERO,
        full_command: true,
    };
    let mut running = Running::of(&Plan { processes: vec![process], ..plan() });
    let expected = "0 running, at least 1 wanted".to_owned();
    assert_eq!(running.next().await, (Target::Process("p".into()), Reading::Down, expected));
    let mut child =
        tokio::process::Command::new(&program).arg("1000").kill_on_drop(true).spawn().expect("starts");
    let expected = "1 running, at least 1 wanted".to_owned();
    assert_eq!(running.next().await, (Target::Process("p".into()), Reading::Up, expected));
    child.kill().await.expect("killed");
    assert_eq!(running.next().await.1, Reading::Down);
}
