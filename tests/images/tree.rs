//! What stands in the merged tree of an image's layers.

use crate::build::{Member, Scene, sh, skip, tar_of};
use crate::nginx::nginx_archive;
use runp::image::users::Wanted;
use runp::image::{Image, config, rootfs};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Every file with its attributes and content, as overlayfs shows the layers.
fn merged_tree(scene: &Scene, image: &Image) -> String {
    // One more, empty, layer: overlayfs wants two where nothing is written.
    let extra = scene.path("extra");
    std::fs::create_dir_all(&extra).unwrap();
    let layers: Vec<String> =
        image.layers.iter().rev().map(|layer| layer.to_string_lossy().into_owned()).collect();
    let options = format!("ro,lowerdir={}:{}", layers.join(":"), extra.display());
    let script = "mkdir -p \"$2\"; exec unshare -m sh -euc '
        mount -t overlay overlay -o \"$1\" \"$2\"; cd \"$2\"; "
        .to_owned()
        + LISTING
        + "' sh \"$1\" \"$2\"";
    sh(&script, &[Path::new(&options), &scene.path("merged")])
}

const LISTING: &str = r#"find . -printf "%P|%y|%m|%U:%G|%Ts|%l|%n\n" | sed -E "s/^(.*\|d\|.*)\|[0-9]+$/\1/" | sort
    find . -type f -exec sha256sum {} + | sort -k2
    getcap -r . 2>/dev/null | sort"#;

/// The same of a directory.
fn tree(dir: &Path) -> String {
    sh(&format!("cd \"$1\"; {LISTING}"), &[dir])
}

/// Three layers by umoci, with files and directories removed, replaced and emptied in turn. What
/// a layer changes gets a time in the past: umoci rounds times, and treats the future its own way.
const LAYERS: &str = r#"
    cd "$1"
    begin() { umoci unpack --image layout:latest $1; r=$1/rootfs; touch -d '1 second ago' mark; }
    end() { find $r -newer mark -exec touch -h -d "$2" {} +; umoci repack --image layout:latest $1; }
    umoci init --layout layout; umoci new --image layout:latest

    begin b1
    mkdir -p $r/etc $r/usr/lib/deep/er $r/opaque/sub $r/gone $r/sticky $r/tofile
    ln -s usr/lib $r/lib
    echo root:x:0:0:root:/root:/bin/sh > $r/etc/passwd
    seq 100000 > $r/usr/lib/big; ln $r/usr/lib/big $r/usr/lib/deep/hard
    echo a > $r/opaque/a; echo b > $r/opaque/sub/b; echo c > $r/gone/c; echo d > $r/tofile/d
    chmod 1777 $r/sticky; chown 12:34 $r/opaque/a; chmod 4755 $r/opaque/a
    mkfifo -m 640 $r/etc/fifo; mknod -m 620 $r/etc/null c 1 3
    cp /bin/true $r/etc/capable; setcap cap_net_raw,cap_fowner,cap_dac_override+ep $r/etc/capable
    truncate -s 3M $r/sparse; printf end >> $r/sparse
    printf 'n\303\244me' > "$r/$(printf 'long%0200d' 7)"
    end b1 '2001-02-03 04:05:06 UTC'

    begin b2
    rm -r $r/gone $r/opaque $r/tofile; mkdir $r/opaque; echo new > $r/opaque/new; echo f > $r/tofile
    echo more > $r/lib/deep/more; rm $r/etc/fifo
    end b2 '2002-02-03 04:05:06 UTC'

    begin b3
    rm $r/lib $r/opaque/new; mkdir $r/lib $r/gone; echo own > $r/lib/own; echo back > $r/gone/c
    end b3 '2003-02-03 04:05:06 UTC'
    umoci unpack --image layout:latest out"#;

#[test]
fn layers_merge_to_the_tree_that_umoci_unpacks() {
    if skip(&["umoci", "setcap"]) {
        return;
    }
    let scene = Scene::new();
    sh(LAYERS, &[scene.dir.path()]);
    let image = scene.store.load(&scene.path("layout"), None).unwrap().remove(0);
    assert_eq!(image.layers.len(), 3);
    let (ours, theirs) = (merged_tree(&scene, &image), tree(&scene.path("out/rootfs")));
    pretty_eq(&ours, &theirs);
    assert!(ours.contains("capable cap_dac_override"), "{ours}");
}

/// Files with holes, long names, times before 1970, large owners, attributes, as tar writes them in
/// each of its formats.
#[test]
fn every_tar_format_gives_the_same_tree() {
    if skip(&["tar"]) {
        return;
    }
    let scene = Scene::new();
    sh(
        r#"mkdir "$1/src"; cd "$1/src"
        for at in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29; do
            printf "piece $at" | dd of=holes bs=1 seek=$((at * 100000)) conv=notrunc status=none
        done
        truncate -s 5M holes empty-end; printf start | dd of=empty-end conv=notrunc status=none
        truncate -s 1M all-hole; : > empty; printf '\nbinary\0' > plain
        long=$(printf 'name%0150d' 1); mkdir -p "$long/$long"; echo deep > "$long/$long/$long"
        ln -s "$long/$long/$long" link; ln "$long/$long/$long" hard
        touch -d '1960-01-01 UTC' plain; chown 3000000:4000000 plain
        find . -newermt 2020-01-01 -exec touch -h -d '2001-02-03 UTC' {} +"#,
        &[scene.dir.path()],
    );
    let source = tree(&scene.path("src"));
    for format in [
        "--format=gnu",
        "--format=gnu --sparse",
        "--format=pax",
        "--format=pax --sparse --sparse-version=0.0",
        "--format=pax --sparse --sparse-version=0.1",
        "--format=pax --sparse --sparse-version=1.0",
    ] {
        sh(&format!("tar {format} -C \"$1/src\" -cf \"$1/layer.tar\" ."), &[scene.dir.path()]);
        let layer = std::fs::read(scene.path("layer.tar")).unwrap();
        let image = scene.load_layers(&[layer]).unwrap_or_else(|error| panic!("{format}: {error}"));
        pretty_eq(&tree(&image.layers[0]), &source);
        if format.contains("sparse") {
            let holes = std::fs::metadata(image.layers[0].join("holes")).unwrap();
            assert!(holes.blocks() * 512 < holes.len() / 2, "{format}: the holes are filled");
        }
    }
}

