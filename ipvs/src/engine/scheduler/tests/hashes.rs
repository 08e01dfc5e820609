use std::collections::BTreeMap;

use super::*;

/// Clients of which each has an address of its own.
fn clients(count: u32) -> impl Iterator<Item = Address> {
    (0..count).map(|number| Address::v4(0x0a40_0000 + number * 7))
}

/// Where each client goes.
fn choices(lab: &mut Lab) -> Vec<Option<char>> {
    clients(20_000).map(|client| lab.choice_for(client)).collect()
}

fn moved(before: &[Option<char>], after: &[Option<char>]) -> usize {
    before.iter().zip(after).filter(|(before, after)| before != after).count()
}

fn tally(places: impl Iterator<Item = char>) -> BTreeMap<char, usize> {
    places.fold(BTreeMap::new(), |mut tally, place| {
        *tally.entry(place).or_default() += 1;
        tally
    })
}

fn table(lab: &Lab) -> String {
    match &lab.scheduling.state {
        State::Sh(state) => state.buckets().iter().flatten().map(|index| letter(*index)).collect(),
        State::Mh(state) => state.table().iter().map(|index| letter(*index)).collect(),
        other => panic!("{other:?} has no table"),
    }
}

#[test]
fn dh_deals_the_buckets_out_whatever_the_weights_and_edits_change_nothing() {
    // Buckets 224 and 50 of a list of three.
    let mut lab = Lab::new(Scheduler::Dh, &[1, 9, 1]);
    assert_eq!((224 % 3, lab.choice()), (2, Some('A')));
    lab.request.destination = address("192.0.2.1");
    assert_eq!((50 % 3, lab.choice()), (2, Some('A')));
    lab.set_weight('A', 0);
    assert_eq!(lab.choice(), None);
    lab.set_weight('A', 7);
    assert_eq!(lab.choice(), Some('A'));
    lab.remove('C');
    assert_eq!(lab.choice(), Some('B'));
    lab.overload("B");
    assert_eq!(lab.choice(), None);
    lab.remove('A');
    lab.remove('B');
    assert_eq!(lab.choice(), None);
}

#[test]
fn sh_gives_out_its_buckets_in_runs() {
    for (weights, runs) in [
        (&[1, 1, 1][..], vec![('C', 1), ('B', 1), ('A', 1), ('C', 1)]),
        (&[1, 2, 5], vec![('C', 5), ('B', 2), ('A', 1), ('C', 5)]),
        (&[2, 0, 5], vec![('C', 5), ('B', 1), ('A', 2), ('C', 5)]),
        (&[200, 100, 10], vec![('C', 10), ('B', 100), ('A', 146)]),
        (&[1, 2_147_483_647], vec![('B', 256)]),
    ] {
        let table = table(&Lab::new(Scheduler::Sh, weights));
        let begin: String = runs.iter().map(|(name, count)| name.to_string().repeat(*count)).collect();
        assert_eq!(table.len(), 256);
        assert!(table.starts_with(&begin), "{weights:?}: {table}");
    }
}

#[test]
fn sh_finds_the_buckets_of_the_kernel() {
    for (source, port, bucket) in [
        ("10.1.0.9", None, 188),
        ("10.1.0.9", Some(3001), 4),
        ("192.0.2.1", None, 50),
        ("2001:db8::1", None, 63),
    ] {
        let mut lab = Lab::with_flags(Scheduler::Sh, &[1, 2, 5], false, port.is_some());
        lab.request.source_port = port.unwrap_or(1);
        let expected = table(&lab).chars().nth(bucket);
        assert_eq!(lab.choice_for(address(source)), expected, "{source}");
    }
}

/// The first server that takes something when buckets are tried from twice the first one on.
#[test]
fn sh_looks_further_with_its_fallback_only() {
    for (weights, overloaded) in
        [(&[1, 1, 1][..], "A"), (&[2, 0, 5], ""), (&[2, 0, 0, 5], "D"), (&[1, 2, 5], "CB")]
    {
        let mut plain = Lab::with_flags(Scheduler::Sh, weights, false, false);
        let mut fallback = Lab::with_flags(Scheduler::Sh, weights, true, false);
        plain.overload(overloaded);
        fallback.overload(overloaded);
        let table: Vec<_> = table(&plain).chars().collect();
        let usable = |name: &char| weights[number(*name)] > 0 && !overloaded.contains(*name);
        for client in clients(500) {
            let bucket = client.folded().wrapping_mul(0x61c8_8647) as usize >> 24;
            let first = Some(table[bucket]).filter(usable);
            let further = || (0..256).map(|o| table[(bucket + (o + bucket) % 256) % 256]).find(usable);
            assert_eq!(plain.choice_for(client), first);
            assert_eq!(fallback.choice_for(client), first.or_else(further));
        }
    }
}

