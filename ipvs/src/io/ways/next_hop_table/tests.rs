use super::*;

fn key(host: u32) -> Key {
    Key { interface: 2, neighbour: Address::v4(host), limit: None }
}

fn next_hop(last: u8) -> NextHop {
    NextHop { interface: 2, destination: [2, 0, 0, 0, 0, last], source: [2; 6], mtu: 1500 }
}

fn held(table: &mut NextHopTable, host: u32) -> NextHopIndex {
    table.hold(key(host)).unwrap().0
}

fn writes(table: &mut NextHopTable) -> Vec<(NextHopIndex, Option<NextHop>)> {
    let next = || {
        let write = table.next_write()?;
        table.written(write.0);
        Some(write)
    };
    std::iter::from_fn(next).collect()
}

#[test]
fn a_place_that_is_held_is_nobody_elses() {
    let mut table = NextHopTable::new(2);
    let first = held(&mut table, 1);
    let second = held(&mut table, 2);
    assert_ne!(first, second);
    assert_eq!(table.hold(key(3)), None);
    assert_eq!(table.refused(), 1);
    for _ in 0..3 {
        table.end_period();
    }
    assert_eq!((held(&mut table, 1), held(&mut table, 2)), (first, second));
    assert_eq!(table.holders(first), 2);

    table.release(first);
    assert_eq!(table.hold(key(3)), None);
    table.release(first);
    assert_eq!(held(&mut table, 3), first);
    assert_eq!(table.hold(key(1)), None);
}

#[test]
fn a_place_that_nobody_uses_for_a_period_is_emptied_and_given_back() {
    let mut table = NextHopTable::new(8);
    let (place, _) = table.place_of(key(1)).unwrap();
    let (index, _) = table.use_place(place).unwrap();
    table.set(index, Some(next_hop(1)));
    table.end_period();
    assert_eq!(table.len(), 1);
    assert_eq!(writes(&mut table), [(index, Some(next_hop(1)))]);

    table.use_place(place).unwrap();
    table.end_period();
    assert_eq!(table.len(), 1);
    table.end_period();
    assert!(table.is_empty());
    assert_eq!(writes(&mut table), [(index, None)]);
    assert_eq!(table.use_place(place), None);
}

#[test]
fn a_full_table_gives_away_what_was_not_looked_up_lately() {
    let mut table = NextHopTable::new(3);
    let places = [1, 2, 3].map(|host| table.place_of(key(host)).unwrap().0);
    table.end_period();
    table.use_place(places[0]).unwrap();
    table.use_place(places[2]).unwrap();
    let (fourth, found) = table.place_of(key(4)).unwrap();
    assert_eq!((fourth.index, found), (places[1].index, Found::New));
    // Whoever remembers the place as the second's learns that it is so no more.
    assert_eq!(table.use_place(places[1]), None);
    assert!(table.use_place(fourth).is_some());
    assert_eq!(table.len(), 3);
}

#[test]
fn changes_before_a_write_are_one_write_and_those_that_undo_each_other_none() {
    let mut table = NextHopTable::new(2);
    let index = held(&mut table, 1);
    assert!(table.set(index, Some(next_hop(1))));
    assert!(table.set(index, Some(next_hop(2))));
    assert!(!table.set(index, Some(next_hop(2))));
    assert_eq!(writes(&mut table), [(index, Some(next_hop(2)))]);
    table.set(index, None);
    table.set(index, Some(next_hop(2)));
    assert_eq!(writes(&mut table), []);
    table.set(index, Some(next_hop(3)));
    assert_eq!(writes(&mut table), [(index, Some(next_hop(3)))]);
}

#[test]
fn a_write_that_failed_is_the_next_again() {
    let mut table = NextHopTable::new(2);
    let index = held(&mut table, 1);
    table.set(index, Some(next_hop(1)));
    assert_eq!(table.next_write(), Some((index, Some(next_hop(1)))));
    table.set(index, Some(next_hop(2)));
    assert_eq!(table.next_write(), Some((index, Some(next_hop(2)))));
    table.written(index);
    assert_eq!(table.next_write(), None);
}

#[test]
fn what_a_former_process_has_written_stays_until_it_is_released() {
    let mut table = NextHopTable::new(3);
    assert!(table.adopt(NextHopIndex(1), next_hop(9)));
    assert!(!table.adopt(NextHopIndex(1), next_hop(9)) && !table.adopt(NextHopIndex(3), next_hop(9)));
    let others = [held(&mut table, 1), held(&mut table, 2)];
    assert!(!others.contains(&NextHopIndex(1)));
    table.end_period();
    assert_eq!((table.hold(key(3)), writes(&mut table)), (None, vec![]));
    table.release(NextHopIndex(1));
    table.release(NextHopIndex(1));
    assert_eq!(writes(&mut table), [(NextHopIndex(1), None)]);
    assert_eq!((held(&mut table, 3), table.hold(key(4))), (NextHopIndex(1), None));
    assert!(!table.adopt(NextHopIndex(0), next_hop(9)));
}
