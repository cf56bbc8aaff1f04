//! podctl beside kubectl itself: the same lines on the same objects, which a small API server here
//! serves to kubectl as podctl prints them. `tests/golden/podctl/beside-kubectl.txt` has the lines.

use super::{Case, is_empty, transcript};
use nix::sched::{CloneFlags, unshare};
use runp::kube::Selector;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};

const OBJECTS: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: cfg}
data: {nginx.conf: "a\nb\n"}
binaryData: {x.bin: AAEC}
---
apiVersion: v1
kind: Secret
metadata: {name: sec, annotations: {a: b}}
stringData: {k: v}
---
apiVersion: v1
kind: Pod
metadata:
  name: rich
  labels: {app: web, tier: front}
  annotations: {note: hello, multi: "one\ntwo\n"}
spec:
  terminationGracePeriodSeconds: 0
  securityContext: {seccompProfile: {type: RuntimeDefault}}
  nodeSelector: {kubernetes.io/os: linux}
  tolerations:
  - {key: a, operator: Equal, value: b, effect: NoSchedule}
  - {key: c, operator: Exists}
  - {operator: Exists, effect: NoExecute, tolerationSeconds: 30}
  initContainers:
  - {name: init, image: host, command: ['true']}
  - {name: sidecar, image: host, command: [sleep, '1000'], restartPolicy: Always}
  containers:
  - name: web
    image: host
    command: [sh, -c, "echo one\nexec sleep 1000"]
    args: [x, "y z"]
    ports: [{containerPort: 80, protocol: TCP}, {containerPort: 443, protocol: UDP}]
    env:
    - {name: A, value: b}
    - {name: EMPTY}
    - {name: MULTI, value: "l1\nl2"}
    - {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: LIM, valueFrom: {resourceFieldRef: {resource: limits.memory}}}
    - {name: S, valueFrom: {secretKeyRef: {name: sec, key: k}}}
    - {name: C, valueFrom: {configMapKeyRef: {name: cfg, key: nginx.conf, optional: true}}}
    envFrom:
    - {configMapRef: {name: cfg}}
    - {secretRef: {name: sec, optional: true}, prefix: P_}
    resources: {limits: {memory: 64Mi, cpu: 500m}, requests: {cpu: 100m}}
    livenessProbe: {httpGet: {path: /x, port: 80}, initialDelaySeconds: 1000}
    readinessProbe: {exec: {command: [cat, /etc/passwd]}}
    volumeMounts:
    - {name: data, mountPath: /data}
    - {name: cfg, mountPath: /cfg, readOnly: true}
    - {name: data, mountPath: /sub, subPath: s}
    securityContext: {seccompProfile: {type: Unconfined}}
  - name: grpc
    image: host
    command: [sleep, '1000']
    livenessProbe: {grpc: {port: 9000, service: s}, initialDelaySeconds: 1000}
    startupProbe: {exec: {command: ['true']}}
    tty: true
  volumes:
  - {name: data, emptyDir: {}}
  - {name: mem, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
  - {name: host, hostPath: {path: /tmp, type: Directory}}
  - {name: any, hostPath: {path: /tmp}}
  - {name: cfg, configMap: {name: cfg}}
  - {name: sec, secret: {secretName: sec, optional: true}}
  - name: api
    downwardAPI:
      items:
      - {path: labels, fieldRef: {fieldPath: metadata.labels}}
      - {path: mem, resourceFieldRef: {containerName: web, resource: limits.memory}}
"#;
const POD: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  containers:
  - {name: a, image: nginx, command: [sleep, '1000']}
  - {name: b, image: nginx:1.2, env: [{name: X, value: '1'}]}
";

/// Plural, singular in capitals, short name, whether in namespaces.
const KINDS: [(&str, &str, &str, bool); 6] = [
    ("configmaps", "ConfigMap", "cm", true),
    ("events", "Event", "ev", true),
    ("namespaces", "Namespace", "ns", false),
    ("nodes", "Node", "no", false),
    ("pods", "Pod", "po", true),
    ("secrets", "Secret", "", true),
];

#[test]
fn what_kubectl_says_of_objects_podctl_says_too() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIP: needs root");
        return;
    }
    if !super::write::has_kubectl() {
        eprintln!("SKIP: no kubectl of 1.32 or newer is installed");
        return;
    }
    // What this thread starts is in there with it.
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    super::terminal::lo();
    let case = Case::new();
    std::fs::create_dir_all(case.0.path().join("files/sub")).unwrap();
    let cm = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {color: blue}\n";
    let generated = POD.replace("name: web, labels: {app: web}", "generateName: web-");
    let files = [
        ("rich.yaml", OBJECTS),
        ("pod.yaml", POD),
        ("cm.yaml", cm),
        ("gen.yaml", &generated),
        ("files/a.txt", "one"),
        ("files/sub/b.txt", "two\n"),
        ("files/env", "A=1\n# a comment\nB=x y\n"),
    ];
    files.iter().for_each(|(name, text)| case.file(name, text));
    let done = |line: &str| {
        let (status, out, err) = case.run(line);
        assert_eq!(status, 0, "{line}: {err}");
        out
    };
    done("create -f rich.yaml");
    done("wait --for=condition=Ready pod/rich --timeout=60s");
    let all = done("get po,cm,secret,ns,events,nodes -A -o json");
    let all: Value = serde_json::from_str(&all).unwrap();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = format!("http://{}", server.local_addr().unwrap());
    std::thread::spawn(move || server.incoming().flatten().for_each(|one| answer(one, &all)));
    let lines = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/podctl/beside-kubectl.txt");
    let lines = std::fs::read_to_string(lines).unwrap();
    let mut differing = String::new();
    for line in lines.lines().filter(|line| !line.starts_with('#')) {
        let kubectl = format!("kubectl --kubeconfig /dev/null --cache-dir cache -s {at} {line}");
        let podctl = format!("podctl {line}");
        let [kubectl, podctl] = std::thread::scope(|scope| {
            let both = [kubectl, podctl].map(|line| {
                scope.spawn({
                    let case = &case;
                    move || told(case, &line)
                })
            });
            both.map(|one| one.join().unwrap())
        });
        if kubectl != podctl {
            differing += &format!("{line}\nkubectl:\n{kubectl}\npodctl:\n{podctl}\n");
        }
    }
    assert!(differing.is_empty(), "{differing}");
    done("delete pod rich");
    done("delete cm,secret --all");
    assert!(is_empty(&case.root()), "files are left");
}

