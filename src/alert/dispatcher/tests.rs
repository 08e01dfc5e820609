use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use buoy_vrrp::{Cause, ContentionSign};
use nix::libc;

use super::*;
use crate::alert::fixture::{group, instance, plan, real_server, router, shell, tcp_service, transition};
use crate::config::plan::Fifo;

const LONG: Duration = Duration::from_secs(20);

fn reader(path: &Path) -> std::fs::File {
    let mut options = std::fs::OpenOptions::new();
    options.read(true).custom_flags(libc::O_NONBLOCK).open(path).expect("the FIFO opens")
}

fn lines(mut reader: &std::fs::File) -> Vec<String> {
    let mut bytes = Vec::new();
    // At the end of what is there a pipe with a writer says "would block".
    let (Ok(_) | Err(_)) = reader.read_to_end(&mut bytes);
    String::from_utf8(bytes).expect("utf-8").lines().map(str::to_owned).collect()
}

fn with_fifo(path: &Path) -> Plan {
    let mut plan = plan();
    plan.global.vrrp_notify_fifo = Some(Fifo { path: path.to_owned(), owner: None, script: None });
    plan.routers = vec![router("VI_1")];
    plan.groups = vec![group("G")];
    plan
}

fn goes(subject: Subject, from: State, to: State) -> Transition {
    transition(subject, from, to, Cause::Reload)
}

async fn deliver(dispatcher: &Dispatcher) {
    let running = dispatcher.clone();
    let task = tokio::spawn(async move { running.run().await });
    assert!(dispatcher.shutdown(LONG).await);
    task.await.expect("without panic");
}

#[tokio::test]
async fn a_transition_reaches_history_fifo_and_script_before_the_end() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (path, log) = (directory.path().join("fifo"), directory.path().join("log"));
    let mut plan = with_fifo(&path);
    plan.routers[0].notify.any = Some(shell(&format!("echo \"$@\" >> {}", log.display())));
    let dispatcher = Dispatcher::new(&plan);
    let fifo = reader(&path);
    let elsewhere = dispatcher.clone();
    let election = std::thread::spawn(move || {
        elsewhere.transition(goes(Subject::Group("G".into()), State::Master, State::Stop));
        elsewhere.transition(goes(instance("VI_1"), State::Master, State::Stop));
    });
    election.join().expect("hands over");
    deliver(&dispatcher).await;
    assert_eq!(lines(&fifo), ["GROUP \"G\" STOP 0", "INSTANCE \"VI_1\" STOP 100"]);
    assert_eq!(std::fs::read_to_string(log).expect("the script ran"), "INSTANCE VI_1 STOP 100\n");
    let seqs: Vec<u64> = dispatcher.history().since(0).iter().map(|record| record.seq).collect();
    assert_eq!(seqs, [1, 2]);
    assert!(!path.exists());
}

#[tokio::test]
async fn the_general_fifo_takes_the_place_of_a_specific_one_with_its_path() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("fifo");
    let mut plan = with_fifo(&path);
    plan.global.notify_fifo.clone_from(&plan.global.vrrp_notify_fifo);
    let dispatcher = Dispatcher::new(&plan);
    let fifo = reader(&path);
    dispatcher.transition(goes(instance("VI_1"), State::Init, State::Backup));
    deliver(&dispatcher).await;
    assert_eq!(lines(&fifo), ["INSTANCE \"VI_1\" BACKUP 100"]);
}

