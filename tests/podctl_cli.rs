//! `podctl`'s words: what it prints where, and what it exits with. Nothing is started here but in
//! [`live`], where every verb is tried on a pod that runs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "podctl_cli/beside.rs"]
mod beside;
#[path = "podctl_cli/help.rs"]
mod help;
#[path = "podctl_cli/live.rs"]
mod live;
#[path = "podctl_cli/looks.rs"]
mod looks;
#[path = "podctl_cli/read.rs"]
mod read;
#[path = "podctl_cli/streams.rs"]
mod streams;
#[path = "podctl_cli/templates.rs"]
mod templates;
#[path = "podctl_cli/terminal.rs"]
mod terminal;
#[path = "podctl_cli/transcript.rs"]
mod transcript;
#[path = "podctl_cli/write.rs"]
mod write;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// A root of its own, and what `podctl` says there.
struct Case(tempfile::TempDir);

impl Case {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn root(&self) -> std::path::PathBuf {
        self.0.path().join("root")
    }

    fn file(&self, name: &str, text: &str) {
        std::fs::write(self.0.path().join(name), text).unwrap();
    }

    /// Exit status, standard output, standard error.
    fn run(&self, line: &str) -> (i32, String, String) {
        self.run_with(line, "")
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_podctl"));
        command.args(line.split_whitespace()).env("RUNP_ROOT", self.root());
        command.current_dir(self.0.path());
        command
    }

