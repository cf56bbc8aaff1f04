//! Hostile layers: they stay inside or are refused, quickly, and leave nothing. What lies outside
//! is a canary whose content and neighbours must not change.

use crate::build::{Member, Scene, skip, tar_of};
use runp::image::rootfs;
use runp::image::users::Wanted;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// A scene with a canary, and a link to it for layers to use: `<dir>/canary/file`.
fn scene() -> (Scene, String) {
    let scene = Scene::new();
    let canary = scene.path("canary");
    fs::create_dir(&canary).unwrap();
    fs::write(canary.join("file"), "canary").unwrap();
    let path = canary.to_string_lossy().into_owned();
    (scene, path)
}

fn assert_untouched(canary: &str, case: &str) {
    let names: Vec<_> =
        fs::read_dir(canary).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["file"], "{case}");
    let file = Path::new(canary).join("file");
    let metadata = file.metadata().unwrap();
    assert_eq!(fs::read(&file).unwrap(), b"canary", "{case}");
    assert_eq!((metadata.mode() & 0o7777, metadata.nlink()), (0o644, 1), "{case}");
}

#[test]
fn nothing_gets_out_through_links() {
    if skip(&[]) {
        return;
    }
    let (scene, canary) = scene();
    let up = format!("../../../../../../../../..{canary}");
    let mode = |member| Member { mode: 0o777, ..member };
    for (case, members) in [
        ("write", vec![Member::symlink("l", &canary), mode(Member::file("l/file", b"x"))]),
        ("write relative", vec![Member::symlink("l", &up), mode(Member::file("l/file", b"x"))]),
        ("new file", vec![Member::symlink("l", &canary), Member::file("l/new", b"x")]),
        (
            "link to link",
            vec![
                Member::symlink("a", "b"),
                Member::symlink("b", &canary),
                Member::file("a/new", b"x"),
            ],
        ),
        (
            "file through itself",
            vec![Member::symlink("f", "/canary/file"), Member::file("f", b"x")],
        ),
        ("directory", vec![Member::symlink("l", &canary), mode(Member::dir("l/"))]),
        ("whiteout", vec![Member::symlink("l", &canary), Member::file("l/.wh.file", b"")]),
        ("opaque", vec![Member::symlink("l", &canary), Member::file("l/.wh..wh..opq", b"")]),
        ("device", vec![Member::symlink("l", &canary), Member::fifo("l/fifo")]),
        (
            "directory becomes link",
            vec![
                Member::dir("d/"),
                Member::file("d/x", b""),
                Member::symlink("d", &canary),
                Member::file("d/file", b"x"),
            ],
        ),
    ] {
        let layer = tar_of(&members);
        let image = scene.load_layers(std::slice::from_ref(&layer)).unwrap();
        assert_untouched(&canary, case);
        // And when the link comes from the layer below.
        let below = tar_of(&members[..members.len() - 1]);
        scene.load_layers(&[below, tar_of(&members[members.len() - 1..])]).unwrap();
        assert_untouched(&canary, case);
        assert!(image.layers[0].starts_with(scene.path("store")), "{case}");
    }
}

#[test]
fn names_and_targets_that_lead_out_are_refused() {
    if skip(&[]) {
        return;
    }
    let (scene, canary) = scene();
    let up = "`..` in a name of a layer is refused";
    let inside = format!("hard link to {}, which is no file", &canary[1..]);
    let file = format!("{canary}/file");
    for (members, why) in [
        (vec![Member::file("../x", b"")], up),
        (vec![Member::file("a/../../x", b"")], up),
        (vec![Member::file("/../x", b"")], up),
        (vec![Member::dir("..")], up),
        (vec![Member::hard_link("h", "../../canary/file")], up),
        (vec![Member::hard_link("h", &canary)], &inside),
        (vec![Member::symlink("l", &file), Member::hard_link("h", "l/x")], "which is no file"),
        (vec![Member::dir("d/"), Member::hard_link("h", "d")], "which is no file"),
        (vec![Member::file("x", b""), Member::file("x/y", b"")], "ENOTDIR"),
        (vec![Member::file(".wh.", b"")], "a whiteout that names no file"),
        (vec![Member::file("a/.wh...", b"")], "a whiteout that names no file"),
        (
            vec![Member::symlink("a", "b"), Member::symlink("b", "a"), Member::file("a/x", b"")],
            "ELOOP",
        ),
        (vec![Member::file("", b"")], "the root can only be a directory"),
        (
            vec![Member { owner: (u64::from(u32::MAX), 0), ..Member::file("x", b"") }],
            "an owner above",
        ),
        (
            vec![Member { kind: tar::EntryType::new(b'V'), ..Member::file("x", b"") }],
            "unknown type 'V'",
        ),
    ] {
        let layer = tar_of(&members);
        let error = scene.load_layers(&[layer]).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
        assert!(scene.store.list().unwrap().is_empty());
        assert_untouched(&canary, why);
    }
}

