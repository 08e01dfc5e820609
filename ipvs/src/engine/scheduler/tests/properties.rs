use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// How many connections each server got, in the order in which they were added.
fn counts(lab: &mut Lab, connection: Connection, connections: usize) -> Vec<usize> {
    let trace = lab.connect(connection, connections);
    let of = |number: u8| trace.chars().filter(|name| *name == char::from(b'A' + number)).count();
    (0..u8::try_from(lab.servers.len()).expect("few servers")).map(of).collect()
}

/// Whether the shares of the connections are those of the weights, give or take so many connections each.
fn follow(counts: &[usize], weights: &[u32], tolerance: f64) -> bool {
    let connections = counts.iter().sum::<usize>() as f64;
    let weight = weights.iter().sum::<u32>();
    counts.iter().zip(weights).all(|(count, own)| {
        (*count as f64 - connections * f64::from(*own) / f64::from(weight)).abs() <= tolerance
    })
}

/// A server that has more than the other is chosen when both choices are it, and both are random.
#[test]
fn twos_takes_the_less_loaded_of_two() {
    for (weights, share) in [([100, 100], 0.25), ([300, 100], 0.5625), ([100, 300], 0.0625)] {
        let mut lab = Lab::new(Scheduler::Twos, &weights);
        (0..4).for_each(|_| lab.server('A').bind(Counted::Inactive));
        let chosen = (0..10_000).filter(|_| lab.choice() == Some('A')).count();
        assert!((chosen as f64 - 10_000.0 * share).abs() < 250.0, "{weights:?}: {chosen}");
    }
}

fn any_scheduler() -> impl Strategy<Value = Scheduler> {
    proptest::sample::select(Scheduler::ALL.to_vec())
}

