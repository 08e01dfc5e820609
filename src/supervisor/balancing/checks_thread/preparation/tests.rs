//! Reading that hangs, for as long as a test likes.

use std::path::Path;

use tokio::sync::oneshot;

use super::*;
use crate::config::{LoadOptions, load_text};

fn plan() -> Arc<Plan> {
    let options = LoadOptions {
        config_id: None,
        strict: false,
        known_interface: &|_| true,
        inspect_scripts: false,
        all_include_checks: false,
    };
    Arc::new(load_text(Path::new("test.conf"), "", &options).plan.expect("nothing is wrong with it"))
}

/// A reading that ends when it is told so.
fn hang(preparation: &mut Preparation, plan: &Arc<Plan>) -> oneshot::Sender<()> {
    let (release, released) = oneshot::channel();
    let plan = Arc::clone(plan);
    preparation.wait_for(tokio::spawn(async move {
        released.await.expect("the test releases it");
        Prepared { probes: Probes::new(&plan), plan, answering: Arc::default() }
    }));
    release
}

#[tokio::test(start_paused = true)]
async fn a_reading_that_hangs_is_told_of_once_and_used_when_it_ends() {
    let mut preparation = Preparation::default();
    let begun = Instant::now();
    let release = hang(&mut preparation, &plan());
    let slow_at = |preparation: &Preparation| preparation.reading.as_ref().expect("it hangs").slow_at;
    for elapsed in [1, 9, 11, 20] {
        let until = begun + Duration::from_secs(elapsed);
        timeout_at(until, preparation.prepared()).await.expect_err("it hangs");
        assert_eq!(slow_at(&preparation).is_none(), elapsed > 10, "after {elapsed} s");
    }
    release.send(()).expect("it waits");
    preparation.prepared().await.expect("read");
    assert!(preparation.reading.is_none());
}

#[tokio::test(start_paused = true)]
async fn the_latest_plan_wins_over_one_that_hangs() {
    let mut preparation = Preparation::default();
    let (first, second) = (plan(), plan());
    let release_first = hang(&mut preparation, &first);
    let release_second = hang(&mut preparation, &second);
    release_first.send(()).expect("its thread is still there");
    release_second.send(()).expect("it waits");
    let prepared = preparation.prepared().await.expect("read");
    assert!(Arc::ptr_eq(&prepared.plan, &second));
    let nothing = timeout_at(Instant::now() + SLOW, preparation.prepared()).await;
    nothing.expect_err("the first one is of no use any more");
}

#[test]
fn ways_back_that_were_restored_are_not_opened_by_a_thread_that_comes_late() {
    let paths = Paths::default();
    paths.restore();
    paths.open(&BTreeSet::new());
    assert!(paths.lock().is_none());
}