    fn run_with(&self, line: &str, stdin: &str) -> (i32, String, String) {
        let mut command = self.command(line);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A command that does not read it may be gone already.
        drop(child.stdin.take().unwrap().write_all(stdin.as_bytes()));
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    /// A command that fails, and the first lines it says on standard error.
    #[track_caller]
    fn fails(&self, line: &str, stdin: &str, words: &str) {
        let (status, out, err) = self.run_with(line, stdin);
        assert_eq!((status, out.as_str()), (1, ""), "{line}: {err}");
        assert!(err.starts_with(&format!("{words}\n")), "{line}:\n{err}\nexpected:\n{words}");
        assert!(is_empty(&self.root()), "{line} left something");
    }
}

/// No file anywhere below; empty directories may be there.
fn is_empty(dir: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(dir) else { return true };
    entries.map(|entry| entry.unwrap().path()).all(|path| path.is_dir() && is_empty(&path))
}

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\n\
                   spec: {containers: [{name: a, image: host}]}\n";

/// Command lines, and what is said of them.
const WRONG: &[(&str, &str)] = &[
    ("scale -f x", "error: unknown command \"scale\" for \"podctl\""),
    (
        "gett",
        "error: unknown command \"gett\" for \"podctl\"\n\nDid you mean this?\n\tset\n\tget\n",
    ),
    ("get po --foo", "error: unknown flag: --foo\nSee 'podctl get --help' for usage."),
    ("get po -x", "error: unknown shorthand flag: 'x' in -x"),
    (
        "get",
        "You must specify the type of resource to get. Use \"podctl api-resources\" for a \
          complete list of supported resources.\n\nerror: Required resource not specified.",
    ),
    ("get deploy", "error: the server doesn't have a resource type \"deploy\""),
    ("get svc/x", "error: the server doesn't have a resource type \"svc\""),
    ("get po x -A", "error: a resource cannot be retrieved by name across all namespaces"),
    ("get po x -l a=b", "error: name cannot be provided when a selector is specified"),
    (
        "get po -o table",
        "error: unable to match a printer suitable for the output format \
          \"table\", allowed formats are: custom-columns,custom-columns-file,go-template,\
          go-template-file,json,jsonpath,jsonpath-as-json,jsonpath-file,name,template,\
          templatefile,wide,yaml",
    ),
    (
        "get po -n UP",
        "error: invalid namespace \"UP\": a lowercase RFC 1123 label must consist \
          of lower case alphanumeric characters or '-', and must start and end with an \
          alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
          '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
    ),
    ("apply", "error: must specify one of -f and -k"),
    (
        "exec web ls",
        "error: exec [POD] [COMMAND] is not supported anymore. Use exec [POD] -- \
          [COMMAND] instead\nSee 'podctl exec -h' for help and examples",
    ),
    ("exec web --", "error: you must specify at least one command for the container"),
    ("exec", "error: pod, type/name or --filename must be specified"),
    ("logs web a -c b", "error: only one of -c or an inline [CONTAINER] arg is allowed"),
    ("logs web --tail=-2", "error: --tail must be greater than or equal to -1"),
    ("logs web --limit-bytes 0", "error: --limit-bytes must be greater than 0"),
    ("logs web --since=0", "error: --since must be greater than 0"),
    ("delete", "error: You must provide one or more resources by argument or filename."),
    ("delete pods", "error: resource(s) were provided, but no name was specified"),
    ("delete po --all -l a=b", "error: setting 'all' parameter but found a non empty selector. "),
    (
        "delete po x --now --grace-period=3",
        "error: --now and --grace-period cannot be specified together",
    ),
    (
        "delete po x --force --grace-period=3",
        "error: --force and --grace-period greater than 0 cannot be specified together",
    ),
    ("load", "error: required flag(s) \"input\" not set"),
    ("completion tcsh", "error: Unsupported shell type \"tcsh\"."),
];

#[test]
fn a_wrong_command_line_is_told_in_kubectls_words() {
    let case = Case::new();
    for (line, words) in WRONG {
        case.fails(line, "", words);
    }
}

#[test]
fn what_is_not_there_is_not_found() {
    let case = Case::new();
    let none = |words: &str| (0, String::new(), format!("{words}\n"));
    assert_eq!(case.run("get pods"), none("No resources found in default namespace."));
    assert_eq!(case.run("-n x get po -owide"), none("No resources found in x namespace."));
    assert_eq!(case.run("get po -A --no-headers"), none("No resources found"));
    assert_eq!(case.run("get po x --ignore-not-found"), (0, String::new(), String::new()));
    assert_eq!(case.run("delete po --all"), (0, "No resources found\n".into(), String::new()));
    let missing = "Error from server (NotFound): pods \"x\" not found";
    for line in [
        "get po x",
        "get po/x -oyaml",
        "describe pod x",
        "exec x -- true",
        "delete pod x",
        "tree x",
        "get po x -w",
    ] {
        case.fails(line, "", missing);
    }
    let logs = "error: error from server (NotFound): pods \"x\" not found in namespace \"default\"";
    case.fails("logs x", "", logs);
    case.fails("get po x y", "", &format!("{missing}\n{}", missing.replace('x', "y")));
    let (status, out, _) = case.run("get po -ojson");
    assert_eq!(status, 0);
    assert!(out.contains("\"items\": [],"), "{out}");
}

#[test]
fn a_bad_manifest_is_refused_whole() {
    let case = Case::new();
    let cases = [
        ("a: [", "error: error parsing STDIN: error converting YAML to JSON: yaml: line 1"),
        ("", "error: no objects passed to apply"),
        (
            "apiVersion: v1\nkind: Foo\nmetadata: {name: x}\n",
            "error: resource mapping not found \
          for name: \"x\" namespace: \"\" from \"STDIN\": no matches for kind \"Foo\" in version \
          \"v1\"\nensure CRDs are installed first",
        ),
        (
            &POD.replace("spec:", "spcc:"),
            "Error from server (BadRequest): error when creating \
          \"STDIN\": Pod in version \"v1\" cannot be handled as a Pod: strict decoding error: \
          unknown field \"spcc\"",
        ),
        (
            &POD.replace("name: web", "name: Web"),
            "The Pod \"Web\" is invalid: metadata.name: \
          Invalid value: \"Web\": ",
        ),
        // One bad document, and the good one before it is not stored either.
        (
            &format!("{POD}---\n{}", POD.replace("image: host", "imag: host")),
            "Error from server \
          (BadRequest): error when creating \"STDIN\": Pod in version \"v1\" cannot be handled as \
          a Pod: strict decoding error: unknown field \"spec.containers[0].imag\"",
        ),
    ];
    for (text, words) in cases {
        let (status, out, err) = case.run_with("apply -f -", text);
        assert_eq!((status, out.as_str()), (1, ""), "{text}: {err}");
        assert!(err.starts_with(words), "{err}\nexpected:\n{words}");
        assert!(is_empty(&case.root()), "{text} left something");
    }
    case.fails("apply -f nope.yaml", "", "error: the path \"nope.yaml\" does not exist");
    case.fails(
        "apply -f - -n y",
        &POD.replace("name: web", "name: web, namespace: x"),
        "error: the namespace from the provided object \"x\" does not match the namespace \"y\". \
         You must pass '--namespace=x' to perform this operation.",
    );
    let odd = POD.replace("spec: {", "spec: {colour: red, ");
    let warned = "Warning: unknown field \"spec.colour\"\n".to_owned();
    let made = "pod/web created (server dry run)\n".to_owned();
    assert_eq!(
        case.run_with("apply -f - --validate=warn --dry-run=server", &odd),
        (0, made.clone(), warned)
    );
    assert_eq!(
        case.run_with("apply -f - --validate=ignore --dry-run=server", &odd),
        (0, made, String::new())
    );
    case.fails(
        "delete -f -",
        POD,
        "Error from server (NotFound): error when deleting \"STDIN\": \
         pods \"web\" not found",
    );
}

#[test]
fn a_dry_run_says_what_would_be_and_stores_nothing() {
    let case = Case::new();
    std::fs::create_dir(case.0.path().join("dir")).unwrap();
    case.file("dir/b.yaml", &POD.replace("web", "b"));
    case.file(
        "dir/a.json",
        "{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"metadata\": \
        {\"name\": \"a\"}, \"spec\": {\"containers\": [{\"name\": \"a\", \"image\": \"host\"}]}}",
    );
    case.file("dir/notes.txt", "no manifest");
    let said = |out: &str| (0, out.to_owned(), String::new());
    assert_eq!(
        case.run("apply -f dir --dry-run=client"),
        said("pod/a created (dry run)\npod/b created (dry run)\n")
    );
    assert_eq!(
        case.run_with("apply -validate -f - --dry-run=server", POD),
        said("pod/web created (server dry run)\n")
    );
    assert_eq!(case.run_with("apply -f- --dry-run=client -oname", POD), said("pod/web\n"));
    let (status, out, _) = case.run_with("apply -f - --dry-run=server -o yaml", POD);
    assert_eq!(status, 0);
    assert!(out.contains("\n  terminationGracePeriodSeconds: 30\n"), "defaults are in: {out}");
    assert!(is_empty(&case.root()));
}

#[test]
fn help_goes_to_standard_output() {
    let case = Case::new();
    for line in [
        "",
        "--help",
        "-h",
        "get --help",
        "--version",
        "version",
        "api-resources",
        "completion bash",
        "completion zsh",
        "completion fish",
    ] {
        let (status, out, err) = case.run(line);
        assert_eq!((status, err.as_str()), (0, ""), "{line}");
        assert!(out.len() > 10, "{line}: {out}");
    }
    let (_, help, _) = case.run("");
    assert!(!help.contains("monitor"), "{help}");
    let (_, script, _) = case.run("completion bash");
    let check = Command::new("bash").args(["-n", "-c", &script]).status().unwrap();
    assert!(check.success(), "bash reads its completion script");
}

#[test]
fn a_reader_that_is_gone_is_no_error() {
    let case = Case::new();
    let podctl = env!("CARGO_BIN_EXE_podctl");
    let script = format!("{podctl} completion bash | true; echo ${{PIPESTATUS[0]}}");
    let output = Command::new("bash").args(["-c", &script]).env("RUNP_ROOT", case.root()).output();
    let output = output.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
