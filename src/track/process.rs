//! `vrrp_track_process`: how many processes of a kind are running. The kernel's process connector tells of
//! every fork, exec, rename and exit; where that is not permitted `/proc` is read every second instead.

mod census;
mod connector;
mod matching;
mod procfs;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use buoy_vrrp::Observation;
use nix::errno::Errno;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, sleep_until, timeout};

use self::census::Census;
use self::connector::Connector;
pub use self::connector::HomeNamespace;
use crate::config::plan::TrackProcess;

/// For the fuzz target of the same name.
#[doc(hidden)]
pub use self::connector::{ProcessEvent, decode as decode_process_event};

/// A kernel that knows the connector acknowledges at once; one that does not stays silent.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_millis(100);
/// Rest after an overrun, so that the storm of processes behind it can pass.
const OVERRUN_REST: Duration = Duration::from_secs(1);
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Reading `/proc` takes some milliseconds; one that takes longer than this is stuck.
const PATIENCE: Duration = Duration::from_secs(5);

/// Watches until dropped. `report` gets a process entry's name at its first count and when its quorum is
/// gained or lost. Events come from `home` if there are none in the network namespace that we are in.
pub(super) async fn watch(
    processes: Arc<[TrackProcess]>,
    home: Option<&HomeNamespace>,
    mut report: impl FnMut(&Arc<str>, Observation),
) {
    let mut census = Census::new(&processes);
    let error = match follow(&processes, home, &mut census, &mut report).await {
        Ok(never) => match never {},
        Err(error) => error,
    };
    tracing::warn!(
        error = format!("{error:#}"),
        "no process events from the kernel: reading /proc every second to track processes"
    );
    poll(&processes, &mut census, &mut report).await;
}

/// Counts again and again, until dropped.
async fn poll(
    processes: &Arc<[TrackProcess]>,
    census: &mut Census,
    report: &mut impl FnMut(&Arc<str>, Observation),
) {
    loop {
        match count(processes).await {
            Ok(found) => census.recount(found, Instant::now()),
            Err(error) => tracing::warn!(error = format!("{error:#}"), "cannot count processes"),
        }
        publish(census, report);
        tokio::select! {
            () = sleep(POLL_INTERVAL) => {}
            () = until(census.poll_timeout()) => {
                census.handle_timeout(Instant::now());
                publish(census, report);
            }
        }
    }
}

/// Follows the events of the connector; ends only when there are none to be had.
async fn follow(
    processes: &Arc<[TrackProcess]>,
    home: Option<&HomeNamespace>,
    census: &mut Census,
    report: &mut impl FnMut(&Arc<str>, Observation),
) -> anyhow::Result<std::convert::Infallible> {
    let mut connector = Connector::open(home).context("process connector")?;
    // Listening comes before counting, so that nobody slips through between the two.
    await_acknowledgement(&mut connector).await?;
    census.recount(count(processes).await?, Instant::now());
    loop {
        publish(census, report);
        tokio::select! {
            received = connector.receive() => match received {
                Ok(events) => apply(events, processes, census).await?,
                Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => {
                    tracing::warn!("process events were lost: counting again");
                    sleep(OVERRUN_REST).await;
                    connector.enlarge();
                    connector.discard();
                    census.recount(count(processes).await?, Instant::now());
                }
                Err(error) => return Err(error).context("receiving process events"),
            },
            () = until(census.poll_timeout()) => census.handle_timeout(Instant::now()),
        }
    }
}

async fn await_acknowledgement(connector: &mut Connector) -> anyhow::Result<()> {
    let acknowledged = async {
        loop {
            for event in connector.receive().await? {
                if let ProcessEvent::Acknowledged { error } = event {
                    return Ok(error);
                }
            }
        }
    };
    match timeout(ACKNOWLEDGED_WITHIN, acknowledged).await {
        Ok(Ok(0)) => Ok(()),
        Ok(Ok(error)) => bail!("refused: {}", Errno::from_raw(error.unsigned_abs().cast_signed()).desc()),
        Ok(Err(error)) => Err::<(), io::Error>(error).context("process connector"),
        Err(_) => bail!("no answer from the kernel's process connector"),
    }
}

/// Applies events in the order they came in. What has executed or renamed itself among them is looked at first, all in one
/// go: that reads a process's memory.
async fn apply(
    events: Vec<ProcessEvent>,
    processes: &Arc<[TrackProcess]>,
    census: &mut Census,
) -> anyhow::Result<()> {
    let renewed: BTreeSet<u32> = events.iter().filter_map(ProcessEvent::renewed).collect();
    let mut found = BTreeMap::new();
    if !renewed.is_empty() {
        let processes = Arc::clone(processes);
        let examine = move |pid| (pid, procfs::examine(pid, &processes));
        found = elsewhere(move || renewed.into_iter().map(examine).collect()).await?;
    }
    let now = Instant::now();
    for event in events {
        match event {
            ProcessEvent::Acknowledged { .. } => {}
            ProcessEvent::Forked { parent, child } => census.forked(parent, child, now),
            ProcessEvent::Renewed { pid } => {
                census.renewed(pid, found.get(&pid).cloned().unwrap_or_default(), now);
            }
            ProcessEvent::Exited { pid } => census.exited(pid, now),
        }
    }
    Ok(())
}

