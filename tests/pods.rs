//! Pods under virtual time: the machine decides, a made-up world does, and the timeline is what
//! `tests/golden/pods/<case>.txt` says.
//!
//! A golden file begins with its scenario (see [`World::command`]), one command a line; the rest,
//! after the first empty line, is written by the test under `UPDATE_GOLDEN=1` and reviewed as a
//! diff. The pod stands beside it in `<case>.yaml`. How to read the rest:
//!
//! ```text
//! 0:00.020  sandbox 0 is ready        what happened (an event)
//!             > start web 0           what is to be done (an action)
//!             Normal Pulled [web] …   what is recorded for `describe`
//!           = Pending | web: …        phase and containers, where they changed
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "pods/bundles.rs"]
mod bundles;
#[path = "pods/scenario.rs"]
mod scenario;
#[path = "pods/tables.rs"]
mod tables;
#[path = "pods/words.rs"]
mod words;
#[path = "pods/world.rs"]
mod world;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use runp::pod::event::Event;
use std::path::{Path, PathBuf};
use world::{Happening, World, play};

#[test]
fn timelines_are_as_recorded() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/pods");
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut failed = Vec::new();
    for case in cases(&dir) {
        let manifest = std::fs::read_to_string(case.with_extension("yaml")).unwrap();
        let golden = std::fs::read_to_string(&case).unwrap();
        let scenario = golden.split("\n\n").next().unwrap_or_default();
        let timeline = format!("{}\n\n{}", scenario.trim_end(), play(&manifest, scenario));
        if update {
            std::fs::write(&case, timeline).unwrap();
        } else if timeline != golden {
            failed.push(format!("{}:\n{}", case.display(), first_difference(&golden, &timeline)));
        }
    }
    assert!(failed.is_empty(), "{}\nUPDATE_GOLDEN=1 rewrites them", failed.join("\n"));
}

proptest! {
    /// Whatever its programs do and whenever its monitor dies: a deleted pod goes within its grace
    /// and the 2 s that are always left, no instance is started twice, and no turn asks for a tick
    /// in the past (asserted in [`World::run`]).
    #[test]
    fn a_deleted_pod_goes(
        policy in prop::sample::select(vec!["Always", "OnFailure", "Never"]),
        codes in prop::collection::vec(prop::sample::select(vec!["0", "1"]), 1..4),
        after in 1..40_000_i64,
        stubborn in any::<bool>(),
        deaths in prop::collection::vec(0..120_000_i64, 0..4),
        (sandbox_dies, deleted, grace) in (0..60_000_i64, 0..90_000_i64, 0..40_i64),
    ) {
        let manifest = TWO_WITH_EVERYTHING.replace("POLICY", policy);
        let mut world = World::new(serde_saphyr::from_str(&manifest).unwrap());
        world.command(&format!("web exits {} after {after}ms", codes.join(",")));
        world.command("web readiness passes from 3s to 20s");
        world.command("side liveness passes from 0s to 30s");
        world.command(&format!("once exits {} after 700ms", codes.join(",")));
        world.command(&format!("proxy exits 1,0 after {}ms", after * 2));
        if stubborn {
            world.command("proxy ignores its stop signal");
            world.command("side ignores its stop signal");
        }
        world.command(&format!("sandbox 0 dies at {sandbox_dies}ms"));
        world.command(&format!("delete at {deleted}ms grace {grace}"));
        for death in deaths {
            world.command(&format!("monitor dies at {death}ms"));
        }
        world.at(SignedDuration::ZERO, Happening::Event(Event::Started));
        world.run();
        prop_assert!(world.over, "{}", world.timeline);
        let end = world.now.duration_since(Timestamp::UNIX_EPOCH).as_millis() as i64;
        let is_gone = world.timeline.contains("> remove the record");
        prop_assert!(!is_gone || end <= deleted + (grace + 2) * 1000 + 500, "{}", world.timeline);
        let mut instances = world.instances.clone();
        instances.sort();
        instances.dedup();
        prop_assert_eq!(instances.len(), world.instances.len(), "{}", world.timeline);
    }
}

const TWO_WITH_EVERYTHING: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: two, namespace: default, uid: u}
spec:
  restartPolicy: POLICY
  initContainers:
  - {name: once, image: busybox:1}
  - name: proxy
    image: envoy:1
    restartPolicy: Always
    startupProbe: {exec: {command: [true]}, periodSeconds: 1}
    lifecycle: {preStop: {exec: {command: [true]}}}
  containers:
  - name: web
    image: nginx:1.15.2
    readinessProbe: {httpGet: {port: 80}, periodSeconds: 3}
    lifecycle: {postStart: {exec: {command: [true]}}, preStop: {httpGet: {port: 80}}}
  - name: side
    image: busybox:1
    startupProbe: {exec: {command: [true]}}
    livenessProbe: {exec: {command: [true]}, periodSeconds: 5}
"#;

fn cases(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|it| it == "txt")).collect();
    assert!(cases.len() > 10, "{} holds the cases", dir.display());
    cases.sort();
    cases
}

fn first_difference(golden: &str, timeline: &str) -> String {
    let pair = golden.lines().zip(timeline.lines()).enumerate().find(|(_, (a, b))| a != b);
    match pair {
        Some((line, (golden, now))) => format!("line {}\n- {golden}\n+ {now}", line + 1),
        None => "one is longer than the other".into(),
    }
}
