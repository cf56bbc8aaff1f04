//! Command lines as they are typed, and what comes of them: `tests/golden/podctl/*.txt` are
//! transcripts of a shell. A line `$ COMMAND` is run; what it writes to standard output follows,
//! standard error behind `! `, and an exit status that is not 0 as `[exit N]`. Times, ids and
//! versions are masked. UPDATE_GOLDEN=1 writes the files anew.

use super::Case;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Plays a transcript again and compares.
pub fn play(case: &Case, name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/podctl").join(name);
    let expected = std::fs::read_to_string(&path).unwrap();
    let mut played = String::new();
    for line in expected.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            played.push_str(&format!("{line}\n{}", run(case, command)));
        } else if line.starts_with('#') {
            played.push_str(&format!("{line}\n"));
        }
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &played).unwrap();
        return;
    }
    let (mut old, mut new) = (blocks(&expected), blocks(&played));
    let differing = old.by_ref().zip(new.by_ref()).filter(|(old, new)| old != new);
    let differing: Vec<String> =
        differing.map(|(old, new)| format!("expected:\n{old}\nfound:\n{new}")).collect();
    assert!(differing.is_empty(), "{name}:\n{}", differing.join("\n"));
    assert_eq!(expected, played, "{name}");
}

fn blocks(text: &str) -> impl Iterator<Item = &str> {
    text.split("\n$ ")
}

fn run(case: &Case, line: &str) -> String {
    let podctl = PathBuf::from(env!("CARGO_BIN_EXE_podctl"));
    let path = format!("{}:{}", podctl.parent().unwrap().display(), env!("PATH"));
    let mut command = Command::new("sh");
    command.args(["-c", line]).current_dir(case.0.path()).env("PATH", path);
    command.env("RUNP_ROOT", case.root()).env("NO_COLOR", "1");
    // A draft that could not be stored is kept there.
    command.env("TMPDIR", case.0.path());
    let output = command.output().unwrap();
    let root = case.0.path().to_str().unwrap().to_owned();
    let text = |bytes: &[u8]| mask(&String::from_utf8_lossy(bytes).replace(&root, "DIR"));
    let mut told = text(&output.stdout);
    if !told.is_empty() && !told.ends_with('\n') {
        told.push_str("<no newline>\n");
    }
    // What could be taken for a command or a title.
    let escaped = |line: &str| match line.starts_with(['$', '#']) {
        true => format!("\\{line}"),
        false => line.to_owned(),
    };
    told = told.split_inclusive('\n').map(escaped).collect();
    for line in text(&output.stderr).lines() {
        told.push_str(&format!("! {line}\n"));
    }
    if !output.status.success() {
        told.push_str(&format!("[exit {}]\n", output.status.code().unwrap()));
    }
    told
}

/// Replaces what differs from run to run.
pub fn mask(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let mut rest = line;
        while let Some(start) = rest.find(|c: char| c.is_ascii_alphanumeric()) {
            let (before, from) = rest.split_at(start);
            out.push_str(before);
            let end = from.find(|c: char| !(c.is_ascii_alphanumeric() || "-:.".contains(c)));
            let (word, after) = from.split_at(end.unwrap_or(from.len()));
            let shown = masked(word);
            // An age of two digits is as wide as one of one digit, except where the line ends.
            let ends = after.trim_end().is_empty() && shown.ends_with(' ');
            out.push_str(if ends { shown.trim_end() } else { &shown });
            rest = after;
        }
        out.push_str(rest);
    }
    dates(&out)
}

fn masked(word: &str) -> String {
    let is = |word: &str, allowed: &str| word.chars().all(|c| allowed.contains(c));
    const HEX: &str = "0123456789abcdef";
    let bare = word.trim_end_matches(['.', ':', '-']);
    let rest = &word[bare.len()..];
    let kind = match bare {
        id if id.len() == 64 && is(id, HEX) => "<id>",
        uid if uid.len() == 36 && is(uid, "0123456789abcdef-") => "<uid>",
        time if time.len() >= 20 && time.ends_with('Z') && is(time, "0123456789-:.TZ") => "<time>",
        version if version.len() == 16 && is(version, "0123456789") => "<version>",
        event if event.rsplit_once('.').is_some_and(|(_, end)| end.len() == 16 && is(end, HEX)) => {
            return format!("{}.<nanoseconds>{rest}", event.rsplit_once('.').unwrap().0);
        }
        // Which pod comes first is not said.
        ip if ip.len() == 9 && ip.starts_with("10.77.0.") => "10.77.0.N",
        // An age of less than two minutes.
        age if age.len() <= 4 && age != "300s" && age.strip_suffix('s').is_some_and(is_number) => {
            return format!("{}{rest}", "~".repeat(age.len().clamp(2, 3)).replace("~~~", "~~ "));
        }
        _ => return word.to_owned(),
    };
    format!("{kind}{rest}")
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `Tue, 24 Nov 2026 09:11:35 +0000`.
fn dates(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(" +0000") {
        let (before, after) = rest.split_at(at + 6);
        let start = before.len().saturating_sub("Tue, 24 Nov 2026 09:11:35 +0000".len());
        let date = before.get(start..).unwrap_or_default();
        let is_date = date.get(3..5) == Some(", ");
        out.push_str(if is_date { &before[..start] } else { before });
        out.push_str(if is_date { "<date>" } else { "" });
        rest = after;
    }
    out.push_str(rest);
    out
}
