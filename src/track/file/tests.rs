use super::*;
use tokio::sync::mpsc;

#[test]
fn numbers_are_read_as_c_writes_them() {
    let cases = [
        ("5\n", Some(5)),
        ("  \n\t-7", Some(-7)),
        ("+3", Some(3)),
        ("0x1F", Some(31)),
        ("-0X10", Some(-16)),
        ("010", Some(8)),
        ("0", Some(0)),
        ("08", Some(0)),
        ("0x", Some(0)),
        ("12abc", Some(12)),
        ("99999999999999999999", Some(i64::MAX)),
        ("-99999999999999999999", Some(i64::MIN)),
        ("", None),
        ("abc", None),
        ("-", None),
    ];
    for (text, expected) in cases {
        assert_eq!(number(text), expected, "{text:?}");
    }
}

#[test]
fn every_number_is_read_back_in_every_base_and_no_text_panics() {
    use proptest::prelude::*;
    proptest!(|(value in any::<i64>(), text in "\\PC{0,40}")| {
        let (sign, size) = (if value < 0 { "-" } else { "" }, value.unsigned_abs());
        prop_assert_eq!(number(&format!("{value}")), Some(value));
        prop_assert_eq!(number(&format!(" {sign}0x{size:x}\n")), Some(value));
        prop_assert_eq!(number(&format!("{sign}0{size:o} rest")), Some(value));
        number(&text);
    });
}

#[test]
fn what_cannot_be_read_counts_as_0_and_says_why() {
    let seen = read(Path::new("/no/such/file"));
    assert_eq!(seen.reading, Reading::Number(0));
    assert_eq!(&*seen.evidence, "cannot be read (No such file or directory), counts as 0");
}

fn tracked(path: PathBuf) -> TrackFile {
    TrackFile { name: "f".into(), path, init: None }
}

/// The watcher of one file, with what it reports.
struct Watcher {
    task: tokio::task::JoinHandle<()>,
    reports: mpsc::UnboundedReceiver<Observation>,
}

impl Watcher {
    fn of(path: PathBuf) -> Self {
        let (sender, reports) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            let report = |_: &TrackFile, seen| sender.send(seen).expect("the test listens");
            watch([tracked(path)].into(), report).await.expect("watching works");
        });
        Self { task, reports }
    }

    async fn reads(&mut self, number: i64) {
        let wait = async {
            while self.reports.recv().await.expect("the watcher runs").reading != Reading::Number(number) {}
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.expect("the number is read");
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn rewriting_replacing_and_deleting_are_all_seen() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("weight");
    std::fs::write(&path, "3").expect("written");
    let mut watcher = Watcher::of(path.clone());
    watcher.reads(3).await;
    std::fs::write(&path, "4").expect("written");
    watcher.reads(4).await;
    let other = directory.path().join("other");
    std::fs::write(&other, "5").expect("written");
    std::fs::rename(&other, &path).expect("replaced");
    watcher.reads(5).await;
    std::fs::remove_file(&path).expect("deleted");
    watcher.reads(0).await;
}

#[tokio::test]
async fn a_directory_that_comes_later_or_comes_back_is_watched() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("later/weight");
    let mut watcher = Watcher::of(path.clone());
    watcher.reads(0).await;
    for number in [1, 2] {
        std::fs::create_dir(directory.path().join("later")).expect("made");
        std::fs::write(&path, number.to_string()).expect("written");
        watcher.reads(number).await;
        std::fs::remove_dir_all(directory.path().join("later")).expect("removed");
        watcher.reads(0).await;
    }
}

#[tokio::test]
async fn a_link_is_followed_to_where_the_number_changes() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let there = tempfile::tempdir().expect("temporary directory");
    let (link, target) = (directory.path().join("link"), there.path().join("target"));
    std::fs::write(&target, "1").expect("written");
    std::os::unix::fs::symlink(&target, &link).expect("linked");
    let mut watcher = Watcher::of(link);
    watcher.reads(1).await;
    std::fs::write(&target, "2").expect("written");
    watcher.reads(2).await;
}

#[tokio::test]
async fn a_file_whose_file_system_hangs_holds_up_no_other() {
    use std::sync::{Mutex, mpsc::Receiver};
    static HANGS: Mutex<Option<Receiver<()>>> = Mutex::new(None);
    fn read_or_hang(path: &Path) -> Observation {
        if !path.ends_with("hangs") {
            return read(path);
        }
        // Only the first look hangs: another one meanwhile would be seen.
        let hangs = HANGS.lock().expect("not poisoned").take();
        hangs.map(|hangs| hangs.recv().expect_err("released"));
        Observation { reading: Reading::Number(7), evidence: "at last".into() }
    }
    let directory = tempfile::tempdir().expect("temporary directory");
    let (release, hangs) = std::sync::mpsc::channel();
    *HANGS.lock().expect("not poisoned") = Some(hangs);
    let path = directory.path().join("works");
    std::fs::write(&path, "1").expect("written");
    let files = [directory.path().join("hangs"), path.clone()].map(tracked);
    let (sender, mut reports) = mpsc::unbounded_channel();
    let watching = tokio::spawn(async move {
        let report = |file: &TrackFile, seen: Observation| {
            sender.send((file.path.clone(), seen.reading)).expect("the test listens");
        };
        watch_by(read_or_hang, files.into(), report).await.expect("watching works");
    });
    let mut next = async || {
        tokio::time::timeout(Duration::from_secs(20), reports.recv())
            .await
            .expect("a report")
            .expect("it runs")
    };
    for number in 1..=3 {
        std::fs::write(&path, number.to_string()).expect("written");
        loop {
            let (of, seen) = next().await;
            assert_eq!(of, path);
            if seen == Reading::Number(number) {
                break;
            }
        }
    }
    drop(release);
    let hung = (directory.path().join("hangs"), Reading::Number(7));
    while next().await != hung {}
    watching.abort();
}

#[test]
fn init_creates_a_missing_file_and_replaces_only_with_overwrite() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("weight");
    let content = || std::fs::read_to_string(&path).expect("there is a file");
    let mut file = tracked(path.clone());
    initialise(&[file.clone()]);
    assert!(!path.exists());
    file.init = Some((7, false));
    initialise(&[file.clone()]);
    assert_eq!(content(), "7\n");
    file.init = Some((8, false));
    initialise(&[file.clone()]);
    assert_eq!(content(), "7\n");
    file.init = Some((8, true));
    initialise(&[file]);
    assert_eq!(content(), "8\n");
}
