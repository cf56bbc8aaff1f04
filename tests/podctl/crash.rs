//! The monitor, or a command, is killed at any moment: the next command mends it.

use super::apply::{TWO, init_pid};
use super::instance::Instance;
use runp::sys::{clone, poll};
use std::os::fd::AsFd;
use std::time::Duration;

#[test]
fn the_next_command_adopts_what_runs() {
    let Some(instance) = Instance::new("adopt") else { return };
    instance.apply(TWO);
    let status = instance.wait_running("two");
    let pid = init_pid(&instance, &status, "web");
    let uid = instance.get("two")["metadata"]["uid"].as_str().unwrap().to_owned();
    let old = instance.kill_monitor("two");
    instance.podctl(&["get", "pods"]).ok();
    let lock = instance.root().join("run").join(&uid);
    let new = super::instance::wait_until(&lock, || {
        std::fs::read_to_string(lock.join("lock"))
            .ok()?
            .trim()
            .parse()
            .ok()
            .filter(|new| *new != old)
    });
    assert!(new.is_some_and(|new: i32| clone::pidfd_open(new).is_ok()));
    let fetched = instance.sh("two", "side", "busybox wget -qO- http://127.0.0.1:8080/file");
    assert_eq!(fetched, "shared\n");
    assert_eq!(init_pid(&instance, &instance.status("two").unwrap(), "web"), pid);
    // An adopted container is still watched, and restarted by the new monitor.
    clone::pidfd_send_signal(clone::pidfd_open(pid).unwrap(), 9).unwrap();
    let status = instance.wait_for("two", |status| {
        status["containerStatuses"].as_array().unwrap().iter().any(|one| {
            one["name"] == "web" && one["restartCount"] == 1 && one["state"]["running"].is_object()
        })
    });
    assert_eq!(status["phase"], "Running");
    instance.delete("two");
    instance.assert_nothing_left();
}

#[test]
fn what_is_written_without_a_monitor_is_in_the_log() {
    let Some(instance) = Instance::new("unwatched") else { return };
    instance.apply(TWO);
    instance.wait_running("two");
    instance.kill_monitor("two");
    let root = instance.root();
    let log = root.join("logs");
    // By the runtime alone, so that no monitor is started.
    let ids = std::fs::read_dir(root.join("runp")).unwrap();
    for id in ids.map(|id| id.unwrap().file_name().into_string().unwrap()) {
        let mut runp = std::process::Command::new(env!("CARGO_BIN_EXE_runp"));
        runp.arg("--root").arg(root.join("runp"));
        runp.args(["exec", &id, "sh", "-c", "echo unwatched > /proc/1/fd/1"]);
        let done = runp.output().unwrap();
        // Pause has no shell.
        assert!(done.status.success() || !done.stderr.is_empty());
    }
    instance.podctl(&["get", "pods"]).ok();
    let dir = std::fs::read_dir(log).unwrap().next().unwrap().unwrap().path();
    let logged = super::instance::wait_until(&dir.join("web"), || {
        let text = std::fs::read_to_string(dir.join("web/0.log")).ok()?;
        text.contains("stdout F unwatched\n").then_some(())
    });
    assert!(logged.is_some());
    instance.delete("two");
}

#[test]
fn a_monitor_killed_at_any_moment_of_a_start() {
    let Some(instance) = Instance::new("kill") else { return };
    for delay in (0..40).step_by(2) {
        instance.apply(TWO);
        // Not waiting for something: letting time pass, another one in each round.
        poll::poll_in(&[], Some(Duration::from_millis(delay))).unwrap();
        instance.kill_monitor("two");
        instance.podctl(&["get", "pods"]).ok();
        instance.wait_running("two");
        assert_eq!(instance.sh("two", "side", "echo $COLOUR"), "blue\n");
        instance.force_delete("two");
        instance.assert_nothing_left();
    }
}

#[test]
fn a_monitor_killed_at_any_moment_of_an_end() {
    let Some(instance) = Instance::new("end") else { return };
    for delay in (0..30).step_by(2) {
        instance.apply(TWO);
        instance.wait_running("two");
        let delete = ["delete", "pod", "two", "--force", "--grace-period=0"];
        let uid = instance.get("two")["metadata"]["uid"].as_str().unwrap().to_owned();
        let monitor = clone::pidfd_open(instance.monitor(&uid)).unwrap();
        let deleting = instance.start(&delete);
        poll::poll_in(&[], Some(Duration::from_millis(delay))).unwrap();
        // It may have done its work by then.
        let killed = clone::pidfd_send_signal(&monitor, 9);
        assert!(killed.is_ok() || poll::poll_in(&[monitor.as_fd()], None).unwrap()[0]);
        deleting.finish().ok();
        instance.settle(&uid);
        instance.podctl(&["get", "pods"]).ok();
        instance.assert_nothing_left();
    }
}
