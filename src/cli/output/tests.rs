use super::{Asked, Format, describe, none_found, objects, table, yaml};
use crate::error::Result;
use crate::kube::table::{Columns, pods as columns};
use crate::kube::{Object, Pod};
use k8s_openapi::api::core::v1::Event;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

const WEB: &str = include_str!("../../../tests/golden/output/web.yaml");

fn web() -> Pod {
    serde_json::from_value(serde_saphyr::from_str(WEB).unwrap()).unwrap()
}

fn pods(pods: &[Pod], format: Format, asked: Asked) -> Result<String> {
    let pods: Vec<Object> = pods.iter().map(|pod| Object::Pod(Box::new(pod.clone()))).collect();
    objects(&pods, &format, asked)
}

fn now() -> Timestamp {
    "2026-11-24T05:05:00Z".parse().unwrap()
}

#[test]
fn a_pod_in_yaml_is_as_kubectl_prints_it() {
    assert_eq!(pods(&[web()], Format::Yaml, Asked::One).unwrap(), WEB);
}

#[test]
fn yaml_says_again_what_it_read() {
    let text = pods(&[web(), web()], Format::Yaml, Asked::Many).unwrap();
    let read: Value = serde_saphyr::from_str(&text).unwrap();
    let json = pods(&[web(), web()], Format::Json, Asked::Many).unwrap();
    assert_eq!(read, serde_json::from_str::<Value>(&json).unwrap());
    assert_eq!(read["kind"], "List");
    assert_eq!(read["metadata"], json!({"resourceVersion": ""}));
    assert!(
        text.starts_with("apiVersion: v1\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata:\n")
    );
    assert!(text.ends_with("kind: List\nmetadata:\n  resourceVersion: \"\"\n"));
}

#[test]
fn a_pod_in_json_is_sorted_and_indented() {
    let mut pod = Pod::default();
    pod.metadata.name = Some("web".to_owned());
    let text = "{\n    \"apiVersion\": \"v1\",\n    \"kind\": \"Pod\",\n    \"metadata\": {\n        \
                \"name\": \"web\"\n    }\n}\n";
    assert_eq!(pods(std::slice::from_ref(&pod), Format::Json, Asked::One).unwrap(), text);
    assert_eq!(pods(&[pod.clone(), pod], Format::Name, Asked::Many).unwrap(), "pod/web\npod/web\n");
    let none = "apiVersion: v1\nitems: []\nkind: List\nmetadata:\n  resourceVersion: \"\"\n";
    assert_eq!(pods(&[], Format::Yaml, Asked::Many).unwrap(), none);
}

#[test]
fn a_pod_is_described_line_for_line() {
    let event = |kind: &str, reason: &str, from: &str, field: Value, message: &str, first: &str| {
        let event = json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {}, "type": kind, "reason": reason,
            "source": {"component": from}, "message": message, "firstTimestamp": first,
            "lastTimestamp": first, "involvedObject": {"fieldPath": field}, "count": 1,
        });
        serde_json::from_value::<Event>(event).unwrap()
    };
    let started = event(
        "Normal",
        "Started",
        "kubelet",
        json!("spec.containers{nginx}"),
        "Container started",
        "2026-11-24T05:00:01Z",
    );
    let assigned = event(
        "Normal",
        "Scheduled",
        "default-scheduler",
        Value::Null,
        "Successfully assigned default/web to node1\n",
        "2026-11-24T05:00:00Z",
    );
    let words = "Back-off restarting failed container side in pod web_default(3f1c9d4e-8a51-4b0e-9d7b-0c6a2f3b1e55)";
    let mut back_off = event(
        "Warning",
        "BackOff",
        "kubelet",
        json!("spec.containers{side}"),
        words,
        "2026-11-24T05:01:03Z",
    );
    back_off.count = Some(10);
    back_off.last_timestamp = Some("2026-11-24T05:04:56Z".parse::<Timestamp>().unwrap().into());
    let text = describe::pod(&web(), Some(&vec![back_off, started, assigned]), now());
    assert_eq!(text, include_str!("../../../tests/golden/output/web.describe.txt"));
}

/// What kubectl 1.32 made of a pod that has a bit of everything, but for the words in which 1.36
/// tells whether a projected source is optional.
#[test]
fn a_rich_pod_is_shown_as_kubectl_shows_it() {
    let text = include_str!("../../../tests/golden/output/rich.yaml");
    let rich: Pod = serde_json::from_value(serde_saphyr::from_str(text).unwrap()).unwrap();
    let described = describe::pod(&rich, Some(&Vec::new()), now());
    assert_eq!(described, include_str!("../../../tests/golden/output/rich.describe.txt"));
    assert_eq!(pods(&[rich], Format::Yaml, Asked::One).unwrap(), text);
}

