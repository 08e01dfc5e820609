//! The README's walk-through in namespaces does what the README says, as pasted.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::bench::BUOY;

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
/// What the README calls the program.
const BUILT: &str = "target/release/buoy";

/// A busy machine gets some time more; after the last command, what is left is told.
const BEFORE: &str = "sleep() { command sleep $(($1 * 3)); }\nmount -t tmpfs none /run\n";
const AFTER: &str = "\nwait\necho left: $(ip netns list)\n";

/// The first indented block after the sentence that promises that it works.
fn walkthrough() -> String {
    let readme = fs::read_to_string(README).expect("the README");
    let (_, promised) = readme.split_once("this works as pasted").expect("the promise");
    let block = promised.lines().skip_while(|line| !line.starts_with("    "));
    let lines: Vec<&str> = block.map_while(|line| line.strip_prefix("    ")).collect();
    lines.join("\n")
}

/// Runs the commands in namespaces of their own: names of network namespaces are files below /run, and whatever is
/// left running ends with the shell.
fn paste(commands: &str, folder: &Path) -> Output {
    // In this order: the checkout may lie below /tmp itself.
    let commands = commands.replace("/tmp/", &format!("{}/", folder.display())).replace(BUILT, BUOY);
    Command::new("unshare")
        .args(["--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c"])
        .arg(format!("{BEFORE}{commands}{AFTER}"))
        .output()
        .expect("unshare runs (util-linux)")
}

#[test]
fn the_walk_through_of_the_readme_works_as_pasted() {
    let commands = walkthrough();
    assert_eq!(commands.matches(BUILT).count(), 4, "two daemons in one loop, two times status, events");
    let folder = tempfile::Builder::new().prefix("buoy-readme-").tempdir().expect("temporary folder");
    let output = paste(&commands, folder.path());
    let (out, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let log = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap_or_default();
    let story = || format!("{out}\n{errors}\nd1:\n{}\nd2:\n{}", log("d1.log"), log("d2.log"));
    assert!(output.status.success(), "{}", story());
    // In this order: the first status, the second one, the events.
    let mut rest = &*out;
    for part in
        ["web  MASTER", "web  BACKUP", "instance web: BACKUP -> MASTER: master 10.0.0.1 silent for 0."]
    {
        let Some((_, after)) = rest.split_once(part) else { panic!("{part}: {}", story()) };
        rest = after;
    }
    assert!(log("d2.log").contains("MASTER -> STOP: orderly stop"), "{}", story());
    assert!(rest.ends_with("left:\n"), "no namespace is left: {}", story());
    let files = ["d1.pid", "d2.pid"].map(|name| folder.path().join(name).exists());
    assert_eq!(files, [false; 2], "no pid file is left");
}