#[tokio::test]
async fn priority_lines_are_written_where_they_are_wanted_and_lower_priorities_tell_our_own() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("fifo");
    let mut plan = with_fifo(&path);
    plan.routers.push(router("quiet"));
    plan.routers[0].notify_priority_changes = true;
    let dispatcher = Dispatcher::new(&plan);
    let fifo = reader(&path);
    let changed = |name: &str, state, priority| Event::PriorityChanged {
        instance: name.into(),
        state,
        priority: Priority::new(priority),
        from: Priority::DEFAULT,
        cause: buoy_vrrp::PriorityCause::Reload,
    };
    let heard = |name: &str| Event::LowerPriorityHeard {
        instance: name.into(),
        from: [10, 0, 0, 2].into(),
        priority: Priority::new(50),
    };
    for event in [
        heard("quiet"),
        changed("VI_1", State::Backup, 90),
        changed("VI_1", State::Fault, 80),
        changed("VI_1", State::Master, 70),
        changed("quiet", State::Master, 60),
        heard("VI_1"),
        heard("quiet"),
        heard("nobody"),
    ] {
        dispatcher.notify(event);
    }
    deliver(&dispatcher).await;
    let expected = [
        "INSTANCE \"quiet\" MASTER_RX_LOWER_PRI 100",
        "INSTANCE \"VI_1\" BACKUP_PRIORITY 90",
        "INSTANCE \"VI_1\" MASTER_PRIORITY 70",
        "INSTANCE \"VI_1\" MASTER_RX_LOWER_PRI 70",
        "INSTANCE \"quiet\" MASTER_RX_LOWER_PRI 60",
    ];
    assert_eq!(lines(&fifo), expected);
}

#[tokio::test]
async fn a_removed_instance_is_told_as_fault_or_as_deleted_and_a_removed_group_not_at_all() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("fifo");
    let mut before = with_fifo(&path);
    before.routers.push(router("VI_2"));
    before.routers[1].notify_deleted = Some(None);
    let dispatcher = Dispatcher::new(&before);
    let fifo = reader(&path);
    let after = Plan { routers: Vec::new(), groups: Vec::new(), ..with_fifo(&path) };
    dispatcher.apply(&after);
    for subject in [instance("VI_1"), instance("VI_2"), Subject::Group("G".into())] {
        dispatcher.transition(goes(subject, State::Master, State::Deleted));
    }
    deliver(&dispatcher).await;
    assert_eq!(lines(&fifo), ["INSTANCE \"VI_1\" FAULT 100", "INSTANCE \"VI_2\" DELETED 100"]);
}

#[tokio::test]
async fn init_is_nobody_s_business_but_the_history_s() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("fifo");
    let dispatcher = Dispatcher::new(&with_fifo(&path));
    let fifo = reader(&path);
    dispatcher.transition(goes(instance("VI_1"), State::Fault, State::Init));
    deliver(&dispatcher).await;
    assert!(lines(&fifo).is_empty());
    assert_eq!(dispatcher.history().since(0).len(), 1);
}

#[tokio::test]
async fn a_reload_writes_the_states_again_if_that_is_wanted() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("fifo");
    let mut plan = with_fifo(&path);
    plan.routers.push(router("going"));
    let dispatcher = Dispatcher::new(&plan);
    let fifo = reader(&path);
    let running = dispatcher.clone();
    let task = tokio::spawn(async move { running.run().await });
    for subject in [instance("VI_1"), instance("going"), Subject::Group("G".into())] {
        dispatcher.transition(goes(subject, State::Backup, State::Master));
    }
    let mut follow = dispatcher.history().follow(2);
    follow.next().await;
    assert_eq!(lines(&fifo).len(), 3);
    plan.routers.pop();
    dispatcher.apply(&plan);
    assert!(lines(&fifo).is_empty());
    plan.global.fifo_write_states_on_reload = true;
    dispatcher.apply(&plan);
    assert_eq!(lines(&fifo), ["INSTANCE \"VI_1\" MASTER 100", "GROUP \"G\" MASTER 0"]);
    assert!(dispatcher.shutdown(LONG).await);
    task.await.expect("without panic");
}

#[tokio::test]
async fn a_flood_keeps_the_newest_of_every_subject() {
    let dispatcher = Dispatcher::new(&plan());
    dispatcher.transition(goes(instance("calm"), State::Init, State::Backup));
    for _ in 0..INBOX_CAPACITY.election * 2 {
        dispatcher.transition(goes(instance("wild"), State::Backup, State::Master));
    }
    let expected = u64::try_from(INBOX_CAPACITY.election + 1).expect("few");
    assert_eq!(dispatcher.losses().superseded, expected);
    deliver(&dispatcher).await;
    let told = dispatcher.history().since(0);
    let last = u64::try_from(INBOX_CAPACITY.election * 2 + 1).expect("few");
    assert_eq!(told.last().map(|record| record.seq), Some(last));
}

