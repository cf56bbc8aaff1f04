//! Layers unpacked by umoci and by us, tree beside tree.

use crate::build::{Scene, image, sh, write_index};
use serde_json::json;
use std::fs;

/// An image to compare.
pub struct Case {
    pub name: String,
    pub layers: Vec<Vec<u8>>,
}

/// What came of a case: the tree with all its attributes, or why there is none.
pub struct Outcome {
    pub name: String,
    pub ours: Result<String, String>,
    pub theirs: Result<String, String>,
}

/// Every file with its attributes and content. umoci forgets the times of directories that it makes
/// parents in, and how many links they have, file systems count each in their own way.
const LISTING: &str = r#"list() {
    find . -printf "%P|%y|%m|%U:%G|%Ts|%l|%n\n" |
        sed -E "s/^(.*\|d\|[^|]*\|[^|]*)\|.*/\1/" | sort
    find . -type f -exec sha256sum {} + | sort -k2
    find . \( -type c -o -type b \) -exec stat -c "%n %t:%T" {} + | sort
    find . -print0 | sort -z | xargs -0 getfattr -hd -m "^(user|trusted|security)" -e hex
}"#;

/// Each layout `<number>` below the directory, unpacked: `<number>.umoci` is the tree, or
/// `<number>.refused` says why not.
const UNPACK: &str = r#"cd "$1"
    for layout in */index.json; do
        number=${layout%/index.json}
        if umoci unpack --image "$number:x" "$number.d" > "$number.log" 2>&1; then
            (cd "$number.d/rootfs"; list) > "$number.umoci"
        else
            mv "$number.log" "$number.refused"
        fi
        rm -rf "$number.d"
    done"#;

/// Each `<number>.lower`, overlayfs' option, mounted: `<number>.ours` is the tree.
const MOUNT: &str = r#"cd "$1"; mkdir -p extra merged
    for lower in *.lower; do
        mount -t overlay overlay -o "ro,lowerdir=$(cat "$lower"):extra" merged
        (cd merged; list) > "${lower%.lower}.ours"
        umount merged
    done"#;

/// Unpacks every case both ways.
pub fn compare(scene: &Scene, cases: &[Case]) -> Vec<Outcome> {
    let work = tempfile::tempdir_in(scene.dir.path()).unwrap();
    let path = |number: usize, ending: &str| work.path().join(format!("{number}{ending}"));
    let mut refused: Vec<Option<String>> = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let layout = path(number, "");
        let mut manifest = image(&layout, &case.layers, &json!({}));
        manifest["annotations"] = json!({"org.opencontainers.image.ref.name": "x"});
        write_index(&layout, &[manifest]);
        let loaded = scene.load_layers(&case.layers);
        refused.push(loaded.as_ref().err().map(ToString::to_string));
        if let Ok(image) = loaded {
            let lower = image.layers.iter().rev().map(|layer| layer.display().to_string());
            fs::write(path(number, ".lower"), lower.collect::<Vec<_>>().join(":")).unwrap();
        }
    }
    sh(&format!("{LISTING}\n{UNPACK}"), &[work.path()]);
    let mount = format!("exec unshare -m bash -euc '{LISTING}\n{MOUNT}' bash \"$1\"");
    sh(&mount, &[work.path()]);
    let read = |number, ending: &str| fs::read_to_string(path(number, ending));
    let outcome = |(number, case): (usize, &Case)| Outcome {
        name: case.name.clone(),
        ours: refused[number].clone().map_or_else(|| Ok(read(number, ".ours").unwrap()), Err),
        theirs: read(number, ".umoci").map_err(|_| read(number, ".refused").unwrap()),
    };
    cases.iter().enumerate().map(outcome).collect()
}
