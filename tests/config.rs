//! Whole configuration files: the corpus in `tests/config`, the examples in `etc`, keepalived's own samples,
//! and two thousand files that somebody has damaged.

#[path = "config/mutation.rs"]
mod mutation;

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use buoy::cli::check;
use buoy::config::{self, Code, Finding, LoadOptions, Loaded, Severity, Syntax};
use mutation::{Mutation, Target};

/// Every interface is there, and scripts are not looked at: what is tested is the text.
fn options<'a>() -> LoadOptions<'a> {
    LoadOptions {
        config_id: Some("one"),
        strict: false,
        known_interface: &|_| true,
        inspect_files: false,
        all_include_checks: false,
    }
}

fn load_text(name: &str, text: &str) -> Loaded {
    config::load_text(Path::new(name), text, &options())
}

fn said(loaded: &Loaded) -> String {
    config::lines(&loaded.findings, &loaded.sources).join("\n")
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn corpus() -> Vec<PathBuf> {
    let names = [
        "tests/config/routers.conf",
        "tests/config/services.conf",
        "etc/buoy.conf",
        "etc/buoy.toml",
        "etc/virtual-servers.conf",
        "etc/engine.conf",
    ];
    names.iter().map(|name| root().join(name)).collect()
}

/// The samples of Debian's keepalived package, where it is installed (`tests/run` does so).
fn samples() -> Vec<PathBuf> {
    let files = std::fs::read_dir("/usr/share/doc/keepalived/samples").into_iter().flatten();
    let mut paths: Vec<PathBuf> = files.filter_map(|f| f.ok().map(|f| f.path())).collect();
    paths.retain(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with("keepalived.conf")));
    paths.sort();
    paths
}

#[test]
fn nothing_worse_than_a_note_is_said_about_the_corpus() {
    for path in corpus() {
        let loaded = config::load(&path, &options());
        assert!(loaded.findings.worst() <= Some(Severity::Note), "{}:\n{}", path.display(), said(&loaded));
        assert!(loaded.plan.is_some());
    }
}

#[test]
fn every_sample_of_keepalived_has_a_plan() {
    for path in samples() {
        let loaded = config::load(&path, &options());
        assert!(loaded.plan.is_some(), "{}:\n{}", path.display(), said(&loaded));
        assert!(!loaded.findings.has(Code::UnknownBlock), "{}:\n{}", path.display(), said(&loaded));
    }
}

#[test]
fn exit_statuses_tell_clean_errors_unusable_and_warnings_apart() {
    let status = |text: &str| check::status(&load_text("test.conf", text));
    let clean =
        "vrrp_instance a {\ninterface eth0\nvirtual_router_id 1\nvirtual_ipaddress {\n10.0.0.1\n}\n}\n";
    assert_eq!(status(clean), 0);
    assert_eq!(status(&clean.replace("_id 1", "_id 300")), 1);
    assert_eq!(status("this is a letter\n"), 2);
    assert_eq!(status(&clean.replace("eth0\n", "eth0\npriority 300\n")), 3);
    assert_eq!(status(""), 0);
    for unreadable in ["/no/such/file.conf", "/", "/proc/self/mem"] {
        let loaded = config::load(Path::new(unreadable), &options());
        assert_eq!(check::status(&loaded), 2, "{unreadable}");
    }
}

fn buoy(words: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_buoy")).args(words).output().expect("it runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn all_include_checks_are_for_the_daemon_and_for_check() {
    let dir = tempfile::tempdir().expect("a directory");
    let main = dir.path().join("main.conf");
    std::fs::write(&main, "include nosuch*.conf\n").expect("a file");
    let main = main.to_str().expect("a path");
    assert_eq!(buoy(&["check", main]).0, Some(0));
    assert_eq!(buoy(&["run", "-t", "-f", main]).0, Some(0));
    for words in [
        vec!["check", "-e", main],
        vec!["run", "-t", "-e", "-f", main],
        vec!["-nt", "--all-config", "-f", main],
    ] {
        let (status, said) = buoy(&words);
        assert_eq!(status, Some(1), "{words:?}\n{said}");
        assert!(said.contains("nosuch*.conf"), "{words:?}\n{said}");
    }
}

#[test]
fn in_the_foreground_the_configuration_is_printed_as_it_was_understood() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name).to_str().expect("a path").to_owned();
    std::fs::write(path("more.conf"), "    priority 1${TENS}0\n").expect("a file");
    let text = "$TENS=5 # tens\nvrrp_instance a {\n  interface gone0\n  virtual_router_id 7\n  include more.conf\n  \
                virtual_ipaddress { 10.0.0.1 }\n}\n";
    std::fs::write(path("main.conf"), text).expect("a file");
    // A network of its own keeps the daemon away from this machine's.
    let mut daemon = Command::new("unshare")
        .args(["--map-root-user", "--net", env!("CARGO_BIN_EXE_buoy"), "run", "-n", "-G", "-d"])
        .args(["-f", &path("main.conf"), "-p", &path("pid"), "--control", &path("control")])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let printed = BufReader::new(daemon.stdout.take().expect("a pipe")).lines();
    let wanted = "vrrp_instance a {\n    interface gone0\n    virtual_router_id 7\n    priority 150\n    \
                  virtual_ipaddress {\n        10.0.0.1\n    }\n}";
    let printed: Vec<String> = printed.map_while(Result::ok).take(wanted.lines().count()).collect();
    daemon.kill().expect("it runs still");
    daemon.wait().expect("it ends");
    assert_eq!(printed.join("\n"), wanted);
}