#[tokio::test]
async fn the_run_may_be_dropped_and_started_again() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("fifo");
    let dispatcher = Dispatcher::new(&with_fifo(&path));
    let fifo = reader(&path);
    let mut follow = dispatcher.history().follow(0);
    for _ in 0..2 {
        let running = dispatcher.clone();
        let task = tokio::spawn(async move { running.run().await });
        dispatcher.transition(goes(instance("VI_1"), State::Backup, State::Master));
        follow.next().await;
        task.abort();
        assert!(task.await.expect_err("is aborted").is_cancelled());
    }
    dispatcher.transition(goes(instance("VI_1"), State::Master, State::Stop));
    deliver(&dispatcher).await;
    assert_eq!(lines(&fifo).len(), 3);
}

#[tokio::test]
async fn the_end_does_not_wait_for_a_run_that_is_not_there() {
    let dispatcher = Dispatcher::new(&plan());
    dispatcher.transition(goes(instance("VI_1"), State::Master, State::Stop));
    assert!(!dispatcher.shutdown(Duration::from_millis(10)).await);
}

#[tokio::test]
async fn only_a_master_runs_its_hook_again_when_a_second_owner_shows_itself() {
    for (state, expected) in [(State::Master, "master\nmaster\n"), (State::Backup, "")] {
        let directory = tempfile::tempdir().expect("temporary directory");
        let log = directory.path().join("log");
        let mut plan = Plan { routers: vec![router("VI_1")], ..plan() };
        plan.routers[0].notify.master = Some(shell(&format!("echo master >> {}", log.display())));
        let dispatcher = Dispatcher::new(&plan);
        let running = dispatcher.clone();
        let task = tokio::spawn(async move { running.run().await });
        dispatcher.transition(goes(instance("VI_1"), State::Init, state));
        // Its first run has begun, or there is none; while it waits the second one would only be the same.
        while dispatcher.shared.hooks.len() > 0 || dispatcher.shared.inbox.len() > 0 {
            tokio::task::yield_now().await;
        }
        let sign = ContentionSign::OwnStall;
        dispatcher.notify(Event::Contention { instance: "VI_1".into(), sign });
        assert!(dispatcher.shutdown(LONG).await);
        task.await.expect("without panic");
        assert_eq!(std::fs::read_to_string(&log).unwrap_or_default(), expected, "as {state}");
    }
}

/// What the history has of servers and quorums: the server or the service, and its state.
fn changes(dispatcher: &Dispatcher) -> Vec<String> {
    let records = dispatcher.history().since(0);
    let changes = records.iter().filter_map(|record| match &record.news {
        News::Service(change) => Some(format!("{} {}", change.subject(), change.to())),
        News::Transition(_) => None,
    });
    changes.collect()
}

#[tokio::test]
async fn a_server_and_a_quorum_reach_history_fifo_and_scripts_before_the_end() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (path, log) = (directory.path().join("fifo"), directory.path().join("log"));
    let mut plan = plan();
    let mut service = tcp_service(&["10.1.0.1:80"]);
    service.servers[0].notify_down = Some(shell(&format!("echo server \"$@\" >> {}", log.display())));
    service.quorum_down = Some(shell(&format!("echo quorum \"$@\" >> {}", log.display())));
    plan.services = vec![service];
    plan.balancing.notify_fifo = Some(Fifo { path: path.clone(), owner: None, script: None });
    let dispatcher = Dispatcher::new(&plan);
    let fifo = reader(&path);
    let elsewhere = dispatcher.clone();
    let control = std::thread::spawn(move || {
        let service: Arc<str> = "TCP 10.0.0.1:80".into();
        elsewhere.server(
            Arc::clone(&service),
            real_server("10.1.0.1:80"),
            false,
            "connection refused".into(),
        );
        elsewhere.server(Arc::clone(&service), real_server("10.1.0.9:80"), false, "nobody's".into());
        elsewhere.quorum(Arc::clone(&service), false, "weight 0 of 1 needed".into());
        elsewhere.transition(goes(instance("VI_1"), State::Master, State::Stop));
    });
    control.join().expect("hands over");
    deliver(&dispatcher).await;
    assert_eq!(lines(&fifo), ["RS [10.1.0.1]:tcp:80 [10.0.0.1]:tcp:80 DOWN", "VS [10.0.0.1]:tcp:80 DOWN"]);
    let scripts = std::fs::read_to_string(log).expect("the scripts ran");
    let mut scripts: Vec<_> = scripts.lines().collect();
    // Two subjects, so they run beside each other.
    scripts.sort_unstable();
    assert_eq!(scripts, ["quorum", "server"]);
    let expected = [
        "10.1.0.1:80 of TCP 10.0.0.1:80 DOWN",
        "10.1.0.9:80 of TCP 10.0.0.1:80 DOWN",
        "TCP 10.0.0.1:80 DOWN",
    ];
    assert_eq!(changes(&dispatcher), expected);
    let seqs: Vec<u64> = dispatcher.history().since(0).iter().map(|record| record.seq).collect();
    assert_eq!(seqs, [1, 2, 3, 4]);
}

