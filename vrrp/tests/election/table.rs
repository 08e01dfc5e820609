//! The transition table, cell by cell: `cells.txt` has a section for each situation and a line for each input.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use buoy_vrrp::{
    FaultCause, Observation, Preempt, Priority, Reading, RouterId, RouterSettings, StartState, Tracker,
};

use crate::bench::{Bench, DOWN, SECOND, SKEW, group, link_down, script, settings};

const CELLS: &str = include_str!("cells.txt");

const SITUATIONS: [&str; 17] = [
    "INIT created",
    "INIT delayed",
    "INIT pending",
    "BACKUP",
    "BACKUP second look",
    "BACKUP group waiting",
    "BACKUP resigned",
    "BACKUP nopreempt",
    "BACKUP yielding",
    "MASTER",
    "MASTER listening",
    "MASTER owner",
    "MASTER of a group",
    "FAULT",
    "FAULT holding",
    "STOP holding",
    "DELETED holding",
];

const INPUTS: [&str; 17] = [
    "0 from the master",
    "0 from a stranger",
    "lower",
    "equal, lower address",
    "equal, higher address",
    "higher",
    "owner",
    "timer",
    "fault set",
    "fault cleared",
    "pending set",
    "pending cleared",
    "item lost",
    "claim",
    "update",
    "stop",
    "remove",
];

/// The router `a` in a situation, half a second after it came about at the latest, with nothing left to do.
fn situation(name: &str) -> (Bench, RouterId) {
    let (mut bench, id) = Bench::with(settings("a", 1));
    match name {
        "INIT created" => {}
        "INIT delayed" => bench.election.start(bench.now, SECOND * 10),
        "INIT pending" => {
            let tracker = Tracker { target: script(), weight: 0, reverse: false };
            bench.election.update_router(id, settings("a", 1), vec![tracker], bench.now);
            bench.start();
        }
        "BACKUP" => {
            bench.start();
            bench.hear(id, 200, 9);
            bench.pass(SECOND / 2);
        }
        "BACKUP second look" => {
            bench.start();
            bench.hear(id, 200, 9);
            bench.oversleep(DOWN + SECOND);
        }
        "BACKUP group waiting" => {
            let b = bench.add(settings("b", 2));
            bench.election.set_groups(&[group("G", &["a", "b"])], bench.now);
            bench.start();
            bench.hear(id, 200, 9);
            bench.run(SECOND);
            bench.hear(b, 200, 9);
            bench.run(DOWN - SECOND);
        }
        "BACKUP resigned" => {
            bench.start();
            bench.hear(id, 200, 9);
            bench.pass(SECOND / 2);
            bench.hear(id, 0, 9);
            bench.pass(SECOND / 2);
        }
        "BACKUP nopreempt" => {
            let nopreempt = RouterSettings { preempt: Preempt::No, ..settings("a", 1) };
            bench.election.update_router(id, nopreempt, Vec::new(), bench.now);
            bench.start();
            bench.hear(id, 50, 9);
            bench.pass(SECOND / 2);
        }
        "BACKUP yielding" => {
            bench.lead();
            bench.hear(id, 200, 9);
            bench.pass(SECOND / 2);
        }
        "MASTER" => {
            bench.lead();
            bench.pass(SECOND / 2);
        }
        "MASTER owner" => {
            let owner =
                RouterSettings { priority: Priority::OWNER, start: StartState::Master, ..settings("a", 1) };
            bench.election.update_router(id, owner, Vec::new(), bench.now);
            bench.start();
            bench.pass(SECOND / 2);
        }
        "MASTER of a group" => {
            bench.add(settings("b", 2));
            bench.election.set_groups(&[group("G", &["a", "b"])], bench.now);
            bench.lead();
            bench.pass(SECOND / 2);
        }
        "MASTER listening" => {
            bench.lead();
            bench.oversleep(SECOND * 7);
            bench.forget();
            bench.pass(SECOND / 2);
        }
        "FAULT" => {
            bench.start();
            bench.election.set_fault(id, link_down(), true, bench.now);
        }
        "FAULT holding" => {
            let tracker = Tracker { target: script(), weight: 0, reverse: false };
            bench.election.update_router(id, settings("a", 1), vec![tracker], bench.now);
            let observation = |reading| Observation { reading, evidence: Arc::from("an exit status") };
            bench.election.observe(&script(), observation(Reading::Up), bench.now);
            bench.lead();
            bench.election.observe(&script(), observation(Reading::Down), bench.now);
            bench.pass(SECOND / 2);
        }
        "STOP holding" => {
            bench.lead();
            bench.election.stop(bench.now);
            bench.pass(SECOND / 2);
        }
        "DELETED holding" => {
            bench.lead();
            bench.election.remove_router(id, bench.now);
            bench.pass(SECOND / 2);
        }
        other => panic!("no situation {other}"),
    }
    bench.forget();
    (bench, id)
}

