//! Bad packets: counted by reason, told once, never a transition.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use buoy_vrrp::driver::{Command, Event};
use buoy_vrrp::{
    AdvertisementFrame, Authentication, Family, MULTICAST_V4, Outgoing, Priority, Reason, RouterSettings,
    SendSocket, StartState, State, Version, Vrid,
};

use crate::namespace::{Cable, End, interface};
use crate::node::{Node, Seen, transitions};
use crate::settings::{password, router};

const REPEATS: u64 = 3;
const IPV4_HEADER: usize = 20;

fn third() -> RouterSettings {
    let mut settings = router(Version::V3, 31, 100, 1.0, &["10.99.1.31"]);
    settings.name = Arc::from("third");
    settings
}

/// Version 2, with a password.
fn second() -> RouterSettings {
    let mut settings = router(Version::V2, 21, 100, 1.0, &["10.99.1.21"]);
    settings.name = Arc::from("second");
    settings.authentication = Authentication::Password(password("right"));
    settings
}

/// An advertisement of the highest priority there is, had it been believed.
fn packet(of: RouterSettings, source: [u8; 4], damage: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut frame = AdvertisementFrame::new(&of, IpAddr::from(source), MULTICAST_V4.into()).unwrap();
    frame.set_priority(Priority::OWNER);
    let mut bytes = frame.next_packet().packet.to_vec();
    damage(&mut bytes);
    bytes
}

fn with(mut settings: RouterSettings, change: impl FnOnce(&mut RouterSettings)) -> RouterSettings {
    change(&mut settings);
    settings
}

/// Router that counts it (none: nobody's), reason, packet.
fn bad_packets() -> Vec<(Option<&'static str>, Reason, Vec<u8>)> {
    let peer = [10, 99, 0, 1];
    let undamaged = |_: &mut Vec<u8>| {};
    vec![
        (Some("third"), Reason::Malformed, packet(third(), peer, |p| p.truncate(IPV4_HEADER + 7))),
        (Some("third"), Reason::Malformed, packet(third(), peer, |p| p.truncate(p.len() - 1))),
        // Type 2 where only 1 is known.
        (Some("third"), Reason::Malformed, packet(third(), peer, |p| p[IPV4_HEADER] = 0x32)),
        (Some("third"), Reason::Checksum, packet(third(), peer, |p| p[IPV4_HEADER + 6] ^= 1)),
        (Some("third"), Reason::Ttl, packet(third(), peer, |p| p[8] = 254)),
        (Some("third"), Reason::Version, packet(third(), peer, |p| p[IPV4_HEADER] = 0x41)),
        (Some("third"), Reason::Version, packet(with(third(), |s| s.version = Version::V2), peer, undamaged)),
        (Some("third"), Reason::OwnPacket, packet(third(), [10, 99, 0, 2], undamaged)),
        (
            Some("second"),
            Reason::Authentication,
            packet(
                with(second(), |s| s.authentication = Authentication::Password(password("wrong"))),
                peer,
                undamaged,
            ),
        ),
        (
            Some("second"),
            Reason::AuthenticationType,
            packet(with(second(), |s| s.authentication = Authentication::None), peer, undamaged),
        ),
        (
            Some("second"),
            Reason::Interval,
            packet(with(second(), |s| s.advert_interval = Duration::from_secs(2)), peer, undamaged),
        ),
        (
            None,
            Reason::UnknownVrid,
            packet(with(third(), |s| s.vrid = Vrid::new(99).unwrap()), peer, undamaged),
        ),
        (None, Reason::Malformed, packet(third(), peer, |p| p[IPV4_HEADER + 1] = 0)),
        (None, Reason::Malformed, packet(third(), peer, |p| p.truncate(IPV4_HEADER + 1))),
    ]
}

#[test]
fn bad_packets_are_counted_by_reason_told_once_and_move_nothing() {
    let Some(cable) = Cable::plug() else { return };
    std::thread::scope(|scope| {
        let left = Node::run(scope, &cable, End::Left, Duration::ZERO);
        let right = Node::run(scope, &cable, End::Right, Duration::ZERO);
        for settings in [third(), second()] {
            let owner = with(settings.clone(), |s| {
                s.priority = Priority::OWNER;
                s.start = StartState::Master;
            });
            left.add(&cable, owner, Vec::new());
            right.add(&cable, settings, Vec::new());
        }
        // The kernel would drop what claims to come from one of its own addresses.
        cable.enter(End::Right);
        std::fs::write("/proc/sys/net/ipv4/conf/right0/accept_local", "1").unwrap();
        right.tell(Command::LogUnknownVrids(true));
        left.start();
        right.start();
        right.wait_until("both masters are known", |s| {
            s.routers.len() == 2 && s.routers.iter().all(|r| r.master.is_some())
        });
        let _before = right.rest();

        cable.enter(End::Left);
        let socket = SendSocket::open(Family::V4, Some(&interface("left0"))).unwrap();
        let mut expected: BTreeMap<(Option<&str>, Reason), u64> = BTreeMap::new();
        for (router, reason, packet) in &bad_packets() {
            for _ in 0..REPEATS {
                socket.send(Outgoing { packet, destination: MULTICAST_V4.into() }).unwrap();
            }
            *expected.entry((*router, *reason)).or_default() += REPEATS;
        }
        let total: u64 = expected.values().sum();
        let counted = |s: &buoy_vrrp::driver::Snapshot| {
            let of_routers = s.routers.iter().flat_map(|r| r.discarded.values());
            of_routers.chain(s.unclaimed.values()).sum::<u64>()
        };
        let snapshot = right.wait_until("all are counted", |s| counted(s) >= total);

        let of_routers = snapshot
            .routers
            .iter()
            .flat_map(|r| r.discarded.iter().map(|(reason, count)| ((Some(&*r.name), *reason), *count)));
        let unclaimed = snapshot.unclaimed.iter().map(|(reason, count)| ((None, *reason), *count));
        assert_eq!(of_routers.chain(unclaimed).collect::<BTreeMap<_, _>>(), expected);
        assert!(snapshot.routers.iter().all(|r| r.state == State::Backup));

        let seen = right.rest();
        assert_eq!(transitions(&seen), [""; 0]);
        let mut told: BTreeMap<(Option<&str>, Reason), u64> = BTreeMap::new();
        for event in &seen {
            if let Seen::Event(Event::Discarded { name, discard, .. }) = event {
                *told.entry((name.as_deref(), discard.reason())).or_default() += 1;
            }
        }
        assert_eq!(told, expected.into_keys().map(|key| (key, 1)).collect());
        left.quit();
        right.quit();
    });
}
