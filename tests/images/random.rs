//! Layers that nobody would write, by chance: every kind of member under a handful of names, so that
//! they replace, hide, link to and stand in the way of each other, within a layer and across layers.
//! What comes of them is what umoci makes of them, and what lies outside is not touched.

use crate::build::{Member, Scene, sh, skip, tar_of};
use crate::umoci::{Case, compare};
use std::fmt::Write;

const CASES: u64 = 40;
const LAYERS: u64 = 3;
const NAMES: [&str; 9] = ["a", "b", "c", "a/x", "a/y", "b/x", "c/x/z", "a/x/deep", "d/"];
const TARGETS: [&str; 9] =
    ["a", "b", "x", "/b", "../a", "../../../..", "/nowhere/far", "a/x", "CANARY"];

/// More than one block.
const LONG: [u8; 9000] = [7; 9000];

/// Xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 8) % limit
    }

    fn pick<'a, T: Copy + 'a>(&mut self, from: impl IntoIterator<Item = &'a T>) -> T {
        let from: Vec<T> = from.into_iter().copied().collect();
        from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }
}

/// The names that a member needs to live as long as it does.
struct Words {
    whiteouts: Vec<String>,
    canary: String,
}

fn words(canary: &str) -> Words {
    let hide = |name: &&str| match name.rsplit_once('/') {
        Some((parent, "")) => format!("{parent}/.wh..wh..opq"),
        Some((parent, name)) => format!("{parent}/.wh.{name}"),
        None => format!(".wh.{name}"),
    };
    let opaque = ["a/.wh..wh..opq", "c/x/.wh..wh..opq"].map(str::to_owned);
    let whiteouts = NAMES.iter().map(hide).chain(opaque).collect();
    Words { whiteouts, canary: canary.to_owned() }
}

fn member<'a>(random: &mut Random, words: &'a Words) -> Member<'a> {
    let name = random.pick(&NAMES);
    let target = match random.pick(&TARGETS) {
        "CANARY" => words.canary.as_str(),
        target => target,
    };
    let member = match random.below(14) {
        0..=3 => Member::file(name, random.pick(&[b"".as_slice(), b"one", b"another", &LONG])),
        4..=6 => Member::dir(name),
        7 => Member::symlink(name, target),
        // A link to itself umoci removes before it looks for it.
        8 => Member::hard_link(name, random.pick(NAMES.iter().filter(|it| **it != name))),
        9 => Member::fifo(name),
        10 => Member::device(name, random.pick(&[(1, 3), (7, 300), (0, 1)])),
        _ => {
            let at = random.below(words.whiteouts.len() as u64);
            Member::file(&words.whiteouts[usize::try_from(at).unwrap()], b"")
        }
    };
    Member {
        mode: random.pick(&[0o644, 0o755, 0o4755, 0o2711, 0o1777, 0o700, 0]),
        owner: random.pick(&[(0, 0), (1, 2), (65_534, 70_000), (3_000_000_000, 5)]),
        mtime: random.pick(&[0, 1, 1_000_000_000, 1_500_000_000]),
        ..member
    }
}

fn layers(seed: u64, words: &Words) -> Vec<Vec<Member<'_>>> {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let layers = 1 + random.below(LAYERS);
    (0..layers)
        .map(|_| (0..2 + random.below(7)).map(|_| member(&mut random, words)).collect())
        .collect()
}

/// A layer in words.
fn told(layers: &[Vec<Member<'_>>]) -> String {
    let mut text = String::new();
    for (number, layer) in layers.iter().enumerate() {
        for it in layer {
            let kind = it.kind;
            writeln!(
                text,
                "{number}: {kind:?} {} {} {:o} {:?} {}",
                it.name, it.link, it.mode, it.owner, it.mtime
            )
            .unwrap();
        }
    }
    text
}

#[test]
fn layers_by_chance_give_the_tree_that_umoci_makes() {
    if skip(&["umoci", "getfattr"]) {
        return;
    }
    let scene = Scene::new();
    let canary = scene.path("canary");
    std::fs::create_dir_all(canary.join("x")).unwrap();
    std::fs::write(canary.join("y"), "canary").unwrap();
    let look =
        || sh("cd \"$1\"; find . -printf '%P %y %m %U %G %s %C@ %T@ %n\\n' | sort", &[&canary]);
    let before = look();
    let words = words(&canary.display().to_string());
    let tars = |seed| layers(seed, &words).iter().map(|layer| tar_of(layer)).collect();
    let cases: Vec<Case> =
        (0..CASES).map(|seed| Case { name: seed.to_string(), layers: tars(seed) }).collect();
    let outcomes = compare(&scene, &cases);
    assert_eq!(look(), before);
    let mut same = 0;
    let mut wrong = String::new();
    for outcome in &outcomes {
        let seed = outcome.name.parse().unwrap();
        match (&outcome.ours, &outcome.theirs) {
            (Ok(ours), Ok(theirs)) if ours == theirs => same += 1,
            (Err(_), Err(_)) => {}
            (ours, theirs) => {
                writeln!(
                    wrong,
                    "== {seed}\n{}-- ours\n{}\n-- umoci\n{}",
                    told(&layers(seed, &words)),
                    show(ours),
                    show(theirs)
                )
                .unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "{same} same\n{wrong}");
}

fn show(outcome: &Result<String, String>) -> String {
    match outcome {
        Ok(tree) => tree.clone(),
        Err(error) => format!("refused: {error}"),
    }
}
