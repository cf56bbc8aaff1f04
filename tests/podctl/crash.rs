//! The monitor, or a command, is killed at any moment: the next command mends it.

use super::apply::{TWO, init_pid};
use super::instance::Instance;
use runp::sys::fs::last_line;
use runp::sys::{clone, poll};
use serde_json::Value;
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

/// The pids of a pod's own processes: pause, and every container's.
fn pids(instance: &Instance) -> Vec<i32> {
    let records = std::fs::read_dir(instance.root().join("runp")).unwrap();
    let pid = |record: std::io::Result<std::fs::DirEntry>| {
        let text = std::fs::read(record.unwrap().path().join("state.json")).ok()?;
        let record: Value = serde_json::from_slice(last_line(&text)).unwrap();
        i32::try_from(record["pid"].as_i64()?).ok().filter(|pid| *pid > 0)
    };
    records.filter_map(pid).collect()
}

fn kill_all(pids: &[i32]) {
    let processes: Vec<_> = pids.iter().filter_map(|pid| clone::pidfd_open(*pid).ok()).collect();
    for process in &processes {
        if clone::pidfd_send_signal(process, 9).is_ok() {
            assert!(poll::poll_in(&[process.as_fd()], Some(super::instance::PATIENCE)).unwrap()[0]);
        }
    }
}

/// Changes the JSON of a file of the instance.
fn edit(path: &std::path::Path, change: impl FnOnce(&mut Value)) {
    let mut value: Value =
        serde_json::from_slice(last_line(&std::fs::read(path).unwrap())).unwrap();
    change(&mut value);
    std::fs::write(path, value.to_string()).unwrap();
}

/// As a reboot leaves things: nothing runs, the boot is another one, and the pid of a container is
/// somebody else's, who started at the same tick after it.
#[test]
fn after_a_reboot_the_pod_begins_anew_and_strangers_live() {
    let Some(instance) = Instance::new("reboot") else { return };
    for policy in ["Always", "Never"] {
        let spec = format!("spec:\n  restartPolicy: {policy}");
        instance.apply(&TWO.replace("spec:", &spec));
        let status = instance.wait_running("two");
        let web = status["containerStatuses"][1]["containerID"].as_str().unwrap().to_owned();
        let all = pids(&instance);
        instance.kill_monitor("two");
        kill_all(&all);
        let mut stranger = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = i32::try_from(stranger.id()).unwrap();
        let id = web.trim_start_matches("runp://");
        edit(&instance.root().join("runp").join(id).join("state.json"), |record| {
            record["pid"] = pid.into();
            record["start_time"] = runp::oci::container::start_time(pid).unwrap().into();
        });
        edit(&instance.pod_dir("two").join("status.json"), |record| {
            record["state"]["boot"] = "another".into();
            let containers = record["state"]["containers"].as_array_mut().unwrap();
            containers.iter_mut().for_each(|container| container["pid"] = pid.into());
        });
        instance.podctl(&["get", "pods"]).ok();
        let last = |status: &Value, field: &str| {
            let all = status["containerStatuses"].as_array().unwrap();
            all.iter().all(|it| it[field]["terminated"]["reason"] == "Unknown")
        };
        if policy == "Always" {
            let status = instance.wait_for("two", |status| {
                let all = status["containerStatuses"].as_array().unwrap();
                all.iter().all(|it| it["restartCount"] == 1 && it["ready"] == true)
            });
            assert!(last(&status, "lastState"), "{status:#}");
            let shared = instance.sh("two", "web", "cat /data/file");
            assert_eq!(shared, "shared\n", "the volumes have stayed");
        } else {
            let status = instance.wait_for("two", |status| status["phase"] == "Failed");
            assert!(last(&status, "state"), "{status:#}");
        }
        instance.delete("two");
        assert!(stranger.try_wait().unwrap().is_none(), "the stranger lives");
        stranger.kill().unwrap();
        stranger.wait().unwrap();
        instance.assert_nothing_left();
    }
}

