use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// Ports of one address towards one target.
const PORTS: usize = 64_511;

fn address(last: u8) -> Address {
    Address::v4(u32::from_be_bytes([10, 0, 0, last]))
}

fn target(last: u8) -> Target {
    Target { protocol: 6, address: address(last), port: 80 }
}

fn ports() -> LocalPorts {
    LocalPorts::new(&mut fastrand::Rng::with_seed(1))
}

#[test]
fn addresses_take_turns_and_ports_follow_one_another() {
    let (mut ports, mut turn) = (ports(), 0);
    let addresses = [address(201), address(202), address(203)];
    let taken: Vec<_> = (0..7).map(|_| ports.take(&target(1), &addresses, &mut turn).unwrap()).collect();
    let last: Vec<_> = taken.iter().map(|local| local.address).collect();
    assert_eq!(last, [201, 202, 203, 201, 202, 203, 201].map(address));
    for pair in taken.windows(2) {
        assert_eq!(pair[1].port, pair[0].port.checked_add(1).unwrap_or(FIRST));
    }
}

#[test]
fn every_port_of_every_address_is_lent_once_to_each_target_and_then_none() {
    let (mut ports, mut turn) = (ports(), 0);
    let addresses = [address(201), address(202)];
    for server in [1, 2] {
        let mut lent = BTreeSet::new();
        for _ in 0..2 * PORTS {
            let local = ports.take(&target(server), &addresses, &mut turn).unwrap();
            assert!(local.port >= FIRST && lent.insert(local), "{local:?}");
        }
        assert_eq!(
            ports.take(&target(server), &addresses, &mut turn),
            Err(NoLocalPort::Exhausted),
            "{server}"
        );
    }
    assert_eq!((ports.in_use(), ports.exhausted()), (4 * PORTS, 2));
}

#[test]
fn the_only_free_port_is_found_wherever_it_is() {
    let (mut ports, mut turn) = (ports(), 0);
    let addresses = [address(201)];
    (0..PORTS).for_each(|_| assert!(ports.take(&target(1), &addresses, &mut turn).is_ok()));
    for port in [FIRST, 1_280, 40_000, 65_279, 65_280, u16::MAX] {
        let local = LocalPort { address: address(201), port };
        assert!(ports.release(&target(1), local) && !ports.release(&target(1), local));
        assert_eq!(ports.take(&target(1), &addresses, &mut turn), Ok(local));
    }
}

#[test]
fn a_released_port_is_lent_again_after_all_others() {
    let (mut ports, mut turn) = (ports(), 0);
    let addresses = [address(201)];
    let first = ports.take(&target(1), &addresses, &mut turn).unwrap();
    assert!(ports.release(&target(1), first));
    let until = (0..PORTS).find(|_| {
        let local = ports.take(&target(1), &addresses, &mut turn).unwrap();
        assert!(ports.release(&target(1), local));
        local == first
    });
    assert_eq!(until, Some(PORTS - 1));
}

#[test]
fn no_more_than_sixteen_addresses_are_tried() {
    let (mut ports, mut turn) = (ports(), 0);
    let addresses: Vec<_> = (100..117).map(address).collect();
    (0..PORTS * 16).for_each(|_| assert!(ports.take(&target(1), &addresses[..16], &mut turn).is_ok()));
    turn = 0;
    assert_eq!(ports.take(&target(1), &addresses, &mut turn), Err(NoLocalPort::Exhausted));
    turn = 1;
    let local = ports.take(&target(1), &addresses, &mut turn).unwrap();
    assert_eq!((local.address, turn), (address(116), 17));
    assert_eq!(ports.take(&target(1), &[], &mut turn), Err(NoLocalPort::NoAddress));
    assert_eq!(ports.exhausted(), 1);
}

