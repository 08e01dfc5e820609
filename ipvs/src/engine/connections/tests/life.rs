//! How entries live and end.

use super::*;
use crate::engine::scheduler::{Counted, ServerIndex};

#[test]
fn a_connection_ends_at_the_tick_of_its_timeout() {
    for millis in [100, 200, 3_000, 60_000, 900_000, 1_638_300, 1_638_400, 86_400_000] {
        let timeout = Duration::from_millis(millis);
        let mut lab = Lab::new(10);
        lab.now += Duration::from_millis(500);
        let connection = lab.insert(numbered(0));
        lab.touch(connection, timeout);
        let last = timeout - Duration::from_millis(1);
        assert_eq!(lab.pass(last), [], "{millis}");
        assert_eq!(lab.table.get(connection).expect("an entry").remaining(lab.tick()).as_millis(), 100);
        assert_eq!(lab.pass(Duration::from_millis(1)), [(0, connection, Some(Cause::TimedOut))], "{millis}");
        assert_eq!((lab.table.len(), lab.table.poll_timeout()), (0, None));
    }
}

#[test]
fn packets_put_the_end_off_and_closing_brings_it_near() {
    let mut lab = Lab::new(10);
    let connection = lab.insert(numbered(0));
    for _ in 0..100 {
        lab.touch(connection, seconds(900));
        assert_eq!(lab.pass(seconds(899)), []);
    }
    assert_eq!(lab.table.get(connection).expect("an entry").idle(lab.tick()), seconds(899));
    lab.touch(connection, seconds(10));
    assert_eq!(lab.pass(seconds(900)), [(10, connection, Some(Cause::TimedOut))]);
}

#[test]
fn a_template_outlives_its_connections_and_then_has_a_minute_for_good() {
    let mut lab = Lab::new(10);
    let template = lab.insert(template("10.1.0.0"));
    lab.touch(template, seconds(2));
    let connection = lab.insert_under(numbered(0), template);
    lab.touch(connection, seconds(65));
    let passed = lab.pass(seconds(200));
    assert_eq!(
        passed,
        [
            (2, template, None),
            (62, template, None),
            (65, connection, Some(Cause::TimedOut)),
            (122, template, Some(Cause::TimedOut))
        ]
    );
}

#[test]
fn a_template_begins_anew_with_each_connection_and_not_with_packets() {
    let mut lab = Lab::new(10);
    let template = lab.insert(template("10.1.0.0"));
    lab.touch(template, seconds(100));
    lab.pass(seconds(50));
    let connection = lab.insert_under(numbered(0), template);
    assert_eq!(lab.table.get(template).expect("an entry").remaining(lab.tick()), seconds(100));
    lab.pass(seconds(1));
    lab.touch(connection, seconds(1));
    assert_eq!(lab.table.get(template).expect("an entry").remaining(lab.tick()), seconds(99));
    // The control connection of FTP lives by its own packets.
    let data = lab.insert_under(numbered(1), connection);
    assert_eq!(lab.table.get(connection).expect("an entry").remaining(lab.tick()), seconds(1));
    assert_eq!(lab.table.get(connection).map(Connection::controls), Some(1));
    assert!(lab.table.remove(connection, lab.tick()).is_none(), "it controls another");
    assert!(lab.table.remove(data, lab.tick()).is_some());
    assert!(lab.table.remove(connection, lab.tick()).is_some());
}

#[test]
fn what_is_forced_to_end_takes_its_template_with_it_unless_that_is_assured() {
    for assured in [false, true] {
        let mut lab = Lab::new(10);
        let template = lab.insert(template("10.1.0.0"));
        if assured {
            lab.table.get_mut(template).expect("an entry").assure();
        }
        let control = lab.insert_under(numbered(0), template);
        let data = lab.insert_under(numbered(1), control);
        lab.table.expire_now(data, lab.tick());
        let all = [data, control, template].map(|connection| (0, connection, Some(Cause::Forced)));
        let gone = if assured { 2 } else { 3 };
        assert_eq!(lab.pass(seconds(0)), all[..gone], "assured: {assured}");
    }
}

#[test]
fn what_ends_by_itself_or_is_removed_leaves_its_template() {
    let mut lab = Lab::new(10);
    let template = lab.insert(template("10.1.0.0"));
    let first = lab.insert_under(numbered(0), template);
    let second = lab.insert_under(numbered(1), template);
    assert!(lab.table.remove(first, lab.tick()).is_some());
    assert_eq!(lab.pass(seconds(10)), [(3, second, Some(Cause::TimedOut))]);
    assert_eq!(lab.table.get(template).map(Connection::controls), Some(0));
}

