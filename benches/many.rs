//! A thousand pods of one root: up in hundreds, listed, and down at once.

use super::pod::{engine, podctl};
use super::{Figure, figure, median};
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

const PODS: usize = 1000;
const BATCH: usize = 100;
const LISTINGS: usize = 11;
/// A watch would list a thousand pods at each of their thousands of changes.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

pub fn figures() -> Vec<Figure> {
    let root = tempfile::tempdir().expect("a root");
    let batches: Vec<f64> = (0..PODS / BATCH)
        .map(|batch| up(root.path(), batch * BATCH, (batch + 1) * BATCH))
        .collect();
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
        figure("their last hundred to the first", "x", &ours(growth)),
        figure("get pods of 1,000", "ms", &ours(median(listings))),
        figure("1,000 pods down", "s", &ours(down)),
    ]
}

/// Seconds until the pods from `first` to `end` are Running.
fn up(root: &Path, first: usize, end: usize) -> f64 {
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
        let engine = engine(root);
        let running = || {
            let pods = engine.list_brief(None).expect("pods");
            let runs = |pod: &runp::kube::Pod| {
                pod.status.as_ref().is_some_and(|it| it.phase.as_deref() == Some("Running"))
            };
            pods.iter().filter(|pod| runs(pod)).count()
        };
        while running() < end {
            std::thread::sleep(LOOK_AGAIN);
        }
    })
}

fn seconds(work: impl FnOnce()) -> f64 {
    let begin = Instant::now();
    work();
    begin.elapsed().as_secs_f64()
}
