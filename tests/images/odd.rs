//! Archives at the edges of their format: the same tree as umoci's, or refused, and by whom.

use crate::build::{Member, Scene, skip, tar_of};
use crate::umoci::{Case, Outcome, compare};

/// What is to come of it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wanted {
    Same,
    /// By umoci too, in words of its own.
    Refused(&'static str),
    /// Only by us.
    Stricter(&'static str),
}
use Wanted::{Refused, Same, Stricter};

fn file(name: &str) -> Member<'_> {
    Member::file(name, b"content")
}

fn with_pax<'a>(member: Member<'a>, pax: &[(&'a str, &'a [u8])]) -> Member<'a> {
    Member { pax: pax.to_vec(), ..member }
}

type Members = Vec<(&'static str, Wanted, Vec<Member<'static>>)>;

fn names() -> Members {
    let long: &str = Box::leak(format!("{}/{}", "d".repeat(200), "f".repeat(200)).into_boxed_str());
    let longest: &str = Box::leak("n".repeat(255).into_boxed_str());
    let too_long: &str = Box::leak("n".repeat(256).into_boxed_str());
    vec![
        (
            "names",
            Same,
            vec![
                file("./a"),
                file("/b"),
                file("c//d"),
                file(".//e"),
                Member::dir("f//"),
                file("..g"),
            ],
        ),
        (
            "odd names",
            Same,
            vec![file("\n"), file(" "), file("*"), file("\u{e4}\\"), file("-rf"), file("...")],
        ),
        ("slash after a file", Same, vec![file("f/"), Member::symlink("l/", "f")]),
        ("long name", Same, vec![with_pax(file("x"), &[("path", long.as_bytes())])]),
        ("longest name", Same, vec![with_pax(file("x"), &[("path", longest.as_bytes())])]),
        (
            "too long a name",
            Refused("ENAMETOOLONG"),
            vec![with_pax(file("x"), &[("path", too_long.as_bytes())])],
        ),
        (
            "long link",
            Same,
            vec![with_pax(Member::symlink("l", "x"), &[("linkpath", long.as_bytes())])],
        ),
        (
            "twice",
            Same,
            vec![
                file("a"),
                Member::dir("a/"),
                file("a/b"),
                Member::symlink("a", "c"),
                file("c"),
                Member::fifo("c"),
                Member::dir("e/"),
                file("e/f"),
                Member { mode: 0o700, ..Member::dir("e/") },
            ],
        ),
        ("dots", Stricter("`..` in a name"), vec![file("a/../b")]),
        ("out", Stricter("`..` in a name"), vec![file("../../../a")]),
    ]
}

/// Owners, times, attributes, modes.
fn attributes() -> Members {
    let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0".as_slice();
    vec![
        (
            "owners",
            Same,
            vec![
                Member { owner: (3_000_000_000, 4_000_000_000), ..file("a") },
                with_pax(file("b"), &[("uid", b"2147483648"), ("gid", b"5")]),
            ],
        ),
        (
            "times",
            Same,
            vec![
                with_pax(file("a"), &[("mtime", b"-86400")]),
                with_pax(file("b"), &[("mtime", b"-1.25")]),
                with_pax(file("c"), &[("mtime", b"12345.999999999")]),
                Member { mtime: 0x1_0000_0000, ..file("d") },
            ],
        ),
        (
            "bits",
            Same,
            vec![
                Member { mode: 0o7777, owner: (5, 6), ..file("f") },
                Member { mode: 0o7000, owner: (5, 6), ..Member::dir("d") },
            ],
        ),
        (
            "attributes",
            Same,
            vec![
                with_pax(
                    file("f"),
                    &[
                        ("SCHILY.xattr.user.a", b"1\n\0=2"),
                        ("SCHILY.xattr.user.empty", b""),
                        ("SCHILY.xattr.trusted.t", b"t"),
                    ],
                ),
                with_pax(Member::dir("d/"), &[("SCHILY.xattr.user.d", b"d")]),
            ],
        ),
        (
            "capabilities",
            Same,
            vec![with_pax(
                Member { owner: (7, 8), ..file("f") },
                &[("SCHILY.xattr.security.capability", capability)],
            )],
        ),
        (
            "broken capabilities",
            Refused("set attribute security.capability"),
            vec![with_pax(file("f"), &[("SCHILY.xattr.security.capability", b"no")])],
        ),
    ]
}