#[test]
fn a_bare_pod_is_described() {
    let mut pod = Pod::default();
    pod.metadata.name = Some("a".to_owned());
    pod.metadata.deletion_timestamp = Some(now().into());
    pod.metadata.deletion_grace_period_seconds = Some(30);
    let text = "Name:                      a\nNamespace:                 \nNode:                      \
                <none>\nLabels:                    <none>\nAnnotations:               <none>\n\
                Status:                    Terminating (lasts 0s)\nTermination Grace Period:  30s\n\
                IP:                        \nIPs:                       <none>\nContainers: <none>\n\
                Volumes:         <none>\nQoS Class:       BestEffort\nNode-Selectors:  <none>\n\
                Tolerations:     <none>\nEvents:          <none>\n";
    assert_eq!(describe::pod(&pod, Some(&Vec::new()), now()), text);
}

#[test]
fn pods_in_columns() {
    let mut bare = Pod::default();
    bare.metadata.name = Some("a-much-longer-name".to_owned());
    bare.metadata.namespace = Some("other".to_owned());
    let found = [web(), bare];
    let print = |shown: &Columns| table::Writer::default().table(&columns(&found, shown, now()));
    assert_eq!(
        print(&Columns::default()),
        "NAME                 READY   STATUS             RESTARTS      AGE\n\
         web                  1/2     CrashLoopBackOff   3 (60s ago)   5m\n\
         a-much-longer-name   0/0                        0             <unknown>\n"
    );
    let all = Columns {
        wide: true,
        namespace: true,
        with_kind: false,
        labels: vec!["app".to_owned(), "k8s.io/tier".to_owned()],
        all_labels: true,
    };
    assert_eq!(
        print(&all),
        "NAMESPACE   NAME                 READY   STATUS             RESTARTS      AGE         IP          NODE     NOMINATED NODE   READINESS GATES   APP   TIER   LABELS\n\
         default     web                  1/2     CrashLoopBackOff   3 (60s ago)   5m          10.88.0.5   node1    <none>           <none>            web          app=web,tier=front\n\
         other       a-much-longer-name   0/0                        0             <unknown>   <none>      <none>   <none>           <none>                         <none>\n"
    );
}

/// Text and how it is printed.
const TEXTS: &[(&str, &str)] = &[
    ("plain", "plain"),
    ("a b", "a b"),
    ("", "\"\""),
    ("true", "\"true\""),
    ("Yes", "\"Yes\""),
    ("y", "\"y\""),
    ("~", "\"~\""),
    ("null", "\"null\""),
    ("1", "\"1\""),
    ("0644", "\"0644\""),
    ("089", "\"089\""),
    ("0x1F", "\"0x1F\""),
    ("1.5", "\"1.5\""),
    ("-1", "\"-1\""),
    ("1e3", "\"1e3\""),
    ("1e+3", "\"1e+3\""),
    (".5", "\".5\""),
    ("1_000", "\"1_000\""),
    ("1:30", "\"1:30\""),
    ("500m", "500m"),
    ("128Mi", "128Mi"),
    ("1.2.3", "1.2.3"),
    ("2026-11-24", "\"2026-11-24\""),
    ("2026-11-24T05:00:00Z", "\"2026-11-24T05:00:00Z\""),
    ("10.88.0.5", "10.88.0.5"),
    ("a: b", "'a: b'"),
    ("a:b", "a:b"),
    ("a:", "'a:'"),
    ("#a", "'#a'"),
    ("a #b", "'a #b'"),
    ("a#b", "a#b"),
    ("- a", "'- a'"),
    ("-a", "-a"),
    ("-", "'-'"),
    ("{a}", "'{a}'"),
    ("[a]", "'[a]'"),
    ("it's", "it's"),
    ("'a'", "'''a'''"),
    ("@a", "'@a'"),
    ("%a", "'%a'"),
    ("*", "'*'"),
    ("a,b", "a,b"),
    (" a", "' a'"),
    ("a ", "'a '"),
    ("?", "'?'"),
    ("?a", "?a"),
    ("a\tb", "\"a\\tb\""),
    ("a\\b", "a\\b"),
    ("\u{7}", "\"\\a\""),
    ("---", "'---'"),
    ("é", "é"),
    ("😀", "\"\\U0001F600\""),
    ("\u{2028}", "\"\\L\""),
    ("<none>", "<none>"),
    ("daemon off;", "daemon off;"),
    ("$(VAR)", "$(VAR)"),
    ("=", "="),
];

