//! JSONPath as kubectl reads it: the corners of templates, each printed by both.

use super::Case;
use std::process::Command;

const POD: &str = r#"
apiVersion: v1
kind: Pod
metadata:
  name: rich
  labels: {app: web, tier: front}
  annotations: {note: hello, multi: "one\ntwo\n", "a.b/c": "x y", quote: 'it''s "q"'}
spec:
  containers:
  - {name: web, image: nginx, ports: [{containerPort: 80}, {containerPort: 443}], env: [{name: A, value: b}, {name: NN, value: "3"}]}
  - {name: grpc, image: host, tty: true}
  - {name: third, image: host:2}
  terminationGracePeriodSeconds: 30
"#;

/// Templates that print something, or nothing.
const FINE: &[&str] = &[
    "{['metadata','spec']}",
    "{.metadata['name','labels']}",
    "{.spec.containers['name','image']}",
    "{.spec.containers[*]['name','image']}",
    "{.spec.containers[0,2].name}",
    "{.spec.containers[0:3:2].name}",
    "{.spec.containers[-1].name}",
    "{.spec.containers[-2:].name}",
    "{.spec.containers[:-1].name}",
    "{.spec.containers[1:1].name}",
    "{.spec.containers[?(@.tty)].name}",
    r#"{.spec.containers[?(@.name!="web")].name}"#,
    "{.spec.containers[?(@.name=='web')].name}",
    "{.spec.containers[?(@.ports[0].containerPort>79)].name}",
    r#"{.spec.containers[?(.name=="web")].name}"#,
    "{.spec.containers[?(@.name)].name}",
    "{.spec.containers[?(@.nope)].name}",
    "{.spec.containers[?(@.tty==true)].name}",
    r#"{.spec.containers[?(@.name>"grpc")].name}"#,
    "{.spec.containers[?(@.ports)].ports[*].containerPort}",
    "{.spec.containers[*].ports[?(@.containerPort==80)].containerPort}",
    "{@}",
    "{$}",
    "{@.metadata.name}",
    "{$.metadata.name}",
    "{$['metadata']['name']}",
    r#"{.metadata.annotations.a\.b/c}"#,
    r#"{.metadata.annotations['a\.b/c']}"#,
    "{.metadata.annotations['a.b/c']}",
    "{.metadata.annotations.quote}",
    "{..containerPort}",
    "{..nope}",
    r#"{"\n"}"#,
    r#"{'\n'}"#,
    r#"{"a\tb\\n\"q\""}"#,
    "{'it''s'}",
    r#"{"}"}"#,
    r#"{.metadata.name}{"\n"}{.metadata.labels.app}"#,
    r#"{range .spec.containers[*]}{.name}{"\n"}{end}"#,
    r#"{range .spec.containers[*]}{.name}{range .ports[*]} {.containerPort}{end}{"\n"}{end}"#,
    "{range .spec.containers[*]}{@.name}{end}",
    "{range}{end}",
    "{range .spec.containers[*]}{.nope}x{end}",
    ".metadata.name}",
    "{.metadata..name}",
    "{.metadata.}",
    "{.}",
    "{}",
    "{ }",
    "{ .metadata.name }",
    "{  .metadata.name}",
    "{.metadata .name}",
    "{.spec.terminationGracePeriodSeconds}",
    r#"{.spec.containers[0].env[?(@.value=="3")].name}"#,
    "{.spec.containers[0].env}",
    "{.spec.containers}",
    "{5}",
    "{-5}",
    "{1.5}",
    "{true}",
    "{false}",
    "{.spec.containers[].name}",
    "{.spec.containers['web'].name}",
    "{.kind}{.apiVersion}",
    "{.spec.containers[*].nope}",
    "{.spec.nope.deeper}",
    "{.metadata.name.deeper}",
    "{.spec.containers.name}",
    "{.spec.containers.*.name}",
    "{.spec.containers[*]}",
    "{.spec['containers'][0]['name']}",
    r#"{ .metadata.name }{ "x" }"#,
    "{.metadata.labels.app}-{.metadata.labels.tier}",
    "{.metadata.name }",
    "{.metadata['name']}",
    r#"{.spec.containers[?(@.name == "web")].image}"#,
    r#"{.spec.containers[?( @.name=="web" )].image}"#,
    r#"{.spec.containers[?(@.name=="web")]['name','image']}"#,
    r#"{.spec.containers[?("web"==@.name)].name}"#,
    "{range .spec.containers[?(@.tty)]}{.name}{end}",
    "{.['metadata']['name']}",
    "{.['metadata']}x",
    "{.metadata.['name']}",
    "{.spec.containers[*].['name']}",
    "{.metadata['annotations.note']}",
    "{['metadata.name']}",
    "{.spec.containers['0']}",
    "{.spec.containers[?(@['name']=='web')].image}",
    "{range .spec.containers[*]}{['name']}{end}",
    "{.spec.containers[0].['name','image']}",
    "{.spec.containers[0,'x']}",
];