#[test]
fn nothing_is_left_of_targets_without_connections() {
    let (mut ports, mut turn) = (ports(), 0);
    let lent: Vec<_> = (0..10_000_u16)
        .map(|port| {
            let target = Target { port, ..target(1) };
            (target, ports.take(&target, &[address(201)], &mut turn).unwrap())
        })
        .collect();
    assert_eq!(ports.pools.len(), 10_000);
    lent.iter().for_each(|(target, local)| assert!(ports.release(target, *local)));
    assert!(ports.pools.is_empty() && ports.pools.capacity() < 100);
}

#[test]
fn a_claimed_port_is_lent_to_nobody_else_until_it_is_released() {
    let (mut ports, mut turn) = (ports(), 0);
    let local = |port| LocalPort { address: address(201), port };
    for port in [FIRST, 1_279, 1_280, 40_000, u16::MAX] {
        assert!(ports.claim(&target(1), local(port)) && !ports.claim(&target(1), local(port)), "{port}");
        assert!(ports.claim(&target(2), local(port)), "towards another server it is another one");
    }
    assert_eq!(ports.in_use(), 10);
    let lent: BTreeSet<_> =
        (5..PORTS).map(|_| ports.take(&target(1), &[address(201)], &mut turn).unwrap().port).collect();
    assert_eq!(lent.len(), PORTS - 5);
    assert!(!lent.contains(&FIRST) && !lent.contains(&40_000));
    assert_eq!(ports.take(&target(1), &[address(201)], &mut turn), Err(NoLocalPort::Exhausted));
    assert!(ports.release(&target(1), local(40_000)));
    assert_eq!(ports.take(&target(1), &[address(201)], &mut turn), Ok(local(40_000)));
    assert!(!ports.claim(&target(1), local(40_000)));
}

#[test]
fn ports_that_are_never_lent_cannot_be_claimed() {
    let mut ports = ports();
    for port in [0, 80, FIRST - 1] {
        assert!(!ports.claim(&target(1), LocalPort { address: address(201), port }), "{port}");
    }
    assert!(ports.pools.is_empty());
}

proptest! {
    #[test]
    fn what_is_lent_is_what_was_taken_and_not_released(
        steps in prop::collection::vec(
            (0..3_u8, prop::option::of(any::<prop::sample::Index>()), prop::option::of(FIRST..)),
            0..400,
        ),
        // Few ports far apart and a cursor near the end, so that chunks come and go and the numbers wrap.
        start in FIRST..,
    ) {
        let (mut ports, mut turn) = (ports(), 0);
        ports.next = start;
        let addresses = [address(201), address(202)];
        let mut model: BTreeMap<u8, Vec<LocalPort>> = BTreeMap::new();
        for (number, step, claimed) in steps {
            let lent = model.entry(number).or_default();
            match step {
                _ if claimed.is_some() => {
                    // Near the cursor, where it meets what was taken.
                    let port = claimed.unwrap_or(FIRST) % 64 + ports.next.min(65_000);
                    let local = LocalPort { address: address(201), port };
                    prop_assert_eq!(ports.claim(&target(number), local), !lent.contains(&local));
                    if !lent.contains(&local) {
                        lent.push(local);
                    }
                }
                Some(which) if !lent.is_empty() => {
                    let local = lent.swap_remove(which.index(lent.len()));
                    prop_assert!(ports.release(&target(number), local));
                    prop_assert!(!ports.release(&target(number), local));
                    ports.next = ports.next.wrapping_add(7_919).max(FIRST);
                }
                _ => {
                    let local = ports.take(&target(number), &addresses, &mut turn).unwrap();
                    prop_assert!(local.port >= FIRST && !lent.contains(&local));
                    lent.push(local);
                }
            }
            let used: usize = model.values().map(Vec::len).sum();
            prop_assert_eq!(ports.in_use(), used);
        }
        for pool in ports.pools.values() {
            let bits: u32 = pool.chunks.iter().flat_map(|chunk| chunk.used).map(u64::count_ones).sum();
            prop_assert_eq!(bits, u32::from(pool.used));
            prop_assert!(pool.used != 0 && pool.chunks.is_sorted_by_key(|chunk| chunk.number));
            prop_assert!(pool.chunks.iter().all(|chunk| chunk.used != [0; WORDS]));
        }
    }
}