#[test]
fn the_last_member_of_a_name_wins() {
    if skip(&[]) {
        return;
    }
    let scene = Scene::new();
    let image = scene.load_layers(&[tar_of(&[
        Member::dir("a/"),
        Member::file("a/deep", b""),
        Member::file("a", b"file"),
        Member::file("b", b""),
        Member::dir("b/"),
        Member::symlink("c", "a"),
        Member::file("c", b"own"),
        Member::file("d", b"one"),
        Member::hard_link("e", "d"),
        Member::hard_link("d", "d"),
        Member::file("d", b"two"),
        Member { mode: 0o700, ..Member::dir("./") },
        Member::file("/absolute", b""),
    ])]);
    let root = image.unwrap().layers[0].clone();
    let read = |name: &str| fs::read_to_string(root.join(name)).unwrap();
    assert_eq!(
        (read("a"), read("c"), read("d"), read("e")),
        ("file".into(), "own".into(), "two".into(), "one".into())
    );
    assert!(root.join("b").is_dir() && root.join("absolute").is_file());
    assert_eq!(fs::metadata(&root).unwrap().mode() & 0o7777, 0o700);
}

#[test]
fn attributes_that_steer_overlayfs_are_not_taken() {
    if skip(&[]) {
        return;
    }
    let scene = Scene::new();
    let overlay: Vec<Member<'_>> = vec![
        Member { xattr: Some(("trusted.overlay.redirect", b"/etc")), ..Member::dir("d/") },
        Member { xattr: Some(("trusted.overlay.metacopy", b"")), ..Member::file("f", b"") },
        Member { xattr: Some(("user.kept", b"a\nb=\0c")), ..Member::file("g", b"") },
    ];
    let image = scene.load_layers(&[tar_of(&overlay)]).unwrap();
    let value = |name: &str, key: &str| {
        let file = fs::File::open(image.layers[0].join(name)).unwrap();
        runp::sys::inode::getxattr(file, key.as_ref())
    };
    let none = Err(nix::errno::Errno::ENODATA);
    assert_eq!(value("d", "trusted.overlay.redirect"), none);
    assert_eq!(value("f", "trusted.overlay.metacopy"), none);
    assert_eq!(value("g", "user.kept").unwrap(), b"a\nb=\0c");
}

/// Extension records and sparse maps that ask for more memory than there is.
#[test]
fn memory_is_bounded() {
    if skip(&[]) {
        return;
    }
    let scene = Scene::new();
    let huge = |kind: u8| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_size(1 << 40);
        header.set_cksum();
        header.as_bytes().to_vec()
    };
    for kind in *b"LKx" {
        let error = scene.load_layers(&[huge(kind)]).unwrap_err().to_string();
        assert!(error.contains("an extension record of 1099511627776 bytes"), "{error}");
    }
    // Zeros that gzip packs to nothing are written as a file, not kept in memory.
    let mut many = tar_of(&[Member::file("zeros", &vec![0; 8 << 20])]);
    let image = scene.load_layers(&[std::mem::take(&mut many)]).unwrap();
    assert_eq!(fs::metadata(image.layers[0].join("zeros")).unwrap().len(), 8 << 20);
    assert!(image.size < 1 << 20);
}

#[test]
fn users_are_looked_up_in_the_merged_tree() {
    if skip(&[]) {
        return;
    }
    let (scene, canary) = scene();
    let passwd = format!("{canary}/file");
    let user = |layers: &[Vec<u8>], name: &str| {
        let image = scene.load_layers(layers).unwrap();
        let started = Instant::now();
        let found = rootfs::user(&image, Wanted { image: name, ..Wanted::default() });
        assert!(started.elapsed() < Duration::from_secs(20));
        found.map(|user| (user.uid, user.gid, user.groups)).map_err(|error| error.to_string())
    };
    let base = tar_of(&[
        Member::file("etc/passwd", b"web:x:7:8::/:\nold:x:1:1::/:\n"),
        Member::file("etc/group", b"log:x:9:web\n"),
    ]);
    assert_eq!(user(std::slice::from_ref(&base), "web").unwrap(), (7, 8, vec![8, 9]));
    // A higher layer's file counts; its whiteout and opaque marks do; links stay inside.
    let above = tar_of(&[Member::file("etc/passwd", b"web:x:70:8::/:\n")]);
    assert_eq!(user(&[base.clone(), above], "web").unwrap().0, 70);
    let gone = tar_of(&[Member::file("etc/.wh.group", b"")]);
    assert_eq!(user(&[base.clone(), gone], "web").unwrap(), (7, 8, vec![8]));
    let moved = tar_of(&[
        Member::symlink("etc", "/../usr/etc"),
        Member::file("usr/etc/passwd", b"web:x:77:8::/:\n"),
    ]);
    assert_eq!(user(&[base.clone(), moved], "web").unwrap(), (77, 8, vec![8]));
    let opaque = tar_of(&[Member::dir("etc/"), Member::file("etc/.wh..wh..opq", b"")]);
    let missing = "unable to find user web: no matching entries in passwd file";
    assert_eq!(user(&[base.clone(), opaque], "web").unwrap_err(), missing);
    let out = tar_of(&[Member::symlink("etc/passwd", &passwd)]);
    assert_eq!(user(&[base.clone(), out], "web").unwrap_err(), missing);
    for (odd, why) in [
        (Member::fifo("etc/passwd"), "etc/passwd is not a file"),
        (Member::dir("etc/passwd"), "etc/passwd is not a file"),
        (Member::symlink("etc/passwd", "passwd"), "ELOOP"),
    ] {
        let error = user(&[base.clone(), tar_of(&[odd])], "7").unwrap_err();
        assert!(error.contains(why), "{error}");
    }
    let large = vec![b'#'; 5 << 20];
    let large = tar_of(&[Member::file("etc/passwd", &large)]);
    let error = user(&[base, large], "7").unwrap_err();
    assert!(error.contains("read etc/passwd of the image: EFBIG"), "{error}");
}