#[test]
fn a_command_line_that_is_not_understood_has_the_status_of_keepalived() {
    for (words, wanted) in [
        (&["run", "--nosuch"][..], 1),
        (&["-n", "-l", "stray"], 1),
        (&["run", "--help"], 0),
        (&["check"], 2),
        (&["check", "--nosuch", "x"], 2),
    ] {
        let (status, said) = buoy(words);
        assert_eq!(status, Some(wanted), "{words:?}\n{said}");
        assert!(said.contains("Usage"), "{words:?}\n{said}");
    }
}

#[test]
fn the_two_examples_are_the_same_configuration() {
    let plan = |name: &str| config::load(&root().join(name), &options()).plan.expect("a plan");
    assert_eq!(plan("etc/buoy.conf"), plan("etc/buoy.toml"));
}

/// Whatever has a plan has it in both syntaxes, and TOML has no error where keepalived's syntax has none.
fn converts(name: &str, text: &str, options: &LoadOptions<'_>) {
    let load = |name: &str, text: &str| config::load_text(Path::new(name), text, options);
    let loaded = load(name, text);
    let Some(plan) = &loaded.plan else { return };
    let conf = loaded.write(Syntax::Conf);
    let again = load("again.conf", &conf);
    assert_eq!(again.plan.as_ref(), Some(plan), "{name}:\n{text}\n{conf}\n{}", said(&again));
    assert_eq!(again.write(Syntax::Conf), conf, "{name}");
    let toml = loaded.write(Syntax::Toml);
    let there = load("there.toml", &toml);
    assert_eq!(there.plan.as_ref(), Some(plan), "{name}:\n{text}\n{toml}\n{}", said(&there));
    assert_eq!(there.write(Syntax::Toml), toml, "{name}");
    let back = load("back.conf", &there.write(Syntax::Conf));
    assert_eq!(back.plan.as_ref(), Some(plan), "{name}:\n{text}\n{toml}\n{}", said(&back));
}

#[test]
fn converting_there_and_back_keeps_the_plan_and_is_idempotent() {
    for path in corpus().into_iter().chain(samples()) {
        let text = String::from_utf8_lossy(&std::fs::read(&path).expect("a file")).into_owned();
        let name = path.display().to_string();
        assert!(load_text(&name, &text).plan.is_some(), "{name}");
        converts(&name, &text, &options());
        let here = LoadOptions { inspect_files: true, known_interface: &|_| false, ..options() };
        converts(&name, &text, &here);
    }
}

#[test]
fn no_damage_goes_unnoticed() {
    let conf = corpus().into_iter().filter(|path| Syntax::of(path) == Syntax::Conf);
    let paths: Vec<PathBuf> = conf.chain(samples()).collect();
    // One of the samples comes with an address that is damaged already.
    let read = |path: &PathBuf| {
        String::from_utf8_lossy(&std::fs::read(path).expect("a file"))
            .replace(".100./", ".100.0/")
            .replace(".200./", ".200.0/")
    };
    let files: Vec<String> = paths.iter().map(|path| mutation::tidy(&read(path))).collect();
    let interfaces: HashSet<&str> = files
        .iter()
        .flat_map(|text| text.split_whitespace())
        .filter(|word| word.starts_with("eth"))
        .collect();
    let options = LoadOptions {
        config_id: Some("high"),
        known_interface: &|name| interfaces.contains(name),
        ..options()
    };
    let load = |text: &str| config::load_text(Path::new("mutated.conf"), text, &options);
    let undamaged: Vec<HashMap<String, usize>> = files.iter().map(|text| complaints(&load(text))).collect();
    let keywords = include_str!("config/keywords.tsv");
    let mut unnoticed = Vec::new();
    for (target, seed) in
        [Target::Structure, Target::Entry].into_iter().flat_map(|t| (0..1_000).map(move |s| (t, s)))
    {
        let mutation = Mutation::new(seed, target, &files, keywords);
        let loaded = load(&mutation.text);
        converts("mutated.conf", &mutation.text, &options);
        let before = &undamaged[mutation.file];
        let new = |(complaint, n): (&String, &usize)| before.get(complaint).is_none_or(|before| before < n);
        if !complaints(&loaded).iter().any(new) {
            unnoticed.push(format!(
                "{target:?} {seed}: {}: {}",
                paths[mutation.file].display(),
                mutation.what
            ));
        }
        // Whatever was made of it can be shown.
        let shown = config::for_people(&loaded.findings, &loaded.sources, false);
        assert_eq!(shown.is_empty(), loaded.findings.is_empty());
        assert!(config::json(&loaded.findings, &loaded.sources).is_array());
    }
    assert!(unnoticed.is_empty(), "{} went unnoticed:\n{}", unnoticed.len(), unnoticed.join("\n"));
}

