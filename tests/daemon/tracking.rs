//! What is tracked drives priorities and faults of a running daemon.

use std::fs;
use std::path::Path;
use std::process::Command;

use nix::sys::fanotify::{EventFFlags, Fanotify, InitFlags, MarkFlags, MaskFlags};

use crate::bench::{Conf, Director, SOON, alone};
use crate::lab::wait_until;

fn wait_for_priority(director: &Director, priority: u8) {
    wait_until(
        SOON,
        || director.first().priority == priority,
        || format!("priority {priority}: {:#?}", director.first()),
    );
}

fn wait_for_fault(director: &Director, text: &str) {
    let faulted = || director.first().faults.iter().any(|fault| fault.contains(text));
    wait_until(SOON, faulted, || format!("{text}: {:#?}", director.first()));
    director.wait_for_state("FAULT");
}

#[test]
fn a_script_that_fails_or_takes_too_long_is_a_fault_and_its_success_heals_it() {
    let mut one = alone();
    let mode = one.path("mode");
    fs::write(&mode, "fail").expect("written");
    // The shell is replaced, so that the file may change while the script sleeps.
    let script =
        format!("case $(cat {}) in ok) exit 0;; hang) sleep 1000;; *) exit 7;; esac", mode.display());
    let check = one.script("check", &script);
    let block =
        format!("vrrp_script check {{\n  script {check}\n  interval 1\n  timeout 1\n  rise 1\n  fall 1\n}}");
    one.start(Conf::new(100).block(&block).words("track_script {\n        check\n    }"));
    wait_for_fault(&one, "exit status 7");
    one.wait_for_log("exit status 7");
    fs::write(&mode, "ok").expect("written");
    one.wait_for_state("MASTER");
    fs::write(&mode, "hang").expect("written");
    wait_for_fault(&one, "timed out after 1 s");
    fs::write(&mode, "ok").expect("written");
    one.wait_for_state("MASTER");
    let tracked = one.status().tracked;
    assert_eq!((&*tracked[0].reading, tracked.len()), ("up", 1), "{tracked:?}");
    one.stop();
}

#[test]
fn a_script_whose_file_system_hangs_times_out_and_holds_up_nothing_else() {
    let mut one = alone();
    let check = one.script("check", "exit 0");
    let block =
        format!("vrrp_script check {{\n  script {check}\n  interval 1\n  timeout 1\n  rise 1\n  fall 1\n}}");
    one.start(Conf::new(100).block(&block).words("track_script {\n        check\n    }"));
    one.wait_for_vip();
    // Whoever executes the script waits for an answer to a question that nobody reads.
    let Ok(gate) = Fanotify::init(InitFlags::FAN_CLASS_CONTENT, EventFFlags::O_RDONLY) else {
        println!("skipped: no fanotify here");
        return;
    };
    let asked = MaskFlags::FAN_OPEN_EXEC_PERM;
    if let Err(error) =
        gate.mark(MarkFlags::FAN_MARK_ADD, asked, nix::fcntl::AT_FDCWD, Some(Path::new(&check)))
    {
        println!("skipped: no permission events here ({error})");
        return;
    }
    wait_for_fault(&one, "timed out after 1 s");
    drop(gate);
    one.wait_for_state("MASTER");
    one.stop();
}

#[test]
fn a_script_without_a_result_yet_is_waited_for() {
    let mut one = alone();
    let flag = one.path("flag");
    let check = one.script("check", &format!("until [ -e {} ]; do sleep 0.02; done", flag.display()));
    let block = format!("vrrp_script check {{\n  script {check}\n  interval 30\n  timeout 30\n}}");
    one.start(Conf::owner().block(&block).words("track_script {\n        check\n    }"));
    assert_eq!(one.first().state, "INIT", "{:#?}", one.first());
    fs::write(flag, "").expect("written");
    one.wait_for_vip();
}

#[test]
fn a_file_and_a_process_move_the_priority_and_an_interface_is_a_fault() {
    let mut one = alone();
    one.switch.connect(&one.host, "eth1").expect("a cable");
    let value = one.path("value");
    fs::write(&value, "0\n").expect("written");
    let blocks = format!(
        "track_file value {{\n  file {}\n  weight 1\n}}\nvrrp_track_process sleeper {{\n  process sleep {}\n  \
         param_match exact\n  weight 10\n}}",
        value.display(),
        // An argument that no other process of this machine has.
        sleeps(),
    );
    let words = "track_file {\n        value\n    }\n    track_process {\n        sleeper\n    }\n    \
                 track_interface {\n        eth1\n    }";
    one.start(Conf::new(100).block(&blocks).words(words));
    one.wait_for_state("MASTER");
    wait_for_priority(&one, 100);

    fs::write(&value, "25\n").expect("written");
    wait_for_priority(&one, 125);
    one.wait_for_log("priority 100 -> 125");
    fs::write(&value, "-30\n").expect("written");
    wait_for_priority(&one, 70);
    fs::write(&value, "0\n").expect("written");
    wait_for_priority(&one, 100);

    let mut command = Command::new("sleep");
    command.arg(sleeps());
    let mut sleeper = one.host.spawn(command).expect("starts");
    wait_for_priority(&one, 110);
    sleeper.kill();
    wait_for_priority(&one, 100);

    one.host.set_down("eth1").expect("down");
    wait_for_fault(&one, "eth1");
    one.host.set_up("eth1").expect("up");
    one.wait_for_state("MASTER");
    one.stop();
}

fn sleeps() -> String {
    format!("{}.5", 100_000 + std::process::id())
}
