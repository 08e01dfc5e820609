//! Buoy and other programs on one LAN: every flavour of VRRP, in both roles, through failure, return and
//! orderly stop.

mod lab;

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use buoy::lab::Program;
use buoy::lab::capture::Takeover;
use lab::flavour::{Delivery, Family, Flavour, HIGH, LOW};
use lab::frr::Frr;
use lab::wire::{advertised_by_first, assert_all_from, assert_tshark_is_content};
use lab::{FIRST, Lan, Party, SECOND, peer};

/// How much later than the protocol's timer a takeover may be on a machine busy with other tests. The benches
/// measure the real lateness.
const BUSY: Duration = Duration::from_millis(400);

/// Takeovers may look this much too early, as the wire's clock is not the program's.
const EARLY: Duration = Duration::from_millis(5);

/// The first director with the higher priority becomes master; the second takes over when the first cannot be
/// heard, and when it is killed, after the protocol's own time; the first one comes back each time; its
/// orderly stop hands over within the skew.
fn takes_turns(flavour: Flavour, first: &Party, second: &Party) {
    let vip = flavour.vip();
    let mut lan = Lan::new();
    let started = SystemTime::now();
    lan.first.join(first, &flavour, 1, HIGH);
    lan.second.join(second, &flavour, 2, LOW);
    // FRR's address is there before its router is, so the address alone proves nothing.
    lan.capture.wait_for(started, flavour.patience(), advertised_by_first).expect("a master");
    lan.wait_for_holder(FIRST, vip, flavour.patience());

    let isolated = SystemTime::now();
    lan.first.cable.isolate().expect("isolating");
    assert_in_time(&flavour, &lan.wait_for_takeover(isolated, vip, flavour.patience()));
    let restored = SystemTime::now();
    lan.first.cable.restore().expect("restoring");
    returns(&lan, &flavour, restored);

    // FRR's addresses are permanent on an interface that only FRR holds down: killed, it leaves a second owner.
    if let Party::Program(_) = first {
        let killed = SystemTime::now();
        lan.first.kill();
        assert_in_time(&flavour, &lan.wait_for_takeover(killed, vip, flavour.patience()));
        let returned = SystemTime::now();
        lan.first.join(first, &flavour, 1, HIGH);
        returns(&lan, &flavour, returned);
    }

    let stopped = SystemTime::now();
    lan.first.stop();
    let handover = lan.wait_for_takeover(stopped, vip, flavour.patience());
    lan.wait_for_holder(SECOND, vip, flavour.patience());
    assert_eq!(handover.from.priority, 0, "the master resigns: {handover:?}");
    assert!(handover.silence <= flavour.skew(LOW) + BUSY, "{handover:?}");

    lan.second.stop();
    if flavour.vmac {
        let vips: Vec<IpAddr> = flavour.addresses().iter().map(|address| address.ip).collect();
        assert_all_from(&lan.capture, flavour.virtual_mac(), &vips);
    }
    assert_tshark_is_content(&lan.capture, lan.second.directory.path());
}

/// Waits until the first director is master again. That it has the address proves nothing by itself: it has it while it
/// is isolated, and after it was killed, and the second one has it a moment later than it speaks as master.
fn returns(lan: &Lan, flavour: &Flavour, since: SystemTime) {
    lan.capture.wait_for(since, flavour.patience(), advertised_by_first).expect("its return");
    lan.wait_for_holder(FIRST, flavour.vip(), flavour.patience());
}

fn assert_in_time(flavour: &Flavour, takeover: &Takeover) {
    let (silence, timer) = (takeover.silence, flavour.master_down(LOW));
    assert!(silence + EARLY >= timer && silence <= timer + BUSY, "the timer is {timer:?}: {takeover:?}");
}

/// Both roles against keepalived.
fn interoperates(flavour: Flavour) {
    let Some(keepalived) = keepalived() else { return };
    takes_turns(flavour, &subject(), &keepalived);
    takes_turns(flavour, &keepalived, &subject());
}

/// Both roles against FRR's vrrpd.
fn interoperates_with_frr(flavour: Flavour) {
    let Some(frr) = peer("frr", Frr::installed()).map(Party::Frr) else { return };
    takes_turns(flavour, &subject(), &frr);
    takes_turns(flavour, &frr, &subject());
}

fn subject() -> Party {
    Party::Program(lab::subject())
}

fn keepalived() -> Option<Party> {
    peer("keepalived", Program::keepalived()).map(Party::Program)
}

#[test]
fn the_harness_itself_sees_a_keepalived_pair_fail_over() {
    let Some(keepalived) = keepalived() else { return };
    takes_turns(Flavour::V3, &keepalived, &keepalived);
}

#[test]
fn v2_multicast_ipv4_with_keepalived() {
    interoperates(Flavour::V2);
}

#[test]
fn v2_with_password_with_keepalived() {
    interoperates(Flavour { authentication: Some("PASS"), ..Flavour::V2 });
}

#[test]
fn v2_with_authentication_header_with_keepalived() {
    interoperates(Flavour { authentication: Some("AH"), ..Flavour::V2 });
}

#[test]
fn v2_unicast_with_keepalived() {
    interoperates(Flavour { delivery: Delivery::Unicast, ..Flavour::V2 });
}

#[test]
fn v3_multicast_ipv4_with_keepalived() {
    interoperates(Flavour::V3);
}

#[test]
fn v3_multicast_ipv6_with_keepalived() {
    interoperates(Flavour { family: Family::V6, ..Flavour::V3 });
}

#[test]
fn v3_unicast_ipv4_with_keepalived() {
    interoperates(Flavour { delivery: Delivery::Unicast, ..Flavour::V3 });
}

#[test]
fn v3_unicast_ipv6_with_keepalived() {
    interoperates(Flavour { delivery: Delivery::Unicast, family: Family::V6, ..Flavour::V3 });
}

#[test]
fn v3_from_a_virtual_mac_ipv4_with_keepalived() {
    interoperates(Flavour { vmac: true, ..Flavour::V3 });
}

#[test]
fn v3_from_a_virtual_mac_ipv6_with_keepalived() {
    interoperates(Flavour { vmac: true, family: Family::V6, ..Flavour::V3 });
}

#[test]
fn v3_multicast_ipv4_with_frr() {
    interoperates_with_frr(Flavour::V3);
}

#[test]
fn v3_multicast_ipv6_with_frr() {
    interoperates_with_frr(Flavour { family: Family::V6, ..Flavour::V3 });
}
