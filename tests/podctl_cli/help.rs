//! The flags of kubectl's help, each given to podctl: it is taken, with kubectl's shorthand and
//! default where podctl's help has it, or it is refused by name with a hint.

use super::Case;
use std::collections::BTreeMap;
use std::process::Command;

/// kubectl's commands that podctl has.
const VERBS: &[&str] = &[
    "annotate",
    "api-resources",
    "api-versions",
    "apply",
    "apply edit-last-applied",
    "apply set-last-applied",
    "apply view-last-applied",
    "attach",
    "auth can-i",
    "auth whoami",
    "cluster-info",
    "cluster-info dump",
    "completion",
    "config current-context",
    "config get-clusters",
    "config get-contexts",
    "config get-users",
    "config set-context",
    "config use-context",
    "config view",
    "cp",
    "create",
    "create configmap",
    "create namespace",
    "create secret docker-registry",
    "create secret generic",
    "create secret tls",
    "debug",
    "delete",
    "describe",
    "diff",
    "edit",
    "events",
    "exec",
    "explain",
    "get",
    "label",
    "logs",
    "patch",
    "port-forward",
    "replace",
    "run",
    "set env",
    "set image",
    "set resources",
    "top node",
    "top pod",
    "version",
    "wait",
];

/// Flags whose default is another one, and why.
const OTHERS: &[(&str, &str, &str)] = &[
    ("api-resources", "namespaced", "kubectl's true is that of the flag alone: all are shown"),
    ("cluster-info dump", "output", "the same flag as elsewhere; json is what it prints"),
    ("config view", "output", "the same flag as elsewhere; yaml is what it prints"),
    ("exec", "pod-running-timeout", "kubectl does not wait either unless it is given"),
    ("debug", "profile", "general since kubectl 1.36"),
    ("logs", "limit-bytes", "kubectl's 0 is no limit, which cannot be asked for"),
    ("logs", "tail", "kubectl's -1 is another one with a selector"),
    ("port-forward", "address", "localhost is both of its addresses"),
    ("wait", "recursive", "of no use without a directory; elsewhere kubectl has false"),
];

/// Words below kubectl's verbs that podctl refuses with a hint.
const REFUSED: &[&str] = &[
    "auth reconcile",
    "config delete-cluster",
    "config delete-context",
    "config delete-user",
    "config rename-context",
    "config set",
    "config set-cluster",
    "config set-credentials",
    "config unset",
    "set selector",
    "set serviceaccount",
    "set subject",
];

/// A flag of a help text: its shorthand, and its default as it is written there.
type Flags = BTreeMap<String, (Option<String>, String)>;

/// The lines `    -o, --output='':` of a help text's options.
fn flags(help: &str) -> Flags {
    let options = help.split("Options:\n").nth(1).unwrap_or_default();
    let options = options.split("\nUsage:\n").next().unwrap_or_default();
    let lines = options.lines().filter_map(|line| {
        let line = line.strip_prefix("    ")?.strip_suffix(':')?;
        let (names, default) = line.split_once('=')?;
        let (short, long) = names.split_once("--")?;
        let short = short.trim().strip_prefix('-').map(|short| short.trim_end_matches(',').into());
        Some((long.to_owned(), (short, default.to_owned())))
    });
    lines.collect()
}