#[test]
fn text_in_yaml_is_quoted_only_where_it_must_be() {
    for (text, printed) in TEXTS {
        assert_eq!(yaml::document(&json!({ "k": *text })), format!("k: {printed}\n"), "{text:?}");
        let key = yaml::document(&json!({ *text: 1 }));
        assert_eq!(key, format!("{printed}: 1\n"), "{text:?} as a key");
    }
}

#[test]
fn yaml_shapes() {
    let long = "word ".repeat(30);
    let quoted = format!("'{}", long.trim());
    let cases = [
        (
            json!({"a": [[1, [2]], {"b": {}}, [], {"c": [3], "d": null}]}),
            "a:\n- - 1\n  - - 2\n- b: {}\n- []\n- c:\n  - 3\n  d: null\n".to_owned(),
        ),
        (
            json!(["a\nb\n", "a\n\n", "\na", "a \nb", "a\n "]),
            "- |\n  a\n  b\n- |+\n  a\n\n- |2-\n\n  a\n- \"a \\nb\"\n- \"a\\n \"\n".to_owned(),
        ),
        (
            json!({"a10": 1, "a9": 2, "a_b": 3, "aB": 4, "a-b": 5, "a": 6}),
            "a: 6\na-b: 5\na_b: 3\na9: 2\na10: 1\naB: 4\n".to_owned(),
        ),
        (
            json!({"k": long.trim()}),
            format!("k: {}\n  {}\n", "word ".repeat(16).trim(), "word ".repeat(14).trim()),
        ),
        (
            json!({"k": quoted}),
            format!("k: '''{}\n  {}'\n", "word ".repeat(16).trim(), "word ".repeat(14).trim()),
        ),
        (
            json!(["\t".to_owned() + &long]),
            format!("- \"\\t{}\n  {} \"\n", "word ".repeat(16).trim(), "word ".repeat(14).trim()),
        ),
        (json!("a"), "a\n".to_owned()),
    ];
    for (value, text) in cases {
        assert_eq!(yaml::document(&value), text);
        assert_eq!(serde_saphyr::from_str::<Value>(&text).unwrap(), value, "{text}");
    }
}

#[test]
fn output_formats() {
    assert_eq!(Format::parse(None).unwrap(), Format::Table);
    assert_eq!(Format::parse(Some("wide")).unwrap(), Format::Wide);
    let refused = |text| Format::parse(Some(text)).unwrap_err().to_string();
    assert_eq!(
        refused("go-template={{.x}}"),
        "output format \"go-template={{.x}}\": templates of Go are not supported by podctl"
    );
    assert_eq!(refused("jsonpath"), "template format specified but no template given");
    assert_eq!(refused("jsonpath={.x"), "error parsing jsonpath {.x, unclosed action");
    assert_eq!(
        refused("xml"),
        "unable to match a printer suitable for the output format \"xml\", allowed formats are: \
         custom-columns,custom-columns-file,go-template,go-template-file,json,jsonpath,\
         jsonpath-as-json,jsonpath-file,name,template,templatefile,wide,yaml"
    );
    let show =
        |format: &str| pods(&[web()], Format::parse(Some(format)).unwrap(), Asked::One).unwrap();
    assert_eq!(show("jsonpath={.metadata.name} {.spec.containers[*].name}"), "web nginx side");
    assert_eq!(show("jsonpath-as-json={.metadata.name}"), "[\n    \"web\"\n]\n");
    assert_eq!(show("custom-columns=N:.metadata.name,P:.status.phase"), "N     P\nweb   Running\n");
    assert_eq!(none_found(Some("default")), "No resources found in default namespace.");
    assert_eq!(none_found(None), "No resources found");
}

proptest::proptest! {
    #[test]
    fn any_text_comes_back_from_yaml(text in "(?s).{0,40}|[-a-z0-9:#'\"\\\\ \n.,?!&*%@`]{0,200}") {
        let value = json!({"a": [{"b": text}], "c": text});
        let read: Value = serde_saphyr::from_str(&yaml::document(&value)).unwrap();
        assert_eq!(read, value);
    }
}