/// Kinds, and what stands in the way of what.
fn kinds() -> Members {
    let zero = |member| Member { mode: 0, ..member };
    vec![
        (
            "devices",
            Same,
            vec![
                Member::device("c", (1, 3)),
                Member { kind: tar::EntryType::Block, ..Member::device("b", (259, 70_000)) },
                Member::fifo("p"),
            ],
        ),
        (
            "a hard link to each kind",
            Same,
            vec![
                Member::symlink("l", "nowhere"),
                Member::fifo("p"),
                Member::device("c", (1, 5)),
                Member::hard_link("l2", "l"),
                Member::hard_link("p2", "p"),
                Member::hard_link("c2", "c"),
                Member::hard_link("/l3", "/l2"),
            ],
        ),
        (
            "a hard link to what comes later",
            Refused("which is no file"),
            vec![Member::hard_link("a", "b"), file("b")],
        ),
        (
            "a hard link to what was hidden",
            Refused("which is no file"),
            vec![Member::hard_link("a", ".wh.b"), file("b")],
        ),
        ("a hard link with data", Same, vec![file("a"), Member::hard_link("b", "a"), file("c")]),
        (
            "a link out",
            Same,
            vec![Member::symlink("l", "../../../../../tmp"), file("l/runp-odd-test")],
        ),
        ("a parent that is a file", Refused("ENOTDIR"), vec![file("a"), file("a/b")]),
        (
            "a loop",
            Refused("ELOOP"),
            vec![Member::symlink("a", "b"), Member::symlink("b", "a"), file("a/x")],
        ),
        (
            "a root",
            Same,
            vec![Member { mode: 0o711, owner: (1, 2), ..Member::dir("./") }, file("f")],
        ),
        (
            "a directory after its files",
            Same,
            vec![file("d/f"), Member::dir("d/e/"), zero(Member::dir("d/")), zero(file("g"))],
        ),
    ]
}

/// A tar with some of its bytes changed, or cut.
fn bytes() -> Vec<(&'static str, Wanted, Vec<u8>)> {
    let plain = || tar_of(&[file("a"), file("b")]);
    let edit = |at: usize, byte: u8| {
        let mut tar = plain();
        tar[at] = byte;
        tar
    };
    let unsummed = |at: usize, text: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.as_mut_bytes().copy_from_slice(&plain()[..512]);
        header.as_mut_bytes()[at..at + text.len()].copy_from_slice(text);
        header.set_cksum();
        [header.as_bytes().as_slice(), &plain()[512..]].concat()
    };
    let record = |text: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::XHeader);
        header.set_size(text.len() as u64);
        header.set_cksum();
        let padding = vec![0; (512 - text.len() % 512) % 512];
        [header.as_bytes().as_slice(), text, &padding, &plain()].concat()
    };
    let huge = format!("{} comment={}\n", 1_500_018, "x".repeat(1_500_000));
    vec![
        ("nothing", Same, Vec::new()),
        ("one block of zeros", Same, vec![0; 512]),
        ("no end", Same, plain()[..2048].to_vec()),
        ("something after the end", Same, [plain(), b"what is this".to_vec()].concat()),
        ("a wrong sum", Refused("not a tar header at byte 0"), edit(0, b'c')),
        ("a wrong second sum", Refused("not a tar header at byte 1024"), edit(1024, b'c')),
        ("cut in a header", Refused("archive ends within a header"), plain()[..1300].to_vec()),
        ("cut in data", Refused("the archive ends early"), plain()[..516].to_vec()),
        ("cut in padding", Stricter("the archive ends early"), plain()[..600].to_vec()),
        ("no number for a size", Refused("numeric field"), unsummed(124, b"12x45678901")),
        ("a negative size", Refused("2^63"), unsummed(124, &[0xff; 12])),
        ("a size in base 256", Same, unsummed(124, &[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7])),
        ("an old tar", Same, unsummed(257, &[0; 8])),
        ("empty numbers", Same, unsummed(100, &[0; 24])),
        ("a pax record cut", Refused("a pax record whose length is wrong"), record(b"30 path=x\n")),
        (
            "a pax record without =",
            Refused("a pax record whose length is wrong"),
            record(b"8 pathx\n"),
        ),
        ("a huge comment", Refused("an extension record of"), record(huge.as_bytes())),
        ("a size of pax that is none", Refused("not a decimal number"), record(b"11 size=-1\n")),
    ]
}

#[test]
fn odd_archives_give_umocis_tree_or_are_refused() {
    if skip(&["umoci", "getfattr"]) {
        return;
    }
    let scene = Scene::new();
    let mut wanted = Vec::new();
    let mut cases = Vec::new();
    let members = names().into_iter().chain(attributes()).chain(kinds());
    let made = members.map(|(name, wanted, members)| (name, wanted, tar_of(&members)));
    for (name, want, tar) in made.chain(bytes()) {
        wanted.push(want);
        cases.push(Case { name: name.to_owned(), layers: vec![tar] });
    }
    let outcomes = compare(&scene, &cases);
    let wrong: Vec<String> =
        outcomes.iter().zip(wanted).filter_map(|(it, want)| verdict(it, want)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(!std::path::Path::new("/tmp/runp-odd-test").exists());
}

fn verdict(outcome: &Outcome, wanted: Wanted) -> Option<String> {
    let is_so = match (wanted, &outcome.ours, &outcome.theirs) {
        (Same, Ok(ours), Ok(theirs)) => ours == theirs,
        (Refused(why), Err(ours), Err(_)) | (Stricter(why), Err(ours), Ok(_)) => ours.contains(why),
        _ => false,
    };
    (!is_so).then(|| {
        format!(
            "== {}: not {wanted:?}\n-- ours\n{:?}\n-- umoci\n{:?}",
            outcome.name, outcome.ours, outcome.theirs
        )
    })
}