#[test]
fn mh_has_the_tables_of_the_kernel() {
    for (weights, begin, shares) in [
        ([1, 1, 1], "BBACCACCCAABABACCCCACBABABBCCACB", [1364, 1364, 1365]),
        ([7, 7, 7], "BBACCACCCAABABACCCCACBABABBCCACB", [1364, 1364, 1365]),
        ([1, 2, 5], "BBCCCCCCCCABCBACCCCCCBCBABBCCCCB", [511, 1022, 2560]),
    ] {
        let table = table(&Lab::new(Scheduler::Mh, &weights));
        assert!(table.starts_with(begin), "{weights:?}: {table:.40}");
        assert_eq!(tally(table.chars()).into_values().collect::<Vec<_>>(), shares, "{weights:?}");
    }
}

#[test]
fn mh_finds_the_places_of_the_kernel() {
    for (port, hash) in [(None, 0xc24c_a74b_usize), (Some(3001), 0x462a_75b1)] {
        let mut lab = Lab::with_flags(Scheduler::Mh, &[1, 2, 5], false, port.is_some());
        let expected = table(&lab).chars().nth(hash % 4093);
        assert_eq!(lab.choice(), expected);
        lab.request.source_port = port.unwrap_or(1);
        assert_eq!(lab.choice(), expected);
    }
}

#[test]
fn mh_moves_nobody_for_a_weight_of_zero() {
    let mut lab = Lab::new(Scheduler::Mh, &[1, 2, 5]);
    let mut fallback = Lab::with_flags(Scheduler::Mh, &[1, 2, 5], true, false);
    let (with_all, before) = (table(&lab), choices(&mut lab));
    lab.set_weight('C', 0);
    fallback.set_weight('C', 0);
    assert_eq!((table(&lab), table(&fallback)), (with_all.clone(), with_all));
    for ((client, before), fallback) in clients(20_000).zip(before).zip(choices(&mut fallback)) {
        let expected = before.filter(|name| *name != 'C');
        assert_eq!(lab.choice_for(client), expected);
        assert!(fallback.is_some_and(|name| name != 'C') && (expected.is_none() || fallback == expected));
    }
}

#[test]
fn mh_hashes_once_more_for_each_place_of_its_fallback() {
    let mut lab = Lab::with_flags(Scheduler::Mh, &[300, 1, 7, 64], true, false);
    lab.overload("AD");
    let table: Vec<_> = table(&lab).chars().collect();
    let place = |client: Address, offset: u32| {
        hash::siphash_1_3(client.folded().wrapping_add(offset), 2_654_435_761) % 4093
    };
    for client in clients(200) {
        let mut places = (0..4093).map(|o| place(client, (o + place(client, 0)) % 4093));
        let further = places.find(|place| "BC".contains(table[*place as usize]));
        let first = Some(place(client, 0)).filter(|place| "BC".contains(table[*place as usize]));
        let expected = first.or(further).map(|place| table[place as usize]);
        assert_eq!(lab.choice_for(client), expected);
    }
}

#[test]
fn mh_scales_large_weights_down_and_leaves_nobody_without_a_place() {
    let shares = tally(table(&Lab::new(Scheduler::Mh, &[300, 1, 7, 64])).chars());
    // 300, 1, 7 and 64 are 37, 1, 1 and 8 places in turn.
    assert_eq!(shares.values().sum::<usize>(), 4093);
    let expected = [('A', 37), ('B', 1), ('C', 1), ('D', 8)];
    for (name, turns) in expected {
        assert!(shares[&name].abs_diff(4093 * turns / 47) <= turns, "{shares:?}");
    }
    assert_eq!(table(&Lab::new(Scheduler::Mh, &[0, 0])), "");
    assert_eq!(Lab::new(Scheduler::Mh, &[0, 0]).choice(), None);
}

#[test]
fn mh_with_more_servers_than_places_keeps_to_those_that_are_there() {
    let mut lab = Lab::new(Scheduler::Mh, &[]);
    let settings = |number: u32| {
        let id = RealServerId { address: Address::v4(0x0a02_0000 + number).into(), port: 80 };
        RealServer::new(id, Forwarding::Masquerade, Weight::ONE)
    };
    lab.servers = (0..5000).map(|number| Server::new(&settings(number))).collect();
    lab.order = (0..5000).rev().map(ServerIndex::new).collect();
    lab.scheduling.added(Pool::new(&lab.order, &lab.servers));
    lab.order.remove(4999);
    lab.scheduling.removed(Pool::new(&lab.order, &lab.servers), 4999);
    for client in clients(5000) {
        lab.request.source = client;
        let chosen = lab.pick().expect("a server");
        assert!((1..=4093).contains(&chosen.get()), "{chosen:?}");
    }
}

