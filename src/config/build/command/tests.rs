use std::fs::{self, Permissions};
use std::os::unix::fs::{chown, symlink};

use super::*;
use crate::config::{LoadOptions, Loaded, load_text};

/// A directory under root's own, unlike that for temporary files of some builds.
fn directory() -> tempfile::TempDir {
    let made = tempfile::tempdir().expect("temporary directory");
    fs::set_permissions(made.path(), Permissions::from_mode(0o755)).expect("ours");
    made
}

fn loaded(script: &str) -> Loaded {
    let options = LoadOptions { inspect_files: true, known_interface: &|_| true, ..LoadOptions::default() };
    let text = format!(
        "global_defs {{\nenable_script_security\nscript_user root\n}}\n\
         vrrp_instance VI {{\ninterface eth0\nvirtual_router_id 5\nnotify_master \"{script}\"\n\
         virtual_ipaddress {{\n10.0.0.1/24\n}}\n}}\n"
    );
    load_text(Path::new("test.conf"), &text, &options)
}

fn hook(script: &str) -> Option<Command> {
    loaded(script).plan.expect("a plan").routers.remove(0).notify.master
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

#[test]
fn a_link_that_another_user_may_point_elsewhere_is_not_run_as_root() {
    if !is_root() {
        return;
    }
    let root = directory();
    let theirs = root.path().join("theirs");
    fs::create_dir(&theirs).expect("made");
    let link = theirs.join("hook");
    symlink("/bin/true", &link).expect("linked");
    chown(&theirs, Some(65534), Some(65534)).expect("given away");
    assert_eq!(hook(link.to_str().expect("utf-8")), None);
    let said = loaded(link.to_str().expect("utf-8")).findings;
    assert!(said.iter().any(|finding| finding.code == Code::ScriptSecurity));
}

#[test]
fn no_hop_of_a_chain_of_links_may_be_anothers() {
    if !is_root() {
        return;
    }
    let root = directory();
    let theirs = root.path().join("theirs");
    fs::create_dir(&theirs).expect("made");
    symlink("/bin/true", theirs.join("second")).expect("linked");
    let first = root.path().join("first");
    symlink("theirs/../theirs/second", &first).expect("linked");
    assert_eq!(weak_component(&first), None);
    chown(&theirs, Some(65534), None).expect("given away");
    assert_eq!(weak_component(&first), Some(theirs));
}

#[test]
fn the_owner_of_a_link_in_a_sticky_directory_has_to_be_root() {
    if !is_root() {
        return;
    }
    let root = directory();
    fs::set_permissions(root.path(), Permissions::from_mode(0o1777)).expect("ours");
    let link = root.path().join("hook");
    symlink("/bin/true", &link).expect("linked");
    assert_eq!(weak_component(&link), None);
    std::os::unix::fs::lchown(&link, Some(65534), None).expect("given away");
    assert_eq!(weak_component(&link), Some(link));
}

#[test]
fn a_merged_usr_and_links_of_root_pass_and_keep_their_name() {
    if !is_root() {
        return;
    }
    for path in ["/bin/true", "/usr/bin/true", "/usr/bin/../bin/sh"] {
        let argv = hook(&format!("{path} now")).expect(path).argv;
        assert_eq!(argv, [Arc::from(path), Arc::from("now")]);
    }
}

#[test]
fn what_path_leads_to_when_it_is_inspected_is_what_root_runs() {
    if !is_root() {
        return;
    }
    let program = hook("true now").expect("in PATH").argv.remove(0);
    assert!(program.starts_with('/') && program.ends_with("/true"), "{program}");
}

#[test]
fn a_circle_of_links_ends() {
    let root = directory();
    let (one, two) = (root.path().join("one"), root.path().join("two"));
    symlink(&one, &two).expect("linked");
    symlink(&two, &one).expect("linked");
    assert!(weak_component(&one).is_some());
}