/// Everything of the pod is killed, alone and together, again and again; it always comes back.
#[test]
fn whatever_is_killed_the_pod_comes_back() {
    let Some(instance) = Instance::new("killed") else { return };
    instance.apply(TWO);
    for round in 0..6_usize {
        let status = instance.wait_for("two", |status| {
            let all = status["containerStatuses"].as_array();
            status["podIP"].is_string()
                && all.is_some_and(|all| all.iter().all(|it| it["ready"] == true))
        });
        let restarts = |status: &Value| -> i64 {
            let all = status["containerStatuses"].as_array().unwrap();
            all.iter().map(|it| it["restartCount"].as_i64().unwrap()).sum()
        };
        let before = restarts(&status);
        let all = pids(&instance);
        if round % 2 == 1 {
            instance.kill_monitor("two");
        }
        match round / 2 {
            0 => kill_all(&[init_pid(&instance, &status, "web")]),
            1 => kill_all(&all[..1]),
            _ => kill_all(&all),
        }
        instance.podctl(&["get", "pods"]).ok();
        // Back-off holds a second restart for 10 s: a pod made anew begins without.
        instance.wait_for("two", |status| restarts(status) > before);
        instance.force_delete("two");
        instance.assert_nothing_left();
        instance.apply(TWO);
    }
    instance.force_delete("two");
}

#[test]
fn a_command_killed_at_any_moment_leaves_a_whole_pod_or_none() {
    let Some(instance) = Instance::new("command") else { return };
    for delay in 0..12 {
        let manifest = instance.manifest(TWO);
        let mut apply = instance.start(&["apply", "-f", &manifest]);
        poll::poll_in(&[], Some(Duration::from_millis(delay))).unwrap();
        apply.child.kill().unwrap();
        apply.finish();
        instance.remember_uids();
        instance.podctl(&["get", "pods"]).ok();
        if instance.podctl(&["get", "pod", "two"]).status == 0 {
            instance.wait_running("two");
            let mut delete = instance.start(&["delete", "pod", "two", "--grace-period=1"]);
            poll::poll_in(&[], Some(Duration::from_millis(delay))).unwrap();
            delete.child.kill().unwrap();
            delete.finish();
            // Whether or not it was told by then: it is now.
            if instance.podctl(&["get", "pod", "two"]).status == 0 {
                let done = instance.podctl(&["delete", "pod", "two", "--ignore-not-found"]);
                assert_eq!(done.status, 0, "{done:?}");
            }
        }
        instance.podctl(&["get", "pods"]).ok();
        instance.assert_nothing_left();
    }
}

#[test]
fn what_ended_unseen_is_unknown_and_a_pod_nobody_can_watch_too() {
    let Some(instance) = Instance::new("unseen") else { return };
    instance.apply(TWO);
    let status = instance.wait_running("two");
    let web = init_pid(&instance, &status, "web");
    instance.kill_monitor("two");
    // Where its monitors are to be, there is something else.
    let uid = Store::uid(&instance, "two");
    let run = instance.root().join("run").join(&uid);
    std::fs::rename(&run, instance.path("aside")).unwrap();
    std::fs::write(&run, "").unwrap();
    let table = instance.podctl(&["get", "pods"]).ok();
    assert!(table.contains("Unknown"), "{table}");
    assert_eq!(instance.get("two")["status"]["phase"], "Unknown");
    std::fs::remove_file(&run).unwrap();
    std::fs::rename(instance.path("aside"), &run).unwrap();
    kill_all(&[web]);
    // Its parent, which reaps it, is none of ours.
    instance.podctl(&["get", "pods"]).ok();
    let status = instance.wait_for("two", |status| {
        let all = status["containerStatuses"].as_array().unwrap();
        all.iter().any(|it| it["name"] == "web" && it["restartCount"] == 1)
    });
    let last = &status["containerStatuses"][1]["lastState"]["terminated"];
    assert_eq!(
        (&last["exitCode"], &last["reason"]),
        (&137.into(), &"ContainerStatusUnknown".into())
    );
    instance.delete("two");
    instance.assert_nothing_left();
}