#[test]
fn mh_hashes_servers_of_the_other_family_as_the_kernel_does() {
    let pick = |family, address: &str, other: &str| {
        let id = |text: &str| RealServerId { address: text.parse().expect("an address"), port: 80 };
        let server =
            |text: &str| Server::new(&RealServer::new(id(text), Forwarding::Masquerade, Weight::ONE));
        let servers = [server(address), server(other)];
        let order = [ServerIndex::new(0), ServerIndex::new(1)];
        match Scheduling::new(Scheduler::Mh, family, Pool::new(&order, &servers), 0, Instant::now()).state {
            State::Mh(state) => state.table().to_vec(),
            other => panic!("{other:?}"),
        }
    };
    let (v4, v6) = (Family::V4, Family::V6);
    assert_eq!(pick(v4, "2001:db8::1", "10.0.0.1"), pick(v4, "32.1.13.184", "10.0.0.1"));
    assert_eq!(pick(v6, "10.0.0.2", "2001:db8::1"), pick(v6, "a00:2::", "2001:db8::1"));
}

#[test]
fn of_ten_servers_one_that_goes_moves_few_clients_with_mh_fewest_with_wsh_and_most_with_sh() {
    let moved = |scheduler, name| {
        let mut lab = Lab::new(scheduler, &[1; 10]);
        let before = choices(&mut lab);
        let its = before.iter().filter(|choice| **choice == Some(name)).count();
        lab.remove(name);
        moved(&before, &choices(&mut lab)) - its
    };
    for name in ['A', 'E', 'J'] {
        // Clients of other servers, of 20,000.
        assert!(moved(Scheduler::Mh, name) < 500, "{name}: {}", moved(Scheduler::Mh, name));
        assert_eq!(moved(Scheduler::Wsh, name), 0, "{name}");
        assert!(moved(Scheduler::Sh, name) > 10_000, "{name}: {}", moved(Scheduler::Sh, name));
    }
}

#[test]
fn wsh_and_wdh_follow_weights_exactly_and_move_only_whom_they_must() {
    let mut lab = Lab::new(Scheduler::Wsh, &[1, 2, 5, 0]);
    let before = choices(&mut lab);
    let shares = tally(before.iter().flatten().copied());
    for (name, share) in [('A', 2_500), ('B', 5_000), ('C', 12_500)] {
        assert!(shares[&name].abs_diff(share) < 300, "{shares:?}");
    }
    lab.set_weight('B', 4);
    let heavier = choices(&mut lab);
    assert!(before.iter().zip(&heavier).all(|(before, after)| before == after || *after == Some('B')));
    lab.set_weight('B', 0);
    let without = choices(&mut lab);
    assert!(heavier.iter().zip(&without).all(|(with, without)| with == without || *with == Some('B')));
    lab.set_weight('B', 2);
    assert_eq!(choices(&mut lab), before);
    lab.remove('A');
    lab.restore('A');
    assert_eq!(choices(&mut lab), before);

    let mut lab = Lab::new(Scheduler::Wdh, &[1, 2, 5, 0]);
    let by_destination: Vec<_> = clients(20_000)
        .map(|destination| {
            lab.request.destination = destination;
            lab.choice()
        })
        .collect();
    assert_eq!(by_destination, before);
}

#[test]
fn wsh_leaves_clients_of_an_overloaded_server_alone_unless_told_otherwise() {
    let mut plain = Lab::new(Scheduler::Wsh, &[1, 1, 1]);
    let mut fallback = Lab::with_flags(Scheduler::Wsh, &[1, 1, 1], true, false);
    let before = choices(&mut plain);
    assert_eq!(choices(&mut fallback), before);
    plain.overload("B");
    fallback.overload("B");
    for ((client, before), fallback) in clients(20_000).zip(before).zip(choices(&mut fallback)) {
        let expected = before.filter(|name| *name != 'B');
        assert_eq!(plain.choice_for(client), expected);
        assert!(fallback.is_some_and(|name| name != 'B') && (expected.is_none() || fallback == expected));
    }
}

#[test]
fn ports_count_with_flag_2_only() {
    for scheduler in [Scheduler::Sh, Scheduler::Mh, Scheduler::Wsh] {
        for flag_2 in [false, true] {
            let mut lab = Lab::with_flags(scheduler, &[1, 1, 1], false, flag_2);
            let choices = (1..100).map(|port| {
                lab.request.source_port = port;
                lab.choice().unwrap_or('-')
            });
            assert_eq!(tally(choices).len(), if flag_2 { 3 } else { 1 }, "{scheduler}");
        }
    }
}
