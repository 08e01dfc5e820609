use super::*;

const LONG: Duration = Duration::from_secs(20);

fn command(words: &[&str]) -> Command {
    Command { argv: words.iter().map(|&word| word.into()).collect(), user: None }
}

async fn ended(words: &[&str]) -> Ended {
    run(&command(words), &[], LONG, LONG).await
}

/// Whether the kernel still has a process in the group.
fn alive(group: Pid) -> bool {
    killpg(group, None).is_ok()
}

/// The runtime reaps, and the kernel empties a killed group, some time after the call that caused it.
async fn gone(group: Pid) {
    let poll = async {
        while alive(group) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(LONG, poll).await.expect("the group ends");
}

#[tokio::test]
async fn the_end_of_a_command_is_told_in_words() {
    assert_eq!(ended(&["true"]).await.to_string(), "exit status 0");
    assert_eq!(ended(&["sh", "-c", "exit 3"]).await.to_string(), "exit status 3");
    assert_eq!(ended(&["sh", "-c", "kill -9 $$"]).await.to_string(), "killed by signal 9");
    assert_eq!(ended(&["/no/such"]).await.to_string(), "cannot start: No such file or directory");
    assert_eq!(Ended::TimedOut(Duration::from_millis(2500)).to_string(), "timed out after 2.5 s");
}

#[tokio::test]
async fn an_empty_command_is_an_error_and_no_panic() {
    assert!(matches!(ended(&[]).await, Ended::NotStarted(_)));
}

#[tokio::test]
async fn more_arguments_go_behind_the_configured_ones() {
    let check = command(&["sh", "-c", r#"[ "$0-$1-$2" = "a b-c-d" ]"#, "a b"]);
    assert!(run(&check, &["c", "d"], LONG, LONG).await.success());
}

#[tokio::test]
async fn a_script_without_interpreter_line_runs_through_the_shell_with_its_arguments() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("plain");
    // Written by another process: ours may be forking in another test while a file is open for writing.
    let make = format!("echo '[ \"$1\" = \"one word\" ]' > {0} && chmod 755 {0}", path.display());
    assert!(ended(&["sh", "-c", &make]).await.success());
    let path = path.to_str().expect("utf-8 path");
    assert!(ended(&[path, "one word"]).await.success());
    assert!(!ended(&[path, "other"]).await.success());
    assert!(Child::spawn(&command(&[path]), &[]).expect("starts").through_shell());
}

#[tokio::test]
async fn loader_and_shell_variables_do_not_reach_the_child() {
    let check = "[ -z \"${LD_PRELOAD+x}${LD_LIBRARY_PATH+x}\" ] && [ -n \"$PATH\" ]";
    assert!(ended(&["sh", "-c", check]).await.success());
}

#[tokio::test]
async fn a_timeout_ends_the_whole_group_even_what_ignores_sigterm() {
    let stubborn = command(&["sh", "-c", "trap '' TERM; sleep 1000 & sleep 1000"]);
    let mut child = Child::spawn(&stubborn, &[]).expect("starts");
    let group = child.group.expect("leads a group");
    let ended = child.wait_for(Duration::from_millis(50)).await;
    assert!(matches!(ended, Ended::TimedOut(_)));
    assert!(alive(group));
    child.terminate(Duration::from_millis(50)).await;
    gone(group).await;
}

#[tokio::test]
async fn dropping_kills_the_whole_group() {
    let child = Child::spawn(&command(&["sh", "-c", "sleep 1000 & sleep 1000"]), &[]).expect("starts");
    let group = child.group.expect("leads a group");
    drop(child);
    gone(group).await;
}

#[tokio::test]
async fn what_a_finished_command_left_running_is_left_alone() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let file = directory.path().join("pid");
    let script = format!("sleep 1000 & echo $! > {}", file.display());
    let child = Child::spawn(&command(&["sh", "-c", &script]), &[]).expect("starts");
    let group = child.group.expect("leads a group");
    let mut child = child;
    assert!(child.wait_for(LONG).await.success());
    drop(child);
    assert!(alive(group));
    signal(group, Signal::SIGKILL);
}

#[tokio::test]
async fn a_user_is_assumed() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let mut as_nobody = command(&["sh", "-c", "[ $(id -u):$(id -g) = 65534:65534 ]"]);
    as_nobody.user = Some(User { name: "nobody".into(), uid: 65534, gid: 65534 });
    assert!(run(&as_nobody, &[], LONG, LONG).await.success());
}
