//! What reads costs with ten pods, beside a program that does nothing.

use super::many::up;
use super::pod::podctl;
use super::{Figure, Timed, figure, in_turn, succeed};

const PODS: usize = 10;
const ROUNDS: usize = 20;
/// `top` is not among them: it measures for 100 ms.
const READS: [&[&str]; 8] = [
    &["get", "pods"],
    &["get", "pods", "-o", "yaml"],
    &["describe", "pods"],
    &["logs", "p0"],
    &["events"],
    &["tree", "p0"],
    &["timeline", "p0"],
    &["images"],
];

/// One figure for each: what it takes more than the empty program.
pub fn figures(empty: &str) -> Vec<Figure> {
    let root = tempfile::tempdir().expect("a root");
    up(root.path(), 0, PODS);
    let names = READS.map(|read| read.join(" "));
    let mut timed: Vec<Timed<'_>> = vec![("empty", Box::new(|| succeed(empty, [""; 0])))];
    for (name, read) in names.iter().zip(READS) {
        timed.push((name, Box::new(|| podctl(root.path(), read))));
    }
    let times = in_turn(ROUNDS, timed);
    podctl(root.path(), &["delete", "pods", "--all", "--grace-period=0", "--force"]);
    let (_, nothing) = times[0];
    let more = |(name, time): &(String, f64)| {
        let own = [("runp".to_owned(), time - nothing), ("the empty program".to_owned(), nothing)];
        figure(&format!("{name}, more than empty"), "ms", &own)
    };
    times[1..].iter().map(more).collect()
}