#[tokio::test]
async fn what_a_reload_removed_keeps_its_scripts_for_its_last_news_until_the_next_one() {
    for reloads in [1, 2] {
        let directory = tempfile::tempdir().expect("temporary directory");
        let log = directory.path().join("log");
        let writes = |word: &str| Some(shell(&format!("echo {word} >> {}", log.display())));
        let mut service = tcp_service(&["10.1.0.1:80", "10.1.0.2:80"]);
        service.servers[0].notify_down = writes("stays");
        service.servers[1].notify_down = writes("goes");
        let mut gone = tcp_service(&["10.1.0.3:80"]);
        Arc::make_mut(&mut gone.service).name = "TCP 10.0.0.2:80".into();
        gone.servers[0].notify_down = writes("goes with its service");
        let mut plan = Plan { services: vec![service, gone], ..plan() };
        let dispatcher = Dispatcher::new(&plan);
        plan.services.pop();
        Arc::make_mut(&mut plan.services[0].service).servers.pop();
        plan.services[0].servers.pop();
        for _ in 0..reloads {
            dispatcher.apply(&plan);
        }
        let servers = [("1", "10.1.0.1:80"), ("1", "10.1.0.2:80"), ("2", "10.1.0.3:80")];
        for (service, server) in servers {
            let service = format!("TCP 10.0.0.{service}:80").into();
            dispatcher.server(service, real_server(server), false, "removed".into());
        }
        deliver(&dispatcher).await;
        let scripts = std::fs::read_to_string(log).expect("the scripts ran");
        let mut scripts: Vec<_> = scripts.lines().collect();
        scripts.sort_unstable();
        let expected: &[&str] = match reloads {
            1 => &["goes", "goes with its service", "stays"],
            _ => &["stays"],
        };
        assert_eq!(scripts, expected, "after {reloads} reloads");
    }
}

#[tokio::test]
async fn the_death_of_a_table_full_of_servers_is_told_of_each_and_delays_no_transition() {
    const SERVERS: u16 = 40_000;
    let dispatcher = Dispatcher::new(&plan());
    let service: Arc<str> = "TCP 10.0.0.1:80".into();
    let reason: Arc<str> = "timed out".into();
    let server = |number: u16| {
        let [a, b] = number.to_be_bytes();
        RealServerId { address: [10, 1, a, b].into(), port: 80 }
    };
    for up in [false, true, false] {
        for number in 0..SERVERS {
            dispatcher.server(Arc::clone(&service), server(number), up, Arc::clone(&reason));
        }
    }
    dispatcher.transition(goes(instance("VI_1"), State::Backup, State::Master));
    let inbox = &dispatcher.shared.inbox;
    let capacity = INBOX_CAPACITY.services;
    assert_eq!(inbox.len(), capacity + 1);
    let Some(Event::Transition { .. }) = inbox.try_next() else { panic!("the transition comes first") };
    let mut last = std::collections::BTreeMap::new();
    while let Some(Event::Service { change, .. }) = inbox.try_next() {
        last.insert(change.server, change.up);
    }
    assert_eq!(last.len(), usize::from(SERVERS));
    assert!(last.values().all(|up| !up), "the newest of each");
}