/// Templates that are wrong, or that take in what follows them.
const ALONE: &[&str] = &[
    "{.spec.containers[5].name}",
    "{.spec.containers[-5].name}",
    "{.spec.containers[2:1].name}",
    "{.spec.containers[::0].name}",
    "{.spec.containers[::-1].name}",
    r#"{.spec.containers[?(@.name=="web" && @.image=="nginx")].name}"#,
    r#"{.spec.containers[?(@.name=="web"||@.image=="host")].name}"#,
    r#"{.spec.containers[?(@.name=~"w.*")].name}"#,
    r#"{.spec.containers[?(@.tty=="true")].name}"#,
    r#"{.metadata.annotations["note"]}"#,
    "{range .spec.containers[*]}{.name}",
    "{end}",
    "{.metadata.name",
    "{metadata.name}",
    "{.metadata.name}x{",
    "{.spec.containers[0].env[?(@.value>2)].name}",
    "{.spec.containers[a].name}",
    "{.spec.containers[0]name}",
    "{.metadata.labels[app]}",
    r#"{.metadata.labels["app","tier"]}"#,
    "{.metadata.name[0]}",
    "{.metadata[0]}",
    "{.metadata[name]}",
    r#"{["metadata"].name}"#,
    "{[*].name}",
    "{.spec.containers[?(@.ports[*].containerPort==443)].name}",
    r#"{.spec.containers[?(@.name=="web].name}"#,
    "{.spec.containers[?(@.name==web)].name}",
    r#"{.spec.containers[?(@.name="x")]}"#,
    "{.metadata.labels['app tier']}",
    "{.metadata.labels[*]}",
];

/// What a program prints of the pod.
fn printed(case: &Case, program: &str, template: &str) -> (String, String, Option<i32>) {
    let output = Command::new(program)
        .args(["label", "--local", "-f", "pod.yaml", "zz=1", "-o", &format!("jsonpath={template}")])
        .current_dir(case.0.path())
        .env("KUBECONFIG", "/dev/null")
        .env("RUNP_ROOT", case.root())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr), output.status.code())
}

#[test]
fn templates_print_what_kubectl_prints() {
    if !super::write::has_kubectl() {
        eprintln!("SKIP: no kubectl of 1.32 or newer is installed");
        return;
    }
    let case = Case::new();
    case.file("pod.yaml", POD);
    // In one go: kubectl takes long to start.
    let all = FINE.join("\n---\n");
    let [theirs, ours] =
        ["kubectl", env!("CARGO_BIN_EXE_podctl")].map(|program| printed(&case, program, &all));
    assert_eq!((&theirs.1, theirs.2), (&ours.1, ours.2));
    let results = theirs.0.split("\n---\n").zip(ours.0.split("\n---\n"));
    for (template, (theirs, ours)) in FINE.iter().zip(results) {
        assert_eq!(theirs, ours, "{template}");
    }
    assert_eq!(theirs.0, ours.0);
    std::thread::scope(|scope| {
        for some in ALONE.chunks(ALONE.len().div_ceil(4)) {
            let case = &case;
            scope.spawn(move || {
                for template in some {
                    let theirs = printed(case, "kubectl", template);
                    let ours = printed(case, env!("CARGO_BIN_EXE_podctl"), template);
                    assert_eq!(theirs, ours, "{template}");
                }
            });
        }
    });
}
