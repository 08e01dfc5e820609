//! The log of a whole process: this test starts itself as the process that logs.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use buoy::log::{LogOptions, init};

/// How the test runs [`logging_process`] and nothing else.
const ARGUMENTS: [&str; 4] = ["--ignored", "--exact", "logging_process", "--nocapture"];

/// Runs [`logging_process`] in a process of its own.
fn logged(mode: &str, variables: &[(&str, &str)]) -> Output {
    Command::new(std::env::current_exe().expect("the test has a path"))
        .args(ARGUMENTS)
        .env_remove("BUOY_LOG")
        .env_remove("JOURNAL_STREAM")
        .env("BUOY_TEST_LOG", mode)
        .envs(variables.iter().copied())
        .output()
        .expect("the test starts itself")
}

fn lines(mode: &str, variables: &[(&str, &str)]) -> Vec<String> {
    let output = logged(mode, variables);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stderr).expect("utf-8");
    text.lines().map(str::to_owned).collect()
}

#[test]
#[ignore = "the process that the other tests start"]
fn logging_process() {
    let mode = std::env::var("BUOY_TEST_LOG").unwrap_or_default();
    let options = LogOptions {
        console: mode != "quiet",
        json: mode == "json",
        syslog_facility: None,
        detail: u8::from(mode == "detail"),
        ..LogOptions::default()
    };
    let _guard = init(&options).expect("the log is set up once");
    assert!(init(&options).is_err(), "a second set-up is an error");
    tracing::info!(target: "buoy::track", script = "s", "information");
    tracing::debug!(target: "buoy_vrrp::driver", "detail");
    tracing::info!(target: "hyper::client", "chatter of a library");
    tracing::warn!(target: "hyper::client", "trouble of a library");
}

#[test]
fn the_console_shows_information_and_only_the_trouble_of_libraries() {
    let lines = lines("human", &[]);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].ends_with(" INFO  information script=s"), "{lines:?}");
    assert!(lines[1].ends_with(" WARN  trouble of a library"), "{lines:?}");
}

#[test]
fn detail_shows_debugging_of_every_part_of_buoy() {
    let lines = lines("detail", &[]);
    assert!(lines[1].ends_with(" DEBUG detail"), "{lines:?}");
}

#[test]
fn json_is_one_document_a_line() {
    let lines = lines("json", &[]);
    let first: serde_json::Value = serde_json::from_str(&lines[0]).expect("a document");
    assert_eq!((&first["message"], &first["script"]), (&"information".into(), &"s".into()));
}

#[test]
fn a_variable_overrides_what_is_shown() {
    let lines = lines("human", &[("BUOY_LOG", "off,hyper=info")]);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].ends_with("chatter of a library"));
}

#[test]
fn without_console_and_syslog_nothing_is_written() {
    assert!(lines("quiet", &[]).is_empty());
}

/// The journal's mark is inherited by processes whose standard error is another: it must match ours.
#[test]
fn a_foreign_journal_stream_does_not_divert_the_log() {
    let metadata = std::fs::metadata("/dev/null").expect("exists");
    assert!(lines("quiet", &[("JOURNAL_STREAM", &mark(&metadata))]).is_empty());
}

/// A journal of our own, in a mount namespace where nobody else sees it.
#[test]
fn the_journal_gets_the_fields_of_an_event() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let directory = tempfile::tempdir().expect("temporary directory");
    let journal = UnixDatagram::bind(directory.path().join("socket")).expect("binds");
    journal.set_read_timeout(Some(Duration::from_secs(20))).expect("is set");
    let stderr = tempfile::tempfile().expect("temporary file");
    let stream = mark(&stderr.metadata().expect("has metadata"));
    let in_namespace = "mount -t tmpfs none /run && mkdir -p /run/systemd/journal \
        && mount --bind \"$0\" /run/systemd/journal && exec \"$@\"";
    let status = Command::new("unshare")
        .args(["--mount", "sh", "-c", in_namespace])
        .arg(directory.path())
        .arg(std::env::current_exe().expect("the test has a path"))
        .args(ARGUMENTS)
        .env_remove("BUOY_LOG")
        .env("BUOY_TEST_LOG", "quiet")
        .env("JOURNAL_STREAM", stream)
        .stdout(Stdio::null())
        .stderr(stderr)
        .status()
        .expect("the test starts itself");
    assert!(status.success());
    let mut buffer = [0; 4096];
    // The library opens with an empty message, to see whether the journal listens.
    let entry = loop {
        let length = journal.recv(&mut buffer).expect("an entry");
        if length > 0 {
            break String::from_utf8_lossy(&buffer[..length]).into_owned();
        }
    };
    for (name, value) in
        [("SYSLOG_IDENTIFIER", "Buoy"), ("PRIORITY", "6"), ("MESSAGE", "information"), ("BUOY_SCRIPT", "s")]
    {
        // The journal's form for any bytes: name, new line, length in eight bytes, value, new line.
        let start = entry.find(&format!("{name}\n")).expect(name) + name.len() + 1 + 8;
        assert_eq!(entry[start..].lines().next(), Some(value), "{name}");
    }
}

/// Device and inode, as in `JOURNAL_STREAM` (systemd.exec(5)).
fn mark(metadata: &Metadata) -> String {
    format!("{}:{}", metadata.dev(), metadata.ino())
}