/// The store's own words.
struct Store;

impl Store {
    fn uid(instance: &Instance, pod: &str) -> String {
        let wanted = std::fs::read(instance.pod_dir(pod).join("pod.json")).unwrap();
        let wanted: Value = serde_json::from_slice(&wanted).unwrap();
        wanted["metadata"]["uid"].as_str().unwrap().to_owned()
    }
}

const STEPS: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: two}
spec:
  terminationGracePeriodSeconds: 1
  initContainers:
  - {name: first, image: host, command: [sh, -c, "echo x >> /data/first"], volumeMounts: [{name: data, mountPath: /data}]}
  - {name: car, image: host, restartPolicy: Always, command: [sleep, "1000"]}
  - {name: last, image: host, command: ["true"]}
  containers:
  - {name: main, image: host, command: [sleep, "1000"], volumeMounts: [{name: data, mountPath: /data}]}
  volumes: [{name: data, emptyDir: {}}]
"#;

#[test]
fn a_monitor_killed_at_any_moment_of_the_init_containers() {
    let Some(instance) = Instance::new("steps") else { return };
    for delay in (0..60).step_by(6) {
        instance.apply(STEPS);
        poll::poll_in(&[], Some(Duration::from_millis(delay))).unwrap();
        instance.kill_monitor("two");
        instance.podctl(&["get", "pods"]).ok();
        // One that ended unseen may be run again, after its back-off at the latest.
        let status = instance.wait_running("two");
        let init = status["initContainerStatuses"].as_array().unwrap();
        assert!(init.iter().all(|it| it["ready"] == true), "{status:#}");
        instance.force_delete("two");
        instance.assert_nothing_left();
    }
}

#[test]
fn a_pod_on_a_full_disk_lives_and_can_be_deleted() {
    let Some(instance) = Instance::new("full") else { return };
    let root = instance.root();
    std::fs::create_dir_all(&root).unwrap();
    let flags = nix::mount::MsFlags::empty();
    nix::mount::mount(Some("none"), &root, Some("tmpfs"), flags, Some("size=4m")).unwrap();
    instance.apply(TWO);
    let status = instance.wait_running("two");
    let filler = root.join("filler");
    let full = std::fs::write(&filler, vec![1; 8 << 20]).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    // What is written nobody can keep; who writes it lives.
    instance.sh("two", "web", "for i in $(seq 1000); do echo line $i > /proc/1/fd/1; done");
    kill_all(&[init_pid(&instance, &status, "side")]);
    instance.podctl(&["get", "pods"]).ok();
    let done = instance.podctl(&["exec", "two", "-c", "web", "--", "true"]);
    assert_eq!(done.status, 0, "{done:?}");
    std::fs::remove_file(&filler).unwrap();
    // With room again it is made whole.
    instance.wait_for("two", |status| {
        let all = status["containerStatuses"].as_array().unwrap();
        all.iter().all(|it| it["ready"] == true)
            && all.iter().any(|it| it["name"] == "side" && it["restartCount"] != 0)
    });
    std::fs::write(&filler, vec![1; 8 << 20]).unwrap_err();
    instance.delete("two");
    for dir in ["lib/pods", "run", "runp", "logs"] {
        let left = std::fs::read_dir(root.join(dir)).into_iter().flatten().count();
        assert_eq!(left, 0, "{dir}");
    }
    nix::mount::umount(&root).unwrap();
    instance.assert_nothing_left();
}

