//! keepalived and Buoy make the same table of the same file: all samples of keepalived, and what Buoy ships.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ::buoy::lab::Program;
use buoy_ipvs::{Snapshot, Table};

use crate::director::{Director, buoy, keepalived};
use crate::site::SOON;
use crate::world::{DIGEST, World};

/// So many files at a time: most of the time is spent on waiting for checks.
const TOGETHER: usize = 4;

/// Lines of our own files that keepalived 2.2.7 cannot do with: it leaves out a group of both families that has a mark,
/// loses the netmask of a group, and is killed in a slow kernel where it has real-time priority.
const NOT_ALIKE: [&str; 3] =
    ["    2001:db8::1-f 80\n", "    persistence_granularity 255.255.255.0\n", "    checker_rt_priority 20\n"];

const CHECKERS: [&str; 10] = [
    "TCP_CHECK",
    "HTTP_GET",
    "SSL_GET",
    "SMTP_CHECK",
    "DNS_CHECK",
    "MISC_CHECK",
    "UDP_CHECK",
    "PING_CHECK",
    "FILE_CHECK",
    "AGENT_CHECK",
];

#[test]
#[ignore = "runs in a kernel of its own"]
fn every_file_makes_the_same_table_without_its_checks() {
    super::timed(|| {
        let world = &mut World::new();
        for files in files().chunks(TOGETHER) {
            let mut runs: Vec<Run> = files
                .iter()
                .map(|file| Run::start(world, file, &|text: &str| with_instead(text, &CHECKERS, "")))
                .collect();
            for run in &mut runs {
                let services = run.wait_for_same("the whole table", |table, _| {
                    !table.is_empty() && table.entries().all(|(_, entry)| !entry.servers.is_empty())
                });
                eprintln!("{}: {services} services", run.name);
            }
        }
    });
}

#[test]
#[ignore = "runs in a kernel of its own"]
fn every_file_makes_the_same_table_when_all_servers_die_and_when_they_live() {
    super::timed(|| {
        let world = &mut World::new();
        let alive = std::env::temp_dir().join("alive");
        // The world has no name server, and keepalived no agents.
        let change = |text: &str| {
            let text = with_instead(text, &["DNS_CHECK"], "PING_CHECK {\n}\n");
            // The checks that keepalived makes of `host` blocks, an old word, time out on servers that answer.
            hastened(&with_instead(&text, &["AGENT_CHECK", "host"], ""), &alive)
        };
        for files in files().chunks(TOGETHER) {
            let mut runs: Vec<Run> = files.iter().map(|file| Run::start(world, file, &change)).collect();
            for run in &mut runs {
                run.wait_for_same("the table of the dead", |table, sorry| {
                    !table.is_empty() && serving(table).iter().all(|server| sorry.contains(server))
                });
            }
            fs::write(&alive, "").expect("a file");
            world.answer(true);
            for run in &mut runs {
                run.wait_for_same("the table of the living", |table, sorry| {
                    table.entries().all(|(_, entry)| !entry.servers.is_empty())
                        && !serving(table).iter().any(|server| sorry.contains(server))
                });
                eprintln!("{}: the same with every server dead and with every server alive", run.name);
            }
            fs::remove_file(&alive).expect("the file");
            world.answer(false);
        }
    });
}

/// Every file with virtual servers that the kernel is to forward.
fn files() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders =
        [Path::new("/usr/share/doc/keepalived/samples"), &root.join("etc"), &root.join("tests/config")];
    let files = folders.into_iter().flat_map(|folder| fs::read_dir(folder).expect("a folder"));
    let mut paths: Vec<PathBuf> = files.map(|file| file.expect("a file").path()).collect();
    paths.retain(|path| {
        // A sample may be in an old character set.
        let text = String::from_utf8_lossy(&fs::read(path).expect("a file")).into_owned();
        path.extension().is_none_or(|e| e != "toml")
            && text.lines().any(|line| line.starts_with("virtual_server "))
            && !text.lines().any(|line| line.trim() == "forwarding engine")
    });
    paths.sort();
    assert!(paths.len() > 15, "{paths:?}");
    paths
}