proptest! {
    #[test]
    fn rr_is_fair_whatever_the_weights(weights in vec(1_u32..9, 1..8), rounds in 1_usize..5) {
        let counts = counts(&mut Lab::new(Scheduler::Rr, &weights), Udp, rounds * weights.len());
        prop_assert!(counts.iter().all(|count| *count == rounds), "{:?}", counts);
    }

    #[test]
    fn every_cycle_of_wrr_has_exactly_the_weights(
        weights in vec(0_u32..20, 1..8).prop_filter("some weight", |w| w.iter().any(|w| *w > 0)),
        unit in 1_u32..1000,
        lead in 0_usize..50,
    ) {
        let scaled: Vec<_> = weights.iter().map(|weight| weight * unit).collect();
        let divisor = weights.iter().copied().reduce(wrr::greatest_common_divisor).unwrap_or(1);
        let cycle: Vec<_> = weights.iter().map(|weight| (weight / divisor) as usize).collect();
        let mut lab = Lab::new(Scheduler::Wrr, &scaled);
        lab.connect(Udp, lead);
        prop_assert_eq!(counts(&mut lab, Udp, cycle.iter().sum()), cycle);
    }

    #[test]
    fn weighted_least_connections_follow_the_weights(weights in vec(1_u32..20, 1..8)) {
        let servers = weights.len() as f64;
        for (scheduler, connection) in [(Scheduler::Wlc, Udp), (Scheduler::Wlc, Tcp), (Scheduler::Sed, Tcp)] {
            let counts = counts(&mut Lab::new(scheduler, &weights), connection, 1000);
            prop_assert!(follow(&counts, &weights, servers), "{}: {:?}", scheduler, counts);
        }
    }

    #[test]
    fn who_has_no_weight_or_is_overloaded_is_not_chosen(
        scheduler in any_scheduler(),
        weights in vec(0_u32..4, 1..8),
        overloaded in vec(any::<bool>(), 8),
        (flag_1, flag_2) in any::<(bool, bool)>(),
        sources in vec(any::<u32>(), 1..20),
    ) {
        let mut lab = Lab::with_flags(scheduler, &weights, flag_1, flag_2);
        let names = || "ABCDEFGH".chars().take(weights.len()).zip(&overloaded);
        lab.overload(&names().filter(|(_, overloaded)| **overloaded).map(|(name, _)| name).collect::<String>());
        let usable = names().zip(&weights).any(|((_, overloaded), weight)| *weight > 0 && !overloaded);
        for source in sources {
            lab.request.source = Address::v4(source);
            lab.request.destination = Address::v4(!source);
            let chosen = lab.pick();
            if let Some(index) = chosen {
                prop_assert!(lab.server(letter(index)).is_usable(), "{}", scheduler);
            }
            // The hashes have one server for each client, save for fallbacks.
            let always = match scheduler {
                Scheduler::Dh => false,
                Scheduler::Sh | Scheduler::Mh | Scheduler::Wsh | Scheduler::Wdh => flag_1,
                _ => true,
            };
            if always {
                prop_assert_eq!(chosen.is_some(), usable, "{}", scheduler);
            }
        }
    }

    #[test]
    fn with_all_overloaded_there_is_no_server_and_afterwards_there_is(
        scheduler in any_scheduler(),
        weights in vec(1_u32..=2_147_483_647, 1..8),
        connections in 0_usize..9,
    ) {
        let mut lab = Lab::with_flags(scheduler, &weights, true, false);
        lab.connect(Udp, connections);
        let all: String = "ABCDEFGH".chars().take(weights.len()).collect();
        lab.overload(&all);
        lab.request.destination = address("10.9.0.2");
        prop_assert_eq!(lab.connect(Udp, 3), "---", "{}", scheduler);
        lab.limit(0);
        prop_assert!(lab.choice().is_some(), "{}", scheduler);
    }

    #[test]
    fn wsh_chooses_alike_whatever_the_history(weights in vec(0_u32..5, 2..9), source in any::<u32>()) {
        let mut lab = Lab::new(Scheduler::Wsh, &weights);
        let chosen = lab.choice_for(Address::v4(source));
        lab.remove('A');
        lab.choice();
        lab.restore('A');
        lab.set_weight('B', 99);
        lab.set_weight('B', weights[1].into());
        prop_assert_eq!(lab.choice(), chosen);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn hashes_follow_the_weights(weights in vec(1_u32..6, 1..6)) {
        for scheduler in [Scheduler::Mh, Scheduler::Wsh] {
            let mut lab = Lab::new(scheduler, &weights);
            let mut chosen = vec![0; weights.len()];
            for client in 0..4000 {
                chosen[number(lab.choice_for(Address::v4(0x0a64_0000 + client)).expect("a server"))] += 1;
            }
            prop_assert!(follow(&chosen, &weights, 150.0), "{}: {:?}", scheduler, chosen);
        }
    }

    /// Without load to compare, the first of two choices wins, so that each server gets what its weight says.
    #[test]
    fn twos_follows_the_weights(weights in vec(20_u32..60, 1..6)) {
        let mut lab = Lab::new(Scheduler::Twos, &weights);
        let mut chosen = vec![0; weights.len()];
        for _ in 0..4000 {
            chosen[number(lab.choice().expect("a server"))] += 1;
        }
        // The first in the list has one chance more of at least 20.
        prop_assert!(follow(&chosen, &weights, 250.0), "{:?}", chosen);
    }

    #[test]
    fn mh_moves_few_more_than_it_must(count in 2_usize..20, gone in any::<proptest::sample::Index>()) {
        let mut lab = Lab::new(Scheduler::Mh, &vec![1; count]);
        let clients = || (0..4000).map(|number| Address::v4(0x0a40_0000 + number));
        let before: Vec<_> = clients().map(|client| lab.choice_for(client)).collect();
        let gone = char::from(b'A' + u8::try_from(gone.index(count)).expect("few servers"));
        lab.remove(gone);
        let moved = clients().zip(before).filter(|(client, before)| {
            *before != Some(gone) && lab.choice_for(*client) != *before
        });
        let moved = moved.count();
        prop_assert!(moved < 4000 / 32, "{} of {} servers", moved, count);
    }
}