const FAULTY: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: faulty}
spec:
  terminationGracePeriodSeconds: 2
  initContainers:
  - {name: first, image: host, command: ["true"]}
  containers:
  - name: main
    image: host
    command: [sh, -c, "trap 'exit 0' TERM; while :; do sleep 1000 & wait $!; done"]
    lifecycle: {postStart: {exec: {command: ["true"]}}, preStop: {exec: {command: ["true"]}}}
    readinessProbe: {exec: {command: ["true"]}, periodSeconds: 1}
    volumeMounts: [{name: data, mountPath: /data}]
  - {name: side, image: host, command: [sh, -c, "trap 'exit 0' TERM; while :; do sleep 1000 & wait $!; done"]}
  volumes: [{name: data, emptyDir: {}}]
"#;

/// How often the points of the monitor's loop are come to in the start of that pod, at least; what
/// comes once comes once.
const TURNS: usize = 4;

/// Every step of a pod's life, by name: the monitor is killed there, with whoever works for it.
#[test]
fn a_monitor_killed_at_each_step_of_a_life() {
    use runp::pod::fault::{ENVIRONMENT, POINTS};
    let [variable] = ENVIRONMENT else {
        eprintln!("SKIP a_monitor_killed_at_each_step_of_a_life: needs --features fault");
        return;
    };
    let Some(instance) = Instance::new("faulty") else { return };
    let manifest = instance.manifest(FAULTY);
    let marker = instance.path("marker");
    let again = ["monitor: written", "monitor: given out", "monitor: reported"];
    let nth = |point: &&str| if again.contains(point) { TURNS } else { 1 };
    let strikes = POINTS.iter().flat_map(|point| (1..=nth(point)).map(move |nth| (point, nth)));
    for (point, nth) in strikes {
        let fault = format!("{point}#{nth}@{}", marker.display());
        let mut apply = instance.command(&["apply", "-f", &manifest]);
        assert!(apply.env(variable, &fault).output().unwrap().status.success(), "{fault}");
        instance.remember_uids();
        let ends = point.starts_with("teardown") || point.starts_with("removal");
        if !ends {
            let struck = || marker.exists().then_some(());
            let dir = marker.parent().unwrap();
            assert!(super::instance::wait_until(dir, struck).is_some(), "{fault} is come to");
            let uid = Store::uid(&instance, "faulty");
            instance.settle(&uid);
            instance.podctl(&["get", "pods"]).ok();
        }
        instance.wait_running("faulty");
        instance.delete("faulty");
        assert!(marker.exists(), "{fault} is come to");
        instance.podctl(&["get", "pods"]).ok();
        std::fs::remove_file(&marker).unwrap();
        instance.assert_nothing_left();
    }
}

/// As above, but the worker dies alone: the monitor answers for it, and does again what it was at.
#[test]
fn a_worker_killed_at_each_of_its_steps() {
    use runp::pod::fault::{ENVIRONMENT, POINTS};
    let [variable] = ENVIRONMENT else {
        eprintln!("SKIP a_worker_killed_at_each_of_its_steps: needs --features fault");
        return;
    };
    let Some(instance) = Instance::new("workers") else { return };
    let of_workers = |point: &&&str| !point.starts_with("monitor") && !point.starts_with("removal");
    let pods = POINTS.iter().filter(of_workers).enumerate();
    let pods: Vec<_> = pods.map(|(at, point)| (format!("p{at}"), point)).collect();
    // Side by side: what has failed is tried again after 10 s.
    for (name, point) in &pods {
        let manifest = instance.manifest(&FAULTY.replace("faulty", name));
        let fault = format!("{point}!{}", instance.path(name).display());
        let mut apply = instance.command(&["apply", "-f", &manifest]);
        assert!(apply.env(variable, &fault).output().unwrap().status.success(), "{fault}");
        instance.remember_uids();
    }
    for (name, _) in &pods {
        instance.wait_for(name, |status| {
            let all = status["containerStatuses"].as_array();
            all.is_some_and(|all| all.len() == 2 && all.iter().all(|it| it["ready"] == true))
        });
    }
    for (name, point) in &pods {
        instance.delete(name);
        assert!(instance.path(name).exists(), "{point} is come to");
    }
    instance.assert_nothing_left();
}
