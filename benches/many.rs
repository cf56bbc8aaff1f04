//! A thousand pods of one root: up in hundreds, listed, and down at once.

use super::floor::Floor;
use super::pod::{podctl, store};
use super::{Figure, figure, median, seconds};
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::Duration;

const PODS: usize = 1000;
const BATCH: usize = 100;
const LISTINGS: usize = 11;
const FLOORS: usize = 21;
/// Seldom, and only at those that are not up yet: the looks must not slow the pods down.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

pub fn figures(floor: &Floor) -> Vec<Figure> {
    let root = tempfile::tempdir().expect("a root");
    // What the kernel itself needs longer for beside so many: it goes through all processes to
    // change a root, and through all mounts of sysfs to make another.
    let bare = || median((0..FLOORS).map(|_| seconds(|| floor.run())).collect());
    let alone = bare();
    let batches: Vec<f64> = (0..PODS / BATCH)
        .map(|batch| up(root.path(), batch * BATCH, (batch + 1) * BATCH))
        .collect();
    let beside = bare();
    let listing = |_| seconds(|| podctl(root.path(), &["get", "pods"])) * 1e3;
    let listings = (0..LISTINGS).map(listing).collect();
    let down = seconds(|| {
        podctl(root.path(), &["delete", "pods", "--all", "--grace-period=0", "--force"]);
        // With the last network, the last place below `run` goes.
        while root.path().join("run").exists() {
            std::thread::sleep(LOOK_AGAIN);
        }
    });
    let ours = |value| [("runp".to_owned(), value)];
    let growth = batches.last().expect("batches") / batches.first().expect("batches");
    vec![
        figure("1,000 pods up", "s", &ours(batches.iter().sum())),
        figure(
            "their last hundred to the first",
            "x",
            &[
                ("runp".to_owned(), growth),
                ("a bare start there and alone".to_owned(), beside / alone),
            ],
        ),
        figure("get pods of 1,000", "ms", &ours(median(listings))),
        figure("1,000 pods down", "s", &ours(down)),
    ]
}

/// Seconds until the pods from `first` to `end` are Running.
pub fn up(root: &Path, first: usize, end: usize) -> f64 {
    let mut manifest = String::new();
    for number in first..end {
        writeln!(
            manifest,
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: p{number}}}\nspec:\n  containers:\n  \
             - {{name: a, image: host, command: [sleep, infinity]}}"
        )
        .expect("text");
    }
    let file = root.join("pods.yaml");
    fs::write(&file, manifest).expect("manifest");
    seconds(|| {
        podctl(root, &["apply", "-f", &file.to_string_lossy()]);
        let mut pending: Vec<String> = (first..end).map(|number| format!("p{number}")).collect();
        loop {
            pending.retain(|name| !is_running(root, name));
            if pending.is_empty() {
                return;
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    })
}

fn is_running(root: &Path, name: &str) -> bool {
    let pod = store(root).get("default", name).expect("a stored pod");
    pod.status.is_some_and(|status| status.phase.as_deref() == Some("Running"))
}