fn hand_in(bench: &mut Bench, id: RouterId, input: &str) {
    let now = bench.now;
    let pending = FaultCause::TrackerPending { target: script() };
    match input {
        "0 from the master" => bench.hear(id, 0, 9),
        "0 from a stranger" => bench.hear(id, 0, 7),
        "lower" => bench.hear(id, 50, 9),
        "equal, lower address" => bench.hear(id, 100, 1),
        "equal, higher address" => bench.hear(id, 100, 9),
        "higher" => bench.hear(id, 200, 9),
        "owner" => bench.hear(id, 255, 9),
        "timer" => {
            let end = now + bench.deadline(id).unwrap_or(SECOND);
            let others: Vec<RouterId> =
                bench.election.routers().map(|(i, _)| i).filter(|i| *i != id).collect();
            while bench.now < end {
                bench.pass(SECOND.min(end - bench.now));
                others.iter().for_each(|other| bench.hear(*other, 200, 9));
            }
            bench.election.handle_timeout(bench.now);
        }
        "fault set" => bench.election.set_fault(id, link_down(), true, now),
        "fault cleared" => bench.election.set_fault(id, link_down(), false, now),
        "pending set" => bench.election.set_fault(id, pending, true, now),
        "pending cleared" => {
            // As a first result does it; a router that does not track the script is not moved by it.
            let observation = Observation { reading: Reading::Up, evidence: Arc::from("exit status 0") };
            bench.election.observe(&script(), observation, now);
        }
        "item lost" => bench.election.handle_item_lost(id, &Arc::from("10.0.0.100/32"), now),
        "claim" => bench.election.handle_claim(id, crate::bench::address(100), [2, 0, 0, 0, 0, 9], now),
        "update" => {
            let mut changed = bench.election.router(id).expect("configured").settings().clone();
            changed.priority = Priority::new(150);
            bench.election.update_router(id, changed, bench.election.trackers(id).to_vec(), now);
            bench.election.handle_timeout(now);
        }
        "stop" => bench.election.stop(now),
        "remove" => bench.election.remove_router(id, now),
        other => panic!("no input {other}"),
    }
}

/// The state that results, the actions in order, and the time to the next deadline.
fn outcome(situation_name: &str, input: &str) -> String {
    let (mut bench, id) = situation(situation_name);
    hand_in(&mut bench, id, input);
    let actions = bench.actions();
    let Some(router) = bench.election.router(id) else {
        return format!("{}; then nothing", actions.join(", "));
    };
    let state = format!("{}{}", router.state(), if router.holds_addresses() { "+" } else { "" });
    let actions = if actions.is_empty() { "-".to_owned() } else { actions.join(", ") };
    let deadline = bench.deadline(id).map_or("never".to_owned(), in_words);
    format!("{state}; {actions}; {deadline}")
}

fn in_words(time: Duration) -> String {
    let marks = [
        (DOWN, "down"),
        (SKEW, "skew"),
        (SECOND, "interval"),
        (SECOND + SKEW, "interval+skew"),
        (SECOND * 5 / 4, "listen"),
    ];
    let known = marks.iter().find(|(mark, _)| *mark == time);
    known.map_or_else(|| format!("{} ms", time.as_secs_f64() * 1000.0), |(_, word)| (*word).to_owned())
}

fn cells() -> BTreeMap<(&'static str, &'static str), &'static str> {
    let mut cells = BTreeMap::new();
    let mut section = "";
    for line in CELLS.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
        match line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            Some(name) => section = name,
            None => {
                let (input, expected) = line.split_once("->").expect("a cell is INPUT -> OUTCOME");
                let expected = expected.split_once('#').map_or(expected, |(expected, _)| expected);
                let twice = cells.insert((section, input.trim()), expected.trim());
                assert_eq!(twice, None, "[{section}] {input} is there twice");
            }
        }
    }
    cells
}

#[test]
fn every_situation_answers_every_input_as_the_table_says() {
    let mut cells = cells();
    let mut wrong = Vec::new();
    for situation in SITUATIONS {
        for input in INPUTS {
            let expected = cells.remove(&(situation, input)).unwrap_or("nothing written down");
            let actual = outcome(situation, input);
            if actual != expected {
                wrong.push(format!("[{situation}] {input}\n  expected {expected}\n  actual   {actual}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cells.is_empty(), "cells for nothing: {:?}", cells.keys());
}