/// What is said, places aside, and how often.
fn complaints(loaded: &Loaded) -> HashMap<String, usize> {
    let mut complaints = HashMap::new();
    // Where interfaces may come later a missing one is no more than a note.
    let counts = |f: &&Finding| f.severity >= Severity::Warning || f.code == Code::MissingInterface;
    for finding in loaded.findings.iter().filter(counts) {
        *complaints.entry(format!("{} {}", finding.code, finding.message)).or_default() += 1;
    }
    complaints
}

#[test]
fn the_corpus_of_the_fuzzer_holds_what_the_fuzzer_demands() {
    let files = std::fs::read_dir(root().join("fuzz/corpus/config")).expect("the corpus");
    for path in files.map(|f| f.expect("a file").path()) {
        let text = String::from_utf8_lossy(&std::fs::read(&path).expect("a file")).into_owned();
        for name in ["fuzz.conf", "fuzz.toml"] {
            let loaded = load_text(name, &text);
            config::for_people(&loaded.findings, &loaded.sources, false);
            converts(name, &text, &options());
        }
    }
}

#[test]
fn damage_to_every_byte_of_a_file_makes_no_panic() {
    let text = std::fs::read_to_string(root().join("etc/buoy.conf")).expect("the example");
    for at in (0..text.len()).filter(|at| text.is_char_boundary(*at)) {
        load_text("cut.conf", &text[..at]);
        let toml = format!("{}\u{0}{}", &text[..at], &text[at..]);
        load_text("odd.toml", &toml);
    }
}

proptest::proptest! {
    #[test]
    fn no_toml_makes_the_front_end_panic(text in "[a-z_\\[\\]=\"', {}0-9.\n]{0,200}") {
        load_text("random.toml", &text);
    }

    #[test]
    fn no_words_of_the_language_make_it_panic(words in proptest::collection::vec(0_usize..WORDS.len(), 0..120)) {
        let text: String = words.iter().map(|at| format!("{}{}", WORDS[*at], if at % 3 == 0 { "\n" } else { " " })).collect();
        converts("random.conf", &text, &options());
    }
}

const WORDS: &[&str] = &[
    "vrrp_instance",
    "a",
    "{",
    "}",
    "\n",
    "virtual_router_id",
    "5",
    "interface",
    "eth0",
    "virtual_ipaddress",
    "10.0.0.1/24",
    "fe80::1",
    "dev",
    "label",
    "use_vmac",
    "name",
    "virtual_routes",
    "via",
    "nexthop",
    "encap",
    "ip",
    "virtual_rules",
    "from",
    "fwmark",
    "0x1/0x2",
    "track_script",
    "weight",
    "-5",
    "authentication",
    "auth_type",
    "PASS",
    "global_defs",
    "vrrp_strict",
    "unicast_peer",
    "virtual_server",
    "group",
    "real_server",
    "TCP_CHECK",
    "static_routes",
    "static_rules",
    "notify",
    "\"x y\"",
    "$A=b",
    "$A",
    "~SEQ(I,3)",
    "@one",
    "#",
    "include",
    "*",
    "advert_int",
    "0.01",
    "priority",
    "255",
    "state",
    "MASTER",
    "vrrp_sync_group",
    "interface_up_down_delays",
    "1",
    "lb_kind",
    "FNAT",
    "lb_algo",
    "wsh",
    "local_address_group",
    "10.0.2.1-3",
    "laddr_group_name",
    "conn_timeout",
    "conn_timeouts",
    "tcp",
    "forwarding",
    "kernel",
    "engine",
    "toa",
];
