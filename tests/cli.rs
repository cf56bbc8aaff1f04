//! The words of the command lines: help, usage errors, tables, error texts. Needs no root.
//!
//! `golden/cli/<case>.cmd` is run by sh in an empty directory with the built programs in PATH;
//! `<case>.out` holds what it must print. `UPDATE_GOLDEN=1` rewrites the outputs, to be reviewed as
//! a diff.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn every_command_prints_its_golden_output() {
    let cases = cases();
    assert!(cases.len() > 10, "the golden cases are not where they were: {}", golden().display());
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut wrong = Vec::new();
    for case in cases {
        let printed = run(&case);
        let expected = case.with_extension("out");
        if update {
            std::fs::write(&expected, &printed).unwrap();
        } else if std::fs::read_to_string(&expected).unwrap_or_default() != printed {
            wrong.push(format!("{}:\n{printed}", case.display()));
        }
    }
    assert!(wrong.is_empty(), "not as in the golden files:\n{}", wrong.join("\n"));
}

#[test]
fn every_output_has_its_command() {
    for entry in std::fs::read_dir(golden()).unwrap() {
        let path = entry.unwrap().path();
        assert!(path.with_extension("cmd").exists(), "{} has no .cmd", path.display());
    }
}

#[test]
fn spec_is_that_of_the_installed_runc() {
    if Command::new("runc").arg("--version").output().is_err() {
        eprintln!("SKIP spec_is_that_of_the_installed_runc: runc is not installed");
        return;
    }
    for flags in [&[][..], &["--rootless"]] {
        let [ours, theirs] = [env!("CARGO_BIN_EXE_runp"), "runc"].map(|program| {
            let dir = tempfile::tempdir().unwrap();
            let mut command = Command::new(program);
            command.arg("spec").args(flags).args(["--bundle".as_ref(), dir.path()]);
            assert!(command.status().unwrap().success(), "{program} spec {flags:?}");
            let config = std::fs::read(dir.path().join("config.json")).unwrap();
            let mut config: serde_json::Value = serde_json::from_slice(&config).unwrap();
            config["ociVersion"].take();
            // runc gave ambient capabilities until 1.2, though nothing was inheritable.
            config["process"]["capabilities"].as_object_mut().unwrap().remove("ambient");
            config
        });
        assert_eq!(ours, theirs, "{flags:?}");
    }
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/cli")
}

fn cases() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(golden()).unwrap();
    let mut cases: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "cmd"))
        .collect();
    cases.sort();
    cases
}

fn run(case: &Path) -> String {
    let dir = tempfile::tempdir().unwrap();
    let programs = Path::new(env!("CARGO_BIN_EXE_runp")).parent().unwrap();
    let output = Command::new("sh")
        .arg(case)
        .env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", programs.display()))
        .env_remove("RUNP_ROOT")
        .current_dir(dir.path())
        .output()
        .unwrap();
    let mut printed = String::from_utf8(output.stdout).unwrap();
    printed.push_str("--- stderr\n");
    printed.push_str(&String::from_utf8(output.stderr).unwrap());
    let status = output.status.code().map_or("a signal".into(), |code| code.to_string());
    printed.push_str(&format!("--- exit {status}\n"));
    without_times(&printed.replace(&dir.path().display().to_string(), "DIR"))
}

/// The time of a log line is the one thing that differs from run to run.
fn without_times(text: &str) -> String {
    let mut rest = text;
    let mut clean = String::new();
    while let Some((before, after)) = ["time=\"", "\"time\":\""]
        .iter()
        .filter_map(|mark| cut(rest, mark))
        .min_by_key(|(b, _)| b.len())
    {
        clean.push_str(before);
        clean.push_str("TIME");
        rest = after;
    }
    clean + rest
}

/// Splits after `mark`, and drops what follows up to the closing quote.
fn cut<'a>(text: &'a str, mark: &str) -> Option<(&'a str, &'a str)> {
    let start = text.find(mark)? + mark.len();
    let end = start + text[start..].find('"')?;
    Some((&text[..start], &text[end..]))
}