/// Runs a line in a shell; its outputs and its exit status, without what may differ.
fn told(case: &Case, line: &str) -> String {
    let bin = std::path::Path::new(env!("CARGO_BIN_EXE_podctl")).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("sh");
    shell.args(["-c", line]).current_dir(case.0.path()).stdin(Stdio::null());
    shell.env("PATH", path).env("RUNP_ROOT", case.root()).env("HOME", case.0.path());
    let Output { status, stdout, stderr } = shell.output().unwrap();
    let text = |bytes: &[u8]| plain(&String::from_utf8_lossy(bytes));
    format!("{}{}{:?}", text(&stdout), text(&stderr), status.code())
}

fn plain(text: &str) -> String {
    // The last of its object in JSON leaves the comma before it.
    let text = text.replace(",\n        \"creationTimestamp\": null", "");
    let kept = text.split_inclusive('\n').filter(|line| {
        // podctl's own; what Kubernetes 1.34 has left off; and what needs another API.
        !["hint: ", "Lease:"].iter().any(|start| line.starts_with(start))
            && !line.contains("creationTimestamp: null")
    });
    let mut text: String = kept.collect();
    for (from, to) in
        [("kubectl get ", "podctl get "), ("'kubectl ", "'podctl "), ("Error: ", "error: ")]
    {
        text = text.replace(from, to);
    }
    text = text.replace("\"kubectl ", "\"podctl ").replace("`kubectl ", "`podctl ");
    // 1.36 says which container an event is about.
    let mut plain = String::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once("spec.") {
        let about = after.split_once("}: ").filter(|(about, _)| {
            about.starts_with("containers{") || about.starts_with("initContainers{")
        });
        plain += before;
        match about {
            Some((_, message)) => rest = message,
            None => {
                plain += "spec.";
                rest = after;
            }
        }
    }
    transcript::mask(&(plain + rest))
}

