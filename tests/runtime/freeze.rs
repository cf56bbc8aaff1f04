//! pause and resume.

use super::common::{Case, has_exited};
use std::process::Stdio;

fn up(name: &str) -> Option<(Case, i32)> {
    let mut case = Case::new(name)?;
    case.args(&["sleep", "1000"]);
    let pid = case.up();
    Some((case, pid))
}

#[test]
fn paused_and_resumed() {
    let Some((case, _)) = up("pause") else { return };
    case.runp(&["resume", &case.id]).fails(1, "container not paused");
    case.runp(&["pause", &case.id]).ok();
    assert_eq!(case.status(), "paused");
    let list = case.runp(&["list"]).ok();
    assert!(list.contains("paused"), "{list}");
    case.runp(&["pause", &case.id]).fails(1, "container not running");
    case.runp(&["delete", &case.id]).fails(1, "that is not stopped: paused");
    case.runp(&["resume", &case.id]).ok();
    assert_eq!(case.status(), "running");
    for verb in ["pause", "resume"] {
        case.runp(&[verb, "nobody"]).fails(1, "container does not exist");
    }
}

#[test]
fn exec_is_refused_or_waits() {
    let Some((case, _)) = up("pause-exec") else { return };
    case.runp(&["pause", &case.id]).ok();
    case.exec("true").fails(255, "cannot exec in a paused container");
    let mut command = case.command(&["exec", "--ignore-paused", &case.id, "true"]);
    let mut waiting = command.stdout(Stdio::null()).spawn().unwrap();
    case.runp(&["resume", &case.id]).ok();
    assert!(has_exited(waiting.id() as i32));
    assert!(waiting.wait().unwrap().success());
}

#[test]
fn a_paused_container_can_be_killed() {
    let Some((case, pid)) = up("pause-kill") else { return };
    case.runp(&["pause", &case.id]).ok();
    case.runp(&["kill", &case.id, "KILL"]).ok();
    assert!(has_exited(pid));
    assert_eq!(case.status(), "stopped");
    case.runp(&["pause", &case.id]).fails(1, "container not running");
}

#[test]
fn a_paused_container_can_be_deleted() {
    let Some((case, pid)) = up("pause-delete") else { return };
    case.runp(&["pause", &case.id]).ok();
    case.runp(&["delete", "--force", &case.id]).ok();
    assert!(has_exited(pid));
    case.assert_nothing_left();
}

#[test]
fn one_that_waits_for_start_too() {
    let Some(mut case) = Case::new("pause-created") else { return };
    case.args(&["sleep", "1000"]);
    case.create();
    case.runp(&["pause", &case.id]).ok();
    assert_eq!(case.status(), "paused");
    case.runp(&["start", &case.id]).fails(1, "cannot start a container in the paused state");
    case.runp(&["resume", &case.id]).ok();
    assert_eq!(case.status(), "created");
    case.start();
    assert_eq!(case.status(), "running");
}

#[test]
fn a_cgroup_that_is_frozen_is_not_taken() {
    let Some(mut case) = Case::new("pause-taken") else { return };
    case.args(&["true"]);
    let freezers = [
        (format!("/sys/fs/cgroup/freezer/{}", case.id), "freezer.state", ["FROZEN", "THAWED"]),
        (format!("/sys/fs/cgroup/{}", case.id), "cgroup.freeze", ["1", "0"]),
    ];
    let there = |dir: &str| {
        std::path::Path::new(dir).parent().is_some_and(|p| p.join("cgroup.procs").exists())
    };
    let (dir, file, [frozen, thawed]) =
        freezers.into_iter().find(|(dir, ..)| there(dir)).expect("a freezer");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(format!("{dir}/{file}"), frozen).unwrap();
    case.run().fails(1, "container's cgroup unexpectedly frozen");
    std::fs::write(format!("{dir}/{file}"), thawed).unwrap();
    case.run().ok();
    case.assert_nothing_left();
}