#[test]
fn a_controller_that_is_to_end_waits_for_those_that_it_controls() {
    let mut lab = Lab::new(10);
    let template = lab.insert(template("10.1.0.0"));
    let connection = lab.insert_under(numbered(0), template);
    lab.touch(connection, seconds(900));
    lab.table.expire_now(template, lab.tick());
    assert_eq!(lab.pass(seconds(59)), [(0, template, None)]);
    assert_eq!(lab.table.get(template).map(Connection::timeout), Some(seconds(60)));
}

#[test]
fn one_call_does_not_look_at_a_million_entries() {
    let mut lab = Lab::new(10_000);
    let inserted: Vec<_> = (0..10_000).map(|number| lab.insert(numbered(number))).collect();
    lab.now += seconds(1);
    for connection in inserted {
        lab.touch(connection, seconds(900));
    }
    lab.now += seconds(3);
    let mut calls = 0;
    while lab.table.poll_timeout().is_some_and(|next| next <= lab.now) {
        assert!(lab.table.expire(lab.now).is_none());
        calls += 1;
    }
    assert!((10_000 / 256..10_000 / 128).contains(&calls), "{calls}");
    assert_eq!(lab.table.len(), 10_000);
    lab.table.check().expect("a sound table");
}

#[test]
fn pages_meet_what_stays_once_while_others_come_and_go() {
    let mut lab = Lab::new(10_000);
    let inserted: Vec<_> = (0..3000).map(|number| lab.insert(numbered(number))).collect();
    let (mut met, mut from, mut number) = (Vec::new(), Some(Cursor::default()), 3000);
    while let Some(cursor) = from {
        let (page, next) = lab.table.page(cursor, 100);
        met.extend(page.map(|(connection, _)| connection));
        from = next;
        // One goes that was met, one that was not, and others come.
        for gone in [number - 3000, 5999 - number] {
            lab.table.remove(inserted[gone as usize], lab.tick());
        }
        lab.insert(numbered(number));
        number += 1;
    }
    let stayed: Vec<_> = inserted.iter().filter(|c| lab.table.get(**c).is_some()).collect();
    assert!(stayed.len() > 2900);
    for connection in stayed {
        assert_eq!(met.iter().filter(|there| *there == connection).count(), 1, "{connection:?}");
    }
    assert_eq!(lab.table.iter().count(), lab.table.len());
    let (_, next) = lab.table.page(Cursor::default(), 0);
    assert_ne!(next, Some(Cursor::default()));
}

#[test]
fn a_server_can_be_taken_from_its_connections_page_by_page() {
    let mut lab = Lab::new(1000);
    let [mine, others] = [ServerIndex::new(1), ServerIndex::new(2)];
    for number in 0..1000 {
        lab.insert(numbered(number).with_server(if number % 4 == 0 { mine } else { others }));
    }
    let (mut from, mut unbound) = (Some(Cursor::default()), Vec::new());
    while let Some(cursor) = from {
        from = lab.table.unbind_page(cursor, 64, mine, |index, counted| unbound.push((index, counted)));
    }
    assert_eq!(unbound.len(), 250);
    for (index, counted) in unbound {
        assert_eq!(
            (lab.table.get(index).and_then(Connection::server_index), counted),
            (None, Counted::Inactive)
        );
    }
    assert_eq!(lab.table.iter().filter(|(_, c)| c.server_index() == Some(others)).count(), 750);
}

#[test]
fn a_flush_ends_all_but_assured_templates_and_a_second_one_these() {
    let mut lab = Lab::new(1000);
    let templates = ["10.1.0.0", "10.1.1.0"].map(|client| lab.insert(template(client)));
    lab.table.get_mut(templates[0]).expect("an entry").assure();
    for number in 0..100 {
        let connection = lab.insert_under(numbered(number), templates[number as usize % 2]);
        lab.touch(connection, seconds(900));
    }
    for left in [1, 0] {
        let mut from = Some(Cursor::default());
        while let Some(cursor) = from {
            from = lab.table.expire_page(cursor, 10, lab.tick(), |_| true);
        }
        assert!(lab.pass(seconds(0)).iter().all(|(_, _, cause)| *cause == Some(Cause::Forced)));
        assert_eq!(lab.table.len(), left);
    }
}