/// Puts something else in the place of the blocks of these names.
fn with_instead(text: &str, names: &[&str], instead: &str) -> String {
    let (mut kept, mut depth) = (String::new(), 0_usize);
    for line in text.lines() {
        let (words, _) = line.split_once(['!', '#']).unwrap_or((line, ""));
        let begins = words.split_whitespace().next().is_some_and(|word| names.contains(&word));
        if depth == 0 && begins {
            kept += instead;
        }
        if depth == 0 && !begins {
            kept.extend([line, "\n"]);
        } else {
            depth = depth + words.matches('{').count() - words.matches('}').count();
        }
    }
    kept
}

/// Checks once a second that can be met: by pages as they are in the world, by scripts as long as `alive` is there.
fn hastened(text: &str, alive: &Path) -> String {
    let line = |line: &str| match line.split_whitespace().next() {
        Some(word @ ("delay_loop" | "delay_before_retry" | "retry" | "nb_get_retry")) => {
            format!("{word} 1\n")
        }
        // A busy machine takes its time.
        Some("connect_timeout") => "connect_timeout 2\n".to_owned(),
        Some("misc_timeout") => String::new(),
        Some("digest") => format!("digest {DIGEST}\n"),
        Some("misc_path") => {
            format!("misc_path \"/usr/bin/test -e {}\"\nmisc_timeout 15\n", alive.display())
        }
        // The page of the world is matched by its digest; its datagrams come back as they are.
        Some("regex" | "require_reply") => String::new(),
        // Buoy's own: it would keep the last good servers when all seem to be dead.
        Some("panic_threshold") => String::new(),
        // Of a virtual address; the servers beside it are in the world.
        Some(address) if address.ends_with("/24") => format!("{}\n", address.replace("/24", "/32")),
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

/// Servers that get new connections.
fn serving(table: &Table) -> BTreeSet<IpAddr> {
    let servers = table.entries().flat_map(|(_, entry)| entry.servers.values());
    servers.filter(|server| !server.weight.is_zero()).map(|server| server.id.address).collect()
}

/// Both programs with one file.
struct Run {
    name: String,
    keepalived: Director,
    buoy: Director,
    sorry: BTreeSet<IpAddr>,
}

impl Run {
    fn start(world: &mut World, file: &Path, change: &dyn Fn(&str) -> String) -> Self {
        let name = file.file_name().expect("a name").to_string_lossy().into_owned();
        let text = String::from_utf8_lossy(&fs::read(file).expect("a file")).into_owned();
        let text = change(&NOT_ALIKE.iter().fold(text, |text, line| text.replace(line, "")));
        let sorry = text.lines().filter_map(|line| line.trim().strip_prefix("sorry_server"));
        let sorry = sorry
            .map(|words| words.split_whitespace().next().and_then(|w| w.parse().ok()).expect("an address"));
        let sorry = sorry.collect();
        let mut start = |program: Program| {
            let mut director = Director::at(world.director("one"), program);
            director.configure(&text);
            director.start_as("one");
            director
        };
        Self { name, keepalived: start(keepalived()), buoy: start(buoy()), sorry }
    }

    /// Waits until keepalived's table is as wanted and Buoy's is the same; the number of its services.
    #[track_caller]
    fn wait_for_same(&mut self, what: &str, wanted: impl Fn(&Table, &BTreeSet<IpAddr>) -> bool) -> usize {
        let mut last = [Snapshot::default(), Snapshot::default()];
        let (name, sorry) = (&self.name, &self.sorry);
        let directors = [&mut self.keepalived, &mut self.buoy];
        let [keepalived, buoy] = directors;
        let mut same = || {
            last = [keepalived.snapshot(), buoy.snapshot()];
            let [theirs, ours] = &last;
            wanted(&theirs.table, sorry) && theirs == ours
        };
        let begun = std::time::Instant::now();
        while !same() {
            if begun.elapsed() > SOON {
                let [theirs, ours] = &last;
                panic!(
                    "{name}: {what} of keepalived {}, and Buoy's {}:\n{}\n{}",
                    if wanted(&theirs.table, sorry) { "is there" } else { "is not there" },
                    if theirs == ours { "is the same" } else { "differs" },
                    keepalived.story(),
                    buoy.story()
                );
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        last[0].table.entries().len()
    }
}
