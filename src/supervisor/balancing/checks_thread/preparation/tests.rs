//! Reading that hangs, for as long as a test likes.

use std::path::Path;

use tokio::sync::oneshot;

use super::*;
use crate::config::{LoadOptions, load_text};
use crate::control::driver::orders;

fn plan() -> Arc<Plan> {
    plan_of("")
}

fn plan_of(text: &str) -> Arc<Plan> {
    let options = LoadOptions {
        config_id: None,
        strict: false,
        known_interface: &|_| true,
        inspect_files: false,
        all_include_checks: false,
    };
    Arc::new(load_text(Path::new("test.conf"), text, &options).plan.expect("nothing is wrong with it"))
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

#[tokio::test]
async fn checks_by_way_of_a_service_wait_for_ipvs_and_others_do_not() {
    let service = |word: &str| {
        let check = format!("TCP_CHECK {{\n{word}\n}}");
        plan_of(&format!(
            "virtual_server 10.0.0.9 80 {{\nlb_algo rr\nlb_kind DR\nprotocol TCP\n\
             real_server 10.0.1.1 80 {{\n{check}\n}}\n}}\n"
        ))
    };
    let mut preparation = Preparation::default();
    // Nobody drives it.
    let (plane, orders) = orders();
    preparation.read(service(""), &Paths::default(), &plane);
    let at_once = timeout_at(Instant::now() + PLANE_PATIENCE / 2, preparation.prepared()).await;
    at_once.expect("nothing to wait for").expect("read");
    preparation.read(service("check_vip"), &Paths::default(), &plane);
    let soon = Instant::now() + Duration::from_millis(200);
    timeout_at(soon, preparation.prepared()).await.expect_err("IPVS has nothing to forward them by");
    // It will never have.
    drop(orders);
    let later = timeout_at(Instant::now() + PLANE_PATIENCE / 2, preparation.prepared()).await;
    later.expect("waiting would be in vain").expect("read");
}
