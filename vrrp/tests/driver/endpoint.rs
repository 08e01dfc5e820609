//! Sockets follow the settings, and are opened as soon as they can be.

use std::sync::Arc;
use std::time::Duration;

use buoy_vrrp::driver::{Command, Endpoint, Event};
use buoy_vrrp::{
    Authentication, Cause, FaultCause, Interface, Priority, RouterSettings, StartState, State, Transport,
    Version, Vrid,
};

use crate::namespace::{Cable, End, ip};
use crate::node::{Node, Seen, transitions};
use crate::settings::{password, router, unicast};

/// With an interval that v2 can tell and a down time that the moment between two updates cannot reach.
fn settings(version: Version, interval: f64) -> RouterSettings {
    let mut settings = router(version, 51, 100, interval, &["10.99.1.51"]);
    settings.down_timer_adverts = 50;
    settings
}

fn update(node: &Node, settings: RouterSettings) {
    let key = Arc::clone(&settings.name);
    node.tell(Command::Update { key, settings: Box::new(settings), trackers: Vec::new() });
}

/// Left is the owner. After every change at both ends right hears it as before.
fn right_hears_left_through(changes: &[(&str, RouterSettings, RouterSettings)]) {
    let Some(cable) = Cable::plug() else { return };
    let owner = |mut settings: RouterSettings| {
        settings.priority = Priority::OWNER;
        settings.start = StartState::Master;
        settings
    };
    std::thread::scope(|scope| {
        let left = Node::run(scope, &cable, End::Left, Duration::ZERO);
        let right = Node::run(scope, &cable, End::Right, Duration::ZERO);
        let heard = |s: &buoy_vrrp::driver::Snapshot| -> u64 {
            s.routers.iter().map(|r| r.statistics.advertisements_received).sum()
        };
        for (at, (what, of_left, of_right)) in changes.iter().enumerate() {
            let (of_left, of_right) = (owner(of_left.clone()), of_right.clone());
            if at == 0 {
                left.add(&cable, of_left, Vec::new());
                right.add(&cable, of_right, Vec::new());
                left.start();
                right.start();
                right.wait_for(State::Backup);
            } else {
                update(&left, of_left);
                update(&right, of_right);
            }
            let before = heard(&right.snapshot());
            // One may have been on its way when the change came.
            right.wait_until(&format!("it hears left: {what}"), |s| heard(s) >= before + 2);
            assert_eq!(transitions(&right.rest()), [""; 0], "{what}");
        }
        left.quit();
        right.quit();
    });
}

#[test]
fn a_changed_authentication_type_moves_both_to_the_other_protocol() {
    let with = |authentication| {
        let settings = RouterSettings { authentication, ..settings(Version::V2, 1.0) };
        (settings.clone(), settings)
    };
    let (simple, header) = (
        Authentication::Password(password("right")),
        Authentication::AuthenticationHeader(password("right")),
    );
    let changes = [("password", simple.clone()), ("header", header), ("password again", simple)]
        .map(|(what, authentication)| (what, with(authentication)))
        .map(|(what, (left, right))| (what, left, right));
    right_hears_left_through(&changes);
}

#[test]
fn a_changed_group_peer_or_vrid_is_listened_to() {
    let plain = settings(Version::V3, 0.1);
    let group = |group: [u8; 4]| {
        let transport = Transport::Multicast { group: group.into() };
        RouterSettings { transport, ..plain.clone() }
    };
    let to = |peer: &str| RouterSettings { transport: unicast(peer, 255), ..plain.clone() };
    let mut both = to("10.99.0.1");
    if let (Transport::Unicast(unicast), Transport::Unicast(more)) =
        (&mut both.transport, to("10.99.0.2").transport)
    {
        unicast.peers.extend(more.peers);
    }
    let other_vrid = RouterSettings { vrid: Vrid::new(52).unwrap(), ..plain.clone() };
    right_hears_left_through(&[
        ("a group", plain.clone(), plain.clone()),
        ("another group", group([224, 0, 0, 99]), group([224, 0, 0, 99])),
        ("unicast", to("10.99.0.2"), to("10.99.0.1")),
        ("two peers", both.clone(), both),
        ("multicast", plain.clone(), plain),
        ("another VRID", other_vrid.clone(), other_vrid),
    ]);
}

#[test]
fn sockets_that_cannot_be_opened_are_told_once_and_opened_when_they_can_be() {
    let Some(cable) = Cable::plug() else { return };
    std::thread::scope(|scope| {
        let left = Node::run(scope, &cable, End::Left, Duration::ZERO);
        cable.enter(End::Left);
        let settings = settings(Version::V3, 0.1);
        let key = Arc::clone(&settings.name);
        let interface = Interface { index: 77, name: "late0".into() };
        let endpoint =
            Endpoint { source: [10, 99, 0, 1].into(), interface: Some(interface), buffer: 1 << 16 };
        left.tell(Command::Add { key: Arc::clone(&key), settings: Box::new(settings), trackers: Vec::new() });
        left.tell(Command::Endpoint { key, endpoint: Some(endpoint) });
        left.start();
        left.wait("the failure", |s| matches!(s, Seen::Event(Event::SocketFailed { .. })).then_some(()));
        left.wait_for(State::Fault);
        let reason = |s: &buoy_vrrp::driver::Snapshot| match s.routers[0].faults.as_slice() {
            [FaultCause::SocketFailed { reason }] => reason.to_string(),
            other => panic!("{other:?}"),
        };
        assert!(reason(&left.snapshot()).starts_with("cannot bind to interface late0"));

        // Another interface under this name: the next attempt gets further, and fails.
        ip("link add late0 index 78 type veth peer name peer0");
        left.wait_until("it has tried again", |s| reason(s).starts_with("cannot join group"));
        ip("link del late0");
        ip("link add late0 index 77 type veth peer name peer0");
        let mut told = 0;
        let (_, transition) = left.wait("recovery", |seen| match seen {
            Seen::Event(Event::Transition(t)) => Some(t.clone()),
            Seen::Event(Event::SocketFailed { .. }) => {
                told += 1;
                None
            }
            _ => None,
        });
        assert_eq!((told, transition.to), (0, State::Backup));
        let Cause::FaultCleared(FaultCause::SocketFailed { .. }) = transition.cause else {
            panic!("{}", transition.cause)
        };
        left.quit();
    });
}
