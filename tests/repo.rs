//! The rules of the source tree itself: imports run one way, unsafe stays where it belongs, files
//! keep their size, links in the docs are alive, and every golden file is read.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};

/// Who may import whom, besides itself (docs/design.md).
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("sys", &[]),
    ("kube", &["error"]),
    ("oci", &["sys", "error"]),
    ("image", &["sys", "error"]),
    ("net", &["sys", "error"]),
    ("pod", &["kube", "oci", "image", "net", "sys", "error"]),
    ("cli", &["pod", "oci", "image", "kube", "sys", "error"]),
];

/// Longer than this is an attic. Generated tables are exempt by name.
const MAX_FILE_LINES: usize = 600;
const GENERATED: &[&str] = &["src/oci/seccomp/table.rs"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(dir: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root().join(dir)];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).unwrap_or_else(|error| panic!("{dir:?}: {error}")) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn sources() -> Vec<(String, String)> {
    files("src", ".rs").iter().map(|file| (name(file), fs::read_to_string(file).unwrap())).collect()
}

fn name(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().to_string_lossy().into_owned()
}

/// A line without its comment.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or("")
}

/// The first part of every `crate::…` path in a file, `use` groups opened.
fn imports(source: &str) -> Vec<String> {
    let text = source.lines().map(code).collect::<Vec<_>>().join(" ");
    let mut found = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => found.extend(top_level_parts(group)),
            None => found.push(rest.to_owned()),
        }
    }
    let first = |path: &String| {
        let end = |c: char| !c.is_alphanumeric() && c != '_';
        path.trim().split(end).next().unwrap_or_default().to_owned()
    };
    found.iter().map(first).filter(|part| !part.is_empty()).collect()
}

/// The parts of `a::b, c::{d, e}}…` up to the brace that closes the group.
fn top_level_parts(group: &str) -> Vec<String> {
    let (mut parts, mut part, mut depth) = (Vec::new(), String::new(), 0);
    for character in group.chars() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => parts.push(std::mem::take(&mut part)),
            _ if depth == 0 => part.push(character),
            _ => {}
        }
    }
    parts.push(part);
    parts
}

#[test]
fn imports_run_one_way() {
    let mut wrong = Vec::new();
    for (path, source) in sources() {
        let own = path.trim_start_matches("src/").split(['/', '.']).next().unwrap();
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(layer, _)| *layer == own) else {
            assert!(matches!(own, "lib" | "bin"), "{path}: which layer is this?");
            continue;
        };
        for import in imports(&source) {
            if import != own && !allowed.contains(&import.as_str()) {
                wrong.push(format!("{path} imports {import}"));
            }
        }
    }
    assert!(wrong.is_empty(), "imports against the layers:\n{}", wrong.join("\n"));
}

#[test]
fn deciding_touches_no_system() {
    let mut wrong = Vec::new();
    let decides = |path: &String| path.starts_with("src/oci/plan") || path.starts_with("src/kube");
    for (path, source) in sources().into_iter().filter(|(path, _)| decides(path)) {
        let source = source.split("#[cfg(test)]").next().unwrap();
        for call in ["std::fs::", "fs::read", "File::open", "Command::new", "SystemTime::now"] {
            if source.lines().any(|line| code(line).contains(call)) {
                wrong.push(format!("{path}: {call}"));
            }
        }
    }
    assert!(wrong.is_empty(), "a plan or a rule touches the system:\n{}", wrong.join("\n"));
}

#[test]
fn unsafe_stays_in_sys_and_is_justified() {
    let pause = root().join("pause/main.rs");
    let pause = (name(&pause), fs::read_to_string(&pause).unwrap());
    for (path, source) in sources().into_iter().chain([pause]) {
        let blocks = source.lines().filter(|line| code(line).contains("unsafe {")).count();
        let notes = source.matches("SAFETY:").count();
        let allowed = path.starts_with("src/sys/") || path == "pause/main.rs";
        assert!(allowed || blocks == 0, "{path}: unsafe outside src/sys and pause");
        assert!(notes >= blocks, "{path}: {blocks} unsafe blocks, {notes} SAFETY notes");
    }
}

#[test]
fn files_are_of_readable_size() {
    let mut long = Vec::new();
    for file in files("src", ".rs").into_iter().chain(files("tests", ".rs")) {
        let lines = fs::read_to_string(&file).unwrap().lines().count();
        if lines > MAX_FILE_LINES && !GENERATED.contains(&name(&file).as_str()) {
            long.push(format!("{} ({lines} lines)", name(&file)));
        }
    }
    assert!(long.is_empty(), "longer than {MAX_FILE_LINES} lines: {}", long.join(", "));
}

#[test]
fn nothing_is_left_undone() {
    let mut found = Vec::new();
    for file in files("src", ".rs").into_iter().chain(files("tests", ".rs")) {
        if name(&file) == "tests/repo.rs" {
            continue;
        }
        for (number, line) in fs::read_to_string(&file).unwrap().lines().enumerate() {
            for word in ["todo!(", "unimplemented!(", "dbg!(", "#[ignore", "TODO", "FIXME"] {
                if line.contains(word) {
                    found.push(format!("{}:{}: {word}", name(&file), number + 1));
                }
            }
        }
    }
    assert!(found.is_empty(), "left undone:\n{}", found.join("\n"));
}

#[test]
fn links_in_documents_are_alive() {
    let mut documents = files("docs", ".md");
    documents.extend([root().join("README.md"), root().join("CHANGELOG.md")]);
    let mut dead = Vec::new();
    for document in documents {
        let text = fs::read_to_string(&document).unwrap();
        for (at, _) in text.match_indices("](") {
            let target = text[at + 2..].split([')', '#', ' ']).next().unwrap();
            let local = !target.is_empty() && !target.contains("://");
            if local && !document.parent().unwrap().join(target).exists() {
                dead.push(format!("{}: {target}", name(&document)));
            }
        }
    }
    assert!(dead.is_empty(), "dead links:\n{}", dead.join("\n"));
}

/// A test names the golden file, or the folder whose files it reads in a loop.
#[test]
fn every_golden_file_is_read() {
    let tests = files("tests", ".rs").into_iter().chain(files("src", ".rs"));
    let tests: String = tests.map(|file| fs::read_to_string(file).unwrap()).collect();
    let mut unread = Vec::new();
    for file in files("tests/golden", "") {
        let path = file.strip_prefix(root().join("tests/golden")).unwrap();
        let folder = path.components().next().unwrap().as_os_str().to_string_lossy();
        let stem = path.file_name().unwrap().to_string_lossy();
        let named = tests.contains(&format!("{folder}/{stem}"))
            || tests.contains(&format!("golden/{folder}"));
        if !named {
            unread.push(name(&file));
        }
    }
    assert!(unread.is_empty(), "golden files that no test reads:\n{}", unread.join("\n"));
}