fn help(program: &str, verb: &str) -> String {
    let output = Command::new(program).args(verb.split(' ')).arg("--help").output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn kubectls_flags_are_taken_or_refused_by_name() {
    if !super::write::has_kubectl() {
        eprintln!("SKIP: no kubectl of 1.32 or newer is installed");
        return;
    }
    let case = Case::new();
    // Programs are started by the hundred: side by side.
    let found: Vec<(usize, Vec<String>)> = std::thread::scope(|scope| {
        let some = VERBS.chunks(VERBS.len().div_ceil(4)).map(|verbs| {
            let case = &case;
            scope.spawn(move || verbs.iter().map(|verb| compared(case, verb)).collect::<Vec<_>>())
        });
        let some: Vec<_> = some.collect();
        some.into_iter().flat_map(|one| one.join().unwrap()).collect()
    });
    let seen: usize = found.iter().map(|(seen, _)| seen).sum();
    let wrong: Vec<String> = found.into_iter().flat_map(|(_, wrong)| wrong).collect();
    assert!(seen > 400, "kubectl's help is read: {seen} flags");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for words in REFUSED {
        let (status, _, err) = case.run(words);
        assert_eq!(status, 1, "{words}");
        assert!(err.starts_with("error: unknown command") && err.contains("\nhint: "), "{err}");
    }
}

/// How many flags kubectl's verb has, and what is wrong with podctl's.
fn compared(case: &Case, verb: &str) -> (usize, Vec<String>) {
    let theirs = flags(&help("kubectl", verb));
    let ours = flags(&help(env!("CARGO_BIN_EXE_podctl"), verb));
    let (mut wrong, mut all) = (Vec::new(), Vec::new());
    for (name, (short, default)) in &theirs {
        if let Some(own) = ours.get(name) {
            let other = OTHERS.iter().any(|(of, flag, _)| *of == verb && flag == name);
            if own != &(short.clone(), default.clone()) && !other {
                wrong.push(format!("{verb} --{name}: {short:?} {default}, ours {own:?}"));
            }
        }
        all.extend(spellings(name, short.as_deref(), default));
    }
    // All at once; where that is wrong, one after another.
    if !is_taken(case, verb, &all.join(" ")) {
        let one = |flag: &String| !is_taken(case, verb, flag) && !is_refused(case, verb, flag);
        wrong.extend(all.iter().filter(|flag| one(flag)).map(|flag| format!("{verb} {flag}")));
    }
    (theirs.len(), wrong)
}

/// The ways to write a flag with its default.
fn spellings(name: &str, short: Option<&str>, default: &str) -> Vec<String> {
    let value = match default.trim_matches('\'') {
        "" | "[]" => value_for(name),
        value => value,
    };
    let switch = ["true", "false"].contains(&default);
    let mut all = vec![format!("--{name}={value}")];
    if switch {
        all.push(format!("--{name}"));
    }
    all.extend(short.map(|short| match switch {
        true => format!("-{short}"),
        false => format!("-{short} {value}"),
    }));
    all
}

fn is_taken(case: &Case, verb: &str, flags: &str) -> bool {
    let (status, out, _) = case.run(&format!("{verb} {flags} --help"));
    status == 0 && out.contains("Usage:\n")
}

fn is_refused(case: &Case, verb: &str, flag: &str) -> bool {
    let (_, _, err) = case.run(&format!("{verb} {flag} --help"));
    err.starts_with("error: unknown ") && err.contains("\nhint: ")
}

/// A value that a flag takes, where anything will not do.
fn value_for(flag: &str) -> &'static str {
    match flag {
        "since-time" => "2026-11-24T00:00:00Z",
        "subresource" => "status",
        "cluster" | "user" => "podctl",
        _ => "x",
    }
}

#[test]
fn every_verb_of_kubectl_is_known() {
    if !super::write::has_kubectl() {
        eprintln!("SKIP: no kubectl of 1.32 or newer is installed");
        return;
    }
    let case = Case::new();
    let text = Command::new("kubectl").arg("--help").output().unwrap().stdout;
    let text = String::from_utf8(text).unwrap();
    let verbs = text.lines().filter_map(|line| line.strip_prefix("  "));
    let verbs = verbs.filter_map(|line| line.split(' ').next());
    let verbs: Vec<&str> = verbs.filter(|verb| !["", "kubectl"].contains(verb)).collect();
    assert!(verbs.len() > 35, "{verbs:?}");
    for verb in verbs {
        let (status, out, err) = case.run(&format!("{verb} --help"));
        let known = status == 0 && out.contains("Usage:\n");
        assert!(known || err.contains(&format!("\nhint: kubectl has {verb}; ")), "{verb}: {err}");
    }
}