async fn count(processes: &Arc<[TrackProcess]>) -> anyhow::Result<BTreeMap<u32, BTreeSet<usize>>> {
    let processes = Arc::clone(processes);
    elsewhere(move || procfs::scan(&processes)).await?.context("reading /proc")
}

/// Reads `/proc` on another thread: the command line of a process whose memory is locked is not to be had before that is
/// over. Tracking waits for it, and says so, but nobody else does.
async fn elsewhere<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> anyhow::Result<T> {
    let mut reading = spawn_blocking(read);
    let read = match timeout(PATIENCE, &mut reading).await {
        Ok(read) => read,
        Err(_) => {
            tracing::warn!("a process in /proc does not let itself be read: track_process waits for it");
            reading.await
        }
    };
    read.context("reading /proc")
}

fn publish(census: &mut Census, report: &mut impl FnMut(&Arc<str>, Observation)) {
    while let Some((name, observation)) = census.poll_change() {
        report(&name, observation);
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::plan::ParamMatch;
    use buoy_vrrp::Reading;
    use tokio::sync::mpsc;

    fn ourselves() -> Arc<[TrackProcess]> {
        let name = std::fs::read_to_string("/proc/self/comm").expect("our name");
        [TrackProcess {
            name: "p".into(),
            command: name.trim_end().into(),
            parameters: Vec::new(),
            param_match: ParamMatch::None,
            quorum: 1,
            quorum_max: None,
            fork_delay: Duration::ZERO,
            terminate_delay: Duration::ZERO,
            full_command: false,
        }]
        .into()
    }

    #[tokio::test]
    async fn events_of_a_batch_count_in_the_order_they_came_in() {
        let processes = ourselves();
        let pid = std::process::id();
        let (renewed, exited) = (ProcessEvent::Renewed { pid }, ProcessEvent::Exited { pid });
        let forked = ProcessEvent::Forked { parent: pid, child: u32::MAX };
        let batches = [
            (vec![exited, renewed], Reading::Up),
            (vec![renewed, exited], Reading::Down),
            (vec![renewed, forked, exited], Reading::Up),
            (vec![forked, renewed, exited], Reading::Down),
        ];
        for (events, expected) in batches {
            let mut census = Census::new(&processes);
            census.recount(BTreeMap::new(), Instant::now());
            apply(events.clone(), &processes, &mut census).await.expect("reads /proc");
            let told = std::iter::from_fn(|| census.poll_change()).last();
            assert_eq!(told.map(|(_, seen)| seen.reading), Some(expected), "{events:?}");
        }
    }

    #[tokio::test]
    async fn while_proc_does_not_answer_everybody_else_goes_on() {
        let (answer, stuck) = std::sync::mpsc::channel();
        let reading = elsewhere(move || stuck.recv_timeout(Duration::from_secs(20)));
        // Polled by the same thread, and after the reading.
        let others = async move { answer.send(7) };
        let (read, sent) = tokio::join!(reading, others);
        sent.expect("it still reads");
        assert_eq!(read.expect("ends").expect("an answer"), 7);
    }

    #[tokio::test]
    async fn without_events_counting_sees_a_process_start_and_end() {
        let directory = tempfile::tempdir().expect("temporary directory");
        // Unlike that of the same test in another process.
        let name = format!("buoy-{}", std::process::id());
        let program = directory.path().join(&name);
        // By another process: ours may be forking in another test while a file is open for writing.
        let copied = std::process::Command::new("cp").arg("/bin/sleep").arg(&program).status();
        assert!(copied.expect("cp runs").success());
        let process = TrackProcess {
            name: "p".into(),
            command: name.into(),
            parameters: Vec::new(),
            param_match: ParamMatch::None,
            quorum: 1,
            quorum_max: None,
            fork_delay: Duration::ZERO,
            terminate_delay: Duration::ZERO,
            full_command: false,
        };
        let (sender, mut reports) = mpsc::unbounded_channel();
        let processes: Arc<[TrackProcess]> = [process].into();
        let polling = tokio::spawn(async move {
            let mut census = Census::new(&processes);
            let mut report = |_: &Arc<str>, seen: Observation| {
                sender.send(seen.reading).expect("the test listens");
            };
            poll(&processes, &mut census, &mut report).await;
        });
        let mut next = async || timeout(Duration::from_secs(20), reports.recv()).await.expect("reported");
        assert_eq!(next().await, Some(Reading::Down));
        let mut child =
            tokio::process::Command::new(&program).arg("1000").kill_on_drop(true).spawn().expect("starts");
        assert_eq!(next().await, Some(Reading::Up));
        child.kill().await.expect("killed");
        assert_eq!(next().await, Some(Reading::Down));
        polling.abort();
    }
}