/// One request, and the connection is closed.
fn answer(mut connection: TcpStream, all: &Value) {
    let mut request = BufReader::new(connection.try_clone().unwrap());
    let mut first = String::new();
    request.read_line(&mut first).unwrap_or(0);
    let mut length = 0;
    loop {
        let mut line = String::new();
        match request.read_line(&mut line) {
            Ok(3..) => {}
            _ => break,
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    // A body that is not read would reset the connection.
    drop(request.take(length).read_to_end(&mut Vec::new()));
    let target = first.split(' ').nth(1).unwrap_or_default();
    let (status, body) = found(target, all);
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    // kubectl may have gone.
    drop(connection.write_all((head + &body).as_bytes()));
}

fn found(target: &str, all: &Value) -> (u16, Value) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let missing = |message: String, details: Value| {
        let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
            "reason": "NotFound", "message": message, "details": details, "code": 404});
        (404, status)
    };
    let (namespace, rest) = match parts.as_slice() {
        ["api"] => return (200, json!({"kind": "APIVersions", "versions": ["v1"]})),
        ["apis"] => return (200, json!({"kind": "APIGroupList", "groups": []})),
        ["version"] => {
            return (200, json!({"major": "1", "minor": "32", "gitVersion": "v1.32.4"}));
        }
        ["api", "v1"] => return (200, resources()),
        ["api", "v1", "namespaces", namespace, rest @ ..] if !rest.is_empty() => {
            (Some(*namespace), rest)
        }
        ["api", "v1", rest @ ..] => (None, rest),
        _ => return missing("the server could not find the requested resource".into(), json!({})),
    };
    let Some((plural, kind, ..)) = KINDS.iter().find(|kind| rest.first() == Some(&kind.0)) else {
        return missing("the server could not find the requested resource".into(), json!({}));
    };
    let items = all["items"].as_array().unwrap().iter().filter(|one| {
        one["kind"] == *kind && namespace.is_none_or(|at| one["metadata"]["namespace"] == at)
    });
    let mut items: Vec<&Value> = items.collect();
    if let Some(name) = rest.get(1) {
        let one = items.into_iter().find(|one| one["metadata"]["name"] == *name);
        let details = json!({"name": name, "kind": plural});
        return match one {
            Some(one) => (200, one.clone()),
            None => missing(format!("{plural} \"{name}\" not found"), details),
        };
    }
    items.retain(|one| selected(one, query));
    let list = json!({"kind": format!("{kind}List"), "apiVersion": "v1",
        "metadata": {"resourceVersion": "1"}, "items": items});
    (200, list)
}

fn resources() -> Value {
    let resource = |&(plural, kind, short, namespaced): &(&str, &str, &str, bool)| {
        let short: Vec<&str> = Some(short).filter(|short| !short.is_empty()).into_iter().collect();
        json!({"name": plural, "singularName": kind.to_lowercase(), "namespaced": namespaced,
            "kind": kind, "shortNames": short,
            "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"]})
    };
    let resources: Vec<Value> = KINDS.iter().map(resource).collect();
    json!({"kind": "APIResourceList", "groupVersion": "v1", "resources": resources})
}

/// Whether the selectors of a query pick an object.
fn selected(object: &Value, query: &str) -> bool {
    query.split('&').filter_map(|pair| pair.split_once('=')).all(|(key, value)| match key {
        "labelSelector" => {
            let labels = serde_json::from_value::<BTreeMap<String, String>>(
                object["metadata"]["labels"].clone(),
            );
            Selector::parse(&decoded(value)).unwrap().matches(labels.ok().as_ref())
        }
        "fieldSelector" => decoded(value).split(',').filter(|one| !one.is_empty()).all(|one| {
            let (path, wanted) = one.split_once('=').unwrap();
            let (path, equal) = path.strip_suffix('!').map_or((path, true), |path| (path, false));
            let found = object.pointer(&format!("/{}", path.replace('.', "/")));
            (found.and_then(Value::as_str).unwrap_or_default() == wanted) == equal
        }),
        _ => true,
    })
}

/// Percent-encoding undone.
fn decoded(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let hex: String = bytes.by_ref().take(2).map(char::from).collect();
                u8::from_str_radix(&hex, 16).unwrap()
            }
            other => other,
        });
    }
    String::from_utf8(out).unwrap()
}