#[test]
fn the_image_of_the_real_manifest() {
    if skip(&["dpkg-deb"]) {
        return;
    }
    let scene = Scene::new();
    let image = scene.store.load(&nginx_archive(), None).unwrap().remove(0);
    assert_eq!(image.names, ["docker.io/library/nginx:1.15.2"]);
    let argv = config::argv(&image.config, &[], &[]).unwrap();
    assert_eq!(argv, ["nginx", "-g", "daemon off;"]);
    let tree = merged_tree(&scene, &image);
    for file in ["usr/sbin/nginx|f|755", "usr/bin/sh|l|777", "usr/share/zoneinfo/Asia/Shanghai|f"] {
        assert!(tree.lines().any(|line| line.starts_with(file)), "{file}");
    }
    let wanted = Wanted { image: "www-data", ..Wanted::default() };
    assert_eq!(rootfs::user(&image, wanted).unwrap().uid, 33);
}

/// Parents that a layer leaves out, links of lower layers in its paths, files it links to.
#[test]
fn a_layer_is_unpacked_onto_those_below() {
    if skip(&[]) {
        return;
    }
    let scene = Scene::new();
    let base = tar_of(&[
        Member { mode: 0o1777, owner: (1, 2), ..Member::dir("tmp/") },
        Member::dir("usr/"),
        Member::dir("usr/lib/"),
        Member::symlink("lib", "usr/lib"),
        Member { mode: 0o4711, ..Member::file("usr/lib/program", b"program") },
        Member::dir("replaced/"),
        Member::file("replaced/below", b""),
    ]);
    let upper = tar_of(&[
        Member::file("tmp/file", b"content"),
        Member::file("lib/new", b"new"),
        Member::hard_link("lib/same", "lib/program"),
        Member::file(".wh.replaced", b""),
        Member::file("replaced/above", b""),
        Member::file(".wh.never-there", b""),
    ]);
    let image = scene.load_layers(&[base, upper]).unwrap();
    let tree = merged_tree(&scene, &image);
    for line in [
        "tmp|d|1777|1:2|",
        "tmp/file|f|644|",
        "lib|l|777|0:0|1000000000|usr/lib|",
        "usr/lib/new|f|",
        "usr/lib/same|f|4711|0:0|1000000000||2",
        "usr/lib/program|f|4711|0:0|1000000000||2",
        "replaced/above|f|",
    ] {
        assert!(tree.lines().any(|found| found.starts_with(line)), "{line}\n{tree}");
    }
    assert!(!tree.contains("replaced/below") && !tree.contains("never-there"), "{tree}");
}

/// An opaque root, whiteouts beside an opaque mark, a file and its whiteout in one layer.
#[test]
fn whiteouts_hide_lower_layers_only() {
    if skip(&[]) {
        return;
    }
    let scene = Scene::new();
    let base = tar_of(&[
        Member::dir("a/"),
        Member::file("a/old", b""),
        Member::dir("a/sub/"),
        Member::file("a/sub/old", b""),
        Member::file("b", b"old"),
        Member::dir("c/"),
        Member::file("c/old", b""),
    ]);
    let middle = tar_of(&[
        Member::dir("a/"),
        Member::file("a/.wh.old", b""),
        Member::file("a/sub/.wh.old", b""),
        Member::file("a/new", b""),
        Member::file("a/.wh..wh..opq", b""),
        Member::file("b", b"new"),
        Member::file(".wh.b", b""),
        Member::dir("c/"),
        Member::file("c/new", b""),
        Member::file(".wh.c", b""),
        Member::file(".wh..wh.plnk", b""),
    ]);
    let image = scene.load_layers(&[base.clone(), middle.clone()]).unwrap();
    let names = names(&merged_tree(&scene, &image));
    assert_eq!(names, ["", "a", "a/new", "a/sub", "b", "c", "c/new"]);

    let top = tar_of(&[Member::file(".wh..wh..opq", b""), Member::file("only", b"")]);
    let image = scene.load_layers(&[base, middle, top]).unwrap();
    assert_eq!(self::names(&merged_tree(&scene, &image)), ["", "only"]);
}

fn names(tree: &str) -> Vec<String> {
    let lines = tree.lines().filter(|line| line.contains('|'));
    let mut names: Vec<String> =
        lines.map(|line| line.split('|').next().unwrap().to_owned()).collect();
    names.sort();
    names
}

fn pretty_eq(ours: &str, theirs: &str) {
    let (one, other): (Vec<&str>, Vec<&str>) = (ours.lines().collect(), theirs.lines().collect());
    let only = |these: &[&str], those: &[&str]| {
        these
            .iter()
            .filter(|line| !those.contains(line))
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    let (ours, theirs) = (only(&one, &other), only(&other, &one));
    assert!(ours.is_empty() && theirs.is_empty(), "only ours: {ours:#?}\nonly theirs: {theirs:#?}");
}
