//! The two tables of what is tested where: they cannot rot.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// What issue 5 names.
const REASONS: &[&str] = &[
    "Pending",
    "Running",
    "Succeeded",
    "Failed",
    "Unknown",
    "PodScheduled",
    "PodReadyToStartContainers",
    "Initialized",
    "ContainersReady",
    "Ready",
    "ContainersNotInitialized",
    "ContainersNotReady",
    "PodCompleted",
    "ContainerCreating",
    "PodInitializing",
    "CrashLoopBackOff",
    "InvalidImageName",
    "ImageInspectError",
    "ErrImageNeverPull",
    "ErrImagePull",
    "ImagePullBackOff",
    "RegistryUnavailable",
    "CreateContainerConfigError",
    "CreateContainerError",
    "PreStartHookError",
    "RunContainerError",
    "PostStartHookError",
    "Completed",
    "Error",
    "OOMKilled",
    "StartError",
    "ContainerStatusUnknown",
    "DeadlineExceeded",
    "NetworkNotReady",
    "FailedCreatePodSandBox",
];

/// The cells of a table's rows.
fn rows(path: &Path) -> Vec<Vec<String>> {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().filter(|line| line.starts_with("| ")).skip(1);
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    lines.map(cells).collect()
}

/// All of the source, to look for functions in.
fn sources(dir: &Path, text: &mut String) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|it| it == "rs") {
            text.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn each_rule_names_its_cases_and_each_case_has_a_rule() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = root.join("tests/golden/pods");
    let mut code = String::new();
    sources(&root.join("src"), &mut code);
    sources(&root.join("tests"), &mut code);
    let (mut named, mut sections) = (BTreeSet::new(), BTreeSet::new());
    for row in rows(&dir.join("RULES.md")) {
        let [section, rule, cases] = row.as_slice() else { panic!("{row:?}") };
        sections.insert(section.clone());
        assert!(!cases.is_empty(), "{rule}");
        let mut words = cases.split(' ');
        while let Some(word) = words.next() {
            if word == "fn" {
                let test = words.next().unwrap();
                assert!(code.contains(&format!("fn {test}()")), "{rule}: no test {test}");
            } else {
                assert!(dir.join(format!("{word}.txt")).is_file(), "{rule}: no case {word}");
                named.insert(word.to_owned());
            }
        }
    }
    assert_eq!(sections, ["1", "2", "3", "4", "5", "6"].map(String::from).into());
    let there = super::cases(&dir).into_iter();
    let there = there.map(|case| case.file_stem().unwrap().to_str().unwrap().to_owned());
    assert_eq!(there.collect::<BTreeSet<_>>(), named, "each timeline is named by a rule");
}

#[test]
fn each_reason_is_reached_by_a_test_or_said_to_be_impossible() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/podctl");
    let rows = rows(&dir.join("REASONS.md"));
    for reason in REASONS {
        assert!(rows.iter().any(|row| row.first().is_some_and(|it| it == reason)), "{reason}");
    }
    for row in rows {
        let [reason, test] = row.as_slice() else { panic!("{row:?}") };
        if test.strip_prefix("impossible: ").is_some_and(|why| !why.is_empty()) {
            continue;
        }
        let (file, test) = test.split_once(' ').unwrap();
        let text = fs::read_to_string(dir.join(format!("{file}.rs"))).unwrap();
        assert!(text.contains(&format!("fn {test}()")), "{reason}: no test {test} in {file}");
        assert!(text.contains(reason.as_str()), "{file} does not speak of {reason}");
    }
}
