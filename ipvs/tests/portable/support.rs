//! What a host lets us do is what it says it does.

use std::process::Command;
use std::time::{Duration, Instant};

use buoy_ipvs::io::support::{Obstacle, Tier, support};

use crate::host::{Host, may_run};
use crate::user_namespace::is_inside;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(10);
/// Set where there are no rights over the network.
const POWERLESS: &str = "BUOY_TEST_WITHOUT_RIGHTS";

#[test]
fn tiers_are_tried_and_nothing_is_left_of_it() {
    if !may_run() {
        return;
    }
    let host = Host::new();
    let support = host.run(support);
    assert!(support.portable.is_ok(), "{support:?}");
    if is_inside() {
        assert!(matches!(support.tc, Err(Obstacle::Maps(_))), "{support:?}");
        assert_eq!(support.best(), Some(Tier::Portable));
    } else {
        assert_eq!(support.best(), Some(Tier::Tc), "{support:?}");
    }
    let left = || {
        let links = host.ip("-oneline link");
        let links: Vec<_> = links.lines().filter(|line| !line.contains("lo:")).collect();
        links.concat() + &host.command("nft", "list tables")
    };
    // A process that another test starts has copies of descriptors until it is the program that it is to be.
    let since = Instant::now();
    while !left().is_empty() {
        assert!(since.elapsed() < PATIENCE, "{}", left());
    }
}

#[test]
fn without_rights_the_reason_is_told() {
    if std::env::var_os(POWERLESS).is_some() {
        let support = support();
        assert!(matches!(support.tc, Err(Obstacle::Tap(_))), "{support:?}");
        assert!(matches!(support.portable, Err(Obstacle::Tap(_))), "{support:?}");
        assert_eq!(support.best(), None);
        return;
    }
    if !may_run() {
        return;
    }
    // Root of a user namespace has no rights over the network namespace that it did not make.
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "support::without_rights_the_reason_is_told"])
        .env(POWERLESS, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}
